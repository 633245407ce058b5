//! Rollouts and rollbacks.

use super::client::{Hub, encoded};
use super::facts::{items, text};
use super::progress;
use super::{releases, wait};
use crate::exit::Failure;
use crate::output::Output;
use anyhow::Result;
use clap::{ArgGroup, Args};
use floorhand_bundle::DeviceId;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// `floorhand fleet deploy`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("targets").required(true).args(["devices", "all"])))]
pub(super) struct DeployArgs {
    /// The bundle: NAME@VERSION, the first digits of its digest, or a .fhb file, which is pushed first
    bundle: String,
    /// A device to run it; can be given more than once
    #[arg(long = "device", value_name = "DEVICE")]
    devices: Vec<DeviceId>,
    /// All devices of the fleet
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `floorhand fleet rollback`
#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// The device
    device: DeviceId,
    /// The bundle to go back to: NAME@VERSION, or the first digits of its digest [default: the one it ran before]
    #[arg(long)]
    bundle: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Whether to stay until it is over.
#[derive(Debug, Args)]
struct WaitArgs {
    /// Stay until every device has kept the bundle or gone back; the exit code tells whether all have kept it
    #[arg(long)]
    wait: bool,
    /// How long to stay, in seconds; the devices go on afterwards
    #[arg(long, value_name = "SECONDS", default_value_t = 900, requires = "wait")]
    timeout: u64,
}

/// Rolls a bundle out.
pub(super) fn deploy(hub: &Hub, args: &DeployArgs, out: &Output) -> Result<ExitCode> {
    let bundle = named(hub, &args.bundle, out)?;
    let body = if args.all {
        json!({ "bundle": bundle, "all": true })
    } else {
        json!({ "bundle": bundle, "devices": args.devices })
    };
    let started = hub.post("deployments", &body)?;
    begun(hub, started, &args.wait, out)
}

/// Sends a device back.
pub(super) fn rollback(hub: &Hub, args: &RollbackArgs, out: &Output) -> Result<ExitCode> {
    let started = hub.post(
        &format!("devices/{}/rollback", encoded(args.device.as_str())),
        &json!({ "bundle": args.bundle }),
    )?;
    if let Ok(bundle) = hub.get(&format!("bundles/{}", text(&started, "/bundle"))) {
        let (name, version) = (text(&bundle, "/name"), text(&bundle, "/version"));
        out.note(&format!("{} goes back to {name} {version}", args.device));
    }
    begun(hub, started, &args.wait, out)
}

/// What the hub calls the bundle that a person named. A file is pushed first.
fn named(hub: &Hub, bundle: &str, out: &Output) -> Result<String> {
    let file = Path::new(bundle);
    if !file.is_file() {
        if bundle.ends_with(".fhb") {
            return Err(Failure::usage(format!("{bundle} is no file; is the path right?")).into());
        }
        return Ok(bundle.to_owned());
    }
    let pushed = releases::upload(hub, file, out)?;
    Ok(text(&pushed, "/digest"))
}

/// Tells what was begun, or stays until it is over.
fn begun(hub: &Hub, started: Value, args: &WaitArgs, out: &Output) -> Result<ExitCode> {
    let job = text(&started, "/job");
    for skipped in started.get("skipped").map_or(&[][..], items) {
        out.note(&format!(
            "{} is left out: {}",
            text(skipped, "/device"),
            text(skipped, "/reason")
        ));
    }
    if !args.wait {
        out.show(&started, |out| {
            let count = started
                .get("assignments")
                .map_or(1, |assignments| items(assignments).len());
            out.line(&format!(
                "job {job} is begun on {count} device(s); follow it with `floorhand fleet jobs {job}`"
            ))
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let (state, code) = wait::follow(hub, &job, Duration::from_secs(args.timeout), out)?;
    out.show(&state, |out| progress::assignments(&state, out))?;
    Ok(code)
}
