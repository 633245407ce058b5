//! The telemetry spool: records wait here, in a redb file within a byte budget, until the hub's own signed
//! acknowledgement deletes them.
//!
//! The budget holds for the file itself. Records may count what redb leaves of it, by an estimate of the pages that they
//! take; should the estimate fail, the file still isn't longer than the budget, and the spool makes more room.
//!
//! A record is known by `(boot_id, seq)`: the caller gives a fresh boot id at each start, the spool counts from 1. Many
//! records go into one transaction, durable by two-phase commit when [`Spool::append`] returns. When the budget is full,
//! old records of low priority go first, and every one that goes is declared as a [`Gap`]: what was offered is what was
//! acknowledged, plus what is kept, plus what the gaps count.
//!
//! No clock and no network here, and no knowledge of what a record means. A damaged file is moved aside, never a reason
//! not to start: see [`Spool::moved_aside`].

mod capped;
mod config;
mod database;
mod gaps;
mod medium;
#[cfg(test)]
mod model;
mod read;
mod tables;
#[cfg(test)]
mod tests;
mod undo;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use config::{SpoolConfig, SpoolError};
pub use gaps::Gap;
pub use medium::{Medium, MediumFile, RealMedium};
pub use read::{Batch, BatchLimits, Cursor, Order, Record};

use database::{Access, Growth, Opened};
use tables::{Appending, Boot, Totals};

/// Largest record, that of the protocol: a batch has to fit into one message.
pub const MAX_RECORD_BYTES: usize = 32 * 1024;

/// How often an append that finds the file full makes more room and tries again, each time a sixteenth.
const MAKE_ROOM_TRIES: u32 = 8;
/// What is dropped at once beyond what has to be, where the file was full before the records counted so much.
const MAKE_ROOM_PART: u64 = 16;
/// So many appends that the file took in a row, and records may count a group more again: a file that is full early makes
/// room about once in some minutes then, and one that was full by chance gets back to its budget within the hour.
const APPENDS_UNTIL_MORE: u32 = 256;

/// Ranges taken from one acknowledgement, and gaps: the hub acknowledges batches, which are runs of sequence numbers.
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

/// What the hub has signed for, of one boot. Records and gaps are named apart: a record that was sent may be dropped before
/// its acknowledgement comes, and that says nothing of the gap then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged<'a> {
    /// The boot.
    pub boot_id: u64,
    /// Ranges of the numbers of records, both ends included.
    pub ranges: &'a [(u64, u64)],
    /// Gaps by their first and last number.
    pub gaps: &'a [(u64, u64)],
}

/// What the spool holds and has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpoolStats {
    /// Records kept.
    pub records: u64,
    /// The bytes that they count: about what they take of the file.
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
    /// What records may count: by the configuration, or for a time less where that proved too much for the file.
    capacity_bytes: u64,
    /// Appends that the file took since that last changed.
    appends: u32,
    /// Records of this boot below it were held back.
    live_from: u64,
    /// The last transaction failed because the file has its budget.
    is_full: bool,
    boot: Boot,
    totals: Totals,
    moved_aside: Option<PathBuf>,
    /// The numbers in `boot` are this boot's own: what the file has beyond them isn't.
    opened: bool,
}

impl Spool {
    /// Opens the spool, making it when it isn't there. `boot_id` has to be fresh at each start: a random one, or a counter
    /// that is kept durably. Giving the latest again goes on with its sequence numbers.
    ///
    /// # Errors
    /// When the configuration makes no sense, another process has the file, or the system refuses. A damaged file is no
    /// error.
    pub fn open(path: &Path, boot_id: u64, config: SpoolConfig) -> Result<Self, SpoolError> {
        let mut spool = Self::new(None, path, boot_id, config)?;
        spool.ready()?;
        Ok(spool)
    }

    /// [`Spool::open`] on something else than a file of the machine.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn open_on(
        medium: Arc<dyn Medium>,
        path: &Path,
        boot_id: u64,
        config: SpoolConfig,
    ) -> Result<Self, SpoolError> {
        let mut spool = Self::new(Some(medium), path, boot_id, config)?;
        spool.ready()?;
        Ok(spool)
    }

    /// [`Spool::open`] for a disk that can't be written at the moment: every operation tries to open the file, and fails
    /// until that works.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    pub fn open_later(path: &Path, boot_id: u64, config: SpoolConfig) -> Result<Self, SpoolError> {
        Self::new(None, path, boot_id, config)
    }

    fn new(
        medium: Option<Arc<dyn Medium>>,
        path: &Path,
        boot_id: u64,
        config: SpoolConfig,
    ) -> Result<Self, SpoolError> {
        config.check()?;
        Ok(Self {
            access: Access::new(path.to_owned(), config, medium),
            config,
            capacity_bytes: config.capacity_bytes(),
            appends: 0,
            live_from: 0,
            is_full: false,
            boot: Boot {
                id: boot_id,
                ordinal: 0,
                next_seq: 1,
            },
            totals: Totals::default(),
            moved_aside: None,
            opened: false,
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
    /// When a record is too large, they are too many ([`SpoolConfig::group_bytes`]), the disk is full, or the system
    /// refuses; then none of them is kept, and their sequence numbers are used for later ones.
    pub fn append_batch(&mut self, records: &[NewRecord<'_>]) -> Result<Range<u64>, SpoolError> {
        self.append_after_loss(0, records)
    }

    /// [`Spool::append_batch`], behind as many records as were lost before they came here: they get sequence numbers, and
    /// a gap, as if they had been dropped for want of room.
    ///
    /// # Errors
    /// As [`Spool::append_batch`]; the lost ones are then neither numbered nor declared.
    pub fn append_after_loss(&mut self, lost: u64, records: &[NewRecord<'_>]) -> Result<Range<u64>, SpoolError> {
        self.config.check_group(records)?;
        self.ready()?;
        if records.is_empty() && lost == 0 {
            let next = self.boot.next_seq;
            return Ok(next..next);
        }
        self.count_append();
        for _ in 0..MAKE_ROOM_TRIES {
            match self.try_append(lost, records) {
                Err(_) if self.is_full => self.make_room()?,
                appended => return appended,
            }
        }
        self.try_append(lost, records)
    }

    fn try_append(&mut self, lost: u64, records: &[NewRecord<'_>]) -> Result<Range<u64>, SpoolError> {
        let (config, capacity_bytes) = (self.config, self.capacity_bytes);
        self.write("append to", false, |txn, boot, totals| {
            let mut appending = Appending::begin(txn, &config, capacity_bytes)?;
            appending.lose(boot, totals, lost)?;
            let first = boot.next_seq;
            for record in records {
                appending.insert(boot, totals, record)?;
            }
            appending.finish(boot, totals)?;
            Ok(first..boot.next_seq)
        })
    }

    /// Lets records count more again, after a while in which the file was never full.
    fn count_append(&mut self) {
        let most = self.config.capacity_bytes();
        if self.capacity_bytes >= most {
            return;
        }
        self.appends += 1;
        if self.appends >= APPENDS_UNTIL_MORE {
            self.appends = 0;
            self.capacity_bytes = most.min(self.capacity_bytes + self.config.group_bytes());
        }
    }

    /// Makes room where the records take more of the file than they count.
    fn make_room(&mut self) -> Result<(), SpoolError> {
        let held = self.totals.bytes();
        let less = held / MAKE_ROOM_PART + self.config.group_bytes();
        let mut capacity_bytes = held.min(self.capacity_bytes).saturating_sub(less);
        let reserve_bytes = self.config.high_reserve_bytes;
        if held > reserve_bytes {
            // What has the reserve to itself stays. Only where the file is too short for the reserve itself, some of it goes.
            capacity_bytes = capacity_bytes.max(reserve_bytes);
        }
        self.appends = 0;
        tracing::debug!(
            capacity_bytes,
            "the spool's file is full before its records count so much"
        );
        self.capacity_bytes = capacity_bytes;
        let config = self.config;
        self.write("make room in", true, |txn, _, totals| {
            tables::make_room(txn, &config, capacity_bytes, totals)
        })
    }

    /// Runs one durable transaction. One that fails because the file is too short is run again on a longer one, up to the
    /// budget; `spare`: to its very end.
    fn write<T>(
        &mut self,
        operation: &'static str,
        spare: bool,
        body: impl Fn(&redb::WriteTransaction, &mut Boot, &mut Totals) -> Result<T, redb::Error>,
    ) -> Result<T, SpoolError> {
        loop {
            self.ready()?;
            let (mut boot, mut totals) = (self.boot, self.totals);
            let written = self.access.write(operation, |txn| body(txn, &mut boot, &mut totals));
            if written.is_ok() {
                (self.boot, self.totals, self.is_full) = (boot, totals, false);
                return written;
            }
            match self.access.may_grow(spare) {
                // Ends: the file is longer the next time.
                Growth::Possible => {}
                grown => {
                    self.is_full = grown == Growth::Exhausted;
                    return written;
                }
            }
        }
    }

    /// Records of this boot below a sequence number were held back: their time isn't now. The border never goes back.
    pub fn hold_back(&mut self, below: u64) {
        self.live_from = self.live_from.max(below);
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
        let boot = (self.boot, self.live_from);
        self.access
            .read("read", |txn| read::next_batch(txn, boot, cursor, limits, order))
    }

    /// Deletes records that the hub has taken: `ranges` of sequence numbers of one boot, both ends included. Returns how many
    /// went. Unknown boots and numbers are no error: an acknowledgement may come twice.
    ///
    /// # Errors
    /// When there are too many ranges, the disk is full, or the system refuses; nothing is deleted then.
    pub fn ack(&mut self, boot_id: u64, ranges: &[(u64, u64)]) -> Result<u64, SpoolError> {
        let gaps = &[];
        self.ack_all(&[Acknowledged { boot_id, ranges, gaps }])
    }

    /// Forgets gaps of one boot that were reported and that the hub has: those with these very ends.
    ///
    /// # Errors
    /// As [`Spool::ack`].
    pub fn ack_gaps(&mut self, boot_id: u64, gaps: &[(u64, u64)]) -> Result<(), SpoolError> {
        let ranges = &[];
        self.ack_all(&[Acknowledged { boot_id, ranges, gaps }]).map(drop)
    }

    /// [`Spool::ack`] and [`Spool::ack_gaps`] for several boots at once, in one transaction.
    ///
    /// # Errors
    /// As [`Spool::ack`].
    pub fn ack_all(&mut self, acks: &[Acknowledged<'_>]) -> Result<u64, SpoolError> {
        let counts = acks.iter().flat_map(|ack| [ack.ranges.len(), ack.gaps.len()]);
        if let Some(count) = counts.max().filter(|count| *count > MAX_ACK_RANGES) {
            let max = MAX_ACK_RANGES;
            return Err(SpoolError::TooManyRanges { count, max });
        }
        self.ready()?;
        let before = self.totals.records();
        self.write("acknowledge in", true, |txn, boot, totals| {
            acks.iter()
                .try_for_each(|ack| tables::acknowledge(txn, totals, ack, boot.ordinal))
        })?;
        Ok(before - self.totals.records())
    }

    /// Drops records that their reader can't make anything of, and declares them as a gap: they would be sent for ever.
    ///
    /// # Errors
    /// When the disk is full or the system refuses; nothing is dropped then.
    pub fn give_up(&mut self, boot_id: u64, seqs: &[u64]) -> Result<(), SpoolError> {
        self.write("drop records of", true, |txn, _, totals| {
            tables::give_up(txn, totals, boot_id, seqs)
        })
    }

    /// Every gap that wasn't acknowledged, oldest first.
    ///
    /// # Errors
    /// When the system refuses or the file is damaged.
    pub fn gaps(&mut self) -> Result<Vec<Gap>, SpoolError> {
        self.ready()?;
        self.access.read("read gaps of", gaps::list)
    }

    /// Gaps to be sent to the hub: the same again until [`Spool::ack_gaps`] has named each, then those that have come up
    /// since. What is dropped in the meantime makes gaps of its own.
    ///
    /// # Errors
    /// When the disk is full, the system refuses or the file is damaged.
    pub fn report_gaps(&mut self) -> Result<Vec<Gap>, SpoolError> {
        self.ready()?;
        let reported = self.access.read("read gaps of", gaps::reported)?;
        if !reported.is_empty() || !self.access.read("read gaps of", gaps::are_waiting)? {
            return Ok(reported);
        }
        self.write("report gaps of", true, |txn, _, _| gaps::report(txn))?;
        self.access.read("read gaps of", gaps::reported)
    }

    /// What the spool holds and has lost.
    #[must_use]
    pub fn stats(&self) -> SpoolStats {
        self.totals.stats()
    }

    /// What it was opened with.
    #[must_use]
    pub fn config(&self) -> SpoolConfig {
        self.config
    }

    /// What the next record is numbered.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.boot.next_seq
    }

    /// The boot that this spool was opened for.
    #[must_use]
    pub fn boot_id(&self) -> u64 {
        self.boot.id
    }

    /// Opens the file again after an error that made the open one unusable.
    fn ready(&mut self) -> Result<(), SpoolError> {
        while !self.access.is_open() {
            let Opened {
                mut boot,
                mut totals,
                moved_aside,
            } = self.access.open(self.boot)?;
            if moved_aside.is_some() {
                self.moved_aside = moved_aside;
            }
            if self.opened && boot.next_seq > self.boot.next_seq {
                boot.next_seq = self.boot.next_seq;
                let take_back = |txn: &redb::WriteTransaction| undo::take_back(txn, boot, &mut totals);
                if let Err(error) = self.access.write("take back in", take_back) {
                    match self.access.may_grow(true) {
                        // Ends: the file is longer the next time.
                        Growth::Possible => continue,
                        Growth::NotRefused | Growth::Exhausted => return Err(error),
                    }
                }
            }
            (self.boot, self.totals, self.opened) = (boot, totals, true);
        }
        Ok(())
    }
}
