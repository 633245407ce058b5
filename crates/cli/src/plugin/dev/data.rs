//! Recorded data as calls, and calls and answers as a person reads them.

use super::super::cases::CaseFile;
use super::super::guest::{Answer, Call, Found, Guest, error_name};
use super::DevArgs;
use crate::exit::flatten;
use crate::files;
use crate::output::Tone;
use crate::run::input::Input;
use anyhow::{Context as _, Result};
use floorhand_bundle::InputSpec;
use floorhand_tensor::{Dim, Tensor, TensorSpec};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

/// Characters of a tensor or a message that are shown.
const MAX_SHOWN: usize = 60;

/// Bytes of a file of messages: data to look at, not to process.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// A call, or why a row of a file is none.
pub(super) type Row = Result<Call, String>;

/// The calls that a file of data comes to, as many as are to be shown.
pub(super) fn read(args: &DevArgs, path: &Path, guest: &Guest, file: &CaseFile) -> Result<Vec<Row>> {
    if matches!(guest, Guest::Decoder(_)) {
        let bytes = files::read(path, MAX_FILE_BYTES)?;
        let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let messages = (0..).zip(lines).take(args.rows);
        return Ok(messages
            .map(|(sequence, line)| Ok(Call::message(&name, sequence, line)))
            .collect());
    }
    let columns = columns(args, &file.config);
    let specs: Vec<InputSpec> = guest.inputs().iter().map(|spec| input(spec, &columns)).collect();
    let mut input = Input::open(path, None, None, &specs)?;
    let mut calls = Vec::new();
    while calls.len() < args.rows {
        let Some(sample) = input.next_sample().with_context(|| path.display().to_string())? else {
            break;
        };
        calls.push(sample.map_err(|error| flatten(&error)).map(|sample| {
            let time_ns = Some(sample.time_ns).filter(|&time_ns| time_ns > 0);
            Call::sample(calls.len() as u64, time_ns, sample.tensors)
        }));
    }
    Ok(calls)
}

/// What the columns of a table are called: as said, else as the configuration calls its fields.
fn columns(args: &DevArgs, config: &Value) -> Vec<String> {
    if !args.columns.is_empty() {
        return args.columns.clone();
    }
    let fields = config.get("fields").and_then(Value::as_array).into_iter().flatten();
    let name = |field: &Value| {
        let name = field.as_str().or_else(|| field.get("name").and_then(Value::as_str));
        name.map(str::to_owned)
    };
    fields.filter_map(name).collect()
}

/// A row of a table is a tensor of one row.
fn input(spec: &TensorSpec, columns: &[String]) -> InputSpec {
    let last = spec.shape.len().saturating_sub(1);
    let fixed = spec.shape.iter().enumerate().map(|(place, dim)| match dim {
        Dim::Any if place == last => Dim::Fixed(columns.len() as u64),
        Dim::Any => Dim::Fixed(1),
        Dim::Fixed(_) => *dim,
    });
    let tensor = TensorSpec::new(&spec.name, spec.datatype, fixed.collect());
    let fits = tensor.fixed_len() == Some(columns.len() as u64);
    InputSpec {
        tensor,
        fields: if fits { columns.to_vec() } else { Vec::new() },
    }
}

/// What a plugin was given.
pub(super) fn call(call: &Call) -> String {
    match call {
        Call::Sample(_, tensors) => tensors.iter().map(tensor).collect::<Vec<_>>().join("\n"),
        Call::Message { payload, .. } => shortened(&String::from_utf8_lossy(payload)),
    }
}

/// What it answered.
pub(super) fn answer(answer: &Answer) -> (String, Tone) {
    let lines = |lines: Vec<String>| lines.join("\n");
    match answer {
        Answer::Tensors(tensors) if tensors.is_empty() => ("not yet".to_owned(), Tone::Dim),
        Answer::Tensors(tensors) => (lines(tensors.iter().map(tensor).collect()), Tone::Plain),
        Answer::Findings(findings) if findings.is_empty() => ("-".to_owned(), Tone::Dim),
        Answer::Findings(findings) => (lines(findings.iter().map(finding).collect()), Tone::Warn),
        Answer::Samples(samples) => {
            let samples = samples.iter().map(|sample| match sample {
                Ok(sample) => sample.tensors.iter().map(tensor).collect::<Vec<_>>().join(" "),
                Err(lost) => format!("{}: {}", error_name(&lost.error), lost.error),
            });
            (lines(samples.collect()), Tone::Plain)
        }
        Answer::Error(error) => (format!("{}: {error}", error_name(error)), Tone::Bad),
    }
}

fn finding(found: &Found) -> String {
    format!(
        "{}: {} of {}: {}",
        found.severity, found.kind, found.subject, found.message
    )
}

/// `x [1, 2] 1.5, 2.25`
fn tensor(tensor: &Tensor) -> String {
    let mut text = format!("{} {:?} ", tensor.name(), tensor.shape());
    let values: Vec<String> = match tensor.elements() {
        Ok(texts) => texts
            .iter()
            .map(|text| format!("{:?}", String::from_utf8_lossy(text)))
            .collect(),
        Err(_) => tensor.to_f64().unwrap_or_default().iter().map(f64::to_string).collect(),
    };
    for (index, value) in values.into_iter().enumerate() {
        if text.len() > MAX_SHOWN {
            text.push_str(", …");
            break;
        }
        let comma = if index > 0 { ", " } else { "" };
        // Writing to a String can't fail.
        let _ = write!(text, "{comma}{value}");
    }
    text
}

fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    crate::output::visible(&shown)
}
