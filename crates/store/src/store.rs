//! A state directory as a whole: its lock, its format version, and the way to its parts.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::ballast::Ballast;
use crate::blobs::Blobs;
use crate::disk::{Disk, RealDisk, replace, sync_parent};
use crate::error::{At as _, StoreError};
use crate::generations::Generations;
use crate::state::StateFile;

/// The version of the directory's layout. It rises when an older program would misread a newer directory.
pub const FORMAT_VERSION: u32 = 1;

/// What a state directory may take.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Most bytes that blobs may take together, those being fetched too.
    pub blob_budget_bytes: u64,
}

/// An open state directory. It stays locked against other processes until this is dropped.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    blobs: Blobs,
    generations: Generations,
    state: StateFile,
    _lock: File,
}

impl Store {
    /// Opens the directory, making it when it isn't there.
    ///
    /// # Errors
    /// When another process has it, when a newer version wrote it, or when the system refuses.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(RealDisk), root, options)
    }

    /// [`Store::open`] with every durable step going through `disk`.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(disk: Arc<dyn Disk>, root: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let is_new = !root.is_dir();
        disk.create_dir(root).at("create directory", root)?;
        if is_new {
            // Its own name has to last too, or everything in it goes with it.
            sync_parent(disk.as_ref(), root)?;
        }
        keep_private(root)?;
        let lock = lock(root)?;
        check_format(disk.as_ref(), root)?;
        let blobs = Blobs::open(Arc::clone(&disk), root, options.blob_budget_bytes)?;
        let generations = Generations::open(Arc::clone(&disk), root)?;
        disk.sync_dir(root).at("fsync directory", root)?;
        let state = StateFile::new(disk, root.join("state"));
        Ok(Self {
            root: root.to_owned(),
            blobs,
            generations,
            state,
            _lock: lock,
        })
    }

    /// Content by digest.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Manifests and assignments by generation.
    #[must_use]
    pub fn generations(&self) -> &Generations {
        &self.generations
    }

    /// The state record.
    #[must_use]
    pub fn state(&self) -> &StateFile {
        &self.state
    }

    /// Where the spool lies, for [`Spool::open`](crate::Spool::open).
    #[must_use]
    pub fn spool_path(&self) -> PathBuf {
        self.root.join("spool.redb")
    }

    /// Room for when there is none left.
    #[must_use]
    pub fn ballast(&self) -> Ballast {
        Ballast::new(&self.root)
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// A directory that an administrator made may be open to others; what lies in it isn't for them.
fn keep_private(root: &Path) -> Result<(), StoreError> {
    let mode = fs::metadata(root).at("look at", root)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(root, Permissions::from_mode(0o700)).at("close to others", root)
}

fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .at("open", &path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(StoreError::Locked { path: root.to_owned() }),
        Err(error) => Err(StoreError::Io {
            operation: "lock",
            path,
            source: error.into(),
        }),
    }
}

fn check_format(disk: &dyn Disk, root: &Path) -> Result<(), StoreError> {
    let path = root.join("format");
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return replace(disk, &path, format!("{FORMAT_VERSION}\n").as_bytes());
        }
        read => read.at("read", &path)?,
    };
    let text: String = String::from_utf8_lossy(&text).chars().take(32).collect();
    match text.trim().parse::<u32>() {
        Ok(found) if (1..=FORMAT_VERSION).contains(&found) => Ok(()),
        Ok(found) if found > FORMAT_VERSION => Err(StoreError::NewerFormat {
            path: root.to_owned(),
            found,
            supported: FORMAT_VERSION,
        }),
        _ => Err(StoreError::BadFormat { path, found: text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: StoreOptions = StoreOptions {
        blob_budget_bytes: 1 << 20,
    };

    #[test]
    fn makes_a_private_directory_and_opens_it_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state");
        drop(Store::open(&root, OPTIONS).unwrap());
        fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        drop(Store::open(&root, OPTIONS).unwrap());
        assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_to_string(root.join("format")).unwrap(), "1\n");
    }

    #[test]
    fn a_second_process_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = Store::open(dir.path(), OPTIONS).unwrap();
        let message = Store::open(dir.path(), OPTIONS).unwrap_err().to_string();
        assert!(message.contains("in use by another process"), "{message}");
        drop(first);
        Store::open(dir.path(), OPTIONS).unwrap();
    }

    #[test]
    fn a_newer_format_is_refused_with_both_versions() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("format"), "7\n").unwrap();
        let message = Store::open(dir.path(), OPTIONS).unwrap_err().to_string();
        assert!(
            message.contains("has format 7 and this version knows up to 1"),
            "{message}"
        );
        for broken in ["", "0", "one", "1 2"] {
            fs::write(dir.path().join("format"), broken).unwrap();
            assert!(
                matches!(Store::open(dir.path(), OPTIONS), Err(StoreError::BadFormat { .. })),
                "{broken:?}"
            );
        }
    }
}
