//! What monitors and feature plugins compute.
//!
//! - Of signals: [`moments`], [`signal`] (vibration features), [`spectrum`], [`frames`], [`window_function`], [`mel`], [`decibel`].
//! - Of the last samples: [`block`], [`rolling`], [`stuck`], [`range`](mod@range), [`scaling`].
//! - Whether windows are distributed as a reference: [`psi`], [`jensen_shannon`], [`kolmogorov_smirnov`], [`wasserstein`],
//!   [`categorical`], [`mean_shift`]; [`reliability`] where the truth is known; [`drift`] has their thresholds, [`calibration`] fits them to correlated data, [`false_alarms`] says what
//!   they mean a day.
//! - Whether a stream has changed: [`adwin`], [`hddm`], [`ddm`], [`page_hinkley`].
//! - Alarms: [`zscore`], [`pca`], [`hysteresis`], [`episode`].
//! - A model's ends: [`image`] before it, [`softmax`] behind it.
//!
//! Shared by the plugins, their tests and training code. Owns formulas and nothing else: no tensors, no configuration, no
//! files, no clock, no randomness. Memory is bounded by a window or a reference, never by the number of samples.
//!
//! Results are the same bits natively and in WebAssembly. Additions, multiplications, divisions and square roots are
//! exact to the last bit by IEEE 754 and are never fused here; sines, logarithms and the rest come from the `libm`
//! crate, which is the same code everywhere, and never from the platform.
//!
//! ```
//! use floorhand_statistics::{psi::{Reference, TumblingPsi}, signal, spectrum::Spectrum};
//!
//! // A sine of amplitude 2 at 16 Hz, sampled at 256 Hz for one second.
//! let wave: Vec<f64> = (0..256).map(|n| 2.0 * libm::sin(core::f64::consts::TAU * 16.0 * f64::from(n) / 256.0)).collect();
//! assert!((signal::rms(&wave) - 2.0_f64.sqrt()).abs() < 1e-12);
//! assert!((signal::kurtosis(&wave).unwrap_or(0.0) - 1.5).abs() < 1e-12);
//!
//! let mut spectrum = Spectrum::new(256)?;
//! let power = spectrum.power(&wave)?;
//! assert!((power.iter().sum::<f64>() - 2.0).abs() < 1e-9, "the bins add up to the mean square");
//!
//! let reference = Reference::from_samples(&wave, 4)?;
//! let mut drift = TumblingPsi::new(reference, 256)?;
//! let report = wave.iter().filter_map(|&value| drift.push(value)).next();
//! assert!(report.is_some_and(|report| !report.drifted()));
//! # Ok::<(), floorhand_statistics::StatisticsError>(())
//! ```
//!
//! # Testing
//!
//! Everything is a function of its arguments. `tests/cases` holds what NumPy and SciPy give on recorded inputs, written by
//! `tests/oracle.py` and `tests/oracle_distances.py`; the tests of the same names compare to 1e-9 relative. `tests/detectors`
//! does the same for the streaming drift detectors with River's answers, and shows their false-alarm rates. What the drift
//! monitors' thresholds do is simulated, with seeded random numbers: README.md has the tables.
//! `tests/cases/transforms.json` is the same for windows over time, spectra, limits, classes and pixels, with pandas,
//! scikit-learn, librosa and ONNX Runtime. `tests/monitoring_limits.rs` simulates how often alarms come without a cause,
//! and `tests/bits.rs` holds digests that are the same on every machine.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod adwin;
pub mod block;
pub mod calibration;
pub mod categorical;
pub mod chi_square;
pub mod ddm;
pub mod decibel;
pub mod detection;
pub mod drift;
pub mod episode;
pub mod f_distribution;
pub mod false_alarms;
pub mod frames;
pub mod hddm;
pub mod hysteresis;
pub mod image;
pub mod jensen_shannon;
pub mod kolmogorov_smirnov;
pub mod mean_shift;
pub mod mel;
pub mod moments;
pub mod page_hinkley;
pub mod pca;
pub mod psi;
pub mod range;
pub mod reliability;
pub mod rolling;
pub mod sample;
pub mod scaling;
pub mod signal;
pub mod softmax;
pub mod spectrum;
pub mod stuck;
mod tumbling;
pub mod wasserstein;
pub mod window_function;
pub mod zscore;

use core::fmt;

/// Why a statistic can't be set up or computed. Each names the argument.
#[derive(Debug, Clone, PartialEq)]
pub enum StatisticsError {
    /// A window's length isn't a power of two in the range that is supported.
    WindowLength(usize),
    /// A slice hasn't the length that was agreed on.
    Length {
        /// Elements that were expected.
        expected: usize,
        /// Elements there are.
        actual: usize,
    },
    /// Bin edges aren't finite and strictly rising.
    Edges,
    /// A reference has no samples, or a count that isn't a finite number of at least 0.
    Counts,
    /// There are fewer than two bins or more than [`psi::MAX_BINS`].
    Bins(usize),
    /// A window of no samples.
    EmptyWindow,
    /// A lower limit above the upper one, or a limit that is no number.
    Limits {
        /// The lower limit.
        min: f64,
        /// The upper limit.
        max: f64,
    },
    /// A parameter with a value that can't be used.
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What it was.
        value: f64,
        /// What it has to be.
        expected: &'static str,
    },
    /// A parameter outside of its range.
    OutOfRange {
        /// Which one.
        name: &'static str,
        /// What it is.
        value: f64,
        /// The least it may be.
        min: f64,
        /// The most it may be.
        max: f64,
    },
    /// A reference's values aren't finite and in rising order, or hold a category twice.
    Order,
    /// Saved state that doesn't belong to this configuration.
    State(&'static str),
}

impl fmt::Display for StatisticsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WindowLength(length) => write!(
                f,
                "a window of {length} samples: it has to be a power of two from {} to {}",
                spectrum::MIN_WINDOW,
                spectrum::MAX_WINDOW
            ),
            Self::Length { expected, actual } => write!(f, "{actual} values where {expected} were expected"),
            Self::Edges => f.write_str("bin edges have to be finite and strictly rising"),
            Self::Counts => f.write_str("reference counts have to be finite, at least 0, and not all 0"),
            Self::Bins(bins) => write!(f, "{bins} bins: there have to be 2 to {}", psi::MAX_BINS),
            Self::EmptyWindow => f.write_str("a window has to hold at least one sample"),
            Self::Limits { min, max } => write!(f, "limits {min} to {max}: the lower one has to be at most the upper"),
            Self::Parameter { name, value, expected } => write!(f, "{name} is {value}: it has to be {expected}"),
            Self::OutOfRange { name, value, min, max } => {
                write!(f, "{name} is {value}: it has to be from {min} to {max}")
            }
            Self::Order => f.write_str("a reference's values have to be finite and rising"),
            Self::State(what) => write!(f, "saved state doesn't fit the configuration: {what}"),
        }
    }
}

impl core::error::Error for StatisticsError {}
