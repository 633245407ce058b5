//! The fleet connection: what goes out goes through [`Fleet`].

use floorhand_bundle::{DeviceId, Digest, FleetId};
use floorhand_protocol::{Presence, Topic, Up};
use floorhand_transport::{Client, Config, ConfigError, Incoming, LastWill, PublishError, Qos, TlsFiles};

/// The way to the hub. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Fleet {
    way: Way,
    fleet: FleetId,
    device: DeviceId,
}

/// Where messages to the hub go.
#[derive(Clone)]
enum Way {
    Client(Client),
    /// Nowhere: a test looks at them.
    #[cfg(test)]
    Kept(Kept),
}

/// Messages to the hub, in order.
#[cfg(test)]
pub(crate) type Kept = std::sync::Arc<std::sync::Mutex<Vec<(Up, Vec<u8>)>>>;

/// What came in for the core.
#[derive(Debug)]
pub(crate) enum FleetEvent {
    /// The connection stands.
    Connected,
    /// The connection has ended.
    Disconnected,
    /// An assignment, unverified.
    Assign(Vec<u8>),
    /// A command, unverified.
    Command(Vec<u8>),
    /// A chunk.
    Chunk(Vec<u8>),
    /// The trust root that follows, unverified.
    Root(Vec<u8>),
    /// The broker doesn't let this device listen on a blob's topic.
    TopicRefused,
}

impl Fleet {
    /// Starts to connect, within the current tokio runtime.
    pub(crate) async fn start(
        mut config: Config,
        fleet: FleetId,
        device: DeviceId,
        boot_id: u64,
    ) -> Result<(Self, Incoming), ConfigError> {
        let topic = |kind| {
            Topic::Up {
                fleet: fleet.clone(),
                device: device.clone(),
                kind,
            }
            .to_string()
        };
        let offline = Presence { boot_id, online: false }.encode().unwrap_or_default();
        config.last_will = Some(LastWill {
            topic: topic(Up::Presence),
            payload: offline,
            retain: false,
        });
        let (client, incoming) = Client::start(config)?;
        if let Err(error) = client
            .subscribe(Topic::filter_down(&fleet, &device), Qos::AtLeastOnce)
            .await
        {
            tracing::error!(%error, "failed to subscribe to what is for this device");
        }
        let way = Way::Client(client);
        Ok((Self { way, fleet, device }, incoming))
    }

    /// A way that keeps what is published.
    #[cfg(test)]
    pub(crate) fn keeping(fleet: FleetId, device: DeviceId, kept: Kept) -> Self {
        let way = Way::Kept(kept);
        Self { way, fleet, device }
    }

    /// Queues a message to the hub, or fails at once.
    pub(crate) fn publish(&self, kind: Up, payload: Vec<u8>) -> Result<(), PublishError> {
        let topic = Topic::Up {
            fleet: self.fleet.clone(),
            device: self.device.clone(),
            kind,
        };
        match &self.way {
            Way::Client(client) => client.try_publish(topic.to_string(), payload, Qos::AtLeastOnce, false),
            #[cfg(test)]
            Way::Kept(kept) => {
                kept.lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .push((kind, payload));
                Ok(())
            }
        }
    }

    /// Listens on a blob's topic, if there is room in the queue to ask for that.
    pub(crate) fn listen(&self, blob: Digest) -> Result<(), PublishError> {
        match &self.way {
            Way::Client(client) => client.try_subscribe(self.blob_topic(blob), Qos::AtLeastOnce),
            #[cfg(test)]
            Way::Kept(_) => Ok(()),
        }
    }

    /// Listens there no more.
    pub(crate) fn stop_listening(&self, blob: Digest) -> Result<(), PublishError> {
        match &self.way {
            Way::Client(client) => client.try_unsubscribe(self.blob_topic(blob)),
            #[cfg(test)]
            Way::Kept(_) => Ok(()),
        }
    }

    fn blob_topic(&self, digest: Digest) -> String {
        let fleet = self.fleet.clone();
        Topic::Blob { fleet, digest }.to_string()
    }

    /// Makes the connection again with a renewed certificate.
    pub(crate) fn renew_tls(&self, files: &TlsFiles) -> Result<(), ConfigError> {
        match &self.way {
            Way::Client(client) => client.renew_tls(files),
            #[cfg(test)]
            Way::Kept(_) => Ok(()),
        }
    }

    /// Whether a connection stands.
    pub(crate) fn is_connected(&self) -> bool {
        match &self.way {
            Way::Client(client) => client.is_connected(),
            #[cfg(test)]
            Way::Kept(_) => true,
        }
    }

    /// Sends what is queued and disconnects in order.
    pub(crate) async fn shutdown(&self, boot_id: u64, within: std::time::Duration) {
        if let Ok(offline) = (Presence { boot_id, online: false }).encode() {
            drop(self.publish(Up::Presence, offline));
        }
        let left = match &self.way {
            Way::Client(client) => client.shutdown(within).await,
            #[cfg(test)]
            Way::Kept(_) => 0,
        };
        if left > 0 {
            tracing::warn!(
                left,
                "messages to the hub were left unsent; what is in the spool is sent at the next start"
            );
        }
    }
}
