//! The telemetry spool: records wait here, in a redb file within a byte budget, until the hub's own signed
//! acknowledgement deletes them.
//!
//! A record is known by `(boot_id, seq)`: the caller gives a fresh boot id at each start, the spool counts from 1. Many
//! records go into one transaction, durable by two-phase commit when [`Spool::append`] returns. When the budget is full,
//! old records of low priority go first, and every one that goes is declared as a [`Gap`]: what was offered is what was
//! acknowledged, plus what is kept, plus what the gaps count.
//!
//! No clock and no network here, and no knowledge of what a record means. A damaged file is moved aside, never a reason
//! not to start: see [`Spool::moved_aside`].

mod config;
mod database;
mod gaps;
mod read;
mod tables;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::{Path, PathBuf};

pub use config::{SpoolConfig, SpoolError};
pub use gaps::Gap;
pub use read::{Batch, BatchLimits, Cursor, Order, Record};

use database::{Access, Opened};
use tables::{Appending, Boot, Totals};

/// Largest record: a stage's finding or a result with its inputs is far below, and a batch has to fit into one message.
pub const MAX_RECORD_BYTES: usize = 256 * 1024;

/// Ranges taken from one acknowledgement: the hub acknowledges batches, which are runs of sequence numbers.
const MAX_ACK_RANGES: usize = 4096;

/// What goes last when the budget is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Kept within its own reserve: alarms, what a rollout is judged by.
    High,
    /// Kept while there is room: findings, statistics.
    Normal,
    /// Goes first: samples, traces.
    Low,
}

/// A record to be kept.
#[derive(Debug, Clone, Copy)]
pub struct NewRecord<'a> {
    /// What it is worth when there is no room.
    pub priority: Priority,
    /// When it was made, in milliseconds of the caller's clock.
    pub time_ms: u64,
    /// The record, opaque.
    pub payload: &'a [u8],
}

/// What the spool holds and has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpoolStats {
    /// Records kept.
    pub records: u64,
    /// What they count against the budget, in bytes.
    pub bytes: u64,
    /// Of these bytes, what high-priority records take.
    pub high_bytes: u64,
    /// Records dropped for want of room since the file was made.
    pub dropped: u64,
    /// Of those, records whose gap had to be forgotten unreported, because there were too many gaps.
    pub unlisted: u64,
}

/// A spool file, opened for one boot.
#[derive(Debug)]
pub struct Spool {
    access: Access,
    config: SpoolConfig,
    boot: Boot,
    totals: Totals,
    moved_aside: Option<PathBuf>,
}

impl Spool {
    /// Opens the spool, making it when it isn't there. `boot_id` has to be fresh at each start: a random one, or a counter
    /// that is kept durably. Giving the latest again goes on with its sequence numbers.
    ///
    /// # Errors
    /// When the configuration makes no sense, another process has the file, or the system refuses. A damaged file is no
    /// error.
    pub fn open(path: &Path, boot_id: u64, config: SpoolConfig) -> Result<Self, SpoolError> {
        config.check()?;
        let mut access = Access::new(path.to_owned());
        let Opened {
            boot,
            totals,
            moved_aside,
        } = access.open(Boot {
            id: boot_id,
            ordinal: 0,
            next_seq: 1,
        })?;
        Ok(Self {
            access,
            config,
            boot,
            totals,
            moved_aside,
        })
    }

    /// Where a damaged file was moved to, when there was one: report it once.
    #[must_use]
    pub fn moved_aside(&self) -> Option<&Path> {
        self.moved_aside.as_deref()
    }

    /// Appends one record; for more than one, [`Spool::append_batch`] costs one transaction for all.
    ///
    /// # Errors
    /// As [`Spool::append_batch`].
    pub fn append(&mut self, record: NewRecord<'_>) -> Result<u64, SpoolError> {
        Ok(self.append_batch(&[record])?.start)
    }

    /// Appends records in one durable transaction and returns their sequence numbers. Makes room first where it has to.
    ///
    /// # Errors
    /// When a record is too large, the disk is full, or the system refuses; then none of them is kept, and their sequence
    /// numbers are used for later ones.
    pub fn append_batch(&mut self, records: &[NewRecord<'_>]) -> Result<Range<u64>, SpoolError> {
        self.append_after_loss(0, records)
    }

    /// [`Spool::append_batch`], behind as many records as were lost before they came here: they get sequence numbers, and
    /// a gap, as if they had been dropped for want of room.
    ///
    /// # Errors
    /// As [`Spool::append_batch`]; the lost ones are then neither numbered nor declared.
    pub fn append_after_loss(&mut self, lost: u64, records: &[NewRecord<'_>]) -> Result<Range<u64>, SpoolError> {
        for record in records {
            self.config.check_record(record.payload.len())?;
        }
        self.ready()?;
        let first = self.boot.next_seq + lost;
        if records.is_empty() && lost == 0 {
            return Ok(first..first);
        }
        let (mut boot, mut totals, config) = (self.boot, self.totals, self.config);
        self.access.write("append to", |txn| {
            let mut appending = Appending::begin(txn, &config)?;
            appending.lose(&mut boot, &mut totals, lost)?;
            for record in records {
                appending.insert(&mut boot, &mut totals, record)?;
            }
            appending.finish(&boot, &mut totals)
        })?;
        (self.boot, self.totals) = (boot, totals);
        Ok(first..self.boot.next_seq)
    }

    /// The next records to send, all of one boot, or `None` when there are none after `cursor`. The cursor moves past
    /// them; with a fresh one it begins again at the oldest that isn't acknowledged.
    ///
    /// # Errors
    /// When the system refuses or the file is damaged.
    pub fn next_batch(
        &mut self,
        cursor: &mut Cursor,
        limits: BatchLimits,
        order: Order,
    ) -> Result<Option<Batch>, SpoolError> {
        self.ready()?;
        let boot = self.boot;
        self.access
            .read("read", |txn| read::next_batch(txn, boot, cursor, limits, order))
    }

    /// Deletes records that the hub has taken: `ranges` of sequence numbers of one boot, both ends included. Returns how
    /// many records went. Unknown boots and numbers are no error: an acknowledgement may come twice.
    ///
    /// # Errors
    /// When there are too many ranges, the disk is full, or the system refuses; nothing is deleted then.
    pub fn ack(&mut self, boot_id: u64, ranges: &[(u64, u64)]) -> Result<u64, SpoolError> {
        if ranges.len() > MAX_ACK_RANGES {
            return Err(SpoolError::TooManyRanges {
                count: ranges.len(),
                max: MAX_ACK_RANGES,
            });
        }
        self.ready()?;
        let before = self.totals.records();
        let (mut totals, current) = (self.totals, self.boot.ordinal);
        self.access.write("acknowledge in", |txn| {
            tables::acknowledge(txn, &mut totals, boot_id, ranges, current)
        })?;
        self.totals = totals;
        Ok(before - self.totals.records())
    }

    /// Every gap that hasn't been reported, oldest first.
    ///
    /// # Errors
    /// When the system refuses or the file is damaged.
    pub fn gaps(&mut self) -> Result<Vec<Gap>, SpoolError> {
        self.ready()?;
        self.access.read("read gaps of", gaps::list)
    }

    /// Forgets gaps that were reported. One that has grown since stays, whole: reporting a number twice does no harm,
    /// not reporting it does.
    ///
    /// # Errors
    /// When the disk is full or the system refuses; nothing is forgotten then.
    pub fn forget_gaps(&mut self, reported: &[Gap]) -> Result<(), SpoolError> {
        self.ready()?;
        let current = self.boot.ordinal;
        self.access
            .write("forget gaps of", |txn| gaps::forget(txn, reported, current))
    }

    /// What the spool holds and has lost.
    #[must_use]
    pub fn stats(&self) -> SpoolStats {
        self.totals.stats()
    }

    /// The boot that this spool was opened for.
    #[must_use]
    pub fn boot_id(&self) -> u64 {
        self.boot.id
    }

    /// Opens the file again after an error that made the open one unusable.
    fn ready(&mut self) -> Result<(), SpoolError> {
        if self.access.is_open() {
            return Ok(());
        }
        let opened = self.access.open(self.boot)?;
        self.boot = opened.boot;
        self.totals = opened.totals;
        if opened.moved_aside.is_some() {
            self.moved_aside = opened.moved_aside;
        }
        Ok(())
    }
}
