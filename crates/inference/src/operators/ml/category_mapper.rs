//! `CategoryMapper`, and `LabelEncoder` of version 1: strings to integers or back, whichever the input asks for.

use super::attributes::Attributes;
use super::lookup::{Keys, Twins, Values};
use super::numbers;
use crate::operators::kernel::{Fact, Kernel};
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult, tensor1, tvec};

/// A table to be read from both sides. Each side's last value is its default.
#[derive(Debug)]
pub(crate) struct CategoryMapper {
    name: &'static str,
    to_int: (Keys, Values),
    to_string: (Keys, Values),
}

impl CategoryMapper {
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        let strings = attributes.strings("cats_strings")?;
        let ints = attributes.ints("cats_int64s")?.to_vec();
        if strings.len() != ints.len() {
            let problem = format!(
                "has {} names for {} of \"cats_int64s\"; give as many of the one as of the other",
                strings.len(),
                ints.len()
            );
            return Err(attributes.refuse("cats_strings", problem));
        }
        Self::new("CategoryMapper", attributes, strings, ints)
    }

    /// `LabelEncoder` of version 1: a class's number is its place.
    pub(crate) fn parse_label_encoder(attributes: &mut Attributes) -> TractResult<Self> {
        let strings = attributes.strings("classes_strings")?;
        if strings.is_empty() {
            return Err(attributes.refuse("classes_strings", "is missing; give the classes"));
        }
        let ints = (0..).take(strings.len()).collect();
        Self::new("LabelEncoder", attributes, strings, ints)
    }

    fn new(
        name: &'static str,
        attributes: &mut Attributes,
        mut strings: Vec<String>,
        mut ints: Vec<i64>,
    ) -> TractResult<Self> {
        let string_keys = Keys::of(&tensor1(&strings), Twins::Last)?;
        let int_keys = Keys::of(&tensor1(&ints), Twins::Last)?;
        let default = attributes.string("default_string")?;
        strings.push(default.unwrap_or_else(|| "_Unused".to_owned()));
        ints.push(attributes.int("default_int64")?.unwrap_or(-1));
        Ok(Self {
            name,
            to_int: (string_keys, Values::I64(ints)),
            to_string: (int_keys, Values::String(strings)),
        })
    }

    fn side(&self, input: DatumType) -> &(Keys, Values) {
        if input == DatumType::String {
            &self.to_int
        } else {
            &self.to_string
        }
    }
}

impl Kernel for CategoryMapper {
    fn name(&self) -> &'static str {
        self.name
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let input = numbers::only(inputs, &[DatumType::String, DatumType::I64])?;
        let (_, values) = self.side(input.datum_type);
        Ok(numbers::one(Fact::new(
            values.datum_type(),
            input.shape.iter().cloned(),
        )))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = numbers::tensor(inputs)?;
        let (keys, values) = self.side(input.datum_type());
        let places = keys.find(input, usize::MAX)?;
        Ok(tvec![values.at(&places, input.shape())?])
    }
}
