//! What is being fetched, and how far that is.

use super::pace::Pace;
use crate::clock::monotonic_ms;
use crate::delivery::{Download, Held};
use floorhand_bundle::{BlobRef, Manifest, Verified};
use floorhand_lifecycle::{Backoff, Pending};
use std::collections::VecDeque;

/// The first wait after the hub said that it hasn't got a chunk, and the longest.
const RETRY_MS: (u64, u64) = (500, 30_000);

/// What is fetched for.
pub(crate) enum Goal {
    /// A bundle that was assigned.
    Deploy(Pending),
    /// Components that the active generation lost on the disk.
    Repair,
}

/// A bundle that is being fetched.
pub(crate) struct Fetching {
    pub(super) goal: Goal,
    /// Once it is there and verified.
    pub(super) manifest: Option<Verified<Manifest>>,
    pub(super) queue: VecDeque<BlobRef>,
    pub(super) download: Option<Download>,
    pub(super) held: Held,
    pub(super) pace: Pace,
    pub(super) backoff: Backoff,
    pub(super) wait_until_ms: u64,
    pub(super) last_problem: String,
}

impl Fetching {
    pub(super) fn new(goal: Goal, queue: VecDeque<BlobRef>, held: Held) -> Self {
        Self {
            goal,
            manifest: None,
            queue,
            download: None,
            held,
            pace: Pace::new(monotonic_ms()),
            backoff: Backoff::new(RETRY_MS.0, RETRY_MS.1, crate::random::u64()),
            wait_until_ms: 0,
            last_problem: String::new(),
        }
    }
}
