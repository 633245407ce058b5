//! What a server says about itself and its models. All of these are the protocol's JSON objects as they stand.

use crate::Error;
use floorhand_tensor::{Datatype, Signature, TensorSpec};
use serde::{Deserialize, Serialize};

/// The extensions of the protocol that this crate speaks by itself. A server that answers the calls for them adds
/// `statistics`; it has no `model_repository`, of which there is only the index.
pub const EXTENSIONS: [&str; 4] = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "parameters",
];

/// What a server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerMetadata {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The extensions it speaks; see [`EXTENSIONS`].
    pub extensions: Vec<String>,
}

impl ServerMetadata {
    /// Of a server that speaks [`EXTENSIONS`].
    #[must_use]
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            extensions: EXTENSIONS.map(ToOwned::to_owned).to_vec(),
        }
    }
}

/// What a model is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelMetadata {
    /// Its name.
    pub name: String,
    /// The versions that can be asked for.
    pub versions: Vec<String>,
    /// Format and engine, such as `onnx_tract`.
    pub platform: String,
    /// What it takes; sizes that are open are -1.
    pub inputs: Vec<TensorSpec>,
    /// What it gives.
    pub outputs: Vec<TensorSpec>,
}

impl ModelMetadata {
    /// Of a model with this signature.
    #[must_use]
    pub fn new(name: impl Into<String>, versions: Vec<String>, platform: &str, signature: &Signature) -> Self {
        Self {
            name: name.into(),
            versions,
            platform: platform.to_owned(),
            inputs: signature.inputs.clone(),
            outputs: signature.outputs.clone(),
        }
    }

    /// The same as the part of Triton's configuration that its tools read. The batch is a dimension like any other:
    /// `max_batch_size` is 0.
    #[must_use]
    pub fn config(&self) -> ModelConfig {
        let tensors = |specs: &[TensorSpec]| specs.iter().map(ConfigTensor::of).collect();
        ModelConfig {
            name: self.name.clone(),
            platform: self.platform.clone(),
            backend: String::new(),
            max_batch_size: 0,
            input: tensors(&self.inputs),
            output: tensors(&self.outputs),
        }
    }
}

/// What of Triton's configuration of a model there is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelConfig {
    /// The model's name.
    pub name: String,
    /// Format and engine.
    pub platform: String,
    /// Empty: models have no other backend than their platform.
    pub backend: String,
    /// 0: shapes say all dimensions, the batch too.
    pub max_batch_size: i32,
    /// What it takes.
    pub input: Vec<ConfigTensor>,
    /// What it gives.
    pub output: Vec<ConfigTensor>,
}

/// A tensor in [`ModelConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigTensor {
    /// Its name.
    pub name: String,
    /// `TYPE_` and the datatype; byte strings are `TYPE_STRING`.
    pub data_type: String,
    /// Its sizes, -1 for open ones.
    pub dims: Vec<i64>,
}

impl ConfigTensor {
    fn of(spec: &TensorSpec) -> Self {
        let data_type = match spec.datatype {
            Datatype::Bytes => "TYPE_STRING".to_owned(),
            other => format!("TYPE_{other}"),
        };
        Self {
            name: spec.name.clone(),
            data_type,
            dims: spec.shape.iter().copied().map(i64::from).collect(),
        }
    }
}

/// How often something happened, and how long it took in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Duration {
    /// How often.
    pub count: u64,
    /// How long, in nanoseconds.
    pub ns: u64,
}

/// What a model has answered since it was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ModelStatistics {
    /// Its name.
    pub name: String,
    /// The version.
    pub version: String,
    /// When the last inference began, in milliseconds since 1970; 0 if there was none.
    pub last_inference: u64,
    /// How many rows it has answered.
    pub inference_count: u64,
    /// How often it ran, which is less often where rows are batched.
    pub execution_count: u64,
    /// How long it took.
    pub inference_stats: InferenceStatistics,
    /// Always empty: nothing is counted for each size of batch.
    pub batch_stats: [(); 0],
}

/// Where the time of [`ModelStatistics`] went. Whoever doesn't measure one of them leaves it at 0.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct InferenceStatistics {
    /// Requests that were answered.
    pub success: Duration,
    /// Requests that failed.
    pub fail: Duration,
    /// Waiting.
    pub queue: Duration,
    /// Before the model.
    pub compute_input: Duration,
    /// In the model.
    pub compute_infer: Duration,
    /// After the model.
    pub compute_output: Duration,
    /// Answers from a cache, of which there is none.
    pub cache_hit: Duration,
    /// The same.
    pub cache_miss: Duration,
}

/// The object that carries the statistics of some models.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Statistics {
    /// Each model's.
    pub model_stats: Vec<ModelStatistics>,
}

/// A line of the repository's index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IndexEntry {
    /// The model's name.
    pub name: String,
    /// The version; empty where the model has none.
    pub version: String,
    /// `READY` or `UNAVAILABLE`.
    pub state: ModelState,
    /// Why it isn't ready, or nothing.
    pub reason: String,
}

/// Whether a model in the index answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ModelState {
    /// It does.
    Ready,
    /// It doesn't.
    Unavailable,
}

/// What of the index is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct IndexRequest {
    /// Only models that answer.
    #[serde(default)]
    pub ready: bool,
}

impl IndexRequest {
    /// Longer than any that asks for something.
    const MAX_BYTES: usize = 4096;

    /// Reads the body of such a call, which may be empty.
    pub fn decode(body: &[u8]) -> Result<Self, Error> {
        if body.len() > Self::MAX_BYTES {
            return Err(Error::TooLarge {
                bytes: body.len(),
                most: Self::MAX_BYTES,
            });
        }
        if body.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(body).map_err(Error::body)
    }

    /// The entries that were asked for.
    #[must_use]
    pub fn select(self, entries: Vec<IndexEntry>) -> Vec<IndexEntry> {
        let wanted = |entry: &IndexEntry| !self.ready || entry.state == ModelState::Ready;
        entries.into_iter().filter(wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_tensor::Dim;

    #[test]
    fn a_models_objects() {
        let spec = |name, datatype| TensorSpec::new(name, datatype, vec![Dim::Any, Dim::Fixed(4)]);
        let signature = Signature {
            inputs: vec![spec("x", Datatype::Fp32)],
            outputs: vec![spec("label", Datatype::Bytes)],
        };
        let model = ModelMetadata::new("pump", vec!["1".to_owned()], "onnx_tract", &signature);
        assert_eq!(
            serde_json::to_string(&model).unwrap(),
            concat!(
                r#"{"name":"pump","versions":["1"],"platform":"onnx_tract","#,
                r#""inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}],"#,
                r#""outputs":[{"name":"label","datatype":"BYTES","shape":[-1,4]}]}"#
            )
        );
        let config = serde_json::to_value(model.config()).unwrap();
        assert_eq!(config["input"][0]["data_type"], "TYPE_FP32");
        assert_eq!(config["output"][0]["data_type"], "TYPE_STRING");
        assert_eq!(config["output"][0]["dims"], serde_json::json!([-1, 4]));
    }

    #[test]
    fn the_index_is_filtered_when_asked() {
        let entry = |name: &str, state| IndexEntry {
            name: name.to_owned(),
            version: "1".to_owned(),
            state,
            reason: String::new(),
        };
        let all = vec![entry("a", ModelState::Ready), entry("b", ModelState::Unavailable)];
        for (body, count) in [("", 2), ("{}", 2), (r#"{"ready":false}"#, 2), (r#"{"ready":true}"#, 1)] {
            let request = IndexRequest::decode(body.as_bytes()).unwrap();
            assert_eq!(request.select(all.clone()).len(), count, "{body}");
        }
        assert!(IndexRequest::decode(b"[").is_err());
        let text = serde_json::to_string(&all[..1]).unwrap();
        assert_eq!(text, r#"[{"name":"a","version":"1","state":"READY","reason":""}]"#);
    }
}
