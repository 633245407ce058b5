//! Several samples in one run of a model whose first dimension is open.
//!
//! Owns which models may be run so, the plan for it, and the proof that it answers as one by one does. A model whose
//! samples act on each other, say by a mean over the first dimension, has another answer to several than to each: it is
//! found out on random rows and on the first real ones, and run one by one from then on.

use crate::model::{Input, guarded, refused, too_large};
use crate::{InferenceError, LoadOptions, MAX_TENSOR_BYTES, convert};
use floorhand_tensor::{Datatype, Dim, Signature, Tensor, TensorSpec};
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

/// Most samples of one run. What a run costs beside its samples is spread over enough of them by then, and each more is
/// kept waiting by all others.
const MAX_ROWS: usize = 64;

/// Most bytes of weights of a model that is kept a second time to be planned for several samples. A larger one works so long
/// on each sample that little is gained, and would take that much more of a small device's memory.
const MAX_WEIGHTS: usize = 16 << 20;

/// Rows that have to have had the same answer in a batch and one by one before batches are relied on.
const COMPARED: usize = 24;

/// Rows of one of the batches of random rows, and how many such batches there are: one for each range of numbers.
const RANDOM_ROWS: usize = 5;
const RANGES: [f32; 3] = [1.0, 100.0, 0.01];

/// How far an answer may be from that of one by one, of the largest number in it or of 1: sums in another order.
const ROUNDING: f64 = 1e-5;

/// The same for half precision, which has 11 bits.
const ROUNDING_HALF: f64 = 4e-3;

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
        let runnable = guarded("plan", || typed.into_optimized()?.into_runnable())?;
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
        let answers = guarded("run", || state.run(values))?;
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

/// Whether two answers are the same up to rounding.
pub(crate) fn alike(one: &[Tensor], other: &[Tensor]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike_tensors(one, other))
}

fn alike_tensors(one: &Tensor, other: &Tensor) -> bool {
    if one == other {
        return true;
    }
    let allowed = match one.datatype() {
        Datatype::Fp16 => ROUNDING_HALF,
        Datatype::Fp32 | Datatype::Fp64 => ROUNDING,
        _ => return false,
    };
    let (Ok(a), Ok(b)) = (one.to_f64(), other.to_f64()) else {
        return false;
    };
    let finite = a.iter().map(|a| a.abs()).filter(|a| a.is_finite());
    let allowed = allowed * finite.fold(1.0, f64::max);
    let close = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= allowed;
    (one.datatype(), one.shape()) == (other.datatype(), other.shape()) && a.iter().zip(&b).all(close)
}

/// Rows of random values that a model may have an answer to, always the same: for each range a few.
pub(crate) fn random_rows(signature: &Signature) -> Vec<Vec<Vec<Tensor>>> {
    // A generator of the SplitMix64 family: any seed but the same one each time.
    let mut state = 0x5eed_u64;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 40
    };
    let mut tensor = |spec: &TensorSpec, range: f32| {
        let shape: Vec<u64> = spec
            .shape
            .iter()
            .map(|dim| if let Dim::Fixed(size) = dim { *size } else { 1 })
            .collect();
        let count = spec.fixed_len().unwrap_or(0);
        if spec.datatype == Datatype::Bytes {
            let texts: Vec<String> = (0..count).map(|_| (next() % 10).to_string()).collect();
            return Tensor::from_elements(&spec.name, shape, &texts).ok();
        }
        let is_float = matches!(spec.datatype, Datatype::Fp16 | Datatype::Fp32 | Datatype::Fp64);
        let values = (0..count).map(|_| {
            let drawn = next();
            match spec.datatype {
                _ if is_float => (drawn as f64 / f64::from(1 << 23) - 1.0) * f64::from(range),
                Datatype::Bool => (drawn % 2) as f64,
                // Few enough to be places in a table.
                _ => (drawn % 3) as f64,
            }
        });
        Tensor::from_f64(&spec.name, spec.datatype, shape, &values.collect::<Vec<_>>()).ok()
    };
    let mut rows = |range: f32| {
        let row = |_| {
            signature
                .inputs
                .iter()
                .map(|spec| tensor(spec, range))
                .collect::<Option<Vec<_>>>()
        };
        (0..RANDOM_ROWS).filter_map(row).collect::<Vec<_>>()
    };
    RANGES.into_iter().map(&mut rows).collect()
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

    #[test]
    fn what_has_no_number_is_alike_only_in_its_place() {
        let tensor = |values: &[f32]| vec![Tensor::from_f32("y", vec![1, 3], values).unwrap()];
        let one = tensor(&[f32::NAN, 1000.0, 0.0]);
        assert!(alike(&one, &tensor(&[f32::NAN, 1000.0, 0.005])));
        assert!(!alike(&one, &tensor(&[f32::NAN, 1000.0, 0.02])));
        assert!(!alike(&one, &tensor(&[0.0, 1000.0, f32::NAN])));
        let label = |text: &str| vec![Tensor::from_elements("y", vec![1], &[text]).unwrap()];
        assert!(alike(&label("a"), &label("a")) && !alike(&label("a"), &label("b")));
    }
}
