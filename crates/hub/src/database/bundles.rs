//! Bundles that were ingested, and the blobs that may be served because they belong to one.

use super::{Database, DatabaseError, During as _, damaged, signed};
use crate::audit::Note;

/// More bundles than anybody pages through; bounds the list.
const MAX_BUNDLES: i64 = 1000;

/// A bundle as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct BundleRow {
    pub(crate) digest: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) release_counter: i64,
    /// The blob that is its manifest's envelope.
    pub(crate) envelope: String,
    pub(crate) total_bytes: i64,
    /// JSON of [`crate::ingest::Summary`].
    pub(crate) summary: String,
    pub(crate) ingested_ms: i64,
}

/// A bundle to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewBundle {
    pub(crate) digest: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) release_counter: u64,
    pub(crate) envelope: String,
    pub(crate) total_bytes: u64,
    pub(crate) summary: String,
    /// The envelope and every component.
    pub(crate) blobs: Vec<NewBlob>,
}

/// A blob to be served.
#[derive(Debug, Clone)]
pub(crate) struct NewBlob {
    pub(crate) digest: String,
    pub(crate) length: u64,
    /// The chunks' lengths in bytes.
    pub(crate) chunks: Vec<u32>,
}

impl Database {
    /// Stores a bundle and its blobs; false when it was there.
    pub(crate) async fn add_bundle(&self, bundle: &NewBundle, now_ms: u64) -> Result<bool, DatabaseError> {
        let operation = "store a bundle";
        let mut writing = self.write(operation).await?;
        for blob in &bundle.blobs {
            let chunks = serde_json::to_string(&blob.chunks).map_err(damaged("a chunk list"))?;
            sqlx::query("INSERT INTO blobs (digest, length, chunks) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                .bind(&blob.digest)
                .bind(signed(blob.length))
                .bind(chunks)
                .execute(&mut *writing.transaction)
                .await
                .during(operation)?;
        }
        let added = sqlx::query(
            "INSERT INTO bundles (digest, name, version, release_counter, envelope, total_bytes, summary, ingested_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        )
        .bind(&bundle.digest)
        .bind(&bundle.name)
        .bind(&bundle.version)
        .bind(signed(bundle.release_counter))
        .bind(&bundle.envelope)
        .bind(signed(bundle.total_bytes))
        .bind(&bundle.summary)
        .bind(signed(now_ms))
        .execute(&mut *writing.transaction)
        .await
        .during(operation)?
        .rows_affected();
        // The same manifest may come again with other signatures, when a release key was revoked.
        sqlx::query("UPDATE bundles SET envelope = $2 WHERE digest = $1")
            .bind(&bundle.digest)
            .bind(&bundle.envelope)
            .execute(&mut *writing.transaction)
            .await
            .during(operation)?;
        if added > 0 {
            let note = Note::new("bundle.push", &bundle.digest)
                .with("name", bundle.name.as_str())
                .with("version", bundle.version.as_str())
                .with("release_counter", bundle.release_counter);
            writing.note(&note, now_ms).await?;
        }
        writing.commit(operation).await?;
        Ok(added > 0)
    }

    /// All bundles, the newest first.
    pub(crate) async fn bundles(&self) -> Result<Vec<BundleRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM bundles ORDER BY ingested_ms DESC, digest LIMIT $1")
            .bind(MAX_BUNDLES)
            .fetch_all(&self.pool)
            .await
            .during("list bundles")
    }

    /// The bundle of a whole digest.
    pub(crate) async fn bundle(&self, digest: &str) -> Result<Option<BundleRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM bundles WHERE digest = $1")
            .bind(digest)
            .fetch_optional(&self.pool)
            .await
            .during("look up a bundle")
    }

    /// Bundles whose digest begins with `prefix`, which has hexadecimal digits only; two are enough to know that it is
    /// not unique.
    pub(crate) async fn bundles_by_prefix(&self, prefix: &str) -> Result<Vec<BundleRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM bundles WHERE digest LIKE $1 ORDER BY digest LIMIT 2")
            .bind(format!("{prefix}%"))
            .fetch_all(&self.pool)
            .await
            .during("look up a bundle")
    }

    /// The bundle of a name and a version.
    pub(crate) async fn bundle_by_name(&self, name: &str, version: &str) -> Result<Option<BundleRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM bundles WHERE name = $1 AND version = $2")
            .bind(name)
            .bind(version)
            .fetch_optional(&self.pool)
            .await
            .during("look up a bundle")
    }

    /// The lengths of a blob's chunks, if it may be served.
    pub(crate) async fn blob_chunks(&self, digest: &str) -> Result<Option<Vec<u32>>, DatabaseError> {
        let chunks: Option<String> = sqlx::query_scalar("SELECT chunks FROM blobs WHERE digest = $1")
            .bind(digest)
            .fetch_optional(&self.pool)
            .await
            .during("look up a blob")?;
        chunks
            .map(|json| serde_json::from_str(&json).map_err(damaged("a chunk list")))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::database;

    fn bundle(digest: &str, version: &str) -> NewBundle {
        NewBundle {
            digest: digest.to_owned(),
            name: "valve".to_owned(),
            version: version.to_owned(),
            release_counter: 1,
            envelope: "e0".to_owned(),
            total_bytes: 3,
            summary: "{}".to_owned(),
            blobs: vec![NewBlob {
                digest: "e0".to_owned(),
                length: 3,
                chunks: vec![1, 2],
            }],
        }
    }

    #[tokio::test]
    async fn bundles_are_found_by_all_their_names() {
        let (_dir, database) = database().await;
        assert!(database.add_bundle(&bundle("abc1", "1.0.0"), 1).await.unwrap());
        assert!(!database.add_bundle(&bundle("abc1", "1.0.0"), 2).await.unwrap());
        assert!(database.add_bundle(&bundle("abd2", "1.0.1"), 3).await.unwrap());
        let digests = |rows: Vec<BundleRow>| rows.into_iter().map(|row| row.digest).collect::<Vec<_>>();
        assert_eq!(digests(database.bundles().await.unwrap()), ["abd2", "abc1"]);
        assert_eq!(digests(database.bundles_by_prefix("abc").await.unwrap()), ["abc1"]);
        assert_eq!(database.bundles_by_prefix("ab").await.unwrap().len(), 2);
        assert_eq!(
            database.bundle_by_name("valve", "1.0.1").await.unwrap().unwrap().digest,
            "abd2"
        );
        assert_eq!(database.bundle("abc").await.unwrap(), None);
        assert_eq!(database.blob_chunks("e0").await.unwrap(), Some(vec![1, 2]));
        assert_eq!(database.blob_chunks("e1").await.unwrap(), None);
    }
}
