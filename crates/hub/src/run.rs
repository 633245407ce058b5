//! The program `floorhand-hub`: opens what the configuration names, starts the tasks, and ends them in order.

use crate::audit::Note;
use crate::clock::now_ms;
use crate::config::{Broker, Config, ConfigError, HubArgs, HubCommand};
use crate::counters::Counters;
use crate::database::Database;
use crate::fleet::{Hub, HubError, Settings};
use crate::secrets::{self, Secrets};
use crate::{broker, broker_config};
use crate::{delivery, exit, http, link, logging};
use floorhand_bundle::Digest;
use floorhand_store::{Store, StoreOptions};
use std::fmt::Display;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Between two rounds of cleaning up.
const CLEANUP_EVERY: Duration = Duration::from_secs(30);
/// Telemetry is thinned out once in so many rounds: once an hour.
const RETENTION_ROUNDS: u64 = 120;
/// Between two checkpoints of the audit log. What came after the last one that is elsewhere can be cut off unnoticed.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(3600);
/// Requests that run when the hub is told to end have this long.
const DRAIN: Duration = Duration::from_secs(10);

/// Why a hub doesn't start, with its exit code.
struct Failure(u8, String);

impl Failure {
    fn configuration(error: impl Display) -> Self {
        Self(exit::CONFIGURATION, error.to_string())
    }

    fn data(error: impl Display) -> Self {
        Self(exit::DATA, error.to_string())
    }

    fn listen(error: impl Display) -> Self {
        Self(exit::LISTEN, error.to_string())
    }
}

/// Runs the hub until SIGTERM or SIGINT.
///
/// Exit codes: 0 ended by a signal, or `--check` found nothing wrong; 1 anything that isn't below; 2 the command line; 3 the
/// configuration or a file that it names; 4 the data directory or the database; 5 an address that can't be listened on.
#[must_use]
pub fn run(args: &HubArgs) -> ExitCode {
    if let Some(HubCommand::BrokerConfig(args)) = &args.command {
        return broker_config::run(args);
    }
    if let Err(problem) = logging::start(&args.log, args.log_format) {
        return exit::tell(exit::CONFIGURATION, &problem);
    }
    let runtime = match exit::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return exit::tell(exit::OTHER, &error),
    };
    match runtime.block_on(run_until_signal(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, error)) => exit::tell(code, &error),
    }
}

/// What `--check` checks, without a log: the configuration and the files that it names.
///
/// # Errors
/// With every mistake in them; a program ends with [`ConfigError::EXIT_CODE`] then.
pub fn check(args: &HubArgs) -> Result<(), ConfigError> {
    secrets::open(args).map(drop)
}

async fn run_until_signal(args: &HubArgs) -> Result<(), Failure> {
    let (config, secrets) = secrets::open(args).map_err(Failure::configuration)?;
    let Secrets {
        root,
        key,
        next_key,
        api_token,
        http_tls,
        oidc,
        enrolment,
    } = secrets;
    if args.check {
        tracing::info!(config = %args.config.display(), "the configuration is right");
        return Ok(());
    }
    let store = open_store(&config)?;
    let database = Database::open(&config.database_url()).await.map_err(Failure::data)?;
    let listener = tokio::net::TcpListener::bind(config.http_listen).await;
    let listener = listener.map_err(|error| Failure::listen(format!("listen on {}: {error}", config.http_listen)))?;
    let (embedded, lost) = embedded_broker(&config).await?.unzip();
    let settings = settings(&config, api_token);
    let (outbox, queued) = mpsc::channel(link::OUTBOX);
    let mut hub = Hub::new(
        root,
        key,
        database,
        store,
        outbox,
        Counters::default(),
        now_ms,
        settings,
    );
    hub.enrolment = enrolment;
    let hub = with_roots(hub.with_next_key(next_key)).await?;
    note_start(&hub, args, &config).await?;
    let (client, incoming) = link::start(&config).await.map_err(Failure::configuration)?;
    let tasks = [
        tokio::spawn(link::receive(Arc::clone(&hub), incoming)),
        tokio::spawn(link::publish(client.clone(), queued)),
        tokio::spawn(link::resend(Arc::clone(&hub))),
        tokio::spawn(delivery::serve(Arc::clone(&hub))),
        tokio::spawn(clean_up(Arc::clone(&hub), config.telemetry_retention_ms)),
        tokio::spawn(keep_checkpoints(Arc::clone(&hub))),
    ];
    let (tls, renewing) = renewed(http_tls, &config).unzip();
    let service = http::Service { tls, oidc };
    let (stop, stopping) = watch::channel(false);
    let served = tokio::spawn(http::serve(listener, Arc::clone(&hub), service, stopping));
    tracing::info!(fleet = %config.fleet, http = %config.http_listen, ?embedded, "hub is ready");
    let ended = tokio::select! {
        () = exit::signal() => Ok(()),
        error = embedded_end(lost) => Err(Failure::listen(error)),
    };
    tracing::info!("ending");
    // It fails only when the server is gone already.
    let _ = stop.send(true);
    if tokio::time::timeout(DRAIN, served).await.is_err() {
        tracing::warn!("requests were cut off");
    }
    link::end(&client).await;
    for task in tasks.iter().chain(&renewing) {
        task.abort();
    }
    if let Err(error) = hub.keep_checkpoint().await {
        tracing::error!("failed to sign a checkpoint of the audit log: {error}");
    }
    hub.database.close().await;
    ended
}

fn settings(config: &Config, api_token: Option<String>) -> Settings {
    Settings {
        assignment_ttl_ms: config.assignment_ttl_ms,
        command_ttl_ms: config.command_ttl_ms,
        max_bundle_bytes: config.max_bundle_bytes,
        api_token,
    }
}

/// The hub with the trust roots that it has taken, and a key that signs under the newest.
async fn with_roots(hub: Hub) -> Result<Arc<Hub>, Failure> {
    match hub.open_roots().await {
        Ok(()) => Ok(Arc::new(hub)),
        Err(HubError::Conflict(problem)) => Err(Failure::configuration(problem)),
        Err(other) => Err(Failure::data(other)),
    }
}

/// Where the embedded broker listens, and what tells its end; `None` where it is another one.
async fn embedded_broker(
    config: &Config,
) -> Result<Option<(SocketAddr, oneshot::Receiver<broker::BrokerError>)>, Failure> {
    match config.broker {
        Broker::Embedded(address) => {
            let lost = broker::start(address).await.map_err(Failure::listen)?;
            Ok(Some((address, lost)))
        }
        Broker::Remote { .. } => Ok(None),
    }
}

/// Why the embedded broker ended; never, where there is none.
async fn embedded_end(lost: Option<oneshot::Receiver<broker::BrokerError>>) -> String {
    match lost {
        Some(lost) => lost
            .await
            .map_or_else(|_| "the embedded broker is gone".to_owned(), |error| error.to_string()),
        None => std::future::pending().await,
    }
}

fn open_store(config: &Config) -> Result<Store, Failure> {
    // The disk is the limit of a hub: what is ingested is what operators put there.
    let options = StoreOptions {
        blob_budget_bytes: u64::MAX,
    };
    std::fs::create_dir_all(&config.data_dir)
        .map_err(|error| Failure::data(format!("create {}: {error}", config.data_dir.display())))?;
    Store::open(&config.data_dir, options).map_err(Failure::data)
}

/// The certificate that `https://` is served with, and the task that reads it again.
fn renewed(
    tls: Option<Arc<rustls::ServerConfig>>,
    config: &Config,
) -> Option<(watch::Receiver<Arc<rustls::ServerConfig>>, tokio::task::JoinHandle<()>)> {
    let (current, tls) = watch::channel(tls?);
    let files = config.http_tls.clone()?;
    Some((tls, tokio::spawn(http::tls::renew(files, current))))
}

/// Writes a start down: with which configuration, told by its digest.
async fn note_start(hub: &Hub, args: &HubArgs, config: &Config) -> Result<(), Failure> {
    let digest = std::fs::read(&args.config).map_or_else(|_| String::new(), |bytes| Digest::of(&bytes).to_string());
    let note = Note::new("hub.start", config.fleet.as_str())
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("configuration_sha256", digest)
        .with("http_listen", config.http_listen.to_string())
        .with("tls", config.http_tls.is_some())
        .with("api_token_file", config.api_token_file.is_some())
        .with("oidc", config.oidc.as_ref().map_or("", |oidc| oidc.issuer.as_str()));
    hub.database.note(&note, hub.now_ms()).await.map_err(Failure::data)
}

/// Signs how far the audit log goes, from time to time.
async fn keep_checkpoints(hub: Arc<Hub>) {
    let mut tick = tokio::time::interval(CHECKPOINT_EVERY);
    loop {
        tick.tick().await;
        if let Err(error) = hub.keep_checkpoint().await {
            tracing::error!("failed to sign a checkpoint of the audit log: {error}");
        }
    }
}

/// Ends what has expired, and forgets what is old.
async fn clean_up(hub: Arc<Hub>, retention_ms: u64) {
    let mut tick = tokio::time::interval(CLEANUP_EVERY);
    for round in 0_u64.. {
        tick.tick().await;
        let now_ms = hub.now_ms();
        match hub.database.expire_assignments(now_ms).await {
            Ok(0) => {}
            Ok(expired) => tracing::info!(expired, "assignments expired before their devices took them"),
            Err(error) => tracing::error!("failed to end expired assignments: {error}"),
        }
        if let Err(error) = hub.reload_roots().await {
            tracing::error!("failed to read the trust roots again: {error}");
        }
        if round % RETENTION_ROUNDS == 0 {
            hub.watch_root();
            hub.watch_authority();
            if let Err(error) = hub.database.forget_enrolments(now_ms).await {
                tracing::error!("failed to forget old enrolments: {error}");
            }
            match hub.database.forget_before(now_ms.saturating_sub(retention_ms)).await {
                Ok(rows) => tracing::debug!(rows, "forgot old telemetry"),
                Err(error) => tracing::error!("failed to forget old telemetry: {error}"),
            }
        }
    }
}
