//! How the agent's commands end: exit codes that scripts and the service manager act on, and one line for people.
//!
//! A code is part of the interface: numbers are never reused.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

/// What stands under `floorhand-agent --help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done; a daemon that was told to stop has stopped in order
  1  failed: something that isn't below
  2  the command line is wrong
  3  the configuration, or a file that it names, is wrong: starting again won't help
  4  the state directory can't be used: locked by another process, of a newer version, full or not readable
  5  not reachable: the agent isn't running, or the broker doesn't answer
  6  refused: a signature, an address or a digest does not hold of what was to be imported, or came with an enrolment;
     or the hub refused the token";

/// An exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Something that isn't below.
    Failure = 1,
    /// The configuration, or a file that it names, is wrong.
    Configuration = 3,
    /// The state directory can't be used.
    StateDirectory = 4,
    /// The agent isn't running, or the broker doesn't answer.
    Unreachable = 5,
    /// What was to be imported isn't what it has to be.
    Refused = 6,
}

impl Exit {
    /// Says why, on standard error, past the log whose filter mustn't swallow it, and gives the code.
    pub(crate) fn say(self, problem: &dyn Display) -> ExitCode {
        // Nobody is left to be told when the stream is closed.
        drop(writeln!(std::io::stderr(), "error: {problem}"));
        self.into()
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
