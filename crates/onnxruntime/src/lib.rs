//! ONNX models on ONNX Runtime, where a machine has its library.
//!
//! Owns everything that knows ONNX Runtime; no other crate names `ort`. Nothing of it is built in or downloaded: the library
//! is opened at run time, at the path that whoever runs the machine has configured. A model never says which library.
//!
//! ONNX Runtime is C++ in this process. What it does wrong takes the process with it, and no error of Rust's stands between:
//! docs/threat-model.md says what that means. What it is given has been examined first
//! ([`floorhand_inference::examine`]): no external data, no claims of sizes. It gets no library of custom operators, one
//! thread, the CPU alone, and no arena, which would keep the most memory that any sample ever took.
//!
//! ```no_run
//! use floorhand_inference::{Engine, LoadOptions};
//! use floorhand_onnxruntime::OnnxRuntime;
//! use std::path::Path;
//!
//! let engine = OnnxRuntime::open(Path::new("/usr/lib/x86_64-linux-gnu/libonnxruntime.so"))?;
//! let model = std::fs::read("model.onnx")?;
//! let mut session = engine.load(&model, &LoadOptions::default())?;
//! session.warm_up()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Testing
//!
//! The library is in the Python package `onnxruntime`, as `onnxruntime/capi/libonnxruntime.so.*`. Tests take it from the Python
//! in `FLOORHAND_PYTHON`.

#[cfg(target_endian = "big")]
compile_error!("tensors are little-endian bytes, and are handed to ONNX Runtime as they are");

mod batch;
mod convert;
mod library;
mod session;

pub use library::{LEAST_VERSION, OnnxRuntime, OpenError};
