//! The topic grammar. Every topic of the fleet connection is made and taken apart here.

use floorhand_bundle::{DeviceId, Digest, FleetId};
use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "fh/v1";

/// What the hub sends to one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// The desired state. The only topic whose messages are retained.
    Assign,
    /// Something to do once.
    Command,
    /// Telemetry that was taken.
    Ack,
    /// A chunk of a blob that was asked for.
    Chunk,
    /// The trust root after the one that the device has.
    Root,
    /// The certificate that was asked for.
    Certificate,
}

/// What one device sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Up {
    /// Who it is and what it runs.
    Hello,
    /// Telemetry.
    Batch,
    /// A request for chunks.
    Fetch,
    /// The answer to an assignment or a command.
    Answer,
    /// Online, or, as its last will, offline.
    Presence,
    /// A request for its next certificate.
    Renew,
}

impl Down {
    const ALL: [Self; 6] = [
        Self::Assign,
        Self::Command,
        Self::Ack,
        Self::Chunk,
        Self::Root,
        Self::Certificate,
    ];

    const fn level(self) -> &'static str {
        match self {
            Self::Assign => "assign",
            Self::Command => "cmd",
            Self::Ack => "ack",
            Self::Chunk => "chunk",
            Self::Root => "root",
            Self::Certificate => "certificate",
        }
    }
}

impl Up {
    const ALL: [Self; 6] = [
        Self::Hello,
        Self::Batch,
        Self::Fetch,
        Self::Answer,
        Self::Presence,
        Self::Renew,
    ];

    const fn level(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Batch => "batch",
            Self::Fetch => "fetch",
            Self::Answer => "answer",
            Self::Presence => "presence",
            Self::Renew => "renew",
        }
    }
}

/// A topic of the fleet connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// `fh/v1/FLEET/d/DEVICE/down/KIND`
    Down {
        /// The fleet.
        fleet: FleetId,
        /// The device it is for.
        device: DeviceId,
        /// What it carries.
        kind: Down,
    },
    /// `fh/v1/FLEET/d/DEVICE/up/KIND`
    Up {
        /// The fleet.
        fleet: FleetId,
        /// The device it is from.
        device: DeviceId,
        /// What it carries.
        kind: Up,
    },
    /// `fh/v1/FLEET/blob/DIGEST`: chunks of a blob for every device that wants it.
    Blob {
        /// The fleet.
        fleet: FleetId,
        /// The blob.
        digest: Digest,
    },
}

impl Topic {
    /// The filter by which a device takes all that is for it.
    #[must_use]
    pub fn filter_down(fleet: &FleetId, device: &DeviceId) -> String {
        format!("{PREFIX}/{fleet}/d/{device}/down/#")
    }

    /// The filter by which a hub takes what all devices of a fleet send. Hubs of the same `group` share the load.
    #[must_use]
    pub fn filter_up_shared(fleet: &FleetId, group: &str) -> String {
        format!("$share/{group}/{PREFIX}/{fleet}/d/+/up/#")
    }

    /// The filter by which an observer sees what all devices of a fleet send.
    #[must_use]
    pub fn filter_up(fleet: &FleetId) -> String {
        format!("{PREFIX}/{fleet}/d/+/up/#")
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down { fleet, device, kind } => write!(f, "{PREFIX}/{fleet}/d/{device}/down/{}", kind.level()),
            Self::Up { fleet, device, kind } => write!(f, "{PREFIX}/{fleet}/d/{device}/up/{}", kind.level()),
            Self::Blob { fleet, digest } => write!(f, "{PREFIX}/{fleet}/blob/{digest}"),
        }
    }
}

/// A topic that isn't one of the protocol's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no topic of the fleet protocol; see docs/protocol.md")]
pub struct TopicError(String);

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        parse(text).ok_or_else(|| TopicError(text.chars().take(200).collect()))
    }
}

fn parse(text: &str) -> Option<Topic> {
    let mut levels = text.strip_prefix(PREFIX)?.strip_prefix('/')?.split('/');
    let fleet = levels.next()?.parse().ok()?;
    let rest: Vec<&str> = levels.collect();
    match rest.as_slice() {
        ["d", device, "down", kind] => {
            let kind = Down::ALL.into_iter().find(|down| down.level() == *kind)?;
            Some(Topic::Down {
                fleet,
                device: device.parse().ok()?,
                kind,
            })
        }
        ["d", device, "up", kind] => {
            let kind = Up::ALL.into_iter().find(|up| up.level() == *kind)?;
            Some(Topic::Up {
                fleet,
                device: device.parse().ok()?,
                kind,
            })
        }
        ["blob", digest] => Some(Topic::Blob {
            fleet,
            digest: digest.parse().ok()?,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_round_trip() {
        let (fleet, device): (FleetId, DeviceId) = ("plant-a".parse().unwrap(), "press-07".parse().unwrap());
        let mut topics = vec![Topic::Blob {
            fleet: fleet.clone(),
            digest: Digest::of(b"x"),
        }];
        topics.extend(Down::ALL.map(|kind| Topic::Down {
            fleet: fleet.clone(),
            device: device.clone(),
            kind,
        }));
        topics.extend(Up::ALL.map(|kind| Topic::Up {
            fleet: fleet.clone(),
            device: device.clone(),
            kind,
        }));
        for topic in topics {
            assert_eq!(topic.to_string().parse::<Topic>().unwrap(), topic);
        }
    }

    #[test]
    fn others_are_refused() {
        for bad in [
            "",
            "fh/v1",
            "fh/v2/a/d/b/up/hello",
            "fh/v1/a/d/b/up/hello/x",
            "fh/v1/a/d/+/up/hello",
            "fh/v1/a/d/b/down/hello",
            "fh/v1/a/blob/12",
        ] {
            assert!(bad.parse::<Topic>().is_err(), "{bad}");
        }
    }
}
