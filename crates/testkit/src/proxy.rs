//! A TCP proxy on loopback that fails on demand: cuts connections, cuts after so many bytes, stops passing bytes, refuses.
//!
//! It stands between a client and a real broker where a test wants the network, and not the broker, to fail. Threads,
//! not tasks, so that a test's runtime can be blocked or dropped without it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Small, so that [`Proxy::cut_after`] is exact within the packets that tests send.
const BUFFER_BYTES: usize = 4096;

/// A running proxy. Dropping it closes everything.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    paused: bool,
    refusing: bool,
    /// Bytes still to pass, both directions together, before every connection is cut.
    budget: Option<usize>,
    accepted: usize,
    /// Bytes passed: to the target, and to clients.
    passed: [u64; 2],
    open: Vec<TcpStream>,
}

impl Proxy {
    /// Listens on a free loopback port and passes every connection to `target_port` on loopback.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(target_port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || accept(&listener, target_port, &for_thread));
        Ok(Self {
            port,
            shared,
            accepting: Some(accepting),
        })
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connections taken so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.lock().accepted
    }

    /// Bytes passed so far: to the target, and to clients.
    #[must_use]
    pub fn passed(&self) -> (u64, u64) {
        let [to_target, to_clients] = self.shared.lock().passed;
        (to_target, to_clients)
    }

    /// Cuts every open connection; new ones are taken as before.
    pub fn cut(&self) {
        self.shared.lock().cut();
    }

    /// Cuts every connection once `bytes` more have passed, both directions together.
    pub fn cut_after(&self, bytes: usize) {
        self.shared.lock().budget = Some(bytes);
    }

    /// Passes no more bytes and keeps the connections open: a network that went silent.
    pub fn pause(&self) {
        self.shared.lock().paused = true;
    }

    /// Passes bytes again.
    pub fn resume(&self) {
        self.shared.lock().paused = false;
        self.shared.changed.notify_all();
    }

    /// Closes new connections at once (`true`), or takes them again (`false`).
    pub fn refuse(&self, refusing: bool) {
        self.shared.lock().refusing = refusing;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.stopped = true;
            state.cut();
        }
        self.shared.changed.notify_all();
        // Wakes the accepting thread, which then sees that it is to stop.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while paused; then whether `wanted` bytes may pass, or only fewer.
    fn permit(&self, wanted: usize, way: usize) -> usize {
        let mut state = self.lock();
        while state.paused && !state.stopped {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped {
            return 0;
        }
        let granted = state.budget.map_or(wanted, |budget| wanted.min(budget));
        state.budget = state.budget.map(|budget| budget - granted);
        if let Some(passed) = state.passed.get_mut(way) {
            *passed += granted as u64;
        }
        granted
    }

    fn spent(&self) {
        let mut state = self.lock();
        if state.budget == Some(0) {
            state.budget = None;
            state.cut();
        }
    }
}

impl State {
    fn cut(&mut self) {
        for stream in self.open.drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn accept(listener: &TcpListener, target_port: u16, shared: &Arc<Shared>) {
    for incoming in listener.incoming() {
        let Ok(client) = incoming else { continue };
        {
            let mut state = shared.lock();
            if state.stopped {
                return;
            }
            if state.refusing {
                continue;
            }
            state.accepted += 1;
        }
        // A target that is down looks to the client like a connection that closes at once.
        drop(join(&client, target_port, shared));
    }
}

fn join(client: &TcpStream, target_port: u16, shared: &Arc<Shared>) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target_port))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    {
        let mut state = shared.lock();
        state.open.push(client.try_clone()?);
        state.open.push(server.try_clone()?);
    }
    for (from, to, way) in [
        (client.try_clone()?, server.try_clone()?, 0),
        (server, client.try_clone()?, 1),
    ] {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || copy(from, to, way, &shared));
    }
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream, way: usize, shared: &Shared) {
    let mut buffer = [0_u8; BUFFER_BYTES];
    while let Ok(read) = from.read(&mut buffer) {
        let granted = shared.permit(read, way);
        let Some(bytes) = buffer.get(..granted) else { break };
        if read == 0 || to.write_all(bytes).is_err() {
            break;
        }
        if granted < read {
            break;
        }
    }
    shared.spent();
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An echo server for as many connections as come.
    fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut reader = stream.try_clone().unwrap();
                    drop(io::copy(&mut reader, &mut stream));
                });
            }
        });
        port
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap()
    }

    #[test]
    fn passes_then_cuts() {
        let proxy = Proxy::start(echo()).unwrap();
        let mut stream = connect(&proxy);
        stream.write_all(b"hello").unwrap();
        let mut buffer = [0_u8; 5];
        stream.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"hello");
        proxy.cut();
        assert_eq!(stream.read(&mut buffer).unwrap_or(0), 0);
        assert_eq!(proxy.accepted(), 1);
    }

    #[test]
    fn cuts_after_exactly_so_many_bytes() {
        let proxy = Proxy::start(echo()).unwrap();
        let mut stream = connect(&proxy);
        // Ten bytes go to the server, and four of them come back.
        proxy.cut_after(14);
        stream.write_all(b"0123456789").unwrap();
        let mut back = Vec::new();
        drop(stream.read_to_end(&mut back));
        assert_eq!(back, b"0123");
        assert_eq!(proxy.passed(), (10, 4));
        let mut again = connect(&proxy);
        again.write_all(b"x").unwrap();
        let mut buffer = [0_u8; 1];
        again.read_exact(&mut buffer).unwrap();
    }

    #[test]
    fn a_paused_proxy_holds_bytes_until_it_resumes() {
        let proxy = Proxy::start(echo()).unwrap();
        let mut stream = connect(&proxy);
        proxy.pause();
        stream.write_all(b"late").unwrap();
        proxy.resume();
        let mut buffer = [0_u8; 4];
        stream.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"late");
        proxy.refuse(true);
        assert_eq!(connect(&proxy).read(&mut buffer).unwrap_or(0), 0);
    }
}
