//! Prints test vectors of the fleet protocol as JSON: messages with fixed content, signed by keys from fixed seeds.
//!
//! `tests/python/vectors.json` is this program's output. `tests/vectors.rs` checks that the file is what the code makes
//! now; `tests/python/test_device.py` checks that a device in Python that follows `docs/protocol.md` reads these bytes and
//! makes the same ones.

use floorhand_bundle::{
    Archive, BlobRef, Component, ComponentRole, Digest, Domain, Envelope, Gates, Golden, InputSpec, Lineage, Manifest,
    ModelSpec, OnBreak, PipelineSpec, RoleKeys, SecretKey, StageLimits, StageSpec, TrustRoot, Version,
};
use floorhand_protocol::{
    Ack, Action, Answer, Assigned, Assignment, BundleId, ChunkMessage, Command, Deployment, EnrolmentRequest, Event,
    Explanation, FeatureContribution, Fetch, Finding, Gap, Hello, IssuedCertificate, JobReport, JobStatus, Metrics,
    Missing, Mode, Outcome, Parameters, Prediction, Presence, Record, RecordBody, Renewal, Running, SeqRange, Severity,
    Step, UpBatch,
};
use floorhand_tensor::{Datatype, Dim, Signature, TensorSpec};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;
pub(crate) type Vectors = BTreeMap<String, Vec<u8>>;

/// When everything here was signed: 2023-11-14T22:13:20Z.
const ISSUED_MS: u64 = 1_700_000_000_000;
const DAY_MS: u64 = 86_400_000;
const BOOT_ID: u64 = 0x1234_5678_9abc_def0;

fn main() -> Result<()> {
    std::io::stdout().write_all(json()?.as_bytes())?;
    Ok(())
}

/// The vectors by name, in hexadecimal, as one JSON object.
pub(crate) fn json() -> Result<String> {
    to_json(&all()?)
}

/// The vectors by name.
pub(crate) fn all() -> Result<Vectors> {
    let keys = Keys::new();
    let files = Files::new();
    let mut vectors = Vectors::new();
    for (name, key) in [
        ("offline", &keys.offline),
        ("second", &keys.second),
        ("online", &keys.online),
        ("device", &keys.device),
    ] {
        vectors.insert(format!("key.{name}.public"), key.public().as_bytes().to_vec());
    }
    for (name, content) in files.small() {
        vectors.insert(format!("file.{name}"), content.to_vec());
    }
    let bundle = documents(&keys, &files, &mut vectors)?;
    orders(&keys, &mut vectors)?;
    reports(&keys, &bundle, &mut vectors)?;
    delivery(&files, &mut vectors)?;
    identity(&keys, &mut vectors)?;
    Ok(vectors)
}

fn to_json(vectors: &Vectors) -> Result<String> {
    let mut text = "{\n".to_owned();
    for (at, (name, bytes)) in vectors.iter().enumerate() {
        write!(text, "  \"{name}\": \"")?;
        for byte in bytes {
            write!(text, "{byte:02x}")?;
        }
        let comma = if at + 1 == vectors.len() { "" } else { "," };
        writeln!(text, "\"{comma}")?;
    }
    text.push_str("}\n");
    Ok(text)
}

/// Keys whose seeds are one byte, 32 times.
struct Keys {
    offline: SecretKey,
    second: SecretKey,
    online: SecretKey,
    device: SecretKey,
}

impl Keys {
    fn new() -> Self {
        let key = |seed: u8| SecretKey::from_seed(&[seed; 32]);
        Self {
            offline: key(1),
            second: key(2),
            online: key(3),
            device: key(4),
        }
    }
}

/// What the bundle is made of. The device of the test fetches these, and runs none of them.
struct Files {
    model: Vec<u8>,
    plugin: Vec<u8>,
    golden: Vec<u8>,
}

impl Files {
    fn new() -> Self {
        // Long enough for several chunks, and made so that a chunk compresses, but not to nothing.
        let model = (0..100_000_u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 & 0x3f)
            .collect();
        Self {
            model,
            plugin: b"not a plugin".to_vec(),
            golden: b"{\"input\":{},\"output\":null}\n".to_vec(),
        }
    }

    /// All but the model, which a test makes itself by the same formula.
    fn small(&self) -> [(&'static str, &[u8]); 2] {
        [("golden.jsonl", &self.golden), ("standardize.wasm", &self.plugin)]
    }
}

/// Root, manifest, assignments and archive.
fn documents(keys: &Keys, files: &Files, vectors: &mut Vectors) -> Result<BundleId> {
    let root = root(keys)?;
    let sealed_root = root.seal(&[&keys.offline])?;
    let twice = Envelope::open(Domain::Root, &sealed_root, 16 * 1024)?.add_signature(&keys.second)?;
    vectors.insert("root".to_owned(), sealed_root);
    vectors.insert("root.two-signatures".to_owned(), twice);

    let manifest = manifest(files)?;
    let sealed_manifest = manifest.seal(&[&keys.offline])?;
    let digest = Digest::of(&manifest.encode()?);
    vectors.insert("bundle.digest".to_owned(), digest.as_bytes().to_vec());

    let assigned = Assigned {
        bundle: digest,
        manifest: BlobRef::of(&sealed_manifest),
    };
    let sealed_assignment = assignment(Some(assigned), 7)?.seal(&keys.online)?;
    vectors.insert("assignment.keep".to_owned(), assignment(None, 8)?.seal(&keys.online)?);

    let archive = Archive {
        manifest: sealed_manifest.clone(),
        assignment: Some(sealed_assignment.clone()),
        // Without the model, which would be most of the file.
        blobs: files
            .small()
            .map(|(_, content)| (Digest::of(content), content.to_vec()))
            .into(),
    };
    let mut bytes = Vec::new();
    archive.write(&mut bytes)?;
    vectors.insert("archive".to_owned(), bytes);
    vectors.insert("manifest".to_owned(), sealed_manifest);
    vectors.insert("assignment".to_owned(), sealed_assignment);
    Ok(BundleId {
        digest,
        name: manifest.name,
        version: manifest.version,
    })
}

fn root(keys: &Keys) -> Result<TrustRoot> {
    Ok(TrustRoot {
        fleet: "plant-a".parse()?,
        version: 1,
        expires_ms: ISSUED_MS + 365 * DAY_MS,
        issued_ms: ISSUED_MS,
        critical: vec![],
        root: RoleKeys::any_of(vec![keys.offline.public(), keys.second.public()]),
        release: RoleKeys::any_of(vec![keys.offline.public()]),
        assignment: RoleKeys::any_of(vec![keys.online.public()]),
    })
}

fn manifest(files: &Files) -> Result<Manifest> {
    let component = |name: &str, role, bytes: &[u8]| -> Result<Component> {
        Ok(Component {
            name: name.parse()?,
            role,
            blob: BlobRef::of(bytes),
        })
    };
    Ok(Manifest {
        name: "valve".parse()?,
        version: Version::new(1, 2, 0),
        release_counter: 3,
        floor: 1,
        hardware: vec!["gateway-x86".parse()?, "gateway-arm".parse()?],
        min_agent: Version::new(0, 1, 0),
        critical: vec![],
        components: vec![
            component("golden.jsonl", ComponentRole::Golden, &files.golden)?,
            component("model.onnx", ComponentRole::Model, &files.model)?,
            component("standardize.wasm", ComponentRole::Plugin, &files.plugin)?,
        ],
        pipeline: pipeline()?,
        golden: Golden {
            component: "golden.jsonl".parse()?,
            cases: 1,
            tolerance: 1e-4,
            tolerances: BTreeMap::from([("score".to_owned(), 0.001)]),
        },
        gates: Gates::default(),
        lineage: Lineage {
            author: "quality".to_owned(),
            ..Lineage::default()
        },
    })
}

fn pipeline() -> Result<PipelineSpec> {
    let spec = |name: &str, shape: &[i64]| {
        TensorSpec::new(
            name,
            Datatype::Fp32,
            shape.iter().map(|&size| Dim::from(size)).collect(),
        )
    };
    Ok(PipelineSpec {
        decoder: None,
        inputs: vec![InputSpec {
            tensor: spec("sensors", &[2]),
            fields: vec!["pressure".to_owned(), "flow".to_owned()],
        }],
        preprocess: vec![StageSpec {
            name: "scale".parse()?,
            plugin: "standardize.wasm".parse()?,
            config: r#"{"input":"sensors","output":"x"}"#.to_owned(),
            assets: vec![],
            limits: StageLimits {
                deadline_ms: Some(20),
                ..StageLimits::default()
            },
            on_break: OnBreak::Rollback,
        }],
        model: ModelSpec {
            component: "model.onnx".parse()?,
            signature: Signature {
                inputs: vec![spec("x", &[-1, 2])],
                outputs: vec![spec("score", &[1])],
            },
            allow_nan: false,
            engines: Vec::new(),
            state: Vec::new(),
        },
        postprocess: vec![],
        monitors: vec![],
        explain: None,
    })
}

fn assignment(run: Option<Assigned>, seq: u64) -> Result<Assignment> {
    let mode = if run.is_some() { Mode::Run } else { Mode::Paused };
    Ok(Assignment {
        fleet: "plant-a".parse()?,
        device: "press-07".parse()?,
        seq,
        job: format!("deploy-{seq}"),
        run,
        mode,
        parameters: Parameters { sampling_ppm: 10_000 },
        issued_ms: ISSUED_MS,
        expires_ms: ISSUED_MS + DAY_MS,
        critical: vec![],
    })
}

/// Commands and acks.
fn orders(keys: &Keys, vectors: &mut Vectors) -> Result<()> {
    for (name, id, action) in [
        ("report-now", 1, Action::ReportNow),
        ("fetch-logs", 2, Action::FetchLogs { lines: 100 }),
    ] {
        let command = Command {
            fleet: "plant-a".parse()?,
            device: "press-07".parse()?,
            id,
            issued_ms: ISSUED_MS,
            expires_ms: ISSUED_MS + 60_000,
            action,
            critical: vec![],
        };
        vectors.insert(format!("command.{name}"), command.seal(&keys.online)?);
    }
    let of_records = Ack {
        device: "press-07".parse()?,
        boot_id: BOOT_ID,
        ranges: vec![SeqRange { first: 0, last: 4 }, SeqRange { first: 7, last: 300 }],
        gaps: vec![],
    };
    let of_gaps = Ack {
        boot_id: BOOT_ID - 1,
        ranges: vec![],
        gaps: vec![SeqRange { first: 10, last: 20 }],
        ..of_records.clone()
    };
    vectors.insert("ack".to_owned(), of_records.seal(&keys.online)?);
    vectors.insert("ack.gaps".to_owned(), of_gaps.seal(&keys.online)?);
    Ok(())
}

/// What a device signs, and its presence.
fn reports(keys: &Keys, bundle: &BundleId, vectors: &mut Vectors) -> Result<()> {
    vectors.insert("hello".to_owned(), hello(bundle)?.seal(&keys.device)?);
    let records = bodies(bundle).into_iter().zip(0..).map(|(body, seq)| Record {
        seq,
        time_ms: ISSUED_MS + 10 + seq,
        body,
    });
    let batch = UpBatch {
        device: "press-07".parse()?,
        boot_id: BOOT_ID,
        historical: false,
        records: records.collect(),
        gaps: vec![Gap {
            boot_id: BOOT_ID - 1,
            first: 10,
            last: 20,
            count: 11,
        }],
    };
    vectors.insert("batch".to_owned(), batch.seal(&keys.device)?);
    for (name, to, outcome) in [
        ("accepted", "assign/7", Outcome::Accepted),
        ("done", "cmd/1", Outcome::Done { body: "{}".to_owned() }),
        (
            "rejected",
            "assign/6",
            Outcome::Rejected {
                reason: "6 is not above 7".to_owned(),
            },
        ),
    ] {
        let device = "press-07".parse()?;
        let answer = Answer {
            device,
            boot_id: BOOT_ID,
            to: to.to_owned(),
            time_ms: ISSUED_MS + 6,
            outcome,
        };
        vectors.insert(format!("answer.{name}"), answer.seal(&keys.device)?);
    }
    vectors.insert(
        "presence".to_owned(),
        Presence {
            boot_id: BOOT_ID,
            online: true,
        }
        .encode()?,
    );
    Ok(())
}

fn hello(bundle: &BundleId) -> Result<Hello> {
    Ok(Hello {
        device: "press-07".parse()?,
        boot_id: BOOT_ID,
        count: 2,
        time_ms: ISSUED_MS + 5,
        agent: "0.1.0".to_owned(),
        hardware: "gateway-x86".parse()?,
        platform: "x86_64-linux".to_owned(),
        seq: 7,
        command_id: 0,
        root_version: 1,
        floor: 1,
        mode: Mode::Run,
        parameters: Parameters { sampling_ppm: 10_000 },
        active: Some(Running {
            generation: 1,
            bundle: bundle.clone(),
        }),
        previous: None,
        candidate: None,
        deployment: Deployment::Idle,
    })
}

/// One record of every kind.
fn bodies(bundle: &BundleId) -> Vec<RecordBody> {
    let job = JobReport {
        job: "deploy-7".to_owned(),
        seq: 7,
        bundle: bundle.digest,
        id: Some(bundle.clone()),
        status: JobStatus::InProgress,
        step: Step::Staged,
        reason: String::new(),
    };
    let finding = Finding {
        bundle: bundle.digest,
        candidate: false,
        stage: "drift".to_owned(),
        kind: "drift".to_owned(),
        severity: Severity::Alarm,
        phase: None,
        subject: "pressure".to_owned(),
        value: 0.31,
        threshold: 0.25,
        sample: 512,
        message: "psi above its threshold".to_owned(),
        details: BTreeMap::new(),
    };
    let metrics = Metrics {
        bundle: Some(bundle.digest),
        window_ms: 10_000,
        samples: 100,
        results: 99,
        failures: 1,
        latency_p50_us: 850,
        latency_p99_us: 2100,
        gauges: BTreeMap::from([("drift/psi-flow".to_owned(), 0.0), ("drift/psi".to_owned(), 1e300)]),
        counters: BTreeMap::new(),
    };
    let event = Event {
        kind: "plugin-fault".to_owned(),
        severity: Severity::Warning,
        subject: "scale".to_owned(),
        message: "deadline".to_owned(),
    };
    let prediction = Prediction {
        bundle: bundle.digest,
        sample: 512,
        id: String::new(),
        time_ms: ISSUED_MS,
        outputs: BTreeMap::from([(
            "score".to_owned(),
            vec![0.5, 0.1, f64::NAN, f64::INFINITY, -0.0, 100_000.5],
        )]),
    };
    vec![
        RecordBody::Job(job),
        RecordBody::Finding(finding),
        RecordBody::Metrics(metrics),
        RecordBody::Event(event),
        RecordBody::Prediction(prediction),
        RecordBody::Explanation(explanation(bundle)),
    ]
}

/// Why an alarm was raised.
fn explanation(bundle: &BundleId) -> Explanation {
    Explanation {
        bundle: bundle.digest,
        sample: 512,
        id: String::new(),
        time_ms: ISSUED_MS,
        finding: "drift/drift".to_owned(),
        method: "kernel-shap".to_owned(),
        output: "score".to_owned(),
        element: Some(1),
        base: 0.25,
        prediction: 0.75,
        features: vec![
            FeatureContribution {
                feature: "pressure".to_owned(),
                value: "2.5".to_owned(),
                contribution: 0.625,
            },
            FeatureContribution {
                feature: "window".to_owned(),
                value: String::new(),
                contribution: -0.25,
            },
        ],
        others: 0.125,
        evaluations: 256,
        exact: false,
        complete: true,
    }
}

/// A request for the model's chunks, and what comes.
fn delivery(files: &Files, vectors: &mut Vectors) -> Result<()> {
    let blob = BlobRef::of(&files.model);
    let missing = Missing::of([1, 2, 9]).ok_or("nothing is missing")?;
    vectors.insert("fetch".to_owned(), Fetch::new(99, blob.sha256, missing).encode()?);
    for (index, offset, chunk) in blob.layout() {
        let start = usize::try_from(offset)?;
        let bytes = files
            .model
            .get(start..start + chunk.length as usize)
            .ok_or("a chunk is not in the model")?;
        let message = ChunkMessage::pack(99, blob.sha256, index, bytes);
        vectors.insert(format!("chunk.model.{index}"), message.encode()?);
    }
    let golden = ChunkMessage::pack(100, Digest::of(&files.golden), 0, &files.golden);
    vectors.insert("chunk.golden.0".to_owned(), golden.encode()?);
    vectors.insert(
        "chunk.unknown".to_owned(),
        ChunkMessage::unknown(99, blob.sha256, 9).encode()?,
    );
    Ok(())
}

/// What a device gets its certificate with. The second key is the token's; nobody here looks into requests and certificates.
fn identity(keys: &Keys, vectors: &mut Vectors) -> Result<()> {
    let (request, certificate) = (b"a certificate request".to_vec(), b"a certificate".to_vec());
    let enrolment = EnrolmentRequest {
        device: "press-07".parse()?,
        hardware: "gateway-x86".parse()?,
        public_key: keys.device.public(),
        csr: request.clone().into(),
        fleet: Some("plant-a".parse()?),
        critical: vec![],
    };
    vectors.insert("enrolment".to_owned(), enrolment.seal(&keys.device, &keys.second)?);
    let renewal = Renewal {
        device: "press-07".parse()?,
        csr: request.clone().into(),
        critical: vec![],
    };
    vectors.insert("renewal".to_owned(), renewal.seal(&keys.device)?);
    let issued = IssuedCertificate {
        fleet: "plant-a".parse()?,
        device: "press-07".parse()?,
        csr: Digest::of(&request),
        chain: vec![certificate.into(), b"its CA".to_vec().into()],
        broker: Some("mqtts://broker.plant-a:8883".to_owned()),
        broker_ca: vec![],
        issued_ms: ISSUED_MS,
        critical: vec![],
    };
    vectors.insert("certificate".to_owned(), issued.seal(&keys.online)?);
    Ok(())
}
