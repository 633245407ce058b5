//! Numbers of a source to tensors: what decoders have in common.
//!
//! A source's numbers are integers of 64 bits or floating point; a tensor's type is the configuration's. What doesn't fit an
//! integer type is refused rather than cut off, so that a device doesn't go on with a wrapped value.

use crate::{Datatype, Error, Tensor, TensorSpec, tensor};
use schemars::JsonSchema;
use serde::Deserialize;

/// Elements of a tensor that a decoder gives: 8 MiB, the host's default limit of what a plugin may give, in FP64.
const MAX_ELEMENTS: usize = 1 << 20;

/// As the interface says.
const MAX_RANK: usize = 15;
const MAX_NAME_BYTES: usize = 256;
const MAX_COLUMNS: usize = 4096;

/// A number as a source gave it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// An integer.
    Signed(i64),
    /// An integer of at least 0.
    Unsigned(u64),
    /// Anything else; NaN where the value is missing.
    Float(f64),
}

/// What becomes of a sample in which a value is missing: a configuration's key `missing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// The sample is refused.
    #[default]
    Error,
    /// The value is NaN, which only types of floating point have.
    Nan,
}

/// A tensor that a decoder gives.
///
/// ```
/// use floorhand_plugin_sdk::{Datatype, Layout, Number};
///
/// let layout = Layout::of_fields("x", Datatype::Uint8, None, &["a", "b"])?;
/// assert_eq!(layout.spec().shape, [1, 2]);
/// assert_eq!(layout.tensor(&[Number::Signed(1), Number::Float(255.0)])?.data, [1, 255]);
/// assert!(layout.tensor(&[Number::Signed(-1), Number::Float(0.5)]).is_err());
/// # Ok::<(), floorhand_plugin_sdk::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Layout {
    spec: TensorSpec,
}

impl Layout {
    /// A tensor of any shape. At most one dimension may be -1, for any size.
    pub fn new(spec: TensorSpec) -> Result<Self, Error> {
        let name = &spec.name;
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(Error::BadConfig(format!(
                "an output's name has {} bytes, and has to have 1 to {MAX_NAME_BYTES}",
                name.len()
            )));
        }
        if spec.datatype == Datatype::Bytes {
            return Err(Error::BadConfig(format!(
                "output {name:?} is BYTES, and has to be of numbers"
            )));
        }
        let mut fixed = spec.shape.iter().filter(|&&dim| dim != -1);
        let free = spec.shape.len() - fixed.clone().count();
        let elements = fixed.try_fold(1_usize, |product, &dim| {
            let dim = usize::try_from(dim).ok().filter(|&dim| dim > 0);
            dim.and_then(|dim| product.checked_mul(dim))
        });
        if free > 1 || spec.shape.len() > MAX_RANK || elements.is_none_or(|elements| elements > MAX_ELEMENTS) {
            return Err(Error::BadConfig(format!(
                "output {name:?} has shape {:?}: at most {MAX_RANK} dimensions of at least 1 with {MAX_ELEMENTS} elements, one \
                 dimension -1",
                spec.shape
            )));
        }
        Ok(Self { spec })
    }

    /// A tensor whose last dimension holds named fields: of shape `[1, n]` for n fields unless given.
    pub fn of_fields(name: &str, datatype: Datatype, shape: Option<Vec<i64>>, fields: &[&str]) -> Result<Self, Error> {
        let width = fields.len() as i64;
        if fields.is_empty() || fields.len() > MAX_COLUMNS {
            return Err(Error::BadConfig(format!(
                "output {name:?} has {} fields: 1 to {MAX_COLUMNS}",
                fields.len()
            )));
        }
        if let Some(field) = fields.iter().find(|field| !(1..=MAX_NAME_BYTES).contains(&field.len())) {
            return Err(Error::BadConfig(format!(
                "field {field:?} of output {name:?} has to have 1 to {MAX_NAME_BYTES} bytes"
            )));
        }
        let mut sorted = fields.to_vec();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(Error::BadConfig(format!(
                "output {name:?} has the field {:?} twice",
                twice.first()
            )));
        }
        let shape = shape.unwrap_or_else(|| vec![1, width]);
        let others_fit = shape.iter().rev().skip(1).all(|&dim| dim == 1 || dim == -1);
        if shape.last() != Some(&width) || !others_fit {
            return Err(Error::BadConfig(format!(
                "output {name:?} has shape {shape:?}: it has to end in {width}, the number of fields, behind dimensions of 1"
            )));
        }
        Self::new(TensorSpec::new(name, datatype, shape).with_fields(fields.iter().copied()))
    }

    /// What a decoder's production says of the tensor.
    #[must_use]
    pub const fn spec(&self) -> &TensorSpec {
        &self.spec
    }

    /// A tensor of these numbers, row-major. Where one is missing, the type has to have NaN.
    pub fn tensor(&self, numbers: &[Number]) -> Result<Tensor, Error> {
        let shape = self.shape_of(numbers.len())?;
        let mut data = Vec::with_capacity(numbers.len() * self.spec.datatype.size());
        for (index, &number) in numbers.iter().enumerate() {
            if !self.spec.datatype.encode(number, &mut data) {
                let field = match self.spec.fields.get(index % self.spec.fields.len().max(1)) {
                    Some(field) => format!("field {:?}", field.name),
                    None => format!("element {index}"),
                };
                return Err(Error::BadInput(format!(
                    "{field} of {:?} is {}, which {} doesn't hold",
                    self.spec.name,
                    number.to_f64(),
                    self.spec.datatype.name()
                )));
            }
        }
        Ok(Tensor {
            name: self.spec.name.clone(),
            datatype: self.spec.datatype,
            shape,
            data,
        })
    }

    fn shape_of(&self, elements: usize) -> Result<Vec<u64>, Error> {
        let known: usize = self
            .spec
            .shape
            .iter()
            .filter_map(|&dim| usize::try_from(dim).ok())
            .product();
        let free = self.spec.shape.contains(&-1);
        let rest = elements / known.max(1);
        let fits = if free {
            elements.is_multiple_of(known)
        } else {
            elements == known
        };
        if !fits || elements > MAX_ELEMENTS {
            return Err(Error::BadInput(format!(
                "{elements} values for {:?} of shape {:?}",
                self.spec.name, self.spec.shape
            )));
        }
        let size = |&dim: &i64| u64::try_from(dim).unwrap_or(rest as u64);
        Ok(self.spec.shape.iter().map(size).collect())
    }
}

impl Number {
    /// In place of a value that isn't there.
    pub const MISSING: Self = Self::Float(f64::NAN);

    /// 64-bit integers beyond 2^53 are rounded.
    #[must_use]
    pub const fn to_f64(self) -> f64 {
        match self {
            Self::Signed(value) => value as f64,
            Self::Unsigned(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    /// The integer that it is, if it is one.
    fn to_integer(self) -> Option<i128> {
        // Below 2^64, where every integer type ends.
        const END: f64 = 18_446_744_073_709_551_616.0;
        match self {
            Self::Signed(value) => Some(value.into()),
            Self::Unsigned(value) => Some(value.into()),
            Self::Float(value) => (value.trunc() == value && value.abs() < END).then_some(value as i128),
        }
    }
}

impl Datatype {
    /// Whether it has NaN and fractions.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::Fp16 | Self::Fp32 | Self::Fp64 | Self::Bf16)
    }

    /// The number in these bytes, little-endian and as many as the type has; `None` if they aren't, and for BYTES. BOOL is the byte's value.
    #[must_use]
    pub fn read(self, bytes: &[u8]) -> Option<Number> {
        if self == Self::Bytes || bytes.len() != self.size() {
            return None;
        }
        let bits = bytes
            .iter()
            .rev()
            .fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
        let unused = 64 - 8 * self.size() as u32;
        Some(match self {
            Self::Fp16 => Number::Float(tensor::half(bits as u16)),
            Self::Bf16 => Number::Float(f32::from_bits((bits as u32) << 16).into()),
            Self::Fp32 => Number::Float(f32::from_bits(bits as u32).into()),
            Self::Fp64 => Number::Float(f64::from_bits(bits)),
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 => Number::Signed(((bits << unused) as i64) >> unused),
            _ => Number::Unsigned(bits),
        })
    }

    /// Appends a number, rounded to the nearest where the type is of floating point; false, and nothing appended, where an
    /// integer type or BOOL doesn't hold it.
    pub(crate) fn encode(self, number: Number, data: &mut Vec<u8>) -> bool {
        let float = number.to_f64();
        match self {
            Self::Fp64 => data.extend(float.to_le_bytes()),
            Self::Fp32 => data.extend((float as f32).to_le_bytes()),
            Self::Fp16 => data.extend(half(float).to_le_bytes()),
            Self::Bf16 => data.extend(brain(float).to_le_bytes()),
            Self::Bytes => return false,
            _ => {
                let (least, most) = self.integers();
                let Some(integer) = number.to_integer().filter(|integer| (least..=most).contains(integer)) else {
                    return false;
                };
                data.extend(integer.to_le_bytes().iter().take(self.size()));
            }
        }
        true
    }

    /// The least and the largest integer.
    const fn integers(self) -> (i128, i128) {
        let bits = 8 * self.size() as u32;
        match self {
            Self::Bool => (0, 1),
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
            _ => (0, (1 << bits) - 1),
        }
    }
}

/// IEEE 754 binary64 to binary16, to the nearest, ties to even.
fn half(value: f64) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 48) & 0x8000) as u16;
    let magnitude = value.abs();
    if value.is_nan() {
        return sign | 0x7e00;
    }
    // Half-way from the largest number, 65504, to what would be the next one.
    if magnitude >= 65520.0 {
        return sign | 0x7c00;
    }
    // Below 2^-14 numbers are multiples of 2^-24; 1024 of them are the first normal one.
    if magnitude < 1.0 / 16384.0 {
        return sign | (magnitude * 16_777_216.0).round_ties_even() as u16;
    }
    let exponent = ((bits >> 52) & 0x7ff) as u16 + 15 - 1023;
    let (kept, rest) = ((bits >> 42) as u16 & 0x3ff, bits & ((1 << 42) - 1));
    let up = rest > 1 << 41 || (rest == 1 << 41 && kept & 1 == 1);
    sign | ((exponent << 10 | kept) + u16::from(up))
}

/// IEEE 754 binary64 to bfloat16, to the nearest, ties to even. Numbers below 2^-126 are multiples of 2^-133.
fn brain(value: f64) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 48) & 0x8000) as u16;
    let magnitude = value.abs();
    if value.is_nan() {
        return sign | 0x7fc0;
    }
    if magnitude < f64::from(f32::MIN_POSITIVE) {
        // 2^133, by which a number below 2^-126 comes to at most 128, the first normal one.
        let units = magnitude * f64::from_bits((1023 + 133) << 52);
        return sign | units.round_ties_even() as u16;
    }
    // Eight bits of exponent and seven of fraction; what carries out of the fraction goes into the exponent, and out of the
    // largest number to infinity.
    let exponent = (bits >> 52) as i32 & 0x7ff;
    let exponent = exponent - 1023 + 127;
    if exponent >= 255 {
        return sign | 0x7f80;
    }
    let (kept, rest) = ((bits >> 45) as u16 & 0x7f, bits & ((1 << 45) - 1));
    let up = rest > 1 << 44 || (rest == 1 << 44 && kept & 1 == 1);
    sign | (((exponent as u16) << 7 | kept) + u16::from(up))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(datatype: Datatype, shape: &[i64]) -> Result<Layout, Error> {
        Layout::new(TensorSpec::new("x", datatype, shape.to_vec()))
    }

    #[test]
    fn integers_are_held_or_refused() {
        use Number::{Float, Signed, Unsigned};
        for (datatype, number, expected) in [
            (Datatype::Uint8, Signed(255), Some(vec![255])),
            (Datatype::Uint8, Signed(256), None),
            (Datatype::Uint8, Signed(-1), None),
            (Datatype::Int8, Float(-128.0), Some(vec![128])),
            (Datatype::Int8, Float(0.5), None),
            (Datatype::Int8, Number::MISSING, None),
            (Datatype::Bool, Signed(1), Some(vec![1])),
            (Datatype::Bool, Signed(2), None),
            (Datatype::Uint64, Unsigned(u64::MAX), Some(vec![255; 8])),
            (Datatype::Int64, Unsigned(u64::MAX), None),
            (Datatype::Int64, Signed(i64::MIN), Some(vec![0, 0, 0, 0, 0, 0, 0, 128])),
            (Datatype::Uint64, Float(f64::INFINITY), None),
            (Datatype::Uint64, Float(18_446_744_073_709_551_616.0), None),
            (Datatype::Int16, Signed(-2), Some(vec![254, 255])),
        ] {
            let tensor = layout(datatype, &[1]).unwrap().tensor(&[number]);
            assert_eq!(
                tensor.ok().map(|tensor| tensor.data),
                expected,
                "{number:?} as {}",
                datatype.name()
            );
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert!(Datatype::Bytes.read(&[]).is_none());
        for datatype in Datatype::ALL
            .into_iter()
            .filter(|&datatype| datatype != Datatype::Bytes)
        {
            let of_type = layout(datatype, &[1]).unwrap();
            for number in [0, 1, -1, 127, -128, 1 << 40].map(Number::Signed) {
                if let Ok(tensor) = of_type.tensor(&[number]) {
                    let read = datatype.read(&tensor.data).unwrap();
                    assert_eq!(
                        Some(read.to_f64()),
                        tensor.number(0),
                        "{number:?} as {}",
                        datatype.name()
                    );
                }
            }
            assert!(datatype.read(&[0; 9]).is_none() && datatype.read(&[]).is_none());
        }
        assert_eq!(Datatype::Int64.read(&[255; 8]), Some(Number::Signed(-1)));
        assert_eq!(Datatype::Uint64.read(&[255; 8]), Some(Number::Unsigned(u64::MAX)));
        assert_eq!(Datatype::Int16.read(&[0, 128]), Some(Number::Signed(-32768)));
    }

    #[test]
    fn two_bytes_are_read_back_as_the_nearest() {
        let largest = 2.0_f64.powi(127) * (2.0 - 2.0_f64.powi(-7));
        for (datatype, infinite, largest, too_large) in [
            (Datatype::Fp16, 0x7c00, 65504.0, 65520.0),
            (Datatype::Bf16, 0x7f80, largest, largest + 2.0_f64.powi(119)),
        ] {
            let of_type = layout(datatype, &[1]).unwrap();
            let round = |value: f64| {
                let tensor = of_type.tensor(&[Number::Float(value)]).unwrap();
                tensor.number(0).unwrap()
            };
            // Every number of the type is itself, and what lies between two goes to the nearer.
            for bits in 0..infinite {
                let tensor = |bits: u16| Tensor {
                    name: "x".into(),
                    datatype,
                    shape: vec![1],
                    data: bits.to_le_bytes().to_vec(),
                };
                let (here, next) = (tensor(bits).number(0).unwrap(), tensor(bits + 1).number(0).unwrap());
                assert_eq!((round(here), round(-here)), (here, -here), "{bits:#x}");
                if next.is_finite() {
                    let middle = here + (next - here) / 2.0;
                    assert_eq!(round(middle), if bits % 2 == 0 { here } else { next }, "{bits:#x}");
                    assert_eq!(round(middle + (next - here) / 1e6), next, "{bits:#x}");
                }
            }
            assert_eq!(round(too_large * (1.0 - 1e-6)), largest);
            assert_eq!((round(too_large), round(-1e300)), (f64::INFINITY, f64::NEG_INFINITY));
            assert!(round(f64::NAN).is_nan());
            assert_eq!(round(1e-300), 0.0);
        }
    }

    #[test]
    fn byte_strings_are_no_numbers() {
        assert!(layout(Datatype::Bytes, &[1]).is_err());
    }

    #[test]
    fn shapes_are_filled_or_refused() {
        let numbers = [Number::Signed(1); 6];
        let shape = |shape: &[i64]| {
            layout(Datatype::Fp32, shape)
                .unwrap()
                .tensor(&numbers)
                .map(|tensor| tensor.shape)
        };
        assert_eq!(shape(&[2, 3]).unwrap(), [2, 3]);
        assert_eq!(shape(&[-1, 2]).unwrap(), [3, 2]);
        assert_eq!(shape(&[-1]).unwrap(), [6]);
        for wrong in [&[2, 2][..], &[-1, 4], &[]] {
            assert!(shape(wrong).is_err(), "{wrong:?}");
        }
        for wrong in [
            &[-1, -1][..],
            &[0],
            &[-2],
            &[1; 17],
            &[1 << 20, 2],
            &[i64::MAX, i64::MAX],
        ] {
            assert!(layout(Datatype::Fp32, wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn fields_are_named_once_and_fill_the_last_dimension() {
        let of = |shape: Option<Vec<i64>>, fields: &[&str]| Layout::of_fields("x", Datatype::Fp32, shape, fields);
        let columns = of(None, &["a", "b"]).unwrap();
        let names: Vec<&str> = columns.spec().fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(of(None, &["a", ""]).is_err() && of(None, &["a", &"b".repeat(257)]).is_err());
        assert_eq!(of(Some(vec![2]), &["a", "b"]).unwrap().spec().shape, [2]);
        assert!(of(Some(vec![-1, 2]), &["a", "b"]).is_ok());
        for (shape, fields) in [
            (None, &[][..]),
            (None, &["a", "b", "a"]),
            (Some(vec![3]), &["a", "b"]),
            (Some(vec![2, 2]), &["a", "b"]),
            (Some(vec![]), &["a"]),
        ] {
            assert!(of(shape, fields).is_err(), "{fields:?}");
        }
    }
}
