//! From a topic and bytes to a message and what its signature is worth. Pure.

use floorhand_bundle::cbor::{self, CborError};
use floorhand_bundle::{DeviceId, Digest, DocumentError, Domain, Envelope, PublicKey, Verified};
use floorhand_protocol::{
    Answer, Fetch, Hello, MAX_ANSWER_BYTES, MAX_BATCH_BYTES, MAX_ENROLMENT_BYTES, MAX_HELLO_BYTES, Presence, Renewal,
    Topic, Up, UpBatch,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The devices' keys, as far as they are known.
pub(super) type Keys = BTreeMap<DeviceId, PublicKey>;

/// What is known of who sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signature {
    /// Its kind carries none.
    None,
    /// There is one, and no key to check it with.
    Unchecked,
    /// The device's own.
    Valid,
}

impl Signature {
    /// The word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unchecked => "unchecked",
            Self::Valid => "valid",
        }
    }
}

/// A message.
#[derive(Debug, PartialEq)]
pub(super) enum Body {
    /// Who a device is and what it runs.
    Hello(Box<Hello>),
    /// Telemetry.
    Batch(UpBatch),
    /// An answer to an assignment or a command.
    Answer(Answer),
    /// Online or offline.
    Presence(Presence),
    /// A request for chunks.
    Fetch(Fetch),
    /// A request for a certificate.
    Renewal(Renewal),
    /// Something that isn't what its topic says, or that its device hasn't signed.
    Refused(String),
}

/// A message, seen.
#[derive(Debug, PartialEq)]
pub(super) struct Seen {
    /// Its topic.
    pub(super) topic: String,
    /// The device whose topic it came on.
    pub(super) device: Option<DeviceId>,
    /// What its signature is worth.
    pub(super) signature: Signature,
    /// What it says.
    pub(super) body: Body,
}

impl Seen {
    /// The word for its kind.
    pub(super) fn kind(&self) -> &'static str {
        match self.body {
            Body::Hello(_) => "hello",
            Body::Batch(_) => "batch",
            Body::Answer(_) => "answer",
            Body::Presence(_) => "presence",
            Body::Fetch(_) => "fetch",
            Body::Renewal(_) => "renewal",
            Body::Refused(_) => "refused",
        }
    }

    /// The message as one JSON object. A digest in it is hexadecimal text.
    pub(super) fn json(&self, received_ms: u64) -> Value {
        let message = match &self.body {
            Body::Hello(hello) => serde_json::to_value(hello),
            Body::Batch(batch) => serde_json::to_value(batch),
            Body::Answer(answer) => serde_json::to_value(answer),
            Body::Presence(presence) => serde_json::to_value(presence),
            Body::Fetch(fetch) => Ok(json!({ "digest": fetch.digest, "chunks": fetch.indices() })),
            Body::Renewal(renewal) => Ok(json!({ "device": renewal.device, "csr": Digest::of(&renewal.csr) })),
            Body::Refused(reason) => Ok(json!({ "reason": reason })),
        };
        json!({
            "received_ms": received_ms,
            "topic": self.topic,
            "device": self.device,
            "kind": self.kind(),
            "signature": self.signature.name(),
            // A message that JSON can't hold is shown as null rather than ending the stream.
            "message": message.unwrap_or(Value::Null),
        })
    }
}

/// Takes a message apart. Whatever comes, there is something to show.
pub(super) fn decode(topic: &str, payload: &[u8], keys: &Keys) -> Seen {
    let refused = |device, reason| Seen {
        topic: topic.to_owned(),
        device,
        signature: Signature::None,
        body: Body::Refused(reason),
    };
    let (device, kind) = match topic.parse() {
        Ok(Topic::Up { device, kind, .. }) => (device, kind),
        Ok(_) => return refused(None, "not a topic that devices send on".to_owned()),
        Err(error) => return refused(None, error.to_string()),
    };
    match body(kind, payload, &device, keys.get(&device)) {
        Ok((signature, body)) => Seen {
            topic: topic.to_owned(),
            device: Some(device),
            signature,
            body,
        },
        Err(error) => refused(Some(device), error.to_string()),
    }
}

fn body(
    kind: Up,
    payload: &[u8],
    device: &DeviceId,
    key: Option<&PublicKey>,
) -> Result<(Signature, Body), DocumentError> {
    let who = (device, key);
    Ok(match kind {
        Up::Hello => signed(Domain::Hello, payload, MAX_HELLO_BYTES, who, Hello::open)
            .map(|(signature, hello)| (signature, Body::Hello(Box::new(hello))))?,
        Up::Batch => signed(Domain::UpBatch, payload, MAX_BATCH_BYTES, who, UpBatch::open)
            .map(|(signature, batch)| (signature, Body::Batch(batch)))?,
        Up::Answer => signed(Domain::Answer, payload, MAX_ANSWER_BYTES, who, Answer::open)
            .map(|(signature, answer)| (signature, Body::Answer(answer)))?,
        Up::Renew => signed(Domain::Renewal, payload, MAX_ENROLMENT_BYTES, who, Renewal::open)
            .map(|(signature, renewal)| (signature, Body::Renewal(renewal)))?,
        Up::Presence => (Signature::None, Body::Presence(Presence::decode(payload)?)),
        Up::Fetch => (Signature::None, Body::Fetch(Fetch::decode(payload)?)),
    })
}

type Open<T> = fn(&[u8], &DeviceId, &PublicKey) -> Result<Verified<T>, DocumentError>;

/// A signed document, checked where the key is known.
fn signed<T: DeserializeOwned>(
    domain: Domain,
    payload: &[u8],
    limit: usize,
    (device, key): (&DeviceId, Option<&PublicKey>),
    open: Open<T>,
) -> Result<(Signature, T), DocumentError> {
    if let Some(key) = key {
        return Ok((Signature::Valid, open(payload, device, key)?.into_inner()));
    }
    let envelope = Envelope::open(domain, payload, limit)?;
    let document: Result<T, CborError> = cbor::decode(domain.name(), envelope.payload_unverified(), limit);
    Ok((Signature::Unchecked, document?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_bundle::SecretKey;
    use floorhand_protocol::Outcome;

    const TOPIC: &str = "fh/v1/plant-a/d/press-07/up/answer";

    fn answer() -> Answer {
        Answer {
            device: "press-07".parse().unwrap(),
            boot_id: 1,
            to: "cmd/3".to_owned(),
            time_ms: 1000,
            outcome: Outcome::Accepted,
        }
    }

    fn keys(seed: u8) -> Keys {
        Keys::from([("press-07".parse().unwrap(), SecretKey::from_seed(&[seed; 32]).public())])
    }

    #[test]
    fn a_signature_is_checked_when_the_key_is_known() {
        let sealed = answer().seal(&SecretKey::from_seed(&[1; 32])).unwrap();
        let seen = decode(TOPIC, &sealed, &keys(1));
        assert_eq!(
            (seen.signature, &seen.body),
            (Signature::Valid, &Body::Answer(answer()))
        );
        let seen = decode(TOPIC, &sealed, &Keys::new());
        assert_eq!(
            (seen.signature, &seen.body),
            (Signature::Unchecked, &Body::Answer(answer()))
        );
        let seen = decode(TOPIC, &sealed, &keys(2));
        assert!(
            matches!(&seen.body, Body::Refused(reason) if reason.contains("signed by 0 of the 1")),
            "{seen:?}"
        );
    }

    #[test]
    fn anything_can_be_shown() {
        for (topic, payload) in [(TOPIC, &b"junk"[..]), ("plant/1", b""), ("fh/v1/a/d/b/down/cmd", b"")] {
            let seen = decode(topic, payload, &Keys::new());
            assert_eq!(seen.kind(), "refused");
            assert!(seen.json(5)["message"]["reason"].is_string());
        }
        let online = Presence {
            boot_id: 2,
            online: true,
        }
        .encode()
        .unwrap();
        let seen = decode("fh/v1/a/d/b/up/presence", &online, &Keys::new());
        assert_eq!(seen.json(5)["message"]["online"], true);
    }
}
