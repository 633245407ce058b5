//! The spool against a model that fits on a page: whatever is appended, lost, acknowledged, reported, held back and
//! opened again in whatever order, contents and gaps are the model's.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::{ALL, CONFIG, open, record};
use super::*;

const PRIORITIES: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];
/// Boots beyond this are told apart by their place in the order, as the spool does.
type Key = (usize, u64);

#[derive(Debug, Clone)]
enum Step {
    /// So many lost, then records: priority and length.
    Append(u64, Vec<(usize, usize)>),
    /// A boot, counted back from the current one, and a range.
    Ack(usize, u64, u64),
    Report,
    /// Acknowledges some of the reported gaps, by their ends.
    AckGaps(Vec<bool>),
    HoldBack(u64),
    Reopen,
    Reboot,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![8 => 0_usize..600, 3 => 600_usize..4200, 1 => 4200_usize..=MAX_RECORD_BYTES];
    let records = prop::collection::vec((0_usize..3, length), 1..60);
    let step = prop_oneof![
        10 => (prop_oneof![4 => Just(0_u64), 1 => 1_u64..40], records).prop_map(|(lost, records)| Step::Append(lost, records)),
        3 => (0_usize..3, 0_u64..900, 0_u64..120).prop_map(|(boot, first, width)| Step::Ack(boot, first, first + width)),
        2 => Just(Step::Report),
        2 => prop::collection::vec(any::<bool>(), 8).prop_map(Step::AckGaps),
        1 => (0_u64..900).prop_map(Step::HoldBack),
        1 => Just(Step::Reopen),
        1 => Just(Step::Reboot),
    ];
    prop::collection::vec(step, 1..60)
}

#[derive(Default)]
struct Model {
    boots: Vec<u64>,
    next_seq: u64,
    live_from: u64,
    kept: BTreeMap<Key, (Priority, usize)>,
    /// What is kept counts, by priority.
    counted: [u64; 3],
    capacity: u64,
    dropped: BTreeSet<Key>,
    reported: Vec<Gap>,
}

impl Model {
    fn start(&mut self, boot_id: u64) {
        self.boots.push(boot_id);
        (self.next_seq, self.live_from) = (1, 0);
    }

    fn boot(&self) -> usize {
        self.boots.len() - 1
    }

    fn append(&mut self, lost: u64, records: &[(Priority, usize)]) {
        self.make_room();
        for _ in 0..lost {
            self.dropped.insert((self.boot(), self.next_seq));
            self.next_seq += 1;
        }
        for &record in records {
            self.kept.insert((self.boot(), self.next_seq), record);
            self.counted[record.0 as usize] += SpoolConfig::charge(record.1);
            self.next_seq += 1;
            self.make_room();
        }
    }

    fn make_room(&mut self) {
        while self.bytes() > self.capacity {
            let victim = self.victim();
            self.remove(victim);
            self.dropped.insert(victim);
        }
    }

    fn remove(&mut self, key: Key) {
        let (priority, length) = self.kept.remove(&key).unwrap();
        self.counted[priority as usize] -= SpoolConfig::charge(length);
    }

    fn bytes(&self) -> u64 {
        self.counted.iter().sum()
    }

    fn victim(&self) -> Key {
        let oldest = |of: &[Priority]| {
            let mut found = self.kept.iter().filter(|(_, (priority, _))| of.contains(priority));
            found.next().map(|(key, _)| *key)
        };
        let high_may_go = self.counted[Priority::High as usize] > CONFIG.high_reserve_bytes;
        let next = if high_may_go {
            &[Priority::High, Priority::Normal][..]
        } else {
            &[Priority::Normal]
        };
        let low = (self.counted[Priority::Low as usize] > 0)
            .then(|| oldest(&[Priority::Low]))
            .flatten();
        low.or_else(|| oldest(next))
            .or_else(|| oldest(&[Priority::High]))
            .unwrap()
    }

    fn ack(&mut self, boot_id: u64, (first, last): (u64, u64)) {
        for boot in (0..self.boots.len())
            .filter(|boot| self.boots[*boot] == boot_id)
            .collect::<Vec<_>>()
        {
            let gone: Vec<Key> = self
                .kept
                .range((boot, first)..=(boot, last))
                .map(|(key, _)| *key)
                .collect();
            gone.into_iter().for_each(|key| self.remove(key));
        }
    }

    /// Runs of dropped numbers that weren't reported.
    fn open_gaps(&self) -> Vec<(usize, Gap)> {
        let mut gaps: Vec<(usize, Gap)> = Vec::new();
        for &(boot, seq) in &self.dropped {
            match gaps.last_mut() {
                Some((of, gap)) if *of == boot && gap.last + 1 == seq => {
                    gap.last = seq;
                    gap.count += 1;
                }
                _ => gaps.push((
                    boot,
                    Gap {
                        boot_id: self.boots[boot],
                        first: seq,
                        last: seq,
                        count: 1,
                    },
                )),
            }
        }
        gaps
    }

    fn report(&mut self) {
        if self.reported.is_empty() {
            self.reported = self.open_gaps().into_iter().map(|(_, gap)| gap).collect();
            self.dropped.clear();
        }
    }

    fn gaps(&self) -> Vec<Gap> {
        let place = |gap: &Gap| (self.boots.iter().position(|id| *id == gap.boot_id), gap.first);
        let mut gaps: Vec<Gap> = self.open_gaps().into_iter().map(|(_, gap)| gap).collect();
        gaps.extend(&self.reported);
        gaps.sort_unstable_by_key(place);
        gaps
    }
}

/// Everything kept in the order in which it is sent: boot, historical, number, priority, length.
type Sent = Vec<(u64, bool, u64, Priority, usize)>;

fn sent_by_model(model: &Model) -> Sent {
    let border = (model.boot(), model.live_from);
    let (old, live): (Vec<_>, Vec<_>) = model.kept.iter().partition(|(key, _)| **key < border);
    let row = |historical| {
        move |(key, value): (&Key, &(Priority, usize))| (model.boots[key.0], historical, key.1, value.0, value.1)
    };
    live.into_iter()
        .map(row(false))
        .chain(old.into_iter().map(row(true)))
        .collect()
}

fn sent_by_spool(spool: &mut Spool) -> Sent {
    let mut cursor = Cursor::default();
    let mut sent = Vec::new();
    while let Some(batch) = spool.next_batch(&mut cursor, ALL, Order::LiveFirst).unwrap() {
        for record in batch.records {
            assert!(record.payload.iter().all(|byte| u64::from(*byte) == record.seq % 251));
            sent.push((
                batch.boot_id,
                batch.historical,
                record.seq,
                record.priority,
                record.payload.len(),
            ));
        }
    }
    sent
}

/// Appends to both, in groups that a transaction takes.
fn append(spool: &mut Spool, model: &mut Model, lost: u64, records: &[(usize, usize)]) {
    let mut rest = records;
    let mut lost = lost;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |(_, length): &&(usize, usize)| {
            bytes += SpoolConfig::charge(*length);
            bytes <= CONFIG.group_bytes()
        };
        let (group, later) = rest.split_at(rest.iter().take_while(fits).count());
        let first = model.next_seq + lost;
        let payloads: Vec<Vec<u8>> = (first..)
            .zip(group)
            .map(|(seq, (_, length))| vec![(seq % 251) as u8; *length])
            .collect();
        let new: Vec<_> = group
            .iter()
            .zip(&payloads)
            .map(|((priority, _), payload)| record(PRIORITIES[*priority], payload))
            .collect();
        let given = spool.append_after_loss(lost, &new).unwrap();
        assert_eq!(given, first..first + group.len() as u64);
        // Where the file was full before the records counted so much, more had to go first.
        model.capacity = spool.capacity_bytes;
        let taken: Vec<_> = group
            .iter()
            .map(|(priority, length)| (PRIORITIES[*priority], *length))
            .collect();
        model.append(lost, &taken);
        (rest, lost) = (later, 0);
    }
}

fn run(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut boot_id = 1000;
    let mut spool = open(&dir, boot_id);
    let mut model = Model {
        capacity: CONFIG.capacity_bytes(),
        ..Model::default()
    };
    model.start(boot_id);
    for step in steps {
        match step {
            Step::Append(lost, records) => append(&mut spool, &mut model, lost, &records),
            Step::Ack(back, first, last) => {
                let of = model.boots[model.boot().saturating_sub(back)];
                spool.ack(of, &[(first, last)]).unwrap();
                model.ack(of, (first, last));
            }
            Step::Report => {
                model.report();
                assert_eq!(spool.report_gaps().unwrap(), model.reported);
            }
            Step::AckGaps(which) => {
                let gaps = model.reported.clone();
                for gap in gaps.iter().zip(which).filter(|(_, take)| *take).map(|(gap, _)| gap) {
                    spool.ack_gaps(gap.boot_id, &[(gap.first, gap.last)]).unwrap();
                    model.reported.retain(|reported| reported != gap);
                }
            }
            Step::HoldBack(below) => {
                spool.hold_back(below);
                model.live_from = model.live_from.max(below);
            }
            Step::Reopen => {
                drop(spool);
                spool = open(&dir, boot_id);
                model.live_from = 0;
            }
            Step::Reboot => {
                drop(spool);
                // Boot ids have no order.
                boot_id = boot_id.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1) >> 8;
                spool = open(&dir, boot_id);
                model.start(boot_id);
            }
        }
        let (real, modelled) = (sent_by_spool(&mut spool), sent_by_model(&model));
        let difference = real.iter().zip(&modelled).find(|(real, modelled)| real != modelled);
        assert_eq!((difference, real.len()), (None, modelled.len()));
        assert_eq!(spool.gaps().unwrap(), model.gaps());
        assert_eq!(spool.stats().bytes, model.bytes());
        assert_eq!(spool.stats().records, real.len() as u64);
        assert!(dir.path().join("spool.redb").metadata().unwrap().len() <= CONFIG.budget_bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn contents_and_gaps_are_those_of_the_model(steps in steps()) {
        run(steps);
    }
}
