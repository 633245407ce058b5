//! What a spool's database lies on, where that isn't a file that redb opens by itself.
//!
//! Production doesn't come through here: there, redb's own file backend lies below the bound on the file's length
//! (`capped`). Tests put something in
//! its place that records, fails or kills, and so see every write and every sync between two of which power can go.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use redb::StorageBackend;

/// Where the bytes of spools lie.
pub trait Medium: Debug + Send + Sync {
    /// Opens what lies under this path for reading and writing; there is nothing in it when it wasn't there.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &Path) -> io::Result<Box<dyn MediumFile>>;
}

/// The bytes of one spool. Every operation may come from several threads at once.
pub trait MediumFile: Debug + Send + Sync {
    /// How many bytes there are.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> io::Result<u64>;
    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    /// What the system says, and when there are fewer.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
    /// Sets the length; what is new is zero.
    ///
    /// # Errors
    /// What the system says.
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes durable what was written before.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&self) -> io::Result<()>;
}

/// The files of the machine, as [`Medium`]: what a medium that records or fails passes its operations on to.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealMedium;

impl Medium for RealMedium {
    fn open(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        Ok(Box::new(RealMediumFile(file)))
    }
}

#[derive(Debug)]
struct RealMediumFile(File);

impl MediumFile for RealMediumFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// A medium's file as redb wants it.
#[derive(Debug)]
pub(super) struct Backend(pub(super) Box<dyn MediumFile>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_length(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
}
