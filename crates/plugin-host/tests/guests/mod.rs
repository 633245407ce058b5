//! Plugins from a few lines of WebAssembly text: a well-behaved one of each world, into which a test puts what it wants
//! to go wrong.

use floorhand_plugin_host::{Asset, Context, Limits, Setup};
use floorhand_tensor::Tensor;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Instructions put at the beginning of a processor's functions, and fields of its module.
#[derive(Clone, Copy, Default)]
pub(crate) struct Processor<'a> {
    /// Further imports.
    pub(crate) imports: &'a str,
    /// Further fields, e.g. a start function.
    pub(crate) fields: &'a str,
    /// Pages of memory to begin with; 0 for one.
    pub(crate) pages: u32,
    /// Before `configure` answers.
    pub(crate) configure: &'a str,
    /// Before `process` answers. Locals: $in, the first input tensor's record, $i.
    pub(crate) process: &'a str,
    /// Before `snapshot` answers.
    pub(crate) snapshot: &'a str,
    /// Before `restore` answers.
    pub(crate) restore: &'a str,
}

impl Processor<'_> {
    /// A processor of `x: FP32[-1]` that answers with the same as `y`, and whose state is the number of samples so far.
    pub(crate) fn component(&self) -> Vec<u8> {
        encode(&self.text(), "processor")
    }

    /// The same, built against the version of the interface in a folder.
    pub(crate) fn component_of(&self, wit: &std::path::Path, version: &str) -> Vec<u8> {
        let text = self.text().replace("@0.1.0", &format!("@{version}"));
        encode_of(&text, "processor", wit)
    }

    fn text(&self) -> String {
        let Self {
            imports,
            fields,
            pages,
            configure,
            process,
            snapshot,
            restore,
        } = *self;
        let (pages, common) = (pages.max(1), COMMON);
        format!(
            r#"(module
            {imports}
            (import "floorhand:plugin/host@0.1.0" "log" (func $log (param i32 i32 i32)))
            (import "floorhand:plugin/host@0.1.0" "counter" (func $counter (param i32 i32 i64)))
            (import "floorhand:plugin/host@0.1.0" "gauge" (func $gauge (param i32 i32 f64)))
            (memory (export "memory") {pages})
            {common}
            ;; The input's spec at 40, the output's at 68, what configure answers at 96.
            (data (i32.const 40) "\10\00\00\00\01\00\00\00\0a\00\00\00\20\00\00\00\01\00\00\00")
            (data (i32.const 68) "\11\00\00\00\01\00\00\00\0a\00\00\00\20\00\00\00\01\00\00\00")
            (data (i32.const 96) "\00\00\00\00\28\00\00\00\01\00\00\00\44\00\00\00\01\00\00\00\04\00\00\00\00\04\00\00")
            {fields}
            (func (export "floorhand:plugin/processing@0.1.0#configure") (param i32 i32 i32 i32 i32 i32) (result i32)
                {configure}
                (i32.const 96))
            (func (export "floorhand:plugin/processing@0.1.0#process") (param i32 i32 i32 i32) (result i32)
                (local $in i32) (local $i i32)
                (local.set $in (local.get 2))
                (i32.store (i32.const 128) (i32.add (i32.load (i32.const 128)) (i32.const 1)))
                ;; The output's record, at 192, is the input's.
                (memory.copy (i32.const 192) (local.get $in) (i32.const 20))
                ;; One answer, at 288: to every sample of the call, whose places stand at 1024.
                (i32.store (i32.const 288) (i32.const 1024))
                (i32.store (i32.const 292) (local.get 1))
                (loop $places
                    (if (i32.lt_u (local.get $i) (local.get 1)) (then
                        (i32.store (i32.add (i32.const 1024) (i32.shl (local.get $i) (i32.const 2))) (local.get $i))
                        (local.set $i (i32.add (local.get $i) (i32.const 1)))
                        (br $places))))
                (local.set $i (i32.const 0))
                (i32.store (i32.const 296) (i32.const 192))
                (i32.store (i32.const 300) (i32.const 1))
                (i32.store (i32.const 160) (i32.const 0))
                (i32.store (i32.const 164) (i32.const 288))
                (i32.store (i32.const 168) (i32.const 1))
                (i32.store (i32.const 172) (i32.const 0))
                (i32.store (i32.const 176) (i32.const 0))
                {process}
                (i32.const 160))
            (func (export "cabi_post_floorhand:plugin/processing@0.1.0#process") (param i32)
                (global.set $heap (i32.const 4096)))
            (func (export "floorhand:plugin/processing@0.1.0#snapshot") (result i32)
                (i32.store (i32.const 256) (i32.const 0))
                (i32.store (i32.const 260) (i32.const 128))
                (i32.store (i32.const 264) (i32.const 4))
                {snapshot}
                (i32.const 256))
            (func (export "floorhand:plugin/processing@0.1.0#restore") (param i32 i32) (result i32)
                (memory.copy (i32.const 128) (local.get 0) (i32.const 4))
                (i32.store (i32.const 272) (i32.const 0))
                {restore}
                (i32.const 272)))"#
        )
    }
}

/// A monitor of the feature `x: FP32[-1]` that finds as many things in each sample as the sample has elements. It knows one
/// sample a call.
pub(crate) fn monitor() -> Vec<u8> {
    let common = COMMON;
    let text = format!(
        r#"(module
        (memory (export "memory") 1)
        {common}
        (data (i32.const 512) "drift")
        ;; A watch at 40, its spec at 44, behind the shape at 32; what configure answers at 96.
        (data (i32.const 40) "\01\00\00\00\10\00\00\00\01\00\00\00\0a\00\00\00\20\00\00\00\01\00\00\00")
        (data (i32.const 96) "\00\00\00\00\28\00\00\00\01\00\00\00\04\00\00\00\00\04\00\00")
        (func (export "floorhand:plugin/monitoring@0.1.0#configure") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 96))
        (func (export "floorhand:plugin/monitoring@0.1.0#observe") (param i32 i32 i32 i32) (result i32)
            (local $n i32) (local $at i32)
            (local.set $n (i32.div_u (i32.load offset=16 (local.get 2)) (i32.const 4)))
            (i32.store (i32.const 160) (i32.const 0))
            (i32.store (i32.const 164) (i32.const 32768))
            (i32.store (i32.const 168) (local.get $n))
            (local.set $at (i32.const 32768))
            (loop $more
                (if (local.get $n) (then
                    (i32.store offset=4 (local.get $at) (i32.const 512))
                    (i32.store offset=8 (local.get $at) (i32.const 5))
                    (i32.store8 offset=12 (local.get $at) (i32.const 2))
                    (i32.store8 offset=13 (local.get $at) (i32.const 1))
                    (i32.store8 offset=16 (local.get $at) (i32.const 1))
                    (i32.store offset=24 (local.get $at) (i32.const 16))
                    (i32.store offset=28 (local.get $at) (i32.const 1))
                    (i32.store8 offset=32 (local.get $at) (i32.const 1))
                    (f64.store offset=40 (local.get $at) (f64.const 0.5))
                    (i32.store8 offset=48 (local.get $at) (i32.const 1))
                    (f64.store offset=56 (local.get $at) (f64.const 0.25))
                    (i32.store offset=72 (local.get $at) (i32.const 8192))
                    (i32.store offset=76 (local.get $at) (i32.const 2000))
                    (local.set $at (i32.add (local.get $at) (i32.const 88)))
                    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                    (br $more))))
            (i32.const 160))
        (func (export "cabi_post_floorhand:plugin/monitoring@0.1.0#observe") (param i32)
            (global.set $heap (i32.const 4096)))
        (func (export "floorhand:plugin/monitoring@0.1.0#snapshot") (result i32)
            (i32.store (i32.const 260) (i32.const 128))
            (i32.store (i32.const 264) (i32.const 4))
            (i32.const 256))
        (func (export "floorhand:plugin/monitoring@0.1.0#restore") (param i32 i32) (result i32) (i32.const 272)))"#
    );
    encode(&text, "monitor")
}

/// Names and shapes at fixed places, and an allocator that is emptied after every sample.
pub(crate) const COMMON: &str = r#"
    (data (i32.const 16) "xy")
    (data (i32.const 32) "\ff\ff\ff\ff")
    (global $heap (mut i32) (i32.const 4096))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
        (global.set $heap (i32.add (local.get $at) (local.get 3)))
        (block $fits
            (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
            (br_if $fits (i32.ne (i32.const -1) (memory.grow
                (i32.add (i32.const 1) (i32.div_u (local.get 3) (i32.const 65536))))))
            (unreachable))
        (local.get $at))
"#;

pub(crate) fn encode(text: &str, world: &str) -> Vec<u8> {
    // Packages at different depths use this file.
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = here.ancestors().map(|folder| folder.join("wit/0.1.0"));
    encode_of(text, world, &folders.find(|folder| folder.is_dir()).unwrap())
}

fn encode_of(text: &str, world: &str, wit: &std::path::Path) -> Vec<u8> {
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .validate(true)
        .encode()
        .unwrap()
}

/// A setup with an asset, under these limits.
pub(crate) fn setup(limits: Limits) -> Setup {
    let asset = Asset {
        name: "a".to_owned(),
        data: vec![1, 2, 3],
    };
    Setup {
        name: "guest".to_owned(),
        config: "{}".to_owned(),
        assets: vec![asset],
        given: vec![],
        limits,
    }
}

pub(crate) fn x(values: &[f32]) -> Tensor {
    Tensor::from_f32("x", vec![values.len() as u64], values).unwrap()
}

pub(crate) const CONTEXT: Context = Context {
    sequence: 7,
    time_ns: 1_700_000_000_000_000_000,
    gap: false,
    key: None,
    id: None,
};
