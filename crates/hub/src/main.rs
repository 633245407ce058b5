//! The program `floorhand-hub`.

use clap::Parser;
use std::process::ExitCode;

/// The hub of a floorhand fleet: devices, bundles, assignments, telemetry.
#[derive(Debug, Parser)]
#[command(name = "floorhand-hub", version)]
struct Cli {
    #[command(flatten)]
    hub: floorhand_hub::HubArgs,
}

fn main() -> ExitCode {
    floorhand_hub::run(&Cli::parse().hub)
}
