//! Trust roots: the signed bytes of each that was taken, and the numbers that begin anew with one.

use super::{Database, DatabaseError, During as _, signed, unsigned};
use crate::audit::Note;
use floorhand_bundle::Digest;

/// A root as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct RootRow {
    pub(crate) version: i64,
    /// The signed bytes, hexadecimal.
    pub(crate) envelope: String,
    pub(crate) taken_ms: i64,
}

impl RootRow {
    /// The signed bytes.
    pub(crate) fn sealed(&self) -> Result<Vec<u8>, DatabaseError> {
        hex::decode(&self.envelope).map_err(|error| DatabaseError::Damaged {
            what: "a trust root",
            problem: error.to_string(),
        })
    }

    /// Its version.
    pub(crate) fn number(&self) -> u64 {
        unsigned(self.version)
    }
}

impl Database {
    /// All roots, the oldest first.
    pub(crate) async fn roots(&self) -> Result<Vec<RootRow>, DatabaseError> {
        sqlx::query_as("SELECT version, envelope, taken_ms FROM roots ORDER BY version")
            .fetch_all(&self.pool)
            .await
            .during("list trust roots")
    }

    /// Stores a root. False when one of its version is there, which stays.
    ///
    /// With `anew`, devices begin anew under it to count what they take: each goes on above what was issued to it here,
    /// and what it last said of itself counts no more, for somebody who had the old key may have driven it up.
    pub(crate) async fn add_root(
        &self,
        version: u64,
        sealed: &[u8],
        anew: bool,
        now_ms: u64,
    ) -> Result<bool, DatabaseError> {
        let operation = "store a trust root";
        let mut writing = self.write(operation).await?;
        let added =
            sqlx::query("INSERT INTO roots (version, envelope, taken_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                .bind(signed(version))
                .bind(hex::encode(sealed))
                .bind(signed(now_ms))
                .execute(&mut *writing.transaction)
                .await
                .during(operation)?
                .rows_affected();
        if added > 0 && anew {
            sqlx::query(
                "UPDATE devices SET \
                 seq = (SELECT COALESCE(MAX(a.seq), 0) FROM assignments a WHERE a.device = devices.id), \
                 command_id = (SELECT COALESCE(MAX(c.id), 0) FROM commands c WHERE c.device = devices.id)",
            )
            .execute(&mut *writing.transaction)
            .await
            .during(operation)?;
        }
        if added > 0 {
            let note = Note::new("root.publish", version.to_string())
                .with("digest", Digest::of(sealed).to_string())
                .with("numbers_begin_anew", anew);
            writing.note(&note, now_ms).await?;
        }
        writing.commit(operation).await?;
        Ok(added > 0)
    }
}

#[cfg(test)]
mod tests {
    use crate::database::tests::database;
    use crate::testing::hello;

    #[tokio::test]
    async fn a_root_is_stored_once_and_may_let_numbers_begin_anew() {
        let (_dir, database) = database().await;
        let device = "press-1".parse().unwrap();
        database.register(&device, "aa", false, 1).await.unwrap();
        let mut ahead = hello("press-1", 1, 1);
        (ahead.seq, ahead.command_id) = (1 << 40, 1 << 41);
        database.store_hello(&ahead, 10).await.unwrap();
        assert!(database.add_root(1, b"one", false, 5).await.unwrap());
        assert_eq!(database.device("press-1").await.unwrap().unwrap().seq, 1 << 40);
        assert!(database.add_root(2, b"two", true, 6).await.unwrap());
        let row = database.device("press-1").await.unwrap().unwrap();
        assert_eq!((row.seq, row.command_id), (0, 0));
        database.store_hello(&ahead, 11).await.unwrap();
        assert!(!database.add_root(2, b"other", true, 7).await.unwrap());
        assert_eq!(database.device("press-1").await.unwrap().unwrap().seq, 1 << 40);
        let roots = database.roots().await.unwrap();
        let found: Vec<_> = roots
            .iter()
            .map(|root| (root.number(), root.sealed().unwrap(), root.taken_ms))
            .collect();
        assert_eq!(found, [(1, b"one".to_vec(), 5), (2, b"two".to_vec(), 6)]);
    }
}
