//! What comes in on the fleet connection, and whom it is handed to.

use crate::core::CoreSender;
use crate::fleet::{Fleet, FleetEvent};
use crate::limiter::Limiter;
use crate::renewal::Answers;
use crate::telemetry::Telemetry;
use crate::trust::SharedTrust;
use floorhand_bundle::DeviceId;
use floorhand_protocol::{Ack, Down, Presence, Severity, Topic, Up};
use floorhand_transport::{Event, Incoming};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What acks are checked with. They go past the core, which may be busy loading a model.
pub(crate) struct AckCheck {
    pub(crate) trust: SharedTrust,
    pub(crate) device: DeviceId,
    pub(crate) clock_floor_ms: Arc<AtomicU64>,
    pub(crate) limiter: Limiter,
}

impl AckCheck {
    fn take(&mut self, bytes: &[u8], telemetry: &Telemetry) {
        let floor_ms = self.clock_floor_ms.load(Ordering::Relaxed);
        let trust = self.trust.now();
        let now_ms = trust.now_ms(floor_ms);
        let open = |root| Ack::open(bytes, root, &self.device, now_ms).map_err(|error| error.to_string());
        match trust.root().and_then(open) {
            Ok(ack) => telemetry.ack(&ack),
            Err(problem) => self.refused(&problem, telemetry),
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
    certificates: Option<Answers>,
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
                if let Ok(Topic::Blob { .. }) = topic.parse() {
                    core.fleet(FleetEvent::TopicRefused).await;
                }
            }
            Event::Message(message) => match message.topic.parse() {
                Ok(Topic::Down { kind: Down::Assign, .. }) => core.fleet(FleetEvent::Assign(message.payload)).await,
                Ok(Topic::Down {
                    kind: Down::Command, ..
                }) => core.fleet(FleetEvent::Command(message.payload)).await,
                Ok(Topic::Down { kind: Down::Chunk, .. }) => core.fleet(FleetEvent::Chunk(message.payload)).await,
                Ok(Topic::Down { kind: Down::Root, .. }) => core.fleet(FleetEvent::Root(message.payload)).await,
                Ok(Topic::Blob { digest, .. }) => core.broadcast(digest, message.payload).await,
                Ok(Topic::Down { kind: Down::Ack, .. }) => acks.take(&message.payload, &telemetry),
                Ok(Topic::Down {
                    kind: Down::Certificate,
                    ..
                }) => {
                    // Full only where more come than were asked for.
                    if let Some(answers) = &certificates {
                        drop(answers.try_send(message.payload));
                    }
                }
                Ok(_) | Err(_) => tracing::debug!(topic = message.topic, "a message that is not for a device"),
            },
        }
    }
}
