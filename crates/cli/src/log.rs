//! What plugins and engines log while a bundle is run on this machine, for the person who wrote them.
//!
//! The daemons set up logs of their own; this is for the commands that run a pipeline in this process.

use crate::output::colours;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Warnings and errors of plugins and engines; `FLOORHAND_LOG` asks for more. tract warns of each operator set above 18 that it wasn't
/// tested with: here models are, up to the newest that are taken.
const DEFAULT_FILTER: &str = "warn,tract_onnx=error";

/// Starts the log on standard error. `FLOORHAND_LOG=floorhand::plugin=debug` shows every line that plugins log.
pub fn start() {
    let filter = EnvFilter::try_from_env("FLOORHAND_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours(std::io::stderr().is_terminal()))
        .without_time()
        .try_init();
    // A log that is there already, as in a test, stays.
    drop(started);
}
