//! The program `floorhand-hub`.

use clap::Parser;
use std::process::ExitCode;

/// The hub of a floorhand fleet: devices, bundles, assignments, telemetry.
///
/// Exit codes: 0 ended by a signal, or --check found nothing wrong; 1 other errors; 2 the command line; 3 the configuration or
/// a file that it names; 4 the data directory or the database; 5 an address that can't be listened on.
#[derive(Debug, Parser)]
#[command(name = "floorhand-hub", version)]
struct Cli {
    #[command(flatten)]
    hub: floorhand_hub::HubArgs,
}

fn main() -> ExitCode {
    floorhand_hub::run(&Cli::parse().hub)
}
