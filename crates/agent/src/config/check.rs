//! What one key alone can't tell: whether keys fit together, and whether the files they name can be used.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;

use floorhand_bundle::{MAX_ROOT_BYTES, SecretKey, TrustRoot, Verified};
use floorhand_store::StorageKeys;
use floorhand_transport::{self as transport, ConfigError};

use super::connections::{host_and_port, is_loopback};
use super::files::read_limited;
use super::{Config, KeySource, Mistake, Sink, Source, open_inference};

/// A key of 32 bytes in PEM has some hundred.
const MAX_KEY_BYTES: u64 = 16 << 10;

impl Config {
    /// The trust root, opened, of this device's fleet.
    ///
    /// # Errors
    /// When it can't be read, isn't one, or is another fleet's.
    pub fn read_trust_root(&self) -> Result<Verified<TrustRoot>, String> {
        let path = self.trust_root.display();
        let root = TrustRoot::open_pinned(&read_limited(&self.trust_root, MAX_ROOT_BYTES as u64)?)
            .map_err(|error| format!("{path}: {error}"))?;
        if root.fleet != self.fleet {
            return Err(format!(
                "{path} is the root of fleet {}, and `fleet` is {}",
                root.fleet, self.fleet
            ));
        }
        Ok(root)
    }

    /// The key that this device signs with.
    ///
    /// # Errors
    /// When it can't be read or isn't one.
    pub fn read_device_key(&self) -> Result<SecretKey, String> {
        let pem = read_limited(&self.device_key, MAX_KEY_BYTES)?;
        SecretKey::from_pem(&String::from_utf8_lossy(&pem))
            .map_err(|error| format!("{}: {error}", self.device_key.display()))
    }
}

impl Config {
    /// The keys that the state directory is sealed with; `None` when it isn't.
    ///
    /// # Errors
    /// When one is named and can't be had.
    pub fn storage_keys(&self) -> Result<Option<StorageKeys>, String> {
        let Some(current) = &self.store.encryption_key else {
            return Ok(None);
        };
        let before = self.store.encryption_key_before.as_ref().map(KeySource::read);
        Ok(Some(StorageKeys {
            current: current.read()?,
            before: before.transpose()?,
        }))
    }
}

/// Files that aren't there, or can't be opened.
pub(super) fn missing(files: &[(String, PathBuf)]) -> Vec<Mistake> {
    let check = |(key, path): &(String, PathBuf)| {
        let opened = File::open(path).and_then(|file| file.metadata());
        let problem = match opened {
            Ok(metadata) if metadata.is_dir() => format!("is {}, a folder; name a file", path.display()),
            Ok(_) => return None,
            Err(error) => format!("is {}, which can't be opened: {error}", path.display()),
        };
        let key = key.clone();
        Some(Mistake { key, problem })
    };
    files.iter().filter_map(check).collect()
}

/// Whether keys fit together.
pub(super) fn values(config: &Config, mistakes: &mut Vec<Mistake>) {
    let mut mistake = |key: &str, problem: String| {
        mistakes.push(Mistake {
            key: key.to_owned(),
            problem,
        });
    };
    if config.telemetry.high_reserve_bytes > config.telemetry.spool_budget_bytes / 2 {
        let problem = "is more than half of `telemetry.spool_budget_bytes`; leave the rest some room";
        mistake("telemetry.high_reserve_bytes", problem.to_owned());
    }
    fleet(config, &mut mistake);
    plant(config, &mut mistake);
    if let Some(problem) = same_identity(config) {
        mistake("plant_connection.client_id", problem);
    }
    sources(config, &mut mistake);
    sinks(config, &mut mistake);
    open_inference::check(config, &mut mistake);
}

fn fleet(config: &Config, mistake: &mut impl FnMut(&str, String)) {
    let Some(fleet) = &config.fleet_connection else {
        return;
    };
    if fleet.renew && (fleet.cert.is_none() || fleet.cert != fleet.key) {
        let problem = "is true, and `cert` and `key` are not the same file: a certificate and its key can be replaced \
                       together in one file alone; use the one that `floorhand-agent enroll` made";
        mistake("fleet_connection.renew", problem.to_owned());
    }
    if fleet.broker.starts_with("mqtts://") {
        for (key, file) in [("ca", &fleet.ca), ("cert", &fleet.cert), ("key", &fleet.key)] {
            if file.is_none() {
                let problem = "is missing; an mqtts:// broker needs the file, to know who is who".to_owned();
                mistake(&format!("fleet_connection.{key}"), problem);
            }
        }
    } else if leaves_the_machine(&fleet.broker) && !fleet.without_encryption_or_identity {
        let problem = "is mqtt://, and not on this machine: say mqtts:// and give it ca, cert and key; on a network \
                       where everybody may read along and cut in, say without_encryption_or_identity = true";
        mistake("fleet_connection.broker", problem.to_owned());
    }
}

fn plant(config: &Config, mistake: &mut impl FnMut(&str, String)) {
    let Some(plant) = &config.plant_connection else {
        return;
    };
    if plant.broker.starts_with("mqtts://") && plant.ca.is_none() {
        let problem = "is missing; an mqtts:// broker needs the file of its CA".to_owned();
        mistake("plant_connection.ca", problem);
    }
    let pairs = [
        ("cert", plant.cert.is_none(), "key", plant.key.is_some()),
        ("key", plant.key.is_none(), "cert", plant.cert.is_some()),
        (
            "username",
            plant.username.is_none(),
            "password_file",
            plant.password_file.is_some(),
        ),
    ];
    for (key, is_missing, other, is_there) in pairs {
        if is_missing && is_there {
            mistake(
                &format!("plant_connection.{key}"),
                format!("is missing, and {other} is there; give it both"),
            );
        }
    }
    if plant.password_file.is_some() && leaves_the_machine(&plant.broker) && !plant.send_password_unencrypted {
        let problem = "would send its password over mqtt://, and not on this machine: say mqtts://; where everybody on \
                       the way may read it, say send_password_unencrypted = true";
        mistake("plant_connection.broker", problem.to_owned());
    }
}

fn leaves_the_machine(broker: &str) -> bool {
    // What is no address is told by the transport.
    broker.starts_with("mqtt://") && host_and_port(broker).is_some_and(|(host, _)| !is_loopback(&host))
}

/// A second connection under one identity ends the first, and then the first the second.
fn same_identity(config: &Config) -> Option<String> {
    let (fleet, plant) = (config.fleet_connection.as_ref()?, config.plant_connection.as_ref()?);
    if host_and_port(&fleet.broker)? != host_and_port(&plant.broker)? {
        return None;
    }
    if plant.client_id == config.device.as_str() {
        return Some(
            "is the fleet connection's, at the same broker: they would end each other; name another".to_owned(),
        );
    }
    (plant.cert.is_some() && plant.cert == fleet.cert).then(|| {
        "can't keep the connections apart: both show the same broker the same certificate, which may be all it goes by; \
         use another certificate, or another broker"
            .to_owned()
    })
}

fn sources(config: &Config, mistake: &mut impl FnMut(&str, String)) {
    let mut seen = BTreeSet::new();
    for (index, source) in config.sources.iter().enumerate() {
        let key = |key: &str| format!("source[{}].{key}", index + 1);
        let named_by = match source {
            Source::Mqtt(mqtt) => {
                if !is_filter(&mqtt.topic) {
                    let problem = "is no topic filter: `+` and `#` stand for whole levels, `#` for the last";
                    mistake(&key("topic"), format!("is {:?}, which {problem}", mqtt.topic));
                }
                if config.plant_connection.is_none() {
                    mistake(
                        &key("type"),
                        "is \"mqtt\", which needs a section [plant_connection]".to_owned(),
                    );
                }
                "topic"
            }
            Source::File(_) => "path",
        };
        if !seen.insert(source.to_string()) {
            mistake(
                &key(named_by),
                "is that of another source; every sample would count twice".to_owned(),
            );
        }
    }
}

fn sinks(config: &Config, mistake: &mut impl FnMut(&str, String)) {
    let mut seen = BTreeSet::new();
    for (index, sink) in config.sinks.iter().enumerate() {
        let key = |key: &str| format!("sink[{}].{key}", index + 1);
        let named_by = match sink {
            Sink::Mqtt(mqtt) => {
                if mqtt.topic.contains(['+', '#']) {
                    mistake(
                        &key("topic"),
                        format!("is {:?}; results need a topic without + and #", mqtt.topic),
                    );
                } else if config
                    .sources
                    .iter()
                    .any(|source| matches!(source, Source::Mqtt(source) if source.takes_in(&mqtt.topic)))
                {
                    mistake(
                        &key("topic"),
                        "is taken in by a source: results would come back as samples".to_owned(),
                    );
                }
                if config.plant_connection.is_none() {
                    mistake(
                        &key("type"),
                        "is \"mqtt\", which needs a section [plant_connection]".to_owned(),
                    );
                }
                "topic"
            }
            Sink::Jsonl(jsonl) => {
                let folder = jsonl.path.parent().filter(|folder| !folder.as_os_str().is_empty());
                if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                    mistake(
                        &key("path"),
                        format!("is in {}, which is no folder; make it", folder.display()),
                    );
                }
                let replayed = |source: &Source| matches!(source, Source::File(file) if file.path == jsonl.path);
                if config.sources.iter().any(replayed) {
                    mistake(
                        &key("path"),
                        "is a source's file, which would be overwritten; name another".to_owned(),
                    );
                }
                "path"
            }
        };
        if !seen.insert(sink.to_string()) {
            mistake(
                &key(named_by),
                "is that of another sink; every result would come twice".to_owned(),
            );
        }
    }
}

/// Whether it can be subscribed to (MQTT 5, 4.7.1).
fn is_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let last = levels.len().saturating_sub(1);
    let fits = |(index, level): (usize, &&str)| match *level {
        "#" => index == last,
        "+" => true,
        other => !other.contains(['+', '#']),
    };
    levels.iter().enumerate().all(fits)
}

/// Whether the files have in them what they should. Those that can't be opened were told before.
pub(super) fn contents(config: &Config, mistakes: &mut Vec<Mistake>) {
    let told: BTreeSet<String> = mistakes.iter().map(|mistake| mistake.key.clone()).collect();
    let mut found = |key: &str, problem: String| {
        if !told.contains(key) {
            let key = key.to_owned();
            mistakes.push(Mistake { key, problem });
        }
    };
    if let Err(problem) = config.read_trust_root() {
        found("trust_root", problem);
    }
    if let Err(problem) = config.read_device_key() {
        found("device_key", problem);
    }
    let keys = [
        ("store.encryption_key", &config.store.encryption_key),
        ("store.encryption_key_before", &config.store.encryption_key_before),
    ];
    for (key, source) in keys {
        if let Some(Err(problem)) = source.as_ref().map(KeySource::read) {
            found(key, problem);
        }
    }
    if let Some(fleet) = config.fleet_transport() {
        connection("fleet_connection", &fleet, &mut found);
    }
    match config.plant_transport() {
        Ok(Some(plant)) => connection("plant_connection", &plant, &mut found),
        Ok(None) => {}
        Err(problem) => found("plant_connection.password_file", problem),
    }
    open_inference::contents(config, &mut found);
}

fn connection(section: &str, config: &transport::Config, found: &mut impl FnMut(&str, String)) {
    let errors = match config.check() {
        Ok(()) => return,
        Err(ConfigError::Several(errors)) => errors,
        Err(error) => vec![error],
    };
    for error in errors {
        let files = config.tls.as_ref();
        let key = match &error {
            ConfigError::Value { key, .. } => key,
            ConfigError::File { path, .. } if files.is_some_and(|files| files.ca == *path) => "ca",
            ConfigError::File { what: "key", .. } | ConfigError::Identity { .. } => "key",
            ConfigError::File { .. } => "cert",
            // Told as a missing `ca`.
            ConfigError::TlsMissing => continue,
            _ => "broker",
        };
        found(&format!("{section}.{key}"), format!("is refused: {error}"));
    }
}
