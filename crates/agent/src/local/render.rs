//! A status as the person in front of the box reads it.

use std::fmt::{self, Write as _};

use crate::budget::Budget;
use floorhand_protocol::Mode;

use super::status::{Flow, Running, Status};

/// The labels' column, in characters.
const LABEL: usize = 13;
/// A day.
const DAY_MS: u64 = 24 * 3600 * 1000;
/// Digits of a digest that tell bundles apart at a glance; all 64 are in the JSON.
const SHORT_DIGEST: usize = 12;

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Lines { to: f, first: true };
        let Self {
            device,
            fleet,
            hardware,
            agent,
            boot_id,
            pid,
            ..
        } = self;
        lines.line("device", format_args!("{device} of fleet {fleet} ({hardware})"))?;
        let uptime = duration(self.uptime_s);
        lines.line(
            "agent",
            format_args!("{agent}, up for {uptime} (process {pid}, boot {boot_id})"),
        )?;
        lines.line("hub", connected(self.fleet_connected, "the agent goes on without it"))?;
        lines.line(
            "plant broker",
            connected(self.plant_connected, "no samples or results pass through it"),
        )?;
        if !self.engines.is_empty() {
            lines.line("engines", self.engines.join(", "))?;
        }
        self.bundles(&mut lines)?;
        self.counts(&mut lines)?;
        for (index, error) in self.last_errors.iter().rev().enumerate() {
            lines.line(if index == 0 { "last errors" } else { "" }, error)?;
        }
        Ok(())
    }
}

impl Status {
    fn bundles(&self, lines: &mut Lines<'_, '_>) -> fmt::Result {
        match (&self.active, self.mode) {
            (Some(active), _) if self.unserved => lines.line(
                "runs",
                format_args!(
                    "nothing: {active} can't be loaded; what is damaged is fetched again when the hub is there"
                ),
            )?,
            (Some(active), Mode::Run) => lines.line("runs", active)?,
            (Some(active), Mode::Paused) => lines.line("paused", format_args!("{active}; resume it from the hub"))?,
            (None, Mode::Paused) => lines.line("runs", "nothing yet, and is paused: resume it from the hub")?,
            (None, Mode::Run) => lines.line("runs", "nothing yet: deploy a bundle from the hub, or import one")?,
        }
        if let Some(previous) = &self.previous {
            lines.line("goes back to", previous)?;
        }
        match (&self.candidate, self.trial) {
            (Some(candidate), Some(trial)) => {
                let (seen, needed) = (trial.seen, trial.needed);
                lines.line("tries", format_args!("{candidate}: {seen} of {needed} samples passed"))?;
            }
            (Some(candidate), None) => lines.line("tries", candidate)?,
            (None, _) => {}
        }
        if self.root_version > 0 {
            let days = self.root_expires_ms.saturating_sub(crate::clock::system_ms()) / DAY_MS;
            match days {
                0 => lines.line("trust root", format_args!("{}, expired or about to", self.root_version))?,
                days => lines.line(
                    "trust root",
                    format_args!("{}, good for {days} days", self.root_version),
                )?,
            }
        }
        lines.line("deployment", &self.deployment)?;
        lines.line(
            "orders",
            format_args!(
                "last assignment {}, floor {} (no older release is taken)",
                self.seq, self.floor
            ),
        )
    }

    fn counts(&self, lines: &mut Lines<'_, '_>) -> fmt::Result {
        let Self {
            samples,
            results,
            failures,
            spool,
            ..
        } = self;
        lines.line(
            "samples",
            format_args!("{samples} taken, {results} results, {failures} failed"),
        )?;
        let waiting = format!("{} records ({}) wait for the hub", spool.records, bytes(spool.bytes));
        match spool.dropped {
            0 => lines.line("telemetry", waiting)?,
            dropped => lines.line("telemetry", format_args!("{waiting}; {dropped} had to make room"))?,
        }
        if let Some(budget) = &self.budget {
            lines.line("budget", budget)?;
        }
        for (label, flows) in [("source", &self.sources), ("sink", &self.sinks)] {
            for flow in flows {
                lines.line(label, flow)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = self.bundle.get(..SHORT_DIGEST).unwrap_or(&self.bundle);
        write!(
            f,
            "{} {} (generation {}, {digest})",
            self.name, self.version, self.generation
        )?;
        match self.engine.as_str() {
            "" => Ok(()),
            engine => write!(f, " in {engine}"),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.count)?;
        if self.dropped > 0 {
            write!(f, ", {} lost", self.dropped)?;
        }
        Ok(())
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = bytes(self.memory_bytes);
        match self.memory_limit_bytes {
            Some(limit) => write!(f, "{used} of {}", bytes(limit))?,
            None => write!(f, "{used}, no limit")?,
        }
        match self.cpu_limit {
            Some(limit) => write!(f, "; {limit} of a processor, held back for {} ms", self.throttled_ms)?,
            None => f.write_str("; processors without a limit")?,
        }
        match (self.memory_limit_hits, self.ended_for_memory) {
            (0, 0) => Ok(()),
            (hits, ended) => write!(
                f,
                "; {hits} times at the limit of memory, {ended} processes ended for it"
            ),
        }
    }
}

/// Aligned lines. What comes from elsewhere, a name or an error, can't bring control characters into a terminal.
struct Lines<'a, 'f> {
    to: &'a mut fmt::Formatter<'f>,
    first: bool,
}

impl Lines<'_, '_> {
    fn line(&mut self, label: &str, text: impl fmt::Display) -> fmt::Result {
        if !std::mem::take(&mut self.first) {
            self.to.write_char('\n')?;
        }
        write!(self.to, "{label:LABEL$}  ")?;
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        text.to_string().chars().try_for_each(|c| self.to.write_char(shown(c)))
    }
}

fn connected(connected: Option<bool>, consequence: &str) -> String {
    match connected {
        None => "not configured".to_owned(),
        Some(true) => "connected".to_owned(),
        Some(false) => format!("not connected, trying again; {consequence}"),
    }
}

/// In the two largest units that say something.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SpoolStatus, Trial};
    use super::*;

    #[test]
    fn a_status_is_readable() {
        let running = |generation, version: &str| Running {
            generation,
            bundle: "1f2e3d4c5b6a".repeat(5) + "abcd",
            name: "bearing".to_owned(),
            version: version.to_owned(),
            engine: if generation == 3 { "onnxruntime 1.31.1" } else { "" }.to_owned(),
        };
        let mut status = Status {
            agent: "0.1.0".to_owned(),
            device: "press-01".to_owned(),
            fleet: "plant-a".to_owned(),
            hardware: "gateway-x86".to_owned(),
            boot_id: "00c0ffee00c0ffee".to_owned(),
            uptime_s: 11_530,
            pid: 812,
            fleet_connected: Some(false),
            engines: vec!["onnxruntime 1.31.1".to_owned(), "tract".to_owned()],
            active: Some(running(3, "1.1.0")),
            candidate: Some(running(4, "1.2.0")),
            trial: Some(Trial { seen: 37, needed: 200 }),
            deployment: "in its trial".to_owned(),
            seq: 17,
            spool: SpoolStatus {
                records: 12,
                bytes: 4096,
                dropped: 2,
            },
            budget: Some(Budget {
                memory_bytes: 82 << 20,
                memory_limit_bytes: Some(200 << 20),
                cpu_limit: Some(0.5),
                ..Budget::default()
            }),
            samples: 100,
            results: 99,
            failures: 1,
            sinks: vec![Flow {
                name: "mqtt:a/b".to_owned(),
                count: 99,
                dropped: 1,
            }],
            ..Status::default()
        };
        status.root_version = 2;
        status.remember("first");
        status.remember("second\x1b[31m\nline");
        let expected = "\
device         press-01 of fleet plant-a (gateway-x86)
agent          0.1.0, up for 3 h 12 min (process 812, boot 00c0ffee00c0ffee)
hub            not connected, trying again; the agent goes on without it
plant broker   not configured
engines        onnxruntime 1.31.1, tract
runs           bearing 1.1.0 (generation 3, 1f2e3d4c5b6a) in onnxruntime 1.31.1
tries          bearing 1.2.0 (generation 4, 1f2e3d4c5b6a): 37 of 200 samples passed
trust root     2, expired or about to
deployment     in its trial
orders         last assignment 17, floor 0 (no older release is taken)
samples        100 taken, 99 results, 1 failed
telemetry      12 records (4 KiB) wait for the hub; 2 had to make room
budget         82 MiB of 200 MiB; 0.5 of a processor, held back for 0 ms
sink           mqtt:a/b: 99, 1 lost
last errors    second [31m line
               first";
        assert_eq!(status.to_string(), expected);
        let fresh = Status::default().to_string();
        assert!(fresh.contains("nothing yet: deploy a bundle"), "{fresh}");
    }

    #[test]
    fn a_budget_that_was_used_up_and_one_without_limits() {
        let mut budget = Budget {
            memory_bytes: 5000,
            memory_limit_hits: 17,
            ended_for_memory: 2,
            ..Budget::default()
        };
        let expected =
            "4 KiB, no limit; processors without a limit; 17 times at the limit of memory, 2 processes ended for it";
        assert_eq!(budget.to_string(), expected);
        (budget.memory_limit_hits, budget.ended_for_memory) = (0, 0);
        assert_eq!(budget.to_string(), "4 KiB, no limit; processors without a limit");
    }

    #[test]
    fn durations_and_sizes() {
        for (seconds, expected) in [
            (59, "59 s"),
            (60, "1 min"),
            (3600, "1 h 0 min"),
            (180_000, "2 days 2 h"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
        for (size, expected) in [(1023, "1023 bytes"), (1024, "1 KiB"), (3 << 20, "3 MiB")] {
            assert_eq!(bytes(size), expected);
        }
    }
}
