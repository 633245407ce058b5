//! Connections: so many at a time and no more, from one address and in all, each within its times. A connection costs
//! memory and a file descriptor, and somebody who opens it and says nothing shall not hold it.

use crate::access::door::network;
use axum::Router;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::Service as _;

/// Above the callers that may wait for answers, and below the usual limit of 1024 file descriptors.
const MAX_CONNECTIONS: usize = 512;
/// From one address, so that one can't take all. Not on loopback, where proxies are.
const MAX_FROM_ONE: usize = 64;
/// A request's head comes within this time, and the next one on the same connection, too.
const HEAD: Duration = Duration::from_secs(30);
/// A TLS handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After an accept that failed, for want of file descriptors say, there is this much rest.
const ACCEPT_REST: Duration = Duration::from_millis(200);
/// Browsers send some twenty headers.
const MAX_HEADERS: usize = 64;
/// A request's head: a token of an issuer may have some kilobytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// What a connection is served with.
#[derive(Clone)]
struct Server {
    router: Router,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    head: Duration,
    from: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// Serves until `stop` is there, then until what runs has ended.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    stop: impl Future<Output = ()>,
) {
    serve_within(listener, router, tls, stop, HEAD).await;
}

async fn serve_within(
    listener: TcpListener,
    router: Router,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    stop: impl Future<Output = ()>,
    head: Duration,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let server = Server {
        router,
        tls,
        head,
        from: Arc::default(),
    };
    tokio::pin!(stop);
    loop {
        // Who comes when there is no room waits in the system's backlog. The semaphore is never closed.
        let accepting = async { (Arc::clone(&room).acquire_owned().await, listener.accept().await) };
        let (permit, accepted) = tokio::select! {
            () = &mut stop => break,
            accepted = accepting => accepted,
        };
        match (permit, accepted) {
            (Ok(permit), Ok((stream, peer))) => {
                tokio::spawn(server.clone().connection(stream, peer, permit, graceful.watcher()));
            }
            (_, Err(error)) => {
                tracing::warn!(%error, "connections can't be taken for a moment");
                tokio::time::sleep(ACCEPT_REST).await;
            }
            (Err(_), _) => return,
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

impl Server {
    async fn connection(self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit, watcher: Watcher) {
        let Some(_place) = Place::take(&self.from, peer.ip()) else {
            tracing::debug!(%peer, "refused a connection: there are too many from its address");
            return;
        };
        // Answers are written whole; waiting to fill larger packets would cost 40 ms each time.
        drop(stream.set_nodelay(true));
        match &self.tls {
            None => self.speak(stream, peer, watcher).await,
            Some(current) => {
                let acceptor = TlsAcceptor::from(Arc::clone(&current.borrow()));
                match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => self.speak(stream, peer, watcher).await,
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
                }
            }
        }
        drop(permit);
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        watcher: Watcher,
    ) {
        let mut router = self.router.clone();
        let service = tower::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let mut request: Request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(Peer(peer.ip()));
            router.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%peer, %error, "a connection broke");
        }
    }
}

/// One of the connections of an address, with IPv6 of its network. It gives its place back when it ends.
struct Place {
    from: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Place {
    fn take(from: &Arc<Mutex<BTreeMap<IpAddr, usize>>>, address: IpAddr) -> Option<Self> {
        let is_local = address.to_canonical().is_loopback();
        let address = network(address);
        let mut counts = from.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= MAX_FROM_ONE && !is_local {
            return None;
        }
        *count += 1;
        Some(Self {
            from: Arc::clone(from),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn start(head: Duration) -> (SocketAddr, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, mut stopping) = watch::channel(false);
        let router = Router::new().route("/", get(async || "here"));
        let stopped = async move { drop(stopping.wait_for(|stop| *stop).await) };
        let served = tokio::spawn(serve_within(listener, router, None, stopped, head));
        (address, stop, served)
    }

    #[tokio::test]
    async fn who_says_nothing_is_let_go() {
        let (address, _stop, _served) = start(Duration::from_millis(200)).await;
        for said in ["", "GET / HTTP/1.1\r\nhost: x\r\n", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            let mut answer = String::new();
            // It returns when the other side has closed, which without a timeout would be never.
            let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_string(&mut answer)).await;
            assert!(read.is_ok(), "{said:?} was waited for");
            assert_eq!(
                answer.contains("here"),
                said.ends_with("\r\n\r\n"),
                "{said:?}: {answer}"
            );
        }
    }

    #[tokio::test]
    async fn it_ends_when_told_with_idle_connections_open() {
        let (address, stop, served) = start(HEAD).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(60), served)
            .await
            .unwrap()
            .unwrap();
    }

    #[test]
    fn one_address_has_its_share() {
        for (far, same, other, near) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "127.0.0.1"),
            ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1", "::1"),
        ] {
            let from = Arc::default();
            let take = |address: &str| Place::take(&from, address.parse().unwrap());
            let mut places: Vec<Place> = (0..MAX_FROM_ONE).map(|_| take(far).unwrap()).collect();
            assert!(take(far).is_none() && take(same).is_none(), "{far} and {same} are one");
            assert!(take(other).is_some(), "{other} is another");
            places.pop();
            assert!(take(same).is_some());
            let local: Vec<Option<Place>> = (0..=MAX_FROM_ONE).map(|_| take(near)).collect();
            assert!(local.iter().all(Option::is_some));
            drop((places, local));
            assert!(from.lock().unwrap().is_empty());
        }
    }
}
