//! A trial: what a candidate has shown so far, and whether that is enough.

use crate::event::TrialSample;
use crate::histogram::LatencyHistogram;
use floorhand_bundle::Gates;

/// What a trial has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not enough samples yet.
    Undecided,
    /// Every gate is passed.
    Passed,
    /// A gate isn't.
    Failed(String),
    /// Too few samples came while there was time.
    TimedOut(String),
}

/// What a candidate has shown so far.
#[derive(Debug, Clone)]
pub struct Tally {
    gates: Gates,
    /// Whether a generation serves beside it, which it can be compared with.
    beside: bool,
    started_ms: u64,
    samples: u64,
    failures: u64,
    /// Those without an answer because a window was being filled.
    not_yet: u64,
    /// Why the first of them failed: what a person wants to know of a trial that failed.
    first_failure: Option<String>,
    latency: LatencyHistogram,
    disagreement_sum: f64,
    compared: u64,
    alarms: u64,
}

impl Tally {
    /// A trial that begins now, `beside` a generation that serves or alone.
    #[must_use]
    pub fn new(gates: Gates, beside: bool, now_ms: u64) -> Self {
        Self {
            gates,
            beside,
            started_ms: now_ms,
            samples: 0,
            failures: 0,
            not_yet: 0,
            first_failure: None,
            latency: LatencyHistogram::default(),
            disagreement_sum: 0.0,
            compared: 0,
            alarms: 0,
        }
    }

    /// Counts a sample.
    pub fn add(&mut self, sample: &TrialSample) {
        self.samples += 1;
        if let Some(failure) = &sample.failure {
            self.failures += 1;
            self.first_failure.get_or_insert_with(|| failure.clone());
        }
        self.not_yet += u64::from(sample.not_yet);
        self.latency.add(sample.latency_us);
        self.alarms += sample.alarms;
        if let Some(disagreement) = sample.disagreement {
            self.disagreement_sum += disagreement;
            self.compared += 1;
        }
    }

    /// How many samples were seen, and how many are needed.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.samples, self.gates.samples)
    }

    /// What the trial has come to. What can't get better any more fails before the last sample.
    #[must_use]
    pub fn verdict(&self, now_ms: u64) -> Verdict {
        if let Some(reason) = self.beyond_repair() {
            return Verdict::Failed(reason);
        }
        if self.samples >= self.gates.samples {
            return self.final_problem().map_or(Verdict::Passed, Verdict::Failed);
        }
        let elapsed_s = now_ms.saturating_sub(self.started_ms) / 1000;
        if elapsed_s >= self.gates.timeout_s {
            return Verdict::TimedOut(format!(
                "its trial saw {} of {} samples in {} s; silence never passes",
                self.samples, self.gates.samples, self.gates.timeout_s
            ));
        }
        Verdict::Undecided
    }

    fn beyond_repair(&self) -> Option<String> {
        let counted = self.samples.max(self.gates.samples);
        if self.failures as f64 > self.gates.max_error_rate * counted as f64 {
            return Some(format!(
                "{} of {} samples failed in its trial; at most {} % may; the first: {}",
                self.failures,
                self.samples,
                self.gates.max_error_rate * 100.0,
                self.first_failure.as_deref().unwrap_or("unknown")
            ));
        }
        let findings = self.gates.findings.as_ref()?;
        (self.alarms > findings.max_alarms).then(|| {
            format!(
                "its monitors raised {} alarms in its trial; at most {} may be",
                self.alarms, findings.max_alarms
            )
        })
    }

    fn final_problem(&self) -> Option<String> {
        if self.not_yet >= self.samples {
            return Some(format!(
                "it answered none of the {} samples of its trial: its window is longer; ask for more in gates.samples",
                self.samples
            ));
        }
        let p99_us = self.latency.percentile_us(99);
        if p99_us > self.gates.latency_p99_ms * 1000 {
            return Some(format!(
                "its latency in the trial was {} us at the 99th percentile; at most {} ms may be",
                p99_us, self.gates.latency_p99_ms
            ));
        }
        let gate = self.gates.disagreement.as_ref()?;
        if !self.beside {
            return None;
        }
        if self.compared == 0 {
            return Some(format!(
                "none of its {} could be held against the running bundle's",
                gate.output
            ));
        }
        let mean = self.disagreement_sum / self.compared as f64;
        // Written so that NaN fails.
        let fine = mean <= gate.max_mean;
        (!fine).then(|| {
            format!(
                "its {} differed from the running bundle's by {mean:.4} on average over {} samples; at most {} may be",
                gate.output, self.compared, gate.max_mean
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_bundle::{Disagreement, FindingsGate};

    fn gates() -> Gates {
        Gates {
            samples: 10,
            max_error_rate: 0.1,
            latency_p99_ms: 5,
            timeout_s: 60,
            ..Gates::default()
        }
    }

    fn run(gates: Gates, samples: impl IntoIterator<Item = TrialSample>, now_ms: u64) -> Verdict {
        let mut tally = Tally::new(gates, true, 0);
        samples.into_iter().for_each(|sample| tally.add(&sample));
        tally.verdict(now_ms)
    }

    fn good() -> TrialSample {
        TrialSample {
            latency_us: 100,
            ..TrialSample::default()
        }
    }

    fn failed(verdict: Verdict, part: &str) {
        assert!(
            matches!(&verdict, Verdict::Failed(reason) if reason.contains(part)),
            "{verdict:?}"
        );
    }

    #[test]
    fn silence_never_passes() {
        assert_eq!(run(gates(), vec![good(); 9], 59_999), Verdict::Undecided);
        assert!(matches!(run(gates(), vec![good(); 9], 60_000), Verdict::TimedOut(_)));
        assert_eq!(run(gates(), vec![good(); 10], 60_000), Verdict::Passed);
    }

    #[test]
    fn a_window_that_never_fills_never_passes() {
        let filling = TrialSample {
            not_yet: true,
            ..good()
        };
        failed(
            run(gates(), vec![filling.clone(); 10], 0),
            "answered none of the 10 samples",
        );
        let filled = [vec![filling; 9], vec![good()]].concat();
        assert_eq!(run(gates(), filled, 0), Verdict::Passed);
    }

    #[test]
    fn each_gate_fails_for_its_own_reason() {
        let bad = |reason: &str| TrialSample {
            failure: Some(reason.to_owned()),
            ..good()
        };
        assert_eq!(
            run(gates(), [vec![bad("x"); 1], vec![good(); 9]].concat(), 0),
            Verdict::Passed
        );
        let verdict = run(gates(), [bad("no flow"), bad("later")], 0);
        failed(verdict.clone(), "2 of 2 samples failed");
        failed(verdict, "the first: no flow");
        failed(
            run(
                gates(),
                vec![
                    TrialSample {
                        latency_us: 6000,
                        ..good()
                    };
                    10
                ],
                0,
            ),
            "99th percentile",
        );
        let alarms = Gates {
            findings: Some(FindingsGate { max_alarms: 1 }),
            ..gates()
        };
        failed(run(alarms, vec![TrialSample { alarms: 1, ..good() }; 2], 0), "2 alarms");
        let disagreement = Disagreement {
            output: "score".to_owned(),
            max_mean: 0.2,
        };
        let compared = Gates {
            disagreement: Some(disagreement),
            ..gates()
        };
        let off = |by| {
            vec![
                TrialSample {
                    disagreement: Some(by),
                    ..good()
                };
                10
            ]
        };
        assert_eq!(run(compared.clone(), off(0.2), 0), Verdict::Passed);
        failed(run(compared.clone(), off(0.21), 0), "score differed");
        failed(run(compared.clone(), off(f64::NAN), 0), "score differed");
        failed(
            run(compared.clone(), vec![good(); 10], 0),
            "none of its score could be held against",
        );
        let mut first = Tally::new(compared, false, 0);
        (0..10).for_each(|_| first.add(&good()));
        assert_eq!(
            first.verdict(0),
            Verdict::Passed,
            "the first bundle has nothing to differ from"
        );
    }
}
