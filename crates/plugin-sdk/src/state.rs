//! Snapshots: a version, then little-endian values one after another.
//!
//! The same state always gives the same bytes. A snapshot of another version, one that ends early and one that goes on too
//! long are refused with [`Error::BadConfig`], so that a plugin never goes on from half a state.
//!
//! ```
//! use floorhand_plugin_sdk::state::{Reader, Writer};
//!
//! let mut writer = Writer::new(1);
//! writer.u64(7);
//! writer.f32s([0.5, -1.0]);
//! let bytes = writer.finish();
//!
//! let mut reader = Reader::new(1, &bytes)?;
//! assert_eq!(reader.u64()?, 7);
//! assert_eq!(reader.f32s()?, [0.5, -1.0]);
//! reader.finish()?;
//! # Ok::<(), floorhand_plugin_sdk::Error>(())
//! ```

use crate::Error;

/// Bytes that a version takes.
pub const VERSION_BYTES: usize = 4;

/// Bytes that the length in front of a list takes.
pub const LENGTH_BYTES: usize = 4;

/// Writes a snapshot.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Starts with the version of the format, which is the plugin's own.
    #[must_use]
    pub fn new(version: u32) -> Self {
        Self {
            bytes: version.to_le_bytes().to_vec(),
        }
    }

    /// Appends a number.
    pub fn u32(&mut self, value: u32) {
        self.bytes.extend(value.to_le_bytes());
    }

    /// Appends a number.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend(value.to_le_bytes());
    }

    /// Appends a truth value.
    pub fn flag(&mut self, value: bool) {
        self.u32(value.into());
    }

    /// Appends a number, bit by bit: NaN payloads and the sign of 0 are kept.
    pub fn f64(&mut self, value: f64) {
        self.bytes.extend(value.to_le_bytes());
    }

    /// Appends a list with its length in front.
    pub fn f32s<I: IntoIterator<Item = f32, IntoIter: ExactSizeIterator>>(&mut self, values: I) {
        let values = values.into_iter();
        self.length(values.len());
        values.for_each(|value| self.bytes.extend(value.to_le_bytes()));
    }

    /// Appends a list with its length in front.
    pub fn u64s(&mut self, values: &[u64]) {
        self.length(values.len());
        values.iter().for_each(|value| self.bytes.extend(value.to_le_bytes()));
    }

    /// Appends a list with its length in front, bit by bit.
    pub fn f64s<I: IntoIterator<Item = f64, IntoIter: ExactSizeIterator>>(&mut self, values: I) {
        let values = values.into_iter();
        self.length(values.len());
        values.for_each(|value| self.f64(value));
    }

    /// Appends bytes with their number in front.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// The snapshot.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// A snapshot is at most 1 MiB by the host's default; 4 GiB don't come up.
    fn length(&mut self, length: usize) {
        self.u32(u32::try_from(length).unwrap_or(u32::MAX));
    }
}

/// Reads a snapshot in the order in which it was written.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks the version.
    pub fn new(version: u32, bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Self { rest: bytes };
        let found = reader.u32()?;
        if found != version {
            return Err(Error::BadConfig(format!(
                "saved state has version {found}, this plugin reads {version}"
            )));
        }
        Ok(reader)
    }

    /// The next number.
    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next number.
    pub fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next number.
    pub fn f64(&mut self) -> Result<f64, Error> {
        self.array().map(f64::from_le_bytes)
    }

    /// The next truth value. What is neither is refused: the same state always has the same bytes.
    pub fn flag(&mut self) -> Result<bool, Error> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Error::BadConfig(format!("saved state has {other} for a truth value"))),
        }
    }

    /// The next list. Its memory is bounded by the snapshot's own length, whatever length it claims.
    pub fn f32s(&mut self) -> Result<Vec<f32>, Error> {
        self.list::<4>()
            .map(|values| values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// The next list.
    pub fn u64s(&mut self) -> Result<Vec<u64>, Error> {
        self.list::<8>()
            .map(|values| values.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
    }

    /// The next list.
    pub fn f64s(&mut self) -> Result<Vec<f64>, Error> {
        self.list::<8>()
            .map(|values| values.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
    }

    /// The next bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        self.list::<1>().map(|bytes| bytes.as_flattened())
    }

    /// Makes sure that nothing is left.
    pub fn finish(self) -> Result<(), Error> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error::BadConfig(format!(
            "saved state is {} bytes too long",
            self.rest.len()
        )))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(*array)
    }

    fn list<const N: usize>(&mut self) -> Result<&'a [[u8; N]], Error> {
        let length = usize::try_from(self.u32()?)
            .ok()
            .and_then(|length| length.checked_mul(N));
        let (list, rest) = length
            .and_then(|length| self.rest.split_at_checked(length))
            .ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(list.as_chunks().0)
    }
}

/// The answer of a plugin without state: an empty snapshot is all it takes.
pub(crate) fn none(state: &[u8]) -> Result<(), Error> {
    if state.is_empty() {
        return Ok(());
    }
    Err(Error::BadConfig(format!(
        "saved state of {} bytes, and this plugin keeps none",
        state.len()
    )))
}

fn ends_early() -> Error {
    Error::BadConfig("saved state ends early".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip() {
        let mut writer = Writer::new(3);
        writer.u32(1);
        writer.f64(-0.0);
        writer.u64s(&[1, u64::MAX]);
        writer.f32s([f32::INFINITY]);
        writer.f64s([0.1, -0.0]);
        writer.bytes(&[7, 0, 255]);
        writer.flag(true);
        let bytes = writer.finish();
        let mut reader = Reader::new(3, &bytes).unwrap();
        assert_eq!(reader.u32().unwrap(), 1);
        assert!(reader.f64().unwrap().is_sign_negative());
        assert_eq!(reader.u64s().unwrap(), [1, u64::MAX]);
        assert_eq!(reader.f32s().unwrap(), [f32::INFINITY]);
        assert_eq!(
            reader.f64s().unwrap().into_iter().map(f64::to_bits).collect::<Vec<_>>(),
            [0.1_f64.to_bits(), (-0.0_f64).to_bits()]
        );
        assert_eq!(reader.bytes().unwrap(), [7, 0, 255]);
        assert!(reader.flag().unwrap());
        reader.finish().unwrap();
    }

    #[test]
    fn broken_snapshots_are_refused() {
        let message = |result: Result<(), Error>| result.unwrap_err().message().to_owned();
        assert_eq!(message(Reader::new(1, &[1, 0]).map(drop)), "saved state ends early");
        assert_eq!(
            message(Reader::new(1, &[2, 0, 0, 0]).map(drop)),
            "saved state has version 2, this plugin reads 1"
        );
        let lying = [1, 0, 0, 0, 255, 255, 255, 255, 0];
        assert_eq!(
            message(Reader::new(1, &lying).unwrap().f32s().map(drop)),
            "saved state ends early"
        );
        assert_eq!(
            message(Reader::new(1, &[1, 0, 0, 0, 9]).unwrap().finish()),
            "saved state is 1 bytes too long"
        );
        assert_eq!(
            message(Reader::new(1, &[1, 0, 0, 0, 2, 0, 0, 0]).unwrap().flag().map(drop)),
            "saved state has 2 for a truth value"
        );
        assert!(none(&[]).is_ok() && none(&[0]).is_err());
    }
}
