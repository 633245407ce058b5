//! Mel bands of a power spectrum: what most acoustic models take.
//!
//! The filters are triangles over the frequencies of the bins, n of them between `low_hz` and `high_hz`, whose corners
//! lie evenly on a mel scale: filter i rises from corner i to i + 1 and falls to i + 2. Definitions and defaults are
//! librosa's (0.11, `librosa.filters.mel` and `hz_to_mel`), in double precision where librosa's default is single:
//!
//! - [`Scale::Slaney`]: 3 f / 200 below 1 kHz, 15 + 27 ln(f / 1000) / ln 6.4 from there (Slaney 1998, Auditory Toolbox,
//!   Technical Report 1998-010, Interval Research);
//! - [`Scale::Htk`]: 2595 log10(1 + f / 700) (Young et al. 2006, The HTK Book, section 5.4).
//!
//! A spectrogram as librosa's `melspectrogram(center=False)` has it is the filters over a
//! [`Spectrum`](crate::spectrum::Spectrum) with [`Scaling::Squared`](crate::spectrum::Scaling::Squared) and the mean
//! left in; levels with a floor are [`decibel`](crate::decibel)'s. Transforms have the length of a power of two: of 400
//! samples, as some models want, there is a window ([`Options::weighted`](crate::spectrum::Options::weighted)) and no
//! transform.

use crate::{StatisticsError, spectrum::MAX_WINDOW};
use alloc::{vec, vec::Vec};

/// More than acoustic models have.
pub const MAX_FILTERS: usize = 512;

/// Which frequencies are a mel apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// Linear up to 1 kHz, logarithmic from there.
    #[default]
    Slaney,
    /// One formula for all.
    Htk,
}

/// How high the triangles are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Norm {
    /// 2 over the width in Hz: each has the same area (librosa's `"slaney"`).
    #[default]
    Area,
    /// 1 at the middle corner, between bins perhaps (`None`).
    Peak,
    /// The weights add up to 1 (`1`).
    Sum,
    /// The largest weight is 1 (`numpy.inf`).
    Largest,
}

/// What filters are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Samples a second, above 0.
    pub sample_rate_hz: f64,
    /// Samples in a window; the spectrum has half of it and one bins.
    pub window: usize,
    /// How many, 1 to [`MAX_FILTERS`].
    pub filters: usize,
    /// Where the first begins, at least 0.
    pub low_hz: f64,
    /// Where the last ends, above `low_hz` and at most half the sample rate.
    pub high_hz: f64,
    /// Which frequencies are a mel apart.
    pub scale: Scale,
    /// How high the triangles are.
    pub norm: Norm,
}

/// The filters.
#[derive(Debug, Clone, PartialEq)]
pub struct MelFilters {
    bins: usize,
    filters: Vec<Filter>,
}

/// The weights of a filter that aren't 0.
#[derive(Debug, Clone, PartialEq)]
struct Filter {
    first_bin: usize,
    weights: Vec<f64>,
}

impl MelFilters {
    /// Refuses filters of which one is so narrow that it falls between two bins: it would always be silent.
    pub fn new(config: &Config) -> Result<Self, StatisticsError> {
        check(config)?;
        let corners_hz = corners_hz(config);
        let filters: Vec<Filter> = corners_hz
            .array_windows()
            .map(|corners_hz| filter(corners_hz, config))
            .collect();
        if filters.iter().any(|filter| filter.weights.is_empty()) {
            return Err(StatisticsError::Parameter {
                name: "filters",
                value: config.filters as f64,
                expected: "fewer, or the window longer: one falls between two bins of the spectrum",
            });
        }
        Ok(Self {
            bins: config.window / 2 + 1,
            filters,
        })
    }

    /// How many filters there are.
    #[must_use]
    pub fn filters(&self) -> usize {
        self.filters.len()
    }

    /// How many bins a spectrum has.
    #[must_use]
    pub const fn bins(&self) -> usize {
        self.bins
    }

    /// The filters' weighted sums of a spectrum's bins, in whatever unit those have.
    pub fn apply(&self, power: &[f64], bands: &mut [f64]) -> Result<(), StatisticsError> {
        for (expected, actual) in [(self.bins, power.len()), (self.filters.len(), bands.len())] {
            if expected != actual {
                return Err(StatisticsError::Length { expected, actual });
            }
        }
        for (band, filter) in bands.iter_mut().zip(&self.filters) {
            let bins = power.iter().skip(filter.first_bin);
            *band = filter.weights.iter().zip(bins).map(|(weight, bin)| weight * bin).sum();
        }
        Ok(())
    }

    /// A filter's weight at every bin; `None` beyond the last filter.
    #[must_use]
    pub fn weights(&self, filter: usize) -> Option<Vec<f64>> {
        let filter = self.filters.get(filter)?;
        let mut weights = vec![0.0; filter.first_bin];
        weights.extend(&filter.weights);
        weights.resize(self.bins, 0.0);
        Some(weights)
    }
}

fn check(config: &Config) -> Result<(), StatisticsError> {
    let Config {
        sample_rate_hz,
        low_hz,
        high_hz,
        ..
    } = *config;
    let is_rate = sample_rate_hz > 0.0 && sample_rate_hz.is_finite();
    let is_window = (2..=MAX_WINDOW).contains(&config.window);
    let is_count = (1..=MAX_FILTERS).contains(&config.filters);
    for (name, value, holds, expected) in [
        ("sample_rate_hz", sample_rate_hz, is_rate, "finite and above 0"),
        ("window", config.window as f64, is_window, "2 to 65536"),
        ("filters", config.filters as f64, is_count, "1 to 512"),
        (
            "low_hz",
            low_hz,
            low_hz >= 0.0 && low_hz < high_hz,
            "0 or more, and below high_hz",
        ),
        (
            "high_hz",
            high_hz,
            high_hz <= sample_rate_hz / 2.0,
            "at most half the sample rate",
        ),
    ] {
        if !holds {
            return Err(StatisticsError::Parameter { name, value, expected });
        }
    }
    Ok(())
}

/// Where the filters begin, have their middle and end: two more than filters.
fn corners_hz(config: &Config) -> Vec<f64> {
    let (low, high) = (config.scale.mels(config.low_hz), config.scale.mels(config.high_hz));
    let step = (high - low) / (config.filters + 1) as f64;
    (0..config.filters + 2)
        .map(|corner| config.scale.hz(low + corner as f64 * step))
        .collect()
}

/// The bins at which both sides of the triangle are above 0.
fn filter(&[low, middle, high]: &[f64; 3], config: &Config) -> Filter {
    let weight = |bin: usize| {
        let frequency = bin as f64 * config.sample_rate_hz / config.window as f64;
        let (rising, falling) = ((frequency - low) / (middle - low), (high - frequency) / (high - middle));
        if rising < falling { rising } else { falling }
    };
    let all_bins = 0..=config.window / 2;
    let first_bin = all_bins.clone().find(|&bin| weight(bin) > 0.0).unwrap_or(0);
    let mut weights: Vec<f64> = all_bins
        .skip(first_bin)
        .map(weight)
        .take_while(|&weight| weight > 0.0)
        .collect();
    let height = match config.norm {
        Norm::Area => 2.0 / (high - low),
        Norm::Peak => 1.0,
        Norm::Sum => 1.0 / weights.iter().sum::<f64>(),
        Norm::Largest => {
            1.0 / weights
                .iter()
                .fold(0.0, |most, &weight| if weight > most { weight } else { most })
        }
    };
    weights.iter_mut().for_each(|weight| *weight *= height);
    Filter { first_bin, weights }
}

/// Slaney's scale: where it becomes logarithmic, in Hz and in mels.
const BREAK_HZ: f64 = 1000.0;
const BREAK_MELS: f64 = 15.0;

/// And mels for a factor of 6.4 from there.
const MELS_PER_STEP: f64 = 27.0;
const STEP: f64 = 6.4;

impl Scale {
    /// Mels of a frequency.
    #[must_use]
    pub fn mels(self, hz: f64) -> f64 {
        match self {
            Self::Slaney if hz < BREAK_HZ => hz * (BREAK_MELS / BREAK_HZ),
            Self::Slaney => BREAK_MELS + libm::log(hz / BREAK_HZ) * (MELS_PER_STEP / libm::log(STEP)),
            Self::Htk => 2595.0 * libm::log10(1.0 + hz / 700.0),
        }
    }

    /// The frequency of so many mels.
    #[must_use]
    pub fn hz(self, mels: f64) -> f64 {
        match self {
            Self::Slaney if mels < BREAK_MELS => mels * (BREAK_HZ / BREAK_MELS),
            Self::Slaney => BREAK_HZ * libm::exp((mels - BREAK_MELS) * (libm::log(STEP) / MELS_PER_STEP)),
            Self::Htk => 700.0 * (libm::exp10(mels / 2595.0) - 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: Config = Config {
        sample_rate_hz: 16_000.0,
        window: 512,
        filters: 40,
        low_hz: 0.0,
        high_hz: 8_000.0,
        scale: Scale::Slaney,
        norm: Norm::Peak,
    };

    #[test]
    fn scales_are_their_own_inverse() {
        for scale in [Scale::Slaney, Scale::Htk] {
            for hz in [0.0, 1.0, 440.0, 999.9, 1000.0, 1000.1, 8e3, 1e6] {
                assert!((scale.hz(scale.mels(hz)) - hz).abs() <= 1e-11 * hz, "{scale:?} {hz}");
            }
        }
        assert!((Scale::Slaney.mels(6400.0) - 42.0).abs() < 1e-12);
        assert!((Scale::Htk.mels(6300.0) - 2595.0).abs() < 1e-9);
    }

    #[test]
    fn neighbours_add_up_to_one() {
        let filters = MelFilters::new(&CONFIG).unwrap();
        let all: Vec<Vec<f64>> = (0..40).map(|filter| filters.weights(filter).unwrap()).collect();
        assert_eq!(filters.weights(40), None);
        // From the first filter's middle to the last's every frequency is in two triangles.
        for bin in 10..230 {
            let sum: f64 = all.iter().map(|weights| weights[bin]).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{bin}: {sum}");
        }
    }

    #[test]
    fn a_filter_between_two_bins_is_refused() {
        assert!(
            MelFilters::new(&Config {
                filters: 128,
                window: 256,
                ..CONFIG
            })
            .is_err()
        );
        assert!(
            MelFilters::new(&Config {
                filters: 128,
                window: 4096,
                ..CONFIG
            })
            .is_ok()
        );
    }

    #[test]
    fn parameters_are_checked() {
        for config in [
            Config {
                sample_rate_hz: 0.0,
                ..CONFIG
            },
            Config {
                sample_rate_hz: f64::NAN,
                ..CONFIG
            },
            Config { window: 1, ..CONFIG },
            Config {
                window: MAX_WINDOW * 2,
                ..CONFIG
            },
            Config { filters: 0, ..CONFIG },
            Config {
                filters: MAX_FILTERS + 1,
                ..CONFIG
            },
            Config { low_hz: -1.0, ..CONFIG },
            Config {
                low_hz: 8_000.0,
                ..CONFIG
            },
            Config {
                high_hz: 8_000.1,
                ..CONFIG
            },
            Config {
                high_hz: f64::NAN,
                ..CONFIG
            },
        ] {
            assert!(MelFilters::new(&config).is_err(), "{config:?}");
        }
        let filters = MelFilters::new(&CONFIG).unwrap();
        assert!(filters.apply(&[0.0; 256], &mut [0.0; 40]).is_err());
        assert!(filters.apply(&[0.0; 257], &mut [0.0; 39]).is_err());
        assert_eq!((filters.bins(), filters.filters()), (257, 40));
    }
}
