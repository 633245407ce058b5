//! A bundle with a decoder on a device: messages of several samples come over MQTT, and each sample has its result.

use anyhow::{Context as _, Result, ensure};
use floorhand_testkit::{Mosquitto, MosquittoConfig};
use floorhand_tests::{Agent, Plant, Site, rows, wait_for, workspace};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const DEVICE: &str = "press-1";
/// Rows of a message.
const ROWS: usize = 3;
/// What the largest message may cost, its own bytes, those in the decoder's 16 MiB and its samples together.
const MAX_MORE_KIB: u64 = 64 << 10;

/// What stands before the inputs in a `bundle.toml`: the rows of a list, each with its id, all of one machine.
const DECODER: &str = r#"[decoder]
name = "rows"
plugin = "builtin:json-paths"
limits = { deadline_ms = 5_000 }

[decoder.config]
max_bytes = 8_388_608
samples = "/rows"
id = { path = "id" }
key = { path = "/machine", from = "message" }
outputs = [{ name = "sensors", fields = [FIELDS] }]

[[input]]"#;

/// Packs the bundle of tests/skab with a decoder before it. Its first golden case is a message of two samples.
fn pack(site: &Site, major: u64) -> Result<PathBuf> {
    site.pack_fixture(major)?;
    let folder = site.path(&format!("bundle-{major}"));
    let recipe = fs::read_to_string(folder.join("bundle.toml"))?;
    let fields = recipe
        .split("fields = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next());
    let fields = fields.context("the recipe has no fields")?.to_owned();
    let named: Vec<String> = fields
        .split(", ")
        .map(|name| format!("{{ name = {name}, path = {} }}", name.replacen('"', "\"/", 1)))
        .collect();
    let decoder = DECODER.replace("FIELDS", &named.join(", "));
    fs::write(folder.join("bundle.toml"), recipe.replacen("[[input]]", &decoder, 1))?;
    let cases = fs::read_to_string(folder.join("golden.jsonl"))?;
    let names: Vec<&str> = fields.split(", ").map(|name| name.trim_matches('"')).collect();
    let (mut samples, mut outputs) = (Vec::new(), Vec::new());
    for case in cases.lines().take(2) {
        let case: Value = serde_json::from_str(case)?;
        let values = case.pointer("/input/sensors/0").and_then(Value::as_array);
        let values = values.context("a case has no sensors")?.iter().cloned();
        samples.push(Value::Object(
            names.iter().map(ToString::to_string).zip(values).collect(),
        ));
        outputs.push(case.get("output").cloned().unwrap_or_default());
    }
    let message = json!({ "machine": "m", "rows": samples }).to_string();
    let first = json!({ "message": message, "outputs": outputs }).to_string();
    let rest: Vec<&str> = cases.lines().skip(2).collect();
    fs::write(folder.join("golden.jsonl"), format!("{first}\n{}\n", rest.join("\n")))?;
    site.pack(&folder, &format!("decoder-{major}.fhb"))
}

/// A message of consecutive rows of the recording.
fn message(rows: &[Value], ids: &str) -> Value {
    let rows = rows.iter().enumerate().map(|(at, row)| {
        let mut row = row.clone();
        if let Some(object) = row.as_object_mut() {
            object.insert("id".to_owned(), format!("{ids}-{at}").into());
        }
        row
    });
    json!({ "machine": "valve-1", "rows": rows.collect::<Vec<_>>() })
}

fn runs(status: &Value, version: &str) -> bool {
    status.pointer("/active/version").and_then(Value::as_str) == Some(version)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_of_a_message_has_its_result() -> Result<()> {
    let Some(broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else {
        return Ok(());
    };
    let (source, sink) = Plant::topics(DEVICE);
    let site = Site::new()?;
    let mut agent = site.device(
        DEVICE,
        &json!({
            "fleet_connection": { "broker": broker.url() },
            "plant_connection": { "broker": broker.url() },
            "source": [{ "type": "mqtt", "topic": source }],
            "sink": [{ "type": "mqtt", "topic": sink }],
        }),
    )?;
    agent.start()?;
    agent.wait_until("connections", |status| status["plant_connected"] == true)?;
    let plant = Plant::start(&broker.url(), DEVICE).await?;
    let recording = rows(&workspace().join("tests/skab/fixture/anomaly-free.csv"))?;
    let messages: Vec<Value> = recording.chunks_exact(ROWS).map(|rows| message(rows, "feed")).collect();
    // The first has nothing beside it, the second is tried beside the first.
    for major in 1..=2 {
        let stick = site.export(&pack(&site, major)?, &agent.device, major)?;
        let imported = agent.import(&stick)?;
        ensure!(imported.code == Some(0), "{imported:?}\n{}", agent.tail());
        let feeding = plant.feed(messages.clone(), Duration::from_millis(30));
        let committed = agent.wait_until("commit", |status| runs(status, &format!("{major}.0.0")));
        feeding.stop().await?;
        committed?;
    }

    let asked = recording.get(..ROWS).context("the recording is short")?;
    plant.send(message(asked, "asked").to_string()).await?;
    for at in 0..ROWS {
        let id = format!("asked-{at}");
        let result = wait_for(&id, Duration::from_secs(30), || Ok(plant.result(&id)))?;
        ensure!(
            result["key"] == "valve-1" && result["outputs"]["score"].is_array(),
            "{result}"
        );
    }
    let before = agent.status()?.context("no status")?;
    // One row of three is none, and a message that is none at all.
    let mut broken = message(asked, "broken");
    broken["rows"][1] = json!({ "id": "broken-1", "Current": "much" });
    plant.send(broken.to_string()).await?;
    plant.send("no message").await?;
    for id in ["broken-0", "broken-2"] {
        wait_for(id, Duration::from_secs(30), || Ok(plant.result(id)))?;
    }
    let after = agent.wait_until("failures", |status| {
        status["failures"].as_u64() >= before["failures"].as_u64().map(|failures| failures + 2)
    })?;
    let rise = |name: &str| Some(after[name].as_u64()? - before[name].as_u64()?);
    ensure!(
        (rise("samples"), rise("results"), rise("failures")) == (Some(4), Some(2), Some(2)),
        "{before}\n{after}"
    );
    agent.stop()?;
    Ok(())
}

/// The largest that the process has been, in KiB.
fn peak_kib(agent: &mut Agent) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.process()?.id()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().strip_suffix("kB"));
    Ok(kib.context("no VmHWM")?.trim().parse()?)
}

/// Samples of one message: the most that there may be, and one more.
#[test]
fn as_many_samples_as_a_message_may_hold_go_by_one_by_one() -> Result<()> {
    let site = Site::new()?;
    let (messages, results) = (site.path("messages.jsonl"), site.path("results.jsonl"));
    let recording = rows(&workspace().join("tests/skab/fixture/anomaly-free.csv"))?;
    let small: Vec<String> = recording
        .chunks_exact(ROWS)
        .map(|rows| message(rows, "feed").to_string())
        .collect();
    fs::write(&messages, small.join("\n"))?;
    let mut agent = site.device(
        DEVICE,
        &json!({
            "source": [{ "type": "file", "path": messages, "format": "jsonl", "rate_hz": 30.0, "repeat": true }],
            "sink": [{ "type": "jsonl", "path": results }],
        }),
    )?;
    agent.start()?;
    let stick = site.export(&pack(&site, 1)?, &agent.device, 1)?;
    let imported = agent.import(&stick)?;
    ensure!(imported.code == Some(0), "{imported:?}\n{}", agent.tail());
    agent.wait_until("commit", |status| runs(status, "1.0.0"))?;
    let before_kib = peak_kib(&mut agent)?;
    agent.stop()?;

    let many = |count: usize, ids: &str| {
        let rows: Vec<Value> = recording.iter().cycle().take(count).cloned().collect();
        message(&rows, ids).to_string()
    };
    fs::write(&messages, format!("{}\n{}\n", many(4097, "over"), many(4096, "all")))?;
    fs::write(&results, "")?;
    agent.start()?;
    let last = "\"id\":\"all-4095\"";
    let told = wait_for("the last sample", Duration::from_secs(120), || {
        let told = fs::read_to_string(&results)?;
        Ok(told.contains(last).then_some(told))
    })?;
    let after_kib = peak_kib(&mut agent)?;
    let status = agent.status()?.context("no status")?;
    agent.stop()?;
    let told = told.lines().take(4096).map(serde_json::from_str::<Value>);
    for (at, result) in told.enumerate() {
        let result = result?;
        ensure!(result["id"] == format!("all-{at}"), "in place {at}: {result}");
    }
    ensure!(status["failures"].as_u64() > Some(0), "4,097 samples: {status}");
    ensure!(
        after_kib < before_kib + MAX_MORE_KIB,
        "{before_kib} KiB with messages of {ROWS} samples, {after_kib} KiB with these"
    );
    Ok(())
}
