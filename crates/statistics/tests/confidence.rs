//! How often noise is above the thresholds at higher confidences than the default: those of a device that may alarm once a
//! month.
//!
//! README.md has what this prints with a thousand times the windows:
//! `FLOORHAND_SIMULATION_FACTOR=1000 cargo test --release -p floorhand-statistics --test confidence -- --nocapture`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a reference that can't be made should stop the test where it is"
)]

mod simulation;

use floorhand_statistics::{categorical, jensen_shannon, psi, sample::SortedSample, wasserstein};
use simulation::{Random, windows};
use std::fmt::Write;

const CONFIDENCES: [f64; 3] = [0.999, 0.9999, 0.99999];
const BINS: usize = 10;
const DRAWN: u32 = 10_000;

/// A reference serves so many windows.
const PER_REFERENCE: u32 = 200;

/// As many samples in bins that are equally likely.
fn histogram(random: &mut Random, samples: u32) -> [f64; BINS] {
    let mut counts = [0.0; BINS];
    (0..samples).for_each(|_| counts[(random.uniform() * BINS as f64) as usize] += 1.0);
    counts
}

/// Adds to `above` for each confidence whose noise the statistic is above.
fn count(above: &mut [u32; 3], statistic: f64, noise: impl Fn(f64) -> f64) {
    for (above, &confidence) in above.iter_mut().zip(&CONFIDENCES) {
        *above += u32::from(statistic > noise(confidence));
    }
}

/// A line of how many times the stated alarms there were, and that they are at most `factor` times, four standard
/// deviations and three alarms.
fn line(table: &mut String, what: &str, above: [u32; 3], windows: u32, factor: f64) {
    write!(table, "| {what} |").unwrap();
    for (above, confidence) in above.into_iter().zip(CONFIDENCES) {
        let stated = (1.0 - confidence) * f64::from(windows);
        write!(table, " {:.1} |", f64::from(above) / stated).unwrap();
        let most = factor * stated + 4.0 * (factor * stated).sqrt() + 3.0;
        assert!(f64::from(above) <= most, "{what} at {confidence}: {above} of {windows}");
    }
    table.push('\n');
}

#[test]
fn histograms_keep_the_rate_of_high_confidences() {
    let rounds = windows(1000);
    let mut random = Random::new(7);
    let mut table = String::new();
    for samples in [50, 100, 200, 500] {
        let [mut psis, mut distances, mut chi_squares] = [[0; 3]; 3];
        let mut reference = [0.0; BINS];
        let (n, m) = (f64::from(DRAWN), f64::from(samples));
        for round in 0..rounds {
            if round % PER_REFERENCE == 0 {
                reference = histogram(&mut random, DRAWN);
            }
            let current = histogram(&mut random, samples);
            // Quantiles are searched for, and most windows are nowhere near the lowest.
            let index = psi::psi(&reference, &current);
            if index * m < 10.0 {
                continue;
            }
            count(&mut psis, index, |confidence| psi::noise(confidence, BINS, n, m));
            let distance = jensen_shannon::distance(&reference, &current);
            count(&mut distances, distance, |confidence| {
                jensen_shannon::noise(confidence, BINS, n, m)
            });
            let statistic = categorical::homogeneity(&reference, &current);
            count(&mut chi_squares, statistic, |confidence| {
                categorical::noise(confidence, &reference, m)
            });
        }
        line(
            &mut table,
            &format!("PSI, {samples}"),
            psis,
            rounds,
            if samples == 100 { 8.0 } else { 2.0 },
        );
        line(
            &mut table,
            &format!("Jensen-Shannon, {samples}"),
            distances,
            rounds,
            1.5,
        );
        line(&mut table, &format!("chi-square, {samples}"), chi_squares, rounds, 3.0);
    }
    println!("{table}");
}

#[test]
fn moved_values_keep_the_rate_of_high_confidences() {
    let rounds = windows(200);
    let samples = wasserstein::MIN_WINDOW;
    let mut table = String::new();
    for (name, draw, factor) in [
        ("normal", (|random| random.normal()) as fn(&mut Random) -> f64, 1.5),
        ("log-normal", |random| libm::exp(random.normal()), 10.0),
    ] {
        let mut random = Random::new(8);
        let mut above = [0; 3];
        let mut sample = None;
        for round in 0..rounds {
            if round % PER_REFERENCE == 0 {
                let reference: Vec<f64> = (0..DRAWN).map(|_| draw(&mut random)).collect();
                sample = Some(SortedSample::from_samples(&reference, 1000).unwrap());
            }
            let sample = sample.as_ref().unwrap();
            let mut window: Vec<f64> = (0..samples).map(|_| draw(&mut random)).collect();
            window.sort_unstable_by(f64::total_cmp);
            let distance = wasserstein::distance(sample.points(), &window) / sample.deviation();
            if distance > 0.1 {
                count(&mut above, distance, |confidence| {
                    wasserstein::noise(confidence, sample.skewness(), sample.drawn(), samples as f64)
                });
            }
        }
        line(
            &mut table,
            &format!("Wasserstein, {samples}, {name}"),
            above,
            rounds,
            factor,
        );
    }
    println!("{table}");
}
