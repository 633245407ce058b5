//! Elements to and from numbers. Byte strings are none: who calls has looked.

use crate::Datatype;

macro_rules! read {
    ($type:ty, $bytes:expr) => {
        $bytes
            .try_into()
            .map_or(f64::NAN, |bytes| <$type>::from_le_bytes(bytes) as f64)
    };
}

/// One element's little-endian bytes as a number.
pub(crate) fn number(datatype: Datatype, bytes: &[u8]) -> f64 {
    match datatype {
        Datatype::Bool | Datatype::Uint8 => read!(u8, bytes),
        Datatype::Uint16 => read!(u16, bytes),
        Datatype::Uint32 => read!(u32, bytes),
        Datatype::Uint64 => read!(u64, bytes),
        Datatype::Int8 => read!(i8, bytes),
        Datatype::Int16 => read!(i16, bytes),
        Datatype::Int32 => read!(i32, bytes),
        Datatype::Int64 => read!(i64, bytes),
        Datatype::Fp16 => bytes
            .try_into()
            .map_or(f64::NAN, |bytes| half_to_f64(u16::from_le_bytes(bytes))),
        Datatype::Fp32 => read!(f32, bytes),
        Datatype::Fp64 => read!(f64, bytes),
        Datatype::Bytes => f64::NAN,
    }
}

/// Appends one number in a type's own representation.
pub(crate) fn push(data: &mut Vec<u8>, datatype: Datatype, value: f64) {
    match datatype {
        Datatype::Bool => data.push(u8::from(value != 0.0)),
        Datatype::Uint8 => data.push(value.round() as u8),
        Datatype::Uint16 => data.extend((value.round() as u16).to_le_bytes()),
        Datatype::Uint32 => data.extend((value.round() as u32).to_le_bytes()),
        Datatype::Uint64 => data.extend((value.round() as u64).to_le_bytes()),
        Datatype::Int8 => data.extend((value.round() as i8).to_le_bytes()),
        Datatype::Int16 => data.extend((value.round() as i16).to_le_bytes()),
        Datatype::Int32 => data.extend((value.round() as i32).to_le_bytes()),
        Datatype::Int64 => data.extend((value.round() as i64).to_le_bytes()),
        Datatype::Fp16 => data.extend(f64_to_half(value).to_le_bytes()),
        Datatype::Fp32 => data.extend((value as f32).to_le_bytes()),
        Datatype::Fp64 => data.extend(value.to_le_bytes()),
        Datatype::Bytes => {}
    }
}

/// IEEE 754 binary16 to binary64, exact.
fn half_to_f64(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from((bits >> 10) & 0x1f);
    let fraction = f64::from(bits & 0x3ff);
    match exponent {
        0 => sign * fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    }
}

/// IEEE 754 binary64 to the nearest binary16, ties to even.
fn f64_to_half(value: f64) -> u16 {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let magnitude = value.abs();
    if magnitude.is_nan() {
        return 0x7e00 | sign;
    }
    // Half way between the largest finite binary16, 65504, and 65536, which there is not: from here on it is infinity.
    if magnitude >= 65520.0 {
        return 0x7c00 | sign;
    }
    // The distance between neighbours at this magnitude; 2^-24 is the smallest there is.
    let exponent = if magnitude < 2_f64.powi(-14) {
        -14
    } else {
        magnitude.log2().floor() as i32
    };
    let steps = (magnitude / 2_f64.powi(exponent - 10)).round_ties_even() as u16;
    // `steps` carries the implicit leading one (1024) of a normal number, which then raises the exponent by one.
    sign | (((exponent + 14) as u16) << 10).wrapping_add(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_round_trips() {
        for bits in 0..=u16::MAX {
            let value = half_to_f64(bits);
            if value.is_nan() {
                assert!(half_to_f64(f64_to_half(value)).is_nan());
            } else {
                assert_eq!(f64_to_half(value), bits, "{value}");
            }
        }
        assert_eq!(f64_to_half(65519.9), 0x7bff);
        assert_eq!(f64_to_half(1.0 + 2_f64.powi(-11)), 0x3c00, "ties go to even");
        assert_eq!(f64_to_half(2_f64.powi(-26)), 0);
    }
}
