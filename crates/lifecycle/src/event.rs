//! What happens to the machine, and what it wants done.

use crate::state::{Candidate, Generation, Pending, State};
use floorhand_bundle::{Digest, Gates, HardwareClass, Manifest, TrustRoot, Verified, Version};
use floorhand_protocol::{Assignment, BundleId, JobReport, Mode, Outcome, Parameters};

/// What the machine has to know of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct BundleFacts {
    /// The bundle.
    pub id: BundleId,
    /// Its release counter.
    pub release_counter: u64,
    /// The floor it brings.
    pub floor: u64,
    /// The hardware it is made for.
    pub hardware: Vec<HardwareClass>,
    /// The oldest agent that runs it.
    pub min_agent: Version,
    /// How often its trial may be started.
    pub tries: u32,
}

impl BundleFacts {
    /// The facts of a manifest.
    #[must_use]
    pub fn of(manifest: &Verified<Manifest>) -> Self {
        Self {
            id: BundleId {
                digest: manifest.digest(),
                name: manifest.name.clone(),
                version: manifest.version.clone(),
            },
            release_counter: manifest.release_counter,
            floor: manifest.floor,
            hardware: manifest.hardware.clone(),
            min_agent: manifest.min_agent.clone(),
            tries: manifest.gates.tries,
        }
    }
}

/// Why something did not work out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It is wrong and stays wrong: a signature, a digest, a golden case.
    Final(String),
    /// The time for it is over.
    TimedOut(String),
}

/// What came of one sample that the candidate saw.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrialSample {
    /// Why the candidate failed on it where the running generation, if there is one, did not.
    pub failure: Option<String>,
    /// No answer yet, and nothing wrong: the candidate fills a window.
    pub not_yet: bool,
    /// The candidate's time for it, in microseconds.
    pub latency_us: u64,
    /// The mean absolute difference of the output that the bundle's disagreement gate names.
    pub disagreement: Option<f64>,
    /// Findings of severity alarm that the candidate's monitors made.
    pub alarms: u64,
}

/// A trust root that counts from now on, and what it leaves without a signature that counts.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRoot {
    /// The root. It has been verified, and its file is durable.
    pub root: TrustRoot,
    /// The generations whose manifests are not signed as it wants.
    pub revoked: Vec<u64>,
    /// The same of the manifest that was fetched for the pending assignment.
    pub pending_revoked: bool,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The agent has started. The first event.
    Boot,
    /// A trust root takes the place of the one before.
    NewRoot(Box<NewRoot>),
    /// An assignment whose signature, address and expiry have been checked.
    Assigned(Assignment),
    /// The pending manifest was fetched, and it was signed as it has to be.
    ManifestReady(BundleFacts),
    /// Every component of the pending bundle is on the disk.
    ComponentsReady,
    /// The pending bundle can't be had.
    FetchFailed(Failure),
    /// The candidate was loaded and gave its golden answers, and these are its gates; or why not.
    Staged(Result<Gates, String>),
    /// The candidate saw a sample.
    Trial(TrialSample),
    /// The generation that was asked for serves, or can't.
    Activated(Result<(), String>),
    /// What the generation that can't serve lacked on the disk is there again.
    Repaired,
    /// A plugin's breaker opened in a bundle that says this rolls it back.
    Broken {
        /// The generation.
        generation: u64,
        /// What happened.
        reason: String,
    },
    /// What was under way is not carried on: what it needs could not be written.
    Stalled,
    /// A signed `issued` time was seen.
    SignedTime(u64),
    /// A command of this id was taken.
    CommandTaken(u64),
    /// Time has passed. Comes about once a second.
    Tick,
    /// The agent was told to stop, and does so in order. The last event.
    Stopping,
}

/// Something to be done, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make this state durable before anything that follows.
    Save(Box<State>),
    /// Load this generation and let it serve; then say [`Event::Activated`].
    Activate(Generation),
    /// Fetch the manifest; then say [`Event::ManifestReady`] or [`Event::FetchFailed`].
    FetchManifest(Pending),
    /// Fetch what the bundle has and the disk hasn't; then say [`Event::ComponentsReady`] or [`Event::FetchFailed`].
    FetchComponents(Pending),
    /// Stop fetching.
    StopFetching,
    /// Keep the pending manifest as this generation.
    Keep(Generation),
    /// Load this generation and run its golden cases; then say [`Event::Staged`].
    Stage(Generation),
    /// Let the staged generation see samples beside the one that serves; say [`Event::Trial`] for each.
    StartTrial(Candidate),
    /// The generation in trial serves from now on.
    Promote(Generation),
    /// Forget the staged generation.
    DropCandidate,
    /// Remove files that no generation needs.
    CollectGarbage,
    /// Work or pause.
    SetMode(Mode),
    /// Use these settings.
    SetParameters(Parameters),
    /// Put this into telemetry.
    Report(JobReport),
    /// Answer the assignment of this sequence number.
    Answer {
        /// The assignment's sequence number.
        seq: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// Tell the hub what runs.
    SayHello,
    /// Tell people that a bundle on the disk was signed by somebody whose signature counts no more, and what comes of it.
    Revoked {
        /// The bundle.
        bundle: Digest,
        /// What happened.
        reason: String,
    },
    /// Tell people that a generation was given up after it was committed.
    Alarm {
        /// The bundle.
        bundle: Digest,
        /// What happened.
        reason: String,
    },
}
