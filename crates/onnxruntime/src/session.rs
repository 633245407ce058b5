//! A model in ONNX Runtime.

use crate::batch::{self, Batches};
use crate::convert;
use floorhand_inference::{Examined, InferenceError, LoadOptions, Session, examine};
use floorhand_tensor::{Datatype, Dim, Signature, Tensor, TensorError, TensorSpec};
use ort::environment::Environment;
use ort::ep;
use ort::session::SessionInputValue;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{Outlet, ValueType};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An empty text: its length alone.
const PREFIX: usize = 4;

/// A model that is ready to run.
pub(crate) struct Model {
    engine: String,
    signature: Signature,
    session: ort::session::Session,
    batches: Batches,
}

impl Model {
    pub(crate) fn load(
        engine: &str,
        environment: &Environment,
        onnx: &[u8],
        options: &LoadOptions,
    ) -> Result<Self, InferenceError> {
        let examined = examine(onnx, options)?;
        let session = guarded(engine, "load the model", || {
            builder(environment)?.commit_from_memory(&examined.onnx)
        })?;
        let signature = signature(&session, &examined)?;
        let takes_batches = examined.open_batch && session.outputs().iter().all(has_open_batch);
        Ok(Self {
            engine: engine.to_owned(),
            batches: Batches::of(takes_batches),
            signature,
            session,
        })
    }

    fn one(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, InferenceError> {
        let Self {
            engine,
            session,
            signature,
            ..
        } = self;
        let engine = engine.as_str();
        let mut values = Vec::with_capacity(inputs.len());
        for input in inputs {
            let value = convert::to_value(input).map_err(|reason| refused(engine, reason))?;
            values.push((input.name(), SessionInputValue::from(value)));
        }
        let answers = guarded(engine, "run the model", || session.run(values))?;
        let specs = signature.outputs.iter().zip(answers.values());
        specs
            .map(|(spec, value)| convert::from_value(&spec.name, &value).map_err(|reason| refused(engine, reason)))
            .collect()
    }

    /// The model's inputs among the tensors given, in its order.
    fn inputs<'t>(&self, given: &'t [Tensor]) -> Result<Vec<&'t Tensor>, TensorError> {
        let found = self.signature.inputs.iter().map(|spec| {
            let tensor = given.iter().find(|tensor| tensor.name() == spec.name);
            let tensor = tensor.ok_or_else(|| TensorError::Missing {
                name: spec.name.clone(),
                present: given.iter().map(|tensor| tensor.name().to_owned()).collect(),
            })?;
            spec.check(tensor).map(|()| tensor)
        });
        found.collect()
    }

    /// The answer to each sample, of one run if the model takes batches.
    fn together(&mut self, samples: &[Vec<&Tensor>]) -> Option<Vec<Vec<Tensor>>> {
        if !self.batches.possible() || samples.len() < 2 {
            return None;
        }
        let joined = batch::join(samples)?;
        let joined: Vec<&Tensor> = joined.iter().collect();
        // One sample that it has no answer to fails all: then they are run one by one.
        let whole = self.one(&joined).ok()?;
        let answers = batch::split(&whole, samples.len());
        if answers.is_none() {
            self.batches.judge(false);
        }
        answers
    }
}

impl Session for Model {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, InferenceError> {
        let inputs = self.inputs(inputs)?;
        self.one(&inputs)
    }

    fn run_batch(&mut self, samples: &[&[Tensor]]) -> Vec<Result<Vec<Tensor>, InferenceError>> {
        let found: Vec<Result<Vec<&Tensor>, TensorError>> = samples.iter().map(|inputs| self.inputs(inputs)).collect();
        let fitting: Vec<Vec<&Tensor>> = found.iter().flatten().cloned().collect();
        let whole = self.together(&fitting);
        // The first batch is held against its samples one by one: an open dimension needn't be a batch.
        if let (Some(answers), true) = (&whole, self.batches.unproven()) {
            let alone: Vec<_> = fitting.iter().map(|inputs| self.one(inputs)).collect();
            let mut pairs = answers.iter().zip(&alone);
            let agree = pairs.all(|(batch, alone)| alone.as_ref().is_ok_and(|alone| batch::agree(batch, alone)));
            self.batches.judge(agree);
            return merge(found, alone);
        }
        match whole {
            Some(answers) => merge(found, answers.into_iter().map(Ok).collect()),
            None => {
                let alone = fitting.iter().map(|inputs| self.one(inputs)).collect();
                merge(found, alone)
            }
        }
    }

    /// Runs the model once on zeros. That it has no answer to them is no error, as in tract.
    fn warm_up(&mut self) -> Result<(), InferenceError> {
        let zeros = self.signature.inputs.iter().map(|spec| {
            let size = spec.datatype.size().unwrap_or(PREFIX) as u64;
            let bytes = usize::try_from(spec.fixed_len().unwrap_or(0) * size).unwrap_or(0);
            let sizes = spec
                .shape
                .iter()
                .map(|dim| if let Dim::Fixed(size) = dim { *size } else { 0 });
            Tensor::new(&spec.name, spec.datatype, sizes.collect(), vec![0; bytes])
        });
        let inputs = zeros.collect::<Result<Vec<_>, _>>()?;
        match self.run(&inputs) {
            Ok(_) | Err(InferenceError::Engine { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("engine", &self.engine)
            .field("signature", &self.signature)
            .finish_non_exhaustive()
    }
}

/// One thread, on the CPU, and no arena: it keeps the most that any run has taken until the session ends, of each session.
fn builder(environment: &Environment) -> ort::Result<SessionBuilder> {
    Ok(ort::session::Session::builder(environment)?
        .with_no_environment_execution_providers()?
        .with_execution_providers([ep::CPU::default().with_arena_allocator(false).build()])?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_parallel_execution(false)?
        .with_deterministic_compute(true)?)
}

/// The answers in the places of those that fit.
fn merge(
    found: Vec<Result<Vec<&Tensor>, TensorError>>,
    answers: Vec<Result<Vec<Tensor>, InferenceError>>,
) -> Vec<Result<Vec<Tensor>, InferenceError>> {
    let mut answers = answers.into_iter();
    let place = |found: Result<Vec<&Tensor>, TensorError>| {
        found?;
        answers.next().unwrap_or_else(|| Ok(Vec::new()))
    };
    found.into_iter().map(place).collect()
}

fn signature(session: &ort::session::Session, examined: &Examined<'_>) -> Result<Signature, InferenceError> {
    let mut signature = Signature::default();
    for outlet in session.inputs() {
        let (datatype, _) = tensor_type(outlet)?;
        let sizes = examined.inputs.get(outlet.name()).cloned().unwrap_or_default();
        let shape = sizes.into_iter().map(Dim::Fixed).collect();
        signature.inputs.push(TensorSpec::new(outlet.name(), datatype, shape));
    }
    for outlet in session.outputs() {
        let (datatype, dims) = tensor_type(outlet)?;
        let shape = dims.iter().map(|(size, name)| examined.dim(*size, name)).collect();
        signature.outputs.push(TensorSpec::new(outlet.name(), datatype, shape));
    }
    Ok(signature)
}

/// A dimension, -1 where it is open, and its name, if it has one.
type NamedDim<'o> = (i64, &'o str);

/// The type of an input or output, and its dimensions with their names.
fn tensor_type(outlet: &Outlet) -> Result<(Datatype, Vec<NamedDim<'_>>), InferenceError> {
    let interface = |problem: String| InferenceError::Interface {
        tensor: outlet.name().to_owned(),
        problem,
    };
    let ValueType::Tensor {
        ty,
        shape,
        dimension_symbols,
    } = outlet.dtype()
    else {
        return Err(interface(
            "is no tensor; sequences, maps and optionals are not supported".to_owned(),
        ));
    };
    let datatype = convert::datatype(*ty).ok_or_else(|| interface(format!("is {ty}, which no tensor is")))?;
    let names = dimension_symbols
        .iter()
        .map(String::as_str)
        .chain(std::iter::repeat(""));
    Ok((datatype, shape.iter().copied().zip(names).collect()))
}

/// Whether an output's first dimension is open in the model.
fn has_open_batch(outlet: &Outlet) -> bool {
    match outlet.dtype() {
        ValueType::Tensor { shape, .. } => shape.first() == Some(&-1),
        _ => false,
    }
}

/// Runs a step of ONNX Runtime's, turning its errors, and panics of the binding, into ours.
fn guarded<T, E: fmt::Display>(
    engine: &str,
    step: &str,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, InferenceError> {
    // Whatever `work` leaves half done is dropped, never looked at again.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(refused(engine, format!("{step}: {error}"))),
        Err(_) => Err(refused(engine, format!("{step}: the binding panicked"))),
    }
}

fn refused(engine: &str, reason: String) -> InferenceError {
    InferenceError::Engine {
        engine: engine.to_owned(),
        reason,
    }
}
