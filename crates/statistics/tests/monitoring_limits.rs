//! How often alarms come without a cause, and how often with one: simulations of z-scores, T² and Q.
//!
//! Seeded, so that every run sees the same samples. The tables in the documentation of `zscore` and `pca` are those of
//! a run with `FLOORHAND_SIMULATION_FACTOR=100`, printed by
//!
//! ```text
//! FLOORHAND_SIMULATION_FACTOR=100 cargo test --release -p floorhand-statistics --test monitoring_limits -- --nocapture
//! ```

#![expect(
    clippy::unwrap_used,
    reason = "parameters that are refused should stop the simulation where it is"
)]
#![expect(clippy::indexing_slicing, reason = "small matrices of known size")]

mod simulation;

use floorhand_statistics::{
    pca::PrincipalComponents,
    zscore::{Baseline, Config, ZScore},
};
use simulation::{Random, factor};

/// First-order autoregressive samples of variance 1.
struct Signal {
    random: Random,
    coefficient: f64,
    value: f64,
}

impl Signal {
    fn new(coefficient: f64, seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            coefficient,
            value: 0.0,
        }
    }

    fn next(&mut self) -> f64 {
        let fresh = libm::sqrt(1.0 - self.coefficient * self.coefficient);
        self.value = self.coefficient * self.value + fresh * self.random.normal();
        self.value
    }
}

fn score(baseline: Baseline, raise: f64) -> ZScore {
    let config = Config {
        baseline,
        raise,
        clear: raise,
        ..Config::default()
    };
    ZScore::new(config).unwrap()
}

/// The share of samples that are beyond the limit.
fn beyond(baseline: Baseline, raise: f64, coefficient: f64, samples: u64) -> f64 {
    let (mut score, mut signal) = (
        score(baseline, raise),
        Signal::new(coefficient, samples ^ raise.to_bits()),
    );
    let (mut judged, mut beyond) = (0_u64, 0_u64);
    while judged < samples {
        if let Some(report) = score.push(signal.next()) {
            judged += 1;
            beyond += u64::from(report.z.abs() > report.limit);
        }
    }
    beyond as f64 / judged as f64
}

/// The share of shifts by so many standard deviations that raise the alarm within ten samples.
fn found(baseline: Baseline, raise: f64, shift: f64, shifts: u64) -> f64 {
    let mut signal = Signal::new(0.0, shifts ^ shift.to_bits());
    let is_found = |_: &u64| {
        let mut score = score(baseline, raise);
        // Long enough for each of these baselines.
        for _ in 0..500 {
            score.push(signal.next());
        }
        (0..10).any(|_| {
            score
                .push(signal.next() + shift)
                .is_some_and(|report| report.z.abs() > report.limit)
        })
    };
    (0..shifts).filter(is_found).count() as f64 / shifts as f64
}

const BASELINES: [Baseline; 8] = [
    Baseline::Rolling(8),
    Baseline::Rolling(20),
    Baseline::Rolling(100),
    Baseline::Rolling(1000),
    Baseline::HalfLife(3.0),
    Baseline::HalfLife(10.0),
    Baseline::HalfLife(50.0),
    Baseline::HalfLife(500.0),
];

/// What a normal variable has beyond 2, 3 and 4 standard deviations.
const BEYOND: [f64; 3] = [0.0455, 0.0027, 0.000_063];

#[test]
fn z_scores_are_beyond_the_limit_as_often_as_a_normal_variable() {
    let samples = 20_000 * u64::from(factor());
    println!("beyond 2, 3 and 4 standard deviations of independent samples; a normal variable: {BEYOND:?}");
    for baseline in BASELINES {
        let rates = [2.0, 3.0, 4.0].map(|raise| beyond(baseline, raise, 0.0, samples));
        println!("{baseline:?}: {rates:?}");
        // 910 and 54 are expected, 30 and 7 being their standard deviations.
        assert!(
            rates[0] < 1.1 * BEYOND[0] && rates[1] < 1.4 * BEYOND[1] && rates[2] < 0.0003,
            "{baseline:?} {rates:?}"
        );
        // Weights that fall quickly make a baseline that t is too careful for.
        let least = if baseline == Baseline::HalfLife(3.0) { 0.15 } else { 0.7 };
        assert!(
            rates[0] > least * BEYOND[0] && rates[1] > least * BEYOND[1],
            "{baseline:?} {rates:?}"
        );
    }
}

#[test]
fn autocorrelated_samples_are_beyond_the_limit_up_to_six_times_as_often() {
    let samples = 20_000 * u64::from(factor());
    for coefficient in [0.5, 0.9, 0.99] {
        for baseline in [Baseline::Rolling(20), Baseline::Rolling(100), Baseline::HalfLife(50.0)] {
            let rates = [2.0, 3.0, 4.0].map(|raise| beyond(baseline, raise, coefficient, samples));
            println!("coefficient {coefficient}, {baseline:?}: {rates:?}");
            assert!(rates[1] < 6.0 * BEYOND[1], "{coefficient} {baseline:?} {rates:?}");
        }
    }
}

#[test]
fn shifts_are_found_by_their_size() {
    let shifts = 100 * u64::from(factor());
    for baseline in [Baseline::Rolling(20), Baseline::Rolling(100), Baseline::HalfLife(50.0)] {
        for raise in [3.0, 5.0] {
            let shares = [0.25, 0.5, 1.0, 3.0, 5.0, 8.0].map(|shift| found(baseline, raise, shift, shifts));
            println!("{baseline:?}, raise {raise}, shifts of 0.25, 0.5, 1, 3, 5 and 8: {shares:?}");
            assert!(shares.is_sorted() && shares[0] < 0.1, "{baseline:?} {raise} {shares:?}");
            // After 20 samples the limit that stands for 5 is above 7.
            let most = if baseline == Baseline::Rolling(20) && raise == 5.0 {
                0.5
            } else {
                0.95
            };
            assert!(shares[5] > most, "{baseline:?} {raise} {shares:?}");
        }
    }
}

type Matrix = Vec<Vec<f64>>;

/// What is analysed: so many sensors see some things that vary, with noise of their own, and as many components are
/// kept.
#[derive(Debug, Clone, Copy)]
struct Plant {
    sensors: usize,
    things: usize,
}

impl Plant {
    fn row(self, random: &mut Random) -> Vec<f64> {
        let things: Vec<f64> = (0..self.things).map(|_| random.normal()).collect();
        let seen = |sensor: usize| {
            let mixed = things.iter().enumerate().map(|(thing, value)| {
                let angle = (sensor * (thing + 1)) as f64;
                2.0 * libm::cos(angle) * value / (1.0 + thing as f64)
            });
            mixed.sum::<f64>() + 0.5 * random.normal()
        };
        (0..self.sensors).map(seen).collect()
    }

    /// The analysis of so many rows.
    fn fitted(self, rows: usize, random: &mut Random) -> PrincipalComponents {
        let training: Matrix = (0..rows).map(|_| self.row(random)).collect();
        let (mean, covariance) = moments(&training);
        let pairs = eigen(covariance);
        let components = pairs
            .iter()
            .take(self.things)
            .flat_map(|(_, vector)| vector.clone())
            .collect();
        let variances = pairs.iter().map(|(variance, _)| *variance).collect();
        PrincipalComponents::new(mean, vec![1.0; self.sensors], components, variances).unwrap()
    }

    /// The shares of new rows with T² and Q above the limit, one sensor being off by so much.
    fn above(self, training_rows: usize, probability: f64, offset: f64, fits: u64) -> [f64; 2] {
        const NEW_ROWS: u64 = 100;
        let mut random = Random::new(training_rows as u64);
        let (mut t2, mut q) = (0_u64, 0_u64);
        for _ in 0..fits {
            let mut pca = self.fitted(training_rows, &mut random);
            let t2_limit = pca.t2_limit(probability, training_rows as u32).unwrap();
            let q_limit = pca.q_limit(probability, training_rows as u32).unwrap();
            for _ in 0..NEW_ROWS {
                let mut values = self.row(&mut random);
                values[2] += offset;
                let distances = pca.distances(&values).unwrap();
                t2 += u64::from(distances.t2 > t2_limit);
                q += u64::from(distances.q > q_limit);
            }
        }
        [t2, q].map(|count| count as f64 / (fits * NEW_ROWS) as f64)
    }
}

/// Mean and covariance of some rows.
fn moments(rows: &[Vec<f64>]) -> (Vec<f64>, Matrix) {
    let width = rows[0].len();
    let mean: Vec<f64> = (0..width)
        .map(|i| rows.iter().map(|row| row[i]).sum::<f64>() / rows.len() as f64)
        .collect();
    let mut covariance = vec![vec![0.0; width]; width];
    for row in rows {
        for i in 0..width {
            for j in 0..width {
                covariance[i][j] += (row[i] - mean[i]) * (row[j] - mean[j]) / (rows.len() - 1) as f64;
            }
        }
    }
    (mean, covariance)
}

/// Eigenvalues and eigenvectors, the largest first, by Jacobi's rotations.
fn eigen(mut matrix: Matrix) -> Vec<(f64, Vec<f64>)> {
    let width = matrix.len();
    let mut vectors = vec![vec![0.0; width]; width];
    (0..width).for_each(|i| vectors[i][i] = 1.0);
    for _ in 0..8 {
        for p in 0..width {
            for q in p + 1..width {
                let angle = 0.5 * libm::atan2(2.0 * matrix[p][q], matrix[q][q] - matrix[p][p]);
                let (s, c) = (libm::sin(angle), libm::cos(angle));
                for line in matrix.iter_mut().chain(&mut vectors) {
                    (line[p], line[q]) = (c * line[p] - s * line[q], s * line[p] + c * line[q]);
                }
                let (above, below) = matrix.split_at_mut(q);
                for (upper, lower) in above[p].iter_mut().zip(&mut below[0]) {
                    (*upper, *lower) = (c * *upper - s * *lower, s * *upper + c * *lower);
                }
            }
        }
    }
    let column = |i: usize| vectors.iter().map(|line| line[i]).collect();
    let mut pairs: Vec<(f64, Vec<f64>)> = (0..width).map(|i| (matrix[i][i], column(i))).collect();
    pairs.sort_by(|left, right| right.0.total_cmp(&left.0));
    pairs
}

#[test]
fn t2_and_q_are_above_their_limits_as_often_as_they_say() {
    let small = Plant { sensors: 6, things: 2 };
    let large = Plant { sensors: 20, things: 4 };
    let mut cases = vec![(small, 20), (small, 100), (small, 500), (large, 50), (large, 500)];
    if factor() > 1 {
        cases.extend([
            (small, 50),
            (small, 200),
            (small, 2000),
            (large, 100),
            (large, 200),
            (large, 2000),
        ]);
    }
    println!("shares of T² and Q above the limits of 0.99 and 0.999; with a sensor off by 1, 2 and 3");
    for (plant, rows) in cases {
        let fits = if plant.sensors == 6 { 60 } else { 12 } * u64::from(factor());
        let quiet = plant.above(rows, 0.99, 0.0, fits);
        let rare = plant.above(rows, 0.999, 0.0, fits);
        let powers = [1.0, 2.0, 3.0].map(|offset| plant.above(rows, 0.999, offset, fits));
        println!("{plant:?}, {rows} rows: {quiet:?} {rare:?}; {powers:?}");
        // Of 6000 rows 60 and 6 are expected, of 1200 there are 12 and 1; the fits vary, too.
        assert!(
            quiet.iter().all(|&share| share > 0.004 && share < 0.017),
            "{plant:?} {rows} {quiet:?}"
        );
        assert!(rare.iter().all(|&share| share < 0.003), "{plant:?} {rows} {rare:?}");
        assert!(powers[2][1] > 0.2, "{plant:?} {rows} {powers:?}");
    }
}
