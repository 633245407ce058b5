//! Gaps in: what a device declares as lost, less what is here.
//!
//! A number can be declared and come as a record, in either order, since a device drops what it has sent, too, when it needs
//! the room. So each gap remembers how many of its numbers are here. All of it is bounded by the batch: how large a device's
//! past is, and what gaps it makes up, may not hold up the batches of others.

use super::{DatabaseError, During as _, Writing, signed};
use floorhand_protocol::Gap;

/// Gaps that the hub remembers of one device. Beyond, the oldest are forgotten: they stay counted in the device's total, and
/// what comes of them after all isn't taken out of it any more. A device reports at most 512 at a time.
const MOST_OF_A_DEVICE: i64 = 16_384;
/// One part in so many of these is forgotten at once.
const FORGET_PART: i64 = 16;
/// Rows that are counted for the gaps of one batch. An honest device declares what it has sent for want of room meanwhile:
/// some batches.
const MOST_COUNTED: i64 = 65_536;
/// Gaps that are looked at for the records of one batch: those that end first behind its first record. Between the records
/// of a batch lie at most as many as the device has kept apart, which is 512 and those it had reported.
const MOST_LOOKED_AT: i64 = 4096;
/// Gaps that the records of one batch are taken out of: twice as many as a batch of Floorhand's agent has records.
const MOST_SETTLED: usize = 1024;

impl Writing<'_> {
    /// Inserts the gaps of a batch; the records that the new ones lost.
    pub(super) async fn insert_gaps(&mut self, device: &str, gaps: &[Gap], now_ms: u64) -> Result<i64, DatabaseError> {
        let (mut lost, mut new, mut may_count) = (0_i64, false, MOST_COUNTED);
        for gap in gaps {
            if !self.insert_gap(device, gap, now_ms).await? {
                continue;
            }
            new = true;
            let boot_id = gap.boot_id.to_string();
            let (first, last, count) = (signed(gap.first), signed(gap.last), signed(gap.count));
            let stored = self.count_records((device, &boot_id), (first, last), may_count).await?;
            may_count = may_count.saturating_sub(stored);
            if stored > 0 {
                let left = count.min(missing((first, last), stored));
                self.settle_gap((device, &boot_id), (first, last), (left, stored))
                    .await?;
                lost = lost.saturating_add(left);
            } else {
                lost = lost.saturating_add(count);
            }
        }
        if new {
            self.forget_gaps(device, MOST_OF_A_DEVICE).await?;
        }
        Ok(lost)
    }

    /// Inserts a gap; false when it is known.
    async fn insert_gap(&mut self, device: &str, gap: &Gap, now_ms: u64) -> Result<bool, DatabaseError> {
        let added = sqlx::query(
            "INSERT INTO gaps (device, boot_id, first_seq, last_seq, lost, received_ms) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(device)
        .bind(gap.boot_id.to_string())
        .bind(signed(gap.first))
        .bind(signed(gap.last))
        .bind(signed(gap.count))
        .bind(signed(now_ms))
        .execute(&mut *self.transaction)
        .await
        .during("store a gap")?;
        Ok(added.rows_affected() > 0)
    }

    /// How many records of a gap are here, counted up to `most`.
    async fn count_records(
        &mut self,
        (device, boot_id): (&str, &str),
        (first, last): (i64, i64),
        most: i64,
    ) -> Result<i64, DatabaseError> {
        if most == 0 {
            return Ok(0);
        }
        sqlx::query_scalar(
            "SELECT COUNT(*) FROM (SELECT seq FROM records WHERE device = $1 AND boot_id = $2 \
             AND seq BETWEEN $3 AND $4 LIMIT $5) AS found",
        )
        .bind(device)
        .bind(boot_id)
        .bind(first)
        .bind(last)
        .bind(most)
        .fetch_one(&mut *self.transaction)
        .await
        .during("look at a gap")
    }

    async fn settle_gap(
        &mut self,
        (device, boot_id): (&str, &str),
        (first, last): (i64, i64),
        (lost, stored): (i64, i64),
    ) -> Result<(), DatabaseError> {
        sqlx::query(
            "UPDATE gaps SET lost = $5, stored = $6 \
             WHERE device = $1 AND boot_id = $2 AND first_seq = $3 AND last_seq = $4",
        )
        .bind(device)
        .bind(boot_id)
        .bind(first)
        .bind(last)
        .bind(lost)
        .bind(stored)
        .execute(&mut *self.transaction)
        .await
        .during("settle a gap")
        .map(drop)
    }

    /// Takes records that have come now out of the gaps that they were declared in; how many that were. Before the batch's
    /// own gaps are inserted, which count all that is here.
    pub(super) async fn settle_gaps(
        &mut self,
        device: &str,
        boot_id: u64,
        mut new: Vec<i64>,
    ) -> Result<i64, DatabaseError> {
        new.sort_unstable();
        let (Some(&first), boot_id) = (new.first(), boot_id.to_string()) else {
            return Ok(0);
        };
        let gaps: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT first_seq, last_seq, lost, stored FROM gaps \
             WHERE device = $1 AND boot_id = $2 AND last_seq >= $3 ORDER BY last_seq LIMIT $4",
        )
        .bind(device)
        .bind(&boot_id)
        .bind(first)
        .bind(MOST_LOOKED_AT)
        .fetch_all(&mut *self.transaction)
        .await
        .during("look at gaps")?;
        let came = |&(first, last, ..): &(i64, i64, i64, i64)| {
            let (from, until) = (
                new.partition_point(|seq| *seq < first),
                new.partition_point(|seq| *seq <= last),
            );
            until.saturating_sub(from)
        };
        let mut found = 0_i64;
        let touched = gaps.iter().filter(|gap| gap.2 > 0 && came(gap) > 0);
        for gap in touched.take(MOST_SETTLED) {
            let (first, last, lost, stored) = *gap;
            let stored = stored.saturating_add(came(gap) as i64);
            let left = lost.min(missing((first, last), stored));
            self.settle_gap((device, &boot_id), (first, last), (left, stored))
                .await?;
            found = found.saturating_add(lost - left);
        }
        Ok(found)
    }

    /// Forgets the oldest gaps of a device that has more than so many.
    async fn forget_gaps(&mut self, device: &str, most: i64) -> Result<(), DatabaseError> {
        let held: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM gaps WHERE device = $1")
            .bind(device)
            .fetch_one(&mut *self.transaction)
            .await
            .during("count gaps")?;
        if held <= most {
            return Ok(());
        }
        let too_many = held - (most - most / FORGET_PART);
        tracing::warn!(
            device,
            too_many,
            "the device has declared very many gaps: the oldest are only summed up"
        );
        sqlx::query(
            "DELETE FROM gaps WHERE device = $1 AND (boot_id, first_seq, last_seq) IN \
             (SELECT boot_id, first_seq, last_seq FROM gaps WHERE device = $1 ORDER BY received_ms LIMIT $2)",
        )
        .bind(device)
        .bind(too_many)
        .execute(&mut *self.transaction)
        .await
        .during("forget old gaps")
        .map(drop)
    }
}

/// The numbers of a gap of which there is no record.
fn missing((first, last): (i64, i64), stored: i64) -> i64 {
    let width = last.saturating_sub(first).saturating_add(1);
    width.saturating_sub(stored).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::database;
    use crate::database::{Database, Telemetry};
    use crate::testing::metrics;
    use floorhand_protocol::Record;

    const BOOT: u64 = u64::MAX;

    async fn with_device() -> (tempfile::TempDir, Database) {
        let (dir, database) = database().await;
        register(&database).await;
        (dir, database)
    }

    async fn register(database: &Database) {
        let device = "press-1".parse().unwrap();
        database.register(&device, "aa", false, 1).await.unwrap();
    }

    fn record(seq: u64) -> Record {
        metrics(seq, 10, 1, &[])
    }

    fn gap(first: u64, last: u64) -> Gap {
        counting(first, last, last - first + 1)
    }

    fn counting(first: u64, last: u64, count: u64) -> Gap {
        Gap {
            boot_id: BOOT,
            first,
            last,
            count,
        }
    }

    async fn take(database: &Database, records: &[Record], gaps: &[Gap], now_ms: u64) {
        let telemetry = Telemetry {
            device: "press-1",
            boot_id: BOOT,
            historical: false,
            records,
            gaps,
        };
        database.store_telemetry(&telemetry, now_ms).await.unwrap();
    }

    /// What is lost, by the device's total and by its gaps.
    async fn lost(database: &Database) -> i64 {
        let of_device = database.device("press-1").await.unwrap().unwrap().lost;
        let gaps = database.gaps("", 100).await.unwrap();
        assert_eq!(of_device, gaps.iter().map(|gap| gap.lost).sum::<i64>());
        of_device
    }

    /// What came and was declared lost as well is there, in whatever order the two come.
    #[tokio::test]
    async fn what_came_is_not_lost() {
        let (_dir, database) = with_device().await;
        take(&database, &[record(3), record(4)], &[], 10).await;
        take(&database, &[], &[gap(1, 10)], 11).await;
        assert_eq!(lost(&database).await, 8, "two of ten were here");
        take(&database, &[], &[gap(1, 10)], 12).await;
        assert_eq!(lost(&database).await, 8, "told twice, counted once");
        take(&database, &[record(4), record(5), record(11)], &[], 13).await;
        assert_eq!(lost(&database).await, 7, "one more came after all");
        take(&database, &[record(5), record(11)], &[], 14).await;
        assert_eq!(lost(&database).await, 7, "what comes twice is there once");
        take(&database, &[record(20), record(21)], &[gap(20, 24)], 15).await;
        assert_eq!(lost(&database).await, 10, "both in one batch");
    }

    /// Of a gap that is wider than it counts, what comes between was never lost; what comes beyond that was.
    #[tokio::test]
    async fn a_joined_gap_is_settled_by_what_it_has_no_room_for() {
        let (_dir, database) = with_device().await;
        take(&database, &[record(2)], &[counting(1, 10, 6)], 10).await;
        assert_eq!(lost(&database).await, 6);
        take(&database, &[record(3), record(4), record(5)], &[], 11).await;
        assert_eq!(lost(&database).await, 6, "four are here, six are missing");
        take(&database, &[record(6)], &[], 12).await;
        assert_eq!(lost(&database).await, 5);
        // Another one around it, and a record that lies in both.
        take(&database, &[], &[counting(0, 12, 1)], 13).await;
        take(&database, &[record(7)], &[], 14).await;
        assert_eq!(lost(&database).await, 5);
    }

    #[tokio::test]
    async fn the_widest_gap_counts_what_it_says_and_overflows_nothing() {
        let (_dir, database) = with_device().await;
        let most = i64::MAX as u64;
        take(&database, &[], &[counting(0, most, 3), gap(most, most)], 10).await;
        take(&database, &[record(0), record(most)], &[], 11).await;
        assert_eq!(lost(&database).await, 3);
    }

    /// Gaps without end, each around all that comes: what is kept of them is bounded, and so is what is done for a record.
    #[tokio::test]
    async fn gaps_of_one_device_are_bounded() {
        let (_dir, database) = with_device().await;
        for report in 0..4 {
            let gaps: Vec<Gap> = (0..100).map(|at| counting(report * 100 + at, 1 << 62, 1)).collect();
            let mut writing = database.write("test").await.unwrap();
            assert_eq!(writing.insert_gaps("press-1", &gaps, report).await.unwrap(), 100);
            writing.forget_gaps("press-1", 320).await.unwrap();
            writing.commit("test").await.unwrap();
        }
        let kept = database.gaps("press-1", 1000).await.unwrap();
        assert_eq!(kept.len(), 300, "a sixteenth below the bound, once it was passed");
        let newest = kept.iter().filter(|gap| gap.received_ms == 3).count();
        assert_eq!(newest, 100, "the oldest went");
    }

    /// Two hubs of a share group get the records and the gap of one device at the same time.
    #[tokio::test]
    async fn two_hubs_on_one_database_agree_on_what_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let url = crate::testing::database_url(dir.path()).await;
        let (one, other) = (Database::open(&url).await.unwrap(), Database::open(&url).await.unwrap());
        register(&one).await;
        for round in 0..40 {
            let first = 1 + round * 10;
            let records: Vec<Record> = (first..first + 10).map(record).collect();
            let gaps = [gap(first, first + 9)];
            let records = take(&one, &records, &[], 10);
            let gaps = take(&other, &[], &gaps, 10);
            tokio::join!(records, gaps);
            assert_eq!(lost(&one).await, 0, "in round {round}: all of it is a row");
        }
    }
}
