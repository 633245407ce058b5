//! A hub whose assignment key was stolen, or a broker that does as it likes, and the device that it is set on.

use anyhow::{Context as _, Result, ensure};
use floorhand_bundle::{Archive, BlobRef, DeviceId, Digest, FleetId, PublicKey, SecretKey};
use floorhand_protocol::{
    Ack, Answer, ChunkMessage, Down, Fetch, JobReport, JobStatus, RecordBody, SeqRange, Topic, Up, UpBatch,
};
use floorhand_testkit::{Mosquitto, MosquittoConfig};
use floorhand_tests::{Agent, FLEET, PATIENCE, Site, noise, say, wait_for, workspace};
use floorhand_transport::{Client, Config, Event, Incoming, Qos};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const DEVICE: &str = "press-1";
/// Two megabytes: many windows, so that an attack has time.
const BLOB_BYTES: usize = 2 << 20;

/// What the hostile hub has got from the device.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) fetches: Vec<Fetch>,
    pub(crate) records: BTreeMap<(u64, u64), RecordBody>,
    pub(crate) answers: Vec<Answer>,
}

/// What a hub sends: on the device's own topic, or on the blob's.
pub(crate) enum Sent {
    Answer(ChunkMessage),
    Broadcast(ChunkMessage),
    /// Anything at all on the blob's topic.
    Noise(Digest, Vec<u8>),
}

/// A hub that does as its test says. It acknowledges what the device reports: a device that hears nothing waits longer and
/// longer before it sends more, and the test with it.
pub(crate) struct Hostile {
    _runtime: tokio::runtime::Runtime,
    client: Client,
    seen: Arc<Mutex<Seen>>,
}

impl Hostile {
    pub(crate) fn start(
        scene: &Scene,
        answer: impl FnMut(&Fetch) -> Result<Vec<Sent>> + Send + 'static,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let _inside = runtime.enter();
        let (client, incoming) = Client::start(Config::new(scene.broker.url(), "hub"))?;
        runtime.block_on(client.subscribe(Topic::filter_up(&FLEET.parse()?), Qos::AtLeastOnce))?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let player = Player {
            client: client.clone(),
            fleet: FLEET.parse()?,
            device: scene.agent.device.clone(),
            key: scene.agent.key.clone(),
            assignment: scene.site.secret("assignment")?,
            seen: Arc::clone(&seen),
        };
        runtime.spawn(async move {
            if let Err(error) = player.play(incoming, answer).await {
                // What waits for it tells the rest.
                say(&format!("the hostile hub has ended: {error:#}"));
            }
        });
        Ok(Self {
            _runtime: runtime,
            client,
            seen,
        })
    }

    pub(crate) fn assign(&self, site: &Site, agent: &Agent, seq: u64, archive: &Archive) -> Result<()> {
        let assignment = site.assignment(&agent.device, seq, Some(archive))?;
        let sealed = assignment.seal(&site.secret("assignment")?)?;
        self.publish(down(agent, Down::Assign)?, sealed)
    }

    pub(crate) fn publish(&self, topic: String, payload: Vec<u8>) -> Result<()> {
        Ok(self.client.try_publish(topic, payload, Qos::AtLeastOnce, false)?)
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the device has reported something.
    pub(crate) fn record<T>(
        &self,
        what: &str,
        agent: &mut Agent,
        fits: impl Fn(&RecordBody) -> Option<T>,
    ) -> Result<T> {
        wait_for(what, PATIENCE, || {
            ensure!(agent.process()?.is_running(), "the agent has ended");
            Ok(self.with(|seen| seen.records.values().find_map(&fits)))
        })
        .with_context(|| agent.tail())
    }

    /// Waits for the answer to an assignment or a command.
    pub(crate) fn answer(&self, to: &str, agent: &mut Agent) -> Result<Answer> {
        wait_for(&format!("answer to {to}"), PATIENCE, || {
            let found = |seen: &Seen| seen.answers.iter().find(|answer| answer.to == to).cloned();
            Ok(self.with(found))
        })
        .with_context(|| agent.tail())
    }

    pub(crate) fn event(&self, kind: &str, agent: &mut Agent) -> Result<String> {
        self.record(&format!("event {kind}"), agent, |body| match body {
            RecordBody::Event(event) if event.kind == kind => Some(event.message.clone()),
            _ => None,
        })
    }

    pub(crate) fn ended(&self, job: &str, agent: &mut Agent) -> Result<JobReport> {
        self.record(&format!("end of {job}"), agent, |body| match body {
            RecordBody::Job(report) if report.job == job && report.status != JobStatus::InProgress => {
                Some(report.clone())
            }
            _ => None,
        })
    }
}

/// What the hostile hub does with what it gets.
struct Player {
    client: Client,
    fleet: FleetId,
    device: DeviceId,
    key: PublicKey,
    assignment: SecretKey,
    seen: Arc<Mutex<Seen>>,
}

impl Player {
    async fn play(&self, mut incoming: Incoming, mut answer: impl FnMut(&Fetch) -> Result<Vec<Sent>>) -> Result<()> {
        while let Some(event) = incoming.recv().await {
            let Event::Message(message) = event else { continue };
            match message.topic.parse() {
                Ok(Topic::Up { kind: Up::Fetch, .. }) => {
                    let fetch = Fetch::decode(&message.payload)?;
                    for sent in answer(&fetch)? {
                        self.send(sent).await?;
                    }
                    self.seen().fetches.push(fetch);
                }
                Ok(Topic::Up { kind: Up::Batch, .. }) => {
                    let batch = UpBatch::open(&message.payload, &self.device, &self.key)?.into_inner();
                    self.acknowledge(&batch).await?;
                    let boot_id = batch.boot_id;
                    let records = batch.records.into_iter();
                    let records = records.map(|record| ((boot_id, record.seq), record.body));
                    self.seen().records.extend(records);
                }
                Ok(Topic::Up { kind: Up::Answer, .. }) => {
                    let answer = Answer::open(&message.payload, &self.device, &self.key)?;
                    self.seen().answers.push(answer.into_inner());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, sent: Sent) -> Result<()> {
        let blob = |digest| Topic::Blob {
            fleet: self.fleet.clone(),
            digest,
        };
        let (topic, payload) = match sent {
            Sent::Answer(chunk) => (self.down(Down::Chunk), chunk.encode()?),
            Sent::Broadcast(chunk) => (blob(chunk.digest), chunk.encode()?),
            Sent::Noise(digest, payload) => (blob(digest), payload),
        };
        self.publish(topic, payload).await
    }

    async fn acknowledge(&self, batch: &UpBatch) -> Result<()> {
        let range = |seq| SeqRange { first: seq, last: seq };
        let ack = Ack {
            device: self.device.clone(),
            boot_id: batch.boot_id,
            ranges: batch.records.iter().map(|record| range(record.seq)).collect(),
            gaps: vec![],
        };
        self.publish(self.down(Down::Ack), ack.seal(&self.assignment)?).await
    }

    fn down(&self, kind: Down) -> Topic {
        let (fleet, device) = (self.fleet.clone(), self.device.clone());
        Topic::Down { fleet, device, kind }
    }

    async fn publish(&self, topic: Topic, payload: Vec<u8>) -> Result<()> {
        let (topic, qos) = (topic.to_string(), Qos::AtLeastOnce);
        Ok(self.client.publish(topic, payload, qos, false).await?)
    }
}

pub(crate) fn down(agent: &Agent, kind: Down) -> Result<String> {
    let (fleet, device) = (FLEET.parse()?, agent.device.clone());
    Ok(Topic::Down { fleet, device, kind }.to_string())
}

/// The blobs of a bundle, and of its manifest.
pub(crate) struct Content(pub(crate) BTreeMap<Digest, (BlobRef, Vec<u8>)>);

impl Content {
    pub(crate) fn of(archive: &Archive) -> Self {
        let blobs = archive.blobs.values().chain([&archive.manifest]);
        Self(
            blobs
                .map(|bytes| (Digest::of(bytes), (BlobRef::of(bytes), bytes.clone())))
                .collect(),
        )
    }

    /// A chunk's bytes.
    pub(crate) fn chunk(&self, digest: Digest, index: u32) -> Result<Vec<u8>> {
        let (blob, bytes) = self.0.get(&digest).context("a blob of another bundle")?;
        let (_, offset, chunk) = blob.layout().nth(index as usize).context("no such chunk")?;
        let at = usize::try_from(offset)?;
        Ok(bytes.get(at..at + chunk.length as usize).context("outside")?.to_vec())
    }

    pub(crate) fn honest(&self, fetch: &Fetch) -> Result<Vec<Sent>> {
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
pub(crate) struct Scene {
    pub(crate) site: Site,
    pub(crate) broker: Mosquitto,
    pub(crate) agent: Agent,
    pub(crate) archive: Archive,
    pub(crate) large: BlobRef,
}

impl Scene {
    /// `None` where there is no Mosquitto. `config` has what differs from test to test.
    pub(crate) fn set(config: &Value) -> Result<Option<Self>> {
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
    pub(crate) fn serves(&mut self) -> Result<()> {
        let now = self.agent.wait_until("status", |status| !status.is_null())?;
        ensure!(runs(&now, "1.0.0"), "{now:#}");
        self.agent
            .wait_until("more results", |status| results(status) > results(&now))
            .map(drop)
    }
}

pub(crate) fn read(packed: &Path) -> Result<Archive> {
    Ok(Archive::read(fs::File::open(packed)?)?)
}

pub(crate) fn runs(status: &Value, version: &str) -> bool {
    status.pointer("/active/version").and_then(Value::as_str) == Some(version)
}

pub(crate) fn results(status: &Value) -> Option<u64> {
    status.get("results").and_then(Value::as_u64)
}
