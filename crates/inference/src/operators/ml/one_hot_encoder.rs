//! `OneHotEncoder`: a column for each category, 1 in the one that the value is.

use super::attributes::Attributes;
use super::lookup::{Keys, Twins};
use super::numbers::{self, NUMBERS};
use crate::operators::kernel::{Fact, Kernel};
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult, tensor1, tvec};
use tract_onnx::tract_core::internal::{bail, ensure};

#[derive(Debug)]
pub(crate) struct OneHotEncoder {
    categories: Keys,
    count: usize,
    /// Whether a value that is no category becomes zeros, or an error.
    zeros: bool,
}

impl OneHotEncoder {
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        let ints = attributes.ints("cats_int64s")?;
        let strings = attributes.strings("cats_strings")?;
        let zeros = attributes.flag("zeros", true)?;
        let categories = match (ints.is_empty(), strings.is_empty()) {
            (false, true) => Keys::of(&tensor1(ints), Twins::Last)?,
            (true, false) => Keys::of(&tensor1(&strings), Twins::Last)?,
            _ => {
                let problem = "give categories in either this or \"cats_strings\", not in both";
                return Err(attributes.refuse("cats_int64s", problem));
            }
        };
        let count = ints.len() + strings.len();
        Ok(Self {
            categories,
            count,
            zeros,
        })
    }
}

impl Kernel for OneHotEncoder {
    fn name(&self) -> &'static str {
        "OneHotEncoder"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let input = match &self.categories {
            Keys::String(_) => numbers::only(inputs, &[DatumType::String])?,
            _ => numbers::only(inputs, &NUMBERS)?,
        };
        ensure!(
            input.shape.len() <= 2,
            "takes 2 dimensions at most, is given {}; reshape the input",
            input.shape.len()
        );
        let shape = input.shape.iter().cloned().chain([self.count.into()]);
        Ok(numbers::one(Fact::new(DatumType::F32, shape)))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = numbers::tensor(inputs)?;
        let places = match input.datum_type() {
            DatumType::F32 => self.find(numbers::slice::<f32>(input)?, |&x| whole(x.into())),
            DatumType::F64 => self.find(numbers::slice::<f64>(input)?, |&x| whole(x)),
            DatumType::I32 => self.find(numbers::slice::<i32>(input)?, |&x| Some(x.into())),
            _ => self.categories.find(input, usize::MAX)?,
        };
        if let Some(unknown) = places.iter().position(|&place| place >= self.count)
            && !self.zeros
        {
            bail!("value {unknown} is no category, and attribute \"zeros\" is 0, which refuses such samples");
        }
        let shape: TVec<usize> = input.shape().iter().copied().chain([self.count]).collect();
        let output = numbers::filled(&shape, |outputs| {
            for (row, place) in outputs.chunks_exact_mut(self.count.max(1)).zip(places) {
                if let Some(hot) = row.get_mut(place) {
                    *hot = 1.0;
                }
            }
        })?;
        Ok(tvec![output])
    }
}

impl OneHotEncoder {
    fn find<T>(&self, values: &[T], number: impl Fn(&T) -> Option<i64>) -> Vec<usize> {
        let Keys::I64(categories) = &self.categories else {
            return vec![usize::MAX; values.len()];
        };
        let place = |value| categories.get(&number(value)?).copied();
        values.iter().map(|value| place(value).unwrap_or(usize::MAX)).collect()
    }
}

/// A number cut to a whole one, as the operator says. What no `int64` holds, NaN too, is no category.
fn whole(value: f64) -> Option<i64> {
    // 2^63, the first that is too large, is a double; i64::MAX is none.
    let limit = 9_223_372_036_854_775_808.0;
    (-limit..limit).contains(&value).then_some(value as i64)
}
