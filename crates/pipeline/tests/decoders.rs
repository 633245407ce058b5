//! Bundles with a decoder: messages that hold several samples, decoders that learn, and what happens to both in a trial.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

#[path = "../../plugin-host/tests/guests/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod guests;

use base64::Engine as _;
use floorhand_bundle::{Digest, Gates, Golden, InputSpec, ModelSpec, OnBreak, PipelineSpec, StageSpec};
use floorhand_pipeline::{
    Host, HostConfig, LoadError, Loaded, Message, Outcome, Pipeline, Served, Serving, StageEventKind, Trial,
    model_signature, run_golden,
};
use serde_json::{Value, json};
use std::path::Path;

fn file(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

fn stage(name: &str, plugin: &str, config: &Value) -> StageSpec {
    StageSpec {
        name: name.parse().unwrap(),
        plugin: format!("{plugin}.wasm").parse().unwrap(),
        config: config.to_string(),
        assets: Vec::new(),
        limits: Default::default(),
        on_break: OnBreak::Fail,
    }
}

/// The fixture's model of eight numbers behind a decoder.
fn spec(decoder: StageSpec, monitors: Vec<StageSpec>) -> PipelineSpec {
    let signature = model_signature(&file("tests/skab/fixture/bundle/model.onnx")).unwrap();
    PipelineSpec {
        explain: None,
        decoder: Some(decoder),
        inputs: vec![InputSpec {
            tensor: signature.inputs[0].clone(),
            fields: Vec::new(),
        }],
        preprocess: Vec::new(),
        model: ModelSpec {
            component: "model.onnx".parse().unwrap(),
            signature,
            allow_nan: false,
            engines: Vec::new(),
            state: Vec::new(),
        },
        postprocess: Vec::new(),
        monitors,
    }
}

fn load(spec: &PipelineSpec) -> Result<Pipeline, LoadError> {
    let host = Host::new(HostConfig::default()).unwrap();
    let mut read = |name: &floorhand_bundle::ComponentName| match name.as_str() {
        "model.onnx" => Ok(file("tests/skab/fixture/bundle/model.onnx")),
        "counting.wasm" => Ok(component(COUNTING, "decoder")),
        "passing.wasm" => Ok(component(PASSING, "processor")),
        other => Ok(file(&format!("plugins/prebuilt/{other}"))),
    };
    Pipeline::load(spec, &mut read, &host)
}

fn loaded(generation: u64, spec: &PipelineSpec) -> Loaded {
    Loaded {
        generation,
        name: "tested".parse().unwrap(),
        version: floorhand_bundle::Version::new(1, 0, 0),
        bundle: Digest::of(&generation.to_le_bytes()),
        gates: Gates::default(),
        pipeline: load(spec).unwrap(),
    }
}

/// Samples in a list, each with its array, its id and its machine.
fn lists(missing: &str) -> StageSpec {
    let config = json!({
        "outputs": [{"name": "x", "path": "v", "shape": [1, 8]}],
        "samples": "/list", "id": {"path": "id"}, "key": {"path": "of"},
        "time": {"path": "at", "unit": "ms"}, "missing": missing,
    });
    stage("lists", "json-paths", &config)
}

/// Two metrics of Sparkplug B, each four times.
fn metrics(missing: &str) -> StageSpec {
    let metric = |at: usize| json!({"name": format!("f{at}"), "metric": if at.is_multiple_of(2) { "Press/p" } else { "Press/t" }});
    let fields: Vec<Value> = (0..8).map(metric).collect();
    let config = json!({"outputs": [{"name": "x", "fields": fields}], "missing": missing});
    stage("metrics", "sparkplug-b", &config)
}

/// A plugin of this text, in which the spec of `x: FP32[1, 8]` stands at 40.
fn component(text: &str, world: &str) -> Vec<u8> {
    let common = guests::COMMON;
    let module = format!(
        r#"(module (memory (export "memory") 1) {common}
        (data (i32.const 32) "\01\00\00\00\08\00\00\00")
        (data (i32.const 40) "\10\00\00\00\01\00\00\00\0a\00\00\00\20\00\00\00\02\00\00\00")
        {text})"#
    );
    guests::encode(&module, world)
}

/// A decoder of `x: FP32[1, 8]` that finds no sample, and as many failures as its message has properties. A message of one
/// byte makes it trap.
const COUNTING: &str = r#"
    (data (i32.const 96) "\00\00\00\00\28\00\00\00\01\00\00\00\00\00\00\00\01\00\00\00")
    (func (export "floorhand:plugin/decoding@0.1.0#configure") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 96))
    (func (export "floorhand:plugin/decoding@0.1.0#decode") (param i32 i32) (result i32)
        (global.set $heap (i32.const 4096))
        (if (i32.eq (i32.load offset=36 (local.get 0)) (i32.const 1)) (then (unreachable)))
        (i32.store (i32.const 172) (i32.const 1024))
        (i32.store (i32.const 176) (i32.load offset=20 (local.get 0)))
        (i32.const 160))
    (func (export "floorhand:plugin/decoding@0.1.0#snapshot") (result i32) (unreachable))
    (func (export "floorhand:plugin/decoding@0.1.0#restore") (param i32 i32) (result i32) (unreachable))"#;

/// A processor of `x: FP32[1, 8]` that gives what it gets, a sample a call, and traps where the first element is below 0.
const PASSING: &str = r#"
    (data (i32.const 68) "\10\00\00\00\01\00\00\00\0a\00\00\00\20\00\00\00\02\00\00\00")
    (data (i32.const 96) "\00\00\00\00\28\00\00\00\01\00\00\00\44\00\00\00\01\00\00\00\00\00\00\00\01\00\00\00")
    (data (i32.const 164) "\20\01\00\00\01\00\00\00")
    (data (i32.const 288) "\00\04\00\00\01\00\00\00\c0\00\00\00\01\00\00\00")
    (func (export "floorhand:plugin/processing@0.1.0#configure") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 96))
    (func (export "floorhand:plugin/processing@0.1.0#process") (param i32 i32 i32 i32) (result i32)
        (global.set $heap (i32.const 4096))
        (memory.copy (i32.const 192) (local.get 2) (i32.const 20))
        (if (f32.lt (f32.load (i32.load (i32.const 204))) (f32.const 0)) (then (unreachable)))
        (i32.const 160))
    (func (export "floorhand:plugin/processing@0.1.0#snapshot") (result i32) (unreachable))
    (func (export "floorhand:plugin/processing@0.1.0#restore") (param i32 i32) (result i32) (unreachable))"#;

/// What came of a message's samples; none where there is no active generation, or no candidate that runs.
type Answer = (Option<Vec<Served>>, Option<Vec<Trial>>);

fn send(serving: &mut Serving, topic: &str, payload: &[u8]) -> Answer {
    let message = Message {
        topic,
        received_ns: 7_000_000,
        payload,
        ..Message::default()
    };
    let mut underway = serving.begin(|taker| taker.pipeline.decode(message, 0).unwrap());
    let (mut served, mut trials) = (underway.samples().map(|_| Vec::new()), None::<Vec<Trial>>);
    while let Some((one, trial)) = serving.next(&mut underway, 0) {
        served.get_or_insert_default().extend(one);
        if let Some(trial) = trial {
            trials.get_or_insert_default().push(trial);
        }
    }
    (served, trials)
}

/// The recorded messages of a plant: births of a node and a device, then data that names metrics by alias alone.
fn recorded() -> Vec<(String, Vec<u8>)> {
    let text = String::from_utf8(file("plugins/sparkplug-b/tests/cases/sessions.jsonl")).unwrap();
    let message = |line: &str| {
        let case: Value = serde_json::from_str(line).unwrap();
        let payload = base64::engine::general_purpose::STANDARD.decode(case["message_base64"].as_str().unwrap());
        (case["topic"].as_str().unwrap().to_owned(), payload.unwrap())
    };
    let messages: Vec<(String, Vec<u8>)> = text.lines().skip(1).map(message).collect();
    // The node's birth, the device's, and its data.
    [1, 2, 4, 6, 7].map(|at| messages[at].clone()).into()
}

fn failure(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed(error) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_gives_as_many_results_as_it_holds_samples() {
    let high = json!({"input": "x", "shape": [1, 8], "max_keys": 2, "fields": (0..8).map(|at| json!({"index": at, "name": format!("f{at}"), "max": 5.0})).collect::<Vec<_>>()});
    let mut serving = Serving::default();
    serving.activate(loaded(
        1,
        &spec(lists("error"), vec![stage("range", "data-validation", &high)]),
    ));
    let list = json!({"list": [
        {"id": "a", "of": "press-1", "at": 1000, "v": [0, 0, 0, 0, 0, 0, 0, 0]},
        {"id": "b", "of": "press-2", "v": [0, 0]},
        {"id": "c", "of": "press-2", "v": [9, 0, 0, 0, 0, 0, 0, 0]},
    ]});
    let (served, trial) = send(&mut serving, "line", list.to_string().as_bytes());
    assert!(trial.is_none());
    let served = served.unwrap();
    let heads: Vec<_> = served.iter().filter_map(|one| one.sample.as_ref().ok()).collect();
    let heads: Vec<_> = heads
        .iter()
        .map(|one| (one.id.as_str(), one.key.as_deref(), one.time_ns))
        .collect();
    assert_eq!(
        heads,
        [("a", Some("press-1"), 1_000_000_000), ("c", Some("press-2"), 7_000_000)],
        "one without a time of its own has that of its message"
    );
    assert!(matches!(served[0].processed.outcome, Outcome::Result(_)));
    assert!(matches!(served[2].processed.outcome, Outcome::Result(_)));
    assert_eq!((served[0].processed.sequence, served[2].processed.sequence), (0, 1));
    // What couldn't be read stands where it would have been.
    let said = failure(&served[1].processed.outcome);
    assert!(said.starts_with("stage lists: "), "{said}");
    let findings: Vec<_> = served.iter().flat_map(|one| &one.processed.findings).collect();
    assert_eq!(findings.len(), 1, "{findings:?}");
    let keys: Vec<_> = findings[0]
        .finding
        .details
        .iter()
        .filter(|(name, _)| name == "key")
        .collect();
    assert_eq!(keys, [&("key".to_owned(), "press-2".to_owned())]);

    let (served, _) = send(&mut serving, "line", br#"{"list": []}"#);
    assert_eq!(served.unwrap(), [], "a message may hold none");
    let (served, _) = send(&mut serving, "line", b"no JSON");
    assert_eq!(served.unwrap().len(), 1, "it is one failure");
}

/// A monitor that takes one machine, and two machines: nobody may think that both are watched.
#[test]
fn what_a_monitor_refuses_is_told_once_in_a_row_and_counted() {
    let fields: Vec<Value> = (0..8)
        .map(|at| json!({"index": at, "name": format!("f{at}"), "max": 5.0}))
        .collect();
    let range = json!({"input": "x", "shape": [1, 8], "fields": fields});
    let mut serving = Serving::default();
    serving.activate(loaded(
        1,
        &spec(lists("error"), vec![stage("range", "data-validation", &range)]),
    ));
    let row = |of: &str| json!({"of": of, "v": [0, 0, 0, 0, 0, 0, 0, 0]});
    let list = json!({"list": [row("press-1"), row("press-2"), row("press-2"), row("press-1"), row("press-2")]});
    let (served, _) = send(&mut serving, "line", list.to_string().as_bytes());
    let served = served.unwrap();
    assert!(
        served
            .iter()
            .all(|one| matches!(one.processed.outcome, Outcome::Result(_)))
    );
    let told: Vec<usize> = served.iter().map(|one| one.processed.events.len()).collect();
    assert_eq!(told, [0, 1, 0, 0, 1]);
    let event = &served[1].processed.events[0];
    assert_eq!((event.stage.as_str(), event.kind), ("range", StageEventKind::Refused));
    assert!(event.reason.contains("max_keys"), "{}", event.reason);
    let telemetry = serving.active_mut().unwrap().pipeline.take_telemetry();
    assert!(
        telemetry.counters.contains(&("range/refused".to_owned(), 3)),
        "{telemetry:?}"
    );
}

#[test]
fn a_candidate_goes_on_from_what_the_decoder_in_service_has_learnt() {
    let messages = recorded();
    let answers = |candidate: &PipelineSpec| {
        let mut serving = Serving::default();
        serving.activate(loaded(1, &spec(metrics("nan"), Vec::new())));
        send(&mut serving, &messages[0].0, &messages[0].1);
        serving.try_candidate(loaded(2, candidate));
        // The first answer: behind it the candidate begins.
        let (served, trial) = send(&mut serving, &messages[1].0, &messages[1].1);
        assert!(trial.is_none() && matches!(served.unwrap()[0].processed.outcome, Outcome::Result(_)));
        let rest = messages[2..].iter();
        let answers: Vec<Answer> = rest
            .map(|(topic, payload)| send(&mut serving, topic, payload))
            .collect();
        let outcome = |(served, trial): Answer| {
            let (served, trial) = (served.unwrap().remove(0), trial.unwrap().remove(0));
            assert!(matches!(served.processed.outcome, Outcome::Result(_)));
            (served.processed.outcome == trial.processed.outcome, trial)
        };
        answers.into_iter().map(outcome).collect::<Vec<_>>()
    };
    let same = answers(&spec(metrics("nan"), Vec::new()));
    assert!(same.len() == 3 && same.iter().all(|(same, trial)| *same && trial.counts));
    // The state is of a configuration: with another one a decoder begins anew, and needs a birth.
    for (same, trial) in answers(&spec(metrics("error"), Vec::new())) {
        let said = failure(&trial.processed.outcome);
        assert!(!same && said.contains("birth"), "{said}");
    }
}

#[test]
fn a_generation_that_takes_the_place_of_another_keeps_what_its_decoder_has_learnt() {
    let messages = recorded();
    let mut serving = Serving::default();
    serving.activate(loaded(1, &spec(metrics("nan"), Vec::new())));
    for (topic, payload) in &messages[..2] {
        send(&mut serving, topic, payload);
    }
    serving.activate(loaded(2, &spec(metrics("nan"), Vec::new())));
    let (served, _) = send(&mut serving, &messages[2].0, &messages[2].1);
    assert!(matches!(served.unwrap()[0].processed.outcome, Outcome::Result(_)));
}

/// What became of a trial's samples: the disagreement, or "lost" where the candidate hasn't found the sample.
fn trials(serving: &mut Serving, message: &Value) -> Vec<String> {
    let (_, trial) = send(serving, "line", message.to_string().as_bytes());
    let told = |trial: Trial| {
        assert!(trial.counts);
        match (&trial.processed.outcome, trial.disagreement) {
            (Outcome::Failed(error), None) if error.to_string().contains("doesn't find") => "lost".to_owned(),
            (Outcome::Result(_), Some(disagreement)) => disagreement.to_string(),
            other => panic!("{other:?}"),
        }
    };
    trial.unwrap().into_iter().map(told).collect()
}

fn trial_of(active: StageSpec, candidate: StageSpec) -> Serving {
    let mut serving = Serving::default();
    serving.activate(loaded(1, &spec(active, Vec::new())));
    let mut candidate = loaded(2, &spec(candidate, Vec::new()));
    candidate.gates.disagreement = serde_json::from_value(json!({"output": "q", "max_mean": 1.0})).unwrap();
    serving.try_candidate(candidate);
    let one = json!({"list": [{"id": "a", "v": [0, 0, 0, 0, 0, 0, 0, 0]}]});
    send(&mut serving, "line", one.to_string().as_bytes());
    assert_eq!(trials(&mut serving, &one), ["0"]);
    serving
}

#[test]
fn samples_that_only_one_of_two_generations_finds_are_held_against_the_candidate() {
    let list = |ids: &[&str]| {
        let sample = |id: &&str| json!({"id": id, "v": [0, 0, 0, 0, 0, 0, 0, 0]});
        json!({"list": ids.iter().map(sample).collect::<Vec<_>>()})
    };
    // The first sample of the list, by a path of its own.
    let of_first = |id: &str| {
        let config = json!({"outputs": [{"name": "x", "path": "/list/0/v", "shape": [1, 8]}], "id": {"path": id}});
        stage("one", "json-paths", &config)
    };
    let mut fewer = trial_of(lists("error"), of_first("/list/0/id"));
    assert_eq!(trials(&mut fewer, &list(&["a", "b", "c"])), ["0", "lost", "lost"]);
    assert_eq!(trials(&mut fewer, &list(&["a"])), ["0"]);
    let mut more = trial_of(of_first("/list/0/id"), lists("error"));
    assert_eq!(trials(&mut more, &list(&["a", "b"])), ["0", "inf"]);
    // By their ids, not by their places.
    let mut last = trial_of(lists("error"), of_first("/list/0/id"));
    let swapped = json!({"list": [
        {"id": "b", "v": [1, 0, 0, 0, 0, 0, 0, 0], "at": 1},
        {"id": "a", "v": [0, 0, 0, 0, 0, 0, 0, 0]},
    ]});
    // The candidate doesn't know the time: what it finds is another sample.
    assert_eq!(trials(&mut last, &swapped), ["inf", "lost", "lost"]);
}

/// Rates of change of two machines, in one list of samples.
#[test]
fn a_sample_that_cannot_be_read_is_a_gap_of_its_key_alone() {
    let rate =
        json!({"input": "x", "shape": [1, 8], "max_keys": 2, "fields": [{"index": 0, "name": "f", "max_rate": 1}]});
    let mut serving = Serving::default();
    serving.activate(loaded(
        1,
        &spec(lists("error"), vec![stage("rate", "data-validation", &rate)]),
    ));
    let mut send = |samples: Value| -> Vec<String> {
        let message = json!({"list": samples}).to_string();
        let (served, _) = send(&mut serving, "line", message.as_bytes());
        let found = served.unwrap().into_iter().flat_map(|one| one.processed.findings);
        let of = |detail: &(String, String)| (detail.0 == "key").then(|| detail.1.clone());
        found
            .map(|found| found.finding.details.iter().find_map(of).unwrap())
            .collect()
    };
    let sample = |of: &str, at: u64, value: f64| json!({"of": of, "at": at, "v": [value, 0, 0, 0, 0, 0, 0, 0]});
    assert!(send(json!([sample("a", 1000, 0.0), sample("b", 1000, 0.0)])).is_empty());
    let broken = json!({"of": "a", "at": 2000, "v": [0]});
    let (a, b) = (sample("a", 3000, 9.0), sample("b", 3000, 9.0));
    assert_eq!(send(json!([broken, a, b])), ["b"], "from 0 to 9 in two seconds");
    // Nobody knows of which machine this one is.
    let (a, b) = (sample("a", 4000, 99.0), sample("b", 4000, 99.0));
    assert_eq!(send(json!([{"v": [0]}, a, b])), Vec::<String>::new());
}

/// A new instance has seen nothing of any machine, and what it gives may have a hole for all of them.
#[test]
fn a_stage_that_begins_anew_after_a_fault_is_a_gap_to_those_behind_it() {
    let rate = |origin: &str| {
        let fields = json!([{"index": 0, "name": "f", "max_rate": 1}]);
        json!({"input": "x", "origin": origin, "shape": [1, 8], "max_keys": 2, "fields": fields})
    };
    let mut spec = spec(
        lists("error"),
        vec![
            stage("before", "data-validation", &rate("input")),
            stage("behind", "data-validation", &rate("features")),
        ],
    );
    spec.preprocess = vec![stage("passing", "passing", &json!({}))];
    let mut serving = Serving::default();
    serving.activate(loaded(1, &spec));
    let mut send = |of: &str, at: u64, value: f64| -> Vec<String> {
        let sample = json!({"of": of, "at": at, "v": [value, 0, 0, 0, 0, 0, 0, 0]});
        let message = json!({"list": [sample]}).to_string();
        let (served, _) = send(&mut serving, "line", message.as_bytes());
        let found = served.unwrap().into_iter().flat_map(|one| one.processed.findings);
        found.map(|found| found.stage).collect()
    };
    for machine in ["a", "b"] {
        assert!(send(machine, 1000, 0.0).is_empty());
    }
    assert_eq!(send("b", 2000, 9.0), ["before", "behind"], "both see what is too fast");
    assert_eq!(send("b", 3000, 9.0), ["before", "behind"], "and that it is over");
    assert!(send("a", 2000, -0.5).is_empty(), "the fault");
    assert_eq!(send("b", 4000, 0.0), ["before"], "nothing is missing of what comes in");
    assert_eq!(send("b", 5000, 9.0), ["behind"], "and nothing more behind the stage");
}

#[test]
fn a_decoder_is_told_where_messages_may_be_missing() {
    let mut pipeline = load(&spec(stage("counting", "counting", &json!({})), Vec::new())).unwrap();
    let told = |pipeline: &mut Pipeline, payload: &[u8], properties: &[(&str, &str)]| {
        let message = Message {
            payload,
            properties,
            ..Message::default()
        };
        pipeline.decode(message, 0).unwrap().samples.len()
    };
    let one = [("unit", "bar")];
    assert_eq!(
        told(&mut pipeline, b"first", &[]),
        1,
        "the first of an instance without state"
    );
    assert_eq!(
        (told(&mut pipeline, b"next", &[]), told(&mut pipeline, b"next", &one)),
        (0, 1)
    );
    pipeline.miss();
    assert_eq!(
        (told(&mut pipeline, b"next", &one), told(&mut pipeline, b"next", &one)),
        (2, 1)
    );
    let large = vec![0; 9 << 20];
    assert_eq!(
        told(&mut pipeline, &large, &[]),
        1,
        "it fails, and the decoder hasn't seen it"
    );
    assert_eq!(
        (told(&mut pipeline, b"next", &[]), told(&mut pipeline, b"next", &[])),
        (1, 0)
    );
    assert_eq!(told(&mut pipeline, b"!", &[]), 1, "a fault");
    assert_eq!(
        (told(&mut pipeline, b"next", &[]), told(&mut pipeline, b"next", &[])),
        (1, 0)
    );
}

/// Where one that reads everything is tried beside one that reads nothing of a message.
#[test]
fn what_the_active_generation_cannot_read_disagrees_with_nothing() {
    let mut serving = trial_of(lists("error"), lists("nan"));
    let broken = json!({"list": "none", "id": "a"});
    let (_, trial) = send(&mut serving, "line", broken.to_string().as_bytes());
    assert!(trial.unwrap().iter().all(|trial| !trial.counts), "neither can read it");
    let config = json!({
        "outputs": [{"name": "x", "path": "v", "shape": [1, 8]}], "samples": "/items", "id": {"path": "id"},
    });
    let mut serving = trial_of(lists("error"), lists("error"));
    let mut other = loaded(3, &spec(stage("items", "json-paths", &config), Vec::new()));
    other.gates.disagreement = serde_json::from_value(json!({"output": "q", "max_mean": 1.0})).unwrap();
    serving.try_candidate(other);
    let both = json!({"list": [], "items": []});
    send(&mut serving, "line", both.to_string().as_bytes());
    let one = json!({"list": [{"id": "a", "v": [0, 0, 0, 0, 0, 0, 0, 0]}], "items": []});
    send(&mut serving, "line", one.to_string().as_bytes());
    let sample = |id: &str| json!({"id": id, "v": [0, 0, 0, 0, 0, 0, 0, 0]});
    let (served, trial) = send(
        &mut serving,
        "line",
        json!({"items": [sample("a"), sample("b")]}).to_string().as_bytes(),
    );
    assert!(matches!(served.unwrap()[0].processed.outcome, Outcome::Failed(_)));
    let trial = trial.unwrap();
    let results: Vec<_> = trial
        .iter()
        .filter(|trial| matches!(trial.processed.outcome, Outcome::Result(_)))
        .collect();
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|trial| trial.disagreement.is_none()));
}

#[test]
fn a_decoder_has_to_give_what_a_sample_is() {
    let config = json!({"outputs": [{"name": "y", "path": "v", "shape": [1, 8]}]});
    let error = load(&spec(stage("other", "json-paths", &config), Vec::new()))
        .err()
        .unwrap();
    let said = error.to_string();
    assert!(
        said.contains("x") && said.contains("other") && said.contains("no such tensor"),
        "{said}"
    );
    let error = load(&spec(stage("scale", "standardize", &json!({})), Vec::new()))
        .err()
        .unwrap();
    assert!(error.to_string().starts_with("stage scale: "), "{error}");
}

#[test]
fn golden_cases_are_messages() {
    let sample = r#"{"v": [0, 0, 0, 0, 0, 0, 0, 0]}"#;
    let q = answer_to_zeros();
    let right = format!(r#"{{"q": [{q}]}}"#);
    let run = |cases: &[String]| {
        let golden = Golden {
            component: "golden.jsonl".parse().unwrap(),
            cases: cases.len() as u64,
            tolerance: 1e-6,
            tolerances: Default::default(),
        };
        let mut pipeline = load(&spec(lists("error"), Vec::new())).unwrap();
        run_golden(&mut pipeline, &golden, cases.join("\n").as_bytes())
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    let message = |list: &str, rest: &str| {
        let message = serde_json::to_string(&format!(r#"{{"list": [{list}]}}"#)).unwrap();
        format!(r#"{{"message": {message}, "topic": "line", {rest}}}"#)
    };
    let two = format!("{sample}, {sample}");
    let one = format!(r#""output": {right}"#);
    let passes = [
        message(sample, &one),
        message(&two, &format!(r#""outputs": [{right}, {right}]"#)),
        message("", r#""outputs": []"#),
        format!(r#"{{"input": {{"x": [[0, 0, 0, 0, 0, 0, 0, 0]]}}, {one}}}"#),
    ];
    assert_eq!(run(&passes), "");
    let check = |case: String, part: &str| {
        let said = run(&[case]);
        assert!(said.contains(part), "{said}");
    };
    check(message(&two, &one), "holds 2 samples, and 1 are expected");
    check(message(r#"{"v": [1]}"#, &one), "golden case 1: stage lists: ");
    check(message(sample, r#""outputs": [{"q": [7777]}]"#), "expected [7777.0");
    check(
        message(sample, &format!(r#"{one}, "outputs": []"#)),
        "`output` and `outputs`",
    );
    check(passes[3].clone(), "no golden case goes through the decoder");
    check(message("", r#""outputs": []"#), "no golden case has an output");
}

fn answer_to_zeros() -> f64 {
    let mut pipeline = load(&spec(lists("error"), Vec::new())).unwrap();
    let message = Message {
        payload: br#"{"list": [{"v": [0, 0, 0, 0, 0, 0, 0, 0]}]}"#,
        ..Message::default()
    };
    let sample = pipeline.decode(message, 0).unwrap().samples.remove(0).unwrap();
    match pipeline.process(&sample, 0).outcome {
        Outcome::Result(outputs) => outputs[0].to_f64().unwrap()[0],
        other => panic!("{other:?}"),
    }
}
