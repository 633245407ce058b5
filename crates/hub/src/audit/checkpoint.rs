//! What the hub signs about the end of the chain. Kept elsewhere, it tells when the end was cut off or the whole written
//! anew: what is behind it can't be taken back.

use super::Mark;
use floorhand_bundle::cbor::{self, CborError};
use floorhand_bundle::{DocumentError, Domain, Envelope, EnvelopeError, FleetId, Role, Signer, TrustRoot};
use serde::{Deserialize, Serialize};

/// A checkpoint has a few short fields.
pub const MAX_CHECKPOINT_BYTES: usize = 4096;

/// How far a chain goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Whose hub it is of.
    pub fleet: FleetId,
    /// The last entry's number, which is their count.
    pub seq: u64,
    /// The last entry's hash.
    pub hash: String,
    /// The hub's clock.
    pub time_ms: u64,
}

/// Why a checkpoint can't be made or believed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Its content.
    #[error(transparent)]
    Content(#[from] CborError),
    /// Its envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Its signature.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// It is of another fleet.
    #[error("audit checkpoint is of fleet {found}, and the trust root of {expected}")]
    Fleet {
        /// The checkpoint's.
        found: FleetId,
        /// The root's.
        expected: FleetId,
    },
}

impl Checkpoint {
    /// Encodes and signs it with the hub's key.
    ///
    /// # Errors
    /// When it can't be encoded, or the key doesn't sign.
    pub fn seal<S: Signer + ?Sized>(&self, key: &S) -> Result<Vec<u8>, CheckpointError> {
        let payload = cbor::encode(Domain::AuditCheckpoint.name(), self)?;
        Ok(Envelope::seal(Domain::AuditCheckpoint, &payload, &[key])?)
    }

    /// Opens one that a hub of this root has signed. An expired root is good enough: what was signed was signed.
    ///
    /// # Errors
    /// When it isn't one, or was signed by nobody who may.
    pub fn open(bytes: &[u8], root: &TrustRoot) -> Result<Self, CheckpointError> {
        let domain = Domain::AuditCheckpoint;
        let payload = root.verify(Role::Assignment, domain, bytes, MAX_CHECKPOINT_BYTES, 0)?;
        let checkpoint: Self = cbor::decode(domain.name(), &payload, MAX_CHECKPOINT_BYTES)?;
        if checkpoint.fleet != root.fleet {
            return Err(CheckpointError::Fleet {
                found: checkpoint.fleet,
                expected: root.fleet.clone(),
            });
        }
        Ok(checkpoint)
    }

    /// The entry that it knows; `None` where there was none.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        (self.seq > 0).then(|| Mark {
            seq: self.seq,
            hash: self.hash.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{key, root};

    #[test]
    fn only_the_hub_vouches_for_the_log() {
        let mut checkpoint = Checkpoint {
            fleet: "plant-a".parse().unwrap(),
            seq: 7,
            hash: "ab".repeat(32),
            time_ms: 1,
        };
        let sealed = checkpoint.seal(&key(2)).unwrap();
        assert_eq!(Checkpoint::open(&sealed, &root()).unwrap(), checkpoint);
        let forged = checkpoint.seal(&key(1)).unwrap();
        assert!(
            Checkpoint::open(&forged, &root()).is_err(),
            "a release key isn't the hub's"
        );
        let ack = Envelope::seal(
            Domain::Ack,
            &cbor::encode("audit checkpoint", &checkpoint).unwrap(),
            &[&key(2)],
        );
        assert!(Checkpoint::open(&ack.unwrap(), &root()).is_err());
        checkpoint.fleet = "plant-b".parse().unwrap();
        let foreign = checkpoint.seal(&key(2)).unwrap();
        assert!(matches!(
            Checkpoint::open(&foreign, &root()),
            Err(CheckpointError::Fleet { .. })
        ));
    }
}
