//! The SKAB run: a detector trained in scikit-learn, deployed through a hub and a Mosquitto with mutual TLS and access
//! lists, scores a plant's samples row by row as it did where it was trained.
//!
//! On synthetic files of SKAB's shape always; on SKAB itself where it is (`../shared/data/skab` beside the workspace, or
//! `FLOORHAND_DATA/skab`) and where a Python with scikit-learn can train on it (`FLOORHAND_PYTHON`, or `python3`).

use anyhow::{Context as _, Result, ensure};
use floorhand_testkit::{Identity, Mosquitto, MosquittoConfig, MosquittoTls, Pki};
use floorhand_tests::{Agent, Hub, PATIENCE, Plant, Site, python, rows, say, wait_for, workspace};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const DEVICE: &str = "bench-1";
/// Between two samples of the trial: faster than SKAB's one a second, slower than two busy cores.
const TRIAL_PACE: Duration = Duration::from_millis(5);
/// |a - b| / max(1, |b|) of any statistic of any row.
const TOLERANCE: f64 = 1e-4;
const STATISTICS: [&str; 3] = ["t2", "q", "score"];

/// Recordings, a bundle that was trained on one of them, and what it has to answer.
struct Bench {
    bundle: PathBuf,
    training: PathBuf,
    recordings: Vec<PathBuf>,
    expected: PathBuf,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_synthetic_recording_is_scored_as_in_training() -> Result<()> {
    let fixture = workspace().join("tests/skab/fixture");
    let bench = Bench {
        bundle: fixture.join("bundle"),
        training: fixture.join("anomaly-free.csv"),
        recordings: vec![fixture.join("valve1-0.csv")],
        expected: fixture.join("expected.jsonl"),
    };
    let Some(scored) = score(&bench).await? else {
        return Ok(());
    };
    scored.check()
}

#[tokio::test(flavor = "multi_thread")]
async fn skab_itself_is_scored_as_in_training() -> Result<()> {
    let Some(data) = skab() else {
        say(
            "SKIPPED: SKAB is not here: clone it to ../shared/data/skab, or name its folder's parent in FLOORHAND_DATA",
        );
        return Ok(());
    };
    let Some(python) = python("import sklearn, onnx, onnxruntime") else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let bench = train(&python, &data, dir.path())?;
    let Some(scored) = score(&bench).await? else {
        return Ok(());
    };
    scored.check()?;
    // It was trained at another operating point (tests/skab/README.md), and that is what the drift monitor has to say.
    let drifted = scored.findings.iter().any(|finding| finding["stage"] == "drift");
    ensure!(drifted, "the drift monitor said nothing: {:?}", scored.findings);
    Ok(())
}

fn skab() -> Option<PathBuf> {
    let data = std::env::var_os("FLOORHAND_DATA").map(PathBuf::from);
    let skab = data.unwrap_or_else(|| workspace().join("../shared/data")).join("skab");
    skab.join("anomaly-free.csv").is_file().then_some(skab)
}

/// Trains the detector on SKAB and scores its recordings in Python.
fn train(python: &Path, data: &Path, dir: &Path) -> Result<Bench> {
    let bench = Bench {
        bundle: dir.join("bundle"),
        training: data.join("anomaly-free.csv"),
        recordings: (0..8).map(|number| data.join(format!("valve1-{number}.csv"))).collect(),
        expected: dir.join("expected.jsonl"),
    };
    let scripts = workspace().join("tests/skab");
    let mut training = Command::new(python);
    training.arg(scripts.join("train_skab.py"));
    training
        .arg("--train")
        .arg(&bench.training)
        .arg("--out")
        .arg(&bench.bundle);
    let mut scoring = Command::new(python);
    scoring.arg(scripts.join("expected.py"));
    scoring
        .arg("--bundle")
        .arg(&bench.bundle)
        .arg("--train")
        .arg(&bench.training);
    scoring.arg("--csv").args(&bench.recordings);
    scoring.arg("--out").arg(&bench.expected);
    for command in [&mut training, &mut scoring] {
        // The scripts' folder is the repository's: nothing is left there.
        let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "{command:?}\n{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        say(&said);
    }
    Ok(bench)
}

/// What came of a bench.
struct Scored {
    /// Lines of `expected.jsonl`.
    expected: Vec<Value>,
    /// The device's results, in the same order.
    results: Vec<Value>,
    findings: Vec<Value>,
    /// The bundle's digest, as the hub gave it.
    bundle: String,
}

/// Deploys a bench's bundle and has its recordings scored; `None` where there is no Mosquitto.
async fn score(bench: &Bench) -> Result<Option<Scored>> {
    let pki = Pki::new()?;
    let Some(fleet_broker) = fleet_broker(&pki)? else {
        return Ok(None);
    };
    let plant_broker = Mosquitto::start(MosquittoConfig::default())?;
    let site = Site::new()?;
    let url = fleet_broker.url().replace("127.0.0.1", "localhost");
    let hub = site.start_hub(&url, &pki, &pki.issue("hub")?)?;
    let mut agent = site.device(
        DEVICE,
        &agent_config(&url, &pki, &pki.issue(DEVICE)?, &plant_broker.url()),
    )?;
    hub.fleet_ok(&["enroll", DEVICE, "--key", &site.text(&format!("{DEVICE}.pub"))])?;
    agent.start()?;
    heard_of(&hub, &agent)?;
    let plant = Plant::start(&plant_broker.url(), DEVICE).await?;
    let bundle = deploy(&site, &hub, &agent, &plant, bench).await?;
    let expected = lines(&bench.expected)?;
    let results = plant
        .ask(samples(bench, &expected)?)
        .await
        .with_context(|| agent.tail())?;
    let results: Vec<Value> = expected
        .iter()
        .filter_map(|line| results.get(&id(line)).cloned())
        .collect();
    let findings = plant.findings();
    agent.stop()?;
    Ok(Some(Scored {
        expected,
        results,
        findings,
        bundle,
    }))
}

/// Mutual TLS, and the access list that docs/operating.md has for production.
fn fleet_broker(pki: &Pki) -> Result<Option<Mosquitto>> {
    let acl = [
        "pattern read fh/v1/+/d/%u/down/#",
        "pattern read fh/v1/+/blob/#",
        "pattern write fh/v1/+/d/%u/up/#",
        "user hub",
        "topic read fh/v1/plant-a/d/+/up/#",
        "topic write fh/v1/plant-a/d/+/down/#",
    ];
    Ok(Mosquitto::start_or_skip(MosquittoConfig {
        tls: Some(MosquittoTls::issued_by(pki)?),
        acl: acl.map(str::to_owned).to_vec(),
        ..MosquittoConfig::default()
    }))
}

fn agent_config(fleet_broker: &str, pki: &Pki, identity: &Identity, plant_broker: &str) -> Value {
    let (source, sink) = Plant::topics(DEVICE);
    json!({
        "fleet_connection": {
            "broker": fleet_broker,
            "ca": pki.ca(),
            "cert": identity.cert,
            "key": identity.key,
        },
        "plant_connection": { "broker": plant_broker },
        "source": [{ "type": "mqtt", "topic": source, "format": "json" }],
        "sink": [{ "type": "mqtt", "topic": sink, "findings": true }],
    })
}

/// Waits until the hub has heard of the device by a signed hello.
fn heard_of(hub: &Hub, agent: &Agent) -> Result<()> {
    let seen = wait_for("hello at the hub", PATIENCE, || {
        let shown = hub.fleet_ok(&["show", DEVICE])?;
        let said_hello = shown.pointer("/device/hello").is_some_and(|hello| !hello.is_null());
        Ok(said_hello.then_some(()))
    });
    seen.with_context(|| format!("{}\n{}", agent.tail(), hub.process.tail()))
}

/// Packs, pushes and deploys the bundle while samples flow; returns its digest once the device has kept it.
async fn deploy(site: &Site, hub: &Hub, agent: &Agent, plant: &Plant, bench: &Bench) -> Result<String> {
    let packed = site.pack(&bench.bundle, "skab.fhb")?;
    let pushed = hub.fleet_ok(&["push", &packed.to_string_lossy()])?;
    let digest = pushed
        .get("digest")
        .and_then(Value::as_str)
        .context("the hub names no digest")?
        .to_owned();
    let feeding = plant.feed(rows(&bench.training)?, TRIAL_PACE);
    let deployed = hub.fleet_ok(&["deploy", &digest, "--device", DEVICE, "--wait", "--timeout", "300"]);
    feeding.stop().await?;
    deployed.with_context(|| agent.tail())?;
    let shown = hub.fleet_ok(&["show", DEVICE])?;
    say(&format!(
        "deployed: {}",
        shown.pointer("/device/hello/active").unwrap_or(&Value::Null)
    ));
    Ok(digest)
}

/// Each expected row as a sample, with its id.
fn samples(bench: &Bench, expected: &[Value]) -> Result<Vec<(String, Value)>> {
    let mut recordings = BTreeMap::new();
    for path in &bench.recordings {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        recordings.insert(name.unwrap_or_default(), rows(path)?);
    }
    let samples = expected.iter().map(|line| {
        let recording = line["file"].as_str().and_then(|file| recordings.get(file));
        let row = usize::try_from(line["row"].as_u64()?).ok()?;
        Some((id(line), recording?.get(row)?.clone()))
    });
    let samples: Option<Vec<_>> = samples.collect();
    let samples = samples.context("expected.jsonl names a row that no recording has")?;
    let rows: usize = recordings.values().map(Vec::len).sum();
    ensure!(samples.len() == rows, "{} of {rows} rows are expected", samples.len());
    Ok(samples)
}

fn id(line: &Value) -> String {
    format!("{}:{}", line["file"].as_str().unwrap_or_default(), line["row"])
}

fn lines(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

impl Scored {
    /// Holds every row against both engines, and tells how good the detector is.
    fn check(&self) -> Result<()> {
        ensure!(self.results.len() == self.expected.len(), "rows are missing");
        let (mut onnxruntime, mut sklearn) = (0.0_f64, 0.0_f64);
        let mut counts = Counts::default();
        for (line, result) in self.expected.iter().zip(&self.results) {
            ensure!(result["bundle"] == self.bundle, "a result of another bundle: {result}");
            for name in STATISTICS {
                let actual = result.pointer(&format!("/outputs/{name}/0")).and_then(Value::as_f64);
                let actual = actual.with_context(|| format!("no {name} in {result}"))?;
                onnxruntime = onnxruntime.max(difference(actual, &line[name])?);
                sklearn = sklearn.max(difference(
                    actual,
                    line.get("sklearn")
                        .and_then(|all| all.get(name))
                        .unwrap_or(&Value::Null),
                )?);
                ensure!(
                    onnxruntime <= TOLERANCE && sklearn <= TOLERANCE,
                    "{}: {name} is {actual}, expected {line}",
                    id(line)
                );
            }
            let outlier = result.pointer("/outputs/score/0").and_then(Value::as_f64) > Some(1.0);
            for expected in [line.get("score"), line.pointer("/sklearn/score")] {
                let expected = expected.and_then(Value::as_f64).unwrap_or(f64::NAN);
                let open = (expected - 1.0).abs() <= TOLERANCE;
                ensure!(
                    open || outlier == (expected > 1.0),
                    "{}: {outlier} for an outlier, expected {line}",
                    id(line)
                );
            }
            counts.add(line["anomaly"] == true, outlier);
        }
        let (f1, far, mar) = counts.rates();
        say(&format!(
            "{} rows: largest difference {onnxruntime:.1e} from onnxruntime, {sklearn:.1e} from scikit-learn; \
             F1 {f1:.3}, FAR {:.1}%, MAR {:.1}%; {} findings",
            self.results.len(),
            100.0 * far,
            100.0 * mar,
            self.findings.len()
        ));
        Ok(())
    }
}

/// Relative above 1: of a statistic of some thousand times the limit, single precision has no ten-thousandths.
fn difference(actual: f64, expected: &Value) -> Result<f64> {
    let expected = expected.as_f64().context("expected.jsonl has no number there")?;
    let difference = (actual - expected).abs() / expected.abs().max(1.0);
    ensure!(difference.is_finite(), "{actual} against {expected}");
    Ok(difference)
}

/// Rows by what they are and what the detector says.
#[derive(Default)]
struct Counts {
    hits: u32,
    false_alarms: u32,
    missed: u32,
    quiet: u32,
}

impl Counts {
    fn add(&mut self, anomaly: bool, outlier: bool) {
        let count = match (anomaly, outlier) {
            (true, true) => &mut self.hits,
            (false, true) => &mut self.false_alarms,
            (true, false) => &mut self.missed,
            (false, false) => &mut self.quiet,
        };
        *count += 1;
    }

    /// F1, false alarm rate, missed alarm rate, as SKAB counts them.
    fn rates(&self) -> (f64, f64, f64) {
        let ratio = |part: u32, whole: u32| f64::from(part) / f64::from(whole.max(1));
        let (hits, false_alarms, missed) = (self.hits, self.false_alarms, self.missed);
        (
            ratio(2 * hits, 2 * hits + false_alarms + missed),
            ratio(false_alarms, false_alarms + self.quiet),
            ratio(missed, hits + missed),
        )
    }
}
