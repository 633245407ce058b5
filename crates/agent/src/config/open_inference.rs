//! Who may ask the agent for inferences, where, and how much at a time: section `[open_inference]`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Config;
use super::files::read_limited;
use super::read::Reader;
use crate::open_inference::tls;

const MIB: u64 = 1 << 20;
/// A token is a line; what is longer is another file.
const MAX_TOKEN_BYTES: u64 = 4096;
/// What is shorter can be tried out.
const MIN_TOKEN_CHARS: usize = 16;

/// The Open Inference Protocol, served by the agent: section `[open_inference]`. Absent: nobody can ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenInference {
    /// Where HTTP is spoken, an IP address with a port or `unix:PATH`. Addresses that aren't this machine's own need `cert`
    /// and `key`, and `token_file` or `client_ca`. Absent: HTTP isn't spoken. Example: `"127.0.0.1:8000"`.
    pub http_listen: Option<Listen>,
    /// The same for gRPC. Example: `"127.0.0.1:8001"`.
    pub grpc_listen: Option<Listen>,
    /// The certificate that is shown, with its chain, PEM. With it all is TLS, on this machine too. Default: none. Example:
    /// `"/etc/floorhand/inference.pem"`.
    pub cert: Option<PathBuf>,
    /// The certificate's key, PEM. Default: none. Example: `"/etc/floorhand/inference.key"`.
    pub key: Option<PathBuf>,
    /// The CA that clients' certificates have to be from, PEM. Default: none, and no certificate is asked for. Example:
    /// `"/etc/floorhand/clients-ca.pem"`.
    pub client_ca: Option<PathBuf>,
    /// A file whose first line is the token that clients send as `authorization: Bearer TOKEN`, 16 characters and more.
    /// Default: none, and none is asked for. Example: `"/etc/floorhand/inference.token"`.
    pub token_file: Option<PathBuf>,
    /// Bytes of a request, at most. 1 KiB to 1 GiB. Default: 33,554,432 (32 MiB).
    pub max_body_bytes: u64,
    /// Bytes of all requests that are being received or worked on, at most; decoded they take up to four times as much. At
    /// least `max_body_bytes`, at most 16 GiB. Default: 67,108,864 (64 MiB).
    pub max_memory_bytes: u64,
    /// Connections at a time, for HTTP and for gRPC each. Others wait until one ends. 1 to 1,024. Default: 64.
    pub max_connections: u64,
    /// Requests that wait for the model or are worked on. Others are told to come again. 1 to 4,096. Default: 64.
    pub max_waiting: u64,
    /// Milliseconds that a request may take to come, and as many again until it is answered. 100 to 3,600,000. Default:
    /// 10,000.
    pub timeout_ms: u64,
    /// Microseconds that a request may wait for others to run through the model with. 0: it runs with what waits already.
    /// At most 1,000,000. Default: 0.
    pub batch_delay_us: u64,
    /// Samples that run through the model together, at most. 1: each by itself. At most 1,024. Default: 32.
    pub max_batch: u64,
    /// Whether results and findings of these samples go to the sinks, too. Default: false.
    pub results_to_sinks: bool,
}

impl Default for OpenInference {
    fn default() -> Self {
        Self {
            http_listen: None,
            grpc_listen: None,
            cert: None,
            key: None,
            client_ca: None,
            token_file: None,
            max_body_bytes: 32 * MIB,
            max_memory_bytes: 64 * MIB,
            max_connections: 64,
            max_waiting: 64,
            timeout_ms: 10_000,
            batch_delay_us: 0,
            max_batch: 32,
            results_to_sinks: false,
        }
    }
}

/// Where something is listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address with a port.
    Tcp(SocketAddr),
    /// A socket in the file system, for who may write to it: the agent's own user and group.
    Unix(PathBuf),
}

impl Listen {
    /// Whether what is sent there stays on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            if path.is_absolute() {
                return Ok(Self::Unix(path));
            }
            return Err(format!("is {text:?}; the path behind unix: has to begin with a slash"));
        }
        let address = text.parse().map_err(|_| {
            format!("is {text:?}; it has to be an IP address with a port, as 127.0.0.1:8000, or unix:/PATH")
        })?;
        Ok(Self::Tcp(address))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl OpenInference {
    pub(super) fn read(mut section: Reader<'_>) -> Self {
        let default = Self::default();
        let http_listen = section.parsed("http_listen");
        let grpc_listen = section.parsed("grpc_listen");
        let (cert, key) = (section.file("cert"), section.file("key"));
        let (client_ca, token_file) = (section.file("client_ca"), section.file("token_file"));
        let mut number = |key, range, default| section.number(key, &range).unwrap_or(default);
        let read = Self {
            http_listen,
            grpc_listen,
            cert,
            key,
            client_ca,
            token_file,
            max_body_bytes: number("max_body_bytes", 1024..=1024 * MIB, default.max_body_bytes),
            max_memory_bytes: number("max_memory_bytes", 1024..=16_384 * MIB, default.max_memory_bytes),
            max_connections: number("max_connections", 1..=1024, default.max_connections),
            max_waiting: number("max_waiting", 1..=4096, default.max_waiting),
            timeout_ms: number("timeout_ms", 100..=3_600_000, default.timeout_ms),
            batch_delay_us: number("batch_delay_us", 0..=1_000_000, default.batch_delay_us),
            max_batch: number("max_batch", 1..=1024, default.max_batch),
            results_to_sinks: section.flag("results_to_sinks").unwrap_or(default.results_to_sinks),
        };
        section.finish();
        read
    }

    /// The time that a request may take to come, and as much again until it is answered.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// The token that clients have to show, if one is wanted.
    ///
    /// # Errors
    /// When its file can't be read or has none in it, in words that fit behind the file's key.
    pub fn token(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.token_file else {
            return Ok(None);
        };
        let bytes = read_limited(path, MAX_TOKEN_BYTES)?;
        let text = String::from_utf8_lossy(&bytes);
        let token = text.lines().next().unwrap_or_default().trim();
        if token.len() < MIN_TOKEN_CHARS || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "{} has no token in its first line: {MIN_TOKEN_CHARS} and more printable ASCII characters without spaces",
                path.display()
            ));
        }
        Ok(Some(token.to_owned()))
    }
}

/// Whether the section's keys fit together.
pub(super) fn check(config: &Config, mistake: &mut impl FnMut(&str, String)) {
    let Some(section) = &config.open_inference else {
        return;
    };
    let listeners = [
        ("open_inference.http_listen", &section.http_listen),
        ("open_inference.grpc_listen", &section.grpc_listen),
    ];
    if listeners.iter().all(|(_, listen)| listen.is_none()) {
        let problem = "is missing, and `grpc_listen` too: name one of them, or leave the section out";
        mistake("open_inference.http_listen", problem.to_owned());
    }
    let any_port = |listen: &Listen| matches!(listen, Listen::Tcp(address) if address.port() == 0);
    if section.http_listen.is_some()
        && section.http_listen == section.grpc_listen
        && !section.http_listen.as_ref().is_some_and(any_port)
    {
        let problem = "is that of `http_listen`; give it another port".to_owned();
        mistake("open_inference.grpc_listen", problem);
    }
    let (has_tls, knows_clients) = (
        section.cert.is_some() && section.key.is_some(),
        section.client_ca.is_some() || section.token_file.is_some(),
    );
    for (key, listen) in listeners {
        if let Some(listen) = listen.as_ref().filter(|listen| !listen.is_local())
            && !(has_tls && knows_clients)
        {
            mistake(
                key,
                format!(
                    "is {listen}, where others than this machine can ask: give it `cert` and `key`, and `token_file` or \
                     `client_ca`, or listen on 127.0.0.1"
                ),
            );
        }
    }
    let pairs = [
        ("cert", &section.cert, "key", &section.key),
        ("key", &section.key, "cert", &section.cert),
        ("cert", &section.cert, "client_ca", &section.client_ca),
    ];
    for (key, missing, other, there) in pairs {
        if missing.is_none() && there.is_some() {
            let problem = format!("is missing, and {other} is there; give it both");
            mistake(&format!("open_inference.{key}"), problem);
        }
    }
    if section.max_memory_bytes < section.max_body_bytes {
        let problem = "is less than `max_body_bytes`: no request of that length could come".to_owned();
        mistake("open_inference.max_memory_bytes", problem);
    }
}

/// Whether the files that the section names have in them what they should.
pub(super) fn contents(config: &Config, found: &mut impl FnMut(&str, String)) {
    let Some(section) = &config.open_inference else {
        return;
    };
    if let Err(problem) = section.token() {
        found("open_inference.token_file", problem);
    }
    if let Err((key, problem)) = tls::open(section, &[]) {
        found(&format!("open_inference.{key}"), problem);
    }
}
