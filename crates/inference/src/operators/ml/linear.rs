//! `LinearClassifier` and `LinearRegressor`: the input times a matrix, plus a vector.

use super::attributes::Attributes;
use super::lookup::Values;
use super::numbers::{self, NUMBERS};
use super::scores::{self, PostTransform};
use crate::operators::kernel::{Fact, Kernel};
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult, tvec};
use tract_onnx::tract_core::internal::{TDim, ensure};

/// Rows of weights, one for each score, with what is added to each.
#[derive(Debug)]
struct Weights {
    coefficients: Vec<f32>,
    intercepts: Vec<f32>,
    features: usize,
}

impl Weights {
    /// The attribute "coefficients" as one row for each intercept.
    fn parse(attributes: &mut Attributes, intercepts: Vec<f32>) -> TractResult<Self> {
        let coefficients = attributes.floats("coefficients")?;
        let rows = intercepts.len();
        if coefficients.is_empty() || coefficients.len() % rows.max(1) != 0 {
            let problem = format!(
                "has {} values for {rows} scores; give a row of as many values as there are columns for each",
                coefficients.len()
            );
            return Err(attributes.refuse("coefficients", problem));
        }
        let features = coefficients.len() / rows.max(1);
        let coefficients = coefficients.to_vec();
        Ok(Self {
            coefficients,
            intercepts,
            features,
        })
    }

    fn scores(&self) -> usize {
        self.intercepts.len()
    }

    fn fits(&self, columns: usize) -> TractResult<()> {
        ensure!(
            columns == self.features,
            "attribute \"coefficients\" has rows of {} values, the input {columns} columns; feed what it was trained on",
            self.features
        );
        Ok(())
    }

    /// The samples of the only input, if it fits.
    fn batch(&self, inputs: &[Fact]) -> TractResult<TDim> {
        let input = numbers::only(inputs, &NUMBERS)?;
        if let Some(columns) = numbers::features(&input.shape) {
            self.fits(columns)?;
        }
        numbers::batch(&input.shape)
    }

    /// Has `work` write a row of `width` scores for each sample.
    fn each(&self, inputs: &[&Tensor], width: usize, mut work: impl FnMut(&[f32], &mut [f32])) -> TractResult<Tensor> {
        let input = numbers::tensor(inputs)?;
        let (rows, columns) = numbers::rows(input)?;
        self.fits(columns)?;
        let values = numbers::floats(input)?;
        numbers::filled(&[rows, width], |outputs| {
            let samples = values.chunks_exact(self.features);
            for (sample, scores) in samples.zip(outputs.chunks_exact_mut(width)) {
                work(sample, scores);
            }
        })
    }

    /// The raw scores of one sample.
    fn score(&self, sample: &[f32], scores: &mut [f32]) {
        let rows = self.coefficients.chunks_exact(self.features).zip(&self.intercepts);
        for (score, (row, intercept)) in scores.iter_mut().zip(rows) {
            *score = numbers::dot(sample, row) + intercept;
        }
    }
}

#[derive(Debug)]
pub(crate) struct LinearClassifier {
    weights: Weights,
    /// One for each score, or for a single score the two between which its sign decides.
    labels: Values,
    post_transform: PostTransform,
}

impl LinearClassifier {
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        let labels = scores::labels(attributes, "classlabels_ints")?;
        let post_transform = PostTransform::parse(attributes)?;
        // Exporters write it, and nobody's scores depend on it.
        attributes.int("multi_class")?;
        let intercepts = attributes.floats("intercepts")?;
        let count = intercepts.len();
        if count == 0 {
            let problem = "is missing, without which ONNX Runtime gives no score; write zeros";
            return Err(attributes.refuse("intercepts", problem));
        }
        if labels.len() != count && !(count == 1 && labels.len() == 2) {
            let problem = format!(
                "has {count} values for {} class labels; give one for each",
                labels.len()
            );
            return Err(attributes.refuse("intercepts", problem));
        }
        if count == 1 && labels.len() == 1 {
            return Err(attributes.refuse("classlabels_ints", "has one class; give two, or a score for each"));
        }
        if count == 1 && post_transform == PostTransform::Probit {
            let problem = "is PROBIT for two classes of one score, where ONNX Runtime leaves the second undefined; give \
                           each class a score";
            return Err(attributes.refuse("post_transform", problem));
        }
        let weights = Weights::parse(attributes, intercepts.to_vec())?;
        Ok(Self {
            weights,
            labels,
            post_transform,
        })
    }

    /// The scores of one sample, as they come out, and the place of its label.
    fn classify(&self, sample: &[f32], scores: &mut [f32]) -> usize {
        self.weights.score(sample, scores);
        match scores {
            [first, second] if self.weights.scores() == 1 => {
                let score = *first;
                [*first, *second] = scores::both(score, self.post_transform, [1.0 - score, score]);
                usize::from(score > 0.0)
            }
            _ => {
                let place = scores::winner(scores);
                self.post_transform.apply(scores);
                place
            }
        }
    }
}

impl Kernel for LinearClassifier {
    fn name(&self) -> &'static str {
        "LinearClassifier"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let rows = self.weights.batch(inputs)?;
        let scores = [rows.clone(), self.labels.len().into()];
        Ok(tvec![
            Fact::new(self.labels.datum_type(), [rows]),
            Fact::new(DatumType::F32, scores)
        ])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let width = self.labels.len();
        let mut places = Vec::new();
        let scores = self.weights.each(inputs, width, |sample, scores| {
            places.push(self.classify(sample, scores));
        })?;
        Ok(tvec![self.labels.at(&places, &[places.len()])?, scores])
    }
}

#[derive(Debug)]
pub(crate) struct LinearRegressor {
    weights: Weights,
    post_transform: PostTransform,
}

impl LinearRegressor {
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        let post_transform = PostTransform::parse(attributes)?;
        let targets = attributes.int("targets")?.unwrap_or(1);
        let intercepts = attributes.floats("intercepts")?;
        // The bound keeps what is only claimed from being allocated: there is a coefficient for each target.
        let most = attributes.floats("coefficients")?.len();
        let targets = match usize::try_from(targets) {
            Ok(targets) if targets >= 1 && targets <= most => targets,
            _ => {
                let problem =
                    format!("is {targets}, with {most} coefficients; give at least one target, and a row for each");
                return Err(attributes.refuse("targets", problem));
            }
        };
        // ONNX Runtime ignores intercepts that don't fit; nobody can have meant that.
        if !intercepts.is_empty() && intercepts.len() != targets {
            let problem = format!(
                "has {} values for {targets} targets; give one for each",
                intercepts.len()
            );
            return Err(attributes.refuse("intercepts", problem));
        }
        let intercepts = if intercepts.is_empty() {
            vec![0.0; targets]
        } else {
            intercepts.to_vec()
        };
        let weights = Weights::parse(attributes, intercepts)?;
        Ok(Self {
            weights,
            post_transform,
        })
    }
}

impl Kernel for LinearRegressor {
    fn name(&self) -> &'static str {
        "LinearRegressor"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let rows = self.weights.batch(inputs)?;
        Ok(numbers::one(Fact::new(
            DatumType::F32,
            [rows, self.weights.scores().into()],
        )))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let output = self.weights.each(inputs, self.weights.scores(), |sample, scores| {
            self.weights.score(sample, scores);
            self.post_transform.apply(scores);
        })?;
        Ok(tvec![output])
    }
}
