//! The interface's track 0.1: the only module that knows the types generated from it.
//!
//! Both worlds are generated with borrowed parameters, so that a tensor's bytes are copied once on the way in, from the
//! tensor into the plugin's memory, and once on the way out. Host functions are linked by hand rather than by the
//! generated traits: those would copy every string of a plugin's before its length is known.

use crate::guest::{Answer, Asset, Context, Exports, Setup, reason};
use crate::sandbox::Sandbox;
use crate::telemetry::Level;
use crate::{CompiledPlugin, Finding, HostError, Origin, PluginError, Severity, Watch, World};
use floorhand_tensor::{Datatype, Dim, Signature, Tensor, TensorSpec};
use std::time::Instant;
use wasmtime::component::{Component, WasmStr};
use wasmtime::{Engine, Store, StoreContextMut};

mod processor_bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/next",
        world: "processor",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

mod monitor_bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/next",
        world: "monitor",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use monitor_bindings::floorhand::plugin::types as monitor_types;
use processor_bindings::floorhand::plugin::{host as host_types, types as processor_types};

/// What plugins of this track are given.
const INTERFACES: [&str; 2] = ["floorhand:plugin/host@0.1.", "floorhand:plugin/types@0.1."];

pub(crate) type Linker = wasmtime::component::Linker<Sandbox>;

/// A component of this track, ready to be instantiated.
#[derive(Clone)]
pub(crate) enum Linked {
    Processor(processor_bindings::ProcessorPre<Sandbox>),
    Monitor(monitor_bindings::MonitorPre<Sandbox>),
}

impl Linked {
    pub(crate) fn world(&self) -> World {
        match self {
            Self::Processor(_) => World::Processor,
            Self::Monitor(_) => World::Monitor,
        }
    }
}

/// Whether a plugin may import this.
pub(crate) fn provides(import: &str) -> bool {
    INTERFACES.iter().any(|interface| import.starts_with(interface))
}

/// The host's side of the interface.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker> {
    let mut linker = Linker::new(engine);
    linker.instance("floorhand:plugin/types@0.1.0")?;
    let mut host = linker.instance("floorhand:plugin/host@0.1.0")?;
    host.func_wrap("log", log)?;
    host.func_wrap(
        "counter",
        |mut store: StoreContextMut<'_, Sandbox>, (name, increment): (WasmStr, u64)| {
            let name = name.to_str(&store)?.into_owned();
            store.data_mut().outlet.count(&name, increment);
            Ok(())
        },
    )?;
    host.func_wrap(
        "gauge",
        |mut store: StoreContextMut<'_, Sandbox>, (name, value): (WasmStr, f64)| {
            let name = name.to_str(&store)?.into_owned();
            store.data_mut().outlet.gauge(&name, value);
            Ok(())
        },
    )?;
    Ok(linker)
}

fn log(
    mut store: StoreContextMut<'_, Sandbox>,
    (level, message): (host_types::Level, WasmStr),
) -> wasmtime::Result<()> {
    let Some(room) = store.data_mut().outlet.admit_line(Instant::now()) else {
        return Ok(());
    };
    let text = message.to_str(&store)?;
    let (line, rest) = text.split_at(text.floor_char_boundary(room));
    let (line, cut_bytes) = (line.to_owned(), rest.len());
    let level = match level {
        host_types::Level::Debug => Level::Debug,
        host_types::Level::Info => Level::Info,
        host_types::Level::Warn => Level::Warn,
        host_types::Level::Error => Level::Error,
    };
    store.data_mut().outlet.log(level, &line, cut_bytes);
    Ok(())
}

/// Finds out the component's world and checks its every type against it.
pub(crate) fn link(linker: &Linker, component: &Component) -> Result<Linked, HostError> {
    let world = |error: wasmtime::Error| HostError::World(format!("{error:#}"));
    let exports = |name| component.get_export_index(None, name).is_some();
    if exports("process") {
        let pre = linker
            .instantiate_pre(component)
            .and_then(processor_bindings::ProcessorPre::new);
        Ok(Linked::Processor(pre.map_err(world)?))
    } else if exports("observe") {
        let pre = linker
            .instantiate_pre(component)
            .and_then(monitor_bindings::MonitorPre::new);
        Ok(Linked::Monitor(pre.map_err(world)?))
    } else {
        let text = "it exports neither `process` nor `observe`, and so is neither a processor nor a monitor";
        Err(HostError::World(text.to_owned()))
    }
}

/// Conversions between the types of one generated world and ours.
macro_rules! conversions {
    ($types:ident) => {
        fn context(context: Context) -> $types::Context {
            $types::Context {
                sequence: context.sequence,
                time_ms: context.time_ms,
            }
        }

        fn assets(assets: &[Asset]) -> Vec<$types::Asset<'_>> {
            assets
                .iter()
                .map(|asset| $types::Asset {
                    name: &asset.name,
                    data: &asset.data,
                })
                .collect()
        }

        fn datatype_in(datatype: Datatype) -> $types::Datatype {
            match datatype {
                Datatype::Bool => $types::Datatype::Bool,
                Datatype::Uint8 => $types::Datatype::Uint8,
                Datatype::Uint16 => $types::Datatype::Uint16,
                Datatype::Uint32 => $types::Datatype::Uint32,
                Datatype::Uint64 => $types::Datatype::Uint64,
                Datatype::Int8 => $types::Datatype::Int8,
                Datatype::Int16 => $types::Datatype::Int16,
                Datatype::Int32 => $types::Datatype::Int32,
                Datatype::Int64 => $types::Datatype::Int64,
                Datatype::Fp16 => $types::Datatype::Fp16,
                Datatype::Fp32 => $types::Datatype::Fp32,
                Datatype::Fp64 => $types::Datatype::Fp64,
            }
        }

        fn datatype_out(datatype: $types::Datatype) -> Datatype {
            match datatype {
                $types::Datatype::Bool => Datatype::Bool,
                $types::Datatype::Uint8 => Datatype::Uint8,
                $types::Datatype::Uint16 => Datatype::Uint16,
                $types::Datatype::Uint32 => Datatype::Uint32,
                $types::Datatype::Uint64 => Datatype::Uint64,
                $types::Datatype::Int8 => Datatype::Int8,
                $types::Datatype::Int16 => Datatype::Int16,
                $types::Datatype::Int32 => Datatype::Int32,
                $types::Datatype::Int64 => Datatype::Int64,
                $types::Datatype::Fp16 => Datatype::Fp16,
                $types::Datatype::Fp32 => Datatype::Fp32,
                $types::Datatype::Fp64 => Datatype::Fp64,
            }
        }

        fn spec(spec: $types::TensorSpec) -> TensorSpec {
            let shape = spec.shape.into_iter().map(Dim::from).collect();
            TensorSpec::new(spec.name, datatype_out(spec.datatype), shape)
        }

        fn error(error: $types::Error) -> PluginError {
            match error {
                $types::Error::BadInput(text) => PluginError::BadInput(reason(text)),
                $types::Error::BadConfig(text) => PluginError::BadConfig(reason(text)),
                $types::Error::NotReady(text) => PluginError::NotReady(reason(text)),
                $types::Error::Internal(text) => PluginError::Internal(reason(text)),
            }
        }
    };
}

mod monitor;
mod processor;

pub(crate) use monitor::Monitor;
pub(crate) use processor::Processor;
