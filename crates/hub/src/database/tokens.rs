//! Named tokens, and browsers that are logged in. Secrets are in here as their hashes only.

use super::{Database, DatabaseError, During as _, signed, unsigned};
use crate::access::Actor;
use crate::audit::Note;

/// More tokens than anybody keeps track of; bounds the list.
const MAX_TOKENS: i64 = 10_000;
/// The last use is written no more often: each request would be a write otherwise.
const USE_EVERY_MS: u64 = 60_000;

/// A token as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct TokenRow {
    pub(crate) name: String,
    pub(crate) hash: String,
    pub(crate) roles: String,
    pub(crate) created_ms: i64,
    pub(crate) created_by: String,
    /// 0: it doesn't expire.
    pub(crate) expires_ms: i64,
    /// 0: it wasn't revoked.
    pub(crate) revoked_ms: i64,
    /// 0: it was never used.
    pub(crate) last_used_ms: i64,
}

/// A token to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewToken {
    pub(crate) name: String,
    pub(crate) hash: String,
    pub(crate) roles: String,
    /// Whether it may make others.
    pub(crate) is_admin: bool,
    /// 0: it doesn't expire.
    pub(crate) expires_ms: u64,
}

/// What became of a new token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// It holds.
    New,
    /// Another one has or had the name.
    NameTaken,
    /// It would have been the first, and nobody could have made another.
    FirstNotAdmin,
}

/// What became of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revoked {
    /// It holds no longer.
    Now,
    /// It was revoked before.
    Before,
    /// There is no such token.
    Unknown,
}

/// A browser that is logged in.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct SessionRow {
    /// SHA-256 of the cookie's value.
    pub(crate) hash: String,
    pub(crate) actor_kind: String,
    pub(crate) actor_name: String,
    /// SHA-256 of the token it was opened with; empty where an issuer vouched.
    pub(crate) token: String,
    pub(crate) expires_ms: i64,
}

impl TokenRow {
    /// Whether it can be used.
    pub(crate) fn holds(&self, now_ms: u64) -> bool {
        self.revoked_ms == 0 && (self.expires_ms == 0 || now_ms < unsigned(self.expires_ms))
    }
}

impl Database {
    /// Whether there is or was a token.
    pub(crate) async fn has_tokens(&self) -> Result<bool, DatabaseError> {
        let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM tokens LIMIT 1")
            .fetch_optional(&self.pool)
            .await
            .during("look for tokens")?;
        Ok(found.is_some())
    }

    /// All tokens, by name.
    pub(crate) async fn tokens(&self) -> Result<Vec<TokenRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM tokens ORDER BY name LIMIT $1")
            .bind(MAX_TOKENS)
            .fetch_all(&self.pool)
            .await
            .during("list tokens")
    }

    /// The token of a hash.
    pub(crate) async fn token(&self, hash: &str) -> Result<Option<TokenRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM tokens WHERE hash = $1")
            .bind(hash)
            .fetch_optional(&self.pool)
            .await
            .during("look up a token")
    }

    /// Stores a token. The first has to be an admin's: from then on nobody is let in without one.
    pub(crate) async fn add_token(&self, token: &NewToken, now_ms: u64) -> Result<Added, DatabaseError> {
        let operation = "store a token";
        let mut writing = self.write(operation).await?;
        let added = sqlx::query(
            "INSERT INTO tokens (name, hash, roles, created_ms, created_by, expires_ms, revoked_ms, last_used_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, 0, 0) ON CONFLICT DO NOTHING",
        )
        .bind(&token.name)
        .bind(&token.hash)
        .bind(&token.roles)
        .bind(signed(now_ms))
        .bind(super::storable(&Actor::current().to_string()))
        .bind(signed(token.expires_ms))
        .execute(&mut *writing.transaction)
        .await
        .during(operation)?;
        if added.rows_affected() == 0 {
            return Ok(Added::NameTaken);
        }
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM tokens")
            .fetch_one(&mut *writing.transaction)
            .await
            .during(operation)?;
        if count == 1 && !token.is_admin {
            return Ok(Added::FirstNotAdmin);
        }
        let note = Note::new("token.new", &token.name)
            .with("roles", token.roles.as_str())
            .with("expires_ms", token.expires_ms);
        writing.note(&note, now_ms).await?;
        writing.commit(operation).await?;
        Ok(Added::New)
    }

    /// Ends a token, and the sessions that were opened with it.
    pub(crate) async fn revoke_token(&self, name: &str, now_ms: u64) -> Result<Revoked, DatabaseError> {
        let operation = "revoke a token";
        let mut writing = self.write(operation).await?;
        let hash: Option<String> =
            sqlx::query_scalar("UPDATE tokens SET revoked_ms = $2 WHERE name = $1 AND revoked_ms = 0 RETURNING hash")
                .bind(name)
                .bind(signed(now_ms.max(1)))
                .fetch_optional(&mut *writing.transaction)
                .await
                .during(operation)?;
        let Some(hash) = hash else {
            let known: Option<i64> = sqlx::query_scalar("SELECT 1 FROM tokens WHERE name = $1")
                .bind(name)
                .fetch_optional(&mut *writing.transaction)
                .await
                .during(operation)?;
            return Ok(if known.is_some() {
                Revoked::Before
            } else {
                Revoked::Unknown
            });
        };
        sqlx::query("DELETE FROM sessions WHERE token = $1")
            .bind(hash)
            .execute(&mut *writing.transaction)
            .await
            .during(operation)?;
        writing.note(&Note::new("token.revoke", name), now_ms).await?;
        writing.commit(operation).await?;
        Ok(Revoked::Now)
    }

    /// Notes that a token was used, to the minute; not while somebody else writes, who may be slow: the next use will do.
    pub(crate) async fn note_use(&self, token: &TokenRow, now_ms: u64) -> Result<(), DatabaseError> {
        if now_ms.saturating_sub(unsigned(token.last_used_ms)) < USE_EVERY_MS {
            return Ok(());
        }
        let Ok(_turn) = self.writer.try_lock() else {
            return Ok(());
        };
        sqlx::query("UPDATE tokens SET last_used_ms = $2 WHERE name = $1 AND last_used_ms < $2")
            .bind(&token.name)
            .bind(signed(now_ms))
            .execute(&self.pool)
            .await
            .during("note the use of a token")
            .map(drop)
    }

    /// Logs a browser in.
    pub(crate) async fn add_session(&self, session: &SessionRow, now_ms: u64) -> Result<(), DatabaseError> {
        let operation = "log a browser in";
        let mut writing = self.write(operation).await?;
        sqlx::query("DELETE FROM sessions WHERE expires_ms <= $1")
            .bind(signed(now_ms))
            .execute(&mut *writing.transaction)
            .await
            .during(operation)?;
        sqlx::query(
            "INSERT INTO sessions (hash, actor_kind, actor_name, token, expires_ms) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&session.hash)
        .bind(&session.actor_kind)
        .bind(super::storable(&session.actor_name))
        .bind(&session.token)
        .bind(session.expires_ms)
        .execute(&mut *writing.transaction)
        .await
        .during(operation)?;
        writing.note(&Note::new("session.login", ""), now_ms).await?;
        writing.commit(operation).await
    }

    /// The session of a hash, while it lasts.
    pub(crate) async fn session(&self, hash: &str, now_ms: u64) -> Result<Option<SessionRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM sessions WHERE hash = $1 AND expires_ms > $2")
            .bind(hash)
            .bind(signed(now_ms))
            .fetch_optional(&self.pool)
            .await
            .during("look up a session")
    }

    /// Logs a browser out.
    pub(crate) async fn end_session(&self, hash: &str, now_ms: u64) -> Result<(), DatabaseError> {
        let operation = "log a browser out";
        let mut writing = self.write(operation).await?;
        let ended = sqlx::query("DELETE FROM sessions WHERE hash = $1")
            .bind(hash)
            .execute(&mut *writing.transaction)
            .await
            .during(operation)?;
        if ended.rows_affected() > 0 {
            writing.note(&Note::new("session.logout", ""), now_ms).await?;
        }
        writing.commit(operation).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::database;

    fn token(name: &str, roles: &str) -> NewToken {
        NewToken {
            name: name.to_owned(),
            hash: format!("hash of {name}"),
            roles: roles.to_owned(),
            is_admin: roles == "admin",
            expires_ms: 0,
        }
    }

    #[tokio::test]
    async fn tokens_are_made_used_and_revoked_for_good() {
        let (_dir, database) = database().await;
        let first = database.add_token(&token("ci", "releaser"), 1).await.unwrap();
        assert_eq!(
            (first, database.has_tokens().await.unwrap()),
            (Added::FirstNotAdmin, false)
        );
        assert_eq!(
            database.add_token(&token("root", "admin"), 1).await.unwrap(),
            Added::New
        );
        assert_eq!(
            database.add_token(&token("ci", "releaser"), 2).await.unwrap(),
            Added::New
        );
        assert_eq!(
            database.add_token(&token("ci", "admin"), 2).await.unwrap(),
            Added::NameTaken
        );
        let found = database.token("hash of ci").await.unwrap().unwrap();
        assert!(found.holds(u64::MAX) && found.created_by == "hub");
        database.note_use(&found, 60_000).await.unwrap();
        let used = database.token("hash of ci").await.unwrap().unwrap();
        assert_eq!(used.last_used_ms, 60_000);
        database.note_use(&used, 60_001).await.unwrap();
        assert_eq!(
            database.token("hash of ci").await.unwrap().unwrap(),
            used,
            "to the minute"
        );
        assert_eq!(database.revoke_token("ci", 70_000).await.unwrap(), Revoked::Now);
        assert_eq!(database.revoke_token("ci", 70_000).await.unwrap(), Revoked::Before);
        assert_eq!(database.revoke_token("cj", 70_000).await.unwrap(), Revoked::Unknown);
        assert!(!database.token("hash of ci").await.unwrap().unwrap().holds(70_000));
        assert_eq!(
            database.add_token(&token("ci", "admin"), 80_000).await.unwrap(),
            Added::NameTaken
        );
        let actions: Vec<String> = database
            .audit_after(0, 10)
            .await
            .unwrap()
            .into_iter()
            .map(|entry| format!("{} {}", entry.action, entry.subject))
            .collect();
        assert_eq!(actions, ["token.new root", "token.new ci", "token.revoke ci"]);
    }

    #[tokio::test]
    async fn a_session_ends_with_its_time_and_its_token() {
        let (_dir, database) = database().await;
        database.add_token(&token("root", "admin"), 1).await.unwrap();
        let session = |hash: &str, expires_ms: i64| SessionRow {
            hash: hash.to_owned(),
            actor_kind: "token".to_owned(),
            actor_name: "root".to_owned(),
            token: "hash of root".to_owned(),
            expires_ms,
        };
        for (hash, expires_ms) in [("a", 100), ("b", 200), ("c", 200)] {
            database.add_session(&session(hash, expires_ms), 1).await.unwrap();
        }
        assert!(database.session("a", 99).await.unwrap().is_some());
        assert_eq!(database.session("a", 100).await.unwrap(), None);
        database.end_session("b", 50).await.unwrap();
        assert_eq!(database.session("b", 50).await.unwrap(), None);
        assert!(database.session("c", 50).await.unwrap().is_some());
        database.revoke_token("root", 60).await.unwrap();
        assert_eq!(database.session("c", 60).await.unwrap(), None);
    }
}
