//! What a device signs, hellos, batches and answers; and its presence, which nobody is judged by.

use crate::down::{Mode, Parameters, seal};
use crate::record::{BundleId, Gap, Record};
use floorhand_bundle::cbor::{self, CborError};
use floorhand_bundle::{DeviceId, DocumentError, Domain, Envelope, HardwareClass, PublicKey, Signer, Verified};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The largest hello in bytes.
pub const MAX_HELLO_BYTES: usize = 8 * 1024;
/// The largest up batch in bytes: one MQTT packet with room for its topic and envelope.
pub const MAX_BATCH_BYTES: usize = 192 * 1024;
/// The largest single record in bytes, so that every record fits into a batch.
pub const MAX_RECORD_BYTES: usize = 32 * 1024;
/// The most gaps in an up batch. A device that has more joins neighbours.
pub const MAX_BATCH_GAPS: usize = 512;
/// The largest answer in bytes: log lines, mostly.
pub const MAX_ANSWER_BYTES: usize = 192 * 1024;
/// The largest presence message in bytes.
const MAX_PRESENCE_BYTES: usize = 128;

/// A generation that a device has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The device's own number for it; rises with every generation it stages.
    pub generation: u64,
    /// The bundle.
    pub bundle: BundleId,
}

/// How far a device is with what it was assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deployment {
    /// Nothing is under way.
    Idle,
    /// Chunks are being fetched.
    Fetching,
    /// Everything is there and is what the manifest says.
    Verified,
    /// Loaded; golden cases passed.
    Staged,
    /// Serving beside the running generation.
    Trial,
}

/// Who a device is and what it runs. Sent after every connect and after every change of what it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The device.
    pub device: DeviceId,
    /// Drawn at random at every start of the agent.
    pub boot_id: u64,
    /// Counts the hellos of this boot, so that an old one that is repeated is known as such.
    pub count: u64,
    /// The device's clock, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// The agent's version.
    pub agent: String,
    /// The device's hardware class.
    pub hardware: HardwareClass,
    /// Architecture and operating system, e.g. `x86_64-linux`.
    pub platform: String,
    /// The highest assignment that was taken. A hub that was restored from a backup goes on above it.
    pub seq: u64,
    /// The highest command that was taken.
    pub command_id: u64,
    /// The version of the trust root.
    pub root_version: u64,
    /// The lowest release that will be taken.
    pub floor: u64,
    /// Whether it works.
    pub mode: Mode,
    /// Its settings.
    pub parameters: Parameters,
    /// What serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<Running>,
    /// What it can go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Running>,
    /// What is being deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Running>,
    /// How far that is.
    pub deployment: Deployment,
}

/// Telemetry. Sent until its records are acknowledged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpBatch {
    /// The device.
    pub device: DeviceId,
    /// The boot that made these records, which may be an earlier one.
    pub boot_id: u64,
    /// True when the records were held back: their time is not now.
    pub historical: bool,
    /// The records, by rising sequence number.
    pub records: Vec<Record>,
    /// Records that were dropped before they could be sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
}

/// How something that was asked ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Taken; what comes of it is reported by records.
    Accepted,
    /// Done.
    Done {
        /// The result: text for people, or JSON.
        body: String,
    },
    /// Not taken, and why.
    Rejected {
        /// For people.
        reason: String,
    },
}

/// The answer to an assignment or a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The device.
    pub device: DeviceId,
    /// The boot that answers.
    pub boot_id: u64,
    /// `assign/SEQ` or `cmd/ID`.
    pub to: String,
    /// The device's clock, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// Whether a device is connected. Unsigned: the broker says it in the device's place when the connection breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The boot.
    pub boot_id: u64,
    /// Whether it is there.
    pub online: bool,
}

impl Hello {
    /// Encodes and signs.
    pub fn seal<S: Signer + ?Sized>(&self, key: &S) -> Result<Vec<u8>, DocumentError> {
        seal(Domain::Hello, self, key)
    }

    /// Opens a hello from the device that holds `key`.
    pub fn open(bytes: &[u8], device: &DeviceId, key: &PublicKey) -> Result<Verified<Self>, DocumentError> {
        let opened: Verified<Self> = open(Domain::Hello, bytes, key, MAX_HELLO_BYTES)?;
        check_sender("hello", &opened.device, device)?;
        Ok(opened)
    }
}

impl UpBatch {
    /// Encodes and signs.
    pub fn seal<S: Signer + ?Sized>(&self, key: &S) -> Result<Vec<u8>, DocumentError> {
        seal(Domain::UpBatch, self, key)
    }

    /// Opens a batch from the device that holds `key`.
    pub fn open(bytes: &[u8], device: &DeviceId, key: &PublicKey) -> Result<Verified<Self>, DocumentError> {
        let opened: Verified<Self> = open(Domain::UpBatch, bytes, key, MAX_BATCH_BYTES)?;
        check_sender("up batch", &opened.device, device)?;
        Ok(opened)
    }
}

impl Answer {
    /// Encodes and signs.
    pub fn seal<S: Signer + ?Sized>(&self, key: &S) -> Result<Vec<u8>, DocumentError> {
        seal(Domain::Answer, self, key)
    }

    /// Opens an answer from the device that holds `key`.
    pub fn open(bytes: &[u8], device: &DeviceId, key: &PublicKey) -> Result<Verified<Self>, DocumentError> {
        let opened: Verified<Self> = open(Domain::Answer, bytes, key, MAX_ANSWER_BYTES)?;
        check_sender("answer", &opened.device, device)?;
        Ok(opened)
    }
}

impl Presence {
    /// Encodes.
    pub fn encode(&self) -> Result<Vec<u8>, CborError> {
        cbor::encode("presence", self)
    }

    /// Decodes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode("presence", bytes, MAX_PRESENCE_BYTES)
    }
}

pub(crate) fn open<T: DeserializeOwned>(
    domain: Domain,
    bytes: &[u8],
    key: &PublicKey,
    limit: usize,
) -> Result<Verified<T>, DocumentError> {
    let payload = Envelope::open(domain, bytes, limit)?.verify(std::slice::from_ref(key), 1)?;
    Ok(Verified::new(
        cbor::decode(domain.name(), &payload, limit)?,
        &payload,
        bytes,
    ))
}

pub(crate) fn check_sender(document: &'static str, written: &DeviceId, sender: &DeviceId) -> Result<(), DocumentError> {
    if written == sender {
        return Ok(());
    }
    let problem = format!("it came on the topic of {sender}, and says it is from {written}");
    Err(DocumentError::Content { document, problem })
}
