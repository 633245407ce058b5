//! Taking the trust root that follows: verified, durable, and only then believed.

use super::assembly::Core;
use floorhand_bundle::{TrustRoot, Verified};
use floorhand_lifecycle::{Event, NewRoot};
use floorhand_protocol::Severity;
use floorhand_store::MANIFEST;

/// This long before its end a root is worth an event: a holder of a root key may be on holiday.
const SOON_MS: u64 = 30 * 24 * 3600 * 1000;
/// Between two events about the same.
const AGAIN_MS: u64 = 24 * 3600 * 1000;

/// What became of a root that was offered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// It counts from now on.
    Taken(u64),
    /// It was taken before.
    Known,
}

impl Core {
    /// Takes what came over the network.
    pub(super) fn take_root(&mut self, bytes: &[u8]) {
        match self.offer_root(bytes) {
            Ok(Offered::Taken(_)) => self.say_hello(),
            Ok(Offered::Known) => tracing::debug!("a trust root that was taken before"),
            Err(problem) => self.refused("trust root", &problem),
        }
    }

    /// Takes a root if it is the one that follows: its file is durable first, then the record that names it, with the
    /// numbers that begin anew; it counts when both are.
    pub(super) fn offer_root(&mut self, bytes: &[u8]) -> Result<Offered, String> {
        let trust = self.setup.trust.now();
        if trust.has(bytes) {
            return Ok(Offered::Known);
        }
        let next = trust.open_next(bytes).map_err(|error| error.to_string())?;
        let version = next.version;
        if let Err(error) = self.setup.store.roots().write(version, bytes) {
            self.storage_alarm(&error);
            return Err(error.to_string());
        }
        let later = trust.with(bytes).map_err(|error| error.to_string())?;
        // Known before the record is saved, since what comes of it is said with the new version, and taken back if the
        // record can't be.
        self.setup.trust.replace(later);
        // A root that is missing on the disk was taken before, and the record says so already.
        if version > self.saved.root_version {
            self.handle(Event::NewRoot(Box::new(self.new_root(next))));
        }
        if self.saved.root_version < version {
            self.setup.trust.replace((*trust).clone());
            return Err("the state directory can't be written; free space on its disk".to_owned());
        }
        tracing::info!(version, "a new trust root is taken");
        self.root_told_ms = None;
        if self.setup.machine.unserved().is_some() {
            // It may be this root under which what was committed can be opened again.
            self.handle(Event::Repaired);
        }
        Ok(Offered::Taken(version))
    }

    /// The event of a root that counts from now on.
    pub(super) fn new_root(&self, root: Verified<TrustRoot>) -> NewRoot {
        let trust = self.setup.trust.now();
        let generations = self.setup.store.generations();
        let revoked = self
            .setup
            .machine
            .state()
            .generations()
            .map(|generation| generation.number);
        let revoked = revoked.filter(|&number| {
            // One that can't be read is for the repair to see to.
            let manifest = generations.read(number, MANIFEST);
            manifest.is_ok_and(|manifest| !trust.still_counts(&manifest))
        });
        let fetched = self.fetching.as_ref().and_then(|fetching| fetching.manifest.as_ref());
        NewRoot {
            revoked: revoked.collect(),
            pending_revoked: fetched.is_some_and(|manifest| !trust.still_counts(manifest.envelope())),
            root: root.into_inner(),
        }
    }

    /// Says so when the root is about to end, or has ended, once a day.
    pub(super) fn watch_root(&mut self, now_ms: u64) {
        if self
            .root_told_ms
            .is_some_and(|told| now_ms.saturating_sub(told) < AGAIN_MS)
        {
            return;
        }
        self.root_told_ms = Some(now_ms);
        let trust = self.setup.trust.now();
        let root = trust.newest();
        let today_ms = self.trusted_now_ms();
        if today_ms.saturating_add(SOON_MS) < root.expires_ms {
            return;
        }
        let days = root.expires_ms.saturating_sub(today_ms) / AGAIN_MS;
        let (severity, message) = if today_ms > root.expires_ms {
            let message = "it has expired: nothing new is taken, and what runs goes on; publish the next root";
            (Severity::Alarm, message.to_owned())
        } else {
            (
                Severity::Warning,
                format!("it expires in {days} days; publish the next root"),
            )
        };
        let subject = format!("trust root {}", root.version);
        tracing::warn!(subject, "{message}");
        self.setup.telemetry.event("root-expires", severity, &subject, message);
    }

    /// Whether the record knows the newest root; if not, the machine is told of it when it starts.
    pub(super) fn root_at_boot(&self) -> Option<NewRoot> {
        let trust = self.setup.trust.now();
        let newest = trust.newest();
        let state = self.setup.machine.state();
        let known = state.is_under(newest) || newest.version < state.root_version;
        (!known).then(|| self.new_root(newest.clone()))
    }

    /// Logs what came of a release key that was revoked.
    pub(super) fn tell_revoked(&mut self, bundle: &floorhand_bundle::Digest, reason: String) {
        tracing::error!(bundle = %bundle.short(), reason, "a bundle's release key was revoked");
        self.setup
            .telemetry
            .event("bundle-revoked", Severity::Alarm, &bundle.to_string(), reason);
    }
}
