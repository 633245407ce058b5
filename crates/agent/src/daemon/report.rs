//! The commands for the person who stands in front of the box.

use crate::config::{Config, ConfigErrors};
use crate::exit::Exit;
use crate::import::leave_for_next_start;
use crate::local::{self, LocalError};
use floorhand_pipeline::explanation_text;
use serde_json::json;
use std::fmt::Display;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// `--check`: reading the configuration has found nothing wrong.
pub(super) fn checked(path: &Path, json: bool) -> ExitCode {
    if json {
        let config = path.display().to_string();
        return tell(&json!({ "ok": true, "config": config, "problems": [] }).to_string());
    }
    tell(&format!("{}: no mistakes", path.display()))
}

/// A configuration that can't be used, whatever was asked for.
pub(super) fn misconfigured(errors: &ConfigErrors, json: bool) -> ExitCode {
    if !json {
        return Exit::Configuration.say(errors);
    }
    let problems: Vec<String> = errors.mistakes.iter().map(ToString::to_string).collect();
    let config = errors.path.display().to_string();
    let object = json!({ "ok": false, "config": config, "problems": problems, "error": errors.to_string() });
    tell(&object.to_string());
    Exit::Configuration.into()
}

/// `status`
pub(super) fn status(config: &Config, json: bool) -> ExitCode {
    match local::status(&config.socket_path()) {
        Ok(status) if json => tell(&serde_json::to_string_pretty(&status).unwrap_or_default()),
        Ok(status) => tell(&status.to_string()),
        Err(error) => failed(error.exit(), &error, json),
    }
}

/// `explain`
pub(super) fn explain(config: &Config, sample: Option<&Path>, json: bool) -> ExitCode {
    match local::explain(&config.socket_path(), sample) {
        Ok(explanation) if json => tell(&explanation.to_string()),
        Ok(explanation) => tell(&explanation_text(&explanation)),
        Err(error) => failed(error.exit(), &error, json),
    }
}

/// `import`
pub(super) fn import(config: &Config, archive: &Path, json: bool) -> ExitCode {
    let imported = match local::import(&config.socket_path(), archive) {
        Err(LocalError::NotRunning(_)) => {
            leave_for_next_start(config, archive).map_err(|problem| (Exit::Refused, problem))
        }
        answered => answered.map_err(|error| (error.exit(), error.to_string())),
    };
    match imported {
        Ok(message) if json => tell(&json!({ "imported": message }).to_string()),
        Ok(message) => tell(&message),
        Err((exit, problem)) => failed(exit, &problem, json),
    }
}

/// Says what went wrong, to people on standard error or to programs as an object, and gives the code.
pub(super) fn failed(exit: Exit, problem: &dyn Display, json: bool) -> ExitCode {
    if !json {
        return exit.say(problem);
    }
    tell(&json!({ "error": problem.to_string() }).to_string());
    exit.into()
}

fn tell(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
