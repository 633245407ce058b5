//! Where samples come from: topics of the plant's broker, and files that are replayed.
//!
//! A source hands over bytes; what is in them is the pipeline's to find out. A file waits while the pipeline is busy. The
//! broker is held back in the same way: the transport acknowledges a message when the next one is asked for.

mod pace;
mod replay;

pub(crate) use replay::replay;

use crate::clock::system_ms;
use crate::config::{MqttSource, SampleFormat, Source};
use crate::serving::{Input, Message, Payload, ServeSender, within_bounds};
use floorhand_transport::{Client, Event, Incoming, Qos};

/// Subscribes to what the MQTT sources name. Subscriptions last over reconnects.
pub(crate) async fn subscribe(client: &Client, sources: &[Source]) {
    for source in sources {
        if let Source::Mqtt(source) = source
            && let Err(error) = client.subscribe(&source.topic, source.qos).await
        {
            tracing::error!(%error, topic = source.topic, "failed to subscribe to a source");
        }
    }
}

/// Hands on what comes from the plant's broker, until its client is shut down.
pub(crate) async fn receive(mut incoming: Incoming, sources: Vec<Source>, serving: ServeSender) {
    let sources: Vec<MqttSource> = sources
        .into_iter()
        .filter_map(|source| {
            if let Source::Mqtt(source) = source {
                Some(source)
            } else {
                None
            }
        })
        .collect();
    let mut was_connected = false;
    while let Some(event) = incoming.recv().await {
        match event {
            Event::Connected { session_present } => {
                tracing::info!(session_present, "connected to the plant's broker");
                // What came at QoS 0 while there was no connection is lost in any case; at QoS 1 the session keeps it.
                let keeps = session_present && sources.iter().all(|source| source.qos == Qos::AtLeastOnce);
                if std::mem::replace(&mut was_connected, true) && !keeps {
                    serving.send(Message::Missed).await;
                }
            }
            Event::Disconnected { reason } => tracing::warn!(reason, "the connection to the plant's broker ended"),
            Event::Retrying { reason, wait } => {
                tracing::warn!(
                    reason,
                    wait_ms = wait.as_millis() as u64,
                    "failed to reach the plant's broker"
                );
            }
            Event::Refused { topic, reason } => {
                tracing::error!(topic, reason, "the plant's broker refused; check its access list");
            }
            Event::Message(message) => {
                if message.gap {
                    serving.send(Message::Missed).await;
                }
                let Some(source) = sources.iter().find(|source| source.takes_in(&message.topic)) else {
                    continue;
                };
                let payload = match source.format {
                    SampleFormat::Json => Payload::Json(message.payload),
                    SampleFormat::Raw => Payload::Raw(message.payload),
                };
                let (content_type, properties) = within_bounds(message.content_type, message.properties);
                serving
                    .sample(Input {
                        payload,
                        time_ms: system_ms(),
                        source: source.topic.clone(),
                        topic: message.topic,
                        retained: message.retain,
                        content_type,
                        properties,
                    })
                    .await;
            }
        }
    }
}
