//! Listening: so many connections at a time and no more, each within its times.
//!
//! HTTP/1.1 on the one listener, HTTP/2 on the other, known beforehand or by ALPN. What a client doesn't send, doesn't
//! take, or sends too much of ends its connection, and nothing else.

use super::front::Front;
use super::reply::Reply;
use super::timed::{Activity, Timed};
use super::{grpc, http};
use crate::config::Listen;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::convert::Infallible;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// A request's head comes within this time, and the next one on the same connection, too.
const HEAD: Duration = Duration::from_secs(30);
/// A TLS handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After an accept that failed, for want of file descriptors say, there is this much rest.
const ACCEPT_REST: Duration = Duration::from_millis(200);
/// An answer that isn't taken for so long isn't wanted.
const STALL: Duration = Duration::from_secs(30);
/// A connection on which nothing comes for so long gives its place to others. Clients of gRPC make another by themselves.
const IDLE: Duration = Duration::from_secs(60);
/// What such a connection has to end in order.
const ENDING: Duration = Duration::from_secs(5);
/// Clients send some ten headers.
const MAX_HEADERS: usize = 64;
/// A request's head: a token may have some kilobytes.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Requests at a time on one connection of HTTP/2; each may hold a buffer until it is read.
const MAX_STREAMS: u32 = 32;
/// Bytes that one request, and all of a connection, may send ahead of being read.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of an answer that lie ready to be sent.
const SEND_BUFFER: usize = 256 << 10;
/// Requests that a client takes back before they are begun, and answers that it makes impossible: with more of them it is
/// at work on something else.
const MAX_RESETS: usize = 20;
const MAX_LOCAL_RESETS: usize = 64;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    Http,
    Grpc,
}

impl Spoken {
    /// As ALPN names it.
    pub(super) fn protocol(self) -> &'static [u8] {
        match self {
            Self::Http => b"http/1.1",
            Self::Grpc => b"h2",
        }
    }
}

/// A listener that is bound.
pub(super) enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that was made.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Bound {
    /// Binds. What is there already, and isn't ours to replace, is an error.
    pub(super) async fn open(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            Listen::Unix(path) => bind_unix(path).await.map(Self::Unix),
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

/// Replaces a socket that nobody listens on any more, and nothing else.
async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && UnixStream::connect(path).await.is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    // Who may ask is said by the folder and the group.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Serves until the task is aborted.
pub(super) async fn serve(
    bound: Bound,
    spoken: Spoken,
    tls: Option<Arc<ServerConfig>>,
    front: Arc<Front>,
    max_connections: usize,
) {
    let room = Arc::new(Semaphore::new(max_connections));
    let tls = tls.map(TlsAcceptor::from);
    loop {
        // Who comes when there is no room waits in the system's backlog. The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match bound.accept().await {
            Ok(stream) => {
                let (front, tls) = (Arc::clone(&front), tls.clone());
                tokio::spawn(async move {
                    connected(stream, spoken, tls, front).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "connections can't be taken for a moment");
                sleep(ACCEPT_REST).await;
            }
        }
    }
}

async fn connected(stream: Stream, spoken: Spoken, tls: Option<TlsAcceptor>, front: Arc<Front>) {
    match (stream, tls) {
        (Stream::Unix(stream), None) => speak(stream, spoken, front).await,
        (Stream::Unix(stream), Some(tls)) => secured(stream, spoken, tls, front).await,
        (Stream::Tcp(stream), tls) => {
            // Answers are written whole; waiting to fill larger packets would cost 40 ms each time.
            drop(stream.set_nodelay(true));
            match tls {
                None => speak(stream, spoken, front).await,
                Some(tls) => secured(stream, spoken, tls, front).await,
            }
        }
    }
}

async fn secured<S>(stream: S, spoken: Spoken, tls: TlsAcceptor, front: Arc<Front>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => speak(stream, spoken, front).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// Speaks on a connection until it ends, or nothing comes on it any more.
async fn speak<S>(stream: S, spoken: Spoken, front: Arc<Front>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let io = TokioIo::new(Timed::new(stream, Arc::clone(&activity), STALL));
    let busy = Arc::clone(&activity);
    let service = service_fn(move |request: Request<Incoming>| {
        let (front, working) = (Arc::clone(&front), busy.working());
        async move {
            let response: Response<Reply> = match spoken {
                Spoken::Http => http::answer(&front, request).await,
                Spoken::Grpc => grpc::answer(&front, request).await,
            };
            drop(working);
            Ok::<_, Infallible>(response)
        }
    });
    // The two builders have the same calls, and no trait for them.
    macro_rules! until_idle {
        ($connection:expr) => {{
            let mut connection = pin!($connection);
            loop {
                tokio::select! {
                    ended = connection.as_mut() => return told(ended),
                    () = sleep(IDLE / 4) => {}
                }
                if activity.is_idle(IDLE.as_millis() as u64) {
                    connection.as_mut().graceful_shutdown();
                    drop(timeout(ENDING, connection).await);
                    return;
                }
            }
        }};
    }
    match spoken {
        Spoken::Http => until_idle!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_headers(MAX_HEADERS)
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(io, service)
        ),
        Spoken::Grpc => until_idle!(
            http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_send_buf_size(SEND_BUFFER)
                .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
                .max_pending_accept_reset_streams(MAX_RESETS)
                .max_local_error_reset_streams(MAX_LOCAL_RESETS)
                .serve_connection(io, service)
        ),
    }
}

fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}
