//! `LabelEncoder`, versions 1, 2 and 4: each element looked up in a table.

use super::attributes::Attributes;
use super::lookup::{Keys, Twins, Values};
use super::numbers;
use crate::operators::kernel::{Fact, Kernel};
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult, tensor0, tensor1, tvec};

/// One table. The last value is the default.
#[derive(Debug)]
pub(crate) struct LabelEncoder {
    keys: Keys,
    values: Values,
}

impl LabelEncoder {
    /// Of version 2 or later; version 1 has no keys, and is a [`super::category_mapper::CategoryMapper`].
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        let (key_name, keys) = table(attributes, &KEYS)?;
        let (value_name, values) = table(attributes, &VALUES)?;
        if keys.len() != values.len() {
            let problem = format!(
                "has {} keys for {} of {value_name:?}; give as many of the one as of the other",
                keys.len(),
                values.len()
            );
            return Err(attributes.refuse(key_name, problem));
        }
        let parsed = Keys::of(&keys, Twins::First);
        let mut found = parsed.map_err(|error| attributes.refuse(key_name, format!("{error}; use another type")))?;
        // Only the fourth version says that NaN is its own equal.
        if attributes.opset() < 4 {
            found = found.without_nan();
        }
        let default = default(attributes, values.datum_type())?;
        let values = with_default(&values, &default)
            .map_err(|error| attributes.refuse(value_name, format!("{error}; use another type")))?;
        Ok(Self { keys: found, values })
    }
}

impl Kernel for LabelEncoder {
    fn name(&self) -> &'static str {
        "LabelEncoder"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let input = numbers::only(inputs, &[self.keys.datum_type()])?;
        Ok(numbers::one(Fact::new(
            self.values.datum_type(),
            input.shape.iter().cloned(),
        )))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = numbers::tensor(inputs)?;
        let places = self.keys.find(input, usize::MAX)?;
        Ok(tvec![self.values.at(&places, input.shape())?])
    }
}

/// The attributes that keys can stand in: ints, floats, strings, and a tensor of any type.
const KEYS: [&str; 4] = ["keys_int64s", "keys_floats", "keys_strings", "keys_tensor"];
/// The same for values.
const VALUES: [&str; 4] = ["values_int64s", "values_floats", "values_strings", "values_tensor"];

/// The one of four attributes that is given, with its name.
fn table(attributes: &mut Attributes, names: &[&'static str; 4]) -> TractResult<(&'static str, Tensor)> {
    let [int_name, float_name, string_name, tensor_name] = *names;
    let ints = attributes.ints(int_name)?;
    let floats = attributes.floats(float_name)?;
    let strings = attributes.strings(string_name)?;
    let tensor = if attributes.opset() >= 4 {
        attributes.tensor(tensor_name)?
    } else {
        None
    };
    let mut given = Vec::new();
    given.extend((!ints.is_empty()).then(|| (int_name, tensor1(ints))));
    given.extend((!floats.is_empty()).then(|| (float_name, tensor1(floats))));
    given.extend((!strings.is_empty()).then(|| (string_name, tensor1(&strings))));
    given.extend(tensor.map(|tensor| (tensor_name, tensor)));
    match (given.pop(), given.pop()) {
        (Some(only), None) => Ok(only),
        (Some((name, _)), Some((other, _))) => {
            Err(attributes.refuse(name, format!("is given beside {other:?}; leave one out")))
        }
        _ => Err(attributes.refuse(int_name, format!("is missing; give one of {names:?}"))),
    }
}

/// What an unknown key becomes: the tensor, else the attribute of the values' type, else its default.
fn default(attributes: &mut Attributes, values: DatumType) -> TractResult<Tensor> {
    // Exporters write the defaults of all types, so each is known, and one of them counts.
    let int = attributes.int("default_int64")?.unwrap_or(-1);
    let float = attributes.float("default_float")?.unwrap_or(-0.0);
    let string = attributes.string("default_string")?;
    let tensor = if attributes.opset() >= 4 {
        attributes.tensor("default_tensor")?
    } else {
        None
    };
    if let Some(tensor) = tensor {
        if tensor.datum_type() == values && tensor.len() == 1 {
            return Ok(tensor);
        }
        let problem = format!(
            "has {} values of {:?}; give one of {values:?}, which the other values are",
            tensor.len(),
            tensor.datum_type()
        );
        return Err(attributes.refuse("default_tensor", problem));
    }
    let narrow = |_| attributes.refuse("default_int64", format!("is {int}, which is no {values:?}"));
    Ok(match values {
        DatumType::F32 => tensor0(float),
        DatumType::F64 => tensor0(f64::from(float)),
        DatumType::I32 => tensor0(i32::try_from(int).map_err(narrow)?),
        DatumType::I16 => tensor0(i16::try_from(int).map_err(narrow)?),
        DatumType::String => tensor0(string.unwrap_or_else(|| "_Unused".to_owned())),
        _ => tensor0(int),
    })
}

/// The values, with their default as the last.
fn with_default(values: &Tensor, default: &Tensor) -> TractResult<Values> {
    let mut all = Values::of(values)?;
    match (&mut all, Values::of(default)?) {
        (Values::I64(all), Values::I64(more)) => all.extend(more),
        (Values::I32(all), Values::I32(more)) => all.extend(more),
        (Values::I16(all), Values::I16(more)) => all.extend(more),
        (Values::F32(all), Values::F32(more)) => all.extend(more),
        (Values::F64(all), Values::F64(more)) => all.extend(more),
        (Values::String(all), Values::String(more)) => all.extend(more),
        (all, more) => {
            tract_onnx::tract_core::internal::bail!("{:?} is no {:?}", more.datum_type(), all.datum_type());
        }
    }
    Ok(all)
}
