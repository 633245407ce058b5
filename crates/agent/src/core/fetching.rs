//! Fetching a bundle: its manifest, then the components that the disk hasn't.

use super::assembly::Core;
use super::fetch::{Fetching, Goal};
use super::pace::Verdict;
use crate::clock::monotonic_ms;
use crate::delivery::{Download, Held, Taken, Way};
use floorhand_bundle::{BlobRef, Manifest};
use floorhand_lifecycle::{BundleFacts, Event, Failure, Pending};
use floorhand_protocol::{ChunkMessage, Severity, Up};
use std::collections::VecDeque;

/// How long to wait before something that can't serve is repaired once more.
const REPAIR_EVERY_MS: u64 = 60_000;

impl Core {
    pub(super) fn begin_fetch(&mut self, pending: Pending) {
        let held = self.held_chunks();
        let queue = VecDeque::from([pending.assigned.manifest.clone()]);
        self.fetching = Some(Fetching::new(Goal::Deploy(pending), queue, held));
        self.drive_fetch(monotonic_ms());
    }

    /// Fetches what the active generation lacks on the disk, if it is for this that it can't serve and nothing else is
    /// being fetched.
    pub(super) fn begin_repair(&mut self, now_ms: u64) {
        let Some(active) = self.setup.machine.unserved() else {
            return;
        };
        if self.fetching.is_some() {
            return;
        }
        self.repaired_ms = now_ms;
        let queue = match self.manifest_of(active.number) {
            Ok(manifest) => self.lacking(&manifest),
            Err(problem) => return tracing::error!(problem, "what can't serve can't be repaired; deploy it again"),
        };
        if !queue.is_empty() {
            tracing::warn!(
                components = queue.len(),
                "what is missing or damaged on the disk is fetched again"
            );
            let held = self.held_chunks();
            self.fetching = Some(Fetching::new(Goal::Repair, queue, held));
            self.drive_fetch(now_ms);
        }
    }

    /// Tries again what a repair has not brought yet.
    pub(super) fn repair_again(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.repaired_ms) >= REPAIR_EVERY_MS {
            self.begin_repair(now_ms);
        }
    }

    /// The components that aren't whole on the disk. What is damaged is removed.
    fn lacking(&self, manifest: &Manifest) -> VecDeque<BlobRef> {
        let blobs = self.setup.store.blobs();
        let whole = |blob: &BlobRef| match blobs.verify(blob.sha256, blob.length) {
            Ok(whole) => whole,
            Err(error) => {
                tracing::warn!(%error, "a component can't be verified");
                false
            }
        };
        let all = manifest.components.iter().map(|component| &component.blob);
        all.filter(|blob| !whole(blob)).cloned().collect()
    }

    pub(super) fn fetch_components(&mut self) {
        let manifest = self.fetching.as_ref().and_then(|fetching| fetching.manifest.as_ref());
        let Some(queue) = manifest.map(|manifest| self.lacking(manifest)) else {
            return;
        };
        let room = self.setup.store.blobs().check_room(queue.iter());
        if let Some(fetching) = &mut self.fetching {
            fetching.queue = queue;
        }
        // Before the first chunk is asked for: what can't be kept isn't fetched.
        match room {
            Ok(()) => self.drive_fetch(monotonic_ms()),
            Err(error) => self.fetch_ended(Failure::Final(error.to_string())),
        }
    }

    /// Goes on with the fetch as far as it goes without waiting.
    pub(super) fn drive_fetch(&mut self, now_ms: u64) {
        loop {
            let Some(fetching) = &mut self.fetching else { return };
            if fetching.download.is_none() {
                let Some(blob) = fetching.queue.pop_front() else {
                    return self.fetched(now_ms);
                };
                match Download::begin(&self.setup.store, &blob, &fetching.held) {
                    Ok(download) => fetching.download = download,
                    Err(error) => return self.fetch_ended(Failure::Final(error.to_string())),
                }
                continue;
            }
            if !fetching.download.as_ref().is_some_and(Download::is_complete) {
                break;
            }
            if let Some(download) = fetching.download.take() {
                let (blob, counts) = (download.blob().clone(), download.counts());
                if let Err(error) = download.finish() {
                    return self.fetch_ended(Failure::Final(error.to_string()));
                }
                tracing::info!(blob = %blob.sha256.short(), length = blob.length, ?counts, "a blob is complete");
                fetching.held.add(&blob);
            }
        }
        self.check_progress(now_ms);
        self.request(now_ms);
    }

    /// Everything that was queued is there: the manifest, or the components.
    fn fetched(&mut self, now_ms: u64) {
        let now_trusted_ms = self.trusted_now_ms();
        let trust = self.setup.trust.now();
        let Some(fetching) = &mut self.fetching else { return };
        fetching.pace.restart(now_ms);
        let Goal::Deploy(pending) = &fetching.goal else {
            self.fetching = None;
            self.events.push_back(Event::Repaired);
            return self.run_events();
        };
        if fetching.manifest.is_some() {
            self.events.push_back(Event::ComponentsReady);
        } else {
            let blob = &pending.assigned.manifest;
            let opened = self
                .setup
                .store
                .blobs()
                .read(blob.sha256, blob.length)
                .map_err(|error| error.to_string())
                .and_then(|bytes| {
                    Manifest::open(&bytes, trust.root()?, now_trusted_ms).map_err(|error| error.to_string())
                });
            match opened {
                Ok(manifest) => {
                    let facts = BundleFacts::of(&manifest);
                    fetching.manifest = Some(manifest);
                    self.events.push_back(Event::ManifestReady(facts));
                }
                Err(problem) => return self.fetch_ended(Failure::Final(problem)),
            }
        }
        self.run_events();
    }

    /// Runs what was queued, when this isn't called from within the machine's loop, which does it by itself.
    fn run_events(&mut self) {
        if let Some(event) = self.events.pop_back() {
            self.handle(event);
        }
    }

    fn fetch_ended(&mut self, failure: Failure) {
        if let Some(Fetching { goal: Goal::Repair, .. }) = &self.fetching {
            tracing::warn!(?failure, "what is missing can't be had now; it is tried again");
            self.fetching = None;
            return;
        }
        self.events.push_back(Event::FetchFailed(failure));
        self.run_events();
    }

    /// Gives up a fetch that gets too little, and tries another way before that.
    fn check_progress(&mut self, now_ms: u64) {
        let (limits, connected) = (self.setup.fetch_limits, self.connected);
        let Some(fetching) = &mut self.fetching else { return };
        match fetching.pace.check(now_ms, connected, limits) {
            Verdict::Enough => {}
            Verdict::Slow(problem) => self.slow(&problem, now_ms),
            Verdict::TimedOut(problem) => {
                let cause = match fetching.last_problem.as_str() {
                    "" => "the hub sent too little",
                    cause => cause,
                };
                let reason = format!("{cause}: {problem}");
                self.fetch_ended(Failure::TimedOut(reason));
            }
        }
    }

    /// Too little comes: tells so, and asks for this device alone after a while.
    fn slow(&mut self, problem: &str, now_ms: u64) {
        let Some(fetching) = &mut self.fetching else { return };
        let Some(download) = &mut fetching.download else { return };
        let missing = download.missing_bytes();
        download.stop_listening();
        fetching.wait_until_ms = now_ms + fetching.backoff.next_ms();
        let blob = download.blob().sha256.short();
        let message = format!("{problem}; {missing} bytes of blob {blob} are missing, they are asked for again");
        tracing::warn!("a bundle is fetched slowly: {message}");
        if self.limiter.admit("slow-retrieval", &blob, now_ms).is_some() {
            self.setup
                .telemetry
                .event("slow-retrieval", Severity::Warning, &blob, message);
        }
    }

    fn request(&mut self, now_ms: u64) {
        self.listen(now_ms);
        let (Some(fetching), Some(fleet)) = (&mut self.fetching, &self.setup.fleet) else {
            return;
        };
        if !self.connected || now_ms < fetching.wait_until_ms {
            return;
        }
        let Some(download) = &mut fetching.download else { return };
        let Some(fetch) = download.request(now_ms, &mut crate::random::u64) else {
            return;
        };
        let sent = fetch.encode().map(|bytes| fleet.publish(Up::Fetch, bytes));
        if !matches!(sent, Ok(Ok(()))) {
            download.forget_requests();
        }
    }

    pub(super) fn take_chunk(&mut self, bytes: &[u8]) {
        match ChunkMessage::decode(bytes) {
            Ok(message) => self.take_message(message, Way::Answer, monotonic_ms()),
            Err(error) => self.refused("chunk", &error.to_string()),
        }
    }

    pub(super) fn take_message(&mut self, message: ChunkMessage, way: Way, now_ms: u64) {
        let Some(fetching) = &mut self.fetching else { return };
        let Some(download) = &mut fetching.download else { return };
        let before = download.counts().fetched_bytes;
        let taken = download.take(message, way, now_ms);
        fetching.pace.came(download.counts().fetched_bytes - before);
        match taken {
            Ok(Taken::Written) => fetching.backoff.reset(),
            Ok(Taken::Ignored) => return,
            Ok(Taken::Forged(problem)) => self.refused("blob topic", &problem),
            Ok(Taken::Unknown) => {
                // Unsigned, so it proves nothing: asked again, until the time for it is over.
                download.forget_requests();
                "the hub says that it does not have the blob".clone_into(&mut fetching.last_problem);
                fetching.wait_until_ms = now_ms + fetching.backoff.next_ms();
            }
            Ok(Taken::Wrong(problem)) => {
                download.forget_requests();
                fetching.last_problem.clone_from(&problem);
                fetching.wait_until_ms = now_ms + fetching.backoff.next_ms();
                self.refused("chunk", &problem);
            }
            Err(error) => return self.fetch_ended(Failure::Final(error.to_string())),
        }
        self.drive_fetch(now_ms);
    }

    /// The connection stands again: what was asked for before may never come.
    pub(super) fn reconnected(&mut self) {
        let now_ms = monotonic_ms();
        if let Some(download) = self.fetching.as_mut().and_then(|fetching| fetching.download.as_mut()) {
            download.reconnected(now_ms);
        }
        self.drive_fetch(now_ms);
    }

    /// Where the chunks of the generations on the disk lie.
    fn held_chunks(&self) -> Held {
        let mut held = Held::default();
        for generation in self.setup.machine.state().generations() {
            let Ok(manifest) = self.manifest_of(generation.number) else {
                continue;
            };
            for component in &manifest.components {
                held.add(&component.blob);
            }
        }
        held
    }
}
