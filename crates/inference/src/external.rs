//! Weights that a model keeps in files of their own, taken into it.
//!
//! Reads no files itself: who calls hands over the bytes of those that the model names. For packing alone; a model that
//! is loaded has all of itself.

use crate::{InferenceError, MAX_MODEL_BYTES};
use prost::Message;
use std::collections::BTreeMap;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

/// Gives the bytes of a file by its name, or says why it can't.
type Read<'r> = &'r mut dyn FnMut(&str) -> Result<Vec<u8>, String>;

/// The model with its weights inside; `None` if they are.
///
/// A file has to be named without a folder, so that nothing but what lies beside the model can be asked for. Weights and
/// model together may have [`MAX_MODEL_BYTES`].
pub fn inline_external_data(onnx: &[u8], read: Read<'_>) -> Result<Option<Vec<u8>>, InferenceError> {
    let bytes = onnx.len();
    if bytes > MAX_MODEL_BYTES {
        return Err(InferenceError::ModelTooLarge { bytes });
    }
    let mut model = ModelProto::decode(onnx).map_err(|error| InferenceError::Malformed(error.to_string()))?;
    let mut files = Files {
        read,
        seen: BTreeMap::new(),
        bytes,
        inlined: false,
    };
    model.graph.iter_mut().try_for_each(|graph| files.graph(graph))?;
    let nodes = model.functions.iter_mut().flat_map(|function| &mut function.node);
    nodes.into_iter().try_for_each(|node| files.node(node))?;
    Ok(files.inlined.then(|| model.encode_to_vec()))
}

struct Files<'r> {
    read: Read<'r>,
    seen: BTreeMap<String, Vec<u8>>,
    /// Of the model with all that is in it so far.
    bytes: usize,
    inlined: bool,
}

impl Files<'_> {
    fn graph(&mut self, graph: &mut GraphProto) -> Result<(), InferenceError> {
        graph
            .initializer
            .iter_mut()
            .try_for_each(|tensor| self.tensor(tensor))?;
        graph.node.iter_mut().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &mut NodeProto) -> Result<(), InferenceError> {
        node.attribute
            .iter_mut()
            .try_for_each(|attribute| self.attribute(attribute))
    }

    fn attribute(&mut self, attribute: &mut AttributeProto) -> Result<(), InferenceError> {
        let mut tensors = attribute.t.iter_mut().chain(&mut attribute.tensors);
        tensors.try_for_each(|tensor| self.tensor(tensor))?;
        let mut graphs = attribute.g.iter_mut().chain(&mut attribute.graphs);
        graphs.try_for_each(|graph| self.graph(graph))
    }

    fn tensor(&mut self, tensor: &mut TensorProto) -> Result<(), InferenceError> {
        if tensor.data_location != Some(DataLocation::External as i32) {
            return Ok(());
        }
        let place = |key: &str| {
            let entry = tensor.external_data.iter().find(|entry| entry.key == key);
            entry.map(|entry| entry.value.clone())
        };
        let location = place("location").unwrap_or_default();
        let wrong = |problem: String| InferenceError::External {
            tensor: tensor.name.clone(),
            location: location.clone(),
            problem,
        };
        let number = |key: &str| {
            let text = place(key);
            let number = text.as_deref().map(str::parse::<usize>).transpose();
            number.map_err(|_| {
                wrong(format!(
                    "its {key} is {:?}, which is no number",
                    text.unwrap_or_default()
                ))
            })
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        if location.is_empty() || location.contains(['/', '\\', ':']) || location == ".." {
            return Err(wrong(
                "it has to be a file beside the model, named without a folder".to_owned(),
            ));
        }
        if !self.seen.contains_key(&location) {
            let bytes = (self.read)(&location).map_err(&wrong)?;
            self.seen.insert(location.clone(), bytes);
        }
        let file = self.seen.get(&location).map(Vec::as_slice).unwrap_or_default();
        let end = length.map_or(Some(file.len()), |length| offset.checked_add(length));
        let data = end.and_then(|end| file.get(offset..end));
        let data = data.ok_or_else(|| wrong(format!("the file has {} bytes, which end before it", file.len())))?;
        self.bytes = self.bytes.saturating_add(data.len());
        if self.bytes > MAX_MODEL_BYTES {
            return Err(InferenceError::ModelTooLarge { bytes: self.bytes });
        }
        tensor.raw_data = data.to_vec();
        tensor.external_data.clear();
        tensor.data_location = None;
        self.inlined = true;
        Ok(())
    }
}
