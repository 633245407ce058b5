//! The audit log: every change, by whom, in a chain in which each entry has the hash of the one before it.
//!
//! Whoever has the database can rewrite all of it. What they can't do is rewrite a part of it unnoticed, or any of it that
//! a [`Checkpoint`] elsewhere covers. Pure: entries in, a verdict out; the database and the clock are elsewhere.
//!
//! ```
//! use floorhand_hub::audit::{Entry, Finding, GENESIS, verify};
//!
//! let mut entry = Entry {
//!     seq: 1,
//!     time_ms: 1_800_000_000_000,
//!     actor_kind: "token".to_owned(),
//!     actor_name: "anna".to_owned(),
//!     actor_roles: "operator".to_owned(),
//!     actor_method: "bearer".to_owned(),
//!     action: "pause".to_owned(),
//!     subject: "press-1".to_owned(),
//!     details: "{}".to_owned(),
//!     previous: GENESIS.to_owned(),
//!     hash: String::new(),
//! };
//! entry.hash = entry.computed_hash();
//! entry.actor_name = "bert".to_owned();
//! let verdict = verify([Ok::<_, std::convert::Infallible>(entry)], &[]).unwrap();
//! assert_eq!(verdict.broken.map(|broken| broken.finding), Some(Finding::Changed));
//! ```

mod checkpoint;
mod verify;

pub use checkpoint::{Checkpoint, CheckpointError, MAX_CHECKPOINT_BYTES};
pub use verify::{Broken, Finding, Mark, Verdict, verify};

use floorhand_bundle::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What the first entry follows.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// What is hashed before an entry, so that its hash is that of nothing else.
const DOMAIN: &[u8] = b"floorhand/v1/audit-entry\0";
/// Names that are written out in one entry; a deployment may be to thousands of devices.
const MAX_LISTED: usize = 100;

/// One entry, as it is stored, exported and answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Entry {
    /// 1 for the first, one more for each.
    pub seq: u64,
    /// The hub's clock, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// `token`, `api-token-file`, `identity`, `anybody`, `enrolment-token`, `hub` or `command-line`.
    pub actor_kind: String,
    /// The token's name, or the identity's subject.
    pub actor_name: String,
    /// Comma-separated.
    pub actor_roles: String,
    /// How the actor was known: `bearer`, `basic`, `session` or `none`.
    pub actor_method: String,
    /// What was done, as in `device.enroll`.
    pub action: String,
    /// What it was done to.
    pub subject: String,
    /// More of it: JSON, as text, since the text is what was hashed.
    pub details: String,
    /// The hash of the entry before.
    pub previous: String,
    /// SHA-256 of all of the above, hexadecimal.
    pub hash: String,
}

impl Entry {
    /// The hash that the entry should have.
    #[must_use]
    pub fn computed_hash(&self) -> String {
        self.hash_as(self.seq)
    }

    /// The hash that it would have under another number.
    fn hash_as(&self, seq: u64) -> String {
        let fields = Value::from(vec![
            Value::from(seq),
            Value::from(self.time_ms),
            Value::from(self.actor_kind.as_str()),
            Value::from(self.actor_name.as_str()),
            Value::from(self.actor_roles.as_str()),
            Value::from(self.actor_method.as_str()),
            Value::from(self.action.as_str()),
            Value::from(self.subject.as_str()),
            Value::from(self.details.as_str()),
            Value::from(self.previous.as_str()),
        ]);
        let mut bytes = DOMAIN.to_vec();
        // An array of numbers and texts has one encoding: no spaces, and each character escaped in one way.
        bytes.extend_from_slice(fields.to_string().as_bytes());
        Digest::of(&bytes).to_string()
    }
}

/// What is to be written down: what was done to what. Who and when is added where it is stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Note {
    pub(crate) action: String,
    pub(crate) subject: String,
    details: BTreeMap<&'static str, Value>,
}

impl Note {
    /// A note of one change.
    pub(crate) fn new(action: impl Into<String>, subject: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            subject: subject.into(),
            details: BTreeMap::new(),
        }
    }

    /// Adds a detail. Never a secret.
    pub(crate) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.details.insert(key, value.into());
        self
    }

    /// Adds names, the first hundred of them, and how many there are.
    pub(crate) fn with_names<'a>(self, key: &'static str, names: impl ExactSizeIterator<Item = &'a str>) -> Self {
        let count = names.len();
        let listed: Vec<&str> = names.take(MAX_LISTED).collect();
        self.with(key, listed).with("count", count)
    }

    /// The details as they are stored: keys in order, no spaces.
    pub(crate) fn details(&self) -> String {
        let fields: Vec<String> = self
            .details
            .iter()
            .map(|(key, value)| format!("{}:{value}", Value::from(*key)))
            .collect();
        format!("{{{}}}", fields.join(","))
    }
}
