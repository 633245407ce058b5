//! A trust root as a file holds it, signed by all, by some or by nobody yet.

use crate::exit::Failure;
use crate::files;
use anyhow::Result;
use floorhand_bundle::{
    Digest, DocumentError, Domain, Envelope, MAX_ROOT_BYTES, PublicKey, RoleKeys, RootChain, TrustRoot, Verified, cbor,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A root whose signatures may be missing.
pub(super) struct Document {
    pub(super) root: TrustRoot,
    pub(super) envelope: Envelope,
    pub(super) bytes: Vec<u8>,
}

/// Who has signed a root, of those who may.
pub(super) struct Signatures {
    pub(super) threshold: u32,
    pub(super) valid: Vec<String>,
    /// Those who have not.
    pub(super) others: Vec<String>,
}

/// Reads a trust root that came to this machine by a trusted way, and that enough have signed.
pub fn read(path: &Path) -> Result<Verified<TrustRoot>> {
    let bytes = files::read(path, MAX_ROOT_BYTES as u64)?;
    TrustRoot::open_pinned(&bytes).map_err(|error| Failure::refused(format!("{}: {error}", path.display())).into())
}

/// Reads trust roots, the oldest first: that one came to this machine by a trusted way, and each signs for the next.
pub fn read_chain(paths: &[PathBuf]) -> Result<RootChain> {
    let read = |path: &PathBuf| files::read(path, MAX_ROOT_BYTES as u64);
    let roots = paths.iter().map(read).collect::<Result<Vec<_>>>()?;
    chain(paths.iter().map(PathBuf::as_path).zip(roots.iter().map(Vec::as_slice)))
}

/// The chain of roots, which has to hold in all that a device would ask for.
pub(super) fn chain<'a>(roots: impl IntoIterator<Item = (&'a Path, &'a [u8])>) -> Result<RootChain> {
    let mut chain: Option<RootChain> = None;
    for (path, bytes) in roots {
        let refused = |error| Failure::refused(format!("{}: {error}", path.display()));
        match &mut chain {
            None => chain = Some(RootChain::new(TrustRoot::open_pinned(bytes).map_err(refused)?)),
            Some(chain) => chain.extend(bytes).map_err(refused)?,
        }
    }
    chain.ok_or_else(|| Failure::usage("there is no trust root").into())
}

impl Document {
    /// Reads a file and checks what the root says, not who signed it.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let refused = |error: &dyn std::fmt::Display| Failure::refused(format!("{}: {error}", path.display()));
        Self::parse(files::read(path, MAX_ROOT_BYTES as u64)?).map_err(|error| refused(&error).into())
    }

    /// The same of bytes.
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, DocumentError> {
        let envelope = Envelope::open(Domain::Root, &bytes, MAX_ROOT_BYTES)?;
        let root: TrustRoot = cbor::decode("trust root", envelope.payload_unverified(), MAX_ROOT_BYTES)?;
        root.check()?;
        Ok(Self { root, envelope, bytes })
    }

    /// Who has signed it, of the keys of a role.
    pub(super) fn signatures(&self, role: &RoleKeys) -> Signatures {
        let (valid, others) = role
            .keys
            .iter()
            .partition::<Vec<_>, _>(|key| self.envelope.is_signed_by(key));
        let ids = |keys: Vec<&PublicKey>| keys.iter().map(|key| key.id().to_string()).collect();
        Signatures {
            threshold: role.threshold,
            valid: ids(valid),
            others: ids(others),
        }
    }

    /// The digest of what is signed, which stays the same however many have signed.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(self.envelope.payload_unverified())
    }
}

impl Signatures {
    /// Whether enough have signed.
    pub(super) fn are_enough(&self) -> bool {
        self.valid.len() >= self.threshold as usize
    }

    /// What is there and what is missing, for people.
    pub(super) fn text(&self) -> String {
        let (valid, threshold) = (self.valid.len(), self.threshold);
        let by = if self.valid.is_empty() {
            "nobody".to_owned()
        } else {
            self.valid.join(", ")
        };
        if self.are_enough() {
            return format!("{valid} of the {threshold} it needs, by {by}");
        }
        let missing = threshold as usize - valid;
        format!(
            "{valid} of the {threshold} it needs, by {by}; {missing} more of {}",
            self.others.join(", ")
        )
    }

    pub(super) fn json(&self) -> Value {
        json!({ "threshold": self.threshold, "signed_by": self.valid, "not_signed_by": self.others, "enough": self.are_enough() })
    }
}
