//! From what the database and the protocol have to what the API says.

use super::models::{
    AnswerView, AssignmentView, BundleIdView, BundleView, CommandView, DeviceView, GapView, HelloView, Issued,
    IssuedAssignment, JobView, MetricsView, PointView, RecordView, RunningView, SkippedView, TokenView, TotalsView,
};
use crate::database::{
    AnswerRow, AssignmentRow, BundleRow, CommandRow, DeviceRow, GapRow, JobRow, Point, RecordRow, TokenRow, unsigned,
};
use crate::fleet::{HubError, JobIssued, mode_name};
use floorhand_protocol::{BundleId, Hello, Metrics, Running};
use serde_json::Value;

impl TokenView {
    /// A token as it stands now.
    pub(crate) fn of(row: TokenRow, now_ms: u64) -> Self {
        let state = match (row.revoked_ms > 0, row.holds(now_ms)) {
            (true, _) => "revoked",
            (false, true) => "valid",
            (false, false) => "expired",
        };
        let given = |time_ms: i64| (time_ms > 0).then(|| unsigned(time_ms));
        Self {
            state: state.to_owned(),
            roles: row.roles.split(',').map(str::to_owned).collect(),
            created_ms: unsigned(row.created_ms),
            created_by: row.created_by,
            expires_ms: given(row.expires_ms),
            revoked_ms: given(row.revoked_ms),
            last_used_ms: given(row.last_used_ms),
            name: row.name,
            token: None,
        }
    }
}

impl From<&BundleId> for BundleIdView {
    fn from(id: &BundleId) -> Self {
        Self {
            digest: id.digest.to_string(),
            name: id.name.to_string(),
            version: id.version.to_string(),
        }
    }
}

impl From<&Running> for RunningView {
    fn from(running: &Running) -> Self {
        Self {
            generation: running.generation,
            bundle: (&running.bundle).into(),
        }
    }
}

impl From<&Hello> for HelloView {
    fn from(hello: &Hello) -> Self {
        Self {
            boot_id: hello.boot_id.to_string(),
            count: hello.count,
            time_ms: hello.time_ms,
            agent: hello.agent.clone(),
            hardware: hello.hardware.to_string(),
            platform: hello.platform.clone(),
            seq: hello.seq,
            command_id: hello.command_id,
            root_version: hello.root_version,
            floor: hello.floor,
            mode: mode_name(hello.mode).to_owned(),
            sampling_ppm: hello.parameters.sampling_ppm,
            active: hello.active.as_ref().map(Into::into),
            previous: hello.previous.as_ref().map(Into::into),
            candidate: hello.candidate.as_ref().map(Into::into),
            deployment: serde_json::to_value(hello.deployment).unwrap_or_default(),
        }
    }
}

impl MetricsView {
    fn of(metrics: Metrics, time_ms: u64) -> Self {
        Self {
            time_ms,
            window_ms: metrics.window_ms,
            samples_per_s: per_second(metrics.samples, metrics.window_ms),
            samples: metrics.samples,
            results: metrics.results,
            failures: metrics.failures,
            latency_p50_us: metrics.latency_p50_us,
            latency_p99_us: metrics.latency_p99_us,
            gauges: metrics.gauges,
            counters: metrics.counters,
        }
    }
}

fn per_second(count: u64, window_ms: u64) -> f64 {
    if window_ms == 0 {
        0.0
    } else {
        count as f64 * 1000.0 / window_ms as f64
    }
}

impl DeviceView {
    pub(crate) fn of(row: DeviceRow, assignment: Option<AssignmentRow>) -> Result<Self, HubError> {
        let hello = row.hello()?;
        let metrics = row
            .metrics()
            .map(|metrics| MetricsView::of(metrics, unsigned(row.metrics_ms)));
        Ok(Self {
            hello: hello.as_ref().map(Into::into),
            metrics,
            assignment: assignment.map(Into::into),
            totals: TotalsView {
                samples: unsigned(row.samples),
                results: unsigned(row.results),
                failures: unsigned(row.failures),
                records: unsigned(row.records),
                duplicates: unsigned(row.duplicates),
                lost: unsigned(row.lost),
            },
            id: row.id,
            public_key: row.public_key,
            registered_ms: unsigned(row.registered_ms),
            online: row.online != 0,
            last_seen_ms: unsigned(row.last_seen_ms),
            seq: unsigned(row.seq),
            registration: None,
        })
    }
}

impl From<AssignmentRow> for AssignmentView {
    fn from(row: AssignmentRow) -> Self {
        Self {
            device: row.device,
            seq: unsigned(row.seq),
            job: row.job,
            bundle: Some(row.bundle).filter(|bundle| !bundle.is_empty()),
            mode: row.mode,
            sampling_ppm: unsigned(row.sampling_ppm),
            issued_ms: unsigned(row.issued_ms),
            expires_ms: unsigned(row.expires_ms),
            status: row.status,
            step: row.step,
            reason: row.reason,
            updated_ms: unsigned(row.updated_ms),
        }
    }
}

impl From<CommandRow> for CommandView {
    fn from(row: CommandRow) -> Self {
        Self {
            id: unsigned(row.id),
            action: json(&row.action),
            issued_ms: unsigned(row.issued_ms),
            expires_ms: unsigned(row.expires_ms),
            outcome: Some(row.outcome)
                .filter(|outcome| !outcome.is_empty())
                .map(|outcome| json(&outcome)),
        }
    }
}

impl From<AnswerRow> for AnswerView {
    fn from(row: AnswerRow) -> Self {
        Self {
            kind: row.kind,
            number: unsigned(row.number),
            boot_id: row.boot_id,
            time_ms: unsigned(row.time_ms),
            received_ms: unsigned(row.received_ms),
            outcome: json(&row.outcome),
        }
    }
}

impl BundleView {
    pub(crate) fn of(row: BundleRow) -> Result<Self, HubError> {
        let details = serde_json::from_str(&row.summary)
            .map_err(|error| HubError::Internal(format!("summary of bundle {}: {error}", row.digest)))?;
        Ok(Self {
            digest: row.digest,
            name: row.name,
            version: row.version,
            release_counter: unsigned(row.release_counter),
            total_bytes: unsigned(row.total_bytes),
            ingested_ms: unsigned(row.ingested_ms),
            details,
        })
    }
}

impl From<JobIssued> for Issued {
    fn from(issued: JobIssued) -> Self {
        let assignments = issued
            .assignments
            .into_iter()
            .map(|(device, seq)| IssuedAssignment { device, seq });
        let skipped = issued.skipped.into_iter().map(|one| SkippedView {
            device: one.device,
            reason: one.reason,
        });
        Self {
            job: issued.job,
            bundle: issued.bundle,
            assignments: assignments.collect(),
            skipped: skipped.collect(),
        }
    }
}

impl JobView {
    pub(crate) fn of(row: JobRow, bundle: Option<BundleRow>, assignments: Vec<AssignmentRow>) -> Self {
        let bundle = bundle.map(|row| BundleIdView {
            digest: row.digest,
            name: row.name,
            version: row.version,
        });
        Self {
            id: row.id,
            kind: row.kind,
            bundle,
            created_ms: unsigned(row.created_ms),
            created_by: row.created_by,
            assignments: assignments.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<RecordRow> for RecordView {
    fn from(row: RecordRow) -> Self {
        Self {
            id: unsigned(row.id),
            device: row.device,
            boot_id: row.boot_id,
            seq: unsigned(row.seq),
            time_ms: unsigned(row.time_ms),
            received_ms: unsigned(row.received_ms),
            kind: row.kind,
            historical: row.historical != 0,
            body: json(&row.body),
        }
    }
}

impl From<GapRow> for GapView {
    fn from(row: GapRow) -> Self {
        Self {
            device: row.device,
            boot_id: row.boot_id,
            first: unsigned(row.first_seq),
            last: unsigned(row.last_seq),
            lost: unsigned(row.lost),
            received_ms: unsigned(row.received_ms),
        }
    }
}

impl From<Point> for PointView {
    fn from(point: Point) -> Self {
        Self {
            time_ms: unsigned(point.time_ms),
            value: point.value,
        }
    }
}

/// JSON that this hub wrote; null where somebody else did.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}
