//! What a monitor keeps of each series: the same for every key, and a snapshot that holds all of it.

use crate::{
    Detail, Error, Finding, MaxKeys, Series,
    state::{self, Reader, Writer},
};

/// What a monitor keeps of one series, as its configuration makes it and samples change it. Cloned for every key: what all
/// keys have in common belongs behind an [`Arc`](std::sync::Arc).
pub trait KeyState: Clone {
    /// The most bytes that [`write`](Self::write) appends.
    fn state_bytes(&self) -> usize;

    /// Appends all that later findings depend on.
    fn write(&self, writer: &mut Writer);

    /// Goes on from what [`write`](Self::write) wrote. After an error it is thrown away.
    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), Error>;
}

/// Fields, of which each has a state of its own.
impl<F: KeyState> KeyState for Vec<F> {
    fn state_bytes(&self) -> usize {
        4 + self.iter().map(F::state_bytes).sum::<usize>()
    }

    fn write(&self, writer: &mut Writer) {
        writer.u32(self.len() as u32);
        self.iter().for_each(|field| field.write(writer));
    }

    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        if reader.u32()? as usize != self.len() {
            return Err(Error::BadConfig("saved state has another number of fields".into()));
        }
        self.iter_mut().try_for_each(|field| field.read(reader))
    }
}

/// The states of a monitor by key, with snapshots of them.
///
/// ```
/// use floorhand_plugin_sdk::{Error, Keyed, KeyState, MaxKeys, state::{Reader, Writer}};
///
/// #[derive(Clone, Default)]
/// struct Count(u64);
///
/// impl KeyState for Count {
///     fn state_bytes(&self) -> usize {
///         8
///     }
///
///     fn write(&self, writer: &mut Writer) {
///         writer.u64(self.0);
///     }
///
///     fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
///         self.0 = reader.u64()?;
///         Ok(())
///     }
/// }
///
/// let mut counts = Keyed::new(1, Count::default(), MaxKeys::default())?;
/// counts.of(Some("press 1"))?.0 += 1;
/// let mut restored = Keyed::new(1, Count::default(), MaxKeys::default())?;
/// restored.restore(&counts.snapshot())?;
/// assert_eq!(restored.of(Some("press 1"))?.0, 1);
/// assert!(restored.of(Some("press 2")).is_err());
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Keyed<S> {
    version: u32,
    empty: S,
    series: Series<S>,
}

impl<S: KeyState> Keyed<S> {
    /// No keys yet; each begins as `empty`. `version` is that of the snapshot's format.
    pub fn new(version: u32, empty: S, max_keys: MaxKeys) -> Result<Self, Error> {
        Ok(Self {
            version,
            empty,
            series: Series::new(max_keys.check()?),
        })
    }

    /// The state of a key; a key's first sample makes it. [`Error::Exhausted`] for a key too many, which changes nothing: a
    /// sample that can't be worked with has to be refused before.
    pub fn of(&mut self, key: Option<&str>) -> Result<&mut S, Error> {
        let empty = &self.empty;
        self.series.of(key, || empty.clone())
    }

    /// The state of a key that has come.
    pub fn known(&mut self, key: Option<&str>) -> Option<&mut S> {
        self.series.known(key)
    }

    /// What each key begins as.
    #[must_use]
    pub const fn empty(&self) -> &S {
        &self.empty
    }

    /// The same, to be completed before the first sample.
    pub(crate) const fn empty_mut(&mut self) -> &mut S {
        &mut self.empty
    }

    /// The most bytes that a snapshot has.
    #[must_use]
    pub fn state_bytes(&self) -> u32 {
        let series = self.series.state_bytes(self.empty.state_bytes());
        u32::try_from(state::VERSION_BYTES + series).unwrap_or(u32::MAX)
    }

    /// All that later findings depend on.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::new(self.version);
        self.series.write(&mut writer, S::write);
        writer.finish()
    }

    /// Goes on from a snapshot; one that doesn't fit changes nothing.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut reader = Reader::new(self.version, bytes)?;
        let series = self.series.read(&mut reader, |reader| {
            let mut state = self.empty.clone();
            state.read(reader)?;
            Ok(state)
        })?;
        reader.finish()?;
        self.series = series;
        Ok(())
    }
}

/// Says of each finding which series it is about, where series have keys: as its last detail, `key`.
pub fn name_key(findings: &mut [Finding], key: Option<&str>) {
    let Some(key) = key else { return };
    for finding in findings {
        finding.details.push(Detail::new("key", key));
    }
}
