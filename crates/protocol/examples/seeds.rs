//! Writes what the fuzz targets in `tests/fuzz` start from, into the folder that is named: the protocol's test vectors in
//! the form that each target takes, and some odd values of CBOR.
//!
//! `tests/fuzz/seeds` is this program's output, as `tests/vectors.rs` checks. One folder for each target.

#[expect(dead_code, reason = "the other example's own output")]
pub(crate) mod vectors;

use floorhand_bundle::{Domain, Envelope, FleetId, SecretKey, cbor};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use vectors::{Result, Vectors};

/// More than any document of the vectors has.
const LIMIT: usize = 1 << 20;
/// libFuzzer is quick with short inputs; what is longer shows it nothing new.
const MAX_SEED_BYTES: usize = 8 * 1024;

/// Document types in the order of their numbers in the `envelope` target, with the vectors that are of them.
const ENVELOPES: [(Domain, &str); 12] = [
    (Domain::Root, "root"),
    (Domain::Manifest, "manifest"),
    (Domain::Assignment, "assignment"),
    (Domain::Command, "command"),
    (Domain::Ack, "ack"),
    (Domain::UpBatch, "batch"),
    (Domain::Hello, "hello"),
    (Domain::Answer, "answer"),
    (Domain::Enrolment, "enrolment"),
    (Domain::Renewal, "renewal"),
    (Domain::Certificate, "certificate"),
    (Domain::AuditCheckpoint, "audit-checkpoint"),
];

/// Messages in the order of their numbers in the `messages` target; those that are signed by their payload.
const MESSAGES: [(&str, Option<Domain>); 12] = [
    ("assignment", Some(Domain::Assignment)),
    ("command", Some(Domain::Command)),
    ("ack", Some(Domain::Ack)),
    ("hello", Some(Domain::Hello)),
    ("batch", Some(Domain::UpBatch)),
    ("answer", Some(Domain::Answer)),
    ("presence", None),
    ("fetch", None),
    ("chunk", None),
    ("enrolment", Some(Domain::Enrolment)),
    ("renewal", Some(Domain::Renewal)),
    ("certificate", Some(Domain::Certificate)),
];

/// Changes to an envelope, as the `envelope` target reads them: what, where (two bytes), with which byte.
const CHANGES: [(&str, &[u8]); 4] = [
    ("insert", &[0, 0, 20, 0]),
    ("remove", &[1, 0, 20, 0]),
    ("truncate", &[2, 1, 0, 0]),
    ("replace", &[3, 0, 60, 7, 3, 1, 90, 0]),
];

/// Each kind of item that the scanner tells apart, and what it refuses.
const ITEMS: [(&str, &[u8]); 12] = [
    ("integers", &[0x84, 0x17, 0x18, 0x18, 0x19, 1, 0, 0x1a, 0, 1, 0, 0]),
    ("negative", &[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    (
        "floats",
        &[0x83, 0xf9, 0x3c, 0, 0xfa, 0x47, 0xc3, 0x50, 0, 0xf9, 0x7e, 0],
    ),
    ("double", &[0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a]),
    ("map", &[0xa3, 0x01, 0x02, 0x41, 0x61, 0xf6, 0x61, 0x61, 0xa0]),
    ("text", &[0x63, 0xe6, 0xb0, 0xb4]),
    ("simple", &[0x83, 0xf4, 0xf5, 0xf6]),
    ("long-integer", &[0x18, 0x17]),
    ("indefinite", &[0x9f, 0, 0xff]),
    ("tag", &[0xc1, 0]),
    ("two-keys-alike", &[0xa2, 0xf9, 0x3c, 0, 0, 0xfa, 0x3f, 0x80, 0, 0, 0]),
    ("long-claim", &[0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
];

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).ok_or("the folder to write to is missing")?;
    for (path, bytes) in all()? {
        let path = Path::new(&folder).join(path);
        std::fs::create_dir_all(path.parent().ok_or("a seed without a folder")?)?;
        std::fs::write(path, bytes)?;
    }
    Ok(())
}

/// The seeds by `TARGET/NAME`.
pub(crate) fn all() -> Result<BTreeMap<String, Vec<u8>>> {
    let mut vectors = vectors::all()?;
    vectors.insert("audit-checkpoint".to_owned(), checkpoint()?);
    let mut seeds = BTreeMap::new();
    for (name, bytes) in ITEMS {
        seeds.insert(format!("scan/{name}"), bytes.to_vec());
    }
    for (name, bytes) in CHANGES {
        seeds.insert(format!("envelope/{name}"), [&[0x80], bytes].concat());
    }
    for (number, (_, kind)) in (0_u8..).zip(ENVELOPES) {
        for (name, bytes) in of_kind(&vectors, kind) {
            seeds.insert(format!("envelope/{name}"), [&[number], bytes.as_slice()].concat());
        }
    }
    for (number, (kind, domain)) in (0_u8..).zip(MESSAGES) {
        for (name, bytes) in of_kind(&vectors, kind) {
            let payload = domain.map_or_else(|| Ok(bytes.clone()), |domain| payload(domain, bytes))?;
            seeds.insert(format!("messages/{name}"), [&[number], payload.as_slice()].concat());
            seeds.insert(format!("scan/{name}"), payload);
        }
    }
    for (domain, target) in [(Domain::Root, "root"), (Domain::Manifest, "manifest")] {
        let sealed = vectors.get(target).ok_or("a vector is missing")?;
        seeds.insert(format!("{target}/payload"), payload(domain, sealed)?);
        seeds.insert(format!("{target}/sealed"), sealed.clone());
    }
    seeds.insert(
        "archive/archive".to_owned(),
        vectors.get("archive").ok_or("no archive")?.clone(),
    );
    seeds.retain(|_, bytes| bytes.len() <= MAX_SEED_BYTES);
    Ok(seeds)
}

/// What a hub signs about its audit log: a document that no device sees, so it is none of the protocol's vectors.
fn checkpoint() -> Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Checkpoint {
        fleet: FleetId,
        seq: u64,
        hash: String,
        time_ms: u64,
    }
    let checkpoint = Checkpoint {
        fleet: "plant-a".parse()?,
        seq: 7,
        hash: "5a".repeat(32),
        time_ms: 1_700_000_000_000,
    };
    let payload = cbor::encode("audit checkpoint", &checkpoint)?;
    let online = SecretKey::from_seed(&[3; 32]);
    Ok(Envelope::seal(Domain::AuditCheckpoint, &payload, &[&online])?)
}

/// The vectors named `KIND` or `KIND.SOMETHING`.
fn of_kind<'a>(vectors: &'a Vectors, kind: &'a str) -> impl Iterator<Item = (&'a String, &'a Vec<u8>)> {
    vectors
        .iter()
        .filter(move |(name, _)| name.split('.').next() == Some(kind))
}

fn payload(domain: Domain, sealed: &[u8]) -> Result<Vec<u8>> {
    Ok(Envelope::open(domain, sealed, LIMIT)?.payload_unverified().to_vec())
}
