//! `bundle pack --golden-from onnxruntime`: golden cases from samples, with the answers that ONNX Runtime gives.
//!
//! The samples go through the bundle's own pipeline with its model in ONNX Runtime instead of tract; what comes out is
//! written as golden cases. Packing then runs them in tract, so that a bundle is made only if both agree.

mod onnxruntime;

use super::source;
use crate::contents::Contents;
use crate::exit::Failure;
use crate::output::Output;
use crate::run::input::Input;
use crate::{engine, files};
use anyhow::{Context as _, Result, anyhow};
use clap::{Args, ValueEnum, ValueHint};
use floorhand_bundle::Digest;
use floorhand_pipeline::{Outcome, Pipeline, ResultHead, Sample, result_json};
use floorhand_tensor::Tensor;
use onnxruntime::OnnxRuntime;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Samples that cases are picked from: enough of a day at one a second.
const MAX_SAMPLES: usize = 100_000;
/// In the place of cases that there aren't yet.
const NONE: &[u8] = b"{\"input\": {}, \"output\": null}\n";

/// Where golden cases come from, if not from a file.
#[derive(Debug, Args)]
pub(super) struct GoldenArgs {
    /// Write the golden cases that bundle.toml names, with the answers that this engine gives to samples of --golden-input
    #[arg(long, value_name = "ENGINE", requires = "golden_input")]
    golden_from: Option<GoldenEngine>,
    /// Samples for --golden-from: CSV with a header, or one JSON object a line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "golden_from")]
    golden_input: Option<PathBuf>,
    /// How many cases to write, from evenly over the samples
    #[arg(long, value_name = "N", default_value_t = 20, requires = "golden_from", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    golden_cases: u64,
    /// The Python that has the engine
    #[arg(long, value_name = "PROGRAM", default_value = "python3", requires = "golden_from")]
    python: PathBuf,
}

/// An engine that golden cases are made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GoldenEngine {
    /// The Python package onnxruntime
    Onnxruntime,
}

/// Writes the golden cases of a folder, if that was asked for.
pub(super) fn make(folder: &Path, args: &GoldenArgs, out: &Output) -> Result<()> {
    let (Some(GoldenEngine::Onnxruntime), Some(input)) = (args.golden_from, &args.golden_input) else {
        return Ok(());
    };
    let name = source::recipe(folder)?.golden.file.as_str().to_owned();
    let file = folder.join(&name);
    if file.exists() {
        return Err(Failure::refused(format!(
            "{} is there: remove it to have it made, or leave --golden-from out",
            file.display()
        ))
        .into());
    }
    let runtime = OnnxRuntime::find(&args.python)?;
    let contents = Contents::of_folder_with(folder, &name, NONE)?;
    if contents.manifest.pipeline.decoder.is_some() {
        return Err(Failure::refused(
            "the bundle has a decoder, whose golden cases are messages: write them by hand, see docs/bundle.md",
        )
        .into());
    }
    let mut pipeline = engine::load_with(&contents, &engine::host()?, &runtime)?;
    let samples = picked(read(input, &pipeline)?, args.golden_cases);
    let mut lines = Vec::new();
    for (number, sample) in &samples {
        let case = case(&mut pipeline, sample, *number as u64);
        let case = case.with_context(|| format!("{}, sample {number}", input.display()))?;
        serde_json::to_writer(&mut lines, &case)?;
        lines.push(b'\n');
    }
    files::replace(&file, &lines, files::PUBLIC)?;
    out.note(&format!(
        "{} golden cases by ONNX Runtime {} written to {}",
        samples.len(),
        runtime.version,
        file.display()
    ));
    Ok(())
}

/// All samples of a file, each with its number from 1.
fn read(file: &Path, pipeline: &Pipeline) -> Result<Vec<(usize, Sample)>> {
    let mut input = Input::open(file, None, None, pipeline.inputs())?;
    let mut samples = Vec::new();
    while let Some(sample) = input.next_sample().with_context(|| file.display().to_string())? {
        samples.push((samples.len() + 1, sample.with_context(|| file.display().to_string())?));
        if samples.len() > MAX_SAMPLES {
            return Err(anyhow!(
                "{} has more than {MAX_SAMPLES} samples; give a part of it",
                file.display()
            ));
        }
    }
    if samples.is_empty() {
        return Err(anyhow!("{} has no samples", file.display()));
    }
    Ok(samples)
}

/// So many, from evenly over all.
fn picked<T>(samples: Vec<T>, wanted: u64) -> Vec<T> {
    let (all, wanted) = (samples.len() as u64, wanted.min(samples.len() as u64));
    let is_picked = |place: u64| place * wanted / all != (place + 1) * wanted / all;
    let placed = (0..).zip(samples);
    placed
        .filter(|(place, _)| is_picked(*place))
        .map(|(_, sample)| sample)
        .collect()
}

/// A sample and what the pipeline answers to it.
fn case(pipeline: &mut Pipeline, sample: &Sample, number: u64) -> Result<Value> {
    let mut input = tensors(&sample.tensors);
    let time_ms = sample.time_ns / 1_000_000;
    if time_ms > 0 {
        input.insert("time_ms".to_owned(), time_ms.into());
    }
    let output = match pipeline.process(sample, number).outcome {
        Outcome::Result(outputs) => Value::Object(tensors(&outputs)),
        Outcome::NotYet => Value::Null,
        Outcome::Failed(error) => return Err(anyhow!("the pipeline has no answer: {error}")),
    };
    let mut case = Map::new();
    case.insert("input".to_owned(), Value::Object(input));
    case.insert("output".to_owned(), output);
    Ok(Value::Object(case))
}

/// Tensors by name, as sinks write them.
fn tensors(tensors: &[Tensor]) -> Map<String, Value> {
    let head = ResultHead {
        id: "",
        key: None,
        time_ms: 0,
        sequence: 0,
        bundle: Digest::of(b""),
        engine: None,
    };
    match result_json(&head, tensors).get_mut("outputs").map(Value::take) {
        Some(Value::Object(values)) => values,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::picked;

    #[test]
    fn cases_are_from_evenly_over_the_samples() {
        let check = |all: u32, wanted: u64, expected: &[u32]| assert_eq!(picked((1..=all).collect(), wanted), expected);
        check(10, 3, &[4, 7, 10]);
        check(3, 10, &[1, 2, 3]);
        check(1, 1, &[1]);
    }
}
