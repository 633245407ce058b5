//! `floorhand plugin`: for people who write plugins.
//!
//! Making a project, building it, and finding out before anybody else does whether it keeps the rules that a plugin lives
//! by. How a component comes about is `floorhand-plugin-build`'s; how one runs is the plugin host's, the very one of a
//! device. What is here is what is asked of them, and how the answers are told.

mod bench;
mod build;
mod cases;
mod dev;
mod guest;
mod inspect;
mod new;
mod test;

use crate::output::Output;
use anyhow::Result;
use clap::Subcommand;
use std::process::ExitCode;

/// `floorhand plugin`
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Make a folder with a plugin that works, to be changed into another one
    New(new::NewArgs),
    /// Build the component, NAME.wasm, with its schema in it
    Build(build::BuildArgs),
    /// Run the cases of tests/cases, and everything that may happen to a plugin on a device
    Test(test::TestArgs),
    /// Measure what a call costs, what an instance takes, and how long loading it lasts
    Bench(bench::BenchArgs),
    /// Show what a component says of itself, without running it
    Inspect(inspect::InspectArgs),
    /// Build and test again whenever a file is saved, and show what comes out for recorded data
    Dev(dev::DevArgs),
}

/// Runs a `plugin` command.
pub fn run(command: &PluginCommand, out: &Output) -> Result<ExitCode> {
    let done = |result: Result<()>| result.map(|()| ExitCode::SUCCESS);
    match command {
        PluginCommand::New(args) => done(new::run(args, out)),
        PluginCommand::Build(args) => done(build::run(args, out)),
        PluginCommand::Test(args) => test::run(args, out),
        PluginCommand::Bench(args) => done(bench::run(args, out)),
        PluginCommand::Inspect(args) => done(inspect::run(args, out)),
        PluginCommand::Dev(args) => dev::run(args, out),
    }
}
