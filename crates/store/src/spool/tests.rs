//! The spool on real files: order, budget, gaps, restarts, damage.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const CONFIG: SpoolConfig = SpoolConfig {
    budget_bytes: 600_000,
    high_reserve_bytes: 100_000,
};
const ALL: BatchLimits = BatchLimits {
    max_records: usize::MAX,
    max_bytes: usize::MAX,
};

fn open(dir: &tempfile::TempDir, boot_id: u64) -> Spool {
    Spool::open(&dir.path().join("spool.redb"), boot_id, CONFIG).unwrap()
}

fn record(priority: Priority, payload: &[u8]) -> NewRecord<'_> {
    NewRecord {
        priority,
        time_ms: 7,
        payload,
    }
}

fn drain(spool: &mut Spool) -> Vec<Batch> {
    let mut cursor = Cursor::default();
    let mut batches = Vec::new();
    while let Some(batch) = spool.next_batch(&mut cursor, ALL, Order::LiveFirst).unwrap() {
        batches.push(batch);
    }
    batches
}

fn seqs(batch: &Batch) -> Vec<u64> {
    batch.records.iter().map(|record| record.seq).collect()
}

fn kept(spool: &mut Spool) -> u64 {
    drain(spool).iter().map(|batch| batch.records.len() as u64).sum()
}

fn declared(spool: &mut Spool) -> u64 {
    spool.gaps().unwrap().iter().map(|gap| gap.count).sum::<u64>() + spool.stats().unlisted
}

#[test]
fn records_come_back_in_order_whatever_their_priority() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1);
    let given = [Priority::Low, Priority::High, Priority::Normal, Priority::High];
    let records: Vec<_> = given.iter().map(|priority| record(*priority, b"x")).collect();
    assert_eq!(spool.append_batch(&records).unwrap(), 1..5);
    assert_eq!(spool.append(record(Priority::Low, b"last")).unwrap(), 5);
    assert_eq!(spool.append_batch(&[]).unwrap(), 6..6);
    let batches = drain(&mut spool);
    assert_eq!(batches.len(), 1);
    assert_eq!(seqs(&batches[0]), vec![1, 2, 3, 4, 5]);
    assert_eq!(batches[0].records[1].priority, Priority::High);
    assert_eq!(
        batches[0].records[4],
        Record {
            seq: 5,
            priority: Priority::Low,
            time_ms: 7,
            payload: b"last".to_vec()
        }
    );
}

#[test]
fn what_was_lost_on_the_way_is_numbered_and_declared() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1);
    spool.append(record(Priority::Low, b"x")).unwrap();
    assert_eq!(
        spool.append_after_loss(3, &[record(Priority::High, b"y")]).unwrap(),
        5..6
    );
    assert_eq!(spool.append_after_loss(2, &[]).unwrap(), 8..8);
    let gap = |first, last| Gap {
        boot_id: 1,
        first,
        last,
        count: last - first + 1,
    };
    assert_eq!(spool.gaps().unwrap(), vec![gap(2, 4), gap(6, 7)]);
    assert_eq!(seqs(&drain(&mut spool)[0]), vec![1, 5]);
    assert_eq!(spool.stats().dropped, 5);
    drop(spool);
    assert_eq!(open(&dir, 1).append(record(Priority::Low, b"z")).unwrap(), 8);
}

#[test]
fn a_restart_makes_the_rest_historical_and_live_data_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    // Boot ids have no order: a random one can be smaller than the last.
    for boot_id in [900, 5] {
        let mut spool = open(&dir, boot_id);
        spool
            .append_batch(&[record(Priority::Normal, b"a"), record(Priority::Normal, b"b")])
            .unwrap();
    }
    let mut spool = open(&dir, 77);
    spool.append(record(Priority::Normal, b"live")).unwrap();
    let found: Vec<_> = drain(&mut spool)
        .iter()
        .map(|batch| (batch.boot_id, batch.historical, seqs(batch)))
        .collect();
    assert_eq!(
        found,
        vec![(77, false, vec![1]), (900, true, vec![1, 2]), (5, true, vec![1, 2])]
    );
    let mut cursor = Cursor::default();
    let first = spool
        .next_batch(&mut cursor, ALL, Order::BackfillFirst)
        .unwrap()
        .unwrap();
    assert_eq!(first.boot_id, 900);
}

#[test]
fn a_batch_keeps_its_limits_and_gives_at_least_one_record() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1);
    for _ in 0..5 {
        spool.append(record(Priority::Normal, &[0; 100])).unwrap();
    }
    for (max_records, max_bytes, expected) in [(2, 1000, 2), (9, 250, 2), (0, 1000, 1), (9, 10, 1), (9, 500, 5)] {
        let limits = BatchLimits { max_records, max_bytes };
        let batch = spool
            .next_batch(&mut Cursor::default(), limits, Order::LiveFirst)
            .unwrap()
            .unwrap();
        assert_eq!(batch.records.len(), expected, "{limits:?}");
    }
}

#[test]
fn acknowledged_records_go_and_numbers_never_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1);
    for _ in 0..10 {
        spool.append(record(Priority::Normal, b"x")).unwrap();
    }
    assert_eq!(spool.ack(1, &[(1, 3), (5, 5), (9, 8)]).unwrap(), 4);
    assert_eq!(spool.ack(1, &[(1, 3)]).unwrap(), 0);
    assert_eq!(spool.ack(2, &[(0, u64::MAX)]).unwrap(), 0);
    assert_eq!(seqs(&drain(&mut spool)[0]), vec![4, 6, 7, 8, 9, 10]);
    assert_eq!(spool.ack(1, &[(0, u64::MAX)]).unwrap(), 6);
    assert_eq!(spool.stats(), SpoolStats::default());
    drop(spool);
    let mut spool = open(&dir, 1);
    assert_eq!(spool.append(record(Priority::Normal, b"x")).unwrap(), 11);
    assert!(matches!(
        spool.ack(1, &vec![(1, 1); 5000]),
        Err(SpoolError::TooManyRanges { .. })
    ));
}

#[test]
fn low_goes_first_then_normal_and_high_keeps_its_reserve() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1);
    let payload = vec![0; 10_000 - 64];
    for priority in [Priority::High, Priority::Low, Priority::Normal] {
        for _ in 0..10 {
            spool.append(record(priority, &payload)).unwrap();
        }
    }
    // 300,000 bytes so far; 40 more records fit only when all of low goes.
    for _ in 0..40 {
        spool.append(record(Priority::Normal, &payload)).unwrap();
    }
    assert_eq!(
        spool.gaps().unwrap(),
        vec![Gap {
            boot_id: 1,
            first: 11,
            last: 20,
            count: 10
        }]
    );
    // Then the oldest of normal, never high, which fills exactly its reserve.
    for _ in 0..50 {
        spool.append(record(Priority::Normal, &payload)).unwrap();
    }
    assert_eq!(
        spool.gaps().unwrap(),
        vec![Gap {
            boot_id: 1,
            first: 11,
            last: 70,
            count: 60
        }]
    );
    assert_eq!(spool.stats().high_bytes, 100_000);
    // High beyond its reserve competes with normal by age, and the oldest high goes first.
    spool.append(record(Priority::High, &payload)).unwrap();
    assert_eq!(
        spool.gaps().unwrap().first(),
        Some(&Gap {
            boot_id: 1,
            first: 1,
            last: 1,
            count: 1
        })
    );
    assert_eq!(spool.stats().bytes, CONFIG.budget_bytes);
}

#[test]
fn reported_gaps_are_forgotten_and_grown_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1);
    let payload = vec![0; 100_000];
    for _ in 0..8 {
        spool.append(record(Priority::Normal, &payload)).unwrap();
    }
    let reported = spool.gaps().unwrap();
    spool.append(record(Priority::Normal, &payload)).unwrap();
    spool.forget_gaps(&reported).unwrap();
    let grown = spool.gaps().unwrap();
    assert_eq!(grown.len(), 1);
    assert_eq!(grown[0].count, reported[0].count + 1);
    spool.forget_gaps(&grown).unwrap();
    assert!(spool.gaps().unwrap().is_empty());
    assert_eq!(spool.stats().dropped, grown[0].count);
}

#[test]
fn gaps_are_bounded_and_still_count_right() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1);
    let config = SpoolConfig {
        budget_bytes: 600_000,
        high_reserve_bytes: 600_000,
    };
    drop(spool);
    spool = Spool::open(&dir.path().join("spool.redb"), 1, config).unwrap();
    // High and low alternate, so that no two dropped numbers are neighbours.
    let (high, low) = (vec![0; 36], vec![0; 236]);
    let pair = [record(Priority::High, &high), record(Priority::Low, &low)];
    let many: Vec<_> = (0..2000).flat_map(|_| pair).collect();
    for _ in 0..2 {
        spool.append_batch(&many).unwrap();
    }
    let gaps = spool.gaps().unwrap();
    assert_eq!(gaps.len() as u64, gaps::MAX_GAPS);
    assert!(gaps[0].count < gaps[0].last - gaps[0].first + 1, "{:?}", gaps[0]);
    assert_eq!(kept(&mut spool) + declared(&mut spool), 8000);
    assert!(gaps.windows(2).all(|pair| pair[0].last < pair[1].first));
}

#[test]
fn a_damaged_file_is_moved_aside_and_never_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.redb");
    std::fs::write(&path, b"this is no database").unwrap();
    let mut spool = open(&dir, 1);
    assert_eq!(
        spool.moved_aside(),
        Some(dir.path().join("spool.redb.corrupt-1").as_path())
    );
    spool.append(record(Priority::Normal, b"x")).unwrap();
    drop(spool);
    assert!(open(&dir, 2).moved_aside().is_none());
    for number in 2..6 {
        std::fs::write(&path, b"again").unwrap();
        let aside = open(&dir, 1).moved_aside().unwrap().to_owned();
        assert_eq!(aside, dir.path().join(format!("spool.redb.corrupt-{number}")));
    }
    let held = (1..6).filter(|n| {
        dir.path()
            .join(format!("spool.redb.corrupt-{n}"))
            .metadata()
            .unwrap()
            .len()
            > 0
    });
    assert_eq!(held.count(), 2, "older damaged files are emptied");
}

#[test]
fn flipped_bytes_anywhere_never_keep_it_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.redb");
    let mut spool = open(&dir, 1);
    for _ in 0..20 {
        spool.append(record(Priority::Normal, &[1; 5000])).unwrap();
    }
    drop(spool);
    let whole = std::fs::read(&path).unwrap();
    let offsets = (0..512).step_by(9).chain((512..whole.len()).step_by(whole.len() / 40));
    for offset in offsets {
        let mut damaged = whole.clone();
        for byte in damaged.iter_mut().skip(offset).take(8) {
            *byte ^= 0xff;
        }
        std::fs::write(&path, &damaged).unwrap();
        let mut spool = open(&dir, 2);
        spool
            .append(record(Priority::High, b"works"))
            .unwrap_or_else(|error| panic!("flipped at {offset}: {error}"));
    }
    for length in [0, 1, 100, 4096, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let mut spool = open(&dir, 2);
        spool
            .append(record(Priority::High, b"works"))
            .unwrap_or_else(|error| panic!("cut to {length}: {error}"));
    }
}

#[test]
fn a_second_handle_and_nonsense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.redb");
    let mut spool = open(&dir, 1);
    assert!(matches!(Spool::open(&path, 2, CONFIG), Err(SpoolError::InUse { .. })));
    let error = spool
        .append(record(Priority::Low, &vec![0; MAX_RECORD_BYTES + 1]))
        .unwrap_err();
    assert!(matches!(error, SpoolError::RecordTooLarge { .. }));
    assert_eq!(
        spool.append(record(Priority::Low, &vec![0; MAX_RECORD_BYTES])).unwrap(),
        1
    );
    for (budget_bytes, high_reserve_bytes) in [(1000, 10), (600_000, 600_001)] {
        let config = SpoolConfig {
            budget_bytes,
            high_reserve_bytes,
        };
        assert!(matches!(Spool::open(&path, 2, config), Err(SpoolError::Config { .. })));
    }
}

#[test]
fn the_file_stays_within_twice_the_budget_and_a_mebibyte() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig {
        budget_bytes: 4 << 20,
        high_reserve_bytes: 1 << 20,
    };
    let path = dir.path().join("spool.redb");
    let mut spool = Spool::open(&path, 1, config).unwrap();
    let payload = vec![3; 900];
    let batch = vec![record(Priority::Normal, &payload); 200];
    for _ in 0..100 {
        spool.append_batch(&batch).unwrap();
    }
    assert!(
        spool.stats().bytes * 10 >= config.budget_bytes * 8,
        "{:?}",
        spool.stats()
    );
    let length = path.metadata().unwrap().len();
    assert!(length <= 2 * config.budget_bytes + (1 << 20), "{length} bytes");
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(u8, usize)>),
    Ack(u64, u64),
    Report,
    Reboot,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => prop::collection::vec((0_u8..3, 0_usize..120_000), 1..6).prop_map(Step::Append),
        2 => (0_u64..60, 0_u64..10).prop_map(|(first, width)| Step::Ack(first, first + width)),
        1 => Just(Step::Report),
        1 => Just(Step::Reboot),
    ];
    prop::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What was offered is acknowledged, kept or declared as a gap: every record exactly once.
    #[test]
    fn nothing_is_lost_undeclared(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let mut boot_id = 1;
        let mut spool = open(&dir, boot_id);
        let (mut offered, mut acked, mut reported) = (BTreeSet::new(), 0, 0);
        for step in steps {
            match step {
                Step::Append(records) => {
                    let payloads: Vec<_> = records.iter().map(|(_, length)| vec![0; *length]).collect();
                    let priorities = [Priority::High, Priority::Normal, Priority::Low];
                    let batch: Vec<_> = records.iter().zip(&payloads)
                        .map(|((priority, _), payload)| record(priorities[usize::from(*priority)], payload)).collect();
                    for seq in spool.append_batch(&batch).unwrap() {
                        prop_assert!(offered.insert((boot_id, seq)), "a number was given twice");
                    }
                }
                Step::Ack(first, last) => acked += spool.ack(boot_id, &[(first, last)]).unwrap(),
                Step::Report => {
                    let gaps = spool.gaps().unwrap();
                    reported += gaps.iter().map(|gap| gap.count).sum::<u64>();
                    spool.forget_gaps(&gaps).unwrap();
                }
                Step::Reboot => {
                    drop(spool);
                    boot_id += 1;
                    spool = open(&dir, boot_id);
                }
            }
            let stats = spool.stats();
            prop_assert!(stats.bytes <= CONFIG.budget_bytes);
            prop_assert_eq!(stats.records, kept(&mut spool));
            prop_assert_eq!(offered.len() as u64, acked + stats.records + reported + declared(&mut spool));
        }
    }
}
