//! An agent as a process, and what must not disturb it: documents that are none or not for it, samples that are none,
//! brokers that are away, a state directory that it doesn't understand.

use anyhow::{Context as _, Result, ensure};
use floorhand_bundle::{DeviceId, FleetId, PublicKey, SecretKey};
use floorhand_protocol::{Ack, Action, Command, Down, Mode, RecordBody, SeqRange, Topic, Up, UpBatch};
use floorhand_testkit::{Mosquitto, MosquittoConfig, free_port};
use floorhand_tests::{Agent, FLEET, PATIENCE, Plant, Site, rows, say, wait_for, workspace};
use floorhand_transport::{Client, Config, Event, Incoming, Qos};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const DEVICE: &str = "press-1";
/// Larger than any packet that an agent takes.
const TOO_LARGE_BYTES: usize = 400 << 10;

fn training() -> PathBuf {
    workspace().join("tests/skab/fixture/anomaly-free.csv")
}

fn runs(status: &Value, version: &str) -> bool {
    status.pointer("/active/version").and_then(Value::as_str) == Some(version)
}

/// The hub's place at the broker: acknowledges what the device sends, and keeps the events.
#[derive(Clone)]
struct Watcher {
    client: Client,
    refused: Arc<Mutex<Vec<(String, String)>>>,
}

impl Watcher {
    async fn start(broker: &str, site: &Site, agent: &Agent) -> Result<Self> {
        let mut config = Config::new(broker, "watcher");
        config.max_packet_bytes = 1 << 20;
        let (client, incoming) = Client::start(config)?;
        client
            .subscribe(Topic::filter_up(&FLEET.parse()?), Qos::AtLeastOnce)
            .await?;
        let watcher = Self {
            client,
            refused: Arc::default(),
        };
        let (device, key) = (agent.device.clone(), agent.key.clone());
        tokio::spawn(watcher.clone().watch(incoming, device, key, site.secret("assignment")?));
        Ok(watcher)
    }

    async fn watch(self, mut incoming: Incoming, device: DeviceId, key: PublicKey, hub: SecretKey) -> Result<()> {
        while let Some(event) = incoming.recv().await {
            let Event::Message(message) = event else { continue };
            let Ok(Topic::Up { kind: Up::Batch, .. }) = message.topic.parse() else {
                continue;
            };
            let batch = UpBatch::open(&message.payload, &device, &key)?.into_inner();
            let ranges = batch.records.iter().map(|record| SeqRange {
                first: record.seq,
                last: record.seq,
            });
            let ack = Ack {
                device: device.clone(),
                boot_id: batch.boot_id,
                ranges: ranges.collect(),
                gaps: vec![],
            };
            self.publish(&device, Down::Ack, ack.seal(&hub)?).await?;
            for record in batch.records {
                if let RecordBody::Event(event) = record.body
                    && event.kind == "document-refused"
                {
                    let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                    refused.push((event.subject, event.message));
                }
            }
        }
        Ok(())
    }

    async fn publish(&self, device: &DeviceId, kind: Down, payload: Vec<u8>) -> Result<()> {
        let topic = Topic::Down {
            fleet: FLEET.parse()?,
            device: device.clone(),
            kind,
        };
        self.client
            .publish(topic.to_string(), payload, Qos::AtLeastOnce, false)
            .await?;
        Ok(())
    }

    /// Waits until the device has reported that it refused a document of this kind.
    fn wait_for_refusal(&self, subject: &str) -> Result<()> {
        let told = wait_for(&format!("refusal of a bad {subject}"), PATIENCE, || {
            let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(refused.iter().find(|(of, _)| of == subject).cloned())
        })?;
        say(&format!("refused: {} ({})", told.0, told.1));
        Ok(())
    }
}

/// Documents that a device must not act on, by what is wrong with them. Were one of them taken, its sequence number would
/// keep the good ones after it out.
fn bad_documents(site: &Site, agent: &Agent) -> Result<Vec<(&'static str, Down, Vec<u8>)>> {
    let (hub, release) = (site.secret("assignment")?, site.secret("release")?);
    let mut assignment = site.assignment(&agent.device, 1000, None)?;
    assignment.mode = Mode::Paused;
    let command = Command {
        fleet: FLEET.parse()?,
        device: agent.device.clone(),
        id: 1000,
        issued_ms: assignment.issued_ms,
        expires_ms: assignment.expires_ms,
        action: Action::ReportNow,
        critical: Vec::new(),
    };
    let (good_assignment, good_command) = (assignment.seal(&hub)?, command.seal(&hub)?);
    let (mut stranger, mut abroad, mut late, mut unknown) = (
        assignment.clone(),
        assignment.clone(),
        assignment.clone(),
        assignment.clone(),
    );
    stranger.device = "press-2".parse()?;
    abroad.fleet = "plant-b".parse::<FleetId>()?;
    late.expires_ms = 1;
    unknown.critical = vec!["quota".to_owned()];
    let mut bent = good_assignment.clone();
    if let Some(byte) = bent.last_mut() {
        *byte ^= 1;
    }
    let half = |bytes: &[u8]| bytes.iter().copied().take(bytes.len() / 2).collect::<Vec<u8>>();
    let mut other_command = command.clone();
    other_command.device = "press-2".parse()?;
    Ok(vec![
        ("empty", Down::Assign, Vec::new()),
        ("text", Down::Assign, b"not a document".to_vec()),
        ("nested", Down::Assign, vec![0x81; 10_000]),
        ("oversized", Down::Assign, vec![0; 100 << 10]),
        ("larger than a packet", Down::Assign, vec![0; TOO_LARGE_BYTES]),
        ("truncated", Down::Assign, half(&good_assignment)),
        ("with another signature", Down::Assign, bent),
        ("signed by the release key", Down::Assign, assignment.seal(&release)?),
        ("for another device", Down::Assign, stranger.seal(&hub)?),
        ("for another fleet", Down::Assign, abroad.seal(&hub)?),
        ("expired", Down::Assign, late.seal(&hub)?),
        ("with an unknown critical field", Down::Assign, unknown.seal(&hub)?),
        ("a command", Down::Assign, good_command.clone()),
        ("text", Down::Command, b"{}".to_vec()),
        ("an assignment", Down::Command, good_assignment),
        ("truncated", Down::Command, half(&good_command)),
        ("for another device", Down::Command, other_command.seal(&hub)?),
        ("signed by the release key", Down::Command, command.seal(&release)?),
        ("text", Down::Ack, b"thanks".to_vec()),
        ("text", Down::Chunk, b"chunk".to_vec()),
        ("oversized", Down::Chunk, vec![0xff; 200 << 10]),
    ])
}

/// Samples that are none.
fn bad_samples(good: &Value) -> Vec<Vec<u8>> {
    let good_text = good.to_string();
    let with = |value: Value| {
        let mut sample = good.clone();
        if let Some(field) = sample.get_mut("Current") {
            *field = value;
        }
        sample.to_string()
    };
    let mut missing = good.clone();
    if let Some(object) = missing.as_object_mut() {
        object.remove("Current");
    }
    let literal = |text: &str| with(json!("HERE")).replace("\"HERE\"", text);
    let texts = [
        "{".to_owned(),
        "[1, 2]".to_owned(),
        "null".to_owned(),
        good_text.chars().take(good_text.len() / 2).collect(),
        literal("NaN"),
        literal("Infinity"),
        literal("1e999"),
        missing.to_string(),
        with(json!("12.5 A")),
        with(json!({"value": 1})),
        // These a reader of JSON takes, and no model has an answer to them.
        with(Value::Null),
        with(json!(1e300)),
        "[".repeat(100_000),
    ];
    let mut samples: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    samples.push(Vec::new());
    samples.push(vec![0xff, 0xfe, 0x00]);
    samples
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_documents_and_bad_samples_leave_a_serving_agent_serving() -> Result<()> {
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
    agent.wait_until("connections", |status| {
        status["fleet_connected"] == true && status["plant_connected"] == true
    })?;
    let watcher = Watcher::start(&broker.url(), &site, &agent).await?;
    let plant = Plant::start(&broker.url(), DEVICE).await?;
    let stick = site.export(&site.pack_fixture(1)?, &agent.device, 1)?;
    let imported = agent.import(&stick)?;
    ensure!(imported.code == Some(0), "{imported:?}\n{}", agent.tail());
    let samples = rows(&training())?;
    let feeding = plant.feed(samples.clone(), Duration::from_millis(10));
    let serving = agent.wait_until("commit", |status| runs(status, "1.0.0"));
    feeding.stop().await?;
    let serving = serving?;
    let good = samples.first().context("the recording is empty")?;

    for (what, kind, bytes) in bad_documents(&site, &agent)? {
        let sent = watcher.publish(&agent.device, kind, bytes).await;
        sent.with_context(|| format!("publishing a document that is {what}"))?;
    }
    watcher.wait_for_refusal("assignment")?;
    watcher.wait_for_refusal("command")?;
    watcher.wait_for_refusal("ack")?;
    let answered = plant.ask(vec![("after documents".to_owned(), good.clone())]).await;
    answered.with_context(|| agent.tail())?;

    let before = agent.wait_until("status", |status| status["mode"] == "run")?;
    ensure!(
        before["active"] == serving["active"] && before["seq"] == serving["seq"],
        "{before:#}"
    );
    let bad = bad_samples(good);
    let failures = before["failures"].as_u64().unwrap_or(0) + bad.len() as u64;
    for sample in bad {
        plant.send(sample).await?;
    }
    agent.wait_until("failures that are counted", |status| status["failures"] == failures)?;
    let answered = plant.ask(vec![("after samples".to_owned(), good.clone())]).await;
    answered.with_context(|| agent.tail())?;

    // What is right is still taken.
    let mut pause = site.assignment(&agent.device, 2, None)?;
    pause.mode = Mode::Paused;
    let sealed = pause.seal(&site.secret("assignment")?)?;
    watcher.publish(&agent.device, Down::Assign, sealed).await?;
    agent.wait_until("pause", |status| status["mode"] == "paused" && status["seq"] == 2)?;
    agent.stop()
}

/// Results in a JSONL sink that were made with a bundle.
fn results_of(sink: &Path, digest: &str) -> usize {
    let text = std::fs::read_to_string(sink).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["bundle"] == digest).count()
}

/// Starts the agent, and waits until there are more results of what it committed before.
fn starts_cold(agent: &mut Agent, sink: &Path, digest: &str) -> Result<()> {
    let before = results_of(sink, digest);
    agent.start()?;
    wait_for("results after a cold start", PATIENCE, || {
        Ok((results_of(sink, digest) > before).then_some(()))
    })
    .with_context(|| agent.tail())
}

#[test]
fn a_device_without_network_takes_bundles_from_a_stick_and_starts_cold() -> Result<()> {
    let site = Site::new()?;
    let sink = site.path("results.jsonl");
    let mut agent = site.device(
        DEVICE,
        &json!({
            // Nobody listens there.
            "fleet_connection": { "broker": format!("mqtt://127.0.0.1:{}", free_port()?) },
            "source": [{ "type": "file", "path": training(), "rate_hz": 200.0, "repeat": true }],
            "sink": [{ "type": "jsonl", "path": sink }],
        }),
    )?;
    let (first, second) = (site.pack_fixture(1)?, site.pack_fixture(2)?);
    let misled = agent.import(&site.export(&first, &"press-2".parse()?, 1)?)?;
    ensure!(
        misled.code == Some(6) && misled.stderr.contains("press-2"),
        "for another device: {misled:?}"
    );
    let unassigned = agent.import(&first)?;
    ensure!(unassigned.code == Some(6), "without an assignment: {unassigned:?}");

    let stick = site.export(&first, &agent.device, 1)?;
    let left = agent.import(&stick)?;
    ensure!(left.code == Some(0), "while stopped: {left:?}");
    agent.start()?;
    agent.wait_until("commit of the first", |status| runs(status, "1.0.0"))?;

    let again = agent.import(&stick)?;
    ensure!(again.code == Some(6), "what was taken before: {again:?}");
    let taken = agent.import(&site.export(&second, &agent.device, 2)?)?;
    ensure!(taken.code == Some(0), "while running: {taken:?}");
    let status = agent.wait_until("commit of the second", |status| runs(status, "2.0.0"))?;
    ensure!(
        status.pointer("/previous/version") == Some(&json!("1.0.0")) && status["fleet_connected"] == false,
        "{status:#}"
    );
    let digest = status.pointer("/active/bundle").and_then(Value::as_str);
    let digest = digest.context("the status names no bundle")?.to_owned();

    agent.stop()?;
    starts_cold(&mut agent, &sink, &digest)?;
    // A power cut is no different.
    agent.process()?.kill()?;
    starts_cold(&mut agent, &sink, &digest)?;
    agent.stop()
}

#[test]
fn a_state_directory_of_a_newer_version_is_left_alone() -> Result<()> {
    let site = Site::new()?;
    let mut agent = site.device(DEVICE, &json!({}))?;
    std::fs::create_dir(agent.state_dir())?;
    let format = agent.state_dir().join("format");
    std::fs::write(&format, "7\n")?;
    agent.start()?;
    let code = agent.process()?.wait(PATIENCE)?;
    let log = agent.log();
    ensure!(code == Some(4), "it ended with {code:?}\n{log}");
    ensure!(
        log.lines().count() == 1 && log.contains("has format 7 and this version knows up to 2"),
        "{log}"
    );
    ensure!(std::fs::read_to_string(&format)? == "7\n", "the file was changed");
    Ok(())
}
