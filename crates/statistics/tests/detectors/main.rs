//! The streaming drift detectors: beside River, on simulated streams with and without drift, and on
//! the Harvard concept-drift streams.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a malformed case file should stop the test where it is, and figures are for people to read"
)]

mod any;
mod false_alarms;
mod harvard;
mod oracle;
#[expect(
    dead_code,
    reason = "the plugins' tests take this file in, too, and use the rest of it"
)]
mod river;
mod streams;
