//! The spool on real files: order, budget, gaps, restarts, damage.

use super::*;

/// The least that works: 432 records of a page each.
pub(super) const CONFIG: SpoolConfig = SpoolConfig {
    budget_bytes: 2 << 20,
    high_reserve_bytes: 25 * 4096,
};
/// A payload that takes a page.
const PAGE: [u8; 4096 - 4 - 28] = [3; 4096 - 4 - 28];
pub(super) const ALL: BatchLimits = BatchLimits {
    max_records: usize::MAX,
    max_bytes: usize::MAX,
};

pub(super) fn open(dir: &tempfile::TempDir, boot_id: u64) -> Spool {
    Spool::open(&dir.path().join("spool.redb"), boot_id, CONFIG).unwrap()
}

pub(super) fn record(priority: Priority, payload: &[u8]) -> NewRecord<'_> {
    NewRecord {
        priority,
        time_ms: 7,
        payload,
    }
}

pub(super) fn drain(spool: &mut Spool) -> Vec<Batch> {
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
    let mut next = |order| {
        spool
            .next_batch(&mut cursor, ALL, order)
            .unwrap()
            .map(|batch| batch.boot_id)
    };
    assert_eq!(next(Order::Backfill), Some(900));
    assert_eq!((next(Order::Live), next(Order::Live)), (Some(77), None));
    assert_eq!((next(Order::Backfill), next(Order::Backfill)), (Some(5), None));
}

#[test]
fn what_was_held_back_goes_behind_what_is_live_and_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 5);
    spool.append(record(Priority::Low, b"old")).unwrap();
    drop(spool);
    let mut spool = open(&dir, 9);
    for _ in 0..6 {
        spool.append(record(Priority::Low, b"x")).unwrap();
    }
    spool.hold_back(5);
    spool.hold_back(2);
    let found: Vec<_> = drain(&mut spool)
        .iter()
        .map(|batch| (batch.boot_id, batch.historical, seqs(batch)))
        .collect();
    assert_eq!(
        found,
        vec![(9, false, vec![5, 6]), (5, true, vec![1]), (9, true, vec![1, 2, 3, 4])]
    );
    let mut cursor = Cursor::default();
    while spool.next_batch(&mut cursor, ALL, Order::LiveFirst).unwrap().is_some() {}
    cursor.rewind_backfill();
    let again = spool.next_batch(&mut cursor, ALL, Order::LiveFirst).unwrap().unwrap();
    assert_eq!((again.boot_id, again.historical), (5, true));
    cursor.rewind_live();
    let again = spool.next_batch(&mut cursor, ALL, Order::LiveFirst).unwrap().unwrap();
    assert_eq!((again.boot_id, seqs(&again)), (9, vec![5, 6]));
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

/// Appends records of a page each.
fn fill(spool: &mut Spool, priority: Priority, count: usize) {
    for group in vec![record(priority, &PAGE); count].chunks(16) {
        spool.append_batch(group).unwrap();
    }
}

fn gap(first: u64, last: u64) -> Gap {
    Gap {
        boot_id: 1,
        first,
        last,
        count: last - first + 1,
    }
}

#[test]
fn low_goes_first_then_normal_and_high_keeps_its_reserve() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1);
    for priority in [Priority::High, Priority::Low, Priority::Normal] {
        fill(&mut spool, priority, 25);
    }
    // 357 more are as many as fit; with another 25 all of low goes.
    fill(&mut spool, Priority::Normal, 357);
    assert_eq!((spool.gaps().unwrap(), spool.stats().records), (vec![], 432));
    fill(&mut spool, Priority::Normal, 25);
    assert_eq!(spool.gaps().unwrap(), vec![gap(26, 50)]);
    // Then the oldest of normal, never high, which fills exactly its reserve.
    fill(&mut spool, Priority::Normal, 50);
    assert_eq!(spool.gaps().unwrap(), vec![gap(26, 100)]);
    assert_eq!(spool.stats().high_bytes, CONFIG.high_reserve_bytes);
    // High beyond its reserve competes with normal by age, and the oldest high goes first.
    spool.append(record(Priority::High, &PAGE)).unwrap();
    assert_eq!(spool.gaps().unwrap(), vec![gap(1, 1), gap(26, 100)]);
    assert_eq!(spool.stats().bytes, CONFIG.capacity_bytes());
}

#[test]
fn a_reported_gap_stays_as_it_is_until_it_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1);
    assert_eq!(spool.report_gaps().unwrap(), vec![]);
    fill(&mut spool, Priority::Normal, 442);
    assert_eq!(spool.report_gaps().unwrap(), vec![gap(1, 10)]);
    fill(&mut spool, Priority::Normal, 5);
    assert_eq!(spool.report_gaps().unwrap(), vec![gap(1, 10)], "as it was sent");
    assert_eq!(spool.gaps().unwrap(), vec![gap(1, 10), gap(11, 15)]);
    drop(spool);
    let mut spool = open(&dir, 1);
    assert_eq!(spool.report_gaps().unwrap(), vec![gap(1, 10)], "after a restart, too");
    spool.ack_gaps(1, &[(1, 9), (2, 10), (1, 11)]).unwrap();
    spool.ack_gaps(2, &[(1, 10)]).unwrap();
    assert_eq!(spool.ack(1, &[(0, 15)]).unwrap(), 0);
    assert_eq!(spool.report_gaps().unwrap(), vec![gap(1, 10)]);
    spool.ack_gaps(1, &[(1, 10), (11, 15)]).unwrap();
    assert_eq!(spool.report_gaps().unwrap(), vec![gap(11, 15)], "it wasn't sent before");
    spool.ack_gaps(1, &[(11, 15)]).unwrap();
    assert_eq!(spool.gaps().unwrap(), vec![]);
    assert_eq!(spool.stats().dropped, 15);
}

/// A record can be sent, dropped, and acknowledged behind that. Its number lies in a gap then which the hub may not have.
#[test]
fn an_acknowledged_record_does_not_take_the_gap_that_its_number_lies_in() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1);
    spool.append_after_loss(1, &[]).unwrap();
    assert_eq!(spool.report_gaps().unwrap(), vec![gap(1, 1)]);
    // While that report is under way the file gets full, and a gap opens behind it.
    fill(&mut spool, Priority::Normal, 532);
    assert_eq!(spool.gaps().unwrap(), vec![gap(1, 1), gap(2, 101)]);
    let limits = BatchLimits {
        max_records: 200,
        ..ALL
    };
    let sent = spool.next_batch(&mut Cursor::default(), limits, Order::LiveFirst);
    assert_eq!(
        seqs(&sent.unwrap().unwrap()),
        (102..=301).collect::<Vec<_>>(),
        "on their way to the hub"
    );
    // Some of them are dropped.
    fill(&mut spool, Priority::Normal, 50);
    spool.ack_gaps(1, &[(1, 1)]).unwrap();
    assert_eq!(
        spool.report_gaps().unwrap(),
        vec![gap(2, 151)],
        "this message is lost on its way"
    );
    assert_eq!(spool.ack(1, &[(102, 301)]).unwrap(), 150);
    assert_eq!(spool.report_gaps().unwrap(), vec![gap(2, 151)], "told again");
    spool.ack_gaps(1, &[(2, 151)]).unwrap();
    assert_eq!(spool.gaps().unwrap(), vec![]);
}

#[test]
fn a_gap_of_a_boot_that_is_over_is_reported_before_the_boot_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1);
    spool.append_after_loss(3, &[]).unwrap();
    drop(spool);
    let mut spool = open(&dir, 2);
    assert_eq!(spool.report_gaps().unwrap(), vec![gap(1, 3)]);
    drop(spool);
    let mut spool = open(&dir, 3);
    assert_eq!(spool.report_gaps().unwrap(), vec![gap(1, 3)]);
    spool.ack_gaps(2, &[(1, 3)]).unwrap();
    assert_eq!(spool.report_gaps().unwrap(), vec![gap(1, 3)], "of another boot");
    spool.ack_gaps(1, &[(1, 3)]).unwrap();
    assert_eq!(spool.report_gaps().unwrap(), vec![]);
}

#[test]
fn what_nobody_can_read_is_given_up_and_declared() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1);
    let given = [Priority::Low, Priority::High, Priority::Normal].map(|priority| record(priority, b"x"));
    spool.append_batch(&given).unwrap();
    spool.give_up(1, &[2, 3, 9]).unwrap();
    spool.give_up(1, &[2]).unwrap();
    spool.give_up(7, &[1]).unwrap();
    assert_eq!(seqs(&drain(&mut spool)[0]), vec![1]);
    assert_eq!(spool.gaps().unwrap(), vec![gap(2, 3)]);
    assert_eq!((spool.stats().records, spool.stats().dropped), (1, 2));
}

#[test]
fn gaps_are_bounded_and_still_count_right() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig {
        high_reserve_bytes: CONFIG.capacity_bytes(),
        ..CONFIG
    };
    let mut spool = Spool::open(&dir.path().join("spool.redb"), 1, config).unwrap();
    // High and low alternate, so that no two dropped numbers are neighbours.
    let (high, low) = (vec![0; 36], vec![0; 1300]);
    let pair = [record(Priority::High, &high), record(Priority::Low, &low)];
    let many: Vec<_> = (0..35).flat_map(|_| pair).collect();
    for _ in 0..100 {
        spool.append_batch(&many).unwrap();
    }
    let gaps = spool.gaps().unwrap();
    assert_eq!(gaps.len() as u64, gaps::MAX_GAPS);
    assert!(gaps[0].count < gaps[0].last - gaps[0].first + 1, "{:?}", gaps[0]);
    assert_eq!(kept(&mut spool) + declared(&mut spool), 7000);
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
    for (budget_bytes, high_reserve_bytes) in [(1000, 10), (2 << 20, 2 << 20)] {
        let config = SpoolConfig {
            budget_bytes,
            high_reserve_bytes,
        };
        assert!(matches!(Spool::open(&path, 2, config), Err(SpoolError::Config { .. })));
    }
}

/// Fills a spool of 4 MiB several times over with records of these lengths in turn, restarts included. The file is never
/// longer than the budget, nothing goes undeclared, and what is kept fills at least so much of the budget.
fn check_budget(lengths: &[usize], least_percent: u64) {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig {
        budget_bytes: 4 << 20,
        high_reserve_bytes: 1 << 20,
    };
    let path = dir.path().join("spool.redb");
    let payloads: Vec<_> = lengths.iter().map(|length| vec![3; *length]).collect();
    let priorities = [
        Priority::Normal,
        Priority::Low,
        Priority::Normal,
        Priority::High,
        Priority::Normal,
    ];
    let (mut offered, mut counted) = (0_usize, 0);
    for boot_id in 1..4 {
        let mut spool = Spool::open(&path, boot_id, config).unwrap();
        while counted < boot_id * 2 * config.budget_bytes {
            let (mut group, mut bytes) = (Vec::new(), 0);
            loop {
                let payload = &payloads[offered % payloads.len()];
                bytes += SpoolConfig::charge(payload.len());
                if bytes > config.group_bytes() || group.len() == 300 {
                    break;
                }
                group.push(record(priorities[offered % priorities.len()], payload));
                offered += 1;
            }
            counted += bytes;
            spool.append_batch(&group).unwrap();
            let length = path.metadata().unwrap().len();
            assert!(length <= config.budget_bytes, "{lengths:?}: {length} bytes");
        }
        assert_eq!(kept(&mut spool) + declared(&mut spool), offered as u64, "{lengths:?}");
    }
    let mut spool = Spool::open(&path, 4, config).unwrap();
    let batches = drain(&mut spool);
    let records = batches.iter().flat_map(|batch| &batch.records);
    let bytes: usize = records.map(|record| record.payload.len() + 28).sum();
    let percent = 100 * bytes as u64 / config.budget_bytes;
    assert!(percent >= least_percent, "{lengths:?}: {percent}% of the budget");
    drop(spool);
    assert!(path.metadata().unwrap().len() <= config.budget_bytes);
}

#[test]
fn the_file_stays_within_its_budget_and_most_of_it_is_records() {
    check_budget(&[150], 80);
    check_budget(&[900], 80);
    check_budget(&[90, 140, 200, 700], 80);
}

#[test]
fn records_that_fit_badly_into_pages_take_room_but_never_more_than_the_budget() {
    check_budget(&[200, 4000], 40);
    check_budget(&[2100], 40);
    check_budget(&[5000, 0, 1400], 40);
    check_budget(&[32 * 1024], 40);
}

#[test]
fn a_smaller_budget_drops_what_is_too_much_and_shrinks_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.redb");
    let large = SpoolConfig {
        budget_bytes: 4 << 20,
        ..CONFIG
    };
    let mut spool = Spool::open(&path, 1, large).unwrap();
    fill(&mut spool, Priority::Normal, 600);
    assert_eq!(spool.stats().dropped, 0);
    drop(spool);
    assert!(path.metadata().unwrap().len() > CONFIG.budget_bytes);
    let mut spool = Spool::open(&path, 2, CONFIG).unwrap();
    assert!(path.metadata().unwrap().len() <= CONFIG.budget_bytes);
    fill(&mut spool, Priority::Normal, 300);
    assert!(path.metadata().unwrap().len() <= CONFIG.budget_bytes);
    assert_eq!(kept(&mut spool) + declared(&mut spool), 900);
}

/// Pairs of records of which each takes a page, though the two count little more than one: a file of them is full early.
fn fill_badly(spool: &mut Spool, priority: Priority, pairs: usize) {
    let (short, long) = (vec![3; 200], vec![3; 4000]);
    for _ in 0..pairs {
        spool
            .append_batch(&[record(priority, &short), record(priority, &long)])
            .unwrap();
    }
}

#[test]
fn a_file_that_was_full_early_gets_back_to_its_budget() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1);
    fill_badly(&mut spool, Priority::Normal, 300);
    let less = spool.capacity_bytes;
    assert!(less < CONFIG.capacity_bytes(), "the records fit too well");
    spool.ack(1, &[(0, u64::MAX)]).unwrap();
    for _ in 0..APPENDS_UNTIL_MORE {
        spool.append(record(Priority::Low, b"x")).unwrap();
    }
    assert_eq!(
        spool.capacity_bytes,
        (less + CONFIG.group_bytes()).min(CONFIG.capacity_bytes())
    );
    spool.appends = APPENDS_UNTIL_MORE;
    while spool.capacity_bytes < CONFIG.capacity_bytes() {
        spool.append(record(Priority::Low, b"x")).unwrap();
        spool.appends = APPENDS_UNTIL_MORE;
    }
    fill(&mut spool, Priority::Normal, 432);
    assert_eq!(spool.stats().bytes, CONFIG.capacity_bytes());
}

#[test]
fn a_file_that_is_full_early_keeps_the_reserve() {
    let dir = tempfile::tempdir().unwrap();
    let pairs = 220;
    let config = SpoolConfig {
        high_reserve_bytes: pairs * (SpoolConfig::charge(200) + SpoolConfig::charge(4000)),
        ..CONFIG
    };
    let mut spool = Spool::open(&dir.path().join("spool.redb"), 1, config).unwrap();
    fill_badly(&mut spool, Priority::High, pairs as usize);
    let high = spool.stats().high_bytes;
    assert_eq!(high, config.high_reserve_bytes);
    for _ in 0..3 {
        fill_badly(&mut spool, Priority::Normal, 40);
        assert_eq!(spool.stats().high_bytes, high, "of what has its room for itself");
        assert!(spool.capacity_bytes >= config.high_reserve_bytes);
    }
    assert!(
        spool.capacity_bytes < config.capacity_bytes(),
        "the file was never full"
    );
}

/// Every gap may be another boot's: those that are forgotten leave nothing behind.
#[test]
fn boots_whose_gap_was_forgotten_are_forgotten() {
    use redb::{ReadableDatabase as _, ReadableTableMetadata as _};
    let database = redb::Builder::new()
        .create_with_backend(redb::backends::InMemoryBackend::new())
        .unwrap();
    for id in 1..=gaps::MAX_GAPS + 100 {
        let txn = database.begin_write().unwrap();
        let boot = Boot {
            id,
            ordinal: 0,
            next_seq: 1,
        };
        let (mut boot, mut totals) = tables::prepare(&txn, boot, false).unwrap();
        let mut appending = Appending::begin(&txn, &CONFIG, CONFIG.capacity_bytes()).unwrap();
        appending.lose(&mut boot, &mut totals, 1).unwrap();
        appending.finish(&boot, &mut totals).unwrap();
        txn.commit().unwrap();
    }
    let txn = database.begin_read().unwrap();
    assert_eq!(txn.open_table(tables::GAPS).unwrap().len().unwrap(), gaps::MAX_GAPS);
    // The last one's own forgetting shows at the next opening.
    assert_eq!(
        txn.open_table(tables::BOOTS).unwrap().len().unwrap(),
        gaps::MAX_GAPS + 1
    );
}
