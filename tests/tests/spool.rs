//! Telemetry while the broker is away: a small spool overflows, the agent is killed and stopped meanwhile, and in the end
//! every sequence number is a row at the hub or counted by a gap.

use anyhow::{Context as _, Result, ensure};
use floorhand_testkit::{Mosquitto, MosquittoConfig};
use floorhand_tests::{Agent, Hub, PATIENCE, Site, say, wait_for, workspace};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const DEVICE: &str = "press-1";
/// The least that a spool may have.
const BUDGET_BYTES: u64 = 2 << 20;
/// Samples a second, each of which becomes a record: some seconds of them fill the spool.
const RATE_HZ: f64 = 1500.0;
/// Samples a second with a value out of range: each begins an episode, which is a finding.
const WRONG_HZ: f64 = 5.0;
/// Records that each of the three boots has to lose, at least, before the next thing happens.
const DROPPED: u64 = 1500;

fn number(of: &Value, key: &str) -> Result<u64> {
    of[key].as_u64().with_context(|| format!("no {key} in {of}"))
}

/// The recording with a value out of range in every row.
fn out_of_range(site: &Site, recording: &Path) -> Result<PathBuf> {
    let text = fs::read_to_string(recording)?;
    let (header, rows) = text.split_once('\n').context("an empty recording")?;
    let column = header
        .split(';')
        .position(|name| name.trim() == "Voltage")
        .context("no Voltage")?;
    let mut wrong = format!("{header}\n");
    for row in rows.lines() {
        let cells = row.split(';').enumerate();
        let cells: Vec<&str> = cells
            .map(|(at, cell)| if at == column { "9999" } else { cell })
            .collect();
        wrong.push_str(&format!("{}\n", cells.join(";")));
    }
    let path = site.path("wrong.csv");
    fs::write(&path, wrong)?;
    Ok(path)
}

fn device(site: &Site, broker: &str) -> Result<Agent> {
    let recording = workspace().join("tests/skab/fixture/anomaly-free.csv");
    let wrong = out_of_range(site, &recording)?;
    let source =
        |path: &Path, rate_hz: f64| json!({ "type": "file", "path": path, "rate_hz": rate_hz, "repeat": true });
    site.device(
        DEVICE,
        &json!({
            "fleet_connection": { "broker": broker },
            "source": [source(&recording, RATE_HZ), source(&wrong, WRONG_HZ)],
            "sink": [{ "type": "jsonl", "path": site.path("results.jsonl"), "findings": true }],
            "telemetry": {
                "metrics_interval_s": 1,
                "spool_budget_bytes": BUDGET_BYTES,
                "high_reserve_bytes": BUDGET_BYTES / 2,
            },
        }),
    )
}

fn dropped(status: &Value) -> u64 {
    status.pointer("/spool/dropped").and_then(Value::as_u64).unwrap_or(0)
}

/// Waits until the spool has dropped so many; its file never exceeds the budget.
fn overflow(agent: &mut Agent, before: u64) -> Result<u64> {
    let spool = agent.state_dir().join("spool.redb");
    let status = agent.wait_until("overflow", |status| dropped(status) >= before + DROPPED)?;
    let length = spool.metadata()?.len();
    ensure!(length <= BUDGET_BYTES, "the spool's file has {length} bytes");
    Ok(dropped(&status))
}

/// Findings that the device has told its plant in the file that there is.
fn findings(site: &Site) -> Result<usize> {
    let told = fs::read_to_string(site.path("results.jsonl"))?;
    Ok(told.lines().filter(|line| !line.contains("\"outputs\"")).count())
}

/// What the hub has of one boot.
#[derive(Default)]
struct Boot {
    first_ms: u64,
    rows: BTreeSet<u64>,
    findings: usize,
    /// First, last, lost.
    gaps: Vec<(u64, u64, u64)>,
}

impl Boot {
    /// How many were offered; every one of them is a row, or lies in a gap and is counted by it.
    fn offered(&self) -> Result<u64> {
        let ends = self.gaps.iter().map(|(_, last, _)| *last);
        let offered = ends.chain(self.rows.iter().copied()).max().unwrap_or(0);
        let is_declared = |seq: u64| self.gaps.iter().any(|(first, last, _)| (*first..=*last).contains(&seq));
        let lost: Vec<u64> = (1..=offered).filter(|seq| !self.rows.contains(seq)).collect();
        let undeclared = lost.iter().find(|seq| !is_declared(**seq));
        ensure!(
            undeclared.is_none(),
            "number {undeclared:?} of {offered} is neither a row nor in a gap"
        );
        let counted: u64 = self.gaps.iter().map(|(_, _, lost)| lost).sum();
        ensure!(
            counted == lost.len() as u64,
            "gaps count {counted}, missing are {}",
            lost.len()
        );
        Ok(offered)
    }
}

fn boots(hub: &Hub, records: &[Value]) -> Result<Vec<Boot>> {
    let mut boots: BTreeMap<String, Boot> = BTreeMap::new();
    for record in records {
        let boot = boots.entry(record["boot_id"].to_string()).or_default();
        let time_ms = number(record, "time_ms")?;
        boot.first_ms = if boot.rows.is_empty() {
            time_ms
        } else {
            boot.first_ms.min(time_ms)
        };
        boot.findings += usize::from(record["kind"] == "finding");
        ensure!(boot.rows.insert(number(record, "seq")?), "twice: {record}");
    }
    for gap in hub.get("gaps?limit=1000")?.as_array().context("no gaps")? {
        let boot = boots.entry(gap["boot_id"].to_string()).or_default();
        boot.gaps
            .push((number(gap, "first")?, number(gap, "last")?, number(gap, "lost")?));
    }
    let mut boots: Vec<Boot> = boots.into_values().collect();
    boots.sort_by_key(|boot| boot.first_ms);
    Ok(boots)
}

fn check(hub: &Hub, drained: &Value, arrived: usize, findings_of_second: usize) -> Result<()> {
    let records = hub.records()?;
    let boots = boots(hub, &records)?;
    ensure!(boots.len() == 3, "{} boots", boots.len());
    let mut offered = 0;
    for (index, boot) in boots.iter().enumerate() {
        offered += boot.offered().with_context(|| format!("boot {index}"))?;
    }
    let lost: u64 = boots.iter().flat_map(|boot| &boot.gaps).map(|(_, _, lost)| lost).sum();
    // The device counts what it dropped, also when that had been sent and its acknowledgement was under way.
    ensure!(
        lost <= dropped(drained),
        "the hub knows of {lost} lost, the device of {}",
        dropped(drained)
    );
    ensure!(offered == records.len() as u64 + lost, "{offered} offered");
    let second = boots.get(1).context("no second boot")?;
    ensure!(
        findings_of_second > 0,
        "no finding: the test shows nothing of the highest priority"
    );
    ensure!(
        second.findings == findings_of_second,
        "the plant was told {findings_of_second} findings, the hub has {}",
        second.findings
    );
    // Behind what was there before: live data first, then what was held back.
    let (_, since) = records.split_at(arrived);
    let live = since.iter().position(|record| record["historical"] == false);
    let held_back = since.iter().position(|record| record["historical"] == true);
    ensure!(
        live == Some(0) && held_back.is_some(),
        "first live {live:?}, first held back {held_back:?}"
    );
    let last_live = since.iter().rposition(|record| record["historical"] == false);
    ensure!(last_live > held_back, "nothing live came while the rest was drained");
    say(&format!(
        "{offered} records offered = {} rows + {lost} in {} gaps; {} came behind live data",
        records.len(),
        boots.iter().map(|boot| boot.gaps.len()).sum::<usize>(),
        since.iter().filter(|record| record["historical"] == true).count(),
    ));
    Ok(())
}

#[test]
fn what_a_small_spool_loses_while_the_broker_is_away_is_declared_to_the_last_record() -> Result<()> {
    let Some(mut broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else {
        return Ok(());
    };
    let site = Site::new()?;
    let hub = site.start_hub_at(&broker.url())?;
    let mut agent = device(&site, &broker.url())?;
    hub.fleet_ok(&["enroll", DEVICE, "--key", &site.text(&format!("{DEVICE}.pub"))])?;
    agent.start()?;
    let packed = site.pack_fixture(1)?;
    let packed = packed.to_string_lossy();
    let deployed = hub.fleet_ok(&["deploy", &packed, "--device", DEVICE, "--wait", "--timeout", "120"]);
    deployed.with_context(|| agent.tail())?;
    agent.wait_until("commit", |status| status["active"]["version"] == "1.0.0")?;
    hub.fleet_ok(&["set-sampling", DEVICE, "1"])?;
    broker.stop()?;
    agent.wait_until("disconnection", |status| status["fleet_connected"] == false)?;

    let first = overflow(&mut agent, 0)?;
    agent.process()?.kill()?;
    // The last line can be cut.
    fs::remove_file(site.path("results.jsonl"))?;
    agent.start()?;
    let second = overflow(&mut agent, first)?;
    agent.stop()?;
    let of_second = findings(&site)?;
    agent.start()?;
    overflow(&mut agent, second)?;
    let arrived = hub.records()?.len();
    broker.restart()?;
    agent.wait_until("connection", |status| status["fleet_connected"] == true)?;
    wait_for("fewer records", PATIENCE, || {
        let ended = hub.fleet(&["set-sampling", DEVICE, "0"])?;
        Ok((ended.code == Some(0)).then_some(()))
    })?;
    let drained = agent.wait_until("empty spool", |status| status["spool"]["records"] == 0)?;
    check(&hub, &drained, arrived, of_second)?;
    agent.stop()
}
