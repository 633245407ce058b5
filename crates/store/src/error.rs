//! What can go wrong with durable files. Each error names the operation and the file.

use std::io;
use std::path::{Path, PathBuf};

use floorhand_bundle::Digest;

/// Why a file couldn't be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{operation} {path}: {source}", path = path.display())]
    Io {
        /// What was tried, for example `rename`.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk or the user's quota is full.
    #[error("{operation} {path}: the disk is full; free some space, what was there before is untouched", path = path.display())]
    Full {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
    },
    /// The directory was written by a newer version.
    #[error(
        "state directory {path} has format {found} and this version knows up to {supported}; \
         install the newer version again, or start with an empty directory", path = path.display()
    )]
    NewerFormat {
        /// The state directory.
        path: PathBuf,
        /// The format it has.
        found: u32,
        /// The newest format known here.
        supported: u32,
    },
    /// The format file isn't a number.
    #[error("{path} holds {found:?} instead of a format number; restore it, or start with an empty directory", path = path.display())]
    BadFormat {
        /// The format file.
        path: PathBuf,
        /// Its beginning.
        found: String,
    },
    /// Another process has the directory.
    #[error("state directory {path} is in use by another process; stop it, or give this one its own directory", path = path.display())]
    Locked {
        /// The state directory.
        path: PathBuf,
    },
    /// The directory's content is sealed, and no key was given.
    #[error(
        "state directory {path} is encrypted; give its key in `store.encryption_key`, or start with an empty directory", path = path.display()
    )]
    KeyMissing {
        /// The state directory.
        path: PathBuf,
    },
    /// The directory's content is sealed under another key.
    #[error(
        "{path} doesn't open with the key of `store.encryption_key`; give the key that it was made with, as \
         `store.encryption_key_before` if it is being replaced, or start with an empty directory", path = path.display()
    )]
    WrongKey {
        /// The sealed data key.
        path: PathBuf,
    },
    /// The state record's checksum or frame is wrong.
    #[error(
        "state record {path} is damaged ({reason}); move it away to start without state, \
         or restore it from a backup", path = path.display()
    )]
    CorruptState {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The state record is larger than it may be.
    #[error("state record of {length} bytes is larger than {max}")]
    StateTooLarge {
        /// Bytes given.
        length: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The byte budget has no room.
    #[error(
        "blob {digest} needs {needed} bytes and the budget of {budget} has {available} left; \
         remove unused bundles or raise the budget"
    )]
    OverBudget {
        /// The blob.
        digest: Digest,
        /// Bytes it needs.
        needed: u64,
        /// Bytes left.
        available: u64,
        /// The whole budget.
        budget: u64,
    },
    /// Several blobs have no room within the budget together.
    #[error("{blobs} blobs need {needed} bytes and the budget of {budget} has {available} left; raise the budget")]
    TooLarge {
        /// How many they are.
        blobs: usize,
        /// Bytes they need.
        needed: u64,
        /// Bytes left.
        available: u64,
        /// The whole budget.
        budget: u64,
    },
    /// There is no such blob.
    #[error("blob {digest} is not here; fetch it first")]
    BlobMissing {
        /// The blob.
        digest: Digest,
    },
    /// The content isn't what its name says.
    #[error("blob {digest} is damaged at {path}: its content hashes to {actual}; remove it and fetch it again", path = path.display())]
    BlobCorrupt {
        /// The name it has.
        digest: Digest,
        /// Where it lies.
        path: PathBuf,
        /// What its content hashes to.
        actual: Digest,
    },
    /// The blob has another length than expected, or more than the caller takes.
    #[error("blob {digest} has {actual} bytes, expected {expected}")]
    BlobLength {
        /// The blob.
        digest: Digest,
        /// Bytes expected, or the most the caller takes.
        expected: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// A piece lies outside of its blob.
    #[error("blob {digest} has {length} bytes: no room for {count} at offset {offset}")]
    OutsideBlob {
        /// The blob.
        digest: Digest,
        /// Its length.
        length: u64,
        /// Where the piece begins.
        offset: u64,
        /// Its length.
        count: u64,
    },
    /// A generation's file isn't there.
    #[error("generation {generation} has no {name}")]
    GenerationMissing {
        /// The generation.
        generation: u64,
        /// The file.
        name: String,
    },
    /// The generation is there with other content.
    #[error("generation {generation} is there already with other content; remove it first, or take the next number")]
    GenerationDiffers {
        /// The generation.
        generation: u64,
    },
    /// A file name that a generation can't have, or a file that is too large for one.
    #[error("generation file {name:?} {reason}")]
    GenerationFile {
        /// The file's name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Names operation and file of an I/O error, and tells a full disk from the rest.
pub(crate) trait At<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| {
            let path = path.to_owned();
            if is_full(&source) {
                StoreError::Full { operation, path }
            } else {
                StoreError::Io {
                    operation,
                    path,
                    source,
                }
            }
        })
    }
}

/// Whether the disk or the quota is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_its_own_error() {
        for code in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT] {
            let error: io::Result<()> = Err(code.into());
            assert!(matches!(
                error.at("write", Path::new("x")),
                Err(StoreError::Full { operation: "write", .. })
            ));
        }
        let error: io::Result<()> = Err(rustix::io::Errno::ACCESS.into());
        assert!(matches!(error.at("write", Path::new("x")), Err(StoreError::Io { .. })));
    }
}
