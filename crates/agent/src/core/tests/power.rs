//! Power cuts at every durable step of a device's life as the agent goes about it.
//!
//! Bundles are assigned, fetched, tried, committed, refused, gone back to, canceled, imported; a component rots and is fetched
//! again; a command is taken. Of all durable steps every prefix is a moment at which power can go, each with every single step
//! that was not durable dropped or torn. In each of these states the agent starts: it serves a bundle that was committed, it
//! remembers what it had told the hub, nothing that a generation needs is gone, no try of a candidate is given back; and
//! connected again it brings the next deployment to its end.
//!
//! Two faults at once, and a second power cut while the agent starts again, are drawn by a seed;
//! `FLOORHAND_CRASH_SAMPLES` asks for more of them.

use super::bench::{Bench, Told};
use super::bundles::{TRIES, WORLD};
use crate::clock::monotonic_ms;
use crate::core::{Message, Notice, Purpose};
use floorhand_bundle::Digest;
use floorhand_lifecycle::Event;
use floorhand_protocol::Deployment;
use floorhand_store::Disk as _;
use floorhand_testkit::crash::{Crash, Hasty, Random, Recorder, Step, crashes, pairs, scratch};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// States with two faults that are drawn unless the environment says otherwise.
const SAMPLES: usize = 400;
/// The assignment by which it is shown that the device goes on.
const LAST: u64 = 100;

/// What was told, or is about to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    /// This may serve from now on, beside what served before. `None`: nothing may have to.
    MayServe(Option<Digest>),
    /// This serves, and nothing else.
    Serves(Digest),
    /// The hub knows this now.
    Told(Told),
    /// This generation is about to be loaded for a try.
    Tries(u64),
    /// This blob is damaged from now on, or whole again.
    Damaged(Digest),
    Whole(Digest),
}

type Record = Recorder<Mark>;

/// The device's life, on a disk that records it.
struct Life<'a> {
    record: Record,
    root: &'a Path,
    bench: Option<Bench>,
    told: Told,
}

impl Life<'_> {
    fn bench(&mut self) -> &mut Bench {
        self.bench.as_mut().unwrap()
    }

    fn start(&mut self) {
        let record = self.record.clone();
        let loading = move |generation, purpose| {
            if purpose == Purpose::Stage {
                record.mark(Mark::Tries(generation));
            }
        };
        let disk = Arc::new(self.record.clone());
        self.bench = Some(Bench::start(disk, self.root, Arc::new(loading)).unwrap());
        self.does(Bench::connect);
    }

    /// Does something, and writes down what the hub was told.
    fn does(&mut self, act: impl FnOnce(&mut Bench)) {
        act(self.bench());
        let told = self.bench().told;
        if told != self.told {
            self.told = told;
            self.record.mark(Mark::Told(told));
        }
    }

    /// Does something after which another bundle serves.
    fn moves_to(&mut self, bundle: &str, act: impl FnOnce(&mut Bench)) {
        let digest = WORLD.bundle(bundle).digest;
        self.record.mark(Mark::MayServe(Some(digest)));
        self.does(act);
        assert_eq!(self.bench().serves, Some(digest), "{bundle} serves");
        self.record.mark(Mark::Serves(digest));
    }

    fn deploys(&mut self, seq: u64, bundle: &str) {
        self.does(|bench| bench.assign(seq, bundle));
        assert!(self.bench().candidate.is_some(), "{bundle} is tried");
        self.moves_to(bundle, |bench| bench.try_candidate(true));
    }

    fn stops(&mut self) {
        self.does(|bench| bench.core.handle(Event::Stopping));
        self.bench = None;
    }

    /// Changes a byte of a component on the disk, as rot does.
    fn rots(&mut self, digest: Digest) {
        let path = self.root.join("blobs/sha256").join(digest.to_string());
        self.record.mark(Mark::Damaged(digest));
        let mut file = self.record.open(&path).unwrap();
        let first = WORLD.blobs[&digest][0];
        file.write_at(0, &[first ^ 1]).unwrap();
        file.sync().unwrap();
    }
}

fn live(record: &Record, root: &Path) {
    let mut life = Life {
        record: record.clone(),
        root,
        bench: None,
        told: Told::default(),
    };
    life.start();
    life.deploys(1, "a");
    life.deploys(2, "b");
    life.does(|bench| bench.command(1));
    life.does(|bench| bench.assign(3, "bad"));
    life.does(|bench| bench.try_candidate(false));
    assert_eq!(life.bench().serves, Some(WORLD.bundle("b").digest));
    life.deploys(4, "c");
    life.moves_to("b", |bench| bench.assign(5, "b"));
    let generation = life.bench().state().active.as_ref().unwrap().number;
    life.moves_to("c", |bench| {
        let reason = "its plugin breaks".to_owned();
        bench.take(Message::Notice(Notice::Broken { generation, reason }));
    });
    // One that is canceled while it is fetched, and one while it is tried.
    life.bench().delivers = false;
    life.does(|bench| bench.assign(6, "d"));
    life.bench().delivers = true;
    life.does(|bench| bench.assign(7, "e"));
    life.does(|bench| bench.assign(8, "a"));
    life.moves_to("a", |bench| bench.try_candidate(true));
    life.stops();
    // A component of what serves rots: the one before takes over.
    let rotten = WORLD.bundle("a").components[1];
    life.record.mark(Mark::MayServe(Some(WORLD.bundle("c").digest)));
    life.rots(rotten);
    life.start();
    assert_eq!(life.bench().serves, Some(WORLD.bundle("c").digest));
    life.record.mark(Mark::Serves(WORLD.bundle("c").digest));
    life.stops();
    // Now there is none before: it is fetched again.
    let rotten = WORLD.bundle("c").components[1];
    life.record.mark(Mark::MayServe(None));
    life.rots(rotten);
    life.start();
    assert_eq!(life.bench().serves, Some(WORLD.bundle("c").digest), "repaired");
    life.record.mark(Mark::Whole(rotten));
    life.record.mark(Mark::Serves(WORLD.bundle("c").digest));
    let inbox = crate::import::inbox_path(root);
    std::fs::write(&inbox, WORLD.archive(9, "f")).unwrap();
    life.does(|bench| {
        bench.core.tick(monotonic_ms());
        bench.settle();
    });
    life.moves_to("f", |bench| bench.try_candidate(true));
    life.stops();
}

/// What a restart may rely on.
#[derive(Debug, Default, Clone)]
struct Promised {
    may_serve: BTreeSet<Option<Digest>>,
    told: Told,
    tries: BTreeMap<u64, u32>,
    damaged: BTreeSet<Digest>,
}

impl Promised {
    fn by(steps: &[Step<Mark>]) -> Self {
        let mut promised = Self {
            may_serve: BTreeSet::from([None]),
            ..Self::default()
        };
        for step in steps {
            let Step::Mark(mark) = step else { continue };
            match mark {
                Mark::MayServe(bundle) => drop(promised.may_serve.insert(*bundle)),
                Mark::Serves(bundle) => promised.may_serve = BTreeSet::from([Some(*bundle)]),
                Mark::Told(told) => promised.told = *told,
                Mark::Tries(generation) => *promised.tries.entry(*generation).or_default() += 1,
                Mark::Damaged(digest) => drop(promised.damaged.insert(*digest)),
                Mark::Whole(digest) => drop(promised.damaged.remove(digest)),
            }
        }
        promised
    }

    fn check(&self, bench: &Bench, tried_now: u32) {
        let name = |digest: &Option<Digest>| digest.map_or("nothing", |digest| WORLD.name_of(digest));
        let allowed: Vec<&str> = self.may_serve.iter().map(name).collect();
        assert!(
            self.may_serve.contains(&bench.serves),
            "{} serves, and {allowed:?} may",
            name(&bench.serves)
        );
        let state = bench.state();
        assert!(self.told.is_kept_by(state), "told {:?}, knows {state:?}", self.told);
        if let Some(candidate) = &state.candidate {
            let tries = self.tries.get(&candidate.generation.number).copied().unwrap_or(0) + tried_now;
            assert!(
                candidate.tries_left + tries <= TRIES,
                "tried {tries} times, and {} are left",
                candidate.tries_left
            );
        }
        for generation in state.generations() {
            let manifest = bench.core.manifest_of(generation.number).unwrap();
            for component in &manifest.components {
                let digest = component.blob.sha256;
                let read = bench.core.setup.store.blobs().read(digest, component.blob.length);
                assert!(
                    self.damaged.contains(&digest) || read.is_ok(),
                    "generation {}: {read:?}",
                    generation.number
                );
            }
        }
    }
}

/// The agent starts on what a crash has left; then the hub is there again.
fn restart(root: &Path, promised: &Promised) {
    let tried = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tried);
    let loading = move |_, purpose| {
        if purpose == Purpose::Stage {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    };
    let mut bench = Bench::start(Arc::new(Hasty), root, Arc::new(loading)).unwrap();
    promised.check(&bench, tried.load(Ordering::Relaxed) as u32);
    bench.connect();
    bench.assign(LAST, "last");
    assert!(
        bench.candidate.is_some(),
        "it goes on: {:?}, {:?}",
        bench.state(),
        bench.reports
    );
    bench.try_candidate(true);
    assert_eq!(bench.serves, Some(WORLD.bundle("last").digest));
    assert_eq!(bench.core.setup.machine.deployment(), Deployment::Idle);
}

fn record() -> Vec<Step<Mark>> {
    let dir = scratch().unwrap();
    let record = Record::new(dir.path());
    live(&record, &dir.path().join("state"));
    record.steps()
}

/// Makes each state and looks at it, on as many threads as there are cores.
fn check_all(steps: &[Step<Mark>], all: &[Crash], look: impl Fn(&Crash, &Path) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(crash) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let dir = scratch().unwrap();
                    crash.restore(steps, dir.path()).unwrap();
                    let root = dir.path().join("state");
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| look(crash, &root))) {
                        let told = panic.downcast_ref::<String>().map_or("", String::as_str);
                        panic!("after {crash:?}, the last step {:?}: {told}", crash.done(steps).last());
                    }
                }
            });
        }
    });
}

fn samples() -> usize {
    let asked = std::env::var("FLOORHAND_CRASH_SAMPLES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(SAMPLES)
}

#[test]
fn whatever_a_power_cut_leaves_the_agent_serves_what_was_committed_and_goes_on() {
    let steps = record();
    let all = crashes(&steps);
    check_all(&steps, &all, |crash, root| {
        restart(root, &Promised::by(crash.done(&steps)))
    });
    eprintln!("{} steps, {} states with one fault or none", steps.len(), all.len());
}

#[test]
fn two_faults_at_once_leave_nothing_worse() {
    let steps = record();
    let all = pairs(&steps, samples(), 1);
    check_all(&steps, &all, |crash, root| {
        restart(root, &Promised::by(crash.done(&steps)))
    });
    eprintln!("{} states with two faults", all.len());
    assert!(all.len() > SAMPLES / 2, "{}", all.len());
}

/// Power goes, and again while the agent starts on what the first cut has left.
#[test]
fn a_second_power_cut_while_it_starts_leaves_nothing_worse() {
    let steps = record();
    let first = crashes(&steps);
    let (mut random, states) = (Random::new(2), AtomicUsize::new(0));
    let drawn: Vec<Crash> = (0..samples() / 10).map(|_| first[random.below(first.len())]).collect();
    check_all(&steps, &drawn, |crash, root| {
        let promised = Promised::by(crash.done(&steps));
        let parent = root.parent().unwrap();
        let (again, before) = Record::over(parent).unwrap();
        let record = again.clone();
        let loading = move |generation, purpose| {
            if purpose == Purpose::Stage {
                record.mark(Mark::Tries(generation));
            }
        };
        drop(Bench::start(Arc::new(again.clone()), root, Arc::new(loading)).unwrap());
        let second = again.steps();
        let later: Vec<Crash> = crashes(&second)
            .into_iter()
            .filter(|crash| crash.at >= before)
            .collect();
        let mut random = Random::new(crash.at as u64);
        for _ in 0..10 {
            let crash = later[random.below(later.len())];
            let dir = scratch().unwrap();
            crash.restore(&second, dir.path()).unwrap();
            let mut promised = promised.clone();
            let tries = Promised::by(crash.done(&second)).tries;
            for (generation, count) in tries {
                *promised.tries.entry(generation).or_default() += count;
            }
            restart(&dir.path().join("state"), &promised);
            states.fetch_add(1, Ordering::Relaxed);
        }
    });
    eprintln!("{} states after two power cuts", states.load(Ordering::Relaxed));
}

/// An agent that saves too late is found out: the check above can fail.
#[test]
fn forgotten_fsyncs_are_found() {
    let steps: Vec<Step<Mark>> = record()
        .into_iter()
        .filter(|step| !matches!(step, Step::SyncDir(_)))
        .collect();
    let mut random = Random::new(3);
    let all = crashes(&steps);
    let found = (0..200).any(|_| {
        let crash = all[random.below(all.len())];
        let dir = scratch().unwrap();
        crash.restore(&steps, dir.path()).unwrap();
        let (root, promised) = (dir.path().join("state"), Promised::by(crash.done(&steps)));
        catch_unwind(AssertUnwindSafe(|| restart(&root, &promised))).is_err()
    });
    assert!(found);
}
