//! `cargo xtask`: what the repository does to itself.
//!
//! Owns the checks no compiler makes (arrows, purity, frozen interfaces), the one command that runs every test, and the
//! agent's package. Of our crates it depends on `plugin-build` alone, which is light and depends on none: it builds in
//! seconds on a fresh clone and can judge them all.
//! Nothing that is shipped depends on it.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's tool: its output is its interface"
)]

pub mod arrows;
pub mod deb;
pub mod freeze;
pub mod fuzz;
pub mod plugins;
pub mod purity;
pub mod system;
pub mod testing;
pub mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "What the repository does to itself",
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check which crate may depend on which, who may name an engine, and that pure crates are pure
    Arrows,
    /// Check that no released version of the plugin interface has changed
    Wit,
    /// Build the first-party plugins from source into plugins/prebuilt
    Plugins {
        /// Write nothing: build, and compare with what is committed
        #[arg(long)]
        check: bool,
        /// Fail where there is no compiler for WebAssembly, instead of keeping what is committed
        #[arg(long)]
        require_fresh: bool,
    },
    /// Build what the tests need and run every one of them
    Test(testing::Options),
    /// Run the fuzz targets for a few seconds each
    Fuzz(fuzz::Options),
    /// Make the agent's Debian package
    Deb(deb::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Arrows => {
            let violations = [arrows::check_workspace()?, purity::check_workspace()?].concat();
            conclude("arrows", &violations)
        }
        Task::Wit => conclude("wit", &freeze::check_workspace()?),
        Task::Plugins { check, require_fresh } => plugins::run(check, require_fresh),
        Task::Test(options) => testing::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Deb(options) => deb::run(&options),
    }
}

/// Prints every violation on a line of its own; any of them is a failure.
fn conclude(check: &str, violations: &[String]) -> Result<()> {
    for violation in violations {
        eprintln!("{check}: {violation}");
    }
    anyhow::ensure!(violations.is_empty(), "{check}: {} violation(s)", violations.len());
    println!("{check}: ok");
    Ok(())
}
