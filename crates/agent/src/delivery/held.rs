//! Chunks that lie on this device already, in the blobs of its generations.

use floorhand_bundle::{BlobRef, Digest};
use floorhand_store::Store;
use std::collections::BTreeMap;

/// Chunks that are remembered: at a mean of 32 KiB those of 2 GiB, the default budget of all blobs, in some 6 MB of memory.
const MAX_HELD_CHUNKS: usize = 65_536;

/// Where chunks lie, by digest. What is read there is hashed again before it is used.
#[derive(Debug, Clone, Default)]
pub struct Held {
    blobs: Vec<(Digest, u64)>,
    chunks: BTreeMap<Digest, (u32, u64)>,
}

impl Held {
    /// Remembers the chunks of a blob that is whole on the disk. Beyond 65,536 chunks no more are: they are fetched.
    pub fn add(&mut self, blob: &BlobRef) {
        let Ok(number) = u32::try_from(self.blobs.len()) else {
            return;
        };
        self.blobs.push((blob.sha256, blob.length));
        for (_, offset, chunk) in blob.layout() {
            if self.chunks.len() >= MAX_HELD_CHUNKS {
                return;
            }
            self.chunks.entry(chunk.sha256).or_insert((number, offset));
        }
    }

    /// How many chunks are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The bytes of a chunk, if they are there and are what they have to be.
    pub(super) fn read(&self, store: &Store, chunk: &floorhand_bundle::Chunk) -> Option<Vec<u8>> {
        let &(number, offset) = self.chunks.get(&chunk.sha256)?;
        let &(blob, length) = self.blobs.get(number as usize)?;
        let file = store.blobs().open_file(blob, length).ok()?;
        let mut bytes = vec![0; chunk.length as usize];
        file.read_exact_at(&mut bytes, offset).ok()?;
        (Digest::of(&bytes) == chunk.sha256).then_some(bytes)
    }
}
