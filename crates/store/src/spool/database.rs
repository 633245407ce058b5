//! The redb file: opening it, moving a damaged one aside, running transactions, and giving up a handle that failed.
//!
//! redb refuses to go on after an I/O error, and rightly: the handle is dropped and the next call opens the file again
//! and finds what was durable. Nothing is retried on the failed handle.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, Durability, ReadTransaction, ReadableDatabase as _, WriteTransaction};

use super::capped::{Cap, Capped, is_used_up};
use super::config::{SpoolConfig, SpoolError};
use super::medium::{Backend, Medium};
use super::tables::{self, Boot, Totals};
use crate::error::is_full;

/// redb's page cache. The newest records and the inner pages fit; its own default of 1 GiB is more than a device has.
const CACHE_BYTES: usize = 2 << 20;

/// Damaged files kept for whoever wants to look at them. Each is as large as the spool may be.
const DAMAGED_KEPT: u32 = 2;

/// What was found on opening.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) boot: Boot,
    pub(super) totals: Totals,
    pub(super) moved_aside: Option<PathBuf>,
}

/// The file and, unless it failed, its open handle.
#[derive(Debug)]
pub(super) struct Access {
    path: PathBuf,
    /// What lies under the path, when it isn't a file.
    medium: Option<Arc<dyn Medium>>,
    database: Option<Database>,
    /// The last error told of damage: verify everything on the next opening.
    suspect: bool,
    /// The handle was given up after an error.
    failed: bool,
    config: SpoolConfig,
    cap: Arc<Cap>,
    /// What length the next opening gives the file, if it is shorter.
    extend_to: u64,
}

/// What became of the file's length in a write that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// The write failed for another reason.
    NotRefused,
    /// The next opening gives it more.
    Possible,
    /// There is no more: records have to go.
    Exhausted,
}

impl Access {
    pub(super) fn new(path: PathBuf, config: SpoolConfig, medium: Option<Arc<dyn Medium>>) -> Self {
        Self {
            path,
            medium,
            database: None,
            suspect: false,
            failed: false,
            config,
            cap: Cap::new(config.budget_bytes),
            extend_to: 0,
        }
    }

    /// After a write that failed: whether it did for want of length, and has another chance at the next opening, which
    /// gives the file what is left to it. `spare`: the transaction makes room, and may have the spare.
    pub(super) fn may_grow(&mut self, spare: bool) -> Growth {
        if !self.cap.take_refused() {
            return Growth::NotRefused;
        }
        let most = if spare {
            self.cap.most_bytes()
        } else {
            self.cap.usual_bytes()
        };
        if self.cap.length_bytes() >= most {
            return Growth::Exhausted;
        }
        self.extend_to = most;
        Growth::Possible
    }

    pub(super) fn is_open(&self) -> bool {
        self.database.is_some()
    }

    /// Opens the file for a boot; a damaged one is moved aside and a new one begun.
    pub(super) fn open(&mut self, boot: Boot) -> Result<Opened, SpoolError> {
        let mut opened = self.try_open(boot);
        if opened.is_err() && self.may_grow(true) == Growth::Possible {
            opened = self.try_open(boot);
        }
        match opened {
            Err(error) if is_damage(&error) => {
                let aside = self.move_aside()?;
                tracing::warn!(spool = %self.path.display(), moved_to = %aside.display(), %error,
                    "the spool was damaged: it was moved aside and a new one begun");
                self.suspect = false;
                let (boot, totals) = self.try_open(boot).map_err(|error| self.explain("open", error))?;
                Ok(Opened {
                    boot,
                    totals,
                    moved_aside: Some(aside),
                })
            }
            opened => {
                let (boot, totals) = opened.map_err(|error| self.explain("open", error))?;
                Ok(Opened {
                    boot,
                    totals,
                    moved_aside: None,
                })
            }
        }
    }

    /// Runs one durable transaction: all of it or nothing.
    pub(super) fn write<T>(
        &mut self,
        operation: &'static str,
        body: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, SpoolError> {
        let database = self.database.as_ref().ok_or(redb::Error::DatabaseClosed);
        let done = database.and_then(|database| guarded(|| commit(database, body)));
        done.map_err(|error| self.give_up(operation, error))
    }

    /// Runs a reading transaction.
    pub(super) fn read<T>(
        &mut self,
        operation: &'static str,
        body: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, SpoolError> {
        let database = self.database.as_ref().ok_or(redb::Error::DatabaseClosed);
        let done = database.and_then(|database| guarded(|| body(&database.begin_read()?)));
        done.map_err(|error| self.give_up(operation, error))
    }

    fn try_open(&mut self, boot: Boot) -> Result<(Boot, Totals), redb::Error> {
        let (suspect, config) = (self.suspect, self.config);
        let extend_to = std::mem::take(&mut self.extend_to);
        let is_new = self.medium.is_none() && !self.path.exists();
        if self.failed && self.medium.is_none() {
            self.forget_cached();
        }
        let (database, boot, totals) = guarded(|| {
            let (mut database, length) = self.database(extend_to)?;
            let is_too_long = length > config.budget_bytes;
            if suspect {
                database.check_integrity()?;
            }
            let (boot, mut totals) = commit(&database, |txn| tables::prepare(txn, boot, suspect))?;
            if is_too_long {
                // The budget was larger: what is too much goes, and so does its room.
                commit(&database, |txn| {
                    tables::make_room(txn, &config, config.capacity_bytes(), &mut totals)
                })?;
                database.compact()?;
            }
            Ok((database, boot, totals))
        })?;
        if is_new {
            // A record is as durable as the name of the file that it is in.
            self.sync_parent().map_err(redb::Error::Io)?;
        }
        self.database = Some(database);
        (self.suspect, self.failed) = (false, false);
        Ok((boot, totals))
    }

    /// The database, and the length that its file had before it was opened.
    fn database(&self, extend_to: u64) -> Result<(Database, u64), redb::Error> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        let cap = Arc::clone(&self.cap);
        match &self.medium {
            None => {
                let file = open_file(&self.path)?;
                let length = file.metadata()?.len();
                if length < extend_to {
                    file.set_len(extend_to)?;
                    file.sync_all()?;
                }
                let backend = Capped::new(FileBackend::new(file)?, cap)?;
                Ok((builder.create_with_backend(backend)?, length))
            }
            Some(medium) => {
                let file = medium.open(&self.path)?;
                let length = file.length()?;
                if length < extend_to {
                    file.set_length(extend_to)?;
                    file.sync()?;
                }
                let backend = Capped::new(Backend(file), cap)?;
                Ok((builder.create_with_backend(backend)?, length))
            }
        }
    }

    /// After a failed fsync the kernel may hold pages for clean that never reached the disk. What is read from now on is
    /// what is there. Where the system can't do that, checksums have to tell.
    fn forget_cached(&self) {
        if let Ok(file) = fs::File::open(&self.path) {
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }

    fn sync_parent(&self) -> io::Result<()> {
        let parent = match self.path.parent() {
            // A relative path of one part lies in the current directory.
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Ok(()),
        };
        fs::File::open(parent)?.sync_all()
    }

    fn move_aside(&self) -> Result<PathBuf, SpoolError> {
        let name = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".corrupt-{number}"));
            PathBuf::from(name)
        };
        let number = (1..u32::MAX).find(|number| !name(*number).exists()).unwrap_or(u32::MAX);
        let aside = name(number);
        let failed = |source: io::Error| self.explain("move aside", redb::Error::Io(source));
        fs::rename(&self.path, &aside).map_err(failed)?;
        self.sync_parent().map_err(failed)?;
        if let Some(old) = number.checked_sub(DAMAGED_KEPT).filter(|old| *old > 0) {
            // Emptied, not removed: its name marks the number as used.
            drop(fs::OpenOptions::new().write(true).truncate(true).open(name(old)));
        }
        Ok(aside)
    }

    /// Drops the handle when the error made it unusable, and names the error.
    fn give_up(&mut self, operation: &'static str, error: redb::Error) -> SpoolError {
        self.suspect |= is_damage(&error);
        self.failed = true;
        self.close();
        self.explain(operation, error)
    }

    /// Closing writes as well, and can find damage as well; the next opening then repairs or moves aside.
    fn close(&mut self) {
        let database = self.database.take();
        drop(guarded(|| {
            drop(database);
            Ok(())
        }));
    }

    fn explain(&self, operation: &'static str, error: redb::Error) -> SpoolError {
        explain(&self.path, operation, error)
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.close();
    }
}

fn open_file(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).open(path)
}

/// redb asserts on some kinds of damage. A spool that can't be read is an event, not a reason to die.
fn guarded<T>(body: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|_| Err(redb::Error::Corrupted("redb gave up on its content".to_owned())))
}

fn explain(path: &Path, operation: &'static str, error: redb::Error) -> SpoolError {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen => SpoolError::InUse { path },
        redb::Error::Io(error) if is_used_up(&error) => SpoolError::BudgetUsedUp { operation, path },
        redb::Error::Io(error) if is_full(&error) => SpoolError::Full { operation, path },
        other => SpoolError::Storage {
            operation,
            path,
            source: Box::new(other),
        },
    }
}

fn commit<T>(
    database: &Database,
    body: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
) -> Result<T, redb::Error> {
    let mut txn = database.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    // One phase trusts a checksum against a torn commit, and an attacker chooses what is in these records.
    txn.set_two_phase_commit(true);
    let value = body(&txn)?;
    txn.commit()?;
    Ok(value)
}

/// Whether the file's content is at fault, and not the machine around it.
fn is_damage(error: &redb::Error) -> bool {
    use redb::Error as E;
    match error {
        E::Corrupted(_)
        | E::UpgradeRequired(_)
        | E::RepairAborted
        | E::TableTypeMismatch { .. }
        | E::TableIsMultimap(_)
        | E::TypeDefinitionChanged { .. } => true,
        E::Io(error) => matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof),
        _ => false,
    }
}
