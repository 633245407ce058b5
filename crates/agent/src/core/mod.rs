//! The core thread: owns the lifecycle machine and the store, turns events into actions and carries them out.
//!
//! It never touches a sample. Loading a generation, which may take long, happens on a thread of its own; the core hears
//! of the end of it like of everything else, by a message.

mod actions;
mod assembly;
mod board;
pub(crate) mod commands;
mod fetch;
mod fetching;
mod leftover;
mod listen;
mod load;
mod pace;
mod roots;
mod status;
#[cfg(test)]
mod tests;

pub(crate) use assembly::{Setup, start};
pub(crate) use board::Board;
pub(crate) use load::on_a_thread as load_on_a_thread;

use crate::fleet::FleetEvent;
use floorhand_bundle::Digest;
use floorhand_lifecycle::TrialSample;
use floorhand_pipeline::Loaded;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Messages that wait for the core: chunks of a window, and the samples of a trial while a state is being saved.
const QUEUE: usize = 1024;
/// Kept free of trial samples, for what must not be lost.
const RESERVE: usize = 128;

/// Chunks of a blob's topic that wait for the core: 1 MiB, enough to keep the disk busy.
const BROADCASTS: usize = 16;

/// What the serving thread has to tell.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The candidate saw a sample.
    Trial(TrialSample),
    /// A breaker opened in a bundle that says this rolls it back.
    Broken { generation: u64, reason: String },
}

/// What a fetch may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FetchLimits {
    /// A stretch of time in which enough has to come.
    pub(crate) timeout_ms: u64,
    /// How much is enough, in bytes a second.
    pub(crate) min_rate: u64,
    /// All of the time there is, while connected.
    pub(crate) deadline_ms: u64,
}

impl From<&crate::config::Fetch> for FetchLimits {
    fn from(config: &crate::config::Fetch) -> Self {
        Self {
            timeout_ms: config.timeout_s * 1000,
            min_rate: config.min_rate_bytes_per_s,
            deadline_ms: config.deadline_s * 1000,
        }
    }
}

/// Why a generation was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Stage,
    Activate,
}

/// What the core is told.
pub(crate) enum Message {
    Fleet(FleetEvent),
    /// A chunk on a blob's topic. The permit bounds how many wait.
    Broadcast {
        blob: Digest,
        payload: Vec<u8>,
        _permit: Option<OwnedSemaphorePermit>,
    },
    Notice(Notice),
    Loaded {
        generation: u64,
        purpose: Purpose,
        result: Box<Result<Loaded, String>>,
    },
    Import {
        /// The name of a file in the inbox, as a client has given it.
        /// The name of the archive in the inbox, as the client gave it.
        name: Vec<u8>,
        reply: tokio::sync::oneshot::Sender<Result<String, String>>,
    },
    FetchSettings(FetchLimits),
    Stop(SyncSender<()>),
}

/// The way to the core.
#[derive(Clone)]
pub(crate) struct CoreSender {
    messages: mpsc::Sender<Message>,
    broadcasts: Arc<Semaphore>,
}

impl CoreSender {
    /// Hands on what came from the hub.
    pub(crate) async fn fleet(&self, event: FleetEvent) {
        self.send(Message::Fleet(event)).await;
    }

    /// Hands on a chunk of a blob's topic, when those before it have been written. Nobody has asked for a window of these,
    /// so that is what keeps them from filling the memory; the broker holds back the rest.
    pub(crate) async fn broadcast(&self, blob: Digest, payload: Vec<u8>) {
        let permit = Arc::clone(&self.broadcasts).acquire_owned().await.ok();
        self.send(Message::Broadcast {
            blob,
            payload,
            _permit: permit,
        })
        .await;
    }

    /// Hands on anything, from a task.
    pub(crate) async fn send(&self, message: Message) {
        drop(self.messages.send(message).await);
    }

    /// Hands on what the serving thread has to tell. Never blocks, since the core may be waiting for that thread: a trial
    /// sample that finds the queue full is left out, and the trial lasts one sample longer.
    pub(crate) fn notice(&self, notice: Notice) {
        if matches!(notice, Notice::Trial(_)) && self.messages.capacity() <= RESERVE {
            return;
        }
        drop(self.messages.try_send(Message::Notice(notice)));
    }

    /// Hands on anything, from a thread that nobody waits for.
    pub(crate) fn send_blocking(&self, message: Message) {
        drop(self.messages.blocking_send(message));
    }
}

/// What [`start`] takes messages from.
pub(crate) struct CoreQueue(mpsc::Receiver<Message>);

/// The queue to the core, and its other end.
pub(crate) fn queue() -> (CoreSender, CoreQueue) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let sender = CoreSender {
        messages: sender,
        broadcasts: Arc::new(Semaphore::new(BROADCASTS)),
    };
    (sender, CoreQueue(receiver))
}
