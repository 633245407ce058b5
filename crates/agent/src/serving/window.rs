//! What is counted between two reports of metrics.

use crate::local::Flow;
use floorhand_bundle::Digest;
use floorhand_lifecycle::LatencyHistogram;
use floorhand_pipeline::StageTelemetry;
use floorhand_protocol::Metrics;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

/// What the agent has done since it was started, for whoever asks at the box.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Samples that came.
    pub(crate) samples: AtomicU64,
    /// Results that were given.
    pub(crate) results: AtomicU64,
    /// Samples that failed.
    pub(crate) failures: AtomicU64,
    /// What came from each source.
    pub(crate) sources: Mutex<Vec<Flow>>,
    /// What went into each sink.
    pub(crate) sinks: Mutex<Vec<Flow>>,
}

impl Totals {
    /// Counts a sample of a source.
    pub(crate) fn came_from(&self, source: &str) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        match sources.iter_mut().find(|flow| flow.name == source) {
            Some(flow) => flow.count += 1,
            None => sources.push(Flow {
                name: source.to_owned(),
                count: 1,
                dropped: 0,
            }),
        }
    }
}

/// Counts of a stretch of time.
#[derive(Debug, Default)]
pub(crate) struct Window {
    started_ms: u64,
    pub(crate) samples: u64,
    pub(crate) results: u64,
    pub(crate) failures: u64,
    pub(crate) latency: LatencyHistogram,
    counters: BTreeMap<&'static str, u64>,
}

impl Window {
    /// A stretch that begins now.
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            started_ms: now_ms,
            ..Self::default()
        }
    }

    /// Whether it has lasted long enough.
    pub(crate) fn is_over(&self, now_ms: u64, interval_ms: u64) -> bool {
        now_ms.saturating_sub(self.started_ms) >= interval_ms
    }

    /// Adds to one of the agent's own counters.
    pub(crate) fn count(&mut self, name: &'static str, by: u64) {
        *self.counters.entry(name).or_default() += by;
    }

    /// Ends the stretch and begins the next one.
    pub(crate) fn close(&mut self, now_ms: u64, bundle: Option<Digest>, plugins: StageTelemetry) -> Metrics {
        let over = std::mem::replace(self, Self::new(now_ms));
        let own = over
            .counters
            .into_iter()
            .map(|(name, count)| (format!("agent/{name}"), count));
        Metrics {
            bundle,
            window_ms: now_ms.saturating_sub(over.started_ms),
            samples: over.samples,
            results: over.results,
            failures: over.failures,
            latency_p50_us: over.latency.percentile_us(50),
            latency_p99_us: over.latency.percentile_us(99),
            gauges: plugins.gauges.into_iter().collect(),
            counters: plugins.counters.into_iter().chain(own).collect(),
        }
    }
}
