//! The chain across restarts: what a power cut leaves of taking a root, and what a damaged file takes away.

use super::*;
use floorhand_bundle::{RoleKeys, SecretKey};
use floorhand_lifecycle::{Action, Device, Event, Machine, NewRoot, State};
use floorhand_protocol::{Assignment, Mode, Parameters};
use floorhand_store::{Disk, RealDisk, Store, StoreOptions};
use floorhand_testkit::crash::{Recorder, Step, crashes};

const OPTIONS: StoreOptions = StoreOptions {
    blob_budget_bytes: 1 << 20,
};

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// A root whose assignments the key `assignment` signs.
fn root(version: u64, assignment: u8) -> Vec<u8> {
    let root = TrustRoot {
        fleet: "plant-a".parse().unwrap(),
        version,
        expires_ms: u64::MAX,
        issued_ms: 0,
        critical: vec![],
        root: RoleKeys::any_of(vec![key(1).public()]),
        release: RoleKeys::any_of(vec![key(2).public()]),
        assignment: RoleKeys::any_of(vec![key(assignment).public()]),
    };
    root.seal(&[&key(1)]).unwrap()
}

fn pinned() -> Verified<TrustRoot> {
    TrustRoot::open_pinned(&root(1, 3)).unwrap()
}

fn load(store: &Store) -> (Trust, State) {
    let state = store.state().load().unwrap();
    let state = state.map_or_else(State::default, |bytes| State::decode(&bytes).unwrap());
    let read = |version| store.roots().read(version).map_err(|error| error.to_string());
    (Trust::load(pinned(), state.root_version, read), state)
}

/// A device that does what the core does with its machine's actions, as far as the disk is concerned.
struct Life {
    store: Store,
    machine: Machine,
    record: Recorder<State>,
    trust: Trust,
}

impl Life {
    fn begin(record: &Recorder<State>, dir: &Path) -> Self {
        let store = Store::open_on(std::sync::Arc::new(record.clone()), dir, OPTIONS).unwrap();
        let device = Device {
            hardware: "gateway".parse().unwrap(),
            agent: "0.1.0".parse().unwrap(),
        };
        let (trust, state) = load(&store);
        let machine = Machine::new(device, state);
        let record = record.clone();
        Self {
            store,
            machine,
            record,
            trust,
        }
    }

    fn event(&mut self, event: Event) {
        for action in self.machine.handle(event, 0) {
            if let Action::Save(state) = action {
                self.record.mark((*state).clone());
                self.store.state().save(&state.encode().unwrap()).unwrap();
                self.record.mark((*state).clone());
            }
        }
    }

    fn under(&mut self, root: TrustRoot) {
        self.event(Event::NewRoot(Box::new(NewRoot {
            root,
            revoked: vec![],
            pending_revoked: false,
        })));
    }

    fn take(&mut self, bytes: &[u8]) {
        let next = self.trust.open_next(bytes).unwrap();
        self.store.roots().write(next.version, bytes).unwrap();
        self.trust = self.trust.with(bytes).unwrap();
        self.under(next.into_inner());
    }

    fn assigned(&mut self, seq: u64) {
        self.event(Event::Assigned(Assignment {
            fleet: "plant-a".parse().unwrap(),
            device: "press-1".parse().unwrap(),
            seq,
            job: "job".to_owned(),
            run: None,
            mode: Mode::Run,
            parameters: Parameters::default(),
            issued_ms: 1,
            expires_ms: u64::MAX,
            critical: vec![],
        }));
    }
}

/// The last record that was promised, and the one that was being written, if any.
fn promised(done: &[Step<State>]) -> (Option<&State>, Option<&State>) {
    let marks: Vec<&State> = done
        .iter()
        .filter_map(|step| match step {
            Step::Mark(state) => Some(state),
            _ => None,
        })
        .collect();
    let saved = marks.len() / 2 * 2;
    (marks.get(saved.wrapping_sub(1)).copied(), marks.get(saved).copied())
}

#[test]
fn a_power_cut_leaves_the_old_root_or_the_new_one_with_its_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let record = Recorder::new(dir.path());
    let mut life = Life::begin(&record, &dir.path().join("state"));
    life.under(pinned().into_inner());
    life.assigned(7);
    life.take(&root(2, 3));
    life.take(&root(3, 4));
    life.assigned(1);
    let steps = record.steps();
    let all = crashes(&steps);
    for crash in &all {
        let dir = tempfile::tempdir().unwrap();
        crash.restore(&steps, dir.path()).unwrap();
        let disk: std::sync::Arc<dyn Disk> = std::sync::Arc::new(RealDisk);
        let store = Store::open_on(disk, &dir.path().join("state"), OPTIONS).unwrap();
        let (trust, state) = load(&store);
        let (saved, writing) = promised(crash.done(&steps));
        assert!(
            saved.is_none_or(|saved| *saved == state) || writing.is_some_and(|writing| *writing == state),
            "{crash:?}: {state:?}"
        );
        assert_eq!(trust.root().unwrap().version, state.root_version.max(1), "{crash:?}");
        let found = (state.root_version, state.seq);
        assert!(
            [(0, 0), (1, 0), (1, 7), (2, 7), (3, 0), (3, 1)].contains(&found),
            "{crash:?}: {found:?}"
        );
        // Whatever was left, what follows can be taken.
        let next = trust.newest().version + 1;
        let assignment = if next < 3 { 3 } else { 4 };
        trust.open_next(&root(next, assignment)).unwrap();
        store.roots().write(next, &root(next, assignment)).unwrap();
    }
    eprintln!("{} steps, {} states", steps.len(), all.len());
    assert!(all.len() > 100, "{} states", all.len());
}

#[test]
fn a_root_that_is_gone_from_the_disk_stops_what_is_new_until_it_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let record = Recorder::new(dir.path());
    let mut life = Life::begin(&record, &dir.path().join("state"));
    life.take(&root(2, 3));
    life.take(&root(3, 4));
    let file = Roots::path(life.store.root(), 2);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let (trust, state) = load(&life.store);
    assert_eq!((trust.newest().version, state.root_version), (1, 3));
    let problem = trust.root().unwrap_err();
    assert!(problem.contains("trust root 2 is missing or damaged"), "{problem}");
    let trust = trust.with(&root(2, 3)).unwrap();
    assert!(trust.root().is_err(), "the third one counted");
    let trust = trust.with(&root(3, 4)).unwrap();
    assert_eq!(trust.root().unwrap().version, 3);
    assert!(trust.has(&root(2, 3)) && !trust.has(&root(4, 4)));
}
