//! Tensors, their types and their signatures: the one vocabulary that models, plugins and manifests share.
//!
//! A leaf: no engine, no format of its own, no files, no clock. Data is little-endian and row-major, the way it crosses
//! the plugin boundary and the wire, so that no stage of a pipeline has to convert it.
//!
//! ```
//! use floorhand_tensor::{Datatype, Dim, Tensor, TensorSpec};
//!
//! let spec = TensorSpec::new("features", Datatype::Fp32, vec![Dim::Any, Dim::Fixed(2)]);
//! let tensor = Tensor::from_f32("features", vec![1, 2], &[0.5, -1.0])?;
//! spec.check(&tensor)?;
//! assert_eq!(tensor.to_f64()?, vec![0.5, -1.0]);
//! # Ok::<(), floorhand_tensor::TensorError>(())
//! ```
//!
//! # Testing
//!
//! Nothing here needs a fake. Build tensors with [`Tensor::from_f32`] and compare them with `==`, which compares bytes:
//! two NaNs are equal when their bits are. For tolerances use [`compare::largest_difference`].

pub mod compare;
mod datatype;
mod elements;
mod number;
mod spec;
mod tensor;

pub use datatype::Datatype;
pub use spec::{Dim, Signature, TensorSpec};
pub use tensor::{Parts, Tensor};

/// Why a tensor or a signature can't be used. Each names the tensor and what was expected of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The data's length doesn't follow from the shape and the type.
    #[error("tensor {name:?} of shape {shape:?} and type {datatype} needs {expected} bytes, and has {actual}")]
    Length {
        /// The tensor's name.
        name: String,
        /// The shape it claims.
        shape: Vec<u64>,
        /// The type it claims.
        datatype: Datatype,
        /// Bytes that shape and type ask for.
        expected: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// The shape's product doesn't fit into 64 bits, or is more than [`Tensor::MAX_ELEMENTS`].
    #[error("tensor {name:?} has shape {shape:?}: more than {max} elements", max = Tensor::MAX_ELEMENTS)]
    TooLarge {
        /// The tensor's name.
        name: String,
        /// The shape it claims.
        shape: Vec<u64>,
    },
    /// Byte strings that don't follow one another as their lengths say, or not as many as the shape has elements.
    #[error("tensor {name:?} of shape {shape:?} has {problem}")]
    Elements {
        /// The tensor's name.
        name: String,
        /// The shape it claims.
        shape: Vec<u64>,
        /// What is wrong.
        problem: String,
    },
    /// Numbers were asked of byte strings, or byte strings of numbers.
    #[error("tensor {name:?} is {actual}, expected {expected}")]
    Kind {
        /// The tensor's name.
        name: String,
        /// What was asked for.
        expected: &'static str,
        /// What it is.
        actual: Datatype,
    },
    /// Another type was expected.
    #[error("tensor {name:?} is {actual}, expected {expected}")]
    Datatype {
        /// The tensor's name.
        name: String,
        /// What was asked for.
        expected: Datatype,
        /// What is there.
        actual: Datatype,
    },
    /// Another shape was expected.
    #[error("tensor {name:?} has shape {actual:?}, expected {expected}")]
    Shape {
        /// The tensor's name.
        name: String,
        /// What was asked for, `-1` for any.
        expected: String,
        /// What is there.
        actual: Vec<u64>,
    },
    /// A tensor that was asked for isn't there.
    #[error("tensor {name:?} is missing; there are {present:?}")]
    Missing {
        /// The tensor's name.
        name: String,
        /// The names there are.
        present: Vec<String>,
    },
    /// Two signatures that should fit don't.
    #[error("{consumer} takes {name:?} as {wanted}, and {producer} gives {given}")]
    Misfit {
        /// The stage that takes the tensor.
        consumer: String,
        /// The stage that gives it.
        producer: String,
        /// The tensor's name.
        name: String,
        /// What the consumer takes.
        wanted: String,
        /// What the producer gives, or "no such tensor".
        given: String,
    },
    /// The name of a type that there isn't.
    #[error("{0:?} is no datatype; there are BOOL, UINT8 to UINT64, INT8 to INT64, FP16, FP32, FP64, BYTES")]
    UnknownDatatype(String),
}
