//! How often each detector alarms on streams without drift, and how it answers one: the figures in the modules' docs.
//!
//! 20 streams of 10,000 samples are drawn of each kind, times `FLOORHAND_SIMULATION_FACTOR`. The docs' figures are of 1,000, a
//! factor of 50; fewer are quick, and show that the figures are of the right size.

use crate::any::Any;
use floorhand_statistics::detection::Level;
use serde_json::Value;

const SAMPLES: usize = 10_000;

/// Samples before a drift and after it.
const HALF: usize = 2_000;

/// Knuth's MMIX linear congruential generator.
struct Random(u64);

impl Random {
    /// Begins at a place of its own for each stream.
    fn of_stream(stream: u64) -> Self {
        Self(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn uniform(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// By Box and Muller. A uniform number is never 1, so its complement is never 0.
    fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        radius * libm::cos(core::f64::consts::TAU * self.uniform())
    }
}

/// What a stream's values are drawn from.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// 1 with this probability, else 0.
    Bits(f64),
    /// From 0 to 1.
    Uniform,
    /// With this mean and standard deviation.
    Normal(f64, f64),
    /// Normal with a standard deviation of 1, and a correlation of 0.9 between neighbours.
    Correlated,
    /// Means of 50 neighbours of the last kind.
    CorrelatedMeans,
}

impl Kind {
    fn draw(self, random: &mut Random, before: &mut f64) -> f64 {
        match self {
            Self::Bits(rate) => f64::from(u8::from(random.uniform() < rate)),
            Self::Uniform => random.uniform(),
            Self::Normal(mean, deviation) => mean + deviation * random.normal(),
            Self::Correlated => {
                *before = 0.9 * *before + libm::sqrt(1.0 - 0.9 * 0.9) * random.normal();
                *before
            }
            Self::CorrelatedMeans => (0..50).map(|_| Self::Correlated.draw(random, before)).sum::<f64>() / 50.0,
        }
    }
}

fn streams() -> u64 {
    let factor = std::env::var("FLOORHAND_SIMULATION_FACTOR");
    20 * factor.map_or(1, |factor| factor.parse().unwrap())
}

/// Alarms per 10,000 samples.
fn false_alarms(detector: &Any, kind: Kind) -> f64 {
    let stream = |stream| {
        let (mut random, mut before, mut detector) = (Random::of_stream(stream), 0.0, detector.clone());
        let levels = (0..SAMPLES).map(|_| detector.push(kind.draw(&mut random, &mut before)));
        levels.filter(|&level| level == Level::Drift).count()
    };
    (0..streams()).map(stream).sum::<usize>() as f64 / streams() as f64
}

/// The share of drifts that are found within 2,000 samples, and after how many on average.
fn power(detector: &Any, from: Kind, to: Kind) -> (f64, f64) {
    let delay = |stream| {
        let (mut random, mut before, mut detector) = (Random::of_stream(stream), 0.0, detector.clone());
        for _ in 0..HALF {
            detector.push(from.draw(&mut random, &mut before));
        }
        (0..HALF).position(|_| detector.push(to.draw(&mut random, &mut before)) == Level::Drift)
    };
    let delays: Vec<usize> = (0..streams()).filter_map(delay).collect();
    let found = delays.len() as f64;
    (
        found / streams() as f64,
        delays.iter().sum::<usize>() as f64 / found.max(1.0),
    )
}

/// Alarms per 10,000 samples without drift, as the docs have them.
const FALSE_ALARMS: [(&str, &str, Kind, f64); 31] = [
    ("adwin", "{}", Kind::Bits(0.05), 0.0),
    ("adwin", "{}", Kind::Bits(0.2), 0.001),
    ("adwin", "{}", Kind::Bits(0.5), 0.001),
    ("adwin", "{}", Kind::Uniform, 0.0),
    ("adwin", "{}", Kind::Normal(0.0, 0.1), 0.0),
    ("adwin", "{}", Kind::Normal(0.0, 1.0), 0.002),
    ("adwin", "{}", Kind::Correlated, 62.5),
    ("adwin", "{}", Kind::CorrelatedMeans, 0.016),
    ("hddm_a", "{}", Kind::Bits(0.01), 0.0),
    ("hddm_a", "{}", Kind::Bits(0.05), 0.003),
    ("hddm_a", "{}", Kind::Bits(0.2), 0.10),
    ("hddm_a", "{}", Kind::Bits(0.5), 0.20),
    ("hddm_a", "{}", Kind::Uniform, 0.0),
    ("hddm_w", "{}", Kind::Bits(0.01), 0.0),
    ("hddm_w", "{}", Kind::Bits(0.05), 0.0),
    ("hddm_w", "{}", Kind::Bits(0.2), 0.63),
    ("hddm_w", "{}", Kind::Bits(0.5), 7.9),
    ("hddm_w", "{}", Kind::Uniform, 0.0),
    ("ddm", "{}", Kind::Bits(0.01), 6.1),
    ("ddm", "{}", Kind::Bits(0.05), 1.5),
    ("ddm", "{}", Kind::Bits(0.2), 0.44),
    ("ddm", "{}", Kind::Bits(0.5), 0.14),
    ("ddm", r#"{"warm_start":500}"#, Kind::Bits(0.01), 0.59),
    ("ddm", r#"{"warm_start":500}"#, Kind::Bits(0.2), 0.10),
    ("page_hinkley", "{}", Kind::Bits(0.05), 0.0),
    ("page_hinkley", "{}", Kind::Bits(0.2), 0.26),
    ("page_hinkley", "{}", Kind::Bits(0.5), 0.80),
    ("page_hinkley", "{}", Kind::Uniform, 0.015),
    ("page_hinkley", "{}", Kind::Normal(0.0, 1.0), 6.1),
    ("page_hinkley", "{}", Kind::Correlated, 61.9),
    ("page_hinkley", r#"{"delta":0.1}"#, Kind::Normal(0.0, 1.0), 0.31),
];

#[test]
fn false_alarms_are_as_rare_as_the_docs_say() {
    for (name, parameters, kind, expected) in FALSE_ALARMS {
        let parameters: Value = serde_json::from_str(parameters).unwrap();
        let rate = false_alarms(&Any::recorded(name, &parameters), kind);
        println!("{name} {parameters} {kind:?}: {rate} per 10,000 samples");
        // Counts of rare events stray by their square root; what was counted and not fixed strays, too.
        let expected = expected * streams() as f64;
        let allowed = 4.0 * libm::sqrt(expected) + 1.0;
        let counted = rate * streams() as f64;
        assert!(
            (counted - expected).abs() <= allowed,
            "{name} {parameters} {kind:?}: {counted} alarms and not {expected}"
        );
    }
}

/// The share of drifts found within 2,000 samples and the mean delay of those, for three sizes of drift.
type Found = [(f64, f64); 3];

/// As the docs have them, where the error rate rises from 0.1 to 0.15, 0.2 and 0.4.
const RISING_ERRORS: [(&str, Found); 5] = [
    ("adwin", [(0.58, 1_113.0), (1.0, 373.0), (1.0, 72.0)]),
    ("hddm_a", [(0.28, 1_273.0), (1.0, 455.0), (1.0, 63.0)]),
    ("hddm_w", [(0.03, 786.0), (0.37, 925.0), (1.0, 55.0)]),
    ("ddm", [(0.76, 713.0), (0.93, 411.0), (1.0, 134.0)]),
    ("page_hinkley", [(0.87, 1_184.0), (1.0, 530.0), (1.0, 154.0)]),
];

/// As the docs have them, where a normal distribution's mean rises by 0.25, 0.5 and 1 standard deviations.
const RISING_MEANS: [(&str, &str, Found); 3] = [
    ("adwin", "{}", [(1.0, 433.0), (1.0, 121.0), (1.0, 49.0)]),
    ("page_hinkley", "{}", [(0.99, 198.0), (1.0, 93.0), (1.0, 43.0)]),
    (
        "page_hinkley",
        r#"{"delta":0.1}"#,
        [(1.0, 302.0), (1.0, 113.0), (1.0, 49.0)],
    ),
];

#[test]
fn drifts_are_found_as_soon_as_the_docs_say() {
    for (name, expected) in RISING_ERRORS {
        for (rate, expected) in [0.15, 0.2, 0.4].into_iter().zip(expected) {
            check_power(name, "{}", [Kind::Bits(0.1), Kind::Bits(rate)], expected);
        }
    }
    for (name, parameters, expected) in RISING_MEANS {
        for (shift, expected) in [0.25, 0.5, 1.0].into_iter().zip(expected) {
            check_power(
                name,
                parameters,
                [Kind::Normal(0.0, 1.0), Kind::Normal(shift, 1.0)],
                expected,
            );
        }
    }
}

fn check_power(name: &str, parameters: &str, [from, to]: [Kind; 2], expected: (f64, f64)) {
    let parameters: Value = serde_json::from_str(parameters).unwrap();
    let (share, delay) = power(&Any::recorded(name, &parameters), from, to);
    println!("{name} {parameters} {from:?} to {to:?}: {share} after {delay}");
    let spread = libm::sqrt(expected.0 * (1.0 - expected.0) / streams() as f64);
    assert!(
        (share - expected.0).abs() <= 3.0 * spread + 0.02,
        "{name} {parameters} to {to:?}: {share} found and not {}",
        expected.0
    );
    // A delay strays by about half its mean, and a mean of few delays says nothing.
    let found = share * streams() as f64;
    let allowed = 2.0 / libm::sqrt(found) * expected.1 + 5.0;
    assert!(
        found < 5.0 || (delay - expected.1).abs() <= allowed,
        "{name} {parameters} to {to:?}: after {delay} samples and not {}",
        expected.1
    );
}
