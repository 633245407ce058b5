//! The interface's track 0.1: the only module that knows the types generated from it.
//!
//! Generated with borrowed parameters, so that a tensor's bytes are copied once on the way in, from the tensor into the
//! plugin's memory, and once on the way out. Host functions are linked by hand rather than by the generated traits: those
//! would copy every string of a plugin's before its length is known.

mod decoding;
mod monitoring;
mod processing;

use crate::guest::{Answer, Asset, Context, Given, Setup, reason};
use crate::promise::Field;
use crate::sandbox::Sandbox;
use crate::telemetry::Level;
use crate::{CompiledPlugin, HostError, PluginError, World};
use floorhand_tensor::{Datatype, Dim, Tensor, TensorSpec};
use std::time::Instant;
use wasmtime::component::{Component, InstancePre, WasmStr};
use wasmtime::{Engine, Store, StoreContextMut};

/// One world of the host's own that has all three interfaces, so that they share their types.
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/0.1.0",
        inline: "
            package floorhand:host;
            world everything {
                include floorhand:plugin/processor@0.1.0;
                include floorhand:plugin/monitor@0.1.0;
                include floorhand:plugin/decoder@0.1.0;
            }
        ",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use bindings::exports::floorhand::plugin as exports;
use bindings::floorhand::plugin::{host as host_types, types};

pub(crate) use decoding::Decoder;
pub(crate) use monitoring::Monitor;
pub(crate) use processing::Processor;

/// The interface's package and track: what plugins of it import and export begins so.
const PACKAGE: &str = "floorhand:plugin/";

/// The versions of this track, behind the interface's name.
const TRACK: &str = "@0.1.";

/// The version that this host is built with.
pub(crate) const VERSION: &str = "0.1.0";

/// Bytes of a counter's or a gauge's name that are copied out of a plugin's memory: more than a name may have, whatever
/// character the cut falls into.
const MAX_METRIC_COPIED: usize = 128;

/// The product of a tensor's dimensions that aren't 0 is below this, so that 32-bit guests can count with it.
const MAX_ELEMENTS: u32 = 1 << 31;

/// What plugins of this track are given.
const PROVIDED: [&str; 2] = ["host", "types"];

pub(crate) type Linker = wasmtime::component::Linker<Sandbox>;

/// A component of this track, ready to be instantiated.
#[derive(Clone)]
pub(crate) enum Linked {
    Processor(Ready<exports::processing::GuestIndices>),
    Monitor(Ready<exports::monitoring::GuestIndices>),
    Decoder(Ready<exports::decoding::GuestIndices>),
}

/// A linked component and where its exports are.
#[derive(Clone)]
pub(crate) struct Ready<I> {
    instance: InstancePre<Sandbox>,
    indices: I,
}

impl Linked {
    pub(crate) fn world(&self) -> World {
        match self {
            Self::Processor(_) => World::Processor,
            Self::Monitor(_) => World::Monitor,
            Self::Decoder(_) => World::Decoder,
        }
    }
}

/// Refuses an import that no plugin is given, or not by this host.
pub(crate) fn check_import(import: &str) -> Result<(), HostError> {
    if interface(import).is_some_and(|name| PROVIDED.contains(&name)) {
        return Ok(());
    }
    let import = import.to_owned();
    if PROVIDED
        .iter()
        .any(|name| import.starts_with(&format!("{PACKAGE}{name}@")))
    {
        return Err(HostError::Version {
            interface: import,
            known: VERSION,
        });
    }
    Err(HostError::Import { import })
}

/// The interface's name, if it is one of this track.
fn interface(full: &str) -> Option<&str> {
    let (name, version) = full.strip_prefix(PACKAGE)?.split_once('@')?;
    TRACK
        .strip_prefix('@')
        .is_some_and(|track| version.starts_with(track))
        .then_some(name)
}

/// The host's side of the interface.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker> {
    let mut linker = Linker::new(engine);
    linker.instance(&format!("{PACKAGE}types@{VERSION}"))?;
    let mut host = linker.instance(&format!("{PACKAGE}host@{VERSION}"))?;
    host.func_wrap("log", log)?;
    host.func_wrap(
        "counter",
        |mut store: StoreContextMut<'_, Sandbox>, (name, increment): (WasmStr, u64)| {
            let name = metric(&store, &name)?;
            store.data_mut().outlet.count(&name, increment);
            Ok(())
        },
    )?;
    host.func_wrap(
        "gauge",
        |mut store: StoreContextMut<'_, Sandbox>, (name, value): (WasmStr, f64)| {
            let name = metric(&store, &name)?;
            store.data_mut().outlet.gauge(&name, value);
            Ok(())
        },
    )?;
    Ok(linker)
}

/// A counter's or a gauge's name, of which no more is copied than shows that it is too long.
fn metric(store: &StoreContextMut<'_, Sandbox>, name: &WasmStr) -> wasmtime::Result<String> {
    let name = name.to_str(store)?;
    let (name, _) = name.split_at(name.floor_char_boundary(MAX_METRIC_COPIED));
    Ok(name.to_owned())
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
pub(crate) fn link(engine: &Engine, linker: &Linker, component: &Component) -> Result<Linked, HostError> {
    let wrong = |error: wasmtime::Error| HostError::World(format!("{error:#}"));
    let instance = linker.instantiate_pre(component).map_err(wrong)?;
    let world = exported_world(engine, component)?;
    macro_rules! ready {
        ($world:ident, $interface:ident) => {{
            let indices = exports::$interface::GuestIndices::new(&instance).map_err(wrong)?;
            Linked::$world(Ready { instance, indices })
        }};
    }
    Ok(match world {
        World::Processor => ready!(Processor, processing),
        World::Monitor => ready!(Monitor, monitoring),
        World::Decoder => ready!(Decoder, decoding),
    })
}

/// The world whose interface the component exports.
fn exported_world(engine: &Engine, component: &Component) -> Result<World, HostError> {
    let ty = component.component_type();
    let names: Vec<String> = ty.exports(engine).map(|(name, _)| name.to_owned()).collect();
    let ours = |name: &String| name.starts_with(PACKAGE);
    let mut found = World::ALL
        .into_iter()
        .filter(|world| names.iter().any(|name| interface(name) == Some(world.interface())));
    let first = found.next();
    if let (Some(first), Some(second)) = (first, found.next()) {
        let (first, second) = (first.interface(), second.interface());
        return Err(HostError::World(format!(
            "it exports both {first} and {second}: a plugin has one of these"
        )));
    }
    first.ok_or_else(|| match names.iter().find(|name| ours(name)) {
        Some(other) => HostError::Version {
            interface: other.clone(),
            known: VERSION,
        },
        None => {
            HostError::World("it exports none of floorhand:plugin's processing, monitoring and decoding".to_owned())
        }
    })
}

/// Tensors on their way into a plugin: shapes as the interface has them, all in one place.
#[derive(Default)]
struct Inputs {
    shapes: Vec<u32>,
}

impl Inputs {
    /// Of tensors of one sample, in front of whose shapes its number comes.
    fn of_one<'t>(tensors: impl Iterator<Item = &'t Tensor>) -> Self {
        let mut inputs = Self::default();
        tensors.for_each(|tensor| {
            inputs.shapes.push(1);
            inputs.add(tensor);
        });
        inputs
    }

    /// Of tensors that have the number of samples in front already.
    fn of_batch<'t>(tensors: impl Iterator<Item = &'t Tensor>) -> Self {
        let mut inputs = Self::default();
        tensors.for_each(|tensor| inputs.add(tensor));
        inputs
    }

    /// A dimension beyond 32 bits has data beyond every limit, or stands beside one of 0.
    fn add(&mut self, tensor: &Tensor) {
        let size = |&size: &u64| u32::try_from(size).unwrap_or(u32::MAX);
        self.shapes.extend(tensor.shape().iter().map(size));
    }

    /// The tensors themselves: the same as before, in the same order, each with `more` dimensions than its own.
    fn lower<'s, 't: 's>(
        &'s self,
        tensors: impl Iterator<Item = &'t Tensor>,
        more: usize,
    ) -> Vec<types::TensorParam<'s>> {
        let mut rest = self.shapes.as_slice();
        tensors
            .map(|tensor| {
                let (shape, behind) = rest.split_at_checked(tensor.shape().len() + more).unwrap_or_default();
                rest = behind;
                types::TensorParam {
                    datatype: datatype_in(tensor.datatype()),
                    shape,
                    data: tensor.data(),
                }
            })
            .collect()
    }
}

fn contexts(contexts: &[Context]) -> Vec<types::Context<'_>> {
    contexts
        .iter()
        .map(|context| types::Context {
            sequence: context.sequence,
            time_ns: context.time_ns,
            gap: context.gap,
            key: context.key.as_deref(),
            id: context.id.as_deref(),
        })
        .collect()
}

fn assets(assets: &[Asset]) -> Vec<types::Asset<'_>> {
    assets
        .iter()
        .map(|asset| types::Asset {
            name: &asset.name,
            data: &asset.data,
        })
        .collect()
}

fn datatype_in(datatype: Datatype) -> types::Datatype {
    match datatype {
        Datatype::Bool => types::Datatype::Bool,
        Datatype::Uint8 => types::Datatype::Uint8,
        Datatype::Uint16 => types::Datatype::Uint16,
        Datatype::Uint32 => types::Datatype::Uint32,
        Datatype::Uint64 => types::Datatype::Uint64,
        Datatype::Int8 => types::Datatype::Int8,
        Datatype::Int16 => types::Datatype::Int16,
        Datatype::Int32 => types::Datatype::Int32,
        Datatype::Int64 => types::Datatype::Int64,
        Datatype::Fp16 => types::Datatype::Fp16,
        Datatype::Fp32 => types::Datatype::Fp32,
        Datatype::Fp64 => types::Datatype::Fp64,
        Datatype::Bytes => types::Datatype::Bytes,
    }
}

/// Our type; none for one that this host can't work with.
fn datatype_out(datatype: types::Datatype) -> Option<Datatype> {
    Some(match datatype {
        types::Datatype::Bool => Datatype::Bool,
        types::Datatype::Uint8 => Datatype::Uint8,
        types::Datatype::Uint16 => Datatype::Uint16,
        types::Datatype::Uint32 => Datatype::Uint32,
        types::Datatype::Uint64 => Datatype::Uint64,
        types::Datatype::Int8 => Datatype::Int8,
        types::Datatype::Int16 => Datatype::Int16,
        types::Datatype::Int32 => Datatype::Int32,
        types::Datatype::Int64 => Datatype::Int64,
        types::Datatype::Fp16 => Datatype::Fp16,
        types::Datatype::Fp32 => Datatype::Fp32,
        types::Datatype::Fp64 => Datatype::Fp64,
        types::Datatype::Bytes => Datatype::Bytes,
        types::Datatype::Bf16 => return None,
    })
}

/// Tensors as a plugin gave them, under the names of their specs and shapes of its own choosing.
fn tensors_out(
    function: &'static str,
    specs: &[TensorSpec],
    tensors: Vec<types::TensorResult>,
) -> Result<Vec<Tensor>, PluginError> {
    let wrong = |reason: String| PluginError::BadOutput { function, reason };
    if tensors.len() != specs.len() {
        let count = tensors.len();
        return Err(wrong(format!("{count} tensors, and it promised {}", specs.len())));
    }
    let tensor = |(spec, tensor): (&TensorSpec, types::TensorResult)| {
        // Before anything is said about its shape: that may have millions of dimensions.
        let (rank, promised) = (tensor.shape.len(), spec.shape.len() + 1);
        if rank != promised {
            let name = &spec.name;
            return Err(wrong(format!(
                "tensor {name:?} has {rank} dimensions, expected {promised}"
            )));
        }
        let elements = |elements: u32, &size: &u32| elements.checked_mul(size.max(1));
        let elements = tensor.shape.iter().try_fold(1_u32, elements);
        if elements.is_none_or(|elements| elements >= MAX_ELEMENTS) {
            return Err(wrong(format!(
                "tensor {:?} has the shape {:?}, whose product isn't below 2^31",
                spec.name, tensor.shape
            )));
        }
        let datatype = datatype_out(tensor.datatype)
            .ok_or_else(|| wrong(format!("tensor {:?} is of a type that it didn't promise", spec.name)))?;
        let shape = tensor.shape.into_iter().map(u64::from).collect();
        Tensor::new(spec.name.as_str(), datatype, shape, tensor.data).map_err(|error| wrong(error.to_string()))
    };
    specs.iter().zip(tensors).map(tensor).collect()
}

/// An error of `configure` and `restore`.
fn setup_error(error: types::Error) -> PluginError {
    match error {
        types::Error::BadInput(text) => PluginError::BadInput(reason(text)),
        types::Error::BadConfig(text) => PluginError::BadConfig(reason(text)),
        types::Error::Exhausted(text) => PluginError::Exhausted(reason(text)),
        types::Error::NotReady(text) => PluginError::NotReady(reason(text)),
        types::Error::Internal(text) => PluginError::Internal(reason(text)),
    }
}

/// An error of any other call: what it is too late to say then is a fault of the plugin's own.
fn error(error: types::Error) -> PluginError {
    match setup_error(error) {
        PluginError::BadConfig(text) => PluginError::Internal(text),
        other => other,
    }
}

fn refusals(refusals: Vec<types::Refusal>) -> Vec<(u32, PluginError)> {
    let refused = |refusal: types::Refusal| (refusal.index, error(refusal.error));
    refusals.into_iter().map(refused).collect()
}

/// A spec, and what its columns are called.
fn spec(spec: types::TensorSpecResult) -> Result<(TensorSpec, Vec<Field>), PluginError> {
    let Some(datatype) = datatype_out(spec.datatype) else {
        let text = format!("tensor {:?} is of a type that this agent can't work with", spec.name);
        return Err(PluginError::BadConfig(reason(text)));
    };
    let shape = spec.shape.into_iter().map(|size| Dim::from(i64::from(size))).collect();
    let field = |field: types::FieldResult| Field {
        name: field.name,
        unit: field.unit,
    };
    let fields = spec.fields.into_iter().map(field).collect();
    Ok((TensorSpec::new(spec.name, datatype, shape), fields))
}

fn specs(specs: Vec<types::TensorSpecResult>) -> Result<(Vec<TensorSpec>, Vec<Vec<Field>>), PluginError> {
    specs.into_iter().map(spec).collect()
}

/// What the pipeline tells a plugin about itself: shapes and fields as the interface has them.
struct Known {
    shapes: Vec<Vec<i32>>,
}

impl Known {
    fn new(given: &[Given]) -> Self {
        let size = |dim: &Dim| i32::try_from(i64::from(*dim)).unwrap_or(i32::MAX);
        let shape = |given: &Given| given.spec.shape.iter().map(size).collect();
        Self {
            shapes: given.iter().map(shape).collect(),
        }
    }

    fn fields(given: &[Given]) -> Vec<Vec<types::FieldParam<'_>>> {
        fn lower(field: &Field) -> types::FieldParam<'_> {
            types::FieldParam {
                name: &field.name,
                unit: &field.unit,
            }
        }
        given
            .iter()
            .map(|given| given.fields.iter().map(lower).collect())
            .collect()
    }

    fn specs<'s>(
        &'s self,
        given: &'s [Given],
        fields: &'s [Vec<types::FieldParam<'s>>],
    ) -> Vec<types::TensorSpecParam<'s>> {
        let spec = |((given, shape), fields): ((&'s Given, &'s Vec<i32>), &'s Vec<types::FieldParam<'s>>)| {
            types::TensorSpecParam {
                name: &given.spec.name,
                datatype: datatype_in(given.spec.datatype),
                shape,
                fields,
            }
        };
        given.iter().zip(&self.shapes).zip(fields).map(spec).collect()
    }
}
