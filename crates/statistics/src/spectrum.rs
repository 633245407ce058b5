//! The one-sided power spectrum of a real window, and the energy in bands of it.
//!
//! Scaling: the window's mean is taken off, it is multiplied with the periodic Hann window w, and bin k of the transform
//! X gives P(k) = c |X(k)|² / (N · sum w²), c = 1 for k = 0 and k = N/2, else 2. So the bins add up to the mean square of
//! the windowed signal over the mean square of w, and a stationary signal's bands to its variance, in the signal's unit
//! squared. The same as `scipy.signal.periodogram(x, fs, "hann", detrend="constant", scaling="density") * fs / N`.
//! [`Options`] has other window functions and lengths, the mean left in, and |X(k)|² as it is.
//!
//! The transform is a radix-2 FFT of N/2 complex numbers with a split at the end. It is this crate's own because the
//! ready-made ones choose instructions at run time and would give other bits on other machines.

use crate::{StatisticsError, signal, window_function::WindowFunction};
use alloc::{vec, vec::Vec};
use core::{f64::consts::TAU, ops::Range};

/// Fewer samples leave no bins to speak of.
pub const MIN_WINDOW: usize = 8;

/// 2.5 s at 25.6 kHz; its tables and buffers take 2.5 MiB, which leaves room in a plugin's 16.
pub const MAX_WINDOW: usize = 1 << 16;

/// A complex number: real and imaginary part.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Complex {
    re: f64,
    im: f64,
}

/// What a bin is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scaling {
    /// c |X(k)|² / (N · sum w²), c being 2 where the bin stands for a negative frequency too: bins add up to the mean
    /// square.
    #[default]
    MeanSquare,
    /// |X(k)|², for comparison with `numpy.abs(numpy.fft.rfft(x * w)) ** 2` and librosa's spectrograms.
    Squared,
}

/// What becomes of a window before and after the transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// What it is multiplied with. Hann by default.
    pub function: WindowFunction,
    /// How many samples in the middle have a weight, the others being 0: librosa's `win_length` below its `n_fft`, as
    /// for 25 ms of 16 kHz, 400 samples, in a transform of 512. 1 to the window's length; all by default.
    pub weighted: Option<usize>,
    /// Whether the mean is taken off. `true` by default.
    pub remove_mean: bool,
    /// What a bin is worth. The share of the mean square by default.
    pub scaling: Scaling,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            function: WindowFunction::Hann,
            weighted: None,
            remove_mean: true,
            scaling: Scaling::MeanSquare,
        }
    }
}

/// Tables and buffers for windows of one length.
#[derive(Debug, Clone)]
pub struct Spectrum {
    length: usize,
    /// The window function's weights.
    weights: Vec<f64>,
    remove_mean: bool,
    /// exp(-2 pi i k / N) for k below N/2.
    twiddles: Vec<Complex>,
    /// The N/2 complex numbers under transformation.
    buffer: Vec<Complex>,
    /// The result, N/2 + 1 bins.
    power: Vec<f64>,
    /// What |X(k)|² of the first and the last bin is multiplied with, 1 / (N · sum w²) or 1.
    scale: f64,
    /// And how much more that of all others, 2 or 1.
    sides: f64,
}

impl Spectrum {
    /// For windows of `length` samples, a power of two from [`MIN_WINDOW`] to [`MAX_WINDOW`].
    pub fn new(length: usize) -> Result<Self, StatisticsError> {
        Self::with_options(length, Options::default())
    }

    /// The same with other options.
    pub fn with_options(length: usize, options: Options) -> Result<Self, StatisticsError> {
        if !length.is_power_of_two() || !(MIN_WINDOW..=MAX_WINDOW).contains(&length) {
            return Err(StatisticsError::WindowLength(length));
        }
        let angle = |k: usize| TAU * (k as f64 / length as f64);
        let weights = weights(length, options)?;
        let twiddles = (0..length / 2)
            .map(|k| Complex {
                re: libm::cos(angle(k)),
                im: -libm::sin(angle(k)),
            })
            .collect();
        let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
        let (scale, sides) = match options.scaling {
            Scaling::MeanSquare => (1.0 / (length as f64 * squares), 2.0),
            Scaling::Squared => (1.0, 1.0),
        };
        Ok(Self {
            length,
            weights,
            remove_mean: options.remove_mean,
            twiddles,
            buffer: vec![Complex::default(); length / 2],
            power: vec![0.0; length / 2 + 1],
            scale,
            sides,
        })
    }

    /// Samples in a window, N.
    #[must_use]
    pub fn window_length(&self) -> usize {
        self.length
    }

    /// The power of each bin, N/2 + 1 of them; bin k stands for the frequency k · fs / N.
    pub fn power(&mut self, window: &[f64]) -> Result<&[f64], StatisticsError> {
        if window.len() != self.length {
            return Err(StatisticsError::Length {
                expected: self.length,
                actual: window.len(),
            });
        }
        let mean = if self.remove_mean { signal::mean(window) } else { 0.0 };
        let pairs = window.as_chunks::<2>().0.iter().zip(self.weights.as_chunks::<2>().0);
        for (slot, ([even, odd], [even_weight, odd_weight])) in self.buffer.iter_mut().zip(pairs) {
            *slot = Complex {
                re: (even - mean) * even_weight,
                im: (odd - mean) * odd_weight,
            };
        }
        transform(&mut self.buffer, &self.twiddles);
        self.split();
        Ok(&self.power)
    }

    /// The bins that belong to a band: those with low_hz <= k · fs / N < high_hz, and the last bin too for a band
    /// that ends at half the sample rate. Empty where the band falls between two bins.
    #[must_use]
    pub fn bins(&self, low_hz: f64, high_hz: f64, sample_rate_hz: f64) -> Range<usize> {
        let half = self.length / 2;
        let first_from = |limit: f64| {
            (0..=half)
                .find(|&k| k as f64 * sample_rate_hz / self.length as f64 >= limit)
                .unwrap_or(half + 1)
        };
        let end = if high_hz >= sample_rate_hz / 2.0 {
            half + 1
        } else {
            first_from(high_hz)
        };
        first_from(low_hz)..end
    }

    /// Turns the transform Z of even + i · odd samples into the power of the real transform:
    /// X(k) = (Z(k) + conj Z(M-k)) / 2 - i/2 · exp(-2 pi i k / N) · (Z(k) - conj Z(M-k)), M = N/2.
    fn split(&mut self) {
        let half = self.buffer.len();
        let at = |k: usize| self.buffer.get(k % half).copied().unwrap_or_default();
        for (k, power) in self.power.iter_mut().enumerate() {
            let (a, b) = (at(k), at(half - k));
            let even = Complex {
                re: 0.5 * (a.re + b.re),
                im: 0.5 * (a.im - b.im),
            };
            let odd = Complex {
                re: 0.5 * (a.im + b.im),
                im: -0.5 * (a.re - b.re),
            };
            // exp(-2 pi i M / N) = -1 stands just past the table.
            let twiddle = self.twiddles.get(k).copied().unwrap_or(Complex { re: -1.0, im: 0.0 });
            let re = even.re + (odd.re * twiddle.re - odd.im * twiddle.im);
            let im = even.im + (odd.re * twiddle.im + odd.im * twiddle.re);
            let sides = if k == 0 || k == half { 1.0 } else { self.sides };
            *power = sides * (re * re + im * im) * self.scale;
        }
    }
}

/// The window function in the middle, zeros around it.
fn weights(length: usize, options: Options) -> Result<Vec<f64>, StatisticsError> {
    let weighted = options.weighted.unwrap_or(length);
    if !(1..=length).contains(&weighted) {
        return Err(StatisticsError::Parameter {
            name: "weighted samples",
            value: weighted as f64,
            expected: "1 to the window's length",
        });
    }
    let mut weights = vec![0.0; (length - weighted) / 2];
    weights.extend(options.function.weights(weighted));
    weights.resize(length, 0.0);
    Ok(weights)
}

/// An in-place, decimation-in-time FFT. `twiddles` are those of twice the length, as the real split needs them.
fn transform(data: &mut [Complex], twiddles: &[Complex]) {
    reverse_bits(data);
    let length = data.len();
    let mut size = 2;
    while size <= length {
        let stride = twiddles.len() * 2 / size;
        for block in data.chunks_exact_mut(size) {
            let (low, high) = block.split_at_mut(size / 2);
            let factors = twiddles.iter().step_by(stride);
            for ((a, b), w) in low.iter_mut().zip(high).zip(factors) {
                let turned = Complex {
                    re: b.re * w.re - b.im * w.im,
                    im: b.re * w.im + b.im * w.re,
                };
                *b = Complex {
                    re: a.re - turned.re,
                    im: a.im - turned.im,
                };
                *a = Complex {
                    re: a.re + turned.re,
                    im: a.im + turned.im,
                };
            }
        }
        size *= 2;
    }
}

fn reverse_bits(data: &mut [Complex]) {
    let shift = usize::BITS - data.len().trailing_zeros();
    for index in 0..data.len() {
        let other = index.reverse_bits() >> shift;
        if index < other {
            data.swap(index, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_bounded_powers_of_two() {
        for length in [0, 1, 4, 12, MAX_WINDOW * 2, usize::MAX] {
            assert_eq!(Spectrum::new(length).err(), Some(StatisticsError::WindowLength(length)));
        }
        let mut spectrum = Spectrum::new(8).unwrap();
        assert_eq!(
            spectrum.power(&[0.0; 7]),
            Err(StatisticsError::Length { expected: 8, actual: 7 })
        );
    }

    #[test]
    fn a_sine_on_a_bin_stays_within_its_neighbours() {
        let wave: Vec<f64> = (0..64)
            .map(|n| libm::sin(TAU * 5.0 * f64::from(n) / 64.0) + 9.81)
            .collect();
        let mut spectrum = Spectrum::new(64).unwrap();
        let power = spectrum.power(&wave).unwrap();
        let outside: f64 = power
            .iter()
            .enumerate()
            .filter(|(k, _)| !(4..=6).contains(k))
            .map(|(_, p)| p)
            .sum();
        assert!(outside < 1e-25, "{outside}");
        assert!((power[4..=6].iter().sum::<f64>() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn squares_and_shares_differ_by_the_scale() {
        let wave: Vec<f64> = (0..64).map(|n| libm::sin(0.7 * f64::from(n)) + 3.0).collect();
        let options = Options {
            function: WindowFunction::Rectangular,
            weighted: Some(40),
            ..Options::default()
        };
        let mut shares = Spectrum::with_options(64, options).unwrap();
        let scaling = Scaling::Squared;
        let mut squares = Spectrum::with_options(64, Options { scaling, ..options }).unwrap();
        let (shares, squares) = (shares.power(&wave).unwrap(), squares.power(&wave).unwrap());
        for (k, (share, square)) in shares.iter().zip(squares).enumerate() {
            let sides = if k == 0 || k == 32 { 1.0 } else { 2.0 };
            assert!((share * 64.0 * 40.0 / sides - square).abs() < 1e-9, "{k}");
        }
        for weighted in [0, 65] {
            let options = Options {
                weighted: Some(weighted),
                ..options
            };
            assert!(Spectrum::with_options(64, options).is_err(), "{weighted}");
        }
    }

    #[test]
    fn bands_are_half_open_and_the_last_takes_the_end() {
        let spectrum = Spectrum::new(16).unwrap();
        assert_eq!(spectrum.bins(0.0, 2.0, 16.0), 0..2);
        assert_eq!(spectrum.bins(2.0, 8.0, 16.0), 2..9);
        assert!(spectrum.bins(2.2, 2.8, 16.0).is_empty());
        assert!(spectrum.bins(100.0, 200.0, 16.0).is_empty());
    }
}
