//! A disk whose operations fail: full, read-only, broken.

use super::hasty::Hasty;
use floorhand_store::{Disk, DiskFile};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ailment {
    /// It has no room: whatever needs some fails.
    Full,
    /// It takes no change at all.
    ReadOnly,
    /// Its fsyncs fail.
    SyncFails,
}

/// What an operation is to a disk that ails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Room,
    Change,
    Sync,
}

impl Ailment {
    fn error(self, need: Need) -> Option<io::ErrorKind> {
        match (self, need) {
            (Self::Full, Need::Room) => Some(io::ErrorKind::StorageFull),
            (Self::ReadOnly, Need::Room | Need::Change) => Some(io::ErrorKind::ReadOnlyFilesystem),
            (Self::SyncFails, Need::Sync) => Some(io::ErrorKind::Other),
            _ => None,
        }
    }
}

/// From which operation on a disk ails, and for how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spell {
    /// What is wrong.
    pub ailment: Ailment,
    /// The first operation, counted from 0.
    pub first: u64,
    /// How many.
    pub count: u64,
}

#[derive(Debug, Default)]
struct Shared {
    operations: u64,
    spell: Option<Spell>,
    failed: u64,
    /// Files whose fsync failed: what is in them can't be trusted any more.
    tainted: BTreeSet<PathBuf>,
    /// What was done with those.
    trusted: Vec<String>,
}

/// The disk. Clones share what is wrong with it. Its fsyncs do nothing when they don't fail.
#[derive(Debug, Clone, Default)]
pub struct Failing {
    shared: Arc<Mutex<Shared>>,
}

impl Failing {
    /// Begins a spell, counting operations from 0 again; `None` ends it.
    pub fn ails(&self, spell: Option<Spell>) {
        let mut shared = self.lock();
        (shared.operations, shared.failed, shared.spell) = (0, 0, spell);
    }

    /// Operations since the last spell began.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Operations that failed in the last spell.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.lock().failed
    }

    /// Each time that a file whose fsync had failed was synced again, or given its final name.
    #[must_use]
    pub fn trusted(&self) -> Vec<String> {
        self.lock().trusted.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn operation(&self, need: Need, path: &Path) -> io::Result<()> {
        let mut shared = self.lock();
        let number = shared.operations;
        shared.operations += 1;
        let spell = shared
            .spell
            .filter(|spell| (spell.first..spell.first.saturating_add(spell.count)).contains(&number));
        let Some(error) = spell.and_then(|spell| spell.ailment.error(need)) else {
            return Ok(());
        };
        shared.failed += 1;
        if need == Need::Sync {
            shared.tainted.insert(path.to_owned());
        }
        Err(io::Error::from(error))
    }

    /// Notes that something is done with a file that relies on its content.
    fn relies_on(&self, path: &Path, what: &str) {
        let mut shared = self.lock();
        if shared.tainted.contains(path) {
            shared.trusted.push(format!("{what} {}", path.display()));
        }
    }

    fn file(&self, path: &Path, inner: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FailingFile {
            inner,
            path: path.to_owned(),
            disk: self.clone(),
        })
    }
}

impl Disk for Failing {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if !path.is_dir() {
            self.operation(Need::Room, path)?;
            self.lock().tainted.remove(path);
        }
        Hasty.create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.operation(Need::Room, path)?;
        // Made anew, it has nothing of what it had.
        self.lock().tainted.remove(path);
        Ok(self.file(path, Hasty.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.operation(Need::Change, path)?;
        self.relies_on(path, "open");
        Ok(self.file(path, Hasty.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation(Need::Change, from)?;
        self.relies_on(from, "rename");
        Hasty.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.operation(Need::Sync, path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.operation(Need::Change, path)?;
        self.lock().tainted.remove(path);
        Hasty.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.operation(Need::Change, path)?;
        Hasty.remove_dir(path)
    }
}

#[derive(Debug)]
struct FailingFile {
    inner: Box<dyn DiskFile>,
    path: PathBuf,
    disk: Failing,
}

impl DiskFile for FailingFile {
    fn allocate(&mut self, length: u64) -> io::Result<()> {
        self.disk.operation(Need::Room, &self.path)?;
        self.inner.allocate(length)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.disk.operation(Need::Room, &self.path) {
            // A write that fails may have got halfway.
            self.inner
                .write_at(offset, bytes.get(..bytes.len() / 2).unwrap_or_default())?;
            return Err(error);
        }
        self.inner.write_at(offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.relies_on(&self.path, "fsync");
        self.disk.operation(Need::Sync, &self.path)
    }
}
