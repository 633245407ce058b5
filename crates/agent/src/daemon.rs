//! The daemon from its arguments to its exit code: what is started in which order, and how it ends.

use crate::args::{Args, Command};
use crate::clock::monotonic_ms;
use crate::config::{Config, Source};
use crate::core::{self, Board, CoreSender, Message as CoreMessage};
use crate::downlink::{self, AckCheck};
use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::import::load_trust;
use crate::limiter::Limiter;
use crate::logging::LogHandle;
use crate::notify::{self, Heartbeat};
use crate::open_inference::Listeners;
use crate::open_inference::catalogue::Catalogue;
use crate::serving::{self, Requests, ServeSender, Totals};
use crate::sinks::SinkWriter;
use crate::storage::{self, Storage};
use crate::telemetry::{self, Telemetry};
use crate::trust::{SharedTrust, Trust};
use crate::{doctor, engines, enroll, logging, renewal, sources};
use floorhand_bundle::{SecretKey, TrustRoot, Verified};
use floorhand_lifecycle::{Device, Machine, State};
use floorhand_pipeline::{
    CacheConfig, CompileLimits, Compiler, Engines, Host, HostConfig, ModelLimits, Probe, Program,
};
use floorhand_store::{BatchLimits, Spool, Store};
use floorhand_transport::{Client, Incoming};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

mod report;
mod signals;

/// What is queued has this long to go out when the agent is told to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// A thread that hasn't come round for this long is stuck: the watchdog isn't told that all is well.
const STUCK_MS: u64 = 20_000;
/// The same for the thread that writes telemetry: a disk may stall for long, and what serves needs none.
const TELEMETRY_STUCK_MS: u64 = 300_000;
/// Sources wait this long for what was committed to be loaded; after that they begin, and samples are counted as they are.
const BOOT_WITHIN: Duration = Duration::from_secs(60);

/// Runs what the arguments ask for, and says how it ended.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    let place = args.place();
    match &args.command {
        Some(Command::CompilePlugin) => return floorhand_pipeline::compile_worker(),
        Some(Command::ProbeModel) => return engines::probe_worker(),
        Some(Command::Enroll(enroll)) => return enroll::run(enroll, &place, args.json),
        Some(Command::Doctor { json }) => return doctor::run(&place.config, *json),
        _ => {}
    }
    floorhand_pipeline::keep_memory();
    let config = match Config::load(&place.config) {
        Ok(config) => config,
        Err(mistakes) => return report::misconfigured(&mistakes, args.json),
    };
    match args.command {
        Some(Command::Status { json }) => report::status(&config, json),
        Some(Command::Explain { sample }) => report::explain(&config, sample.as_deref(), args.json),
        Some(Command::Import { bundle }) => report::import(&config, &bundle, args.json),
        _ if args.check => report::checked(&place.config, args.json),
        _ => {
            let workers = Workers {
                compiler: args.compiler(),
                probe: args.probe(),
            };
            serve(&place.config, config, workers)
        }
    }
}

/// This program, to be started again for what may end a process.
struct Workers {
    compiler: Compiler,
    probe: Program,
}

fn serve(path: &Path, config: Config, workers: Workers) -> ExitCode {
    let log = match logging::init(&config.log.filter, config.log.format) {
        Ok(log) => log,
        Err(error) => return Exit::Configuration.say(&error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Exit::Failure.say(&error),
    };
    match runtime.block_on(Daemon::start(path, config, workers, log)) {
        Ok(mut daemon) => {
            runtime.block_on(daemon.run_until_stopped());
            runtime.shutdown_timeout(Duration::from_secs(1));
            ExitCode::SUCCESS
        }
        Err((exit, problem)) => {
            tracing::error!("{problem}");
            exit.into()
        }
    }
}

/// The daemon's parts, once they are started.
struct Daemon {
    path: PathBuf,
    config: Config,
    log: LogHandle,
    core: CoreSender,
    serving: ServeSender,
    telemetry: Telemetry,
    fleet: Option<Fleet>,
    plant: Option<Client>,
    shared: Shared,
    stop_sources: Arc<AtomicBool>,
    /// What comes from the plant, until the sources begin.
    plant_incoming: Option<Incoming>,
    /// Becomes true when what was committed has been loaded, or can't be.
    booted: watch::Receiver<bool>,
}

type Failed = (Exit, String);

/// What is made before anything is started.
struct Prepared {
    store: Arc<Store>,
    state: State,
    spool: Spool,
    host: Arc<Host>,
    engines: Engines,
    probe: Arc<Probe>,
}

fn prepare(config: &Config, workers: Workers, boot_id: u64) -> Result<Prepared, Failed> {
    let Storage { store, state, spool } =
        storage::open(config, boot_id).map_err(|problem| (Exit::StateDirectory, problem))?;
    let host = host(config, workers.compiler)?;
    let limits = ModelLimits {
        memory_bytes: config.models.memory_bytes,
        load_ms: u32::try_from(config.models.load_timeout_s * 1000).unwrap_or(u32::MAX),
    };
    Ok(Prepared {
        store: Arc::new(store),
        state,
        spool,
        host: Arc::new(host),
        engines: engines::open(&config.engines),
        probe: Arc::new(Probe::new(workers.probe, limits)),
    })
}

/// The trust roots that this device has taken, verified again from the pinned one.
fn taken_roots(pinned: Verified<TrustRoot>, state: &State, store: &Store) -> Trust {
    let read = |version| store.roots().read(version).map_err(|error| error.to_string());
    Trust::load(pinned, state.root_version, read)
}

fn host(config: &Config, compiler: Compiler) -> Result<Host, Failed> {
    let cache = if config.plugins.cache_bytes == 0 {
        None
    } else {
        let key = cache_key(&config.state_dir).map_err(|error| (Exit::StateDirectory, error.to_string()))?;
        let dir = config.state_dir.join("plugin-cache");
        Some(CacheConfig {
            dir,
            key,
            max_bytes: config.plugins.cache_bytes,
        })
    };
    let limits = CompileLimits {
        compile_ms: u32::try_from(config.plugins.compile_timeout_s * 1000).unwrap_or(u32::MAX),
        compile_memory_bytes: config.plugins.compile_memory_bytes,
        ..CompileLimits::default()
    };
    Host::new(HostConfig {
        compiler,
        cache,
        limits,
    })
    .map_err(|error| (Exit::Failure, error.to_string()))
}

/// The secret by which this device knows the machine code that it made itself. Made at the first start.
fn cache_key(state_dir: &Path) -> std::io::Result<[u8; 32]> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = state_dir.join("plugin-cache.key");
    if let Ok(bytes) = std::fs::read(&path)
        && let Ok(key) = bytes.try_into()
    {
        return Ok(key);
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(std::io::Error::other)?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(&key)?;
    Ok(key)
}

/// The two connections, where the configuration has them, and what comes in on them.
struct Connections {
    fleet: Option<(Fleet, Incoming)>,
    plant: Option<(Client, Incoming)>,
}

async fn connect(config: &Config, boot_id: u64) -> Result<Connections, Failed> {
    let configuration = |problem: String| (Exit::Configuration, problem);
    let fleet = match config.fleet_transport() {
        Some(transport) => {
            let started = Fleet::start(transport, config.fleet.clone(), config.device.clone(), boot_id).await;
            Some(started.map_err(|error| configuration(error.to_string()))?)
        }
        None => None,
    };
    let plant = match config.plant_transport().map_err(configuration)? {
        Some(transport) => Some(Client::start(transport).map_err(|error| configuration(error.to_string()))?),
        None => None,
    };
    Ok(Connections { fleet, plant })
}

fn io(error: std::io::Error) -> Failed {
    (Exit::Failure, format!("failed to start a thread: {error}"))
}

/// What the threads share with the daemon.
pub(crate) struct Shared {
    boot_id: u64,
    pub(crate) trust: SharedTrust,
    pub(crate) key: SecretKey,
    board: Arc<Mutex<Board>>,
    totals: Arc<Totals>,
    catalogue: Arc<Catalogue>,
    pub(crate) clock_floor_ms: Arc<AtomicU64>,
    core_beat: Heartbeat,
    serving_beat: Heartbeat,
    telemetry_beat: Heartbeat,
}

fn start_telemetry(
    config: &Config,
    shared: &Shared,
    spool: Spool,
    store: &Store,
    fleet: Option<Fleet>,
) -> Result<Telemetry, Failed> {
    let limit = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Telemetry::start(telemetry::Setup {
        spool,
        device: config.device.clone(),
        key: shared.key.clone(),
        fleet,
        limits: BatchLimits {
            max_records: limit(config.telemetry.batch_records),
            max_bytes: limit(config.telemetry.batch_bytes),
        },
        delay_ms: config.telemetry.batch_delay_ms,
        heartbeat: shared.telemetry_beat.clone(),
        ballast: store.ballast(),
        vault: store.vault().cloned(),
    })
    .map_err(io)
}

fn start_serving(
    config: &Config,
    shared: &Shared,
    plant: Option<&Client>,
    core: &CoreSender,
    telemetry: &Telemetry,
) -> Result<ServeSender, Failed> {
    let runtime = tokio::runtime::Handle::current();
    let open = |sink| SinkWriter::open(sink, plant, &runtime);
    let sinks = config.sinks.iter().map(open).collect::<Result<_, _>>();
    let (sender, queue) = serving::queue();
    let setup = serving::Setup {
        sinks: sinks.map_err(|problem| (Exit::Configuration, problem))?,
        core: core.clone(),
        telemetry: telemetry.clone(),
        runtime: runtime.clone(),
        interval_ms: config.telemetry.metrics_interval_s * 1000,
        heartbeat: shared.serving_beat.clone(),
        totals: Arc::clone(&shared.totals),
        requests: requests(config, shared),
    };
    serving::start(setup, queue).map_err(io)?;
    Ok(sender)
}

fn requests(config: &Config, shared: &Shared) -> Requests {
    let section = config.open_inference.clone().unwrap_or_default();
    Requests {
        catalogue: Arc::clone(&shared.catalogue),
        max_batch: usize::try_from(section.max_batch).unwrap_or(usize::MAX),
        delay_ns: section.batch_delay_us * 1000,
        to_sinks: section.results_to_sinks,
    }
}

/// What the core is made of beside the configuration.
struct CoreParts {
    store: Arc<Store>,
    host: Arc<Host>,
    engines: Engines,
    probe: Arc<Probe>,
    state: State,
    fleet: Option<Fleet>,
    serving: ServeSender,
    telemetry: Telemetry,
    log: LogHandle,
    sender: CoreSender,
    booting: watch::Sender<bool>,
}

impl CoreParts {
    fn setup(self, config: &Config, shared: &Shared) -> core::Setup {
        let device = Device {
            hardware: config.hardware.clone(),
            agent: crate::version(),
        };
        core::Setup {
            device: config.device.clone(),
            hardware: config.hardware.clone(),
            trust: shared.trust.clone(),
            key: shared.key.clone(),
            boot_id: shared.boot_id,
            store: self.store,
            host: self.host,
            engines: self.engines,
            batches: config.open_inference.is_some(),
            probe: Some(self.probe),
            load: Arc::new(core::load_on_a_thread),
            machine: Machine::new(device, self.state),
            fleet: self.fleet,
            serving: self.serving,
            telemetry: self.telemetry,
            log: self.log,
            runtime: tokio::runtime::Handle::current(),
            heartbeat: shared.core_beat.clone(),
            clock_floor_ms: Arc::clone(&shared.clock_floor_ms),
            board: Arc::clone(&shared.board),
            fetch_limits: core::FetchLimits::from(&config.fetch),
            sender: self.sender,
            booting: self.booting,
        }
    }
}

impl Daemon {
    async fn start(path: &Path, config: Config, workers: Workers, log: LogHandle) -> Result<Self, Failed> {
        let boot_id = crate::random::u64();
        let (root, key) = load_trust(&config).map_err(|problem| (Exit::Configuration, problem))?;
        let Prepared {
            store,
            state,
            spool,
            host,
            engines,
            probe,
        } = prepare(&config, workers, boot_id)?;
        let shared = Shared {
            boot_id,
            trust: SharedTrust::new(taken_roots(root, &state, &store)),
            key,
            board: Arc::new(Mutex::new(Board::new(state.clone()))),
            totals: Arc::default(),
            catalogue: Arc::default(),
            clock_floor_ms: Arc::new(AtomicU64::new(state.clock_ms)),
            core_beat: Heartbeat::new("core", monotonic_ms()),
            serving_beat: Heartbeat::new("serving", monotonic_ms()),
            telemetry_beat: Heartbeat::new("telemetry", monotonic_ms()),
        };
        let refused = |problem| (Exit::Configuration, problem);
        let listeners = Listeners::bind(config.open_inference.as_ref()).await.map_err(refused)?;
        let Connections { fleet, plant } = connect(&config, boot_id).await?;
        let (fleet, fleet_incoming) = fleet.unzip();
        let (plant, plant_incoming) = plant.unzip();
        let (core, core_queue) = core::queue();
        let (booting, booted) = watch::channel(false);
        let telemetry = start_telemetry(&config, &shared, spool, &store, fleet.clone())?;
        let serving = start_serving(&config, &shared, plant.as_ref(), &core, &telemetry)?;
        engines::tell(&engines, &telemetry);
        let parts = CoreParts {
            store,
            host,
            engines,
            probe,
            state,
            fleet: fleet.clone(),
            serving: serving.clone(),
            telemetry: telemetry.clone(),
            log: log.clone(),
            sender: core.clone(),
            booting,
        };
        core::start(parts.setup(&config, &shared), core_queue).map_err(io)?;
        let daemon = Self {
            path: path.to_owned(),
            config,
            log,
            core,
            serving,
            telemetry,
            fleet,
            plant,
            shared,
            stop_sources: Arc::default(),
            plant_incoming,
            booted,
        };
        daemon.start_fleet(fleet_incoming);
        daemon.serve_socket()?;
        if let Some(listeners) = listeners {
            let served = listeners.serve(Arc::clone(&daemon.shared.catalogue), daemon.serving.clone());
            served.map_err(|problem| (Exit::Configuration, format!("`open_inference.token_file` {problem}")))?;
        }
        Ok(daemon)
    }

    fn start_fleet(&self, incoming: Option<Incoming>) {
        if let (Some(connection), Some(incoming)) = (&self.fleet, incoming) {
            let acks = AckCheck {
                trust: self.shared.trust.clone(),
                device: self.config.device.clone(),
                clock_floor_ms: Arc::clone(&self.shared.clock_floor_ms),
                limiter: Limiter::default(),
            };
            let (connection, core, telemetry) = (connection.clone(), self.core.clone(), self.telemetry.clone());
            let boot_id = self.shared.boot_id;
            let renewal = renewal::start(renewal::Setup::of(
                &self.config,
                &self.shared,
                connection.clone(),
                &telemetry,
            ));
            tokio::spawn(downlink::receive(
                incoming, connection, boot_id, core, telemetry, acks, renewal,
            ));
        }
    }

    /// Waits until samples can be worked on: what was committed serves, or there is nothing, or it can't be loaded.
    async fn booted(mut booted: watch::Receiver<bool>) {
        let wait = booted.wait_for(|booted| *booted);
        if tokio::time::timeout(BOOT_WITHIN, wait).await.is_err() {
            tracing::warn!("loading takes long; sources begin before anything serves");
        }
    }

    async fn start_sources(&mut self) -> std::io::Result<()> {
        if let (Some(client), Some(incoming)) = (&self.plant, self.plant_incoming.take()) {
            sources::subscribe(client, &self.config.sources).await;
            tokio::spawn(sources::receive(
                incoming,
                self.config.sources.clone(),
                self.serving.clone(),
            ));
        }
        for source in &self.config.sources {
            if let Source::File(file) = source {
                sources::replay(file.clone(), self.serving.clone(), Arc::clone(&self.stop_sources))?;
            }
        }
        Ok(())
    }

    /// Ends everything in order: no more samples, results out, telemetry durable, messages sent.
    async fn stop(&self) {
        notify::stopping();
        tracing::info!("stopping");
        self.stop_sources.store(true, Ordering::Relaxed);
        self.serving.stop(DRAIN).await;
        if let Some(plant) = &self.plant {
            plant.shutdown(DRAIN).await;
        }
        let (done, ended) = std::sync::mpsc::sync_channel(1);
        self.core.send(CoreMessage::Stop(done)).await;
        let telemetry = self.telemetry.clone();
        let end = move || {
            let _ = ended.recv_timeout(DRAIN);
            telemetry.stop(DRAIN);
        };
        drop(tokio::task::spawn_blocking(end).await);
        if let Some(fleet) = &self.fleet {
            fleet.shutdown(self.shared.boot_id, DRAIN).await;
        }
        tracing::info!("stopped");
    }
}
