//! What the API says and takes, as JSON. Fields are added, never renamed. Times are milliseconds since 1970 UTC; boot ids,
//! which need all 64 bits, are text.

use crate::access::Role;
use crate::audit::Entry;
use crate::fleet::Summary;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Why a request failed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// For people.
    pub(crate) error: String,
}

/// A trust root.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RootView {
    pub(crate) version: u64,
    /// Of its signed bytes.
    pub(crate) digest: String,
    pub(crate) expires_ms: u64,
    /// Who signs roots.
    pub(crate) root: RoleView,
    /// Who signs bundles.
    pub(crate) release: RoleView,
    /// Who signs assignments: the hub.
    pub(crate) assignment: RoleView,
    /// Devices that said in their last hello that this is theirs.
    pub(crate) devices: u64,
}

/// The keys of a role.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RoleView {
    pub(crate) threshold: u32,
    pub(crate) key_ids: Vec<String>,
}

/// A bundle as a device names it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BundleIdView {
    /// The digest of the manifest's signed bytes.
    pub(crate) digest: String,
    pub(crate) name: String,
    pub(crate) version: String,
}

/// A generation that a device has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunningView {
    /// The device's own number for it.
    pub(crate) generation: u64,
    pub(crate) bundle: BundleIdView,
}

/// What a device said of itself in its last hello.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HelloView {
    pub(crate) boot_id: String,
    pub(crate) count: u64,
    pub(crate) time_ms: u64,
    /// The agent's version.
    pub(crate) agent: String,
    /// The hardware class.
    pub(crate) hardware: String,
    pub(crate) platform: String,
    /// The highest assignment it has taken.
    pub(crate) seq: u64,
    /// The highest command it has taken.
    pub(crate) command_id: u64,
    pub(crate) root_version: u64,
    /// The lowest release it takes.
    pub(crate) floor: u64,
    /// `run` or `paused`.
    pub(crate) mode: String,
    pub(crate) sampling_ppm: u32,
    /// What serves.
    pub(crate) active: Option<RunningView>,
    /// What it can go back to.
    pub(crate) previous: Option<RunningView>,
    /// What is being deployed.
    pub(crate) candidate: Option<RunningView>,
    /// `idle`, `fetching`, `verified`, `staged` or `trial`.
    #[schema(value_type = String)]
    pub(crate) deployment: Value,
}

/// The last metrics of a device.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MetricsView {
    /// The device's clock.
    pub(crate) time_ms: u64,
    pub(crate) window_ms: u64,
    pub(crate) samples_per_s: f64,
    pub(crate) samples: u64,
    pub(crate) results: u64,
    pub(crate) failures: u64,
    pub(crate) latency_p50_us: u64,
    pub(crate) latency_p99_us: u64,
    /// `STAGE/NAME` -> value; names for `/api/v1/series`.
    pub(crate) gauges: BTreeMap<String, f64>,
    pub(crate) counters: BTreeMap<String, u64>,
}

/// A device.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeviceView {
    pub(crate) id: String,
    /// 32 bytes in hexadecimal.
    pub(crate) public_key: String,
    pub(crate) registered_ms: u64,
    pub(crate) online: bool,
    /// 0 when it never was.
    pub(crate) last_seen_ms: u64,
    /// The highest assignment that was issued, or that the device reported.
    pub(crate) seq: u64,
    /// Null before the first.
    pub(crate) hello: Option<HelloView>,
    /// Null before the first.
    pub(crate) metrics: Option<MetricsView>,
    /// The newest assignment; null before the first.
    pub(crate) assignment: Option<AssignmentView>,
    /// Totals over all telemetry.
    pub(crate) totals: TotalsView,
    /// `new`, `known` (by this very key) or `replaced` (its key), in the answer to a registration; left out elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registration: Option<String>,
}

/// An enrolment token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrolmentTokenBody {
    /// The device that it is for, or several: `*` stands for any characters.
    pub(crate) devices: String,
    /// The hardware class that the device has to say it is of; any where left out.
    #[serde(default)]
    pub(crate) hardware: Option<String>,
    /// Whether a device that is known by another key gets the new one; for a single device only.
    #[serde(default)]
    pub(crate) replace: bool,
    /// How long it is good for; a day where left out.
    #[serde(default)]
    pub(crate) valid_s: Option<u64>,
}

/// An enrolment token.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnrolmentTokenView {
    pub(crate) id: String,
    /// The secret line that is carried to the device; in the answer that makes it, and left out elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    pub(crate) devices: String,
    pub(crate) hardware: Option<String>,
    pub(crate) replace: bool,
    pub(crate) created_ms: u64,
    pub(crate) expires_ms: u64,
    /// 0 before it was used.
    pub(crate) used_ms: u64,
    /// The device that has used it.
    pub(crate) used_by: Option<String>,
}

/// A device's enrolment request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrolmentBody {
    /// The signed request, base64; `docs/protocol.md` has what is in it.
    pub(crate) request: String,
}

/// What a device gets when it is let in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Enrolled {
    /// The roots before `root`, base64, the oldest first. A device that has one of them goes on from it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) earlier_roots: Vec<String>,
    /// The fleet's trust root, base64. The device knows its digest, or that of another one here, from the token.
    pub(crate) root: String,
    /// The roots that follow it, base64, in order. The last one says whose signature is on the certificate's document.
    pub(crate) next_roots: Vec<String>,
    /// The certificate in a document that the hub has signed, base64.
    pub(crate) certificate: String,
}

/// Totals over all telemetry of a device, or of all.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TotalsView {
    pub(crate) samples: u64,
    pub(crate) results: u64,
    pub(crate) failures: u64,
    /// Telemetry records that were stored.
    pub(crate) records: u64,
    /// Records that came again.
    pub(crate) duplicates: u64,
    /// Records that devices dropped for want of room, and declared.
    pub(crate) lost: u64,
}

/// A device with its history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeviceDetail {
    pub(crate) device: DeviceView,
    /// The newest first.
    pub(crate) assignments: Vec<AssignmentView>,
    /// The newest first.
    pub(crate) commands: Vec<CommandView>,
}

/// A device's key, to register it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    /// Ed25519, `-----BEGIN PUBLIC KEY-----`.
    pub(crate) public_key_pem: String,
    /// Whether it takes the place of another key that the device is known by. Left out: it doesn't.
    #[serde(default)]
    pub(crate) replace: bool,
}

/// An assignment and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AssignmentView {
    pub(crate) device: String,
    pub(crate) seq: u64,
    pub(crate) job: String,
    /// Null: what ran already.
    pub(crate) bundle: Option<String>,
    /// `run` or `paused`.
    pub(crate) mode: String,
    pub(crate) sampling_ppm: u64,
    pub(crate) issued_ms: u64,
    pub(crate) expires_ms: u64,
    /// `QUEUED`, `IN_PROGRESS`, `SUCCEEDED`, `FAILED`, `TIMED_OUT`, `REJECTED`, `REMOVED` or `CANCELED`.
    pub(crate) status: String,
    /// `assigned`, `fetching`, `verified`, `staged`, `trial`, `committed` or `rolled-back`; empty before the first report.
    pub(crate) step: String,
    /// Empty where there is nothing to explain.
    pub(crate) reason: String,
    pub(crate) updated_ms: u64,
}

/// A command and its outcome.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CommandView {
    pub(crate) id: u64,
    /// `"report-now"` or `{"fetch-logs": {"lines": n}}`.
    pub(crate) action: Value,
    pub(crate) issued_ms: u64,
    pub(crate) expires_ms: u64,
    /// As in an answer; null before it.
    pub(crate) outcome: Option<Value>,
}

/// What a device answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AnswerView {
    /// `assign` or `cmd`.
    pub(crate) kind: String,
    /// The assignment's seq, or the command's id.
    pub(crate) number: u64,
    pub(crate) boot_id: String,
    pub(crate) time_ms: u64,
    pub(crate) received_ms: u64,
    /// `"accepted"`, `{"done": {"body": text}}` or `{"rejected": {"reason": text}}`.
    pub(crate) outcome: Value,
}

/// A bundle.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BundleView {
    pub(crate) digest: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) release_counter: u64,
    /// Bytes of all components.
    pub(crate) total_bytes: u64,
    pub(crate) ingested_ms: u64,
    /// `floor`, `hardware`, `min_agent`, `components`, `stages`, `golden_cases`, `trial_samples`, `lineage`.
    #[schema(value_type = Object)]
    pub(crate) details: Summary,
}

/// What to deploy and where. Either `devices` or `all`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deployment {
    /// A digest, at least 6 digits that only one bundle begins with, or `NAME@VERSION`.
    pub(crate) bundle: String,
    /// These devices.
    #[serde(default)]
    pub(crate) devices: Vec<String>,
    /// All devices that can run it.
    #[serde(default)]
    pub(crate) all: bool,
}

/// Which bundle to go back to.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollback {
    /// As in a deployment. Left out: the one that the device reported as its previous one.
    #[serde(default)]
    pub(crate) bundle: Option<String>,
}

/// How many predictions to report.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sampling {
    /// Parts per million, 0 to 1000000.
    pub(crate) ppm: u32,
}

/// How many lines of the log to fetch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FetchLogs {
    /// 1 to 10000. A device keeps the last 2,000 lines, and answers with those of them that fit into 192 KiB.
    pub(crate) lines: u32,
}

/// A job that was issued for several devices.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Issued {
    pub(crate) job: String,
    /// The bundle's whole digest.
    pub(crate) bundle: String,
    pub(crate) assignments: Vec<IssuedAssignment>,
    /// Devices that were left out of `all`, and why.
    pub(crate) skipped: Vec<SkippedView>,
}

/// One device of a job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IssuedAssignment {
    pub(crate) device: String,
    pub(crate) seq: u64,
}

/// A device that was left out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SkippedView {
    pub(crate) device: String,
    pub(crate) reason: String,
}

/// A job that was issued for one device.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IssuedOne {
    pub(crate) job: String,
    /// The bundle's whole digest; left out where the order names none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) bundle: String,
    pub(crate) seq: u64,
}

/// A command that was issued.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IssuedCommand {
    pub(crate) id: u64,
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobView {
    pub(crate) id: String,
    /// `deploy`, `rollback`, `pause`, `resume` or `set-sampling`.
    pub(crate) kind: String,
    /// Null where none was named.
    pub(crate) bundle: Option<BundleIdView>,
    pub(crate) created_ms: u64,
    pub(crate) created_by: String,
    /// By device.
    pub(crate) assignments: Vec<AssignmentView>,
}

/// A telemetry record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordView {
    /// Rises in the order of arrival; for `after`.
    pub(crate) id: u64,
    pub(crate) device: String,
    pub(crate) boot_id: String,
    pub(crate) seq: u64,
    /// The device's clock.
    pub(crate) time_ms: u64,
    pub(crate) received_ms: u64,
    /// `job`, `finding`, `metrics`, `event`, `prediction` or `explanation`.
    pub(crate) kind: String,
    /// True when the device had held it back.
    pub(crate) historical: bool,
    /// As `docs/protocol.md` has it. A number that is not finite is null.
    pub(crate) body: Value,
}

/// Records in the order of their arrival.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordPage {
    pub(crate) records: Vec<RecordView>,
    /// What to give as `after` to get those behind them.
    pub(crate) next: u64,
}

/// Records that a device dropped and declared.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GapView {
    pub(crate) device: String,
    pub(crate) boot_id: String,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// How many between these are gone.
    pub(crate) lost: u64,
    pub(crate) received_ms: u64,
}

/// A gauge at a time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PointView {
    /// The device's clock.
    pub(crate) time_ms: u64,
    pub(crate) value: f64,
}

/// The hub and all its devices in numbers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Stats {
    pub(crate) fleet: String,
    /// The hub's version.
    pub(crate) version: String,
    pub(crate) now_ms: u64,
    /// Whether the broker is connected.
    pub(crate) broker_connected: bool,
    pub(crate) devices: u64,
    pub(crate) online: u64,
    pub(crate) totals: TotalsView,
    /// Counts since the hub's start, as in `/metrics`.
    pub(crate) counters: BTreeMap<String, u64>,
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// 1 to 64 of A-Z a-z 0-9 . _ - @, as the audit log shall have it.
    pub(crate) name: String,
    /// One or more of `viewer`, `operator`, `releaser`, `admin`.
    pub(crate) roles: Vec<Role>,
    /// For how long it holds; 0 for good, 365 when left out.
    #[serde(default)]
    pub(crate) expires_days: Option<u64>,
}

/// A token, without itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenView {
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
    /// `valid`, `expired` or `revoked`.
    pub(crate) state: String,
    pub(crate) created_ms: u64,
    /// Who made it.
    pub(crate) created_by: String,
    /// Null: it doesn't expire.
    pub(crate) expires_ms: Option<u64>,
    /// Null: it wasn't revoked.
    pub(crate) revoked_ms: Option<u64>,
    /// To the minute; null: it was never used.
    pub(crate) last_used_ms: Option<u64>,
    /// The token itself, in the answer to its making; left out elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
}

/// Entries of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditPage {
    pub(crate) entries: Vec<Entry>,
    /// What to give as `after` to get those behind them.
    pub(crate) next: u64,
}

/// How far the audit log goes, signed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckpointView {
    /// The last entry's number; 0 before the first.
    pub(crate) seq: u64,
    /// The last entry's hash.
    pub(crate) hash: String,
    pub(crate) time_ms: u64,
    /// The signed bytes (COSE), hexadecimal.
    pub(crate) envelope: String,
}
