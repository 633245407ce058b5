//! Explanations end to end: of models that people train, against the definition and against `shap`, by the program; and on a device, where a
//! finding is explained to its sinks and to the hub, and whoever stands at the box may ask.

#![expect(clippy::indexing_slicing, reason = "JSON that isn't there is null")]

use anyhow::{Context as _, Result, ensure};
use floorhand_testkit::shared_data;
use floorhand_tests::{Agent, Hub, PATIENCE, Site, python, run, run_ok, say, wait_for, workspace};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Of the larger of a row's answer and its largest contribution: tract and ONNX Runtime compute in 32 bits, and a contribution is
/// a difference of answers, with their rounding.
const TOLERANCE: f64 = 1e-5;

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn lines(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn number(value: &Value, key: &str) -> Result<f64> {
    value
        .get(key)
        .and_then(Value::as_f64)
        .with_context(|| format!("no number {key} in {value:#}"))
}

/// Packs a folder and explains the samples of a file.
fn explained(folder: &Path, input: &Path) -> Result<Vec<Value>> {
    let (packed, explanations) = (folder.join("out.fhb"), folder.join("explanations.jsonl"));
    run_ok(&["bundle", "pack", &text(folder), "-o", &text(&packed)])?;
    run_ok(&[
        "run",
        &text(&packed),
        "--input",
        &text(input),
        "--output",
        &text(&folder.join("results.jsonl")),
        "--explain",
        "--explanations",
        &text(&explanations),
    ])?;
    lines(&explanations)
}

/// A feature's contribution.
fn contribution(explanation: &Value, feature: &str) -> Result<f64> {
    let features = explanation
        .get("features")
        .and_then(Value::as_array)
        .context("no features")?;
    let found = features.iter().find(|one| one["feature"] == feature);
    number(
        found.with_context(|| format!("no {feature} in {explanation:#}"))?,
        "contribution",
    )
}

/// Holds an explanation against base, prediction and contributions by name; returns the largest difference.
fn check(explanation: &Value, expected: &Value, contributions: &[(String, f64)], tolerance: f64) -> Result<f64> {
    let largest = contributions.iter().map(|(_, value)| value.abs()).fold(0.0, f64::max);
    // A difference of answers has the answers' rounding.
    let scale = largest.max(number(expected, "prediction")?.abs());
    let mut worst = 0.0_f64;
    let mut sum = number(explanation, "base")?;
    let mut hold = |what: &str, actual: f64, wanted: f64| {
        worst = worst.max((actual - wanted).abs() / scale);
        ensure!(
            (actual - wanted).abs() <= tolerance * scale,
            "{what} is {actual} and not {wanted}: {explanation:#}"
        );
        Ok(())
    };
    for key in ["base", "prediction"] {
        hold(key, number(explanation, key)?, number(expected, key)?)?;
    }
    for (feature, wanted) in contributions {
        let actual = contribution(explanation, feature)?;
        sum += actual;
        hold(feature, actual, *wanted)?;
    }
    let prediction = number(explanation, "prediction")?;
    ensure!(
        (sum - prediction).abs() <= 1e-12 * scale.max(1.0),
        "{sum} is not {prediction}"
    );
    ensure!(
        explanation["exact"] == true && explanation["complete"] == true,
        "{explanation:#}"
    );
    Ok(worst)
}

#[test]
fn models_of_scikit_learn_are_explained_as_by_the_definition() -> Result<()> {
    let Some(python) = python("import numpy, onnxruntime, pandas, skl2onnx, sklearn") else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let output = Command::new(python)
        .arg(workspace().join("tests/python/explain/bundles.py"))
        .arg(dir.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for model in ["trees", "forest", "linear", "autoencoder"] {
        let folder = dir.path().join(model);
        let expected = lines(&folder.join("expected.jsonl"))?;
        let found = explained(&folder, &folder.join("input.csv"))?;
        ensure!(found.len() == expected.len(), "{} of {}", found.len(), expected.len());
        let mut worst = 0.0_f64;
        for (explanation, expected) in found.iter().zip(&expected) {
            let contributions = expected
                .get("contributions")
                .and_then(Value::as_object)
                .context("contributions")?;
            let contributions: Vec<(String, f64)> = contributions
                .iter()
                .map(|(name, value)| Ok((name.clone(), value.as_f64().context("a number")?)))
                .collect::<Result<_>>()?;
            let element = expected.get("element").filter(|element| !element.is_null());
            ensure!(explanation.get("element") == element, "{explanation:#}");
            let off = check(explanation, expected, &contributions, TOLERANCE).with_context(|| model.to_owned())?;
            worst = worst.max(off);
        }
        say(&format!("{model}: {worst:.1e}"));
    }
    Ok(())
}

const AUTOENCODER: &str = r#"
[bundle]
name = "ad01"
version = "1.0.0"
release_counter = 1

[[input]]
name = "input_1"
datatype = "FP32"
shape = [1, 640]

[model]
file = "model.onnx"

[golden]
file = "golden.jsonl"

[explain]
background = "background.jsonl"
measure = "reconstruction-error"
groups = { consecutive = 64 }
budget_ms = 600000
"#;

/// Golden cases of the model's own answer: what is tested here comes behind it.
fn golden(folder: &Path, row: &[f64]) -> Result<()> {
    let (input, results) = (folder.join("one.jsonl"), folder.join("one-result.jsonl"));
    fs::write(&input, json!({ "input_1": row }).to_string())?;
    run_ok(&[
        "run",
        &text(folder),
        "--input",
        &text(&input),
        "--output",
        &text(&results),
    ])?;
    let answer = lines(&results)?.into_iter().next().context("a result")?;
    let case = json!({ "input": { "input_1": row }, "output": answer["outputs"] });
    fs::write(folder.join("golden.jsonl"), format!("{case}\n"))?;
    Ok(())
}

/// A row of the recorded autoencoder's, by the formula of tests/python/explain/record_shap.py.
fn decibels(number: u64) -> Vec<f64> {
    let value = |place: u64| (place * 37 + number * 101 + (place * place * number) % 53) % 97;
    (0..640).map(|place| value(place) as f64 / 4.0 - 50.0).collect()
}

/// A bundle's folder with so many rows of background, and so many to explain, and without its `bundle.toml`.
fn autoencoder(model: &Path, background: u64, rows: u64) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text);
    fs::copy(model, folder.path().join("model.onnx"))?;
    let samples = |numbers: std::ops::Range<u64>| {
        let lines = numbers.map(|number| format!("{}\n", json!({ "input_1": decibels(number) })));
        lines.collect::<String>()
    };
    write("background.jsonl", samples(0..background))?;
    write("input.jsonl", samples(100..100 + rows))?;
    write("golden.jsonl", "{}\n".to_owned())?;
    Ok(folder)
}

#[test]
fn the_autoencoder_of_mlperf_tiny_is_explained_as_by_shap() -> Result<()> {
    let Some(model) = shared_data("models/mlperf-tiny-ad01-fp32.onnx") else {
        return Ok(());
    };
    let folder = autoencoder(&model, 8, 3)?;
    fs::write(folder.path().join("bundle.toml"), AUTOENCODER)?;
    golden(folder.path(), &decibels(100))?;
    let recorded: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(workspace().join("tests/python/explain/ad01.json"))?)?;
    let found = explained(folder.path(), &folder.path().join("input.jsonl"))?;
    ensure!(found.len() == recorded.len(), "{found:?}");
    for (explanation, expected) in found.iter().zip(&recorded) {
        let contributions = expected
            .get("contributions")
            .and_then(Value::as_array)
            .context("contributions")?;
        let contributions: Vec<(String, f64)> = contributions
            .iter()
            .zip(0..)
            .map(|(value, group)| {
                let name = format!("input_1[{}] to input_1[{}]", group * 64, group * 64 + 63);
                Ok((name, value.as_f64().context("a number")?))
            })
            .collect::<Result<_>>()?;
        let off = check(explanation, expected, &contributions, TOLERANCE)?;
        say(&format!("ad01: {off:.1e}"));
    }
    Ok(())
}

/// However fast the machine is, with a budget of a millisecond nothing can be said, or not all; and one is found that cuts it short.
#[test]
fn an_explanation_has_no_more_than_its_time() -> Result<()> {
    let Some(model) = shared_data("models/mlperf-tiny-ad01-fp32.onnx") else {
        return Ok(());
    };
    let folder = autoencoder(&model, 100, 1)?;
    let run_in = |budget_ms: u64| {
        let recipe = AUTOENCODER.replace("consecutive = 64", "consecutive = 8").replace(
            "budget_ms = 600000",
            &format!("budget_ms = {budget_ms}\nevaluations = 2048"),
        );
        fs::write(folder.path().join("bundle.toml"), recipe)?;
        let file = |name: &str| text(&folder.path().join(name));
        let (input, results, said) = (file("input.jsonl"), file("results.jsonl"), file("said.jsonl"));
        let ended = run(&[
            "run",
            &text(folder.path()),
            "--input",
            &input,
            "--output",
            &results,
            "--explain",
            "--explanations",
            &said,
        ])?;
        let said = lines(Path::new(&said))?.into_iter().next();
        ensure!(lines(Path::new(&results))?.len() == 1, "its result is there: {ended:?}");
        Ok((said, ended))
    };
    let mut budget_ms = 1;
    let explanation = loop {
        let (said, ended) = run_in(budget_ms)?;
        if let Some(explanation) = said {
            break explanation;
        }
        ensure!(
            ended.stderr.contains("time was up after") && ended.stderr.contains("raise budget_ms"),
            "{ended:?}"
        );
        budget_ms += budget_ms.div_ceil(2);
        ensure!(budget_ms < 600_000, "nothing is said in ten minutes");
    };
    ensure!(explanation["complete"] == false, "in {budget_ms} ms: {explanation:#}");
    let (done, planned) = (number(&explanation, "evaluations")?, number(&explanation, "planned")?);
    ensure!(done < planned && planned == 2048.0, "{explanation:#}");
    // Of 80 groups the largest 20 are listed, and what the others contribute is told as a sum.
    let listed = explanation["features"].as_array().context("features")?;
    let mut sum = number(&explanation, "base")?;
    for feature in listed {
        sum += number(feature, "contribution")?;
    }
    sum += number(&explanation, "others")?;
    let prediction = number(&explanation, "prediction")?;
    ensure!(
        (sum - prediction).abs() <= 1e-9 * prediction.abs().max(1.0),
        "{explanation:#}"
    );
    Ok(())
}

const DEVICE: &str = "pump-1";

/// The quickstart's pump with a monitor of its flow, and with explanations. `keys` are those of `[explain]` beside the background.
fn pump(site: &Site, keys: &str) -> Result<PathBuf> {
    let folder = site.path("pump");
    fs::create_dir(&folder)?;
    for file in fs::read_dir(workspace().join("tests/quickstart/bundle"))? {
        let file = file?.path();
        fs::copy(&file, folder.join(file.file_name().context("a file has a name")?))?;
    }
    let recording = fs::read_to_string(workspace().join("tests/quickstart/pump.csv"))?;
    let background: Vec<&str> = recording.lines().take(41).collect();
    fs::write(folder.join("background.csv"), background.join("\n"))?;
    let recipe = fs::read_to_string(folder.join("bundle.toml"))?;
    let recipe = recipe
        .replace("samples = 200", "samples = 20")
        .replace("latency_p99_ms = 50", "latency_p99_ms = 5000");
    let monitor = r#"
[[monitor]]
name = "range"
plugin = "builtin:data-validation"
config = { input = "sensors", shape = [1, 4], fields = [{ name = "flow_l_min", index = 0, min = 1, max = 1000 }] }
"#;
    let explain = format!("\n[explain]\nbackground = \"background.csv\"\n{keys}\n");
    fs::write(folder.join("bundle.toml"), format!("{recipe}{monitor}{explain}"))?;
    Ok(folder)
}

/// A hub, and a device that replays pumps, every tenth of which stands still.
fn fleet(site: &Site) -> Result<(Hub, Agent)> {
    let hub = site.start_hub_alone()?;
    let row = |number: u32| {
        let flow = if number.is_multiple_of(10) {
            0.0
        } else {
            80.0 + f64::from(number)
        };
        format!("p{number},{flow},2.2,8.8,55\n")
    };
    let rows: String = (1..=20).map(row).collect();
    fs::write(
        site.path("pumps.csv"),
        format!("id,flow_l_min,pressure_bar,current_a,temperature_c\n{rows}"),
    )?;
    let mut agent = site.device(
        DEVICE,
        &json!({
            "fleet_connection": { "broker": hub.broker },
            "source": [{ "type": "file", "path": site.path("pumps.csv"), "rate_hz": 50.0, "repeat": true }],
            "sink": [
                { "type": "jsonl", "path": site.path("all.jsonl"), "findings": true },
                { "type": "jsonl", "path": site.path("results.jsonl") },
            ],
        }),
    )?;
    hub.fleet_ok(&["enroll", DEVICE, "--key", &site.text(&format!("{DEVICE}.pub"))])?;
    agent.start()?;
    agent.wait_until("connection", |status| status["fleet_connected"] == true)?;
    Ok((hub, agent))
}

/// An explanation whose largest contribution is the flow's, and that adds up.
fn is_the_flows(explanation: &Value) -> Result<()> {
    ensure!(
        explanation["kind"] == "explanation" && explanation["exact"] == true,
        "{explanation:#}"
    );
    ensure!(
        explanation.pointer("/features/0/feature") == Some(&json!("flow_l_min")),
        "{explanation:#}"
    );
    ensure!(
        explanation.pointer("/features/0/given") == Some(&json!(0.0)),
        "{explanation:#}"
    );
    let mut sum = number(explanation, "base")?;
    for feature in explanation
        .get("features")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        sum += number(feature, "contribution")?;
    }
    let prediction = number(explanation, "prediction")?;
    ensure!((sum - prediction).abs() < 1e-12, "{explanation:#}");
    Ok(())
}

#[test]
fn a_finding_is_explained_to_the_sinks_and_the_hub_and_who_asks_is_told() -> Result<()> {
    let site = Site::new()?;
    let (hub, mut agent) = fleet(&site)?;
    let bundle = site.pack(&pump(&site, "budget_ms = 60000")?, "pump.fhb")?;
    let bundle = text(&bundle);
    hub.fleet_ok(&["deploy", &bundle, "--device", DEVICE, "--wait", "--timeout", "120"])
        .with_context(|| agent.tail())?;
    let seen = wait_for("an explanation in the sink", PATIENCE, || {
        let all = fs::read_to_string(site.path("all.jsonl")).unwrap_or_default();
        // The last line may be half there.
        let whole = all.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let explanation = |line: &Value| line["kind"] == "explanation";
        Ok(whole.into_iter().find(explanation))
    })
    .with_context(|| agent.tail())?;
    is_the_flows(&seen)?;
    ensure!(seen["why"] == "range/out-of-range", "{seen:#}");
    ensure!(seen["id"] == "p10" || seen["id"] == "p20", "{seen:#}");
    // It traces to the very result, in a sink that wants results alone, too; explanations go to who wants findings.
    let results = fs::read_to_string(site.path("results.jsonl"))?;
    ensure!(
        !results.contains("\"explanation\""),
        "explanations are among the results"
    );
    let digest = seen["bundle"].as_str().context("a digest")?;
    let traced = format!("\"sample\":{},", seen["sample"]);
    ensure!(
        results
            .lines()
            .any(|line| line.contains(&traced) && line.contains(digest)),
        "{seen:#}"
    );

    let record = wait_for("an explanation at the hub", PATIENCE, || {
        let page = hub.get("records?kind=explanation")?;
        Ok(page.pointer("/records/0/body").cloned())
    })?;
    ensure!(
        record["finding"] == "range/out-of-range" && record["bundle"] == seen["bundle"],
        "{record:#}"
    );
    ensure!(
        record.pointer("/features/0/feature") == Some(&json!("flow_l_min")),
        "{record:#}"
    );
    let findings = hub.get("findings")?;
    let of_the_same = findings
        .as_array()
        .into_iter()
        .flatten()
        .any(|one| one.pointer("/body/sample") == record.get("sample"));
    ensure!(of_the_same, "{record:#} explains none of {findings:#}");

    asks(&site)?;
    agent.stop()
}

/// At the box: of a sample, of the next one, as a table; and what can't be explained.
fn asks(site: &Site) -> Result<()> {
    let config = site.text(&format!("{DEVICE}.toml"));
    let ask = |more: &[&str]| run(&[&["agent", "--config", &config, "explain"], more].concat());
    let file = site.text("sample.json");
    fs::write(
        &file,
        r#"{"id": "mine", "flow_l_min": 0, "pressure_bar": 2.2, "current_a": 8.8, "temperature_c": 55}"#,
    )?;
    let told = ask(&["--json", "--sample", &file])?;
    ensure!(told.code == Some(0), "{told:?}");
    let explanation: Value = serde_json::from_str(&told.stdout)?;
    is_the_flows(&explanation)?;
    ensure!(
        explanation["id"] == "mine" && explanation["why"] == "request",
        "{explanation:#}"
    );
    let table = ask(&["--sample", &file])?;
    ensure!(
        table.code == Some(0) && table.stdout.contains("flow_l_min") && table.stdout.contains("####"),
        "{table:?}"
    );
    let next = ask(&["--json"])?;
    let next: Value = serde_json::from_str(&next.stdout).with_context(|| format!("{next:?}"))?;
    ensure!(next["kind"] == "explanation" && next["sample"].is_u64(), "{next:#}");
    fs::write(&file, r#"{"flow_l_min": 0}"#)?;
    let refused = ask(&["--sample", &file])?;
    ensure!(
        refused.code != Some(0) && refused.stderr.contains("no field"),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn pack_says_what_explaining_costs_and_refuses_what_cannot_be() -> Result<()> {
    let site = Site::new()?;
    let folder = pump(&site, "")?;
    let pack = || run(&["bundle", "pack", &text(&folder), "-o", &site.text("out.fhb")]);
    let packed = pack()?;
    ensure!(
        packed.code == Some(0) && packed.stderr.contains("up to 482 runs of the model"),
        "{packed:?}"
    );
    let recipe = fs::read_to_string(folder.join("bundle.toml"))?;
    let refused = |from: &str, to: &str, part: &str| -> Result<()> {
        let changed = recipe.replace(from, to);
        ensure!(changed != recipe, "{from} is not in {recipe}");
        fs::write(folder.join("bundle.toml"), changed)?;
        let ended = pack()?;
        ensure!(
            ended.code != Some(0) && ended.stderr.contains(part),
            "{part}: {ended:?}"
        );
        Ok(())
    };
    let key = "background = \"background.csv\"";
    refused(key, "", "missing key `explain.background`")?;
    refused(
        key,
        "background = \"model.onnx\"",
        "model.onnx is used as Model and as Asset",
    )?;
    refused(key, "background = \"nowhere.csv\"", "nowhere.csv")?;
    refused(key, "background = \"scaler.json\"", "background scaler.json: ")?;
    refused(
        key,
        &format!("{key}\nevaluation = 9"),
        "unknown key `explain.evaluation`; did you mean `evaluations`?",
    )?;
    refused(
        key,
        &format!("{key}\nrows = 101"),
        "explain.rows is 101, and 1 to 100 are allowed",
    )?;
    refused(key, &format!("{key}\nmethod = \"lime\""), "kernel-shap")?;
    refused(
        key,
        &format!("{key}\ngroups = {{ labels = [\"a\"] }}"),
        "names 1 features, and the model has 4: flow_l_min",
    )?;
    // Without it there is nothing to ask.
    fs::write(
        folder.join("bundle.toml"),
        recipe.replace("[explain]", "").replace(key, ""),
    )?;
    let input = text(&workspace().join("tests/quickstart/pump.csv"));
    let none = run(&["run", &text(&folder), "--input", &input, "--explain", "--rows", "1"])?;
    ensure!(
        none.code != Some(0) && none.stderr.contains("add [explain]"),
        "{none:?}"
    );
    Ok(())
}
