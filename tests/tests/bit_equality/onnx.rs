//! Models that pass their inputs through, as the bytes of an ONNX file.

use floorhand_tensor::Datatype;

/// A tensor that a model passes through: its name on the way in and out, its type and its shape.
pub(crate) struct Passed {
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) datatype: Datatype,
    pub(crate) shape: Vec<u64>,
}

/// Fields of onnx.proto by their numbers.
mod field {
    pub(super) const MODEL_IR_VERSION: u64 = 1;
    pub(super) const MODEL_GRAPH: u64 = 7;
    pub(super) const MODEL_OPSET_IMPORT: u64 = 8;
    pub(super) const OPSET_VERSION: u64 = 2;
    pub(super) const GRAPH_NODE: u64 = 1;
    pub(super) const GRAPH_NAME: u64 = 2;
    pub(super) const GRAPH_INPUT: u64 = 11;
    pub(super) const GRAPH_OUTPUT: u64 = 12;
    pub(super) const NODE_INPUT: u64 = 1;
    pub(super) const NODE_OUTPUT: u64 = 2;
    pub(super) const NODE_OPERATOR: u64 = 4;
    pub(super) const VALUE_NAME: u64 = 1;
    pub(super) const VALUE_TYPE: u64 = 2;
    pub(super) const TYPE_TENSOR: u64 = 1;
    pub(super) const TENSOR_ELEMENT: u64 = 1;
    pub(super) const TENSOR_SHAPE: u64 = 2;
    pub(super) const SHAPE_DIMENSION: u64 = 1;
    pub(super) const DIMENSION_VALUE: u64 = 1;
}

/// The model with an `Identity` for each tensor.
pub(crate) fn identity(tensors: &[Passed]) -> Vec<u8> {
    let mut graph = message(field::GRAPH_NAME, b"identity");
    for tensor in tensors {
        let node = [
            message(field::NODE_INPUT, tensor.input.as_bytes()),
            message(field::NODE_OUTPUT, tensor.output.as_bytes()),
            message(field::NODE_OPERATOR, b"Identity"),
        ];
        graph.extend(message(field::GRAPH_NODE, &node.concat()));
        graph.extend(message(field::GRAPH_INPUT, &value(&tensor.input, tensor)));
        graph.extend(message(field::GRAPH_OUTPUT, &value(&tensor.output, tensor)));
    }
    let parts = [
        integer(field::MODEL_IR_VERSION, 8),
        message(field::MODEL_GRAPH, &graph),
        message(field::MODEL_OPSET_IMPORT, &integer(field::OPSET_VERSION, 13)),
    ];
    parts.concat()
}

/// A tensor's name and type.
fn value(name: &str, tensor: &Passed) -> Vec<u8> {
    let dimension = |size: &u64| message(field::SHAPE_DIMENSION, &integer(field::DIMENSION_VALUE, *size));
    let shape: Vec<u8> = tensor.shape.iter().flat_map(dimension).collect();
    let tensor = [
        integer(field::TENSOR_ELEMENT, element(tensor.datatype)),
        message(field::TENSOR_SHAPE, &shape),
    ];
    let name = message(field::VALUE_NAME, name.as_bytes());
    let datatype = message(field::VALUE_TYPE, &message(field::TYPE_TENSOR, &tensor.concat()));
    [name, datatype].concat()
}

/// The type's number in ONNX.
fn element(datatype: Datatype) -> u64 {
    match datatype {
        Datatype::Fp32 => 1,
        Datatype::Uint8 => 2,
        Datatype::Int8 => 3,
        Datatype::Uint16 => 4,
        Datatype::Int16 => 5,
        Datatype::Int32 => 6,
        Datatype::Int64 => 7,
        Datatype::Bytes => 8,
        Datatype::Bool => 9,
        Datatype::Fp16 => 10,
        Datatype::Fp64 => 11,
        Datatype::Uint32 => 12,
        Datatype::Uint64 => 13,
    }
}

/// A field of protobuf that holds bytes: text, or another message.
fn message(field: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A field of protobuf that holds an integer.
fn integer(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// Seven bits a byte, the lowest first.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
