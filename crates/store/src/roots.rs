//! Trust roots that came after the pinned one, one file for each version.
//!
//! What they say is for others. That a root counts is in the state record, not here: a file is written before the record
//! names its version, so one above that version is what a power cut has left, and the next that comes takes its place.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, replace, sync_parent};
use crate::error::{At as _, StoreError};

/// A root has a limit far below; this one only bounds a read.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The trust roots of one state directory.
#[derive(Debug, Clone)]
pub struct Roots {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl Roots {
    pub(crate) fn new(disk: Arc<dyn Disk>, root: &Path) -> Self {
        Self {
            disk,
            dir: root.join("roots"),
        }
    }

    /// Where a version lies below a state directory.
    #[must_use]
    pub fn path(state_dir: &Path, version: u64) -> PathBuf {
        state_dir.join("roots").join(format!("{version}.cose"))
    }

    /// Keeps a root, durably. What was there under its version is replaced.
    ///
    /// # Errors
    /// When a step fails. After an error the file may be there or not: don't act on the root.
    pub fn write(&self, version: u64, bytes: &[u8]) -> Result<(), StoreError> {
        // Made when the first root comes, which for most devices is never.
        if !self.dir.is_dir() {
            self.disk.create_dir(&self.dir).at("create directory", &self.dir)?;
            sync_parent(self.disk.as_ref(), &self.dir)?;
        }
        replace(self.disk.as_ref(), &self.file(version), bytes)
    }

    /// Reads a root; `None` when there is none of this version.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn read(&self, version: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.file(version);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.at("open", &path)?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).at("read", &path)?;
        Ok(Some(bytes))
    }

    fn file(&self, version: u64) -> PathBuf {
        self.dir.join(format!("{version}.cose"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::faults::FaultyDisk;

    #[test]
    fn writes_replaces_and_reads() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::new(Arc::new(RealDisk), dir.path());
        assert_eq!(roots.read(2).unwrap(), None);
        for bytes in [b"two".as_slice(), b"two again"] {
            roots.write(2, bytes).unwrap();
            assert_eq!(roots.read(2).unwrap().as_deref(), Some(bytes));
        }
        assert_eq!(roots.read(3).unwrap(), None);
        assert_eq!(std::fs::read(Roots::path(dir.path(), 2)).unwrap(), b"two again");
    }

    #[test]
    fn whichever_step_fails_is_told() {
        for step in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let faulty = FaultyDisk::failing_at(step);
            let result = Roots::new(Arc::new(faulty.clone()), dir.path()).write(2, b"two");
            if !faulty.has_failed() {
                result.unwrap();
                assert_eq!(
                    step, 7,
                    "directory, its name, create, write, fsync, rename, fsync of the directory"
                );
                break;
            }
            assert!(result.is_err(), "step {step} failed unseen");
        }
    }
}
