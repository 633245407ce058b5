//! `hub broker-config`: the complete configuration of a broker for production, written from what the fleet is called and who
//! beside its devices connects.
//!
//! It writes files and reads nothing but its arguments. Each line of what it writes says why it is there, so that whoever
//! changes it knows what he gives up.

mod emqx;
mod mosquitto;

use crate::authority::StaffName;
use crate::exit;
use clap::{Args, ValueEnum};
use floorhand_bundle::FleetId;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// MQTT packets, above what agents and hub send: the limit of the protocol and room for one that grows a little.
const MAX_PACKET_BYTES: usize = floorhand_protocol::MAX_PACKET_BYTES;
/// Messages that wait for one client that isn't there: assignments, acks and chunks, all of which are sent again.
const MAX_QUEUED_MESSAGES: u32 = 1000;
/// The same in bytes: a window of chunks and a hundred acks many times over.
const MAX_QUEUED_BYTES: u32 = 16 * 1024 * 1024;
/// Unanswered messages to one client: what Floorhand's client takes at a time.
const MAX_INFLIGHT: u32 = 32;

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BrokerKind {
    /// Eclipse Mosquitto 2: mosquitto.conf and floorhand.acl.
    Mosquitto,
    /// EMQX 5: emqx.conf and acl.conf.
    Emqx,
}

/// Options of `broker-config`.
#[derive(Debug, Clone, Args)]
pub struct BrokerConfigArgs {
    /// The broker.
    #[arg(value_enum)]
    pub broker: BrokerKind,
    /// The fleet, as its topics name it.
    #[arg(long, value_name = "FLEET")]
    pub fleet: FleetId,
    /// The common name of a hub's certificate, `identity` in its configuration; again for each hub.
    #[arg(long = "hub", value_name = "NAME", default_value = "hub")]
    pub hubs: Vec<StaffName>,
    /// The common name of somebody who sees what devices send (`floorhand watch`); again for each.
    #[arg(long = "observer", value_name = "NAME")]
    pub observers: Vec<StaffName>,
    /// The common name of somebody who sees everything, the broker's own figures too, and sends nothing; again for each.
    #[arg(long = "operator", value_name = "NAME")]
    pub operators: Vec<StaffName>,
    /// The folder that the files are written to.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// The address to listen on; all where left out.
    #[arg(long, value_name = "ADDRESS")]
    pub bind: Option<std::net::IpAddr>,
    /// The port to listen on.
    #[arg(long, value_name = "PORT", default_value_t = 8883)]
    pub port: u16,
    /// The fleet's CA, on the broker's machine: the only one whose certificates are let in.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The broker's certificate, there.
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// The certificate's key, there.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The CA's list of certificates that it has revoked (CRL, PEM), there. Mosquitto only; it has to be renewed before it
    /// ends, or nobody is let in.
    #[arg(long, value_name = "FILE")]
    pub crl: Option<PathBuf>,
    /// Where the access list will lie, there.
    #[arg(long, value_name = "FILE")]
    pub acl: Option<PathBuf>,
    /// The folder for what the broker keeps, there. Mosquitto only.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/mosquitto")]
    pub data: PathBuf,
    /// Connections at a time: devices, hubs, and people who watch.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub max_connections: u32,
    /// Replace files that are there already.
    #[arg(long)]
    pub force: bool,
}

/// A file to be written.
#[derive(Debug, PartialEq, Eq)]
struct ConfigFile {
    name: &'static str,
    text: String,
}

/// Writes the files and says where they are.
pub(crate) fn run(args: &BrokerConfigArgs) -> ExitCode {
    match write(args) {
        Ok(paths) => {
            let lines: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            // Nobody is left to be told when the stream is closed.
            drop(writeln!(std::io::stdout(), "{}", lines.join("\n")));
            for name in args.names().filter(|name| name.could_be_a_device()) {
                warn(name);
            }
            ExitCode::SUCCESS
        }
        Err(problem) => exit::tell(exit::OTHER, &problem),
    }
}

/// Says that a name isn't safe by itself.
fn warn(name: &StaffName) {
    drop(writeln!(
        std::io::stderr(),
        "note: a device could be called {name} too, and would have these rights: a name with a dot, such as {name}.1, is no \
         device's; or name it under `reserved` in the hub's [enrolment]"
    ));
}

impl BrokerConfigArgs {
    /// Everybody who is no device.
    fn names(&self) -> impl Iterator<Item = &StaffName> {
        self.hubs.iter().chain(&self.observers).chain(&self.operators)
    }

    fn files(&self) -> Result<[ConfigFile; 2], String> {
        self.check()?;
        Ok(match self.broker {
            BrokerKind::Mosquitto => mosquitto::files(self),
            BrokerKind::Emqx => emqx::files(self),
        })
    }

    /// One name is one identity, and a path is one line's end.
    fn check(&self) -> Result<(), String> {
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = self.names().find(|name| !seen.insert(name.as_str())) {
            return Err(format!(
                "{twice} is named twice: every hub and everybody who watches needs a name of their own, since a second \
                 connection under one name ends the first"
            ));
        }
        let named = [&self.ca, &self.cert, &self.key, &self.crl, &self.acl];
        let paths = named.into_iter().flatten().chain([&self.data]);
        for path in paths {
            let text = path.to_string_lossy();
            if text.chars().any(|one| one.is_control() || one == '"' || one == '\\') || text.trim() != text {
                return Err(format!(
                    "{text:?} can't stand in the broker's configuration; choose a plainer path"
                ));
            }
        }
        if self.broker == BrokerKind::Emqx && self.crl.is_some() {
            return Err(
                "EMQX takes no list of revoked certificates from a file, only from the address in each certificate: leave \
                 --crl out, and keep certificates short-lived"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// A path on the broker's machine: the one that was given, or where the broker's package looks.
fn path_or(given: &Option<PathBuf>, default: &str) -> String {
    given.as_deref().unwrap_or(Path::new(default)).display().to_string()
}

fn write(args: &BrokerConfigArgs) -> Result<Vec<PathBuf>, String> {
    let files = args.files()?;
    let told = |path: &Path, error: &std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(&args.out).map_err(|error| told(&args.out, &error))?;
    let paths: Vec<PathBuf> = files.iter().map(|file| args.out.join(file.name)).collect();
    if let Some(there) = paths.iter().find(|path| path.exists()).filter(|_| !args.force) {
        return Err(format!(
            "{} is there already; choose another folder with --out, or pass --force to replace it",
            there.display()
        ));
    }
    for (file, path) in files.iter().zip(&paths) {
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(path);
        opened
            .and_then(|mut to| to.write_all(file.text.as_bytes()))
            .map_err(|error| told(path, &error))?;
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: BrokerConfigArgs,
    }

    fn args(line: &str) -> BrokerConfigArgs {
        Cli::try_parse_from(["x"].into_iter().chain(line.split_whitespace()))
            .unwrap()
            .args
    }

    #[test]
    fn names_with_wildcards_are_no_names() {
        for name in ["+", "#", "a/b", "$share", "a+"] {
            for option in ["--hub", "--observer", "--operator"] {
                let line = ["x", "mosquitto", "--fleet", "plant-a", option, name];
                assert!(Cli::try_parse_from(line).is_err(), "{option} {name}");
            }
        }
        assert!(Cli::try_parse_from(["x", "mosquitto", "--fleet", "plant/+"]).is_err());
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for (line, part) in [
            ("mosquitto --fleet a --hub x.1 --observer x.1", "named twice"),
            ("emqx --fleet a --crl crl.pem", "leave --crl out"),
        ] {
            let refused = args(line).files().unwrap_err();
            assert!(refused.contains(part), "{refused}");
        }
        let mut quoted = args("mosquitto --fleet a");
        quoted.ca = Some("/x\nallow_anonymous true".into());
        assert!(quoted.files().unwrap_err().contains("plainer path"));
    }

    #[test]
    fn files_are_replaced_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let mut args = args("emqx --fleet plant-a");
        args.out = dir.path().join("new");
        assert_eq!(write(&args).unwrap().len(), 2);
        assert!(write(&args).unwrap_err().contains("is there already"));
        args.force = true;
        assert_eq!(write(&args).unwrap().len(), 2);
    }

    #[test]
    fn every_setting_says_why() {
        for kind in ["mosquitto", "emqx"] {
            let line = format!("{kind} --fleet plant-a --hub hub.1 --observer anna.o --operator ben.o");
            for file in args(&line).files().unwrap() {
                let mut has_reason = false;
                for text in file.text.lines().map(str::trim) {
                    match text {
                        "" => has_reason = false,
                        note if note.starts_with('#') || note.starts_with("%%") => has_reason = true,
                        setting => assert!(has_reason, "{}: {setting:?} has no reason above it", file.name),
                    }
                }
                assert!(!file.text.contains("press"), "no device is named");
            }
        }
    }
}
