//! Runs plugins: WebAssembly components against a world of `wit/`, each in a sandbox with limits of its own.
//!
//! Owns everything that knows wasmtime; no other crate names it. One module per track of the interface
//! (`track_0_1`) touches generated types; the rest speaks of [`floorhand_tensor::Tensor`] and plain structs. Opens no
//! sockets; the only files are those of the compile cache. It decides nothing: what follows from an error (failing the
//! sample, bypassing the stage, rolling back) is its caller's business, and [`PluginError::fault`] says whom to blame.
//!
//! ```no_run
//! use floorhand_plugin_host::{Context, Host, HostConfig, Limits, Processor, Setup};
//! use floorhand_tensor::Tensor;
//!
//! let host = Host::new(HostConfig::default())?;
//! let plugin = host.component(&std::fs::read("standardize.wasm")?)?;
//! let setup = Setup {
//!     name: "standardize".to_owned(),
//!     config: r#"{"mean": [1.0], "scale": [2.0]}"#.to_owned(),
//!     assets: vec![],
//!     given: vec![],
//!     limits: Limits::default(),
//! };
//! let mut processor = Processor::start(&plugin, setup)?;
//! let input = Tensor::from_f32("x", vec![1], &[3.0])?;
//! let outputs = processor.process(&Context::default(), &[input])?;
//! if outputs.is_empty() { /* a window is filling: nothing goes on for this sample */ }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A trap, an overrun or a memory grab ends the instance, never the process: [`Processor::restart`] makes a fresh one
//! and restores the last good snapshot.
//!
//! # Testing
//!
//! `tests/guests/mod.rs` makes components from a few lines of WebAssembly text, benign and hostile ones, and
//! [`Compiler::InProcess`] with no cache needs neither a worker process nor a directory.

mod cache;
mod compile;
mod decoder;
mod engine;
mod error;
mod guest;
mod host;
mod limits;
mod monitor;
mod processor;
mod promise;
mod sandbox;
mod split;
mod telemetry;
mod ticker;
mod track_0_1;

pub use cache::CacheConfig;
pub use compile::{Compiler, compile_worker};
pub use decoder::{DecodedMessage, DecodedSample, Decoder, Lost, Message};
pub use error::{Fault, HostError, PluginError};
pub use guest::{Asset, Context, Given, Setup};
pub use host::{CompiledPlugin, Host, HostConfig, Stats, World};
pub use limits::{CompileLimits, Limits};
pub use monitor::{Finding, Monitor, Origin, Phase, Severity, Watch};
pub use processor::Processor;
pub use promise::Field;
pub use telemetry::Telemetry;
