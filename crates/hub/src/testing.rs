//! What the tests of several modules share: keys from seeds, a bundle, messages of a device.

use crate::authority::Authority;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::database::Database;
use crate::fleet::{Enrolment, Hub, Outgoing, Settings};
use floorhand_bundle::{
    Archive, BlobRef, Component, ComponentRole, Digest, Gates, Golden, InputSpec, Manifest, ModelSpec, PipelineSpec,
    RoleKeys, SecretKey, TrustRoot, Verified,
};
use floorhand_protocol::{
    Deployment, Finding, Hello, JobReport, JobStatus, Metrics, Mode, Parameters, Record, RecordBody, Severity, Step,
};
use floorhand_store::{Store, StoreOptions};
use floorhand_tensor::{Datatype, Dim, Signature, TensorSpec};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_bytes::ByteBuf;
use sqlx::{Connection as _, Executor as _};
use std::collections::BTreeMap;
use std::path::Path;
use tokio::sync::mpsc;

/// The time in tests.
pub(crate) const NOW_MS: u64 = 1_800_000_000_000;

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// Release key 1, assignment key 2.
pub(crate) fn root() -> Verified<TrustRoot> {
    let root = TrustRoot {
        fleet: "plant-a".parse().unwrap(),
        version: 1,
        expires_ms: NOW_MS * 2,
        issued_ms: 0,
        critical: vec![],
        root: RoleKeys::any_of(vec![key(1).public()]),
        release: RoleKeys::any_of(vec![key(1).public()]),
        assignment: RoleKeys::any_of(vec![key(2).public()]),
    };
    TrustRoot::open_pinned(&root.seal(&[&key(1)]).unwrap()).unwrap()
}

/// By what a hub makes certificates.
pub(crate) fn enrolment() -> Enrolment {
    const DAY_MS: u64 = 24 * 3600 * 1000;
    let pair = Authority::create(&"plant-a.ca".parse().unwrap(), NOW_MS, 400 * DAY_MS).unwrap();
    Enrolment {
        authority: Authority::open(pair.certificate.as_bytes(), &pair.key, NOW_MS).unwrap(),
        broker: Some("mqtts://broker.plant-a".to_owned()),
        broker_ca: vec![],
        certificate_ttl_ms: 90 * DAY_MS,
        api_ca: None,
        reserved: vec!["hub".to_owned()],
    }
}

/// A certificate request with a new key.
pub(crate) fn csr(name: &str) -> ByteBuf {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let request = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
    ByteBuf::from(request.der().to_vec())
}

pub(crate) fn hello(device: &str, boot_id: u64, count: u64) -> Hello {
    Hello {
        device: device.parse().unwrap(),
        boot_id,
        count,
        time_ms: NOW_MS,
        agent: "0.1.0".to_owned(),
        hardware: "gateway".parse().unwrap(),
        platform: "x86_64-linux".to_owned(),
        seq: 0,
        command_id: 0,
        root_version: 1,
        floor: 0,
        mode: Mode::Run,
        parameters: Parameters::default(),
        active: None,
        previous: None,
        candidate: None,
        deployment: Deployment::Idle,
    }
}

pub(crate) fn finding(seq: u64, time_ms: u64, value: f64) -> Record {
    let finding = Finding {
        bundle: Digest::of(b"bundle"),
        candidate: false,
        stage: "psi".to_owned(),
        kind: "drift".to_owned(),
        severity: Severity::Warning,
        phase: None,
        subject: "x".to_owned(),
        value,
        threshold: 0.2,
        sample: 1,
        message: "x has drifted <b>far</b>".to_owned(),
        details: BTreeMap::new(),
    };
    Record {
        seq,
        time_ms,
        body: RecordBody::Finding(finding),
    }
}

pub(crate) fn metrics(seq: u64, time_ms: u64, samples: u64, gauges: &[(&str, f64)]) -> Record {
    let gauges: BTreeMap<String, f64> = gauges
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect();
    let metrics = Metrics {
        window_ms: 1000,
        samples,
        results: samples,
        gauges,
        ..Metrics::default()
    };
    Record {
        seq,
        time_ms,
        body: RecordBody::Metrics(metrics),
    }
}

pub(crate) fn report(job: &str, seq: u64, status: JobStatus, step: Step) -> JobReport {
    let bundle = Digest::of(b"bundle");
    JobReport {
        job: job.to_owned(),
        seq,
        bundle,
        id: None,
        status,
        step,
        reason: String::new(),
    }
}

/// A manifest of a model and its golden cases, and their blobs.
pub(crate) fn manifest(version: &str, release_counter: u64) -> (Manifest, BTreeMap<Digest, Vec<u8>>) {
    let model: Vec<u8> = (0..150_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect();
    let golden = format!("{{\"version\":\"{version}\"}}\n").into_bytes();
    let component = |name: &str, role, bytes: &[u8]| Component {
        name: name.parse().unwrap(),
        role,
        blob: BlobRef::of(bytes),
    };
    let tensor = TensorSpec::new("x".to_owned(), Datatype::Fp32, vec![Dim::Fixed(2)]);
    let manifest = Manifest {
        name: "valve".parse().unwrap(),
        version: version.parse().unwrap(),
        release_counter,
        floor: 0,
        hardware: vec!["*".parse().unwrap()],
        min_agent: "0.1.0".parse().unwrap(),
        critical: vec![],
        components: vec![
            component("model.onnx", ComponentRole::Model, &model),
            component("golden.jsonl", ComponentRole::Golden, &golden),
        ],
        pipeline: PipelineSpec {
            decoder: None,
            inputs: vec![InputSpec { tensor, fields: vec![] }],
            preprocess: vec![],
            model: ModelSpec {
                component: "model.onnx".parse().unwrap(),
                signature: Signature::default(),
                allow_nan: false,
                engines: Vec::new(),
                state: Vec::new(),
            },
            postprocess: vec![],
            monitors: vec![],
            explain: None,
        },
        golden: Golden {
            component: "golden.jsonl".parse().unwrap(),
            cases: 1,
            tolerance: 1e-4,
            tolerances: BTreeMap::new(),
        },
        gates: Gates::default(),
        lineage: floorhand_bundle::Lineage::default(),
    };
    let blobs = [model, golden].map(|bytes| (Digest::of(&bytes), bytes)).into();
    (manifest, blobs)
}

/// A signed bundle as a `.fhb` file, and its digest.
pub(crate) fn bundle(version: &str, release_counter: u64) -> (Vec<u8>, Digest) {
    let (manifest, blobs) = manifest(version, release_counter);
    let digest = Digest::of(&manifest.encode().unwrap());
    let archive = Archive {
        manifest: manifest.seal(&[&key(1)]).unwrap(),
        assignment: None,
        blobs,
    };
    (archived(&archive), digest)
}

pub(crate) fn archived(archive: &Archive) -> Vec<u8> {
    let mut bytes = Vec::new();
    archive.write(&mut bytes).unwrap();
    bytes
}

/// A hub in a directory of its own, and what it sends.
pub(crate) async fn hub() -> (tempfile::TempDir, Hub, mpsc::Receiver<Outgoing>) {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(&database_url(dir.path()).await).await.unwrap();
    let store = Store::open(
        &dir.path().join("files"),
        StoreOptions {
            blob_budget_bytes: u64::MAX,
        },
    )
    .unwrap();
    let (outbox, sent) = mpsc::channel(1024);
    let clock: Clock = || NOW_MS;
    let settings = Settings {
        assignment_ttl_ms: 3_600_000,
        command_ttl_ms: 60_000,
        max_bundle_bytes: 10 << 20,
        api_token: None,
    };
    let hub = Hub::new(
        root(),
        key(2),
        database,
        store,
        outbox,
        Counters::default(),
        clock,
        settings,
    );
    (dir, hub, sent)
}

/// A database of its own: SQLite in the directory or, where `FLOORHAND_TEST_POSTGRES` has the URL of a PostgreSQL database,
/// a new schema there.
pub(crate) async fn database_url(dir: &Path) -> String {
    let Ok(url) = std::env::var("FLOORHAND_TEST_POSTGRES") else {
        return Database::sqlite_url(&dir.join("hub.db"));
    };
    sqlx::any::install_default_drivers();
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    let schema = format!("test_{}", hex::encode(bytes));
    let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
    connection
        .execute(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}")))
        .await
        .unwrap();
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}options[search_path]={schema}")
}

/// Every test of this crate once more, with PostgreSQL as the hub's database.
#[test]
fn all_of_it_holds_with_postgresql() {
    const URL: &str = "FLOORHAND_TEST_POSTGRES";
    if std::env::var_os(URL).is_some() {
        return;
    }
    let Some(server) = floorhand_testkit::Postgres::start_or_skip().unwrap() else {
        return;
    };
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .env(URL, server.url())
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("test result: ok"), "{stdout}");
}
