//! That results are the same bits everywhere: digests of what transforms give, recorded.
//!
//! The digests were the same for x86-64, optimised and not, and for wasm32 in wasmtime. A formula that is changed changes
//! its own; nothing else may.

mod simulation;

use floorhand_statistics::{
    decibel::{self, Decibel},
    f_distribution,
    image::{self, ImageTransform, Layout, Method, Normalization, Size},
    mel::{self, MelFilters, Norm, Scale},
    pca::PrincipalComponents,
    rolling::{Extent, RollingWindow, Sample},
    softmax,
    spectrum::{Options, Scaling, Spectrum},
    window_function::WindowFunction,
    zscore::{self, Baseline, ZScore},
};
use simulation::Random;

/// From -1 to 1.
fn value(random: &mut Random) -> f64 {
    (random.bits() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

fn values(random: &mut Random, count: usize) -> Vec<f64> {
    (0..count).map(|_| value(random)).collect()
}

/// FNV-1a of the bits, all NaN being one.
struct Digest(u64);

impl Digest {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn bits(&mut self, bits: u64) {
        for byte in bits.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn values(&mut self, values: impl IntoIterator<Item = f64>) {
        for value in values {
            self.bits(if value.is_nan() { 0 } else { value.to_bits() });
        }
    }
}

#[test]
fn rolling_windows() {
    let (mut random, mut digest) = (Random::new(1), Digest::new());
    for extent in [
        Extent::Samples(37),
        Extent::Time {
            width_ms: 900,
            max_samples: 50,
        },
    ] {
        let mut window = RollingWindow::new(extent).unwrap();
        let mut time_ms = 1_790_000_000_000;
        for step in 0..5_000 {
            time_ms += (random.bits() % 60) as i64 - 4;
            let value = if step % 97 == 0 {
                f64::NAN
            } else {
                1e4 + value(&mut random)
            };
            digest.bits(window.push(Sample { time_ms, value }) as u64);
            let summary = window.summary();
            let answers = [
                summary.mean(),
                summary.sample_deviation(),
                summary.min(),
                summary.slope_per_second(),
            ];
            digest.values(answers.map(|answer| answer.unwrap_or(f64::NAN)));
        }
    }
    assert_eq!(digest.0, ROLLING);
}

#[test]
fn z_scores() {
    let (mut random, mut digest) = (Random::new(2), Digest::new());
    for baseline in [Baseline::Rolling(30), Baseline::HalfLife(11.3)] {
        let config = zscore::Config {
            baseline,
            raise: 1.5,
            clear: 1.0,
            ..zscore::Config::default()
        };
        let mut score = ZScore::new(config).unwrap();
        for report in (0..5_000).filter_map(|_| score.push(value(&mut random))) {
            digest.values([report.z, report.limit]);
            digest.bits(u64::from(report.raised));
        }
    }
    assert_eq!(digest.0, Z_SCORES);
}

#[test]
fn quantiles_and_limits() {
    let mut digest = Digest::new();
    let mut pca = PrincipalComponents::new(
        vec![0.5; 4],
        vec![1.5; 4],
        vec![0.5, -0.5, 0.5, -0.5],
        vec![3.0, 0.7, 0.2, 0.1],
    )
    .unwrap();
    for probability in [1e-9, 1e-3, 0.3, 0.5, 0.9, 0.999, 1.0 - 1e-9] {
        for denominator in [1, 3, 10, 33, 1_000, 123_456, 10_000_000] {
            for numerator in [1, 2, 5, 17, 100, 1_000] {
                digest.values(f_distribution::quantile(probability, numerator, denominator));
            }
            digest.values(pca.t2_limit(probability, denominator));
            digest.values(pca.q_limit(probability, denominator));
        }
    }
    let mut random = Random::new(3);
    for _ in 0..1_000 {
        let distances = pca.distances(&values(&mut random, 4)).unwrap();
        digest.values([distances.t2, distances.q]);
    }
    assert_eq!(digest.0, LIMITS);
}

#[test]
fn classes() {
    let (mut random, mut digest) = (Random::new(4), Digest::new());
    for classes in 1..100 {
        let mut values: Vec<f64> = values(&mut random, classes).iter().map(|value| 20.0 * value).collect();
        assert!(softmax::softmax(&mut values));
        digest.values(softmax::entropy(&values).into_iter().chain(softmax::margin(&values)));
        digest.values(values);
    }
    assert_eq!(digest.0, CLASSES);
}

#[test]
fn spectra_and_mel_bands() {
    let (mut random, mut digest) = (Random::new(5), Digest::new());
    for (scale, norm) in [(Scale::Slaney, Norm::Area), (Scale::Htk, Norm::Sum)] {
        let config = mel::Config {
            sample_rate_hz: 22_050.0,
            window: 2048,
            filters: 90,
            low_hz: 17.0,
            high_hz: 10_999.5,
            scale,
            norm,
        };
        let filters = MelFilters::new(&config).unwrap();
        let options = Options {
            function: WindowFunction::Hamming,
            weighted: Some(1999),
            remove_mean: false,
            scaling: Scaling::Squared,
        };
        let mut spectrum = Spectrum::with_options(2048, options).unwrap();
        let mut bands = vec![0.0; 90];
        filters
            .apply(spectrum.power(&values(&mut random, 2048)).unwrap(), &mut bands)
            .unwrap();
        let mut levels = bands.clone();
        Decibel {
            range_db: 10.0,
            ..Decibel::default()
        }
        .levels(&mut levels);
        decibel::natural_logarithms(&mut bands, 1e-3);
        digest.values(bands.into_iter().chain(levels));
    }
    assert_eq!(digest.0, BANDS);
}

#[test]
fn pixels() {
    let (mut random, mut digest) = (Random::new(6), Digest::new());
    let normalization = Normalization {
        divisor: 255.0,
        mean: vec![0.485, 0.456, 0.406],
        deviation: vec![0.229, 0.224, 0.225],
    };
    for method in [Method::Nearest, Method::Bilinear] {
        for (width, height) in [(24, 24), (31, 70), (64, 48)] {
            let config = image::Config {
                source: Size { width: 64, height: 48 },
                target: Size { width, height },
                channels: 3,
                method,
                layout: Layout::Nchw,
                reverse_channels: width == 31,
            };
            let transform = ImageTransform::new(config).unwrap();
            let frame: Vec<u8> = (0..transform.source_len()).map(|_| random.bits() as u8).collect();
            let mut result = vec![[0; 4]; transform.target_len()];
            transform.normalize(&frame, &normalization, &mut result).unwrap();
            result
                .iter()
                .for_each(|value| digest.bits(u64::from(u32::from_le_bytes(*value))));
        }
    }
    assert_eq!(digest.0, PIXELS);
}

const ROLLING: u64 = 0xe5be_9ba1_b33e_1998;
const Z_SCORES: u64 = 0xb29a_f70d_1f26_53d1;
const LIMITS: u64 = 0x25c9_1c70_b3fa_28ad;
const CLASSES: u64 = 0x5ba9_ca96_59f4_c34b;
const BANDS: u64 = 0x15b1_374a_622a_c6d5;
const PIXELS: u64 = 0x3f11_0d07_197a_e7f7;
