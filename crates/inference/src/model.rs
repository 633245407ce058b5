//! A model that is ready to run.

use crate::batch::{Batch, Plan};
use crate::convert::Input;
use crate::guard::{guarded, refused};
use crate::shapes::too_large;
use crate::{
    InferenceError, LoadOptions, MAX_MODEL_BYTES, MAX_TENSOR_BYTES, batch, branches, check, convert, operators,
    registers, rewrite, shapes, together,
};
use floorhand_tensor::{Dim, Signature, Tensor, TensorError, TensorSpec};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use tract_onnx::Onnx;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    Framework, InferenceModelExt, IntoRunnable, TVec, TypedFact, TypedModel, TypedRunnableModel, TypedSimpleState,
};

/// A model that is ready to run. It may move between threads, and runs on the one that calls it.
pub struct Model {
    signature: Signature,
    inputs: Vec<Input>,
    plan: Arc<TypedRunnableModel>,
    /// Kept between runs, because a new one allocates for every node. Absent before the first run and after one that
    /// failed, whose half-done state nobody can trust.
    state: Option<TypedSimpleState>,
    /// Whether some node remembers what it was given, as a recurrent layer does: then each run has a state of its own, for
    /// a sample knows nothing of the one before it.
    remembers: bool,
    /// How several samples are run.
    batch: Batch,
}

/// What came of each of several samples.
type Answers = Vec<Result<Vec<Tensor>, InferenceError>>;

impl Model {
    /// Checks, optimises and plans an ONNX model. Keeps nothing of `bytes`.
    ///
    /// Takes from a millisecond to some seconds, and about three times the model's size in memory for that time.
    pub fn load(bytes: &[u8], options: &LoadOptions) -> Result<Self, InferenceError> {
        if bytes.len() > MAX_MODEL_BYTES {
            return Err(InferenceError::ModelTooLarge { bytes: bytes.len() });
        }
        let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
        operators::register(&mut onnx.op_register);
        let (proto, is_open) = decode(&onnx, bytes, options)?;
        let outputs = proto.graph.iter().flat_map(|graph| &graph.output);
        let names: Vec<String> = outputs.map(|output| output.name.clone()).collect();
        let read = guarded("translate", || onnx.model_for_proto_model(&proto))?;
        drop(proto);
        let for_several = is_open.then(|| read.clone());
        let typed = guarded("translate", || read.into_typed())?;
        check_sizes(&typed)?;
        guarded("translate", || operators::window::check(&typed))?;
        let (signature, inputs) = interface(&typed, &names)?;
        let optimised = guarded("optimise", || {
            let mut model = typed;
            operators::plan(&mut model)?;
            let mut model = model.into_decluttered()?;
            operators::replace(&mut model)?;
            model.into_optimized()
        })?;
        let plan = guarded("plan", || optimised.into_runnable())?;
        tracing::debug!(nodes = plan.model().nodes().len(), "loaded a model");
        let remembers = remembers(&plan)?;
        let for_several = for_several.filter(|_| !remembers);
        Ok(Self {
            batch: for_several.map_or(Batch::Never, |read| Batch::of(read, bytes.len(), &signature)),
            signature,
            inputs,
            remembers,
            plan,
            state: None,
        })
    }

    /// What the model takes and gives, under the names that the ONNX graph has for it.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Runs the model once. Inputs are found by name, in any order; others are ignored. Outputs come in the order of
    /// the signature. NaN and infinity pass through as the model computes them.
    pub fn run<T: Borrow<Tensor>>(&mut self, inputs: &[T]) -> Result<Vec<Tensor>, InferenceError> {
        let mut values = TVec::new();
        for (tensor, input) in self.given(inputs)?.into_iter().zip(&self.inputs) {
            let value = convert::to_tract(tensor, input.datum_type, &input.shape);
            values.push(value.map_err(|error| refused("run", &error))?);
        }
        let mut state = match self.state.take() {
            Some(state) => state,
            None => guarded("run", || self.plan.spawn())?,
        };
        let answers = guarded("run", || registers::run(&mut state, values))?;
        self.state = (!self.remembers).then_some(state);
        let specs = self.signature.outputs.iter();
        specs
            .zip(&answers)
            .map(|(spec, value)| convert::from_tract(&spec.name, value))
            .collect()
    }

    /// Runs the model for several samples, each with the inputs that [`run`](Self::run) takes, and gives an answer to each
    /// in their order: those of one by one, up to rounding.
    ///
    /// A model that says by an open first dimension that it takes any number of samples is run for up to 64 at once. The
    /// first time it is planned for that, which takes as long as loading it, and shown on random rows to answer as one by
    /// one does; the first batches are compared, too. One that doesn't, one with convolutions, which are slower so, and any
    /// other model is run one by one.
    pub fn run_batch<T: Borrow<Tensor>>(&mut self, samples: &[&[T]]) -> Answers {
        let plan = if samples.len() < 2 {
            None
        } else {
            self.plan_for_several()
        };
        let Some(mut plan) = plan else {
            return self.run_each(samples);
        };
        let mut answers = Vec::with_capacity(samples.len());
        let mut reliable = true;
        for chunk in samples.chunks(plan.rows) {
            if reliable {
                let (given, is_reliable) = self.run_together(&mut plan, chunk);
                answers.extend(given);
                reliable = is_reliable;
            } else {
                answers.extend(self.run_each(chunk));
            }
        }
        if reliable {
            self.batch = Batch::Planned(plan);
        } else {
            tracing::warn!("the model answers otherwise to several samples at once; they are run one by one");
        }
        answers
    }

    /// Plans for several samples now, where the model can be; or forgets that it can, and with it a copy of its weights.
    pub fn expect_batches(&mut self, expected: bool) {
        let plan = if expected { self.plan_for_several() } else { None };
        self.batch = plan.map_or(Batch::Never, Batch::Planned);
        self.leave_thread();
    }

    /// Gives back what runs have left on the thread that calls, before another one drops the model. It may run again, on any thread.
    ///
    /// tract 0.23.9 keeps a scratch buffer for each state that has multiplied matrices, in a thread-local: dropped on another thread, the
    /// state leaves it there until the thread ends, of MLPerf Tiny's autoencoder 6 KB. A state's clone has none yet.
    pub fn leave_thread(&mut self) {
        if let Some(state) = self.state.take() {
            self.state = Some(state.clone());
        }
        if let Batch::Planned(plan) = &mut self.batch {
            plan.leave_thread();
        }
    }

    /// Whether several samples are run together, which the first batch shows.
    #[must_use]
    pub fn runs_together(&self) -> bool {
        matches!(self.batch, Batch::Planned(_))
    }

    fn run_each<T: Borrow<Tensor>>(&mut self, samples: &[&[T]]) -> Answers {
        samples.iter().map(|inputs| self.run(inputs)).collect()
    }

    /// The plan for several samples, which isn't there any more until it is put back.
    fn plan_for_several(&mut self) -> Option<Box<Plan>> {
        let model = match std::mem::take(&mut self.batch) {
            Batch::Never => return None,
            Batch::Planned(plan) => return Some(plan),
            Batch::Possible(model) => model,
        };
        let made = Plan::make(*model, &self.inputs).inspect_err(|error| tracing::debug!(%error, "no plan for several"));
        let mut plan = Box::new(made.ok()??);
        for rows in together::random_rows(&self.signature) {
            let rows: Vec<&[Tensor]> = rows.iter().map(Vec::as_slice).collect();
            // To some numbers, such as places in a table that ends before them, a model has no answer.
            let answered: Vec<&[Tensor]> = rows.into_iter().filter(|row| self.run(row).is_ok()).collect();
            if answered.len() >= 2 && !self.run_together(&mut plan, &answered).1 {
                return None;
            }
        }
        Some(plan)
    }

    /// Runs as many samples as a plan takes, and says whether the plan can be relied on.
    fn run_together<T: Borrow<Tensor>>(&mut self, plan: &mut Plan, samples: &[&[T]]) -> (Answers, bool) {
        let given: Vec<_> = samples.iter().map(|inputs| self.given(inputs)).collect();
        let rows: Vec<Vec<&Tensor>> = given.iter().filter_map(|given| given.clone().ok()).collect();
        if rows.len() < 2 {
            return (self.run_each(samples), true);
        }
        let Ok(together) = plan.run(&self.signature, &self.inputs, &rows) else {
            // One that can't be answered fails all.
            let each = self.run_each(samples);
            let reliable = each.iter().any(Result::is_err);
            return (each, reliable);
        };
        if plan.unproven > 0 {
            let each = self.run_each(samples);
            let answered = each.iter().zip(&given).filter(|(_, given)| given.is_ok());
            let reliable = answered
                .map(|(answer, _)| answer)
                .zip(&together)
                .all(|(one, other)| one.as_ref().is_ok_and(|one| together::alike(one, other)));
            plan.unproven = plan.unproven.saturating_sub(rows.len());
            return (each, reliable);
        }
        let mut together = together.into_iter();
        let answer = |given: Result<_, TensorError>| match given {
            Ok(_) => Ok(together.next().unwrap_or_default()),
            Err(error) => Err(error.into()),
        };
        (given.into_iter().map(answer).collect(), true)
    }

    /// A sample's tensors in the order of the inputs, if it has all and they fit.
    fn given<'t, T: Borrow<Tensor>>(&self, inputs: &'t [T]) -> Result<Vec<&'t Tensor>, TensorError> {
        let specs = self.signature.inputs.iter();
        let fitting = specs.map(|spec| {
            let tensor = find(inputs, &spec.name)?;
            spec.check(tensor).map(|()| tensor)
        });
        fitting.collect()
    }

    /// Another one of the same plan and weights, which takes memory only for what flows between nodes. It finds out by itself whether it runs
    /// several samples together, and has a plan of its own for that.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            signature: self.signature.clone(),
            inputs: self.inputs.clone(),
            plan: Arc::clone(&self.plan),
            state: None,
            remembers: self.remembers,
            batch: match &self.batch {
                Batch::Possible(model) => Batch::Possible(model.clone()),
                Batch::Never | Batch::Planned(_) => Batch::Never,
            },
        }
    }

    /// Runs the model once on zeros, so that the first sample finds memory and state in place. That the model has no answer
    /// to zeros, or to empty texts, is no error: golden cases show whether it answers what it is for.
    pub fn warm_up(&mut self) -> Result<(), InferenceError> {
        let inputs = self.signature.inputs.iter().map(TensorSpec::zeros);
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let answer = self.run(&inputs);
        self.leave_thread();
        match answer {
            Ok(_) | Err(InferenceError::Refused { step: "run", .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("signature", &self.signature)
            .finish_non_exhaustive()
    }
}

/// Whether a state has something in it beside the values between nodes.
fn remembers(plan: &Arc<TypedRunnableModel>) -> Result<bool, InferenceError> {
    let state = guarded("plan", || plan.spawn())?;
    Ok(state.op_states.iter().any(Option::is_some))
}

/// The protobuf, checked, with closed input shapes; and whether it was open to any number of samples.
fn decode(onnx: &Onnx, bytes: &[u8], options: &LoadOptions) -> Result<(ModelProto, bool), InferenceError> {
    let mut reader = bytes;
    let decoded = guarded("read", || Ok(onnx.proto_model_for_read(&mut reader)));
    let mut proto = decoded?.map_err(|error| InferenceError::Malformed(format!("{error:#}")))?;
    let nothing = || InferenceError::Malformed("there is no graph in it".to_owned());
    if proto.graph.is_none() {
        return Err(nothing());
    }
    check::versions(proto.ir_version, &proto.opset_import)?;
    branches::take(&mut proto, onnx, options)?;
    let graph = proto.graph.as_mut().ok_or_else(nothing)?;
    check::graph(graph, onnx)?;
    rewrite::graph(graph)?;
    let is_open = batch::is_open(graph, options);
    shapes::fix(graph, options)?;
    Ok((proto, is_open))
}

/// Refuses a model in which something larger than [`MAX_TENSOR_BYTES`] flows between two nodes.
fn check_sizes(model: &TypedModel) -> Result<(), InferenceError> {
    for node in model.nodes() {
        for output in &node.outputs {
            let Some(shape) = output.fact.shape.as_concrete() else {
                continue;
            };
            if too_large(output.fact.datum_type, shape, MAX_TENSOR_BYTES) {
                let dims = shape
                    .iter()
                    .map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX))
                    .collect();
                return Err(InferenceError::Claim {
                    tensor: node.name.clone(),
                    dims,
                    actual: None,
                });
            }
        }
    }
    Ok(())
}

/// The model's signature, and what tract wants for each of its inputs.
fn interface(model: &TypedModel, outputs: &[String]) -> Result<(Signature, Vec<Input>), InferenceError> {
    let mut signature = Signature::default();
    let mut inputs = Vec::new();
    for outlet in model.input_outlets().map_err(|error| refused("analyse", &error))? {
        let name = &model.node(outlet.node).name;
        let fact = model.outlet_fact(*outlet).map_err(|error| refused("analyse", &error))?;
        let Some(shape) = fact.shape.as_concrete() else {
            let problem = format!("has shape {:?}, part of which is still open", fact.shape);
            return Err(InferenceError::Interface {
                tensor: name.clone(),
                problem,
            });
        };
        inputs.push(Input {
            datum_type: fact.datum_type,
            shape: shape.to_vec(),
        });
        signature.inputs.push(spec(name, fact)?);
    }
    let outlets = model.output_outlets().map_err(|error| refused("analyse", &error))?;
    for (outlet, name) in outlets.iter().zip(outputs) {
        let fact = model.outlet_fact(*outlet).map_err(|error| refused("analyse", &error))?;
        signature.outputs.push(spec(name, fact)?);
    }
    Ok((signature, inputs))
}

fn spec(name: &str, fact: &TypedFact) -> Result<TensorSpec, InferenceError> {
    let datatype = convert::datatype(fact.datum_type).ok_or_else(|| InferenceError::Interface {
        tensor: name.to_owned(),
        problem: format!("is {:?}, which no tensor is", fact.datum_type),
    })?;
    // What depends on the data, such as the number of boxes found, has no size before it is run.
    let dim = |dim: &tract_onnx::prelude::TDim| dim.to_i64().map_or(Dim::Any, Dim::from);
    Ok(TensorSpec::new(name, datatype, fact.shape.iter().map(dim).collect()))
}

fn find<'t, T: Borrow<Tensor>>(inputs: &'t [T], name: &str) -> Result<&'t Tensor, TensorError> {
    let mut tensors = inputs.iter().map(Borrow::borrow);
    tensors
        .find(|tensor: &&Tensor| tensor.name() == name)
        .ok_or_else(|| TensorError::Missing {
            name: name.to_owned(),
            present: inputs.iter().map(|tensor| tensor.borrow().name().to_owned()).collect(),
        })
}
