//! Fetching one blob, chunk by chunk: what to ask for, what to make of what comes. No connection and no clock: messages
//! and time come in as values.
//!
//! A chunk is held against the signed list before it is written, whoever sent it. What is on the disk from before is hashed
//! again; what another blob of the device has in common is copied from there. A device that is subscribed to the blob's
//! topic says so with its requests, and takes from there what the hub publishes once for everybody.
//!
//! # Testing
//!
//! The daemon's core drives this, and so does whoever simulates a fleet: a [`Store`] in a temporary directory, a
//! [`Download`], and its requests and answers passed over any transport.

mod held;
mod listening;
#[cfg(test)]
mod tests;

pub use held::Held;

use floorhand_bundle::{BlobRef, Chunk, Digest};
use floorhand_protocol::{ChunkMessage, FETCH_WINDOW_BYTES, Fetch, MAX_FETCH_CHUNKS, Missing};
use floorhand_store::{PartialBlob, Store, StoreError};
use listening::Listening;
use std::collections::{BTreeMap, BTreeSet};

/// Which way a chunk came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// On the device's own topic, as the answer to a request.
    Answer,
    /// On the blob's topic, for everybody.
    Broadcast,
}

/// What a chunk that came in led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It isn't missing, or it can't be used and wasn't asked for.
    Ignored,
    /// It was written.
    Written,
    /// It isn't what the list says. It was thrown away and will be asked for again.
    Wrong(String),
    /// It came on the blob's topic and isn't what the list says. It was thrown away, and changes nothing in what is asked
    /// for.
    Forged(String),
    /// The hub hasn't got it.
    Unknown,
}

/// How long a device that has connected again waits for what the broker has kept for it, and after each chunk of that: a
/// window that is asked for meanwhile would come twice.
const QUIET_MS: u64 = 300;

/// What a download has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Bytes of chunks that came and were written, unpacked.
    pub fetched_bytes: u64,
    /// Bytes of chunks that were on the device already.
    pub copied_bytes: u64,
    /// Chunks that were written and had come on the blob's topic.
    pub broadcast_chunks: u64,
    /// Chunks that came and were not missing any more.
    pub surplus_chunks: u64,
    /// Chunks on the blob's topic that aren't in the list.
    pub forged_chunks: u64,
}

/// One blob that is being fetched.
#[derive(Debug)]
pub struct Download {
    blob: BlobRef,
    offsets: Vec<u64>,
    /// Chunks that are in the blob more than once, and where.
    repeats: BTreeMap<Digest, Vec<u32>>,
    partial: PartialBlob,
    missing: BTreeSet<u32>,
    /// Of the last request, for this device alone.
    asked: BTreeSet<u32>,
    /// Behind the last chunk that the last request wanted from the topic.
    wanted_end: u32,
    token: u64,
    /// Nothing is asked for before: what the broker has kept of earlier answers comes first.
    quiet_until_ms: u64,
    listening: Listening,
    counts: Counts,
}

impl Download {
    /// Begins, or goes on with what is on the disk. `None` when the blob is complete already.
    ///
    /// # Errors
    /// When the budget or the disk has no room for it, or the system refuses.
    pub fn begin(store: &Store, blob: &BlobRef, held: &Held) -> Result<Option<Self>, StoreError> {
        let Some(partial) = store.blobs().begin(blob.sha256, blob.length)? else {
            return Ok(None);
        };
        let mut download = Self {
            offsets: blob.layout().map(|(_, offset, _)| offset).collect(),
            repeats: repeats(blob),
            missing: (0..).take(blob.chunks.len()).collect(),
            blob: blob.clone(),
            partial,
            asked: BTreeSet::new(),
            wanted_end: 0,
            token: 0,
            quiet_until_ms: 0,
            listening: Listening::default(),
            counts: Counts::default(),
        };
        if download.partial.is_resumed() {
            download.take_from_disk();
        }
        download.take_from_others(store, held)?;
        Ok(Some(download))
    }

    /// What is fetched.
    #[must_use]
    pub fn blob(&self) -> &BlobRef {
        &self.blob
    }

    /// What it has seen so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether every chunk is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Bytes that are still missing.
    #[must_use]
    pub fn missing_bytes(&self) -> u64 {
        let lengths = self.missing.iter().filter_map(|&index| self.chunk(index));
        lengths.map(|chunk| u64::from(chunk.length)).sum()
    }

    /// Whether the device should be subscribed to the blob's topic. False once listening has brought forgeries, or nothing,
    /// too often.
    #[must_use]
    pub fn wants_topic(&self) -> bool {
        !self.is_complete() && self.listening.is_worthwhile()
    }

    /// Tells whether the device is subscribed to the blob's topic: before the next request, whose answer may come there.
    pub fn subscribed(&mut self, subscribed: bool) {
        self.listening.subscribed(subscribed);
    }

    /// Asks for this device alone from now on.
    pub fn stop_listening(&mut self) {
        self.listening.give_up();
        self.asked.clear();
    }

    /// Checks the whole and puts it in its place.
    ///
    /// # Errors
    /// When the content isn't what the digest says, or a step fails.
    pub fn finish(self) -> Result<(), StoreError> {
        self.partial.finish()
    }

    /// The next request, if there is room in the window for one, or the last one has run out of time. `random` gives its
    /// token.
    pub fn request(&mut self, now_ms: u64, random: &mut dyn FnMut() -> u64) -> Option<Fetch> {
        let all = self.wanted_end > 0 && self.missing.range(..self.wanted_end).next().is_none();
        if now_ms < self.quiet_until_ms || !self.listening.is_due(now_ms, self.asked.is_empty(), all) {
            return None;
        }
        self.asked = self.window();
        let missing = Missing::of(self.asked.iter().copied())?;
        self.asked = missing.indices().collect();
        self.token = random();
        let first = missing.first;
        let fetch = Fetch::new(self.token, self.blob.sha256, missing);
        if self.listening.ask(now_ms, self.token) {
            self.wanted_end = first.saturating_add(MAX_FETCH_CHUNKS);
            return Some(fetch.listening(self.missing.iter().copied()));
        }
        self.wanted_end = 0;
        Some(fetch)
    }

    /// Forgets what was asked for, because it can't have been sent or what came can't be used: it is asked for again.
    pub fn forget_requests(&mut self) {
        self.asked.clear();
        self.listening.forget(false);
    }

    /// The same after the connection was made again: the answers may be gone, or the broker has kept them and they come yet.
    pub fn reconnected(&mut self, now_ms: u64) {
        if !self.asked.is_empty() {
            self.quiet_until_ms = now_ms + QUIET_MS;
        }
        self.asked.clear();
        self.listening.forget(true);
    }

    /// Takes a chunk that came in.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn take(&mut self, message: ChunkMessage, way: Way, now_ms: u64) -> Result<Taken, StoreError> {
        let (index, left) = (message.index, message.left);
        if message.digest != self.blob.sha256 {
            return Ok(Taken::Ignored);
        }
        let Some(chunk) = self.chunk(index).filter(|_| self.missing.contains(&index)).cloned() else {
            self.counts.surplus_chunks += 1;
            return Ok(Taken::Ignored);
        };
        let was_asked = way == Way::Answer && message.token == self.token && self.asked.contains(&index);
        let bytes = match self.unpack(message, &chunk) {
            Ok(Some(bytes)) => bytes,
            Ok(None) if was_asked => return Ok(Taken::Unknown),
            Ok(None) => return Ok(Taken::Ignored),
            Err(problem) if was_asked => return Ok(Taken::Wrong(problem)),
            Err(problem) if way == Way::Broadcast => {
                self.counts.forged_chunks += 1;
                self.listening.forged();
                return Ok(Taken::Forged(problem));
            }
            Err(_) => return Ok(Taken::Ignored),
        };
        self.write(&chunk, index, &bytes)?;
        if now_ms < self.quiet_until_ms {
            // Each of these was missing: it ends when they do.
            self.quiet_until_ms = now_ms + QUIET_MS;
        }
        self.counts.fetched_bytes += bytes.len() as u64;
        if way == Way::Broadcast {
            self.counts.broadcast_chunks += 1;
            self.listening.heard(now_ms, left);
        }
        if was_asked {
            self.listening.answered(now_ms);
        }
        Ok(Taken::Written)
    }

    /// Something came on the blob's topic that is no chunk at all.
    pub fn unreadable(&mut self) {
        self.counts.forged_chunks += 1;
        self.listening.forged();
    }

    /// The bytes, if they are what the list says; no more than it says are unpacked.
    fn unpack(&self, message: ChunkMessage, chunk: &Chunk) -> Result<Option<Vec<u8>>, String> {
        let index = message.index;
        match message.unpack_within(chunk.length) {
            Ok(Some(bytes)) if bytes.len() == chunk.length as usize && Digest::of(&bytes) == chunk.sha256 => {
                Ok(Some(bytes))
            }
            Ok(Some(_)) => Err(format!(
                "chunk {index} of blob {} is not what the signed list says",
                self.blob.sha256.short()
            )),
            Ok(None) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn chunk(&self, index: u32) -> Option<&Chunk> {
        self.blob.chunks.get(index as usize)
    }

    /// The first missing chunks that fit into the window, each content once.
    fn window(&self) -> BTreeSet<u32> {
        let mut window = FETCH_WINDOW_BYTES;
        let mut asked = BTreeSet::new();
        for &index in &self.missing {
            let Some(chunk) = self.chunk(index) else { break };
            let first = self.repeats.get(&chunk.sha256).and_then(|places| {
                let mut missing = places.iter().filter(|place| self.missing.contains(place));
                missing.next()
            });
            if first.is_some_and(|&first| first != index) {
                continue;
            }
            let Some(left) = window.checked_sub(u64::from(chunk.length)) else {
                break;
            };
            window = left;
            asked.insert(index);
        }
        asked
    }

    /// Writes a chunk that was verified, wherever the blob has it.
    fn write(&mut self, chunk: &Chunk, index: u32, bytes: &[u8]) -> Result<(), StoreError> {
        let places = self.repeats.get(&chunk.sha256).cloned();
        for place in places.unwrap_or_else(|| vec![index]) {
            let Some(&offset) = self.offsets.get(place as usize) else {
                continue;
            };
            if self.missing.contains(&place) {
                self.partial.write_at(offset, bytes)?;
                self.missing.remove(&place);
                self.asked.remove(&place);
            }
        }
        Ok(())
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
            let Some(chunk) = self.chunk(index).filter(|_| self.missing.contains(&index)).cloned() else {
                continue;
            };
            if let Some(bytes) = held.read(store, &chunk) {
                self.write(&chunk, index, &bytes)?;
                self.counts.copied_bytes += u64::from(chunk.length);
            }
        }
        Ok(())
    }
}

/// The chunks that a blob has more than once, with all of their places.
fn repeats(blob: &BlobRef) -> BTreeMap<Digest, Vec<u32>> {
    let mut places: BTreeMap<Digest, Vec<u32>> = BTreeMap::new();
    for (index, _, chunk) in blob.layout() {
        places.entry(chunk.sha256).or_default().push(index);
    }
    places.retain(|_, places| places.len() > 1);
    places
}
