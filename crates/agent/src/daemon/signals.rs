//! What the running daemon listens to: signals, the service manager's watchdog, the local socket.

use super::{Daemon, Failed, STUCK_MS, TELEMETRY_STUCK_MS};
use crate::clock::monotonic_ms;
use crate::config::Config;
use crate::core::{Board, CoreSender, Message as CoreMessage};
use crate::exit::Exit;
use crate::local::{self, Reply, Request};
use crate::logging::LogHandle;
use crate::notify::{self, Heartbeat};
use crate::serving::{Message as ServeMessage, ServeSender, Totals};
use crate::telemetry::Telemetry;
use floorhand_lifecycle::Generation;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Without a service manager that watches, nobody is told, and stuck threads are only logged.
const UNWATCHED: Duration = Duration::from_secs(10);
/// Lines of the log that are searched for recent errors.
const RECENT_LINES: usize = 400;

impl Daemon {
    /// Runs until SIGTERM or SIGINT, then ends everything in order.
    pub(super) async fn run_until_stopped(&mut self) {
        let [Ok(mut term), Ok(mut int), Ok(mut hup)] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal)
        else {
            tracing::error!("signals can't be listened to");
            return self.stop().await;
        };
        let booted = Self::booted(self.booted.clone());
        tokio::pin!(booted);
        let mut ready = false;
        let mut watchdog = tokio::time::interval(notify::watchdog_interval().unwrap_or(UNWATCHED));
        loop {
            tokio::select! {
                _ = received(&mut term) => break,
                _ = received(&mut int) => break,
                // Both speak to the service manager, which shall hear nothing before READY: a reload ends with it.
                _ = received(&mut hup), if ready => self.reload(),
                _ = watchdog.tick(), if ready => self.watch(),
                () = &mut booted, if !ready => {
                    ready = true;
                    self.begin().await;
                }
            }
        }
        self.stop().await;
    }

    /// Lets samples come, and says that the agent is up.
    async fn begin(&mut self) {
        if let Err(error) = self.start_sources().await {
            tracing::error!(%error, "failed to start a thread; a source is not replayed");
        }
        notify::ready();
        tracing::info!(device = %self.config.device, "ready");
    }

    /// Tells the service manager that all is well, if it is.
    fn watch(&self) {
        let now_ms = monotonic_ms();
        let beats: [(&Heartbeat, u64); 3] = [
            (&self.shared.core_beat, STUCK_MS),
            (&self.shared.serving_beat, STUCK_MS),
            (&self.shared.telemetry_beat, TELEMETRY_STUCK_MS),
        ];
        let stuck: Vec<&str> = beats
            .iter()
            .filter(|(beat, limit_ms)| beat.stale(now_ms, *limit_ms))
            .map(|(beat, _)| beat.name())
            .collect();
        if stuck.is_empty() {
            notify::watchdog();
            notify::status(&self.line());
        } else {
            tracing::error!(
                ?stuck,
                "threads have not come round; the service manager's watchdog is not told that all is well"
            );
        }
    }

    /// One line for `systemctl status`.
    fn line(&self) -> String {
        let board = self.shared.board.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = match &self.fleet {
            Some(fleet) if fleet.is_connected() => "connected",
            Some(_) => "no connection to the hub",
            None => "no hub configured",
        };
        match &board.state.active {
            Some(active) if board.unserved => format!(
                "{} {} can't be loaded and nothing serves, {connection}",
                active.bundle.name, active.bundle.version
            ),
            Some(active) => format!("serves {} {}, {connection}", active.bundle.name, active.bundle.version),
            None => format!("serves nothing yet, {connection}"),
        }
    }

    /// Reads the configuration again and takes over what can be taken over.
    fn reload(&mut self) {
        notify::reloading();
        match Config::load(&self.path) {
            Ok(new) => self.take_over(&new),
            Err(mistakes) => tracing::error!("the configuration stays as it was: {mistakes}"),
        }
        notify::ready();
    }

    fn take_over(&mut self, new: &Config) {
        let (merged, needs_restart) = self.config.reloadable_changes(new);
        if let Err(error) = self.log.set_filter(&merged.log.filter) {
            tracing::error!(%error, "the log's filter stays as it was");
        }
        let fetch = CoreMessage::FetchSettings((&merged.fetch).into());
        let interval = ServeMessage::SetInterval(merged.telemetry.metrics_interval_s * 1000);
        let (core, serving) = (self.core.clone(), self.serving.clone());
        tokio::spawn(async move {
            core.send(fetch).await;
            serving.send(interval).await;
        });
        self.config = merged;
        if needs_restart.is_empty() {
            tracing::info!("the configuration was read again");
        } else {
            let keys = needs_restart.join(", ");
            tracing::warn!(keys, "the configuration was read again; these keys need a restart");
        }
    }

    /// Answers whoever stands at the box.
    pub(super) fn serve_socket(&self) -> Result<(), Failed> {
        let path = self.config.socket_path();
        let listener = match local::bind(&path) {
            Ok(listener) => listener,
            Err(error) if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::StorageFull) => {
                tracing::error!(%error, path = %path.display(), "nobody can ask here what the agent does; it goes on");
                return Ok(());
            }
            Err(error) => {
                let problem = format!("{} can't be listened on: {error}", path.display());
                return Err((Exit::StateDirectory, problem));
            }
        };
        let desk = Arc::new(Desk {
            config: self.config.clone(),
            boot_id: self.shared.boot_id,
            board: Arc::clone(&self.shared.board),
            totals: Arc::clone(&self.shared.totals),
            telemetry: self.telemetry.clone(),
            log: self.log.clone(),
            core: self.core.clone(),
            serving: self.serving.clone(),
            fleet: self.fleet.clone(),
            plant: self.plant.clone(),
        });
        tokio::spawn(local::serve(listener, move |request| {
            let desk = Arc::clone(&desk);
            async move { desk.answer(request).await }
        }));
        Ok(())
    }
}

async fn received(signal: &mut Signal) {
    // A stream of signals has no end; if it had, nobody could stop the daemon by it any more.
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// What answers at the local socket are made from.
struct Desk {
    config: Config,
    boot_id: u64,
    board: Arc<Mutex<Board>>,
    totals: Arc<Totals>,
    telemetry: Telemetry,
    log: LogHandle,
    core: CoreSender,
    serving: ServeSender,
    fleet: Option<crate::fleet::Fleet>,
    plant: Option<floorhand_transport::Client>,
}

impl Desk {
    async fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Status => Reply::status(self.status()),
            Request::Explain(samples) => {
                let (reply, answer) = tokio::sync::oneshot::channel();
                self.serving.send(ServeMessage::Explain { samples, reply }).await;
                match answer.await {
                    Ok(Ok(explanation)) => Reply::explanation(explanation),
                    Ok(Err(problem)) => Reply::refused(problem),
                    Err(_) => Reply::refused("nothing serves any more that could say so; try again"),
                }
            }
            Request::Import(name) => {
                let (reply, answer) = tokio::sync::oneshot::channel();
                self.core.send(CoreMessage::Import { name, reply }).await;
                match answer.await {
                    Ok(Ok(message)) => Reply::done(message),
                    Ok(Err(problem)) => Reply::refused(problem),
                    Err(_) => Reply::refused("the agent is stopping; try again when it runs"),
                }
            }
        }
    }

    fn status(&self) -> local::Status {
        let board = self.board.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let state = board.state;
        let spool = self.telemetry.figures();
        let total = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let mut status = local::Status {
            agent: crate::version().to_string(),
            device: self.config.device.to_string(),
            fleet: self.config.fleet.to_string(),
            hardware: self.config.hardware.to_string(),
            boot_id: format!("{:016x}", self.boot_id),
            uptime_s: monotonic_ms() / 1000,
            pid: std::process::id(),
            fleet_connected: self.fleet.as_ref().map(crate::fleet::Fleet::is_connected),
            plant_connected: self.plant.as_ref().map(floorhand_transport::Client::is_connected),
            mode: state.mode,
            engines: board.engines.clone(),
            active: state.active.as_ref().map(|active| running(active, &board.running_in)),
            unserved: board.unserved,
            previous: state
                .previous
                .as_ref()
                .map(|previous| running(previous, &board.running_in)),
            candidate: state
                .candidate
                .as_ref()
                .map(|candidate| running(&candidate.generation, &board.running_in)),
            deployment: deployment(board.deployment).to_owned(),
            trial: board.trial.map(|(seen, needed)| local::Trial { seen, needed }),
            seq: state.seq,
            root_version: board.root_version,
            root_expires_ms: board.root_expires_ms,
            floor: state.floor,
            clock_ms: state.clock_ms,
            spool: local::SpoolStatus {
                records: spool.records,
                bytes: spool.bytes,
                dropped: spool.dropped,
            },
            budget: crate::budget::ControlGroup::own().map(|group| group.budget()),
            samples: total(&self.totals.samples),
            results: total(&self.totals.results),
            failures: total(&self.totals.failures),
            last_errors: Vec::new(),
            sources: self.flows(&self.totals.sources),
            sinks: self.flows(&self.totals.sinks),
        };
        for line in self.log.tail(RECENT_LINES) {
            if line.contains("ERROR") || line.contains("WARN") {
                status.remember(&line);
            }
        }
        status
    }

    fn flows(&self, flows: &Mutex<Vec<local::Flow>>) -> Vec<local::Flow> {
        flows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn running(generation: &Generation, engines: &BTreeMap<u64, String>) -> local::Running {
    local::Running {
        generation: generation.number,
        bundle: generation.bundle.digest.to_string(),
        name: generation.bundle.name.to_string(),
        version: generation.bundle.version.to_string(),
        engine: engines.get(&generation.number).cloned().unwrap_or_default(),
    }
}

fn deployment(deployment: floorhand_protocol::Deployment) -> &'static str {
    use floorhand_protocol::Deployment::{Fetching, Idle, Staged, Trial, Verified};
    match deployment {
        Idle => "idle",
        Fetching => "fetching",
        Verified => "verified",
        Staged => "staged",
        Trial => "trial",
    }
}
