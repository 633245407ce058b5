//! A model that is ready to run.

use crate::{InferenceError, MAX_MODEL_BYTES, MAX_TENSOR_BYTES, check, convert, operators, rewrite, shapes};
use floorhand_tensor::{Dim, Signature, Tensor, TensorError, TensorSpec};
use std::any::Any;
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tract_onnx::Onnx;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    DatumType, Framework, InferenceModelExt, IntoRunnable, TVec, TractResult, TypedFact, TypedModel,
    TypedRunnableModel, TypedSimpleState,
};

/// An empty text: its length alone.
const PREFIX: usize = 4;

/// How a model is to be loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The concrete shape of an input, by the input's name. A dimension that is left open, here by not naming the
    /// input, gets the size that another input's shape gives to its name, else 1.
    pub shapes: BTreeMap<String, Vec<u64>>,
}

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
}

/// What tract wants for one input.
struct Input {
    datum_type: DatumType,
    shape: Vec<usize>,
}

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
        let proto = decode(&onnx, bytes, options)?;
        let outputs = proto.graph.iter().flat_map(|graph| &graph.output);
        let names: Vec<String> = outputs.map(|output| output.name.clone()).collect();
        let typed = guarded("translate", || onnx.model_for_proto_model(&proto)?.into_typed())?;
        drop(proto);
        check_sizes(&typed)?;
        let (signature, inputs) = interface(&typed, &names)?;
        let optimised = guarded("optimise", || typed.into_optimized())?;
        let plan = guarded("plan", || optimised.into_runnable())?;
        tracing::debug!(nodes = plan.model().nodes().len(), "loaded a model");
        Ok(Self {
            signature,
            inputs,
            remembers: remembers(&plan)?,
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
        for (spec, input) in self.signature.inputs.iter().zip(&self.inputs) {
            let tensor = find(inputs, &spec.name)?;
            spec.check(tensor)?;
            let value = convert::to_tract(tensor, input.datum_type, &input.shape);
            values.push(value.map_err(|error| refused("run", &error))?);
        }
        let mut state = match self.state.take() {
            Some(state) => state,
            None => guarded("run", || self.plan.spawn())?,
        };
        let answers = guarded("run", || state.run(values))?;
        self.state = (!self.remembers).then_some(state);
        let specs = self.signature.outputs.iter();
        specs
            .zip(&answers)
            .map(|(spec, value)| convert::from_tract(&spec.name, value))
            .collect()
    }

    /// Runs the model once on zeros, so that the first sample finds memory and state in place. That the model has no answer
    /// to zeros, or to empty texts, is no error: golden cases show whether it answers what it is for.
    pub fn warm_up(&mut self) -> Result<(), InferenceError> {
        let zeros = self.signature.inputs.iter().map(|spec| {
            let bytes = spec.fixed_len().unwrap_or(0) * spec.datatype.size().unwrap_or(PREFIX) as u64;
            let shape = spec
                .shape
                .iter()
                .map(|dim| if let Dim::Fixed(size) = dim { *size } else { 0 })
                .collect();
            Tensor::new(
                &spec.name,
                spec.datatype,
                shape,
                vec![0; usize::try_from(bytes).unwrap_or(0)],
            )
        });
        let inputs = zeros.collect::<Result<Vec<_>, _>>()?;
        match self.run(&inputs) {
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

/// The protobuf, checked, with closed input shapes.
fn decode(onnx: &Onnx, bytes: &[u8], options: &LoadOptions) -> Result<ModelProto, InferenceError> {
    let mut reader = bytes;
    let decoded = guarded("read", || Ok(onnx.proto_model_for_read(&mut reader)));
    let mut proto = decoded?.map_err(|error| InferenceError::Malformed(format!("{error:#}")))?;
    let Some(graph) = proto.graph.as_mut() else {
        return Err(InferenceError::Malformed("there is no graph in it".to_owned()));
    };
    check::versions(proto.ir_version, &proto.opset_import)?;
    check::graph(graph, onnx)?;
    rewrite::graph(graph)?;
    shapes::fix(graph, options)?;
    Ok(proto)
}

/// Refuses a model in which something larger than [`MAX_TENSOR_BYTES`] flows between two nodes.
fn check_sizes(model: &TypedModel) -> Result<(), InferenceError> {
    for node in model.nodes() {
        for output in &node.outputs {
            let Some(shape) = output.fact.shape.as_concrete() else {
                continue;
            };
            let size = output.fact.datum_type.size_of() as u64;
            let bytes = shape
                .iter()
                .fold(size, |product, &dim| product.saturating_mul(dim as u64));
            if bytes > MAX_TENSOR_BYTES {
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

/// Runs a step of tract's, turning its errors and its panics into ours.
fn guarded<T>(step: &'static str, work: impl FnOnce() -> TractResult<T>) -> Result<T, InferenceError> {
    // Whatever `work` leaves half done is dropped by the caller, never looked at again.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(refused(step, &error)),
        Err(panic) => Err(InferenceError::Panicked {
            step,
            reason: panic_text(panic.as_ref()),
        }),
    }
}

fn refused(step: &'static str, error: &tract_onnx::prelude::TractError) -> InferenceError {
    InferenceError::Refused {
        step,
        reason: format!("{error:#}"),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}
