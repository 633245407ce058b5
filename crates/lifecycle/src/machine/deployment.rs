//! The way of a bundle: fetch, stage, try, commit or give up.

use super::{Machine, Phase, report};
use crate::event::{Action, BundleFacts, Failure, TrialSample};
use crate::state::{Candidate, Generation, Pending, State};
use crate::trial::{Tally, Verdict};
use floorhand_bundle::Gates;
use floorhand_protocol::{Assigned, JobReport, JobStatus, Step};

impl Machine {
    pub(super) fn begin_fetching(&mut self, assigned: Assigned, job: String, seq: u64) -> Vec<Action> {
        let pending = Pending { assigned, job, seq };
        self.state.pending = Some(pending.clone());
        self.phase = Phase::Fetching(None);
        vec![
            self.save(),
            pending_report(&pending, JobStatus::InProgress, Step::Assigned, ""),
            Action::FetchManifest(pending),
        ]
    }

    /// The same bundle under a newer assignment: what was done so far stays done.
    pub(super) fn rename_deployment(&mut self, job: String, seq: u64) -> Vec<Action> {
        if let Some(pending) = &mut self.state.pending {
            (pending.job, pending.seq) = (job, seq);
        } else if let Some(candidate) = &mut self.state.candidate {
            (candidate.generation.job, candidate.generation.seq) = (job, seq);
        }
        Vec::new()
    }

    /// What is under way stays in the state until it is given up or assigned again.
    pub(super) fn stalled(&mut self) -> Vec<Action> {
        self.phase = Phase::Idle;
        Vec::new()
    }

    /// Gives up what is under way because something else was assigned.
    pub(super) fn cancel_deployment(&mut self) -> Vec<Action> {
        const REASON: &str = "another assignment came before it was done";
        self.phase = Phase::Idle;
        let mut actions = Vec::new();
        if let Some(pending) = self.state.pending.take() {
            actions.push(Action::StopFetching);
            actions.push(pending_report(&pending, JobStatus::Canceled, Step::Fetching, REASON));
        }
        if let Some(candidate) = self.state.candidate.take() {
            actions.push(Action::DropCandidate);
            actions.push(report(
                &candidate.generation,
                JobStatus::Canceled,
                Step::RolledBack,
                REASON,
            ));
        }
        actions
    }

    pub(super) fn manifest_ready(&mut self, facts: BundleFacts) -> Vec<Action> {
        let Some(pending) = self.state.pending.clone() else {
            return Vec::new();
        };
        if let Some(problem) = self.refusal(&facts, &pending) {
            return self.fetch_failed_with(JobStatus::Rejected, &problem);
        }
        self.phase = Phase::Fetching(Some(Box::new(facts)));
        vec![
            pending_report(&pending, JobStatus::InProgress, Step::Fetching, ""),
            Action::FetchComponents(pending),
        ]
    }

    /// Why a manifest that is signed as it has to be is still not for this device.
    fn refusal(&self, facts: &BundleFacts, pending: &Pending) -> Option<String> {
        if facts.id.digest != pending.assigned.bundle {
            return Some(format!(
                "the manifest is that of {}, which was not assigned",
                facts.id.digest.short()
            ));
        }
        if facts.release_counter < self.state.floor {
            return Some(format!(
                "its release counter {} is below this device's floor {}: an older release would undo a newer one",
                facts.release_counter, self.state.floor
            ));
        }
        if !facts.hardware.iter().any(|class| class.takes_in(&self.device.hardware)) {
            let classes = facts
                .hardware
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            return Some(format!(
                "it is made for {classes}, and this device is {}",
                self.device.hardware
            ));
        }
        (facts.min_agent > self.device.agent).then(|| {
            format!(
                "it needs agent {} and this is {}; update the agent first",
                facts.min_agent, self.device.agent
            )
        })
    }

    pub(super) fn components_ready(&mut self) -> Vec<Action> {
        let Phase::Fetching(Some(facts)) = &self.phase else {
            return Vec::new();
        };
        let facts = facts.clone();
        let Some(pending) = self.state.pending.take() else {
            return Vec::new();
        };
        let generation = Generation {
            number: self.state.next_generation,
            bundle: facts.id,
            release_counter: facts.release_counter,
            floor: facts.floor,
            job: pending.job,
            seq: pending.seq,
        };
        self.state.next_generation += 1;
        self.state.candidate = Some(Candidate {
            generation: generation.clone(),
            tries_left: facts.tries,
        });
        let mut actions = vec![
            // The files first, so that a candidate in the state always has its manifest on the disk.
            Action::Keep(generation.clone()),
            self.save(),
            report(&generation, JobStatus::InProgress, Step::Verified, ""),
        ];
        actions.extend(self.begin_try());
        actions
    }

    /// Takes one of the candidate's tries, durably, and then loads it.
    pub(super) fn begin_try(&mut self) -> Vec<Action> {
        let Some(candidate) = &mut self.state.candidate else {
            return Vec::new();
        };
        if candidate.tries_left == 0 {
            let reason = "the agent stopped or lost power in every one of its tries";
            return self.give_up(JobStatus::Failed, Step::RolledBack, reason);
        }
        candidate.tries_left -= 1;
        let generation = candidate.generation.clone();
        self.phase = Phase::Staging;
        vec![self.save(), Action::Stage(generation)]
    }

    pub(super) fn fetch_failed(&mut self, failure: Failure) -> Vec<Action> {
        match failure {
            Failure::Final(reason) => self.fetch_failed_with(JobStatus::Failed, &reason),
            Failure::TimedOut(reason) => self.fetch_failed_with(JobStatus::TimedOut, &reason),
        }
    }

    /// The manifest that was fetched doesn't count any more.
    pub(super) fn refuse_pending(&mut self, reason: &str) -> Vec<Action> {
        self.fetch_failed_with(JobStatus::Rejected, reason)
    }

    fn fetch_failed_with(&mut self, status: JobStatus, reason: &str) -> Vec<Action> {
        let Some(pending) = self.state.pending.take() else {
            return Vec::new();
        };
        self.phase = Phase::Idle;
        vec![
            self.save(),
            Action::StopFetching,
            pending_report(&pending, status, Step::Fetching, reason),
            Action::CollectGarbage,
            Action::SayHello,
        ]
    }

    pub(super) fn staged(&mut self, result: Result<Gates, String>, now_ms: u64) -> Vec<Action> {
        let Some(candidate) = self.state.candidate.clone() else {
            return Vec::new();
        };
        if !matches!(self.phase, Phase::Staging) {
            return Vec::new();
        }
        let gates = match result {
            Ok(gates) => gates,
            Err(reason) => return self.give_up(JobStatus::Failed, Step::Staged, &reason),
        };
        let beside = self.state.active.is_some() && !self.unserved;
        self.phase = Phase::Trial(Box::new(Tally::new(gates, beside, now_ms)));
        vec![
            report(&candidate.generation, JobStatus::InProgress, Step::Staged, ""),
            report(&candidate.generation, JobStatus::InProgress, Step::Trial, ""),
            Action::StartTrial(candidate),
            Action::SayHello,
        ]
    }

    pub(super) fn trial(&mut self, sample: &TrialSample, now_ms: u64) -> Vec<Action> {
        if let Phase::Trial(tally) = &mut self.phase {
            tally.add(sample);
        }
        self.judge(now_ms)
    }

    /// Ends the trial when there is a verdict.
    pub(super) fn judge(&mut self, now_ms: u64) -> Vec<Action> {
        let Phase::Trial(tally) = &self.phase else {
            return Vec::new();
        };
        match tally.verdict(now_ms) {
            Verdict::Undecided => Vec::new(),
            Verdict::Passed => self.commit(),
            Verdict::Failed(reason) => self.give_up(JobStatus::Failed, Step::RolledBack, &reason),
            Verdict::TimedOut(reason) => self.give_up(JobStatus::TimedOut, Step::RolledBack, &reason),
        }
    }

    fn commit(&mut self) -> Vec<Action> {
        self.phase = Phase::Idle;
        let Some(Candidate { generation, .. }) = self.state.candidate.take() else {
            return Vec::new();
        };
        let before = self.state.active.replace(generation.clone());
        self.state.previous = State::to_go_back_to(before, self.state.revoked);
        if std::mem::take(&mut self.unserved) {
            // What can't be loaded is nothing to go back to.
            self.state.previous = None;
        }
        self.state.floor = self.state.floor.max(generation.floor);
        self.state.short_runs = 0;
        vec![
            self.save(),
            Action::Promote(generation.clone()),
            report(&generation, JobStatus::Succeeded, Step::Committed, ""),
            Action::CollectGarbage,
            Action::SayHello,
        ]
    }

    /// Gives the candidate up; what serves goes on.
    pub(super) fn give_up(&mut self, status: JobStatus, step: Step, reason: &str) -> Vec<Action> {
        self.phase = Phase::Idle;
        let Some(Candidate { generation, .. }) = self.state.candidate.take() else {
            return Vec::new();
        };
        vec![
            self.save(),
            Action::DropCandidate,
            report(&generation, status, step, reason),
            Action::CollectGarbage,
            Action::SayHello,
        ]
    }
}

/// A report about a bundle of which only the assignment is known.
fn pending_report(pending: &Pending, status: JobStatus, step: Step, reason: &str) -> Action {
    Action::Report(JobReport {
        job: pending.job.clone(),
        seq: pending.seq,
        bundle: pending.assigned.bundle,
        id: None,
        status,
        step,
        reason: reason.to_owned(),
    })
}
