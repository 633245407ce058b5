//! MQTT in, result out: a device beside a bare `rumqttc` echo, and beside a Python script that does the same, all through
//! one Mosquitto.
//!
//! Each iteration is one sample of tests/skab's fixture, sent and answered, with QoS 1 and a bounded number underway. The
//! agent is a process of its own with the fixture's bundle committed: `standardize`, the model, `data-validation` and
//! `drift-psi`. The echo gives the sample back from a runtime of its own. The script is tests/python/echo_paho.py (paho,
//! numpy, onnxruntime: no monitors), where `FLOORHAND_PYTHON` or `python3` can run it. The program has to be built first:
//! `cargo build --release --bins && cargo bench -p floorhand-tests --bench mqtt`.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a bench may panic and tell")]

use anyhow::{Context as _, Result, ensure};
use criterion::{Criterion, Throughput};
use floorhand_testkit::{Mosquitto, MosquittoConfig};
use floorhand_tests::{Agent, Plant, Site, rows, workspace};
use floorhand_transport::{Client, Config, Event, Incoming, Qos};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event as Heard, Incoming as Packet, MqttOptions};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DEVICE: &str = "bench-1";
/// Samples without an answer. Mosquitto hands out 20 at a time; more keep everybody busy.
const UNDERWAY: u64 = 64;
/// How long an answer may take before the bench gives up.
const LOST: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let Some(broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else {
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let site = Site::new()?;
    let mut agent = serving(&site, &broker, &runtime)?;
    let _echo = echo(broker.port());
    let python = script(&broker)?;
    let mut criterion = Criterion::default()
        .sample_size(20)
        .measurement_time(Duration::from_secs(8))
        .configure_from_args();
    let mut group = criterion.benchmark_group("mqtt in, result out");
    group.throughput(Throughput::Elements(1));
    let (device_in, device_out) = Plant::topics(DEVICE);
    let mut sides = vec![
        ("rumqttc echo", "echo/in".to_owned(), "echo/out".to_owned()),
        ("agent", device_in, device_out),
    ];
    if python.is_some() {
        sides.push(("paho, numpy, onnxruntime", "paho/in".to_owned(), "paho/out".to_owned()));
    }
    for (name, to, from) in sides {
        let mut load = runtime.block_on(Load::start(&broker.url(), to, from))?;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                runtime
                    .block_on(load.exchange(count))
                    .expect("every sample is answered")
            });
        });
    }
    group.finish();
    criterion.final_summary();
    agent.stop()
}

/// A device that has committed the fixture's bundle, brought to it by a stick.
fn serving(site: &Site, broker: &Mosquitto, runtime: &tokio::runtime::Runtime) -> Result<Agent> {
    let (source, sink) = Plant::topics(DEVICE);
    let mut agent = site.device(
        DEVICE,
        &json!({
            "plant_connection": { "broker": broker.url() },
            "source": [{ "type": "mqtt", "topic": source, "format": "json" }],
            "sink": [{ "type": "mqtt", "topic": sink }],
        }),
    )?;
    let packed = site.pack(&workspace().join("tests/skab/fixture/bundle"), "skab.fhb")?;
    agent.start()?;
    agent.wait_until("agent that answers", |status| !status.is_null())?;
    let stick = site.export(&packed, &agent.device, 1)?;
    let imported = agent.import(&stick)?;
    ensure!(imported.code == Some(0), "import: {}", imported.stderr);
    let plant = runtime.block_on(Plant::start(&broker.url(), DEVICE))?;
    let _inside = runtime.enter();
    let feeding = plant.feed(rows(&training())?, Duration::from_millis(2));
    agent.wait_until("committed bundle", |status| status.pointer("/active/version").is_some())?;
    runtime.block_on(feeding.stop())?;
    Ok(agent)
}

fn training() -> PathBuf {
    workspace().join("tests/skab/fixture/anomaly-free.csv")
}

/// Gives back what comes, with nothing between two calls of `rumqttc`.
fn echo(port: u16) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let (client, mut events) = AsyncClient::new(MqttOptions::new("echo", "127.0.0.1", port), 256);
            client
                .subscribe("echo/in", QoS::AtLeastOnce)
                .await
                .expect("a subscription");
            let (sender, mut received) = tokio::sync::mpsc::channel(256);
            tokio::spawn(async move {
                while let Some(payload) = received.recv().await {
                    drop(client.publish("echo/out", QoS::AtLeastOnce, false, payload).await);
                }
            });
            while let Ok(event) = events.poll().await {
                if let Heard::Incoming(Packet::Publish(publish)) = event {
                    drop(sender.send(publish.payload.to_vec()).await);
                }
            }
        });
    })
}

/// The script, once it says that it is ready; `None` where no Python has what it needs.
fn script(broker: &Mosquitto) -> Result<Option<Script>> {
    let python = std::env::var_os("FLOORHAND_PYTHON").unwrap_or_else(|| "python3".into());
    let imports = Command::new(&python)
        .args(["-c", "import paho.mqtt, onnxruntime"])
        .output();
    if !imports.is_ok_and(|output| output.status.success()) {
        println!("skipped the script: needs a Python with paho-mqtt and onnxruntime (FLOORHAND_PYTHON)");
        return Ok(None);
    }
    let mut child = Command::new(python)
        .arg(workspace().join("tests/python/echo_paho.py"))
        .args([
            "--port",
            &broker.port().to_string(),
            "--in-topic",
            "paho/in",
            "--out-topic",
            "paho/out",
        ])
        .arg("--bundle")
        .arg(workspace().join("tests/skab/fixture/bundle"))
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("its output is piped")?;
    let script = Script(child);
    BufReader::new(stdout).read_line(&mut line)?;
    ensure!(line.trim() == "ready", "the script said {line:?}");
    Ok(Some(script))
}

/// Killed when the bench ends.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Sends samples to one topic and counts the answers on another.
struct Load {
    client: Client,
    incoming: Incoming,
    to: String,
    payloads: Vec<Vec<u8>>,
    next: usize,
}

impl Load {
    async fn start(url: &str, to: String, from: String) -> Result<Self> {
        let (client, incoming) = Client::start(Config::new(url, "load"))?;
        client.subscribe(from, Qos::AtLeastOnce).await?;
        let rows = rows(&training())?;
        let mut load = Self {
            client,
            incoming,
            to,
            payloads: rows.iter().map(|row| Value::to_string(row).into_bytes()).collect(),
            next: 0,
        };
        // The subscription is in place when one answer has come.
        load.exchange(1).await?;
        Ok(load)
    }

    async fn exchange(&mut self, count: u64) -> Result<Duration> {
        let started = Instant::now();
        let (mut sent, mut answered) = (0, 0);
        while answered < count {
            while sent < count && sent - answered < UNDERWAY {
                let payload = self.payloads.get(self.next).cloned().unwrap_or_default();
                self.next = (self.next + 1) % self.payloads.len();
                self.client
                    .publish(self.to.clone(), payload, Qos::AtLeastOnce, false)
                    .await?;
                sent += 1;
            }
            let event = tokio::time::timeout(LOST, self.incoming.recv()).await;
            match event.with_context(|| format!("no answer on {} after {answered} of {count}", self.to))? {
                Some(Event::Message(_)) => answered += 1,
                Some(_) => {}
                None => anyhow::bail!("the client has ended"),
            }
        }
        Ok(started.elapsed())
    }
}
