//! The trust roots: which counts, which key signs under it, and how devices get from theirs to the newest.
//!
//! The order is: the root first. A device whose root doesn't list this hub's key is sent nothing but the next root, until
//! its hello tells that it has one that does; then it is told again what it shall be.

use super::{Hub, HubError};
use crate::database::{AssignmentRow, DatabaseError, DeviceRow, unsigned};
use crate::planner::Change;
use floorhand_bundle::{
    DeviceId, Domain, Envelope, MAX_MANIFEST_BYTES, Manifest, Role, RootChain, Signer, TrustRoot, Verified,
};
use floorhand_protocol::{Down, Hello, MAX_ASSIGNMENT_BYTES};
use std::sync::{Arc, PoisonError};

/// So far above what was issued here no hub gets by itself between two backups. A number beyond it was made by somebody
/// who has the key, and isn't followed.
const PLAUSIBLE_AHEAD: u64 = 1 << 32;
/// A root may be made at a machine whose clock is so far ahead of the hub's. Devices take its time for reached, so commands,
/// which are good for about as long, would be too old when they come.
const AHEAD_MS: u64 = 60 * 1000;
/// This long before its end a root is worth a warning in the log.
const SOON_MS: u64 = 30 * 24 * 3600 * 1000;

/// A root that was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakenRoot {
    pub(crate) root: Verified<TrustRoot>,
    /// False when it was here.
    pub(crate) new: bool,
}

impl Hub {
    /// All roots from the oldest that is known without a break to the newest, which counts.
    pub(crate) fn roots(&self) -> Arc<RootChain> {
        Arc::clone(&self.roots.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the roots that were taken and adds the configured one, which came by a trusted way.
    ///
    /// # Errors
    /// When the configured root isn't the one of its version that was taken, or none of the hub's keys may sign under the
    /// newest.
    pub(crate) async fn open_roots(&self) -> Result<(), HubError> {
        let rows = self.database.roots().await?;
        let configured = &self.root;
        let own = rows.iter().find(|row| row.number() == configured.version);
        if let Some(row) = own {
            if opened(&row.sealed()?)?.digest() != configured.digest() {
                return Err(HubError::Conflict(format!(
                    "`trust_root` is another root of version {} than the one that this hub has taken; put that one there",
                    configured.version
                )));
            }
        } else {
            let before = rows.iter().rev().find(|row| row.number() < configured.version);
            let newest = rows.last().is_none_or(|row| row.number() < configured.version);
            let before = before.map(|row| row.sealed()).transpose()?;
            let before = before.map(|sealed| opened(&sealed)).transpose()?;
            let anew = newest && before.is_some_and(|before| !configured.shares_assignment_key(&before));
            let (version, sealed) = (configured.version, configured.envelope());
            self.database.add_root(version, sealed, anew, self.now_ms()).await?;
        }
        self.reload_roots().await?;
        if let Some(problem) = self.made_ahead(configured) {
            tracing::warn!("{problem}");
        }
        self.signing_key().map(drop)
    }

    /// What is wrong with a root that was made in this hub's future.
    fn made_ahead(&self, root: &TrustRoot) -> Option<String> {
        let ahead_ms = root.issued_ms.saturating_sub(self.now_ms());
        (ahead_ms > AHEAD_MS).then(|| {
            format!(
                "trust root {} was made {} s from now by this hub's clock, and devices that have it take nothing that ends \
                 before: one of the two clocks is wrong",
                root.version,
                ahead_ms / 1000
            )
        })
    }

    /// Reads the roots again: another hub on the same database may have taken one. They are checked when there is a new one.
    pub(crate) async fn reload_roots(&self) -> Result<(), HubError> {
        let mut known = self.root_rows.lock().await;
        let rows = self.database.roots().await?;
        if rows == *known {
            return Ok(());
        }
        let mut chain: Option<RootChain> = None;
        for row in &rows {
            let sealed = row.sealed()?;
            chain = Some(match chain {
                Some(mut chain) => match chain.extend(&sealed) {
                    Ok(()) => chain,
                    Err(error) => {
                        tracing::warn!(
                            version = row.number(),
                            "devices with an older trust root can't be taken to this one, put it on them by hand: {error}"
                        );
                        RootChain::new(opened(&sealed)?)
                    }
                },
                None => RootChain::new(opened(&sealed)?),
            });
        }
        if let Some(chain) = chain {
            *self.roots.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(chain);
            *known = rows;
        }
        Ok(())
    }

    /// Takes the root that follows the newest, and has it sent to the devices that are there.
    pub(crate) async fn take_root(&self, bytes: &[u8]) -> Result<TakenRoot, HubError> {
        let roots = self.roots();
        if let Some(known) = roots.iter().find(|root| root.envelope() == bytes) {
            let root = known.clone();
            // Whoever took it may have ended before the devices were told, or the one who publishes it was told that it failed.
            self.resend.notify_one();
            return Ok(TakenRoot { root, new: false });
        }
        let next = roots
            .open_next(bytes)
            .map_err(|error| HubError::Refused(error.to_string()))?;
        if let Some(problem) = self.made_ahead(&next) {
            return Err(HubError::Conflict(problem));
        }
        if self.key_under(&next).is_none() {
            let own: Vec<String> = self.keys().map(|key| key.public().id().to_string()).collect();
            return Err(HubError::Conflict(format!(
                "under trust root {} this hub could sign no assignment: it has {}; name the key that the root lists as \
                 `next_assignment_key` in its configuration, start it again, and publish the root then",
                next.version,
                own.join(" and ")
            )));
        }
        let anew = !next.shares_assignment_key(roots.newest());
        self.database.add_root(next.version, bytes, anew, self.now_ms()).await?;
        self.reload_roots().await?;
        if self
            .roots()
            .version(next.version)
            .is_none_or(|taken| taken.envelope() != bytes)
        {
            return Err(HubError::Conflict(
                "another root of this version was taken meanwhile".to_owned(),
            ));
        }
        tracing::info!(version = next.version, "a new trust root counts");
        self.counters.roots.add_one();
        // By the task that waits for room: nobody who publishes has to.
        self.resend.notify_one();
        Ok(TakenRoot { root: next, new: true })
    }

    /// The key that signs what devices act on.
    ///
    /// # Errors
    /// When none of the hub's is one that the newest root lists.
    pub(crate) fn signing_key(&self) -> Result<&dyn Signer, HubError> {
        let roots = self.roots();
        self.key_under(roots.newest()).ok_or_else(|| {
            HubError::Conflict(format!(
                "`assignment_key` is not in the assignment role of trust root {}, which counts: put the key there that it \
                 lists",
                roots.newest().version
            ))
        })
    }

    fn keys(&self) -> impl Iterator<Item = &dyn Signer> {
        [Some(self.key.as_ref()), self.next_key.as_deref()]
            .into_iter()
            .flatten()
    }

    fn key_under(&self, root: &TrustRoot) -> Option<&dyn Signer> {
        let role = root.role(Role::Assignment);
        let listed = |key: &&dyn Signer| role.threshold <= 1 && role.keys.contains(&key.public());
        self.keys().find(listed)
    }

    /// Whether what this hub signs counts on a device, by what it last said. One that has said nothing isn't prejudged.
    pub(crate) fn reaches(&self, hello: Option<&Hello>) -> bool {
        let (roots, Ok(key)) = (self.roots(), self.signing_key()) else {
            return false;
        };
        let Some(root) = hello.and_then(|hello| roots.version(hello.root_version)) else {
            return true;
        };
        root.assignment.keys.contains(&key.public())
    }

    /// The same of a device that is looked up.
    pub(crate) async fn reaches_device(&self, device: &DeviceId) -> Result<bool, HubError> {
        if self.roots().iter().nth(1).is_none() {
            return Ok(true);
        }
        let row = self.database.device(device.as_str()).await?;
        let hello = row.map(|row| row.hello()).transpose()?.flatten();
        Ok(self.reaches(hello.as_ref()))
    }

    /// The numbers in a hello that this hub goes on above: none that were counted under a key that counts no more, and
    /// none that no hub can have come to.
    pub(crate) fn followed(&self, row: &DeviceRow, hello: &Hello) -> (u64, u64) {
        let roots = self.roots();
        if roots.epoch(hello.root_version) != roots.epoch(roots.newest().version) {
            return (0, 0);
        }
        let plausible = |name: &str, said: u64, issued: i64| {
            if said <= unsigned(issued).saturating_add(PLAUSIBLE_AHEAD) {
                return said;
            }
            tracing::error!(
                device = %hello.device, said, issued,
                "the device has taken a {name} that no hub can have given it: somebody has the assignment key. Make a new \
                 key and a trust root that lists it alone, and publish that"
            );
            0
        };
        (
            plausible("sequence number", hello.seq, row.seq),
            plausible("command id", hello.command_id, row.command_id),
        )
    }

    /// Sends a device the root after its own, if there is one.
    pub(crate) async fn send_next_root(&self, device: &DeviceId, version: u64) {
        let roots = self.roots();
        if let Some(next) = version.checked_add(1).and_then(|next| roots.version(next)) {
            self.counters.roots_sent.add_one();
            self.send(device, Down::Root, next.envelope().to_vec()).await;
        }
    }

    /// Sends every device that is there the root after its own, waiting for room.
    pub(crate) async fn send_roots(&self) -> Result<(), DatabaseError> {
        let newest = self.roots().newest().version;
        for row in self.database.devices().await? {
            let (Some(hello), Ok(device)) = (row.hello()?, row.id.parse::<DeviceId>()) else {
                continue;
            };
            if row.online != 0 && hello.root_version < newest {
                self.send_next_root(&device, hello.root_version).await;
            }
        }
        Ok(())
    }

    /// Signs again what a device shall be, where the newest assignment is signed by a key that counts no more. True when
    /// that was so.
    ///
    /// It is a new assignment of the same state: the broker's retained one is replaced, a rollout that is under way goes
    /// on, and a bundle that failed isn't tried again.
    pub(crate) async fn renew(&self, row: &DeviceRow, latest: &AssignmentRow) -> Result<bool, HubError> {
        let sealed = latest.sealed()?;
        let envelope = Envelope::open(Domain::Assignment, &sealed, MAX_ASSIGNMENT_BYTES)
            .map_err(|error| HubError::Internal(format!("assignment {} of {}: {error}", latest.seq, latest.device)))?;
        let roots = self.roots();
        if roots
            .newest()
            .assignment
            .keys
            .iter()
            .any(|key| envelope.is_signed_by(key))
        {
            return Ok(false);
        }
        let desired = self.desired(row, Change::Key).await?;
        let bundle = desired
            .1
            .run
            .as_ref()
            .map_or_else(String::new, |run| run.bundle.to_string());
        self.issue("renew", bundle, vec![desired], Vec::new()).await?;
        Ok(true)
    }

    /// Refuses a bundle whose release key was revoked since it came.
    pub(crate) fn check_released(&self, name: &str, manifest: &[u8]) -> Result<(), HubError> {
        debug_assert!(manifest.len() <= 2 * MAX_MANIFEST_BYTES);
        let roots = self.roots();
        Manifest::open(manifest, roots.newest(), 0).map(drop).map_err(|error| {
            HubError::Conflict(format!(
                "{name} is not signed as trust root {} wants ({error}); sign it with a release key that counts and push it \
                 again",
                roots.newest().version
            ))
        })
    }

    /// Says so in the log when the newest root is about to end.
    pub(crate) fn watch_root(&self) {
        let roots = self.roots();
        let root = roots.newest();
        let (now_ms, version) = (self.now_ms(), root.version);
        if now_ms > root.expires_ms {
            tracing::error!(
                version,
                "the trust root has expired: devices take nothing new; publish the next one"
            );
        } else if now_ms.saturating_add(SOON_MS) >= root.expires_ms {
            let days = (root.expires_ms - now_ms) / (24 * 3600 * 1000);
            tracing::warn!(version, days, "the trust root expires soon; publish the next one");
        }
    }
}

fn opened(sealed: &[u8]) -> Result<Verified<TrustRoot>, HubError> {
    TrustRoot::open_pinned(sealed).map_err(|error| {
        HubError::Database(DatabaseError::Damaged {
            what: "a trust root",
            problem: error.to_string(),
        })
    })
}

#[cfg(test)]
mod tests;
