//! Random numbers from the system.

/// A random number. Where the system gives none, the clock has to do: these only tell requests and boots apart.
pub(crate) fn u64() -> u64 {
    getrandom::u64().unwrap_or_else(|_| crate::clock::system_ms().rotate_left(32) ^ crate::clock::monotonic_ms())
}
