//! What must not be found: secrets in logs, models and samples on a disk that is encrypted.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use floorhand_tests::{Agent, Hub, PATIENCE, Site, say, wait_for, workspace};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const DEVICE: &str = "press-1";
/// Bytes of a file that are looked for elsewhere: no other file has them by chance.
const SIGN_BYTES: usize = 48;
/// Where the 32 bytes of an Ed25519 key lie in its PKCS #8 encoding (RFC 8410).
const SEED: std::ops::Range<usize> = 16..48;
const STORAGE_KEY: &str = "8d3f0b1c5a7e92460f1d2c3b4a5968778695a4b3c2d1e0f00112233445566778";
const PLANT_PASSWORD: &str = "correct-horse-battery-staple";

fn runs(status: &Value, version: &str) -> bool {
    status.pointer("/active/version").and_then(Value::as_str) == Some(version)
}

/// A device that logs all it can, with secrets of every kind.
fn device(site: &Site, broker: &str) -> Result<Agent> {
    fs::write(site.path("plant.password"), PLANT_PASSWORD)?;
    site.device(
        DEVICE,
        &json!({
            "fleet_connection": { "broker": broker },
            // Nobody listens there: what is said of a connection that fails shall not tell its password.
            "plant_connection": {
                "broker": "mqtt://127.0.0.1:9",
                "username": "press",
                "password_file": site.path("plant.password"),
            },
            "source": [{
                "type": "file",
                "path": workspace().join("tests/skab/fixture/anomaly-free.csv"),
                "rate_hz": 100.0,
                "repeat": true,
            }],
            "log": { "filter": "trace" },
        }),
    )
}

/// Encryption in the configuration of a device that was made without.
fn encrypt(site: &Site) -> Result<()> {
    let key = site.path("storage.key");
    fs::write(&key, STORAGE_KEY)?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    let path = site.path(&format!("{DEVICE}.toml"));
    let text = fs::read_to_string(&path)?;
    fs::write(
        path,
        format!("{text}\n[store]\nencryption_key = \"file:storage.key\"\n"),
    )?;
    Ok(())
}

/// The middle of a file, which says what it is.
fn sign(file: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    let middle = bytes.len() / 2;
    bytes
        .get(middle..middle + SIGN_BYTES)
        .map(<[u8]>::to_vec)
        .with_context(|| format!("{} is short", file.display()))
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found.extend(files(&entry.path())?);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The files of a folder that have these bytes in them.
fn holders(dir: &Path, sign: &[u8]) -> Result<Vec<PathBuf>> {
    let has = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes.windows(sign.len()).any(|window| window == sign)
    };
    Ok(files(dir)?.into_iter().filter(has).collect())
}

/// Waits until predictions have gone through the spool.
fn samples_are_kept(agent: &mut Agent) -> Result<()> {
    let of = |status: &Value| status.get("results").and_then(Value::as_u64).unwrap_or(0);
    let before = agent.wait_until("status", |status| !status.is_null())?;
    agent
        .wait_until("more results", |status| of(status) > of(&before) + 300)
        .map(drop)
}

/// The boots of which the hub has predictions. Nothing was declared as lost.
fn boots_at_the_hub(hub: &Hub) -> Result<BTreeSet<String>> {
    let gaps = hub.get("gaps?limit=100")?;
    ensure!(gaps.as_array().is_some_and(Vec::is_empty), "{gaps:#}");
    let records = hub.records()?;
    let predictions = records.iter().filter(|record| record["kind"] == "prediction");
    Ok(predictions.map(|record| record["boot_id"].to_string()).collect())
}

/// Whether a spool shows a captured sample: acknowledged ones stay in its free pages for a while.
fn has_samples(spool: &Path) -> Result<bool> {
    let bytes = fs::read(spool)?;
    Ok(bytes.windows(10).any(|window| window == b"prediction"))
}

/// Every secret of the site, with its name, in the forms in which it could be printed.
fn secrets(site: &Site) -> Result<Vec<(String, String)>> {
    let mut secrets = vec![
        ("storage key".to_owned(), STORAGE_KEY.to_owned()),
        ("plant password".to_owned(), PLANT_PASSWORD.to_owned()),
    ];
    for name in [DEVICE, "assignment", "release", "offline"] {
        let pem = fs::read_to_string(site.path(&format!("{name}.key")))?;
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = BASE64_STANDARD.decode(&body)?;
        let seed = der.get(SEED).context("a key is shorter than its seed")?;
        secrets.push((format!("{name}.key"), body));
        let hex: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
        let decimal: Vec<String> = seed.iter().take(8).map(u8::to_string).collect();
        secrets.push((format!("{name}.key in hexadecimal"), hex));
        secrets.push((format!("{name}.key as a list"), decimal.join(", ")));
    }
    Ok(secrets)
}

#[test]
fn a_disk_that_was_encrypted_shows_no_model_and_logs_show_no_secret() -> Result<()> {
    let site = Site::new()?;
    let mut hub = site.start_hub_alone()?;
    let mut agent = device(&site, &hub.broker)?;
    hub.fleet_ok(&["enroll", DEVICE, "--key", &site.text(&format!("{DEVICE}.pub"))])?;
    let packed = site.pack_fixture(1)?;
    let model = sign(&site.path("bundle-1").join("model.onnx"))?;

    agent.start()?;
    agent.wait_until("connection", |status| status["fleet_connected"] == true)?;
    hub.fleet_ok(&["deploy", &packed.to_string_lossy(), "--device", DEVICE])?;
    agent.wait_until("commit", |status| runs(status, "1.0.0"))?;
    hub.fleet_ok(&["set-sampling", DEVICE, "1"])?;
    samples_are_kept(&mut agent)?;
    let boots = boots_at_the_hub(&hub)?;
    ensure!(boots.len() == 1, "{boots:?}");
    agent.stop()?;
    let spool = agent.state_dir().join("spool.redb");
    ensure!(has_samples(&spool)?, "no captured sample: the test would show nothing");
    fs::remove_file(&spool)?;
    let open = holders(agent.state_dir(), &model)?;
    ensure!(
        open.len() == 1,
        "unencrypted, the model is in {open:?}: the test would show nothing"
    );

    encrypt(&site)?;
    agent.start()?;
    agent.wait_until("what was committed, taken over", |status| runs(status, "1.0.0"))?;
    let second = site.pack_fixture(2)?;
    agent.wait_until("connection", |status| status["fleet_connected"] == true)?;
    hub.fleet_ok(&["deploy", &second.to_string_lossy(), "--device", DEVICE])?;
    agent.wait_until("commit of a bundle that was fetched encrypted", |status| {
        runs(status, "2.0.0")
    })?;
    samples_are_kept(&mut agent)?;
    wait_for("samples from the encrypted spool at the hub", PATIENCE, || {
        Ok((boots_at_the_hub(&hub)?.len() == 2).then_some(()))
    })
    .with_context(|| agent.tail())?;
    agent.stop()?;
    ensure!(!has_samples(&spool)?, "a captured sample is in the spool as it is");
    let found = holders(agent.state_dir(), &model)?;
    ensure!(found.is_empty(), "the model is in {found:?}");
    agent.start()?;
    agent.wait_until("a start from the encrypted disk", |status| runs(status, "2.0.0"))?;
    agent.stop()?;
    hub.process.stop()?;

    let logs = [agent.log(), fs::read_to_string(site.path("hub.log"))?].concat();
    ensure!(logs.contains("TRACE"), "nothing was logged at the level that says most");
    let secrets = secrets(&site)?;
    for (name, secret) in &secrets {
        ensure!(!logs.contains(secret.as_str()), "{name} is in a log");
    }
    say(&format!(
        "{} bytes of logs without {} secrets",
        logs.len(),
        secrets.len()
    ));
    Ok(())
}
