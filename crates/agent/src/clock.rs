//! The real clocks. The only place of the agent that reads them.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the system says the time is, in milliseconds since 1970 UTC. May jump either way.
#[must_use]
pub(crate) fn system_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Milliseconds since the process first asked. Only goes forward.
#[must_use]
pub(crate) fn monotonic_ms() -> u64 {
    u64::try_from(since_start().as_millis()).unwrap_or(u64::MAX)
}

/// The same in nanoseconds.
#[must_use]
pub(crate) fn monotonic_ns() -> u64 {
    u64::try_from(since_start().as_nanos()).unwrap_or(u64::MAX)
}

fn since_start() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
