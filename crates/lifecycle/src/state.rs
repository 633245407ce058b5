//! What a device has to remember across a power cut, and its encoding.

use floorhand_bundle::cbor::{self, CborError};
use floorhand_bundle::{Digest, PublicKey, TrustRoot};
use floorhand_protocol::{Assigned, BundleId, Mode, Parameters};
use serde::{Deserialize, Serialize};

/// The largest state record in bytes: the pending assignment's chunk list is most of it.
const MAX_STATE_BYTES: usize = 64 * 1024;
/// The version of the record that this code writes.
const FORMAT: u32 = 1;

/// A bundle that is on the device's disk, under the device's own number for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Rises with every generation that is staged.
    pub number: u64,
    /// The bundle.
    pub bundle: BundleId,
    /// Its release counter, to be held against the floor when it is gone back to.
    pub release_counter: u64,
    /// What the floor becomes when it is committed.
    pub floor: u64,
    /// The hub's name for the change that brought it.
    pub job: String,
    /// The sequence number of the assignment that brought it.
    pub seq: u64,
}

/// An assignment that is being fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What to fetch.
    pub assigned: Assigned,
    /// The hub's name for the change.
    pub job: String,
    /// The assignment's sequence number.
    pub seq: u64,
}

/// A generation in its trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// What is tried.
    pub generation: Generation,
    /// How often its trial may still be started.
    pub tries_left: u32,
}

/// The state record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Its version; one from the future is refused.
    pub format: u32,
    /// What serves.
    pub active: Option<Generation>,
    /// What can be gone back to.
    pub previous: Option<Generation>,
    /// What is tried.
    pub candidate: Option<Candidate>,
    /// What is fetched.
    pub pending: Option<Pending>,
    /// The number of the next generation.
    pub next_generation: u64,
    /// The lowest release counter that is taken.
    pub floor: u64,
    /// The version of the trust root that counts; 0 before the first start.
    pub root_version: u64,
    /// Who could sign assignments under that root. Empty in a record of an agent that knew of no other root.
    #[serde(default)]
    pub assignment_keys: Vec<PublicKey>,
    /// The active generation's number, where it goes on serving though its release key was revoked; 0 otherwise.
    #[serde(default)]
    pub revoked: u64,
    /// The highest assignment that was taken.
    pub seq: u64,
    /// The highest command that was taken.
    pub command_id: u64,
    /// The highest `issued` time of a verified document, the trust root among them, in milliseconds since 1970 UTC. Begins
    /// anew with `seq`, at the root's.
    pub clock_ms: u64,
    /// Whether samples are worked on.
    pub mode: Mode,
    /// Settings.
    pub parameters: Parameters,
    /// Starts of the agent since it last stayed up for a minute: a crash loop raises it.
    pub short_runs: u32,
}

impl Default for State {
    /// The state of a device that was never given anything.
    fn default() -> Self {
        Self {
            format: FORMAT,
            active: None,
            previous: None,
            candidate: None,
            pending: None,
            next_generation: 1,
            floor: 0,
            root_version: 0,
            assignment_keys: Vec::new(),
            revoked: 0,
            seq: 0,
            command_id: 0,
            clock_ms: 0,
            mode: Mode::Run,
            parameters: Parameters::default(),
            short_runs: 0,
        }
    }
}

impl State {
    /// Encodes the record.
    pub fn encode(&self) -> Result<Vec<u8>, CborError> {
        cbor::encode("state record", self)
    }

    /// Decodes a record. One that a newer version wrote is refused, so that nothing in it is lost.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let state: Self = cbor::decode("state record", bytes, MAX_STATE_BYTES)?;
        if state.format > FORMAT {
            let problem = format!(
                "it has format {}, and this agent knows {FORMAT}; install the newer agent again",
                state.format
            );
            return Err(CborError::Content {
                what: "state record",
                problem,
            });
        }
        Ok(state)
    }

    /// What can be gone back to once the active generation has made room: nothing, when its release key was revoked.
    pub(crate) fn to_go_back_to(active: Option<Generation>, revoked: u64) -> Option<Generation> {
        active.filter(|active| active.number != revoked)
    }

    /// The generations whose files have to stay.
    pub fn generations(&self) -> impl Iterator<Item = &Generation> {
        let candidate = self.candidate.as_ref().map(|candidate| &candidate.generation);
        [self.active.as_ref(), self.previous.as_ref(), candidate]
            .into_iter()
            .flatten()
    }

    /// Whether this root is the one that the record knows, with all that it says.
    #[must_use]
    pub fn is_under(&self, root: &TrustRoot) -> bool {
        self.root_version == root.version
            && self.assignment_keys == root.assignment.keys
            && self.clock_ms >= root.issued_ms
    }

    /// Goes on under a root. The numbers of assignments and commands and the signed time begin anew where nobody who could
    /// sign them before can do so now: what a thief of the old key drove up doesn't lock the new key out, and nothing that
    /// the old one signed can be brought back, for it counts no more. The time begins with the root's, not with none: a
    /// real-time clock that is far ahead must not be believed for a moment.
    pub(crate) fn go_under(&mut self, root: &TrustRoot) {
        let known = !self.assignment_keys.is_empty();
        let kept = |key: &PublicKey| root.assignment.keys.contains(key);
        if known && !self.assignment_keys.iter().any(kept) {
            self.seq = 0;
            self.command_id = 0;
            self.clock_ms = 0;
        }
        self.clock_ms = self.clock_ms.max(root.issued_ms);
        self.root_version = root.version;
        self.assignment_keys.clone_from(&root.assignment.keys);
    }

    /// A generation of this bundle that is on the disk.
    #[must_use]
    pub fn generation_of(&self, bundle: Digest) -> Option<&Generation> {
        self.generations().find(|generation| generation.bundle.digest == bundle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_round_trips_and_one_from_the_future_is_refused() {
        let state = State {
            seq: 9,
            ..State::default()
        };
        assert_eq!(State::decode(&state.encode().unwrap()).unwrap(), state);
        let newer = State {
            format: 2,
            ..State::default()
        };
        let error = State::decode(&newer.encode().unwrap()).unwrap_err().to_string();
        assert!(error.contains("format 2, and this agent knows 1"), "{error}");
    }
}
