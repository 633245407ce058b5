//! Why a model answered as it did: explanations of single samples, where the bundle declares them.
//!
//! What is explained is the model's answer as a function of the features that it is given, behind preprocessing. An [`Explainer`]
//! has all it needs of its own: a session that shares the weights of the one that serves, where the engine can, and stages, so that
//! it runs on any thread and takes nothing from the samples. The methods are `floorhand_explanation`'s; here are the model, the names, the
//! background and the time.

mod background;
mod columns;
mod explanation;
mod groups;
mod stages;
mod target;
mod text;

pub use explanation::{Contribution, Explanation, explanation_json};
pub use text::explanation_text;

use crate::error::{LoadError, SampleError};
use crate::loading::given_input;
use crate::stage::Read;
use crate::{Sample, decode};
use columns::{Columns, Row};
use explanation::{Named, Shares};
use floorhand_bundle::{ExplainMethod, ExplainSpec, InputSpec, PipelineSpec};
use floorhand_explanation::{Explainer as Steps, KernelShap, Occlusion, Options, Question};
use floorhand_inference::Session;
use floorhand_plugin_host::{Given, Host};
use floorhand_tensor::Tensor;
use groups::NamedGroups;
use stages::Stages;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use target::{Found, Target};

/// An explainer that several threads may ask, one at a time.
#[derive(Clone)]
pub struct SharedExplainer {
    spec: Arc<ExplainSpec>,
    explainer: Arc<Mutex<Explainer>>,
}

impl SharedExplainer {
    pub(crate) fn new(explainer: Explainer) -> Self {
        Self {
            spec: Arc::new(explainer.spec.clone()),
            explainer: Arc::new(Mutex::new(explainer)),
        }
    }

    /// What the bundle asks for. Waits for nobody.
    #[must_use]
    pub fn spec(&self) -> &ExplainSpec {
        &self.spec
    }

    /// The explainer, once nobody else asks it.
    pub fn lock(&self) -> MutexGuard<'_, Explainer> {
        // Each question begins with nothing of the one before.
        self.explainer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows that are evaluated between two looks at the clock, at most: more don't make a model faster.
const MAX_BATCH_ROWS: usize = 64;
/// The clock is looked at so many times within the budget, at least.
const LOOKS: u32 = 32;
/// Samples of one question: the last is explained, those before it fill windows.
const MAX_SAMPLES: usize = 100_000;

/// Why there is no explanation. Each fits "failed to explain: {error}".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExplainError {
    /// A sample that can't be read, or that preprocessing fails on.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// Preprocessing has no features for it yet.
    #[error("preprocessing gives no features yet: a window is filling, give it as many samples as it is long")]
    NotYet,
    /// No sample.
    #[error("there is no sample to explain")]
    Nothing,
    /// Too many.
    #[error("more than {MAX_SAMPLES} samples; give those that fill a window, and the one to explain last")]
    TooMany,
    /// The model, or what it answered.
    #[error("model: {0}")]
    Model(String),
    /// Time was up before anything could be said.
    #[error(
        "time was up after {runs} runs of the model, and there is nothing to say before {needed}; raise budget_ms in \
         [explain], or lower rows"
    )]
    TooEarly {
        /// Runs that were done.
        runs: usize,
        /// Runs that are needed.
        needed: usize,
    },
    /// The model's answers can't be explained.
    #[error(transparent)]
    Refused(floorhand_explanation::Error),
}

/// Explains a bundle's answers. May move between threads; a question blocks the one it is on, for its time at most and one batch more.
pub struct Explainer {
    spec: ExplainSpec,
    session: Box<dyn Session>,
    inputs: Vec<InputSpec>,
    stages: Stages,
    columns: Columns,
    groups: NamedGroups,
    target: Target,
    /// Whether the columns are those of the samples' only input, scaled or the like.
    like_given: bool,
    /// What is compared with: rows of the background, or for occlusion their mean.
    background: Vec<Row>,
}

impl Explainer {
    /// Loads what the bundle's `[explain]` asks for. `session` is the model's, for nobody else.
    pub(crate) fn load(
        spec: &ExplainSpec,
        pipeline: &PipelineSpec,
        read: &mut Read<'_>,
        host: &Host,
        session: Box<dyn Session>,
    ) -> Result<Self, LoadError> {
        let refused = |problem: String| LoadError::Explain { problem };
        let bytes = read(&spec.background).map_err(|problem| LoadError::Component {
            stage: "explain".to_owned(),
            component: spec.background.to_string(),
            problem,
        })?;
        let given: Vec<Given> = pipeline.inputs.iter().map(given_input).collect();
        let (mut stages, given) = Stages::load(pipeline, read, host, given)?;
        let signature = session.signature().clone();
        let takes: Vec<_> = signature
            .inputs
            .iter()
            .map(|spec| named_as(spec, pipeline, &stages, &given))
            .collect();
        let columns = Columns::new(&signature.inputs, &given, &takes).map_err(refused)?;
        let groups = NamedGroups::new(&spec.groups, &columns).map_err(refused)?;
        let target = Target::new(spec, &signature).map_err(refused)?;
        let in_background = |problem: String| refused(format!("background {}: {problem}", spec.background));
        let rows = usize::try_from(spec.rows).unwrap_or(usize::MAX);
        let features = background::features(&bytes, &pipeline.inputs, &mut stages, rows).map_err(in_background)?;
        let mut background = Vec::with_capacity(features.len());
        for (tensors, number) in features.iter().zip(1..) {
            if !pipeline.model.allow_nan
                && let Some(tensor) = tensors.iter().find(|tensor| tensor.first_non_finite().is_some())
            {
                return Err(in_background(format!(
                    "row {number} of {} holds NaN or infinity, which the model isn't made for; leave such rows out",
                    tensor.name()
                )));
            }
            let row = columns.row(tensors);
            background.push(row.map_err(|error| in_background(error.to_string()))?);
        }
        if spec.method == ExplainMethod::Occlusion {
            let mean = columns.mean(&background);
            background = vec![mean.map_err(|error| in_background(error.to_string()))?];
        }
        let like_given = match (pipeline.inputs.as_slice(), signature.inputs.as_slice()) {
            ([input], [takes]) => {
                !stages.is_empty() && stages.keep_shape() && input.tensor.fixed_len() == takes.fixed_len()
            }
            _ => false,
        };
        let mut explainer = Self {
            like_given,
            spec: spec.clone(),
            session,
            inputs: pipeline.inputs.clone(),
            stages,
            columns,
            groups,
            target,
            background,
        };
        explainer.begin_anew().map_err(|error| refused(error.to_string()))?;
        Ok(explainer)
    }

    /// Runs of the model that an explanation takes at most.
    #[must_use]
    pub fn max_runs(&self) -> usize {
        let groups = self.groups.groups.count();
        match self.spec.method {
            ExplainMethod::KernelShap => 1 + self.options(1).max_evaluations(groups, self.background.len()),
            ExplainMethod::Occlusion => 3 + groups,
        }
    }

    /// Rows of the background that are compared with.
    #[must_use]
    pub fn background_rows(&self) -> usize {
        self.background.len()
    }

    /// True until the bundle's time for one explanation is over, from now on.
    pub fn within_budget(&self) -> impl FnMut() -> bool + use<> {
        let (started, budget) = (Instant::now(), Duration::from_millis(self.spec.budget_ms));
        move || started.elapsed() < budget
    }

    /// Explains the last of these samples, given as JSON objects: all of them go through preprocessing in their order, one a second where
    /// they have no time.
    pub fn explain_json(
        &mut self,
        samples: &[serde_json::Value],
        time_left: &mut dyn FnMut() -> bool,
    ) -> Result<(Sample, Explanation), ExplainError> {
        if samples.len() > MAX_SAMPLES {
            return Err(ExplainError::TooMany);
        }
        let decoded = samples.iter().map(|sample| decode::json_value(sample, &self.inputs));
        let samples: Vec<Sample> = decoded.collect::<Result<_, _>>().map_err(SampleError::from)?;
        let explanation = self.explain_samples(&samples, time_left)?;
        let sample = samples.into_iter().next_back().ok_or(ExplainError::Nothing)?;
        Ok((sample, explanation))
    }

    /// Explains the last of these samples. All of them go through preprocessing in their order, which begins anew with the first.
    pub fn explain_samples(
        &mut self,
        samples: &[Sample],
        time_left: &mut dyn FnMut() -> bool,
    ) -> Result<Explanation, ExplainError> {
        self.begin_anew()?;
        let mut features = None;
        for (sample, sequence) in samples.iter().zip(0..) {
            let mut sample = sample.clone();
            sample.arrived((sequence + 1) * 1_000);
            features = Some(self.stages.features(&sample, sequence)?);
        }
        let features = features.ok_or(ExplainError::Nothing)?;
        let given = samples.last().map_or(&[][..], |sample| &sample.tensors);
        self.explain_features(&features.ok_or(ExplainError::NotYet)?, given, time_left)
    }

    /// Explains the model's answer to these features, which preprocessing has made of a sample's tensors. `time_left` is asked before each batch of rows; when
    /// it is over, what is known is given.
    pub fn explain_features(
        &mut self,
        features: &[Tensor],
        given: &[Tensor],
        time_left: &mut dyn FnMut() -> bool,
    ) -> Result<Explanation, ExplainError> {
        let explained = self.explain_here(features, given, time_left);
        // Whoever asks next or drops it may be on another thread.
        self.session.leave_thread();
        explained
    }

    fn explain_here(
        &mut self,
        features: &[Tensor],
        given: &[Tensor],
        time_left: &mut dyn FnMut() -> bool,
    ) -> Result<Explanation, ExplainError> {
        let started = Instant::now();
        let model = |error: floorhand_tensor::TensorError| ExplainError::Model(error.to_string());
        let own = self.columns.row(features).map_err(model)?;
        let nothing_hidden = vec![0.0; self.columns.len()];
        let tensors = self.columns.tensors(&nothing_hidden, &own, &[]).map_err(model)?;
        let answers = self.session.run_batch(&[&tensors]);
        let answer = answers
            .into_iter()
            .next()
            .ok_or_else(|| ExplainError::Model("it gave no answer".to_owned()))?;
        let answer = answer.map_err(|error| ExplainError::Model(error.to_string()))?;
        let found = self.target.find(&answer).map_err(ExplainError::Model)?;
        let batch_rows = batch_rows(Duration::from_millis(self.spec.budget_ms), started.elapsed());
        let tokens = self.columns.tokens(&own, &self.background);
        let question = Question::new(self.groups.groups.clone(), &nothing_hidden, &tokens, 1);
        let question = question.map_err(ExplainError::Refused)?;
        let shares = match self.spec.method {
            ExplainMethod::KernelShap => {
                let steps = KernelShap::new(question, &self.options(batch_rows)).map_err(ExplainError::Refused)?;
                self.by_shapley(steps, &own, found, time_left)?
            }
            ExplainMethod::Occlusion => {
                let steps = Occlusion::new(question, batch_rows).map_err(ExplainError::Refused)?;
                self.by_occlusion(steps, &own, found, time_left)?
            }
        };
        Ok(self.told(shares, &own, given, found, started.elapsed()))
    }

    fn options(&self, batch_rows: usize) -> Options {
        Options {
            coalitions: usize::try_from(self.spec.evaluations).unwrap_or(usize::MAX),
            seed: self.spec.seed,
            batch_rows,
        }
    }

    fn by_shapley(
        &mut self,
        mut steps: KernelShap,
        own: &Row,
        found: Found,
        time_left: &mut dyn FnMut() -> bool,
    ) -> Result<Shares, ExplainError> {
        self.drive(&mut steps, own, found, time_left)?;
        let explanation = steps.finish().map_err(|error| too_early(error, 1))?;
        let output = explanation.outputs.into_iter().next();
        let output = output.ok_or_else(|| ExplainError::Model("it gave no answer".to_owned()))?;
        Ok(Shares {
            base: output.base,
            prediction: output.prediction,
            contributions: output.attributions.into_iter().map(Some).collect(),
            evaluations: explanation.coalitions,
            planned: steps.planned_coalitions(),
            runs: 1 + steps.taken(),
            exact: explanation.exact,
            complete: steps.taken() == steps.evaluations(),
        })
    }

    fn by_occlusion(
        &mut self,
        mut steps: Occlusion,
        own: &Row,
        found: Found,
        time_left: &mut dyn FnMut() -> bool,
    ) -> Result<Shares, ExplainError> {
        // Everything hidden: what the answer is compared with as a whole.
        let all_hidden = vec![1.0; self.columns.len()];
        let base = self.evaluate(&all_hidden, 1, own, found)?;
        self.drive(&mut steps, own, found, time_left)?;
        let found = steps.finish().map_err(|error| too_early(error, 2))?;
        let output = found.outputs.into_iter().next();
        let output = output.ok_or_else(|| ExplainError::Model("it gave no answer".to_owned()))?;
        Ok(Shares {
            base: base.first().copied().unwrap_or(f64::NAN),
            prediction: output.prediction,
            contributions: output.attributions,
            evaluations: steps.taken().saturating_sub(1),
            planned: steps.evaluations().saturating_sub(1),
            runs: 2 + steps.taken(),
            exact: false,
            complete: found.complete,
        })
    }

    /// Evaluates batch after batch while there is time.
    fn drive<X: Steps>(
        &mut self,
        steps: &mut X,
        own: &Row,
        found: Found,
        time_left: &mut dyn FnMut() -> bool,
    ) -> Result<(), ExplainError> {
        while time_left() {
            let Some(batch) = steps.next_batch() else {
                break;
            };
            let values = self.evaluate(batch.rows, batch.count, own, found)?;
            steps.take(&values).map_err(ExplainError::Refused)?;
        }
        Ok(())
    }

    /// The number that is explained, for each row of tokens.
    fn evaluate(&mut self, rows: &[f32], count: usize, own: &Row, found: Found) -> Result<Vec<f64>, ExplainError> {
        let width = rows.len().checked_div(count).unwrap_or_default().max(1);
        let tensors = rows
            .chunks_exact(width)
            .map(|row| self.columns.tensors(row, own, &self.background));
        let tensors: Vec<Vec<Tensor>> = tensors
            .collect::<Result<_, _>>()
            .map_err(|error| ExplainError::Model(error.to_string()))?;
        let samples: Vec<&[Tensor]> = tensors.iter().map(Vec::as_slice).collect();
        let answers = self.session.run_batch(&samples);
        let values = samples.iter().zip(answers).map(|(inputs, answer)| {
            let answer = answer.map_err(|error| ExplainError::Model(error.to_string()))?;
            self.target.value(found, inputs, &answer).map_err(ExplainError::Model)
        });
        values.collect()
    }

    fn begin_anew(&mut self) -> Result<(), SampleError> {
        self.stages.begin_anew()
    }

    /// With names and values, the largest contributions first.
    fn told(&self, shares: Shares, own: &Row, given: &[Tensor], found: Found, took: Duration) -> Explanation {
        let columns = self.groups.groups.columns();
        let value = |group: usize| match columns.get(group).map(Vec::as_slice) {
            Some([column]) => Some(self.columns.value(own, *column)),
            _ => None,
        };
        let given = given.first().filter(|_| self.like_given);
        let given = |group: usize| match (given, columns.get(group).map(Vec::as_slice)) {
            (Some(given), Some([column])) => Some(columns::element(given, *column)),
            _ => None,
        };
        let named = self.groups.names.iter().enumerate().map(|(group, name)| Named {
            feature: name.clone(),
            value: value(group),
            given: given(group),
        });
        let element = match found {
            Found::Element(element) => Some(element),
            Found::Error(_) => None,
        };
        let most = usize::try_from(self.spec.top).unwrap_or(usize::MAX);
        let mut explanation = Explanation::of(shares, named.collect(), most);
        explanation.method = self.spec.method;
        explanation.seed = self.spec.seed;
        explanation.output.clone_from(&self.target.output);
        explanation.element = element;
        explanation.background_rows = self.background.len();
        explanation.took = took;
        explanation
    }
}

/// The fields by which a model's input is called, where preprocessing doesn't say: those of the samples, if there is none, or if it
/// leaves the columns of the one input in their places.
fn named_as(
    spec: &floorhand_tensor::TensorSpec,
    pipeline: &PipelineSpec,
    stages: &Stages,
    given: &[Given],
) -> InputSpec {
    let unnamed = given.iter().all(|given| given.fields.is_empty());
    let input = match pipeline.inputs.as_slice() {
        inputs if stages.is_empty() => inputs.iter().find(|input| input.tensor.name == spec.name),
        [input] if unnamed && stages.keep_shape() => Some(input),
        _ => None,
    };
    InputSpec {
        tensor: spec.clone(),
        fields: input.map_or_else(Vec::new, |input| input.fields.clone()),
    }
}

/// As many rows as pass between two looks at the clock.
fn batch_rows(budget: Duration, run: Duration) -> usize {
    let between = budget / LOOKS;
    let rows = between.as_nanos().checked_div(run.as_nanos()).unwrap_or(u128::MAX);
    usize::try_from(rows).unwrap_or(usize::MAX).clamp(1, MAX_BATCH_ROWS)
}

/// `before`: runs that no explainer counts.
fn too_early(error: floorhand_explanation::Error, before: usize) -> ExplainError {
    match error {
        floorhand_explanation::Error::TooEarly { needed, taken } => ExplainError::TooEarly {
            runs: before + taken,
            needed: before + needed,
        },
        error => ExplainError::Refused(error),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What `background = "background.csv"` alone declares.
    pub(crate) fn spec() -> ExplainSpec {
        serde_json::from_str(r#"{"background": "background.csv"}"#).unwrap()
    }

    #[test]
    fn the_clock_is_looked_at_often_enough() {
        let rows = |run_us| batch_rows(Duration::from_millis(640), Duration::from_micros(run_us));
        assert_eq!([rows(0), rows(20), rows(1_000), rows(50_000)], [64, 64, 20, 1]);
    }
}
