//! What serves: starting it, going back to the one before, and crash loops.

use super::{Activation, Machine, Phase, report};
use crate::event::Action;
use crate::state::{Generation, State};
use floorhand_protocol::{JobStatus, Step};

/// An agent that has run for this long is not in a crash loop.
const SETTLED_MS: u64 = 60_000;
/// Starts in a row that each ended sooner than that make a crash loop. More than the power cuts of a bad morning.
const CRASH_LOOP_RUNS: u32 = 5;

impl Machine {
    pub(super) fn boot(&mut self, now_ms: u64) -> Vec<Action> {
        self.booted_ms = now_ms;
        self.state.short_runs = self.state.short_runs.saturating_add(1);
        let mut actions = Vec::new();
        if self.state.short_runs > CRASH_LOOP_RUNS {
            actions.extend(self.leave_crash_loop());
        }
        actions.insert(0, self.save());
        if let Some(active) = self.state.active.clone() {
            self.activation = Some(Activation::Boot);
            actions.push(Action::SetMode(self.state.mode));
            actions.push(Action::SetParameters(self.state.parameters.clone()));
            actions.push(Action::Activate(active));
        }
        if self.state.candidate.is_some() {
            actions.extend(self.begin_try());
        } else if let Some(pending) = self.state.pending.clone() {
            self.phase = Phase::Fetching(None);
            actions.push(Action::FetchManifest(pending));
        }
        actions
    }

    fn leave_crash_loop(&mut self) -> Vec<Action> {
        self.state.short_runs = 1;
        let reason = format!("the agent stopped within a minute {CRASH_LOOP_RUNS} times in a row");
        self.forsake_active(&reason).unwrap_or_default()
    }

    /// Makes the generation before the active one, if there is one, and says so. The state is not saved yet.
    fn forsake_active(&mut self, reason: &str) -> Option<Vec<Action>> {
        let previous = self.state.previous.take()?;
        let broken = self.state.active.replace(previous)?;
        Some(vec![
            report(&broken, JobStatus::Failed, Step::RolledBack, reason),
            Action::Alarm {
                bundle: broken.bundle.digest,
                reason: reason.to_owned(),
            },
            Action::SayHello,
        ])
    }

    /// Goes back to a generation that was committed here before, without a trial.
    pub(super) fn return_to(&mut self, target: Generation) -> Vec<Action> {
        if target.release_counter < self.state.floor {
            let reason = format!(
                "its release counter {} is below this device's floor {}, which the running bundle has set",
                target.release_counter, self.state.floor
            );
            return vec![report(&target, JobStatus::Rejected, Step::Assigned, &reason)];
        }
        let from = self.state.active.replace(target.clone());
        self.state.previous = State::to_go_back_to(from.clone(), self.state.revoked);
        self.activation = Some(Activation::Assigned { from });
        // Saved before it serves: if power goes now, it is what serves at the next start.
        vec![
            self.save(),
            report(&target, JobStatus::InProgress, Step::Assigned, ""),
            Action::Activate(target),
        ]
    }

    pub(super) fn activated(&mut self, result: Result<(), String>) -> Vec<Action> {
        let Some(activation) = self.activation.take() else {
            return Vec::new();
        };
        self.unserved = false;
        match (result, activation) {
            (Ok(()), Activation::Assigned { .. }) => self.returned(),
            (Ok(()), _) => vec![Action::SayHello],
            (Err(reason), Activation::Assigned { from }) => self.stay_with(from, &reason),
            (Err(reason), Activation::Boot) if self.state.previous.is_some() => self.recover(&reason),
            (Err(reason), Activation::Boot) => self.nothing_serves(&reason),
            (Err(reason), Activation::Recovery) => self.nothing_serves(&reason),
        }
    }

    /// What the generation that can't serve lacked is there again.
    pub(super) fn repaired(&mut self) -> Vec<Action> {
        let Some(active) = self.unserved().cloned() else {
            return Vec::new();
        };
        self.activation = Some(Activation::Recovery);
        vec![Action::Activate(active)]
    }

    /// An end in order is no crash.
    pub(super) fn stopping(&mut self) -> Vec<Action> {
        if self.state.short_runs == 0 {
            return Vec::new();
        }
        self.state.short_runs = self.state.short_runs.saturating_sub(1);
        vec![self.save()]
    }

    fn returned(&mut self) -> Vec<Action> {
        let Some(active) = &self.state.active else {
            return Vec::new();
        };
        vec![
            report(active, JobStatus::Succeeded, Step::Committed, ""),
            Action::CollectGarbage,
            Action::SayHello,
        ]
    }

    /// The generation that was asked for can't be loaded: what served before never stopped.
    fn stay_with(&mut self, from: Option<Generation>, reason: &str) -> Vec<Action> {
        self.state.previous = None;
        let Some(target) = std::mem::replace(&mut self.state.active, from) else {
            return Vec::new();
        };
        vec![
            self.save(),
            report(&target, JobStatus::Failed, Step::Staged, reason),
            Action::CollectGarbage,
            Action::SayHello,
        ]
    }

    pub(super) fn broken(&mut self, generation: u64, reason: &str) -> Vec<Action> {
        let is = |other: Option<&Generation>| other.is_some_and(|other| other.number == generation);
        if is(self.state.candidate.as_ref().map(|candidate| &candidate.generation)) {
            return self.give_up(JobStatus::Failed, Step::RolledBack, reason);
        }
        if is(self.state.active.as_ref()) && self.activation.is_none() {
            return self.recover(reason);
        }
        Vec::new()
    }

    /// Lets the generation before take over. Without one, says so and leaves things as they are.
    fn recover(&mut self, reason: &str) -> Vec<Action> {
        let Some(mut actions) = self.forsake_active(reason) else {
            return self.active_alarm(reason);
        };
        actions.insert(0, self.save());
        if let Some(active) = self.state.active.clone() {
            self.activation = Some(Activation::Recovery);
            actions.push(Action::Activate(active));
        }
        actions
    }

    /// The active generation can't be loaded, nor any other.
    fn nothing_serves(&mut self, reason: &str) -> Vec<Action> {
        self.unserved = true;
        let mut actions = self.active_alarm(reason);
        actions.push(Action::SayHello);
        actions
    }

    fn active_alarm(&self, reason: &str) -> Vec<Action> {
        let Some(active) = &self.state.active else {
            return Vec::new();
        };
        let reason = format!("{reason}; there is no other generation to go back to");
        vec![Action::Alarm {
            bundle: active.bundle.digest,
            reason,
        }]
    }

    pub(super) fn tick(&mut self, now_ms: u64) -> Vec<Action> {
        let mut actions = self.judge(now_ms);
        if self.state.short_runs != 0 && now_ms.saturating_sub(self.booted_ms) >= SETTLED_MS {
            self.state.short_runs = 0;
            actions.push(self.save());
        }
        actions
    }
}
