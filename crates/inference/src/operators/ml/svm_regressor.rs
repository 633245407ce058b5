//! `SVMRegressor`: a weighted sum of a sample's likeness to support vectors.

use super::attributes::Attributes;
use super::numbers;
use super::scores::PostTransform;
use super::svm_kernel::{Likeness, Vectors};
use crate::operators::kernel::{Fact, Kernel};
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult, tvec};

#[derive(Debug)]
pub(crate) struct SvmRegressor {
    vectors: Vectors,
    /// One for each vector.
    coefficients: Vec<f32>,
    rho: f32,
    /// Whether only the side counts on which a sample lies: 1 or -1.
    one_class: bool,
}

impl SvmRegressor {
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        if PostTransform::parse(attributes)? != PostTransform::None {
            let problem = "is not NONE, and ONNX Runtime ignores it; add the operator that it means to the graph";
            return Err(attributes.refuse("post_transform", problem));
        }
        let one_class = attributes.flag("one_class", false)?;
        let likeness = Likeness::parse(attributes)?;
        let supports = attributes.int("n_supports")?.unwrap_or(0);
        let vectors = attributes.floats("support_vectors")?;
        let coefficients = attributes.floats("coefficients")?;
        let &[rho] = attributes.floats("rho")? else {
            return Err(attributes.refuse("rho", "is not one value; give what is added"));
        };
        // Without support vectors the coefficients are the only vector, and they are what liblinear trains.
        if supports <= 0 {
            if !vectors.is_empty() {
                let problem = "is given, and \"n_supports\" says there are none; leave it out, or count them";
                return Err(attributes.refuse("support_vectors", problem));
            }
            let vectors = Vectors::new(attributes, "coefficients", Likeness::Linear, coefficients, 1)?;
            return Ok(Self {
                vectors,
                coefficients: vec![1.0],
                rho,
                one_class,
            });
        }
        let supports = usize::try_from(supports).unwrap_or(usize::MAX);
        if coefficients.len() != supports {
            let problem = format!(
                "has {} values for {supports} vectors; give one for each",
                coefficients.len()
            );
            return Err(attributes.refuse("coefficients", problem));
        }
        Ok(Self {
            vectors: Vectors::new(attributes, "support_vectors", likeness, vectors, supports)?,
            coefficients: coefficients.to_vec(),
            rho,
            one_class,
        })
    }

    fn value(&self, likeness: &[f32]) -> f32 {
        let value = numbers::dot(likeness, &self.coefficients) + self.rho;
        match (self.one_class, value > 0.0) {
            (false, _) => value,
            (true, true) => 1.0,
            (true, false) => -1.0,
        }
    }
}

impl Kernel for SvmRegressor {
    fn name(&self) -> &'static str {
        "SVMRegressor"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let rows = self.vectors.batch(inputs)?;
        Ok(numbers::one(Fact::new(DatumType::F32, [rows, 1.into()])))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let output = self.vectors.each(inputs, 1, |likeness, scores| {
            scores.fill(self.value(likeness));
        })?;
        Ok(tvec![output])
    }
}
