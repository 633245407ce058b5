//! The fleet connection: what comes in goes to whom it is for, what goes out goes through [`Fleet`].

use crate::core::CoreSender;
use crate::limiter::Limiter;
use crate::telemetry::Telemetry;
use floorhand_bundle::{DeviceId, FleetId, TrustRoot};
use floorhand_lifecycle::TrustedClock;
use floorhand_protocol::{Ack, Down, Presence, Severity, Topic, Up};
use floorhand_transport::{Client, Config, ConfigError, Event, Incoming, LastWill, PublishError, Qos};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The way to the hub. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Fleet {
    client: Client,
    fleet: FleetId,
    device: DeviceId,
}

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
        Ok((Self { client, fleet, device }, incoming))
    }

    /// Queues a message to the hub, or fails at once.
    pub(crate) fn publish(&self, kind: Up, payload: Vec<u8>) -> Result<(), PublishError> {
        let topic = Topic::Up {
            fleet: self.fleet.clone(),
            device: self.device.clone(),
            kind,
        };
        self.client
            .try_publish(topic.to_string(), payload, Qos::AtLeastOnce, false)
    }

    /// Whether a connection stands.
    pub(crate) fn is_connected(&self) -> bool {
        self.client.is_connected()
    }

    /// Sends what is queued and disconnects in order.
    pub(crate) async fn shutdown(&self, boot_id: u64, within: std::time::Duration) {
        if let Ok(offline) = (Presence { boot_id, online: false }).encode() {
            drop(self.publish(Up::Presence, offline));
        }
        let left = self.client.shutdown(within).await;
        if left > 0 {
            tracing::warn!(
                left,
                "messages to the hub were left unsent; what is in the spool is sent at the next start"
            );
        }
    }
}

/// What acks are checked with. They go past the core, which may be busy loading a model.
pub(crate) struct AckCheck {
    pub(crate) root: Arc<TrustRoot>,
    pub(crate) device: DeviceId,
    pub(crate) clock_floor_ms: Arc<AtomicU64>,
    pub(crate) limiter: Limiter,
}

impl AckCheck {
    fn take(&mut self, bytes: &[u8], telemetry: &Telemetry) {
        let floor_ms = self.clock_floor_ms.load(Ordering::Relaxed);
        let clock = TrustedClock {
            floor_ms,
            root_expires_ms: self.root.expires_ms,
        };
        match Ack::open(bytes, &self.root, &self.device, clock.now_ms(crate::clock::system_ms())) {
            Ok(ack) => {
                let ranges = ack.ranges.iter().map(|range| (range.first, range.last)).collect();
                telemetry.ack(ack.boot_id, ranges);
            }
            Err(error) => self.refused(&error.to_string(), telemetry),
        }
    }

    /// Logs and reports that an ack was refused, but not with every forged one.
    fn refused(&mut self, problem: &str, telemetry: &Telemetry) {
        let Some(held_back) = self
            .limiter
            .admit("document-refused", "ack", crate::clock::monotonic_ms())
        else {
            return;
        };
        tracing::warn!(held_back, "an ack is refused, nothing is deleted: {problem}");
        let message = format!("{problem} ({held_back} more like this before)");
        telemetry.event("document-refused", Severity::Alarm, "ack", message);
    }
}

/// Hands on what comes in, until the client is shut down.
pub(crate) async fn receive(
    mut incoming: Incoming,
    fleet: Fleet,
    boot_id: u64,
    core: CoreSender,
    telemetry: Telemetry,
    mut acks: AckCheck,
) {
    while let Some(event) = incoming.recv().await {
        match event {
            Event::Connected { .. } => {
                tracing::info!("connected to the fleet's broker");
                if let Ok(online) = (Presence { boot_id, online: true }).encode() {
                    drop(fleet.publish(Up::Presence, online));
                }
                telemetry.connected(true);
                core.fleet(FleetEvent::Connected).await;
            }
            Event::Disconnected { reason } => {
                tracing::warn!(
                    reason,
                    "the connection to the fleet's broker ended; what serves goes on"
                );
                telemetry.connected(false);
                core.fleet(FleetEvent::Disconnected).await;
            }
            Event::Retrying { reason, wait } => {
                tracing::warn!(
                    reason,
                    wait_ms = wait.as_millis() as u64,
                    "failed to reach the fleet's broker"
                );
            }
            Event::Refused { topic, reason } => {
                tracing::error!(topic, reason, "the fleet's broker refused; check its access list");
            }
            Event::Message(message) => match message.topic.parse() {
                Ok(Topic::Down { kind: Down::Assign, .. }) => core.fleet(FleetEvent::Assign(message.payload)).await,
                Ok(Topic::Down {
                    kind: Down::Command, ..
                }) => core.fleet(FleetEvent::Command(message.payload)).await,
                Ok(Topic::Down { kind: Down::Chunk, .. }) => core.fleet(FleetEvent::Chunk(message.payload)).await,
                Ok(Topic::Down { kind: Down::Ack, .. }) => acks.take(&message.payload, &telemetry),
                Ok(_) | Err(_) => tracing::debug!(topic = message.topic, "a message that is not for a device"),
            },
        }
    }
}
