//! Writes what the fuzz targets `inference-http` and `inference-grpc` in `tests/fuzz` start from, into the folder that is
//! named: what tritonclient sends, as `tests/python/open_inference/cases.json` has it, in the form that each target takes.
//!
//! `tests/fuzz/seeds` has this program's output, as `tests/seeds.rs` checks.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The targets that these seeds are for.
pub(crate) const TARGETS: [&str; 2] = ["inference-http", "inference-grpc"];
/// The number of `ModelInfer` in the gRPC target.
const MODEL_INFER: u8 = 0;

/// The seeds by their paths.
pub(crate) fn all() -> Result<BTreeMap<String, Vec<u8>>> {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/open_inference/cases.json");
    let recorded: Value = serde_json::from_slice(&std::fs::read(recorded)?)?;
    let mut seeds = BTreeMap::new();
    for (kind, target) in [("http", TARGETS[0]), ("grpc", TARGETS[1])] {
        for case in recorded.get(kind).and_then(Value::as_array).ok_or("no cases")? {
            let name = case["name"].as_str().ok_or("no name")?.replace(' ', "-");
            let body = case["body"].as_str().or_else(|| case["message"].as_str());
            let body = STANDARD.decode(body.ok_or("no body")?)?;
            let front = match kind {
                "http" => {
                    let length = case["header_length"].as_u64().map_or(0, |length| length + 1);
                    u16::try_from(length)?.to_be_bytes().to_vec()
                }
                _ => vec![MODEL_INFER],
            };
            seeds.insert(format!("{target}/{name}"), [front, body].concat());
        }
    }
    Ok(seeds)
}

#[cfg_attr(test, expect(dead_code, reason = "the test takes what is above"))]
fn main() -> Result<()> {
    let folder = std::env::args().nth(1).ok_or("name the folder: tests/fuzz/seeds")?;
    for (path, bytes) in all()? {
        let path = Path::new(&folder).join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, bytes)?;
    }
    Ok(())
}
