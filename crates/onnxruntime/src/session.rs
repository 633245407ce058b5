//! A model in ONNX Runtime.

use crate::batch::{self, Batches};
use crate::convert;
use floorhand_inference::together::{MAX_ROWS, alike, random_rows};
use floorhand_inference::{Examined, InferenceError, LoadOptions, Session, examine};
use floorhand_tensor::{Datatype, Dim, Signature, Tensor, TensorError, TensorSpec};
use ort::environment::Environment;
use ort::ep;
use ort::session::SessionInputValue;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{Outlet, ValueType};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A model that is ready to run.
pub(crate) struct Model {
    engine: String,
    signature: Signature,
    session: ort::session::Session,
    batches: Batches,
}

/// What ONNX Runtime says that gets no memory.
const NO_MEMORY: [&str; 2] = ["bad_alloc", "Failed to allocate"];

/// What came of each of several samples.
type Answers = Vec<Result<Vec<Tensor>, InferenceError>>;

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

    fn each(&mut self, samples: &[Vec<&Tensor>]) -> Answers {
        samples.iter().map(|inputs| self.one(inputs)).collect()
    }

    /// The answer to each sample, of one run if the model takes batches. Until it is known to keep samples apart it is run for
    /// each as well, and they get those answers.
    fn several(&mut self, samples: &[Vec<&Tensor>]) -> Answers {
        if samples.len() < 2 || !self.batches.possible() {
            return self.each(samples);
        }
        let Some(joined) = batch::join(samples) else {
            return self.each(samples);
        };
        let joined: Vec<&Tensor> = joined.iter().collect();
        let whole = self.one(&joined).ok();
        let together = whole.and_then(|whole| batch::split(&whole, samples.len()));
        let together = match together {
            Some(together) if self.batches == Batches::Proven => return together.into_iter().map(Ok).collect(),
            together => together,
        };
        let each = self.each(samples);
        match together {
            Some(together) => {
                let mut pairs = each.iter().zip(&together);
                let agree = pairs.all(|(one, other)| one.as_ref().is_ok_and(|one| alike(one, other)));
                self.batches.compared(samples.len(), agree);
            }
            // One sample that it has no answer to fails all, and says nothing of the rest.
            None if each.iter().any(Result::is_err) => {}
            None => self.batches = Batches::Never,
        }
        each
    }

    /// Tries random rows, the first time that there are several samples; then as many at once as a run ever has, so that what it
    /// takes is known.
    fn prove(&mut self) {
        if self.batches != Batches::Possible {
            return;
        }
        self.batches = Batches::unproven();
        let ranges = random_rows(&self.signature);
        let mut answered = Vec::new();
        for rows in &ranges {
            let rows = rows.iter().map(|row| row.iter().collect::<Vec<_>>());
            // To some numbers, such as places in a table that ends before them, a model has no answer.
            let rows: Vec<_> = rows.filter(|row| self.one(row).is_ok()).collect();
            self.several(&rows);
            answered.extend(rows);
        }
        let most: Vec<_> = answered.iter().cycle().take(MAX_ROWS).cloned().collect();
        if let Some(joined) = batch::join(&most) {
            let joined: Vec<&Tensor> = joined.iter().collect();
            if self.one(&joined).is_err() {
                self.batches = Batches::Never;
            }
        }
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

    fn run_batch(&mut self, samples: &[&[Tensor]]) -> Answers {
        let found: Vec<Result<Vec<&Tensor>, TensorError>> = samples.iter().map(|inputs| self.inputs(inputs)).collect();
        let fitting: Vec<Vec<&Tensor>> = found.iter().flatten().cloned().collect();
        if fitting.len() > 1 {
            self.prove();
        }
        let mut answers = Vec::with_capacity(fitting.len());
        for chunk in fitting.chunks(MAX_ROWS) {
            answers.extend(self.several(chunk));
        }
        merge(found, answers)
    }

    fn runs_together(&self) -> bool {
        self.batches.possible()
    }

    fn expect_batches(&mut self, expected: bool) {
        if expected {
            self.prove();
        } else {
            self.batches = Batches::Never;
        }
    }

    /// Runs the model once on zeros. That it has no answer to them is no error, as in tract; that there is no memory for one is.
    fn warm_up(&mut self) -> Result<(), InferenceError> {
        let inputs = self.signature.inputs.iter().map(TensorSpec::zeros);
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        match self.run(&inputs) {
            Err(InferenceError::Engine { reason, .. }) if !NO_MEMORY.iter().any(|words| reason.contains(words)) => {
                Ok(())
            }
            done => done.map(drop),
        }
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("engine", &self.engine)
            .field("signature", &self.signature)
            .field("batches", &self.batches)
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
fn merge(found: Vec<Result<Vec<&Tensor>, TensorError>>, answers: Answers) -> Answers {
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
