//! The state record: one small file, replaced as a whole, checked when it is read.
//!
//! Frame: `FHST`, version (u16), length (u32), payload, SHA-256 of everything before; numbers little-endian. The payload
//! is opaque. Replacement by rename leaves the old record or the new one, so there is no second copy to fall back to: a
//! record that doesn't check out means that the disk lost data, and that is for a person to see, not to be papered over.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::disk::{Disk, replace};
use crate::error::{At as _, StoreError};

const MAGIC: &[u8; 4] = b"FHST";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 10;
const CHECKSUM_BYTES: usize = 32;
/// The record holds a handful of numbers and digests, and is written often: a larger one is a mistake.
const MAX_PAYLOAD_BYTES: usize = 64 * 1024;

/// The state record of a directory.
#[derive(Debug, Clone)]
pub struct StateFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl StateFile {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path }
    }

    /// Where the record lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last payload that was saved, or `None` when none ever was.
    ///
    /// # Errors
    /// When the file can't be read or is damaged.
    pub fn load(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.at("open", &self.path)?,
        };
        let limit = HEADER_BYTES + MAX_PAYLOAD_BYTES + CHECKSUM_BYTES + 1;
        let mut bytes = Vec::new();
        file.take(limit as u64).read_to_end(&mut bytes).at("read", &self.path)?;
        match parse(&bytes) {
            Ok(payload) => Ok(Some(payload.to_vec())),
            Err(reason) => Err(StoreError::CorruptState {
                path: self.path.clone(),
                reason,
            }),
        }
    }

    /// Replaces the record, durably: when this returns, a power cut doesn't undo it, and until then the old one stands.
    ///
    /// # Errors
    /// When the payload is too large or a step fails. After an error either record may be found on the next start: don't
    /// act on the new one, save anew.
    pub fn save(&self, payload: &[u8]) -> Result<(), StoreError> {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(StoreError::StateTooLarge {
                length: payload.len(),
                max: MAX_PAYLOAD_BYTES,
            });
        }
        replace(self.disk.as_ref(), &self.path, &frame(payload))
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len() + CHECKSUM_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(payload);
    let checksum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    bytes
}

fn parse(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("it doesn't begin with FHST")?;
    let (version, rest) = rest.split_first_chunk().ok_or("it ends within its header")?;
    if u16::from_le_bytes(*version) != VERSION {
        return Err("its version is unknown");
    }
    let (length, rest) = rest.split_first_chunk().ok_or("it ends within its header")?;
    let length = u32::from_le_bytes(*length) as usize;
    let (payload, checksum) = rest.split_at_checked(length).ok_or("it ends within its payload")?;
    let covered = bytes.get(..HEADER_BYTES + length).ok_or("it ends within its payload")?;
    if Sha256::digest(covered).as_slice() != checksum {
        return Err("its checksum is wrong");
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::faults::FaultyDisk;

    fn state(dir: &Path, disk: Arc<dyn Disk>) -> StateFile {
        StateFile::new(disk, dir.join("state"))
    }

    #[test]
    fn saves_and_loads() {
        let dir = tempfile::tempdir().unwrap();
        let state = state(dir.path(), Arc::new(RealDisk));
        assert_eq!(state.load().unwrap(), None);
        for payload in [b"".as_slice(), b"one", &[7; MAX_PAYLOAD_BYTES]] {
            state.save(payload).unwrap();
            assert_eq!(state.load().unwrap().as_deref(), Some(payload));
        }
        let error = state.save(&[0; MAX_PAYLOAD_BYTES + 1]).unwrap_err();
        assert!(matches!(error, StoreError::StateTooLarge { .. }));
    }

    #[test]
    fn every_torn_or_flipped_record_is_refused() {
        let whole = frame(b"active = 3");
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_err(), "cut to {length}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert!(parse(&flipped).is_err(), "flipped at {at}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert!(parse(&longer).is_err());
        assert_eq!(parse(&whole), Ok(b"active = 3".as_slice()));
    }

    #[test]
    fn a_damaged_record_names_the_file_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let state = state(dir.path(), Arc::new(RealDisk));
        std::fs::write(state.path(), b"garbage").unwrap();
        let message = state.load().unwrap_err().to_string();
        assert!(message.contains("state is damaged"), "{message}");
        assert!(message.contains("move it away"), "{message}");
    }

    #[test]
    fn whichever_step_fails_the_old_record_or_the_new_one_is_found() {
        let mut failures = 0;
        for step in 0.. {
            let dir = tempfile::tempdir().unwrap();
            state(dir.path(), Arc::new(RealDisk)).save(b"old").unwrap();
            let faulty = FaultyDisk::failing_at(step);
            let result = state(dir.path(), Arc::new(faulty.clone())).save(b"new");
            let found = state(dir.path(), Arc::new(RealDisk)).load().unwrap().unwrap();
            if !faulty.has_failed() {
                result.unwrap();
                assert_eq!(found, b"new");
                break;
            }
            failures += 1;
            assert!(result.is_err(), "step {step} failed unseen");
            assert!(found == b"old" || found == b"new", "step {step}");
        }
        assert_eq!(failures, 5, "create, write, fsync, rename, fsync of the directory");
    }
}
