//! A database that is there and only looked at: nothing is made, migrated, mended or written, by whatever is asked of it.
//! For those who check a hub's record without it, also while it runs, and whatever its version is.

use super::{Database, DatabaseError, During as _, connect, is_sqlite};
use sqlx::sqlite::SqliteConnectOptions;
use std::collections::BTreeSet;
use std::str::FromStr as _;
use std::sync::atomic::AtomicI64;
use tokio::sync::Mutex;

/// The file is opened to be read, and what is asked can't write either.
const SQLITE_SETTINGS: [&str; 2] = ["PRAGMA query_only = ON", "PRAGMA busy_timeout = 10000"];
/// No transaction may write.
const POSTGRES_SETTINGS: [&str; 1] = ["SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"];

impl Database {
    /// Opens a hub's database to read it. One that isn't there, or has the tables of another version, is refused.
    pub(crate) async fn open_existing(url: &str) -> Result<Self, DatabaseError> {
        let sqlite = is_sqlite(url);
        let pool = if sqlite {
            let options = SqliteConnectOptions::from_str(url).during("read its URL")?;
            if !options.get_filename().exists() {
                let path = options.get_filename().display().to_string();
                return Err(DatabaseError::Absent { path });
            }
            connect(&read_only(url), &SQLITE_SETTINGS).await?
        } else {
            connect(url, &POSTGRES_SETTINGS).await?
        };
        let database = Self {
            pool,
            sqlite,
            writer: Mutex::new(()),
            last_record_id: AtomicI64::new(0),
        };
        database.check_version().await?;
        Ok(database)
    }

    /// Refuses tables that this version would bring to its own first, or doesn't know.
    async fn check_version(&self) -> Result<(), DatabaseError> {
        let found: Vec<i64> = sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version")
            .fetch_all(&self.pool)
            .await
            .map_err(DatabaseError::Foreign)?;
        let found: BTreeSet<i64> = found.into_iter().collect();
        let known: BTreeSet<i64> = sqlx::migrate!("./migrations").iter().map(|one| one.version).collect();
        let highest = |versions: &BTreeSet<i64>| versions.last().copied().unwrap_or(0);
        if let Some(newer) = found.difference(&known).next() {
            return Err(DatabaseError::Newer {
                found: *newer,
                known: highest(&known),
            });
        }
        if found != known {
            return Err(DatabaseError::Older {
                found: highest(&found),
                known: highest(&known),
            });
        }
        Ok(())
    }
}

/// The same file, opened to be read.
fn read_only(url: &str) -> String {
    let (file, parameters) = url.split_once('?').unwrap_or((url, ""));
    let others = parameters
        .split('&')
        .filter(|one| !one.is_empty() && !one.starts_with("mode="));
    let parameters: Vec<&str> = others.chain(["mode=ro"]).collect();
    format!("{file}?{}", parameters.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Note;
    use sqlx::AssertSqlSafe;

    async fn execute(database: &Database, statement: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&database.pool)
            .await
            .map(drop)
    }

    async fn refusal(url: &str) -> String {
        Database::open_existing(url).await.unwrap_err().to_string()
    }

    #[test]
    fn a_url_is_made_one_for_reading() {
        for (url, expected) in [
            ("sqlite://hub.db", "sqlite://hub.db?mode=ro"),
            ("sqlite:///a/hub.db?mode=rwc", "sqlite:///a/hub.db?mode=ro"),
            (
                "sqlite://hub.db?mode=rw&cache=private",
                "sqlite://hub.db?cache=private&mode=ro",
            ),
        ] {
            assert_eq!(read_only(url), expected);
        }
    }

    #[tokio::test]
    async fn what_is_looked_at_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let url = crate::testing::database_url(dir.path()).await;
        let live = Database::open(&url).await.unwrap();
        live.note(&Note::new("pause", "press-1"), 1).await.unwrap();
        let looked_at = Database::open_existing(&url).await.unwrap();
        live.note(&Note::new("resume", "press-1"), 2).await.unwrap();
        assert_eq!(
            looked_at.audit_after(0, 10).await.unwrap().len(),
            2,
            "beside a hub that runs"
        );
        assert!(looked_at.note(&Note::new("pause", "press-2"), 3).await.is_err());
        for statement in [
            "DROP TABLE tokens",
            "UPDATE audit_head SET seq = 0",
            "CREATE TABLE mine (id BIGINT)",
        ] {
            assert!(execute(&looked_at, statement).await.is_err(), "{statement}");
        }
        assert_eq!(live.audit_written().await.unwrap(), 2);
        looked_at.close().await;
        live.close().await;
        let alone = Database::open_existing(&url).await.unwrap();
        assert_eq!(alone.audit_after(0, 10).await.unwrap().len(), 2, "without a hub");
    }

    #[tokio::test]
    async fn what_is_no_database_of_this_version_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.db");
        let told = refusal(&Database::sqlite_url(&path)).await;
        assert!(told.contains("there is none at") && told.contains("none.db"), "{told}");
        assert!(!path.exists());
        std::fs::write(dir.path().join("empty.db"), "").unwrap();
        let told = refusal(&Database::sqlite_url(&dir.path().join("empty.db"))).await;
        assert!(told.contains("it has no tables of a hub"), "{told}");
        let url = crate::testing::database_url(dir.path()).await;
        let database = Database::open(&url).await.unwrap();
        let last: i64 = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations")
            .fetch_one(&database.pool)
            .await
            .unwrap();
        execute(
            &database,
            &format!("UPDATE _sqlx_migrations SET version = 9999 WHERE version = {last}"),
        )
        .await
        .unwrap();
        let told = refusal(&url).await;
        assert!(
            told.contains("a newer hub wrote it: its tables are of version 9999"),
            "{told}"
        );
        execute(&database, "DELETE FROM _sqlx_migrations WHERE version = 9999")
            .await
            .unwrap();
        let told = refusal(&url).await;
        assert!(
            told.contains("an older hub wrote it") && told.contains(&format!("of version {last};")),
            "{told}"
        );
    }
}
