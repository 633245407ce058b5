//! Blobs and their chunk lists: content-defined cuts, so that an insertion near the start of a model leaves the chunks
//! behind it as they were, and a device fetches only those it doesn't hold.

use crate::digest::Digest;
use fastcdc::v2020::FastCDC;
use serde::{Deserialize, Serialize};

/// The largest chunk in bytes: the unit of transfer, one MQTT message.
pub const MAX_CHUNK_BYTES: u32 = 64 * 1024;
const MIN_CHUNK_BYTES: usize = 8 * 1024;
const MEAN_CHUNK_BYTES: usize = 32 * 1024;
/// The largest blob in bytes: 512 MiB, above any model that fits beside an agent on the devices this is for.
pub const MAX_BLOB_BYTES: u64 = 512 * 1024 * 1024;

/// One chunk of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The digest of the chunk's bytes.
    pub sha256: Digest,
    /// Its length in bytes.
    pub length: u32,
}

/// A blob by its content: what to fetch, and how to know that it arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    /// The digest of all the bytes.
    pub sha256: Digest,
    /// The length in bytes.
    pub length: u64,
    /// The chunks in order.
    pub chunks: Vec<Chunk>,
}

/// Why a chunk list can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Lengths that don't add up, a chunk that is empty or too long, or a blob that is too long.
    #[error("chunk list of blob {blob} is wrong: {problem}")]
    List {
        /// The blob's short digest.
        blob: String,
        /// What is wrong.
        problem: &'static str,
    },
}

impl BlobRef {
    /// Cuts a blob.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let cuts = FastCDC::new(bytes, MIN_CHUNK_BYTES, MEAN_CHUNK_BYTES, MAX_CHUNK_BYTES as usize);
        let chunks = cuts
            .filter_map(|cut| bytes.get(cut.offset..cut.offset + cut.length))
            .map(|chunk| Chunk {
                sha256: Digest::of(chunk),
                length: chunk.len() as u32,
            })
            .collect();
        Self {
            sha256: Digest::of(bytes),
            length: bytes.len() as u64,
            chunks,
        }
    }

    /// Whether the list can be what it says: no empty or oversized chunk, lengths that add up.
    pub fn check(&self) -> Result<(), ChunkError> {
        let wrong = |problem| ChunkError::List {
            blob: self.sha256.short(),
            problem,
        };
        if self.length > MAX_BLOB_BYTES {
            return Err(wrong("longer than 512 MiB"));
        }
        if self
            .chunks
            .iter()
            .any(|chunk| chunk.length == 0 || chunk.length > MAX_CHUNK_BYTES)
        {
            return Err(wrong("a chunk that is empty or longer than 64 KiB"));
        }
        if self.chunks.iter().map(|chunk| u64::from(chunk.length)).sum::<u64>() != self.length {
            return Err(wrong("the chunks' lengths don't add up to the blob's"));
        }
        Ok(())
    }

    /// Each chunk with its index and the offset of its first byte.
    pub fn layout(&self) -> impl Iterator<Item = (u32, u64, &Chunk)> {
        let offsets = self.chunks.iter().scan(0_u64, |end, chunk| {
            let start = *end;
            *end += u64::from(chunk.length);
            Some(start)
        });
        self.chunks
            .iter()
            .zip(offsets)
            .zip(0..)
            .map(|((chunk, offset), index)| (index, offset, chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Bytes without a pattern, the same in every run.
    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(length)
        .collect()
    }

    #[test]
    fn a_list_adds_up() {
        for length in [0, 1, 8 * 1024, 1_000_000] {
            let bytes = noise(length, 1);
            let blob = BlobRef::of(&bytes);
            blob.check().unwrap();
            for (_, offset, chunk) in blob.layout() {
                let at = offset as usize;
                assert_eq!(Digest::of(&bytes[at..at + chunk.length as usize]), chunk.sha256);
            }
        }
    }

    #[test]
    fn an_insertion_changes_few_chunks() {
        let before = noise(4_000_000, 2);
        let mut after = before.clone();
        after.splice(1000..1000, noise(148, 3));
        let held: BTreeSet<_> = BlobRef::of(&before)
            .chunks
            .into_iter()
            .map(|chunk| chunk.sha256)
            .collect();
        let missing: u64 = BlobRef::of(&after)
            .chunks
            .iter()
            .filter(|chunk| !held.contains(&chunk.sha256))
            .map(|chunk| u64::from(chunk.length))
            .sum();
        assert!(missing <= 400_000, "{missing} bytes to move");
    }

    #[test]
    fn lists_that_lie_are_refused() {
        let good = BlobRef::of(&noise(100_000, 4));
        let mut short = good.clone();
        short.chunks.pop();
        assert!(short.check().is_err());
        let mut long = good.clone();
        long.chunks[0].length = MAX_CHUNK_BYTES + 1;
        assert!(long.check().is_err());
        let mut empty = good;
        empty.chunks[0].length = 0;
        assert!(empty.check().is_err());
    }
}
