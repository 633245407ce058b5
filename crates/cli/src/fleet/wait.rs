//! Following a rollout until every device has come to an end: a bar for each device on a terminal, a line for each step
//! otherwise.

use super::client::{Hub, encoded};
use super::facts::{is_final, items, text};
use crate::exit::{Exit, Failure};
use crate::output::{Output, style};
use anyhow::{Context, Result};
use floorhand_protocol::Step;
use indicatif::{MultiProgress, ProgressBar};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Often enough for an eye, seldom enough for a hub that many operators watch.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// A hub that is restarted comes back within this time; its devices go on meanwhile.
const OUTAGE_LIMIT: Duration = Duration::from_secs(60);
/// The steps of a deployment in order; a bar has as many parts.
const STEPS: [Step; 6] = [
    Step::Assigned,
    Step::Fetching,
    Step::Verified,
    Step::Staged,
    Step::Trial,
    Step::Committed,
];

/// Follows a job, and gives the code to end with: that of a device failure when one hasn't succeeded. Gives up after
/// `limit`, which stops nothing: the devices go on.
pub(super) fn follow(hub: &Hub, job: &str, limit: Duration, out: &Output) -> Result<(Value, ExitCode)> {
    let started = Instant::now();
    let mut progress = Progress::new(out);
    loop {
        let state = ask(hub, job)?;
        let assignments = items(state.get("assignments").unwrap_or(&Value::Null));
        progress.show(assignments);
        let open = assignments
            .iter()
            .filter(|one| !is_final(&text(one, "/status")))
            .count();
        if open == 0 {
            progress.end();
            let failed = assignments.iter().any(|one| text(one, "/status") != "SUCCEEDED");
            let code = if failed { Exit::Device.into() } else { ExitCode::SUCCESS };
            return Ok((state, code));
        }
        if started.elapsed() > limit {
            progress.end();
            let message = format!(
                "{open} of {} devices have not come to an end within {} s; they go on: see `floorhand fleet jobs {job}`",
                assignments.len(),
                limit.as_secs()
            );
            return Err(Failure::new(Exit::Device, message).into());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// The job's state. A hub that is away for a while is asked again.
fn ask(hub: &Hub, job: &str) -> Result<Value> {
    let path = format!("jobs/{}", encoded(job));
    let started = Instant::now();
    loop {
        match hub.get(&path) {
            Err(error) if is_unreachable(&error) && started.elapsed() < OUTAGE_LIMIT => {
                std::thread::sleep(POLL_INTERVAL);
            }
            other => return other.with_context(|| format!("job {job} can't be followed")),
        }
    }
}

fn is_unreachable(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Failure>()
        .is_some_and(|failure| failure.exit() == Exit::Unreachable)
}

/// What the person sees meanwhile.
struct Progress<'a> {
    out: &'a Output,
    bars: MultiProgress,
    devices: BTreeMap<String, (ProgressBar, String)>,
}

impl<'a> Progress<'a> {
    fn new(out: &'a Output) -> Self {
        Self {
            out,
            bars: out.bars(),
            devices: BTreeMap::new(),
        }
    }

    fn show(&mut self, assignments: &[Value]) {
        for assignment in assignments {
            self.show_one(assignment);
        }
    }

    fn show_one(&mut self, assignment: &Value) {
        let device = text(assignment, "/device");
        let (status, step, reason) = (
            text(assignment, "/status"),
            text(assignment, "/step"),
            text(assignment, "/reason"),
        );
        let (bar, last) = self.devices.entry(device.clone()).or_insert_with(|| {
            let bar = self
                .bars
                .add(self.out.bar(STEPS.len() as u64, "{prefix:<16} [{bar:24}] {msg}"));
            (bar.with_prefix(device.clone()), String::new())
        });
        let said = [step.as_str(), status.as_str(), reason.as_str()]
            .join(" ")
            .trim()
            .to_owned();
        if *last == said {
            return;
        }
        if self.bars.is_hidden() && !self.out.is_json() {
            self.out.note(&format!("{device}: {said}"));
        }
        bar.set_position(position(&step));
        bar.set_message(said.clone());
        *last = said;
        if is_final(&status) {
            bar.set_style(style("{prefix:<16} [{bar:24}] {msg}"));
            bar.abandon();
        }
    }

    fn end(&self) {
        for (bar, _) in self.devices.values() {
            bar.abandon();
        }
    }
}

/// How many parts of a bar are done at a step.
fn position(step: &str) -> u64 {
    STEPS
        .iter()
        .position(|known| known.name() == step)
        .map_or(0, |index| index as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_when_committed() {
        assert_eq!(position("committed"), STEPS.len() as u64);
        assert_eq!(position("assigned"), 1);
        assert_eq!(position(""), 0);
    }
}
