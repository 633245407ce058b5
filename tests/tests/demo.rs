//! `floorhand demo --once`: the story has to be seen from outside, every step of it.

use anyhow::{Context as _, Result, ensure};
use floorhand_tests::{Process, say};
use serde_json::Value;
use std::time::Duration;

/// The story takes a minute or two on two idle cores.
const TOLD_WITHIN: Duration = Duration::from_secs(900);

#[test]
fn every_step_of_the_demo_is_seen() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let report = dir.path().join("report.json");
    let arguments = ["demo", "--once", "--report", &report.to_string_lossy()];
    let mut demo = Process::start(&dir.path().join("demo.log"), &arguments)?;
    let code = demo.wait(TOLD_WITHIN)?;
    say(&demo.log());
    let text = std::fs::read_to_string(&report).with_context(|| format!("it ended with {code:?} and no report"))?;
    let steps: Vec<Value> = serde_json::from_str(&text)?;
    let unseen: Vec<&Value> = steps.iter().filter(|step| step["seen"] != true).collect();
    ensure!(unseen.is_empty() && code == Some(0), "it ended with {code:?}\n{text}");
    // Devices, five bundles, the wear, the forgeries, the outage: a story that got shorter isn't the story.
    ensure!(steps.len() >= 10, "only {} steps\n{text}", steps.len());
    Ok(())
}
