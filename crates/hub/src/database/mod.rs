//! Everything that is asked of the database, one module for each thing it knows. SQL stays in here.
//!
//! One text of SQL for SQLite and PostgreSQL, through sqlx's `Any` driver; the dialect is described in
//! `migrations/0001_start.sql`. SQLite runs in WAL mode with `synchronous = FULL`: what a transaction has committed is
//! still there after a power cut, and only then is it acknowledged.

mod answers;
mod assignments;
mod audit;
mod bundles;
mod devices;
mod enrolment;
mod existing;
mod gaps;
mod records;
mod roots;
mod telemetry;
mod tokens;

pub(crate) use answers::{AnswerRow, CommandRow};
pub(crate) use assignments::{AssignmentRow, Draft, JobRow};
pub(crate) use bundles::{BundleRow, NewBlob, NewBundle};
pub(crate) use devices::{DeviceRow, Registered};
pub(crate) use enrolment::{EnrolmentTokenRow, NewCertificate, Redeemed, Redemption};
pub(crate) use records::{Filter, GapRow, Point, RecordRow};
pub(crate) use roots::RootRow;
pub(crate) use telemetry::Telemetry;
pub(crate) use tokens::{Added, NewToken, Revoked, SessionRow, TokenRow};

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::MigrateError;
use sqlx::{Any, AnyPool, Executor, Transaction};
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// Readers are pages and API calls; a hub's database is not its bottleneck, and PostgreSQL's connections cost memory.
const MAX_CONNECTIONS: u32 = 8;
/// A request that hasn't got a connection by then is told so.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// What was committed is there after a power cut; another process's write is waited for.
const SQLITE_SETTINGS: [&str; 3] = [
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA busy_timeout = 10000",
];

/// Why the database didn't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    /// It refused, or couldn't be reached.
    #[error("database: {operation}: {source}")]
    Sql {
        /// What was tried.
        operation: &'static str,
        /// What it said.
        source: sqlx::Error,
    },
    /// Its tables can't be brought to this version.
    #[error("database: bring its tables to this version: {0}")]
    Migrate(MigrateError),
    /// Its tables are those of a later version.
    #[error(
        "database: a newer hub wrote it: its tables are of version {found}, and this hub, {own}, knows them up to {known}; \
         install the newer hub again, or restore a backup from before it",
        own = env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The version of its tables, or one of them, that this hub doesn't know.
        found: i64,
        /// The highest that this hub knows.
        known: i64,
    },
    /// Its tables are those of an earlier version, and it was opened to be read only.
    #[error(
        "database: an older hub wrote it: its tables are of version {found}, and {own} reads those of version {known}; \
         use the version of that hub, or start the new hub on it, which brings them to its own",
        own = env!("CARGO_PKG_VERSION")
    )]
    Older {
        /// The highest version of its tables.
        found: i64,
        /// The version that this hub knows.
        known: i64,
    },
    /// There is no file.
    #[error("database: there is none at {path}; name the data directory or the database that the hub has")]
    Absent {
        /// Where it was looked for.
        path: String,
    },
    /// It is a database, and not a hub's.
    #[error("database: it has no tables of a hub: {0}; name the database that the hub has")]
    Foreign(sqlx::Error),
    /// A value in it isn't what this version writes.
    #[error("database: {what} is damaged: {problem}; restore it from a backup")]
    Damaged {
        /// Which value.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A document couldn't be signed, so nothing was stored.
    #[error("{0}")]
    Seal(String),
}

/// Names the operation that failed.
pub(crate) trait During<T> {
    fn during(self, operation: &'static str) -> Result<T, DatabaseError>;
}

impl<T> During<T> for Result<T, sqlx::Error> {
    fn during(self, operation: &'static str) -> Result<T, DatabaseError> {
        self.map_err(|source| DatabaseError::Sql { operation, source })
    }
}

/// The hub's database.
#[derive(Debug)]
pub(crate) struct Database {
    pool: AnyPool,
    sqlite: bool,
    /// SQLite has one writer at a time, and one that began by reading can't become it. So writers queue here.
    writer: Mutex<()>,
    last_record_id: AtomicI64,
}

/// A transaction that writes, alone among this process's.
struct Writing<'a> {
    transaction: Transaction<'static, Any>,
    _turn: MutexGuard<'a, ()>,
}

impl Database {
    /// Opens the database of a URL (`sqlite://PATH` or `postgres://...`) and brings its tables to this version.
    pub(crate) async fn open(url: &str) -> Result<Self, DatabaseError> {
        let sqlite = is_sqlite(url);
        let settings = if sqlite { &SQLITE_SETTINGS[..] } else { &[] };
        let pool = connect(url, settings).await?;
        let migrations = sqlx::migrate!("./migrations");
        if let Err(error) = migrations.run(&pool).await {
            let known = migrations.iter().map(|one| one.version).max().unwrap_or(0);
            return Err(match error {
                MigrateError::VersionMissing(found) => DatabaseError::Newer { found, known },
                other => DatabaseError::Migrate(other),
            });
        }
        let last: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) FROM records")
            .fetch_one(&pool)
            .await
            .during("find the last record")?;
        let database = Self {
            pool,
            sqlite,
            writer: Mutex::new(()),
            last_record_id: AtomicI64::new(last),
        };
        database.guard_audit(crate::clock::now_ms()).await?;
        Ok(database)
    }

    /// The URL of the SQLite database of a data directory.
    pub(crate) fn sqlite_url(path: &Path) -> String {
        format!("sqlite://{}?mode=rwc", percent_encoded(&path.to_string_lossy()))
    }

    /// Closes it, after what runs has ended.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// Whether it answers.
    pub(crate) async fn ping(&self) -> Result<(), DatabaseError> {
        sqlx::query("SELECT 1")
            .execute(&self.pool)
            .await
            .during("ask for a sign of life")
            .map(drop)
    }

    /// An id above all earlier ones: `received_ms * 1024` where that is.
    fn next_record_id(&self, received_ms: u64) -> i64 {
        let floor = signed(received_ms.saturating_mul(1024));
        let next = |last: i64| Some(floor.max(last.saturating_add(1)));
        match self
            .last_record_id
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
        {
            Ok(last) | Err(last) => floor.max(last.saturating_add(1)),
        }
    }

    async fn write(&self, operation: &'static str) -> Result<Writing<'_>, DatabaseError> {
        let turn = self.writer.lock().await;
        // Another process may write to the same SQLite file: whoever begins by reading couldn't write behind it any more.
        let begin = if self.sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
        let transaction = self.pool.begin_with(begin).await.during(operation)?;
        Ok(Writing {
            transaction,
            _turn: turn,
        })
    }
}

fn is_sqlite(url: &str) -> bool {
    url.starts_with("sqlite:")
}

/// Connections to the database of a URL, each of which begins with these statements.
async fn connect(url: &str, settings: &'static [&'static str]) -> Result<AnyPool, DatabaseError> {
    sqlx::any::install_default_drivers();
    let options = AnyConnectOptions::from_str(url).during("read its URL")?;
    AnyPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                for setting in settings {
                    connection.execute(*setting).await?;
                }
                Ok(())
            })
        })
        .connect_with(options)
        .await
        .during("open")
}

impl Writing<'_> {
    async fn commit(self, operation: &'static str) -> Result<(), DatabaseError> {
        self.transaction.commit().await.during(operation)
    }
}

/// The database's integers have a sign. What doesn't fit is the largest there is: no counter of ours gets there.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The reverse of [`signed`].
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A text from a device as PostgreSQL can hold it, which takes no zero.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn damaged(what: &'static str) -> impl Fn(serde_json::Error) -> DatabaseError {
    move |error| DatabaseError::Damaged {
        what,
        problem: error.to_string(),
    }
}

fn percent_encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A database in a directory of its own.
    pub(crate) async fn database() -> (tempfile::TempDir, Database) {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&crate::testing::database_url(dir.path()).await)
            .await
            .unwrap();
        (dir, database)
    }

    #[tokio::test]
    async fn opens_again_with_what_it_had_durably() {
        let dir = tempfile::tempdir().unwrap();
        let url = Database::sqlite_url(&dir.path().join("with space & umlaut \u{fc}.db"));
        let key = "00".repeat(32);
        let first = Database::open(&url).await.unwrap();
        first
            .register(&"press-1".parse().unwrap(), &key, false, 5)
            .await
            .unwrap();
        let modes: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(&first.pool)
            .await
            .unwrap();
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
            .fetch_one(&first.pool)
            .await
            .unwrap();
        assert_eq!((modes.as_str(), synchronous), ("wal", 2));
        first.close().await;
        let again = Database::open(&url).await.unwrap();
        assert_eq!(again.device("press-1").await.unwrap().unwrap().public_key, key);
        assert!(dir.path().join("with space & umlaut \u{fc}.db").exists());
    }

    #[tokio::test]
    async fn what_a_newer_hub_wrote_is_told_as_that() {
        let dir = tempfile::tempdir().unwrap();
        let url = Database::sqlite_url(&dir.path().join("hub.db"));
        let newer = Database::open(&url).await.unwrap();
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'later', TRUE, X'00', 0)",
        )
        .execute(&newer.pool)
        .await
        .unwrap();
        newer.close().await;
        let known = sqlx::migrate!("./migrations")
            .iter()
            .map(|one| one.version)
            .max()
            .unwrap();
        let error = Database::open(&url).await.unwrap_err().to_string();
        assert!(
            error.contains("a newer hub wrote it: its tables are of version 9999")
                && error.contains(&format!("up to {known};")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn record_ids_rise_whatever_the_clock_does() {
        let (_dir, database) = database().await;
        let ids = [1000, 1000, 900, 1001].map(|at| database.next_record_id(at));
        assert_eq!(ids, [1_024_000, 1_024_001, 1_024_002, 1_025_024]);
    }
}
