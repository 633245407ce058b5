//! Between the hub and the MQTT client: what comes in goes to the hub, what the hub wants to send goes out. The only module
//! that knows the client.

use crate::config::{Broker, Config};
use crate::fleet::{Hub, Outgoing};
use floorhand_protocol::{MAX_PACKET_BYTES, Topic};
use floorhand_transport::{Client, ConfigError, Event, Incoming, PublishError, Qos, TlsFiles};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;

/// Orders, acks and chunks that wait for the client: a hub that is disconnected keeps no more in memory than 16 MiB of the
/// largest chunks. Orders that find no room are sent again at the device's next hello.
pub(crate) const OUTBOX: usize = 256;
/// What is queued gets this long when the hub ends.
const DRAIN: Duration = Duration::from_secs(3);

/// The client's settings.
pub(crate) fn client_config(config: &Config) -> floorhand_transport::Config {
    let (url, tls) = match &config.broker {
        Broker::Embedded(address) => (format!("mqtt://{address}"), None),
        Broker::Remote { url, tls } => (url.clone(), tls.as_ref()),
    };
    floorhand_transport::Config {
        tls: tls.map(|files| TlsFiles::mutual(&files.ca, &files.cert, &files.key)),
        max_packet_bytes: MAX_PACKET_BYTES as u32,
        ..floorhand_transport::Config::new(url, &config.identity)
    }
}

/// Starts the client within the current runtime and subscribes to what the fleet's devices send.
pub(crate) async fn start(config: &Config) -> Result<(Client, Incoming), LinkError> {
    let (client, incoming) = Client::start(client_config(config))?;
    let filter = match &config.share_group {
        Some(group) => Topic::filter_up_shared(&config.fleet, group),
        None => Topic::filter_up(&config.fleet),
    };
    client.subscribe(filter, Qos::AtLeastOnce).await?;
    Ok((client, incoming))
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// Its settings.
    #[error("broker: {0}")]
    Config(#[from] ConfigError),
    /// Its subscription.
    #[error("subscribe to the fleet's topics: {0}")]
    Subscribe(#[from] PublishError),
}

/// Hands what comes in to the hub, one after the other: a message is acknowledged to the broker when the next is asked for,
/// so after the hub is done with it.
pub(crate) async fn receive(hub: Arc<Hub>, mut incoming: Incoming) {
    while let Some(event) = incoming.recv().await {
        match event {
            // No device's word is kept by the broker but for who plants it there: an access list can't forbid the flag.
            Event::Message(message) if message.retain => {
                hub.counters.foreign_topics.add_one();
                tracing::warn!(topic = message.topic, "ignored a message that the broker had kept");
            }
            Event::Message(message) => hub.take(&message.topic, &message.payload).await,
            Event::Connected { session_present } => {
                hub.connected.store(true, Ordering::Relaxed);
                hub.deliveries.refuse_broadcasts(false);
                tracing::info!(session_present, "connected to the broker");
                hub.resend.notify_one();
            }
            Event::Disconnected { reason } => {
                hub.connected.store(false, Ordering::Relaxed);
                tracing::warn!("the connection to the broker ended, it will be made again: {reason}");
            }
            Event::Retrying { reason, wait } => {
                tracing::warn!(
                    wait_ms = wait.as_millis() as u64,
                    "no connection to the broker: {reason}"
                );
            }
            Event::Refused { topic, reason } => {
                if let Ok(Topic::Blob { .. }) = topic.parse() {
                    hub.deliveries.refuse_broadcasts(true);
                }
                tracing::error!(
                    topic,
                    "the broker refused a publish or subscribe, see its access list: {reason}"
                );
            }
        }
    }
}

/// Publishes trust roots and assignments again whenever that is needed.
pub(crate) async fn resend(hub: Arc<Hub>) {
    loop {
        hub.resend.notified().await;
        if let Err(error) = hub.send_roots().await {
            hub.counters.failures.add_one();
            tracing::error!("failed to send trust roots: {error}");
        }
        if let Err(error) = hub.resend_assignments().await {
            hub.counters.failures.add_one();
            tracing::error!("failed to publish open assignments again: {error}");
        }
    }
}

/// Publishes what the hub queued until the queue is closed, then ends the connection in order.
pub(crate) async fn publish(client: Client, mut outbox: mpsc::Receiver<Outgoing>) {
    while let Some(Outgoing { topic, payload, retain }) = outbox.recv().await {
        if let Err(error) = client.publish(&topic, payload, Qos::AtLeastOnce, retain).await {
            tracing::error!(topic, "failed to publish: {error}");
        }
    }
}

/// Ends the connection in order.
pub(crate) async fn end(client: &Client) {
    let left = client.shutdown(DRAIN).await;
    if left > 0 {
        tracing::warn!(
            left,
            "messages were not handed to the broker; devices ask for what they lack"
        );
    }
}
