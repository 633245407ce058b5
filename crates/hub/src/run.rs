//! The program `floorhand-hub`: opens what the configuration names, starts the tasks, and ends them in order.

use crate::broker;
use crate::clock::now_ms;
use crate::config::{Broker, Config, HubArgs};
use crate::counters::Counters;
use crate::database::Database;
use crate::fleet::{Hub, Settings};
use crate::{delivery, exit, http, link, logging};
use floorhand_bundle::{MAX_ROOT_BYTES, Role, SecretKey, TrustRoot, Verified};
use floorhand_store::{Store, StoreOptions};
use std::fmt::Display;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Between two rounds of cleaning up.
const CLEANUP_EVERY: Duration = Duration::from_secs(30);
/// Telemetry is thinned out once in so many rounds: once an hour.
const RETENTION_ROUNDS: u64 = 120;
/// Requests that run when the hub is told to end have this long.
const DRAIN: Duration = Duration::from_secs(10);
/// A key or a token is far shorter.
const MAX_SECRET_BYTES: u64 = 16 * 1024;

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

async fn run_until_signal(args: &HubArgs) -> Result<(), Failure> {
    let config = Config::load(args).map_err(Failure::configuration)?;
    let (root, key, api_token) = secrets(&config)?;
    link::client_config(&config)
        .check()
        .map_err(|error| Failure::configuration(format!("broker: {error}")))?;
    if args.check {
        tracing::info!(config = %args.config.display(), "the configuration is right");
        return Ok(());
    }
    let store = open_store(&config)?;
    let url = config
        .database
        .clone()
        .unwrap_or_else(|| Database::sqlite_url(&config.data_dir.join("hub.db")));
    let database = Database::open(&url).await.map_err(Failure::data)?;
    let listener = tokio::net::TcpListener::bind(config.http_listen).await;
    let listener = listener.map_err(|error| Failure::listen(format!("listen on {}: {error}", config.http_listen)))?;
    let (embedded, lost) = match config.broker {
        Broker::Embedded(address) => (
            Some(address),
            Some(broker::start(address).await.map_err(Failure::listen)?),
        ),
        Broker::Remote { .. } => (None, None),
    };
    let settings = Settings {
        assignment_ttl_ms: config.assignment_ttl_ms,
        command_ttl_ms: config.command_ttl_ms,
        max_bundle_bytes: config.max_bundle_bytes,
        api_token,
    };
    let (outbox, queued) = mpsc::channel(link::OUTBOX);
    let hub = Hub::new(
        root,
        key,
        database,
        store,
        outbox,
        Counters::default(),
        now_ms,
        settings,
    );
    let hub = Arc::new(hub);
    let (client, incoming) = link::start(&config).await.map_err(Failure::configuration)?;
    let tasks = [
        tokio::spawn(link::receive(Arc::clone(&hub), incoming)),
        tokio::spawn(link::publish(client.clone(), queued)),
        tokio::spawn(link::resend(Arc::clone(&hub))),
        tokio::spawn(delivery::serve(Arc::clone(&hub))),
        tokio::spawn(clean_up(Arc::clone(&hub), config.telemetry_retention_ms)),
    ];
    let (stop, stopping) = watch::channel(false);
    let served = tokio::spawn(http::serve(listener, Arc::clone(&hub), stopping));
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
    for task in &tasks {
        task.abort();
    }
    hub.database.close().await;
    ended
}

/// Why the embedded broker ended; never, where there is none.
async fn embedded_end(lost: Option<tokio::sync::oneshot::Receiver<broker::BrokerError>>) -> String {
    match lost {
        Some(lost) => lost
            .await
            .map_or_else(|_| "the embedded broker is gone".to_owned(), |error| error.to_string()),
        None => std::future::pending().await,
    }
}

/// The trust root, the key that signs under it, and the API's token.
fn secrets(config: &Config) -> Result<(Verified<TrustRoot>, SecretKey, Option<String>), Failure> {
    let named = |key: &str, path: &Path, error: &dyn Display| {
        Failure::configuration(format!("`{key}`: {}: {error}", path.display()))
    };
    let root = read_limited(&config.trust_root, MAX_ROOT_BYTES as u64)
        .map_err(|error| named("trust_root", &config.trust_root, &error))?;
    let root = TrustRoot::open_pinned(&root).map_err(|error| named("trust_root", &config.trust_root, &error))?;
    if root.fleet != config.fleet {
        let problem = format!(
            "it is the root of fleet {}, and `fleet` is {}",
            root.fleet, config.fleet
        );
        return Err(named("trust_root", &config.trust_root, &problem));
    }
    let key_file = &config.assignment_key;
    let pem = read_limited(key_file, MAX_SECRET_BYTES).map_err(|error| named("assignment_key", key_file, &error))?;
    let key = SecretKey::from_pem(&String::from_utf8_lossy(&pem))
        .map_err(|error| named("assignment_key", key_file, &error))?;
    let role = root.role(Role::Assignment);
    if !role.keys.contains(&key.public()) {
        let problem = format!(
            "key {} is not in the assignment role of the trust root",
            key.public().id()
        );
        return Err(named("assignment_key", key_file, &problem));
    }
    if role.threshold != 1 {
        let problem = "the trust root wants several keys to sign an assignment, and a hub has one";
        return Err(named("trust_root", &config.trust_root, &problem));
    }
    let token = match &config.api_token_file {
        None => None,
        Some(path) => {
            let text = read_limited(path, MAX_SECRET_BYTES).map_err(|error| named("api_token_file", path, &error))?;
            let token = String::from_utf8_lossy(&text)
                .lines()
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned();
            if token.len() < http::MIN_TOKEN {
                let problem = format!("the token has fewer than {} characters", http::MIN_TOKEN);
                return Err(named("api_token_file", path, &problem));
            }
            Some(token)
        }
    };
    Ok((root, key, token))
}

/// Reads a file of at most `most` bytes.
fn read_limited(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most {
        Err(format!("longer than {most} bytes"))
    } else {
        Ok(bytes)
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
        if round % RETENTION_ROUNDS == 0 {
            match hub.database.forget_before(now_ms.saturating_sub(retention_ms)).await {
                Ok(rows) => tracing::debug!(rows, "forgot old telemetry"),
                Err(error) => tracing::error!("failed to forget old telemetry: {error}"),
            }
        }
    }
}
