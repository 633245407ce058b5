//! Room that is kept for when there is none left: a file of no content that is given up on a full disk, so that what has to
//! be said about that can still be written.

use crate::disk::{Disk as _, RealDisk};
use std::fs;
use std::path::{Path, PathBuf};

/// Enough for the reports of some hundred deployments with what redb needs to write them.
const BYTES: u64 = 1 << 20;

/// The room of one state directory.
#[derive(Debug, Clone)]
pub struct Ballast {
    path: PathBuf,
}

impl Ballast {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            path: root.join("ballast"),
        }
    }

    /// Takes the room, if it isn't taken already and the disk has it. Whether it is taken now.
    #[must_use]
    pub fn hold(&self) -> bool {
        if fs::metadata(&self.path).is_ok_and(|found| found.len() == BYTES) {
            return true;
        }
        let taken = RealDisk
            .create(&self.path)
            .and_then(|mut file| file.allocate(BYTES).and_then(|()| file.sync()));
        if taken.is_err() {
            drop(fs::remove_file(&self.path));
        }
        taken.is_ok()
    }

    /// Gives the room up. False when it was given up before.
    #[must_use]
    pub fn give_up(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_taken_and_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(dir.path());
        assert!(!ballast.give_up());
        assert!(ballast.hold() && ballast.hold());
        assert_eq!(fs::metadata(dir.path().join("ballast")).unwrap().len(), BYTES);
        assert!(ballast.give_up() && !ballast.give_up());
        assert!(!Ballast::new(&dir.path().join("nowhere")).hold());
    }
}
