//! Recorded messages in `floorhand run`, behind a decoder: each of their samples goes through a model that passes it on.

use crate::cases::Cases;
use crate::job::{Call, Filling, Job, Message};
use crate::onnx::{self, Passed};
use crate::program::{element, elements, objects};
use base64::Engine as _;
use floorhand_plugin_host::{CompiledPlugin, DecodedSample, Decoder, Lost};
use floorhand_tensor::{Tensor, TensorSpec};
use floorhand_tests::run_ok;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// What the host gives for all messages, and what `floorhand run` gives, sample by sample and at the end how many failed. None
/// where no message has a sample.
pub(crate) fn run(
    folder: &Path,
    component: &Path,
    compiled: &CompiledPlugin,
    cases: &Cases,
    job: &Job,
) -> Option<(Vec<Value>, Vec<Value>)> {
    let messages: Vec<&Message> = job.calls.iter().filter_map(messages_of).flatten().collect();
    let mut decoder = Decoder::start(compiled, cases.setup()).unwrap();
    let outputs = decoder.outputs().to_vec();
    let mut found = Vec::new();
    for message in &messages {
        let properties = message.properties();
        let given = floorhand_plugin_host::Message {
            topic: &message.topic,
            content_type: &message.content_type,
            properties: &properties,
            received_ns: message.received_ns,
            payload: &message.payload,
        };
        // Without an answer to all of it a message is one failure.
        let decoded = decoder.decode(given).unwrap_or_else(|error| {
            vec![Err(Lost {
                key: None,
                error: Box::new(error),
            })]
        });
        found.extend(decoded.into_iter().map(|sample| (message.received_ns, sample)));
    }
    let shapes = |sample: &DecodedSample| {
        sample
            .tensors
            .iter()
            .map(|tensor| tensor.shape().to_vec())
            .collect::<Vec<_>>()
    };
    let first = found.iter().find_map(|(_, sample)| sample.as_ref().ok()).map(shapes)?;
    // The model takes samples of one shape.
    let fitting = found
        .iter()
        .filter_map(|(received_ns, sample)| Some((*received_ns, sample.as_ref().ok()?)));
    let fitting = fitting.filter(|(_, sample)| shapes(sample) == first);
    let mut expected: Vec<Value> = fitting.map(|(received_ns, sample)| told(sample, received_ns)).collect();
    expected.push(json!({"failures": found.len() - expected.len(), "plugin_faults": 0}));
    let model: Vec<Passed> = outputs
        .iter()
        .zip(first)
        .map(|(spec, shape)| passed(spec, shape))
        .collect();
    write(folder, component, cases, &outputs, &model);
    let lines: String = messages.iter().map(|message| line(message)).collect();
    fs::write(folder.join("input.jsonl"), lines).unwrap();
    Some((expected, start(folder, &model)))
}

/// The job of the recorded messages.
pub(crate) fn job(cases: &Cases, described: &crate::device::Described) -> Option<Job> {
    Job::new(cases, described, Filling::Recorded)
}

fn messages_of(call: &Call) -> Option<&[Message]> {
    match call {
        Call::Messages(messages) => Some(messages),
        _ => None,
    }
}

fn passed(spec: &TensorSpec, shape: Vec<u64>) -> Passed {
    Passed {
        input: spec.name.clone(),
        output: format!("{} of the model", spec.name),
        datatype: spec.datatype,
        shape,
    }
}

fn told(sample: &DecodedSample, received_ns: u64) -> Value {
    let tensor = |tensor: &Tensor| (tensor.name().to_owned(), elements(tensor));
    json!({
        "id": sample.id,
        "key": sample.key,
        "time_ms": sample.time_ns.unwrap_or(received_ns) / 1_000_000,
        "outputs": sample.tensors.iter().map(tensor).collect::<Map<_, _>>(),
    })
}

fn write(folder: &Path, component: &Path, cases: &Cases, outputs: &[TensorSpec], model: &[Passed]) {
    fs::copy(component, folder.join("plugin.wasm")).unwrap();
    fs::write(folder.join("model.onnx"), onnx::identity(model)).unwrap();
    fs::write(folder.join("golden.jsonl"), "{\"message\": \"\", \"outputs\": []}\n").unwrap();
    for asset in &cases.assets {
        fs::write(folder.join(&asset.name), &asset.data).unwrap();
    }
    let config: Value = serde_json::from_str(&cases.config).unwrap();
    let assets: Vec<&str> = cases.assets.iter().map(|asset| asset.name.as_str()).collect();
    let inputs = outputs
        .iter()
        .map(|spec| json!({"name": spec.name, "datatype": spec.datatype.name(), "shape": spec.shape}));
    let recipe = json!({
        "bundle": {"name": "case", "version": "1.0.0", "release_counter": 1},
        "decoder": {
            "name": "plugin", "plugin": "plugin.wasm", "config": config, "assets": assets, "limits": {"deadline_ms": 60_000},
        },
        "input": inputs.collect::<Vec<_>>(),
        "model": {"file": "model.onnx", "allow_nan": true},
        "golden": {"file": "golden.jsonl"},
    });
    fs::write(folder.join("bundle.toml"), toml::to_string(&recipe).unwrap()).unwrap();
}

fn line(message: &Message) -> String {
    let line = json!({
        "message_base64": base64::engine::general_purpose::STANDARD.encode(&message.payload),
        "topic": message.topic,
        "content_type": message.content_type,
        "time_ms": message.received_ns / 1_000_000,
    });
    format!("{line}\n")
}

fn start(folder: &Path, model: &[Passed]) -> Vec<Value> {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let words = ["--json", "run"].map(str::to_owned).into_iter();
    let words = words.chain([
        folder.to_string_lossy().into_owned(),
        "--input".to_owned(),
        path("input.jsonl"),
    ]);
    let words = words.chain(["--format", "messages", "--output"].map(str::to_owned));
    let words: Vec<String> = words.chain([path("results.jsonl")]).collect();
    let summary: Value = serde_json::from_str(&run_ok(&words).unwrap()).unwrap();
    let result = |result: Value| {
        let values = |passed: &Passed| {
            let values = result["outputs"][&passed.output].as_array().unwrap().iter();
            let values = values.map(|value| element(passed.datatype, value));
            (passed.input.clone(), values.collect::<Value>())
        };
        json!({
            "id": result["id"],
            "key": result["key"],
            "time_ms": result["time_ms"],
            "outputs": model.iter().map(values).collect::<Map<_, _>>(),
        })
    };
    let mut told: Vec<Value> = objects(&folder.join("results.jsonl")).into_iter().map(result).collect();
    told.push(json!({"failures": summary["failures"], "plugin_faults": summary["plugin_faults"]}));
    told
}
