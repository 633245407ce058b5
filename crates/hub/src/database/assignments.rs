//! Assignments and the jobs they belong to. Nothing is ever removed here: the history of a device stays readable.

use super::{Database, DatabaseError, During as _, Writing, signed, storable, unsigned};
use crate::audit::Note;
use crate::rules;
use floorhand_bundle::DeviceId;
use floorhand_protocol::{JobReport, JobStatus};

/// More jobs than anybody pages through; bounds the list.
const MAX_JOBS: i64 = 500;

/// An assignment as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct AssignmentRow {
    pub(crate) device: String,
    pub(crate) seq: i64,
    pub(crate) job: String,
    /// Empty: what runs already.
    pub(crate) bundle: String,
    pub(crate) mode: String,
    pub(crate) sampling_ppm: i64,
    pub(crate) issued_ms: i64,
    pub(crate) expires_ms: i64,
    /// The signed bytes, hexadecimal.
    pub(crate) envelope: String,
    pub(crate) status: String,
    pub(crate) step: String,
    pub(crate) reason: String,
    /// 0 when the hub gave status and step itself.
    pub(crate) report_ms: i64,
    pub(crate) updated_ms: i64,
}

impl AssignmentRow {
    /// The signed bytes.
    pub(crate) fn sealed(&self) -> Result<Vec<u8>, DatabaseError> {
        hex::decode(&self.envelope).map_err(|error| DatabaseError::Damaged {
            what: "an assignment",
            problem: error.to_string(),
        })
    }
}

/// A job as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct JobRow {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) bundle: String,
    pub(crate) created_ms: i64,
    pub(crate) created_by: String,
}

/// An assignment to be issued.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) device: DeviceId,
    /// Empty: what runs already.
    pub(crate) bundle: String,
    pub(crate) mode: &'static str,
    pub(crate) sampling_ppm: u32,
    pub(crate) issued_ms: u64,
    pub(crate) expires_ms: u64,
}

/// An assignment that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issued {
    pub(crate) device: DeviceId,
    pub(crate) seq: u64,
    /// The signed bytes.
    pub(crate) sealed: Vec<u8>,
}

impl Database {
    /// Stores a job with one assignment for each draft, all or none. `seal` signs the n-th draft under the sequence
    /// number it is given. Devices that were removed meanwhile are left out.
    pub(crate) async fn issue_job(
        &self,
        job: &JobRow,
        drafts: &[Draft],
        seal: impl Fn(usize, u64) -> Result<Vec<u8>, String> + Send + Sync,
    ) -> Result<Vec<Issued>, DatabaseError> {
        let operation = "issue a job";
        let mut writing = self.write(operation).await?;
        sqlx::query("INSERT INTO jobs (id, kind, bundle, created_ms, created_by) VALUES ($1, $2, $3, $4, $5)")
            .bind(&job.id)
            .bind(&job.kind)
            .bind(&job.bundle)
            .bind(job.created_ms)
            .bind(&job.created_by)
            .execute(&mut *writing.transaction)
            .await
            .during(operation)?;
        let mut issued = Vec::with_capacity(drafts.len());
        for (index, draft) in drafts.iter().enumerate() {
            let Some(seq) = writing.next_seq(draft.device.as_str()).await? else {
                continue;
            };
            let sealed = seal(index, unsigned(seq)).map_err(DatabaseError::Seal)?;
            writing.supersede(draft, seq).await?;
            writing.insert_assignment(&job.id, draft, seq, &sealed).await?;
            issued.push(Issued {
                device: draft.device.clone(),
                seq: unsigned(seq),
                sealed,
            });
        }
        let note = Note::new(&job.kind, &job.id)
            .with("bundle", job.bundle.as_str())
            .with("sampling_ppm", drafts.first().map_or(0, |draft| draft.sampling_ppm))
            .with_names("devices", issued.iter().map(|one| one.device.as_str()));
        writing.note(&note, unsigned(job.created_ms)).await?;
        writing.commit(operation).await?;
        Ok(issued)
    }

    /// One assignment.
    pub(crate) async fn assignment(&self, device: &str, seq: u64) -> Result<Option<AssignmentRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM assignments WHERE device = $1 AND seq = $2")
            .bind(device)
            .bind(signed(seq))
            .fetch_optional(&self.pool)
            .await
            .during("look up an assignment")
    }

    /// The newest assignment of a device.
    pub(crate) async fn latest_assignment(&self, device: &str) -> Result<Option<AssignmentRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM assignments WHERE device = $1 ORDER BY seq DESC LIMIT 1")
            .bind(device)
            .fetch_optional(&self.pool)
            .await
            .during("look up an assignment")
    }

    /// The newest assignment of every device, by device.
    pub(crate) async fn latest_assignments(&self) -> Result<Vec<AssignmentRow>, DatabaseError> {
        sqlx::query_as(
            "SELECT a.* FROM assignments a JOIN devices d ON d.id = a.device JOIN \
             (SELECT device, MAX(seq) AS seq FROM assignments GROUP BY device) m \
             ON m.device = a.device AND m.seq = a.seq ORDER BY a.device LIMIT $1",
        )
        .bind(super::devices::MAX_DEVICES)
        .fetch_all(&self.pool)
        .await
        .during("list the newest assignments")
    }

    /// The newest assignments of a device, the newest first.
    pub(crate) async fn assignments(&self, device: &str, limit: i64) -> Result<Vec<AssignmentRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM assignments WHERE device = $1 ORDER BY seq DESC LIMIT $2")
            .bind(device)
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .during("list assignments")
    }

    /// The assignments that devices have not finished, and that are the newest of their device.
    pub(crate) async fn open_assignments(&self) -> Result<Vec<AssignmentRow>, DatabaseError> {
        sqlx::query_as(
            "SELECT a.* FROM assignments a JOIN devices d ON d.id = a.device AND d.seq = a.seq \
             WHERE a.status IN ('QUEUED', 'IN_PROGRESS') ORDER BY a.device LIMIT $1",
        )
        .bind(super::devices::MAX_DEVICES)
        .fetch_all(&self.pool)
        .await
        .during("list open assignments")
    }

    /// A job.
    pub(crate) async fn job(&self, id: &str) -> Result<Option<JobRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM jobs WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .during("look up a job")
    }

    /// The newest jobs, the newest first.
    pub(crate) async fn jobs(&self, limit: i64) -> Result<Vec<JobRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM jobs ORDER BY created_ms DESC, id LIMIT $1")
            .bind(limit.clamp(1, MAX_JOBS))
            .fetch_all(&self.pool)
            .await
            .during("list jobs")
    }

    /// The assignments of a job by device. One that was replaced by another of the same bundle, as when somebody changes
    /// a setting in the middle of a rollout, stands where that one stands: the device goes on with the same deployment.
    pub(crate) async fn job_assignments(&self, job: &str) -> Result<Vec<AssignmentRow>, DatabaseError> {
        let mut rows = self.own_assignments(job).await?;
        for row in &mut rows {
            self.follow_replaced(row).await?;
        }
        Ok(rows)
    }

    async fn follow_replaced(&self, row: &mut AssignmentRow) -> Result<(), DatabaseError> {
        if row.bundle.is_empty() {
            return Ok(());
        }
        while let Some(later) = replaced_by(row) {
            let Some(later) = self.assignment(&row.device, later).await? else {
                break;
            };
            if later.bundle != row.bundle {
                break;
            }
            row.status = later.status;
            row.step = later.step;
            row.reason = later.reason;
            row.updated_ms = later.updated_ms;
        }
        Ok(())
    }

    async fn own_assignments(&self, job: &str) -> Result<Vec<AssignmentRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM assignments WHERE job = $1 ORDER BY device LIMIT $2")
            .bind(job)
            .bind(super::devices::MAX_DEVICES)
            .fetch_all(&self.pool)
            .await
            .during("list a job's assignments")
    }

    /// Notes what the device answered to an assignment, unless it is over.
    pub(crate) async fn settle_assignment(
        &self,
        device: &str,
        seq: u64,
        status: JobStatus,
        reason: &str,
        now_ms: u64,
    ) -> Result<(), DatabaseError> {
        let _turn = self.writer.lock().await;
        sqlx::query(
            "UPDATE assignments SET status = $3, reason = $4, updated_ms = $5 \
             WHERE device = $1 AND seq = $2 AND status IN ('QUEUED', 'IN_PROGRESS')",
        )
        .bind(device)
        .bind(signed(seq))
        .bind(status.name())
        .bind(storable(reason))
        .bind(signed(now_ms))
        .execute(&self.pool)
        .await
        .during("settle an assignment")
        .map(drop)
    }

    /// Ends assignments that no device took before they expired; their number.
    pub(crate) async fn expire_assignments(&self, now_ms: u64) -> Result<u64, DatabaseError> {
        let _turn = self.writer.lock().await;
        let expired = sqlx::query(
            "UPDATE assignments SET status = 'TIMED_OUT', reason = 'it expired before the device took it', \
             updated_ms = $1 WHERE status = 'QUEUED' AND expires_ms < $1",
        )
        .bind(signed(now_ms))
        .execute(&self.pool)
        .await
        .during("end expired assignments")?;
        Ok(expired.rows_affected())
    }
}

/// What the reason of a replaced assignment begins with; its successor's number follows.
const REPLACED: &str = "replaced by assignment ";

fn replaced_by(row: &AssignmentRow) -> Option<u64> {
    let by = row.reason.strip_prefix(REPLACED)?;
    (row.status == JobStatus::Canceled.name()).then(|| by.parse().ok())?
}

impl Writing<'_> {
    /// The next sequence number of a device; `None` when it isn't registered.
    async fn next_seq(&mut self, device: &str) -> Result<Option<i64>, DatabaseError> {
        sqlx::query_scalar("UPDATE devices SET seq = seq + 1 WHERE id = $1 RETURNING seq")
            .bind(device)
            .fetch_optional(&mut *self.transaction)
            .await
            .during("take a sequence number")
    }

    /// Ends what a new assignment replaces.
    async fn supersede(&mut self, draft: &Draft, seq: i64) -> Result<(), DatabaseError> {
        sqlx::query(
            "UPDATE assignments SET status = 'CANCELED', reason = $2, updated_ms = $3, report_ms = 0 \
             WHERE device = $1 AND status IN ('QUEUED', 'IN_PROGRESS')",
        )
        .bind(draft.device.as_str())
        .bind(format!("{REPLACED}{seq}"))
        .bind(signed(draft.issued_ms))
        .execute(&mut *self.transaction)
        .await
        .during("end replaced assignments")
        .map(drop)
    }

    async fn insert_assignment(
        &mut self,
        job: &str,
        draft: &Draft,
        seq: i64,
        sealed: &[u8],
    ) -> Result<(), DatabaseError> {
        sqlx::query(
            "INSERT INTO assignments (device, seq, job, bundle, mode, sampling_ppm, issued_ms, expires_ms, envelope, \
             status, step, reason, report_ms, updated_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'QUEUED', '', '', 0, $7)",
        )
        .bind(draft.device.as_str())
        .bind(seq)
        .bind(job)
        .bind(&draft.bundle)
        .bind(draft.mode)
        .bind(i64::from(draft.sampling_ppm))
        .bind(signed(draft.issued_ms))
        .bind(signed(draft.expires_ms))
        .bind(hex::encode(sealed))
        .execute(&mut *self.transaction)
        .await
        .during("store an assignment")
        .map(drop)
    }

    /// Applies a device's report to its assignment, if it says something newer than what is known.
    pub(super) async fn apply_report(
        &mut self,
        device: &str,
        report: &JobReport,
        time_ms: u64,
        now_ms: u64,
    ) -> Result<(), DatabaseError> {
        let operation = "apply a job report";
        let known: Option<(String, String, i64)> = sqlx::query_as(
            "SELECT status, step, report_ms FROM assignments WHERE device = $1 AND seq = $2 AND job = $3",
        )
        .bind(device)
        .bind(signed(report.seq))
        .bind(storable(&report.job))
        .fetch_optional(&mut *self.transaction)
        .await
        .during(operation)?;
        let Some((status, step, report_ms)) = known else {
            return Ok(());
        };
        let known = rules::Progress {
            status: &status,
            step: &step,
            report_ms: unsigned(report_ms),
        };
        if !rules::says_more(&known, report, time_ms) {
            return Ok(());
        }
        sqlx::query(
            "UPDATE assignments SET status = $3, step = $4, reason = $5, report_ms = $6, updated_ms = $7 \
             WHERE device = $1 AND seq = $2",
        )
        .bind(device)
        .bind(signed(report.seq))
        .bind(report.status.name())
        .bind(report.step.name())
        .bind(storable(&report.reason))
        .bind(signed(time_ms))
        .bind(signed(now_ms))
        .execute(&mut *self.transaction)
        .await
        .during(operation)
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::database;

    fn job(id: &str, created_ms: i64) -> JobRow {
        JobRow {
            id: id.to_owned(),
            kind: "deploy".to_owned(),
            bundle: "ab".to_owned(),
            created_ms,
            created_by: "api".to_owned(),
        }
    }

    fn draft(device: &str, issued_ms: u64) -> Draft {
        Draft {
            device: device.parse().unwrap(),
            bundle: "ab".to_owned(),
            mode: "run",
            sampling_ppm: 0,
            issued_ms,
            expires_ms: issued_ms + 100,
        }
    }

    #[tokio::test]
    async fn a_job_numbers_its_assignments_and_ends_older_ones() {
        let (_dir, database) = database().await;
        for (device, key) in [("a", "aa"), ("b", "bb")] {
            database
                .register(&device.parse().unwrap(), key, false, 1)
                .await
                .unwrap();
        }
        let drafts = [draft("a", 10), draft("gone", 10), draft("b", 10)];
        let issued = database
            .issue_job(&job("j1", 10), &drafts, |at, seq| Ok(vec![at as u8, seq as u8]))
            .await
            .unwrap();
        let brief: Vec<_> = issued
            .iter()
            .map(|one| (one.device.as_str(), one.seq, one.sealed.clone()))
            .collect();
        assert_eq!(brief, [("a", 1, vec![0, 1]), ("b", 1, vec![2, 1])]);
        database
            .issue_job(&job("j2", 20), &[draft("a", 20)], |_, _| Ok(vec![9]))
            .await
            .unwrap();
        let old = database.assignment("a", 1).await.unwrap().unwrap();
        assert_eq!(
            (old.status.as_str(), old.reason.as_str()),
            ("CANCELED", "replaced by assignment 2")
        );
        let latest = database.latest_assignment("a").await.unwrap().unwrap();
        assert_eq!((latest.seq, latest.sealed().unwrap()), (2, vec![9]));
        assert_eq!(database.open_assignments().await.unwrap().len(), 2);
        let latest: Vec<_> = database
            .latest_assignments()
            .await
            .unwrap()
            .into_iter()
            .map(|row| row.seq)
            .collect();
        assert_eq!(latest, [2, 1]);
        assert_eq!(database.jobs(10).await.unwrap()[0].id, "j2");
        let failed = database
            .issue_job(&job("j3", 30), &[draft("a", 30)], |_, _| Err("no key".to_owned()))
            .await;
        assert!(failed.is_err());
        assert_eq!(database.job("j3").await.unwrap(), None, "all or nothing");
        assert_eq!(database.latest_assignment("a").await.unwrap().unwrap().seq, 2);
    }

    #[tokio::test]
    async fn what_nobody_took_expires() {
        let (_dir, database) = database().await;
        database.register(&"a".parse().unwrap(), "aa", false, 1).await.unwrap();
        database
            .issue_job(&job("j1", 10), &[draft("a", 10)], |_, _| Ok(vec![]))
            .await
            .unwrap();
        assert_eq!(database.expire_assignments(110).await.unwrap(), 0);
        assert_eq!(database.expire_assignments(111).await.unwrap(), 1);
        database
            .settle_assignment("a", 1, JobStatus::Succeeded, "", 120)
            .await
            .unwrap();
        assert_eq!(
            database.latest_assignment("a").await.unwrap().unwrap().status,
            "TIMED_OUT",
            "over is over"
        );
    }
}
