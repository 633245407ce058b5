//! What passes between the broker and whoever uses a client.

use rumqttc::v5::mqttbytes::QoS;
use std::time::Duration;

/// How surely a message is handed over. QoS 2 isn't offered: receivers here know duplicates by their own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// QoS 0: sent once, perhaps lost.
    AtMostOnce,
    /// QoS 1: sent until the broker answers, perhaps received twice.
    AtLeastOnce,
}

impl From<Qos> for QoS {
    fn from(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => Self::AtMostOnce,
            Qos::AtLeastOnce => Self::AtLeastOnce,
        }
    }
}

/// What comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A connection stands; subscriptions are being renewed.
    Connected {
        /// Whether the broker had kept the session.
        session_present: bool,
    },
    /// The connection that stood has ended. It will be made again.
    Disconnected {
        /// Why, for people.
        reason: String,
    },
    /// There is no connection, and it will be tried again. Left out when the queue is full: the next one tells the same.
    Retrying {
        /// Why, for people.
        reason: String,
        /// How long until the next try.
        wait: Duration,
    },
    /// A message.
    Message(Message),
    /// The broker refused a publish or a subscribe. Left out when the queue is full; [`Stats::refused`](crate::Stats::refused) counts all.
    Refused {
        /// The topic or the filter.
        topic: String,
        /// Why, for people.
        reason: String,
    },
}

/// A message that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Whether the broker had kept it from before the subscription.
    pub retain: bool,
    /// The media type that its sender states; empty if it states none.
    pub content_type: String,
    /// Its user properties, in their order; names may repeat. At most 64 and 16 KiB: what is beyond is left out.
    pub properties: Vec<(String, String)>,
    /// Whether messages of QoS 0 before this one were left out, for want of room.
    pub gap: bool,
}
