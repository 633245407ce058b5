//! What lies there when the disk could not be written: a deployment in the state that nobody carries on.
//!
//! The machine went back to what is on the disk, which may name a bundle that was being fetched or tried. It is given up with
//! its reason as soon as that can be made durable, so that nobody waits for it; if it is assigned again before that, it begins
//! again.

use super::assembly::Core;
use floorhand_lifecycle::{Event, Failure};
use floorhand_protocol::Deployment;

/// How long to wait before it is tried to give it up once more: every try that fails is an alarm.
const EVERY_MS: u64 = 60_000;

impl Core {
    pub(super) fn give_up_leftover(&mut self, now_ms: u64) {
        let carried_on = self.setup.machine.deployment() != Deployment::Idle;
        if carried_on || self.fetching.is_some() || now_ms.saturating_sub(self.leftover_ms) < EVERY_MS {
            return;
        }
        self.leftover_ms = now_ms;
        let why = self
            .unwritten
            .as_ref()
            .map_or_else(String::new, |why| format!(" ({why})"));
        let reason = format!("the state directory could not be written{why}; deploy it again");
        let state = self.setup.machine.state();
        let event = match (&state.candidate, &state.pending) {
            (Some(candidate), _) => Event::Broken {
                generation: candidate.generation.number,
                reason,
            },
            (None, Some(_)) => Event::FetchFailed(Failure::Final(reason)),
            (None, None) => return,
        };
        self.handle(event);
    }
}
