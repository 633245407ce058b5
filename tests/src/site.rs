//! A site in a temporary folder, made the way the documentation says: keys, a trust root, bundles, a hub.

use crate::program::{Ended, Process, run, run_ok, wait_for};
use crate::{Agent, PATIENCE};
use anyhow::{Context as _, Result, ensure};
use floorhand_bundle::{Archive, BlobRef, DeviceId, Manifest, SecretKey};
use floorhand_protocol::{Assigned, Assignment, Mode, Parameters};
use floorhand_testkit::{Identity, Pki, free_port};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The fleet of the tests.
pub const FLEET: &str = "plant-a";
/// Samples of a trial: the fixture's 200 say nothing more about what the tests test.
const TRIAL_SAMPLES: u64 = 20;
/// How long an assignment of the tests may be begun.
const ASSIGNMENT_LIFE_MS: u64 = 3_600_000;

/// A site: keys `offline`, `release` and `assignment`, and a trust root over them.
#[derive(Debug)]
pub struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    /// Makes keys and the trust root with the program's own commands.
    ///
    /// # Errors
    /// When a command fails.
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("floorhand-site-").tempdir()?;
        let site = Self { dir };
        for name in ["offline", "release", "assignment"] {
            site.new_key(name)?;
        }
        let [root, release, assignment, output] =
            ["offline.key", "release.pub", "assignment.pub", "root.cose"].map(|name| site.text(name));
        run_ok(&[
            "root",
            "new",
            "--fleet",
            FLEET,
            "--root",
            &root,
            "--release",
            &release,
            "--assignment",
            &assignment,
            "--output",
            &output,
        ])?;
        Ok(site)
    }

    /// A file or folder of the site.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as an argument.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        text(&self.path(name))
    }

    /// Makes a key pair, `NAME.key` and `NAME.pub`.
    ///
    /// # Errors
    /// When the command fails.
    pub fn new_key(&self, name: &str) -> Result<()> {
        run_ok(&["keys", "new", name, "--no-passphrase", "--out", &text(self.dir.path())]).map(drop)
    }

    /// The secret half of a key pair of the site.
    ///
    /// # Errors
    /// When there is none.
    pub fn secret(&self, name: &str) -> Result<SecretKey> {
        let path = self.path(&format!("{name}.key"));
        let pem = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(SecretKey::from_pem(&pem)?)
    }

    /// Packs a bundle's folder, which runs its golden cases, and signs it with the release key.
    ///
    /// # Errors
    /// When the command refuses it.
    pub fn pack(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        self.pack_with(folder, name, "release.key")
    }

    fn pack_with(&self, folder: &Path, name: &str, key: &str) -> Result<PathBuf> {
        let file = self.path(name);
        let key = self.text(key);
        run_ok(&["bundle", "pack", &text(folder), "-o", &text(&file), "--key", &key])?;
        Ok(file)
    }

    /// Packs the bundle of tests/skab as version `major`, with a short trial and room for slow machines.
    ///
    /// # Errors
    /// When a file can't be read or written, or the command refuses it.
    pub fn pack_fixture(&self, major: u64) -> Result<PathBuf> {
        self.pack_fixture_with(major, "release.key")
    }

    /// The same, signed with another release key.
    ///
    /// # Errors
    /// When a file can't be read or written, or the command refuses it.
    pub fn pack_fixture_with(&self, major: u64, key: &str) -> Result<PathBuf> {
        let from = crate::workspace().join("tests/skab/fixture/bundle");
        let folder = self.path(&format!("bundle-{major}"));
        fs::create_dir(&folder)?;
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
        let recipe = fs::read_to_string(from.join("bundle.toml"))?
            .replace("version = \"1.0.0\"", &format!("version = \"{major}.0.0\""))
            .replace("release_counter = 1", &format!("release_counter = {major}"))
            .replace("samples = 200", &format!("samples = {TRIAL_SAMPLES}"))
            .replace("latency_p99_ms = 250", "latency_p99_ms = 5000");
        fs::write(folder.join("bundle.toml"), recipe)?;
        self.pack_with(&folder, &format!("skab-{major}.fhb"), key)
    }

    /// Writes a configuration.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write_toml(&self, name: &str, config: &Value) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, toml::to_string(config)?)?;
        Ok(path)
    }

    /// A device with a key of its own. `config` has the keys of `agent.toml` that differ from test to test.
    ///
    /// # Errors
    /// When something can't be made or written.
    pub fn device(&self, device: &str, config: &Value) -> Result<Agent> {
        Agent::new(self, device, config)
    }

    /// Starts a hub at a broker that asks for certificates, and waits until it listens.
    ///
    /// # Errors
    /// When it doesn't.
    pub fn start_hub(&self, broker: &str, pki: &Pki, identity: &Identity) -> Result<Hub> {
        let tls = json!({ "ca": pki.ca(), "cert": identity.cert, "key": identity.key });
        self.start(broker, json!({ "broker": broker, "tls": tls }))
    }

    /// Starts a hub at a broker that takes everybody, and waits until it listens.
    ///
    /// # Errors
    /// When it doesn't.
    pub fn start_hub_at(&self, broker: &str) -> Result<Hub> {
        self.start(broker, json!({ "broker": broker }))
    }

    /// Starts a hub with the broker that it brings, and waits until it listens.
    ///
    /// # Errors
    /// When it doesn't.
    pub fn start_hub_alone(&self) -> Result<Hub> {
        self.start_hub_alone_with(&json!({}))
    }

    /// The same, with more keys of `hub.toml`.
    ///
    /// # Errors
    /// When it doesn't.
    pub fn start_hub_alone_with(&self, more: &Value) -> Result<Hub> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut config = json!({ "embedded_broker": address });
        if let (Some(config), Some(more)) = (config.as_object_mut(), more.as_object()) {
            config.extend(more.clone());
        }
        self.start(&format!("mqtt://{address}"), config)
    }

    /// Starts a hub with these keys in its configuration beside those that every hub has, and waits until it listens.
    ///
    /// # Errors
    /// When it doesn't.
    pub fn start_hub_with(&self, broker: &str, keys: Value) -> Result<Hub> {
        self.start(broker, keys)
    }

    fn start(&self, broker: &str, connection: Value) -> Result<Hub> {
        let port = free_port()?;
        let mut config = json!({
            "fleet": FLEET,
            "data_dir": self.path("hub"),
            "assignment_key": self.path("assignment.key"),
            "trust_root": self.path("root.cose"),
            "http_listen": format!("127.0.0.1:{port}"),
        });
        if let (Some(config), Value::Object(connection)) = (config.as_object_mut(), connection) {
            config.extend(connection);
        }
        let config = self.write_toml("hub.toml", &config)?;
        let mut process = Process::start(&self.path("hub.log"), &["hub", "--config", &text(&config)])?;
        wait_for("hub that listens", PATIENCE, || {
            ensure!(process.is_running(), "the hub has ended: {}", process.tail());
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok())
        })?;
        Ok(Hub {
            url: format!("http://127.0.0.1:{port}"),
            broker: broker.to_owned(),
            process,
        })
    }

    /// An assignment of what an archive holds, or of what runs already, as the hub would make it.
    ///
    /// # Errors
    /// When the archive's manifest can't be read.
    pub fn assignment(&self, device: &DeviceId, seq: u64, archive: Option<&Archive>) -> Result<Assignment> {
        let assigned = |archive: &Archive| {
            let (_, bundle, _) = Manifest::inspect_unverified(&archive.manifest)?;
            let manifest = BlobRef::of(&archive.manifest);
            anyhow::Ok(Assigned { bundle, manifest })
        };
        let issued_ms = now_ms()?;
        Ok(Assignment {
            fleet: FLEET.parse()?,
            device: device.clone(),
            seq,
            job: format!("job-{seq}"),
            run: archive.map(assigned).transpose()?,
            mode: Mode::Run,
            parameters: Parameters::default(),
            issued_ms,
            expires_ms: issued_ms + ASSIGNMENT_LIFE_MS,
            critical: Vec::new(),
        })
    }

    /// A packed bundle with its assignment, as `fleet export` writes it to a stick.
    ///
    /// # Errors
    /// When a file can't be read or written.
    pub fn export(&self, packed: &Path, device: &DeviceId, seq: u64) -> Result<PathBuf> {
        let mut archive = Archive::read(fs::File::open(packed)?)?;
        let assignment = self.assignment(device, seq, Some(&archive))?;
        archive.assignment = Some(assignment.seal(&self.secret("assignment")?)?);
        let file = self.path(&format!("stick-{device}-{seq}.fhb"));
        archive.write(fs::File::create(&file)?)?;
        Ok(file)
    }
}

/// A running hub.
#[derive(Debug)]
pub struct Hub {
    /// Where its API is.
    pub url: String,
    /// The fleet's broker.
    pub broker: String,
    /// The process.
    pub process: Process,
}

impl Hub {
    /// What its API answers to a GET below `/api/v1`.
    ///
    /// # Errors
    /// When it doesn't answer with a 200 and JSON.
    pub fn get(&self, path: &str) -> Result<Value> {
        let address = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /api/v1/{path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        ensure!(head.contains(" 200"), "{path}: {answer}");
        serde_json::from_str(body).with_context(|| format!("{path} is no JSON: {answer}"))
    }

    /// Every record that it has, in the order of arrival.
    ///
    /// # Errors
    /// When it can't be asked.
    pub fn records(&self) -> Result<Vec<Value>> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let mut page = self.get(&format!("records?limit=1000&after={after}"))?;
            let records = page.get_mut("records").and_then(Value::as_array_mut);
            let records = records.context("no records")?;
            if records.is_empty() {
                return Ok(all);
            }
            all.append(records);
            after = page.get("next").and_then(Value::as_u64).context("no next")?;
        }
    }

    /// Runs `floorhand --json fleet ...` against it.
    ///
    /// # Errors
    /// When the program can't be started.
    pub fn fleet(&self, arguments: &[&str]) -> Result<Ended> {
        run(&[&["--json", "fleet", "--hub", &self.url], arguments].concat())
    }

    /// The same, which has to end well; returns the hub's answer.
    ///
    /// # Errors
    /// When it doesn't, with the ends of both logs.
    pub fn fleet_ok(&self, arguments: &[&str]) -> Result<Value> {
        let ended = self.fleet(arguments)?;
        ensure!(
            ended.code == Some(0),
            "fleet {} ended with {:?}\n{}{}\n{}",
            arguments.join(" "),
            ended.code,
            ended.stdout,
            ended.stderr,
            self.process.tail()
        );
        serde_json::from_str(&ended.stdout).with_context(|| format!("no JSON: {}", ended.stdout))
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn now_ms() -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_millis())?)
}
