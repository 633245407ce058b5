//! What a message would take in memory, before any of it is decoded.
//!
//! Protobuf writes an empty tensor in two bytes and holds it in two hundred. So the fields of an inference are counted
//! first, and all but raw contents, which take what they take, have a limit of their own.

use crate::{Error, Limits, MAX_PARAMETERS};

/// The most bytes of a message that aren't raw contents: typed elements and parameters take up to some thirty times
/// as many while they are decoded. gRPC's own limit of whole messages is, unless somebody raises it, the same 4 MiB.
pub const MAX_TYPED_BYTES: usize = 4 * 1024 * 1024;

const PARAMETERS: u64 = 4;
const INPUTS: u64 = 5;
const OUTPUTS: u64 = 6;
const RAW_INPUTS: u64 = 7;

/// Refuses a `ModelInferRequest` that has more of anything than is taken.
pub(super) fn check(message: &[u8], limits: &Limits) -> Result<(), Error> {
    let mut rest = message;
    let (mut parameters, mut inputs, mut outputs, mut raw) = (0, 0, 0, 0);
    let mut typed_bytes = 0;
    while !rest.is_empty() {
        let before = rest.len();
        let field = skip_field(&mut rest).ok_or_else(|| Error::body("a field is cut short or of an unknown kind"))?;
        let bytes = before - rest.len();
        match field {
            PARAMETERS => parameters += 1,
            INPUTS => inputs += 1,
            OUTPUTS => outputs += 1,
            RAW_INPUTS => raw += 1,
            _ => {}
        }
        if field != RAW_INPUTS {
            typed_bytes += bytes;
        }
    }
    limits.check_count("inputs", inputs)?;
    limits.check_count("outputs", outputs)?;
    limits.check_count("raw_input_contents", raw)?;
    if parameters > MAX_PARAMETERS {
        return Err(Error::TooMany {
            subject: "parameters",
            count: parameters,
            most: MAX_PARAMETERS,
        });
    }
    if typed_bytes > MAX_TYPED_BYTES {
        return Err(Error::TooLarge {
            bytes: typed_bytes,
            most: MAX_TYPED_BYTES,
        });
    }
    Ok(())
}

/// Goes over a field and gives its number.
fn skip_field(rest: &mut &[u8]) -> Option<u64> {
    let key = varint(rest)?;
    let length = match key & 7 {
        0 => {
            varint(rest)?;
            0
        }
        1 => 8,
        2 => usize::try_from(varint(rest)?).ok()?,
        5 => 4,
        // Groups, which nobody writes any more.
        _ => return None,
    };
    let (_, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(key >> 3)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &[u8]) -> Result<(), Error> {
        super::check(message, &Limits::default())
    }

    #[test]
    fn small_messages_do_not_become_large() {
        assert!(check(&[0x2a, 0].repeat(64)).is_ok());
        for field in [0x2a_u8, 0x32, 0x3a, 0x22] {
            let error = check(&[field, 0].repeat(65)).unwrap_err();
            assert!(matches!(error, Error::TooMany { count: 65, .. }), "{error}");
        }
        let large = |key: u8| {
            let length = [0x81, 0x80, 0x80, 0x02];
            [&[key][..], &length, &vec![0; MAX_TYPED_BYTES + 1]].concat()
        };
        assert_eq!(check(&large(0x2a)).unwrap_err().http_status(), 413);
        assert!(check(&large(0x3a)).is_ok());
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        for message in [
            &[0x2a][..],
            &[0x2a, 1],
            &[0xff; 11],
            &[0x08],
            &[0x09, 0],
            &[0x0d, 0],
            &[0x0b],
            &[0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] {
            assert!(check(message).is_err(), "{message:?}");
        }
        assert!(check(&[0x08, 1, 0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0x0d, 0, 0, 0, 0]).is_ok());
    }
}
