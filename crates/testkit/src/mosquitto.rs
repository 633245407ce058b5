//! A real Mosquitto on a free loopback port, with its own temporary configuration, ended by its handle on drop.
//!
//! It listens on loopback only. With [`MosquittoTls`] it is set up the way production is: a certificate is required, its
//! common name is the user name and the client id, and access is by pattern.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::pki::Pki;
use crate::poll::eventually;
use crate::port::free_port;

/// Long enough for a loaded machine of two slow cores; a broker that starts answers within tens of milliseconds.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Ports tried before giving up: somebody else can take a free port before the broker does.
const PORT_TRIES: usize = 5;

/// Environment variables that turn a skipped broker test into a failed one.
const REQUIRED_BY: [&str; 2] = ["CI", "FLOORHAND_REQUIRE_MOSQUITTO"];

/// How the broker is to be set up. The default is plain TCP, anonymous, no access list.
#[derive(Debug, Clone, Default)]
pub struct MosquittoConfig {
    /// Mutual TLS with these files.
    pub tls: Option<MosquittoTls>,
    /// Lines of the access list, for example `pattern read fh/v1/+/d/%u/down/#`. Empty: everything is allowed.
    pub acl: Vec<String>,
    /// Further lines of the configuration, as they are.
    pub extra: Vec<String>,
}

/// The files of a broker that asks for certificates.
#[derive(Debug, Clone)]
pub struct MosquittoTls {
    /// The CA that signed the clients' certificates.
    pub ca: PathBuf,
    /// The broker's certificate.
    pub cert: PathBuf,
    /// The broker's key.
    pub key: PathBuf,
}

impl MosquittoTls {
    /// Files for a broker under `pki`.
    ///
    /// # Errors
    /// When the certificate can't be made.
    pub fn issued_by(pki: &Pki) -> anyhow::Result<Self> {
        let broker = pki.issue("broker")?;
        Ok(Self {
            ca: pki.ca(),
            cert: broker.cert,
            key: broker.key,
        })
    }
}

/// A running (or stopped) broker. Dropping it kills the process and removes its folder.
#[derive(Debug)]
pub struct Mosquitto {
    program: PathBuf,
    dir: tempfile::TempDir,
    /// The configuration that it is started with.
    conf: PathBuf,
    config: MosquittoConfig,
    port: u16,
    child: Option<Child>,
}

impl Mosquitto {
    /// Starts a broker, or says in one line what to install.
    ///
    /// # Errors
    /// When there is no Mosquitto on this machine, or it doesn't start; the message has the end of its log.
    pub fn start(config: MosquittoConfig) -> anyhow::Result<Self> {
        let program = find_program().context(
            "mosquitto is neither in PATH nor in /usr/sbin or /usr/local/sbin: install it (Debian: apt install mosquitto)",
        )?;
        let dir = tempfile::Builder::new().prefix("floorhand-mosquitto-").tempdir()?;
        let mut broker = Self {
            program,
            conf: dir.path().join("mosquitto.conf"),
            dir,
            config,
            port: 0,
            child: None,
        };
        let mut last = None;
        for _ in 0..PORT_TRIES {
            broker.port = free_port()?;
            broker.write_config()?;
            match broker.spawn() {
                Ok(()) => return Ok(broker),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no port was tried")))
    }

    /// [`Mosquitto::start`] for tests that are skipped, with a message, where there is no Mosquitto: `None` then.
    ///
    /// # Panics
    /// When the broker can't be started and `CI` or `FLOORHAND_REQUIRE_MOSQUITTO` is set, or when there is one and it
    /// fails: a broker test that doesn't run must not look like one that passed.
    #[must_use]
    #[expect(
        clippy::panic,
        clippy::print_stderr,
        reason = "this is a test's own failure and a test's own message"
    )]
    pub fn start_or_skip(config: MosquittoConfig) -> Option<Self> {
        let required = REQUIRED_BY.iter().any(|name| std::env::var_os(name).is_some());
        if find_program().is_none() && !required {
            eprintln!("SKIPPED: needs a Mosquitto broker: install mosquitto (Debian: apt install mosquitto)");
            return None;
        }
        match Self::start(config) {
            Ok(broker) => Some(broker),
            Err(error) => panic!("failed to start the test's broker: {error:#}"),
        }
    }

    /// Starts a broker with a configuration that somebody else wrote, which has it listen on this port with these files.
    ///
    /// Started as root, Mosquitto changes to its own user, who has to be able to read what the configuration names.
    ///
    /// # Errors
    /// When there is no Mosquitto on this machine, or it doesn't start; the message has the end of its log.
    pub fn start_configured(conf: &Path, port: u16, tls: MosquittoTls) -> anyhow::Result<Self> {
        let program = find_program().context("mosquitto is not installed (Debian: apt install mosquitto)")?;
        let mut broker = Self {
            program,
            dir: tempfile::Builder::new().prefix("floorhand-mosquitto-").tempdir()?,
            conf: conf.to_owned(),
            config: MosquittoConfig {
                tls: Some(tls),
                ..MosquittoConfig::default()
            },
            port,
            child: None,
        };
        broker.spawn()?;
        Ok(broker)
    }

    /// Whether there is a Mosquitto on this machine. Where one is required, its absence shows when it is started.
    #[must_use]
    #[expect(clippy::print_stderr, reason = "a test's own message")]
    pub fn is_there() -> bool {
        let required = REQUIRED_BY.iter().any(|name| std::env::var_os(name).is_some());
        let is_there = required || find_program().is_some();
        if !is_there {
            eprintln!("SKIPPED: needs a Mosquitto broker: install mosquitto (Debian: apt install mosquitto)");
        }
        is_there
    }

    /// The loopback port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `mqtt://` or `mqtts://` with address and port.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.config.tls.is_some() { "mqtts" } else { "mqtt" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The folder with its configuration, access list, log and persistence.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Ends it in order, so that it saves sessions and retained messages.
    ///
    /// # Errors
    /// When the process can't be ended.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        if !eventually(READY_WITHIN, || matches!(child.try_wait(), Ok(Some(_)))) {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Ends it at once, as a power cut would: what it hasn't saved is lost.
    ///
    /// # Errors
    /// When the process can't be ended.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Starts it again on the same port with what it saved, stopping it first when it runs.
    ///
    /// # Errors
    /// When it doesn't start.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.stop()?;
        self.spawn()
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))?;
        let mut child = Command::new(&self.program)
            .arg("-c")
            .arg(&self.conf)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let mut exited = false;
        let port = self.port;
        let ready = eventually(READY_WITHIN, || {
            exited = matches!(child.try_wait(), Ok(Some(_)));
            exited || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        if exited || !ready {
            drop(child.kill());
            drop(child.wait());
            bail!(
                "mosquitto didn't start on port {port}; its log ends: {}",
                tail(&self.log())
            );
        }
        self.child = Some(child);
        Ok(())
    }

    fn write_config(&self) -> anyhow::Result<()> {
        let dir = self.dir.path();
        let mut text = String::new();
        writeln!(text, "listener {} 127.0.0.1", self.port)?;
        // Started as root it would otherwise change to a user who can't read the temporary folder.
        writeln!(text, "user root")?;
        writeln!(text, "persistence true\npersistence_location {}/", dir.display())?;
        writeln!(text, "log_dest stderr\nlog_type all\nconnection_messages true")?;
        writeln!(text, "allow_anonymous {}", self.config.tls.is_none())?;
        if let Some(tls) = &self.config.tls {
            writeln!(text, "cafile {}", tls.ca.display())?;
            writeln!(text, "certfile {}", tls.cert.display())?;
            writeln!(text, "keyfile {}", tls.key.display())?;
            writeln!(text, "require_certificate true")?;
            writeln!(text, "use_identity_as_username true")?;
            writeln!(text, "use_username_as_clientid true")?;
        }
        if !self.config.acl.is_empty() {
            let acl = dir.join("acl");
            std::fs::write(&acl, self.config.acl.join("\n") + "\n")?;
            writeln!(text, "acl_file {}", acl.display())?;
        }
        for line in &self.config.extra {
            writeln!(text, "{line}")?;
        }
        std::fs::write(dir.join("mosquitto.conf"), text)?;
        Ok(())
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

fn find_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|dir| dir.join("mosquitto"))
        .find(|program| program.is_file())
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_stops_restarts_and_dies_with_its_handle() {
        let Some(mut broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else {
            return;
        };
        let port = broker.port();
        broker.restart().unwrap();
        assert_eq!(broker.port(), port);
        assert!(broker.log().contains("mosquitto version"));
        drop(broker);
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }

    #[test]
    fn a_broken_configuration_is_told_with_its_log() {
        let config = MosquittoConfig {
            extra: vec!["no_such_key 1".to_owned()],
            ..MosquittoConfig::default()
        };
        if find_program().is_none() {
            return;
        }
        let error = Mosquitto::start(config).unwrap_err().to_string();
        assert!(error.contains("no_such_key"), "{error}");
    }
}
