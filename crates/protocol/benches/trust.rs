//! What trust costs for each message: the scanner beside the decoder that it stands in front of, and both beside the
//! signature, which is checked first. And what sealing costs.
//!
//! Four messages: an assignment and an ack, which every device gets; an up batch of a hundred records near its limit; and
//! a manifest with a chunk list of some 8 MB.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic and tell")]

#[path = "../examples/vectors.rs"]
#[expect(dead_code, reason = "the example's own output")]
mod vectors;

use criterion::{Criterion, criterion_group, criterion_main};
use floorhand_bundle::{Chunk, Digest, Domain, Envelope, Manifest, PublicKey, SecretKey, cbor};
use floorhand_protocol::{Ack, Assignment, MAX_BATCH_BYTES, Prediction, Record, RecordBody, UpBatch};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::hint::black_box;

const LIMIT: usize = 1 << 20;
const RECORDS: u64 = 100;
const OUTPUTS: u32 = 200;
const CHUNKS: usize = 256;

/// One key for all: who signs makes no difference to what it costs.
fn key() -> SecretKey {
    SecretKey::from_seed(&[3; 32])
}

/// A document among the protocol's test vectors.
fn vector<T: DeserializeOwned>(name: &str, domain: Domain) -> T {
    let vectors = vectors::all().unwrap();
    let envelope = Envelope::open(domain, vectors.get(name).unwrap(), LIMIT).unwrap();
    cbor::decode("document", envelope.payload_unverified(), LIMIT).unwrap()
}

fn batch() -> UpBatch {
    let record = |seq: u64| {
        let values = (0..OUTPUTS).map(|at| f64::from(at) * 0.1 + seq as f64).collect();
        let prediction = Prediction {
            bundle: Digest::of(b"bundle"),
            sample: seq,
            id: String::new(),
            time_ms: 1_700_000_000_000 + seq,
            outputs: [("reconstruction".to_owned(), values)].into(),
        };
        Record {
            seq,
            time_ms: 1_700_000_000_000 + seq,
            body: RecordBody::Prediction(prediction),
        }
    };
    UpBatch {
        records: (0..RECORDS).map(record).collect(),
        ..vector("batch", Domain::UpBatch)
    }
}

fn manifest() -> Manifest {
    let mut manifest: Manifest = vector("manifest", Domain::Manifest);
    let blob = &mut manifest.components.first_mut().unwrap().blob;
    blob.chunks = (0..CHUNKS)
        .map(|at| Chunk {
            sha256: Digest::of(&at.to_be_bytes()),
            length: 32 * 1024,
        })
        .collect();
    blob.length = blob.chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
    manifest
}

fn message<T: Serialize + DeserializeOwned>(criterion: &mut Criterion, name: &str, domain: Domain, document: &T) {
    let (key, public) = (key(), key().public());
    let payload = cbor::encode(domain.name(), document).unwrap();
    let sealed = Envelope::seal(domain, &payload, &[&key]).unwrap();
    println!("{name}: {} bytes, sealed {}", payload.len(), sealed.len());
    let signature = key.sign(&payload);
    let mut group = criterion.benchmark_group(name);
    group.bench_function("scan", |bencher| {
        bencher.iter(|| cbor::scan(black_box(&payload), LIMIT).unwrap());
    });
    group.bench_function("decode alone (serde_cbor)", |bencher| {
        bencher.iter(|| serde_cbor::from_slice::<T>(black_box(&payload)).unwrap());
    });
    group.bench_function("signature alone", |bencher| {
        bencher.iter(|| assert!(public.verifies(black_box(&payload), &signature)));
    });
    group.bench_function("open: envelope, signature, scan, decode", |bencher| {
        bencher.iter(|| open::<T>(domain, black_box(&sealed), &public));
    });
    group.bench_function("encode alone", |bencher| {
        bencher.iter(|| cbor::encode(domain.name(), black_box(document)).unwrap());
    });
    group.bench_function("seal: encode, sign, envelope", |bencher| {
        bencher.iter(|| {
            let payload = cbor::encode(domain.name(), black_box(document)).unwrap();
            Envelope::seal(domain, &payload, &[&key]).unwrap()
        });
    });
    group.finish();
}

fn open<T: DeserializeOwned>(domain: Domain, sealed: &[u8], key: &PublicKey) -> T {
    let envelope = Envelope::open(domain, sealed, LIMIT).unwrap();
    let payload = envelope.verify(std::slice::from_ref(key), 1).unwrap();
    cbor::decode(domain.name(), &payload, LIMIT).unwrap()
}

fn messages(criterion: &mut Criterion) {
    let assignment: Assignment = vector("assignment", Domain::Assignment);
    message(criterion, "assignment", Domain::Assignment, &assignment);
    let ack: Ack = vector("ack", Domain::Ack);
    message(criterion, "ack", Domain::Ack, &ack);
    let batch = batch();
    let length = cbor::encode("up batch", &batch).unwrap().len();
    assert!(
        length <= MAX_BATCH_BYTES && length > MAX_BATCH_BYTES / 2,
        "{length} bytes"
    );
    message(criterion, "batch", Domain::UpBatch, &batch);
    message(criterion, "manifest", Domain::Manifest, &manifest());
}

criterion_group!(benches, messages);
criterion_main!(benches);
