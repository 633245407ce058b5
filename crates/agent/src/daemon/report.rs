//! The commands for the person who stands in front of the box.

use crate::config::Config;
use crate::exit::Exit;
use crate::import::leave_for_next_start;
use crate::local::{self, LocalError};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// `--check`: reading the configuration has found nothing wrong.
pub(super) fn checked(path: &Path) -> ExitCode {
    tell(&format!("{}: no mistakes", path.display()))
}

/// `status`
pub(super) fn status(config: &Config, json: bool) -> ExitCode {
    match local::status(&config.socket_path()) {
        Ok(status) if json => tell(&serde_json::to_string_pretty(&status).unwrap_or_default()),
        Ok(status) => tell(&status.to_string()),
        Err(error) => error.exit().say(&error),
    }
}

/// `import`
pub(super) fn import(config: &Config, archive: &Path) -> ExitCode {
    match local::import(&config.socket_path(), archive) {
        Ok(message) => tell(&message),
        Err(LocalError::NotRunning(_)) => match leave_for_next_start(config, archive) {
            Ok(message) => tell(&message),
            Err(problem) => Exit::Refused.say(&problem),
        },
        Err(error) => error.exit().say(&error),
    }
}

fn tell(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
