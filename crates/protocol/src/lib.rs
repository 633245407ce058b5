//! What agents and hub say to each other: topics, messages, their codec and their limits. Knows no client.
//!
//! Signed documents ([`Assignment`], [`Command`], [`Ack`] by the hub; [`Hello`], [`UpBatch`], [`Answer`] by the device)
//! travel in envelopes and come out of their `open` functions as [`Verified`](floorhand_bundle::Verified). Messages
//! that nobody is judged by ([`Fetch`], [`ChunkMessage`], [`Presence`]) travel bare: a chunk is held against the signed
//! chunk list, the others only ask or tell.
//!
//! All of it is CBOR in the deterministic encoding of RFC 8949; fields that a reader doesn't know are ignored, unless
//! the document lists them as critical. `docs/protocol.md` describes the same for people who write a device or a hub in
//! another language.
//!
//! ```
//! use floorhand_protocol::{Topic, Down};
//!
//! let topic: Topic = "fh/v1/plant-a/d/press-07/down/assign".parse()?;
//! assert_eq!(topic, Topic::Down { fleet: "plant-a".parse()?, device: "press-07".parse()?, kind: Down::Assign });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Testing
//!
//! Every message has `encode` or `seal` and their reverse, so a test can play either side with keys from seeds.

mod delivery;
mod down;
mod enrolment;
mod record;
mod topic;
mod up;

pub use delivery::{
    BROADCAST_TOKEN, ChunkBody, ChunkMessage, DeliveryError, Encoding, FETCH_WINDOW_BYTES, Fetch,
    MAX_CHUNK_MESSAGE_BYTES, MAX_FETCH_BYTES, MAX_FETCH_CHUNKS, Missing,
};
pub use down::{
    Ack, Action, Assigned, Assignment, Command, MAX_ACK_BYTES, MAX_ASSIGNMENT_BYTES, MAX_COMMAND_BYTES, Mode,
    Parameters, SeqRange,
};
pub use enrolment::{
    EnrolmentRequest, EnrolmentToken, IssuedCertificate, MAX_CERTIFICATE_BYTES, MAX_ENROLMENT_BYTES, Renewal,
    TokenError,
};
pub use record::{
    BundleId, Event, Explanation, FeatureContribution, Finding, Gap, JobReport, JobStatus, MAX_EXPLAINED_FEATURES,
    MAX_FEATURE_BYTES, Metrics, Phase, Prediction, Priority, Record, RecordBody, Severity, Step,
};
pub use topic::{Down, Topic, TopicError, Up};
pub use up::{
    Answer, Deployment, Hello, MAX_ANSWER_BYTES, MAX_BATCH_BYTES, MAX_BATCH_GAPS, MAX_HELLO_BYTES, MAX_RECORD_BYTES,
    Outcome, Presence, Running, UpBatch,
};

/// The largest MQTT packet that either side sends or takes, in bytes: the largest message and room for its topic.
pub const MAX_PACKET_BYTES: usize = 256 * 1024;
