//! The blob's topic: subscribing while something is fetched, and what comes there.

use super::assembly::Core;
use crate::clock::monotonic_ms;
use crate::delivery::Way;
use floorhand_bundle::Digest;
use floorhand_protocol::ChunkMessage;

/// After listening has brought forgeries, or nothing, the device asks for itself alone for this long.
const DEAF_MS: u64 = 600_000;
/// A topic that nothing is fetched of is unsubscribed from once in this time, however much comes there.
const STRAY_MS: u64 = 1_000;

/// What the core knows of blobs' topics.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    /// The one that is subscribed to.
    subscribed: Option<Digest>,
    deaf_until_ms: u64,
    stray_ms: u64,
}

impl Core {
    /// Subscribes to the topic of what is fetched, and to no other. Before a request, so that the broker knows of the
    /// subscription when the hub reads the request.
    pub(super) fn listen(&mut self, now_ms: u64) {
        // Without a connection everything stays as it is: the broker remembers the subscription, and so does the client.
        let Some(fleet) = self.setup.fleet.as_ref().filter(|_| self.connected) else {
            return;
        };
        let download = self.fetching.as_mut().and_then(|fetching| fetching.download.as_mut());
        let topics = &mut self.topics;
        let may_listen = now_ms >= topics.deaf_until_ms;
        let wanted = download
            .as_ref()
            .filter(|download| may_listen && download.wants_topic())
            .map(|download| download.blob().sha256);
        if topics.subscribed != wanted {
            if let Some(old) = topics.subscribed.take()
                && let Err(error) = fleet.stop_listening(old)
            {
                tracing::debug!(%error, "still subscribed to a blob's topic; the next chunk there ends it");
            }
            topics.subscribed = wanted.filter(|&blob| match fleet.listen(blob) {
                Ok(()) => true,
                Err(error) => {
                    tracing::debug!(%error, "not subscribed to the blob's topic now");
                    drop(fleet.stop_listening(blob));
                    false
                }
            });
        }
        if let Some(download) = download {
            if may_listen && !download.is_complete() && !download.wants_topic() {
                topics.deaf_until_ms = now_ms + DEAF_MS;
            }
            download.subscribed(topics.subscribed == Some(download.blob().sha256));
        }
    }

    /// Takes what came on a blob's topic.
    pub(super) fn take_broadcast(&mut self, blob: Digest, bytes: &[u8]) {
        let now_ms = monotonic_ms();
        let download = self.fetching.as_mut().and_then(|fetching| fetching.download.as_mut());
        let Some(download) = download.filter(|download| download.blob().sha256 == blob) else {
            return self.stray(blob, now_ms);
        };
        match ChunkMessage::decode(bytes) {
            Ok(message) => self.take_message(message, Way::Broadcast, now_ms),
            Err(error) => {
                download.unreadable();
                self.refused("blob topic", &error.to_string());
            }
        }
    }

    /// The broker doesn't let this device listen.
    pub(super) fn topic_refused(&mut self) {
        self.topics.deaf_until_ms = monotonic_ms() + DEAF_MS;
        let download = self.fetching.as_mut().and_then(|fetching| fetching.download.as_mut());
        if let Some(download) = download {
            download.stop_listening();
        }
    }

    /// Something that isn't fetched, or not any more: a subscription that an earlier run of the agent has left.
    fn stray(&mut self, blob: Digest, now_ms: u64) {
        if now_ms.saturating_sub(self.topics.stray_ms) < STRAY_MS {
            return;
        }
        self.topics.stray_ms = now_ms;
        if let Some(fleet) = &self.setup.fleet {
            drop(fleet.stop_listening(blob));
        }
    }
}
