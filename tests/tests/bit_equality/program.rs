//! The jobs in `floorhand run`: a processor before a model that passes its features through, a monitor beside one that
//! passes what is watched through.
//!
//! Samples go in and results come out as JSON, so this is also whether numbers survive that. JSON has neither NaN nor
//! infinity: of samples `null` is read as NaN, and those with an infinite number are left out (`Job::one_by_one`); in
//! results and findings `null` stands for all three. Shapes and the watch of a finding aren't told at all.

use crate::cases::Cases;
use crate::device::Described;
use crate::job::{Call, Job};
use crate::onnx::{self, Passed};
use floorhand_plugin_host::{Context, Origin, World};
use floorhand_tensor::{Datatype, Tensor, TensorSpec};
use floorhand_tests::run_ok;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const STAGE: &str = "plugin";

/// What counts how fast it went.
const DROPPED_LINES: &str = "dropped-log-lines";

/// What `floorhand run` has to tell, and what it told: a line for each sample, and a last one of what was counted.
pub(crate) struct Told {
    pub(crate) expected: Vec<Value>,
    pub(crate) actual: Vec<Value>,
    /// Samples with an answer or findings.
    pub(crate) answers: usize,
}

/// Runs a job that goes one by one in the folder. `device` is what the host gave. None where there is nothing to run: no
/// sample, or a processor that never answers, whose model would be of unknown shape.
pub(crate) fn run(folder: &Path, component: &Path, cases: &Cases, job: &Job, device: &[Value]) -> Option<Told> {
    let described = &job.described;
    let samples = samples(job);
    let (counted, device) = device.split_last()?;
    let (_, first) = samples.first()?;
    let model = match described.world {
        World::Processor => features(&described.outputs, device)?,
        World::Monitor => watched(described, first),
        // `messages` runs them.
        World::Decoder => return None,
    };
    let inputs = names_of_inputs(described);
    fs::copy(component, folder.join("plugin.wasm")).unwrap();
    fs::write(folder.join("model.onnx"), onnx::identity(&model)).unwrap();
    fs::write(folder.join("golden.jsonl"), "{\"input\": {}, \"output\": null}\n").unwrap();
    for asset in &cases.assets {
        fs::write(folder.join(&asset.name), &asset.data).unwrap();
    }
    fs::write(
        folder.join("bundle.toml"),
        recipe(cases, described.world, &inputs, first),
    )
    .unwrap();
    let lines: String = samples.iter().map(|sample| line(&inputs, sample)).collect();
    fs::write(folder.join("input.jsonl"), lines).unwrap();
    let expected: Vec<Value> = device.iter().map(|told| expected(&described.outputs, told)).collect();
    let answers = expected.iter().filter(|told| !told.is_null()).count();
    let summary = start(folder);
    let read = Read {
        described,
        model: &model,
        summary,
    };
    Some(Told {
        answers,
        actual: read.all(folder, samples.len()),
        expected: [expected, vec![expected_counts(described.world, device, counted)]].concat(),
    })
}

fn samples(job: &Job) -> Vec<(&Context, &[Tensor])> {
    let samples = job.calls.iter().filter_map(|call| match call {
        Call::Samples(contexts, tensors) => Some((contexts.first().unwrap(), tensors.as_slice())),
        _ => None,
    });
    samples.collect()
}

/// What the processor gives is the model's input under its own name. All answers have the shape of the first.
fn features(outputs: &[TensorSpec], device: &[Value]) -> Option<Vec<Passed>> {
    let answer = device.iter().find_map(|told| told[0].as_array())?;
    let passed = answer.iter().zip(outputs).map(|(tensor, spec)| Passed {
        input: spec.name.clone(),
        output: format!("{} of the model", spec.name),
        datatype: spec.datatype,
        shape: serde_json::from_value(tensor["shape"].clone()).unwrap(),
    });
    Some(passed.collect())
}

/// What is watched as prediction or output is the model's output under its own name, else its input.
fn watched(described: &Described, first: &[Tensor]) -> Vec<Passed> {
    let inputs = names_of_inputs(described);
    let passed = described.inputs.iter().zip(inputs).zip(first);
    let passed = passed.map(|(((_, spec), input), tensor)| Passed {
        output: if input == spec.name {
            format!("{} of the model", spec.name)
        } else {
            spec.name.clone()
        },
        input,
        datatype: spec.datatype,
        shape: tensor.shape().iter().skip(1).copied().collect(),
    });
    passed.collect()
}

/// What the plugin's tensors are called in a sample.
fn names_of_inputs(described: &Described) -> Vec<String> {
    let name = |(origin, spec): &(Origin, TensorSpec)| match origin {
        Origin::Input | Origin::Features => spec.name.clone(),
        Origin::Prediction | Origin::Output => format!("{} of the sample", spec.name),
    };
    described.inputs.iter().map(name).collect()
}

fn recipe(cases: &Cases, world: World, inputs: &[String], first: &[Tensor]) -> String {
    let config: Value = serde_json::from_str(&cases.config).unwrap();
    let assets: Vec<&str> = cases.assets.iter().map(|asset| asset.name.as_str()).collect();
    let inputs: Vec<Value> = inputs
        .iter()
        .zip(first)
        .map(|(name, tensor)| {
            json!({"name": name, "datatype": tensor.datatype().name(), "shape": tensor.shape().get(1..)})
        })
        .collect();
    let stage = json!([{
        "name": STAGE,
        "plugin": "plugin.wasm",
        "config": config,
        "assets": assets,
        // What is measured here is bytes.
        "limits": {"deadline_ms": 60_000},
    }]);
    let place = if world == World::Monitor {
        "monitor"
    } else {
        "preprocess"
    };
    let mut recipe = json!({
        "bundle": {"name": "case", "version": "1.0.0", "release_counter": 1},
        "input": inputs,
        "model": {"file": "model.onnx", "allow_nan": true},
        "golden": {"file": "golden.jsonl"},
    });
    recipe[place] = stage;
    toml::to_string(&recipe).unwrap()
}

/// A sample as JSON.
fn line(names: &[String], (context, tensors): &(&Context, &[Tensor])) -> String {
    let mut object = Map::new();
    object.insert("time_ms".to_owned(), json!(context.time_ns / 1_000_000));
    for (name, tensor) in names.iter().zip(*tensors) {
        object.insert(name.clone(), json!(tensor.to_f64().unwrap()));
    }
    format!("{}\n", Value::Object(object))
}

/// Starts the program; gives its summary.
fn start(folder: &Path) -> Value {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let words = [
        "--json".to_owned(),
        "run".to_owned(),
        folder.to_string_lossy().into_owned(),
        "--input".to_owned(),
        path("input.jsonl"),
        "--output".to_owned(),
        path("results.jsonl"),
        "--findings".to_owned(),
        path("findings.jsonl"),
    ];
    serde_json::from_str(&run_ok(&words).unwrap()).unwrap()
}

/// What can be told of a sample's answer from the host: tensors by name, element by element, or findings.
fn expected(outputs: &[TensorSpec], device: &Value) -> Value {
    let told = &device[0];
    let Some(list) = told.as_array().filter(|list| !list.is_empty()) else {
        return Value::Null;
    };
    if outputs.is_empty() {
        return list.iter().map(expected_finding).collect();
    }
    let named = outputs.iter().zip(list).map(|(spec, tensor)| {
        let data = hex::decode(tensor["data"].as_str().unwrap()).unwrap();
        let shape = serde_json::from_value(tensor["shape"].clone()).unwrap();
        let tensor = Tensor::new(&spec.name, spec.datatype, shape, data).unwrap();
        (spec.name.clone(), elements(&tensor))
    });
    Value::Object(named.collect())
}

/// Each element's bytes; `null` where there is no JSON number.
pub(crate) fn elements(tensor: &Tensor) -> Value {
    let values = tensor.to_f64().unwrap();
    let size = tensor.datatype().size().expect("numbers");
    let elements = tensor.data().chunks(size).zip(values);
    elements
        .map(|(bytes, value)| value.is_finite().then(|| hex::encode(bytes)))
        .collect()
}

fn expected_finding(finding: &Value) -> Value {
    let details = finding["details"].as_array().unwrap().iter();
    let details: BTreeMap<&str, &Value> = details
        .map(|detail| (detail["name"].as_str().unwrap(), &detail["value"]))
        .collect();
    let mut told = finding.clone();
    let object = told.as_object_mut().unwrap();
    object.remove("index");
    object.remove("watch");
    object.insert("details".to_owned(), json!(details));
    for key in ["value", "threshold"] {
        let number = finding[key].as_str().map(|bits| u64::from_str_radix(bits, 16).unwrap());
        let finite = number.is_some_and(|bits| f64::from_bits(bits).is_finite());
        if !finite {
            object.insert(key.to_owned(), Value::Null);
        }
    }
    told
}

/// How many samples there have to be of each kind, and what the plugin itself counted and measured.
fn expected_counts(world: World, device: &[Value], counted: &Value) -> Value {
    let failed = device.iter().filter(|told| told[0]["error"].is_object()).count();
    let not_yet = device.iter().filter(|told| told[0].is_null()).count();
    let mut counters = counted["counters"].clone();
    if failed > 0 {
        // The pipeline's own, beside those of the plugin.
        counters["refused"] = json!(failed.to_string());
    }
    // A monitor takes nothing from a sample.
    let (failed, not_yet) = if world == World::Monitor {
        (0, 0)
    } else {
        (failed, not_yet)
    };
    json!({
        "samples": device.len(),
        "results": device.len() - failed - not_yet,
        "not_yet": not_yet,
        "failures": failed,
        "plugin_faults": 0,
        "counters": counters,
        "gauges": counted["gauges"],
    })
}

/// Reads what the program wrote.
struct Read<'a> {
    described: &'a Described,
    model: &'a [Passed],
    summary: Value,
}

impl Read<'_> {
    fn all(&self, folder: &Path, samples: usize) -> Vec<Value> {
        let mut told = vec![Value::Null; samples];
        if self.described.world == World::Monitor {
            for mut finding in objects(&folder.join("findings.jsonl")) {
                let place = &mut told[sample(&finding)];
                if place.is_null() {
                    *place = json!([]);
                }
                place.as_array_mut().unwrap().push(Self::finding(&mut finding));
            }
        } else {
            for result in objects(&folder.join("results.jsonl")) {
                told[sample(&result)] = self.result(&result);
            }
        }
        told.push(self.counts());
        told
    }

    fn result(&self, result: &Value) -> Value {
        let outputs = result["outputs"].as_object().unwrap();
        let tensor = |passed: &Passed| {
            let values = outputs[&passed.output].as_array().unwrap().iter();
            let values = values.map(|value| element(passed.datatype, value));
            (passed.input.clone(), values.collect::<Value>())
        };
        Value::Object(self.model.iter().map(tensor).collect())
    }

    fn finding(finding: &mut Value) -> Value {
        let object = finding.as_object_mut().unwrap();
        assert_eq!(object.remove("stage"), Some(json!(STAGE)));
        for key in ["time_ms", "sample", "bundle"] {
            object.remove(key);
        }
        for key in ["value", "threshold"] {
            let bits = object[key].as_f64().map(|value| hex::encode(value.to_be_bytes()));
            object.insert(key.to_owned(), json!(bits));
        }
        finding.take()
    }

    fn counts(&self) -> Value {
        let of_plugin = |key: &str| {
            let named = self.summary[key].as_object().unwrap().iter();
            let named = named.map(|(name, value)| (name.split_once('/').unwrap().1.to_owned(), value.clone()));
            named.filter(|(name, _)| name != DROPPED_LINES).collect::<Vec<_>>()
        };
        let counters = of_plugin("counters").into_iter();
        let counters = counters.map(|(name, count)| (name, json!(count.to_string())));
        let gauges = of_plugin("gauges").into_iter();
        let gauges = gauges.map(|(name, value)| (name, json!(hex::encode(value.as_f64().unwrap().to_be_bytes()))));
        let mut counts = json!({
            "counters": counters.collect::<Map<_, _>>(),
            "gauges": gauges.collect::<Map<_, _>>(),
        });
        for key in ["samples", "results", "not_yet", "failures", "plugin_faults"] {
            counts[key] = self.summary[key].clone();
        }
        counts
    }
}

/// A number's bytes in a type; nothing for `null`.
pub(crate) fn element(datatype: Datatype, value: &Value) -> Option<String> {
    let value = value.as_f64()?;
    let tensor = Tensor::from_f64("", datatype, vec![1], &[value]).unwrap();
    Some(hex::encode(tensor.data()))
}

pub(crate) fn objects(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sample(line: &Value) -> usize {
    usize::try_from(line["sample"].as_u64().unwrap()).unwrap()
}
