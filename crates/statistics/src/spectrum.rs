//! The one-sided power spectrum of a real window, and the energy in bands of it.
//!
//! Scaling: the window's mean is taken off, it is multiplied with the periodic Hann window w, and bin k of the transform
//! X gives P(k) = c |X(k)|² / (N · sum w²), c = 1 for k = 0 and k = N/2, else 2. So the bins add up to the mean square of
//! the windowed signal over the mean square of w, and a stationary signal's bands to its variance, in the signal's unit
//! squared. The same as `scipy.signal.periodogram(x, fs, "hann", detrend="constant", scaling="density") * fs / N`.
//!
//! The transform is a radix-2 FFT of N/2 complex numbers with a split at the end. It is this crate's own because the
//! ready-made ones choose instructions at run time and would give other bits on other machines.

use crate::{StatisticsError, signal};
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

/// Tables and buffers for windows of one length.
#[derive(Debug, Clone)]
pub struct Spectrum {
    length: usize,
    /// The periodic Hann window, (1 - cos(2 pi n / N)) / 2.
    hann: Vec<f64>,
    /// exp(-2 pi i k / N) for k below N/2.
    twiddles: Vec<Complex>,
    /// The N/2 complex numbers under transformation.
    buffer: Vec<Complex>,
    /// The result, N/2 + 1 bins.
    power: Vec<f64>,
    /// 1 / (N · sum w²).
    scale: f64,
}

impl Spectrum {
    /// For windows of `length` samples, a power of two from [`MIN_WINDOW`] to [`MAX_WINDOW`].
    pub fn new(length: usize) -> Result<Self, StatisticsError> {
        if !length.is_power_of_two() || !(MIN_WINDOW..=MAX_WINDOW).contains(&length) {
            return Err(StatisticsError::WindowLength(length));
        }
        let angle = |k: usize| TAU * (k as f64 / length as f64);
        let hann: Vec<f64> = (0..length).map(|n| 0.5 - 0.5 * libm::cos(angle(n))).collect();
        let twiddles = (0..length / 2)
            .map(|k| Complex {
                re: libm::cos(angle(k)),
                im: -libm::sin(angle(k)),
            })
            .collect();
        let squares: f64 = hann.iter().map(|weight| weight * weight).sum();
        Ok(Self {
            length,
            hann,
            twiddles,
            buffer: vec![Complex::default(); length / 2],
            power: vec![0.0; length / 2 + 1],
            scale: 1.0 / (length as f64 * squares),
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
        let mean = signal::mean(window);
        let pairs = window.as_chunks::<2>().0.iter().zip(self.hann.as_chunks::<2>().0);
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
            let sides = if k == 0 || k == half { 1.0 } else { 2.0 };
            *power = sides * (re * re + im * im) * self.scale;
        }
    }
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
    fn bands_are_half_open_and_the_last_takes_the_end() {
        let spectrum = Spectrum::new(16).unwrap();
        assert_eq!(spectrum.bins(0.0, 2.0, 16.0), 0..2);
        assert_eq!(spectrum.bins(2.0, 8.0, 16.0), 2..9);
        assert!(spectrum.bins(2.2, 2.8, 16.0).is_empty());
        assert!(spectrum.bins(100.0, 200.0, 16.0).is_empty());
    }
}
