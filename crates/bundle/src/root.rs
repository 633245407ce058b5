//! Trust roots: which keys may sign what, for one fleet.
//!
//! A root is put on a device when it is provisioned and pinned there. It is signed by a threshold of its own root keys.
//! The next one follows over any way: it is signed by the thresholds of both, so nobody has to be believed for bringing
//! it. How roots follow each other over several versions is [`RootChain`](crate::RootChain)'s business.

use crate::cbor;
use crate::envelope::{Domain, Envelope};
use crate::keys::{KeyId, PublicKey};
use crate::names::FleetId;
use crate::signer::Signer;
use crate::verified::{DocumentError, Verified, check_critical};
use serde::{Deserialize, Serialize};

/// The largest trust root in bytes: some hundred keys.
pub const MAX_ROOT_BYTES: usize = 16 * 1024;

/// What a key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Trust roots.
    Root,
    /// Manifests.
    Release,
    /// Assignments, commands and acks: the hub's online key.
    Assignment,
}

/// The keys of one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// How many different ones of them have to sign.
    pub threshold: u32,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Root, Self::Release, Self::Assignment];

    /// The role's name, as the document has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Release => "release",
            Self::Assignment => "assignment",
        }
    }
}

impl RoleKeys {
    /// A role that any one of these keys can fill.
    #[must_use]
    pub fn any_of(keys: Vec<PublicKey>) -> Self {
        Self { keys, threshold: 1 }
    }

    fn problem(&self) -> Option<&'static str> {
        let mut ids: Vec<KeyId> = self.keys.iter().map(PublicKey::id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != self.keys.len() {
            return Some("lists a key twice");
        }
        if self.threshold == 0 || self.threshold as usize > ids.len() {
            return Some("has a threshold that is 0 or above the number of its keys");
        }
        None
    }
}

/// A trust root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustRoot {
    /// The fleet whose devices pin it.
    pub fleet: FleetId,
    /// Rises by one with every new root of the fleet; 1 for the first.
    pub version: u64,
    /// After this time, in milliseconds since 1970 UTC, nothing new is accepted under it.
    pub expires_ms: u64,
    /// When it was made, in milliseconds since 1970 UTC: a device that takes it doesn't believe that it is earlier, nor a
    /// clock that is far beyond it. 0 where the root doesn't say.
    #[serde(default, skip_serializing_if = "is_unsaid")]
    pub issued_ms: u64,
    /// Names of fields that a reader has to know; one that it doesn't makes it refuse the root.
    #[serde(default)]
    pub critical: Vec<String>,
    /// Who signs roots.
    pub root: RoleKeys,
    /// Who signs manifests.
    pub release: RoleKeys,
    /// Who signs assignments, commands and acks.
    pub assignment: RoleKeys,
}

/// A root of before there was the field keeps its bytes, and so its digest.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over so")]
fn is_unsaid(issued_ms: &u64) -> bool {
    *issued_ms == 0
}

impl TrustRoot {
    /// Encodes and signs the root.
    pub fn seal<S: Signer + ?Sized>(&self, keys: &[&S]) -> Result<Vec<u8>, DocumentError> {
        self.check()?;
        let payload = cbor::encode("trust root", self)?;
        Ok(Envelope::seal(Domain::Root, &payload, keys)?)
    }

    /// Opens a root that came with the device: it has to be signed by its own root keys.
    ///
    /// The payload has to be read before its keys are known, so the bytes are trusted as far as the way by which they
    /// came is: a file that the person who provisions the device puts there.
    pub fn open_pinned(bytes: &[u8]) -> Result<Verified<Self>, DocumentError> {
        let envelope = Envelope::open(Domain::Root, bytes, MAX_ROOT_BYTES)?;
        let claimed: Self = cbor::decode("trust root", envelope.payload_unverified(), MAX_ROOT_BYTES)?;
        claimed.check()?;
        let payload = envelope.verify(&claimed.root.keys, claimed.root.threshold as usize)?;
        Ok(Verified::new(claimed, &payload, bytes))
    }

    /// Opens the root that follows this one: of the same fleet, exactly one version higher, signed by a threshold of this
    /// root's root keys and by a threshold of its own.
    ///
    /// No time is asked for: a chain may lead over roots that have expired, to one that has not. What is signed is held
    /// against the expiry of the root that it is used under, in [`TrustRoot::verify`].
    ///
    /// # Errors
    /// When it is anything else: an envelope or a signature that is wrong, a jump, a step back, another fleet, or a
    /// critical field that this version doesn't know.
    pub fn open_next(&self, bytes: &[u8]) -> Result<Verified<Self>, DocumentError> {
        let envelope = Envelope::open(Domain::Root, bytes, MAX_ROOT_BYTES)?;
        let payload = envelope.clone().verify(&self.root.keys, self.root.threshold as usize)?;
        let next: Self = cbor::decode("trust root", &payload, MAX_ROOT_BYTES)?;
        next.check()?;
        if next.fleet != self.fleet {
            return Err(DocumentError::Content {
                document: "trust root",
                problem: format!("it is of fleet {}, and this is {}", next.fleet, self.fleet),
            });
        }
        if self.version.checked_add(1) != Some(next.version) {
            return Err(DocumentError::NotNext {
                current: self.version,
                offered: next.version,
            });
        }
        let payload = envelope.verify(&next.root.keys, next.root.threshold as usize)?;
        Ok(Verified::new(next, &payload, bytes))
    }

    /// Whether a key that may sign assignments under this root may do so under the other one.
    ///
    /// Where none may, the numbers of assignments and commands begin anew: nothing that was signed before counts any more,
    /// so nothing of it can be brought back, and a number that a thief drove up is forgotten.
    #[must_use]
    pub fn shares_assignment_key(&self, other: &Self) -> bool {
        self.assignment
            .keys
            .iter()
            .any(|key| other.assignment.keys.contains(key))
    }

    /// The keys of a role.
    #[must_use]
    pub fn role(&self, role: Role) -> &RoleKeys {
        match role {
            Role::Root => &self.root,
            Role::Release => &self.release,
            Role::Assignment => &self.assignment,
        }
    }

    /// The payload of a document that a threshold of a role's keys has signed, while the root has not expired.
    pub fn verify(
        &self,
        role: Role,
        domain: Domain,
        bytes: &[u8],
        limit: usize,
        now_ms: u64,
    ) -> Result<Vec<u8>, DocumentError> {
        if now_ms > self.expires_ms {
            return Err(DocumentError::RootExpired {
                fleet: self.fleet.clone(),
                version: self.version,
            });
        }
        let keys = self.role(role);
        Ok(Envelope::open(domain, bytes, limit)?.verify(&keys.keys, keys.threshold as usize)?)
    }

    /// Refuses what makes no sense: a role that lists a key twice, a threshold that nobody can meet, a critical field that
    /// this version doesn't know.
    ///
    /// # Errors
    /// With the first of them.
    pub fn check(&self) -> Result<(), DocumentError> {
        check_critical("trust root", &self.critical, &[])?;
        for role in Role::ALL {
            if let Some(problem) = self.role(role).problem() {
                return Err(DocumentError::Content {
                    document: "trust root",
                    problem: format!("role {} {problem}", role.name()),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn root() -> TrustRoot {
        TrustRoot {
            fleet: "plant-a".parse().unwrap(),
            version: 1,
            expires_ms: 1000,
            issued_ms: 0,
            critical: vec![],
            root: RoleKeys {
                keys: vec![key(1).public(), key(2).public(), key(3).public()],
                threshold: 2,
            },
            release: RoleKeys::any_of(vec![key(4).public()]),
            assignment: RoleKeys::any_of(vec![key(5).public()]),
        }
    }

    #[test]
    fn a_root_needs_a_threshold_of_its_own_keys() {
        let sealed = root().seal(&[&key(1), &key(3)]).unwrap();
        assert_eq!(*TrustRoot::open_pinned(&sealed).unwrap(), root());
        let sealed = root().seal(&[&key(1), &key(4)]).unwrap();
        assert!(matches!(
            TrustRoot::open_pinned(&sealed),
            Err(DocumentError::Envelope(_))
        ));
    }

    #[test]
    fn a_root_that_says_when_it_was_made_is_read_and_one_that_does_not_keeps_its_bytes() {
        let encode = |root: &TrustRoot| crate::cbor::encode("trust root", root).unwrap();
        let has = |bytes: &[u8]| bytes.windows(9).any(|window| window == b"issued_ms");
        assert!(!has(&encode(&root())));
        let issued = TrustRoot {
            issued_ms: 900,
            ..root()
        };
        assert!(has(&encode(&issued)));
        let sealed = issued.seal(&[&key(1), &key(2)]).unwrap();
        assert_eq!(TrustRoot::open_pinned(&sealed).unwrap().issued_ms, 900);
    }

    #[test]
    fn roots_that_say_nonsense_are_refused() {
        let mut twice = root();
        twice.root.keys = vec![key(1).public(), key(1).public()];
        assert!(
            twice
                .seal(&[&key(1)])
                .unwrap_err()
                .to_string()
                .contains("role root lists a key twice")
        );
        let mut none = root();
        none.release.threshold = 0;
        assert!(none.seal(&[&key(1)]).is_err());
        let mut newer = root();
        newer.critical = vec!["delegations".to_owned()];
        assert!(newer.seal(&[&key(1)]).unwrap_err().to_string().contains("delegations"));
    }

    #[test]
    fn roles_are_kept_apart_and_expire_with_the_root() {
        let root = root();
        let sealed = Envelope::seal(Domain::Manifest, b"m", &[&key(4)]).unwrap();
        assert!(
            root.verify(Role::Release, Domain::Manifest, &sealed, 4096, 1000)
                .is_ok()
        );
        assert!(
            root.verify(Role::Assignment, Domain::Manifest, &sealed, 4096, 1000)
                .is_err()
        );
        let error = root
            .verify(Role::Release, Domain::Manifest, &sealed, 4096, 1001)
            .unwrap_err();
        assert!(matches!(error, DocumentError::RootExpired { .. }));
    }
}
