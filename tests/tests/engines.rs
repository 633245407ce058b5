//! Bundles that ask for an engine: on a device that offers it, and on one whose library is none.

use anyhow::{Context as _, Result, ensure};
use floorhand_tests::{Agent, Ended, Hub, Site, onnxruntime_library, run_with, wait_for, workspace};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folder of the bundle of tests/skab as version `major`, whose model may run in these engines.
fn folder(site: &Site, major: u64, engines: &str) -> Result<PathBuf> {
    site.pack_fixture(major)?;
    let folder = site.path(&format!("bundle-{major}"));
    let recipe = fs::read_to_string(folder.join("bundle.toml"))?;
    let model = "file = \"model.onnx\"\n";
    ensure!(recipe.contains(model), "{recipe}");
    let recipe = recipe.replacen(model, &format!("{model}engines = [{engines}]\n"), 1);
    fs::write(folder.join("bundle.toml"), recipe)?;
    Ok(folder)
}

fn pack(site: &Site, folder: &Path, library: Option<&str>) -> Result<(PathBuf, Ended)> {
    let file = folder.with_extension("fhb");
    let [from, to, key] = [
        folder.display().to_string(),
        file.display().to_string(),
        site.text("release.key"),
    ];
    let settings: Vec<(&str, &str)> = library
        .map(|path| ("FLOORHAND_ONNXRUNTIME", path))
        .into_iter()
        .collect();
    let ended = run_with(&["bundle", "pack", &from, "-o", &to, "--key", &key], &settings)?;
    Ok((file, ended))
}

fn device(site: &Site, hub: &Hub, name: &str, library: &str) -> Result<Agent> {
    let training = workspace().join("tests/skab/fixture/anomaly-free.csv");
    let mut agent = site.device(
        name,
        &json!({
            "fleet_connection": { "broker": hub.broker },
            "source": [{ "type": "file", "path": training, "rate_hz": 100.0, "repeat": true }],
            "sink": [{ "type": "jsonl", "path": site.path(&format!("{name}.jsonl")) }],
            "engines": { "onnxruntime": library },
        }),
    )?;
    hub.fleet_ok(&["enroll", name, "--key", &site.text(&format!("{name}.pub"))])?;
    agent.start()?;
    agent.wait_until("connection", |status| status["fleet_connected"] == true)?;
    Ok(agent)
}

fn deploy(hub: &Hub, file: &Path, device: &str) -> Result<Ended> {
    let file = file.display().to_string();
    hub.fleet(&["deploy", &file, "--device", device, "--wait", "--timeout", "120"])
}

/// The engine of the first result that a device has written with one.
fn result_in(site: &Site, device: &str) -> Result<String> {
    let file = site.path(&format!("{device}.jsonl"));
    wait_for("a result with its engine", Duration::from_secs(60), || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        // The last line may not be whole yet.
        let results = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut engines = results.filter_map(|result| Some(result.get("engine")?.as_str()?.to_owned()));
        Ok(engines.next())
    })
}

fn engine(status: &Value) -> &str {
    status
        .pointer("/active/engine")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[test]
fn what_a_bundle_asks_for_and_a_device_offers_runs_its_model() -> Result<()> {
    let Some(library) = onnxruntime_library()? else {
        return Ok(());
    };
    let site = Site::new()?;
    let either = folder(&site, 1, "\"onnxruntime\", \"tract\"")?;
    let (_, without) = pack(&site, &either, None)?;
    ensure!(
        without.code == Some(0) && without.stderr.contains("golden cases were not run in onnxruntime"),
        "{without:?}"
    );
    let (either, packed) = pack(&site, &either, Some(&library))?;
    ensure!(
        packed.code == Some(0) && !packed.stderr.contains("were not run"),
        "{packed:?}"
    );
    let alone = folder(&site, 2, "\"onnxruntime\"")?;
    let (_, refused) = pack(&site, &alone, None)?;
    ensure!(
        refused.code != Some(0) && refused.stderr.contains("FLOORHAND_ONNXRUNTIME"),
        "{refused:?}"
    );
    let (alone, packed) = pack(&site, &alone, Some(&library))?;
    ensure!(packed.code == Some(0), "{packed:?}");

    let hub = site.start_hub_alone()?;
    let mut offers = device(&site, &hub, "press-1", &library)?;
    for file in [&either, &alone] {
        let deployed = deploy(&hub, file, "press-1")?;
        ensure!(deployed.code == Some(0), "{deployed:?}\n{}", offers.tail());
        let status = offers.wait_until("commit", |status| engine(status).starts_with("onnxruntime 1."))?;
        ensure!(status["engines"].to_string().contains("tract"), "{status:#}");
    }
    ensure!(result_in(&site, "press-1")?.starts_with("onnxruntime 1."));

    let none = site.path("libonnxruntime.so");
    fs::write(&none, "this is no library")?;
    let mut lacks = device(&site, &hub, "press-2", &none.display().to_string())?;
    let deployed = deploy(&hub, &either, "press-2")?;
    ensure!(deployed.code == Some(0), "{deployed:?}\n{}", lacks.tail());
    let status = lacks.wait_until("commit", |status| engine(status) == "tract")?;
    let told = status["engines"].to_string();
    ensure!(
        told.contains("no onnxruntime: ") && told.contains("libonnxruntime.so"),
        "{told}"
    );
    ensure!(result_in(&site, "press-2")? == "tract");
    // What may run in nothing else is refused, the hub is told why, and what served goes on.
    let refused = deploy(&hub, &alone, "press-2")?;
    ensure!(refused.code != Some(0), "{refused:?}");
    let jobs = hub.fleet_ok(&["jobs"])?;
    let newest = jobs.pointer("/0/id").and_then(Value::as_str).context("no job")?;
    let job = hub.fleet_ok(&["jobs", newest])?.to_string();
    ensure!(
        job.contains("none of the engines that the bundle names can run it"),
        "{job}"
    );
    let status = lacks.wait_until("what served", |status| engine(status) == "tract")?;
    ensure!(status.pointer("/active/version") == Some(&json!("1.0.0")), "{status:#}");
    wait_for("both events", Duration::from_secs(60), || {
        let records = Value::from(hub.records()?).to_string();
        let told = ["engine-missing", "engine-passed-over"]
            .iter()
            .all(|kind| records.contains(kind));
        Ok(told.then_some(()))
    })
}
