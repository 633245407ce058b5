//! Several samples in one run of a model whose first dimension is open.
//!
//! Owns which models may be run so, and the plan for it. What it has to show first is in [`crate::together`]; a model that
//! doesn't is run one by one from then on.

use crate::convert::Input;
use crate::guard::{guarded, refused};
use crate::shapes::too_large;
use crate::together::{COMPARED, MAX_ROWS};
use crate::{InferenceError, LoadOptions, MAX_TENSOR_BYTES, convert, operators, registers};
use floorhand_tensor::{Dim, Signature, Tensor, TensorSpec};
use std::collections::BTreeSet;
use std::sync::Arc;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as DimensionValue;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto};
use tract_onnx::prelude::{
    InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, Symbol, SymbolValues, TVec, TypedModel,
    TypedRunnableModel, TypedSimpleState,
};
use tract_onnx::tract_core::internal::ToDim;

/// Most bytes of weights of a model that is kept a second time to be planned for several samples. A larger one works so long
/// on each sample that little is gained, and would take that much more of a small device's memory.
const MAX_WEIGHTS: usize = 16 << 20;

/// The name of the open dimension.
const SYMBOL: &str = "floorhand_batch";

/// How a model takes several samples.
#[derive(Default)]
pub(crate) enum Batch {
    /// One by one.
    #[default]
    Never,
    /// Together, perhaps; nobody has asked yet. The model as it was read, its weights shared with nobody.
    Possible(Box<InferenceModel>),
    /// Together.
    Planned(Box<Plan>),
}

/// A plan for any number of samples.
pub(crate) struct Plan {
    runnable: Arc<TypedRunnableModel>,
    state: Option<TypedSimpleState>,
    /// Most samples of a run.
    pub(crate) rows: usize,
    /// How many rows are still to be compared with what one by one gives.
    pub(crate) unproven: usize,
}

/// Whether a graph says that it takes any number of samples: the first dimension of all inputs and outputs is open, that of
/// inputs under one name or none, and is to be 1. Of an output's name nothing is asked, for some exporters number them, and
/// one whose shape isn't told says nothing against it: whether there is a row for each sample is seen.
pub(crate) fn is_open(graph: &GraphProto, options: &LoadOptions) -> bool {
    let stored: BTreeSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let fed = graph.input.iter().filter(|input| !stored.contains(input.name.as_str()));
    let fed: Vec<&ValueInfoProto> = fed.collect();
    let asked = |input: &&ValueInfoProto| {
        let asked = options.shapes.get(&input.name);
        asked.is_none_or(|shape| shape.first() == Some(&1))
    };
    let mut told = graph.output.iter().filter(|output| has_shape(output));
    let names: Option<BTreeSet<Option<&str>>> = fed.iter().map(|input| first_dimension(input)).collect();
    let named = names.map(|names| names.into_iter().flatten().count());
    let one = !fed.is_empty() && named.is_some_and(|named| named <= 1);
    let open = one && told.all(|output| first_dimension(output).is_some()) && fed.iter().all(asked);
    open && !graph.node.iter().any(convolves)
}

/// Convolutions are slower for several samples than for each. Measured with tract 0.23.9 on one core, of 16 samples for one:
/// 2.2 ms planned for any number and 1.9 ms for 16, and 1.1 ms one by one, for ResNet8 of MLPerf Tiny; 2.0, 0.8 and 0.5 ms
/// for its key words. Its autoencoder takes 22 us in place of 49, an MLP 9 in place of 31.
fn convolves(node: &NodeProto) -> bool {
    node.op_type.contains("Conv")
}

fn has_shape(value: &ValueInfoProto) -> bool {
    let tensor = value.r#type.as_ref().and_then(|tensor| tensor.value.as_ref());
    matches!(tensor, Some(TypeValue::TensorType(tensor)) if tensor.shape.is_some())
}

/// The name of a value's first dimension if that is open; none within if it has no name.
fn first_dimension(value: &ValueInfoProto) -> Option<Option<&str>> {
    let TypeValue::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    let first = tensor.shape.as_ref()?.dim.first()?;
    match &first.value {
        None => Some(None),
        Some(DimensionValue::DimParam(name)) => Some(Some(name.as_str()).filter(|name| !name.is_empty())),
        Some(DimensionValue::DimValue(size)) => (*size < 0).then_some(None),
    }
}

impl Batch {
    /// What may become of a model with an open first dimension.
    pub(crate) fn of(model: InferenceModel, weights: usize, signature: &Signature) -> Self {
        let one = |spec: &TensorSpec| spec.shape.first() == Some(&Dim::Fixed(1)) && spec.fixed_len().is_some();
        if weights > MAX_WEIGHTS || !signature.inputs.iter().chain(&signature.outputs).all(one) {
            return Self::Never;
        }
        Self::Possible(Box::new(model))
    }
}

impl Plan {
    /// Plans for any number of samples. None where that can't be.
    pub(crate) fn make(mut model: InferenceModel, inputs: &[Input]) -> Result<Option<Self>, InferenceError> {
        let symbol = model.symbols.sym(SYMBOL);
        let outlets = model.input_outlets().map_err(|error| refused("plan", &error))?.to_vec();
        for (outlet, input) in outlets.into_iter().zip(inputs) {
            let rest = input.shape.iter().skip(1).map(|size| size.to_dim());
            let shape: TVec<_> = std::iter::once(symbol.to_dim()).chain(rest).collect();
            let fact = InferenceFact::dt_shape(input.datum_type, shape);
            model
                .set_outlet_fact(outlet, fact)
                .map_err(|error| refused("plan", &error))?;
        }
        let typed = guarded("plan", || model.into_typed())?;
        let Some(rows) = rows(&typed, &symbol) else {
            return Ok(None);
        };
        let runnable = guarded("plan", || {
            let mut model = typed;
            operators::plan(&mut model)?;
            let mut model = model.into_decluttered()?;
            operators::replace(&mut model)?;
            model.into_optimized()?.into_runnable()
        })?;
        let state = guarded("plan", || runnable.spawn())?;
        if state.op_states.iter().any(Option::is_some) {
            return Ok(None);
        }
        Ok(Some(Self {
            runnable,
            state: Some(state),
            rows,
            unproven: COMPARED,
        }))
    }

    /// As a model's.
    pub(crate) fn leave_thread(&mut self) {
        if let Some(state) = self.state.take() {
            self.state = Some(state.clone());
        }
    }

    /// Answers to several samples, each of which has been held against the signature.
    pub(crate) fn run(
        &mut self,
        signature: &Signature,
        inputs: &[Input],
        samples: &[Vec<&Tensor>],
    ) -> Result<Vec<Vec<Tensor>>, InferenceError> {
        let count = samples.len();
        let mut values = TVec::new();
        for (at, (spec, input)) in signature.inputs.iter().zip(inputs).enumerate() {
            let parts = samples.iter().filter_map(|sample| sample.get(at));
            let data: Vec<u8> = parts.flat_map(|tensor| tensor.data()).copied().collect();
            let mut shape = input.shape.clone();
            if let Some(first) = shape.first_mut() {
                *first = count;
            }
            let sizes = shape.iter().map(|&size| size as u64).collect();
            let tensor = Tensor::new(&spec.name, spec.datatype, sizes, data)?;
            let value = convert::to_tract(&tensor, input.datum_type, &shape);
            values.push(value.map_err(|error| refused("run", &error))?);
        }
        let mut state = match self.state.take() {
            Some(state) => state,
            None => guarded("run", || self.runnable.spawn())?,
        };
        let answers = guarded("run", || registers::run(&mut state, values))?;
        self.state = Some(state);
        let mut results = vec![Vec::with_capacity(signature.outputs.len()); count];
        for (spec, value) in signature.outputs.iter().zip(&answers) {
            let whole = convert::from_tract(&spec.name, value)?;
            if whole.shape().first() != Some(&(count as u64)) {
                let reason = format!(
                    "output {:?} has shape {:?} for {count} samples",
                    spec.name,
                    whole.shape()
                );
                return Err(InferenceError::Refused { step: "run", reason });
            }
            let parts = whole.parts(count);
            for (row, result) in results.iter_mut().enumerate() {
                let (name, datatype, rest, data) = whole.part(&parts, row)?.into_parts();
                let shape = std::iter::once(1).chain(rest).collect();
                let part = Tensor::new(name, datatype, shape, data)?;
                spec.check(&part)?;
                result.push(part);
            }
        }
        Ok(results)
    }
}

/// How many samples fit into one run, none if not even two do: nothing that flows between two nodes may become larger than
/// [`MAX_TENSOR_BYTES`].
fn rows(model: &TypedModel, symbol: &Symbol) -> Option<usize> {
    let fits = |rows: &usize| {
        let values = SymbolValues::default().with(symbol, i64::try_from(*rows).unwrap_or(i64::MAX));
        let facts = model.nodes().iter().flat_map(|node| &node.outputs);
        facts.into_iter().all(|output| {
            let sizes = output.fact.shape.iter().map(|dim| dim.eval_to_i64(&values).ok());
            let shape: Option<Vec<usize>> = sizes.map(|size| usize::try_from(size?).ok()).collect();
            shape.is_some_and(|shape| !too_large(output.fact.datum_type, &shape, MAX_TENSOR_BYTES))
        })
    };
    let halves = std::iter::successors(Some(MAX_ROWS), |rows| Some(rows / 2));
    halves.take_while(|&rows| rows >= 2).find(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::prelude::{DatumType, TDim, TypedFact};

    fn rows_of(width: usize) -> Option<usize> {
        let mut model = TypedModel::default();
        let symbol = model.symbols.sym(SYMBOL);
        let shape: [TDim; 2] = [symbol.to_dim(), width.to_dim()];
        let source = model.add_source("x", TypedFact::dt_shape(DatumType::F32, shape));
        model.select_output_outlets(&[source.unwrap()]).unwrap();
        rows(&model, &symbol)
    }

    #[test]
    fn larger_samples_go_in_fewer_at_once() {
        assert_eq!(rows_of(1), Some(64));
        assert_eq!(rows_of(4 << 20), Some(8), "128 MiB");
        assert_eq!(rows_of((4 << 20) + 1), Some(4));
        assert_eq!(rows_of(20 << 20), None, "not even two");
    }
}
