//! The program `floorhand-hub` from outside: against a real Mosquitto with mutual TLS and access lists, and with its own
//! embedded broker. A device is played by hand, with the protocol's messages and the fleet's client.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod device;
mod fixture;
mod https;
mod hub;

use device::Device;
use fixture::{bundle, root, write_key};
use floorhand_bundle::{Digest, Manifest};
use floorhand_protocol::{Action, Command, Down, JobReport, JobStatus, Mode, Outcome, Record, RecordBody, Step};
use floorhand_testkit::{Mosquitto, MosquittoConfig, MosquittoTls, Pki, free_port};
use floorhand_transport::{Config, TlsFiles};
use hub::{Hub, program};
use serde_json::json;
use std::time::Duration;

/// For two slow cores that other tests use too; nothing here waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// The whole way of a bundle and of a record, whatever the broker.
async fn play(hub: &Hub, config: Config) {
    hub.register("press-1");
    let (archive, manifest) = bundle();
    let digest = hub.ingest(&archive);
    let issued = hub.post("/api/v1/deployments", &json!({"bundle": digest, "all": true}));
    let job = issued["job"].as_str().unwrap().to_owned();
    let mut device = Device::connect("press-1", config).await;
    device.hello(1, 0).await;
    let assignment = device.assignment().await;
    let run = assignment.run.unwrap();
    assert_eq!(
        (assignment.seq, &assignment.job, run.bundle.to_string()),
        (1, &job, digest)
    );
    let envelope = device.fetch(&run.manifest).await;
    assert_eq!(*Manifest::open(&envelope, &root(), 1_000).unwrap(), manifest);
    for component in &manifest.components {
        assert_eq!(Digest::of(&device.fetch(&component.blob).await), component.blob.sha256);
    }
    device.answer("assign/1", Outcome::Accepted).await;
    assert_eq!(
        hub.get("/api/v1/devices/press-1/answers/assign/1?wait_s=50")["outcome"],
        "accepted"
    );
    let report = JobReport {
        job: job.clone(),
        seq: 1,
        bundle: run.bundle,
        id: None,
        status: JobStatus::Succeeded,
        step: Step::Committed,
        reason: String::new(),
    };
    let records = || {
        vec![Record {
            seq: 3,
            time_ms: 5,
            body: RecordBody::Job(report.clone()),
        }]
    };
    for _ in 0..2 {
        assert_eq!(device.report(records()).await, [(3, 3)]);
    }
    let done = hub.get(&format!("/api/v1/jobs/{job}"));
    assert_eq!(
        (&done["assignments"][0]["status"], &done["assignments"][0]["step"]),
        (&json!("SUCCEEDED"), &json!("committed"))
    );
    let stats = hub.get("/api/v1/stats");
    assert_eq!(
        (&stats["totals"]["records"], &stats["totals"]["duplicates"]),
        (&json!(1), &json!(1))
    );
    command(hub, &mut device).await;
    device.client.shutdown(PATIENCE).await;
}

async fn command(hub: &Hub, device: &mut Device) {
    let id = hub.post("/api/v1/devices/press-1/fetch-logs", &json!({"lines": 3}))["id"]
        .as_u64()
        .unwrap();
    let (payload, retained) = device.next(Down::Command).await;
    assert!(!retained);
    let command = Command::open(&payload, &root(), &device.id, 1_000).unwrap();
    assert_eq!(
        (command.id, command.action.clone()),
        (id, Action::FetchLogs { lines: 3 })
    );
    device
        .answer(
            &format!("cmd/{id}"),
            Outcome::Done {
                body: "three\nlines\nof it".to_owned(),
            },
        )
        .await;
    let answer = hub.get(&format!("/api/v1/devices/press-1/answers/cmd/{id}?wait_s=50"));
    assert_eq!(answer["outcome"]["done"]["body"], "three\nlines\nof it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_served_through_mosquitto_with_mutual_tls() {
    let pki = Pki::new().unwrap();
    let acl = [
        "user hub",
        "topic readwrite fh/v1/plant-a/#",
        "pattern read fh/v1/+/d/%u/down/#",
        "pattern write fh/v1/+/d/%u/up/#",
    ];
    let config = MosquittoConfig {
        tls: Some(MosquittoTls::issued_by(&pki).unwrap()),
        acl: acl.map(str::to_owned).to_vec(),
        ..MosquittoConfig::default()
    };
    let Some(mosquitto) = Mosquitto::start_or_skip(config) else {
        return;
    };
    let url = mosquitto.url().replace("127.0.0.1", "localhost");
    let (own, of_device) = (pki.issue("hub").unwrap(), pki.issue("press-1").unwrap());
    let (ca, cert, key) = (pki.ca(), own.cert, own.key);
    let lines = format!("broker = '{url}'\n[tls]\nca = {ca:?}\ncert = {cert:?}\nkey = {key:?}");
    let hub = Hub::start(&lines);
    let tls = Some(TlsFiles::mutual(pki.ca(), of_device.cert, of_device.key));
    play(
        &hub,
        Config {
            tls,
            ..Config::new(url, "press-1")
        },
    )
    .await;
    assert_eq!(hub.terminate().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_served_through_the_embedded_broker_and_after_a_restart() {
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let lines = format!("embedded_broker = '{address}'");
    let hub = Hub::start(&lines);
    let config = || Config::new(format!("mqtt://{address}"), "press-1");
    play(&hub, config()).await;
    let seq = hub.post("/api/v1/devices/press-1/pause", &json!({}))["seq"]
        .as_u64()
        .unwrap();
    let (code, dir) = hub.terminate();
    assert_eq!(code, Some(0));
    // The broker has forgotten what it retained; the hub hasn't.
    let hub = Hub::start_in(dir, &lines);
    let mut device = Device::connect("press-1", config()).await;
    device.hello(2, 1).await;
    let assignment = device.assignment().await;
    assert_eq!((assignment.seq, assignment.mode), (seq, Mode::Paused));
    assert_eq!(hub.get("/api/v1/stats")["totals"]["records"], 1);
}

#[test]
fn what_is_wrong_is_told_with_its_exit_code() {
    let hub = Hub::start(&format!("embedded_broker = '127.0.0.1:{}'", free_port().unwrap()));
    let check = |lines: &str, code: i32, part: &str| {
        let dir = tempfile::tempdir().unwrap();
        write_key(&dir.path().join("assignment.pem"), 2);
        write_key(&dir.path().join("other.pem"), 3);
        std::fs::write(dir.path().join("root.cose"), root().envelope()).unwrap();
        let text = format!("fleet = 'plant-a'\ntrust_root = 'root.cose'\nhttp_listen = '127.0.0.1:0'\n{lines}");
        std::fs::write(dir.path().join("hub.toml"), text).unwrap();
        let status = program(dir.path()).status().unwrap();
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(
            status.code() == Some(code) && log.contains(part),
            "{lines}: {status} {log}"
        );
    };
    check(
        "assignment_key = 'other.pem'",
        3,
        "is not in the assignment role of the trust root",
    );
    check("assignment_key = 'missing.pem'", 3, "`assignment_key`");
    check(
        "assignment_key = 'assignment.pem'\nbroker = 'mqtts://localhost'",
        3,
        "broker:",
    );
    let taken = format!(
        "assignment_key = 'assignment.pem'\ndata_dir = {:?}",
        hub.dir.path().join("floorhand-hub")
    );
    check(&taken, 4, "in use by another process");
    let port = format!(
        "assignment_key = 'assignment.pem'\nembedded_broker = '127.0.0.1:{}'",
        hub.http
    );
    check(&port, 5, "listen on 127.0.0.1");
}
