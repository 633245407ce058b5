//! Power cuts at every durable step of the store, with every state of the disk that such a cut can leave.
//!
//! A device's life is recorded: bundles are fetched in pieces, kept as generations, made active, collected. For every prefix
//! of the steps, and for each single step of it that no fsync had made durable, dropped or torn, the directory is opened as
//! after a restart. What had been promised by then has to be there: the state record, generations and blobs that the caller
//! was told are durable. What hadn't been promised may be there, but whole.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "these are tests, and tell what they checked"
)]

use floorhand_bundle::Digest;
use floorhand_store::{Disk, MANIFEST, StorageKey, StorageKeys, Store, StoreError, StoreOptions};
use floorhand_testkit::crash::{Ailment, Crash, Failing, Hasty, Recorder, Spell, Step, crashes, scratch};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

const OPTIONS: StoreOptions = StoreOptions {
    blob_budget_bytes: 1 << 20,
};
/// Bytes of a component: three pieces.
const BLOB_BYTES: usize = 300;
const PIECE: usize = 128;
const GENERATIONS: u64 = 4;

/// What the caller was told, or is about to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    /// This state record is about to be saved: it may be found from now on.
    Saving(Vec<u8>),
    /// It was saved: none before it may be found any more.
    Saved(Vec<u8>),
    /// This blob is here.
    Blob(Vec<u8>),
    /// This generation, with its manifest.
    Generation(u64, Vec<u8>),
    /// These may go from now on.
    Collecting(BTreeSet<u64>, BTreeSet<Digest>),
}

type Record = Recorder<Mark>;

fn component(generation: u64, which: u64) -> Vec<u8> {
    // Every generation shares one component with the one before.
    let seed = if which == 0 {
        generation / 2
    } else {
        100 * generation + which
    };
    (0..BLOB_BYTES as u64).map(|at| (at * 31 + seed * 7) as u8).collect()
}

fn manifest(generation: u64) -> Vec<u8> {
    format!("manifest of {generation}, signed").into_bytes()
}

fn fetch(store: &Store, record: &Record, bytes: &[u8]) {
    let digest = Digest::of(bytes);
    if let Some(mut partial) = store.blobs().begin(digest, bytes.len() as u64).unwrap() {
        for (index, piece) in bytes.chunks(PIECE).enumerate() {
            partial.write_at((index * PIECE) as u64, piece).unwrap();
        }
        partial.finish().unwrap();
    }
    record.mark(Mark::Blob(bytes.to_vec()));
}

fn save(store: &Store, record: &Record, state: &str) {
    record.mark(Mark::Saving(state.into()));
    store.state().save(state.as_bytes()).unwrap();
    record.mark(Mark::Saved(state.into()));
}

/// One generation after the other, in the order in which the agent goes about it.
fn live(store: &Store, record: &Record, generations: RangeInclusive<u64>) {
    for generation in generations {
        save(store, record, &format!("pending {generation}"));
        let parts: Vec<Vec<u8>> = (0..3).map(|which| component(generation, which)).collect();
        parts.iter().for_each(|part| fetch(store, record, part));
        store
            .generations()
            .write(generation, &manifest(generation), &[("assignment.cose", b"signed")])
            .unwrap();
        record.mark(Mark::Generation(generation, manifest(generation)));
        save(store, record, &format!("candidate {generation}"));
        save(store, record, &format!("active {generation}"));
        collect(store, record, generation);
    }
}

/// Keeps this generation and the one before.
fn collect(store: &Store, record: &Record, generation: u64) {
    let kept = [generation, generation.saturating_sub(1)];
    let digests: BTreeSet<Digest> = kept
        .iter()
        .flat_map(|&generation| (0..3).map(move |which| Digest::of(&component(generation, which))))
        .collect();
    record.mark(Mark::Collecting(kept.into(), digests.clone()));
    for old in store.generations().list().unwrap() {
        if !kept.contains(&old) {
            store.generations().remove(old).unwrap();
        }
    }
    store.blobs().collect_garbage(&digests).unwrap();
}

/// What a restart may rely on.
#[derive(Debug, Default)]
struct Promised {
    /// Records that may be found; empty: none was ever begun.
    states: Vec<Vec<u8>>,
    saved: bool,
    blobs: BTreeMap<Digest, Vec<u8>>,
    generations: BTreeMap<u64, Vec<u8>>,
}

impl Promised {
    fn by(steps: &[Step<Mark>]) -> Self {
        let mut promised = Self::default();
        for step in steps {
            let Step::Mark(mark) = step else { continue };
            match mark {
                Mark::Saving(state) => promised.states.push(state.clone()),
                Mark::Saved(state) => {
                    promised.saved = true;
                    promised.states.retain(|other| other == state);
                }
                Mark::Blob(bytes) => drop(promised.blobs.insert(Digest::of(bytes), bytes.clone())),
                Mark::Generation(number, manifest) => {
                    promised.generations.insert(*number, manifest.clone());
                }
                Mark::Collecting(generations, digests) => {
                    promised.generations.retain(|number, _| generations.contains(number));
                    promised.blobs.retain(|digest, _| digests.contains(digest));
                }
            }
        }
        promised
    }

    fn check(&self, store: &Store) {
        match store.state().load().unwrap() {
            Some(state) => assert!(
                self.states.contains(&state),
                "state {:?}",
                String::from_utf8_lossy(&state)
            ),
            None => assert!(!self.saved, "the state record is gone"),
        }
        for (digest, bytes) in &self.blobs {
            assert_eq!(store.blobs().read(*digest, 1 << 20).unwrap(), *bytes);
        }
        for (number, manifest) in &self.generations {
            assert_eq!(store.generations().read(*number, MANIFEST).unwrap(), *manifest);
        }
        // What wasn't promised is whole or not there.
        for (digest, length) in store.blobs().list().unwrap() {
            assert_eq!(length, BLOB_BYTES as u64);
            store.blobs().read(digest, length).unwrap();
        }
        for number in store.generations().list().unwrap() {
            assert_eq!(store.generations().read(number, MANIFEST).unwrap(), manifest(number));
            assert_eq!(store.generations().read(number, "assignment.cose").unwrap(), b"signed");
        }
    }
}

/// How a device keeps its content.
#[derive(Debug, Clone, Copy)]
enum Content {
    Plain,
    Sealed,
    /// Sealed from the last generation on: what was there before is taken over.
    SealedLater,
}

fn open(disk: impl Disk + 'static, root: &Path, sealed: bool) -> Result<Store, StoreError> {
    let keys = StorageKeys {
        current: StorageKey::from_bytes([7; 32]),
        before: None,
    };
    if sealed {
        Store::open_sealed_on(Arc::new(disk), root, OPTIONS, &keys)
    } else {
        Store::open_on(Arc::new(disk), root, OPTIONS)
    }
}

/// As a restart does it: with the key, if the device has one by now.
fn reopen(root: &Path, content: Content) -> Store {
    if !root.join("sealed/key").exists() {
        return open(Hasty, root, matches!(content, Content::Sealed)).unwrap();
    }
    let without = open(Hasty, root, false);
    assert!(matches!(without, Err(StoreError::KeyMissing { .. })), "{without:?}");
    open(Hasty, root, true).unwrap()
}

/// Opens what a crash has left and holds it against what was promised; then the device goes on.
fn restart(dir: &Path, promised: &Promised, content: Content) {
    let store = reopen(dir, content);
    promised.check(&store);
    let bytes = component(GENERATIONS + 1, 1);
    store.blobs().put(&bytes).unwrap();
    let written = store
        .generations()
        .write(GENERATIONS + 1, &manifest(GENERATIONS + 1), &[]);
    assert!(
        matches!(written, Ok(()) | Err(StoreError::GenerationDiffers { .. })),
        "{written:?}"
    );
    store.state().save(b"goes on").unwrap();
    assert_eq!(store.state().load().unwrap().as_deref(), Some(b"goes on".as_slice()));
}

fn record(content: Content) -> Vec<Step<Mark>> {
    let dir = scratch().unwrap();
    let record = Record::new(dir.path());
    let root = dir.path().join("state");
    let store = open(record.clone(), &root, matches!(content, Content::Sealed)).unwrap();
    let sealed_from = match content {
        Content::SealedLater => GENERATIONS - 1,
        Content::Plain | Content::Sealed => GENERATIONS,
    };
    live(&store, &record, 1..=sealed_from);
    drop(store);
    if sealed_from < GENERATIONS {
        live(
            &open(record.clone(), &root, true).unwrap(),
            &record,
            sealed_from + 1..=GENERATIONS,
        );
    }
    record.steps()
}

#[test]
fn whatever_a_power_cut_leaves_what_was_promised_is_there() {
    survives_every_crash(Content::Plain);
}

#[test]
fn sealed_content_is_there_too() {
    survives_every_crash(Content::Sealed);
}

#[test]
fn content_that_is_being_sealed_is_there_too() {
    survives_every_crash(Content::SealedLater);
}

fn survives_every_crash(content: Content) {
    let steps = record(content);
    let all = crashes(&steps);
    for crash in &all {
        let dir = scratch().unwrap();
        crash.restore(&steps, dir.path()).unwrap();
        let promised = Promised::by(crash.done(&steps));
        let root = dir.path().join("state");
        let checked = std::panic::catch_unwind(|| restart(&root, &promised, content));
        if let Err(panic) = checked {
            eprintln!("after {crash:?}, the last step {:?}", last(&steps, crash));
            std::panic::resume_unwind(panic);
        }
    }
    eprintln!("{content:?}: {} steps, {} states", steps.len(), all.len());
}

fn last<'a>(steps: &'a [Step<Mark>], crash: &Crash) -> Option<&'a Step<Mark>> {
    crash.done(steps).last()
}

/// A store that forgot its fsyncs is found out: the check above can fail.
#[test]
fn forgotten_fsyncs_are_found() {
    let steps = record(Content::Plain);
    let without_file_syncs = |step: &&Step<Mark>| !matches!(step, Step::SyncFile(_));
    let without_dir_syncs = |step: &&Step<Mark>| !matches!(step, Step::SyncDir(_));
    let fewer: [Vec<Step<Mark>>; 2] = [
        steps.iter().filter(without_file_syncs).cloned().collect(),
        steps.iter().filter(without_dir_syncs).cloned().collect(),
    ];
    for steps in fewer {
        let found = crashes(&steps).iter().any(|crash| {
            let dir = scratch().unwrap();
            crash.restore(&steps, dir.path()).unwrap();
            let promised = Promised::by(crash.done(&steps));
            let root = dir.path().join("state");
            std::panic::catch_unwind(|| restart(&root, &promised, Content::Plain)).is_err()
        });
        assert!(found);
    }
}

/// Turning encryption on while the disk ails: the directory opens without the key as before, or with it, and has all it had;
/// once the disk is well, nothing of it is unsealed any more.
#[test]
fn a_disk_that_ails_while_content_is_being_sealed_costs_nothing() {
    let everything: Vec<_> = (1..=GENERATIONS).map(|number| (component(number, 1), number)).collect();
    let made = || {
        let dir = scratch().unwrap();
        let root = dir.path().join("state");
        let store = open(Hasty, &root, false).unwrap();
        for (bytes, _) in &everything {
            store.blobs().put(bytes).unwrap();
        }
        let unfinished = store.blobs().begin(Digest::of(b"more"), 4).unwrap();
        drop((unfinished, store));
        (dir, root)
    };
    let check = |store: &Store| {
        assert_eq!(store.blobs().list().unwrap().len(), everything.len());
        for (bytes, _) in &everything {
            let digest = Digest::of(bytes);
            assert!(store.blobs().has(digest, bytes.len() as u64));
            assert_eq!(store.blobs().read(digest, 1 << 20).unwrap(), *bytes);
            assert!(store.blobs().verify(digest, bytes.len() as u64).unwrap());
        }
    };
    let disk = Failing::default();
    let (_dir, root) = made();
    disk.ails(None);
    check(&open(disk.clone(), &root, true).unwrap());
    let operations = disk.operations();
    let (mut refused, mut left) = (0, 0);
    for ailment in [Ailment::Full, Ailment::ReadOnly, Ailment::SyncFails] {
        for (first, count) in (0..operations).flat_map(|first| [(first, 1), (first, u64::MAX)]) {
            let (_dir, root) = made();
            disk.ails(Some(Spell { ailment, first, count }));
            let with_key = open(disk.clone(), &root, true);
            refused += u64::from(with_key.is_err());
            match with_key {
                Ok(store) => {
                    check(&store);
                    let plain = fs::read_dir(root.join("blobs/sha256")).unwrap().count();
                    assert_eq!(store.blobs().unsealed_count(), plain);
                }
                // It can be taken back, or was done but for the last step.
                Err(_) => check(
                    &open(disk.clone(), &root, false)
                        .or_else(|_| open(disk.clone(), &root, true))
                        .unwrap(),
                ),
            }
            disk.ails(None);
            left += usize::from(fs::read_dir(root.join("blobs/sha256")).unwrap().count() > 0);
            let store = open(disk.clone(), &root, true).unwrap();
            check(&store);
            assert_eq!(store.blobs().unsealed_count(), 0);
            for plain in ["blobs/sha256", "partial"] {
                assert_eq!(fs::read_dir(root.join(plain)).unwrap().count(), 0, "{plain}");
            }
        }
    }
    assert!(left > 0, "nothing was ever left");
    eprintln!("{operations} operations; refused {refused} times, something left unsealed {left} times");
}
