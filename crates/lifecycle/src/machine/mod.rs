//! The machine itself: what each event means in each phase.
//!
//! Rules that hold throughout: what serves goes on serving until something better has been shown; a candidate's
//! `tries_left` falls durably before anything of it is loaded; a candidate that failed isn't tried again until a new
//! assignment names it.

mod deployment;
mod health;
mod root;

use crate::event::{Action, BundleFacts, Event};
use crate::state::{Generation, State};
use crate::trial::Tally;
use floorhand_bundle::{HardwareClass, Version};
use floorhand_protocol::{Assigned, Assignment, Deployment, JobReport, JobStatus, Outcome, Step};

/// What a bundle's demands are held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The device's hardware class.
    pub hardware: HardwareClass,
    /// The agent's version.
    pub agent: Version,
}

/// Where a deployment is. What has to survive a power cut is in [`State`].
#[derive(Debug, Clone)]
enum Phase {
    Idle,
    /// Holds the manifest's facts once it is there.
    Fetching(Option<Box<BundleFacts>>),
    Staging,
    Trial(Box<Tally>),
}

/// Why a generation is being activated.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Activation {
    /// The agent has started.
    Boot,
    /// An assignment asks for a generation that is on the disk; `from` is what served when it came.
    Assigned { from: Option<Generation> },
    /// The generation before takes over from one that broke.
    Recovery,
}

/// The deployment state machine of one device.
#[derive(Debug, Clone)]
pub struct Machine {
    device: Device,
    state: State,
    phase: Phase,
    activation: Option<Activation>,
    /// The active generation can't be loaded, and there is none to go back to.
    unserved: bool,
    booted_ms: u64,
}

impl Machine {
    /// A machine that goes on from a saved state.
    #[must_use]
    pub fn new(device: Device, state: State) -> Self {
        Self {
            device,
            state,
            phase: Phase::Idle,
            activation: None,
            unserved: false,
            booted_ms: 0,
        }
    }

    /// The state as it was last saved, or is about to be.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// How far the deployment is.
    #[must_use]
    pub fn deployment(&self) -> Deployment {
        match self.phase {
            Phase::Idle => Deployment::Idle,
            Phase::Fetching(_) => Deployment::Fetching,
            Phase::Staging => Deployment::Verified,
            Phase::Trial(_) => Deployment::Trial,
        }
    }

    /// How many samples the trial has seen, and how many it needs.
    #[must_use]
    pub fn trial_progress(&self) -> Option<(u64, u64)> {
        match &self.phase {
            Phase::Trial(tally) => Some(tally.progress()),
            _ => None,
        }
    }

    /// The active generation, when it can't be loaded and there is none to go back to: nothing serves.
    #[must_use]
    pub fn unserved(&self) -> Option<&Generation> {
        self.state.active.as_ref().filter(|_| self.unserved)
    }

    /// Takes what happened at `now_ms`, on a clock that only goes forward, and says what to do.
    pub fn handle(&mut self, event: Event, now_ms: u64) -> Vec<Action> {
        match event {
            Event::Boot => self.boot(now_ms),
            Event::NewRoot(new) => self.new_root(&new),
            Event::Assigned(assignment) => self.assigned(assignment),
            Event::ManifestReady(facts) => self.manifest_ready(facts),
            Event::ComponentsReady => self.components_ready(),
            Event::FetchFailed(failure) => self.fetch_failed(failure),
            Event::Staged(result) => self.staged(result, now_ms),
            Event::Trial(sample) => self.trial(&sample, now_ms),
            Event::Activated(result) => self.activated(result),
            Event::Repaired => self.repaired(),
            Event::Broken { generation, reason } => self.broken(generation, &reason),
            Event::Stalled => self.stalled(),
            Event::SignedTime(issued_ms) => self.signed_time(issued_ms),
            Event::CommandTaken(id) => self.command_taken(id),
            Event::Tick => self.tick(now_ms),
            Event::Stopping => self.stopping(),
        }
    }

    fn save(&self) -> Action {
        Action::Save(Box::new(self.state.clone()))
    }

    fn assigned(&mut self, assignment: Assignment) -> Vec<Action> {
        let seq = assignment.seq;
        if seq == self.state.seq {
            // The broker gives the retained one again at every connect.
            return Vec::new();
        }
        if seq < self.state.seq {
            let reason = format!(
                "assignment {seq} is older than {}, which was taken before",
                self.state.seq
            );
            return vec![Action::Answer {
                seq,
                outcome: Outcome::Rejected { reason },
            }];
        }
        self.state.seq = seq;
        self.state.clock_ms = self.state.clock_ms.max(assignment.issued_ms);
        self.state.mode = assignment.mode;
        self.state.parameters = assignment.parameters.clone();
        let mut actions = vec![
            Action::Answer {
                seq,
                outcome: Outcome::Accepted,
            },
            Action::SetMode(assignment.mode),
            Action::SetParameters(assignment.parameters),
        ];
        if let Some(assigned) = assignment.run {
            actions.extend(self.run(assigned, assignment.job, seq));
        }
        actions.push(Action::SayHello);
        // Whatever came of it, the sequence number is durable before anything is done or said.
        actions.insert(0, self.save());
        actions
    }

    /// Goes about running what was assigned, which may be what runs already.
    fn run(&mut self, assigned: Assigned, job: String, seq: u64) -> Vec<Action> {
        let bundle = assigned.bundle;
        let under_way = self.state.pending.as_ref().map(|pending| pending.assigned.bundle);
        let in_trial = self
            .state
            .candidate
            .as_ref()
            .map(|candidate| candidate.generation.bundle.digest);
        let carried_on = !matches!(self.phase, Phase::Idle);
        if carried_on && (under_way == Some(bundle) || in_trial == Some(bundle)) {
            return self.rename_deployment(job, seq);
        }
        let mut actions = self.cancel_deployment();
        if let Some(active) = self
            .state
            .active
            .clone()
            .filter(|active| active.bundle.digest == bundle && !self.unserved)
        {
            let generation = Generation { job, seq, ..active };
            actions.push(report(&generation, JobStatus::Succeeded, Step::Committed, ""));
            return actions;
        }
        if let Some(previous) = self
            .state
            .previous
            .clone()
            .filter(|previous| previous.bundle.digest == bundle)
        {
            actions.extend(self.return_to(Generation { job, seq, ..previous }));
            return actions;
        }
        actions.extend(self.begin_fetching(assigned, job, seq));
        actions
    }

    fn signed_time(&mut self, issued_ms: u64) -> Vec<Action> {
        if issued_ms <= self.state.clock_ms {
            return Vec::new();
        }
        self.state.clock_ms = issued_ms;
        vec![self.save()]
    }

    fn command_taken(&mut self, id: u64) -> Vec<Action> {
        self.state.command_id = self.state.command_id.max(id);
        vec![self.save()]
    }
}

/// A report about a generation.
fn report(generation: &Generation, status: JobStatus, step: Step, reason: &str) -> Action {
    Action::Report(JobReport {
        job: generation.job.clone(),
        seq: generation.seq,
        bundle: generation.bundle.digest,
        id: Some(generation.bundle.clone()),
        status,
        step,
        reason: reason.to_owned(),
    })
}

#[cfg(test)]
mod tests;
