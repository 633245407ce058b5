//! What the host does for a plugin: log lines, counters, gauges.
//!
//! Nothing here gives an answer, so nothing here can make a plugin nondeterministic. Outside of WebAssembly there is no
//! host: what is said is recorded for the test ([`testing::take_recorded`](crate::testing::take_recorded)).

pub use crate::bindings::processor::floorhand::plugin::host::Level;

#[cfg(target_arch = "wasm32")]
use crate::bindings::processor::floorhand::plugin::host as calls;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing as calls;

/// Writes a line to the device's log. Lines over 1 KiB are cut there; too many in a second are dropped and counted.
pub fn log(level: Level, message: &str) {
    calls::log(level, message);
}

/// A line for whoever debugs the plugin.
pub fn debug(message: &str) {
    log(Level::Debug, message);
}

/// A line that somebody may want to read later.
pub fn info(message: &str) {
    log(Level::Info, message);
}

/// A line that somebody should read: the plugin goes on, with less than it was meant to give.
pub fn warn(message: &str) {
    log(Level::Warn, message);
}

/// A line about a fault of the plugin's own.
pub fn error(message: &str) {
    log(Level::Error, message);
}

/// Adds to a counter that is reported with the device's telemetry. The number of names is bounded by the host.
pub fn counter(name: &str, increment: u64) {
    calls::counter(name, increment);
}

/// Sets a gauge that is reported with the device's telemetry. The number of names is bounded by the host.
pub fn gauge(name: &str, value: f64) {
    calls::gauge(name, value);
}
