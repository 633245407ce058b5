//! `floorhand fleet`: what an operator does, through the hub's HTTP API.
//!
//! With `--json` each command gives the hub's own answer as it came, so that its OpenAPI document describes both. The
//! tables for people are made of the same answers.

mod answers;
pub mod client;
mod deploy;
mod devices;
mod enrolment;
mod export;
mod facts;
mod progress;
mod releases;
mod wait;

use crate::output::Output;
use anyhow::Result;
use clap::{Args, Subcommand};
use client::{Hub, HubOptions};
use floorhand_bundle::DeviceId;
use std::path::PathBuf;
use std::process::ExitCode;

/// `floorhand fleet`
#[derive(Debug, Args)]
pub struct FleetArgs {
    #[command(flatten)]
    hub: HubOptions,
    #[command(subcommand)]
    command: FleetCommand,
}

/// The fleet commands.
#[derive(Debug, Subcommand)]
enum FleetCommand {
    /// List the devices: what each runs, and when it was last heard of
    Ls,
    /// Show everything the hub knows about a device
    Show {
        /// The device
        device: DeviceId,
    },
    /// Make a device known to the hub, by its public key
    Enroll {
        /// The device, as its certificate names it
        device: DeviceId,
        /// Its public key: the .pub file of `floorhand keys new`
        #[arg(long, value_name = "PUB")]
        key: PathBuf,
        /// Put it in the place of another key that the device is known by; what is signed with that one is refused then
        #[arg(long)]
        replace: bool,
    },
    /// Make a token by which a device enrols itself once: `floorhand-agent enroll --hub ... --token ...`
    EnrollToken(enrolment::TokenArgs),
    /// List enrolment tokens and who has used them, or make one worthless
    EnrollTokens {
        /// Make this one worthless
        #[arg(long, value_name = "ID")]
        remove: Option<String>,
    },
    /// Make the hub forget a device
    Remove {
        /// The device
        device: DeviceId,
    },
    /// List the bundles that can be deployed
    Bundles,
    /// Give the hub a signed bundle, so that it can be deployed
    Push {
        /// The bundle, made by `bundle pack` and signed
        file: PathBuf,
    },
    /// Roll a bundle out: every device fetches it, tries it, and keeps it or goes back by itself
    Deploy(deploy::DeployArgs),
    /// Send a device back to the bundle it ran before
    Rollback(deploy::RollbackArgs),
    /// Make a device let its samples go by, until it is resumed
    Pause(answers::DeviceArgs),
    /// Make a paused device work again
    Resume(answers::DeviceArgs),
    /// Set which share of its predictions a device reports
    SetSampling {
        #[command(flatten)]
        device: answers::DeviceArgs,
        /// The share, from 0 (none) to 1 (all)
        #[arg(value_name = "SHARE", value_parser = answers::share)]
        share: f64,
    },
    /// Make a device report its numbers now, and show its status
    ReportNow(answers::DeviceArgs),
    /// Show the last lines of a device's log
    FetchLogs {
        /// How many lines; an agent keeps the last 2,000
        #[arg(long, value_name = "N", default_value_t = 100)]
        lines: u32,
        #[command(flatten)]
        device: answers::DeviceArgs,
    },
    /// List rollouts, or show how far one is on each device
    Jobs {
        /// The rollout, as `deploy` or `jobs` names it
        job: Option<String>,
    },
    /// List what monitors found, the newest first
    Findings {
        /// This device's only
        #[arg(long, value_name = "DEVICE")]
        device: Option<DeviceId>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
    },
    /// Write a device's assignment and its bundle to a file, to be carried there where no network is
    Export(export::ExportArgs),
}

/// Runs a `fleet` command.
pub fn run(args: &FleetArgs, out: &Output) -> Result<ExitCode> {
    let hub = &Hub::new(&args.hub)?;
    let done = |result: Result<()>| result.map(|()| ExitCode::SUCCESS);
    match &args.command {
        FleetCommand::Ls => done(devices::list(hub, out)),
        FleetCommand::Show { device } => done(devices::show(hub, device, out)),
        FleetCommand::Enroll { device, key, replace } => done(devices::enroll(hub, device, key, *replace, out)),
        FleetCommand::EnrollToken(args) => done(enrolment::create(hub, args, out)),
        FleetCommand::EnrollTokens { remove: None } => done(enrolment::list(hub, out)),
        FleetCommand::EnrollTokens { remove: Some(id) } => done(enrolment::remove(hub, id, out)),
        FleetCommand::Remove { device } => done(devices::remove(hub, device, out)),
        FleetCommand::Bundles => done(releases::list(hub, out)),
        FleetCommand::Push { file } => done(releases::push(hub, file, out)),
        FleetCommand::Deploy(args) => deploy::deploy(hub, args, out),
        FleetCommand::Rollback(args) => deploy::rollback(hub, args, out),
        FleetCommand::Pause(args) => done(answers::pause(hub, args, out)),
        FleetCommand::Resume(args) => done(answers::resume(hub, args, out)),
        FleetCommand::SetSampling { device, share } => done(answers::set_sampling(hub, device, *share, out)),
        FleetCommand::ReportNow(args) => done(answers::report_now(hub, args, out)),
        FleetCommand::FetchLogs { lines, device } => done(answers::fetch_logs(hub, device, *lines, out)),
        FleetCommand::Jobs { job: None } => done(releases::jobs(hub, out)),
        FleetCommand::Jobs { job: Some(job) } => done(releases::job(hub, job, out)),
        FleetCommand::Findings { device, limit } => done(devices::findings(hub, device.as_ref(), *limit, out)),
        FleetCommand::Export(args) => done(export::export(hub, args, out)),
    }
}
