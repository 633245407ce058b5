//! How often the drift monitors alarm with their default thresholds: without drift, and with a shift of a quarter, a half
//! and a whole standard deviation; beside what textbook limits do on the same windows.
//!
//! The tables of README.md are what this prints with a hundred times the windows:
//! `FLOORHAND_SIMULATION_FACTOR=100 cargo test --release -p floorhand-statistics --test false_alarms -- --nocapture`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a monitor that can't be set up should stop the test where it is"
)]

mod simulation;

use floorhand_statistics::{
    categorical::{self, CategoryReference, TumblingChiSquare},
    chi_square,
    drift::DriftReport,
    jensen_shannon::TumblingJensenShannon,
    kolmogorov_smirnov::{self, TumblingKolmogorovSmirnov},
    psi::{PsiReport, Reference, TumblingPsi},
    sample::SortedSample,
    wasserstein::{self, TumblingWasserstein},
};
use simulation::{Random, windows};
use std::fmt::Write;

const SAMPLES: [usize; 5] = [50, 100, 200, 500, 2000];
const SHIFTS: [f64; 3] = [0.25, 0.5, 1.0];
const BINS: usize = 10;
const POINTS: usize = 1000;

/// PSI, Jensen-Shannon, Kolmogorov-Smirnov, Wasserstein, chi-square.
const NAMES: [&str; 5] = ["PSI", "JS", "KS", "Wasserstein", "chi-square"];

/// What the module documentation states.
const STATED: [f64; 5] = [0.002, 0.002, 0.002, 0.003, 0.002];

type Alarms = [u32; 5];

/// A distribution: its standard deviation, how it is drawn at a shift, and what category a value is.
struct Distribution {
    name: &'static str,
    seed: u64,
    deviation: f64,
    draw: fn(&mut Random, f64) -> f64,
    category: fn(f64) -> f64,
}

const NORMAL: Distribution = Distribution {
    name: "normal",
    seed: 1,
    deviation: 1.0,
    draw: |random, shift| random.normal() + shift,
    // Twelve categories and more, from one in five to one in thousands.
    category: |value| (2.0 * value).floor(),
};

const LOG_NORMAL: Distribution = Distribution {
    name: "log-normal",
    seed: 2,
    // sqrt((e - 1) e)
    deviation: 2.161_197_4,
    draw: |random, shift| libm::exp(random.normal()) + shift,
    category: f64::floor,
};

/// A sensor whose steps are half a standard deviation: a dozen different values.
const ROUNDED: Distribution = Distribution {
    name: "rounded",
    seed: 3,
    deviation: 1.0,
    draw: |random, shift| (2.0 * (random.normal() + shift)).round() / 2.0,
    category: |value| value,
};

/// The monitors, filled with one reference, and what textbook limits need of it.
struct Monitors {
    psi: TumblingPsi,
    jensen_shannon: TumblingJensenShannon,
    kolmogorov_smirnov: TumblingKolmogorovSmirnov,
    /// From its shortest window on.
    wasserstein: Option<TumblingWasserstein>,
    chi_square: TumblingChiSquare,
    sample: SortedSample,
    categories: CategoryReference,
}

impl Monitors {
    fn new(reference: &[f64], category: fn(f64) -> f64, window: usize) -> Self {
        let bins = Reference::from_samples(reference, BINS).unwrap();
        let sample = SortedSample::from_samples(reference, POINTS).unwrap();
        let codes: Vec<f64> = reference.iter().map(|&value| category(value)).collect();
        let categories = CategoryReference::from_samples(&codes, 64).unwrap();
        let length = window as u64;
        Self {
            psi: TumblingPsi::new(bins.clone(), length).unwrap(),
            jensen_shannon: TumblingJensenShannon::new(bins, length).unwrap(),
            kolmogorov_smirnov: TumblingKolmogorovSmirnov::new(sample.clone(), length).unwrap(),
            wasserstein: TumblingWasserstein::new(sample.clone(), window).ok(),
            chi_square: TumblingChiSquare::new(categories.clone(), length).unwrap(),
            sample,
            categories,
        }
    }

    /// Whether each monitor alarms, and whether the textbook's limit on the same window would.
    fn judge(&mut self, window: &mut [f64], category: fn(f64) -> f64) -> ([bool; 5], [bool; 5]) {
        let last = |reports: Vec<DriftReport>| reports.last().copied().unwrap();
        let psi: Vec<PsiReport> = window.iter().filter_map(|&value| self.psi.push(value)).collect();
        let js = last(
            window
                .iter()
                .filter_map(|&value| self.jensen_shannon.push(value))
                .collect(),
        );
        let ks = last(
            window
                .iter()
                .filter_map(|&value| self.kolmogorov_smirnov.push(value))
                .collect(),
        );
        let codes: Vec<f64> = window.iter().map(|&value| category(value)).collect();
        let chi = last(codes.iter().filter_map(|&code| self.chi_square.push(code)).collect());
        let own = [psi[0].drifted(), js.drifted(), ks.drifted(), false, chi.drifted()];
        let bins = self.textbook_bins(window);
        let moved = self.wasserstein(window);
        let textbook = [
            textbook_psi(&bins) > 0.1,
            textbook_jensen_shannon(&bins) > 0.1,
            ks.statistic > kolmogorov_smirnov::noise(0.95, self.sample.drawn(), window.len() as f64),
            moved.statistic > 0.1,
            self.textbook_chi_square(&codes) < 0.05,
        ];
        ([own[0], own[1], own[2], moved.drifted(), own[4]], textbook)
    }

    /// In windows that are too short for the monitor, what it would say.
    fn wasserstein(&mut self, window: &mut [f64]) -> DriftReport {
        if let Some(monitor) = &mut self.wasserstein {
            return window.iter().find_map(|&value| monitor.push(value)).unwrap();
        }
        window.sort_unstable_by(f64::total_cmp);
        let samples = window.len() as u64;
        let noise = wasserstein::noise(0.999, self.sample.skewness(), self.sample.drawn(), samples as f64);
        DriftReport {
            statistic: wasserstein::distance(self.sample.points(), window) / self.sample.deviation(),
            threshold: noise.max(wasserstein::LEAST_DRIFT),
            samples,
        }
    }

    /// The shares of each bin in reference and window.
    fn textbook_bins(&self, window: &[f64]) -> Vec<(f64, f64)> {
        let reference = self.psi.reference();
        let mut current = vec![0.0; reference.bins()];
        window
            .iter()
            .for_each(|&value| current[reference.bin(value).unwrap()] += 1.0 / window.len() as f64);
        let shares = reference.counts().iter().map(|count| count / reference.total());
        shares.zip(current).collect()
    }

    /// The p-value of the goodness of fit to the reference's shares, every category for itself and half a count for
    /// what the reference hasn't.
    fn textbook_chi_square(&self, codes: &[f64]) -> f64 {
        let scale = codes.len() as f64 / self.categories.total();
        let mut expected: Vec<f64> = self.categories.counts().iter().map(|count| count * scale).collect();
        expected.push(0.5 * scale);
        let mut observed = vec![0.0; expected.len()];
        for code in codes {
            let at = self
                .categories
                .categories()
                .iter()
                .position(|category| category == code);
            observed[at.unwrap_or(expected.len() - 1)] += 1.0;
        }
        let degrees = expected.len() as u32 - 1;
        chi_square::survival(categorical::goodness_of_fit(&observed, &expected), degrees)
    }
}

/// Empty bins clipped at 1e-4.
fn textbook_psi(bins: &[(f64, f64)]) -> f64 {
    let clipped = bins.iter().map(|&(p, q)| (p.max(1e-4), q.max(1e-4)));
    clipped.map(|(p, q)| (q - p) * libm::log(q / p)).sum()
}

fn textbook_jensen_shannon(bins: &[(f64, f64)]) -> f64 {
    let part = |p: f64, mean: f64| if p > 0.0 { p * libm::log2(p / mean) } else { 0.0 };
    let of = bins
        .iter()
        .map(|&(p, q)| part(p, (p + q) / 2.0) + part(q, (p + q) / 2.0));
    libm::sqrt((of.sum::<f64>() / 2.0).max(0.0))
}

/// Alarms of the monitors and of the textbook in `count` windows of `samples`, shifted by so many standard deviations. A
/// new reference is drawn whenever the windows have used up twice as many samples as it holds: with a single one, its own
/// luck would be in all of them.
fn alarms(of: &Distribution, drawn: usize, samples: usize, shift: f64, count: u32) -> (Alarms, Alarms) {
    let seed = [drawn as u64, samples as u64, (shift * 100.0) as u64];
    let mut random = Random::new(seed.iter().fold(of.seed, |seed, next| seed * 1_000_003 + next));
    let per_reference = (2 * drawn / samples).max(1) as u32;
    let (mut own, mut textbook) = ([0; 5], [0; 5]);
    let mut monitors = None;
    for window in 0..count {
        if window % per_reference == 0 {
            let reference: Vec<f64> = (0..drawn).map(|_| (of.draw)(&mut random, 0.0)).collect();
            monitors = Some(Monitors::new(&reference, of.category, samples));
        }
        let mut values: Vec<f64> = (0..samples)
            .map(|_| (of.draw)(&mut random, shift * of.deviation))
            .collect();
        let (by_monitor, by_textbook) = monitors.as_mut().unwrap().judge(&mut values, of.category);
        for at in 0..5 {
            own[at] += u32::from(by_monitor[at]);
            textbook[at] += u32::from(by_textbook[at]);
        }
    }
    (own, textbook)
}

/// The most alarms that `windows` of a monitor may raise at the stated probability: four standard deviations and three
/// above the mean.
fn most_alarms(monitor: usize, windows: u32) -> u32 {
    let mean = f64::from(windows) * STATED[monitor];
    (mean + 4.0 * mean.sqrt() + 3.0) as u32
}

fn row(table: &mut String, head: &str, alarms: &[Alarms], count: u32, digits: usize) {
    write!(table, "| {head} |").unwrap();
    for count_of in alarms.iter().flatten() {
        write!(table, " {:.digits$} |", 100.0 * f64::from(*count_of) / f64::from(count)).unwrap();
    }
    table.push('\n');
}

/// Wasserstein's shorter windows are in the tables to show why its monitor refuses them.
fn keeps_rate(monitor: usize, samples: usize) -> bool {
    NAMES[monitor] != "Wasserstein" || samples >= wasserstein::MIN_WINDOW
}

/// The false alarms of both, in per cent, and that the monitors keep the rate that is stated while the textbook doesn't.
fn false_alarms(of: &Distribution, drawn: usize) -> String {
    let mut table = String::new();
    let (mut total, mut all) = ([0; 5], 0);
    for samples in SAMPLES {
        let count = windows(if samples < 2000 { 400 } else { 120 });
        let (own, textbook) = alarms(of, drawn, samples, 0.0, count);
        for at in (0..5).filter(|&at| keeps_rate(at, samples)) {
            let what = format!("{}, {samples} of {drawn}: {}", of.name, NAMES[at]);
            assert!(own[at] <= most_alarms(at, count), "{what} {} of {count}", own[at]);
            total[at] += own[at];
        }
        all += count;
        if samples == 50 {
            // How p < 0.05 does depends on how many values repeat: `days.rs` looks at it.
            let least = [0.6, 0.85, 0.0, 0.8, 0.03].map(|share| (share * f64::from(count)) as u32);
            assert!(
                (0..5).all(|at| textbook[at] >= least[at]),
                "{} of {count}: {textbook:?}",
                of.name
            );
        }
        row(
            &mut table,
            &format!("{}, {drawn}, {samples}", of.name),
            &[own, textbook],
            count,
            2,
        );
    }
    assert!(
        (0..5).all(|at| total[at] <= most_alarms(at, all)),
        "{} of {all}: {total:?}",
        of.name
    );
    table
}

/// The share of shifted windows that alarm, in per cent, and that a shift of a whole deviation isn't missed.
fn power(of: &Distribution, drawn: usize) -> String {
    let mut table = String::new();
    for samples in SAMPLES {
        let count = windows(24);
        let found = SHIFTS.map(|shift| alarms(of, drawn, samples, shift, count).0);
        let seen = |shift: usize, at: usize| f64::from(found[shift][at]) / f64::from(count);
        for (at, name) in NAMES.into_iter().enumerate() {
            let what = format!("{}, {samples} of {drawn}: {name}", of.name);
            assert!(
                samples < 100 || seen(2, at) > 0.9,
                "{what} at a whole deviation: {}",
                seen(2, at)
            );
            assert!(
                samples < 500 || seen(1, at) > 0.9,
                "{what} at half a deviation: {}",
                seen(1, at)
            );
        }
        row(&mut table, &format!("{}, {samples}", of.name), &found, count, 0);
    }
    table
}

fn report(of: &Distribution) -> String {
    format!(
        "{}\n{}\n{}",
        false_alarms(of, 10_000),
        false_alarms(of, 1_000),
        power(of, 10_000)
    )
}

#[test]
fn normal_samples_keep_the_stated_rate() {
    println!("{}", report(&NORMAL));
}

#[test]
fn skewed_samples_keep_the_stated_rate() {
    println!("{}", report(&LOG_NORMAL));
}

#[test]
fn samples_of_few_values_keep_the_stated_rate() {
    println!("{}", report(&ROUNDED));
}

#[test]
fn half_counts_keep_the_rate_of_psi_and_clipped_bins_do_not() {
    let count = windows(1000);
    let mut random = Random::new(4);
    let (mut halves, mut clipped) = (0, 0);
    for _ in 0..20 {
        let training: Vec<f64> = (0..10_000).map(|_| random.normal()).collect();
        let mut monitors = Monitors::new(&training, NORMAL.category, 50);
        for _ in 0..count / 20 {
            let window: Vec<f64> = (0..50).map(|_| random.normal()).collect();
            let report = window.iter().find_map(|&value| monitors.psi.push(value)).unwrap();
            halves += u32::from(report.drifted());
            clipped += u32::from(textbook_psi(&monitors.textbook_bins(&window)) > report.threshold);
        }
    }
    println!("above PSI's threshold at 50 samples: {halves} with half counts, {clipped} clipped, of {count}");
    assert!(
        halves <= most_alarms(0, count) && clipped * 50 > count,
        "{halves} and {clipped} of {count}"
    );
}
