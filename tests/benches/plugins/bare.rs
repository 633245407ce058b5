//! A bare Wasmtime loop over the same component: no limits on memory or time, no look at the answer.

use crate::plugins;
use anyhow::{Result, anyhow};
use floorhand_tensor::Tensor;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit/0.1.0",
        world: "processor",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use bindings::floorhand::plugin::types::{Asset, Context, Datatype, TensorParam};

/// An instance that is configured.
pub(crate) struct Bare {
    store: Store<()>,
    exports: bindings::Processor,
}

impl Bare {
    /// Starts the component on an engine of its own.
    pub(crate) fn start(config: &Config, wasm: &[u8]) -> Result<Self> {
        Self::instantiate(config, wasm).map_err(|error| anyhow!("{error:?}"))
    }

    fn instantiate(config: &Config, wasm: &[u8]) -> wasmtime::Result<Self> {
        let engine = Engine::new(config)?;
        let component = Component::new(&engine, wasm)?;
        let mut linker = Linker::<()>::new(&engine);
        linker.define_unknown_imports_as_traps(&component)?;
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        let exports = bindings::Processor::instantiate(&mut store, &component, &linker)?;
        let configured = exports.floorhand_plugin_processing().call_configure(
            &mut store,
            plugins::CONFIG,
            &[] as &[Asset<'_>],
            &[],
        )?;
        configured.map_err(|error| wasmtime::format_err!("{error:?}"))?;
        Ok(Self { store, exports })
    }

    /// One sample, and how many answers there were.
    pub(crate) fn call(&mut self, input: &Tensor) -> usize {
        let context = Context {
            sequence: 7,
            time_ns: 0,
            gap: false,
            key: None,
            id: None,
        };
        let mut shape = vec![1];
        shape.extend(input.shape().iter().map(|&size| size as u32));
        let input = TensorParam {
            datatype: Datatype::Fp32,
            shape: &shape,
            data: input.data(),
        };
        let processing = self.exports.floorhand_plugin_processing();
        let outcome = processing.call_process(&mut self.store, &[context], &[input]);
        outcome.unwrap().unwrap().answers.len()
    }
}

/// The settings of crates/plugin-host/src/engine.rs, as far as they change code.
pub(crate) fn our_config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .memory_reservation(32 << 20)
        .memory_guard_size(64 << 10);
    config.guard_before_linear_memory(false).concurrency_support(false);
    config
}
