//! Every command of a fleet, given with the command line to a hub and carried out by a live agent; and what `watch`
//! makes of the agent's own messages.

use anyhow::{Context as _, Result, ensure};
use floorhand_tests::{Agent, Hub, PATIENCE, Process, Site, run, wait_for, workspace};
use serde_json::{Value, json};

const DEVICE: &str = "press-1";

/// A hub with its own broker, and an enrolled agent that replays a recording.
fn fleet(site: &Site) -> Result<(Hub, Agent)> {
    let hub = site.start_hub_alone()?;
    let training = workspace().join("tests/skab/fixture/anomaly-free.csv");
    let mut agent = site.device(
        DEVICE,
        &json!({
            "fleet_connection": { "broker": hub.broker },
            "source": [{ "type": "file", "path": training, "rate_hz": 100.0, "repeat": true }],
            "sink": [{ "type": "jsonl", "path": site.path("results.jsonl") }],
        }),
    )?;
    hub.fleet_ok(&["enroll", DEVICE, "--key", &site.text(&format!("{DEVICE}.pub"))])?;
    agent.start()?;
    agent.wait_until("connection", |status| status["fleet_connected"] == true)?;
    Ok((hub, agent))
}

/// The job that a command made has ended well at the hub, too.
fn succeeded(hub: &Hub, kind: &str) -> Result<()> {
    wait_for(&format!("end of {kind}"), PATIENCE, || {
        let jobs = hub.fleet_ok(&["jobs"])?;
        let newest = jobs
            .as_array()
            .and_then(|jobs| jobs.iter().find(|job| job["kind"] == kind).cloned());
        let newest = newest.with_context(|| format!("no job of kind {kind} in {jobs:#}"))?;
        let job = hub.fleet_ok(&["jobs", newest.get("id").and_then(Value::as_str).unwrap_or_default()])?;
        let status = job.pointer("/assignments/0/status").and_then(Value::as_str);
        ensure!(status.is_some(), "no assignment in {job:#}");
        Ok((status == Some("SUCCEEDED")).then_some(()))
    })
}

/// Samples and results so far.
fn counted(status: &Value) -> (u64, u64) {
    let count = |name: &str| status.get(name).and_then(Value::as_u64).unwrap_or_default();
    (count("samples"), count("results"))
}

#[test]
fn a_live_agent_carries_out_every_command() -> Result<()> {
    let site = Site::new()?;
    let (hub, mut agent) = fleet(&site)?;
    for major in [1, 2] {
        let file = site.pack_fixture(major)?;
        hub.fleet_ok(&[
            "deploy",
            &file.to_string_lossy(),
            "--device",
            DEVICE,
            "--wait",
            "--timeout",
            "120",
        ])
        .with_context(|| agent.tail())?;
        let version = format!("{major}.0.0");
        agent.wait_until("commit", |status| {
            status.pointer("/active/version") == Some(&json!(version))
        })?;
    }

    hub.fleet_ok(&["pause", DEVICE])?;
    let paused = agent.wait_until("pause", |status| status["mode"] == "paused")?;
    succeeded(&hub, "pause")?;
    // What was queued before the pause may still be worked on; then samples go by, and no result comes of them.
    let before = std::cell::Cell::new(counted(&paused));
    let later = agent.wait_until("samples that go by", |status| {
        let ((samples, results), now) = (before.get(), counted(status));
        if now.0 < samples + 50 {
            return false;
        }
        before.set(now);
        now.1 == results
    })?;
    hub.fleet_ok(&["resume", DEVICE])?;
    agent.wait_until("results again", |status| {
        status["mode"] == "run" && status["results"].as_u64() > later["results"].as_u64()
    })?;
    succeeded(&hub, "resume")?;

    let watched = site.path("watched.jsonl");
    let mut watch = watch(&hub, &watched, 40)?;
    hub.fleet_ok(&["set-sampling", DEVICE, "1"])?;
    succeeded(&hub, "set-sampling")?;
    let told = hub.fleet_ok(&["report-now", DEVICE])?;
    let body = told
        .pointer("/outcome/done/body")
        .and_then(Value::as_str)
        .context("report-now has a body")?;
    let status: Value = serde_json::from_str(body)?;
    ensure!(status.pointer("/active/version") == Some(&json!("2.0.0")), "{status:#}");
    let logs = hub.fleet_ok(&["fetch-logs", DEVICE, "--lines", "50"])?;
    let lines = logs
        .pointer("/outcome/done/body")
        .and_then(Value::as_str)
        .unwrap_or_default();
    ensure!(
        lines.contains("ReportNow"),
        "the log says nothing of the command before:\n{lines}"
    );
    ensure!(watch.wait(PATIENCE)? == Some(0), "{}", watch.tail());
    check_watched(&std::fs::read_to_string(&watched)?)?;

    hub.fleet_ok(&["rollback", DEVICE, "--wait", "--timeout", "120"])?;
    let back = agent.wait_until("rollback", |status| {
        status.pointer("/active/version") == Some(&json!("1.0.0"))
    })?;
    ensure!(back.pointer("/previous/version") == Some(&json!("2.0.0")), "{back:#}");
    succeeded(&hub, "rollback")?;
    agent.stop()
}

fn watch(hub: &Hub, into: &std::path::Path, count: u64) -> Result<Process> {
    let count = count.to_string();
    let arguments = [
        "--json",
        "watch",
        "--fleet",
        "plant-a",
        "--broker",
        &hub.broker,
        "--hub",
        &hub.url,
        "--count",
        &count,
    ];
    let process = Process::start(into, &arguments)?;
    wait_for("watcher that is connected", PATIENCE, || {
        Ok(process.log().contains("connected to").then_some(()))
    })?;
    Ok(process)
}

/// Batches with predictions and metrics, and the answers to what was commanded meanwhile, all with the device's signature.
fn check_watched(log: &str) -> Result<()> {
    let seen: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    ensure!(seen.len() == 40, "{} messages in\n{log}", seen.len());
    for message in &seen {
        ensure!(
            message["device"] == DEVICE && (message["signature"] == "valid" || message["kind"] == "presence"),
            "{message:#}"
        );
    }
    let kinds = |kind: &'static str| seen.iter().filter(move |message| message["kind"] == kind);
    ensure!(kinds("answer").count() >= 2 && kinds("batch").count() > 0, "{log}");
    let records: Vec<&Value> = kinds("batch")
        .filter_map(|batch| batch.pointer("/message/records")?.as_array())
        .flatten()
        .collect();
    ensure!(
        records.iter().any(|record| record.to_string().contains("prediction")),
        "no prediction in {records:#?}"
    );
    Ok(())
}

#[test]
fn commands_that_cannot_be_carried_out_say_why() -> Result<()> {
    let site = Site::new()?;
    let hub = site.start_hub_alone()?;
    for (arguments, code, part) in [
        (&["pause", "ghost"] as &[&str], 1, "no device"),
        (&["deploy", "skab@1.0.0", "--all"], 1, "no bundle"),
        (&["deploy", "missing.fhb", "--all"], 2, "missing.fhb"),
    ] {
        let ended = hub.fleet(arguments)?;
        ensure!(
            ended.code == Some(code) && ended.stderr.contains(part) && ended.stderr.lines().count() == 1,
            "{arguments:?}: {ended:?}"
        );
    }
    let nowhere = run(&["fleet", "--hub", "http://127.0.0.1:1", "ls"])?;
    ensure!(
        nowhere.code == Some(4) && nowhere.stderr.contains("127.0.0.1:1"),
        "{nowhere:?}"
    );
    Ok(())
}
