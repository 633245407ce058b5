//! Trust roots in a row: from one that came by a trusted way to the newest, each signed for by the one before.
//!
//! Owns the rules that need more than two neighbours: a key that was taken out of a role never comes back to it, and where
//! the numbers of assignments began anew. No files and no clock: whoever keeps the roots hands their bytes over.

use crate::keys::PublicKey;
use crate::root::{Role, TrustRoot};
use crate::verified::{DocumentError, Verified};

/// The longest chain: a new root every week for almost twenty years. Bounds what a device holds and checks at its start.
pub const MAX_ROOTS: usize = 1024;

/// Roots that follow each other, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootChain {
    /// All but the newest, the oldest first.
    earlier: Vec<Verified<TrustRoot>>,
    newest: Verified<TrustRoot>,
}

impl RootChain {
    /// A chain of one root, which came by a trusted way.
    #[must_use]
    pub fn new(pinned: Verified<TrustRoot>) -> Self {
        Self {
            earlier: Vec::new(),
            newest: pinned,
        }
    }

    /// Checks the root that would follow the newest one, without adding it.
    ///
    /// # Errors
    /// As [`TrustRoot::open_next`]; and when it gives a key back a role that an earlier root had taken from it, or makes
    /// the chain too long.
    pub fn open_next(&self, bytes: &[u8]) -> Result<Verified<TrustRoot>, DocumentError> {
        let next = self.newest.open_next(bytes)?;
        let refused = |problem| DocumentError::Content {
            document: "trust root",
            problem,
        };
        for role in Role::ALL {
            if let Some(key) = next.role(role).keys.iter().find(|key| self.was_revoked(role, key)) {
                return Err(refused(format!(
                    "it gives key {} back the role {}, which an earlier root took from it; make a new key",
                    key.id(),
                    role.name()
                )));
            }
        }
        if self.earlier.len() + 1 >= MAX_ROOTS {
            return Err(refused(format!(
                "it is more than {MAX_ROOTS} versions above the pinned one; pin a newer one"
            )));
        }
        Ok(next)
    }

    /// Adds the root that follows the newest one.
    ///
    /// # Errors
    /// As [`RootChain::open_next`]; the chain is as it was then.
    pub fn extend(&mut self, bytes: &[u8]) -> Result<(), DocumentError> {
        let next = self.open_next(bytes)?;
        self.earlier.push(std::mem::replace(&mut self.newest, next));
        Ok(())
    }

    /// The root that counts.
    #[must_use]
    pub fn newest(&self) -> &Verified<TrustRoot> {
        &self.newest
    }

    /// All roots, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Verified<TrustRoot>> {
        std::iter::once(&self.newest).chain(self.earlier.iter().rev())
    }

    /// The root of a version.
    #[must_use]
    pub fn version(&self, version: u64) -> Option<&Verified<TrustRoot>> {
        self.iter().find(|root| root.version == version)
    }

    /// The version at which the numbers of assignments and commands last began anew, for a device with the root
    /// `version`; 0 when they did not within this chain. A version that is none of the chain's is taken for the nearest.
    #[must_use]
    pub fn epoch(&self, version: u64) -> u64 {
        let mut epoch = 0;
        let mut before: Option<&Verified<TrustRoot>> = None;
        for root in self.earlier.iter().chain([&self.newest]) {
            if let Some(before) = before {
                if root.version > version {
                    break;
                }
                if !root.shares_assignment_key(before) {
                    epoch = root.version;
                }
            }
            before = Some(root);
        }
        epoch
    }

    fn was_revoked(&self, role: Role, key: &PublicKey) -> bool {
        let lists = |root: &Verified<TrustRoot>| root.role(role).keys.contains(key);
        !lists(&self.newest) && self.earlier.iter().any(lists)
    }
}

#[cfg(test)]
mod tests;
