//! The attacks on delivery of the threat table, "endless data" and "slow retrieval", and those on broadcasts: a hub whose
//! assignment key was stolen, or a broker that does as it likes, against the real agent over a real Mosquitto. The device
//! runs a committed bundle before each attack, and has to run it after.

use anyhow::{Context as _, Result, ensure};
use floorhand_bundle::{Archive, BlobRef, Chunk, Digest, Manifest};
use floorhand_protocol::{
    BROADCAST_TOKEN, ChunkBody, ChunkMessage, Down, Encoding, Fetch, JobReport, JobStatus, RecordBody, Topic, Up,
    UpBatch,
};
use floorhand_testkit::{Mosquitto, MosquittoConfig};
use floorhand_tests::{Agent, FLEET, PATIENCE, Site, noise, wait_for, workspace};
use floorhand_transport::{Client, Config, Event, Incoming, Qos};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

const DEVICE: &str = "press-1";
/// Two megabytes: many windows, so that an attack has time.
const BLOB_BYTES: usize = 2 << 20;

/// What the hostile hub has got from the device.
#[derive(Default)]
struct Seen {
    fetches: Vec<Fetch>,
    records: BTreeMap<(u64, u64), RecordBody>,
}

/// What a hub sends: on the device's own topic, or on the blob's.
enum Sent {
    Answer(ChunkMessage),
    Broadcast(ChunkMessage),
    /// Anything at all on the blob's topic.
    Noise(Digest, Vec<u8>),
}

/// A hub that does as its test says.
struct Hostile {
    _runtime: tokio::runtime::Runtime,
    client: Client,
    seen: Arc<Mutex<Seen>>,
}

impl Hostile {
    fn start(
        url: &str,
        agent: &Agent,
        answer: impl FnMut(&Fetch) -> Result<Vec<Sent>> + Send + 'static,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let _inside = runtime.enter();
        let (client, incoming) = Client::start(Config::new(url, "hub"))?;
        runtime.block_on(client.subscribe(Topic::filter_up(&FLEET.parse()?), Qos::AtLeastOnce))?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let key = (agent.device.clone(), agent.key.clone());
        runtime.spawn(play(client.clone(), incoming, Arc::clone(&seen), key, answer));
        Ok(Self {
            _runtime: runtime,
            client,
            seen,
        })
    }

    fn assign(&self, site: &Site, agent: &Agent, seq: u64, archive: &Archive) -> Result<()> {
        let assignment = site.assignment(&agent.device, seq, Some(archive))?;
        let sealed = assignment.seal(&site.secret("assignment")?)?;
        self.publish(down(agent, Down::Assign)?, sealed)
    }

    fn publish(&self, topic: String, payload: Vec<u8>) -> Result<()> {
        Ok(self.client.try_publish(topic, payload, Qos::AtLeastOnce, false)?)
    }

    fn with<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the device has reported something.
    fn record<T>(&self, what: &str, agent: &mut Agent, fits: impl Fn(&RecordBody) -> Option<T>) -> Result<T> {
        wait_for(what, PATIENCE, || {
            ensure!(agent.process()?.is_running(), "the agent has ended");
            Ok(self.with(|seen| seen.records.values().find_map(&fits)))
        })
        .with_context(|| agent.tail())
    }

    fn event(&self, kind: &str, agent: &mut Agent) -> Result<String> {
        self.record(&format!("event {kind}"), agent, |body| match body {
            RecordBody::Event(event) if event.kind == kind => Some(event.message.clone()),
            _ => None,
        })
    }

    fn ended(&self, job: &str, agent: &mut Agent) -> Result<JobReport> {
        self.record(&format!("end of {job}"), agent, |body| match body {
            RecordBody::Job(report) if report.job == job && report.status != JobStatus::InProgress => {
                Some(report.clone())
            }
            _ => None,
        })
    }
}

async fn play(
    client: Client,
    mut incoming: Incoming,
    seen: Arc<Mutex<Seen>>,
    (device, key): (floorhand_bundle::DeviceId, floorhand_bundle::PublicKey),
    mut answer: impl FnMut(&Fetch) -> Result<Vec<Sent>>,
) -> Result<()> {
    let fleet: floorhand_bundle::FleetId = FLEET.parse()?;
    while let Some(event) = incoming.recv().await {
        let Event::Message(message) = event else { continue };
        match message.topic.parse() {
            Ok(Topic::Up { kind: Up::Fetch, .. }) => {
                let fetch = Fetch::decode(&message.payload)?;
                let blob = |digest| Topic::Blob {
                    fleet: fleet.clone(),
                    digest,
                };
                for sent in answer(&fetch)? {
                    let (topic, payload) = match sent {
                        Sent::Answer(chunk) => {
                            let (fleet, device, kind) = (fleet.clone(), device.clone(), Down::Chunk);
                            (Topic::Down { fleet, device, kind }, chunk.encode()?)
                        }
                        Sent::Broadcast(chunk) => (blob(chunk.digest), chunk.encode()?),
                        Sent::Noise(digest, payload) => (blob(digest), payload),
                    };
                    client
                        .publish(topic.to_string(), payload, Qos::AtLeastOnce, false)
                        .await?;
                }
                seen.lock().unwrap_or_else(PoisonError::into_inner).fetches.push(fetch);
            }
            Ok(Topic::Up { kind: Up::Batch, .. }) => {
                let batch = UpBatch::open(&message.payload, &device, &key)?;
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let boot_id = batch.boot_id;
                seen.records.extend(
                    batch
                        .records
                        .iter()
                        .map(|record| ((boot_id, record.seq), record.body.clone())),
                );
            }
            _ => {}
        }
    }
    Ok(())
}

fn down(agent: &Agent, kind: Down) -> Result<String> {
    let (fleet, device) = (FLEET.parse()?, agent.device.clone());
    Ok(Topic::Down { fleet, device, kind }.to_string())
}

/// The blobs of a bundle, and of its manifest.
struct Content(BTreeMap<Digest, (BlobRef, Vec<u8>)>);

impl Content {
    fn of(archive: &Archive) -> Self {
        let blobs = archive.blobs.values().chain([&archive.manifest]);
        Self(
            blobs
                .map(|bytes| (Digest::of(bytes), (BlobRef::of(bytes), bytes.clone())))
                .collect(),
        )
    }

    /// A chunk's bytes.
    fn chunk(&self, digest: Digest, index: u32) -> Result<Vec<u8>> {
        let (blob, bytes) = self.0.get(&digest).context("a blob of another bundle")?;
        let (_, offset, chunk) = blob.layout().nth(index as usize).context("no such chunk")?;
        let at = usize::try_from(offset)?;
        Ok(bytes.get(at..at + chunk.length as usize).context("outside")?.to_vec())
    }

    fn honest(&self, fetch: &Fetch) -> Result<Vec<Sent>> {
        let answer = |index| {
            let bytes = self.chunk(fetch.digest, index)?;
            Ok(Sent::Answer(ChunkMessage::pack(
                fetch.token,
                fetch.digest,
                index,
                &bytes,
            )))
        };
        fetch.indices().into_iter().map(answer).collect()
    }
}

/// A device that runs version 1, brought on a stick, and a bundle that is assigned to it.
struct Scene {
    site: Site,
    broker: Mosquitto,
    agent: Agent,
    archive: Archive,
    large: BlobRef,
}

impl Scene {
    /// `None` where there is no Mosquitto. `config` has what differs from test to test.
    fn set(config: &Value) -> Result<Option<Self>> {
        let Some(broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else {
            return Ok(None);
        };
        let site = Site::new()?;
        let mut all = json!({
            "fleet_connection": { "broker": broker.url() },
            "source": [{
                "type": "file",
                "path": workspace().join("tests/skab/fixture/anomaly-free.csv"),
                "rate_hz": 200.0,
                "repeat": true,
            }],
        });
        if let (Some(all), Some(config)) = (all.as_object_mut(), config.as_object()) {
            all.extend(config.clone());
        }
        let mut agent = site.device(DEVICE, &all)?;
        agent.start()?;
        let stick = site.export(&site.pack_fixture(1)?, &agent.device, 1)?;
        let imported = agent.import(&stick)?;
        ensure!(imported.code == Some(0), "{imported:?}");
        agent.wait_until("commit", |status| runs(status, "1.0.0"))?;
        let (packed, large) = site.with_blob(&site.pack_fixture(2)?, &noise(BLOB_BYTES, 2))?;
        let archive = read(&packed)?;
        Ok(Some(Self {
            site,
            broker,
            agent,
            archive,
            large,
        }))
    }

    /// What was committed before the attack serves on.
    fn serves(&mut self) -> Result<()> {
        let now = self.agent.wait_until("status", |status| !status.is_null())?;
        ensure!(runs(&now, "1.0.0"), "{now:#}");
        self.agent
            .wait_until("more results", |status| results(status) > results(&now))
            .map(drop)
    }
}

fn read(packed: &Path) -> Result<Archive> {
    Ok(Archive::read(fs::File::open(packed)?)?)
}

fn runs(status: &Value, version: &str) -> bool {
    status.pointer("/active/version").and_then(Value::as_str) == Some(version)
}

fn results(status: &Value) -> Option<u64> {
    status.get("results").and_then(Value::as_u64)
}

fn data(fetch: &Fetch, index: u32, encoding: Encoding, data: Vec<u8>) -> Sent {
    let body = ChunkBody::Data { encoding, data };
    Sent::Answer(ChunkMessage {
        body,
        ..ChunkMessage::unknown(fetch.token, fetch.digest, index)
    })
}

#[test]
fn endless_data_chunks_that_are_longer_than_signed_are_refused() -> Result<()> {
    let Some(mut scene) = Scene::set(&json!({}))? else {
        return Ok(());
    };
    let content = Content::of(&scene.archive);
    // 10 MiB of zeros in some hundred bytes.
    let bomb = zstd_of_zeros(10 << 20)?;
    let mut attacks = 0;
    let hub = Hostile::start(&scene.broker.url(), &scene.agent, move |fetch| {
        let first = fetch.indices().first().copied().unwrap_or_default();
        attacks += 1;
        Ok(match attacks {
            2 => vec![data(fetch, first, Encoding::Zstd, bomb.clone())],
            3 => vec![data(fetch, first, Encoding::Raw, vec![7; 65_000])],
            4 => vec![data(fetch, first, Encoding::Raw, vec![7; 65_536 + 1])],
            5 => vec![Sent::Answer(ChunkMessage::pack(
                fetch.token,
                fetch.digest,
                first,
                b"short",
            ))],
            _ => content.honest(fetch)?,
        })
    })?;
    hub.assign(&scene.site, &scene.agent, 2, &scene.archive)?;
    let message = hub.event("document-refused", &mut scene.agent)?;
    ensure!(message.contains("chunk"), "{message}");
    scene.agent.wait_until("commit", |status| runs(status, "2.0.0"))?;
    scene.agent.stop()
}

/// One zstd frame that unpacks to so many zeros: a raw block can't, so run-length blocks of 128 KiB each.
fn zstd_of_zeros(length: u32) -> Result<Vec<u8>> {
    const BLOCK: u32 = 128 << 10;
    // Magic number; a frame of a single segment whose content size has four bytes.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    frame.extend(length.to_le_bytes());
    let blocks = length / BLOCK;
    for block in 1..=blocks {
        // RFC 8878, 3.1.1.2: last block, type 1 (run length), size.
        let header = u32::from(block == blocks) | 1 << 1 | BLOCK << 3;
        frame.extend(header.to_le_bytes().get(..3).context("three bytes")?);
        frame.push(0);
    }
    Ok(frame)
}

#[test]
fn endless_data_a_manifest_that_claims_to_be_huge_is_not_fetched() -> Result<()> {
    let Some(mut scene) = Scene::set(&json!({}))? else {
        return Ok(());
    };
    let hub = Hostile::start(&scene.broker.url(), &scene.agent, |_| Ok(vec![]))?;
    let mut assignment = scene.site.assignment(&scene.agent.device, 2, Some(&scene.archive))?;
    let chunk = |number: u32| Chunk {
        sha256: Digest::of(&number.to_le_bytes()),
        length: 65_536,
    };
    if let Some(run) = &mut assignment.run {
        run.manifest = BlobRef {
            sha256: Digest::of(b"huge"),
            length: 200 * 65_536,
            chunks: (0..200).map(chunk).collect(),
        };
    }
    let sealed = assignment.seal(&scene.site.secret("assignment")?)?;
    hub.publish(down(&scene.agent, Down::Assign)?, sealed)?;
    let message = hub.event("document-refused", &mut scene.agent)?;
    ensure!(
        message.contains("its manifest is said to have 13107200 bytes"),
        "{message}"
    );
    scene.serves()?;
    ensure!(hub.with(|seen| seen.fetches.is_empty()), "something was asked for");
    scene.agent.stop()
}

#[test]
fn endless_data_a_bundle_beyond_the_budget_is_refused_before_a_chunk_is_asked_for() -> Result<()> {
    let config = json!({ "store": { "blob_budget_bytes": 2 << 20 } });
    let Some(mut scene) = Scene::set(&config)? else {
        return Ok(());
    };
    let content = Content::of(&scene.archive);
    let hub = Hostile::start(&scene.broker.url(), &scene.agent, move |fetch| content.honest(fetch))?;
    hub.assign(&scene.site, &scene.agent, 2, &scene.archive)?;
    let report = hub.ended("job-2", &mut scene.agent)?;
    ensure!(report.status == JobStatus::Failed, "{report:?}");
    ensure!(
        report.reason.contains("budget of 2097152") && report.reason.contains("raise the budget"),
        "{report:?}"
    );
    let (manifest, _, _) = Manifest::inspect_unverified(&scene.archive.manifest)?;
    let asked: Vec<Digest> = hub.with(|seen| seen.fetches.iter().map(|fetch| fetch.digest).collect());
    ensure!(!asked.contains(&scene.large.sha256), "the large blob was asked for");
    ensure!(
        !manifest
            .components
            .iter()
            .any(|component| asked.contains(&component.blob.sha256)),
        "a component was asked for"
    );
    scene.serves()?;
    scene.agent.stop()
}

#[test]
fn slow_retrieval_a_hub_that_stops_sending_is_told_and_given_up() -> Result<()> {
    let config = json!({ "fetch": { "timeout_s": 12 } });
    let Some(mut scene) = Scene::set(&config)? else {
        return Ok(());
    };
    let (content, large) = (Content::of(&scene.archive), scene.large.sha256);
    let hub = Hostile::start(&scene.broker.url(), &scene.agent, move |fetch| {
        if fetch.digest == large {
            return Ok(vec![]);
        }
        content.honest(fetch)
    })?;
    hub.assign(&scene.site, &scene.agent, 2, &scene.archive)?;
    let message = hub.event("slow-retrieval", &mut scene.agent)?;
    ensure!(message.contains("at least 768 have to"), "{message}");
    let report = hub.ended("job-2", &mut scene.agent)?;
    ensure!(report.status == JobStatus::TimedOut, "{report:?}");
    ensure!(report.reason.contains("at least 3072 have to"), "{report:?}");
    let asked = hub.with(|seen| seen.fetches.iter().filter(|fetch| fetch.digest == large).count());
    ensure!(asked >= 2, "it was asked for {asked} times: it has to be tried again");
    scene.serves()?;
    scene.agent.stop()
}

#[test]
fn slow_retrieval_a_trickle_above_the_minimum_meets_the_deadline() -> Result<()> {
    let config = json!({ "fetch": { "timeout_s": 600, "min_rate_bytes_per_s": 0, "deadline_s": 15 } });
    let Some(mut scene) = Scene::set(&config)? else {
        return Ok(());
    };
    let (content, large) = (Content::of(&scene.archive), scene.large.sha256);
    let hub = Hostile::start(&scene.broker.url(), &scene.agent, move |fetch| {
        let mut answers = content.honest(fetch)?;
        if fetch.digest == large {
            answers.truncate(1);
        }
        Ok(answers)
    })?;
    hub.assign(&scene.site, &scene.agent, 2, &scene.archive)?;
    let report = hub.ended("job-2", &mut scene.agent)?;
    ensure!(report.status == JobStatus::TimedOut, "{report:?}");
    ensure!(report.reason.contains("all the time there is"), "{report:?}");
    scene.serves()?;
    scene.agent.stop()
}

#[test]
fn broadcasts_that_are_forged_are_refused_and_listened_to_no_more() -> Result<()> {
    let Some(mut scene) = Scene::set(&json!({}))? else {
        return Ok(());
    };
    let (content, large) = (Content::of(&scene.archive), scene.large.sha256);
    let count = scene.large.chunks.len() as u32;
    let hub = Hostile::start(&scene.broker.url(), &scene.agent, move |fetch| {
        let mut sent = Vec::new();
        if fetch.digest == large {
            for index in 0..count {
                let forged = ChunkMessage::pack(BROADCAST_TOKEN, large, index, &noise(1000, index.into()));
                sent.push(Sent::Broadcast(forged));
                sent.push(Sent::Noise(large, vec![0xff; 100]));
            }
        }
        sent.extend(content.honest(fetch)?);
        Ok(sent)
    })?;
    hub.assign(&scene.site, &scene.agent, 2, &scene.archive)?;
    let message = hub.event("document-refused", &mut scene.agent)?;
    ensure!(message.contains("chunk") || message.contains("not what"), "{message}");
    scene.agent.wait_until("commit", |status| runs(status, "2.0.0"))?;
    let listening = hub.with(|seen| {
        let of_large = seen.fetches.iter().filter(|fetch| fetch.digest == large);
        of_large.filter(|fetch| !fetch.wanted.is_empty()).count()
    });
    ensure!(listening <= 2, "it went on listening in {listening} requests");
    scene.agent.stop()
}

/// The hub, or the broker, answers nobody who listens, and publishes nothing.
#[test]
fn broadcasts_that_are_withheld_cost_a_bounded_time() -> Result<()> {
    let Some(mut scene) = Scene::set(&json!({}))? else {
        return Ok(());
    };
    let content = Content::of(&scene.archive);
    let hub = Hostile::start(&scene.broker.url(), &scene.agent, move |fetch| {
        if fetch.wanted.is_empty() {
            content.honest(fetch)
        } else {
            Ok(vec![])
        }
    })?;
    hub.assign(&scene.site, &scene.agent, 2, &scene.archive)?;
    scene.agent.wait_until("commit", |status| runs(status, "2.0.0"))?;
    scene.agent.stop()
}
