//! The support vectors that `SVMClassifier` and `SVMRegressor` have in common, and the kernels that compare with them.

use super::attributes::Attributes;
use super::numbers::{self, NUMBERS};
use crate::operators::kernel::Fact;
use tract_onnx::prelude::{Tensor, TractResult};
use tract_onnx::tract_core::internal::{TDim, ensure};

/// How a sample is compared with a vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Likeness {
    Linear,
    Polynomial { gamma: f32, offset: f32, degree: f32 },
    Radial { gamma: f32 },
    Sigmoid { gamma: f32, offset: f32 },
}

impl Likeness {
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        let parameters = attributes.floats("kernel_params")?;
        let kind = attributes.string("kernel_type")?;
        match (kind.as_deref(), parameters) {
            (None | Some("LINEAR"), [] | [_, _, _]) => Ok(Self::Linear),
            (Some("POLY"), &[gamma, offset, degree]) => Ok(Self::Polynomial { gamma, offset, degree }),
            (Some("RBF"), &[gamma, _, _]) => Ok(Self::Radial { gamma }),
            (Some("SIGMOID"), &[gamma, offset, _]) => Ok(Self::Sigmoid { gamma, offset }),
            (None | Some("LINEAR" | "POLY" | "RBF" | "SIGMOID"), other) => {
                let problem = format!("has {} values; give gamma, coef0 and degree", other.len());
                Err(attributes.refuse("kernel_params", problem))
            }
            (Some(other), _) => {
                let problem = format!("is {other:?}; write LINEAR, POLY, RBF or SIGMOID");
                Err(attributes.refuse("kernel_type", problem))
            }
        }
    }

    fn of(self, sample: &[f32], vector: &[f32]) -> f32 {
        match self {
            Self::Linear => numbers::dot(sample, vector),
            Self::Polynomial { gamma, offset, degree } => power(gamma * numbers::dot(sample, vector) + offset, degree),
            Self::Radial { gamma } => (-gamma * distance(sample, vector)).exp(),
            Self::Sigmoid { gamma, offset } => (gamma * numbers::dot(sample, vector) + offset).tanh(),
        }
    }
}

/// Degrees 2 and 3 are the usual ones, and defined below 0.
fn power(base: f32, degree: f32) -> f32 {
    if degree == 2.0 {
        base * base
    } else if degree == 3.0 {
        base * base * base
    } else {
        base.powf(degree)
    }
}

/// The squared distance, in eight sums as in [`numbers::dot`].
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<8>();
    let (b_chunks, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += (a - b) * (a - b);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum();
    sums.iter().sum::<f32>() + rest
}

/// Vectors of one length, with their likeness to a sample.
#[derive(Debug)]
pub(crate) struct Vectors {
    likeness: Likeness,
    /// One after the other, `features` values each.
    values: Vec<f32>,
    features: usize,
}

impl Vectors {
    /// `count` vectors out of the values of the attribute `name`.
    pub(crate) fn new(
        attributes: &Attributes,
        name: &str,
        likeness: Likeness,
        values: &[f32],
        count: usize,
    ) -> TractResult<Self> {
        if values.is_empty() || count == 0 || !values.len().is_multiple_of(count) {
            let problem = format!(
                "has {} values for {count} vectors; give each as many as there are columns",
                values.len()
            );
            return Err(attributes.refuse(name, problem));
        }
        Ok(Self {
            likeness,
            values: values.to_vec(),
            features: values.len() / count,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.values.len() / self.features
    }

    /// The samples of the only input, if it fits.
    pub(crate) fn batch(&self, inputs: &[Fact]) -> TractResult<TDim> {
        let input = numbers::only(inputs, &NUMBERS)?;
        if let Some(columns) = numbers::features(&input.shape) {
            self.fits(columns)?;
        }
        numbers::batch(&input.shape)
    }

    fn fits(&self, columns: usize) -> TractResult<()> {
        ensure!(
            columns == self.features,
            "has support vectors of {} values, the input {columns} columns; feed what it was trained on",
            self.features
        );
        Ok(())
    }

    /// Has `work` write a row of `width` scores for each sample, from the sample's likeness to each vector.
    pub(crate) fn each(
        &self,
        inputs: &[&Tensor],
        width: usize,
        mut work: impl FnMut(&[f32], &mut [f32]),
    ) -> TractResult<Tensor> {
        let input = numbers::tensor(inputs)?;
        let (rows, columns) = numbers::rows(input)?;
        self.fits(columns)?;
        let values = numbers::floats(input)?;
        let mut likeness = vec![0.0; self.count()];
        numbers::filled(&[rows, width], |outputs| {
            let samples = values.chunks_exact(self.features);
            for (sample, scores) in samples.zip(outputs.chunks_exact_mut(width)) {
                let vectors = self.values.chunks_exact(self.features);
                for (likeness, vector) in likeness.iter_mut().zip(vectors) {
                    *likeness = self.likeness.of(sample, vector);
                }
                work(&likeness, scores);
            }
        })
    }
}
