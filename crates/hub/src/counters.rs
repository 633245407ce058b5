//! What the hub counts since its start, for `/metrics`. Nothing is decided by these numbers.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident),+ $(,)?) => {
        /// Counts since the start of the process.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[doc = $help])+ pub(crate) $name: Counter,)+
        }

        impl Counters {
            /// Every counter as (name, help, value), in the order of their declaration.
            pub(crate) fn all(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($help),+).trim_ascii(), self.$name.value())),+]
            }
        }
    };
}

counters! {
    /// MQTT messages that came in.
    messages,
    /// Messages on topics that are none of the fleet protocol.
    foreign_topics,
    /// Messages from devices that are not registered.
    unknown_devices,
    /// Messages whose signature, encoding or content was refused.
    refused,
    /// Messages that were let go by because a queue was full; their senders repeat them.
    overload,
    /// Hellos that were repetitions of older ones.
    replays,
    /// Telemetry records that were stored.
    records,
    /// Telemetry records that were stored before.
    duplicates,
    /// Chunks that were sent.
    chunks,
    /// Bytes of chunks that were sent, before compression.
    chunk_bytes,
    /// Of these, chunks that were published once for all devices that listen.
    broadcast_chunks,
    /// Chunks that were asked for and are not here.
    unknown_chunks,
    /// Assignments that were published again because the device had not taken them.
    resent,
    /// Trust roots that were taken.
    roots,
    /// Trust roots that were sent to devices.
    roots_sent,
    /// Operations that failed because of the database or the disk.
    failures,
    /// HTTP requests that were answered.
    http_requests,
    /// HTTP requests that were refused: without a token, with a wrong one, without the role, or too often.
    http_denied,
    /// Messages that were let go by because their device sent too many; it repeats them.
    throttled,
}

/// One count.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub(crate) fn add_one(&self) {
        self.add(1);
    }

    /// Adds some.
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The count.
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_listed_with_their_help() {
        let counters = Counters::default();
        counters.replays.add(2);
        counters.replays.add_one();
        let all = counters.all();
        assert!(all.contains(&("replays", "Hellos that were repetitions of older ones.", 3)));
        assert!(all.iter().all(|(_, help, _)| help.ends_with('.')));
    }
}
