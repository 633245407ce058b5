//! Chunks out. Requests wait in one queue for each device, and the devices take turns, a chunk at a time, so that one that
//! asks for much doesn't hold up the others. What several of them want is published once for all, in turn with these; see
//! `delivery/rounds.rs`.
//!
//! Only blobs of ingested bundles are served. Requests aren't signed: what they can cause is bounded here.

mod rounds;

use crate::fleet::{Hub, HubError};
use floorhand_bundle::{DeviceId, Digest};
use floorhand_protocol::{ChunkMessage, Down, Fetch, MAX_FETCH_CHUNKS};
use rounds::{Publication, Rounds};
use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Chunks that wait for one device: two of the largest requests. What is above is asked for again.
const MAX_WAITING: usize = 2 * MAX_FETCH_CHUNKS as usize;
/// Devices with chunks waiting: as many as a hub is meant for.
const MAX_DEVICES: usize = 20_000;
/// Chunk lists in memory: a rollout is of one bundle, or a few, each of some blobs; a list has 12 bytes a chunk.
const MAX_LISTS: usize = 64;

/// A chunk that a device waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    token: u64,
    digest: Digest,
    index: u32,
}

/// Who waits for what. The device at the front is served next.
#[derive(Debug, Default)]
struct Queue {
    turns: VecDeque<DeviceId>,
    waiting: BTreeMap<DeviceId, VecDeque<Wanted>>,
    rounds: Rounds,
    /// Whether a chunk for everybody was sent last: a device's is next, if one waits.
    broadcast_last: bool,
}

/// What is sent next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Turn {
    Single(DeviceId, Wanted),
    Broadcast(Publication),
}

impl Queue {
    /// The next chunk to be sent, or the time in milliseconds until there may be one.
    fn turn(&mut self, now_ms: u64) -> Result<Turn, Option<u64>> {
        if std::mem::take(&mut self.broadcast_last)
            && let Some((device, wanted)) = self.next()
        {
            return Ok(Turn::Single(device, wanted));
        }
        match self.rounds.next(now_ms) {
            Ok(publication) => {
                self.broadcast_last = true;
                Ok(Turn::Broadcast(publication))
            }
            Err(wait) => match self.next() {
                Some((device, wanted)) => Ok(Turn::Single(device, wanted)),
                None => Err(wait),
            },
        }
    }

    /// Adds a request's chunks; the number that found no room. A chunk that waits already is only given the new token.
    fn push(&mut self, device: &DeviceId, fetch: &Fetch) -> u64 {
        let indices = fetch.indices();
        if !self.waiting.contains_key(device) && self.waiting.len() >= MAX_DEVICES {
            return indices.len() as u64;
        }
        let waiting = self.waiting.entry(device.clone()).or_default();
        if waiting.is_empty() {
            self.turns.push_back(device.clone());
        }
        let mut left_out = 0;
        for index in indices {
            let wanted = Wanted {
                token: fetch.token,
                digest: fetch.digest,
                index,
            };
            let has_room = waiting.len() < MAX_WAITING;
            match waiting
                .iter_mut()
                .find(|other| (other.digest, other.index) == (wanted.digest, wanted.index))
            {
                Some(other) => other.token = wanted.token,
                None if has_room => waiting.push_back(wanted),
                None => left_out += 1,
            }
        }
        if waiting.is_empty() {
            self.waiting.remove(device);
            self.turns.retain(|other| other != device);
        }
        left_out
    }

    fn next(&mut self) -> Option<(DeviceId, Wanted)> {
        let device = self.turns.pop_front()?;
        let waiting = self.waiting.get_mut(&device)?;
        let wanted = waiting.pop_front()?;
        if waiting.is_empty() {
            self.waiting.remove(&device);
        } else {
            self.turns.push_back(device.clone());
        }
        Some((device, wanted))
    }
}

/// Offset and length of each chunk of a blob.
type Layout = Arc<Vec<(u64, u32)>>;

/// The queue with its wake-up, and the chunk lists that were used lately.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    queue: Mutex<Queue>,
    wake: Notify,
    began: OnceLock<Instant>,
    lists: Mutex<BTreeMap<Digest, Layout>>,
}

impl Deliveries {
    /// Adds a request; the number of chunks that found no room.
    pub(crate) fn push(&self, device: &DeviceId, fetch: &Fetch) -> u64 {
        let now_ms = self.now_ms();
        let mut queue = self.queue();
        let left_out = if queue.rounds.join(device, fetch, now_ms) {
            0
        } else {
            queue.push(device, fetch)
        };
        drop(queue);
        self.wake.notify_one();
        left_out
    }

    /// The broker doesn't let this hub publish on blobs' topics, or (`false`) may do so after all.
    pub(crate) fn refuse_broadcasts(&self, refused: bool) {
        self.queue().rounds.refuse(refused);
    }

    async fn next(&self) -> Turn {
        loop {
            let turn = self.queue().turn(self.now_ms());
            match turn {
                Ok(turn) => return turn,
                Err(Some(wait_ms)) => {
                    let wait = Duration::from_millis(wait_ms.max(1));
                    // Whichever comes first, it is looked again.
                    drop(tokio::time::timeout(wait, self.wake.notified()).await);
                }
                Err(None) => self.wake.notified().await,
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since it was first asked: rounds last for seconds, and the clock may jump.
    fn now_ms(&self) -> u64 {
        let began = self.began.get_or_init(Instant::now);
        u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Serves chunks until it is dropped.
pub(crate) async fn serve(hub: Arc<Hub>) {
    loop {
        let turn = hub.deliveries.next().await;
        let sent = match &turn {
            Turn::Single(device, wanted) => hub.deliver(device, *wanted).await,
            Turn::Broadcast(publication) => hub.broadcast(*publication).await,
        };
        if let Err(error) = sent {
            hub.counters.failures.add_one();
            tracing::error!(?turn, "failed to send a chunk: {error}");
        }
    }
}

impl Hub {
    async fn deliver(&self, device: &DeviceId, wanted: Wanted) -> Result<(), HubError> {
        let Wanted { token, digest, index } = wanted;
        let message = match self.chunk(digest, index).await? {
            None => ChunkMessage::unknown(token, digest, index),
            Some(chunk) => ChunkMessage::pack(token, digest, index, &chunk),
        };
        let payload = message
            .encode()
            .map_err(|error| HubError::Internal(error.to_string()))?;
        self.send(device, Down::Chunk, payload).await;
        Ok(())
    }

    /// Publishes a chunk for all that listen. One that isn't here is left out: its devices ask again, each for itself.
    async fn broadcast(&self, publication: Publication) -> Result<(), HubError> {
        let Publication { digest, index, left } = publication;
        let Some(chunk) = self.chunk(digest, index).await? else {
            return Ok(());
        };
        self.counters.broadcast_chunks.add_one();
        let payload = ChunkMessage::broadcast(digest, index, &chunk, left)
            .encode()
            .map_err(|error| HubError::Internal(error.to_string()))?;
        self.send_to_all(digest, payload).await;
        Ok(())
    }

    /// A chunk of a blob that may be served, counted.
    async fn chunk(&self, digest: Digest, index: u32) -> Result<Option<Vec<u8>>, HubError> {
        let layout = self.layout(digest).await?;
        let Some(place) = layout.as_ref().and_then(|layout| layout.get(index as usize).copied()) else {
            self.counters.unknown_chunks.add_one();
            return Ok(None);
        };
        let chunk = self.read_chunk(digest, place).await?;
        self.counters.chunks.add_one();
        self.counters.chunk_bytes.add(chunk.len() as u64);
        Ok(Some(chunk))
    }

    async fn read_chunk(&self, digest: Digest, (offset, length): (u64, u32)) -> Result<Vec<u8>, HubError> {
        let path = self.store().blobs().path(digest);
        let reading = tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; length as usize];
            std::fs::File::open(&path)
                .and_then(|file| file.read_exact_at(&mut chunk, offset))
                .map(|()| chunk)
                .map_err(|error| HubError::Internal(format!("read {}: {error}", path.display())))
        });
        reading
            .await
            .map_err(|error| HubError::Internal(format!("a task on files failed: {error}")))?
    }

    /// Where the chunks of a blob lie; `None` when it may not be served.
    async fn layout(&self, digest: Digest) -> Result<Option<Layout>, HubError> {
        let known = |lists: &Mutex<BTreeMap<Digest, Layout>>| {
            lists
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&digest)
                .cloned()
        };
        if let Some(layout) = known(&self.deliveries.lists) {
            return Ok(Some(layout));
        }
        let Some(lengths) = self.database.blob_chunks(&digest.to_string()).await? else {
            return Ok(None);
        };
        let layout: Layout = Arc::new(
            lengths
                .into_iter()
                .scan(0_u64, |end, length| {
                    let start = *end;
                    *end += u64::from(length);
                    Some((start, length))
                })
                .collect(),
        );
        let mut lists = self.deliveries.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.len() >= MAX_LISTS {
            lists.clear();
        }
        lists.insert(digest, Arc::clone(&layout));
        Ok(Some(layout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bundle, hub};
    use floorhand_bundle::BlobRef;
    use floorhand_protocol::Missing;

    fn fetch(token: u64, indices: std::ops::Range<u32>) -> Fetch {
        Fetch::new(token, Digest::of(b"blob"), Missing::of(indices).unwrap())
    }

    #[test]
    fn devices_take_turns() {
        let mut queue = Queue::default();
        let (greedy, modest): (DeviceId, DeviceId) = ("greedy".parse().unwrap(), "modest".parse().unwrap());
        assert_eq!(queue.push(&greedy, &fetch(1, 0..100)), 0);
        assert_eq!(queue.push(&modest, &fetch(2, 0..2)), 0);
        let order: Vec<_> = std::iter::from_fn(|| queue.next())
            .map(|(device, one)| (device, one.index))
            .collect();
        let first: Vec<_> = order
            .iter()
            .take(5)
            .map(|(device, index)| (device.as_str(), *index))
            .collect();
        assert_eq!(
            first,
            [
                ("greedy", 0),
                ("modest", 0),
                ("greedy", 1),
                ("modest", 1),
                ("greedy", 2)
            ]
        );
        assert_eq!((order.len(), queue.waiting.len(), queue.turns.len()), (102, 0, 0));
    }

    #[test]
    fn what_one_device_can_wait_for_is_bounded() {
        let mut queue = Queue::default();
        let device = "press-1".parse().unwrap();
        for start in [0, 256] {
            assert_eq!(queue.push(&device, &fetch(1, start..start + 256)), 0);
        }
        assert_eq!(queue.push(&device, &fetch(1, 512..612)), 100);
        assert_eq!(queue.push(&device, &fetch(9, 0..256)), 0, "asked for again");
        assert_eq!(queue.waiting[&device].len(), MAX_WAITING);
        assert_eq!(
            queue.next().unwrap().1,
            Wanted {
                token: 9,
                digest: Digest::of(b"blob"),
                index: 0
            }
        );
        let none = Fetch {
            token: 1,
            digest: Digest::of(b"x"),
            first: 0,
            count: 5,
            missing: vec![0],
            wanted: vec![],
        };
        let other = "press-2".parse().unwrap();
        assert_eq!(queue.push(&other, &none), 0);
        assert!(!queue.waiting.contains_key(&other) && queue.turns.len() == 1);
    }

    #[tokio::test]
    async fn chunks_of_bundles_are_served_and_nothing_else() {
        let (dir, hub, mut sent) = hub().await;
        let (row, _) = hub.ingest(bundle("1.0.0", 1).0).await.unwrap();
        let device: DeviceId = "press-1".parse().unwrap();
        let model = crate::testing::manifest("1.0.0", 1).0.components[0].blob.clone();
        assert!(model.chunks.len() > 2);
        let stray = hub.store().blobs().put(b"not of a bundle").unwrap();
        let envelope: Digest = row.envelope.parse().unwrap();
        for (digest, indices) in [
            (model.sha256, 0..2),
            (envelope, 0..1),
            (stray, 0..1),
            (model.sha256, 9999..10_000),
        ] {
            hub.deliveries
                .push(&device, &Fetch::new(7, digest, Missing::of(indices).unwrap()));
        }
        let mut bodies = Vec::new();
        for _ in 0..5 {
            let Turn::Single(device, wanted) = hub.deliveries.next().await else {
                panic!("nobody listens")
            };
            hub.deliver(&device, wanted).await.unwrap();
            let outgoing = sent.try_recv().unwrap();
            assert_eq!(outgoing.topic, "fh/v1/plant-a/d/press-1/down/chunk");
            let message = ChunkMessage::decode(&outgoing.payload).unwrap();
            assert_eq!(message.token, 7);
            bodies.push(message.unpack().unwrap());
        }
        let digests: Vec<_> = bodies
            .iter()
            .map(|body| body.as_ref().map(|bytes| Digest::of(bytes)))
            .collect();
        let whole = hub.store().blobs().read(envelope, 1 << 20).unwrap();
        let first = BlobRef::of(&whole).chunks[0].sha256;
        let expected = [
            Some(model.chunks[0].sha256),
            Some(model.chunks[1].sha256),
            Some(first),
            None,
            None,
        ];
        assert_eq!(digests, expected);
        assert_eq!(
            (hub.counters.chunks.value(), hub.counters.unknown_chunks.value()),
            (3, 2)
        );
        drop(dir);
    }

    #[tokio::test]
    async fn what_several_devices_listen_for_is_published_once() {
        let (dir, hub, mut sent) = hub().await;
        hub.ingest(bundle("1.0.0", 1).0).await.unwrap();
        let model = crate::testing::manifest("1.0.0", 1).0.components[0].blob.clone();
        let count = model.chunks.len() as u32;
        let hub = Arc::new(hub);
        for number in 0..20 {
            let window = Missing::of(0..2).unwrap();
            let fetch = Fetch::new(number, model.sha256, window).listening(0..count + 3);
            hub.deliveries.push(&format!("press-{number}").parse().unwrap(), &fetch);
        }
        let serving = tokio::spawn(serve(Arc::clone(&hub)));
        let mut topics = BTreeMap::new();
        let mut whole = Vec::new();
        for _ in 0..2 + count {
            let outgoing = sent.recv().await.unwrap();
            let message = ChunkMessage::decode(&outgoing.payload).unwrap();
            if message.left.is_some() {
                assert_eq!(message.token, floorhand_protocol::BROADCAST_TOKEN);
                whole.extend(message.unpack().unwrap().unwrap());
            }
            *topics.entry(outgoing.topic).or_insert(0) += 1;
        }
        assert_eq!(Digest::of(&whole), model.sha256);
        let blob_topic = format!("fh/v1/plant-a/blob/{}", model.sha256);
        let expected = [
            (blob_topic, count),
            ("fh/v1/plant-a/d/press-0/down/chunk".to_owned(), 2),
        ];
        assert_eq!(topics, BTreeMap::from(expected));
        assert_eq!(hub.counters.broadcast_chunks.value(), u64::from(count));
        serving.abort();
        drop(dir);
    }
}
