//! What a spool may take, what a record counts, and what can go wrong.

use std::path::PathBuf;

use super::MAX_RECORD_BYTES;

/// Counted for each record beside its payload: key, time and its share of redb's pages, rounded up.
const RECORD_OVERHEAD_BYTES: u64 = 64;

/// A budget below this couldn't keep one record of the largest size beside a reserve.
const MIN_BUDGET_BYTES: u64 = 2 * (MAX_RECORD_BYTES as u64 + RECORD_OVERHEAD_BYTES);

/// What a spool may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolConfig {
    /// Most bytes that records count together. The file is larger by what redb needs to write without overwriting: plan
    /// for twice as much and a mebibyte.
    pub budget_bytes: u64,
    /// Of these, what high-priority records have for themselves: none of them is dropped while they fit into it.
    pub high_reserve_bytes: u64,
}

impl SpoolConfig {
    pub(super) fn check(&self) -> Result<(), SpoolError> {
        if self.budget_bytes < MIN_BUDGET_BYTES {
            return Err(SpoolError::Config {
                reason: "budget_bytes is below 524416, the least that works",
            });
        }
        if self.high_reserve_bytes > self.budget_bytes {
            return Err(SpoolError::Config {
                reason: "high_reserve_bytes is more than budget_bytes",
            });
        }
        Ok(())
    }

    pub(super) fn check_record(&self, length: usize) -> Result<(), SpoolError> {
        if length > MAX_RECORD_BYTES {
            return Err(SpoolError::RecordTooLarge {
                length,
                max: MAX_RECORD_BYTES,
            });
        }
        Ok(())
    }
}

/// What a record counts against the budget.
pub(super) fn charge(payload_bytes: usize) -> u64 {
    payload_bytes as u64 + RECORD_OVERHEAD_BYTES
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
