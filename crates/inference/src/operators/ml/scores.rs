//! What is done to scores at the end: `post_transform`, and the class labels.
//!
//! The formulas are ONNX Runtime's, which is what models are checked with; where it does something else than the
//! operator's words say, that stands beside it.

use super::attributes::Attributes;
use super::lookup::Values;
use tract_onnx::prelude::TractResult;

/// What is done to the scores of one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostTransform {
    None,
    Softmax,
    Logistic,
    SoftmaxZero,
    Probit,
}

impl PostTransform {
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        match attributes.string("post_transform")?.as_deref() {
            None | Some("NONE") => Ok(Self::None),
            Some("SOFTMAX") => Ok(Self::Softmax),
            Some("LOGISTIC") => Ok(Self::Logistic),
            Some("SOFTMAX_ZERO") => Ok(Self::SoftmaxZero),
            Some("PROBIT") => Ok(Self::Probit),
            Some(other) => {
                let problem = format!("is {other:?}; write NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT");
                Err(attributes.refuse("post_transform", problem))
            }
        }
    }

    /// The same as a number, as `TreeEnsemble` has it.
    pub(crate) fn parse_number(attributes: &mut Attributes) -> TractResult<Self> {
        match attributes.int("post_transform")? {
            None | Some(0) => Ok(Self::None),
            Some(1) => Ok(Self::Softmax),
            Some(2) => Ok(Self::Logistic),
            Some(3) => Ok(Self::SoftmaxZero),
            Some(4) => Ok(Self::Probit),
            Some(other) => {
                let problem =
                    format!("is {other}; write 0 (NONE), 1 (SOFTMAX), 2 (LOGISTIC), 3 (SOFTMAX_ZERO) or 4 (PROBIT)");
                Err(attributes.refuse("post_transform", problem))
            }
        }
    }

    /// Changes the scores of one sample. A single score stays what it is, except for the probit: so ONNX Runtime does.
    pub(crate) fn apply(self, scores: &mut [f32]) {
        match self {
            Self::Probit => scores.iter_mut().for_each(|score| *score = probit(*score)),
            _ if scores.len() < 2 => {}
            Self::None => {}
            Self::Logistic => scores.iter_mut().for_each(|score| *score = logistic(*score)),
            Self::Softmax => softmax(scores),
            Self::SoftmaxZero => softmax_zero(scores),
        }
    }
}

/// The scores of two classes from the one by whose sign they differ; `[none, other]` is what no transformation makes of
/// it. SOFTMAX and SOFTMAX_ZERO leave `other`, as in ONNX Runtime.
pub(crate) fn both(score: f32, post_transform: PostTransform, untouched: [f32; 2]) -> [f32; 2] {
    match post_transform {
        PostTransform::Logistic => [logistic(-score), logistic(score)],
        PostTransform::None => untouched,
        _ => [1.0 - score, score],
    }
}

/// 1 / (1 + e^-x), from the side on which e^x can't overflow.
pub(crate) fn logistic(x: f32) -> f32 {
    let above = 1.0 / (1.0 + (-x.abs()).exp());
    if x < 0.0 { 1.0 - above } else { above }
}

/// The inverse of the normal distribution, by Winitzki's approximation of the inverse error function (a = 0.147). Its
/// error is in the third digit; ONNX Runtime's is the same, and so a better one would be a difference.
fn probit(p: f32) -> f32 {
    let x = 2.0 * p - 1.0;
    let log = ((1.0 - x) * (1.0 + x)).ln();
    // Around a half two nearly equal numbers are subtracted: only the same steps lead to the same digits. π is cut there.
    #[expect(clippy::approx_constant, reason = "the constant of what is compared with")]
    let half = 2.0 / (3.14159 * A) + 0.5 * log;
    let other = 1.0 / A * log;
    let root = (-half + (half * half - other).sqrt()).sqrt();
    std::f32::consts::SQRT_2 * (if x < 0.0 { -1.0 } else { 1.0 } * root)
}

/// Winitzki's constant.
const A: f32 = 0.147;

/// The largest score, from which exponents are taken, so that none overflows.
fn largest(scores: &[f32]) -> f32 {
    scores.iter().copied().fold(f32::MIN, f32::max)
}

fn softmax(scores: &mut [f32]) {
    let max = largest(scores);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - max).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// Softmax of those that aren't 0; the others stay near it, and count for nothing.
fn softmax_zero(scores: &mut [f32]) {
    let max = largest(scores);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        if score.abs() > 1e-7 {
            *score = (*score - max).exp();
            sum += *score;
        } else {
            *score *= (-max).exp();
        }
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// The names of classes: strings, or ints under an attribute of this name.
pub(crate) fn labels(attributes: &mut Attributes, name: &'static str) -> TractResult<Values> {
    let ints = attributes.ints(name)?;
    let strings = attributes.strings("classlabels_strings")?;
    match (ints.is_empty(), strings.is_empty()) {
        (false, true) => Ok(Values::I64(ints.to_vec())),
        (true, false) => Ok(Values::String(strings)),
        _ => {
            let problem = "give labels in either this or \"classlabels_strings\", not in both";
            Err(attributes.refuse(name, problem))
        }
    }
}

/// The place of the largest score, the first of equals. NaN is larger than nothing, and nothing than NaN.
pub(crate) fn winner(scores: &[f32]) -> usize {
    let mut best = (0, scores.first().copied().unwrap_or_default());
    for (place, &score) in scores.iter().enumerate() {
        if score > best.1 {
            best = (place, score);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_score_is_changed_by_the_probit_alone() {
        for (transform, expected) in [(PostTransform::Logistic, 0.3), (PostTransform::Softmax, 0.3)] {
            let mut scores = [0.3];
            transform.apply(&mut scores);
            assert_eq!(scores, [expected]);
        }
        let mut scores = [0.5];
        PostTransform::Probit.apply(&mut scores);
        assert_eq!(scores, [0.0]);
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let mut scores = [1000.0, 999.0];
        PostTransform::Softmax.apply(&mut scores);
        assert!((scores[0] - 0.731_058_6).abs() < 1e-6, "{scores:?}");
        assert_eq!([logistic(-1000.0), logistic(1000.0)], [0.0, 1.0]);
        assert_eq!(winner(&[f32::NAN, 1.0]), 0);
        assert_eq!(winner(&[1.0, 2.0, 2.0]), 1);
    }
}
