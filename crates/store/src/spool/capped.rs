//! A bound on the file beneath redb.
//!
//! redb doubles its file when it finds no free page, gives little back while it runs, and knows no upper bound. Here a
//! growth beyond the bound fails, which ends the transaction and leaves what was committed. Whoever ran it then gives the
//! file the length that is left to it, opens it again (redb goes by the length that it finds), and repeats the
//! transaction; one that fails at that length has to make room first.

use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use redb::{BackendError, StorageBackend};

/// redb's page; its file is a number of them.
const PAGE_BYTES: u64 = 4096;
/// Kept of the budget for the first transaction that makes room in a file that has its usual length: the pages that it
/// rewrites before it frees any. The file has its last length from then on, and anybody finds these pages: those that make
/// room later live on what `FREE_PART` and `FIXED_BYTES` of the configuration leave free.
const SPARE_BYTES: u64 = 64 << 10;

/// What a refused growth says. No error of the disk: there, somebody could free some space.
#[derive(Debug, thiserror::Error)]
#[error("the spool's budget is used up")]
pub(super) struct BudgetUsedUp;

/// Whether an error is a refused growth.
pub(super) fn is_used_up(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<BudgetUsedUp>())
}

/// What the file may take, shared with whoever writes transactions.
#[derive(Debug)]
pub(super) struct Cap {
    budget_bytes: u64,
    /// What the file has, as far as it was opened.
    length_bytes: AtomicU64,
    /// A growth was refused since somebody last asked.
    refused: AtomicBool,
}

impl Cap {
    pub(super) fn new(budget_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            budget_bytes,
            length_bytes: AtomicU64::new(0),
            refused: AtomicBool::new(false),
        })
    }

    /// The longest file that leaves the spare, for all that doesn't make room.
    pub(super) fn usual_bytes(&self) -> u64 {
        self.budget_bytes.saturating_sub(SPARE_BYTES) / PAGE_BYTES * PAGE_BYTES
    }

    /// The longest file of all.
    pub(super) fn most_bytes(&self) -> u64 {
        self.budget_bytes / PAGE_BYTES * PAGE_BYTES
    }

    /// What the file has.
    pub(super) fn length_bytes(&self) -> u64 {
        self.length_bytes.load(Relaxed)
    }

    /// Whether a growth was refused since this was last asked.
    pub(super) fn take_refused(&self) -> bool {
        self.refused.swap(false, Relaxed)
    }
}

/// A file that doesn't grow beyond its cap.
#[derive(Debug)]
pub(super) struct Capped<B> {
    inner: B,
    cap: Arc<Cap>,
    /// The file's length, where it is above the cap: the budget was larger once. Falls as the file does.
    inherited: AtomicU64,
}

impl<B: StorageBackend> Capped<B> {
    pub(super) fn new(inner: B, cap: Arc<Cap>) -> io::Result<Self> {
        let length = inner.len()?;
        cap.length_bytes.store(length, Relaxed);
        let inherited = AtomicU64::new(length);
        Ok(Self { inner, cap, inherited })
    }
}

impl<B: StorageBackend> StorageBackend for Capped<B> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if length > self.cap.usual_bytes().max(self.inherited.load(Relaxed)) {
            self.cap.refused.store(true, Relaxed);
            return Err(io::Error::other(BudgetUsedUp));
        }
        self.inherited.fetch_min(length, Relaxed);
        self.inner.set_len(length)?;
        self.cap.length_bytes.store(length, Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    #[test]
    fn the_file_grows_up_to_its_cap() {
        let cap = Cap::new(1_000_000);
        assert_eq!((cap.usual_bytes(), cap.most_bytes()), (933_888, 999_424));
        let file = Capped::new(InMemoryBackend::new(), Arc::clone(&cap)).unwrap();
        file.set_len(933_888).unwrap();
        assert!(!cap.take_refused());
        let refused = file.set_len(933_889).unwrap_err();
        assert!(is_used_up(&refused) && !crate::error::is_full(&refused));
        assert!(cap.take_refused() && !cap.take_refused());
        assert_eq!(file.len().unwrap(), 933_888);
    }

    #[test]
    fn a_file_from_a_larger_budget_shrinks_and_stays_small() {
        let inner = InMemoryBackend::new();
        inner.set_len(5_000_000).unwrap();
        let file = Capped::new(inner, Cap::new(1_000_000)).unwrap();
        file.set_len(3_000_000).unwrap();
        assert!(file.set_len(3_000_001).is_err());
        file.set_len(100_000).unwrap();
        assert!(file.set_len(3_000_000).is_err());
        file.set_len(900_000).unwrap();
    }
}
