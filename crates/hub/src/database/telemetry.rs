//! Telemetry in: a batch becomes rows in one transaction, each record once however often it comes.

use super::{Database, DatabaseError, During as _, Writing, damaged, signed, storable};
use floorhand_protocol::{Gap, Metrics, Record, RecordBody};

/// The most that one batch adds to a total, so that a device that reports nonsense can't make the sum overflow, which
/// PostgreSQL answers with an error: 2^40, above what a device does in a batch's time.
const MAX_STEP: i64 = 1 << 40;

/// A batch whose signature was checked.
#[derive(Debug)]
pub(crate) struct Telemetry<'a> {
    pub(crate) device: &'a str,
    pub(crate) boot_id: u64,
    pub(crate) historical: bool,
    pub(crate) records: &'a [Record],
    pub(crate) gaps: &'a [Gap],
}

/// What came of storing a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stored {
    pub(crate) new: u64,
    pub(crate) duplicates: u64,
}

/// A record taken apart for its row.
#[derive(Debug)]
struct NewRecord {
    kind: &'static str,
    body: String,
}

impl Database {
    /// Stores a batch in one transaction, each record once however often it comes. When this returns, all of it is
    /// durable and may be acknowledged.
    pub(crate) async fn store_telemetry(
        &self,
        telemetry: &Telemetry<'_>,
        now_ms: u64,
    ) -> Result<Stored, DatabaseError> {
        let operation = "store telemetry";
        let mut stored = Stored::default();
        let mut totals = Metrics::default();
        let mut new = Vec::new();
        let mut writing = self.write(operation).await?;
        writing.hold_device(telemetry.device, now_ms).await?;
        for record in telemetry.records {
            let id = self.next_record_id(now_ms);
            if !writing.insert_record(telemetry, record, id, now_ms).await? {
                stored.duplicates += 1;
                continue;
            }
            stored.new += 1;
            new.push(signed(record.seq));
            match &record.body {
                RecordBody::Job(report) => {
                    writing
                        .apply_report(telemetry.device, report, record.time_ms, now_ms)
                        .await?;
                }
                RecordBody::Metrics(metrics) => {
                    writing
                        .store_metrics(telemetry.device, record.time_ms, metrics, now_ms)
                        .await?;
                    totals.samples = totals.samples.saturating_add(metrics.samples);
                    totals.results = totals.results.saturating_add(metrics.results);
                    totals.failures = totals.failures.saturating_add(metrics.failures);
                }
                RecordBody::Finding(_)
                | RecordBody::Event(_)
                | RecordBody::Prediction(_)
                | RecordBody::Explanation(_) => {}
            }
        }
        let (device, boot_id) = (telemetry.device, telemetry.boot_id);
        let found = writing.settle_gaps(device, boot_id, new).await?;
        let lost = writing.insert_gaps(device, telemetry.gaps, now_ms).await?;
        let lost = lost.saturating_sub(found);
        writing.add_totals(device, &totals, stored, lost).await?;
        writing.commit(operation).await?;
        Ok(stored)
    }
}

impl NewRecord {
    fn of(record: &Record) -> Result<Self, DatabaseError> {
        let (kind, body) = match &record.body {
            RecordBody::Job(body) => ("job", serde_json::to_string(body)),
            RecordBody::Finding(body) => ("finding", serde_json::to_string(body)),
            RecordBody::Metrics(body) => ("metrics", serde_json::to_string(body)),
            RecordBody::Event(body) => ("event", serde_json::to_string(body)),
            RecordBody::Prediction(body) => ("prediction", serde_json::to_string(body)),
            RecordBody::Explanation(body) => ("explanation", serde_json::to_string(body)),
        };
        Ok(Self {
            kind,
            body: body.map_err(damaged("a record"))?,
        })
    }
}

impl Writing<'_> {
    /// Notes that the device was heard of, and holds its row until the transaction's end: of two hubs on one PostgreSQL the
    /// second sees all that the first has stored of this device. Otherwise one could count as lost what the other inserts.
    async fn hold_device(&mut self, device: &str, now_ms: u64) -> Result<(), DatabaseError> {
        sqlx::query("UPDATE devices SET last_seen_ms = $2 WHERE id = $1")
            .bind(device)
            .bind(signed(now_ms))
            .execute(&mut *self.transaction)
            .await
            .during("hold a device's row")
            .map(drop)
    }

    /// Inserts a record; false when it is there.
    async fn insert_record(
        &mut self,
        telemetry: &Telemetry<'_>,
        record: &Record,
        id: i64,
        now_ms: u64,
    ) -> Result<bool, DatabaseError> {
        let NewRecord { kind, body } = NewRecord::of(record)?;
        let added = sqlx::query(
            "INSERT INTO records (device, boot_id, seq, id, time_ms, received_ms, kind, body, historical) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        )
        .bind(telemetry.device)
        .bind(telemetry.boot_id.to_string())
        .bind(signed(record.seq))
        .bind(id)
        .bind(signed(record.time_ms))
        .bind(signed(now_ms))
        .bind(kind)
        .bind(body)
        .bind(i64::from(telemetry.historical))
        .execute(&mut *self.transaction)
        .await
        .during("store a record")?;
        Ok(added.rows_affected() > 0)
    }

    /// Stores the gauges of a metrics record, and the record as the device's last if it is the latest.
    async fn store_metrics(
        &mut self,
        device: &str,
        time_ms: u64,
        metrics: &Metrics,
        now_ms: u64,
    ) -> Result<(), DatabaseError> {
        // SQLite takes NaN for NULL; what isn't finite can be read in the record.
        for (gauge, value) in metrics.gauges.iter().filter(|(_, value)| value.is_finite()) {
            sqlx::query(
                "INSERT INTO series (device, gauge, time_ms, value, received_ms) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT DO NOTHING",
            )
            .bind(device)
            .bind(storable(gauge))
            .bind(signed(time_ms))
            .bind(*value)
            .bind(signed(now_ms))
            .execute(&mut *self.transaction)
            .await
            .during("store a gauge")?;
        }
        let finite = Metrics {
            gauges: metrics
                .gauges
                .iter()
                .filter(|(_, value)| value.is_finite())
                .map(|(k, v)| (k.clone(), *v))
                .collect(),
            ..metrics.clone()
        };
        sqlx::query("UPDATE devices SET metrics = $2, metrics_ms = $3 WHERE id = $1 AND metrics_ms <= $3")
            .bind(device)
            .bind(serde_json::to_string(&finite).map_err(damaged("a metrics record"))?)
            .bind(signed(time_ms))
            .execute(&mut *self.transaction)
            .await
            .during("store a device's metrics")
            .map(drop)
    }

    async fn add_totals(
        &mut self,
        device: &str,
        metrics: &Metrics,
        stored: Stored,
        lost: i64,
    ) -> Result<(), DatabaseError> {
        sqlx::query(
            "UPDATE devices SET samples = samples + $2, results = results + $3, failures = failures + $4, \
             records = records + $5, duplicates = duplicates + $6, lost = lost + $7 WHERE id = $1",
        )
        .bind(device)
        .bind(signed(metrics.samples).min(MAX_STEP))
        .bind(signed(metrics.results).min(MAX_STEP))
        .bind(signed(metrics.failures).min(MAX_STEP))
        .bind(signed(stored.new))
        .bind(signed(stored.duplicates))
        .bind(lost.clamp(-MAX_STEP, MAX_STEP))
        .execute(&mut *self.transaction)
        .await
        .during("add up a device's telemetry")
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Filter;
    use crate::database::tests::database;
    use crate::testing::{finding, metrics, report};
    use floorhand_protocol::{JobStatus, Step};

    fn telemetry<'a>(records: &'a [Record], gaps: &'a [Gap]) -> Telemetry<'a> {
        Telemetry {
            device: "press-1",
            boot_id: u64::MAX,
            historical: false,
            records,
            gaps,
        }
    }

    async fn with_device() -> (tempfile::TempDir, Database) {
        let (dir, database) = database().await;
        database
            .register(&"press-1".parse().unwrap(), "aa", false, 1)
            .await
            .unwrap();
        (dir, database)
    }

    #[tokio::test]
    async fn a_batch_that_comes_twice_is_stored_once() {
        let (_dir, database) = with_device().await;
        let gauges = [("psi/x", 0.25), ("psi/nan", f64::NAN)];
        let records = [finding(0, 100, 0.5), metrics(1, 110, 7, &gauges)];
        let gap = |first, last, count| Gap {
            boot_id: 3,
            first,
            last,
            count,
        };
        let gaps = [gap(1, 9, 4)];
        let batch = telemetry(&records, &gaps);
        let first = database.store_telemetry(&batch, 200).await.unwrap();
        assert_eq!(first, Stored { new: 2, duplicates: 0 });
        let again = database.store_telemetry(&batch, 300).await.unwrap();
        assert_eq!(again, Stored { new: 0, duplicates: 2 });
        let row = database.device("press-1").await.unwrap().unwrap();
        assert_eq!((row.records, row.duplicates, row.samples, row.lost), (2, 2, 7, 4));
        assert_eq!(
            row.metrics().unwrap().gauges.len(),
            1,
            "NaN can only be read in the record"
        );
        assert_eq!(database.gaps("", 10).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn values_that_json_or_the_database_lack_do_no_harm() {
        let (_dir, database) = with_device().await;
        let mut zero = report("j\0", 1, JobStatus::Failed, Step::Trial);
        zero.reason = "\0".to_owned();
        for seq in 0..3 {
            let records = [
                finding(seq, u64::MAX, f64::INFINITY),
                metrics(seq + 10, 5, u64::MAX, &[("a\0/b", 1.0)]),
                Record {
                    seq: seq + 20,
                    time_ms: 0,
                    body: RecordBody::Job(zero.clone()),
                },
            ];
            database.store_telemetry(&telemetry(&records, &[]), 200).await.unwrap();
        }
        let row = database.device("press-1").await.unwrap().unwrap();
        assert_eq!(row.samples, 3 * MAX_STEP);
        let filter = Filter {
            kind: "finding".to_owned(),
            limit: 1,
            ..Filter::default()
        };
        let newest = database.newest_records(&filter).await.unwrap();
        assert!(newest[0].body.contains(r#""value":null"#), "{newest:?}");
    }
}
