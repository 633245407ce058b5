//! Telemetry records: what a device reports about its work.

use floorhand_bundle::{BundleName, Digest, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A bundle, by digest and by the names that people use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleId {
    /// The digest of the manifest's signed bytes.
    pub digest: Digest,
    /// Its name.
    pub name: BundleName,
    /// Its version.
    pub version: Version,
}

/// What is kept longest when a device has no room left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Sampled predictions.
    Low,
    /// Metrics, explanations.
    Normal,
    /// Deployment steps, findings, events.
    High,
}

/// One record. `(device, boot_id, seq)` names it for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Counts the records of a boot upwards.
    pub seq: u64,
    /// The device's clock, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// What it says.
    pub body: RecordBody,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordBody {
    /// A step of a deployment.
    Job(JobReport),
    /// Something a monitor found.
    Finding(Finding),
    /// Counts, latencies and gauges of a stretch of time.
    Metrics(Metrics),
    /// Something that happened to the agent.
    Event(Event),
    /// A sampled prediction.
    Prediction(Prediction),
    /// Why the model gave what it gave, of a sample that a monitor found something in.
    Explanation(Explanation),
}

impl RecordBody {
    /// What the record is worth when there is no room.
    #[must_use]
    pub fn priority(&self) -> Priority {
        match self {
            Self::Job(_) | Self::Finding(_) | Self::Event(_) => Priority::High,
            Self::Metrics(_) | Self::Explanation(_) => Priority::Normal,
            Self::Prediction(_) => Priority::Low,
        }
    }
}

/// The state of a deployment on one device, in the vocabulary of AWS IoT Jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// Assigned, and not taken yet.
    Queued,
    /// Taken.
    InProgress,
    /// Committed.
    Succeeded,
    /// Given up; the generation before goes on.
    Failed,
    /// Given up because of its deadline.
    TimedOut,
    /// Refused before anything was fetched.
    Rejected,
    /// The device is gone.
    Removed,
    /// Replaced by a newer assignment before it was over.
    Canceled,
}

impl JobStatus {
    /// Whether nothing more will come.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::InProgress)
    }

    /// The status as it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::InProgress => "IN_PROGRESS",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Rejected => "REJECTED",
            Self::Removed => "REMOVED",
            Self::Canceled => "CANCELED",
        }
    }
}

/// Where a deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The assignment was verified.
    Assigned,
    /// The manifest and its components are being fetched.
    Fetching,
    /// All digests and signatures are right.
    Verified,
    /// Loaded, warmed up, golden cases passed.
    Staged,
    /// Serving beside the running generation.
    Trial,
    /// Serving for good.
    Committed,
    /// The generation before serves again, or still.
    RolledBack,
}

impl Step {
    /// The step as it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Fetching => "fetching",
            Self::Verified => "verified",
            Self::Staged => "staged",
            Self::Trial => "trial",
            Self::Committed => "committed",
            Self::RolledBack => "rolled-back",
        }
    }
}

/// A step of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// The job of the assignment.
    pub job: String,
    /// The assignment's sequence number.
    pub seq: u64,
    /// The bundle, by its manifest's digest.
    pub bundle: Digest,
    /// Name and version, once the manifest is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<BundleId>,
    /// Its state.
    pub status: JobStatus,
    /// The step it is at, or failed at.
    pub step: Step,
    /// Why it failed, for people. Empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// For the record.
    Info,
    /// Somebody should look.
    Warning,
    /// Something doesn't work, or results can't be relied on.
    Alarm,
}

impl Severity {
    /// The severity as it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Alarm => "alarm",
        }
    }
}

/// Whether a finding lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It is of one sample alone.
    Once,
    /// It begins, and lasts until one of the same kind, stage and subject is cleared.
    Raised,
    /// What was raised is over.
    Cleared,
}

/// Something a monitor found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The bundle that served.
    pub bundle: Digest,
    /// True when a candidate's monitor found it, in a trial.
    pub candidate: bool,
    /// The monitor's stage.
    pub stage: String,
    /// What kind of thing, in kebab-case.
    pub kind: String,
    /// How bad.
    pub severity: Severity,
    /// Whether it lasts: `once`, `raised` or `cleared`. Older agents don't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// What it is about, e.g. a feature.
    pub subject: String,
    /// The statistic; NaN if there is none.
    pub value: f64,
    /// The limit it was held against; NaN if there is none.
    pub threshold: f64,
    /// The sample that brought it about.
    pub sample: u64,
    /// For people.
    pub message: String,
    /// Further facts, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// Counts, latencies and gauges of a stretch of time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Metrics {
    /// The bundle that served, if any did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Digest>,
    /// The length of the stretch in milliseconds.
    pub window_ms: u64,
    /// Samples that came in.
    pub samples: u64,
    /// Results that went out.
    pub results: u64,
    /// Samples that failed.
    pub failures: u64,
    /// The median of a sample's way through the pipeline, in microseconds.
    pub latency_p50_us: u64,
    /// Its 99th percentile, in microseconds.
    pub latency_p99_us: u64,
    /// `STAGE/NAME` -> the last value of a plugin's gauge.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gauges: BTreeMap<String, f64>,
    /// `STAGE/NAME` -> what a plugin's counter rose by; also the agent's own counters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
}

/// Something that happened to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What kind of thing, in kebab-case, e.g. `plugin-fault`, `source-error`.
    pub kind: String,
    /// How bad.
    pub severity: Severity,
    /// What it is about: a stage, a file, a topic.
    pub subject: String,
    /// For people.
    pub message: String,
}

/// A sampled prediction, traceable to everything it was made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The bundle, whose manifest names model, plugins and configuration by digest.
    pub bundle: Digest,
    /// The sample's number in its pipeline.
    pub sample: u64,
    /// The sample's own id, where its source gave one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The sample's own time, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// The outputs by name, flattened; of those that are numbers.
    pub outputs: BTreeMap<String, Vec<f64>>,
}

/// Features that an explanation in a record lists at most: with names of [`MAX_FEATURE_BYTES`] it is far below a record's limit.
pub const MAX_EXPLAINED_FEATURES: usize = 32;
/// Bytes of a feature's name or text in a record.
pub const MAX_FEATURE_BYTES: usize = 128;

/// Why the model gave what it gave for a sample. `base`, all contributions and `others` add up to `prediction`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The bundle, whose manifest says how it is explained.
    pub bundle: Digest,
    /// The sample's number in its pipeline, which the finding has, too.
    pub sample: u64,
    /// The sample's own id, where its source gave one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The sample's own time, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Which finding it is for: `STAGE/KIND`.
    pub finding: String,
    /// How it was found: `kernel-shap` or `occlusion`.
    pub method: String,
    /// The model's output that is explained.
    pub output: String,
    /// Which of its elements; absent where its reconstruction error is explained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<u64>,
    /// What the output is for the background.
    pub base: f64,
    /// What it is for the sample.
    pub prediction: f64,
    /// The largest contributions, the largest first, at most [`MAX_EXPLAINED_FEATURES`].
    pub features: Vec<FeatureContribution>,
    /// What is left: of features that aren't listed, and of occlusion what features do only together.
    pub others: f64,
    /// Coalitions that were evaluated.
    pub evaluations: u64,
    /// Whether contributions are the Shapley values, up to rounding.
    pub exact: bool,
    /// False when time was up before all was evaluated.
    pub complete: bool,
}

/// What a feature adds to an output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureContribution {
    /// The feature, or the group of features.
    pub feature: String,
    /// Its value, as text; empty for a group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// What it adds, in the output's unit.
    pub contribution: f64,
}

/// Records that a device dropped because it had no room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The boot whose records they were.
    pub boot_id: u64,
    /// The first sequence number that is gone.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// How many between these are gone.
    pub count: u64,
}
