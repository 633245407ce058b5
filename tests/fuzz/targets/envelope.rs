//! Envelopes: bytes in no form make `open` or `verify` panic, and no change to a signed document is taken for it.
//!
//! The first byte chooses: the rest is an envelope of a document type, or a list of changes to a good one.

#![no_main]

use floorhand_bundle::{Domain, Envelope, PublicKey, SecretKey};
use floorhand_fuzz::{ROOT, device, offline, online, second};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const LIMIT: usize = 1 << 16;
const DOMAINS: [Domain; 12] = [
    Domain::Root,
    Domain::Manifest,
    Domain::Assignment,
    Domain::Command,
    Domain::Ack,
    Domain::UpBatch,
    Domain::Hello,
    Domain::Answer,
    Domain::Enrolment,
    Domain::Renewal,
    Domain::Certificate,
    Domain::AuditCheckpoint,
];

static KEYS: LazyLock<[SecretKey; 4]> = LazyLock::new(|| [offline(), second(), online(), device()]);
static PUBLIC: LazyLock<Vec<PublicKey>> = LazyLock::new(|| KEYS.iter().map(SecretKey::public).collect());
/// Signed by two.
static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let envelope = Envelope::open(Domain::Root, ROOT, LIMIT).expect("the seed is an envelope");
    envelope.add_signature(&second()).expect("a second signature fits")
});

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((0x80.., changes)) => changed(changes),
        Some((domain, envelope)) => arbitrary(DOMAINS[usize::from(domain % 12)], envelope),
        None => {}
    }
});

fn arbitrary(domain: Domain, bytes: &[u8]) {
    let Ok(envelope) = Envelope::open(domain, bytes, LIMIT) else {
        return;
    };
    let signers = envelope.signers();
    let Ok(payload) = envelope.verify(&PUBLIC, 1) else {
        return;
    };
    // A document by one signer has one form: the one that the signer made.
    if let [signer] = signers.as_slice() {
        let key = KEYS.iter().find(|key| key.public().id() == *signer);
        let key = key.expect("only these keys count");
        let sealed = Envelope::seal(domain, &payload, &[key]).expect("it was sealed before");
        assert_eq!(sealed, bytes, "a second form of a signed document");
    }
}

/// Each four bytes are one change: what to do, where, and the byte to do it with.
fn changed(changes: &[u8]) {
    let mut bytes = GOOD.clone();
    for change in changes.chunks_exact(4) {
        let at = usize::from(u16::from_be_bytes([change[1], change[2]])) % (bytes.len() + 1);
        match change[0] % 4 {
            0 => bytes.insert(at, change[3]),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.truncate(at.max(1)),
            _ if at < bytes.len() => bytes[at] = change[3],
            _ => {}
        }
    }
    let taken = Envelope::open(Domain::Root, &bytes, LIMIT).and_then(|envelope| envelope.verify(&PUBLIC, 2));
    let Ok(payload) = taken else {
        assert!(bytes != *GOOD, "what nobody changed is taken");
        return;
    };
    let good = Envelope::open(Domain::Root, &GOOD, LIMIT).expect("it is good");
    assert_eq!(payload, good.payload_unverified(), "a changed payload was taken");
    // Every byte is under both signatures, or is one of them.
    assert_eq!(bytes, *GOOD, "a changed envelope was taken");
}
