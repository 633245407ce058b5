//! When what is sent, as a value: time, connections and acknowledgements in, permissions out.
//!
//! Three lanes lead to the hub. **Live** is what came within the last half minute. **Backfill** is everything older,
//! and has the lesser right: it goes when nothing live waits, and now and then when live data never ends, with one batch
//! under way at a time. **Gaps** tell what is lost. Each lane has a bounded number of batches under way and waits for the
//! hub's acknowledgement; what isn't acknowledged in time is sent again, ever more rarely, so that a hub that is away
//! doesn't fill its broker's queues. Only acknowledgements let the next batch go: a day's telemetry can't flood anybody.
//!
//! Randomness comes from the boot id: devices that connect at once begin their backfill at different times.

use super::timeout::Timeout;
use floorhand_store::Acknowledged;
use std::collections::VecDeque;

/// Live batches that were sent and not acknowledged: one under way while the hub writes the other.
const LIVE_IN_FLIGHT: usize = 2;
/// Batches of the other lanes: live data never waits for more than one of each.
const OTHERS_IN_FLIGHT: usize = 1;
/// What is older isn't live any more: above a hub's restart, below what people call now.
const LIVE_AGE_MS: u64 = 30_000;
/// How exactly that is known. Bounds the marks.
const MARK_EVERY_MS: u64 = 1_000;
/// After a connect the backfill waits up to this: devices that came back together don't fill the hub's queue together.
const SPREAD_MS: u64 = 10_000;
/// After so many live batches in a row one of the backfill goes first: a device that always has news gets rid of its past.
const LIVE_IN_A_ROW: u32 = 4;
/// Gaps are reported at most so often: while a link is too slow for what comes, they never end.
const GAPS_EVERY_MS: u64 = 1_000;

/// A way to the hub with an order of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Live,
    Backfill,
    Gaps,
}

/// A part of a message that has to be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// A record: boot and number.
    Record(u64, u64),
    /// A gap: boot, first and last number.
    Gap(u64, u64, u64),
}

impl Waiting {
    fn is_in(&self, ack: &Acknowledged<'_>) -> bool {
        match *self {
            Self::Record(boot, seq) => {
                boot == ack.boot_id && ack.ranges.iter().any(|&(first, last)| first <= seq && seq <= last)
            }
            Self::Gap(boot, first, last) => boot == ack.boot_id && ack.gaps.contains(&(first, last)),
        }
    }
}

/// A message that was sent.
#[derive(Debug)]
struct Sent {
    lane: Lane,
    /// What isn't acknowledged yet.
    waiting: Vec<Waiting>,
    sent_ms: u64,
    /// Whether the time to its acknowledgement says something.
    measures: bool,
    /// When its time is over: up to a quarter after the lane's timeout.
    resend_ms: u64,
}

/// How long acknowledgements are waited for, by lane.
#[derive(Debug, Default)]
struct Timeouts {
    live: Timeout,
    backfill: Timeout,
    gaps: Timeout,
}

impl Timeouts {
    fn of(&mut self, lane: Lane) -> &mut Timeout {
        match lane {
            Lane::Live => &mut self.live,
            Lane::Backfill => &mut self.backfill,
            Lane::Gaps => &mut self.gaps,
        }
    }
}

/// What is under way, and what may go next.
#[derive(Debug)]
pub(super) struct Flow {
    connected: bool,
    sent: Vec<Sent>,
    timeouts: Timeouts,
    backfill_from_ms: u64,
    gaps_from_ms: u64,
    live_in_a_row: u32,
    /// When which sequence number was next.
    marks: VecDeque<(u64, u64)>,
    random: u64,
}

impl Flow {
    pub(super) fn new(boot_id: u64) -> Self {
        Self {
            connected: false,
            sent: Vec::new(),
            timeouts: Timeouts::default(),
            backfill_from_ms: 0,
            gaps_from_ms: 0,
            live_in_a_row: 0,
            marks: VecDeque::new(),
            random: boot_id,
        }
    }

    /// The connection was made, or has ended: what was under way may be lost. Everything is to be sent anew.
    pub(super) fn connected(&mut self, connected: bool, now_ms: u64) {
        self.connected = connected;
        self.sent.clear();
        self.timeouts = Timeouts::default();
        self.backfill_from_ms = now_ms + self.random_below(SPREAD_MS);
        self.gaps_from_ms = self.backfill_from_ms;
    }

    /// Takes down the next sequence number, and returns the one from which records are live, when it is known.
    pub(super) fn border(&mut self, now_ms: u64, next_seq: u64) -> Option<u64> {
        let last_ms = self.marks.back().map(|(ms, _)| *ms);
        if last_ms.is_none_or(|ms| now_ms.saturating_sub(ms) >= MARK_EVERY_MS) {
            self.marks.push_back((now_ms, next_seq));
        }
        let mut border = None;
        while let Some(&(ms, seq)) = self.marks.front() {
            if now_ms.saturating_sub(ms) < LIVE_AGE_MS {
                break;
            }
            border = Some(seq);
            self.marks.pop_front();
        }
        border
    }

    /// The lanes that may send, in the order in which they are asked.
    pub(super) fn lanes(&self, now_ms: u64) -> Vec<Lane> {
        let mut lanes = [Lane::Live, Lane::Gaps, Lane::Backfill];
        if self.live_in_a_row >= LIVE_IN_A_ROW {
            lanes = [Lane::Backfill, Lane::Live, Lane::Gaps];
        }
        lanes.into_iter().filter(|lane| self.may_send(*lane, now_ms)).collect()
    }

    fn may_send(&self, lane: Lane, now_ms: u64) -> bool {
        let underway = self.sent.iter().filter(|sent| sent.lane == lane).count();
        let (most, from_ms) = match lane {
            Lane::Live => (LIVE_IN_FLIGHT, 0),
            Lane::Backfill => (OTHERS_IN_FLIGHT, self.backfill_from_ms),
            Lane::Gaps => (OTHERS_IN_FLIGHT, self.gaps_from_ms),
        };
        self.connected && underway < most && now_ms >= from_ms
    }

    /// A message has gone out with these.
    pub(super) fn sent(&mut self, lane: Lane, waiting: Vec<Waiting>, now_ms: u64) {
        let timeout = self.timeouts.of(lane);
        let (timeout_ms, measures) = (timeout.ms(), timeout.sent());
        let resend_ms = now_ms + timeout_ms + self.random_below(timeout_ms / 4);
        self.sent.push(Sent {
            lane,
            waiting,
            sent_ms: now_ms,
            measures,
            resend_ms,
        });
        match lane {
            Lane::Live => self.live_in_a_row = self.live_in_a_row.saturating_add(1),
            Lane::Backfill => self.live_in_a_row = 0,
            Lane::Gaps => self.gaps_from_ms = now_ms + GAPS_EVERY_MS,
        }
    }

    /// Asked for the backfill there was none: it isn't due any more.
    pub(super) fn no_backfill(&mut self) {
        self.live_in_a_row = 0;
    }

    /// The hub has signed for these.
    pub(super) fn acknowledged(&mut self, ack: &Acknowledged<'_>, now_ms: u64) {
        for sent in &mut self.sent {
            sent.waiting.retain(|waiting| !waiting.is_in(ack));
            if sent.waiting.is_empty() && sent.measures {
                self.timeouts
                    .of(sent.lane)
                    .measured(now_ms.saturating_sub(sent.sent_ms));
            }
        }
        self.sent.retain(|sent| !sent.waiting.is_empty());
        for sent in &mut self.sent {
            let timeout_ms = self.timeouts.of(sent.lane).ms();
            sent.resend_ms = sent.resend_ms.min(sent.sent_ms + timeout_ms + timeout_ms / 4);
        }
    }

    /// Lanes whose acknowledgement is overdue: they are to begin anew, and wait longer until they are answered in time.
    pub(super) fn overdue(&mut self, now_ms: u64) -> Vec<Lane> {
        let mut lanes = Vec::new();
        for lane in [Lane::Live, Lane::Backfill, Lane::Gaps] {
            let of_lane = || self.sent.iter().filter(|sent| sent.lane == lane);
            if of_lane().any(|sent| now_ms >= sent.resend_ms) {
                let messages = of_lane().count();
                self.timeouts.of(lane).passed(messages);
                self.sent.retain(|sent| sent.lane != lane);
                lanes.push(lane);
            }
        }
        lanes
    }

    /// SplitMix64, as elsewhere: spread, not secrecy.
    fn random_below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Lane::{Backfill, Gaps, Live};

    /// Connected long ago.
    fn flow() -> Flow {
        let mut flow = Flow::new(7);
        flow.connected(true, 0);
        flow
    }

    const NOW_MS: u64 = 1_000_000;

    fn records(of: &[(u64, u64)]) -> Vec<Waiting> {
        of.iter().map(|&(boot, seq)| Waiting::Record(boot, seq)).collect()
    }

    fn ack(boot_id: u64, ranges: &[(u64, u64)]) -> Acknowledged<'_> {
        let gaps = &[];
        Acknowledged { boot_id, ranges, gaps }
    }

    #[test]
    fn every_lane_has_its_bound_and_an_ack_makes_room() {
        let mut flow = flow();
        assert_eq!(flow.lanes(NOW_MS), [Live, Gaps, Backfill]);
        flow.sent(Live, records(&[(7, 1), (7, 2)]), NOW_MS);
        flow.sent(Live, records(&[(7, 3)]), NOW_MS);
        flow.sent(Backfill, records(&[(3, 1)]), NOW_MS);
        flow.sent(Gaps, vec![Waiting::Gap(3, 2, 9), Waiting::Gap(7, 0, 0)], NOW_MS);
        assert_eq!(flow.lanes(NOW_MS + 5000), []);
        flow.acknowledged(&ack(7, &[(2, 2)]), NOW_MS);
        let of_gaps = |boot_id, gaps| {
            let ranges = &[];
            Acknowledged { boot_id, ranges, gaps }
        };
        flow.acknowledged(&of_gaps(3, &[(2, 9)]), NOW_MS);
        assert_eq!(flow.lanes(NOW_MS + 5000), [], "a part is not enough");
        flow.acknowledged(&ack(7, &[(0, 1)]), NOW_MS);
        assert_eq!(
            flow.lanes(NOW_MS + 5000),
            [Live],
            "a record of this number isn't the gap"
        );
        flow.acknowledged(&of_gaps(7, &[(0, 1)]), NOW_MS);
        assert_eq!(flow.lanes(NOW_MS + 5000), [Live], "nor is another gap");
        flow.acknowledged(&of_gaps(7, &[(0, 0)]), NOW_MS);
        assert_eq!(flow.lanes(NOW_MS + 5000), [Live, Gaps]);
        flow.acknowledged(&ack(3, &[(1, 1)]), NOW_MS);
        assert_eq!(flow.lanes(NOW_MS + 5000), [Live, Gaps, Backfill]);
        flow.connected(false, NOW_MS);
        assert_eq!(flow.lanes(NOW_MS + 5000), []);
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_ever_more_rarely() {
        let mut flow = flow();
        let (mut now_ms, mut waits) = (NOW_MS, Vec::new());
        for _ in 0..6 {
            flow.sent(Backfill, records(&[(3, 1)]), now_ms);
            flow.sent(Live, records(&[(7, now_ms)]), now_ms);
            let sent_ms = now_ms;
            while flow.overdue(now_ms).iter().all(|lane| *lane != Backfill) {
                flow.acknowledged(&ack(7, &[(0, u64::MAX)]), now_ms);
                now_ms += 100;
            }
            waits.push(now_ms - sent_ms);
        }
        for (wait_ms, least_ms) in waits.iter().zip([15_000, 30_000, 60_000, 120_000, 120_000, 120_000]) {
            assert!((least_ms..=least_ms * 5 / 4 + 100).contains(wait_ms), "{waits:?}");
        }
        for (seq, least_ms) in [(1, 120_000), (2, 3000)] {
            flow.sent(Backfill, records(&[(3, seq)]), now_ms);
            assert_eq!(flow.overdue(now_ms + least_ms - 1), []);
            flow.acknowledged(&ack(3, &[(seq, seq)]), now_ms + 1000);
            now_ms += 1000;
        }
        flow.sent(Backfill, records(&[(3, 3)]), now_ms);
        assert_eq!(
            flow.overdue(now_ms + 3750),
            [Backfill],
            "an answer in time makes it patient no longer"
        );
    }

    #[test]
    fn backfill_has_its_turn_beside_live_data_that_never_ends() {
        let mut flow = flow();
        let mut order = Vec::new();
        for seq in 0..15 {
            let lane = flow.lanes(NOW_MS).into_iter().find(|lane| *lane != Gaps).unwrap();
            flow.sent(lane, records(&[(7, seq)]), NOW_MS);
            flow.acknowledged(&ack(7, &[(seq, seq)]), NOW_MS);
            order.push(lane);
        }
        let of_backfill: Vec<_> = (0..15).filter(|at| order[*at] == Backfill).collect();
        assert_eq!(of_backfill, [4, 9, 14]);
    }

    #[test]
    fn devices_that_connect_at_once_begin_their_backfill_apart() {
        let mut begins: Vec<u64> = (0..200)
            .map(|device| {
                let mut flow = Flow::new(device * 77 + 5);
                flow.connected(true, NOW_MS);
                assert_eq!(flow.lanes(NOW_MS), [Live], "what is live goes at once");
                (NOW_MS..).find(|ms| flow.lanes(*ms).contains(&Backfill)).unwrap() - NOW_MS
            })
            .collect();
        begins.sort_unstable();
        assert!(begins.iter().all(|ms| *ms <= SPREAD_MS));
        for second in 0..10 {
            let within = |ms: &&u64| (second * 1000..(second + 1) * 1000).contains(*ms);
            let count = begins.iter().filter(within).count();
            assert!((5..=40).contains(&count), "{count} of 200 in second {second}");
        }
    }

    #[test]
    fn what_is_older_than_half_a_minute_is_held_back() {
        let mut flow = flow();
        let mut border = 0;
        for second in 0..100 {
            for part in 0..10 {
                let now_ms = NOW_MS + second * 1000 + part * 100;
                border = flow.border(now_ms, second * 10 + part).unwrap_or(border);
            }
            assert!(flow.marks.len() <= 31);
        }
        assert_eq!(border, 690);
    }
}
