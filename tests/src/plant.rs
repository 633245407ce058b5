//! The plant: sends samples to a device and reads what it makes of them, with QoS 1 and a bounded number underway.

use crate::PATIENCE;
use anyhow::{Context as _, Result, ensure};
use floorhand_transport::{Client, Config, Event, Incoming, Qos};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Samples without a result that may be underway. A broker keeps 1,000 messages for a subscriber (Mosquitto's default)
/// and drops what comes beyond.
const UNDERWAY: usize = 200;
/// Between two looks at what has come.
const PAUSE: Duration = Duration::from_millis(2);
/// Columns of a recording that aren't readings.
const LABELS: [&str; 2] = ["anomaly", "changepoint"];

/// The plant's side of one device.
#[derive(Debug, Clone)]
pub struct Plant {
    client: Client,
    /// Where the device takes its samples.
    pub source: String,
    seen: Arc<Mutex<Seen>>,
}

/// What the device has published.
#[derive(Debug, Default)]
struct Seen {
    /// The results of samples with an id.
    results: BTreeMap<String, Value>,
    findings: Vec<Value>,
}

impl Plant {
    /// The topics of a device, its samples' and its results'.
    #[must_use]
    pub fn topics(device: &str) -> (String, String) {
        (format!("plant/{device}/samples"), format!("plant/{device}/results"))
    }

    /// Connects, within the current tokio runtime.
    ///
    /// # Errors
    /// When the configuration is wrong.
    pub async fn start(broker: &str, device: &str) -> Result<Self> {
        let (client, incoming) = Client::start(Config::new(broker, "plant"))?;
        let (source, sink) = Self::topics(device);
        client.subscribe(sink, Qos::AtLeastOnce).await?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        tokio::spawn(read(incoming, Arc::clone(&seen)));
        Ok(Self { client, source, seen })
    }

    /// Sends bytes as a sample.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn send(&self, payload: impl Into<Vec<u8>>) -> Result<()> {
        let payload: Vec<u8> = payload.into();
        self.client
            .publish(self.source.clone(), payload, Qos::AtLeastOnce, false)
            .await?;
        Ok(())
    }

    /// Sends samples again and again, one every `pace`, until [`Feeding::stop`].
    #[must_use]
    pub fn feed(&self, samples: Vec<Value>, pace: Duration) -> Feeding {
        let stop = Arc::new(AtomicBool::new(false));
        let (plant, stopped) = (self.clone(), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(pace);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            for sample in samples.iter().cycle() {
                ticks.tick().await;
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                plant.send(sample.to_string()).await?;
            }
            Ok(())
        });
        Feeding { stop, task }
    }

    /// Sends each sample once under its id, and waits for all the results.
    ///
    /// # Errors
    /// When a result doesn't come, naming the first that is missing.
    pub async fn ask(&self, samples: Vec<(String, Value)>) -> Result<BTreeMap<String, Value>> {
        let before = self.seen().results.len();
        let ids: Vec<String> = samples.iter().map(|(id, _)| id.clone()).collect();
        for (sent, (id, mut sample)) in samples.into_iter().enumerate() {
            if let Some(object) = sample.as_object_mut() {
                object.insert("id".to_owned(), id.into());
            }
            let room = || (before + sent).saturating_sub(self.seen().results.len()) < UNDERWAY;
            until(room).await.with_context(|| format!("after {sent} samples"))?;
            self.send(sample.to_string()).await?;
        }
        let missing = || {
            let seen = self.seen();
            ids.iter().find(|id| !seen.results.contains_key(*id)).cloned()
        };
        let all = until(|| missing().is_none()).await;
        all.with_context(|| format!("sample {} has no result", missing().unwrap_or_default()))?;
        let results = &self.seen().results;
        Ok(ids
            .into_iter()
            .filter_map(|id| results.get(&id).cloned().map(|result| (id, result)))
            .collect())
    }

    /// The result of the sample with an id, once it has come.
    #[must_use]
    pub fn result(&self, id: &str) -> Option<Value> {
        self.seen().results.get(id).cloned()
    }

    /// What the device's monitors have found so far.
    #[must_use]
    pub fn findings(&self) -> Vec<Value> {
        self.seen().findings.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Samples that are being sent.
#[derive(Debug)]
pub struct Feeding {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<()>>,
}

impl Feeding {
    /// Ends it.
    ///
    /// # Errors
    /// When a sample couldn't be sent.
    pub async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

/// The rows of a `;`-separated recording with a header: readings by column.
///
/// # Errors
/// When the file can't be read.
pub fn rows(path: &Path) -> Result<Vec<Value>> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(b';')
        .from_path(path)
        .with_context(|| path.display().to_string())?;
    let header = reader.headers()?.clone();
    let mut rows = Vec::new();
    for row in reader.records() {
        let row = row?;
        let readings: Map<String, Value> = header
            .iter()
            .zip(&row)
            .filter(|(column, _)| !LABELS.contains(column))
            .filter_map(|(column, cell)| Some((column.to_owned(), json!(cell.parse::<f64>().ok()?))))
            .collect();
        rows.push(Value::Object(readings));
    }
    Ok(rows)
}

async fn read(mut incoming: Incoming, seen: Arc<Mutex<Seen>>) {
    while let Some(event) = incoming.recv().await {
        let Event::Message(message) = event else { continue };
        let Ok(object) = serde_json::from_slice::<Value>(&message.payload) else {
            continue;
        };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if object.get("outputs").is_none() {
            seen.findings.push(object);
        } else if let Some(id) = object.get("id").and_then(Value::as_str) {
            seen.results.insert(id.to_owned(), object.clone());
        }
    }
}

async fn until(mut holds: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !holds() {
        ensure!(
            started.elapsed() < PATIENCE,
            "nothing came within {} s",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
