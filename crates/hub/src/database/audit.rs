//! The audit log's table: entries are added in the transaction of the change that they tell of, and read.
//!
//! Writers of all hubs queue for one row, the chain's head, last thing before they commit; so the chain doesn't fork.

use super::{Database, DatabaseError, During as _, Writing, signed, unsigned};
use crate::access::Actor;
use crate::audit::{Checkpoint, Entry, Note};
use sqlx::{AssertSqlSafe, Executor as _};

/// What is being done, for errors.
const APPEND: &str = "write the audit log";

/// SQLite: no entry is changed, removed, or put in the place of another. Each name, and what SQLite then has in its schema.
const SQLITE_TRIGGERS: [(&str, &str); 3] = [
    (
        "audit_no_update",
        "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit \
         BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    ),
    (
        "audit_no_delete",
        "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit \
         BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    ),
    (
        "audit_no_replace",
        "CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit \
         WHEN EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq OR previous = NEW.previous OR hash = NEW.hash) \
         BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    ),
];
/// PostgreSQL's triggers, as `tgtype` has them: before each row that is updated or deleted, before the statement TRUNCATE.
const POSTGRES_NAMES: [(&str, i64); 2] = [("audit_no_change", 27), ("audit_no_truncate", 34)];
/// PostgreSQL: those of the log that are on, have no condition, and do what they were made for.
const POSTGRES_ARMED: &str = "SELECT t.tgname::text, t.tgtype::bigint FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid \
     WHERE t.tgrelid = 'audit'::regclass AND t.tgenabled IN ('O', 'A') AND t.tgqual IS NULL \
     AND p.prosrc = 'BEGIN RAISE EXCEPTION ''the audit log is append-only''; END'";
/// PostgreSQL: the same, and no TRUNCATE. Two hubs that start at once take turns.
const POSTGRES_TRIGGERS: &str = "DO $$ BEGIN \
     PERFORM pg_advisory_xact_lock(5207412); \
     CREATE OR REPLACE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS \
     'BEGIN RAISE EXCEPTION ''the audit log is append-only''; END'; \
     DROP TRIGGER IF EXISTS audit_no_change ON audit; \
     CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_append_only(); \
     DROP TRIGGER IF EXISTS audit_no_truncate ON audit; \
     CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit \
     FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only(); END $$";

/// An entry as it is stored.
#[derive(Debug, sqlx::FromRow)]
struct EntryRow {
    seq: i64,
    time_ms: i64,
    actor_kind: String,
    actor_name: String,
    actor_roles: String,
    actor_method: String,
    action: String,
    subject: String,
    details: String,
    previous: String,
    hash: String,
}

impl From<EntryRow> for Entry {
    fn from(row: EntryRow) -> Self {
        Self {
            seq: unsigned(row.seq),
            time_ms: unsigned(row.time_ms),
            actor_kind: row.actor_kind,
            actor_name: row.actor_name,
            actor_roles: row.actor_roles,
            actor_method: row.actor_method,
            action: row.action,
            subject: row.subject,
            details: row.details,
            previous: row.previous,
            hash: row.hash,
        }
    }
}

impl Database {
    /// Has the database refuse to change what was written. That it didn't, although there were entries, is written down:
    /// otherwise a start would wipe the trace of whoever took a trigger away.
    pub(super) async fn guard_audit(&self, now_ms: u64) -> Result<(), DatabaseError> {
        let operation = "guard the audit log";
        // In this order: another hub that starts with the same new database makes its triggers before its first entry.
        let written = self.audit_written().await?;
        let lost = self.lost_guards().await?;
        if !self.sqlite {
            let mut connection = self.pool.acquire().await.during(operation)?;
            connection.execute(POSTGRES_TRIGGERS).await.during(operation)?;
        } else if !lost.is_empty() {
            self.guard_sqlite(operation).await?;
        }
        if lost.is_empty() || written == 0 {
            return Ok(());
        }
        tracing::error!("the audit log's table had lost {}; verify the log", lost.join(", "));
        let note = Note::new("audit.guard", "").with_names("lost", lost.into_iter());
        self.note(&note, now_ms).await
    }

    async fn guard_sqlite(&self, operation: &'static str) -> Result<(), DatabaseError> {
        let mut writing = self.write(operation).await?;
        for (name, statement) in SQLITE_TRIGGERS {
            // One of the same name may do something else.
            let drop = AssertSqlSafe(format!("DROP TRIGGER IF EXISTS {name}"));
            writing.transaction.execute(drop).await.during(operation)?;
            writing.transaction.execute(statement).await.during(operation)?;
        }
        writing.commit(operation).await
    }

    /// The triggers that keep entries from being changed and aren't there as they were made. A hub makes them at its start,
    /// so somebody has taken them away since.
    pub(crate) async fn lost_guards(&self) -> Result<Vec<&'static str>, DatabaseError> {
        let operation = "look for the audit log's triggers";
        if self.sqlite {
            let found = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'";
            let found: Vec<(String, String)> = sqlx::query_as(found).fetch_all(&self.pool).await.during(operation)?;
            let is_there = |own: &(&str, &str)| found.iter().any(|one| one.0 == own.0 && one.1 == own.1);
            return Ok(lost(&SQLITE_TRIGGERS, is_there));
        }
        let found = sqlx::query_as(POSTGRES_ARMED).fetch_all(&self.pool).await;
        let found: Vec<(String, i64)> = found.during(operation)?;
        let is_there = |own: &(&str, i64)| found.iter().any(|one| one.0 == own.0 && one.1 == own.1);
        Ok(lost(&POSTGRES_NAMES, is_there))
    }

    /// How many entries were written, as the row says that writers queue for. It proves nothing: who has the database can
    /// set it. But entries that are fewer were cut off.
    pub(crate) async fn audit_written(&self) -> Result<u64, DatabaseError> {
        let written: Option<i64> = sqlx::query_scalar("SELECT seq FROM audit_head WHERE id = 1")
            .fetch_optional(&self.pool)
            .await
            .during("read the audit log")?;
        Ok(written.map_or(0, unsigned))
    }

    /// Writes down something that isn't in the database itself.
    pub(crate) async fn note(&self, note: &Note, now_ms: u64) -> Result<(), DatabaseError> {
        let mut writing = self.write(APPEND).await?;
        writing.note(note, now_ms).await?;
        writing.commit(APPEND).await
    }

    /// Entries behind one, in order.
    pub(crate) async fn audit_after(&self, seq: u64, limit: i64) -> Result<Vec<Entry>, DatabaseError> {
        let rows: Vec<EntryRow> = sqlx::query_as("SELECT * FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2")
            .bind(signed(seq))
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .during("read the audit log")?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// Number and hash of the last entry; `None` before the first.
    pub(crate) async fn audit_head(&self) -> Result<Option<(u64, String)>, DatabaseError> {
        let head: Option<(i64, String)> = sqlx::query_as("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
            .fetch_optional(&self.pool)
            .await
            .during("read the audit log")?;
        Ok(head.map(|(seq, hash)| (unsigned(seq), hash)))
    }

    /// Keeps a checkpoint. There is one for an entry at most.
    pub(crate) async fn add_checkpoint(&self, checkpoint: &Checkpoint, sealed: &[u8]) -> Result<(), DatabaseError> {
        let _turn = self.writer.lock().await;
        sqlx::query(
            "INSERT INTO audit_checkpoints (seq, hash, time_ms, envelope) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(signed(checkpoint.seq))
        .bind(&checkpoint.hash)
        .bind(signed(checkpoint.time_ms))
        .bind(hex::encode(sealed))
        .execute(&self.pool)
        .await
        .during("keep a checkpoint of the audit log")
        .map(drop)
    }

    /// The last checkpoint's number and signed bytes.
    pub(crate) async fn last_checkpoint(&self) -> Result<Option<(u64, Vec<u8>)>, DatabaseError> {
        let found: Option<(i64, String)> =
            sqlx::query_as("SELECT seq, envelope FROM audit_checkpoints ORDER BY seq DESC LIMIT 1")
                .fetch_optional(&self.pool)
                .await
                .during("read a checkpoint of the audit log")?;
        let Some((seq, envelope)) = found else { return Ok(None) };
        let sealed = hex::decode(envelope).map_err(|error| DatabaseError::Damaged {
            what: "a checkpoint of the audit log",
            problem: error.to_string(),
        })?;
        Ok(Some((unsigned(seq), sealed)))
    }
}

/// The names of those that aren't there.
fn lost<T>(all: &[(&'static str, T)], is_there: impl Fn(&(&'static str, T)) -> bool) -> Vec<&'static str> {
    all.iter().filter(|one| !is_there(one)).map(|one| one.0).collect()
}

impl Writing<'_> {
    /// Writes down, in the transaction of the change, who did what. To be the last before the commit: other hubs wait for
    /// the head of the chain from here on.
    pub(super) async fn note(&mut self, note: &Note, now_ms: u64) -> Result<(), DatabaseError> {
        let (seq, previous): (i64, String) =
            sqlx::query_as("UPDATE audit_head SET seq = seq + 1 WHERE id = 1 RETURNING seq, hash")
                .fetch_one(&mut *self.transaction)
                .await
                .during(APPEND)?;
        let actor = Actor::current();
        let mut entry = Entry {
            seq: unsigned(seq),
            time_ms: unsigned(signed(now_ms)),
            actor_kind: actor.kind.name().to_owned(),
            actor_name: super::storable(&actor.name),
            actor_roles: actor.roles.to_string(),
            actor_method: actor.method.name().to_owned(),
            action: note.action.clone(),
            subject: super::storable(&note.subject),
            details: note.details(),
            previous,
            hash: String::new(),
        };
        entry.hash = entry.computed_hash();
        self.append(&entry).await
    }

    async fn append(&mut self, entry: &Entry) -> Result<(), DatabaseError> {
        sqlx::query(
            "INSERT INTO audit (seq, time_ms, actor_kind, actor_name, actor_roles, actor_method, action, subject, \
             details, previous, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(signed(entry.seq))
        .bind(signed(entry.time_ms))
        .bind(&entry.actor_kind)
        .bind(&entry.actor_name)
        .bind(&entry.actor_roles)
        .bind(&entry.actor_method)
        .bind(&entry.action)
        .bind(&entry.subject)
        .bind(&entry.details)
        .bind(&entry.previous)
        .bind(&entry.hash)
        .execute(&mut *self.transaction)
        .await
        .during(APPEND)?;
        sqlx::query("UPDATE audit_head SET hash = $1 WHERE id = 1")
            .bind(&entry.hash)
            .execute(&mut *self.transaction)
            .await
            .during(APPEND)
            .map(drop)
    }
}

#[cfg(test)]
mod tests;
