//! Recorded cases of a plugin, as `floorhand plugin test` reads them; what is expected stays unread.

use base64::Engine as _;
use floorhand_plugin_host::{Asset, Limits, Origin, Setup};
use floorhand_tensor::{Tensor, TensorSpec};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The time of a file's first sample, in milliseconds since 1970-01-01 UTC: 2026-01-01.
const FIRST_MS: u64 = 1_767_225_600_000;

/// A file of cases: one configuration, and calls of one sample or message each.
pub(crate) struct Cases {
    pub(crate) config: String,
    pub(crate) assets: Vec<Asset>,
    pub(crate) calls: Vec<Value>,
    memory_bytes: Option<u64>,
    /// Whether the plugin keeps the series of several keys apart.
    keyed: bool,
}

impl Cases {
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let first = lines.next().unwrap();
        let named = first["assets"].as_array().cloned().unwrap_or_default();
        let assets = named.iter().map(|name| {
            let name = name.as_str().unwrap().to_owned();
            let data = fs::read(path.with_file_name(&name)).unwrap();
            Asset { name, data }
        });
        Self {
            config: first["config"].to_string(),
            assets: assets.collect(),
            calls: lines.collect(),
            memory_bytes: first["memory_bytes"].as_u64(),
            keyed: path
                .ancestors()
                .filter_map(|folder| fs::read_to_string(folder.join("schema.json")).ok())
                .any(|schema| schema.contains("\"max_keys\"")),
        }
    }

    /// The same with room for the samples of so many keys; none where the plugin knows of no keys.
    pub(crate) fn with_keys(&self, keys: usize) -> Option<Self> {
        let mut config: Value = serde_json::from_str(&self.config).ok()?;
        config.as_object_mut()?.insert("max_keys".to_owned(), keys.into());
        self.keyed.then(|| Self {
            config: config.to_string(),
            assets: self.assets.clone(),
            calls: self.calls.clone(),
            memory_bytes: self.memory_bytes,
            keyed: true,
        })
    }

    /// Without the limits of time: what is measured here is bytes.
    pub(crate) fn setup(&self) -> Setup {
        Setup {
            name: "case".to_owned(),
            config: self.config.clone(),
            assets: self.assets.clone(),
            given: Vec::new(),
            limits: Limits {
                deadline_ms: 60_000,
                setup_deadline_ms: 60_000,
                memory_bytes: self.memory_bytes.unwrap_or(Limits::default().memory_bytes),
                ..Limits::default()
            },
        }
    }
}

/// A case's tensors in the order of the specs, each of one sample; none if one is missing or of another shape, which this
/// host wouldn't let through to the plugin.
pub(crate) fn tensors(case: &Value, specs: &[(Origin, TensorSpec)]) -> Option<Vec<Tensor>> {
    let tensor = |(origin, spec): &(Origin, TensorSpec)| {
        let key = match origin {
            Origin::Features => "features",
            Origin::Prediction => "prediction",
            Origin::Output => "output",
            _ => "input",
        };
        let mut values = Vec::new();
        let shape = flatten(case.get(key)?.get(&spec.name)?, &mut values);
        let tensor = Tensor::from_f64(&spec.name, spec.datatype, shape, &values).ok()?;
        spec.check(&tensor).is_ok().then_some(tensor)
    };
    specs.iter().map(tensor).collect()
}

/// A nested array's shape; its numbers go to `values`.
fn flatten(value: &Value, values: &mut Vec<f64>) -> Vec<u64> {
    let Some(list) = value.as_array() else {
        values.push(number(value));
        return Vec::new();
    };
    let mut inner = Vec::new();
    for element in list {
        inner = flatten(element, values);
    }
    inner.insert(0, list.len() as u64);
    inner
}

fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        Some(_) => f64::NAN,
        None => value
            .as_f64()
            .unwrap_or_else(|| f64::from(u8::from(value.as_bool().unwrap_or_default()))),
    }
}

pub(crate) fn time_ns(case: &Value, sequence: u64) -> u64 {
    case["time_ms"].as_u64().unwrap_or(FIRST_MS + 1000 * sequence) * 1_000_000
}

pub(crate) fn payload(case: &Value) -> Option<Vec<u8>> {
    if let Some(text) = case["message"].as_str() {
        return Some(text.as_bytes().to_vec());
    }
    let encoded = case["message_base64"].as_str()?;
    Some(base64::engine::general_purpose::STANDARD.decode(encoded).unwrap())
}
