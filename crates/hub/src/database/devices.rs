//! Devices: who is registered, what they last said, and their totals.

use super::{Database, DatabaseError, During as _, Writing, damaged, signed};
use crate::audit::Note;
use floorhand_bundle::DeviceId;
use floorhand_protocol::{Hello, Metrics};

/// More devices than one hub is meant for; bounds every answer that lists them.
pub(crate) const MAX_DEVICES: i64 = 20_000;
/// What is being done when a device is registered, for errors.
const REGISTER: &str = "register a device";

/// A device as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct DeviceRow {
    pub(crate) id: String,
    /// 32 bytes, hexadecimal.
    pub(crate) public_key: String,
    pub(crate) registered_ms: i64,
    /// JSON; empty before the first.
    pub(crate) hello: String,
    /// Decimal; empty before the first hello.
    pub(crate) boot_id: String,
    pub(crate) hello_count: i64,
    pub(crate) online: i64,
    pub(crate) last_seen_ms: i64,
    pub(crate) seq: i64,
    pub(crate) command_id: i64,
    /// JSON; empty before the first.
    pub(crate) metrics: String,
    pub(crate) metrics_ms: i64,
    pub(crate) samples: i64,
    pub(crate) results: i64,
    pub(crate) failures: i64,
    pub(crate) records: i64,
    pub(crate) duplicates: i64,
    pub(crate) lost: i64,
}

impl DeviceRow {
    /// The last hello.
    pub(crate) fn hello(&self) -> Result<Option<Hello>, DatabaseError> {
        if self.hello.is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&self.hello)
            .map(Some)
            .map_err(damaged("a device's hello"))
    }

    /// The last metrics; `None` before the first, and for one that can't be read any more.
    pub(crate) fn metrics(&self) -> Option<Metrics> {
        serde_json::from_str(&self.metrics).ok()
    }
}

/// Sums over all devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Totals {
    pub(crate) devices: i64,
    pub(crate) online: i64,
    pub(crate) samples: i64,
    pub(crate) results: i64,
    pub(crate) failures: i64,
    pub(crate) records: i64,
    pub(crate) duplicates: i64,
    pub(crate) lost: i64,
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Registered {
    /// The device wasn't known.
    New,
    /// It was known by this very key.
    Known,
    /// It was known by another key, and has this one now.
    Replaced,
    /// It is known by this other key, and nothing has changed.
    OtherKey(String),
    /// The key is this other device's, and nothing has changed.
    KeyOf(String),
}

impl Database {
    /// Registers a device by its key, which no other device may have. A device that has another key gets this one only if it
    /// is to be replaced. A device that comes back under an id that was there before goes on above its old assignments
    /// and commands.
    pub(crate) async fn register(
        &self,
        device: &DeviceId,
        public_key: &str,
        replace: bool,
        now_ms: u64,
    ) -> Result<Registered, DatabaseError> {
        let mut writing = self.write(REGISTER).await?;
        let registered = writing.register(device, public_key, replace, now_ms).await?;
        if !matches!(registered, Registered::OtherKey(_) | Registered::KeyOf(_)) {
            writing.commit(REGISTER).await?;
        }
        Ok(registered)
    }

    /// Forgets a device; what it was assigned and what it reported stays. False when there is none.
    pub(crate) async fn unregister(&self, device: &str, now_ms: u64) -> Result<bool, DatabaseError> {
        let operation = "remove a device";
        let mut writing = self.write(operation).await?;
        let removed = sqlx::query("DELETE FROM devices WHERE id = $1")
            .bind(device)
            .execute(&mut *writing.transaction)
            .await
            .during(operation)?
            .rows_affected();
        sqlx::query(
            "UPDATE assignments SET status = 'REMOVED', reason = 'the device was removed from the hub', \
             updated_ms = $2 WHERE device = $1 AND status IN ('QUEUED', 'IN_PROGRESS')",
        )
        .bind(device)
        .bind(signed(now_ms))
        .execute(&mut *writing.transaction)
        .await
        .during(operation)?;
        sqlx::query("DELETE FROM boots WHERE device = $1")
            .bind(device)
            .execute(&mut *writing.transaction)
            .await
            .during(operation)?;
        if removed > 0 {
            writing.note(&Note::new("device.remove", device), now_ms).await?;
        }
        writing.commit(operation).await?;
        Ok(removed > 0)
    }

    /// One device.
    pub(crate) async fn device(&self, device: &str) -> Result<Option<DeviceRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM devices WHERE id = $1")
            .bind(device)
            .fetch_optional(&self.pool)
            .await
            .during("look up a device")
    }

    /// All devices by id.
    pub(crate) async fn devices(&self) -> Result<Vec<DeviceRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM devices ORDER BY id LIMIT $1")
            .bind(MAX_DEVICES)
            .fetch_all(&self.pool)
            .await
            .during("list devices")
    }

    /// Sums over all devices.
    pub(crate) async fn totals(&self) -> Result<Totals, DatabaseError> {
        sqlx::query_as(
            "SELECT COUNT(*) AS devices, CAST(COALESCE(SUM(online), 0) AS BIGINT) AS online, \
             CAST(COALESCE(SUM(samples), 0) AS BIGINT) AS samples, \
             CAST(COALESCE(SUM(results), 0) AS BIGINT) AS results, \
             CAST(COALESCE(SUM(failures), 0) AS BIGINT) AS failures, \
             CAST(COALESCE(SUM(records), 0) AS BIGINT) AS records, \
             CAST(COALESCE(SUM(duplicates), 0) AS BIGINT) AS duplicates, \
             CAST(COALESCE(SUM(lost), 0) AS BIGINT) AS lost FROM devices",
        )
        .fetch_one(&self.pool)
        .await
        .during("add up the devices")
    }

    /// Whether this boot has said hello before.
    pub(crate) async fn knows_boot(&self, device: &str, boot_id: &str) -> Result<bool, DatabaseError> {
        let known: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM boots WHERE device = $1 AND boot_id = $2")
            .bind(device)
            .bind(boot_id)
            .fetch_one(&self.pool)
            .await
            .during("look up a boot")?;
        Ok(known > 0)
    }

    /// Stores a hello that was judged to be new, and goes on above its numbers.
    #[cfg(test)]
    pub(crate) async fn store_hello(&self, hello: &Hello, now_ms: u64) -> Result<(), DatabaseError> {
        self.store_hello_above(hello, (hello.seq, hello.command_id), now_ms)
            .await
    }

    /// Stores a hello that was judged to be new, and goes on above these numbers: `seq` and `command_id` never fall.
    pub(crate) async fn store_hello_above(
        &self,
        hello: &Hello,
        (seq, command_id): (u64, u64),
        now_ms: u64,
    ) -> Result<(), DatabaseError> {
        let operation = "store a hello";
        let json = serde_json::to_string(hello).map_err(damaged("a hello"))?;
        let boot_id = hello.boot_id.to_string();
        let mut writing = self.write(operation).await?;
        sqlx::query(
            "UPDATE devices SET hello = $2, boot_id = $3, hello_count = $4, online = 1, last_seen_ms = $5, \
             seq = CASE WHEN seq > $6 THEN seq ELSE $6 END, \
             command_id = CASE WHEN command_id > $7 THEN command_id ELSE $7 END WHERE id = $1",
        )
        .bind(hello.device.as_str())
        .bind(json)
        .bind(&boot_id)
        .bind(signed(hello.count))
        .bind(signed(now_ms))
        .bind(signed(seq))
        .bind(signed(command_id))
        .execute(&mut *writing.transaction)
        .await
        .during(operation)?;
        sqlx::query("INSERT INTO boots (device, boot_id, first_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(hello.device.as_str())
            .bind(&boot_id)
            .bind(signed(now_ms))
            .execute(&mut *writing.transaction)
            .await
            .during(operation)?;
        writing.commit(operation).await
    }

    /// Notes that a device is there or gone. An offline of a boot that isn't the last one says nothing about the device.
    pub(crate) async fn store_presence(
        &self,
        device: &str,
        boot_id: u64,
        online: bool,
        now_ms: u64,
    ) -> Result<(), DatabaseError> {
        let _turn = self.writer.lock().await;
        sqlx::query(
            "UPDATE devices SET online = $2, last_seen_ms = CASE WHEN $2 = 1 THEN $3 ELSE last_seen_ms END \
             WHERE id = $1 AND ($2 = 1 OR boot_id = $4 OR boot_id = '')",
        )
        .bind(device)
        .bind(i64::from(online))
        .bind(signed(now_ms))
        .bind(boot_id.to_string())
        .execute(&self.pool)
        .await
        .during("store a device's presence")
        .map(drop)
    }
}

// What a registration is made of.
impl Writing<'_> {
    /// Registers a device and writes that down, to be committed unless it is refused.
    pub(super) async fn register(
        &mut self,
        device: &DeviceId,
        public_key: &str,
        replace: bool,
        now_ms: u64,
    ) -> Result<Registered, DatabaseError> {
        if let Some(other) = self.other_with_key(device, public_key).await? {
            return Ok(Registered::KeyOf(other));
        }
        let registered = match self.key_of(device).await? {
            None => {
                self.add_device(device, public_key, now_ms).await?;
                Registered::New
            }
            Some(known) if known == public_key => return Ok(Registered::Known),
            Some(known) if !replace => return Ok(Registered::OtherKey(known)),
            Some(_) => {
                self.replace_key(device, public_key).await?;
                Registered::Replaced
            }
        };
        let note = Note::new("device.enroll", device.as_str())
            .with("public_key", public_key)
            .with("replaced", registered == Registered::Replaced);
        self.note(&note, now_ms).await?;
        Ok(registered)
    }

    /// Another device that has this key.
    async fn other_with_key(&mut self, device: &DeviceId, public_key: &str) -> Result<Option<String>, DatabaseError> {
        sqlx::query_scalar("SELECT id FROM devices WHERE public_key = $1 AND id <> $2 ORDER BY id LIMIT 1")
            .bind(public_key)
            .bind(device.as_str())
            .fetch_optional(&mut *self.transaction)
            .await
            .during(REGISTER)
    }

    /// The key of a device; `None` when it isn't registered.
    async fn key_of(&mut self, device: &DeviceId) -> Result<Option<String>, DatabaseError> {
        sqlx::query_scalar("SELECT public_key FROM devices WHERE id = $1")
            .bind(device.as_str())
            .fetch_optional(&mut *self.transaction)
            .await
            .during(REGISTER)
    }

    async fn replace_key(&mut self, device: &DeviceId, public_key: &str) -> Result<(), DatabaseError> {
        sqlx::query("UPDATE devices SET public_key = $2 WHERE id = $1")
            .bind(device.as_str())
            .bind(public_key)
            .execute(&mut *self.transaction)
            .await
            .during(REGISTER)
            .map(drop)
    }

    async fn add_device(&mut self, device: &DeviceId, public_key: &str, now_ms: u64) -> Result<(), DatabaseError> {
        sqlx::query(
            "INSERT INTO devices (id, public_key, registered_ms, hello, boot_id, hello_count, online, last_seen_ms, \
             seq, command_id, metrics, metrics_ms, samples, results, failures, records, duplicates, lost) \
             VALUES ($1, $2, $3, '', '', 0, 0, 0, \
             (SELECT COALESCE(MAX(seq), 0) FROM assignments WHERE device = $1), \
             (SELECT COALESCE(MAX(id), 0) FROM commands WHERE device = $1), \
             '', 0, 0, 0, 0, 0, 0, 0)",
        )
        .bind(device.as_str())
        .bind(public_key)
        .bind(signed(now_ms))
        .execute(&mut *self.transaction)
        .await
        .during(REGISTER)
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::Registered;
    use crate::database::tests::database;
    use crate::testing::hello;

    #[tokio::test]
    async fn one_key_is_for_one_device() {
        let (_dir, database) = database().await;
        let check = async |device: &str, key: &str, replace: bool, expected: Registered| {
            let device = device.parse().unwrap();
            let registered = database.register(&device, key, replace, 1).await.unwrap();
            assert_eq!(registered, expected, "{device} {key} {replace}");
        };
        check("press-1", "aa", false, Registered::New).await;
        check("press-1", "aa", false, Registered::Known).await;
        check("press-1", "aa", true, Registered::Known).await;
        check("press-1", "bb", false, Registered::OtherKey("aa".to_owned())).await;
        check("press-2", "aa", true, Registered::KeyOf("press-1".to_owned())).await;
        check("press-1", "bb", true, Registered::Replaced).await;
        check("press-2", "aa", false, Registered::New).await;
        check("press-2", "bb", true, Registered::KeyOf("press-1".to_owned())).await;
        let row = database.device("press-1").await.unwrap().unwrap();
        assert_eq!(row.public_key, "bb");
    }

    #[tokio::test]
    async fn hellos_raise_the_sequence_and_never_lower_it() {
        let (_dir, database) = database().await;
        let device = "press-1".parse().unwrap();
        database.register(&device, "aa", false, 1).await.unwrap();
        let replaced = database.register(&device, "bb", true, 2).await.unwrap();
        assert_eq!(
            replaced,
            Registered::Replaced,
            "the key changed, the device is the same"
        );
        let mut first = hello("press-1", u64::MAX, 1);
        first.seq = 7;
        database.store_hello(&first, 10).await.unwrap();
        let mut second = hello("press-1", 4, 1);
        second.seq = 3;
        database.store_hello(&second, 11).await.unwrap();
        let row = database.device("press-1").await.unwrap().unwrap();
        assert_eq!((row.seq, row.boot_id.as_str(), row.public_key.as_str()), (7, "4", "bb"));
        assert_eq!(row.hello().unwrap().unwrap(), second);
        assert!(database.knows_boot("press-1", &u64::MAX.to_string()).await.unwrap());
    }

    #[tokio::test]
    async fn a_late_will_of_an_earlier_boot_changes_nothing() {
        let (_dir, database) = database().await;
        database
            .register(&"press-1".parse().unwrap(), "aa", false, 1)
            .await
            .unwrap();
        database.store_hello(&hello("press-1", 2, 1), 10).await.unwrap();
        database.store_presence("press-1", 1, false, 20).await.unwrap();
        assert_eq!(database.device("press-1").await.unwrap().unwrap().online, 1);
        database.store_presence("press-1", 2, false, 20).await.unwrap();
        let row = database.device("press-1").await.unwrap().unwrap();
        assert_eq!((row.online, row.last_seen_ms), (0, 10));
        assert_eq!(database.totals().await.unwrap().devices, 1);
        assert!(database.unregister("press-1", 30).await.unwrap());
        assert!(!database.unregister("press-1", 30).await.unwrap());
    }
}
