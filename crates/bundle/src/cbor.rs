//! The one way in and out of CBOR: a scanner in front of every decoder, and an encoder that satisfies it.
//!
//! `serde_cbor` and `ciborium` accept non-minimal integers, indefinite lengths, unsorted and repeated keys, so one byte
//! string could be read in two ways. [`scan`] refuses all of these before either decoder sees a byte. It doesn't
//! recurse and doesn't allocate in proportion to what the input claims.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Deeper than any document of ours, and shallow enough for the smallest stack.
const MAX_DEPTH: usize = 16;

/// Why bytes were not taken as CBOR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// Longer than the document may be.
    #[error("document of {actual} bytes is longer than the {limit} bytes allowed")]
    TooLong {
        /// The document's length in bytes.
        actual: usize,
        /// The most it may have.
        limit: usize,
    },
    /// Not in the deterministic encoding of RFC 8949, section 4.2.
    #[error("not deterministic CBOR at byte {offset}: {problem}")]
    Encoding {
        /// Where.
        offset: usize,
        /// What is wrong there.
        problem: &'static str,
    },
    /// Well encoded, but not this document.
    #[error("not a {what}: {problem}")]
    Content {
        /// The document that was expected.
        what: &'static str,
        /// The decoder's words.
        problem: String,
    },
}

/// Encodes with map keys in the bytewise order of RFC 8949.
///
/// Fails only for values that CBOR can't hold, which no document of ours has.
pub fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, CborError> {
    let content = |error: serde_cbor::Error| CborError::Content {
        what,
        problem: error.to_string(),
    };
    // A `Value` keeps its maps sorted by length, then bytes, which for text keys is the order of their encodings.
    let sorted = serde_cbor::value::to_value(value).map_err(content)?;
    serde_cbor::to_vec(&sorted).map_err(content)
}

/// Scans, then decodes. `limit` is the most bytes this document may have.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8], limit: usize) -> Result<T, CborError> {
    scan(bytes, limit)?;
    serde_cbor::from_slice(bytes).map_err(|error| CborError::Content {
        what,
        problem: error.to_string(),
    })
}

/// Accepts exactly one data item in deterministic encoding: definite lengths, minimal integers and lengths, map keys
/// that are integers or strings and strictly rise in bytewise order, no tags, at most 16 levels, nothing behind it.
pub fn scan(bytes: &[u8], limit: usize) -> Result<(), CborError> {
    if bytes.len() > limit {
        return Err(CborError::TooLong {
            actual: bytes.len(),
            limit,
        });
    }
    let mut scanner = Scanner {
        bytes,
        offset: 0,
        open: Vec::with_capacity(MAX_DEPTH),
    };
    scanner.document().map_err(|problem| CborError::Encoding {
        offset: scanner.offset,
        problem,
    })
}

/// An array or map whose items are being scanned.
struct Container<'a> {
    /// Items left; a map's pair counts as two.
    left: u64,
    is_map: bool,
    previous_key: Option<&'a [u8]>,
}

/// What is wrong at the scanner's offset. Two words, since every step of the scan returns a result.
type Problem = &'static str;

const ENDS: Problem = "the document ends in the middle";

struct Scanner<'a> {
    bytes: &'a [u8],
    offset: usize,
    open: Vec<Container<'a>>,
}

impl<'a> Scanner<'a> {
    fn document(&mut self) -> Result<(), Problem> {
        self.item()?;
        while self.step()? {}
        if self.offset != self.bytes.len() {
            return Err("bytes after the document");
        }
        Ok(())
    }

    /// Scans the next item of the innermost container, or closes it. False when all is closed.
    fn step(&mut self) -> Result<bool, Problem> {
        let Some(container) = self.open.last_mut() else {
            return Ok(false);
        };
        if container.left == 0 {
            self.open.pop();
            return Ok(true);
        }
        let is_key = container.is_map && container.left % 2 == 0;
        container.left -= 1;
        if is_key {
            self.key()?
        } else {
            self.item()?
        }
        Ok(true)
    }

    /// Scans a key of the innermost map, and holds it against the key before. Integers and strings have one encoding
    /// each, so that keys that differ in their bytes differ; floats have several, and so has what contains them.
    fn key(&mut self) -> Result<(), Problem> {
        let (bytes, start) = (self.bytes, self.offset);
        if bytes.get(start).is_some_and(|head| head >> 5 > 3) {
            return Err("a map key that is no integer and no string");
        }
        self.item()?;
        let key = bytes.get(start..self.offset).unwrap_or_default();
        let previous = self.open.last_mut().and_then(|map| map.previous_key.replace(key));
        if previous.is_some_and(|previous| previous >= key) {
            return Err("map keys that are repeated or out of order");
        }
        Ok(())
    }

    /// Scans one item's head, and its bytes where it is a string. A container stays open.
    fn item(&mut self) -> Result<(), Problem> {
        let head = self.byte()?;
        let (major, info) = (head >> 5, head & 0x1f);
        match major {
            0 | 1 => self.argument(info).map(drop),
            2 | 3 => {
                let length = self.argument(info)?;
                let string = self.take(length)?;
                if major == 3 && std::str::from_utf8(string).is_err() {
                    return Err("text that is not UTF-8");
                }
                Ok(())
            }
            4 | 5 => self.begin(major == 5, info),
            6 => Err("a tag"),
            _ => self.simple(info),
        }
    }

    fn begin(&mut self, is_map: bool, info: u8) -> Result<(), Problem> {
        let count = self.argument(info)?;
        // Every item takes at least a byte, so a larger claim can't be met.
        if count > (self.bytes.len() - self.offset) as u64 {
            return Err("a length beyond the end");
        }
        if self.open.len() == MAX_DEPTH {
            return Err("more than 16 levels");
        }
        let left = if is_map { count.saturating_mul(2) } else { count };
        self.open.push(Container {
            left,
            is_map,
            previous_key: None,
        });
        Ok(())
    }

    fn simple(&mut self, info: u8) -> Result<(), Problem> {
        match info {
            // false, true, null
            20..=22 => Ok(()),
            25 => self.take(2).map(drop),
            26 => self.take(4).map(drop),
            27 => self.take(8).map(drop),
            31 => Err("a break without an indefinite length"),
            _ => Err("a simple value other than false, true and null"),
        }
    }

    /// The argument of a head, which has to be in its shortest form.
    fn argument(&mut self, info: u8) -> Result<u64, Problem> {
        let (length, least) = match info {
            0..=23 => return Ok(u64::from(info)),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            31 => return Err("an indefinite length"),
            _ => return Err("a reserved head"),
        };
        let value = self
            .take(length)?
            .iter()
            .fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
        if value < least {
            return Err("an integer or length that is not in its shortest form");
        }
        Ok(value)
    }

    fn byte(&mut self) -> Result<u8, Problem> {
        let byte = self.bytes.get(self.offset).copied().ok_or(ENDS)?;
        self.offset += 1;
        Ok(byte)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Problem> {
        let taken = usize::try_from(length)
            .ok()
            .and_then(|length| self.offset.checked_add(length))
            .and_then(|end| self.bytes.get(self.offset..end))
            .ok_or(ENDS)?;
        self.offset += taken.len();
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn check(bytes: &str, problem: Option<&str>) {
        let found = scan(&hex::decode(bytes).unwrap(), 1 << 20);
        match (problem, &found) {
            (None, Ok(())) => {}
            (Some(expected), Err(CborError::Encoding { problem, .. })) if *problem == expected => {}
            _ => panic!("{bytes}: expected {problem:?}, found {found:?}"),
        }
    }

    #[test]
    fn one_encoding_and_no_other() {
        for good in [
            "00",
            "17",
            "1818",
            "190100",
            "20",
            "40",
            "6161",
            "80",
            "a0",
            "f6",
            "f5",
            "fb3ff0000000000000",
        ] {
            check(good, None);
        }
        check("a2616101616202", None);
        check("a26161a1616201616302", None);
        check("a301004161006161a0", None);
        let unsorted = Some("map keys that are repeated or out of order");
        check("a2616201616102", unsorted);
        check("a2616101616102", unsorted);
        check("a2200001", unsorted);
        let odd = Some("a map key that is no integer and no string");
        check("a1820102f5", odd);
        check("a1a0f5", odd);
        check("a1f600", odd);
        // 1.0 in two widths: two keys to the eye, one to a decoder.
        check("a2f93c0000fa3f80000000", odd);
        let long = Some("an integer or length that is not in its shortest form");
        check("1817", long);
        check("1900ff", long);
        check("5801ff", long);
        check("9f00ff", Some("an indefinite length"));
        check("ff", Some("a break without an indefinite length"));
        check("c000", Some("a tag"));
        check("0000", Some("bytes after the document"));
        check("", Some("the document ends in the middle"));
        check("62c328", Some("text that is not UTF-8"));
        check("5bffffffffffffffff", Some("the document ends in the middle"));
        check("9bffffffffffffffff", Some("a length beyond the end"));
        check("f7", Some("a simple value other than false, true and null"));
        check("1c", Some("a reserved head"));
        check(&format!("{}00", "81".repeat(16)), None);
        check(&format!("{}00", "81".repeat(17)), Some("more than 16 levels"));
    }

    #[test]
    fn what_is_encoded_passes_the_scanner() {
        let map: BTreeMap<String, u64> = ["zz", "a", "bbb", "b"].map(|key| (key.to_owned(), 1 << 40)).into();
        let bytes = encode("map", &map).unwrap();
        assert_eq!(decode::<BTreeMap<String, u64>>("map", &bytes, 1024).unwrap(), map);
        assert_eq!(
            scan(&bytes, 4),
            Err(CborError::TooLong {
                actual: bytes.len(),
                limit: 4
            })
        );
    }
}
