//! Time-domain features of one window: RMS, peak, crest factor, kurtosis.
//!
//! Units are the signal's own, except crest factor and kurtosis, which have none. A NaN in the window makes every
//! feature NaN: the caller decides what a broken sample means.

/// The arithmetic mean, summed in order; 0 for an empty window.
#[must_use]
pub fn mean(window: &[f64]) -> f64 {
    average(window.iter().copied(), window.len())
}

/// The root of the mean square, sqrt(sum x² / n); 0 for an empty window.
#[must_use]
pub fn rms(window: &[f64]) -> f64 {
    libm::sqrt(average(window.iter().map(|value| value * value), window.len()))
}

/// The largest magnitude, max |x|; 0 for an empty window.
#[must_use]
pub fn peak(window: &[f64]) -> f64 {
    window.iter().fold(0.0, |peak: f64, value| {
        let magnitude = value.abs();
        // The first comparison is false for a NaN on either side, so that a NaN enters and stays.
        if magnitude <= peak || peak.is_nan() {
            peak
        } else {
            magnitude
        }
    })
}

/// Peak over RMS: sqrt(2) for a sine, 1 for a square wave, rising with impacts. `None` for a window of zeros.
#[must_use]
pub fn crest_factor(window: &[f64]) -> Option<f64> {
    let rms = rms(window);
    (rms != 0.0).then(|| peak(window) / rms)
}

/// Pearson's kurtosis m4 / m2² with divisor n, 3 for a normal distribution
/// (`scipy.stats.kurtosis(x, fisher=False, bias=True)`).
///
/// `None` where SciPy gives NaN for want of variance: m2 is not above (2⁻⁵² · mean)², which is all rounding.
#[must_use]
pub fn kurtosis(window: &[f64]) -> Option<f64> {
    let mean = mean(window);
    let squares = |value: &f64| (value - mean) * (value - mean);
    let m2 = average(window.iter().map(squares), window.len());
    let rounding = f64::EPSILON * mean;
    if m2 <= rounding * rounding {
        return None;
    }
    let m4 = average(window.iter().map(squares).map(|square| square * square), window.len());
    Some(m4 / (m2 * m2))
}

fn average(values: impl Iterator<Item = f64>, count: usize) -> f64 {
    if count == 0 {
        return 0.0;
    }
    values.sum::<f64>() / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_wave() {
        let window = [3.0, -3.0, 3.0, -3.0];
        assert_eq!((rms(&window), peak(&window)), (3.0, 3.0));
        assert_eq!((crest_factor(&window), kurtosis(&window)), (Some(1.0), Some(1.0)));
    }

    #[test]
    fn windows_without_a_shape() {
        assert_eq!(
            (rms(&[]), peak(&[]), crest_factor(&[]), kurtosis(&[])),
            (0.0, 0.0, None, None)
        );
        assert_eq!((crest_factor(&[0.0; 8]), kurtosis(&[0.1; 8])), (None, None));
    }

    #[test]
    fn a_nan_spreads_wherever_it_stands() {
        for window in [[f64::NAN, 1.0, 2.0], [1.0, f64::NAN, 2.0], [1.0, 2.0, f64::NAN]] {
            assert!(rms(&window).is_nan() && peak(&window).is_nan());
            assert!(crest_factor(&window).unwrap().is_nan() && kurtosis(&window).unwrap().is_nan());
        }
    }
}
