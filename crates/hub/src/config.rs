//! The hub's configuration: one TOML file, a few options of the command line above it, everything checked in one pass.
//!
//! Files that it names are opened by `run.rs`; here only what can be known from the text is checked.

use clap::Args;
use floorhand_bundle::FleetId;
use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The default address of the HTTP API and the pages.
const HTTP_LISTEN: &str = "127.0.0.1:8460";
/// The default address of the embedded broker.
const EMBEDDED_BROKER: &str = "127.0.0.1:1883";

/// Options of the hub. Each of them but `--config` replaces the key of the same name.
#[derive(Debug, Clone, Args)]
pub struct HubArgs {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", default_value = "hub.toml")]
    pub config: PathBuf,
    /// Check the configuration and the files it names, then exit.
    #[arg(long)]
    pub check: bool,
    /// Where the hub keeps its files.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The database: sqlite://PATH or postgres://...
    #[arg(long, value_name = "URL", env = "FLOORHAND_HUB_DATABASE", hide_env_values = true)]
    pub database: Option<String>,
    /// The MQTT 5 broker: mqtt://HOST:PORT or mqtts://HOST:PORT.
    #[arg(long, value_name = "URL", conflicts_with = "embedded_broker")]
    pub broker: Option<String>,
    /// Run a broker inside the hub, on this loopback address.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = EMBEDDED_BROKER)]
    pub embedded_broker: Option<String>,
    /// Where the API and the pages are.
    #[arg(long, value_name = "ADDRESS")]
    pub http_listen: Option<String>,
    /// What to log, as in `info` or `floorhand_hub=debug,warn`.
    #[arg(
        long,
        value_name = "FILTER",
        env = "FLOORHAND_LOG",
        default_value = "info,rumqttd=off"
    )]
    pub log: String,
    /// How to write the log.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How to write the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// The file. Paths in it are relative to its folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct File {
    /// The fleet's name, as the trust root has it. Required.
    fleet: String,
    /// Where the hub keeps bundles and, with SQLite, its database. Default: `floorhand-hub` beside the file.
    data_dir: PathBuf,
    /// `sqlite://PATH` or `postgres://USER@HOST/NAME`. Default: SQLite in `data_dir`.
    database: String,
    /// The key that signs assignments, commands and acks: PEM, Ed25519. Required.
    assignment_key: PathBuf,
    /// The fleet's trust root, `root.cose`. Required.
    trust_root: PathBuf,
    /// Where the API and the pages are. Default: `127.0.0.1:8460`.
    http_listen: String,
    /// A file whose first line every caller has to show as a bearer token. Required where `http_listen` is no loopback
    /// address. Default: none.
    api_token_file: PathBuf,
    /// The MQTT 5 broker: `mqtt://HOST:PORT`, or `mqtts://HOST:PORT` with `[tls]`. Default: the embedded one.
    broker: String,
    /// The loopback address of the broker that runs inside the hub when `broker` isn't given. Default: `127.0.0.1:1883`.
    embedded_broker: String,
    /// Who the hub is to the broker, client id and, in its certificate, common name. Hubs that share a broker need one
    /// each. Default: `hub`.
    identity: String,
    /// Hubs of one group share what devices send. Default: `hub`.
    share_group: String,
    /// For how long an assignment can be begun, in seconds. Default: 604800, a week.
    assignment_ttl_s: u64,
    /// For how long a command can be begun, in seconds. Default: 300.
    command_ttl_s: u64,
    /// For how long telemetry is kept, in days. Default: 30.
    telemetry_retention_days: u64,
    /// The largest bundle that is taken, in bytes. Default: 268435456, 256 MiB.
    max_bundle_bytes: u64,
    /// Files for an `mqtts://` broker.
    tls: Option<FileTls>,
}

/// `[tls]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
struct FileTls {
    /// The CA that the broker's certificate is from: PEM. Required.
    ca: PathBuf,
    /// The hub's certificate: PEM. Required.
    cert: PathBuf,
    /// The certificate's key: PEM. Required.
    key: PathBuf,
}

impl Default for File {
    fn default() -> Self {
        Self {
            fleet: String::new(),
            data_dir: PathBuf::from("floorhand-hub"),
            database: String::new(),
            assignment_key: PathBuf::new(),
            trust_root: PathBuf::new(),
            http_listen: HTTP_LISTEN.to_owned(),
            api_token_file: PathBuf::new(),
            broker: String::new(),
            embedded_broker: String::new(),
            identity: "hub".to_owned(),
            share_group: "hub".to_owned(),
            assignment_ttl_s: 7 * 24 * 3600,
            command_ttl_s: 300,
            telemetry_retention_days: 30,
            max_bundle_bytes: 256 << 20,
            tls: None,
        }
    }
}

/// A configuration that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) fleet: FleetId,
    pub(crate) data_dir: PathBuf,
    /// `None`: SQLite in `data_dir`.
    pub(crate) database: Option<String>,
    pub(crate) assignment_key: PathBuf,
    pub(crate) trust_root: PathBuf,
    pub(crate) http_listen: SocketAddr,
    pub(crate) api_token_file: Option<PathBuf>,
    pub(crate) broker: Broker,
    pub(crate) identity: String,
    pub(crate) share_group: String,
    pub(crate) assignment_ttl_ms: u64,
    pub(crate) command_ttl_ms: u64,
    pub(crate) telemetry_retention_ms: u64,
    pub(crate) max_bundle_bytes: usize,
}

/// Which broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broker {
    /// One that the hub runs itself.
    Embedded(SocketAddr),
    /// Another one.
    Remote { url: String, tls: Option<Tls> },
}

/// Files for mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// All that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct ConfigError {
    pub(crate) file: PathBuf,
    /// One line each, naming the key.
    pub(crate) problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self
            .problems
            .iter()
            .map(|one| format!("{}: {one}", self.file.display()))
            .collect();
        f.write_str(&lines.join("\n"))
    }
}

impl Config {
    /// Reads the file and puts the options above it.
    pub(crate) fn load(args: &HubArgs) -> Result<Self, ConfigError> {
        let failed = |problem: String| ConfigError {
            file: args.config.clone(),
            problems: vec![problem],
        };
        let text = std::fs::read_to_string(&args.config).map_err(|error| failed(format!("can't be read: {error}")))?;
        Self::parse(&text, args)
    }

    fn parse(text: &str, args: &HubArgs) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let file = read(text, &mut problems).unwrap_or_default();
        let broken = !problems.is_empty() && file == File::default();
        let config = if broken {
            None
        } else {
            Checked {
                problems: &mut problems,
            }
            .config(file, args)
        };
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigError {
                file: args.config.clone(),
                problems,
            }),
        }
    }
}

/// Reads the file; `None` when it can't be read at all.
fn read(text: &str, problems: &mut Vec<String>) -> Option<File> {
    let deserializer = match toml::Deserializer::parse(text) {
        Ok(deserializer) => deserializer,
        Err(error) => {
            problems.push(error.to_string().trim_end().to_owned());
            return None;
        }
    };
    match serde_ignored::deserialize(deserializer, |path| problems.push(format!("unknown key `{path}`"))) {
        Ok(file) => Some(file),
        Err(error) => {
            let error: toml::de::Error = error;
            problems.push(error.to_string().trim_end().to_owned());
            None
        }
    }
}

/// Checks values, and gathers what is wrong with them.
struct Checked<'a> {
    problems: &'a mut Vec<String>,
}

impl Checked<'_> {
    fn config(&mut self, file: File, args: &HubArgs) -> Option<Config> {
        let base = args.config.parent().unwrap_or(Path::new("")).to_owned();
        let fleet = file.fleet.parse::<FleetId>();
        let fleet = fleet
            .map_err(|error| self.problems.push(format!("`fleet`: {error}")))
            .ok();
        let listen = args.http_listen.as_deref().unwrap_or(&file.http_listen);
        let http_listen = self.address("http_listen", listen);
        let api_token_file = (!file.api_token_file.as_os_str().is_empty()).then(|| base.join(&file.api_token_file));
        if http_listen.is_some_and(|address| !address.ip().is_loopback()) && api_token_file.is_none() {
            self.problems.push(format!(
                "`http_listen` is {listen}, which others can reach: set `api_token_file`, or listen on 127.0.0.1"
            ));
        }
        let broker = self.broker(&file, args, &base);
        for (key, name) in [("identity", &file.identity), ("share_group", &file.share_group)] {
            if name.is_empty() || name.contains(['/', '+', '#', '\0']) {
                self.problems
                    .push(format!("`{key}`: {name:?} is no name: expected text without / + #"));
            }
        }
        let assignment_ttl_ms = self.milliseconds("assignment_ttl_s", file.assignment_ttl_s, 1000);
        let command_ttl_ms = self.milliseconds("command_ttl_s", file.command_ttl_s, 1000);
        let days = file.telemetry_retention_days;
        let telemetry_retention_ms = self.milliseconds("telemetry_retention_days", days, 24 * 3600 * 1000);
        let max_bundle_bytes = self.bundle_bytes(file.max_bundle_bytes);
        let assignment_key = self.required("assignment_key", &file.assignment_key, &base);
        let trust_root = self.required("trust_root", &file.trust_root, &base);
        let database = self.database(args.database.clone().unwrap_or(file.database));
        Some(Config {
            fleet: fleet?,
            data_dir: args.data_dir.clone().unwrap_or_else(|| base.join(&file.data_dir)),
            database,
            assignment_key: assignment_key?,
            trust_root: trust_root?,
            http_listen: http_listen?,
            api_token_file,
            broker: broker?,
            identity: file.identity,
            share_group: file.share_group,
            assignment_ttl_ms,
            command_ttl_ms,
            telemetry_retention_ms,
            max_bundle_bytes,
        })
    }

    fn broker(&mut self, file: &File, args: &HubArgs, base: &Path) -> Option<Broker> {
        let remote = match (&args.broker, &args.embedded_broker) {
            (Some(url), _) => Some(url),
            (None, Some(_)) => None,
            (None, None) => Some(&file.broker).filter(|url| !url.is_empty()),
        };
        let chosen_by_option = args.broker.is_some() || args.embedded_broker.is_some();
        if !chosen_by_option && !file.broker.is_empty() && !file.embedded_broker.is_empty() {
            self.problems
                .push("`broker` and `embedded_broker` are both set; there is one broker".to_owned());
        }
        let Some(url) = remote else {
            let configured = Some(file.embedded_broker.as_str()).filter(|address| !address.is_empty());
            let address = args
                .embedded_broker
                .as_deref()
                .or(configured)
                .unwrap_or(EMBEDDED_BROKER);
            let address = self.address("embedded_broker", address)?;
            if let Err(problem) = crate::broker::check_address(address) {
                self.problems.push(format!("`embedded_broker`: {problem}"));
            }
            return Some(Broker::Embedded(address));
        };
        let tls = file.tls.as_ref().map(|tls| {
            let mut file = |key: &'static str, path: &Path| self.required(key, path, base).unwrap_or_default();
            Tls {
                ca: file("tls.ca", &tls.ca),
                cert: file("tls.cert", &tls.cert),
                key: file("tls.key", &tls.key),
            }
        });
        // A hub with `[tls]` may be told another broker on the command line for a while; an address decides.
        let tls = tls.filter(|_| args.broker.is_none() || url.starts_with("mqtts:"));
        Some(Broker::Remote { url: url.clone(), tls })
    }

    fn address(&mut self, key: &str, text: &str) -> Option<SocketAddr> {
        let failed = |_| {
            self.problems
                .push(format!("`{key}`: {text:?} is no address: expected IP:PORT"))
        };
        text.parse().map_err(failed).ok()
    }

    fn required(&mut self, key: &str, path: &Path, base: &Path) -> Option<PathBuf> {
        if path.as_os_str().is_empty() {
            self.problems.push(format!("`{key}` is missing"));
            return None;
        }
        Some(base.join(path))
    }

    fn milliseconds(&mut self, key: &str, value: u64, unit_ms: u64) -> u64 {
        // A century: above anything that is meant, and far from where sums overflow.
        const MOST_MS: u64 = 100 * 366 * 24 * 3600 * 1000;
        let milliseconds = value.saturating_mul(unit_ms);
        if milliseconds == 0 || milliseconds > MOST_MS {
            self.problems
                .push(format!("`{key}`: {value} is not above 0 and below a century"));
        }
        milliseconds
    }

    fn bundle_bytes(&mut self, value: u64) -> usize {
        if value == 0 || value > 2 * floorhand_bundle::MAX_BLOB_BYTES {
            self.problems
                .push(format!("`max_bundle_bytes`: {value} is not above 0 and at most 1 GiB"));
        }
        usize::try_from(value).unwrap_or(usize::MAX)
    }

    fn database(&mut self, url: String) -> Option<String> {
        if url.is_empty() {
            return None;
        }
        let schemes = ["sqlite:", "postgres:", "postgresql:"];
        if !schemes.iter().any(|scheme| url.starts_with(scheme)) {
            // The URL itself may have a password in it.
            self.problems
                .push("`database`: expected sqlite://PATH or postgres://...".to_owned());
        }
        Some(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        hub: HubArgs,
    }

    const MINIMAL: &str = r#"
        fleet = "plant-a"
        assignment_key = "keys/assignment.pem"
        trust_root = "root.cose"
    "#;

    fn args(more: &[&str]) -> HubArgs {
        Cli::parse_from(["hub", "--config", "/etc/floorhand/hub.toml"].iter().chain(more)).hub
    }

    #[test]
    fn defaults_are_what_the_keys_say() {
        let config = Config::parse(MINIMAL, &args(&[])).unwrap();
        assert_eq!(config.data_dir, Path::new("/etc/floorhand/floorhand-hub"));
        assert_eq!(config.assignment_key, Path::new("/etc/floorhand/keys/assignment.pem"));
        assert_eq!(config.http_listen, HTTP_LISTEN.parse().unwrap());
        assert_eq!(config.broker, Broker::Embedded(EMBEDDED_BROKER.parse().unwrap()));
        assert_eq!(
            (config.assignment_ttl_ms, config.command_ttl_ms),
            (604_800_000, 300_000)
        );
        assert_eq!(config.telemetry_retention_ms, 30 * 24 * 3600 * 1000);
    }

    #[test]
    fn options_stand_above_the_file() {
        let text = format!("{MINIMAL}\nbroker = 'mqtts://b:8883'\n[tls]\nca = 'ca'\ncert = 'c'\nkey = 'k'");
        let tls = Tls {
            ca: "/etc/floorhand/ca".into(),
            cert: "/etc/floorhand/c".into(),
            key: "/etc/floorhand/k".into(),
        };
        let remote = |url: &str, tls| Broker::Remote {
            url: url.to_owned(),
            tls,
        };
        let broker = |more: &[&str]| Config::parse(&text, &args(more)).unwrap().broker;
        assert_eq!(broker(&[]), remote("mqtts://b:8883", Some(tls.clone())));
        assert_eq!(broker(&["--broker", "mqtts://c"]), remote("mqtts://c", Some(tls)));
        assert_eq!(broker(&["--broker", "mqtt://c"]), remote("mqtt://c", None));
        assert_eq!(
            broker(&["--embedded-broker"]),
            Broker::Embedded(EMBEDDED_BROKER.parse().unwrap())
        );
        let more = [
            "--data-dir",
            "/x",
            "--database",
            "postgres://h/n",
            "--http-listen",
            "[::1]:80",
        ];
        let config = Config::parse(&text, &args(&more)).unwrap();
        assert_eq!(
            (config.data_dir.as_path(), config.database.as_deref()),
            (Path::new("/x"), Some("postgres://h/n"))
        );
        assert_eq!(config.http_listen, "[::1]:80".parse().unwrap());
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let text = r#"
            fleet = "plant a"
            http_listen = "0.0.0.0:80"
            embedded_broker = "10.0.0.1:1883"
            identity = "a/b"
            assignment_ttl_s = 0
            max_bundle_bytes = 99999999999
            database = "mysql://x:secret@y"
            colour = "red"
        "#;
        let error = Config::parse(text, &args(&[])).unwrap_err().to_string();
        for part in [
            "unknown key `colour`",
            "`fleet`: \"plant a\" is no fleet id",
            "set `api_token_file`",
            "`embedded_broker`: 10.0.0.1:1883",
            "`identity`",
            "`assignment_ttl_s`",
            "`max_bundle_bytes`",
            "`database`: expected",
            "`assignment_key` is missing",
            "`trust_root` is missing",
        ] {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
        assert!(!error.contains("secret"));
        let error = Config::parse("fleet = 3", &args(&[])).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{error}");
        let both = format!("{MINIMAL}\nbroker = 'mqtt://x'\nembedded_broker = '127.0.0.1:1'");
        assert!(
            Config::parse(&both, &args(&[]))
                .unwrap_err()
                .to_string()
                .contains("there is one broker")
        );
    }
}
