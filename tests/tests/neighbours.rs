//! Several bundles on one machine: an agent for each, with nothing in common but the hub.

use anyhow::{Context as _, Result, ensure};
use floorhand_tests::{Agent, Hub, Site, workspace};
use serde_json::{Value, json};

fn agent(site: &Site, hub: &Hub, name: &str) -> Result<Agent> {
    let training = workspace().join("tests/skab/fixture/anomaly-free.csv");
    let mut agent = site.device(
        name,
        &json!({
            "fleet_connection": { "broker": hub.broker },
            "source": [{ "type": "file", "path": training, "rate_hz": 100.0, "repeat": true }],
            "sink": [{ "type": "jsonl", "path": site.path(&format!("{name}.jsonl")) }],
        }),
    )?;
    hub.fleet_ok(&["enroll", name, "--key", &site.text(&format!("{name}.pub"))])?;
    agent.start()?;
    agent.wait_until("connection", |status| status["fleet_connected"] == true)?;
    Ok(agent)
}

fn runs(version: &'static str) -> impl Fn(&Value) -> bool {
    move |status| status.pointer("/active/version") == Some(&json!(version))
}

#[test]
fn one_bundle_of_a_machine_goes_back_and_another_agent_dies_and_neither_is_noticed() -> Result<()> {
    let site = Site::new()?;
    let hub = site.start_hub_alone()?;
    let (mut first, mut second) = (agent(&site, &hub, "press-1")?, agent(&site, &hub, "press-1-line-2")?);
    let (old, new) = (site.pack_fixture(1)?, site.pack_fixture(2)?);
    for (packed, device) in [(&old, "press-1"), (&old, "press-1-line-2"), (&new, "press-1-line-2")] {
        let packed = packed.to_string_lossy();
        hub.fleet_ok(&["deploy", &packed, "--device", device, "--wait", "--timeout", "120"])
            .with_context(|| format!("{}\n{}", first.tail(), second.tail()))?;
    }
    first.wait_until("its bundle", runs("1.0.0"))?;
    let before = second.wait_until("its bundle", runs("2.0.0"))?;

    first.process()?.kill()?;
    let results = |status: &Value| status["results"].as_u64().unwrap_or(0);
    let after = second.wait_until("results beside a dead neighbour", |status| {
        results(status) > results(&before) + 50
    })?;
    ensure!(after["boot_id"] == before["boot_id"], "{after:#}");

    first.start()?;
    first.wait_until("its bundle again", runs("1.0.0"))?;
    hub.fleet_ok(&["rollback", "press-1-line-2", "--wait", "--timeout", "120"])?;
    second.wait_until("the bundle before", runs("1.0.0"))?;
    let shown = first.wait_until("its own bundle still", runs("1.0.0"))?;
    ensure!(shown["previous"].is_null(), "{shown:#}");
    // What each may take is told where the machine tells it.
    let budget = &shown["budget"];
    let told = budget["memory_bytes"].as_u64() > Some(0);
    let tells = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    ensure!(told || (budget.is_null() && !tells), "{shown:#}");
    first.stop()?;
    second.stop()
}
