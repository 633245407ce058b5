//! Write Floorhand plugins in Rust.
//!
//! A plugin is a WebAssembly component against a world of `wit/`: a [`Processor`] turns tensors into tensors, a
//! [`Monitor`] watches a pipeline and reports what it finds. Implement the trait, export it with one line:
//!
//! ```
//! use floorhand_plugin_sdk::{Assets, Context, Datatype, Error, Processor, Signature, Tensor, TensorSpec, take};
//! use schemars::JsonSchema;
//! use serde::Deserialize;
//!
//! /// Multiplies every element of a tensor.
//! struct Gain {
//!     config: GainConfig,
//! }
//!
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct GainConfig {
//!     /// The tensor that is multiplied.
//!     input: String,
//!     /// What it is multiplied with.
//!     factor: f32,
//! }
//!
//! impl Processor for Gain {
//!     type Config = GainConfig;
//!
//!     fn configure(config: GainConfig, _assets: &Assets) -> Result<Self, Error> {
//!         if !config.factor.is_finite() {
//!             return Err(Error::BadConfig(format!("factor is {}, and has to be finite", config.factor)));
//!         }
//!         Ok(Self { config })
//!     }
//!
//!     fn signature(&self) -> Signature {
//!         let spec = TensorSpec::new(&self.config.input, Datatype::Fp32, vec![-1]);
//!         Signature { inputs: vec![spec.clone()], outputs: vec![spec], state_bytes: 0 }
//!     }
//!
//!     fn process(&mut self, _context: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
//!         let mut tensor = take(inputs, &self.config.input)?;
//!         tensor.map_f32(|value| value * self.config.factor)?;
//!         Ok(vec![tensor])
//!     }
//! }
//!
//! floorhand_plugin_sdk::export!(Gain as processor);
//! # // What `cargo test` of the plugin does; see below.
//! # use floorhand_plugin_sdk::{processor::Instance, testing};
//! # let mut gain = Instance::<Gain>::new();
//! # gain.configure(r#"{"input": "x", "factor": 2}"#, vec![]).unwrap();
//! # let output = gain.process(testing::context(0), vec![Tensor::from_f32("x", vec![2], &[1.0, -3.0])]).unwrap();
//! # assert_eq!(output[0].to_f32().unwrap(), [2.0, -6.0]);
//! ```
//!
//! The crate is a `cdylib` (for the component) and an `rlib` (for tests):
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]
//! ```
//!
//! # Rules a plugin lives by
//!
//! - **Deterministic.** Answers depend on configuration, assets, restored state and samples alone, and are the same bits on
//!   every machine. Take sines and logarithms from the `libm` crate, keep out of `HashMap`'s order, and read the time from
//!   [`Context::time_ns`].
//! - **State is declared.** What later answers depend on goes into [`snapshot`](Processor::snapshot), written with
//!   [`state::Writer`]; its largest size stands in the signature. The default is a plugin without state.
//! - **Series are told apart.** An instance sees the samples of all keys ([`Context::key`]), and [`Series`] keeps a state for
//!   each, [`Keyed`] that of a monitor. Where
//!   [`Context::gap`] says that samples of its key may be missing, what is built from neighbouring ones of that key begins anew.
//! - **Errors are answers.** A sample that can't be worked with is [`Error::BadInput`], a counted event. A panic is a trap:
//!   the instance is thrown away, and enough of them take the bundle down.
//! - **The host may refuse.** Log lines, counters and gauges ([`host`]) are bounded there; nothing depends on them.
//!
//! # Configuration
//!
//! [`Processor::Config`] is deserialised by the SDK with serde. Put `#[serde(deny_unknown_fields)]` on it: a mistyped key is
//! then refused when the bundle is packed, and not ignored on a thousand devices. Errors name the key:
//!
//! ```
//! # use floorhand_plugin_sdk::{Error, config};
//! #[derive(serde::Deserialize, Debug)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     factor: f32,
//! }
//! let error = config::parse::<Config>("configuration", br#"{"factor": "two"}"#).unwrap_err();
//! assert_eq!(
//!     error.message(),
//!     "configuration, key factor: invalid type: string \"two\", expected f32 at line 1 column 16"
//! );
//! ```
//!
//! # Testing
//!
//! Outside of WebAssembly a plugin is a plain struct. [`processor::Instance`] and [`monitor::Instance`] run it the way the
//! component does, from JSON text to answers, and what it logs and counts is recorded for the test:
//!
//! ```
//! use floorhand_plugin_sdk::{host, testing};
//!
//! host::counter("samples", 2);
//! host::counter("samples", 1);
//! host::gauge("level", 0.5);
//! let recorded = testing::take_recorded();
//! assert_eq!(recorded.counters["samples"], 3);
//! assert_eq!(recorded.gauges["level"], 0.5);
//! ```
//!
//! [`testing::hostile`] gives tensors that a plugin meets sooner or later: empty, huge, of the wrong type or rank, full of
//! NaN, or lying about their length. None of them may make it panic. [`testing::streams`] holds a processor to the rules above
//! on a stream of its author's, [`testing::monitors`] a monitor, and [`testing::cases`] runs recorded cases.
//! [`testing::bench`] times them, for `floorhand plugin bench` to compare the component with.

mod batch;
#[doc(hidden)]
pub mod bindings;
mod columns;
pub mod config;
pub mod decoder;
pub mod drift;
mod errors;
mod export;
pub mod host;
mod instance;
mod keyed;
mod layout;
pub mod monitor;
pub mod processor;
mod series;
pub mod state;
mod tensor;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod time;
mod types;

pub use bindings::decoder::exports::floorhand::plugin::decoding::{Message, Property};
pub use bindings::monitor::exports::floorhand::plugin::monitoring::{Detail, Origin, Phase, Severity};
pub use bindings::types::{Asset, Context, Datatype, Error};
pub use columns::{Columns, MAX_FIELDS};
pub use config::Assets;
pub use decoder::{Decoder, MAX_SAMPLES};
pub use errors::{ErrorColumns, Truth};
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use export::install_panic_hook;
pub use keyed::{KeyState, Keyed, name_key};
pub use layout::{Layout, Missing, Number};
pub use monitor::{Monitor, Report};
pub use processor::Processor;
pub use series::{MaxKeys, Series};

pub use tensor::take;
pub use time::TimeFormat;
pub use types::{
    Answer, Failure, Field, Finding, Outcome, Production, Refusal, Sample, Signature, Subscription, Tensor, TensorSpec,
    Watch,
};

impl Error {
    /// The text for people, whatever the case.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::BadInput(text)
            | Self::BadConfig(text)
            | Self::Exhausted(text)
            | Self::NotReady(text)
            | Self::Internal(text) => text,
        }
    }
}
