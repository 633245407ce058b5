//! Full, read-only and broken disks under the core: at every operation of a deployment, for a moment or for long.
//!
//! What served goes on serving, it is said that something could not be made durable, nothing is trusted whose fsync has
//! failed, and when the disk is well again the next deployment comes to its end.

use super::bench::Bench;
use super::bundles::WORLD;
use crate::clock::monotonic_ms;
use floorhand_protocol::{Deployment, JobStatus, RecordBody};
use floorhand_testkit::crash::{Ailment, Failing, Spell, scratch};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// By then the agent has looked after what it had to leave.
const LATER_MS: u64 = 100_000;
const AILMENTS: [Ailment; 3] = [Ailment::Full, Ailment::ReadOnly, Ailment::SyncFails];

fn start(disk: &Failing, root: &Path) -> Bench {
    let mut bench = Bench::start(Arc::new(disk.clone()), root, Arc::new(|_, _| {})).unwrap();
    bench.connect();
    bench
}

fn deploy(bench: &mut Bench, seq: u64, bundle: &str) {
    bench.assign(seq, bundle);
    if bench.candidate.is_some() {
        bench.try_candidate(true);
    }
}

/// Whether a person or the hub can know that something is wrong.
fn said_so(bench: &Bench) -> bool {
    let told = |report: &RecordBody| match report {
        RecordBody::Event(event) => event.kind == "storage-error",
        RecordBody::Job(job) => job.status == JobStatus::Failed,
        _ => false,
    };
    bench.reports.iter().any(told) || !bench.rejected.is_empty()
}

/// What is deployed first when the disk is well again.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// Another bundle, after what was left has been given up.
    Another,
    /// The same bundle, at once.
    Same,
}

/// A device that serves "a" is given "b" while its disk ails. How many operations that took, and how many failed.
fn ails(spell: Option<Spell>, next: Next) -> (u64, u64) {
    let dir = scratch().unwrap();
    let (disk, root) = (Failing::default(), dir.path().join("state"));
    let mut bench = start(&disk, &root);
    deploy(&mut bench, 1, "a");
    let [a, b, c] = ["a", "b", "c"].map(|name| Some(WORLD.bundle(name).digest));
    assert_eq!(bench.serves, a);
    bench.reports.clear();
    disk.ails(spell);
    deploy(&mut bench, 2, "b");
    let figures = (disk.operations(), disk.failed());
    assert!(bench.serves == a || bench.serves == b);
    assert!(bench.serves == b || said_so(&bench), "{:?}", bench.reports);
    // Whatever serves now is what serves after a restart on the disk as it is.
    disk.ails(spell.map(|spell| Spell { first: 0, ..spell }));
    let serves = bench.serves;
    drop(bench);
    let mut bench = start(&disk, &root);
    let may_go_on = bench.candidate.is_some();
    assert!(
        bench.serves == serves || bench.serves == b,
        "after a restart {:?}",
        bench.serves
    );
    disk.ails(None);
    if matches!(next, Next::Same) {
        deploy(&mut bench, 3, "b");
        assert_eq!(bench.serves, b, "at once: {:?} {:?}", bench.state(), bench.reports);
        return figures;
    }
    if may_go_on {
        bench.try_candidate(true);
    }
    bench.core.tick(monotonic_ms() + LATER_MS);
    bench.settle();
    let state = bench.state();
    let left = state.pending.is_some() || state.candidate.is_some();
    assert!(
        !left || bench.core.setup.machine.deployment() != Deployment::Idle,
        "{state:?}"
    );
    deploy(&mut bench, 3, "c");
    assert_eq!(bench.serves, c, "well again: {:?} {:?}", bench.state(), bench.reports);
    assert_eq!(disk.trusted(), Vec::<String>::new());
    drop(bench);
    assert_eq!(start(&disk, &root).serves, c);
    figures
}

#[test]
fn whatever_ails_the_disk_what_serves_goes_on_and_says_so() {
    let (operations, _) = ails(None, Next::Another);
    let spells: Vec<(Spell, Next)> = AILMENTS
        .into_iter()
        .flat_map(|ailment| {
            (0..operations).flat_map(move |first| [1, u64::MAX].map(|count| Spell { ailment, first, count }))
        })
        .flat_map(|spell| [(spell, Next::Another), (spell, Next::Same)])
        .collect();
    let (next, hit) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((spell, after)) = spells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match catch_unwind(AssertUnwindSafe(|| ails(Some(*spell), *after))) {
                        Ok((_, failed)) => drop(hit.fetch_add(usize::from(failed > 0), Ordering::Relaxed)),
                        Err(panic) => {
                            let told = panic.downcast_ref::<String>().map_or("", String::as_str);
                            panic!("{spell:?}, {after:?}: {told}");
                        }
                    }
                }
            });
        }
    });
    eprintln!(
        "{operations} operations, {} spells, {} of them felt",
        spells.len(),
        hit.into_inner()
    );
}

/// What is given up since nothing could be written says what was wrong.
#[test]
fn what_is_given_up_later_says_what_ailed_the_disk() {
    let mut given_up = 0;
    for first in 0..60 {
        let dir = scratch().unwrap();
        let (disk, root) = (Failing::default(), dir.path().join("state"));
        let mut bench = start(&disk, &root);
        deploy(&mut bench, 1, "a");
        bench.reports.clear();
        disk.ails(Some(Spell {
            ailment: Ailment::Full,
            first,
            count: u64::MAX,
        }));
        deploy(&mut bench, 2, "b");
        disk.ails(None);
        bench.core.tick(monotonic_ms() + LATER_MS);
        bench.settle();
        for report in &bench.reports {
            let RecordBody::Job(job) = report else { continue };
            if !job.reason.contains("could not be written") {
                continue;
            }
            given_up += 1;
            let says_why = job.reason.contains("the disk is full; free some space");
            assert!(says_why, "{first}: {}", job.reason);
        }
    }
    assert!(given_up > 0, "nothing was left to give up");
}

/// Power returned, and the disk can only be read.
#[test]
fn a_disk_that_can_only_be_read_serves_what_was_committed() {
    let dir = scratch().unwrap();
    let (disk, root) = (Failing::default(), dir.path().join("state"));
    let mut bench = start(&disk, &root);
    deploy(&mut bench, 1, "a");
    drop(bench);
    for ailment in AILMENTS {
        disk.ails(Some(Spell {
            ailment,
            first: 0,
            count: u64::MAX,
        }));
        let mut bench = start(&disk, &root);
        assert_eq!(bench.serves, Some(WORLD.bundle("a").digest), "{ailment:?}");
        assert!(said_so(&bench), "{ailment:?}");
        deploy(&mut bench, 2, "b");
        assert_eq!(bench.serves, Some(WORLD.bundle("a").digest), "{ailment:?}");
        assert_eq!(
            bench.told.seq, 1,
            "{ailment:?}: nothing is said to be taken that isn't kept"
        );
    }
}
