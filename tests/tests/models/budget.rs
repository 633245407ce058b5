//! Several bundles on one machine, each within its budget: one that wants more is held to it, and its neighbour doesn't notice.

use crate::{bombs, results, runs, serves, without_findings};
use anyhow::{Context as _, Result, ensure};
use floorhand_tests::{Agent, Group, PATIENCE, Site, wait_for, workspace};
use serde_json::{Value, json};

/// For the agent, and not for what is deployed to it second. A build for tests takes more than one for devices.
const BUDGET: u64 = 400 << 20;
/// Of one processor.
const PERCENT: u64 = 90;

fn agent(site: &Site, name: &str, rate_hz: f64) -> Result<Agent> {
    site.device(
        name,
        &json!({
            // So that the budget, and not the limit on loading, is what a model comes to.
            "models": { "memory_bytes": 8_u64 << 30, "load_timeout_s": 300 },
            "source": [{
                "type": "file",
                "path": workspace().join("tests/skab/fixture/anomaly-free.csv"),
                "rate_hz": rate_hz,
                "repeat": true,
            }],
        }),
    )
}

fn figure(status: &Value, name: &str) -> u64 {
    let figure = status.get("budget").and_then(|budget| budget.get(name));
    figure.and_then(Value::as_u64).unwrap_or(0)
}

#[test]
fn one_that_wants_more_than_its_budget_is_held_to_it_and_its_neighbour_serves_on() -> Result<()> {
    let (Some(first_group), Some(second_group)) = (Group::new(BUDGET, PERCENT)?, Group::new(BUDGET, PERCENT)?) else {
        return Ok(());
    };
    let site = Site::new()?;
    let (old, next) = (site.pack_fixture(1)?, site.pack_fixture(2)?);
    let (mut first, mut second) = (agent(&site, "press-1", 50.0)?, agent(&site, "press-1-line-2", 50.0)?);
    for (agent, group) in [(&mut first, &first_group), (&mut second, &second_group)] {
        agent.start_within(group)?;
        let stick = site.export(&old, &agent.device, 1)?;
        ensure!(agent.import(&stick)?.code == Some(0));
        let status = agent.wait_until("commit", |status| runs(status, "1.0.0"))?;
        ensure!(figure(&status, "memory_limit_bytes") == BUDGET, "{status:#}");
        ensure!(figure(&status, "ended_for_memory") == 0, "{status:#}");
        ensure!(status.pointer("/budget/cpu_limit") == Some(&json!(0.9)), "{status:#}");
    }
    let before = first.wait_until("results", |status| results(status) > Some(0))?;

    let stick = site.export(&site.with_model(&next, &bombs::grows())?, &second.device, 2)?;
    ensure!(second.import(&stick)?.code == Some(0));
    wait_for("the refusal", PATIENCE, || {
        let log = second.log();
        let told = |line: &&str| {
            line.contains("status=\"FAILED\" step=\"staged\"")
                && line.contains("the system ended it (signal: 9 (SIGKILL)")
        };
        Ok(log.lines().find(told).map(drop))
    })
    .with_context(|| without_findings(&second.log()))?;
    // It was the kernel that ended the model's process, and that alone.
    serves(&mut second)?;
    let held = second.wait_until("status", |status| figure(status, "ended_for_memory") > 0)?;
    ensure!(figure(&held, "memory_limit_hits") > 0, "{held:#}");
    ensure!(figure(&held, "memory_bytes") <= BUDGET, "{held:#}");
    // It is told with the next report of metrics.
    let told = "at the limit of 419430400 bytes";
    wait_for(told, PATIENCE, || Ok(second.log().contains(told).then_some(())))
        .with_context(|| without_findings(&second.log()))?;

    serves(&mut first)?;
    let after = first.wait_until("results", |status| results(status) > results(&before))?;
    ensure!(after.get("boot_id") == before.get("boot_id"), "{after:#}");
    ensure!(figure(&after, "ended_for_memory") == 0, "{after:#}");
    first.stop()?;
    second.stop()
}
