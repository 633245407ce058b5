//! Bundles are replaced while samples run: each sample has one result, from one of them.

use anyhow::{Context as _, Result, ensure};
use floorhand_tests::{Site, rows, workspace};
use serde_json::{Value, json};
use std::fs;

const DEVICE: &str = "press-1";
/// More than are worked on until the last bundle serves.
const SAMPLES: usize = 60_000;
const BUNDLES: u64 = 5;

fn runs(status: &Value, major: u64) -> bool {
    let version = format!("{major}.0.0");
    status.pointer("/active/version").and_then(Value::as_str) == Some(version.as_str())
}

fn results(status: &Value) -> u64 {
    status.get("results").and_then(Value::as_u64).unwrap_or(0)
}

/// A command that finds nobody on the socket checks and copies the bundle, and meanwhile the agent may have started.
#[test]
fn a_bundle_that_is_left_while_the_agent_starts_is_taken() -> Result<()> {
    let site = Site::new()?;
    let packed = site.pack_fixture(1)?;
    let mut agent = site.device(DEVICE, &json!({}))?;
    let stick = site.export(&packed, &agent.device, 1)?;
    let imported = agent.import(&stick)?;
    ensure!(imported.code == Some(0), "{imported:?}");
    let (inbox, aside) = (agent.state_dir().join("inbox.cose"), site.path("aside"));
    fs::rename(&inbox, &aside)?;
    agent.start()?;
    agent.wait_until("a status", |status| status.is_object())?;
    fs::rename(&aside, &inbox)?;
    // Without samples its trial goes on and on.
    let taken = |status: &Value| status.get("seq").and_then(Value::as_u64) == Some(1);
    agent.wait_until("taken and removed", |status| taken(status) && !inbox.exists())?;
    agent.stop()
}

#[test]
fn no_sample_is_missed_and_none_is_answered_twice() -> Result<()> {
    let site = Site::new()?;
    let rows = rows(&workspace().join("tests/skab/fixture/anomaly-free.csv"))?;
    let numbered = (0..SAMPLES).zip(rows.iter().cycle()).map(|(id, row)| {
        let mut row = row.clone();
        if let Some(object) = row.as_object_mut() {
            object.insert("id".to_owned(), id.into());
        }
        row.to_string()
    });
    let samples = site.path("samples.jsonl");
    fs::write(&samples, numbered.collect::<Vec<_>>().join("\n"))?;
    let sink = site.path("results.jsonl");
    let config = json!({
        "source": [{ "type": "file", "path": samples, "rate_hz": 400.0 }],
        "sink": [{ "type": "jsonl", "path": sink }],
    });
    let packed = (1..=BUNDLES)
        .map(|major| site.pack_fixture(major))
        .collect::<Result<Vec<_>>>()?;
    let mut agent = site.device(DEVICE, &config)?;
    agent.start()?;
    for (major, packed) in (1..).zip(&packed) {
        let stick = site.export(packed, &agent.device, major)?;
        let imported = agent.import(&stick)?;
        ensure!(imported.code == Some(0), "{imported:?}");
        let now = agent.wait_until("commit", |status| runs(status, major))?;
        agent.wait_until("more results", |status| results(status) > results(&now) + 20)?;
    }
    agent.stop()?;
    let text = fs::read_to_string(&sink)?;
    let results = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<Value>, _>>()?;
    let id = |result: &Value| result.get("id")?.as_str()?.parse::<usize>().ok();
    let ids = results
        .iter()
        .map(id)
        .collect::<Option<Vec<_>>>()
        .context("a result has no id")?;
    let first = *ids.first().context("no result")?;
    // The first bundle begins to serve somewhere; from there on there is one for each, in their order.
    let wrong = (first..).zip(&ids).find(|(expected, id)| expected != *id);
    ensure!(wrong.is_none(), "expected, and found: {wrong:?}");
    let mut bundles: Vec<&str> = results
        .iter()
        .filter_map(|result| result.get("bundle")?.as_str())
        .collect();
    bundles.dedup();
    ensure!(bundles.len() as u64 == BUNDLES, "{bundles:?}");
    Ok(())
}
