//! What the hub signs about the end of the chain. Kept elsewhere, it tells when the end was cut off or the whole written
//! anew: what is behind it can't be taken back.

use super::Mark;
use floorhand_bundle::cbor::{self, CborError};
use floorhand_bundle::{DocumentError, Domain, Envelope, EnvelopeError, FleetId, Role, RootChain, Signer, TrustRoot};
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

    /// Opens one that a hub of any of these roots has signed: those from before the hub's key was rotated count still. Who
    /// has an old key can make a whole log look broken with it, and no broken one look whole.
    ///
    /// # Errors
    /// As [`Checkpoint::open`] under the newest root, when none of them lists who signed it.
    pub fn open_under(bytes: &[u8], roots: &RootChain) -> Result<Self, CheckpointError> {
        let opened = Self::open(bytes, roots.newest());
        let earlier = || roots.iter().skip(1).find_map(|root| Self::open(bytes, root).ok());
        opened.or_else(|error| earlier().ok_or(error))
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
    use floorhand_bundle::RoleKeys;

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

    #[test]
    fn a_checkpoint_from_before_the_key_was_rotated_counts_where_its_root_is_known() {
        let checkpoint = Checkpoint {
            fleet: "plant-a".parse().unwrap(),
            seq: 7,
            hash: "ab".repeat(32),
            time_ms: 1,
        };
        let next = TrustRoot {
            version: 2,
            assignment: RoleKeys::any_of(vec![key(3).public()]),
            ..root().into_inner()
        };
        let next = next.seal(&[&key(1)]).unwrap();
        let mut both = RootChain::new(root());
        both.extend(&next).unwrap();
        let newest = RootChain::new(TrustRoot::open_pinned(&next).unwrap());
        let [old, new, forged] = [2, 3, 1].map(|seed| checkpoint.seal(&key(seed)).unwrap());
        assert_eq!(Checkpoint::open_under(&old, &both).unwrap(), checkpoint);
        assert_eq!(Checkpoint::open_under(&new, &both).unwrap(), checkpoint);
        assert_eq!(Checkpoint::open_under(&new, &newest).unwrap(), checkpoint);
        assert!(Checkpoint::open_under(&old, &newest).is_err());
        assert!(Checkpoint::open_under(&forged, &both).is_err());
    }
}
