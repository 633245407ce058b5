//! The log, on stderr. Error: somebody has to do something. Warn: somebody should look. Info: what was done. Debug: how.

use tracing_subscriber::EnvFilter;

/// How to write the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Starts logging by a filter as of `RUST_LOG`. A log that is there already, as in a program that carries the hub as one of
/// its subcommands, stays.
pub(crate) fn start(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| format!("log filter {filter:?}: {error}; expected something like info,floorhand_hub=debug"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if let Err(error) = started {
        tracing::debug!("a log is there already: {error}");
    }
    Ok(())
}
