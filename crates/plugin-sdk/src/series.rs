//! A state for each series: samples of one key belong together, and an instance sees those of all keys.

use crate::{
    Error,
    state::{self, Reader, Writer},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest key that there can be.
const MAX_KEY_BYTES: usize = 256;

/// How many series there may be: 1 unless more are configured, so that memory and state are bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct MaxKeys(#[schemars(range(min = 1, max = 1024))] u16);

impl Default for MaxKeys {
    fn default() -> Self {
        Self(1)
    }
}

impl MaxKeys {
    /// The number; [`Error::BadConfig`] unless it is 1 to 1024.
    pub fn check(self) -> Result<usize, Error> {
        if (1..=1024).contains(&self.0) {
            return Ok(usize::from(self.0));
        }
        Err(Error::BadConfig(format!(
            "max_keys is {}, and has to be 1 to 1024",
            self.0
        )))
    }
}

/// States by key, at most as many as configured, in the order in which their keys came.
///
/// ```
/// use floorhand_plugin_sdk::{MaxKeys, Series};
///
/// let mut counts = Series::<u32>::new(MaxKeys::default().check()?);
/// *counts.of(Some("press 1"), || 0)? += 1;
/// *counts.of(Some("press 1"), || 0)? += 1;
/// assert_eq!(*counts.of(Some("press 1"), || 0)?, 2);
/// assert!(counts.of(Some("press 2"), || 0).is_err());
/// # Ok::<(), floorhand_plugin_sdk::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Series<S> {
    most: usize,
    states: Vec<(Option<String>, S)>,
}

impl<S> Series<S> {
    /// Of at most so many keys.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self {
            most,
            states: Vec::new(),
        }
    }

    /// The state of a key; a key's first sample makes it. [`Error::Exhausted`] for a key too many, which changes nothing.
    pub fn of(&mut self, key: Option<&str>, new: impl FnOnce() -> S) -> Result<&mut S, Error> {
        let found = self.states.iter().position(|(known, _)| known.as_deref() == key);
        let position = found.unwrap_or(self.states.len());
        if position >= self.most || key.is_some_and(|key| key.len() > MAX_KEY_BYTES) {
            return Err(Error::Exhausted(format!(
                "key {:?} is one more than the {} that there is room for: raise max_keys",
                key.unwrap_or("none"),
                self.most
            )));
        }
        if found.is_none() {
            self.states.push((key.map(str::to_owned), new()));
        }
        self.states
            .get_mut(position)
            .map(|(_, state)| state)
            .ok_or_else(|| Error::Internal("a key without a state".into()))
    }

    /// The state of a key that has come, e.g. to begin it anew where [`Context::gap`](crate::Context::gap) says so.
    pub fn known(&mut self, key: Option<&str>) -> Option<&mut S> {
        let mut states = self.states.iter_mut();
        states.find_map(|(known, state)| (known.as_deref() == key).then_some(state))
    }

    /// The most bytes that [`write`](Self::write) writes, for states of at most `bytes` each.
    #[must_use]
    pub const fn state_bytes(&self, bytes: usize) -> usize {
        4 + self.most * (4 + state::LENGTH_BYTES + MAX_KEY_BYTES + bytes)
    }

    /// Writes keys and states.
    pub fn write(&self, writer: &mut Writer, each: impl Fn(&S, &mut Writer)) {
        writer.u32(self.states.len() as u32);
        for (key, state) in &self.states {
            writer.u32(u32::from(key.is_some()));
            writer.bytes(key.as_deref().unwrap_or_default().as_bytes());
            each(state, writer);
        }
    }

    /// What was written, for as many keys as this one is for.
    pub fn read<'a>(
        &self,
        reader: &mut Reader<'a>,
        mut each: impl FnMut(&mut Reader<'a>) -> Result<S, Error>,
    ) -> Result<Self, Error> {
        let count = reader.u32()? as usize;
        if count > self.most {
            return Err(Error::BadConfig(format!(
                "saved state has {count} keys, and max_keys is {}",
                self.most
            )));
        }
        let mut restored = Self::new(self.most);
        for _ in 0..count {
            let is_key = reader.u32()?;
            let key = std::str::from_utf8(reader.bytes()?);
            let key = match (is_key, key) {
                (0, Ok("")) => None,
                (1, Ok(key)) => Some(key),
                _ => return Err(Error::BadConfig("saved state has a key that is none".into())),
            };
            let state = each(reader)?;
            if restored.states.iter().any(|(known, _)| known.as_deref() == key) {
                return Err(Error::BadConfig("saved state has a key twice".into()));
            }
            restored
                .of(key, || state)
                .map_err(|error| Error::BadConfig(error.message().to_owned()))?;
        }
        Ok(restored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Series<u64> {
        let mut series = Series::new(3);
        for (key, value) in [(None, 5), (Some("b"), 6), (Some(""), 7)] {
            assert_eq!(series.of(key, || value), Ok(&mut value.clone()));
        }
        series
    }

    fn written(series: &Series<u64>) -> Vec<u8> {
        let mut writer = Writer::new(1);
        series.write(&mut writer, |state, writer| writer.u64(*state));
        writer.finish()
    }

    fn read(most: usize, bytes: &[u8]) -> Result<Series<u64>, Error> {
        let mut reader = Reader::new(1, bytes)?;
        Series::new(most).read(&mut reader, Reader::u64)
    }

    #[test]
    fn each_key_has_its_own_and_one_too_many_none() {
        let mut series = filled();
        assert_eq!(series.of(Some("b"), || 0), Ok(&mut 6));
        assert_eq!(series.of(None, || 0), Ok(&mut 5));
        let error = series.of(Some("c"), || 0).unwrap_err();
        assert_eq!(
            error.message(),
            "key \"c\" is one more than the 3 that there is room for: raise max_keys"
        );
        assert_eq!(series.known(Some("b")), Some(&mut 6));
        assert_eq!(series.known(Some("c")), None);
        let long = "k".repeat(257);
        assert!(Series::new(1).of(Some(&long), || 0).is_err());
    }

    #[test]
    fn saved_series_go_on_and_broken_ones_do_not() {
        let bytes = written(&filled());
        let mut restored = read(3, &bytes).unwrap();
        assert_eq!(written(&restored), bytes);
        assert_eq!(restored.of(Some(""), || 0), Ok(&mut 7));
        assert!(read(2, &bytes).is_err());
        let mut twice = Series::new(3);
        twice.states = vec![(None, 1), (None, 2)];
        assert!(read(3, &written(&twice)).is_err());
        let mut full = Series::new(1);
        full.of(Some(&"k".repeat(256)), || 1).unwrap();
        assert_eq!(written(&full).len(), state::VERSION_BYTES + full.state_bytes(8));
        assert!(MaxKeys(0).check().is_err() && MaxKeys(1025).check().is_err());
    }
}
