//! What goes away while it is needed: the broker in the middle of a chunk, the disk's last block, its leave to write.

use anyhow::{Context as _, Result, ensure};
use floorhand_testkit::Proxy;
use floorhand_tests::{Agent, Hub, PATIENCE, Site, rows, say, wait_for, workspace};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const DEVICE: &str = "press-1";
/// Some forty chunks: enough for a link to break often.
const CARD_BYTES: usize = 1 << 20;
/// What passes before the link breaks, both directions: a few chunks, and the middle of one.
const BREAKS_AFTER: usize = 80_000;
/// A state directory with room for one bundle, the spool and little else.
const DISK: &str = "12m";

/// Hexadecimal text that doesn't compress below half, the same at every run.
fn noise(bytes: usize) -> String {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..bytes)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            char::from_digit((state >> 60) as u32, 16).unwrap_or('0')
        })
        .collect()
}

/// The fixture's bundle as version `major`, with a long model card.
fn large(site: &Site, major: u64) -> Result<PathBuf> {
    site.pack_fixture(major)?;
    let folder = site.path(&format!("bundle-{major}"));
    fs::write(
        folder.join("model-card.md"),
        format!("# {major}\n{}", noise(CARD_BYTES)),
    )?;
    site.pack(&folder, &format!("large-{major}.fhb"))
}

fn runs(status: &Value, version: &str) -> bool {
    status.pointer("/active/version").and_then(Value::as_str) == Some(version)
}

/// A device whose link to the hub's broker can break, replaying a recording.
fn device(site: &Site, broker: &str) -> Result<Agent> {
    site.device(
        DEVICE,
        &json!({
            "fleet_connection": { "broker": broker },
            "source": [{
                "type": "file",
                "path": workspace().join("tests/skab/fixture/anomaly-free.csv"),
                "rate_hz": 200.0,
                "repeat": true,
            }],
            "sink": [{ "type": "jsonl", "path": site.path("results.jsonl") }],
        }),
    )
}

#[test]
fn a_link_that_breaks_in_the_middle_of_chunks_costs_only_what_was_under_way() -> Result<()> {
    let site = Site::new()?;
    let hub = site.start_hub_alone()?;
    let port: u16 = hub.broker.rsplit(':').next().unwrap_or_default().parse()?;
    let proxy = Proxy::start(port)?;
    let mut agent = device(&site, &format!("mqtt://127.0.0.1:{}", proxy.port()))?;
    hub.fleet_ok(&["enroll", DEVICE, "--key", &site.text(&format!("{DEVICE}.pub"))])?;
    agent.start()?;
    agent.wait_until("connection", |status| status["fleet_connected"] == true)?;
    let packed = large(&site, 1)?;
    let mut connections = proxy.accepted();
    let before = connections;
    proxy.cut_after(BREAKS_AFTER);
    hub.fleet_ok(&["deploy", &packed.to_string_lossy(), "--device", DEVICE])?;
    wait_for("commit over a link that breaks", PATIENCE, || {
        ensure!(agent.process()?.is_running(), "the agent has ended: {}", agent.tail());
        if proxy.accepted() > connections {
            connections = proxy.accepted();
            proxy.cut_after(BREAKS_AFTER);
        }
        Ok(agent.status()?.filter(|status| runs(status, "1.0.0")).map(drop))
    })
    .with_context(|| agent.tail())?;
    let breaks = connections - before;
    let sent = hub.counter("floorhand_hub_chunk_bytes_total")?;
    say(&format!(
        "{breaks} breaks, {sent} bytes of chunks for {CARD_BYTES} of the largest file"
    ));
    ensure!(breaks >= 3, "the link broke {breaks} times: the test shows nothing");
    // A window of 128 KiB is under way at each break, which the broker may hand over later and the device asks for again.
    // Starting over would never end: the link breaks before the whole file has passed.
    let archive = floorhand_bundle::Archive::read(fs::File::open(&packed)?)?;
    let whole = archive.blobs.values().map(Vec::len).sum::<usize>() + archive.manifest.len();
    let most = (whole + breaks * 2 * 128 * 1024) as u64;
    ensure!(
        sent <= most,
        "{sent} bytes were sent, at most {most} with {breaks} breaks"
    );
    agent.stop()
}

/// A device with a committed bundle that replays the fixture's recording over and over.
fn committed(site: &Site, hub: &Hub, agent: &mut Agent) -> Result<()> {
    hub.fleet_ok(&["enroll", DEVICE, "--key", &site.text(&format!("{DEVICE}.pub"))])?;
    agent.start()?;
    let packed = site.pack_fixture(1)?;
    let deployed = hub.fleet_ok(&[
        "deploy",
        &packed.to_string_lossy(),
        "--device",
        DEVICE,
        "--wait",
        "--timeout",
        "120",
    ]);
    deployed.with_context(|| agent.tail())?;
    agent.wait_until("commit", |status| runs(status, "1.0.0")).map(drop)
}

#[test]
fn a_component_that_the_disk_has_damaged_is_fetched_again() -> Result<()> {
    let site = Site::new()?;
    let hub = site.start_hub_alone()?;
    let mut agent = device(&site, &hub.broker)?;
    committed(&site, &hub, &mut agent)?;
    agent.stop()?;
    let blobs = fs::read_dir(agent.state_dir().join("blobs/sha256"))?;
    for blob in blobs {
        let path = blob?.path();
        let mut bytes = fs::read(&path)?;
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 1;
        }
        fs::write(&path, bytes)?;
    }
    agent.start()?;
    agent.wait_until("results again", |status| {
        runs(status, "1.0.0") && status["results"].as_u64() > Some(0)
    })?;
    let log = agent.log();
    ensure!(log.contains("what was committed can't be loaded"), "{log}");
    ensure!(log.contains("is fetched again"), "{log}");
    agent.stop()
}

#[test]
fn a_file_at_full_speed_loses_no_row_to_a_start() -> Result<()> {
    const ROWS: usize = 2000;
    let site = Site::new()?;
    let hub = site.start_hub_alone()?;
    let recording = workspace().join("tests/skab/fixture/anomaly-free.csv");
    let (once, results) = (site.path("once.jsonl"), site.path("results.jsonl"));
    let mut agent = site.device(
        DEVICE,
        &json!({
            "fleet_connection": { "broker": hub.broker },
            "source": [
                { "type": "file", "path": once },
                { "type": "file", "path": recording, "rate_hz": 200.0, "repeat": true },
            ],
            "sink": [{ "type": "jsonl", "path": results }],
        }),
    )?;
    fs::write(&once, "")?;
    committed(&site, &hub, &mut agent)?;
    agent.stop()?;
    let mut text = String::new();
    for (index, row) in rows(&recording)?.into_iter().cycle().take(ROWS).enumerate() {
        let mut row = row;
        if let Some(row) = row.as_object_mut() {
            row.insert("id".to_owned(), json!(format!("once-{index}")));
        }
        text.push_str(&format!("{row}\n"));
    }
    fs::write(&once, text)?;
    agent.start()?;
    wait_for("every row answered", PATIENCE, || {
        let told = fs::read_to_string(&results)?;
        Ok((told.matches("\"once-").count() == ROWS).then_some(()))
    })
    .with_context(|| agent.tail())?;
    agent.stop()
}

/// A small file system of its own, unmounted at the end.
struct Disk(PathBuf);

impl Disk {
    /// `None` where this process may not mount one.
    fn mount(at: &Path) -> Result<Option<Self>> {
        fs::create_dir_all(at)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK}"), "floorhand-test"])
            .arg(at)
            .output();
        Ok(mounted
            .is_ok_and(|output| output.status.success())
            .then(|| Self(at.to_owned())))
    }

    /// Takes every block that is left.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path)?;
        for size in [64 << 10, 512] {
            let block = vec![0x55; size];
            while file.write_all(&block).is_ok() {}
        }
        Ok(path)
    }
}

impl Disk {
    /// Lets the disk take changes, or none. Nobody may have a file on it open for writing.
    fn set_writable(&self, writable: bool) -> Result<()> {
        let options = if writable { "remount,rw" } else { "remount,ro" };
        let output = Command::new("mount").args(["-o", options]).arg(&self.0).output()?;
        ensure!(
            output.status.success(),
            "{options}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).output());
    }
}

#[test]
fn a_full_disk_is_told_and_what_serves_goes_on() -> Result<()> {
    let site = Site::new()?;
    let hub = site.start_hub_alone()?;
    let mut agent = device(&site, &hub.broker)?;
    let Some(disk) = Disk::mount(agent.state_dir())? else {
        say("SKIPPED: needs the right to mount a tmpfs");
        return Ok(());
    };
    hub.fleet_ok(&["enroll", DEVICE, "--key", &site.text(&format!("{DEVICE}.pub"))])?;
    agent.start()?;
    let deploy = |packed: &Path| {
        hub.fleet(&[
            "deploy",
            &packed.to_string_lossy(),
            "--device",
            DEVICE,
            "--wait",
            "--timeout",
            "60",
        ])
    };
    let first = deploy(&site.pack_fixture(1)?)?;
    ensure!(first.code == Some(0), "{first:?}\n{}", agent.tail());

    let filler = disk.fill()?;
    let second = large(&site, 2)?;
    let refused = deploy(&second)?;
    ensure!(
        refused.stderr.contains("the disk is full") || refused.stdout.contains("the disk is full"),
        "{refused:?}"
    );
    ensure!(refused.code == Some(5), "on a full disk: {refused:?}\n{}", agent.tail());
    let status = agent.wait_until("status", |status| !status.is_null())?;
    ensure!(runs(&status, "1.0.0"), "{status:#}");
    agent.wait_until("results while the disk is full", |later| {
        later["results"].as_u64() > status["results"].as_u64()
    })?;
    ensure!(
        agent.log().contains("the disk is full; free some space"),
        "{}",
        agent.tail()
    );

    // A restart on the full disk serves, too.
    agent.stop()?;
    agent.start()?;
    agent.wait_until("results after a restart", |status| {
        runs(status, "1.0.0") && status["results"].as_u64() > Some(0)
    })?;

    fs::remove_file(filler)?;
    let third = deploy(&second)?;
    ensure!(third.code == Some(0), "with room again: {third:?}\n{}", agent.tail());
    agent.wait_until("commit", |status| runs(status, "2.0.0"))?;
    agent.stop()
}

/// As after a reset on a disk whose file system has errors: the system mounts it so that it can only be read.
#[test]
fn a_disk_that_can_only_be_read_serves_what_was_committed() -> Result<()> {
    let site = Site::new()?;
    let hub = site.start_hub_alone()?;
    let mut agent = device(&site, &hub.broker)?;
    let Some(disk) = Disk::mount(agent.state_dir())? else {
        say("SKIPPED: needs the right to mount a tmpfs");
        return Ok(());
    };
    committed(&site, &hub, &mut agent)?;
    agent.stop()?;
    disk.set_writable(false)?;
    let results = site.path("results.jsonl");
    let before = fs::metadata(&results)?.len();
    agent.start()?;
    wait_for("results from a disk that can only be read", PATIENCE, || {
        ensure!(agent.process()?.is_running(), "the agent has ended");
        Ok((fs::metadata(&results)?.len() > before).then_some(()))
    })
    .with_context(|| agent.tail())?;
    let second = site.pack_fixture(2)?;
    let deploy = [
        "deploy",
        &second.to_string_lossy(),
        "--device",
        DEVICE,
        "--wait",
        "--timeout",
        "120",
    ];
    let refused = hub.fleet(&deploy)?;
    ensure!(refused.code == Some(5), "{refused:?}\n{}", agent.tail());
    for said in ["telemetry can't be kept", "the state directory can't be written"] {
        ensure!(
            agent.log().contains(said),
            "{said:?} is not in the log\n{}",
            agent.tail()
        );
    }
    agent.stop()?;

    disk.set_writable(true)?;
    agent.start()?;
    agent.wait_until("connection", |status| status["fleet_connected"] == true)?;
    let taken = hub.fleet(&deploy)?;
    ensure!(taken.code == Some(0), "{taken:?}\n{}", agent.tail());
    agent.wait_until("commit", |status| runs(status, "2.0.0"))?;
    agent.stop()
}
