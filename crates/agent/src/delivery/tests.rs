//! A hub played by hand, faults drawn from seeds, time as a number.

use super::*;
use floorhand_protocol::BROADCAST_TOKEN;
use floorhand_store::StoreOptions;
use std::collections::VecDeque;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        blob_budget_bytes: 1 << 25,
    };
    let store = Store::open(dir.path(), options).unwrap();
    (dir, store)
}

/// The numbers of a test: the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    std::iter::repeat_with(|| random.next() as u8).take(length).collect()
}

fn chunk_of(blob: &BlobRef, bytes: &[u8], index: u32) -> Vec<u8> {
    let (_, offset, chunk) = blob.layout().nth(index as usize).unwrap();
    bytes[offset as usize..offset as usize + chunk.length as usize].to_vec()
}

/// Plays the hub: answers a request from `bytes`.
fn answers(fetch: &Fetch, blob: &BlobRef, bytes: &[u8]) -> Vec<ChunkMessage> {
    let answer = |index: u32| ChunkMessage::pack(fetch.token, fetch.digest, index, &chunk_of(blob, bytes, index));
    fetch.indices().into_iter().map(answer).collect()
}

fn fetch_all(download: &mut Download, blob: &BlobRef, bytes: &[u8]) {
    let mut token = 0;
    while let Some(fetch) = download.request(0, &mut || {
        token += 1;
        token
    }) {
        for message in answers(&fetch, blob, bytes) {
            assert_eq!(download.take(message, Way::Answer, 0).unwrap(), Taken::Written);
        }
    }
}

fn begin(store: &Store, blob: &BlobRef) -> Download {
    Download::begin(store, blob, &Held::default()).unwrap().unwrap()
}

#[test]
fn a_blob_arrives_chunk_by_chunk_within_the_window() {
    let (_dir, store) = store();
    let bytes = noise(1_000_000, 1);
    let blob = BlobRef::of(&bytes);
    let mut download = begin(&store, &blob);
    let fetch = download.request(0, &mut || 9).unwrap();
    let asked: u32 = fetch
        .indices()
        .iter()
        .map(|&index| blob.chunks[index as usize].length)
        .sum();
    assert!(u64::from(asked) <= FETCH_WINDOW_BYTES && !fetch.indices().is_empty());
    assert!(fetch.wanted.is_empty(), "it isn't subscribed");
    assert!(download.request(9_999, &mut || 9).is_none(), "one request at a time");
    assert!(
        download.request(10_000, &mut || 9).is_some(),
        "until it has run out of time"
    );
    download.forget_requests();
    fetch_all(&mut download, &blob, &bytes);
    assert!(download.is_complete());
    assert_eq!(download.counts().fetched_bytes, blob.length);
    download.finish().unwrap();
    assert_eq!(store.blobs().read(blob.sha256, 1 << 24).unwrap(), bytes);
    assert!(Download::begin(&store, &blob, &Held::default()).unwrap().is_none());
}

#[test]
fn wrong_late_and_unknown_chunks_are_told_apart() {
    let (_dir, store) = store();
    let bytes = noise(100_000, 2);
    let blob = BlobRef::of(&bytes);
    let mut download = begin(&store, &blob);
    let fetch = download.request(0, &mut || 7).unwrap();
    let index = fetch.indices()[0];
    let good = answers(&fetch, &blob, &bytes).remove(0);
    let mut take = |message| download.take(message, Way::Answer, 0).unwrap();
    let bent = ChunkMessage::pack(7, blob.sha256, index, b"other bytes");
    assert!(matches!(take(bent.clone()), Taken::Wrong(_)));
    assert_eq!(take(ChunkMessage { token: 6, ..bent }), Taken::Ignored, "nobody asked");
    let none = ChunkMessage::unknown(7, blob.sha256, index);
    assert_eq!(take(none), Taken::Unknown);
    let late = ChunkMessage {
        token: 6,
        ..good.clone()
    };
    assert_eq!(
        take(late),
        Taken::Written,
        "of an earlier request, and what it has to be"
    );
    assert_eq!(take(good), Taken::Ignored, "a repetition");
    assert_eq!(download.counts().surplus_chunks, 1);
}

#[test]
fn what_is_on_the_disk_is_not_fetched_again() {
    let (_dir, store) = store();
    let old = noise(1_000_000, 3);
    let mut new = old.clone();
    new.splice(5000..5000, noise(148, 4));
    store.blobs().put(&old).unwrap();
    let (old, blob) = (BlobRef::of(&old), BlobRef::of(&new));
    let mut held = Held::default();
    held.add(&old);
    let mut download = Download::begin(&store, &blob, &held).unwrap().unwrap();
    let fetch = download.request(0, &mut || 1).unwrap();
    for message in answers(&fetch, &blob, &new).into_iter().take(1) {
        download.take(message, Way::Answer, 0).unwrap();
    }
    drop(download);
    let mut download = begin(&store, &blob);
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

#[test]
fn a_held_chunk_that_the_disk_has_damaged_is_fetched() {
    let (_dir, store) = store();
    let bytes = noise(300_000, 5);
    let old = BlobRef::of(&bytes);
    store.blobs().put(&bytes).unwrap();
    let mut damaged = bytes.clone();
    damaged[10] ^= 1;
    std::fs::write(store.blobs().path(old.sha256), damaged).unwrap();
    let mut new = bytes;
    new.extend_from_slice(b"more");
    let blob = BlobRef::of(&new);
    let mut held = Held::default();
    held.add(&old);
    let mut download = Download::begin(&store, &blob, &held).unwrap().unwrap();
    assert!(download.missing.contains(&0) && download.missing.len() < blob.chunks.len());
    fetch_all(&mut download, &blob, &new);
    download.finish().unwrap();
}

#[test]
fn a_chunk_that_a_blob_has_many_times_is_fetched_once() {
    let (_dir, store) = store();
    let blob = BlobRef::of(&vec![0; 1_000_000]);
    assert!(blob.chunks.len() > 10);
    let distinct: BTreeMap<Digest, u64> = blob
        .chunks
        .iter()
        .map(|chunk| (chunk.sha256, u64::from(chunk.length)))
        .collect();
    let mut download = begin(&store, &blob);
    fetch_all(&mut download, &blob, &vec![0; 1_000_000]);
    assert_eq!(download.counts().fetched_bytes, distinct.values().sum::<u64>());
    download.finish().unwrap();
}

#[test]
fn the_index_of_held_chunks_is_bounded() {
    let mut held = Held::default();
    for number in 0..70_u64 {
        let chunk = |index: u64| Chunk {
            sha256: Digest::of(&[number.to_le_bytes(), index.to_le_bytes()].concat()),
            length: 1,
        };
        held.add(&BlobRef {
            sha256: Digest::of(&number.to_le_bytes()),
            length: 1_000,
            chunks: (0..1_000).map(chunk).collect(),
        });
    }
    assert_eq!(held.len(), 65_536);
}

/// What an update moves to a device that has the version before: bytes of chunk messages.
fn moved(old: &[u8], new: &[u8]) -> u64 {
    let (_dir, store) = store();
    store.blobs().put(old).unwrap();
    let mut held = Held::default();
    held.add(&BlobRef::of(old));
    let blob = BlobRef::of(new);
    let mut download = Download::begin(&store, &blob, &held).unwrap().unwrap();
    let (mut token, mut wire) = (0, 0);
    while let Some(fetch) = download.request(0, &mut || {
        token += 1;
        token
    }) {
        for message in answers(&fetch, &blob, new) {
            wire += message.encode().unwrap().len() as u64;
            assert_eq!(download.take(message, Way::Answer, 0).unwrap(), Taken::Written);
        }
    }
    download.finish().unwrap();
    assert_eq!(store.blobs().read(blob.sha256, 1 << 24).unwrap(), new);
    wire
}

#[test]
fn an_update_moves_little_more_than_what_changed() {
    const MODEL: usize = 8 << 20;
    let old = noise(MODEL, 6);
    let most = (MODEL / 10) as u64;
    for (at, seed) in [(0, 7), (MODEL / 3, 8), (MODEL - MODEL / 20, 9)] {
        let mut new = old.clone();
        new.splice(at..at + MODEL / 20, noise(MODEL / 20, seed));
        let moved = moved(&old, &new);
        println!(
            "5% changed at {at}: {moved} bytes, {:.2}% of the model",
            percent(moved, MODEL)
        );
        assert!(moved <= most, "{moved} bytes for 5% at {at}");
    }
    let mut new = old.clone();
    new.splice(1000..1000, noise(148, 10));
    let moved = moved(&old, &new);
    println!(
        "148 bytes inserted: {moved} bytes, {:.2}% of the model",
        percent(moved, MODEL)
    );
    assert!(moved <= most, "{moved} bytes for an insertion");
}

fn percent(part: u64, whole: usize) -> f64 {
    part as f64 * 100.0 / whole as f64
}

#[test]
fn a_listening_device_takes_a_round_and_asks_alone_for_what_it_missed() {
    let (_dir, store) = store();
    let bytes = noise(1_000_000, 11);
    let blob = BlobRef::of(&bytes);
    let count = blob.chunks.len() as u32;
    let mut download = begin(&store, &blob);
    assert!(download.wants_topic());
    download.subscribed(true);
    let fetch = download.request(0, &mut || 3).unwrap();
    assert_eq!(fetch.wanted_indices(), (0..count).collect::<Vec<_>>());
    for index in (0..count).filter(|&index| index != 5) {
        assert!(download.request(u64::from(index) * 100, &mut || 4).is_none());
        let message = ChunkMessage::broadcast(blob.sha256, index, &chunk_of(&blob, &bytes, index), count - 1 - index);
        let now_ms = u64::from(index) * 100;
        assert_eq!(download.take(message, Way::Broadcast, now_ms).unwrap(), Taken::Written);
    }
    let end_ms = u64::from(count) * 100 + 1_000;
    let fetch = download.request(end_ms, &mut || 5).unwrap();
    assert_eq!((fetch.indices(), fetch.wanted_indices()), (vec![5], vec![5]));
    let message = answers(&fetch, &blob, &bytes).remove(0);
    assert_eq!(download.take(message, Way::Answer, end_ms).unwrap(), Taken::Written);
    assert_eq!(download.counts().broadcast_chunks, u64::from(count) - 1);
    download.finish().unwrap();
}

#[test]
fn an_old_hub_serves_a_device_that_listens_without_a_wait() {
    let (_dir, store) = store();
    let bytes = noise(1_000_000, 19);
    let blob = BlobRef::of(&bytes);
    let mut download = begin(&store, &blob);
    download.subscribed(true);
    fetch_all(&mut download, &blob, &bytes);
    assert!(download.is_complete(), "at the time at which it began");
    download.finish().unwrap();
}

#[test]
fn forged_broadcasts_are_counted_and_slow_nothing() {
    let (_dir, store) = store();
    let bytes = noise(1_000_000, 12);
    let blob = BlobRef::of(&bytes);
    let mut download = begin(&store, &blob);
    let (mut now_ms, mut forged) = (0, 0);
    let mut random = Random(13);
    while !download.is_complete() {
        download.subscribed(download.wants_topic());
        if let Some(fetch) = download.request(now_ms, &mut || random.next()) {
            for message in answers(&fetch, &blob, &bytes) {
                for index in 0..blob.chunks.len() as u32 {
                    let bad = ChunkMessage::broadcast(blob.sha256, index, b"forged", 0);
                    forged += u64::from(matches!(
                        download.take(bad, Way::Broadcast, now_ms).unwrap(),
                        Taken::Forged(_)
                    ));
                }
                download.take(message, Way::Answer, now_ms).unwrap();
            }
        }
        now_ms += 1;
    }
    assert_eq!(download.counts().forged_chunks, forged);
    assert!(!download.wants_topic(), "it listens no more");
    let requests = blob.length.div_ceil(FETCH_WINDOW_BYTES) * 2;
    assert!(now_ms <= requests, "{now_ms} ms for at most {requests} requests");
    download.finish().unwrap();
}

#[test]
fn repeated_broadcasts_of_what_is_there_do_not_hold_up_a_device() {
    let (_dir, store) = store();
    let bytes = noise(400_000, 14);
    let blob = BlobRef::of(&bytes);
    let mut download = begin(&store, &blob);
    download.subscribed(true);
    download.request(0, &mut || 3).unwrap();
    let first = ChunkMessage::broadcast(blob.sha256, 0, &chunk_of(&blob, &bytes, 0), 9);
    assert_eq!(download.take(first.clone(), Way::Broadcast, 0).unwrap(), Taken::Written);
    let mut asked_ms = None;
    for now_ms in (0..60_000).step_by(100) {
        assert_eq!(
            download.take(first.clone(), Way::Broadcast, now_ms).unwrap(),
            Taken::Ignored
        );
        if download.request(now_ms, &mut || 3).is_some() {
            asked_ms = Some(now_ms);
            break;
        }
    }
    assert!(asked_ms.is_some_and(|ms| ms <= 15_000), "{asked_ms:?}");
}

/// Faults between a device and its hub, and what they came to.
#[derive(Debug, Default, Clone, Copy)]
struct Faults {
    injected: u64,
    cuts: u64,
    delivered_bytes: u64,
}

/// Fetches over a link that loses, repeats, reorders, delays, truncates and breaks, by `rates` in parts per thousand.
fn fetch_over_a_bad_link(bytes: &[u8], blob: &BlobRef, seed: u64, listens: bool) -> Faults {
    let (_dir, store) = store();
    let mut random = Random(seed);
    let rates: Vec<u64> = (0..6).map(|_| random.below(150)).collect();
    let mut download = begin(&store, blob);
    let mut faults = Faults::default();
    // Chunks under way: when they come, and the message. What a broken connection held, a broker may bring later.
    let mut under_way: VecDeque<(u64, ChunkMessage)> = VecDeque::new();
    let mut now_ms = 0;
    while !download.is_complete() {
        assert!(now_ms < 100_000_000, "seed {seed}: it doesn't end");
        download.subscribed(listens && download.wants_topic());
        if let Some(fetch) = download.request(now_ms, &mut || random.next()) {
            let lost = random.below(1000) < rates[0];
            faults.injected += u64::from(lost);
            for message in answers(&fetch, blob, bytes).into_iter().filter(|_| !lost) {
                faults.injected += fault(&mut random, &rates, now_ms, message, &mut under_way);
            }
        }
        if random.below(1000) < rates[5] / 8 {
            (faults.cuts, faults.injected) = (faults.cuts + 1, faults.injected + 1);
            if random.below(2) == 0 {
                under_way.clear();
            }
            download.reconnected(now_ms);
        }
        now_ms += 20;
        for _ in 0..under_way.len() {
            let Some((due_ms, message)) = under_way.pop_front() else {
                break;
            };
            if due_ms > now_ms {
                under_way.push_back((due_ms, message));
                continue;
            }
            if let ChunkMessage {
                body: floorhand_protocol::ChunkBody::Data { .. },
                ..
            } = &message
            {
                faults.delivered_bytes += u64::from(blob.chunks[message.index as usize].length);
            }
            match download.take(message, Way::Answer, now_ms).unwrap() {
                Taken::Wrong(_) => download.forget_requests(),
                Taken::Written | Taken::Ignored => {}
                other => panic!("seed {seed}: {other:?}"),
            }
        }
    }
    download.finish().unwrap();
    assert_eq!(store.blobs().read(blob.sha256, 1 << 24).unwrap(), bytes, "seed {seed}");
    faults
}

/// Sends one chunk, with what may happen to it; whether something did.
fn fault(
    random: &mut Random,
    rates: &[u64],
    now_ms: u64,
    message: ChunkMessage,
    under_way: &mut VecDeque<(u64, ChunkMessage)>,
) -> u64 {
    let due_ms = now_ms + 20 + random.below(60);
    let drawn = random.below(1000);
    let bound = |kind: usize| rates[1..=kind].iter().sum::<u64>();
    if drawn < bound(1) {
        return 1;
    }
    if drawn < bound(2) {
        under_way.push_back((due_ms, message.clone()));
        under_way.push_back((due_ms + random.below(30_000), message));
        return 1;
    }
    if drawn < bound(3) {
        under_way.push_front((due_ms + random.below(15_000), message));
        return 1;
    }
    if drawn < bound(4) {
        let floorhand_protocol::ChunkBody::Data { encoding, mut data } = message.body.clone() else {
            return 0;
        };
        data.truncate(random.below(data.len() as u64) as usize);
        let body = floorhand_protocol::ChunkBody::Data { encoding, data };
        under_way.push_back((due_ms, ChunkMessage { body, ..message }));
        return 1;
    }
    under_way.push_back((due_ms, message));
    0
}

#[test]
fn a_blob_arrives_whole_over_every_bad_link() {
    let bytes = noise(600_000, 15);
    let blob = BlobRef::of(&bytes);
    let mut total = Faults::default();
    for seed in 0..200 {
        let faults = fetch_over_a_bad_link(&bytes, &blob, seed, seed % 2 == 0);
        let again = faults.delivered_bytes.saturating_sub(blob.length);
        // Each fault costs a window at most: what was asked for and comes, or came, once more.
        let most = faults.injected * FETCH_WINDOW_BYTES;
        assert!(again <= most, "seed {seed}: {again} bytes again for {faults:?}");
        total.injected += faults.injected;
        total.cuts += faults.cuts;
        total.delivered_bytes += again;
    }
    println!(
        "200 links, {} faults, {} of them cuts: {} bytes again beside {} needed",
        total.injected,
        total.cuts,
        total.delivered_bytes,
        blob.length * 200
    );
    assert!(total.cuts > 200 && total.injected > 1_000, "{total:?}");
}

/// The same chunks in the same order, and the connection cut behind each one of them: what the broker kept may be lost, or
/// come after the reconnect.
#[test]
fn a_cut_at_any_chunk_costs_at_most_a_window() {
    let bytes = noise(8 << 20, 16);
    let blob = BlobRef::of(&bytes);
    let (_dir, store) = store();
    let mut download = begin(&store, &blob);
    download.subscribed(true);
    let mut random = Random(17);
    let (mut now_ms, mut cuts, mut delivered) = (0, 0_u64, 0_u64);
    let mut kept: Vec<ChunkMessage> = Vec::new();
    while !download.is_complete() {
        now_ms += 10;
        let mut coming = std::mem::take(&mut kept);
        if let Some(fetch) = download.request(now_ms, &mut || random.next()) {
            coming.extend(answers(&fetch, &blob, &bytes));
        }
        let passing = random.below(coming.len() as u64 + 1) as usize;
        let behind = coming.split_off(passing);
        for message in coming {
            delivered += u64::from(blob.chunks[message.index as usize].length);
            download.take(message, Way::Answer, now_ms).unwrap();
        }
        if !behind.is_empty() {
            cuts += 1;
            download.reconnected(now_ms);
            if random.below(2) == 0 {
                kept = behind;
            }
        }
    }
    let again = delivered - blob.length;
    println!("{cuts} cuts in 8 MiB: {again} bytes came twice, {} a cut", again / cuts);
    assert!(cuts > 50 && again <= cuts * FETCH_WINDOW_BYTES);
    download.finish().unwrap();
}

#[test]
fn broadcast_messages_are_told_by_their_way_and_not_by_their_token() {
    let (_dir, store) = store();
    let bytes = noise(100_000, 18);
    let blob = BlobRef::of(&bytes);
    let mut download = begin(&store, &blob);
    let fetch = download.request(0, &mut || BROADCAST_TOKEN).unwrap();
    let bad = ChunkMessage::broadcast(blob.sha256, fetch.indices()[0], b"forged", 0);
    assert!(matches!(
        download.take(bad, Way::Broadcast, 0).unwrap(),
        Taken::Forged(_)
    ));
    assert!(download.request(1, &mut || 1).is_none(), "the request is still open");
}
