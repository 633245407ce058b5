//! `Imputer`: puts a value in the place of the one that stands for "missing", for each column or for all.

use super::attributes::Attributes;
use super::numbers::{self, NUMBERS};
use crate::operators::kernel::{Fact, Kernel};
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult, tvec};
use tract_onnx::tract_core::internal::{Datum, bail, ensure};

/// What is missing, and what comes in its place: one value, or one for each column.
#[derive(Debug)]
pub(crate) enum Imputer {
    Floats { missing: f32, imputed: Vec<f32> },
    Ints { missing: i64, imputed: Vec<i64> },
}

impl Imputer {
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        let floats = attributes.floats("imputed_value_floats")?;
        let ints = attributes.ints("imputed_value_int64s")?;
        let float = attributes.float("replaced_value_float")?;
        let int = attributes.int("replaced_value_int64")?;
        match (floats.is_empty(), ints.is_empty()) {
            (false, true) => Ok(Self::Floats {
                missing: float.unwrap_or(0.0),
                imputed: floats.to_vec(),
            }),
            (true, false) => Ok(Self::Ints {
                missing: int.unwrap_or(0),
                imputed: ints.to_vec(),
            }),
            _ => Err(attributes.refuse(
                "imputed_value_floats",
                "give values in either this or \"imputed_value_int64s\", not in both",
            )),
        }
    }

    /// The types of input that these values are for.
    fn types(&self) -> [DatumType; 2] {
        match self {
            Self::Floats { .. } => [DatumType::F32, DatumType::F64],
            Self::Ints { .. } => [DatumType::I64, DatumType::I32],
        }
    }

    fn fits(&self, columns: usize) -> TractResult<()> {
        let (name, values) = match self {
            Self::Floats { imputed, .. } => ("imputed_value_floats", imputed.len()),
            Self::Ints { imputed, .. } => ("imputed_value_int64s", imputed.len()),
        };
        ensure!(
            values == 1 || values == columns,
            "attribute {name:?} has {values} values, the input {columns} columns; give one value, or one for each column"
        );
        Ok(())
    }
}

impl Kernel for Imputer {
    fn name(&self) -> &'static str {
        "Imputer"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let input = numbers::only(inputs, &NUMBERS)?;
        ensure!(
            self.types().contains(&input.datum_type),
            "its values are for {:?}, the input is {:?}; cast the input, or export the values in its type",
            self.types(),
            input.datum_type
        );
        if let (Self::Ints { imputed, .. }, DatumType::I32) = (self, input.datum_type) {
            narrowed(imputed)?;
        }
        numbers::batch(&input.shape)?;
        if let Some(columns) = numbers::features(&input.shape) {
            self.fits(columns)?;
        }
        Ok(numbers::one(input.clone()))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = numbers::tensor(inputs)?;
        let (_, columns) = numbers::rows(input)?;
        self.fits(columns)?;
        let output = match (self, input.datum_type()) {
            (Self::Floats { missing, imputed }, DatumType::F32) => {
                impute::<f32>(input, imputed, |x| same(f64::from(x), f64::from(*missing)))?
            }
            (Self::Floats { missing, imputed }, DatumType::F64) => {
                let imputed: Vec<f64> = imputed.iter().map(|&value| value.into()).collect();
                impute::<f64>(input, &imputed, |x| same(x, f64::from(*missing)))?
            }
            (Self::Ints { missing, imputed }, DatumType::I64) => impute::<i64>(input, imputed, |x| x == *missing)?,
            (Self::Ints { missing, imputed }, DatumType::I32) => {
                impute::<i32>(input, &narrowed(imputed)?, |x| i64::from(x) == *missing)?
            }
            (_, other) => bail!("takes no {other:?}"),
        };
        Ok(tvec![output])
    }
}

/// NaN is the usual sign of "missing", and is nothing's equal.
fn same(value: f64, missing: f64) -> bool {
    value == missing || (value.is_nan() && missing.is_nan())
}

fn narrowed(values: &[i64]) -> TractResult<Vec<i32>> {
    let narrow = |&value: &i64| {
        i32::try_from(value).map_err(|_| {
            let problem = "attribute \"imputed_value_int64s\" has a value that the input's type int32 can't hold";
            tract_onnx::prelude::TractError::msg(format!("{problem}: {value}; cast the input to int64"))
        })
    };
    values.iter().map(narrow).collect()
}

fn impute<T: Datum + Copy>(input: &Tensor, imputed: &[T], missing: impl Fn(T) -> bool) -> TractResult<Tensor> {
    let mut output = input.clone();
    let mut view = output.try_as_plain_ram_mut()?;
    for (value, &replacement) in view.as_slice_mut::<T>()?.iter_mut().zip(imputed.iter().cycle()) {
        if missing(*value) {
            *value = replacement;
        }
    }
    Ok(output)
}
