//! Telemetry out: records, gaps, gauges over time; and what is old goes.

use super::{Database, DatabaseError, During as _, signed};

/// Rows that one statement of the clean-up removes: short enough that telemetry hardly waits for it.
const CLEANUP_ROWS: i64 = 2000;

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct RecordRow {
    pub(crate) id: i64,
    pub(crate) device: String,
    pub(crate) boot_id: String,
    pub(crate) seq: i64,
    pub(crate) time_ms: i64,
    pub(crate) received_ms: i64,
    pub(crate) kind: String,
    /// JSON, without the kind. A number that JSON can't hold is null.
    pub(crate) body: String,
    pub(crate) historical: i64,
}

/// A gap as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct GapRow {
    pub(crate) device: String,
    pub(crate) boot_id: String,
    pub(crate) first_seq: i64,
    pub(crate) last_seq: i64,
    pub(crate) lost: i64,
    pub(crate) received_ms: i64,
}

/// A gauge at a time.
#[derive(Debug, Clone, Copy, PartialEq, sqlx::FromRow)]
pub(crate) struct Point {
    pub(crate) time_ms: i64,
    pub(crate) value: f64,
}

/// Which records; an empty text stands for all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) device: String,
    pub(crate) kind: String,
    pub(crate) limit: i64,
}

/// One statement for each of (device given, kind given), so that each can use its index.
type Statements = [[&'static str; 2]; 2];

macro_rules! statements {
    ($order:literal) => {
        [
            [
                statements!(@ "$1 = '' AND $2 = ''", $order),
                statements!(@ "$1 = '' AND kind = $2", $order),
            ],
            [
                statements!(@ "device = $1 AND $2 = ''", $order),
                statements!(@ "device = $1 AND kind = $2", $order),
            ],
        ]
    };
    (@ $condition:literal, $order:literal) => {
        concat!(
            "SELECT id, device, boot_id, seq, time_ms, received_ms, kind, body, historical FROM records WHERE ",
            $condition,
            " AND ",
            $order,
            " LIMIT $4"
        )
    };
}

const AFTER: Statements = statements!("id > $3 ORDER BY id");
const NEWEST: Statements = statements!("id <= $3 ORDER BY id DESC");

impl Filter {
    fn select(&self, statements: Statements) -> &'static str {
        let [[any, of_kind], [of_device, of_both]] = statements;
        match (self.device.is_empty(), self.kind.is_empty()) {
            (true, true) => any,
            (true, false) => of_kind,
            (false, true) => of_device,
            (false, false) => of_both,
        }
    }
}

impl Database {
    /// Records with an id above `after`, in rising order.
    pub(crate) async fn records_after(&self, filter: &Filter, after: i64) -> Result<Vec<RecordRow>, DatabaseError> {
        sqlx::query_as(filter.select(AFTER))
            .bind(&filter.device)
            .bind(&filter.kind)
            .bind(after)
            .bind(filter.limit)
            .fetch_all(&self.pool)
            .await
            .during("list records")
    }

    /// The newest records, the newest first.
    pub(crate) async fn newest_records(&self, filter: &Filter) -> Result<Vec<RecordRow>, DatabaseError> {
        sqlx::query_as(filter.select(NEWEST))
            .bind(&filter.device)
            .bind(&filter.kind)
            .bind(i64::MAX)
            .bind(filter.limit)
            .fetch_all(&self.pool)
            .await
            .during("list the newest records")
    }

    /// The newest gaps, the newest first.
    pub(crate) async fn gaps(&self, device: &str, limit: i64) -> Result<Vec<GapRow>, DatabaseError> {
        sqlx::query_as(
            "SELECT * FROM gaps WHERE ($1 = '' OR device = $1) ORDER BY received_ms DESC, first_seq DESC LIMIT $2",
        )
        .bind(device)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .during("list gaps")
    }

    /// The newest points of a gauge since a time, in rising order of time.
    pub(crate) async fn series(
        &self,
        device: &str,
        gauge: &str,
        since_ms: u64,
        limit: i64,
    ) -> Result<Vec<Point>, DatabaseError> {
        let mut points: Vec<Point> = sqlx::query_as(
            "SELECT time_ms, value FROM series WHERE device = $1 AND gauge = $2 AND time_ms >= $3 \
             ORDER BY time_ms DESC LIMIT $4",
        )
        .bind(device)
        .bind(gauge)
        .bind(signed(since_ms))
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .during("read a gauge's series")?;
        points.reverse();
        Ok(points)
    }

    /// Removes telemetry and answers that arrived before a time, in short transactions; the number of rows.
    pub(crate) async fn forget_before(&self, before_ms: u64) -> Result<u64, DatabaseError> {
        let before_id = signed(before_ms.saturating_mul(1024));
        let mut removed = 0;
        loop {
            let _turn = self.writer.lock().await;
            let rows = sqlx::query(
                "DELETE FROM records WHERE id IN (SELECT id FROM records WHERE id < $1 ORDER BY id LIMIT $2)",
            )
            .bind(before_id)
            .bind(CLEANUP_ROWS)
            .execute(&self.pool)
            .await
            .during("remove old records")?
            .rows_affected();
            removed += rows;
            if rows == 0 {
                break;
            }
        }
        for statement in [
            "DELETE FROM series WHERE received_ms < $1",
            "DELETE FROM gaps WHERE received_ms < $1",
            "DELETE FROM answers WHERE received_ms < $1",
            "DELETE FROM commands WHERE expires_ms < $1",
        ] {
            let _turn = self.writer.lock().await;
            let query = sqlx::query(statement).bind(signed(before_ms));
            removed += query
                .execute(&self.pool)
                .await
                .during("remove old telemetry")?
                .rows_affected();
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Telemetry;
    use crate::database::tests::database;
    use crate::testing::{finding, metrics};
    use floorhand_protocol::Record;

    async fn with_records(batches: &[(u64, Vec<Record>)]) -> (tempfile::TempDir, Database) {
        let (dir, database) = database().await;
        database
            .register(&"press-1".parse().unwrap(), "aa", false, 1)
            .await
            .unwrap();
        for (now_ms, records) in batches {
            let telemetry = Telemetry {
                device: "press-1",
                boot_id: u64::MAX,
                historical: false,
                records,
                gaps: &[],
            };
            database.store_telemetry(&telemetry, *now_ms).await.unwrap();
        }
        (dir, database)
    }

    fn filter(device: &str, kind: &str) -> Filter {
        Filter {
            device: device.to_owned(),
            kind: kind.to_owned(),
            limit: 10,
        }
    }

    #[tokio::test]
    async fn records_are_found_by_device_kind_and_place() {
        let records = vec![finding(0, 100, 0.5), metrics(1, 110, 7, &[("psi/x", 0.25)])];
        let (_dir, database) = with_records(&[(200, records)]).await;
        for (device, kind, count) in [
            ("", "", 2),
            ("press-1", "", 2),
            ("", "metrics", 1),
            ("press-1", "finding", 1),
            ("press-2", "", 0),
        ] {
            let filter = filter(device, kind);
            let newest = database.newest_records(&filter).await.unwrap();
            let after = database.records_after(&filter, 0).await.unwrap();
            assert_eq!((newest.len(), after.len()), (count, count), "{filter:?}");
        }
        let all = database.records_after(&filter("", ""), 0).await.unwrap();
        let (boot_id, received_ms) = (all[0].boot_id.as_str(), all[0].received_ms);
        assert_eq!((boot_id, received_ms), ("18446744073709551615", 200));
        let rest = database.records_after(&filter("", ""), all[0].id).await.unwrap();
        assert_eq!(rest, all[1..]);
        let point = Point {
            time_ms: 110,
            value: 0.25,
        };
        assert_eq!(database.series("press-1", "psi/x", 0, 10).await.unwrap(), [point]);
        assert_eq!(database.series("press-1", "psi/x", 111, 10).await.unwrap(), []);
    }

    #[tokio::test]
    async fn what_is_old_goes() {
        let batch = |seq, now_ms| (now_ms, vec![metrics(seq, now_ms, 1, &[("a/b", 1.0)])]);
        let (_dir, database) = with_records(&[batch(0, 1000), batch(1, 2000)]).await;
        assert_eq!(database.forget_before(2000).await.unwrap(), 2);
        assert_eq!(database.records_after(&filter("", ""), 0).await.unwrap().len(), 1);
        assert_eq!(database.series("press-1", "a/b", 0, 10).await.unwrap().len(), 1);
    }
}
