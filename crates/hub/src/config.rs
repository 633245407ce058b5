//! The hub's configuration: one TOML file, a few options of the command line above it, everything checked in one pass.
//!
//! Files that it names are opened by `secrets.rs`; here only what can be known from the text is checked.

mod enrolment;
mod read;

use crate::access::oidc;
use crate::database::Database;
use crate::logging::LogFormat;
use clap::{Args, Subcommand};
pub(crate) use enrolment::EnrolmentFiles;
use floorhand_bundle::FleetId;
use floorhand_keys::KeyLocation;
use read::{File, FileHttpTls, FileOidc, FileTls};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The default address of the HTTP API and the pages.
const HTTP_LISTEN: &str = "127.0.0.1:8460";
/// The default address of the embedded broker.
const EMBEDDED_BROKER: &str = "127.0.0.1:1883";

/// Options of the hub. Each of them but `--config` replaces the key of the same name.
#[derive(Debug, Clone, Args)]
#[command(after_help = crate::exit::HUB_HELP)]
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
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<HubCommand>,
}

/// What the hub's program does instead of running.
#[derive(Debug, Clone, Subcommand)]
pub enum HubCommand {
    /// Write the configuration of a production broker: TLS, identities, access list, limits.
    BrokerConfig(Box<crate::broker_config::BrokerConfigArgs>),
}

/// A configuration that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) fleet: FleetId,
    pub(crate) data_dir: PathBuf,
    /// `None`: SQLite in `data_dir`.
    pub(crate) database: Option<String>,
    pub(crate) assignment_key: KeyLocation,
    /// Takes its place with the next trust root.
    pub(crate) next_assignment_key: Option<KeyLocation>,
    /// Of both of them; each is tried.
    pub(crate) assignment_key_passphrase_file: Option<PathBuf>,
    pub(crate) trust_root: PathBuf,
    pub(crate) http_listen: SocketAddr,
    /// `None`: plain HTTP.
    pub(crate) http_tls: Option<HttpTls>,
    pub(crate) api_token_file: Option<PathBuf>,
    pub(crate) oidc: Option<oidc::Settings>,
    pub(crate) broker: Broker,
    pub(crate) identity: String,
    pub(crate) share_group: Option<String>,
    pub(crate) assignment_ttl_ms: u64,
    pub(crate) command_ttl_ms: u64,
    pub(crate) telemetry_retention_ms: u64,
    pub(crate) max_bundle_bytes: usize,
    /// `None`: devices don't enrol by themselves.
    pub(crate) enrolment: Option<EnrolmentFiles>,
}

impl Config {
    /// Where the database is.
    pub(crate) fn database_url(&self) -> String {
        let own = || Database::sqlite_url(&self.data_dir.join("hub.db"));
        self.database.clone().unwrap_or_else(own)
    }
}

/// Which broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broker {
    /// One that the hub runs itself.
    Embedded(SocketAddr),
    /// Another one.
    Remote { url: String, tls: Option<Tls> },
}

/// Files for the API's and the pages' own TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpTls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
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
pub struct ConfigError {
    /// The configuration's file.
    pub file: PathBuf,
    /// One line each, naming the key; at least one.
    pub problems: Vec<String>,
}

impl ConfigError {
    /// The exit code of a program that can't go on because of it.
    pub const EXIT_CODE: u8 = crate::exit::CONFIGURATION;
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

/// What the text of a configuration says, before the files that it names are looked at.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// `None` where a mistake leaves out something that it can't be without.
    pub(crate) config: Option<Config>,
    /// What is wrong so far, one line each.
    pub(crate) problems: Vec<String>,
    /// Files that have to be there, with the keys that name them.
    pub(crate) files: Vec<(&'static str, PathBuf)>,
}

impl Draft {
    /// Reads the file and puts the options above it. A file that can't be read is a mistake like any other.
    pub(crate) fn load(args: &HubArgs) -> Self {
        match std::fs::read_to_string(&args.config) {
            Ok(text) => Self::parse(&text, args),
            Err(error) => Self {
                problems: vec![format!("can't be read: {error}")],
                ..Self::default()
            },
        }
    }

    fn parse(text: &str, args: &HubArgs) -> Self {
        let mut draft = Self::default();
        if let Some(file) = read::file(text, &mut draft.problems) {
            draft.config = draft.check(file, args);
        }
        draft
    }

    /// Checks values, and gathers what is wrong with them.
    fn check(&mut self, file: File, args: &HubArgs) -> Option<Config> {
        let base = args.config.parent().unwrap_or(Path::new("")).to_owned();
        let fleet = file.fleet.as_deref().map(str::parse::<FleetId>).transpose();
        let fleet = fleet.unwrap_or_else(|error| {
            self.problems.push(format!("`fleet`: {error}"));
            None
        });
        let api_token_file = self.named("api_token_file", file.api_token_file.as_deref(), &base);
        let listen = args.http_listen.as_deref().unwrap_or(&file.http_listen);
        let http_listen = self.address("http_listen", listen);
        let can_be_reached = http_listen.is_some_and(|address| !address.ip().is_loopback());
        if can_be_reached && file.http_tls.is_none() && !file.http_without_tls {
            self.problems.push(format!(
                "`http_listen` is {listen}, which others can reach: give it a certificate with `[http_tls]`, or listen on \
                 127.0.0.1; `http_without_tls = true` lets everybody on the network read tokens along"
            ));
        }
        let http_tls = file.http_tls.as_ref().map(|tls| self.http_tls(tls, &base));
        let oidc = file.oidc.as_ref().map(|issuer| self.oidc(issuer, &base));
        let broker = self.broker(&file, args, &base);
        let enrolment = file.enrolment.as_ref();
        let enrolment = enrolment.and_then(|section| self.enrolment(section, broker.as_ref(), &base));
        self.check_names(&file);
        let assignment_ttl_ms = self.milliseconds("assignment_ttl_s", file.assignment_ttl_s, 1000);
        let command_ttl_ms = self.milliseconds("command_ttl_s", file.command_ttl_s, 1000);
        let days = file.telemetry_retention_days;
        let telemetry_retention_ms = self.milliseconds("telemetry_retention_days", days, 24 * 3600 * 1000);
        let max_bundle_bytes = self.bundle_bytes(file.max_bundle_bytes);
        let assignment_key = self.key_location("assignment_key", file.assignment_key.as_deref(), &base);
        let next = file.next_assignment_key.as_deref();
        let next_assignment_key = self.key_location("next_assignment_key", next, &base);
        let passphrase = file.assignment_key_passphrase_file.as_deref();
        let assignment_key_passphrase_file = self.named("assignment_key_passphrase_file", passphrase, &base);
        let trust_root = self.named("trust_root", file.trust_root.as_deref(), &base);
        let database = args.database.clone().filter(|url| !url.is_empty());
        let database = self.database(database.or(file.database));
        Some(Config {
            fleet: fleet?,
            data_dir: args.data_dir.clone().unwrap_or_else(|| base.join(&file.data_dir)),
            database,
            assignment_key: assignment_key?,
            next_assignment_key,
            assignment_key_passphrase_file,
            trust_root: trust_root?,
            http_listen: http_listen?,
            http_tls: match http_tls {
                Some(tls) => Some(tls?),
                None => None,
            },
            api_token_file,
            oidc: match oidc {
                Some(oidc) => Some(oidc?),
                None => None,
            },
            broker: broker?,
            identity: file.identity,
            share_group: file.share_group,
            assignment_ttl_ms,
            command_ttl_ms,
            telemetry_retention_ms,
            max_bundle_bytes,
            enrolment,
        })
    }

    /// A file that has to be there, where a key names one.
    fn named(&mut self, key: &'static str, path: Option<&Path>, base: &Path) -> Option<PathBuf> {
        let path = base.join(path?);
        self.files.push((key, path.clone()));
        Some(path)
    }

    /// A key of the hub's: a file, or one in a token.
    fn key_location(&mut self, key: &'static str, text: Option<&str>, base: &Path) -> Option<KeyLocation> {
        match text?.parse() {
            Ok(KeyLocation::File(path)) => self.named(key, Some(&path), base).map(KeyLocation::File),
            Ok(token) => Some(token),
            Err(error) => {
                self.problems.push(format!("`{key}`: {error}"));
                None
            }
        }
    }

    fn check_names(&mut self, file: &File) {
        let names = [
            ("identity", Some(&file.identity)),
            ("share_group", file.share_group.as_ref()),
        ];
        for (key, name) in names.into_iter().filter_map(|(key, name)| Some((key, name?))) {
            if name.contains(['/', '+', '#']) {
                self.problems
                    .push(format!("`{key}`: {name:?} is no name: expected text without / + #"));
            }
        }
    }

    fn broker(&mut self, file: &File, args: &HubArgs, base: &Path) -> Option<Broker> {
        let remote = match (&args.broker, &args.embedded_broker) {
            (Some(url), _) => Some(url),
            (None, Some(_)) => None,
            (None, None) => file.broker.as_ref(),
        };
        let chosen_by_option = args.broker.is_some() || args.embedded_broker.is_some();
        if !chosen_by_option && file.broker.is_some() && file.embedded_broker.is_some() {
            self.problems
                .push("`broker` and `embedded_broker` are both set; there is one broker".to_owned());
        }
        let Some(url) = remote else {
            let configured = args.embedded_broker.as_deref().or(file.embedded_broker.as_deref());
            let address = self.address("embedded_broker", configured.unwrap_or(EMBEDDED_BROKER))?;
            if let Err(problem) = crate::broker::check_address(address) {
                self.problems.push(format!("`embedded_broker`: {problem}"));
            }
            return Some(Broker::Embedded(address));
        };
        // A hub with `[tls]` may be told another broker on the command line for a while; an address decides.
        let is_used = args.broker.is_none() || url.starts_with("mqtts:");
        let tls = match file.tls.as_ref().filter(|_| is_used) {
            Some(tls) => Some(self.tls(tls, base)?),
            None => None,
        };
        Some(Broker::Remote { url: url.clone(), tls })
    }

    /// `None` when one of the files isn't named, which was told.
    fn tls(&mut self, tls: &FileTls, base: &Path) -> Option<Tls> {
        let ca = self.named("tls.ca", tls.ca.as_deref(), base);
        let cert = self.named("tls.cert", tls.cert.as_deref(), base);
        let key = self.named("tls.key", tls.key.as_deref(), base);
        Some(Tls {
            ca: ca?,
            cert: cert?,
            key: key?,
        })
    }

    /// `None` when one of the files isn't named, which was told.
    fn http_tls(&mut self, tls: &FileHttpTls, base: &Path) -> Option<HttpTls> {
        let cert = self.named("http_tls.cert", tls.cert.as_deref(), base);
        let key = self.named("http_tls.key", tls.key.as_deref(), base);
        Some(HttpTls { cert: cert?, key: key? })
    }

    /// `None` when something of it is missing, which was told.
    fn oidc(&mut self, file: &FileOidc, base: &Path) -> Option<oidc::Settings> {
        let ca = self.named("oidc.ca", file.ca.as_deref(), base);
        if let Some(issuer) = &file.issuer {
            if !oidc::fetch::may_be_asked(issuer) {
                self.problems
                    .push(format!("`oidc.issuer`: {issuer:?} is no https:// address"));
            } else if issuer.starts_with("https:") && ca.is_none() {
                let problem =
                    "`oidc.ca` is missing: the CA of the issuer's certificate, or a file of all that you trust";
                self.problems.push(problem.to_owned());
            }
        }
        if file.roles.is_empty() {
            let problem = "`[oidc.roles]` has no group: name those that are a role, as in viewer = [\"staff\"]";
            self.problems.push(problem.to_owned());
        }
        Some(oidc::Settings {
            issuer: file.issuer.clone()?,
            audience: file.audience.clone()?,
            roles_claim: file.roles_claim.clone(),
            name_claim: file.name_claim.clone(),
            roles: file.roles.clone(),
            ca,
        })
    }

    fn address(&mut self, key: &str, text: &str) -> Option<SocketAddr> {
        let failed = |_| {
            self.problems
                .push(format!("`{key}`: {text:?} is no address: expected IP:PORT"))
        };
        text.parse().map_err(failed).ok()
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

    fn database(&mut self, url: Option<String>) -> Option<String> {
        let schemes = ["sqlite:", "postgres:", "postgresql:"];
        let known = |url: &String| schemes.iter().any(|scheme| url.starts_with(scheme));
        if url.as_ref().is_some_and(|url| !known(url)) {
            // The URL itself may have a password in it.
            self.problems
                .push("`database`: expected sqlite://PATH or postgres://...".to_owned());
        }
        url
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

    fn parse(text: &str, args: &HubArgs) -> Result<Config, ConfigError> {
        let Draft { config, problems, .. } = Draft::parse(text, args);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigError {
                file: args.config.clone(),
                problems,
            }),
        }
    }

    fn args(more: &[&str]) -> HubArgs {
        Cli::parse_from(["hub", "--config", "/etc/floorhand/hub.toml"].iter().chain(more)).hub
    }

    #[test]
    fn defaults_are_what_the_keys_say() {
        let config = parse(MINIMAL, &args(&[])).unwrap();
        assert_eq!(config.data_dir, Path::new("/etc/floorhand/floorhand-hub"));
        assert_eq!(
            config.assignment_key,
            KeyLocation::File("/etc/floorhand/keys/assignment.pem".into())
        );
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
        let broker = |more: &[&str]| parse(&text, &args(more)).unwrap().broker;
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
        let config = parse(&text, &args(&more)).unwrap();
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
        let error = parse(text, &args(&[])).unwrap_err().to_string();
        for part in [
            "unknown key `colour`",
            "`fleet`: \"plant a\" is no fleet id",
            "`http_without_tls = true` lets",
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
        let error = parse("fleet = [", &args(&[])).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{error}");
        let both = format!("{MINIMAL}\nbroker = 'mqtt://x'\nembedded_broker = '127.0.0.1:1'");
        assert!(
            parse(&both, &args(&[]))
                .unwrap_err()
                .to_string()
                .contains("there is one broker")
        );
    }

    #[test]
    fn a_wrong_type_hides_no_other_mistake() {
        let text = r#"
            fleet = 3
            assignment_ttl_s = "a week"
            command_ttl_s = -1
            identity = ""
            colour = "red"
            tls = { ca = "ca.pem", crt = "hub.pem" }
            database = 17
        "#;
        let error = parse(text, &args(&[])).unwrap_err();
        let told = error.to_string();
        for part in [
            "`fleet` has to be a text in quotes, and is of type integer",
            "`assignment_ttl_s` has to be a whole number, and is of type string",
            "`command_ttl_s` is below 0",
            "`identity` is empty",
            "unknown key `colour`; known here are tls, http_tls, oidc, fleet,",
            "unknown key `tls.crt`; known here are ca, cert, key",
            "`tls.cert` is missing",
            "`tls.key` is missing",
            "`database` has to be a text",
            "`assignment_key` is missing",
            "`trust_root` is missing",
        ] {
            assert!(told.contains(part), "{part:?} is not in {told}");
        }
        assert_eq!(error.problems.len(), 11, "{told}");
    }

    #[test]
    fn others_reach_it_over_tls_or_because_somebody_said_so() {
        let tls = "[http_tls]\ncert = 'hub.pem'\nkey = 'hub.key'";
        for (lines, fits) in [
            ("http_listen = '0.0.0.0:80'".to_owned(), false),
            ("http_listen = '0.0.0.0:80'\napi_token_file = 't'".to_owned(), false),
            ("http_listen = '0.0.0.0:80'\nhttp_without_tls = true".to_owned(), true),
            (format!("http_listen = '0.0.0.0:80'\n{tls}"), true),
            (format!("http_listen = '127.0.0.1:80'\n{tls}"), true),
            ("http_listen = '[::1]:80'".to_owned(), true),
        ] {
            let config = parse(&format!("{MINIMAL}\n{lines}"), &args(&[]));
            assert_eq!(config.is_ok(), fits, "{lines}: {config:?}");
        }
    }

    #[test]
    fn an_issuer_needs_an_audience_a_ca_and_groups() {
        let right = "[oidc]\nissuer = 'https://sso/realm'\naudience = 'floorhand'\nca = 'ca.pem'\n\
                     [oidc.roles]\nviewer = ['staff']\nadmin = ['it', 'owners']";
        let oidc = parse(&format!("{MINIMAL}\n{right}"), &args(&[])).unwrap().oidc.unwrap();
        let groups: Vec<(&str, &str)> = oidc
            .roles
            .iter()
            .map(|(group, role)| (group.as_str(), role.name()))
            .collect();
        assert_eq!(groups, [("staff", "viewer"), ("it", "admin"), ("owners", "admin")]);
        assert_eq!((oidc.roles_claim.as_str(), oidc.name_claim.as_str()), ("groups", "sub"));
        let wrong = "[oidc]\nissuer = 'http://sso/realm'\n[oidc.roles]\nboss = ['x']\nadmin = 'it'";
        let told = parse(&format!("{MINIMAL}\n{wrong}"), &args(&[]))
            .unwrap_err()
            .to_string();
        for part in [
            "`oidc.audience` is missing",
            "is no https:// address",
            "unknown key `oidc.roles.boss`; known here are viewer, operator, releaser, admin",
            "`oidc.roles.admin` has to be a list",
            "`[oidc.roles]` has no group",
        ] {
            assert!(told.contains(part), "{part:?} is not in {told}");
        }
    }

    #[test]
    fn files_that_have_to_be_there_are_known_despite_mistakes() {
        let text = "assignment_key = 'a.key'\ntrust_root = 'root.cose'\napi_token_file = 'token'\nfleet = 3";
        let files = Draft::parse(text, &args(&[])).files;
        let keys: Vec<&str> = files.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["api_token_file", "assignment_key", "trust_root"]);
    }
}
