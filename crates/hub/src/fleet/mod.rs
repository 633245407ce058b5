//! The hub itself: what it holds, and what may be asked of it. No HTTP and no MQTT client in here: what is to be sent goes
//! into a bounded queue, what came in is handed over as topic and bytes.

mod admission;
mod audit;
mod enrolment;
mod export;
mod incoming;
mod ingest;
mod orders;
mod roots;

pub(crate) use admission::{Enrolment, TokenWish};
pub(crate) use audit::{DEFAULT_DAYS, make_token, revoke_token};
pub(crate) use enrolment::Enrolled;
pub(crate) use ingest::Summary;
pub(crate) use orders::{JobIssued, Selection, mode_name};

use crate::access::limits::Buckets;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::database::{Database, DatabaseError, RootRow};
use crate::delivery::Deliveries;
use floorhand_bundle::{DeviceId, Digest, RootChain, Signer, TrustRoot, Verified};
use floorhand_protocol::{Down, Topic};
use floorhand_store::{Store, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

/// Bundles that are read into memory at the same time, in or out: each can be as large as a bundle may be.
const BUNDLES_IN_MEMORY: usize = 1;

/// What was asked can't be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HubError {
    /// It doesn't make sense.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// Not as things stand.
    #[error("{0}")]
    Conflict(String),
    /// A document was refused.
    #[error("{0}")]
    Refused(String),
    /// It is longer than this hub takes.
    #[error("{0}")]
    TooLarge(String),
    /// It didn't come in time.
    #[error("{0}")]
    Late(String),
    /// Not now: others are before.
    #[error("{0}")]
    Busy(String),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that can't happen in a healthy process.
    #[error("{0}")]
    Internal(String),
}

/// A message to be published with QoS 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) retain: bool,
}

/// What can be set.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) assignment_ttl_ms: u64,
    pub(crate) command_ttl_ms: u64,
    pub(crate) max_bundle_bytes: usize,
    /// The token of `api_token_file`.
    pub(crate) api_token: Option<String>,
}

/// A hub.
#[derive(Debug)]
pub(crate) struct Hub {
    /// The configured trust root, by which the hub knows its fleet. Which one counts is in [`Hub::roots`].
    pub(crate) root: Verified<TrustRoot>,
    pub(crate) database: Database,
    pub(crate) counters: Counters,
    pub(crate) settings: Settings,
    pub(crate) deliveries: Deliveries,
    pub(crate) clock: Clock,
    /// Rises with every answer that was stored, for those who wait for one.
    pub(crate) answered: watch::Sender<u64>,
    /// Whether the broker is connected.
    pub(crate) connected: AtomicBool,
    key: Box<dyn Signer>,
    /// The key of the next root, until that counts.
    next_key: Option<Box<dyn Signer>>,
    roots: RwLock<Arc<RootChain>>,
    /// The rows that `roots` was made of. Held while they are read and put in place, so that nobody puts older ones back.
    root_rows: tokio::sync::Mutex<Vec<RootRow>>,
    store: Arc<Store>,
    outbox: mpsc::Sender<Outgoing>,
    bundles_in_memory: Semaphore,
    /// Woken when assignments have to be published again.
    pub(crate) resend: Notify,
    /// By what devices get certificates; `None` where this hub makes none.
    pub(crate) enrolment: Option<Enrolment>,
    /// Names that were logged as unknown; see `incoming.rs`.
    strangers: Mutex<BTreeSet<DeviceId>>,
    /// What each device may send; see `incoming.rs`.
    messages: Buckets<DeviceId>,
    message_bytes: Buckets<DeviceId>,
}

impl Hub {
    /// A hub on what was opened for it. [`Hub::open_roots`] comes next.
    #[expect(
        clippy::too_many_arguments,
        reason = "called once by the program and once by the tests, with all its parts"
    )]
    pub(crate) fn new(
        root: Verified<TrustRoot>,
        key: impl Signer + 'static,
        database: Database,
        store: Store,
        outbox: mpsc::Sender<Outgoing>,
        counters: Counters,
        clock: Clock,
        settings: Settings,
    ) -> Self {
        Self {
            roots: RwLock::new(Arc::new(RootChain::new(root.clone()))),
            root_rows: tokio::sync::Mutex::default(),
            next_key: None,
            root,
            database,
            counters,
            settings,
            deliveries: Deliveries::default(),
            clock,
            answered: watch::Sender::new(0),
            connected: AtomicBool::new(false),
            key: Box::new(key),
            store: Arc::new(store),
            outbox,
            bundles_in_memory: Semaphore::new(BUNDLES_IN_MEMORY),
            resend: Notify::new(),
            enrolment: None,
            strangers: Mutex::default(),
            messages: Buckets::new(incoming::MESSAGES, incoming::MAX_SENDERS),
            message_bytes: Buckets::new(incoming::MESSAGE_BYTES, incoming::MAX_SENDERS),
        }
    }

    /// The same hub with the key of the root that comes next.
    #[must_use]
    pub(crate) fn with_next_key(mut self, key: Option<Box<dyn Signer>>) -> Self {
        self.next_key = key;
        self
    }

    /// The time, in milliseconds since 1970 UTC.
    pub(crate) fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// The files of the hub.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Whether the broker is connected.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Sends a message to a device, waiting for room in the queue.
    pub(crate) async fn send(&self, device: &DeviceId, kind: Down, payload: Vec<u8>) {
        // It fails only when the program ends, and then nobody is left to send it.
        drop(self.outbox.send(self.outgoing(device, kind, payload)).await);
    }

    /// Sends a chunk to all devices that listen on a blob's topic, waiting for room in the queue.
    pub(crate) async fn send_to_all(&self, digest: Digest, payload: Vec<u8>) {
        let fleet = self.root.fleet.clone();
        let topic = Topic::Blob { fleet, digest }.to_string();
        let outgoing = Outgoing {
            topic,
            payload,
            retain: false,
        };
        // As above.
        drop(self.outbox.send(outgoing).await);
    }

    /// Sends an order to a device unless the queue is full. It is stored: an assignment follows when there is room, and a
    /// command's sender is told by the missing answer.
    fn send_if_room(&self, device: &DeviceId, kind: Down, payload: Vec<u8>) {
        if self.outbox.try_send(self.outgoing(device, kind, payload)).is_err() {
            self.counters.overload.add_one();
            tracing::warn!(%device, ?kind, "not published now, the queue to the broker is full");
            self.resend.notify_one();
        }
    }

    fn outgoing(&self, device: &DeviceId, kind: Down, payload: Vec<u8>) -> Outgoing {
        let topic = Topic::Down {
            fleet: self.root.fleet.clone(),
            device: device.clone(),
            kind,
        };
        Outgoing {
            topic: topic.to_string(),
            payload,
            retain: kind == Down::Assign,
        }
    }
}
