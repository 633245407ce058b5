//! What a run came to.

use crate::output::{Output, Tone};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Gauges that a person reads; `--json` has all.
const SHOWN_GAUGES: usize = 20;

/// Counts of a run.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// Samples that were read.
    pub(super) samples: u64,
    /// Results that were given.
    pub(super) results: u64,
    /// Samples that gave none yet, because a window was filling.
    pub(super) not_yet: u64,
    /// Samples that couldn't be worked with.
    pub(super) failures: u64,
    /// Faults of plugins.
    pub(super) plugin_faults: u64,
    /// Findings by kind.
    pub(super) findings: BTreeMap<String, u64>,
    /// The time of a sample's way through the pipeline.
    pub(super) latencies: Latencies,
    /// The last values of the plugins' gauges.
    pub(super) gauges: BTreeMap<String, f64>,
    /// The plugins' counters.
    pub(super) counters: BTreeMap<String, u64>,
    /// How long it took.
    pub(super) seconds: f64,
}

impl Summary {
    /// Shows it on standard output, or, where results go there, on standard error.
    pub(super) fn show(&self, on_stdout: bool, out: &Output) -> Result<()> {
        if out.is_json() {
            let text = serde_json::to_string_pretty(&self.json()).context("summary can't be written as JSON")?;
            if on_stdout {
                return out.line(&text);
            }
            out.note(&text);
            return Ok(());
        }
        for (name, value, tone) in self.lines() {
            if on_stdout {
                out.line(&format!(
                    "{} {}",
                    out.paint(&format!("{name:<12}"), Tone::Dim),
                    out.paint(&value, tone)
                ))?;
            } else {
                out.note_in(tone, &format!("{name:<12} {value}"));
            }
        }
        Ok(())
    }

    fn json(&self) -> Value {
        json!({
            "samples": self.samples,
            "results": self.results,
            "not_yet": self.not_yet,
            "failures": self.failures,
            "plugin_faults": self.plugin_faults,
            "latency_p50_us": self.latencies.quantile(0.5),
            "latency_p99_us": self.latencies.quantile(0.99),
            "findings": self.findings,
            "gauges": self.gauges,
            "counters": self.counters,
            "seconds": self.seconds,
        })
    }

    fn lines(&self) -> Vec<(String, String, Tone)> {
        let rate = if self.seconds > 0.0 {
            self.samples as f64 / self.seconds
        } else {
            0.0
        };
        let bad = |count: u64| if count > 0 { Tone::Bad } else { Tone::Plain };
        let mut lines = vec![
            (
                "samples".to_owned(),
                format!("{} in {:.2} s, {rate:.0} a second", self.samples, self.seconds),
                Tone::Plain,
            ),
            ("results".to_owned(), self.results.to_string(), Tone::Plain),
        ];
        if self.not_yet > 0 {
            lines.push((
                "not yet".to_owned(),
                format!("{}: a window was filling", self.not_yet),
                Tone::Plain,
            ));
        }
        lines.push(("failures".to_owned(), self.failures.to_string(), bad(self.failures)));
        if self.plugin_faults > 0 {
            lines.push(("plugin faults".to_owned(), self.plugin_faults.to_string(), Tone::Bad));
        }
        if let (Some(p50), Some(p99)) = (self.latencies.quantile(0.5), self.latencies.quantile(0.99)) {
            lines.push(("latency".to_owned(), format!("p50 {p50} us, p99 {p99} us"), Tone::Plain));
        }
        let findings: Vec<_> = self
            .findings
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        let (text, tone) = if findings.is_empty() {
            ("none".to_owned(), Tone::Plain)
        } else {
            (findings.join(", "), Tone::Warn)
        };
        lines.push(("findings".to_owned(), text, tone));
        let gauges = self.gauges.iter().take(SHOWN_GAUGES);
        lines.extend(gauges.map(|(name, value)| (name.clone(), format!("{value:.4}"), Tone::Plain)));
        lines
    }
}

/// Latencies in microseconds, counted at three significant digits, so that a run of any length takes little memory.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    counts: BTreeMap<u64, u64>,
    total: u64,
}

impl Latencies {
    /// Counts one.
    pub(super) fn add(&mut self, micros: u64) {
        // 999 is the largest with three digits; each further digit is a factor of ten that is rounded away.
        let scale = 10_u64.pow(micros.max(1).ilog10().saturating_sub(2));
        *self.counts.entry(micros / scale * scale).or_default() += 1;
        self.total += 1;
    }

    /// The smallest latency that at least this share of samples was within; `None` when there was no sample.
    pub(super) fn quantile(&self, share: f64) -> Option<u64> {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let reached = self.counts.iter().find(|(_, count)| {
            seen += **count;
            seen >= wanted
        });
        reached.map(|(micros, _)| *micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), None);
        (1..=1000).for_each(|micros| latencies.add(micros));
        latencies.add(123_456);
        assert_eq!(latencies.quantile(0.5), Some(501));
        assert_eq!(latencies.quantile(0.99), Some(991));
        assert_eq!(latencies.quantile(1.0), Some(123_000));
        latencies.add(0);
        assert_eq!(latencies.quantile(0.0001), Some(0));
    }
}
