//! ONNX models on tract: load, check, optimise, run.
//!
//! Owns everything that knows tract; no other crate names it. Reads no files: a model is bytes that somebody else has
//! verified, and one that points at files beside it is refused. Starts no threads and reads no clock.
//!
//! A model is checked before tract sees it (operators, claimed sizes, external data), its open dimensions are fixed, and
//! a panic inside tract becomes an error: a bad model costs its bundle, never the process. The operators of `ai.onnx.ml`,
//! and `Cast`, are our own: they answer as ONNX Runtime does, or the model is refused (`src/operators`).
//!
//! ```no_run
//! use floorhand_inference::{LoadOptions, Model};
//! use floorhand_tensor::Tensor;
//!
//! let bytes: Vec<u8> = std::fs::read("model.onnx")?;
//! let mut model = Model::load(&bytes, &LoadOptions::default())?;
//! drop(bytes); // nothing of them is kept
//! model.warm_up()?;
//! let input = Tensor::from_f32(&model.signature().inputs[0].name, vec![1, 4], &[0.0, 1.0, 2.0, 3.0])?;
//! let outputs = model.run(&[input])?;
//! println!("{:?}", outputs[0].to_f32()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Testing
//!
//! There is no fake: a model of two nodes loads in a millisecond. `tests/onnx/mod.rs` builds such models from tract's
//! protobuf types, without Python.

#[cfg(target_endian = "big")]
compile_error!("tensors are little-endian bytes, and are handed to tract as they are");

mod allocator;
mod batch;
mod branches;
mod check;
mod convert;
mod engine;
mod error;
mod examine;
mod external;
mod float_twin;
mod guard;
mod integers;
mod model;
mod operators;
mod options;
mod registers;
mod rewrite;
mod shapes;
pub mod together;

use std::ops::RangeInclusive;

pub use allocator::{give_back_memory, keep_memory};
pub use engine::{Engine, Session, Tract};
pub use error::InferenceError;
pub use examine::{Examined, examine};
pub use external::inline_external_data;
pub use float_twin::float_twin;
pub use model::Model;
pub use options::LoadOptions;

/// The versions of ONNX's operator set that models may be written for. Below the seventh its operators broadcast by other
/// rules; the newest is that of the ONNX release whose tests of operators are run here.
pub const OPSETS: RangeInclusive<i64> = 7..=28;

/// The versions of the operator set `ai.onnx.ml` that models may be written for.
pub const ML_OPSETS: RangeInclusive<i64> = 1..=5;

/// The versions of ONNX's format (IR) that are read.
pub const IR_VERSIONS: RangeInclusive<i64> = 3..=14;

/// The largest model that is loaded, in bytes. While it loads, the bytes, the decoded protobuf and tract's tensors exist
/// at once; three times this still fits beside the running generation on a device of 1 GiB.
pub const MAX_MODEL_BYTES: usize = 128 << 20;

/// The largest single tensor that a model may ask for, in bytes: its weights, its inputs, what flows between its nodes.
/// Above it a device would be out of memory before the model gave its first answer.
pub const MAX_TENSOR_BYTES: u64 = 128 << 20;
