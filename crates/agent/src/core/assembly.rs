//! The core put together, and its loop.

use super::board::Board;
use super::fetch::Fetching;
use super::listen::Topics;
use super::load::Load;
use super::{CoreQueue, CoreSender, FetchLimits, Message, Notice, Purpose};
use crate::clock::monotonic_ms;
use crate::fleet::{Fleet, FleetEvent};
use crate::limiter::Limiter;
use crate::logging::LogHandle;
use crate::notify::Heartbeat;
use crate::serving::ServeSender;
use crate::telemetry::Telemetry;
use crate::trust::SharedTrust;
use floorhand_bundle::{DeviceId, HardwareClass, SecretKey};
use floorhand_lifecycle::{Event, Machine, State};
use floorhand_pipeline::{Engines, Host, Loaded, Probe};
use floorhand_protocol::{Answer, Severity};
use floorhand_store::Store;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// The machine hears of the time this often.
const TICK: Duration = Duration::from_millis(500);
/// Answers that wait for the connection.
pub(super) const MAX_ANSWERS: usize = 64;

/// What the core needs.
pub(crate) struct Setup {
    pub(crate) device: DeviceId,
    pub(crate) hardware: HardwareClass,
    pub(crate) trust: SharedTrust,
    pub(crate) key: SecretKey,
    pub(crate) boot_id: u64,
    pub(crate) store: Arc<Store>,
    pub(crate) host: Arc<Host>,
    pub(crate) engines: Engines,
    /// Whether requests will come that hold several samples.
    pub(crate) batches: bool,
    /// Loads new models in a process of its own first; a test may have none.
    pub(crate) probe: Option<Arc<Probe>>,
    /// Loads generations: with the engines, on a thread of its own.
    pub(crate) load: Arc<Load>,
    pub(crate) machine: Machine,
    pub(crate) fleet: Option<Fleet>,
    pub(crate) serving: ServeSender,
    pub(crate) telemetry: Telemetry,
    pub(crate) log: LogHandle,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) heartbeat: Heartbeat,
    /// The highest signed time, for those who check acks.
    pub(crate) clock_floor_ms: Arc<AtomicU64>,
    pub(crate) board: Arc<Mutex<Board>>,
    pub(crate) fetch_limits: FetchLimits,
    pub(crate) sender: CoreSender,
    /// Told when what was committed has been loaded, or can't be, or when there is nothing to load.
    pub(crate) booting: watch::Sender<bool>,
}

/// The core at work.
pub(crate) struct Core {
    pub(super) setup: Setup,
    /// The state as it is on the disk.
    pub(super) saved: State,
    /// Events that came of carrying out actions.
    pub(super) events: VecDeque<Event>,
    pub(super) fetching: Option<Fetching>,
    /// A generation that is loaded and whose trial hasn't begun.
    pub(super) staged: Option<Loaded>,
    pub(super) answers: VecDeque<Answer>,
    pub(super) hello_count: u64,
    pub(super) hello_due: bool,
    pub(super) connected: bool,
    pub(super) limiter: Limiter,
    /// When a repair was last begun.
    pub(super) repaired_ms: u64,
    /// When it was last looked whether the trust root ends soon.
    pub(super) root_told_ms: Option<u64>,
    pub(super) topics: Topics,
    /// When it was last tried to give up what nobody carries on.
    pub(super) leftover_ms: u64,
    /// Why something could not be written, the last time that it couldn't.
    pub(super) unwritten: Option<String>,
    /// What lies in the inbox was looked at and can't be removed: it waits for the next start.
    pub(super) inbox_stuck: bool,
    /// What runs the model of each generation that was loaded.
    pub(super) running_in: BTreeMap<u64, String>,
}

/// Starts the thread.
pub(crate) fn start(setup: Setup, queue: CoreQueue) -> std::io::Result<()> {
    let mut core = Core::new(setup);
    std::thread::Builder::new()
        .name("core".to_owned())
        .spawn(move || core.run(queue))?;
    Ok(())
}

impl Core {
    pub(super) fn new(setup: Setup) -> Self {
        Self {
            saved: setup.machine.state().clone(),
            setup,
            events: VecDeque::new(),
            fetching: None,
            staged: None,
            answers: VecDeque::new(),
            hello_count: 0,
            hello_due: true,
            connected: false,
            limiter: Limiter::default(),
            repaired_ms: 0,
            root_told_ms: None,
            topics: Topics::default(),
            leftover_ms: 0,
            unwritten: None,
            inbox_stuck: false,
            running_in: BTreeMap::new(),
        }
    }

    fn run(&mut self, CoreQueue(mut messages): CoreQueue) {
        self.boot();
        let runtime = self.setup.runtime.clone();
        let mut ticked_ms = 0;
        loop {
            let now_ms = monotonic_ms();
            self.setup.heartbeat.beat(now_ms);
            if now_ms.saturating_sub(ticked_ms) >= TICK.as_millis() as u64 {
                ticked_ms = now_ms;
                self.tick(now_ms);
            }
            let waited = async { tokio::time::timeout(TICK, messages.recv()).await };
            match runtime.block_on(waited) {
                Ok(Some(Message::Stop(done))) => {
                    self.handle(Event::Stopping);
                    let _ = done.try_send(());
                    return;
                }
                Ok(Some(message)) => self.take(message),
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }

    pub(super) fn tick(&mut self, now_ms: u64) {
        self.handle(Event::Tick);
        self.drive_fetch(now_ms);
        self.listen(now_ms);
        self.repair_again(now_ms);
        self.watch_root(now_ms);
        self.give_up_leftover(now_ms);
        self.take_inbox();
        self.send_answers();
        if self.hello_due && self.connected {
            self.say_hello();
        }
        self.update_board();
    }

    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Fleet(event) => self.take_fleet(event),
            Message::Notice(Notice::Trial(sample)) => self.handle(Event::Trial(sample)),
            Message::Notice(Notice::Broken { generation, reason }) => {
                self.handle(Event::Broken { generation, reason });
            }
            Message::Loaded {
                generation,
                purpose,
                result,
            } => self.loaded(generation, purpose, *result),
            Message::Import { name, reply } => {
                let result = self.import(&name);
                drop(reply.send(result));
            }
            Message::FetchSettings(limits) => self.setup.fetch_limits = limits,
            Message::Broadcast { blob, payload, .. } => self.take_broadcast(blob, &payload),
            Message::Stop(_) => {}
        }
        self.update_board();
    }

    fn take_fleet(&mut self, event: FleetEvent) {
        match event {
            FleetEvent::Connected => {
                self.connected = true;
                self.say_hello();
                self.send_answers();
                self.reconnected();
            }
            FleetEvent::Disconnected => self.connected = false,
            FleetEvent::Assign(bytes) => self.take_assignment(&bytes),
            FleetEvent::Command(bytes) => self.take_command(&bytes),
            FleetEvent::Chunk(bytes) => self.take_chunk(&bytes),
            FleetEvent::Root(bytes) => self.take_root(&bytes),
            FleetEvent::TopicRefused => self.topic_refused(),
        }
    }

    fn loaded(&mut self, generation: u64, purpose: Purpose, result: Result<Loaded, String>) {
        let state = self.setup.machine.state();
        let wanted = match purpose {
            Purpose::Stage => state.candidate.as_ref().map(|candidate| candidate.generation.number),
            Purpose::Activate => state.active.as_ref().map(|active| active.number),
        };
        if wanted != Some(generation) {
            tracing::debug!(generation, "a generation was loaded that is not wanted any more");
            return;
        }
        if let Ok(loaded) = &result {
            self.tell_engine(loaded);
        }
        match (purpose, result) {
            (Purpose::Stage, Ok(loaded)) => {
                let gates = loaded.gates.clone();
                self.staged = Some(loaded);
                self.handle(Event::Staged(Ok(gates)));
            }
            (Purpose::Stage, Err(reason)) => self.handle(Event::Staged(Err(reason))),
            (Purpose::Activate, Ok(loaded)) => {
                tracing::info!(generation, bundle = %loaded.bundle.short(), "serving");
                self.setup
                    .serving
                    .tell(crate::serving::Message::Activate(Box::new(loaded)));
                self.handle(Event::Activated(Ok(())));
                self.setup.booting.send_replace(true);
            }
            (Purpose::Activate, Err(reason)) => {
                tracing::error!(generation, reason, "what was committed can't be loaded");
                self.handle(Event::Activated(Err(reason)));
                self.begin_repair(monotonic_ms());
            }
        }
        if self.setup.machine.unserved().is_some() {
            // Nothing more comes of waiting for it.
            self.setup.booting.send_replace(true);
        }
    }

    /// Notes what runs a generation's model, and tells where that isn't what the bundle would rather have.
    fn tell_engine(&mut self, loaded: &Loaded) {
        let state = self.setup.machine.state();
        let kept: Vec<u64> = state.generations().map(|generation| generation.number).collect();
        self.running_in.retain(|number, _| kept.contains(number));
        let engine = loaded.pipeline.engine();
        self.running_in.insert(loaded.generation, engine.to_owned());
        for passed_over in loaded.pipeline.passed_over() {
            let (wanted, reason) = (passed_over.engine.as_str(), &passed_over.reason);
            tracing::warn!(bundle = %loaded.bundle.short(), engine, wanted, reason, "the model runs in another engine");
            let message = format!("bundle {} runs in {engine}: {reason}", loaded.bundle.short());
            let telemetry = &self.setup.telemetry;
            telemetry.event("engine-passed-over", Severity::Warning, wanted, message);
        }
    }

    /// The time that documents are held against.
    pub(super) fn trusted_now_ms(&self) -> u64 {
        self.setup.trust.now().now_ms(self.setup.machine.state().clock_ms)
    }

    /// Logs and reports that something was refused, but not again and again.
    pub(super) fn refused(&mut self, subject: &str, problem: &str) {
        let Some(held_back) = self.limiter.admit("document-refused", subject, monotonic_ms()) else {
            return;
        };
        tracing::warn!(subject, held_back, "refused: {problem}");
        self.setup
            .telemetry
            .event("document-refused", Severity::Alarm, subject, problem.to_owned());
    }
}
