//! What is to go out, and the half of a connection that hands it to rumqttc.
//!
//! It outlives connections: a message that a connection took and didn't bring to the broker comes back and goes first
//! on the next one, under a new packet identifier.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use rumqttc::v5::{AsyncClient, ClientError, Request};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::event::Qos;
use crate::shared::Shared;

/// What callers ask for.
#[derive(Debug)]
pub(crate) enum Command {
    Publish(Publish),
    Subscribe(String, Qos),
    Unsubscribe(String),
}

/// The acknowledgement of a message that the consumer is done with. It counts on the connection it came by only: on
/// another one the identifier may be another message's.
#[derive(Debug)]
pub(crate) struct Ack {
    pub(crate) connection: u64,
    pub(crate) id: u16,
    pub(crate) qos: QoS,
}

/// Queues of what is to go out.
#[derive(Debug)]
pub(crate) struct Outbox {
    commands: mpsc::Receiver<Command>,
    acks: mpsc::Receiver<Ack>,
    /// Taken from the queue and not brought to the broker. Bounded by rumqttc's channel and the packets in flight.
    kept: VecDeque<Publish>,
    /// Whether callers can still send.
    open: bool,
}

/// One connection, as both of its halves see it.
#[derive(Debug)]
pub(crate) struct Link<'a> {
    pub(crate) number: u64,
    pub(crate) client: AsyncClient,
    pub(crate) shared: &'a Shared,
    /// The broker has answered every publish.
    pub(crate) answered: Notify,
    /// The connection has ended.
    pub(crate) ended: Notify,
}

/// The connection takes nothing more.
struct Ended;

impl Outbox {
    pub(crate) fn new(commands: mpsc::Receiver<Command>, acks: mpsc::Receiver<Ack>) -> Self {
        Self {
            commands,
            acks,
            kept: VecDeque::new(),
            open: true,
        }
    }

    /// Messages that no connection has.
    pub(crate) fn waiting(&self) -> usize {
        self.kept.len() + self.commands.len()
    }

    /// Takes back what an ended connection didn't bring to the broker, in its order and before everything else.
    pub(crate) fn take_back(&mut self, unsent: impl DoubleEndedIterator<Item = Publish>) {
        for mut publish in unsent.rev() {
            publish.pkid = 0;
            self.kept.push_front(publish);
        }
    }

    /// Takes no more from callers; what is queued stays.
    pub(crate) fn close(&mut self) {
        self.commands.close();
    }

    /// Hands over subscriptions, what was kept, then what comes, until the connection ends or the client is closed.
    pub(crate) async fn forward(&mut self, link: &Link<'_>) {
        // An error means that the other half has seen the end as well, and will say why.
        drop(self.forward_all(link).await);
    }

    async fn forward_all(&mut self, link: &Link<'_>) -> Result<(), Ended> {
        let subscriptions: Vec<_> = link
            .shared
            .subscriptions()
            .iter()
            .map(|(f, qos)| (f.clone(), *qos))
            .collect();
        for (filter, qos) in subscriptions {
            link.subscribe(filter, qos).await?;
        }
        while let Some(publish) = self.kept.pop_front() {
            self.publish(link, publish).await?;
        }
        let mut is_closing = false;
        while self.open {
            tokio::select! {
                biased;
                () = link.ended.notified() => return Err(Ended),
                _ = link.shared.closing_asked(), if !is_closing => {
                    is_closing = true;
                    self.commands.close();
                }
                Some(ack) = self.acks.recv() => link.acknowledge(&ack).await?,
                command = self.commands.recv() => match command {
                    Some(command) => self.execute(link, command).await?,
                    None => self.open = false,
                },
            }
        }
        self.disconnect(link).await
    }

    async fn execute(&mut self, link: &Link<'_>, command: Command) -> Result<(), Ended> {
        match command {
            Command::Publish(publish) => self.publish(link, publish).await,
            Command::Subscribe(filter, qos) => link.subscribe(filter, qos).await,
            Command::Unsubscribe(filter) => link.client.unsubscribe(filter).await.or(Err(Ended)),
        }
    }

    async fn publish(&mut self, link: &Link<'_>, publish: Publish) -> Result<(), Ended> {
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        let (size, max) = (
            publish.size(),
            link.shared.max_packet_bytes.load(Ordering::Relaxed) as usize,
        );
        if size > max {
            // Queued before this broker said how much it takes. rumqttc would fail the connection over it, each time.
            link.shared.refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                topic,
                size,
                max,
                "a message was dropped: it is larger than this broker takes"
            );
            return Ok(());
        }
        if publish.qos != QoS::AtMostOnce {
            link.shared.tracker().publish_handed(&topic);
        }
        match link
            .client
            .publish_bytes(topic, publish.qos, publish.retain, publish.payload)
            .await
        {
            Ok(()) => Ok(()),
            Err(ClientError::Request(Request::Publish(publish))) => {
                self.kept.push_front(publish);
                Err(Ended)
            }
            // Topics are checked when they are queued, so rumqttc has nothing to refuse.
            Err(_) => Ok(()),
        }
    }

    /// Waits for the broker's answers as long as there is time, then says goodbye.
    async fn disconnect(&mut self, link: &Link<'_>) -> Result<(), Ended> {
        let deadline = link.shared.closing.borrow().unwrap_or_else(Instant::now);
        while link.shared.tracker().unanswered() > 0 && Instant::now() < deadline {
            tokio::select! {
                biased;
                () = link.ended.notified() => return Err(Ended),
                () = link.answered.notified() => {}
                Some(ack) = self.acks.recv() => link.acknowledge(&ack).await?,
                () = sleep_until(deadline) => {}
            }
        }
        link.client.disconnect().await.or(Err(Ended))
    }
}

impl Link<'_> {
    async fn subscribe(&self, filter: String, qos: Qos) -> Result<(), Ended> {
        self.shared.tracker().subscribe_handed(&filter);
        self.client.subscribe(filter, qos.into()).await.or(Err(Ended))
    }

    async fn acknowledge(&self, ack: &Ack) -> Result<(), Ended> {
        if ack.connection != self.number {
            return Ok(());
        }
        let mut publish = Publish::new("", ack.qos, Vec::new(), None);
        publish.pkid = ack.id;
        self.client.ack(&publish).await.or(Err(Ended))
    }
}
