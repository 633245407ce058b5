//! `floorhand bundle`: from a folder with a model and plugins to one signed file, and back to what a person can read.
//!
//! Nothing is signed, and nothing counts as verified, whose golden cases have not been run. There is no way around that.

mod advice;
mod describe;
mod golden;
mod inspect;
mod pack;
mod sign;
mod source;
mod verify;

pub use describe::size;
pub use source::{Source, assemble, read_archive};

use crate::output::Output;
use anyhow::Result;
use clap::Subcommand;

/// `floorhand bundle`
#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Make a bundle of a folder: checks that the stages fit, runs the golden cases, writes NAME-VERSION.fhb
    Pack(pack::PackArgs),
    /// Add signatures to a bundle, after its golden cases have passed
    Sign(sign::SignArgs),
    /// Check everything that a device checks before it runs a bundle
    Verify(verify::VerifyArgs),
    /// Show what a file says it is, without checking who says so
    Inspect(inspect::InspectArgs),
}

/// Runs a `bundle` command.
pub fn run(command: &BundleCommand, out: &Output) -> Result<()> {
    match command {
        BundleCommand::Pack(args) => pack::run(args, out),
        BundleCommand::Sign(args) => sign::run(args, out),
        BundleCommand::Verify(args) => verify::run(args, out),
        BundleCommand::Inspect(args) => inspect::run(args, out),
    }
}
