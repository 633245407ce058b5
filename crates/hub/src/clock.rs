//! The only place that reads the clock. Everything else takes the time as a value, in milliseconds since 1970 UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// Where the time comes from: [`now_ms`], or a test's own.
pub(crate) type Clock = fn() -> u64;

/// The time, in milliseconds since 1970 UTC; 0 on a machine whose clock stands before that.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
