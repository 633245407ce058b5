//! `softmax-label`: a classifier's outputs to probabilities, and to the classes that are likely enough.
//!
//! Formulas are those of `floorhand_statistics::softmax`. README.md has the configuration.

use floorhand_plugin_sdk::{Assets, Context, Datatype, Error, Processor, Signature, Tensor, TensorSpec, take};
use floorhand_statistics::softmax;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeSet;

floorhand_plugin_sdk::export!(SoftmaxLabel as processor);

/// As many columns as can have names.
const MAX_LABELS: usize = 4_096;

/// The class of what is too unlikely.
const UNKNOWN: i64 = -1;

/// The plugin's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The tensor with the classifier's outputs: along its last dimension one for each class, along the others rows.
    pub input: String,
    /// The input's type. `"FP32"` by default.
    #[serde(default = "default_datatype")]
    pub datatype: Datatype,
    /// The input's shape; -1 for any size. `[-1, n]` by default for n labels.
    #[serde(default)]
    pub shape: Option<Vec<i64>>,
    /// What the classes are called, in order, none twice.
    #[schemars(length(min = 1, max = MAX_LABELS))]
    pub labels: Vec<String>,
    /// Whether the outputs are logits, of which the softmax is taken. `true` by default; `false` if they are probabilities.
    #[serde(default = "default_softmax")]
    pub softmax: bool,
    /// What logits are divided by first, above 0: above 1 for a classifier that is too sure of itself. 1 by default.
    #[serde(default)]
    pub temperature: Option<f64>,
    /// How many classes are given, the most likely first: 1 to the number of labels. 1 by default.
    #[serde(default = "default_top")]
    #[schemars(range(min = 1, max = MAX_LABELS))]
    pub top: usize,
    /// A class that is less likely is -1, unknown: 0 to 1. 0 by default.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub threshold: f64,
    /// What the tensor with the probabilities is called. `"probabilities"` by default.
    #[serde(default = "default_probabilities")]
    pub probabilities: String,
    /// What the tensor with the classes is called. `"class"` by default.
    #[serde(default = "default_class")]
    pub class: String,
    /// What the tensor with the classes' probabilities is called. `"confidence"` by default.
    #[serde(default = "default_confidence")]
    pub confidence: String,
}

/// The configured plugin. Has no state.
#[derive(Debug)]
pub struct SoftmaxLabel {
    input: TensorSpec,
    outputs: [TensorSpec; 3],
    labels: usize,
    /// `None` for probabilities.
    temperature: Option<f64>,
    top: usize,
    threshold: f64,
}

/// The outputs of all rows so far.
#[derive(Debug, Default)]
struct Answers {
    probabilities: Vec<f32>,
    classes: Vec<i64>,
    confidences: Vec<f32>,
}

impl Processor for SoftmaxLabel {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        check(&config)?;
        let temperature = temperature(&config)?;
        let labels = config.labels.len();
        let shape = config.shape.unwrap_or_else(|| vec![-1, labels as i64]);
        let Some((&last, rows)) = shape.split_last().filter(|(last, _)| **last == labels as i64) else {
            return Err(bad(format!(
                "shape is {shape:?}, and has to end in {labels}, the number of labels"
            )));
        };
        let spec = |name: &String, datatype, columns| TensorSpec::new(name, datatype, [rows, &[columns]].concat());
        let outputs = [
            spec(&config.probabilities, Datatype::Fp32, last).with_fields(&config.labels),
            spec(&config.class, Datatype::Int64, config.top as i64),
            spec(&config.confidence, Datatype::Fp32, config.top as i64),
        ];
        Ok(Self {
            input: TensorSpec::new(config.input, config.datatype, shape.clone()).with_fields(config.labels),
            outputs,
            labels,
            temperature,
            top: config.top,
            threshold: config.threshold,
        })
    }

    fn signature(&self) -> Signature {
        Signature {
            inputs: vec![self.input.clone()],
            outputs: self.outputs.to_vec(),
            state_bytes: 0,
        }
    }

    fn process(&mut self, _context: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        let tensor = take(inputs, &self.input.name)?;
        tensor.check(&self.input)?;
        let values: Vec<f64> = tensor.numbers()?.collect();
        let mut answers = Answers::default();
        for (index, row) in values.chunks_exact(self.labels).enumerate() {
            if !self.answer(row, &mut answers) {
                return Err(Error::BadInput(format!(
                    "row {index} of tensor {:?} has no class: a NaN, or nothing finite to be the largest",
                    tensor.name
                )));
            }
        }
        let rows = tensor.shape.split_last().map(|(_, rows)| rows).unwrap_or_default();
        let shape = |columns: usize| [rows, &[columns as u64]].concat();
        let [probabilities, class, confidence] = &self.outputs;
        Ok(vec![
            Tensor::from_f32(&probabilities.name, shape(self.labels), &answers.probabilities),
            Tensor {
                name: class.name.clone(),
                datatype: Datatype::Int64,
                shape: shape(self.top),
                data: answers.classes.iter().flat_map(|class| class.to_le_bytes()).collect(),
            },
            Tensor::from_f32(&confidence.name, shape(self.top), &answers.confidences),
        ])
    }
}

impl SoftmaxLabel {
    /// Of one row; says whether there is any.
    fn answer(&self, row: &[f64], answers: &mut Answers) -> bool {
        let mut probabilities = row.to_vec();
        if let Some(temperature) = self.temperature {
            probabilities.iter_mut().for_each(|logit| *logit /= temperature);
            if !softmax::softmax(&mut probabilities) {
                return false;
            }
        }
        let Some(top) = softmax::top(&probabilities, self.top) else {
            return false;
        };
        for class in top {
            let probability = probabilities.get(class).copied().unwrap_or_default();
            let is_known = probability >= self.threshold;
            answers.classes.push(if is_known { class as i64 } else { UNKNOWN });
            answers.confidences.push(probability as f32);
        }
        let rounded = probabilities.iter().map(|&probability| probability as f32);
        answers.probabilities.extend(rounded);
        true
    }
}

fn check(config: &Config) -> Result<(), Error> {
    if config.datatype == Datatype::Bytes {
        return Err(bad("datatype is BYTES, and has to be one of numbers".into()));
    }
    let labels = &config.labels;
    if !(1..=MAX_LABELS).contains(&labels.len()) {
        return Err(bad(format!("labels has {} names: 1 to {MAX_LABELS}", labels.len())));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = labels.iter().find(|label| !seen.insert(label.as_str())) {
        return Err(bad(format!("labels has {twice:?} twice")));
    }
    if !(1..=labels.len()).contains(&config.top) {
        return Err(bad(format!(
            "top is {}, and has to be 1 to {}, the number of labels",
            config.top,
            labels.len()
        )));
    }
    if !(0.0..=1.0).contains(&config.threshold) {
        return Err(bad(format!("threshold is {}, and has to be 0 to 1", config.threshold)));
    }
    let names = BTreeSet::from([&config.probabilities, &config.class, &config.confidence]);
    if names.len() < 3 {
        return Err(bad(
            "probabilities, class and confidence have to have different names".into()
        ));
    }
    Ok(())
}

/// `None` if the outputs are probabilities.
fn temperature(config: &Config) -> Result<Option<f64>, Error> {
    match (config.softmax, config.temperature) {
        (true, temperature) => {
            let temperature = temperature.unwrap_or(1.0);
            if temperature.is_finite() && temperature > 0.0 {
                return Ok(Some(temperature));
            }
            Err(bad(format!("temperature is {temperature}, and has to be above 0")))
        }
        (false, None) => Ok(None),
        (false, Some(_)) => Err(bad("temperature is given, and softmax is false: it is of logits".into())),
    }
}

const fn default_datatype() -> Datatype {
    Datatype::Fp32
}

const fn default_softmax() -> bool {
    true
}

const fn default_top() -> usize {
    1
}

fn default_probabilities() -> String {
    "probabilities".into()
}

fn default_class() -> String {
    "class".into()
}

fn default_confidence() -> String {
    "confidence".into()
}

const fn bad(what: String) -> Error {
    Error::BadConfig(what)
}

#[cfg(test)]
mod tests;
