//! The streaming drift detectors beside River.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a malformed case file should stop the test where it is"
)]

mod any;
mod oracle;
