//! The plant: three machines that publish their vibration, and somebody who reads what the agents make of it.

use super::vibration::{CHUNK, MACHINES, Vibration};
use anyhow::Result;
use floorhand_transport::{Client, Config, Event, Incoming, Qos};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Chunks a second and machine. A real sensor gives 47; the demo is in a hurry.
const CHUNKS_PER_S: u64 = 100;

/// Between two chunks of a machine that doesn't run yet.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// The devices, one beside each machine.
pub(super) const DEVICES: [&str; 3] = ["press-1", "press-2", "press-3"];

/// What is shared with the machines.
#[derive(Debug, Default)]
pub(super) struct Plant {
    wears: AtomicBool,
    probes: AtomicBool,
    runs: AtomicBool,
    stopped: AtomicBool,
    /// Chunks that each machine has published.
    published: [AtomicU64; 3],
    /// Results that came, by device.
    results: Mutex<BTreeMap<String, u64>>,
    /// The last probability, by device.
    last: Mutex<BTreeMap<String, f64>>,
}

impl Plant {
    /// Starts the machines and the reader, within the current tokio runtime.
    pub(super) async fn start(broker: &str) -> Result<Arc<Self>> {
        let plant = Arc::new(Self::default());
        let (client, incoming) = Client::start(Config::new(broker, "plant"))?;
        client.subscribe("plant/+/condition", Qos::AtLeastOnce).await?;
        tokio::spawn(read(incoming, Arc::clone(&plant)));
        for (index, device) in DEVICES.into_iter().enumerate() {
            tokio::spawn(run(index, device, client.clone(), Arc::clone(&plant)));
        }
        Ok(plant)
    }

    /// The third machine's bearing wears from now on.
    pub(super) fn begin_to_wear(&self) {
        self.wears.store(true, Ordering::Relaxed);
    }

    /// Machines send a chunk now and then, or don't, so that it can be seen who listens.
    pub(super) fn probe(&self, probes: bool) {
        self.probes.store(probes, Ordering::Relaxed);
    }

    /// Machines run from now on.
    pub(super) fn run(&self) {
        self.runs.store(true, Ordering::Relaxed);
    }

    /// Machines stop.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Machines that were stopped run again.
    pub(super) fn go_on(&self) {
        self.stopped.store(false, Ordering::Relaxed);
    }

    /// Chunks that a machine has published since it runs.
    #[must_use]
    pub(super) fn published(&self, index: usize) -> u64 {
        self.published
            .get(index)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Results that came from a device.
    #[must_use]
    pub(super) fn results(&self, device: &str) -> u64 {
        self.results
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(device)
            .copied()
            .unwrap_or(0)
    }

    /// The last probability that a device gave.
    #[must_use]
    pub(super) fn probability(&self, device: &str) -> Option<f64> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(device)
            .copied()
    }
}

async fn run(index: usize, device: &'static str, client: Client, plant: Arc<Plant>) {
    let Some(machine) = MACHINES.get(index) else { return };
    let mut vibration = Vibration::new(*machine);
    let mut ticks = tokio::time::interval(Duration::from_millis(1000 / CHUNKS_PER_S));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let topic = format!("plant/{device}/vibration");
    let mut probes = tokio::time::interval(PROBE_EVERY);
    while !plant.runs.load(Ordering::Relaxed) {
        probes.tick().await;
        if !plant.probes.load(Ordering::Relaxed) {
            continue;
        }
        let payload = json!({ "acceleration": vec![0.0_f32; CHUNK] }).to_string();
        if client.publish(&topic, payload, Qos::AtLeastOnce, false).await.is_err() {
            return;
        }
    }
    loop {
        ticks.tick().await;
        if plant.stopped.load(Ordering::Relaxed) {
            continue;
        }
        if index == 2 && plant.wears.load(Ordering::Relaxed) {
            vibration.begin_to_wear();
        }
        let chunk: [f32; CHUNK] = vibration.chunk();
        let payload = json!({ "acceleration": chunk.as_slice() }).to_string();
        if client.publish(&topic, payload, Qos::AtLeastOnce, false).await.is_err() {
            return;
        }
        if let Some(count) = plant.published.get(index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn read(mut incoming: Incoming, plant: Arc<Plant>) {
    while let Some(event) = incoming.recv().await {
        let Event::Message(message) = event else { continue };
        let Some(device) = message.topic.split('/').nth(1) else {
            continue;
        };
        let Ok(result) = serde_json::from_slice::<Value>(&message.payload) else {
            continue;
        };
        *plant
            .results
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(device.to_owned())
            .or_default() += 1;
        if let Some(probability) = result.pointer("/outputs/probability/0").and_then(Value::as_f64) {
            plant
                .last
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(device.to_owned(), probability);
        }
    }
}
