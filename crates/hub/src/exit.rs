//! How the programs end: exit codes, signals, the last line on stderr.

use std::fmt::Display;
use std::process::ExitCode;

/// What stands under the hub's `--help`.
pub(crate) const HUB_HELP: &str = "\
Exit codes:
  0  ended by a signal, or --check found nothing wrong
  1  failed: something that isn't below
  2  the command line is wrong
  3  the configuration, or a file that it names, is wrong
  4  the data directory or the database can't be used
  5  an address can't be listened on, or the embedded broker ended";
/// What stands under the `--help` of a program that runs [`broker::run`](crate::broker::run).
pub const BROKER_HELP: &str = "\
Exit codes:
  0  ended by a signal
  1  failed: something that isn't below
  2  the command line is wrong
  3  a setting is wrong: others could reach the address, or the log filter can't be read
  5  the address can't be listened on, a TLS file can't be used, or the broker ended";

/// Anything that isn't told apart below.
pub(crate) const OTHER: u8 = 1;
/// The configuration, or a file that it names, is wrong. (2 is the command line's, by clap.)
pub(crate) const CONFIGURATION: u8 = 3;
/// The data directory or the database can't be used.
pub(crate) const DATA: u8 = 4;
/// An address can't be listened on, or the embedded broker ended.
pub(crate) const LISTEN: u8 = 5;

/// Says why, on stderr, and gives the code.
#[expect(
    clippy::print_stderr,
    reason = "the last words of a program, which the log's filter mustn't swallow"
)]
pub(crate) fn tell(code: u8, error: &dyn Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(code)
}

/// The runtime of either program.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Returns at the first SIGTERM or SIGINT.
pub(crate) async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!("signals can't be heard, so only SIGKILL ends this: {error}");
            std::future::pending::<()>().await;
        }
    }
}
