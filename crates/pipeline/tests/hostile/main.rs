//! Plugins that do their worst, each beside a pipeline that has to notice nothing of it: its samples are all answered, in
//! order, and the process stays within a memory budget.
//!
//! One process for all of them, and one at a time: the kernel counts memory by process. What compiling may cost is tested
//! with the plugin host, whose compiler runs in a process of its own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod answers;
mod decoders;
mod faults;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../../../plugin-host/tests/guests/mod.rs"]
mod guests;
mod monitors;
mod neighbour;
mod running;
mod worlds;
