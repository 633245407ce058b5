//! `floorhand watch`: what a fleet's devices send, decoded, as it comes.
//!
//! It listens with an identity of its own and sends nothing. What it shows is checked against the devices' keys when a
//! hub is there to give them; otherwise each line says that it wasn't.

mod decode;
mod describe;

use crate::exit::{Exit, Failure};
use crate::fleet::client::{Hub, HubOptions};
use crate::output::Output;
use crate::time;
use anyhow::{Context, Result, anyhow};
use clap::Args;
use decode::{Keys, decode};
use floorhand_bundle::{DeviceId, FleetId, PublicKey};
use floorhand_protocol::Topic;
use floorhand_transport::{Client, ClientIdentity, Config, Event, Incoming, Message, Qos, TlsFiles};
use std::path::PathBuf;
use std::time::Duration;

/// `floorhand watch`
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The fleet
    #[arg(long, env = "FLOORHAND_FLEET")]
    fleet: FleetId,
    /// The fleet's broker: mqtt://HOST[:PORT], or mqtts:// with --ca
    #[arg(
        long,
        value_name = "URL",
        env = "FLOORHAND_BROKER",
        default_value = "mqtt://127.0.0.1:1883"
    )]
    broker: String,
    /// The CA that the broker's certificate is from (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The observer's certificate (PEM). Everybody who watches needs one of their own
    #[arg(long, value_name = "FILE", requires_all = ["key", "ca"])]
    cert: Option<PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// A hub that knows the devices' keys, so that signatures are checked
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// The operator's token, where the hub asks for one
    #[arg(long, value_name = "TOKEN", env = "FLOORHAND_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The certificate of the CA that an https:// hub's certificate is from (PEM)
    #[arg(long, value_name = "FILE", env = "FLOORHAND_HUB_CA")]
    hub_ca: Option<PathBuf>,
    /// Show this device's messages only; can be given more than once
    #[arg(long = "device", value_name = "DEVICE")]
    devices: Vec<DeviceId>,
    /// End after this many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Watches until it is interrupted, or has seen enough.
pub fn run(args: &WatchArgs, out: &Output) -> Result<()> {
    let keys = match &args.hub {
        Some(hub) => device_keys(hub, args)?,
        None => Keys::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the system gives no event loop")?;
    runtime.block_on(async {
        tokio::select! {
            result = listen(args, &keys, out) => result,
            interrupted = tokio::signal::ctrl_c() => interrupted.context("signals can't be received"),
        }
    })
}

/// The keys of every device that the hub knows.
fn device_keys(hub: &str, args: &WatchArgs) -> Result<Keys> {
    let options = HubOptions {
        hub: hub.to_owned(),
        token: args.token.clone(),
        hub_ca: args.hub_ca.clone(),
    };
    let devices = Hub::new(&options)?.get("devices")?;
    let list = devices.as_array().context("the hub's list of devices is no list")?;
    let key = |device: &serde_json::Value| {
        let id: DeviceId = device.get("id")?.as_str()?.parse().ok()?;
        let key: PublicKey = serde_json::from_value(device.get("public_key")?.clone()).ok()?;
        Some((id, key))
    };
    Ok(list.iter().filter_map(key).collect())
}

fn config(args: &WatchArgs) -> Result<Config> {
    let mut suffix = [0; 4];
    getrandom::fill(&mut suffix).context("the system gives no randomness")?;
    let name = format!("observer-{:08x}", u32::from_le_bytes(suffix));
    let mut config = Config::new(&args.broker, name);
    let identity = args
        .cert
        .clone()
        .zip(args.key.clone())
        .map(|(cert, key)| ClientIdentity { cert, key });
    config.tls = args.ca.clone().map(|ca| TlsFiles { ca, identity });
    // What was sent while nobody watched is no live stream.
    config.clean_start = true;
    config.session_expiry = Duration::ZERO;
    Ok(config)
}

async fn listen(args: &WatchArgs, keys: &Keys, out: &Output) -> Result<()> {
    let (client, mut incoming) = Client::start(config(args)?).map_err(Failure::usage)?;
    client
        .subscribe(Topic::filter_up(&args.fleet), Qos::AtLeastOnce)
        .await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(message) = next_message(&mut incoming, args, &client, out).await? else {
            return Err(anyhow!("the connection to {} has ended for good", args.broker));
        };
        if show(&message, keys, &args.devices, out)? {
            left -= 1;
        }
    }
    Ok(())
}

/// The next message; what happens to the connection meanwhile is told on standard error.
async fn next_message(
    incoming: &mut Incoming,
    args: &WatchArgs,
    client: &Client,
    out: &Output,
) -> Result<Option<Message>> {
    while let Some(event) = incoming.recv().await {
        match event {
            Event::Message(message) => return Ok(Some(message)),
            Event::Connected { .. } => out.note(&format!("connected to {}, fleet {}", args.broker, args.fleet)),
            Event::Disconnected { reason } => out.note(&format!("connection lost: {reason}; connecting again")),
            // A broker that was there once is waited for; one that never was is a mistake on the command line.
            Event::Retrying { reason, .. } if client.stats().connects == 0 => {
                let message = format!("broker {} can't be reached: {reason}; is --broker right?", args.broker);
                return Err(Failure::new(Exit::Unreachable, message).into());
            }
            Event::Retrying { reason, wait } => {
                out.note(&format!(
                    "not connected: {reason}; next try in {:.1} s",
                    wait.as_secs_f64()
                ));
            }
            Event::Refused { topic, reason } => {
                return Err(Failure::refused(format!("broker {} refuses {topic}: {reason}", args.broker)).into());
            }
        }
    }
    Ok(None)
}

/// Shows a message; false when it is another device's than those that were asked for.
fn show(message: &Message, keys: &Keys, devices: &[DeviceId], out: &Output) -> Result<bool> {
    let received_ms = time::now_ms();
    let seen = decode(&message.topic, &message.payload, keys);
    if !devices.is_empty() && !seen.device.as_ref().is_some_and(|device| devices.contains(device)) {
        return Ok(false);
    }
    if out.is_json() {
        out.json_line(&seen.json(received_ms))?;
    } else {
        for line in describe::lines(&seen, received_ms, out) {
            out.line(&line)?;
        }
    }
    Ok(true)
}
