//! What the demo sees from outside: a subscription of its own to everything that devices send.
//!
//! Signatures are checked with the keys that the devices were enrolled with, so nothing here is what somebody else says
//! about a device.

use anyhow::Result;
use floorhand_bundle::{DeviceId, FleetId, PublicKey};
use floorhand_protocol::{Finding, JobReport, RecordBody, Topic, Up, UpBatch};
use floorhand_transport::{Client, Config, Event, Incoming, Qos};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Steps of deployments, in the order in which they came, with the device.
    pub jobs: Vec<(DeviceId, JobReport)>,
    /// Findings, with the device.
    pub findings: Vec<(DeviceId, Finding)>,
    /// Sequence numbers of records by device and boot.
    pub records: BTreeMap<(DeviceId, u64), BTreeSet<u64>>,
    /// Samples that devices have counted, by device, boot and record.
    pub samples: BTreeMap<(DeviceId, u64, u64), u64>,
    /// Messages whose signature didn't hold.
    pub refused: u64,
}

/// An observer at work.
#[derive(Clone)]
pub(super) struct Observer {
    seen: Arc<Mutex<Seen>>,
    client: Client,
}

impl Observer {
    /// Subscribes, within the current tokio runtime.
    pub(super) async fn start(config: Config, fleet: &FleetId, keys: BTreeMap<DeviceId, PublicKey>) -> Result<Self> {
        let (client, incoming) = Client::start(config)?;
        client.subscribe(Topic::filter_up(fleet), Qos::AtLeastOnce).await?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        tokio::spawn(observe(incoming, Arc::clone(&seen), keys));
        Ok(Self { seen, client })
    }

    /// What was seen so far.
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, which the demo's forger uses too.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }
}

async fn observe(mut incoming: Incoming, seen: Arc<Mutex<Seen>>, keys: BTreeMap<DeviceId, PublicKey>) {
    while let Some(event) = incoming.recv().await {
        let Event::Message(message) = event else { continue };
        let Ok(Topic::Up {
            device,
            kind: Up::Batch,
            ..
        }) = message.topic.parse()
        else {
            continue;
        };
        let opened = keys
            .get(&device)
            .map(|key| UpBatch::open(&message.payload, &device, key));
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match opened {
            Some(Ok(batch)) => seen.take(&device, batch.into_inner()),
            Some(Err(_)) | None => seen.refused += 1,
        }
    }
}

impl Seen {
    fn take(&mut self, device: &DeviceId, batch: UpBatch) {
        let boot_id = batch.boot_id;
        for record in batch.records {
            let known = self.records.entry((device.clone(), boot_id)).or_default();
            if !known.insert(record.seq) {
                continue;
            }
            match record.body {
                RecordBody::Job(report) => self.jobs.push((device.clone(), report)),
                RecordBody::Finding(finding) => self.findings.push((device.clone(), finding)),
                RecordBody::Metrics(metrics) => {
                    self.samples
                        .insert((device.clone(), boot_id, record.seq), metrics.samples);
                }
                RecordBody::Event(_) | RecordBody::Prediction(_) | RecordBody::Explanation(_) => {}
            }
        }
    }

    /// The samples that a device has counted.
    #[must_use]
    pub(super) fn samples_of(&self, device: &DeviceId) -> u64 {
        self.samples
            .iter()
            .filter(|((of, _, _), _)| of == device)
            .map(|(_, samples)| samples)
            .sum()
    }

    /// The last report of a job on a device.
    #[must_use]
    pub(super) fn last_report(&self, device: &DeviceId, job: &str) -> Option<&JobReport> {
        self.jobs
            .iter()
            .rev()
            .find(|(of, report)| of == device && report.job == job)
            .map(|(_, report)| report)
    }

    /// The steps of a job on a device, in the order in which they came.
    #[must_use]
    pub(super) fn steps(&self, device: &DeviceId, job: &str) -> Vec<&'static str> {
        self.jobs
            .iter()
            .filter(|(of, report)| of == device && report.job == job)
            .map(|(_, report)| report.step.name())
            .collect()
    }
}
