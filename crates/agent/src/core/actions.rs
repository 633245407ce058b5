//! Carrying out what the machine wants done.

use super::assembly::Core;
use super::fetch::Goal;
use super::{Purpose, load};
use crate::clock::monotonic_ms;
use crate::import;
use crate::serving;
use floorhand_bundle::{Digest, Manifest};
use floorhand_lifecycle::{Action, Device, Event, Failure, Generation, Machine, State};
use floorhand_protocol::{Answer, RecordBody, Severity};
use floorhand_store::StoreError;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Core {
    /// Gives the machine an event, carries out what it wants, and goes on with the events that come of that.
    pub(super) fn handle(&mut self, event: Event) {
        self.events.push_back(event);
        while let Some(event) = self.events.pop_front() {
            let assigned = if let Event::Assigned(assignment) = &event {
                Some(assignment.seq)
            } else {
                None
            };
            let actions = self.setup.machine.handle(event, monotonic_ms());
            for action in actions {
                if let Err(error) = self.carry_out(action) {
                    self.step_back(&error);
                    self.not_taken(assigned, &error);
                    break;
                }
            }
        }
    }

    /// The hub is told of an assignment that couldn't be made durable: telemetry may be as short of room as the state.
    fn not_taken(&mut self, assigned: Option<u64>, error: &StoreError) {
        if let Some(seq) = assigned.filter(|&seq| seq > self.saved.seq) {
            let reason = error.to_string();
            self.answer(
                format!("assign/{seq}"),
                floorhand_protocol::Outcome::Rejected { reason },
            );
        }
    }

    /// The first event. What serves has to serve even when nothing can be written any more.
    pub(super) fn boot(&mut self) {
        let new_root = self.root_at_boot().map(|new| Event::NewRoot(Box::new(new)));
        let events = new_root.into_iter().chain([Event::Boot]);
        let actions: Vec<Action> = events
            .flat_map(|event| self.setup.machine.handle(event, monotonic_ms()))
            .collect();
        let mut durable = true;
        for action in actions {
            let needs_disk = !matches!(
                action,
                Action::Activate(_) | Action::SetMode(_) | Action::SetParameters(_)
            );
            if !durable && needs_disk {
                continue;
            }
            if let Err(error) = self.carry_out(action) {
                durable = false;
                self.storage_alarm(&error);
            }
        }
        if !durable {
            self.handle(Event::Stalled);
        }
        self.tell_unsealed();
        if self.setup.machine.state().active.is_none() {
            self.setup.booting.send_replace(true);
        }
        import::sweep(self.setup.store.root());
        self.take_inbox();
        self.update_board();
    }

    fn tell_unsealed(&self) {
        let count = self.setup.store.blobs().unsealed_count();
        if count > 0 {
            let message = format!("{count} blobs could not be encrypted; it is tried again at the next start");
            self.setup
                .telemetry
                .event("storage-error", Severity::Alarm, "state directory", message);
        }
    }

    /// Something could not be made durable: nothing that relies on it is done. The machine goes back to what is on the
    /// disk; what serves goes on.
    fn step_back(&mut self, error: &StoreError) {
        self.storage_alarm(error);
        let device = Device {
            hardware: self.setup.hardware.clone(),
            agent: self.agent_version(),
        };
        self.setup.machine = Machine::new(device, self.saved.clone());
        self.setup.serving.tell(serving::Message::DropCandidate);
        self.staged = None;
        if let Some(Goal::Deploy(pending)) = self.fetching.take().map(|fetching| fetching.goal) {
            self.events.push_back(Event::FetchFailed(Failure::Final(format!(
                "{}: {error}",
                pending.assigned.bundle.short()
            ))));
        }
    }

    pub(super) fn storage_alarm(&mut self, error: &StoreError) {
        self.unwritten = Some(error.to_string());
        tracing::error!(%error, "the state directory can't be written; what serves goes on, nothing new is begun");
        self.setup
            .telemetry
            .event("storage-error", Severity::Alarm, "state directory", error.to_string());
    }

    fn carry_out(&mut self, action: Action) -> Result<(), StoreError> {
        match action {
            Action::Save(state) => self.save(*state)?,
            Action::Activate(generation) => self.load(&generation, Purpose::Activate),
            Action::Stage(generation) => self.load(&generation, Purpose::Stage),
            Action::FetchManifest(pending) => self.begin_fetch(pending),
            Action::FetchComponents(_) => self.fetch_components(),
            Action::StopFetching => self.fetching = None,
            Action::Keep(generation) => self.keep(&generation)?,
            Action::StartTrial(candidate) => {
                tracing::info!(bundle = %candidate.generation.bundle.version, "its trial begins");
                if let Some(loaded) = self.staged.take() {
                    self.setup.serving.tell(serving::Message::Try(Box::new(loaded)));
                }
            }
            Action::Promote(_) => self.setup.serving.tell(serving::Message::Promote),
            Action::DropCandidate => {
                self.staged = None;
                self.setup.serving.tell(serving::Message::DropCandidate);
            }
            Action::CollectGarbage => self.collect_garbage(),
            Action::SetMode(mode) => self.setup.serving.tell(serving::Message::SetMode(mode)),
            Action::SetParameters(parameters) => {
                self.setup.serving.tell(serving::Message::SetParameters(parameters));
            }
            Action::Report(report) => {
                let (status, step) = (report.status.name(), report.step.name());
                tracing::info!(job = report.job, status, step, reason = report.reason, "deployment");
                self.setup.telemetry.report(RecordBody::Job(report));
            }
            Action::Answer { seq, outcome } => self.answer(format!("assign/{seq}"), outcome),
            Action::SayHello => self.say_hello(),
            Action::Revoked { bundle, reason } => self.tell_revoked(&bundle, reason),
            Action::Alarm { bundle, reason } => {
                tracing::error!(bundle = %bundle.short(), reason, "a bundle was given up after it was committed");
                self.setup
                    .telemetry
                    .event("bundle-broken", Severity::Alarm, &bundle.to_string(), reason);
            }
        }
        Ok(())
    }

    fn save(&mut self, state: State) -> Result<(), StoreError> {
        // The record has a bounded size and no value that CBOR can't hold.
        let bytes = state.encode().unwrap_or_default();
        self.setup.store.state().save(&bytes)?;
        self.setup.clock_floor_ms.store(state.clock_ms, Ordering::Relaxed);
        self.saved = state;
        Ok(())
    }

    /// Loads a generation; the core hears of the end of it.
    fn load(&self, generation: &Generation, purpose: Purpose) {
        let task = load::Task {
            generation: generation.number,
            store: Arc::clone(&self.setup.store),
            host: Arc::clone(&self.setup.host),
            engines: self.setup.engines.clone(),
            batches: self.setup.batches,
            probe: self.setup.probe.clone(),
            trust: self.setup.trust.now(),
            purpose,
        };
        (self.setup.load)(task, purpose, self.setup.sender.clone());
    }

    /// Keeps the manifest of what was fetched under its generation's number.
    fn keep(&mut self, generation: &Generation) -> Result<(), StoreError> {
        let Some(manifest) = self.fetching.take().and_then(|fetching| fetching.manifest) else {
            return Ok(());
        };
        self.setup
            .store
            .generations()
            .write(generation.number, manifest.envelope(), &[])
    }

    /// Removes what neither a generation nor a fetch needs. What can't be removed now is removed the next time.
    fn collect_garbage(&mut self) {
        let state = self.setup.machine.state();
        let numbers: BTreeSet<u64> = state.generations().map(|generation| generation.number).collect();
        let mut keep = BTreeSet::new();
        for &number in &numbers {
            match self.manifest_of(number) {
                Ok(manifest) => keep.extend(digests(&manifest)),
                // Rather too much kept than a component of something that serves removed.
                Err(problem) => {
                    tracing::warn!(generation = number, problem, "nothing is removed from the store");
                    return;
                }
            }
        }
        if let Some(pending) = &state.pending {
            keep.insert(pending.assigned.manifest.sha256);
        }
        if let Some(manifest) = self.fetching.as_ref().and_then(|fetching| fetching.manifest.as_ref()) {
            keep.extend(digests(manifest));
        }
        let store = &self.setup.store;
        for number in store.generations().list().unwrap_or_default() {
            if !numbers.contains(&number)
                && let Err(error) = store.generations().remove(number)
            {
                tracing::warn!(%error, "an old generation can't be removed");
            }
        }
        match store.blobs().collect_garbage(&keep) {
            Ok(freed) => tracing::debug!(?freed, "removed what no generation needs"),
            Err(error) => tracing::warn!(%error, "old blobs can't be removed"),
        }
    }

    pub(super) fn manifest_of(&self, generation: u64) -> Result<Manifest, String> {
        let manifest = load::manifest(
            &self.setup.store,
            &self.setup.trust.now(),
            generation,
            Purpose::Activate,
        )?;
        Ok(manifest.into_inner())
    }

    pub(super) fn answer(&mut self, to: String, outcome: floorhand_protocol::Outcome) {
        if self.answers.len() == super::assembly::MAX_ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back(Answer {
            device: self.setup.device.clone(),
            boot_id: self.setup.boot_id,
            to,
            time_ms: crate::clock::system_ms(),
            outcome,
        });
        self.send_answers();
    }

    pub(super) fn agent_version(&self) -> floorhand_bundle::Version {
        crate::version()
    }
}

/// The blobs of a manifest.
fn digests(manifest: &Manifest) -> impl Iterator<Item = Digest> {
    manifest.components.iter().map(|component| component.blob.sha256)
}
