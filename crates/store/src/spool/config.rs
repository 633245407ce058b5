//! What a spool may take, what a record counts, and what can go wrong.

use std::path::PathBuf;

use super::{MAX_RECORD_BYTES, NewRecord};

/// redb's page.
const PAGE_BYTES: u64 = 4096;
/// What a leaf has beside its rows.
const LEAF_BYTES: u64 = 4;
/// A row beside the payload: key, time, and where the value ends.
pub(super) const ROW_BYTES: u64 = 16 + 8 + 4;

/// The least that holds redb's own tables, what a transaction rewrites, and some records.
const MIN_BUDGET_BYTES: u64 = 2 << 20;
/// What redb's own tables, gaps and the pages that any transaction rewrites need.
const FIXED_BYTES: u64 = 192 << 10;
/// One part in so many of the budget is left free: inner pages, and pages that were replaced and can't be used again
/// before the next transaction.
const FREE_PART: u64 = 16;
/// One part in so many of the budget, at most: a transaction needs as much again while it runs.
const GROUP_PART: u64 = 64;
/// Any record fits into a group.
const MIN_GROUP_BYTES: u64 = 64 << 10;

/// What a spool may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolConfig {
    /// Most bytes that the file on disk takes, with all that redb needs. At least 2 MiB: redb begins with one.
    pub budget_bytes: u64,
    /// Of these, what high-priority records have for themselves: none of them is dropped while they fit into it.
    pub high_reserve_bytes: u64,
}

impl SpoolConfig {
    /// Most bytes that the records of one transaction count together: see [`SpoolConfig::charge`].
    #[must_use]
    pub fn group_bytes(&self) -> u64 {
        (self.budget_bytes / GROUP_PART).max(MIN_GROUP_BYTES)
    }

    /// What records may count together: the budget without what redb needs beside them.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.budget_bytes
            .saturating_sub(FIXED_BYTES + self.budget_bytes / FREE_PART)
    }

    /// What a record counts: its share of the pages that it lies in with others of its length.
    #[must_use]
    pub fn charge(payload_bytes: usize) -> u64 {
        charge(payload_bytes)
    }

    pub(super) fn check(&self) -> Result<(), SpoolError> {
        if self.budget_bytes < MIN_BUDGET_BYTES {
            return Err(SpoolError::Config {
                reason: "budget_bytes is below 2097152, the least that works",
            });
        }
        if self.high_reserve_bytes > self.capacity_bytes() {
            return Err(SpoolError::Config {
                reason: "high_reserve_bytes is more than budget_bytes leaves for records",
            });
        }
        Ok(())
    }

    pub(super) fn check_group(&self, records: &[NewRecord<'_>]) -> Result<(), SpoolError> {
        let mut bytes = 0;
        for record in records {
            let length = record.payload.len();
            if length > MAX_RECORD_BYTES {
                return Err(SpoolError::RecordTooLarge {
                    length,
                    max: MAX_RECORD_BYTES,
                });
            }
            bytes += charge(length);
        }
        let max = self.group_bytes();
        if bytes > max {
            return Err(SpoolError::GroupTooLarge { bytes, max });
        }
        Ok(())
    }
}

/// What a record counts against the capacity: its share of the pages that it lies in with others of its length.
pub(super) fn charge(payload_bytes: usize) -> u64 {
    let row = payload_bytes as u64 + ROW_BYTES;
    match (PAGE_BYTES - LEAF_BYTES) / row {
        // A row that is longer than a page has pages of its own, a power of two of them.
        0 => (row + LEAF_BYTES).next_power_of_two(),
        rows_of_a_page => PAGE_BYTES / rows_of_a_page,
    }
}

/// Why the spool couldn't do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The configuration makes no sense.
    #[error("spool configuration: {reason}")]
    Config {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A record is larger than [`MAX_RECORD_BYTES`].
    #[error("record of {length} bytes is larger than {max}; split it or send it as a capture")]
    RecordTooLarge {
        /// Its length in bytes.
        length: usize,
        /// The most a record may have.
        max: usize,
    },
    /// Records that were to be appended together need more than a transaction may.
    #[error(
        "records that count {bytes} bytes are too many for one transaction, which takes {max}; append fewer at once"
    )]
    GroupTooLarge {
        /// What they count.
        bytes: u64,
        /// What they may count.
        max: u64,
    },
    /// An acknowledgement has too many ranges.
    #[error("acknowledgement has {count} ranges, more than {max}; split it")]
    TooManyRanges {
        /// Ranges given.
        count: usize,
        /// Ranges allowed.
        max: usize,
    },
    /// Another process has the file.
    #[error("spool {path} is in use by another process", path = path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file has its budget, and no room could be made in it.
    #[error(
        "{operation} spool {path}: its budget is used up and no room could be made in it; what is in it is untouched, \
         raise `telemetry.spool_budget_bytes`", path = path.display()
    )]
    BudgetUsedUp {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The disk or the user's quota is full.
    #[error("{operation} spool {path}: the disk is full; what is in the spool is untouched, free some space", path = path.display())]
    Full {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused or the file is damaged.
    #[error("{operation} spool {path}: {source}", path = path.display())]
    Storage {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What redb or the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
