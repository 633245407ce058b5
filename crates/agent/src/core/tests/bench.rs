//! A core on a bench: its disk, the hub at the other end, and the thread that serves, all within reach of the test.

use super::bundles::{SAMPLES, WORLD, device, device_key, fleet, hardware};
use crate::clock::monotonic_ms;
use crate::core::assembly::{Core, Setup};
use crate::core::board::Board;
use crate::core::load::Task;
use crate::core::{CoreQueue, CoreSender, FetchLimits, Message, Notice, Purpose, queue};
use crate::fleet::{Fleet, FleetEvent, Kept};
use crate::logging::LogHandle;
use crate::notify::Heartbeat;
use crate::serving::{self, Message as ServeMessage, ServeQueue};
use crate::telemetry::Telemetry;
use crate::trust::{SharedTrust, Trust};
use floorhand_bundle::Digest;
use floorhand_lifecycle::{Device, Machine, State, TrialSample};
use floorhand_pipeline::Engines;
use floorhand_protocol::{Answer, ChunkMessage, Fetch, Hello, Outcome, RecordBody, Up};
use floorhand_store::{Disk, Store, StoreError, StoreOptions};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

pub(super) const OPTIONS: StoreOptions = StoreOptions {
    blob_budget_bytes: 1 << 20,
};

/// What the device has told the hub, and may not forget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) seq: u64,
    pub(super) command_id: u64,
    pub(super) floor: u64,
    pub(super) clock_ms: u64,
}

impl Told {
    fn raise(&mut self, other: Self) {
        self.seq = self.seq.max(other.seq);
        self.command_id = self.command_id.max(other.command_id);
        self.floor = self.floor.max(other.floor);
        self.clock_ms = self.clock_ms.max(other.clock_ms);
    }

    /// Whether a state has forgotten any of it.
    pub(super) fn is_kept_by(&self, state: &State) -> bool {
        state.seq >= self.seq
            && state.command_id >= self.command_id
            && state.floor >= self.floor
            && state.clock_ms >= self.clock_ms
    }
}

/// Called when a generation is about to be loaded.
pub(super) type Loading = dyn Fn(u64, Purpose) + Send + Sync;

pub(super) struct Bench {
    pub(super) core: Core,
    queue: CoreQueue,
    serving: ServeQueue,
    kept: Kept,
    pub(super) telemetry: Telemetry,
    /// The bundle that serves.
    pub(super) serves: Option<Digest>,
    /// The bundle in its trial.
    pub(super) candidate: Option<Digest>,
    /// Whether chunks come when they are asked for.
    pub(super) delivers: bool,
    pub(super) told: Told,
    /// Everything that was reported.
    pub(super) reports: Vec<RecordBody>,
    /// Every answer that refuses something.
    pub(super) rejected: Vec<String>,
}

impl Bench {
    /// The agent starts. Nothing of it runs before the first [`Bench::settle`], but for its boot.
    pub(super) fn start(disk: Arc<dyn Disk>, root: &Path, loading: Arc<Loading>) -> Result<Self, StoreError> {
        Self::start_among(Engines::default(), disk, root, loading)
    }

    /// The same on a machine of other engines.
    pub(super) fn start_among(
        engines: Engines,
        disk: Arc<dyn Disk>,
        root: &Path,
        loading: Arc<Loading>,
    ) -> Result<Self, StoreError> {
        let store = Store::open_on(disk, root, OPTIONS)?;
        let state = store.state().load()?;
        let state = state.map_or_else(State::default, |bytes| State::decode(&bytes).unwrap());
        let (sender, queue) = queue();
        let (serving, serve_queue) = serving::queue();
        let (kept, telemetry) = (Kept::default(), Telemetry::to_nobody());
        let load = move |task: Task, purpose: Purpose, sender: CoreSender| {
            loading(task.generation, purpose);
            let result = Box::new(task.run());
            sender.send_blocking(Message::Loaded {
                generation: task.generation,
                purpose,
                result,
            });
        };
        let machine_device = Device {
            hardware: hardware(),
            agent: crate::version(),
        };
        let core = Core::new(Setup {
            device: device(),
            hardware: hardware(),
            trust: SharedTrust::new(Trust::load(WORLD.root.clone(), 0, |_| Ok(None))),
            key: device_key(),
            boot_id: 1,
            store: Arc::new(store),
            host: Arc::clone(&WORLD.host),
            engines,
            batches: false,
            probe: None,
            load: Arc::new(load),
            machine: Machine::new(machine_device, state),
            fleet: Some(Fleet::keeping(fleet(), device(), Arc::clone(&kept))),
            serving,
            telemetry: telemetry.clone(),
            log: LogHandle::silent(),
            runtime: WORLD.runtime.handle().clone(),
            heartbeat: Heartbeat::new("core", monotonic_ms()),
            clock_floor_ms: Arc::new(AtomicU64::new(0)),
            board: Arc::new(Mutex::new(Board::new(State::default()))),
            fetch_limits: FetchLimits {
                timeout_ms: 600_000,
                min_rate: 1,
                deadline_ms: 86_400_000,
            },
            sender,
            booting: watch::channel(false).0,
        });
        let mut bench = Self {
            core,
            queue,
            serving: serve_queue,
            kept,
            telemetry,
            serves: None,
            candidate: None,
            delivers: true,
            told: Told::default(),
            reports: Vec::new(),
            rejected: Vec::new(),
        };
        bench.core.boot();
        bench.settle();
        Ok(bench)
    }

    /// Does what there is to do until nothing moves any more.
    pub(super) fn settle(&mut self) {
        loop {
            let moved = self.serve() | self.take_messages() | self.be_the_hub();
            self.reports.extend(self.telemetry.reports());
            if !moved {
                return;
            }
        }
    }

    pub(super) fn connect(&mut self) {
        self.take(Message::Fleet(FleetEvent::Connected));
    }

    pub(super) fn assign(&mut self, seq: u64, bundle: &str) {
        self.take(Message::Fleet(FleetEvent::Assign(WORLD.assignment(seq, bundle))));
    }

    pub(super) fn command(&mut self, id: u64) {
        self.take(Message::Fleet(FleetEvent::Command(WORLD.command(id))));
    }

    /// The candidate sees as many samples as its trial takes, or fails on the first.
    pub(super) fn try_candidate(&mut self, passes: bool) {
        for _ in 0..SAMPLES {
            let failure = (!passes).then(|| "it fails".to_owned());
            let sample = TrialSample {
                failure,
                ..TrialSample::default()
            };
            self.take(Message::Notice(Notice::Trial(sample)));
        }
    }

    pub(super) fn take(&mut self, message: Message) {
        self.core.take(message);
        self.settle();
    }

    pub(super) fn state(&self) -> &State {
        self.core.setup.machine.state()
    }

    fn serve(&mut self) -> bool {
        let mut moved = false;
        while let Some(message) = self.serving.try_next() {
            moved = true;
            match message {
                ServeMessage::Activate(loaded) => self.serves = Some(loaded.bundle),
                ServeMessage::Try(loaded) => self.candidate = Some(loaded.bundle),
                ServeMessage::Promote => self.serves = self.candidate.take().or(self.serves),
                ServeMessage::DropCandidate => self.candidate = None,
                _ => {}
            }
        }
        moved
    }

    fn take_messages(&mut self) -> bool {
        let Ok(message) = self.queue.0.try_recv() else {
            return false;
        };
        self.core.take(message);
        true
    }

    /// Takes what the device says, and answers what it asks for.
    fn be_the_hub(&mut self) -> bool {
        let said = std::mem::take(&mut *self.kept.lock().unwrap());
        let (key, id) = (device_key().public(), device());
        let moved = !said.is_empty();
        for (kind, bytes) in said {
            match kind {
                Up::Hello => {
                    let hello = Hello::open(&bytes, &id, &key).unwrap().into_inner();
                    self.told.raise(Told {
                        seq: hello.seq,
                        command_id: hello.command_id,
                        floor: hello.floor,
                        clock_ms: 0,
                    });
                }
                Up::Answer => self.hear(&Answer::open(&bytes, &id, &key).unwrap()),
                Up::Fetch if self.delivers => self.deliver(&Fetch::decode(&bytes).unwrap()),
                _ => {}
            }
        }
        moved
    }

    fn hear(&mut self, answer: &Answer) {
        let (kind, number) = answer.to.split_once('/').unwrap();
        let number: u64 = number.parse().unwrap();
        let mut told = Told::default();
        match (&answer.outcome, kind) {
            (Outcome::Rejected { reason }, _) => return self.rejected.push(reason.clone()),
            (_, "assign") => (told.seq, told.clock_ms) = (number, WORLD.issued_ms(number)),
            (..) => (told.command_id, told.clock_ms) = (number, WORLD.issued_ms(1000 + number)),
        }
        self.told.raise(told);
    }

    fn deliver(&mut self, fetch: &Fetch) {
        let Some(bytes) = WORLD.blobs.get(&fetch.digest) else {
            return;
        };
        let blob = floorhand_bundle::BlobRef::of(bytes);
        let asked = fetch.indices();
        for (index, offset, chunk) in blob.layout().filter(|(index, ..)| asked.contains(index)) {
            let (from, length) = (offset as usize, chunk.length as usize);
            let message = ChunkMessage::pack(fetch.token, fetch.digest, index, &bytes[from..from + length]);
            self.core
                .take(Message::Fleet(FleetEvent::Chunk(message.encode().unwrap())));
        }
    }
}
