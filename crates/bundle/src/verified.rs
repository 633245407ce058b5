//! Documents whose signatures have been checked, and why others were refused.

use crate::cbor::CborError;
use crate::chunks::ChunkError;
use crate::digest::Digest;
use crate::envelope::EnvelopeError;
use crate::names::FleetId;
use std::ops::Deref;

/// A document whose signatures have been checked. Made by this crate's and `protocol`'s opening functions only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    digest: Digest,
    envelope: Vec<u8>,
}

impl<T> Verified<T> {
    /// Wraps what was decoded from `payload`, after `payload` came out of [`crate::TrustRoot::verify`] or
    /// [`crate::Envelope::verify`].
    #[must_use]
    pub fn new(value: T, payload: &[u8], envelope: &[u8]) -> Self {
        Self {
            value,
            digest: Digest::of(payload),
            envelope: envelope.to_vec(),
        }
    }

    /// The digest of the signed bytes: the same however many have signed.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The envelope as it came, to be stored and verified again at the next start.
    #[must_use]
    pub fn envelope(&self) -> &[u8] {
        &self.envelope
    }

    /// The document alone.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Why a signed document was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Its envelope or its signatures.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Its encoding.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// Its chunk lists.
    #[error(transparent)]
    Chunks(#[from] ChunkError),
    /// What it says.
    #[error("{document} is refused: {problem}")]
    Content {
        /// The document's name.
        document: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// It lists a critical field that this version doesn't know.
    #[error("{document} needs {field:?} to be understood, which this version doesn't; update the reader first")]
    Critical {
        /// The document's name.
        document: &'static str,
        /// The field.
        field: String,
    },
    /// It was signed for later or too long ago.
    #[error("{document} expired at {expires_ms} ms, and it is {now_ms} ms; ask the hub for a new one")]
    Expired {
        /// The document's name.
        document: &'static str,
        /// When, in milliseconds since 1970 UTC.
        expires_ms: u64,
        /// The time it was held against.
        now_ms: u64,
    },
    /// A trust root that isn't the one after the current one.
    #[error("trust root {offered} does not follow root {current}; only root {} does", .current.saturating_add(1))]
    NotNext {
        /// The version of the current one.
        current: u64,
        /// The version of the one that was offered.
        offered: u64,
    },
    /// The trust root has expired.
    #[error("trust root {version} of fleet {fleet} has expired; install a newer one")]
    RootExpired {
        /// The fleet.
        fleet: FleetId,
        /// The root's version.
        version: u64,
    },
}

/// Refuses a document whose list of critical fields has one that isn't among `known`.
pub fn check_critical(document: &'static str, critical: &[String], known: &[&str]) -> Result<(), DocumentError> {
    match critical.iter().find(|field| !known.contains(&field.as_str())) {
        Some(field) => Err(DocumentError::Critical {
            document,
            field: field.clone(),
        }),
        None => Ok(()),
    }
}
