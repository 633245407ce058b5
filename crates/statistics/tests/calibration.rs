//! What dependent samples do to thresholds for independent ones, and that a calibrated threshold keeps its rate.
//!
//! The table of README.md is what this prints with forty times the training data:
//! `FLOORHAND_SIMULATION_FACTOR=40 cargo test --release -p floorhand-statistics --test calibration -- --nocapture`.

#![expect(
    clippy::unwrap_used,
    reason = "a monitor that can't be set up should stop the test where it is"
)]

mod simulation;

use floorhand_statistics::{
    StatisticsError,
    calibration::{Calibration, Growth},
    drift::{Criterion, DriftReport},
    kolmogorov_smirnov::TumblingKolmogorovSmirnov,
    psi::{Reference, TumblingPsi},
    sample::SortedSample,
    wasserstein::TumblingWasserstein,
};
use simulation::{Random, windows};

/// Of the previous sample in the next: a memory of about ten samples, as of a temperature read every few seconds.
const MEMORY: f64 = 0.9;

const WINDOW: usize = 500;

/// So many windows of training data: half a day at one sample a second.
const BLOCKS: usize = 100;

/// Windows in the field for each lot of training data.
const WATCHED: usize = 60;

/// Normal with mean 0 and variance 1, each sample `MEMORY` of the one before and the rest new.
struct Autoregressive {
    random: Random,
    last: f64,
}

impl Autoregressive {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let last = random.normal();
        Self { random, last }
    }

    fn samples(&mut self, count: usize) -> Vec<f64> {
        let innovation = (1.0 - MEMORY * MEMORY).sqrt();
        let mut next = || {
            self.last = MEMORY * self.last + innovation * self.random.normal();
            self.last
        };
        (0..count).map(|_| next()).collect()
    }
}

/// A monitor under test: made from training data, it gives a report for each window.
trait Monitor: Clone {
    const NAME: &'static str;
    const GROWTH: Growth;

    fn new(training: &[f64]) -> Result<Self, StatisticsError>;
    fn with_criterion(self, criterion: Criterion) -> Self;
    fn push(&mut self, value: f64) -> Option<DriftReport>;
}

impl Monitor for TumblingPsi {
    const NAME: &'static str = "PSI";
    const GROWTH: Growth = Growth::Quadratic;

    fn new(training: &[f64]) -> Result<Self, StatisticsError> {
        Self::new(Reference::from_samples(training, 10)?, WINDOW as u64)
    }

    fn with_criterion(self, criterion: Criterion) -> Self {
        self.with_criterion(criterion)
    }

    fn push(&mut self, value: f64) -> Option<DriftReport> {
        self.push(value).map(|report| DriftReport {
            statistic: report.psi,
            threshold: report.threshold,
            samples: report.samples,
        })
    }
}

impl Monitor for TumblingKolmogorovSmirnov {
    const NAME: &'static str = "KS";
    const GROWTH: Growth = Growth::Linear;

    fn new(training: &[f64]) -> Result<Self, StatisticsError> {
        Self::new(SortedSample::from_samples(training, 500)?, WINDOW as u64)
    }

    fn with_criterion(self, criterion: Criterion) -> Self {
        self.with_criterion(criterion)
    }

    fn push(&mut self, value: f64) -> Option<DriftReport> {
        self.push(value)
    }
}

impl Monitor for TumblingWasserstein {
    const NAME: &'static str = "Wasserstein";
    const GROWTH: Growth = Growth::Linear;

    fn new(training: &[f64]) -> Result<Self, StatisticsError> {
        Self::new(SortedSample::from_samples(training, 500)?, WINDOW)
    }

    fn with_criterion(self, criterion: Criterion) -> Self {
        self.with_criterion(criterion)
    }

    fn push(&mut self, value: f64) -> Option<DriftReport> {
        self.push(value)
    }
}

/// The share of windows that alarm, of those that `samples` hold.
fn alarms(mut monitor: impl Monitor, samples: &[f64]) -> u32 {
    let reports = samples.iter().filter_map(|&value| monitor.push(value));
    reports.filter(DriftReport::drifted).count() as u32
}

/// Rates with the default threshold, with that of the largest block but none (probability 1 / (B + 1)), extrapolated to
/// 0.999, and with the latter when the process moved by half its deviation.
fn rates<M: Monitor>() -> [f64; 4] {
    let lots = windows(5);
    let mut counts = [0; 4];
    for lot in 0..lots {
        let mut process = Autoregressive::new(u64::from(lot) + 1);
        let training = process.samples(BLOCKS * WINDOW);
        let statistic = |monitor: &M, block: &[f64]| {
            let mut monitor = monitor.clone();
            block
                .iter()
                .find_map(|&value| monitor.push(value))
                .map(|report| report.statistic)
        };
        let calibration = Calibration::on_blocks(&training, WINDOW, M::new, statistic).unwrap();
        let calibrated = calibration.threshold(0.99).unwrap();
        assert!((calibrated.probability - 1.0 / 101.0).abs() < 1e-12 && calibrated.at_most < 0.03);
        let extrapolated = calibration.extrapolated(0.999, M::GROWTH).unwrap();

        let monitor = M::new(&training).unwrap();
        let fixed = |threshold| monitor.clone().with_criterion(Criterion::fixed(threshold).unwrap());
        let field = process.samples(WATCHED * WINDOW);
        let moved: Vec<f64> = field.iter().map(|value| value + 1.0).collect();
        counts[0] += alarms(monitor.clone(), &field);
        counts[1] += alarms(fixed(calibrated.threshold), &field);
        counts[2] += alarms(fixed(extrapolated), &field);
        counts[3] += alarms(fixed(extrapolated), &moved);
    }
    counts.map(|count| f64::from(count) / f64::from(lots * WATCHED as u32))
}

#[expect(clippy::print_stdout, reason = "the table of README.md")]
fn check<M: Monitor>() {
    let [default, calibrated, extrapolated, moved] = rates::<M>();
    println!(
        "| {} | {:.1} | {:.2} | {:.2} | {:.0} |",
        M::NAME,
        100.0 * default,
        100.0 * calibrated,
        100.0 * extrapolated,
        100.0 * moved
    );
    assert!(
        default > 0.1,
        "{}: independent samples' threshold alarms in {default}",
        M::NAME
    );
    // 0.0099 is stated, in the mean over training data; four standard deviations of five lots of it are 0.018.
    assert!(calibrated < 0.028, "{}: {calibrated}", M::NAME);
    assert!(
        extrapolated <= calibrated && extrapolated < 0.006,
        "{}: {extrapolated}",
        M::NAME
    );
    assert!(moved > 0.9, "{}: {moved}", M::NAME);
}

#[test]
fn psi_is_calibrated() {
    check::<TumblingPsi>();
}

#[test]
fn kolmogorov_smirnov_is_calibrated() {
    check::<TumblingKolmogorovSmirnov>();
}

#[test]
fn wasserstein_is_calibrated() {
    check::<TumblingWasserstein>();
}
