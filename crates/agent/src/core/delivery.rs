//! Fetching one blob, chunk by chunk: what to ask for, what to make of what comes.
//!
//! A chunk is held against the signed list before it is written. What is on the disk from before is hashed again; what
//! another blob of the device has in common is copied from there.

use floorhand_bundle::{BlobRef, Digest};
use floorhand_protocol::{ChunkMessage, FETCH_WINDOW_BYTES, Fetch, Missing};
use floorhand_store::{PartialBlob, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};

/// A request that brought no chunk for this long is made again. Over a slow link 128 KiB take that long at 100 kbit/s.
const REQUEST_TIMEOUT_MS: u64 = 10_000;

/// Where a chunk lies on this device already: its blob, that blob's length, and the chunk's offset in it.
pub(crate) type Held = BTreeMap<Digest, (Digest, u64, u64)>;

/// What a chunk that came in led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It wasn't asked for, or not any more.
    Ignored,
    /// It was written.
    Written,
    /// It isn't what the list says. It was thrown away and will be asked for again.
    Wrong(String),
    /// The hub hasn't got it.
    Unknown,
}

/// One blob that is being fetched.
#[derive(Debug)]
pub(crate) struct Download {
    blob: BlobRef,
    offsets: Vec<u64>,
    partial: PartialBlob,
    missing: BTreeSet<u32>,
    asked: BTreeSet<u32>,
    token: u64,
    asked_ms: u64,
    /// Bytes that came over the network.
    pub(crate) fetched_bytes: u64,
}

impl Download {
    /// Begins, or goes on with what is on the disk. `None` when the blob is complete already.
    pub(crate) fn begin(store: &Store, blob: &BlobRef, held: &Held) -> Result<Option<Self>, StoreError> {
        let Some(partial) = store.blobs().begin(blob.sha256, blob.length)? else {
            return Ok(None);
        };
        let mut download = Self {
            offsets: blob.layout().map(|(_, offset, _)| offset).collect(),
            missing: (0..).take(blob.chunks.len()).collect(),
            blob: blob.clone(),
            partial,
            asked: BTreeSet::new(),
            token: 0,
            asked_ms: 0,
            fetched_bytes: 0,
        };
        if download.partial.is_resumed() {
            download.take_from_disk();
        }
        download.take_from_others(store, held)?;
        Ok(Some(download))
    }

    /// Whether every chunk is there.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Checks the whole and puts it in its place.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        self.partial.finish()
    }

    /// The next request, if there is room in the window for one, or the last one has run out of time.
    pub(crate) fn request(&mut self, now_ms: u64, random: &mut dyn FnMut() -> u64) -> Option<Fetch> {
        if !self.asked.is_empty() && now_ms.saturating_sub(self.asked_ms) < REQUEST_TIMEOUT_MS {
            return None;
        }
        self.asked.clear();
        let mut window = FETCH_WINDOW_BYTES;
        for &index in &self.missing {
            let length = u64::from(self.chunk(index)?.length);
            let Some(left) = window.checked_sub(length) else { break };
            window = left;
            self.asked.insert(index);
        }
        let missing = Missing::of(self.asked.iter().copied())?;
        self.asked = missing.indices().collect();
        self.asked_ms = now_ms;
        self.token = random();
        Some(Fetch::new(self.token, self.blob.sha256, missing))
    }

    /// Forgets what was asked for, after the connection broke: the answers may be gone.
    pub(crate) fn forget_requests(&mut self) {
        self.asked.clear();
    }

    /// Takes a chunk that came in.
    pub(crate) fn take(&mut self, message: ChunkMessage, now_ms: u64) -> Result<Taken, StoreError> {
        let index = message.index;
        if message.token != self.token || message.digest != self.blob.sha256 || !self.asked.contains(&index) {
            return Ok(Taken::Ignored);
        }
        let (Some(chunk), Some(&offset)) = (self.chunk(index).cloned(), self.offsets.get(index as usize)) else {
            return Ok(Taken::Ignored);
        };
        let bytes = match message.unpack() {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Taken::Unknown),
            Err(error) => return Ok(Taken::Wrong(error.to_string())),
        };
        if bytes.len() != chunk.length as usize || Digest::of(&bytes) != chunk.sha256 {
            return Ok(Taken::Wrong(format!(
                "chunk {index} of blob {} is not what the signed list says",
                self.blob.sha256.short()
            )));
        }
        self.partial.write_at(offset, &bytes)?;
        self.missing.remove(&index);
        self.asked.remove(&index);
        self.asked_ms = now_ms;
        self.fetched_bytes += bytes.len() as u64;
        Ok(Taken::Written)
    }

    fn chunk(&self, index: u32) -> Option<&floorhand_bundle::Chunk> {
        self.blob.chunks.get(index as usize)
    }

    /// Hashes what an earlier try has left.
    fn take_from_disk(&mut self) {
        let (partial, offsets, blob) = (&self.partial, &self.offsets, &self.blob);
        self.missing.retain(|&index| {
            let at = index as usize;
            let (Some(chunk), Some(&offset)) = (blob.chunks.get(at), offsets.get(at)) else {
                return true;
            };
            let on_disk = partial.read_at(offset, chunk.length as usize);
            !on_disk.is_ok_and(|bytes| Digest::of(&bytes) == chunk.sha256)
        });
    }

    /// Copies what other blobs of the device have in common with this one.
    fn take_from_others(&mut self, store: &Store, held: &Held) -> Result<(), StoreError> {
        for index in self.missing.clone() {
            let (Some(chunk), Some(&offset)) = (self.chunk(index).cloned(), self.offsets.get(index as usize)) else {
                continue;
            };
            let Some(bytes) = held
                .get(&chunk.sha256)
                .and_then(|place| read_held(store, *place, chunk.length))
            else {
                continue;
            };
            if Digest::of(&bytes) == chunk.sha256 {
                self.partial.write_at(offset, &bytes)?;
                self.missing.remove(&index);
            }
        }
        Ok(())
    }
}

fn read_held(store: &Store, (blob, blob_length, offset): (Digest, u64, u64), length: u32) -> Option<Vec<u8>> {
    let file = store.blobs().open_file(blob, blob_length).ok()?;
    let mut bytes = vec![0; length as usize];
    file.read_at(offset, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_store::StoreOptions;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(
            dir.path(),
            StoreOptions {
                blob_budget_bytes: 1 << 24,
            },
        )
        .unwrap();
        (dir, store)
    }

    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    /// Plays the hub: answers a request from `bytes`.
    fn answers(fetch: &Fetch, blob: &BlobRef, bytes: &[u8]) -> Vec<ChunkMessage> {
        let chunk = |index: u32| {
            let (_, offset, chunk) = blob.layout().nth(index as usize).unwrap();
            let at = offset as usize;
            ChunkMessage::pack(fetch.token, fetch.digest, index, &bytes[at..at + chunk.length as usize])
        };
        fetch.indices().into_iter().map(chunk).collect()
    }

    fn fetch_all(download: &mut Download, blob: &BlobRef, bytes: &[u8]) {
        let mut token = 0;
        while let Some(fetch) = download.request(0, &mut || {
            token += 1;
            token
        }) {
            for message in answers(&fetch, blob, bytes) {
                assert_eq!(download.take(message, 0).unwrap(), Taken::Written);
            }
        }
    }

    #[test]
    fn a_blob_arrives_chunk_by_chunk_within_the_window() {
        let (_dir, store) = store();
        let bytes = noise(1_000_000, 1);
        let blob = BlobRef::of(&bytes);
        let mut download = Download::begin(&store, &blob, &Held::new()).unwrap().unwrap();
        let fetch = download.request(0, &mut || 9).unwrap();
        let asked: u32 = fetch
            .indices()
            .iter()
            .map(|&index| blob.chunks[index as usize].length)
            .sum();
        assert!(u64::from(asked) <= FETCH_WINDOW_BYTES && !fetch.indices().is_empty());
        assert!(download.request(9_999, &mut || 9).is_none(), "one request at a time");
        assert!(
            download.request(10_000, &mut || 9).is_some(),
            "until it has run out of time"
        );
        download.forget_requests();
        fetch_all(&mut download, &blob, &bytes);
        assert!(download.is_complete());
        download.finish().unwrap();
        assert_eq!(store.blobs().read(blob.sha256, 1 << 24).unwrap(), bytes);
        assert!(Download::begin(&store, &blob, &Held::new()).unwrap().is_none());
    }

    #[test]
    fn wrong_late_and_unknown_chunks_are_told_apart() {
        let (_dir, store) = store();
        let bytes = noise(100_000, 2);
        let blob = BlobRef::of(&bytes);
        let mut download = Download::begin(&store, &blob, &Held::new()).unwrap().unwrap();
        let fetch = download.request(0, &mut || 7).unwrap();
        let index = fetch.indices()[0];
        let good = answers(&fetch, &blob, &bytes).remove(0);
        let bent = ChunkMessage::pack(7, blob.sha256, index, b"other bytes");
        assert!(matches!(download.take(bent, 0).unwrap(), Taken::Wrong(_)));
        let late = ChunkMessage {
            token: 6,
            ..good.clone()
        };
        assert_eq!(download.take(late, 0).unwrap(), Taken::Ignored);
        let none = ChunkMessage::unknown(7, blob.sha256, index);
        assert_eq!(download.take(none, 0).unwrap(), Taken::Unknown);
        assert_eq!(download.take(good.clone(), 0).unwrap(), Taken::Written);
        assert_eq!(download.take(good, 0).unwrap(), Taken::Ignored, "a repetition");
    }

    #[test]
    fn what_is_on_the_disk_is_not_fetched_again() {
        let (_dir, store) = store();
        let old = noise(1_000_000, 3);
        let mut new = old.clone();
        new.splice(5000..5000, noise(148, 4));
        store.blobs().put(&old).unwrap();
        let (old, blob) = (BlobRef::of(&old), BlobRef::of(&new));
        let place =
            |(_, offset, chunk): (u32, u64, &floorhand_bundle::Chunk)| (chunk.sha256, (old.sha256, old.length, offset));
        let held: Held = old.layout().map(place).collect();
        let mut download = Download::begin(&store, &blob, &held).unwrap().unwrap();
        let fetch = download.request(0, &mut || 1).unwrap();
        for message in answers(&fetch, &blob, &new).into_iter().take(1) {
            download.take(message, 0).unwrap();
        }
        drop(download);
        let mut download = Download::begin(&store, &blob, &Held::new()).unwrap().unwrap();
        let missing = download.missing.len();
        assert!(
            missing < blob.chunks.len() / 4,
            "{missing} of {} are still missing",
            blob.chunks.len()
        );
        fetch_all(&mut download, &blob, &new);
        download.finish().unwrap();
        assert_eq!(store.blobs().read(blob.sha256, 1 << 24).unwrap(), new);
    }
}
