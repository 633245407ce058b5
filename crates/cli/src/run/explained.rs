//! `floorhand run --explain`: why the model answered as it did, sample by sample.

use super::Run;
use crate::exit::Failure;
use crate::output::Tone;
use anyhow::{Context as _, Result};
use floorhand_pipeline::{Pipeline, ResultHead, Sample, explanation_json, explanation_text};
use std::io::Write as _;

/// Refuses a bundle that doesn't say how it is explained.
pub(super) fn check(pipeline: &Pipeline) -> Result<()> {
    match pipeline.explainer() {
        Some(_) => Ok(()),
        None => Err(Failure::refused(
            "the bundle doesn't say how it is explained: add [explain] with a background to its bundle.toml, see docs/bundle.md",
        )
        .into()),
    }
}

impl Run<'_> {
    /// Explains a sample that has its result, within the time that a device takes.
    pub(super) fn explain(&mut self, sample: &Sample, sequence: u64, pipeline: &Pipeline) -> Result<()> {
        let (Some(explainer), Some(features)) = (pipeline.explainer(), pipeline.features_of(sample, sequence)) else {
            return Ok(());
        };
        let mut explainer = explainer.lock();
        let mut time_left = explainer.within_budget();
        let explanation = match explainer.explain_features(&features, &sample.tensors, &mut time_left) {
            Ok(explanation) => explanation,
            Err(error) => {
                self.note(Tone::Bad, &format!("sample {sequence}: failed to explain: {error}"));
                return Ok(());
            }
        };
        let head = ResultHead {
            id: &sample.id,
            key: sample.key.as_deref(),
            time_ms: sample.time_ms(),
            sequence,
            bundle: self.bundle,
            engine: pipeline.chosen_engine(),
        };
        let object = explanation_json(&head, "request", &explanation);
        match &mut self.explanations {
            Some(file) => writeln!(file, "{object}").context("explanations can't be written")?,
            // In lines, without what a terminal would take for commands.
            None => self.bar.suspend(|| self.out.note(&explanation_text(&object))),
        }
        Ok(())
    }
}
