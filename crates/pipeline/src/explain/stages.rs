//! Preprocessing of an explainer's own: what the model would be given of samples that nobody serves.
//!
//! Stages keep states, windows for one. These here are others than those that serve, and begin anew for each question.

use crate::Sample;
use crate::error::{LoadError, SampleError};
use crate::loading::load_stages;
use crate::stage::{Read, Stage};
use floorhand_bundle::PipelineSpec;
use floorhand_plugin_host::{Given, Host, PluginError, Processor};
use floorhand_tensor::Tensor;

/// A bundle's preprocessing.
#[derive(Default)]
pub(super) struct Stages {
    stages: Vec<Stage<Processor>>,
    /// Whether they have seen a sample.
    used: bool,
}

impl Stages {
    /// Starts them. Also gives what the last one gives, or the samples' inputs.
    pub(super) fn load(
        spec: &PipelineSpec,
        read: &mut Read<'_>,
        host: &Host,
        inputs: Vec<Given>,
    ) -> Result<(Self, Vec<Given>), LoadError> {
        let (stages, given) = load_stages(&spec.preprocess, read, host, inputs)?;
        Ok((Self { stages, used: false }, given))
    }

    /// Of a bundle without any.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self::default()
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Whether each takes one tensor and gives one like it, so that columns stay in their places.
    pub(super) fn keep_shape(&self) -> bool {
        self.stages.iter().all(Stage::keeps_shape)
    }

    /// Forgets all samples. No snapshot is ever taken of these, so that a fresh instance is one that has seen nothing.
    pub(super) fn begin_anew(&mut self) -> Result<(), SampleError> {
        if !std::mem::take(&mut self.used) {
            return Ok(());
        }
        for stage in &mut self.stages {
            // Nobody is told of it, and it would grow.
            drop(stage.plugin.take_telemetry());
            let restarted = stage.plugin.restart();
            restarted.map_err(|source| failed(stage, source))?;
        }
        Ok(())
    }

    /// What the model is given of a sample; none while a window is filling.
    pub(super) fn features(&mut self, sample: &Sample, sequence: u64) -> Result<Option<Vec<Tensor>>, SampleError> {
        self.used = true;
        let context = sample.context(sequence);
        let mut tensors = sample.tensors.clone();
        for stage in &mut self.stages {
            let made = stage.plugin.process(&context, &tensors);
            tensors = made.map_err(|source| failed(stage, source))?;
            if tensors.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(tensors))
    }
}

fn failed(stage: &Stage<Processor>, source: PluginError) -> SampleError {
    SampleError::Plugin {
        stage: stage.name().to_owned(),
        source: Box::new(source),
    }
}
