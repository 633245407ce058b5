//! Case files: what a plugin is given, and what it has to answer.
//!
//! A file goes through one fresh instance. Its first line has the configuration, each other line is a call. docs/plugins.md
//! has the format.

pub(super) mod value;

use crate::files;
use anyhow::{Context as _, Result, anyhow};
use floorhand_plugin_host::Asset;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a project has them.
pub(super) const FOLDER: &str = "tests/cases";

/// A file of cases in bytes, and an asset: nothing larger is read by accident.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// How far an expected number may be from the answer, relative to it or to 1.
const TOLERANCE: f64 = 1e-6;

/// A file of cases.
#[derive(Debug)]
pub(super) struct CaseFile {
    /// Its name without the folder.
    pub(super) name: String,
    /// The configuration, a JSON object.
    pub(super) config: Value,
    /// What the plugin is handed.
    pub(super) assets: Vec<Asset>,
    /// How far an expected number may be from the answer; 0 for the same bits.
    pub(super) tolerance: f64,
    /// Its limit of memory, where that isn't a device's default.
    pub(super) memory_bytes: Option<u64>,
    /// The calls, in order, with the number of their line.
    pub(super) calls: Vec<(usize, Line)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    config: Map<String, Value>,
    #[serde(default)]
    assets: Vec<String>,
    tolerance: Option<f64>,
    memory_bytes: Option<u64>,
}

/// Tensors by name, as nested arrays.
pub(super) type Named = BTreeMap<String, Value>;

/// A call, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    /// A processor's inputs, or what a monitor sees of the source.
    pub(super) input: Option<Named>,
    /// What a monitor sees before the model.
    pub(super) features: Option<Named>,
    /// What a monitor sees as the model gave it.
    pub(super) prediction: Option<Named>,
    /// What a processor has to answer, `null` for "not yet"; or what a monitor sees behind the model.
    #[serde(default, deserialize_with = "present")]
    pub(super) output: Option<Option<Named>>,
    /// The error that has to be answered.
    pub(super) error: Option<String>,
    /// The sample's or the message's time.
    pub(super) time_ms: Option<u64>,
    /// What the sample is of.
    pub(super) key: Option<String>,
    /// By what its source knows it.
    pub(super) id: Option<String>,
    /// Whether samples of its key before it may be missing; by default before the first one of the file.
    pub(super) gap: Option<bool>,
    /// What a monitor has to find; nothing if it isn't there.
    #[serde(default)]
    pub(super) findings: Vec<ExpectedFinding>,
    /// A decoder's message as text.
    pub(super) message: Option<String>,
    /// The same for any bytes.
    pub(super) message_base64: Option<String>,
    /// Where the message comes from.
    #[serde(default)]
    pub(super) topic: String,
    /// What the source says it is.
    #[serde(default)]
    pub(super) content_type: String,
    /// What the source says besides, each with its name in front.
    #[serde(default)]
    pub(super) properties: Vec<(String, String)>,
    /// What a decoder has to find in the message.
    pub(super) samples: Option<Vec<ExpectedSample>>,
}

/// A finding; what isn't given isn't compared.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedFinding {
    pub(super) kind: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) severity: Option<String>,
    pub(super) phase: Option<String>,
    pub(super) value: Option<Value>,
    pub(super) threshold: Option<Value>,
    pub(super) message: Option<String>,
}

/// A decoder's sample.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedSample {
    pub(super) tensors: Option<Named>,
    pub(super) id: Option<String>,
    pub(super) key: Option<String>,
    pub(super) time_ms: Option<u64>,
    pub(super) error: Option<String>,
}

/// Tells `null` from nothing at all.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Named>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl CaseFile {
    /// Reads a file and the assets beside it.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = files::read(path, MAX_FILE_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|_| anyhow!("{} is no UTF-8", path.display()))?;
        let at = |line: usize| format!("{}, line {line}", path.display());
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let (index, head) = lines.next().with_context(|| {
            format!(
                "{} is empty: write {{\"config\": {{...}}}} and a line for every call",
                path.display()
            )
        })?;
        let head: Head = serde_json::from_str(head).with_context(|| at(index + 1))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let assets = head.assets.into_iter().map(|asset| {
            let data = files::read(&folder.join(&asset), MAX_FILE_BYTES)?;
            Ok(Asset { name: asset, data })
        });
        let calls = lines.map(|(index, line)| {
            let call = serde_json::from_str(line).with_context(|| at(index + 1))?;
            Ok((index + 1, call))
        });
        Ok(Self {
            assets: assets.collect::<Result<_>>()?,
            calls: calls.collect::<Result<_>>()?,
            name,
            config: Value::Object(head.config),
            tolerance: head.tolerance.unwrap_or(TOLERANCE),
            memory_bytes: head.memory_bytes,
        })
    }
}

/// Every file of cases of a project, by name. That there is none is an error.
pub(super) fn read_all(folder: &Path) -> Result<Vec<CaseFile>> {
    let cases = folder.join(FOLDER);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&cases)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    paths.sort();
    if paths.is_empty() {
        return Err(anyhow!(
            "{} has no .jsonl file: write one, docs/plugins.md has the format",
            cases.display()
        ));
    }
    paths.iter().map(|path| CaseFile::read(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<CaseFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("scaler.json"), "{}").unwrap();
        CaseFile::read(&path)
    }

    #[test]
    fn reads_what_is_written_and_tells_null_from_nothing() {
        let file = read(
            "{\"config\": {\"a\": 1}, \"assets\": [\"scaler.json\"], \"tolerance\": 0}\n\n\
             {\"input\": {\"x\": [1]}, \"output\": null}\n{\"input\": {\"x\": [1]}}\n",
        )
        .unwrap();
        assert_eq!(
            (file.assets[0].data.as_slice(), file.tolerance),
            (b"{}".as_slice(), 0.0)
        );
        assert_eq!(file.calls[0].0, 3);
        assert!(matches!(file.calls[0].1.output, Some(None)));
        assert!(file.calls[1].1.output.is_none());
    }

    #[test]
    fn an_error_names_file_and_line() {
        for (text, part) in [
            ("", "is empty"),
            ("{}", "a.jsonl, line 1: missing field `config`"),
            (
                "{\"config\": {}}\n{\"inputs\": {}}",
                "a.jsonl, line 2: unknown field `inputs`",
            ),
            ("{\"config\": {}, \"assets\": [\"none.json\"]}", "none.json"),
        ] {
            let error = crate::exit::flatten(&read(text).unwrap_err());
            assert!(error.contains(part) && error.lines().count() == 1, "{error}");
        }
    }
}
