//! Every document and message of the protocol, with contents of every kind, passes the scanner and comes back as it was.
//!
//! "Every" is held by the compiler: the lists below go by `match` over the domains of signatures and the kinds of topics,
//! so that a new one doesn't build until it is here.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests may panic")]

#[path = "../examples/vectors.rs"]
#[expect(dead_code, reason = "the example's own output")]
mod vectors;

use floorhand_bundle::{BlobRef, Chunk, Digest, Domain, Envelope, Manifest, SecretKey, TrustRoot, Version, cbor};
use floorhand_protocol::{
    Ack, Action, Answer, Assigned, Assignment, BundleId, ChunkMessage, Command, Deployment, Down, EnrolmentRequest,
    Event, Explanation, FeatureContribution, Fetch, Finding, Gap, Hello, IssuedCertificate, JobReport, JobStatus,
    Metrics, Missing, Mode, Outcome, Parameters, Phase, Prediction, Presence, Record, RecordBody, Renewal, Running,
    SeqRange, Severity, Step, Up, UpBatch,
};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use std::fmt::Debug;

/// Longer than any of these.
const LIMIT: usize = 1 << 22;

/// What documents are filled with, drawn by proptest.
struct Source {
    numbers: std::vec::IntoIter<u64>,
    texts: std::vec::IntoIter<String>,
}

impl Source {
    /// Numbers of every length; 0 when there are no more.
    fn number(&mut self) -> u64 {
        let bits = self.numbers.next().unwrap_or_default();
        bits >> (bits % 64)
    }

    fn text(&mut self) -> String {
        self.texts.next().unwrap_or_default()
    }

    /// Any float that is equal to itself.
    fn float(&mut self) -> f64 {
        let bits = self.numbers.next().unwrap_or_default();
        let float = match bits % 3 {
            0 => f64::from_bits(bits),
            1 => f64::from(f32::from_bits(bits as u32)),
            _ => (bits % 4096) as f64 / 16.0,
        };
        if float.is_nan() { f64::INFINITY } else { float }
    }

    fn flag(&mut self) -> bool {
        self.number() % 2 == 1
    }

    fn choose<T: Clone>(&mut self, among: &[T]) -> T {
        among[self.number() as usize % among.len()].clone()
    }

    fn list<T>(&mut self, of: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.number() % 4).map(|_| of(self)).collect()
    }

    fn range(&mut self) -> SeqRange {
        SeqRange {
            first: self.number(),
            last: self.number(),
        }
    }

    fn digest(&mut self) -> Digest {
        Digest::of(&self.number().to_be_bytes())
    }

    fn bytes(&mut self) -> ByteBuf {
        self.text().into_bytes().into()
    }

    fn name<T: std::str::FromStr<Err: Debug>>(&mut self) -> T {
        format!("n-{}", self.number() % 1000).parse().unwrap()
    }

    fn blob(&mut self) -> BlobRef {
        BlobRef {
            sha256: self.digest(),
            length: self.number(),
            chunks: self.list(|source| Chunk {
                sha256: source.digest(),
                length: source.number() as u32,
            }),
        }
    }

    fn bundle(&mut self) -> BundleId {
        BundleId {
            digest: self.digest(),
            name: self.name(),
            version: Version::new(self.number(), self.number(), self.number()),
        }
    }

    fn running(&mut self) -> Option<Running> {
        self.flag().then(|| Running {
            generation: self.number(),
            bundle: self.bundle(),
        })
    }

    fn mode(&mut self) -> Mode {
        self.choose(&[Mode::Run, Mode::Paused])
    }

    fn parameters(&mut self) -> Parameters {
        Parameters {
            sampling_ppm: self.number() as u32,
        }
    }

    fn severity(&mut self) -> Severity {
        self.choose(&[Severity::Info, Severity::Warning, Severity::Alarm])
    }

    fn explanation(&mut self) -> Explanation {
        Explanation {
            bundle: self.digest(),
            sample: self.number(),
            id: self.text(),
            time_ms: self.number(),
            finding: self.text(),
            method: self.text(),
            output: self.text(),
            element: self.flag().then(|| self.number()),
            base: self.float(),
            prediction: self.float(),
            features: self.list(|source| FeatureContribution {
                feature: source.text(),
                value: source.text(),
                contribution: source.float(),
            }),
            others: self.float(),
            evaluations: self.number(),
            exact: self.flag(),
            complete: self.flag(),
        }
    }

    fn body(&mut self) -> RecordBody {
        match self.number() % 6 {
            0 => RecordBody::Job(JobReport {
                job: self.text(),
                seq: self.number(),
                bundle: self.digest(),
                id: self.flag().then(|| self.bundle()),
                status: self.choose(&[JobStatus::Queued, JobStatus::TimedOut, JobStatus::Canceled]),
                step: self.choose(&[Step::Assigned, Step::Trial, Step::RolledBack]),
                reason: self.text(),
            }),
            1 => RecordBody::Finding(Finding {
                bundle: self.digest(),
                candidate: self.flag(),
                stage: self.text(),
                kind: self.text(),
                severity: self.severity(),
                phase: self
                    .flag()
                    .then(|| self.choose(&[Phase::Once, Phase::Raised, Phase::Cleared])),
                subject: self.text(),
                value: self.float(),
                threshold: self.float(),
                sample: self.number(),
                message: self.text(),
                details: self.flag().then(|| (self.text(), self.text())).into_iter().collect(),
            }),
            2 => RecordBody::Metrics(Metrics {
                bundle: self.flag().then(|| self.digest()),
                window_ms: self.number(),
                samples: self.number(),
                gauges: self
                    .list(|source| (source.text(), source.float()))
                    .into_iter()
                    .collect(),
                counters: self
                    .list(|source| (source.text(), source.number()))
                    .into_iter()
                    .collect(),
                ..Metrics::default()
            }),
            3 => RecordBody::Event(Event {
                kind: self.text(),
                severity: self.severity(),
                subject: self.text(),
                message: self.text(),
            }),
            4 => RecordBody::Explanation(self.explanation()),
            _ => RecordBody::Prediction(Prediction {
                bundle: self.digest(),
                sample: self.number(),
                id: self.text(),
                time_ms: self.number(),
                outputs: self
                    .list(|source| (source.text(), source.list(Self::float)))
                    .into_iter()
                    .collect(),
            }),
        }
    }
}

/// Encodes, scans, decodes: the same document, and the same bytes again.
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(document: &T) {
    let bytes = cbor::encode("document", document).unwrap();
    assert_eq!(cbor::scan(&bytes, LIMIT), Ok(()), "{document:?}");
    let read: T = cbor::decode("document", &bytes, LIMIT).unwrap();
    assert_eq!(read, *document);
    assert_eq!(cbor::encode("document", &read).unwrap(), bytes);
}

/// A document among the test vectors, to be varied.
fn vector<T: DeserializeOwned>(name: &str, domain: Domain) -> T {
    let envelope = Envelope::open(domain, vectors::all().unwrap().get(name).unwrap(), LIMIT).unwrap();
    cbor::decode("document", envelope.payload_unverified(), LIMIT).unwrap()
}

fn check_signed(domain: Domain, source: &mut Source) {
    match domain {
        Domain::Root => {
            let mut root: TrustRoot = vector("root", domain);
            (root.version, root.expires_ms) = (source.number(), source.number());
            root.issued_ms = if source.flag() { source.number() } else { 0 };
            root.critical = source.list(Source::text);
            check(&root);
        }
        Domain::Manifest => check(&manifest(source)),
        Domain::Assignment => check(&Assignment {
            fleet: source.name(),
            device: source.name(),
            seq: source.number(),
            job: source.text(),
            run: source.flag().then(|| Assigned {
                bundle: source.digest(),
                manifest: source.blob(),
            }),
            mode: source.mode(),
            parameters: source.parameters(),
            issued_ms: source.number(),
            expires_ms: source.number(),
            critical: source.list(Source::text),
        }),
        Domain::Command => {
            let lines = source.number() as u32;
            check(&Command {
                id: source.number(),
                action: source.choose(&[Action::ReportNow, Action::FetchLogs { lines }]),
                critical: source.list(Source::text),
                ..vector("command.report-now", domain)
            });
        }
        Domain::Ack => check(&Ack {
            device: source.name(),
            boot_id: source.number(),
            ranges: source.list(Source::range),
            gaps: source.list(Source::range),
        }),
        Domain::UpBatch => check(&batch(source)),
        Domain::Hello => check(&Hello {
            boot_id: source.number(),
            agent: source.text(),
            platform: source.text(),
            mode: source.mode(),
            parameters: source.parameters(),
            active: source.running(),
            previous: source.running(),
            candidate: source.running(),
            deployment: source.choose(&[Deployment::Idle, Deployment::Fetching, Deployment::Trial]),
            ..vector("hello", domain)
        }),
        Domain::Answer => {
            let (body, reason) = (source.text(), source.text());
            check(&Answer {
                to: source.text(),
                outcome: source.choose(&[Outcome::Accepted, Outcome::Done { body }, Outcome::Rejected { reason }]),
                ..vector("answer.done", domain)
            });
        }
        Domain::Enrolment | Domain::Renewal | Domain::Certificate => check_identity(domain, source),
        // Of the hub's own log: no message of this protocol. Its type and its tests are in the hub.
        Domain::AuditCheckpoint => {}
    }
}

/// What a device gets its certificate with.
fn check_identity(domain: Domain, source: &mut Source) {
    match domain {
        Domain::Enrolment => check(&EnrolmentRequest {
            device: source.name(),
            hardware: source.name(),
            public_key: SecretKey::from_seed(source.digest().as_bytes()).public(),
            csr: source.bytes(),
            fleet: source.flag().then(|| source.name()),
            critical: source.list(Source::text),
        }),
        Domain::Renewal => check(&Renewal {
            device: source.name(),
            csr: source.bytes(),
            critical: source.list(Source::text),
        }),
        _ => check(&IssuedCertificate {
            fleet: source.name(),
            device: source.name(),
            csr: source.digest(),
            chain: source.list(Source::bytes),
            broker: source.flag().then(|| source.text()),
            broker_ca: source.list(Source::bytes),
            issued_ms: source.number(),
            critical: source.list(Source::text),
        }),
    }
}

fn manifest(source: &mut Source) -> Manifest {
    let mut manifest: Manifest = vector("manifest", Domain::Manifest);
    manifest.name = source.name();
    manifest.release_counter = source.number();
    manifest.golden.tolerance = source.float();
    manifest.gates.max_error_rate = source.float();
    manifest.lineage.training_run = source.text();
    for component in &mut manifest.components {
        component.name = source.name();
        component.blob = source.blob();
    }
    for stage in &mut manifest.pipeline.preprocess {
        stage.config = source.text();
        stage.limits.memory_bytes = source.flag().then(|| source.number());
    }
    manifest
}

fn batch(source: &mut Source) -> UpBatch {
    UpBatch {
        device: source.name(),
        boot_id: source.number(),
        historical: source.flag(),
        records: source.list(|source| Record {
            seq: source.number(),
            time_ms: source.number(),
            body: source.body(),
        }),
        gaps: source.list(|source| Gap {
            boot_id: source.number(),
            first: source.number(),
            last: source.number(),
            count: source.number(),
        }),
    }
}

/// The document type that is signed for a topic.
fn check_up(kind: Up, source: &mut Source) {
    match kind {
        Up::Hello => check_signed(Domain::Hello, source),
        Up::Batch => check_signed(Domain::UpBatch, source),
        Up::Answer => check_signed(Domain::Answer, source),
        Up::Renew => check_signed(Domain::Renewal, source),
        Up::Fetch => {
            let first = source.number() as u32 / 2;
            let missing = Missing::of([first, first + 1 + source.number() as u32 % 200]).unwrap();
            check(&Fetch::new(source.number(), source.digest(), missing));
        }
        Up::Presence => check(&Presence {
            boot_id: source.number(),
            online: source.flag(),
        }),
    }
}

fn check_down(kind: Down, source: &mut Source) {
    match kind {
        Down::Assign => check_signed(Domain::Assignment, source),
        Down::Command => check_signed(Domain::Command, source),
        Down::Ack => check_signed(Domain::Ack, source),
        Down::Root => check_signed(Domain::Root, source),
        Down::Certificate => check_signed(Domain::Certificate, source),
        Down::Chunk => {
            let chunk = source.text().repeat(source.number() as usize % 20);
            let (token, index) = (source.number(), source.number() as u32);
            check(&ChunkMessage::pack(token, source.digest(), index, chunk.as_bytes()));
            check(&ChunkMessage::unknown(token, source.digest(), index));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn every_message_passes_the_scanner_and_comes_back(
        numbers in prop::collection::vec(any::<u64>(), 0..400),
        texts in prop::collection::vec("\\PC{0,40}", 0..40),
    ) {
        let source = &mut Source { numbers: numbers.into_iter(), texts: texts.into_iter() };
        for kind in [
            Up::Hello,
            Up::Batch,
            Up::Answer,
            Up::Fetch,
            Up::Presence,
            Up::Renew,
        ] {
            check_up(kind, source);
        }
        for kind in [
            Down::Assign,
            Down::Command,
            Down::Ack,
            Down::Chunk,
            Down::Root,
            Down::Certificate,
        ] {
            check_down(kind, source);
        }
        // What travels as a blob, as a file, and over HTTPS.
        for domain in [Domain::Root, Domain::Manifest, Domain::Enrolment] {
            check_signed(domain, source);
        }
        // What the spool holds.
        check(&source.body());
    }
}
