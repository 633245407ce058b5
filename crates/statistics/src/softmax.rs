//! From a classifier's outputs to labels and how sure they are: softmax, the largest, entropy, margin.
//!
//! Ties go to the class that comes first, as in NumPy's `argmax`. A model whose output has a NaN has answered nothing:
//! there is no probability and no class then.

use alloc::vec::Vec;

/// Replaces logits by probabilities, exp(x - max) / sum of exp(x - max) (`scipy.special.softmax`). The maximum is taken
/// off so that nothing overflows; a logit of minus infinity has the probability 0.
///
/// False, and nothing is replaced, for no logits, a NaN, plus infinity, or minus infinity alone.
#[must_use]
pub fn softmax(logits: &mut [f64]) -> bool {
    let Some(max) = largest(logits).map(|(_, max)| max).filter(|max| max.is_finite()) else {
        return false;
    };
    logits.iter_mut().for_each(|logit| *logit = libm::exp(*logit - max));
    // At least 1: the largest one's.
    let sum: f64 = logits.iter().sum();
    logits.iter_mut().for_each(|power| *power /= sum);
    true
}

/// The position of the largest value, the first of several; `None` for no values and where there is a NaN.
#[must_use]
pub fn argmax(values: &[f64]) -> Option<usize> {
    largest(values).map(|(position, _)| position)
}

/// The positions of the `count` largest values, the largest first and equal ones in their order; of fewer values, all.
/// `None` where there is a NaN.
#[must_use]
pub fn top(values: &[f64], count: usize) -> Option<Vec<usize>> {
    if values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let mut ranked: Vec<(usize, f64)> = values.iter().copied().enumerate().collect();
    // Stable, so that equal values, 0 and -0 among them, stay in order.
    ranked.sort_by(|(_, left), (_, right)| right.partial_cmp(left).unwrap_or(core::cmp::Ordering::Equal));
    Some(ranked.into_iter().take(count).map(|(position, _)| position).collect())
}

/// The largest probability; `None` for none and where there is a NaN.
#[must_use]
pub fn confidence(probabilities: &[f64]) -> Option<f64> {
    largest(probabilities).map(|(_, value)| value)
}

/// How far the largest probability is above the next: 0 for a tie, 1 at most; `None` for fewer than two classes and
/// where there is a NaN.
#[must_use]
pub fn margin(probabilities: &[f64]) -> Option<f64> {
    let (position, first) = largest(probabilities)?;
    let (before, from) = probabilities.split_at_checked(position)?;
    let others = before.iter().chain(from.iter().skip(1)).copied();
    let second = others.reduce(|left, right| if right > left { right } else { left })?;
    Some(first - second)
}

/// The entropy -sum p ln p in nats (`scipy.stats.entropy` of probabilities that add up to 1): 0 when one class is
/// certain, ln n when all n are as likely. `None` for no classes, and where a value is outside of \[0, 1\].
#[must_use]
pub fn entropy(probabilities: &[f64]) -> Option<f64> {
    let are_probabilities = probabilities.iter().all(|p| (0.0..=1.0).contains(p));
    if probabilities.is_empty() || !are_probabilities {
        return None;
    }
    let surprise = |&p: &f64| if p > 0.0 { -p * libm::log(p) } else { 0.0 };
    // Adding 0 makes a sum of -0 positive.
    Some(probabilities.iter().map(surprise).sum::<f64>() + 0.0)
}

/// The largest value and its first position.
fn largest(values: &[f64]) -> Option<(usize, f64)> {
    let mut values = values.iter().copied().enumerate();
    let first = values.next().filter(|(_, value)| !value.is_nan())?;
    values.try_fold(first, |largest, (position, value)| {
        if value.is_nan() {
            return None;
        }
        Some(if value > largest.1 { (position, value) } else { largest })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_logits_do_not_overflow() {
        let mut logits = [1e308, 1e308, -1e308, f64::NEG_INFINITY];
        assert!(softmax(&mut logits));
        assert_eq!(logits, [0.5, 0.5, 0.0, 0.0]);
        assert_eq!((argmax(&logits), margin(&logits)), (Some(0), Some(0.0)));
        assert_eq!(
            (confidence(&logits), entropy(&logits)),
            (Some(0.5), Some(core::f64::consts::LN_2))
        );
    }

    #[test]
    fn what_has_no_answer_stays_as_it_is() {
        for logits in [
            vec![],
            vec![0.0, f64::NAN],
            vec![f64::INFINITY, 0.0],
            vec![f64::NEG_INFINITY],
        ] {
            let mut copy = logits.clone();
            assert!(!softmax(&mut copy));
            assert!(
                copy.iter().map(|x| x.to_bits()).eq(logits.iter().map(|x| x.to_bits())),
                "{logits:?}"
            );
        }
        for position in 0..3 {
            let mut values = [0.2, 0.5, 0.3];
            values[position] = f64::NAN;
            assert_eq!((argmax(&values), top(&values, 1), margin(&values)), (None, None, None));
            assert_eq!((confidence(&values), entropy(&values)), (None, None));
        }
        assert_eq!(
            (argmax(&[]), margin(&[1.0]), entropy(&[]), entropy(&[1.1])),
            (None, None, None, None)
        );
    }

    #[test]
    fn ties_go_to_the_first() {
        let values = [0.1, 0.3, -0.0, 0.3, 0.0, 0.3];
        assert_eq!(argmax(&values), Some(1));
        assert_eq!(top(&values, 5).unwrap(), [1, 3, 5, 0, 2]);
        assert_eq!((top(&values, 0).unwrap().len(), top(&values, 9).unwrap().len()), (0, 6));
    }

    #[test]
    fn one_certain_class_has_no_entropy() {
        let entropy = entropy(&[0.0, 1.0, 0.0]).unwrap();
        assert!(entropy == 0.0 && entropy.is_sign_positive());
        assert_eq!(margin(&[0.0, 1.0, 0.0]), Some(1.0));
    }
}
