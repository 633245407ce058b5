//! The daemon's binary: everything is in the library, which `floorhand agent` runs too.

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    floorhand_agent::run(floorhand_agent::Args::parse())
}
