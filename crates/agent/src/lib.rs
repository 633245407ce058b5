//! The daemon on the device.
//!
//! It is threads that each own one thing and talk by messages, around a small runtime for what waits on the network:
//!
//! | thread | owns | never |
//! |---|---|---|
//! | core | the lifecycle machine, the store | touches a sample |
//! | serving | the pipelines, the sinks | waits for the hub |
//! | telemetry | the spool | is waited for by the others |
//! | explaining, from the first explanation on | a session of its own | is waited for by the others |
//! | unload, one for each generation that was replaced | the generation | is waited for by the others |
//! | load, one for each generation that is loaded | nothing | |
//! | the runtime's two | the connections, the local socket, the Open Inference Protocol's listeners, the signals | blocks |
//!
//! # Testing
//!
//! What decides is in pure crates (`lifecycle`, `bundle`, `protocol`) and in small types here that are tested in their
//! modules. The daemon as a whole is tested as a process, against a real broker and a real hub, in the workspace's
//! `tests/`.

mod args;
mod budget;
mod clock;
mod config;
mod core;
mod daemon;
pub mod delivery;
mod doctor;
mod downlink;
mod engines;
mod enroll;
mod exit;
mod fleet;
mod identity;
mod import;
mod limiter;
mod local;
mod logging;
mod notify;
mod open_inference;
mod random;
mod renewal;
mod serving;
mod sinks;
mod sources;
mod storage;
mod telemetry;
mod trust;

pub use args::Args;
pub use config::Config;
pub use daemon::run;

/// This agent's version.
#[must_use]
pub fn version() -> floorhand_bundle::Version {
    env!("CARGO_PKG_VERSION")
        .parse()
        .unwrap_or(floorhand_bundle::Version::new(0, 0, 0))
}
