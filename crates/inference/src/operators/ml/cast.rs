//! `Cast` and `CastLike`, with strings on either side, and with all of an `int64`.
//!
//! tract 0.23.9 reads floats out of strings and writes numbers as Rust does. And it makes a symbolic integer of every
//! cast to `int64`, by way of 32 bits: 2^31 becomes -2^31 without a word. Both can go once tract does otherwise.

use super::numbers;
use crate::operators::kernel::{self, Built, Fact, Kernel, site};
use std::sync::Arc;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::infer::rules::{InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{Expansion, expand};

/// Builds a `Cast` of ONNX's own domain.
pub(crate) fn build(_context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    let to = node.get_attr::<DatumType>("to").with_context(|| site(node))?;
    let (to, site) = (Some(to), site(node).into());
    Ok((expand(Cast { to, site }), Vec::new()))
}

/// Builds a `CastLike`, to the type of its second input.
pub(crate) fn build_like(_context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    let (to, site) = (None, site(node).into());
    Ok((expand(Cast { to, site }), Vec::new()))
}

#[derive(Debug, Clone)]
struct Cast {
    /// None for the type of the second input.
    to: Option<DatumType>,
    site: Arc<str>,
}

/// A symbolic integer may stand for a dimension that isn't known yet, and stays one.
fn target(from: DatumType, to: DatumType) -> DatumType {
    match (from, to) {
        (DatumType::TDim, DatumType::I64 | DatumType::TDim) => DatumType::TDim,
        (_, DatumType::TDim) => DatumType::I64,
        _ => to,
    }
}

impl Expansion for Cast {
    fn name(&self) -> StaticName {
        "Cast".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let ([input, like @ ..], [output]) = (inputs, outputs) else {
            bail!("{}: takes one input or two, and gives one output", self.site);
        };
        solver.equals(&input.shape, &output.shape)?;
        let types = std::iter::once(input).chain(like).map(|input| &input.datum_type);
        solver.given_all(types, move |solver, types| {
            let from = types.first().copied().unwrap_or(DatumType::I64);
            let to = self.to.or(types.get(1).copied()).unwrap_or(from);
            solver.equals(&output.datum_type, target(from, to))
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let (&[input], like) = inputs.split_at_checked(1).unwrap_or_default() else {
            bail!("{}: has no input", self.site);
        };
        let from = model.outlet_fact(input)?.datum_type;
        let to = match (self.to, like) {
            (Some(to), _) => to,
            (None, [like]) => model.outlet_fact(*like)?.datum_type,
            (None, _) => bail!("{}: takes two inputs", self.site),
        };
        let to = target(from, to);
        if from == to {
            model.wire_node(prefix, tract_onnx::tract_core::ops::identity::Identity, &[input])
        } else if from == DatumType::String || to == DatumType::String {
            kernel::wire(model, prefix, &self.site, StringCast { to }, &[input])
        } else {
            model.wire_node(prefix, cast(to), &[input])
        }
    }
}

/// A cast between strings and something else.
#[derive(Debug)]
struct StringCast {
    to: DatumType,
}

impl Kernel for StringCast {
    fn name(&self) -> &'static str {
        "Cast"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let types = [self.to, DatumType::String];
        ensure!(
            types
                .into_iter()
                .all(|own| own == DatumType::String || NUMBERS.contains(&own)),
            "can't make {:?} of strings; cast to another type",
            self.to
        );
        let from = if self.to == DatumType::String {
            &NUMBERS[..]
        } else {
            &[DatumType::String]
        };
        let input = numbers::only(inputs, from)?;
        Ok(numbers::one(Fact::new(self.to, input.shape.iter().cloned())))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = numbers::tensor(inputs)?;
        let output = if self.to == DatumType::String {
            written(input)?
        } else {
            read(input, self.to)?
        };
        Ok(tvec![output])
    }
}

/// What may become a string, and a string become.
const NUMBERS: [DatumType; 12] = [
    DatumType::Bool,
    DatumType::U8,
    DatumType::U16,
    DatumType::U32,
    DatumType::U64,
    DatumType::I8,
    DatumType::I16,
    DatumType::I32,
    DatumType::I64,
    DatumType::F16,
    DatumType::F32,
    DatumType::F64,
];

fn written(input: &Tensor) -> TractResult<Tensor> {
    match input.datum_type() {
        DatumType::Bool => each(input, |x: &bool| Ok(u8::from(*x).to_string())),
        DatumType::U8 => each(input, |x: &u8| Ok(x.to_string())),
        DatumType::U16 => each(input, |x: &u16| Ok(x.to_string())),
        DatumType::U32 => each(input, |x: &u32| Ok(x.to_string())),
        DatumType::U64 => each(input, |x: &u64| Ok(x.to_string())),
        DatumType::I8 => each(input, |x: &i8| Ok(x.to_string())),
        DatumType::I16 => each(input, |x: &i16| Ok(x.to_string())),
        DatumType::I32 => each(input, |x: &i32| Ok(x.to_string())),
        DatumType::I64 => each(input, |x: &i64| Ok(x.to_string())),
        DatumType::F16 => each(input, |x: &f16| Ok(float_text(x.to_f64()))),
        DatumType::F32 => each(input, |x: &f32| Ok(float_text((*x).into()))),
        DatumType::F64 => each(input, |x: &f64| Ok(float_text(*x))),
        other => bail!("can't write {other:?} as strings"),
    }
}

fn read(input: &Tensor, to: DatumType) -> TractResult<Tensor> {
    match to {
        DatumType::Bool => each(input, |text: &String| Ok(whole::<i64>(text, to)? != 0)),
        DatumType::U8 => each(input, |text: &String| whole::<u8>(text, to)),
        DatumType::U16 => each(input, |text: &String| whole::<u16>(text, to)),
        DatumType::U32 => each(input, |text: &String| whole::<u32>(text, to)),
        DatumType::U64 => each(input, |text: &String| whole::<u64>(text, to)),
        DatumType::I8 => each(input, |text: &String| whole::<i8>(text, to)),
        DatumType::I16 => each(input, |text: &String| whole::<i16>(text, to)),
        DatumType::I32 => each(input, |text: &String| whole::<i32>(text, to)),
        DatumType::I64 => each(input, |text: &String| whole::<i64>(text, to)),
        DatumType::F16 => each(input, |text: &String| Ok(f16::from_f32(float(text, to)?))),
        DatumType::F32 => each(input, |text: &String| float::<f32>(text, to)),
        DatumType::F64 => each(input, |text: &String| float::<f64>(text, to)),
        other => bail!("can't read {other:?} from strings"),
    }
}

fn each<T: Datum, U: Datum>(input: &Tensor, change: impl Fn(&T) -> TractResult<U>) -> TractResult<Tensor> {
    let values: Vec<U> = numbers::slice::<T>(input)?
        .iter()
        .map(change)
        .collect::<TractResult<_>>()?;
    Ok(tract_ndarray::ArrayD::from_shape_vec(input.shape(), values)?.into())
}

/// The digits that ONNX Runtime writes, of doubles too.
const DIGITS: i32 = 8;

/// A number as C's `%.8g` writes it, which ONNX Runtime does; infinity and NaN as ONNX says.
fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "INF" } else { "-INF" }.to_owned();
    }
    // The exponent of the rounded number: 9.99999999 has none more than 10.
    let scientific = format!("{value:.*e}", 7);
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..DIGITS).contains(&exponent) {
        let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0);
        return trimmed(&format!("{value:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(mantissa), exponent.unsigned_abs())
}

/// A decimal number without the zeros at its end.
fn trimmed(number: &str) -> &str {
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    }
}

/// A float out of a string, all of it. What is finite in writing and isn't in the type is refused, as by ONNX Runtime.
fn float<T: std::str::FromStr + Into<f64> + Copy>(text: &str, to: DatumType) -> TractResult<T> {
    let trimmed = text.trim();
    let value: Option<T> = trimmed.parse().ok();
    let says_infinite = trimmed.to_ascii_lowercase().contains("inf");
    value
        .filter(|&value| !value.into().is_infinite() || says_infinite)
        .ok_or_else(|| no_number(text, to))
}

/// An integer out of a string; decimals are cut, as ONNX says.
fn whole<T: std::str::FromStr>(text: &str, to: DatumType) -> TractResult<T> {
    let (integer, decimals) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let value = integer.parse().ok();
    value
        .filter(|_| decimals.bytes().all(|digit| digit.is_ascii_digit()))
        .ok_or_else(|| no_number(text, to))
}

fn no_number(text: &str, to: DatumType) -> TractError {
    format_err!("string {text:?} is no {to:?}; feed a number, or map such strings before")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_onnx_runtime_writes_them() {
        let check = |value: f64, expected: &str| assert_eq!(float_text(value), expected);
        check(0.0, "0");
        check(-0.0, "-0");
        check(-1.5, "-1.5");
        check(f64::from(0.1_f32), "0.1");
        check(1.0 / 3.0, "0.33333333");
        check(f64::from(1e-5_f32), "9.9999997e-06");
        check(0.0001, "0.0001");
        check(99_999_999.0, "99999999");
        check(99_999_999.9, "1e+08");
        check(123_456_789.0, "1.2345679e+08");
        check(1_234_567.8, "1234567.8");
        check(12_345_678.5, "12345678");
        check(1e20, "1e+20");
        check(f64::from(1e-40_f32), "9.9999461e-41");
        check(1e-300, "1e-300");
        check(16_777_216.0, "16777216");
        check(f64::NAN, "NaN");
        check(f64::NEG_INFINITY, "-INF");
    }

    #[test]
    fn strings_are_read_to_the_last_character_or_refused() {
        let float = |text| float::<f32>(text, DatumType::F32).ok();
        assert_eq!(float(" 1e3 "), Some(1000.0));
        assert_eq!(float("+INF"), Some(f32::INFINITY));
        assert_eq!(float("-inf"), Some(f32::NEG_INFINITY));
        assert!(float("NaN").unwrap().is_nan());
        assert_eq!([float("1abc"), float(""), float("1e400")], [None; 3]);
        let whole = |text| whole::<i8>(text, DatumType::I8).ok();
        assert_eq!(
            [whole("100.9"), whole("-4"), whole("+3")],
            [Some(100), Some(-4), Some(3)]
        );
        assert_eq!([whole("300"), whole("1e1"), whole("1.5x"), whole(".5")], [None; 4]);
    }
}
