//! A disk for tests: it does what the real one does, counts, and fails one operation.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::disk::{Disk, DiskFile, RealDisk};

/// Fails the operation with the given number, without doing it; after that nothing works, as after a power cut.
#[derive(Debug, Clone)]
pub(crate) struct FaultyDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    fail_at: usize,
    error: io::ErrorKind,
    done: AtomicUsize,
    failed: AtomicBool,
}

impl FaultyDisk {
    pub(crate) fn failing_at(step: usize) -> Self {
        Self::failing_with(step, io::ErrorKind::Other)
    }

    pub(crate) fn failing_with(step: usize, error: io::ErrorKind) -> Self {
        let shared = Shared {
            fail_at: step,
            error,
            done: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.shared.failed.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn step(&self) -> io::Result<()> {
        if self.done.fetch_add(1, Ordering::SeqCst) >= self.fail_at {
            self.failed.store(true, Ordering::SeqCst);
            return Err(io::Error::from(self.error));
        }
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.shared.step()?;
        RealDisk.create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.shared.step()?;
        Ok(Box::new(FaultyFile {
            inner: RealDisk.create(path)?,
            shared: Arc::clone(&self.shared),
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.shared.step()?;
        Ok(Box::new(FaultyFile {
            inner: RealDisk.open(path)?,
            shared: Arc::clone(&self.shared),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.shared.step()?;
        RealDisk.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.shared.step()?;
        RealDisk.sync_dir(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.shared.step()?;
        RealDisk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.shared.step()?;
        RealDisk.remove_dir(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Box<dyn DiskFile>,
    shared: Arc<Shared>,
}

impl DiskFile for FaultyFile {
    fn allocate(&mut self, length: u64) -> io::Result<()> {
        self.shared.step()?;
        self.inner.allocate(length)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.shared.step() {
            // A write that fails may have got halfway.
            let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
            self.inner.write_at(offset, half)?;
            return Err(error);
        }
        self.inner.write_at(offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.shared.step()?;
        self.inner.sync()
    }
}
