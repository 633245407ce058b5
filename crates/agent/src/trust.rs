//! The trust roots of this device: from the pinned one to the newest that it has taken, and what is checked under which.
//!
//! Owns the chain in memory, shared by the core and by whoever checks acks. What is new is held against the newest root
//! alone. What serves was accepted under some root of the chain and is opened under any of them: a key that was revoked
//! since takes nothing away from what runs. The pinned file is read and never written.

use crate::config::Config;
use floorhand_bundle::{DocumentError, MAX_ROOTS, Manifest, RootChain, TrustRoot, Verified};
use floorhand_lifecycle::TrustedClock;
use floorhand_store::Roots;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// Roots that a device has taken.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    chain: RootChain,
    /// The version that the state record names. Below it, roots are missing on the disk.
    needed: u64,
}

impl Trust {
    /// The chain from the pinned root as far as the state record says that it was taken. `read` gives a root's file.
    ///
    /// A file that is missing or damaged ends the chain there: see [`Trust::root`].
    pub(crate) fn load(
        pinned: Verified<TrustRoot>,
        needed: u64,
        read: impl Fn(u64) -> Result<Option<Vec<u8>>, String>,
    ) -> Self {
        let mut chain = RootChain::new(pinned);
        for version in (chain.newest().version + 1..=needed).take(MAX_ROOTS) {
            let problem = match read(version) {
                Ok(Some(bytes)) => match chain.extend(&bytes) {
                    Ok(()) => continue,
                    Err(error) => error.to_string(),
                },
                Ok(None) => "its file is missing".to_owned(),
                Err(problem) => problem,
            };
            tracing::error!(version, problem, "a trust root that was taken can't be used");
            break;
        }
        Self { chain, needed }
    }

    /// The chain of a device whose agent needn't run, as it lies in its state directory.
    pub(crate) fn at_rest(config: &Config, needed: u64) -> Result<Self, String> {
        let read = |version| read_file(&Roots::path(&config.state_dir, version));
        Ok(Self::load(config.read_trust_root()?, needed, read))
    }

    /// The newest root that is there, for what isn't decided by it.
    pub(crate) fn newest(&self) -> &Verified<TrustRoot> {
        self.chain.newest()
    }

    /// The root that everything new is held against.
    ///
    /// # Errors
    /// When a root that was taken is gone from the disk. An older one in its place could bring back a key that was
    /// revoked, so nothing new is taken until the hub has sent the missing ones again.
    pub(crate) fn root(&self) -> Result<&TrustRoot, String> {
        let newest = self.chain.newest();
        if newest.version < self.needed {
            return Err(format!(
                "the file of trust root {} is missing or damaged; nothing new is taken until the hub has sent it again, or \
                 it was imported",
                newest.version + 1
            ));
        }
        Ok(newest)
    }

    /// Whether a generation that was signed when it was accepted is so still, under the newest root.
    pub(crate) fn still_counts(&self, manifest: &[u8]) -> bool {
        Manifest::open(manifest, self.newest(), 0).is_ok()
    }

    /// Opens the manifest of something that serves, or did: under whichever root it was accepted.
    ///
    /// As of time 0: an expired trust root keeps new documents out, and takes nothing from what was accepted before.
    pub(crate) fn open_accepted(&self, manifest: &[u8]) -> Result<Verified<Manifest>, DocumentError> {
        let newest = Manifest::open(manifest, self.newest(), 0);
        let under = |root: &Verified<TrustRoot>| Manifest::open(manifest, root, 0).ok();
        newest.or_else(|error| self.chain.iter().skip(1).find_map(under).ok_or(error))
    }

    /// Whether these are the bytes of a root that was taken.
    pub(crate) fn has(&self, bytes: &[u8]) -> bool {
        self.chain.iter().any(|root| root.envelope() == bytes)
    }

    /// Checks the root that would follow.
    pub(crate) fn open_next(&self, bytes: &[u8]) -> Result<Verified<TrustRoot>, DocumentError> {
        self.chain.open_next(bytes)
    }

    /// This chain with one root more.
    pub(crate) fn with(&self, bytes: &[u8]) -> Result<Self, DocumentError> {
        let mut chain = self.chain.clone();
        chain.extend(bytes)?;
        Ok(Self {
            chain,
            needed: self.needed,
        })
    }

    /// The time that documents are held against.
    pub(crate) fn now_ms(&self, floor_ms: u64) -> u64 {
        let clock = TrustedClock {
            floor_ms,
            root_expires_ms: self.newest().expires_ms,
        };
        clock.now_ms(crate::clock::system_ms())
    }
}

/// A chain that several threads look at and one replaces.
#[derive(Debug, Clone)]
pub(crate) struct SharedTrust(Arc<RwLock<Arc<Trust>>>);

impl SharedTrust {
    pub(crate) fn new(trust: Trust) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(trust))))
    }

    /// The chain as it is now.
    pub(crate) fn now(&self) -> Arc<Trust> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another chain in its place.
    pub(crate) fn replace(&self, trust: Trust) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trust);
    }
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{} can't be read: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests;
