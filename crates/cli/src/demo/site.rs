//! The demo's site: a temporary folder with keys, certificates and configurations, and the processes that use them.

use super::pki::Pki;
use super::plant::DEVICES;
use super::process::{Process, free_port};
use crate::fleet::client::{Hub, HubOptions};
use anyhow::{Context, Result};
use floorhand_bundle::{DeviceId, FleetId, PublicKey, RoleKeys, SecretKey, TrustRoot};
use floorhand_transport::{Config, TlsFiles};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// How long the demo's trust root lasts: a year, in milliseconds.
const ROOT_LIFE_MS: u64 = 365 * 24 * 3600 * 1000;

/// A site with everything running.
pub(super) struct Site {
    /// The folder. It goes when this is dropped.
    pub dir: tempfile::TempDir,
    /// The fleet. No other demo's hub has one of this name.
    pub fleet: FleetId,
    /// The key that signs bundles.
    pub release: SecretKey,
    /// The hub's key, which the demo's forger has stolen.
    pub assignment: SecretKey,
    /// The devices' public keys.
    pub devices: BTreeMap<DeviceId, PublicKey>,
    /// The hub's API.
    pub hub: Hub,
    /// Where people look.
    pub dashboard: String,
    /// The plant's broker.
    pub plant_broker: String,
    fleet_broker: String,
    pki: Pki,
    /// The fleet's broker, which the story stops for a while.
    pub broker: Process,
    processes: Vec<Process>,
}

impl Site {
    /// Makes keys, certificates and configurations, and starts two brokers and a hub.
    pub(super) fn new(http_port: Option<u16>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("floorhand-demo-").tempdir()?;
        let path = dir.path().to_owned();
        let [offline, release, assignment] = [
            crate::keys::generate()?,
            crate::keys::generate()?,
            crate::keys::generate()?,
        ];
        let fleet = new_fleet()?;
        write_root(&path, &fleet, &offline, &release, &assignment)?;
        let pki = Pki::new(&path.join("pki"))?;
        let (fleet_port, plant_port) = (free_port()?, free_port()?);
        let http_port = http_port.map_or_else(free_port, Ok)?;
        let broker = start_broker(&path, &pki, fleet_port)?;
        let plant = Process::start(
            &path,
            "plant-broker",
            &["broker", "--listen", &format!("127.0.0.1:{plant_port}")],
        )?;
        let fleet_broker = format!("mqtts://localhost:{fleet_port}");
        write_hub_config(&path, &fleet, &pki, &fleet_broker, http_port)?;
        let config = path.join("hub.toml");
        let hub_process = Process::start(&path, "hub", &["hub", "--config", &text(&config)])?;
        let dashboard = format!("http://127.0.0.1:{http_port}");
        let hub = Hub::new(&HubOptions {
            hub: dashboard.clone(),
            token: None,
            hub_ca: None,
        })?;
        Ok(Self {
            dir,
            fleet,
            release,
            assignment,
            devices: BTreeMap::new(),
            hub,
            dashboard,
            plant_broker: format!("mqtt://127.0.0.1:{plant_port}"),
            fleet_broker,
            pki,
            broker,
            processes: vec![plant, hub_process],
        })
    }

    /// The processes that are not agents: the plant's broker and the hub.
    const OTHERS: usize = 2;

    /// Enrols the devices at the hub, and starts an agent for each.
    pub(super) fn start_agents(&mut self) -> Result<()> {
        for device in DEVICES {
            let key = crate::keys::generate()?;
            let folder = self.dir.path().join(device);
            fs::create_dir_all(&folder)?;
            crate::files::create(&folder.join("device.key"), key.to_pem()?.as_bytes(), 0o600, false)?;
            let pem = key.public().to_pem()?;
            self.hub
                .put(&format!("devices/{device}"), &json!({ "public_key_pem": pem }))?;
            self.write_agent_config(device, &folder)?;
            let config = folder.join("agent.toml");
            let process = Process::start(self.dir.path(), device, &["agent", "--config", &text(&config)])?;
            self.processes.push(process);
            self.devices.insert(device.parse()?, key.public());
        }
        Ok(())
    }

    /// How somebody called `name` connects to the fleet's broker.
    pub(super) fn fleet_connection(&self, name: &str) -> Result<Config> {
        let identity = self.pki.issue(name)?;
        let mut config = Config::new(&self.fleet_broker, name);
        config.tls = Some(TlsFiles::mutual(self.pki.ca(), identity.cert, identity.key));
        config.reconnect.most = std::time::Duration::from_secs(1);
        Ok(config)
    }

    /// Whether the demo's own hub answers; an error when another one does.
    pub(super) fn hub_answers(&self) -> Result<bool> {
        let Ok(stats) = self.hub.get("stats") else {
            return Ok(false);
        };
        anyhow::ensure!(
            stats.get("fleet").and_then(Value::as_str) == Some(self.fleet.as_str()),
            "something else than the demo's hub answers at {}; name another port with --port",
            self.dashboard
        );
        Ok(true)
    }

    /// Says so when one of the processes has ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        self.broker.check()?;
        self.processes.iter_mut().try_for_each(Process::check)
    }

    fn write_agent_config(&self, device: &str, folder: &Path) -> Result<()> {
        let identity = self.pki.issue(device)?;
        let config = json!({
            "device": device,
            "fleet": self.fleet,
            "state_dir": folder.join("state"),
            "trust_root": self.dir.path().join("root.cose"),
            "device_key": folder.join("device.key"),
            "fleet_connection": {
                "broker": self.fleet_broker,
                "ca": self.pki.ca(),
                "cert": identity.cert,
                "key": identity.key,
            },
            "plant_connection": { "broker": self.plant_broker },
            "source": [{ "type": "mqtt", "topic": format!("plant/{device}/vibration") }],
            "sink": [{ "type": "mqtt", "topic": format!("plant/{device}/condition") }],
            "telemetry": { "metrics_interval_s": 1 },
        });
        write_toml(&folder.join("agent.toml"), &config)
    }
}

fn start_broker(dir: &Path, pki: &Pki, port: u16) -> Result<Process> {
    let identity = pki.issue("broker")?;
    let listen = format!("127.0.0.1:{port}");
    let (ca, cert, key) = (text(&pki.ca()), text(&identity.cert), text(&identity.key));
    let arguments = [
        "broker", "--listen", &listen, "--ca", &ca, "--cert", &cert, "--key", &key,
    ];
    Process::start(dir, "fleet-broker", &arguments)
}

/// A fleet's name that nobody else has.
fn new_fleet() -> Result<FleetId> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).context("the system gives no randomness")?;
    Ok(format!("demo-{:08x}", u32::from_le_bytes(bytes)).parse()?)
}

fn write_root(
    dir: &Path,
    fleet: &FleetId,
    offline: &SecretKey,
    release: &SecretKey,
    assignment: &SecretKey,
) -> Result<()> {
    let root = TrustRoot {
        fleet: fleet.clone(),
        version: 1,
        expires_ms: crate::time::now_ms() + ROOT_LIFE_MS,
        issued_ms: crate::time::now_ms(),
        critical: Vec::new(),
        root: RoleKeys::any_of(vec![offline.public()]),
        release: RoleKeys::any_of(vec![release.public()]),
        assignment: RoleKeys::any_of(vec![assignment.public()]),
    };
    fs::write(dir.join("root.cose"), root.seal(&[offline])?)?;
    crate::files::create(
        &dir.join("assignment.key"),
        assignment.to_pem()?.as_bytes(),
        0o600,
        false,
    )?;
    Ok(())
}

fn write_hub_config(dir: &Path, fleet: &FleetId, pki: &Pki, broker: &str, http_port: u16) -> Result<()> {
    let identity = pki.issue("hub")?;
    let config = json!({
        "fleet": fleet,
        "data_dir": dir.join("hub"),
        "assignment_key": dir.join("assignment.key"),
        "trust_root": dir.join("root.cose"),
        "http_listen": format!("127.0.0.1:{http_port}"),
        "broker": broker,
        "tls": { "ca": pki.ca(), "cert": identity.cert, "key": identity.key },
    });
    write_toml(&dir.join("hub.toml"), &config)
}

fn write_toml(path: &Path, value: &serde_json::Value) -> Result<()> {
    let text = toml::to_string(value).context("a configuration can't be written")?;
    Ok(fs::write(path, text)?)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl Drop for Site {
    /// Agents end first, all at once: they drain to a hub and to brokers that are still there.
    fn drop(&mut self) {
        self.processes.iter().skip(Self::OTHERS).for_each(Process::ask_to_end);
        while self.processes.pop().is_some() {}
    }
}
