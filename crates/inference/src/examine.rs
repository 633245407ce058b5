//! What is looked at in a model before another engine than tract has it.
//!
//! An engine in C++ would read files that a model names, and reserve what it claims. Operators are the engine's own
//! matter. What comes out is the model as the engine is to load it, and the sizes that its inputs are to have.

use crate::{InferenceError, LoadOptions, MAX_MODEL_BYTES, check, shapes};
use floorhand_tensor::Dim;
use prost::Message as _;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as DimensionValue;
use tract_onnx::pb::type_proto::{Tensor as TensorType, Value as TypeValue};
use tract_onnx::pb::{GraphProto, ModelProto, TypeProto, ValueInfoProto};

/// A model that another engine may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined<'m> {
    /// Its bytes: those that were examined, unless something had to be rewritten.
    pub onnx: Cow<'m, [u8]>,
    /// Each input with the sizes it is to have.
    pub inputs: BTreeMap<String, Vec<u64>>,
    /// The sizes of open dimensions that have a name.
    pub named: BTreeMap<String, u64>,
    /// Whether the first dimension of every input is open, and is to be 1: the batch, as far as one can see.
    pub open_batch: bool,
}

impl Examined<'_> {
    /// A dimension of an output as the engine tells it, closed where its name says what it is.
    #[must_use]
    pub fn dim(&self, size: i64, name: &str) -> Dim {
        match (u64::try_from(size), self.named.get(name)) {
            (Ok(size), _) => Dim::Fixed(size),
            (Err(_), Some(&size)) => Dim::Fixed(size),
            (Err(_), None) => Dim::Any,
        }
    }
}

/// Checks a model as far as it isn't the engine's own matter: its length, that it is ONNX of a version that is known, that all
/// of it is inside, what its tensors claim, the shapes of its inputs. A `ZipMap`, which would make maps of a tensor, passes
/// its tensor through, as it does in tract.
pub fn examine<'m>(onnx: &'m [u8], options: &LoadOptions) -> Result<Examined<'m>, InferenceError> {
    if onnx.len() > MAX_MODEL_BYTES {
        return Err(InferenceError::ModelTooLarge { bytes: onnx.len() });
    }
    let mut model = ModelProto::decode(onnx).map_err(|error| InferenceError::Malformed(error.to_string()))?;
    check::versions(model.ir_version, &model.opset_import)?;
    for node in model.functions.iter().flat_map(|function| &function.node) {
        node.attribute.iter().try_for_each(check::attribute_data)?;
    }
    let Some(graph) = model.graph.as_mut() else {
        return Err(InferenceError::Malformed("there is no graph in it".to_owned()));
    };
    check::data(graph)?;
    let open: Vec<ValueInfoProto> = graph.input.clone();
    let rewritten = pass_maps_through(graph);
    // The engine keeps the dimensions open, for batches.
    let mut closed = GraphProto {
        input: open.clone(),
        initializer: std::mem::take(&mut graph.initializer),
        ..Default::default()
    };
    shapes::fix(&mut closed, options)?;
    graph.initializer = std::mem::take(&mut closed.initializer);
    let weights: BTreeSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let fed = open.iter().zip(&closed.input);
    let fed = fed.filter(|(open, _)| !weights.contains(open.name.as_str()));
    let (mut inputs, mut named, mut open_batch) = (BTreeMap::new(), BTreeMap::new(), true);
    for (open, closed) in fed {
        let sizes: Vec<u64> = dimensions(closed).into_iter().filter_map(fixed).collect();
        let dims = dimensions(open);
        open_batch &= sizes.first() == Some(&1) && dims.first().is_some_and(|dim| fixed(dim.clone()).is_none());
        for (dim, &size) in dims.into_iter().zip(&sizes) {
            if let Some(DimensionValue::DimParam(name)) = dim {
                named.insert(name, size);
            }
        }
        inputs.insert(open.name.clone(), sizes);
    }
    let onnx = if rewritten {
        Cow::Owned(model.encode_to_vec())
    } else {
        Cow::Borrowed(onnx)
    };
    Ok(Examined {
        onnx,
        open_batch: open_batch && !inputs.is_empty(),
        inputs,
        named,
    })
}

fn dimensions(input: &ValueInfoProto) -> Vec<Option<DimensionValue>> {
    let value = input.r#type.as_ref().and_then(|of| of.value.as_ref());
    let Some(TypeValue::TensorType(tensor)) = value else {
        return Vec::new();
    };
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
    dims.map(|dim| dim.value.clone()).collect()
}

fn fixed(dim: Option<DimensionValue>) -> Option<u64> {
    match dim {
        Some(DimensionValue::DimValue(size)) => u64::try_from(size).ok(),
        _ => None,
    }
}

/// Makes every `ZipMap` pass its tensor through, and says whether there was one.
fn pass_maps_through(graph: &mut GraphProto) -> bool {
    let mut tensors = BTreeSet::new();
    for node in &mut graph.node {
        if node.op_type == "ZipMap" && node.domain == "ai.onnx.ml" {
            "Identity".clone_into(&mut node.op_type);
            node.domain.clear();
            node.attribute.clear();
            tensors.extend(node.output.iter().cloned());
        }
    }
    let described = graph.output.iter_mut().chain(&mut graph.value_info);
    for value in described.filter(|value| tensors.contains(&value.name)) {
        value.r#type = Some(TypeProto {
            value: Some(TypeValue::TensorType(TensorType {
                elem_type: DataType::Float as i32,
                shape: None,
            })),
            ..Default::default()
        });
    }
    !tensors.is_empty()
}
