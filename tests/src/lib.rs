//! What the end-to-end tests share: the program `floorhand` as a process, a site of hub and agents made with its own
//! commands, and a plant that sends samples and reads results.
//!
//! The tests themselves are in `tests/`. They see a device from outside alone: by what it publishes, writes to its files,
//! tells at its local socket and ends with. Nothing of the agent's or the hub's code is linked in;
//! `tests/broadcast.rs` alone takes the agent's code for fetching, to be two hundred devices.

#![expect(
    clippy::print_stderr,
    reason = "a test that is skipped, and what one has measured, is told to whoever runs it"
)]

mod agent;
mod group;
pub mod http2;
mod large;
mod plant;
mod program;
mod site;

pub use agent::Agent;
pub use group::Group;
pub use large::noise;
pub use plant::{Feeding, Plant, rows};
pub use program::{Ended, Process, floorhand, onnxruntime_library, python, run, run_ok, run_with, wait_for};
pub use site::{FLEET, Hub, Site};

use std::path::{Path, PathBuf};
use std::time::Duration;

/// For two slow cores that other tests use too; nothing waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The workspace's root.
#[must_use]
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Tells something to whoever runs the tests.
pub fn say(text: &str) {
    eprintln!("{text}");
}
