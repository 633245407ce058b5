//! What the agent tells about itself. Fields that one side doesn't know are ignored or take their default, so that a
//! command of one version understands a daemon of another.

use crate::budget::Budget;
use floorhand_protocol::Mode;
use serde::{Deserialize, Serialize};

/// Errors kept for the status, and bytes of each: a page, not a log.
const MAX_ERRORS: usize = 5;
const MAX_ERROR_BYTES: usize = 500;

/// What the agent is and does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    /// The agent's version.
    pub(crate) agent: String,
    /// The device.
    pub(crate) device: String,
    /// Its fleet.
    pub(crate) fleet: String,
    /// Its class of hardware.
    pub(crate) hardware: String,
    /// This start's id, 16 hexadecimal digits.
    pub(crate) boot_id: String,
    /// Seconds since the start.
    pub(crate) uptime_s: u64,
    /// The process.
    pub(crate) pid: u32,
    /// Whether the hub's broker is connected; `None` where none is configured.
    pub(crate) fleet_connected: Option<bool>,
    /// Whether the plant's broker is connected; `None` where none is configured.
    pub(crate) plant_connected: Option<bool>,
    /// Whether it works on samples.
    pub(crate) mode: Mode,
    /// The engines that it offers to bundles, and those that it would and can't.
    pub(crate) engines: Vec<String>,
    /// What serves.
    pub(crate) active: Option<Running>,
    /// What was committed can't be loaded: nothing serves until it is fetched again.
    #[serde(default)]
    pub(crate) unserved: bool,
    /// What it can go back to.
    pub(crate) previous: Option<Running>,
    /// What is tried.
    pub(crate) candidate: Option<Running>,
    /// How far the deployment is, for people.
    pub(crate) deployment: String,
    /// How far the trial is.
    pub(crate) trial: Option<Trial>,
    /// The highest assignment that was taken.
    pub(crate) seq: u64,
    /// The version of the trust root that counts; 0 from an agent that doesn't tell.
    pub(crate) root_version: u64,
    /// When it ends, in milliseconds since 1970 UTC.
    pub(crate) root_expires_ms: u64,
    /// The lowest release counter that is taken.
    pub(crate) floor: u64,
    /// The highest signed time that was seen, in milliseconds since 1970 UTC; 0 for none.
    pub(crate) clock_ms: u64,
    /// Telemetry that waits for the hub.
    pub(crate) spool: SpoolStatus,
    /// What the machine lets it have; `None` where nothing tells.
    pub(crate) budget: Option<Budget>,
    /// Samples since the start.
    pub(crate) samples: u64,
    /// Results since the start.
    pub(crate) results: u64,
    /// Samples that failed since the start.
    pub(crate) failures: u64,
    /// The last errors, newest last; see [`Status::remember`].
    pub(crate) last_errors: Vec<String>,
    /// Each source.
    pub(crate) sources: Vec<Flow>,
    /// Each sink.
    pub(crate) sinks: Vec<Flow>,
}

/// A bundle that is on the device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Running {
    /// The device's own number for it.
    pub(crate) generation: u64,
    /// The bundle's digest, 64 hexadecimal digits.
    pub(crate) bundle: String,
    /// The bundle's name.
    pub(crate) name: String,
    /// The bundle's version.
    pub(crate) version: String,
    /// What runs its model, with its version; empty while it isn't loaded, and from an agent that doesn't tell.
    pub(crate) engine: String,
}

/// A trial, in samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Trial {
    /// Those that went through every gate.
    pub(crate) seen: u64,
    /// Those it takes.
    pub(crate) needed: u64,
}

/// Telemetry that waits for the hub.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SpoolStatus {
    /// Records.
    pub(crate) records: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Records that had to make room since the start.
    pub(crate) dropped: u64,
}

/// A source or a sink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Flow {
    /// As the configuration names it, `mqtt:TOPIC` or `file:PATH`.
    pub(crate) name: String,
    /// What went through since the start.
    pub(crate) count: u64,
    /// What was lost there since the start.
    pub(crate) dropped: u64,
}

impl Status {
    /// Adds an error to those that are told, cut to a bounded length; the oldest makes room.
    pub(crate) fn remember(&mut self, error: &str) {
        let mut end = error.len().min(MAX_ERROR_BYTES);
        while !error.is_char_boundary(end) {
            end -= 1;
        }
        self.last_errors.push(error.get(..end).unwrap_or_default().to_owned());
        let excess = self.last_errors.len().saturating_sub(MAX_ERRORS);
        self.last_errors.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_versions_status_is_understood() {
        let older: Status = serde_json::from_str(r#"{"device": "press-01", "mode": "paused"}"#).unwrap();
        assert_eq!(
            (older.device.as_str(), older.mode, older.samples),
            ("press-01", Mode::Paused, 0)
        );
        let newer: Status =
            serde_json::from_str(r#"{"weather": "fine", "spool": {"records": 3, "age_s": 9}}"#).unwrap();
        assert_eq!(newer.spool.records, 3);
        let again: Status = serde_json::from_str(&serde_json::to_string(&newer).unwrap()).unwrap();
        assert_eq!(again, newer);
    }

    #[test]
    fn errors_are_bounded() {
        let mut status = Status::default();
        for index in 0..9 {
            status.remember(&format!("{index}{}", "ä".repeat(400)));
        }
        assert_eq!(status.last_errors.len(), MAX_ERRORS);
        assert!(status.last_errors[0].starts_with('4') && status.last_errors[0].len() <= MAX_ERROR_BYTES);
    }
}
