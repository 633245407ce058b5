//! Every message of the protocol, by its decoder and by the function that opens it.
//!
//! The first byte says which message the rest is: its payload, which the target signs itself, so that what stands behind
//! the signature is reached too.

#![no_main]

use floorhand_bundle::{DeviceId, Domain, Envelope, SecretKey, TrustRoot, Verified};
use floorhand_fuzz::{NOW_MS, device, online, read, root};
use floorhand_protocol::{
    Ack, Answer, Assignment, ChunkMessage, Command, EnrolmentRequest, Fetch, Hello, IssuedCertificate, MAX_ACK_BYTES,
    MAX_ANSWER_BYTES, MAX_ASSIGNMENT_BYTES, MAX_BATCH_BYTES, MAX_CERTIFICATE_BYTES, MAX_CHUNK_MESSAGE_BYTES,
    MAX_COMMAND_BYTES, MAX_ENROLMENT_BYTES, MAX_FETCH_BYTES, MAX_HELLO_BYTES, Presence, Renewal, UpBatch,
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static ROOT: LazyLock<Verified<TrustRoot>> = LazyLock::new(root);
static ONLINE: LazyLock<SecretKey> = LazyLock::new(online);
static DEVICE: LazyLock<SecretKey> = LazyLock::new(device);
static ID: LazyLock<DeviceId> = LazyLock::new(|| "press-07".parse().expect("a device id"));

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, payload)) = bytes.split_first() else {
        return;
    };
    match kind % 12 {
        0 if read::<Assignment>("assignment", payload, MAX_ASSIGNMENT_BYTES).is_some() => {
            let sealed = seal(Domain::Assignment, payload, &ONLINE);
            drop(Assignment::open(&sealed, &ROOT, &ID, NOW_MS));
        }
        1 if read::<Command>("command", payload, MAX_COMMAND_BYTES).is_some() => {
            drop(Command::open(
                &seal(Domain::Command, payload, &ONLINE),
                &ROOT,
                &ID,
                NOW_MS,
            ));
        }
        2 if read::<Ack>("ack", payload, MAX_ACK_BYTES).is_some() => {
            drop(Ack::open(&seal(Domain::Ack, payload, &ONLINE), &ROOT, &ID, NOW_MS));
        }
        3 if read::<Hello>("hello", payload, MAX_HELLO_BYTES).is_some() => {
            drop(Hello::open(
                &seal(Domain::Hello, payload, &DEVICE),
                &ID,
                &DEVICE.public(),
            ));
        }
        4 if read::<UpBatch>("up batch", payload, MAX_BATCH_BYTES).is_some() => {
            drop(UpBatch::open(
                &seal(Domain::UpBatch, payload, &DEVICE),
                &ID,
                &DEVICE.public(),
            ));
        }
        5 if read::<Answer>("answer", payload, MAX_ANSWER_BYTES).is_some() => {
            drop(Answer::open(
                &seal(Domain::Answer, payload, &DEVICE),
                &ID,
                &DEVICE.public(),
            ));
        }
        6 => {
            let presence = read::<Presence>("presence", payload, payload.len());
            assert!(presence.is_some() || Presence::decode(payload).is_err());
        }
        7 => {
            if let Some(fetch) = read::<Fetch>("fetch", payload, MAX_FETCH_BYTES) {
                assert!(fetch.indices().len() <= 256);
            }
        }
        8 => {
            let message = read::<ChunkMessage>("chunk", payload, MAX_CHUNK_MESSAGE_BYTES);
            if let Some(Ok(Some(chunk))) = message.map(ChunkMessage::unpack) {
                assert!(chunk.len() <= MAX_CHUNK_MESSAGE_BYTES);
            }
        }
        9 if read::<EnrolmentRequest>("enrolment", payload, MAX_ENROLMENT_BYTES).is_some() => {
            let sealed = Envelope::seal(Domain::Enrolment, payload, &[&*DEVICE, &*ONLINE]);
            let sealed = sealed.expect("any payload can be sealed");
            drop(EnrolmentRequest::open(&sealed, &ONLINE.public()));
        }
        10 if read::<Renewal>("renewal", payload, MAX_ENROLMENT_BYTES).is_some() => {
            drop(Renewal::open(
                &seal(Domain::Renewal, payload, &DEVICE),
                &ID,
                &DEVICE.public(),
            ));
        }
        11 => {
            if let Some(issued) = read::<IssuedCertificate>("certificate", payload, MAX_CERTIFICATE_BYTES) {
                let sealed = seal(Domain::Certificate, payload, &ONLINE);
                drop(IssuedCertificate::open(&sealed, &ROOT, (&ID, issued.csr), NOW_MS));
            }
        }
        _ => {}
    }
});

fn seal(domain: Domain, payload: &[u8], key: &SecretKey) -> Vec<u8> {
    Envelope::seal(domain, payload, &[key]).expect("any payload can be sealed")
}
