//! What callers hold: [`Client`] to send with, [`Incoming`] to receive from.
//!
//! Neither touches the connection: they pass values through bounded queues to the task that drives it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::{Config, is_filter, is_topic};
use crate::connection::Item;
use crate::driver;
use crate::error::ConfigError;
use crate::event::{Event, Qos};
use crate::outbox::{Ack, Command, Outbox};
use crate::shared::{STATUS_ROOM, Shared};
use crate::tls::TlsFiles;

/// Subscriptions are renewed at every connection, one packet each; nobody here needs more than a dozen.
const MAX_SUBSCRIPTIONS: usize = 256;
/// QoS 0 messages that may wait for the consumer; more are dropped and counted.
pub(crate) const QOS0_ROOM: usize = 256;
/// Acknowledgements that may wait for the connection: MQTT has that many packet identifiers. The receive maximum would be
/// the bound, but Mosquitto 2.0.11 sends up to as many again for each acknowledgement, and stalls when one is missing.
const MAX_ACKS: usize = u16::MAX as usize;
/// When the last clone is dropped without a shutdown, what is queued has this long.
const DRAIN_WHEN_DROPPED: Duration = Duration::from_secs(1);

/// Why a message wasn't taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Nothing can be published on it, or subscribed to it.
    #[error("{0:?} is no topic that can be used here")]
    Topic(String),
    /// The packet is larger than the configuration or the broker allows.
    #[error("message of {size} bytes is larger than {max}")]
    TooLarge {
        /// The packet's bytes.
        size: usize,
        /// The most it may have.
        max: usize,
    },
    /// The queue is full: the connection is down or slow.
    #[error("the queue to the broker is full")]
    Full,
    /// There are too many subscriptions.
    #[error("more than {MAX_SUBSCRIPTIONS} subscriptions")]
    TooManySubscriptions,
    /// The client was shut down.
    #[error("the client was shut down")]
    Closed,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Connections made.
    pub connects: u64,
    /// Publishes and subscribes that the broker refused, or that were too large for it.
    pub refused: u64,
    /// Messages that came and were dropped: QoS 0 that found the queue full, and topics that aren't UTF-8.
    pub dropped: u64,
}

/// Sends messages. Clones share one connection.
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    _last: Arc<LastClone>,
}

/// Ends the task when the last clone of a client is dropped, connected or not.
#[derive(Debug)]
struct LastClone(Arc<Shared>);

impl Drop for LastClone {
    fn drop(&mut self) {
        self.0.close_by(Instant::now() + DRAIN_WHEN_DROPPED);
    }
}

impl Client {
    /// Checks the configuration and starts the task that connects, within the current tokio runtime. Returns before
    /// there is a connection. The client ends when it is shut down, or when its last clone is dropped.
    ///
    /// # Errors
    /// When the configuration has mistakes.
    pub fn start(config: Config) -> Result<(Self, Incoming), ConfigError> {
        let prepared = config.prepare()?;
        let (commands, queued_commands) = mpsc::channel(config.queue);
        let underway = usize::from(config.receive_maximum);
        let (items, queued_items) = mpsc::channel(underway + STATUS_ROOM + QOS0_ROOM);
        let (acks, queued_acks) = mpsc::channel(MAX_ACKS);
        let shared = Arc::new(Shared::new(config.max_packet_bytes));
        shared.tls().clone_from(&prepared.tls);
        let outbox = Outbox::new(queued_commands, queued_acks);
        tokio::spawn(driver::run(prepared, Arc::clone(&shared), outbox, items));
        let last = Arc::new(LastClone(Arc::clone(&shared)));
        let client = Self {
            commands,
            shared: Arc::clone(&shared),
            _last: last,
        };
        Ok((
            client,
            Incoming {
                items: queued_items,
                acks,
                taken: None,
                shared,
            },
        ))
    }

    /// Queues a message, waiting while the queue is full: without a connection that can be long, so put a limit around it
    /// or use [`Client::try_publish`].
    ///
    /// # Errors
    /// When the topic can't be published on, the message is too large, or the client was shut down.
    pub async fn publish(
        &self,
        topic: impl Into<String>,
        payload: impl Into<Vec<u8>>,
        qos: Qos,
        retain: bool,
    ) -> Result<(), PublishError> {
        let command = self.checked(topic.into(), payload.into(), qos, retain)?;
        self.commands.send(command).await.map_err(|_| PublishError::Closed)
    }

    /// Queues a message, or fails at once when the queue is full.
    ///
    /// # Errors
    /// As [`Client::publish`], and [`PublishError::Full`].
    pub fn try_publish(
        &self,
        topic: impl Into<String>,
        payload: impl Into<Vec<u8>>,
        qos: Qos,
        retain: bool,
    ) -> Result<(), PublishError> {
        let command = self.checked(topic.into(), payload.into(), qos, retain)?;
        self.commands.try_send(command).map_err(unsent)
    }

    /// Subscribes now and at every later connection. The broker's refusal is an [`Event::Refused`].
    ///
    /// # Errors
    /// When the filter is none, there are too many, or the client was shut down.
    pub async fn subscribe(&self, filter: impl Into<String>, qos: Qos) -> Result<(), PublishError> {
        let command = self.remembered(filter.into(), qos)?;
        self.commands.send(command).await.map_err(|_| PublishError::Closed)
    }

    /// The same, or fails at once when the queue is full; it is then subscribed to at later connections only if nobody
    /// unsubscribes.
    ///
    /// # Errors
    /// As [`Client::subscribe`], and [`PublishError::Full`].
    pub fn try_subscribe(&self, filter: impl Into<String>, qos: Qos) -> Result<(), PublishError> {
        let command = self.remembered(filter.into(), qos)?;
        self.commands.try_send(command).map_err(unsent)
    }

    fn remembered(&self, filter: String, qos: Qos) -> Result<Command, PublishError> {
        if !is_filter(&filter) {
            return Err(PublishError::Topic(filter));
        }
        let mut subscriptions = self.shared.subscriptions();
        if subscriptions.len() >= MAX_SUBSCRIPTIONS && !subscriptions.contains_key(&filter) {
            return Err(PublishError::TooManySubscriptions);
        }
        subscriptions.insert(filter.clone(), qos);
        Ok(Command::Subscribe(filter, qos))
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// When the client was shut down.
    pub async fn unsubscribe(&self, filter: impl Into<String>) -> Result<(), PublishError> {
        let filter = filter.into();
        self.shared.subscriptions().remove(&filter);
        self.commands
            .send(Command::Unsubscribe(filter))
            .await
            .map_err(|_| PublishError::Closed)
    }

    /// The same, or fails at once when the queue is full; later connections don't subscribe to it in any case.
    ///
    /// # Errors
    /// As [`Client::unsubscribe`], and [`PublishError::Full`].
    pub fn try_unsubscribe(&self, filter: impl Into<String>) -> Result<(), PublishError> {
        let filter = filter.into();
        self.shared.subscriptions().remove(&filter);
        self.commands.try_send(Command::Unsubscribe(filter)).map_err(unsent)
    }

    /// Takes another certificate, or the same file with a new one in it: reads the files, and makes the connection again with
    /// them. What is queued stays.
    ///
    /// # Errors
    /// When a file can't be used; the connection then stays as it was.
    pub fn renew_tls(&self, files: &TlsFiles) -> Result<(), ConfigError> {
        let mut errors = Vec::new();
        let tls = files.load(&mut errors);
        match (errors.len(), tls) {
            (0, Some(tls)) => {
                *self.shared.tls() = Some(tls);
                if self.is_connected() {
                    self.shared.reconnecting.notify_one();
                }
                Ok(())
            }
            (1, _) => Err(errors.swap_remove(0)),
            _ => Err(ConfigError::Several(errors)),
        }
    }

    /// Whether a connection stands at this moment.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::Relaxed)
    }

    /// Counts since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shared = &self.shared;
        Stats {
            connects: read(&shared.connects),
            refused: read(&shared.refused),
            dropped: read(&shared.dropped),
        }
    }

    /// Takes no more messages, sends what is queued and waits for the broker's answers, `within` at most, then
    /// disconnects in order, so that the last will isn't sent. Returns how many messages weren't handed over: 0 when all
    /// were.
    pub async fn shutdown(&self, within: Duration) -> usize {
        self.shared.close_by(Instant::now() + within);
        let mut finished = self.shared.finished.subscribe();
        // The sender is in `shared`, so it can't be gone; the task sets it at its end, a second after `within` at most.
        finished
            .wait_for(Option::is_some)
            .await
            .map_or(0, |count| count.unwrap_or(0))
    }

    fn checked(&self, topic: String, payload: Vec<u8>, qos: Qos, retain: bool) -> Result<Command, PublishError> {
        if !is_topic(&topic) {
            return Err(PublishError::Topic(topic));
        }
        let mut publish = Publish::new(topic, qos.into(), payload, None);
        publish.retain = retain;
        let (size, max) = (
            publish.size(),
            self.shared.max_packet_bytes.load(Ordering::Relaxed) as usize,
        );
        if size > max {
            return Err(PublishError::TooLarge { size, max });
        }
        Ok(Command::Publish(publish))
    }
}

/// Why a command found no room.
fn unsent(error: mpsc::error::TrySendError<Command>) -> PublishError {
    match error {
        mpsc::error::TrySendError::Full(_) => PublishError::Full,
        mpsc::error::TrySendError::Closed(_) => PublishError::Closed,
    }
}

/// Receives what comes in.
#[derive(Debug)]
pub struct Incoming {
    items: mpsc::Receiver<Item>,
    acks: mpsc::Sender<Ack>,
    /// The message in the consumer's hands.
    taken: Option<Ack>,
    shared: Arc<Shared>,
}

impl Incoming {
    /// The next event, and the acknowledgement of the message before it: ask for the next one when you are done with it.
    /// `None` when the client has ended. May be dropped while it waits without losing anything.
    pub async fn recv(&mut self) -> Option<Event> {
        if let Some(ack) = self.taken.take() {
            // Full only when a broker uses an identifier twice; gone only when the client has ended.
            drop(self.acks.try_send(ack));
        }
        let item = self.items.recv().await?;
        self.taken = item.ack;
        self.shared.qos0_bytes.fetch_sub(item.qos0_bytes, Ordering::Relaxed);
        Some(item.event)
    }
}
