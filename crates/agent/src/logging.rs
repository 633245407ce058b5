//! The agent's own log: lines on standard error, and the last of them in memory for who asks from afar.
//!
//! Levels are defined by what the operator has to do:
//! - **error**: something isn't done that should be, and stays so until a person does something; the line says what.
//! - **warn**: something went wrong and was dealt with; a person should look if it comes again.
//! - **info**: what was done, so few lines that a year of them can be kept.
//! - **debug**: how it was done; for who looks into a problem. Never on by default.
//! - **trace**: every sample and message.
//!
//! Under systemd the journal catches standard error and writes the time itself. Nothing is written to files here.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

/// Lines kept in memory: what a fetch-logs command can ask for.
const MAX_LINES: usize = 2000;
/// Bytes kept in memory, whichever limit comes first: an answer carries at most 192 KiB.
const MAX_BYTES: usize = 256 << 10;
/// Of one line, this much is kept in memory: one endless line must not push out all others.
const MAX_LINE_BYTES: usize = 4096;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Why there is no log, or not this one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LogError {
    /// The filter can't be read.
    #[error("log filter {filter:?}: {problem}; say something like \"info,floorhand_agent=debug\"")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is a log already.
    #[error("logging is started already, and can be once in a process")]
    Started,
}

/// What remains of a filter's mistakes, in words that fit behind its key. `Ok` when it has none.
pub(crate) fn check_filter(filter: &str) -> Result<(), LogError> {
    parse_filter(filter).map(drop)
}

/// Starts logging. Once in a process.
///
/// # Errors
/// When the filter can't be read, or a log is there already.
pub(crate) fn init(filter: &str, format: LogFormat) -> Result<LogHandle, LogError> {
    let (filter, reload) = reload::Layer::new(parse_filter(filter)?);
    let ring = Arc::new(Mutex::new(Ring::default()));
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let (writer, kept) = (io::stderr, Kept(Arc::clone(&ring)));
    let subscriber = Registry::default().with(filter);
    let started = match format {
        LogFormat::Text => {
            let colours = !journal && io::IsTerminal::is_terminal(&io::stderr());
            let shown = fmt::layer()
                .with_timer(Clock { silent: journal })
                .with_ansi(colours)
                .with_writer(writer);
            let memory = fmt::layer().with_ansi(false).with_writer(kept);
            subscriber.with(shown.boxed()).with(memory.boxed()).try_init()
        }
        LogFormat::Json => {
            let shown = fmt::layer().json().with_writer(writer);
            let memory = fmt::layer().json().with_writer(kept);
            subscriber.with(shown.boxed()).with(memory.boxed()).try_init()
        }
    };
    started.map_err(|_| LogError::Started)?;
    Ok(LogHandle { ring, reload })
}

/// The log that was started.
#[derive(Debug, Clone)]
pub(crate) struct LogHandle {
    ring: Arc<Mutex<Ring>>,
    reload: reload::Handle<EnvFilter, Registry>,
}

impl LogHandle {
    /// A log that nothing is written to.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        let (_, reload) = reload::Layer::new(EnvFilter::default());
        let ring = Arc::default();
        Self { ring, reload }
    }

    /// The last lines, oldest first, at most `lines` of the at most 2,000 and 256 KiB that are kept.
    #[must_use]
    pub(crate) fn tail(&self, lines: usize) -> Vec<String> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).tail(lines)
    }

    /// Changes what is logged from now on.
    ///
    /// # Errors
    /// When the filter can't be read; the old one then stays.
    pub(crate) fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let parsed = parse_filter(filter)?;
        self.reload.reload(parsed).map_err(|error| LogError::Filter {
            filter: filter.to_owned(),
            problem: error.to_string(),
        })
    }
}

fn parse_filter(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(filter).map_err(|error| LogError::Filter {
        filter: filter.to_owned(),
        problem: error.to_string(),
    })
}

/// The time before a line, or nothing where the journal writes it.
struct Clock {
    silent: bool,
}

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        if self.silent {
            Ok(())
        } else {
            SystemTime.format_time(writer)
        }
    }
}

/// The last lines.
#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Ring {
    fn push(&mut self, line: &str) {
        let mut end = line.len().min(MAX_LINE_BYTES);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        let line = line.get(..end).unwrap_or_default();
        self.bytes += line.len();
        self.lines.push_back(line.to_owned());
        while self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
        }
    }

    fn tail(&self, lines: usize) -> Vec<String> {
        let skipped = self.lines.len().saturating_sub(lines);
        self.lines.iter().skip(skipped).cloned().collect()
    }
}

/// Writes into the ring. The formatter gives it whole lines.
#[derive(Debug, Clone)]
struct Kept(Arc<Mutex<Ring>>);

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.lines().for_each(|line| ring.push(line));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_within_both_limits() {
        let mut ring = Ring::default();
        for index in 0..MAX_LINES + 10 {
            ring.push(&format!("line {index}"));
        }
        assert_eq!(
            ring.tail(2),
            [format!("line {}", MAX_LINES + 8), format!("line {}", MAX_LINES + 9)]
        );
        assert_eq!(ring.tail(usize::MAX).len(), MAX_LINES);
        let long = "ä".repeat(MAX_LINE_BYTES);
        for _ in 0..MAX_LINES {
            ring.push(&long);
        }
        let kept: usize = ring.tail(usize::MAX).iter().map(String::len).sum();
        assert!(kept <= MAX_BYTES && kept > MAX_BYTES - MAX_LINE_BYTES, "{kept}");
        assert_eq!(ring.tail(1)[0].len(), MAX_LINE_BYTES);
    }

    #[test]
    fn a_log_keeps_its_lines_and_changes_its_filter() {
        // This test's own lines: the log is the whole process's, and other tests have thousands.
        let log = init("off,floorhand_agent::logging=info", LogFormat::Text).unwrap();
        tracing::debug!("before");
        tracing::info!(answer = 42, "said");
        log.set_filter("off,floorhand_agent::logging=debug").unwrap();
        tracing::debug!("after");
        assert!(log.set_filter("info,=").is_err(), "and the old one stays");
        tracing::debug!("still");
        let lines: Vec<String> = log
            .tail(10)
            .into_iter()
            .filter(|line| line.contains("logging"))
            .collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        for (line, part) in lines.iter().zip(["said answer=42", "after", "still"]) {
            assert!(
                line.contains(part) && !line.contains('\u{1b}') && !line.ends_with('\n'),
                "{line:?}"
            );
        }
        assert_eq!(init("info", LogFormat::Json).unwrap_err(), LogError::Started);
    }

    #[test]
    fn filters_are_checked() {
        assert_eq!(check_filter("info,floorhand_agent=debug"), Ok(()));
        let message = check_filter("floorhand_agent=loud").unwrap_err().to_string();
        assert!(
            message.contains("\"floorhand_agent=loud\"") && message.contains("say something like"),
            "{message}"
        );
    }
}
