//! The durable steps that files are written with, and nothing else: create, write, fsync, rename, fsync of a directory,
//! remove.
//!
//! They stand behind a trait so that tests can fail or drop each single one and look at what a restart would find.
//! Reads don't: what they see is decided by these. No step is ever retried: after a failed fsync the kernel may call
//! pages clean that never reached the disk, so a second fsync would report success for lost data.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::error::{At as _, StoreError};

/// Directories hold a device's models and telemetry: for their owner alone.
const DIR_MODE: u32 = 0o700;
/// The same for files.
const FILE_MODE: u32 = 0o600;

/// The durable operations of a file system.
pub trait Disk: Debug + Send + Sync {
    /// Creates a directory for its owner alone; no error when it is there.
    ///
    /// # Errors
    /// What the system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates a file for its owner alone, empty, for writing.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file that is there for writing.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Renames, replacing what had the new name, atomically.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    ///
    /// # Errors
    /// What the system says.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
}

/// A file opened for writing.
pub trait DiskFile: Debug + Send + Sync {
    /// Sets the length and reserves the space for it, so that a full disk is found now and not halfway.
    ///
    /// # Errors
    /// What the system says.
    fn allocate(&mut self, length: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes content and length durable.
    ///
    /// # Errors
    /// What the system says; never call it again for the same content then.
    fn sync(&mut self) -> io::Result<()>;
}

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(DIR_MODE).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            done => done,
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(OpenOptions::new().write(true).open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn allocate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)?;
        if length == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, length) {
            // Not every file system can reserve; there a full disk is found while writing.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            done => Ok(done?),
        }
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// Replaces `path` by `bytes` so that a power cut leaves the old content or the new one: temporary file, fsync, rename,
/// fsync of the directory.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = path.with_extension("tmp");
    if let Err(error) = write_new(disk, &temporary, bytes) {
        // Best effort: the next replacement truncates a leftover.
        drop(disk.remove_file(&temporary));
        return Err(error);
    }
    disk.rename(&temporary, path).at("rename", path)?;
    sync_parent(disk, path)
}

/// Writes a new file and makes its content durable, though not yet its name.
pub(crate) fn write_new(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = disk.create(path).at("create", path)?;
    file.write_at(0, bytes).at("write", path)?;
    file.sync().at("fsync", path)
}

/// Sees to it that directories are there and that their names, which `parent` has, last. Where all of them were there
/// nothing new has to last, and a disk that can't be written any more is no reason not to read what it has.
pub(crate) fn ensure_dirs(disk: &dyn Disk, dirs: &[&Path], parent: &Path) -> Result<(), StoreError> {
    let were_there = dirs.iter().all(|dir| dir.is_dir());
    for dir in dirs {
        disk.create_dir(dir).at("create directory", dir)?;
    }
    match disk.sync_dir(parent).at("fsync directory", parent) {
        Err(error) if were_there => {
            tracing::warn!(%error, "the state directory can only be read");
            Ok(())
        }
        synced => synced,
    }
}

/// Makes the name of `path` durable.
pub(crate) fn sync_parent(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    let parent = match path.parent() {
        // A relative path of one part lies in the current directory.
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    disk.sync_dir(parent).at("fsync directory", parent)
}
