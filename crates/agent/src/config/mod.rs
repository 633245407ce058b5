//! The agent's configuration: one TOML file, read and checked in one pass.
//!
//! Owns what each key means, its default and its limits; `agent.toml` beside this crate says the same to people, and a
//! test holds it against this code. Opens the files that the configuration names only to see that they can be used. It
//! makes no directory and connects to nobody, so that `--check` can run beside a running agent.
//!
//! Paths are relative to the file's own folder. Sizes are in bytes (`_bytes`), times in seconds or milliseconds (`_s`,
//! `_ms`), rates in events a second (`_hz`).

mod check;
mod connections;
mod files;
mod flows;
mod open_inference;
mod parse;
mod read;
mod reload;
mod storage_key;
#[cfg(test)]
mod tests;

pub(crate) use connections::{FleetConnection, PlantConnection};
pub(crate) use connections::{host_and_port, is_loopback, tls_files};
pub(crate) use flows::{FileFormat, FileSource, JsonlSink, MqttSink, MqttSource, SampleFormat, Sink, Source};
pub(crate) use open_inference::{Listen, OpenInference};
pub(crate) use storage_key::KeySource;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use floorhand_bundle::{DeviceId, FleetId, HardwareClass};
use serde::Serialize;

use crate::logging::LogFormat;

/// A configuration is some pages of text; what is longer is another file.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The configuration of one agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// The device's name in its fleet, as in its certificate and its topics. Required. Example: `"press-01"`.
    pub device: DeviceId,
    /// The fleet whose trust root this device holds. Required. Example: `"plant-a"`.
    pub fleet: FleetId,
    /// The class of hardware that bundles are made for. Default: `"generic"`. Example: `"gateway-arm64"`.
    pub hardware: HardwareClass,
    /// Where everything lies that has to survive a restart: bundles, state, telemetry that wasn't sent, the local socket.
    /// The agent's alone (mode 0700). Default: `"/var/lib/floorhand"`.
    pub state_dir: PathBuf,
    /// The fleet's trust root, as it was made by `floorhand root`. Required. Example: `"/etc/floorhand/root.cose"`.
    pub trust_root: PathBuf,
    /// The key that this device signs with, Ed25519, PKCS #8, PEM. Required. Example: `"/etc/floorhand/device.key"`.
    pub device_key: PathBuf,
    /// The connection to the hub. Absent: the agent works on what it has, and on what is imported by hand.
    pub fleet_connection: Option<FleetConnection>,
    /// The connection to the plant's own broker. Absent: MQTT sources and sinks can't be used.
    pub plant_connection: Option<PlantConnection>,
    /// Where samples come from, 16 at most. Default: none.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
    /// Where results go, 16 at most. Default: none.
    #[serde(rename = "sink")]
    pub sinks: Vec<Sink>,
    /// The Open Inference Protocol, for programs beside the agent. Absent: it isn't spoken.
    pub open_inference: Option<OpenInference>,
    /// What is reported to the hub.
    pub telemetry: Telemetry,
    /// What is kept on disk.
    pub store: StoreSettings,
    /// How bundles are fetched.
    pub fetch: Fetch,
    /// How plugins are compiled.
    pub plugins: Plugins,
    /// What runs models beside tract.
    pub engines: EngineSettings,
    /// What loading a model may take.
    pub models: Models,
    /// The agent's own log.
    pub log: Log,
}

/// What is reported to the hub: section `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Telemetry {
    /// Seconds between two reports of counts and latencies. 1 to 86,400. Default: 10. Taken over by a reload.
    pub metrics_interval_s: u64,
    /// Most bytes of the file in which telemetry waits until the hub has acknowledged it. 2 MiB to 64 GiB. Default:
    /// 67,108,864 (64 MiB).
    pub spool_budget_bytes: u64,
    /// Of these, what findings and deployment reports have for themselves. At most half of the budget. Default:
    /// 16,777,216 (16 MiB).
    pub high_reserve_bytes: u64,
    /// Most records that one message carries. 1 to 4,096. Default: 512.
    pub batch_records: u64,
    /// Most bytes of records that one message carries. 32 KiB (one record of the largest size) to 128 KiB (with its
    /// envelope it has to fit into a packet). Default: 65,536 (64 KiB).
    pub batch_bytes: u64,
    /// Milliseconds that a record may wait for others to travel with. 0 to 60,000. Default: 500.
    pub batch_delay_ms: u64,
}

/// What is kept on disk: section `[store]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreSettings {
    /// Bytes that bundles may take together, the running one, the one before and the one being fetched. At least 1 MiB.
    /// Default: 2,147,483,648 (2 GiB).
    pub blob_budget_bytes: u64,
    /// Where the key is that models and captured samples are encrypted with on disk (XChaCha20-Poly1305): 32 bytes, or 64
    /// hexadecimal digits. `"file:PATH"`, `"credential:NAME"` (systemd's, which a TPM can seal) or `"keyring:NAME"` (the
    /// kernel's, type user). Absent: they lie there as they are. Example: `"credential:storage-key"`.
    pub encryption_key: Option<KeySource>,
    /// The key until now, while it is being replaced: the next start seals under the new one, then leave this out.
    /// Default: none. Example: `"file:/etc/floorhand/storage.key.old"`.
    pub encryption_key_before: Option<KeySource>,
}

/// How bundles are fetched: section `[fetch]`. All are taken over by a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fetch {
    /// Seconds after which a deployment is given up as timed out if too little has come in them, while there is a
    /// connection; after a quarter of it an event tells. 10 to 86,400. Default: 600.
    pub timeout_s: u64,
    /// The least rate, in bytes a second over `timeout_s`, that counts as progress. 0: any. At most 1,000,000. Default:
    /// 256.
    pub min_rate_bytes_per_s: u64,
    /// Seconds with a connection after which a deployment is given up as timed out however much has come. 10 to
    /// 31,536,000. Default: 604,800 (a week).
    pub deadline_s: u64,
}

/// How plugins are compiled: section `[plugins]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plugins {
    /// Address space of the process that compiles a plugin, in bytes. 64 MiB to 64 GiB. Default: 1,073,741,824 (1 GiB).
    pub compile_memory_bytes: u64,
    /// Seconds that compiling one plugin may take. 1 to 3,600. Default: 60.
    pub compile_timeout_s: u64,
    /// Bytes of compiled plugins that are kept, so that the next start needs no compiler. 0: none. At most 64 GiB.
    /// Default: 268,435,456 (256 MiB).
    pub cache_bytes: u64,
}

/// What runs models beside tract, for bundles that ask for it: section `[engines]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct EngineSettings {
    /// The library of ONNX Runtime, 1.17 or newer. Where it can't be opened the agent says so, and goes on without.
    /// Default: none. Example: `"/usr/lib/libonnxruntime.so"`.
    pub onnxruntime: Option<PathBuf>,
}

/// What loading a model may take: section `[models]`. A new model is loaded within it, in a process of its own, before this
/// one loads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Models {
    /// Address space of the process that loads a new model first, in bytes; some 100 MiB of it are the agent's program. 128
    /// MiB to 64 GiB. Default: 1,073,741,824 (1 GiB), three times the largest model with room for what is computed.
    pub memory_bytes: u64,
    /// Seconds that loading a model and running it once may take. 1 to 3,600. Default: 60, for a large model on a small
    /// device: on most it is less than one.
    pub load_timeout_s: u64,
}

/// The agent's own log: section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Log {
    /// What is logged: `error`, `warn`, `info`, `debug` or `trace`, for all or for single parts. Default: `"info"`.
    /// Example: `"info,floorhand_agent=debug"`. Taken over by a reload.
    pub filter: String,
    /// `"text"` for people or `"json"`, one object a line. Default: `"text"`.
    pub format: LogFormat,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            metrics_interval_s: 10,
            spool_budget_bytes: 64 << 20,
            high_reserve_bytes: 16 << 20,
            batch_records: 512,
            batch_bytes: 64 << 10,
            batch_delay_ms: 500,
        }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            blob_budget_bytes: 2 << 30,
            encryption_key: None,
            encryption_key_before: None,
        }
    }
}

impl Default for Fetch {
    fn default() -> Self {
        Self {
            timeout_s: 600,
            min_rate_bytes_per_s: 256,
            deadline_s: 604_800,
        }
    }
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            compile_memory_bytes: 1 << 30,
            compile_timeout_s: 60,
            cache_bytes: 256 << 20,
        }
    }
}

impl Default for Models {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            load_timeout_s: 60,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

impl Telemetry {
    /// [`Telemetry::metrics_interval_s`] as a duration.
    #[must_use]
    pub fn metrics_interval(&self) -> Duration {
        Duration::from_secs(self.metrics_interval_s)
    }
}

impl Fetch {
    /// [`Fetch::timeout_s`] as a duration.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }
}

impl Config {
    /// Reads and checks a configuration and the files that it names.
    ///
    /// # Errors
    /// With every mistake there is, or with the first place where the file isn't TOML.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let failed = |mistakes| ConfigErrors {
            path: path.to_owned(),
            mistakes,
        };
        let text =
            files::read_limited(path, MAX_CONFIG_BYTES).map_err(|problem| failed(vec![Mistake::file(problem)]))?;
        let text = String::from_utf8(text)
            .map_err(|_| failed(vec![Mistake::file("is not text in UTF-8; write it again".to_owned())]))?;
        let shared = read::Shared::new(path.parent().unwrap_or(Path::new("")));
        let config = parse::config(&text, &shared).map_err(|mistake| failed(vec![mistake]))?;
        let (mut mistakes, files) = shared.into_parts();
        mistakes.extend(check::missing(&files));
        if let Some(config) = &config {
            check::values(config, &mut mistakes);
            check::contents(config, &mut mistakes);
        }
        match config {
            Some(config) if mistakes.is_empty() => Ok(config),
            _ => Err(failed(mistakes)),
        }
    }

    /// Where the running agent can be spoken to: `agent.sock` in the state directory.
    #[must_use]
    pub fn socket_path(&self) -> PathBuf {
        self.state_dir.join("agent.sock")
    }
}

/// One mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key, as `telemetry.metrics_interval_s` or `source[2].topic`; empty for the file as a whole.
    pub key: String,
    /// What is wrong with it and what to do.
    pub problem: String,
}

impl Mistake {
    fn file(problem: String) -> Self {
        Self {
            key: String::new(),
            problem,
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => f.write_str(&self.problem),
            key => write!(f, "`{key}` {}", self.problem),
        }
    }
}

/// Every mistake of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("configuration {path} can't be used:{list}", path = path.display(), list = Lines(mistakes))]
pub struct ConfigErrors {
    /// The file.
    pub path: PathBuf,
    /// The mistakes, at least one.
    pub mistakes: Vec<Mistake>,
}

/// One line for each, below the first.
struct Lines<'a>(&'a [Mistake]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}
