//! A proxy on loopback that knows MQTT's packets: between a client and a real broker it loses, delays, repeats and reorders
//! publishes, truncates packets, and cuts the connection, drawn from a seed.
//!
//! What it loses it acknowledges to the sender, as a broker would that took a message and lost it; so nothing repairs the
//! loss but the programs at both ends. Plain TCP only. Threads, not tasks, like [`crate::Proxy`].

mod packet;
#[cfg(test)]
mod tests;

use packet::{acknowledgement, head, identifier, is_acknowledgement, is_publish, parts, read_packet};
use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Below every time-out of the programs that are tested: a delay is not a loss.
const MAX_DELAY_MS: u64 = 200;

/// How often what happens, in parts per thousand of publishes. They are drawn from in this order; their sum is at most 1000.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// Acknowledged and thrown away.
    pub lose: u64,
    /// Held back for up to 200 ms, with all behind it.
    pub delay: u64,
    /// Passed twice. Only to the client: its acknowledgements are passed on once.
    pub repeat: u64,
    /// Passed behind the next publish.
    pub reorder: u64,
    /// Cut off in its middle, and the connection with it.
    pub truncate: u64,
}

/// What was done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Publishes thrown away.
    pub lost: u64,
    /// Publishes held back.
    pub delayed: u64,
    /// Publishes passed twice.
    pub repeated: u64,
    /// Publishes passed behind the next.
    pub reordered: u64,
    /// Connections cut in the middle of a publish.
    pub truncated: u64,
    /// Connections cut at a byte; see [`MqttProxy::cut_every`].
    pub cut: u64,
    /// Publishes that reached the client, repetitions too.
    pub delivered: u64,
    /// Their payloads and topics in bytes.
    pub delivered_bytes: u64,
}

impl FaultCounts {
    /// All faults together.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.lost + self.delayed + self.repeated + self.reordered + self.truncated + self.cut
    }

    /// Connections that were ended.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.truncated + self.cut
    }
}

/// A running proxy. Dropping it closes everything.
#[derive(Debug)]
pub struct MqttProxy {
    port: u16,
    shared: Arc<Mutex<State>>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    stopped: bool,
    rates: FaultRates,
    counts: FaultCounts,
    random: u64,
    /// Bytes to the client between two cuts, and those that are left until the next.
    cut_every: Option<u64>,
    until_cut: u64,
    /// Payloads to the client on topics that end like this are handed to `seen`.
    watched: String,
    seen: Vec<Vec<u8>>,
    open: Vec<TcpStream>,
}

impl State {
    /// splitmix64 (Steele, Lea, Flood 2014).
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

/// What happens to one publish.
enum Fate {
    Pass,
    Lose,
    Delay(Duration),
    Repeat,
    Reorder,
    Truncate(usize),
}

impl MqttProxy {
    /// Listens on a free loopback port and passes every connection to `target_port` on loopback, without faults until
    /// they are asked for.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(target_port: u16, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Mutex::new(State {
            stopped: false,
            rates: FaultRates::default(),
            counts: FaultCounts::default(),
            random: seed,
            cut_every: None,
            until_cut: 0,
            watched: String::new(),
            seen: Vec::new(),
            open: Vec::new(),
        }));
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

    /// From now on these faults.
    pub fn inject(&self, rates: FaultRates) {
        lock(&self.shared).rates = rates;
    }

    /// Cuts the connection each time so many bytes have gone to the client since the last cut, wherever that is in a packet.
    pub fn cut_every(&self, bytes: Option<u64>) {
        let mut state = lock(&self.shared);
        state.cut_every = bytes;
        state.until_cut = bytes.unwrap_or(0);
    }

    /// Keeps the payloads that reach the client on topics with this ending, from now on.
    pub fn watch(&self, ending: &str) {
        let mut state = lock(&self.shared);
        ending.clone_into(&mut state.watched);
    }

    /// The payloads that were kept, in their order; see [`MqttProxy::watch`].
    #[must_use]
    pub fn seen(&self) -> Vec<Vec<u8>> {
        lock(&self.shared).seen.clone()
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        lock(&self.shared).counts
    }
}

impl Drop for MqttProxy {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.shared);
            state.stopped = true;
            for stream in state.open.drain(..) {
                drop(stream.shutdown(Shutdown::Both));
            }
        }
        // Wakes the accepting thread, which then sees that it is to stop.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, target_port: u16, shared: &Arc<Mutex<State>>) {
    for incoming in listener.incoming() {
        let Ok(client) = incoming else { continue };
        if lock(shared).stopped {
            return;
        }
        // A target that is down looks to the client like a connection that closes at once.
        drop(join(&client, target_port, shared));
    }
}

fn join(client: &TcpStream, target_port: u16, shared: &Arc<Mutex<State>>) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target_port))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let link = Arc::new(Link {
        client: client.try_clone()?,
        server: server.try_clone()?,
        to_client: Mutex::new(client.try_clone()?),
        to_server: Mutex::new(server.try_clone()?),
        swallow: Mutex::default(),
    });
    {
        let mut state = lock(shared);
        state.open.retain(|stream| stream.peer_addr().is_ok());
        state.open.push(client.try_clone()?);
        state.open.push(server);
    }
    for to_client in [true, false] {
        let (link, shared) = (Arc::clone(&link), Arc::clone(shared));
        std::thread::spawn(move || {
            drop(link.pump(to_client, &shared));
            link.close();
        });
    }
    Ok(())
}

/// One client's connection with its broker.
struct Link {
    client: TcpStream,
    server: TcpStream,
    /// Both directions write to both ends: what is lost is acknowledged to its sender.
    to_client: Mutex<TcpStream>,
    to_server: Mutex<TcpStream>,
    /// Identifiers of publishes that were passed twice, whose second acknowledgement isn't passed on.
    swallow: Mutex<Vec<[u8; 2]>>,
}

impl Link {
    fn pump(&self, to_client: bool, shared: &Mutex<State>) -> io::Result<()> {
        let mut from = if to_client {
            self.server.try_clone()?
        } else {
            self.client.try_clone()?
        };
        let mut held: VecDeque<Vec<u8>> = VecDeque::new();
        loop {
            let packet = read_packet(&mut from)?;
            if !to_client && self.is_swallowed(&packet) {
                continue;
            }
            if is_publish(&packet) {
                self.publish(packet, to_client, shared, &mut held)?;
            } else {
                self.write(to_client, &packet, shared)?;
            }
        }
    }

    fn publish(
        &self,
        packet: Vec<u8>,
        to_client: bool,
        shared: &Mutex<State>,
        held: &mut VecDeque<Vec<u8>>,
    ) -> io::Result<()> {
        let fate = draw(&mut lock(shared), to_client, packet.len());
        match fate {
            Fate::Lose => {
                let ack = acknowledgement(&packet);
                self.write_plain(!to_client, &ack)?;
            }
            Fate::Reorder if held.is_empty() => {
                held.push_back(packet);
                return Ok(());
            }
            Fate::Truncate(length) => {
                self.write_plain(to_client, packet.get(..length).unwrap_or_default())?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Fate::Repeat => {
                if let Some(id) = identifier(&packet) {
                    self.swallow.lock().unwrap_or_else(PoisonError::into_inner).push(id);
                }
                self.write(to_client, &packet, shared)?;
                self.write(to_client, &packet, shared)?;
            }
            Fate::Delay(wait) => {
                std::thread::sleep(wait);
                self.write(to_client, &packet, shared)?;
            }
            Fate::Pass | Fate::Reorder => self.write(to_client, &packet, shared)?,
        }
        while let Some(packet) = held.pop_front() {
            self.write(to_client, &packet, shared)?;
        }
        Ok(())
    }

    /// Writes a packet, or as much of it as may pass before the next cut.
    fn write(&self, to_client: bool, packet: &[u8], shared: &Mutex<State>) -> io::Result<()> {
        if !to_client {
            return self.write_plain(false, packet);
        }
        let cut_at = lock(shared).cut_at(packet.len());
        if let Some(at) = cut_at {
            self.write_plain(true, packet.get(..at).unwrap_or(packet))?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.write_plain(true, packet)?;
        lock(shared).deliver(packet);
        Ok(())
    }

    fn write_plain(&self, to_client: bool, bytes: &[u8]) -> io::Result<()> {
        let end = if to_client { &self.to_client } else { &self.to_server };
        end.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)
    }

    fn is_swallowed(&self, packet: &[u8]) -> bool {
        if !is_acknowledgement(packet) {
            return false;
        }
        let mut swallow = self.swallow.lock().unwrap_or_else(PoisonError::into_inner);
        let id = head(packet).and_then(|at| packet.get(at..at + 2));
        match swallow.iter().position(|other| Some(other.as_slice()) == id) {
            Some(place) => {
                swallow.remove(place);
                true
            }
            None => false,
        }
    }

    fn close(&self) {
        drop(self.client.shutdown(Shutdown::Both));
        drop(self.server.shutdown(Shutdown::Both));
    }
}

impl State {
    /// Where a packet of this length is to be cut off, if it is; counts it towards the next cut.
    fn cut_at(&mut self, length: usize) -> Option<usize> {
        let every = self.cut_every?;
        if let Some(left) = self.until_cut.checked_sub(length as u64).filter(|&left| left > 0) {
            self.until_cut = left;
            return None;
        }
        self.counts.cut += 1;
        usize::try_from(std::mem::replace(&mut self.until_cut, every)).ok()
    }

    fn deliver(&mut self, packet: &[u8]) {
        if !is_publish(packet) {
            return;
        }
        self.counts.delivered += 1;
        let Some((topic, payload)) = head(packet).and_then(|at| parts(packet, at)) else {
            return;
        };
        self.counts.delivered_bytes += (topic.len() + payload.len()) as u64;
        if !self.watched.is_empty() && topic.ends_with(self.watched.as_bytes()) {
            let payload = payload.to_vec();
            self.seen.push(payload);
        }
    }
}

fn draw(state: &mut State, to_client: bool, length: usize) -> Fate {
    let (rates, drawn) = (state.rates, state.below(1000));
    let bounds = [rates.lose, rates.delay, rates.repeat, rates.reorder, rates.truncate];
    let mut bound = 0;
    let kind = bounds.iter().position(|rate| {
        bound += rate;
        drawn < bound
    });
    let counts = &mut state.counts;
    match kind {
        Some(0) => {
            counts.lost += 1;
            Fate::Lose
        }
        Some(1) => {
            counts.delayed += 1;
            Fate::Delay(Duration::from_millis(state.below(MAX_DELAY_MS)))
        }
        Some(2) if to_client => {
            counts.repeated += 1;
            Fate::Repeat
        }
        Some(3) => {
            counts.reordered += 1;
            Fate::Reorder
        }
        Some(4) => {
            counts.truncated += 1;
            let length = state.below(length as u64);
            Fate::Truncate(usize::try_from(length).unwrap_or(0))
        }
        _ => Fate::Pass,
    }
}
