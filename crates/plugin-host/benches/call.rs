//! A warm call of a plugin beside a bare wasmtime call of the same component and the same arithmetic in native code.
//!
//! `bare` is the engine as it comes, 4 GiB reserved per memory and so without bounds checks, no deadline, no limits, no
//! look at the answer. `bare, our engine` differs in the configuration alone: what remains between the two is the price
//! of bounds checks and of epoch checks, and what remains to `Processor` is the price of this crate. The component is
//! plugins/prebuilt/standardize.wasm where it is there, and one that answers with what it was given.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic and tell")]

#[path = "../tests/guests/mod.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod guests;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use floorhand_plugin_host::{Host, HostConfig, Limits, Processor, Setup};
use floorhand_tensor::Tensor;
use guests::CONTEXT;
use std::hint::black_box;
use std::path::Path;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/next",
        world: "processor",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use bindings::floorhand::plugin::types::{Asset, Context, Datatype, TensorParam};

const CONFIG: &str = r#"{"input": "x", "output": "y", "mean": [0.5], "scale": [2.0]}"#;

struct Bare {
    store: Store<()>,
    exports: bindings::Processor,
}

impl Bare {
    fn new(config: &Config, wasm: &[u8]) -> Self {
        let engine = Engine::new(config).unwrap();
        let component = Component::new(&engine, wasm).unwrap();
        let mut linker = Linker::<()>::new(&engine);
        linker.define_unknown_imports_as_traps(&component).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        let exports = bindings::Processor::instantiate(&mut store, &component, &linker).unwrap();
        exports
            .floorhand_plugin_processing()
            .call_configure(&mut store, CONFIG, &[] as &[Asset<'_>], &[])
            .unwrap()
            .unwrap();
        Self { store, exports }
    }

    fn call(&mut self, input: &Tensor) -> usize {
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

fn native(input: &Tensor) -> Tensor {
    let (mean, scale) = (0.5_f32, 2.0_f32);
    let values = input
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| (f32::from_le_bytes(*bytes) - mean) / scale);
    let mut data = Vec::with_capacity(input.data().len());
    values.for_each(|value| data.extend_from_slice(&value.to_le_bytes()));
    Tensor::new("y", input.datatype(), input.shape().to_vec(), data).unwrap()
}

/// The engine's configuration in `src/engine.rs`, as far as it changes code.
fn our_config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .memory_reservation(32 << 20)
        .memory_guard_size(64 << 10);
    config.guard_before_linear_memory(false).concurrency_support(false);
    config
}

fn compare(criterion: &mut Criterion, name: &str, wasm: &[u8], shape: impl Fn(u64) -> Vec<u64>) {
    let host = Host::new(HostConfig::default()).unwrap();
    let plugin = host.component(wasm).unwrap();
    let setup = Setup {
        name: name.to_owned(),
        config: CONFIG.to_owned(),
        assets: vec![],
        given: vec![],
        limits: Limits::default(),
    };
    let mut processor = Processor::start(&plugin, setup).unwrap();
    let mut bare = Bare::new(&Config::new(), wasm);
    let mut bounded = Bare::new(&our_config(), wasm);
    let mut canonical = Bare::new(our_config().cranelift_nan_canonicalization(true), wasm);
    for count in [1_u64, 64, 640, 4096] {
        let values: Vec<f32> = (0..count).map(|k| k as f32).collect();
        let input = Tensor::from_f32("x", shape(count), &values).unwrap();
        let mut group = criterion.benchmark_group(format!("{name}, {count} f32"));
        let mut bench = |id: &str, work: &mut dyn FnMut()| {
            group.bench_function(BenchmarkId::from_parameter(id), |bencher| bencher.iter(&mut *work));
        };
        bench("Processor", &mut || {
            drop(black_box(processor.process(&CONTEXT, &[&input]).unwrap()))
        });
        bench("bare", &mut || {
            black_box(bare.call(&input));
        });
        bench("bare, our engine", &mut || {
            black_box(bounded.call(&input));
        });
        bench("bare, our engine, canonical NaN", &mut || {
            black_box(canonical.call(&input));
        });
        bench("native", &mut || drop(black_box(native(&input))));
    }
}

fn calls(criterion: &mut Criterion) {
    compare(criterion, "echo", &guests::Processor::default().component(), |count| {
        vec![count]
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/prebuilt/standardize.wasm");
    match std::fs::read(&path) {
        Ok(wasm) => compare(criterion, "standardize", &wasm, |count| vec![1, count]),
        Err(error) => println!("skipped {}: {error}", path.display()),
    }
}

criterion_group!(benches, calls);
criterion_main!(benches);
