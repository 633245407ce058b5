//! The half of a connection that polls rumqttc's event loop and passes on what comes.
//!
//! It never publishes: a publish that waits for room in rumqttc's channel, in the task that alone makes room in it, would
//! wait for ever. It waits for the consumer when a broker sends more than the receive maximum by more than the queue's
//! spare room; no pings go out then, and the broker may end the connection, after which everything comes again.

use std::sync::atomic::Ordering;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Packet, PubAck, PubAckReason, Publish, SubAck, SubscribeReasonCode, UnsubAck, UnsubAckReason,
};
use rumqttc::v5::{Event as RumqttcEvent, EventLoop, Request};
use tokio::sync::mpsc;

use crate::event::{Event, Message};
use crate::explain::explain;
use crate::outbox::{Ack, Link};
use crate::shared::{STATUS_ROOM, Shared};

/// Bytes of QoS 0 messages that may wait for the consumer: many small ones, or a few of the largest.
const MAX_QOS0_BYTES: usize = 4 << 20;

/// User properties of a message that are kept, and bytes of their names and values together.
const MAX_PROPERTIES: usize = 64;
const MAX_PROPERTIES_BYTES: usize = 16 << 10;

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// We said goodbye.
    Closed,
    /// It was lost; why, for people.
    Lost(String),
}

/// What waits for the consumer.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) event: Event,
    pub(crate) ack: Option<Ack>,
    /// The message's bytes, when they count against the limit of QoS 0.
    pub(crate) qos0_bytes: usize,
}

/// The queue to the consumer.
#[derive(Debug)]
pub(crate) struct Events<'a> {
    pub(crate) items: &'a mpsc::Sender<Item>,
    pub(crate) shared: &'a Shared,
    /// Places in the queue that QoS 0 doesn't get.
    pub(crate) receive_maximum: usize,
}

/// Polls until the connection ends.
pub(crate) async fn poll(event_loop: &mut EventLoop, link: &Link<'_>, events: &Events<'_>) -> End {
    loop {
        let event = match event_loop.poll().await {
            Ok(event) => event,
            Err(error) => return End::Lost(explain(&error)),
        };
        match event {
            RumqttcEvent::Outgoing(Outgoing::Disconnect) => return said_goodbye(link.shared),
            RumqttcEvent::Outgoing(Outgoing::Publish(id)) => link.shared.tracker().publish_sent(id),
            RumqttcEvent::Outgoing(Outgoing::Subscribe(id)) => link.shared.tracker().subscribe_sent(id),
            RumqttcEvent::Incoming(Packet::Publish(publish)) => events.message(publish, link.number).await,
            RumqttcEvent::Incoming(Packet::PubAck(answer)) => {
                published(&answer, link, events);
                release(event_loop, &answer);
            }
            RumqttcEvent::Incoming(Packet::SubAck(answer)) => subscribed(&answer, events),
            RumqttcEvent::Incoming(Packet::UnsubAck(answer)) => unsubscribed(&answer),
            _ => {}
        }
    }
}

/// rumqttc says the same when it found a protocol error; a broker must not be able to end the client with one.
fn said_goodbye(shared: &Shared) -> End {
    if shared.closing.borrow().is_some() {
        return End::Closed;
    }
    End::Lost("the broker broke the protocol".to_owned())
}

/// What a connection took and didn't bring to the broker, oldest first. Call it once, before the event loop is dropped.
pub(crate) fn unsent(event_loop: &mut EventLoop) -> Vec<Publish> {
    // Twice: the first time makes room in the channel, into which a sender that waits then puts its request.
    event_loop.clean();
    event_loop.clean();
    let collided = event_loop.state.collision.take().map(Request::Publish);
    collided
        .into_iter()
        .chain(event_loop.pending.drain(..))
        .filter_map(|request| match request {
            Request::Publish(publish) => Some(publish),
            _ => None,
        })
        .collect()
}

fn published(answer: &PubAck, link: &Link<'_>, events: &Events<'_>) {
    let (topic, unanswered) = {
        let mut tracker = link.shared.tracker();
        (tracker.publish_answered(answer.pkid), tracker.unanswered())
    };
    if unanswered == 0 {
        link.answered.notify_one();
    }
    if !matches!(
        answer.reason,
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers
    ) {
        let told = answer
            .properties
            .as_ref()
            .and_then(|properties| properties.reason_string.as_deref());
        events.refused("publish", topic, format!("{:?}", answer.reason), told);
    }
}

/// After a refusal rumqttc forgets to send the publish that waited for the identifier.
fn release(event_loop: &mut EventLoop, answer: &PubAck) {
    if event_loop
        .state
        .collision
        .as_ref()
        .is_some_and(|waiting| waiting.pkid == answer.pkid)
        && let Some(waiting) = event_loop.state.collision.take()
    {
        event_loop.pending.push_back(Request::Publish(waiting));
    }
}

/// Those that are kept: a packet of 256 KiB could hold fifty thousand, of some fifty bytes each once they are read.
fn bounded(mut properties: Vec<(String, String)>) -> Vec<(String, String)> {
    properties.truncate(MAX_PROPERTIES);
    let mut bytes = 0;
    let mut fits = |(name, value): &(String, String)| {
        bytes += name.len() + value.len();
        bytes <= MAX_PROPERTIES_BYTES
    };
    let kept = properties.iter().take_while(|pair| fits(pair)).count();
    properties.truncate(kept);
    properties.shrink_to_fit();
    properties
}

/// What a message takes while it waits.
fn size(message: &Message) -> usize {
    let pair = |(name, value): &(String, String)| name.len() + value.len() + size_of::<(String, String)>();
    let properties: usize = message.properties.iter().map(pair).sum();
    message.payload.len() + message.topic.len() + message.content_type.len() + properties
}

fn subscribed(answer: &SubAck, events: &Events<'_>) {
    let filter = events.shared.tracker().subscribe_answered(answer.pkid);
    for code in &answer.return_codes {
        if !matches!(code, SubscribeReasonCode::Success(_)) {
            let told = answer
                .properties
                .as_ref()
                .and_then(|properties| properties.reason_string.as_deref());
            events.refused("subscribe", filter.clone(), format!("{code:?}"), told);
        }
    }
}

fn unsubscribed(answer: &UnsubAck) {
    for reason in &answer.reasons {
        if !matches!(reason, UnsubAckReason::Success | UnsubAckReason::NoSubscriptionExisted) {
            tracing::warn!(?reason, "the broker refused an unsubscribe");
        }
    }
}

impl Events<'_> {
    /// Passes on a change of the connection, waiting for room.
    pub(crate) async fn status(&self, event: Event) {
        // The consumer may be gone; then nobody wants to know.
        drop(
            self.items
                .send(Item {
                    event,
                    ack: None,
                    qos0_bytes: 0,
                })
                .await,
        );
    }

    /// Passes on what can be left out when there is no room.
    pub(crate) fn hint(&self, event: Event) {
        if self.items.capacity() > self.receive_maximum + STATUS_ROOM / 2 {
            drop(self.items.try_send(Item {
                event,
                ack: None,
                qos0_bytes: 0,
            }));
        }
    }

    fn refused(&self, what: &str, topic: Option<String>, code: String, told: Option<&str>) {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        let topic = topic.unwrap_or_default();
        let reason = told.map_or(code.clone(), |told| format!("{code} ({told})"));
        tracing::warn!(topic, reason, "the broker refused a {what}");
        self.hint(Event::Refused {
            topic,
            reason: format!("{what} refused: {reason}"),
        });
    }

    async fn message(&self, publish: Publish, connection: u64) {
        let Ok(topic) = String::from_utf8(publish.topic.to_vec()) else {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let properties = publish.properties.unwrap_or_default();
        let message = Message {
            topic,
            payload: publish.payload.to_vec(),
            retain: publish.retain,
            content_type: properties.content_type.unwrap_or_default(),
            properties: bounded(properties.user_properties),
            gap: self.shared.is_gap(),
        };
        if publish.qos == QoS::AtMostOnce {
            self.unsure(message);
            return;
        }
        let ack = Some(Ack {
            connection,
            id: publish.pkid,
            qos: publish.qos,
        });
        drop(
            self.items
                .send(Item {
                    event: Event::Message(message),
                    ack,
                    qos0_bytes: 0,
                })
                .await,
        );
    }

    /// Passes on a QoS 0 message, or drops it where it would take the room of QoS 1.
    fn unsure(&self, message: Message) {
        let bytes = size(&message);
        let waiting = self.shared.qos0_bytes.fetch_add(bytes, Ordering::Relaxed);
        let room = self.items.capacity() > self.receive_maximum + STATUS_ROOM;
        let item = Item {
            event: Event::Message(message),
            ack: None,
            qos0_bytes: bytes,
        };
        // One that is larger than the limit alone still passes when nothing else waits.
        let fits = room && (waiting == 0 || waiting + bytes <= MAX_QOS0_BYTES);
        if !fits || self.items.try_send(item).is_err() {
            self.shared.qos0_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
