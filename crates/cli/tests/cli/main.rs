//! The built binary, run the way a person runs it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test ends where its assumption does, and tells why it was skipped"
)]

mod access;
mod bundles;
mod common;
mod daemons;
mod decoders;
mod fleet;
mod keys;
mod plugins;
mod tokens;
mod trust;
