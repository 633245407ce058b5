//! What is served, for whoever asks: written by the serving thread, read by the listeners.

use super::rows::shown;
use crate::clock::system_ms;
use floorhand_bundle::InputSpec;
use floorhand_open_inference::{
    Duration, Error, IndexEntry, InferenceStatistics, ModelMetadata, ModelRef, ModelState, ModelStatistics, Statistics,
};
use floorhand_pipeline::{Loaded, Serving};
use floorhand_tensor::{Signature, TensorSpec};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Format and engine, as others name them: Triton's name, and one like it.
const PLATFORMS: [&str; 2] = ["onnxruntime_onnx", "onnx_tract"];
/// When to come again: what is being loaded or committed takes seconds, what waits in a queue less.
pub(crate) const RETRY_AFTER_S: u32 = 1;

/// The generation that serves, as it is shown.
#[derive(Debug, PartialEq)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) platform: &'static str,
    pub(crate) inputs: Vec<InputSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
}

impl Model {
    pub(crate) fn of(loaded: &Loaded) -> Self {
        Self {
            name: loaded.name.to_string(),
            version: loaded.version.to_string(),
            platform: platform(loaded.pipeline.engine()),
            inputs: loaded.pipeline.inputs().to_vec(),
            outputs: loaded.pipeline.outputs().to_vec(),
        }
    }

    pub(crate) fn metadata(&self) -> ModelMetadata {
        let signature = Signature {
            inputs: self.inputs.iter().map(|input| shown(&input.tensor)).collect(),
            outputs: self.outputs.iter().map(shown).collect(),
        };
        ModelMetadata::new(&self.name, vec![self.version.clone()], self.platform, &signature)
    }
}

/// By what an engine calls itself, as `onnxruntime 1.31.1`.
fn platform(engine: &str) -> &'static str {
    let [onnxruntime, tract] = PLATFORMS;
    if engine.starts_with("onnxruntime") {
        onnxruntime
    } else {
        tract
    }
}

/// What is served, and how often it has answered.
#[derive(Debug, Default)]
pub(crate) struct Catalogue(Mutex<Shown>);

#[derive(Debug, Default)]
struct Shown {
    active: Option<Arc<Model>>,
    /// Name and version of what is on trial.
    candidate: Option<(String, String)>,
    paused: bool,
    /// Of the active generation.
    counts: ModelStatistics,
}

/// What a request has come to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    pub(crate) answered: bool,
    /// Samples of it that went through the pipeline.
    pub(crate) rows: u64,
    /// From the queue to the answer.
    pub(crate) ns: u64,
    /// Of these, waiting.
    pub(crate) queue_ns: u64,
    /// Of these, in the pipeline.
    pub(crate) pipeline_ns: u64,
}

impl Catalogue {
    /// Notes what serves now. Counts begin anew with another generation.
    pub(crate) fn show(&self, serving: &Serving, paused: bool) {
        let active = serving.active().map(Model::of);
        let candidate = serving.candidate();
        let candidate = candidate.map(|candidate| (candidate.name.to_string(), candidate.version.to_string()));
        let mut shown = self.lock();
        shown.candidate = candidate;
        shown.paused = paused;
        if shown.active.as_deref() != active.as_ref() {
            shown.counts = ModelStatistics::default();
            shown.active = active.map(Arc::new);
        }
    }

    /// Counts a request.
    pub(crate) fn count(&self, done: Done) {
        let counts = &mut self.lock().counts;
        counts.last_inference = system_ms();
        counts.inference_count += done.rows;
        let InferenceStatistics {
            success,
            fail,
            queue,
            compute_infer,
            ..
        } = &mut counts.inference_stats;
        add(if done.answered { success } else { fail }, done.ns);
        add(queue, done.queue_ns);
        add(compute_infer, done.pipeline_ns);
    }

    /// Counts a run of the pipeline, for one sample or several.
    pub(crate) fn count_run(&self) {
        self.lock().counts.execution_count += 1;
    }

    /// Whether something serves and isn't paused.
    pub(crate) fn is_ready(&self) -> bool {
        let shown = self.lock();
        shown.active.is_some() && !shown.paused
    }

    /// The model that is meant, if it answers now.
    pub(crate) fn ready(&self, wanted: &ModelRef) -> Result<Arc<Model>, Error> {
        let model = self.find(wanted)?;
        if self.lock().paused {
            let subject = "the device, which is paused,".to_owned();
            return Err(not_ready(subject));
        }
        Ok(model)
    }

    /// The model that is meant.
    pub(crate) fn find(&self, wanted: &ModelRef) -> Result<Arc<Model>, Error> {
        let shown = self.lock();
        let ModelRef { name, version } = wanted;
        let meant = |theirs: &str| version.as_deref().is_none_or(|version| version == theirs);
        if let Some(active) = shown.active.as_ref().filter(|active| active.name == *name) {
            if meant(&active.version) {
                return Ok(Arc::clone(active));
            }
        } else if shown.active.is_none() && (version.is_none() || shown.candidate.is_none()) {
            // It may be about to be loaded, or to be committed.
            return Err(not_ready(format!("model {name:?}")));
        }
        if let Some((tried, theirs)) = shown.candidate.as_ref().filter(|(tried, _)| tried == name)
            && meant(theirs)
        {
            return Err(Error::InTrial {
                model: tried.clone(),
                version: theirs.clone(),
            });
        }
        let is_known = |known: &str| known == name;
        let known = shown.active.as_ref().is_some_and(|active| is_known(&active.name))
            || shown.candidate.as_ref().is_some_and(|(tried, _)| is_known(tried));
        let model = name.clone();
        Err(match version.clone().filter(|_| known) {
            Some(version) => Error::UnknownVersion { model, version },
            None => Error::UnknownModel { model },
        })
    }

    /// Whether only a candidate is there, which sees requests and answers none.
    pub(crate) fn tries_alone(&self) -> bool {
        let shown = self.lock();
        shown.active.is_none() && shown.candidate.is_some() && !shown.paused
    }

    /// The counts of a model, or of all.
    pub(crate) fn statistics(&self, wanted: Option<&ModelRef>) -> Result<Statistics, Error> {
        if let Some(wanted) = wanted {
            self.find(wanted)?;
        }
        let shown = self.lock();
        let counts = shown.active.as_ref().map(|active| ModelStatistics {
            name: active.name.clone(),
            version: active.version.clone(),
            ..shown.counts.clone()
        });
        Ok(Statistics {
            model_stats: counts.into_iter().collect(),
        })
    }

    /// Every bundle there is. What isn't ready says why.
    pub(crate) fn index(&self) -> Vec<IndexEntry> {
        let shown = self.lock();
        let entry = |name: &str, version: &str, state, reason: &str| IndexEntry {
            name: name.to_owned(),
            version: version.to_owned(),
            state,
            reason: reason.to_owned(),
        };
        let active = shown.active.as_ref().map(|active| match shown.paused {
            false => entry(&active.name, &active.version, ModelState::Ready, ""),
            true => entry(
                &active.name,
                &active.version,
                ModelState::Unavailable,
                "the device is paused",
            ),
        });
        let candidate = shown.candidate.as_ref();
        let candidate =
            candidate.map(|(name, version)| entry(name, version, ModelState::Unavailable, "it is in its trial"));
        active.into_iter().chain(candidate).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn not_ready(subject: String) -> Error {
    Error::NotReady {
        subject,
        retry_after_s: Some(RETRY_AFTER_S),
    }
}

fn add(duration: &mut Duration, ns: u64) {
    duration.count += 1;
    duration.ns += ns;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(active: Option<(&str, &str)>, candidate: Option<(&str, &str)>) -> Catalogue {
        let model = |(name, version): (&str, &str)| Model {
            name: name.to_owned(),
            version: version.to_owned(),
            platform: platform("tract"),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        Catalogue(Mutex::new(Shown {
            active: active.map(model).map(Arc::new),
            candidate: candidate.map(|(name, version)| (name.to_owned(), version.to_owned())),
            ..Shown::default()
        }))
    }

    #[test]
    fn only_what_serves_is_found() {
        let (old, new, other) = (Some(("pump", "1.0.0")), Some(("pump", "2.0.0")), Some(("fan", "1.0.0")));
        for (active, candidate, name, version, status, said) in [
            (old, None, "pump", None, 200, ""),
            (old, new, "pump", Some("1.0.0"), 200, ""),
            (old, new, "pump", Some("2.0.0"), 404, "is in its trial"),
            (old, new, "pump", Some("3.0.0"), 404, "no version \"3.0.0\""),
            (old, other, "fan", None, 404, "is in its trial"),
            (old, other, "fan", Some("9"), 404, "no version \"9\""),
            (old, None, "fan", None, 404, "no model \"fan\""),
            (old, None, "fan", Some("1"), 404, "no model \"fan\""),
            (None, None, "pump", Some("1.0.0"), 503, "model \"pump\" is not ready"),
            (None, new, "pump", None, 503, "is not ready"),
            (None, new, "pump", Some("2.0.0"), 404, "is in its trial"),
        ] {
            let (name, version) = (name.to_owned(), version.map(ToOwned::to_owned));
            let found = catalogue(active, candidate).find(&ModelRef { name, version });
            match found {
                Ok(model) => assert_eq!((status, model.version.as_str()), (200, "1.0.0")),
                Err(error) => {
                    assert_eq!(error.http_status(), status, "{error}");
                    assert!(error.to_string().contains(said), "{error}");
                    assert_eq!(error.retry_after_s().is_some(), status == 503);
                }
            }
        }
    }

    #[test]
    fn a_platform_is_that_of_the_engine() {
        assert_eq!(platform("tract"), "onnx_tract");
        assert_eq!(platform("onnxruntime 1.31.1"), "onnxruntime_onnx");
    }

    #[test]
    fn what_is_paused_is_there_and_does_not_answer() {
        let catalogue = catalogue(Some(("pump", "1.0.0")), None);
        assert!(catalogue.is_ready());
        catalogue.lock().paused = true;
        let pump = ModelRef {
            name: "pump".to_owned(),
            version: None,
        };
        assert!(!catalogue.is_ready() && catalogue.find(&pump).is_ok());
        assert_eq!(catalogue.ready(&pump).unwrap_err().http_status(), 503);
        assert_eq!(catalogue.index()[0].reason, "the device is paused");
    }
}
