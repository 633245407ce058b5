//! The drain on a real spool of the least size, on simulated time.

use super::*;
use crate::telemetry::queue::Acked;
use floorhand_store::{Store, StoreOptions};
use std::ops::RangeInclusive;

const BOOT: u64 = 40;
const CONFIG: SpoolConfig = SpoolConfig {
    budget_bytes: 2 << 20,
    high_reserve_bytes: 25 * 4096,
};

struct Device {
    dir: tempfile::TempDir,
    drain: Drain,
    now_ms: u64,
}

impl Device {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            blob_budget_bytes: 1 << 20,
        };
        let store = Store::open(dir.path(), options).unwrap();
        let spool = Spool::open(&store.spool_path(), BOOT, CONFIG).unwrap();
        let limits = BatchLimits {
            max_records: 512,
            max_bytes: 64 << 10,
        };
        let drain = Drain::new(spool, "press-1".parse().unwrap(), limits, store.ballast(), 0);
        Self { dir, drain, now_ms: 0 }
    }

    /// Records of nearly a page each, of the least priority there is but one.
    fn fill(&mut self, count: usize) {
        for _ in 0..count {
            self.drain.keep_encoded(vec![large()], self.now_ms, self.now_ms);
        }
    }

    /// All that is sent now.
    fn sent(&mut self) -> Vec<UpBatch> {
        let mut sent = Vec::new();
        self.drain.send(self.now_ms, &mut |batch| {
            sent.push(batch);
            true
        });
        sent
    }

    fn ack(&mut self, ranges: &[(u64, u64)], gaps: &[(u64, u64)]) {
        let acked = Acked {
            boot_id: BOOT,
            ranges: ranges.to_vec(),
            gaps: gaps.to_vec(),
        };
        self.drain.acknowledged(&[acked.borrowed()], self.now_ms);
    }
}

/// A record that takes a page. What it says doesn't make its priority here.
fn large() -> Encoded {
    let event = RecordBody::Event(Event {
        kind: "x".to_owned(),
        severity: Severity::Info,
        subject: "x".to_owned(),
        message: "x".repeat(3800),
    });
    let (_, time_ms, payload) = encode((7, event)).unwrap();
    (Priority::Normal, time_ms, payload)
}

fn gaps(sent: &[UpBatch]) -> Vec<(u64, u64)> {
    let gaps = sent.iter().flat_map(|batch| &batch.gaps);
    gaps.map(|gap| (gap.first, gap.last)).collect()
}

fn numbers(sent: &[UpBatch]) -> Option<RangeInclusive<u64>> {
    let numbers = || sent.iter().flat_map(|batch| &batch.records).map(|record| record.seq);
    Some(numbers().min()?..=numbers().max()?)
}

/// Records that are dropped after they were sent lie in a gap, and are acknowledged all the same. The gap isn't by that.
#[test]
fn a_gap_is_told_until_it_is_acknowledged_itself() {
    let mut device = Device::new();
    device.drain.lost(1);
    device.fill(1);
    device.drain.connected(true, 0);
    device.now_ms = 20_000;
    assert_eq!(gaps(&device.sent()), [(1, 1)], "under way");
    // The file gets full meanwhile; what is sent next is the oldest that is left.
    device.fill(500);
    device.ack(&[(2, 3)], &[]);
    device.now_ms += 1_000;
    let sent = device.sent();
    let on_their_way = numbers(&sent).unwrap();
    assert_eq!(gaps(&sent), []);
    let (first, last) = (*on_their_way.start(), *on_their_way.end());
    assert!(last > first + 30, "{on_their_way:?}");
    // Some of them are dropped.
    device.fill(10);
    device.ack(&[], &[(1, 1)]);
    device.now_ms += 1_000;
    let lost = gaps(&device.sent());
    let [(from, until)] = lost[..] else { panic!("{lost:?}") };
    assert!(from < first && (first..last).contains(&until), "{from} to {until}");
    // That message is lost, and the acknowledgement of the records comes.
    device.ack(&[(first, last)], &[]);
    device.now_ms += 200_000;
    assert_eq!(gaps(&device.sent()), lost, "told again");
    device.ack(&[], &lost);
    device.now_ms += 200_000;
    assert_eq!(gaps(&device.sent()), []);
}

/// What overflows again and again is declared each time, and told now and then: events have the highest priority.
#[test]
fn losses_are_told_from_time_to_time_and_declared_each_time() {
    let mut device = Device::new();
    device.drain.connected(true, 0);
    let (mut told, mut declared) = (Vec::new(), 0);
    for second in 0..100 {
        device.now_ms = 20_000 + second * 1000;
        if second < 70 {
            device.drain.lost(3);
        }
        device.drain.keep_encoded(Vec::new(), device.now_ms, device.now_ms);
        for batch in device.sent() {
            let (ranges, gaps) = (
                batch.records.iter().map(|record| (record.seq, record.seq)),
                batch.gaps.iter().map(|gap| (gap.first, gap.last)),
            );
            device.ack(&ranges.collect::<Vec<_>>(), &gaps.collect::<Vec<_>>());
            declared += batch.gaps.iter().map(|gap| gap.count).sum::<u64>();
            told.extend(batch.records.into_iter().filter_map(|record| match record.body {
                RecordBody::Event(event) => Some((second, event.kind, event.message)),
                _ => None,
            }));
        }
    }
    let of_kind = |(second, kind, message): &(u64, String, String)| {
        assert_eq!(kind, "telemetry-overflow");
        let (count, _) = message.split_once(' ').unwrap();
        (*second, count.parse::<u64>().unwrap())
    };
    let told: Vec<_> = told.iter().map(of_kind).collect();
    assert_eq!(told, [(0, 3), (30, 90), (60, 90), (90, 27)], "the last, too");
    assert_eq!(declared, 210);
}

/// A budget that is used up is no full disk: nobody is asked to free space, and the room that is kept for that stays.
#[test]
fn a_used_up_budget_is_no_full_disk() {
    let mut device = Device::new();
    let (operation, path) = ("append to", std::path::PathBuf::from("spool.redb"));
    let used_up = SpoolError::BudgetUsedUp {
        operation,
        path: path.clone(),
    };
    let mut high = large();
    high.0 = Priority::High;
    device.drain.hold(vec![high, large()], &used_up, (0, 0));
    assert!(device.dir.path().join("ballast").exists());
    assert_eq!((device.drain.held.len(), device.drain.lost), (1, 1));
    assert!(!device.drain.short_of_room);
    device.drain.keep_encoded(Vec::new(), 0, 0);
    assert_eq!(
        device.drain.stats().records,
        2,
        "what was held, and the event of what was lost"
    );
    let full = SpoolError::Full { operation, path };
    device.drain.hold(vec![large()], &full, (0, 0));
    assert!(device.drain.short_of_room && !device.dir.path().join("ballast").exists());
}
