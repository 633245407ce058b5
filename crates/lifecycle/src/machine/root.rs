//! A trust root takes the place of another: which numbers begin anew, and what a revoked release key had signed.
//!
//! What serves goes on, whoever signed it. What was signed by a key that counts no more isn't begun, tried or gone back to.

use super::Machine;
use crate::event::{Action, NewRoot};
use floorhand_protocol::{JobStatus, Step};

impl Machine {
    /// One record has all of it: the root's version, the numbers that begin anew, and what is let go.
    pub(super) fn new_root(&mut self, new: &NewRoot) -> Vec<Action> {
        let version = new.root.version;
        let reason = format!("it is signed by a key that trust root {version} does not list for releases any more");
        self.state.go_under(&new.root);
        let mut actions = Vec::new();
        if new.pending_revoked {
            actions.extend(self.refuse_pending(&reason));
        }
        let is_revoked = |number: u64| new.revoked.contains(&number);
        if let Some(candidate) = &self.state.candidate
            && is_revoked(candidate.generation.number)
        {
            actions.extend(self.give_up(JobStatus::Failed, Step::RolledBack, &reason));
        }
        if let Some(previous) = self.state.previous.take_if(|previous| is_revoked(previous.number)) {
            actions.push(Action::Revoked {
                bundle: previous.bundle.digest,
                reason: format!("{reason}; it is not gone back to"),
            });
            actions.push(Action::CollectGarbage);
        }
        if let Some(active) = &self.state.active
            && is_revoked(active.number)
        {
            self.state.revoked = active.number;
            actions.push(Action::Revoked {
                bundle: active.bundle.digest,
                reason: format!("{reason}; it goes on serving until another bundle is committed"),
            });
        }
        actions.insert(0, self.save());
        actions
    }
}
