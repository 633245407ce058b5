//! Protocol buffers' encoding: the fields of one message, one after another.
//!
//! Nothing is nested here: a field of bytes may hold a further message, for whoever knows that it does. Groups, which the
//! encoding has given up, are refused.

use floorhand_plugin_sdk::Error;

/// What a field holds, by the way it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// A message's fields.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and value; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| malformed())?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(malformed)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(malformed()),
        };
        match tag >> 3 {
            0 => Err(malformed()),
            number => Ok(Some((number, value))),
        }
    }

    /// Seven bits a byte, the lowest first; ten bytes at most.
    fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or_else(malformed)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(malformed)?;
        self.rest = rest;
        Ok(*array)
    }
}

pub(crate) fn malformed() -> Error {
    Error::BadInput("the payload is no Sparkplug B payload: its fields don't fit".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read() {
        let bytes = [
            0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 0, 0, 0, 0x21, 2, 0, 0, 0, 0, 0, 0, 0,
        ];
        let mut fields = Fields::new(&bytes);
        for expected in [
            (1, Value::Varint(150)),
            (2, Value::Bytes(b"hi")),
            (3, Value::Fixed32(1)),
            (4, Value::Fixed64(2)),
        ] {
            assert_eq!(fields.next().unwrap(), Some(expected));
        }
        assert_eq!(fields.next().unwrap(), None);
        let mut largest = vec![0x08];
        largest.extend([0xff; 9]);
        largest.push(1);
        assert_eq!(
            Fields::new(&largest).next().unwrap(),
            Some((1, Value::Varint(u64::MAX)))
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for bytes in [
            &[0x08][..],
            &[0x08, 0x80],
            &[0x12, 3, 1, 2],
            &[0x0b],
            &[0x0f],
            &[0x00, 1],
            &[0xff; 11],
            &[0x1d, 1],
        ] {
            assert!(Fields::new(bytes).next().is_err(), "{bytes:?}");
        }
    }
}
