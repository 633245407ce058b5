//! A broker without installing one: rumqttd inside this process, for demos, tests and one machine.
//!
//! On loopback only: it has no access list for topics, and it forgets retained messages and sessions when it ends. The
//! protocol lives with both, since everything that is acted on is signed and what is lost is sent again, but a plant's
//! network needs more: Mosquitto, or any other MQTT 5 broker.

mod tls;

use clap::Args;
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use crate::exit;
use crate::logging::LogFormat;

/// The largest packet it passes on, in bytes: above what agents and hub send.
const MAX_PACKET_BYTES: usize = 2 * floorhand_protocol::MAX_PACKET_BYTES;
/// Clients at a time: above any fleet on one machine.
const MAX_CONNECTIONS: usize = 1000;
/// QoS 1 messages underway to one client.
const MAX_INFLIGHT: usize = 100;
/// Messages that are read for one client at a time before it is another one's turn.
const MAX_OUTGOING: u64 = 200;
/// What is kept for each subscribed filter, and so what a slow client can be behind: ten segments of 2 MiB.
const SEGMENT_BYTES: usize = 2 * 1024 * 1024;
const SEGMENTS: usize = 10;
/// How rumqttd names the thread that all messages go through.
const ROUTER_THREAD: &str = "router-";
/// A client that hasn't sent its CONNECT by then is let go.
const CONNECT_TIMEOUT_MS: u16 = 10_000;

/// Options of the embedded broker.
#[derive(Debug, Clone, Args)]
pub struct BrokerArgs {
    /// The loopback address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1883")]
    pub listen: SocketAddr,
    /// The CA that clients' certificates have to be from (PEM): takes mutual TLS and nothing else
    #[arg(long, value_name = "FILE", requires = "cert", requires = "key")]
    pub ca: Option<PathBuf>,
    /// The broker's certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "ca")]
    pub cert: Option<PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "ca")]
    pub key: Option<PathBuf>,
    /// What to log.
    #[arg(
        long,
        value_name = "FILTER",
        env = "FLOORHAND_LOG",
        default_value = "warn,rumqttd=off"
    )]
    pub log: String,
    /// How to write the log.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Why there is no embedded broker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    /// Others could reach it.
    #[error(
        "{0} can be reached by others, and the embedded broker has no access list for topics; \
         listen on 127.0.0.1, or use Mosquitto or another MQTT 5 broker"
    )]
    NotLoopback(SocketAddr),
    /// Somebody listens there, or nobody may.
    #[error("listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate or key can't be used.
    #[error("TLS files: {0}")]
    Tls(String),
    /// Its thread can't be started, or has ended.
    #[error("the embedded broker on {address} ended: {reason}")]
    Ended {
        /// The address.
        address: SocketAddr,
        /// What it said.
        reason: String,
    },
}

/// Runs the broker until SIGTERM or SIGINT; sessions and retained messages end with it.
///
/// Exit codes are those of [`run`](crate::run).
#[must_use]
pub fn run(args: &BrokerArgs) -> ExitCode {
    if let Err(problem) = crate::logging::start(&args.log, args.log_format) {
        return exit::tell(exit::CONFIGURATION, &problem);
    }
    if let Err(error) = check_address(args.listen) {
        return exit::tell(exit::CONFIGURATION, &error);
    }
    match exit::runtime() {
        Ok(runtime) => runtime.block_on(async {
            let started = match args.tls() {
                Some(files) => start_behind_tls(args.listen, &files).await,
                None => start(args.listen).await,
            };
            let ended = match started {
                Ok(ended) => ended,
                Err(error) => return exit::tell(exit::LISTEN, &error),
            };
            tracing::warn!(address = %args.listen, "broker is ready; it has no access list and keeps nothing");
            tokio::select! {
                () = exit::signal() => ExitCode::SUCCESS,
                error = ended => exit::tell(exit::LISTEN, &error.unwrap_or_else(|_| gone(args.listen))),
            }
        }),
        Err(error) => exit::tell(exit::OTHER, &error),
    }
}

impl BrokerArgs {
    /// The TLS files. clap takes all three or none.
    fn tls(&self) -> Option<tls::TlsFiles> {
        let (ca, cert, key) = (self.ca.clone()?, self.cert.clone()?, self.key.clone()?);
        Some(tls::TlsFiles { ca, cert, key })
    }
}

/// Starts the broker on a port of its own and takes connections by mutual TLS on `address`.
async fn start_behind_tls(
    address: SocketAddr,
    files: &tls::TlsFiles,
) -> Result<tokio::sync::oneshot::Receiver<BrokerError>, BrokerError> {
    check_address(address)?;
    let acceptor = files.acceptor().map_err(BrokerError::Tls)?;
    let failed = |source| BrokerError::Listen { address, source };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
    let inside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|free| free.local_addr())
        .map_err(failed)?;
    let ended = start(inside).await?;
    tokio::spawn(tls::serve(listener, acceptor, inside, MAX_CONNECTIONS));
    Ok(ended)
}

/// Refuses an address that others can reach.
pub(crate) fn check_address(address: SocketAddr) -> Result<(), BrokerError> {
    if address.ip().is_loopback() {
        Ok(())
    } else {
        Err(BrokerError::NotLoopback(address))
    }
}

/// Starts the broker on threads of its own and waits until it takes connections. What comes out of the channel is why it
/// ended, which it does by itself only when something is wrong; there is no way to stop it but to end the process.
pub(crate) async fn start(address: SocketAddr) -> Result<tokio::sync::oneshot::Receiver<BrokerError>, BrokerError> {
    check_address(address)?;
    // rumqttd only logs when it can't listen, so it is tried first.
    drop(TcpListener::bind(address).map_err(|source| BrokerError::Listen { address, source })?);
    let (tell, mut ended) = tokio::sync::oneshot::channel();
    let tell = Arc::new(Mutex::new(Some(tell)));
    let say = move |reason: String| {
        if let Some(tell) = tell.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(tell.send(BrokerError::Ended { address, reason }));
        }
    };
    watch_router(say.clone());
    let mut broker = Broker::new(config(address));
    let run = move || {
        say(broker.start().map_or_else(
            |error| error.to_string(),
            |()| "--log rumqttd=error tells why".to_owned(),
        ));
    };
    std::thread::Builder::new()
        .name("broker".to_owned())
        .spawn(run)
        .map_err(|source| BrokerError::Listen { address, source })?;
    loop {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return Ok(ended);
        }
        match ended.try_recv() {
            Ok(error) => return Err(error),
            Err(tokio::sync::oneshot::error::TryRecvError::Closed) => return Err(gone(address)),
            Err(tokio::sync::oneshot::error::TryRecvError::Empty) => {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    }
}

/// Says when the broker's router panics. Its listener goes on without it, takes connections and answers none of them: from
/// outside, a broker that is there and does nothing.
fn watch_router(say: impl Fn(String) + Send + Sync + 'static) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        let thread = std::thread::current();
        if thread.name().is_some_and(|name| name.starts_with(ROUTER_THREAD)) {
            say("its router panicked".to_owned());
        }
    }));
}

pub(crate) fn gone(address: SocketAddr) -> BrokerError {
    BrokerError::Ended {
        address,
        reason: "its thread is gone".to_owned(),
    }
}

fn config(address: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: CONNECT_TIMEOUT_MS,
        max_payload_size: MAX_PACKET_BYTES,
        max_inflight_count: MAX_INFLIGHT,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "floorhand".to_owned(),
        listen: address,
        tls: None,
        next_connection_delay_ms: 0,
        connections,
    };
    let router = RouterConfig {
        max_connections: MAX_CONNECTIONS,
        max_outgoing_packet_count: MAX_OUTGOING,
        max_segment_size: SEGMENT_BYTES,
        max_segment_count: SEGMENTS,
        ..RouterConfig::default()
    };
    Config {
        router,
        v5: Some([("floorhand".to_owned(), server)].into()),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback() {
        for address in ["127.0.0.1:1883", "127.1.2.3:1", "[::1]:1883"] {
            assert!(check_address(address.parse().unwrap()).is_ok());
        }
        for address in ["0.0.0.0:1883", "10.0.0.1:1883", "[::]:1883"] {
            let error = check_address(address.parse().unwrap()).unwrap_err().to_string();
            assert!(error.contains("no access list"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = start(taken.local_addr().unwrap()).await.unwrap_err().to_string();
        assert!(error.starts_with("listen on 127.0.0.1:"), "{error}");
    }
}
