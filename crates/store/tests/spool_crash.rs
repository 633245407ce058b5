//! Power cuts and failing disks under the spool's database.
//!
//! redb writes the file, so what is between two fsyncs is its business. A life of a spool is recorded below redb: groups
//! appended, ranges acknowledged, old records dropped for want of room, gaps reported. States that a power cut can leave are
//! drawn by a seed, and each is opened as after a restart. The same life is then lived on a medium that fails.
//!
//! `FLOORHAND_CRASH_SAMPLES` asks for more states than a run in between takes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "these are tests"
)]

use floorhand_store::{BatchLimits, Cursor, Gap, NewRecord, Order, Priority, Spool, SpoolConfig};
use floorhand_testkit::crash::{Random, Tape, TapeFault, TapeStep, sample_tape};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// The least there is, so that a short life fills it.
const CONFIG: SpoolConfig = SpoolConfig {
    budget_bytes: 2 << 20,
    high_reserve_bytes: 512 << 10,
};
const LIMITS: BatchLimits = BatchLimits {
    max_records: 100,
    max_bytes: 1 << 20,
};
/// States that are drawn unless the environment says otherwise.
const SAMPLES: usize = 1500;
/// Operations of a boot.
const OPERATIONS: usize = 130;
const PATH: &str = "spool.redb";

/// A record's boot and number.
type Key = (u64, u64);
type Numbers = BTreeSet<Key>;

/// What the caller was told, or is about to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    /// The spool is about to be opened for this boot.
    Opening(u64),
    /// Records of these contents are about to be appended behind so many lost ones, from this number on.
    Appending {
        boot: u64,
        first: u64,
        lost: u64,
        contents: Vec<u8>,
    },
    /// They are durable.
    Appended,
    /// These numbers may go from now on.
    Acking(Numbers),
    /// They are gone, durably.
    Acked,
    /// These gaps may be forgotten from now on.
    Forgetting(Vec<Gap>),
    /// They are forgotten, durably.
    Forgot,
}

fn samples() -> usize {
    let asked = std::env::var("FLOORHAND_CRASH_SAMPLES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(SAMPLES)
}

fn open(tape: &Tape<Mark>, boot: u64) -> Spool {
    Spool::open_on(Arc::new(tape.clone()), Path::new(PATH), boot, CONFIG).unwrap()
}

/// A record's payload: known by one byte, some to some thousand bytes long.
fn payload(content: u8) -> Vec<u8> {
    vec![content; 20 + usize::from(content) * 40]
}

fn priority(content: u8) -> Priority {
    [Priority::High, Priority::Normal, Priority::Low][usize::from(content) % 3]
}

fn append(spool: &mut Spool, lost: u64, contents: &[u8]) -> Result<(), floorhand_store::SpoolError> {
    let payloads: Vec<Vec<u8>> = contents.iter().map(|&content| payload(content)).collect();
    let records: Vec<NewRecord<'_>> = contents
        .iter()
        .zip(&payloads)
        .map(|(&content, payload)| NewRecord {
            priority: priority(content),
            time_ms: u64::from(content),
            payload,
        })
        .collect();
    spool.append_after_loss(lost, &records).map(drop)
}

/// Every record that is kept, with its content.
fn records(spool: &mut Spool) -> BTreeMap<Key, u8> {
    let (mut cursor, mut found) = (Cursor::default(), BTreeMap::new());
    while let Some(batch) = spool.next_batch(&mut cursor, LIMITS, Order::LiveFirst).unwrap() {
        for record in batch.records {
            let content = record.payload[0];
            assert_eq!(record.payload, payload(content));
            assert_eq!(record.priority, priority(content));
            let twice = found.insert((batch.boot_id, record.seq), content);
            assert_eq!(twice, None, "{} of {} is there twice", record.seq, batch.boot_id);
        }
    }
    found
}

fn numbers(gaps: &[Gap]) -> Numbers {
    let of = |gap: &Gap| {
        assert_eq!(gap.count, gap.last - gap.first + 1, "no gap was joined here");
        let boot = gap.boot_id;
        (gap.first..=gap.last).map(move |seq| (boot, seq))
    };
    gaps.iter().flat_map(of).collect()
}

/// One operation of a life, with what is told about it.
fn act(tape: &Tape<Mark>, spool: &mut Spool, next: &mut u64, random: &mut Random) {
    match random.below(8) {
        0 => {
            let kept: Vec<Key> = records(spool).into_keys().collect();
            let share = random.below(kept.len());
            let acked: Numbers = kept.into_iter().take(share).collect();
            tape.mark(Mark::Acking(acked.clone()));
            for boot in acked.iter().map(|(boot, _)| *boot).collect::<BTreeSet<u64>>() {
                let ranges: Vec<(u64, u64)> = acked
                    .iter()
                    .filter(|key| key.0 == boot)
                    .map(|key| (key.1, key.1))
                    .collect();
                spool.ack(boot, &ranges).unwrap();
            }
            tape.mark(Mark::Acked);
        }
        1 => {
            let gaps = spool.report_gaps().unwrap();
            tape.mark(Mark::Forgetting(gaps.clone()));
            for gap in &gaps {
                spool.ack_gaps(gap.boot_id, &[(gap.first, gap.last)]).unwrap();
            }
            tape.mark(Mark::Forgot);
        }
        _ => {
            let contents: Vec<u8> = (0..1 + random.below(5)).map(|_| random.draw() as u8).collect();
            let lost = if random.below(6) == 0 {
                1 + random.below(3) as u64
            } else {
                0
            };
            let (boot, first) = (spool.boot_id(), *next);
            tape.mark(Mark::Appending {
                boot,
                first,
                lost,
                contents: contents.clone(),
            });
            append(spool, lost, &contents).unwrap();
            tape.mark(Mark::Appended);
            *next += lost + contents.len() as u64;
        }
    }
}

/// Three boots, the second of which is begun again.
fn live(tape: &Tape<Mark>, seed: u64) {
    let mut random = Random::new(seed);
    for boot in [11, 12, 13] {
        tape.mark(Mark::Opening(boot));
        let mut spool = open(tape, boot);
        let mut next = 1;
        for _ in 0..OPERATIONS {
            act(tape, &mut spool, &mut next, &mut random);
        }
    }
}

/// What a restart may rely on.
#[derive(Debug, Default)]
struct Promised {
    /// The boot that may have been begun.
    latest: u64,
    /// Every number that was given, durably, and its content; `None` for one that was lost before.
    given: BTreeMap<Key, Option<u8>>,
    /// An append that may be there, as a whole.
    under_way: BTreeMap<Key, Option<u8>>,
    /// Numbers that may be gone.
    may_be_gone: Numbers,
    /// Numbers that are.
    gone: Numbers,
}

impl Promised {
    fn by(steps: &[TapeStep<Mark>]) -> Self {
        let mut promised = Self::default();
        let mut going = Numbers::new();
        for step in steps {
            let TapeStep::Mark(mark) = step else { continue };
            match mark {
                Mark::Opening(boot) => promised.latest = *boot,
                Mark::Appending {
                    boot,
                    first,
                    lost,
                    contents,
                } => {
                    let lost = (0..*lost).map(|_| None);
                    let all = lost.chain(contents.iter().copied().map(Some));
                    let keys = (*first..).map(|seq| (*boot, seq));
                    promised.under_way = keys.zip(all).collect();
                }
                Mark::Appended => promised.given.append(&mut promised.under_way),
                Mark::Acking(numbers) => going.clone_from(numbers),
                Mark::Forgetting(gaps) => going = numbers(gaps),
                Mark::Acked | Mark::Forgot => promised.gone.append(&mut going),
            }
            promised.may_be_gone.extend(&going);
        }
        promised
    }

    /// Holds what is there against it. Each number is a record, or a gap, or was acknowledged or reported: one of them.
    fn check(&self, spool: &mut Spool) {
        assert_eq!(spool.moved_aside(), None, "the spool was taken for damaged");
        let (records, gaps) = (records(spool), numbers(&spool.gaps().unwrap()));
        assert_eq!(spool.stats().records, records.len() as u64);
        let is_there = |key: &Key| records.contains_key(key) || gaps.contains(key);
        for key in self.given.keys().filter(|key| !self.may_be_gone.contains(key)) {
            assert!(is_there(key), "{key:?} is neither kept nor declared lost");
        }
        let landed = self.under_way.keys().filter(|key| is_there(key)).count();
        assert!([0, self.under_way.len()].contains(&landed), "half of a group is there");
        for (key, content) in &records {
            let known = self.given.get(key).or_else(|| self.under_way.get(key));
            assert_eq!(known, Some(&Some(*content)), "{key:?}");
            assert!(!self.gone.contains(key), "{key:?} was acknowledged and is back");
            assert!(!gaps.contains(key), "{key:?} is kept, and declared lost");
        }
        for key in &gaps {
            assert!(
                self.given.contains_key(key) || self.under_way.contains_key(key),
                "{key:?}"
            );
            assert!(!self.gone.contains(key), "{key:?} was reported as lost and is back");
        }
    }
}

/// Opens what a power cut has left, twice: in a new boot, and once more in the boot that was cut short.
fn restart(content: &[u8], promised: &Promised) -> Option<Tape<Mark>> {
    let tape = Tape::new(content.to_vec());
    let opened = Spool::open_on(Arc::new(tape.clone()), Path::new(PATH), 99, CONFIG);
    if opened.is_err() && promised.given.is_empty() && promised.under_way.is_empty() {
        // Cut short in being made, before anything was told: it is moved aside, which this medium can't.
        return None;
    }
    let mut spool = opened.unwrap();
    promised.check(&mut spool);
    append(&mut spool, 0, &[7]).unwrap();
    assert_eq!(records(&mut spool).get(&(99, 1)), Some(&7), "a new boot begins with 1");
    drop(spool);
    // A boot that was begun again goes on with its numbers, as long as none came behind it.
    let last = promised.given.keys().next_back().filter(|key| key.0 == promised.latest);
    if let Some(&(boot, last)) = last {
        let mut spool = open(&Tape::new(content.to_vec()), boot);
        let before = records(&mut spool);
        append(&mut spool, 0, &[9]).unwrap();
        let after = records(&mut spool);
        let fresh = after
            .iter()
            .rfind(|(key, content)| **content == 9 && !before.contains_key(key));
        if let Some(((found, seq), _)) = fresh.filter(|((found, _), _)| *found == boot) {
            assert!(*seq > last, "{seq} of boot {found} was given before");
        }
    }
    Some(tape)
}

fn explain(at: usize, what: &str, body: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
        let told = panic.downcast_ref::<String>().map_or("", String::as_str);
        panic!("after step {at}, {what}: {told}");
    }
}

#[test]
fn whatever_a_power_cut_leaves_of_the_spool_no_record_that_was_told_durable_is_gone() {
    let (mut states, mut again, mut unmade) = (0, 0, 0);
    for seed in 1..=3 {
        let tape = Tape::new(Vec::new());
        live(&tape, seed);
        let steps = tape.steps();
        sample_tape(&[], &steps, samples() / 3, seed, |at, what, content| {
            states += 1;
            let promised = Promised::by(&steps[..at]);
            explain(at, what, || {
                let Some(restarted) = restart(&content, &promised) else {
                    unmade += 1;
                    return;
                };
                // Every so often the power goes again while the spool is opened.
                if states % 10 == 0 {
                    sample_tape(&content, &restarted.steps(), 3, seed + states, |_, what, content| {
                        again += 1;
                        let mut spool = open(&Tape::new(content), 100);
                        let mut twice = Promised::by(&steps[..at]);
                        twice.under_way.insert((99, 1), Some(7));
                        explain(at, what, || twice.check_after_second(&mut spool));
                    });
                }
            });
        });
    }
    eprintln!("{states} states, {unmade} of them in the making of the file, and {again} of a second power cut");
    assert!(unmade < states / 20, "{unmade} states without a spool");
}

impl Promised {
    /// [`Promised::check`] where the append that was under way at the first cut and the one behind it may each be there.
    fn check_after_second(mut self, spool: &mut Spool) {
        let there = records(spool);
        let gaps = numbers(&spool.gaps().unwrap());
        let under_way = std::mem::take(&mut self.under_way);
        let landed = under_way
            .into_iter()
            .filter(|(key, _)| there.contains_key(key) || gaps.contains(key));
        self.given.extend(landed.collect::<Vec<_>>());
        self.check(spool);
    }
}

/// A spool whose syncs do nothing is found out: the check above can fail.
#[test]
fn forgotten_syncs_are_found() {
    let tape = Tape::new(Vec::new());
    live(&tape, 1);
    let without: Vec<TapeStep<Mark>> = tape
        .steps()
        .into_iter()
        .filter(|step| !matches!(step, TapeStep::Sync))
        .collect();
    let mut found = 0;
    sample_tape(&[], &without, 50, 1, |at, _, content| {
        let promised = Promised::by(&without[..at]);
        found += u32::from(catch_unwind(AssertUnwindSafe(|| restart(&content, &promised))).is_err());
    });
    assert!(found > 10, "{found} of 50");
}

/// Offers groups to a spool and counts as lost what it refuses, as the agent does; the books then have to agree.
fn offer(tape: &Tape<Mark>, groups: usize, fault: TapeFault) -> u64 {
    let mut random = Random::new(5);
    let mut spool = open(tape, 1);
    let (mut offered, mut lost, mut refused, mut acked) = (0, 0, 0, 0);
    tape.fail(Some(fault));
    for group in 0..groups {
        if group == groups - 2 {
            // There is room again.
            tape.fail(None);
        }
        let contents: Vec<u8> = (0..1 + random.below(4)).map(|_| random.draw() as u8).collect();
        offered += contents.len() as u64;
        match append(&mut spool, lost, &contents) {
            Ok(()) => lost = 0,
            Err(_) => {
                refused += 1;
                lost += contents.len() as u64;
            }
        }
        if group % 5 == 4 {
            acked += spool.ack(1, &[(1, group as u64)]).unwrap_or(0);
        }
    }
    assert_eq!(lost, 0, "with room again the last group is taken");
    let (kept, gaps) = (records(&mut spool), numbers(&spool.gaps().unwrap()));
    assert!(kept.keys().all(|key| !gaps.contains(key)), "kept, and declared lost");
    let stats = spool.stats();
    assert_eq!(stats.records, kept.len() as u64);
    assert_eq!(stats.dropped, gaps.len() as u64);
    let booked = kept.len() as u64 + gaps.len() as u64 + acked;
    // What an acknowledgement has deleted before its fsync failed is gone, and was at the hub.
    assert!(booked <= offered, "{booked} of {offered}");
    let all: Numbers = kept.keys().copied().chain(gaps).collect();
    assert_eq!(all.len() as u64, kept.len() as u64 + stats.dropped);
    let last = all.last().map_or(0, |key| key.1);
    let missing = (1..=last).filter(|seq| !all.contains(&(1, *seq))).count() as u64;
    assert_eq!(last, offered, "each record that was offered has one number");
    assert!(
        missing >= acked,
        "{missing} numbers are neither, {acked} were acknowledged"
    );
    assert!(
        (1..=last)
            .filter(|seq| !all.contains(&(1, *seq)))
            .all(|seq| seq <= groups as u64)
    );
    refused
}

/// Each operation fails once or for long, with what a full or a broken disk says, undone or done nevertheless.
#[test]
fn what_a_failing_disk_refuses_is_a_gap_and_the_spool_goes_on() {
    let errors = [
        io::ErrorKind::StorageFull,
        io::ErrorKind::Other,
        io::ErrorKind::ReadOnlyFilesystem,
    ];
    let (mut faults, mut refused) = (0, 0);
    for first in 4..120 {
        for error in errors {
            for (count, done) in [(1, false), (1, true), (60, false)] {
                let fault = TapeFault {
                    first: first * 2,
                    count,
                    error,
                    done,
                };
                explain(first as usize, &format!("{fault:?}"), || {
                    let tape = Tape::new(Vec::new());
                    refused += offer(&tape, 14, fault);
                });
                faults += 1;
            }
        }
    }
    eprintln!("{faults} faults, {refused} groups refused");
    assert!(refused > 100, "{refused}: the faults hit nothing");
}

/// A disk that fails from the start on: nothing is kept, nothing is forgotten that was counted, and it begins when it can.
#[test]
fn a_spool_that_can_not_be_opened_yet_begins_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("not-there-yet").join(PATH);
    let mut spool = Spool::open_later(&path, 1, CONFIG).unwrap();
    append(&mut spool, 0, &[1, 2]).unwrap_err();
    spool
        .next_batch(&mut Cursor::default(), LIMITS, Order::LiveFirst)
        .unwrap_err();
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    append(&mut spool, 2, &[3]).unwrap();
    assert_eq!(records(&mut spool).into_iter().collect::<Vec<_>>(), [((1, 3), 3)]);
    assert_eq!(numbers(&spool.gaps().unwrap()), Numbers::from([(1, 1), (1, 2)]));
}
