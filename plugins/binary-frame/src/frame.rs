//! What is around the records: magic, header, length and check.

use crate::{
    bad,
    config::{Check, CheckKind, Config, Endianness, Length},
    input, number,
};
use crc::{Algorithm, Crc, NoTable};
use floorhand_plugin_sdk::{Datatype, Error, Number};

/// What frames a message.
#[derive(Debug)]
pub(crate) struct Frame {
    magic: Vec<u8>,
    header_bytes: usize,
    length: Option<Length>,
    check: Option<Check>,
    endianness: Endianness,
    max_bytes: usize,
}

impl Frame {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let magic = hexadecimal(config.magic.as_deref().unwrap_or_default())
            .ok_or_else(|| bad("magic has to be hexadecimal digits, two for each byte".into()))?;
        let header_bytes = config.header_bytes.unwrap_or(magic.len());
        if header_bytes < magic.len() || header_bytes > config.max_bytes {
            let least = magic.len();
            return Err(bad(format!(
                "header_bytes is {header_bytes}, and has to be {least}, those of magic, to max_bytes"
            )));
        }
        if let Some(length) = config.length {
            let unsigned = matches!(
                length.datatype,
                Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 | Datatype::Uint64
            );
            let end = length.offset.saturating_add(length.datatype.size());
            if !unsigned || end > header_bytes {
                return Err(bad("length has to be an unsigned integer within the header".into()));
            }
        }
        if config.check.is_some_and(|check| check.from > header_bytes) {
            return Err(bad("check.from is beyond the header".into()));
        }
        Ok(Self {
            magic,
            header_bytes,
            length: config.length,
            check: config.check,
            endianness: config.endianness,
            max_bytes: config.max_bytes,
        })
    }

    pub(crate) const fn header_bytes(&self) -> usize {
        self.header_bytes
    }

    /// What is between header and check, if all about the frame is right.
    pub(crate) fn body<'a>(&self, message: &'a [u8]) -> Result<&'a [u8], Error> {
        if message.len() > self.max_bytes {
            let (length, most) = (message.len(), self.max_bytes);
            return Err(input(format!("message of {length} bytes, more than max_bytes, {most}")));
        }
        if !message.starts_with(&self.magic) {
            return Err(input("the message doesn't begin with magic".into()));
        }
        self.check_length(message)?;
        let check_bytes = self.check.map_or(0, |check| check.kind.bytes());
        let end = message.len().checked_sub(check_bytes);
        let body = end.and_then(|end| message.get(self.header_bytes..end));
        let body = body.ok_or_else(|| {
            input(format!(
                "message of {} bytes, less than header and check",
                message.len()
            ))
        })?;
        if let Some(check) = self.check {
            self.verify(check, message)?;
        }
        Ok(body)
    }

    fn check_length(&self, message: &[u8]) -> Result<(), Error> {
        let Some(length) = self.length else {
            return Ok(());
        };
        let stated = match number(message, length.offset, length.datatype, self.endianness) {
            Some(Number::Unsigned(stated)) => i128::from(stated) + i128::from(length.plus),
            _ => {
                return Err(input(format!(
                    "message of {} bytes, less than its header",
                    message.len()
                )));
            }
        };
        if stated != message.len() as i128 {
            return Err(input(format!(
                "message of {} bytes says that it has {stated}",
                message.len()
            )));
        }
        Ok(())
    }

    fn verify(&self, check: Check, message: &[u8]) -> Result<(), Error> {
        let (covered, stated) = message.split_at(message.len().saturating_sub(check.kind.bytes()));
        let computed = check.kind.compute(covered.get(check.from..).unwrap_or_default());
        let mut expected = computed.to_le_bytes();
        let expected = expected.get_mut(..check.kind.bytes()).unwrap_or_default();
        if check.endianness.unwrap_or(self.endianness) == Endianness::Big {
            expected.reverse();
        }
        if stated != &*expected {
            return Err(input("the message's check is wrong".into()));
        }
        Ok(())
    }
}

impl CheckKind {
    /// Bytes that the check takes.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Sum8 | Self::Xor8 | Self::Crc8 => 1,
            Self::Crc16Modbus | Self::Crc16CcittFalse | Self::Crc16Xmodem | Self::Crc16X25 => 2,
            Self::Crc32 | Self::Crc32c => 4,
        }
    }

    pub(crate) fn compute(self, bytes: &[u8]) -> u32 {
        match self {
            Self::Sum8 => bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte)).into(),
            Self::Xor8 => bytes.iter().fold(0_u8, |sum, &byte| sum ^ byte).into(),
            Self::Crc8 => Crc::<u8, NoTable>::new(&crc::CRC_8_SMBUS).checksum(bytes).into(),
            Self::Crc16Modbus => crc16(&crc::CRC_16_MODBUS, bytes),
            Self::Crc16CcittFalse => crc16(&crc::CRC_16_IBM_3740, bytes),
            Self::Crc16Xmodem => crc16(&crc::CRC_16_XMODEM, bytes),
            Self::Crc16X25 => crc16(&crc::CRC_16_IBM_SDLC, bytes),
            Self::Crc32 => crc32(&crc::CRC_32_ISO_HDLC, bytes),
            Self::Crc32c => crc32(&crc::CRC_32_ISCSI, bytes),
        }
    }
}

/// Without tables, which would be most of the plugin.
fn crc16(algorithm: &'static Algorithm<u16>, bytes: &[u8]) -> u32 {
    Crc::<u16, NoTable>::new(algorithm).checksum(bytes).into()
}

fn crc32(algorithm: &'static Algorithm<u32>, bytes: &[u8]) -> u32 {
    Crc::<u32, NoTable>::new(algorithm).checksum(bytes)
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |&[high, low]: &[u8; 2]| Some((digit(high)? << 4 | digit(low)?) as u8);
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each gives for the nine digits `123456789`, as the catalogue of CRCs has it.
    #[test]
    fn checks_are_those_of_the_catalogue() {
        for (kind, expected) in [
            (CheckKind::Crc8, 0xf4),
            (CheckKind::Crc16Modbus, 0x4b37),
            (CheckKind::Crc16CcittFalse, 0x29b1),
            (CheckKind::Crc16Xmodem, 0x31c3),
            (CheckKind::Crc16X25, 0x906e),
            (CheckKind::Crc32, 0xcbf4_3926),
            (CheckKind::Crc32c, 0xe306_9283),
            (CheckKind::Sum8, 0xdd),
            (CheckKind::Xor8, 0x31),
        ] {
            assert_eq!(kind.compute(b"123456789"), expected, "{kind:?}");
        }
    }

    #[test]
    fn hexadecimal_digits_are_read() {
        assert_eq!(hexadecimal("00aBff"), Some(vec![0, 0xab, 0xff]));
        assert_eq!(hexadecimal(""), Some(vec![]));
        assert!(hexadecimal("abc").is_none() && hexadecimal("0g").is_none());
    }
}
