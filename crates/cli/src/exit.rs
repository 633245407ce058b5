//! How the command ends: documented exit codes, and one line that says what went wrong.
//!
//! Scripts act on the code, people on the line. A code is part of the command's interface: numbers are never reused.

use crate::output::Output;
use std::fmt::Display;
use std::process::ExitCode;

/// What stands under `floorhand help`.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  failed: a file, a setting or an answer is not what it has to be
  2  the command line is wrong
  3  refused: a signature, a digest, a golden case or a token does not hold
  4  the hub or the broker can't be reached; trying again may help
  5  the hub did its part, and a device did not: it failed, refused, or gave no answer in time
The daemons (agent, hub, broker) have codes of their own, which their help tells.";

/// An exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A file, a setting or an answer isn't what it has to be.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A signature, a digest or a golden case doesn't hold.
    Refused = 3,
    /// The hub or the broker can't be reached.
    Unreachable = 4,
    /// A device failed, refused, or gave no answer in time.
    Device = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that ends the command with a code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// A failure of this kind. The message is one or more lines for people.
    pub fn new(exit: Exit, message: impl Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }

    /// The code it ends the command with.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Something is wrong with how the command was called.
    pub fn usage(message: impl Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Something isn't what was signed or promised.
    pub fn refused(message: impl Display) -> Self {
        Self::new(Exit::Refused, message)
    }
}

/// Tells the person what went wrong, and gives the code to end with.
pub fn report(error: &anyhow::Error, out: &Output) -> ExitCode {
    if is_closed_pipe(error) {
        // `floorhand fleet ls | head` has seen enough; that is no error of ours.
        return ExitCode::SUCCESS;
    }
    let exit = error
        .downcast_ref::<Failure>()
        .map_or(Exit::Failed, |failure| failure.exit);
    out.error(&flatten(error), exit as u8);
    exit.into()
}

/// The chain of causes on one line, without a cause that the error above it has already spelt out.
pub fn flatten(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string).filter(|cause| !cause.is_empty()) {
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_code_survives_what_is_said_around_it() {
        let error = Err::<(), _>(Failure::refused("signed by nobody"))
            .context("bundle a.fhb")
            .unwrap_err();
        assert_eq!(error.downcast_ref::<Failure>().unwrap().exit, Exit::Refused);
        assert_eq!(flatten(&error), "bundle a.fhb: signed by nobody");
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = std::io::Error::other("disk on fire");
        let error = anyhow::Error::new(cause).context("a.key can't be read: disk on fire");
        assert_eq!(flatten(&error), "a.key can't be read: disk on fire");
    }
}
