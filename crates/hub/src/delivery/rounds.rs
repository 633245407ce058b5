//! Which chunks are published once for everybody. Pure: requests and time come in, chunks go out.
//!
//! A device that listens on a blob's topic says with its request what it would take from there. As long as only one device
//! asks for a blob it is served alone. When a second one does, a round begins: the hub gathers for a moment, then publishes
//! every chunk that any of them lacks, once, by rising index. Whoever joins later takes the rest, and asks again at the end.
//!
//! Nobody is believed: a request can name chunks that don't exist and devices that nobody has. What that costs is bounded
//! here, and by a device's right to be served alone, which it takes when the topic brings it nothing.

use floorhand_bundle::{DeviceId, Digest};
use floorhand_protocol::Fetch;
use std::collections::{BTreeMap, BTreeSet};

/// Requests of two devices within this time make a round.
const INTEREST_MS: u64 = 30_000;
/// A round begins when no request has joined for this long...
const GATHER_MS: u64 = 1_000;
/// ...and at the latest after this, however many still come.
const MAX_GATHER_MS: u64 = 5_000;
/// A chunk that was published is taken to be on its way for this long: a request that was under way as well doesn't bring
/// it again.
const UNDER_WAY_MS: u64 = 10_000;
/// Blobs with rounds: those of some bundles at a time. Devices that want others are served alone.
const MAX_ROUNDS: usize = 64;
/// The largest blob has so many chunks of the least length.
const MAX_CHUNKS: usize = 65_536;

/// The broadcasting of one blob.
#[derive(Debug)]
struct Round {
    last: (DeviceId, u64),
    /// Until when the blob is taken to interest several devices.
    crowd_until_ms: u64,
    pending: BTreeSet<u32>,
    /// When chunks were published. Older ones than [`UNDER_WAY_MS`] are forgotten with the next round.
    published: BTreeMap<u32, u64>,
    cursor: u32,
    starts_ms: u64,
    starts_by_ms: u64,
}

/// A chunk to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Publication {
    pub(super) digest: Digest,
    pub(super) index: u32,
    /// How many follow in this round.
    pub(super) left: u32,
}

/// The rounds of all blobs.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    rounds: BTreeMap<Digest, Round>,
    /// The blob that was served last, so that blobs take turns.
    served: Option<Digest>,
    /// The broker doesn't let this hub publish on blobs' topics.
    refused: bool,
}

impl Rounds {
    /// Takes a listening device's request into a round, if there is one for it; else it is to be served alone.
    pub(super) fn join(&mut self, device: &DeviceId, fetch: &Fetch, now_ms: u64) -> bool {
        let wanted = fetch.wanted_indices();
        if wanted.is_empty() || self.refused {
            return false;
        }
        self.forget_old(now_ms);
        let Some(round) = self.rounds.get_mut(&fetch.digest) else {
            if self.rounds.len() < MAX_ROUNDS {
                self.rounds.insert(fetch.digest, Round::new(device, now_ms));
            }
            return false;
        };
        if !round.is_crowded(device, now_ms) {
            return false;
        }
        round.add(&wanted, now_ms);
        true
    }

    /// The next chunk to be published, or the time until there may be one.
    pub(super) fn next(&mut self, now_ms: u64) -> Result<Publication, Option<u64>> {
        let ready = |(digest, round): (&Digest, &Round)| round.is_ready(now_ms).then_some(*digest);
        let behind = self.served.and_then(|served| {
            let mut others = self.rounds.range(served..).filter(|(digest, _)| **digest != served);
            others.find_map(ready)
        });
        let Some(digest) = behind.or_else(|| self.rounds.iter().find_map(ready)) else {
            let waiting = self.rounds.values().filter(|round| !round.pending.is_empty());
            return Err(waiting.map(|round| round.starts_ms.saturating_sub(now_ms)).min());
        };
        self.served = Some(digest);
        let publication = self.rounds.get_mut(&digest).and_then(|round| round.publish(now_ms));
        let Some((index, left)) = publication else {
            return Err(None);
        };
        Ok(Publication { digest, index, left })
    }

    /// Nothing is broadcast any more, or (`false`) it is tried again. Devices that wait ask again, and are served alone.
    pub(super) fn refuse(&mut self, refused: bool) {
        self.refused = refused;
        if refused {
            self.rounds.clear();
        }
    }

    fn forget_old(&mut self, now_ms: u64) {
        self.rounds
            .retain(|_, round| !round.pending.is_empty() || now_ms < round.last.1 + INTEREST_MS);
    }
}

impl Round {
    fn new(device: &DeviceId, now_ms: u64) -> Self {
        Self {
            last: (device.clone(), now_ms),
            crowd_until_ms: 0,
            pending: BTreeSet::new(),
            published: BTreeMap::new(),
            cursor: 0,
            starts_ms: 0,
            starts_by_ms: 0,
        }
    }

    /// Whether several devices have asked lately, this one among them.
    fn is_crowded(&mut self, device: &DeviceId, now_ms: u64) -> bool {
        let (last, last_ms) = &self.last;
        if last != device && now_ms < last_ms + INTEREST_MS {
            self.crowd_until_ms = now_ms + INTEREST_MS;
        }
        self.last = (device.clone(), now_ms);
        now_ms < self.crowd_until_ms
    }

    fn add(&mut self, wanted: &[u32], now_ms: u64) {
        if self.pending.is_empty() {
            self.published
                .retain(|_, published_ms| now_ms < *published_ms + UNDER_WAY_MS);
            self.cursor = 0;
            (self.starts_ms, self.starts_by_ms) = (now_ms + GATHER_MS, now_ms + MAX_GATHER_MS);
        } else if now_ms < self.starts_ms {
            self.starts_ms = (now_ms + GATHER_MS).min(self.starts_by_ms);
        }
        for &index in wanted {
            let is_under_way = self
                .published
                .get(&index)
                .is_some_and(|published_ms| now_ms < published_ms + UNDER_WAY_MS);
            if !is_under_way && self.pending.len() < MAX_CHUNKS {
                self.pending.insert(index);
            }
        }
    }

    fn is_ready(&self, now_ms: u64) -> bool {
        !self.pending.is_empty() && now_ms >= self.starts_ms
    }

    /// The next chunk from the cursor on, then those before it; and how many are left.
    fn publish(&mut self, now_ms: u64) -> Option<(u32, u32)> {
        let behind = self.pending.range(self.cursor..).next().copied();
        let index = behind.or_else(|| self.pending.first().copied())?;
        self.pending.remove(&index);
        self.cursor = index.saturating_add(1);
        if self.published.len() < MAX_CHUNKS {
            self.published.insert(index, now_ms);
        }
        Some((index, u32::try_from(self.pending.len()).unwrap_or(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_protocol::Missing;

    fn device(number: usize) -> DeviceId {
        format!("press-{number}").parse().unwrap()
    }

    fn blob(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn request(name: &str, lacking: std::ops::Range<u32>) -> Fetch {
        let window = lacking.clone().take(2);
        Fetch::new(1, blob(name), Missing::of(window).unwrap()).listening(lacking)
    }

    /// All that is published until nothing is ready.
    fn published(rounds: &mut Rounds, now_ms: u64) -> Vec<(u32, u32)> {
        std::iter::from_fn(|| rounds.next(now_ms).ok())
            .map(|publication| (publication.index, publication.left))
            .collect()
    }

    #[test]
    fn many_devices_cost_each_chunk_once() {
        let mut rounds = Rounds::default();
        assert!(!rounds.join(&device(0), &request("model", 0..6), 0), "served alone");
        for number in 1..200 {
            assert!(rounds.join(&device(number), &request("model", 0..6), number as u64));
        }
        assert!(rounds.join(&device(0), &request("model", 2..6), 250));
        assert_eq!(rounds.next(1_200), Err(Some(50)));
        assert_eq!(
            published(&mut rounds, 1_250),
            [(0, 5), (1, 4), (2, 3), (3, 2), (4, 1), (5, 0)]
        );
        assert_eq!(rounds.next(1_300), Err(None));
    }

    #[test]
    fn gathering_ends_however_many_still_come() {
        let mut rounds = Rounds::default();
        for number in 0..100 {
            rounds.join(&device(number), &request("model", 0..2), number as u64 * 100);
        }
        // The second device came at 100 ms; the round began at 5,100.
        assert_eq!(rounds.next(5_099).unwrap_err(), Some(1));
        assert_eq!(published(&mut rounds, 5_100).len(), 2);
    }

    #[test]
    fn who_joins_late_takes_the_rest_and_then_another_round() {
        let mut rounds = Rounds::default();
        for number in 0..2 {
            rounds.join(&device(number), &request("model", 0..4), 0);
        }
        assert_eq!(rounds.next(1_000).unwrap().index, 0);
        assert!(rounds.join(&device(2), &request("model", 0..4), 1_001));
        assert_eq!(
            published(&mut rounds, 1_002),
            [(1, 2), (2, 1), (3, 0)],
            "0 is under way"
        );
        assert!(
            rounds.join(&device(2), &request("model", 0..1), 3_000),
            "asked too early"
        );
        assert_eq!(published(&mut rounds, 9_000), []);
        assert!(rounds.join(&device(2), &request("model", 0..1), 11_100));
        assert_eq!(published(&mut rounds, 12_100), [(0, 0)]);
    }

    #[test]
    fn a_device_that_is_alone_is_served_alone() {
        let mut rounds = Rounds::default();
        for second in 0..100 {
            assert!(!rounds.join(&device(1), &request("model", 0..4), second * 1_000));
        }
        assert!(!rounds.join(&device(2), &request("other", 0..4), 100_000));
        assert!(!rounds.join(&device(2), &request("model", 0..4), 200_000), "long after");
        let plain = Fetch::new(1, blob("model"), Missing::of(0..2).unwrap());
        assert!(!rounds.join(&device(3), &plain, 200_001), "it doesn't listen");
    }

    #[test]
    fn blobs_take_turns_and_are_bounded() {
        let mut rounds = Rounds::default();
        for number in 0..2 {
            for name in ["a", "b"] {
                rounds.join(&device(number), &request(name, 0..2), 0);
            }
        }
        let order: Vec<Digest> = std::iter::from_fn(|| rounds.next(2_000).ok())
            .map(|publication| publication.digest)
            .collect();
        assert_eq!(order.len(), 4);
        assert!(order[0] != order[1] && order[1] != order[2] && order[2] != order[3]);
        for number in 0..1000 {
            rounds.join(&device(number), &request(&number.to_string(), 0..256), 2_000);
        }
        assert_eq!(rounds.rounds.len(), MAX_ROUNDS);
        rounds.join(&device(1), &request("late", 0..1), 60_000);
        assert_eq!(rounds.rounds.len(), 1, "old ones are forgotten");
    }

    #[test]
    fn a_broker_that_refuses_ends_it() {
        let mut rounds = Rounds::default();
        for number in 0..2 {
            rounds.join(&device(number), &request("model", 0..2), 0);
        }
        rounds.refuse(true);
        assert_eq!(rounds.next(10_000), Err(None));
        assert!(!rounds.join(&device(3), &request("model", 0..2), 10_000));
        rounds.refuse(false);
        rounds.join(&device(3), &request("model", 0..2), 10_001);
        assert!(rounds.join(&device(4), &request("model", 0..2), 10_002));
    }
}
