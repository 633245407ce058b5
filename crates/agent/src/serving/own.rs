//! What the agent itself takes, beside what its pipelines measure.

use crate::budget::{Budget, ControlGroup};
use floorhand_pipeline::StageTelemetry;

/// The agent's budget, read at each report of metrics.
#[derive(Debug)]
pub(super) struct Own {
    group: Option<ControlGroup>,
    before: Budget,
}

impl Own {
    /// Counts from now on: what the group has seen before was another process's.
    pub(super) fn new(group: Option<ControlGroup>) -> Self {
        let before = group.as_ref().map(ControlGroup::budget).unwrap_or_default();
        Self { group, before }
    }

    /// Adds the agent's own figures. Says so when it has stood at its limit of memory since the last time.
    pub(super) fn measure(&mut self, figures: &mut StageTelemetry) -> Option<String> {
        let now = self.group.as_ref()?.budget();
        let before = std::mem::replace(&mut self.before, now);
        let gauge = |name: &str, bytes: u64| (format!("agent/{name}"), bytes as f64);
        figures.gauges.push(gauge("memory-bytes", now.memory_bytes));
        figures
            .gauges
            .extend(now.memory_limit_bytes.map(|limit| gauge("memory-limit-bytes", limit)));
        let throttled_ms = now.throttled_ms.saturating_sub(before.throttled_ms);
        if throttled_ms > 0 {
            figures.counters.push(("agent/throttled-ms".to_owned(), throttled_ms));
        }
        let hits = now.memory_limit_hits.saturating_sub(before.memory_limit_hits);
        let ended = now.ended_for_memory.saturating_sub(before.ended_for_memory);
        let limit = now.memory_limit_bytes.filter(|_| hits > 0 || ended > 0)?;
        Some(format!(
            "{hits} times at the limit of {limit} bytes, {ended} processes ended for it: raise MemoryMax= of its unit, or \
             deploy a smaller bundle"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_taken_and_what_was_refused_since() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(root.path().join(file), text).unwrap();
        write("memory.current", "5000");
        write("memory.max", "8000");
        write("memory.events", "max 3\noom_kill 1\n");
        write("cpu.stat", "throttled_usec 1000000\n");
        let mut own = Own::new(ControlGroup::at(root.path()));
        let mut figures = StageTelemetry::default();
        assert_eq!(own.measure(&mut figures), None, "that was before");
        let gauge = |name: &str, value| (format!("agent/{name}"), value);
        assert_eq!(
            figures.gauges,
            [gauge("memory-bytes", 5000.0), gauge("memory-limit-bytes", 8000.0)]
        );
        assert_eq!(figures.counters, []);
        write("memory.events", "max 5\noom_kill 1\n");
        write("cpu.stat", "throttled_usec 1250000\n");
        let told = own.measure(&mut figures).unwrap();
        assert!(
            told.starts_with("2 times at the limit of 8000 bytes, 0 processes ended"),
            "{told}"
        );
        assert_eq!(figures.counters, [("agent/throttled-ms".to_owned(), 250)]);
        assert_eq!(own.measure(&mut figures), None);
        assert_eq!(Own::new(None).measure(&mut figures), None);
    }
}
