//! What a plugin says about itself: log lines, counters, gauges, each bounded.
//!
//! The log's rate is measured against the machine's monotonic clock, which a plugin never sees. Lines go to `tracing`
//! with the plugin's name; everything else is kept until [`Telemetry`] is taken.

use crate::guest::one_line;
use std::collections::BTreeMap;
use std::time::Instant;

/// Names of counters and gauges together that one plugin may use in its life: what the hub stores per device is bounded
/// by it.
const MAX_NAMES: usize = 64;

/// Bytes of a name; longer ones no chart can show.
const MAX_NAME_BYTES: usize = 64;

/// What a plugin reported since the last time it was asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Telemetry {
    /// By how much each counter rose.
    pub counters: BTreeMap<String, u64>,
    /// The last value of each gauge that was set.
    pub gauges: BTreeMap<String, f64>,
    /// Log lines that were too many, or came after the call's share was used up.
    pub log_lines_dropped: u64,
    /// Counts and values under names that were too many, too long or not of printable ASCII.
    pub metrics_dropped: u64,
    /// Findings of a monitor beyond those that one sample may have.
    pub findings_dropped: u64,
}

/// How urgent a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// Collects what a plugin reports. Outlives the plugin's instances, so that a restart neither loses counts nor gives
/// new names.
#[derive(Debug)]
pub(crate) struct Outlet {
    plugin: String,
    counters: BTreeMap<String, u64>,
    gauges: BTreeMap<String, Option<f64>>,
    log: LogBudget,
    metrics_dropped: u64,
    pub(crate) findings_dropped: u64,
}

/// How much may still be logged: bytes in this call, lines in this second.
#[derive(Debug)]
struct LogBudget {
    bytes_per_call: u32,
    bytes_left: u32,
    lines_per_second: u32,
    lines: f64,
    refilled: Option<Instant>,
    dropped: u64,
}

impl Outlet {
    pub(crate) fn new(plugin: String, log_bytes_per_call: u32, log_lines_per_second: u32) -> Self {
        let log = LogBudget {
            bytes_per_call: log_bytes_per_call,
            bytes_left: log_bytes_per_call,
            lines_per_second: log_lines_per_second,
            lines: f64::from(log_lines_per_second) * 2.0,
            refilled: None,
            dropped: 0,
        };
        Self {
            plugin,
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
            log,
            metrics_dropped: 0,
            findings_dropped: 0,
        }
    }

    /// A new call has its own share of log text.
    pub(crate) fn begin_call(&mut self) {
        self.log.bytes_left = self.log.bytes_per_call;
    }

    /// The bytes that a line may have now; none, and the line is counted as dropped, if there may be no line.
    pub(crate) fn admit_line(&mut self, now: Instant) -> Option<usize> {
        let bytes = self.log.admit(now);
        self.log.dropped += u64::from(bytes.is_none());
        bytes
    }

    /// Writes a line that was admitted, and that lost `cut_bytes` at its end to fit.
    pub(crate) fn log(&mut self, level: Level, line: &str, cut_bytes: usize) {
        self.log.bytes_left = self
            .log
            .bytes_left
            .saturating_sub(u32::try_from(line.len()).unwrap_or(u32::MAX));
        let line = one_line(line.to_owned());
        let plugin = self.plugin.as_str();
        match level {
            Level::Debug => tracing::debug!(target: "floorhand::plugin", plugin, cut_bytes, "{line}"),
            Level::Info => tracing::info!(target: "floorhand::plugin", plugin, cut_bytes, "{line}"),
            Level::Warn => tracing::warn!(target: "floorhand::plugin", plugin, cut_bytes, "{line}"),
            Level::Error => tracing::error!(target: "floorhand::plugin", plugin, cut_bytes, "{line}"),
        }
    }

    pub(crate) fn count(&mut self, name: &str, increment: u64) {
        if let Some(counter) = self.counters.get_mut(name) {
            *counter = counter.saturating_add(increment);
        } else if self.admits(name) {
            self.counters.insert(name.to_owned(), increment);
        } else {
            self.metrics_dropped += 1;
        }
    }

    pub(crate) fn gauge(&mut self, name: &str, value: f64) {
        if let Some(gauge) = self.gauges.get_mut(name) {
            *gauge = Some(value);
        } else if self.admits(name) {
            self.gauges.insert(name.to_owned(), Some(value));
        } else {
            self.metrics_dropped += 1;
        }
    }

    /// What came in since the last time. The names stay taken.
    pub(crate) fn take(&mut self) -> Telemetry {
        let risen = |(name, value): (&String, &mut u64)| {
            let risen = std::mem::take(value);
            (risen > 0).then(|| (name.clone(), risen))
        };
        let set = |(name, value): (&String, &mut Option<f64>)| Some((name.clone(), value.take()?));
        Telemetry {
            counters: self.counters.iter_mut().filter_map(risen).collect(),
            gauges: self.gauges.iter_mut().filter_map(set).collect(),
            log_lines_dropped: std::mem::take(&mut self.log.dropped),
            metrics_dropped: std::mem::take(&mut self.metrics_dropped),
            findings_dropped: std::mem::take(&mut self.findings_dropped),
        }
    }

    fn admits(&self, name: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        self.counters.len() + self.gauges.len() < MAX_NAMES
            && (1..=MAX_NAME_BYTES).contains(&name.len())
            && name.bytes().all(plain)
    }
}

impl LogBudget {
    fn admit(&mut self, now: Instant) -> Option<usize> {
        if self.bytes_left == 0 {
            return None;
        }
        let rate = f64::from(self.lines_per_second);
        let since = now.saturating_duration_since(*self.refilled.get_or_insert(now));
        self.refilled = Some(now);
        self.lines = (self.lines + since.as_secs_f64() * rate).min(rate * 2.0);
        if self.lines < 1.0 {
            return None;
        }
        self.lines -= 1.0;
        usize::try_from(self.bytes_left).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn names_are_bounded_and_stay_taken() {
        let mut outlet = Outlet::new("p".to_owned(), 1024, 10);
        for k in 0..100 {
            outlet.count(&format!("c{k}"), 2);
        }
        outlet.gauge("g", 1.0);
        let telemetry = outlet.take();
        assert_eq!(
            (
                telemetry.counters.len(),
                telemetry.counters["c0"],
                telemetry.metrics_dropped
            ),
            (64, 2, 37)
        );
        outlet.count("c0", 1);
        outlet.count("new", 1);
        let telemetry = outlet.take();
        assert_eq!((telemetry.counters.len(), telemetry.metrics_dropped), (1, 1));
    }

    #[test]
    fn bad_names_are_dropped() {
        let mut outlet = Outlet::new("p".to_owned(), 1024, 10);
        for name in ["", "a\tb", "ü", "a\n", &"x".repeat(65)] {
            outlet.gauge(name, 0.0);
        }
        outlet.gauge("drift/psi:x_1.mean-2", f64::NAN);
        let telemetry = outlet.take();
        assert_eq!((telemetry.gauges.len(), telemetry.metrics_dropped), (1, 5));
    }

    #[test]
    fn lines_are_bounded_in_a_call_and_in_a_second() {
        let start = Instant::now();
        let mut outlet = Outlet::new("p".to_owned(), 10, 5);
        let mut lines = |at: u64| {
            let now = start + Duration::from_millis(at);
            (0..100).filter(|_| outlet.admit_line(now).is_some()).count()
        };
        assert_eq!(
            [lines(0), lines(0), lines(1000), lines(1100), lines(60_000)],
            [10, 0, 5, 0, 10]
        );
        outlet.log(Level::Info, "12345678", 0);
        assert_eq!(outlet.admit_line(start + Duration::from_secs(90)), Some(2));
        outlet.log(Level::Info, "90", 5);
        assert_eq!(
            outlet.admit_line(start + Duration::from_secs(120)),
            None,
            "nothing is left in this call"
        );
        outlet.begin_call();
        assert_eq!(outlet.admit_line(start + Duration::from_secs(120)), Some(10));
    }
}
