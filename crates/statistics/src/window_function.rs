//! The functions a window is multiplied with before its transform.
//!
//! All are periodic, the way short-time transforms take them: w(n) of a window of N has the period N
//! (`scipy.signal.get_window` with `fftbins=True`, which is what librosa uses).

use alloc::vec::Vec;
use core::f64::consts::TAU;

/// By which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WindowFunction {
    /// 1/2 - 1/2 cos(2 pi n / N). What to take unless something speaks for another.
    #[default]
    Hann,
    /// 0.54 - 0.46 cos(2 pi n / N). Lower first side lobes, which don't fall off.
    Hamming,
    /// 1. For signals that repeat within the window exactly, and for transients that begin and end in it.
    Rectangular,
}

impl WindowFunction {
    /// The `length` weights.
    #[must_use]
    pub fn weights(self, length: usize) -> Vec<f64> {
        let cosine = |n: usize| libm::cos(TAU * (n as f64 / length as f64));
        let weight = |n: usize| match self {
            Self::Hann => 0.5 - 0.5 * cosine(n),
            Self::Hamming => 0.54 - 0.46 * cosine(n),
            Self::Rectangular => 1.0,
        };
        (0..length).map(weight).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_periodic() {
        for (function, ends, middle) in [
            (WindowFunction::Hann, 0.0, 1.0),
            (WindowFunction::Hamming, 0.08, 1.0),
            (WindowFunction::Rectangular, 1.0, 1.0),
        ] {
            let weights = function.weights(8);
            assert!(
                (weights[0] - ends).abs() < 1e-15 && (weights[4] - middle).abs() < 1e-15,
                "{function:?}"
            );
            assert!((weights[1] - weights[7]).abs() < 1e-15, "{function:?}");
        }
        assert!(WindowFunction::Hann.weights(0).is_empty());
    }
}
