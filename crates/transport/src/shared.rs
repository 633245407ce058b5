//! What a client, its consumer and its task share.

use crate::event::Qos;
use crate::tracker::Tracker;
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Connection events and refusals that may wait beside messages.
pub(crate) const STATUS_ROOM: usize = 32;

/// What a client, its consumer and its task share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) max_packet_bytes: AtomicU32,
    pub(crate) connected: AtomicBool,
    pub(crate) connects: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) dropped: AtomicU64,
    /// Of these those that a message behind them tells of.
    told_dropped: AtomicU64,
    /// Bytes of QoS 0 messages that wait for the consumer.
    pub(crate) qos0_bytes: AtomicUsize,
    subscriptions: Mutex<BTreeMap<String, Qos>>,
    tracker: Mutex<Tracker>,
    /// The TLS settings of the next connection.
    pub(crate) tls: Mutex<Option<Arc<ClientConfig>>>,
    /// The connection that stands is to be made again.
    pub(crate) reconnecting: Notify,
    /// Set once: until when what is queued may still go out.
    pub(crate) closing: watch::Sender<Option<Instant>>,
    /// Set once, when the task has ended: messages that weren't handed over.
    pub(crate) finished: watch::Sender<Option<usize>>,
}

impl Shared {
    /// What a client begins with.
    pub(crate) fn new(max_packet_bytes: u32) -> Self {
        Self {
            max_packet_bytes: AtomicU32::new(max_packet_bytes),
            connected: AtomicBool::new(false),
            connects: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            told_dropped: AtomicU64::new(0),
            qos0_bytes: AtomicUsize::new(0),
            subscriptions: Mutex::default(),
            tracker: Mutex::default(),
            tls: Mutex::default(),
            reconnecting: Notify::new(),
            closing: watch::Sender::new(None),
            finished: watch::Sender::new(None),
        }
    }

    /// Whether messages were dropped since the last time this was asked.
    pub(crate) fn is_gap(&self) -> bool {
        let dropped = self.dropped.load(Ordering::Relaxed);
        self.told_dropped.swap(dropped, Ordering::Relaxed) != dropped
    }

    pub(crate) fn subscriptions(&self) -> MutexGuard<'_, BTreeMap<String, Qos>> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tls(&self) -> MutexGuard<'_, Option<Arc<ClientConfig>>> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tracker(&self) -> MutexGuard<'_, Tracker> {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the client is closing, and returns its deadline.
    pub(crate) async fn closing_asked(&self) -> Instant {
        let mut closing = self.closing.subscribe();
        // The sender is `self.closing`, so this ends with a deadline and not with an error.
        let deadline = closing
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|deadline| *deadline);
        deadline.unwrap_or_else(Instant::now)
    }

    /// Asks the task to end by `deadline`, unless it was asked before.
    pub(crate) fn close_by(&self, deadline: Instant) {
        self.closing.send_if_modified(|closing| {
            let first = closing.is_none();
            closing.get_or_insert(deadline);
            first
        });
    }
}
