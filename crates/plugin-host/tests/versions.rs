//! Within a track an old plugin runs on a new host, and a new plugin on an old host as long as it uses nothing new.
//!
//! Plugins are built against `wit/0.1.0`, which is frozen. `wit-extended` is the draft as a later version of the track could
//! be: with a function more in `host` and an interface more in the package.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]

#[expect(dead_code, reason = "other tests use the rest")]
mod guests;

use floorhand_plugin_host::{Host, HostConfig, HostError, Limits, Processor};
use guests::{CONTEXT, setup, x};
use std::collections::BTreeSet;
use std::path::Path;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store};

mod extended {
    wasmtime::component::bindgen!({
        path: "tests/wit-extended",
        world: "processor",
    });
}

use extended::exports::floorhand::plugin::processing::TensorSpec;
use extended::floorhand::plugin::host::{self, Level};
use extended::floorhand::plugin::types::{self, Context, Datatype, Tensor};

/// The folder of a frozen version, or of the draft, `next`.
fn wit(version: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit").join(version)
}

/// A host of the later version, with its further function.
struct Later;

impl types::Host for Later {}

impl host::Host for Later {
    fn log(&mut self, _level: Level, _message: String) {}
    fn counter(&mut self, _name: String, _increment: u64) {}
    fn gauge(&mut self, _name: String, _value: f64) {}
    fn histogram(&mut self, _name: String, _value: f64) {}
}

/// Records, variants, enums and functions of a text, each with all that is said in it but comments. A component carries
/// their shape: not even an addition to one is possible.
fn shapes(text: &str) -> BTreeSet<String> {
    let code = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().trim());
    let code = code.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    // What opens a place that may be added to, and the name of that place, so that nothing moves unseen.
    let (mut shapes, mut place) = (BTreeSet::new(), String::new());
    let mut rest = code.as_str();
    while let Some(at) = rest.find(['{', ';', '}']) {
        let (head, mark) = (rest[..at].trim().to_owned(), rest.as_bytes()[at]);
        rest = &rest[at + 1..];
        match mark {
            b'{' if head.starts_with("interface ") || head.starts_with("world ") => place = head,
            b'{' => {
                // A shape's own body; lists of `use` have one, too.
                let (body, behind) = rest.split_once('}').unwrap();
                shapes.insert(format!("{place}: {head} {{{body}}}"));
                rest = behind.strip_prefix(';').unwrap_or(behind);
            }
            b';' if !head.starts_with("package ") => drop(shapes.insert(format!("{place}: {head}"))),
            _ => {}
        }
    }
    shapes
}

fn check_additions_alone(earlier: &str, later: &str) -> Result<(), String> {
    let later = shapes(later);
    match shapes(earlier).iter().find(|shape| !later.contains(*shape)) {
        Some(shape) => Err(format!("this is gone or has changed: {shape}")),
        None => Ok(()),
    }
}

#[test]
fn the_draft_changes_nothing_that_is_released() {
    let released = std::fs::read_to_string(wit("0.1.0").join("plugin.wit")).unwrap();
    let draft = std::fs::read_to_string(wit("next").join("plugin.wit")).unwrap();
    let extended = include_str!("wit-extended/plugin.wit");
    assert_eq!(check_additions_alone(&released, &draft), Ok(()));
    assert_eq!(check_additions_alone(&draft, extended), Ok(()));
    assert_eq!(
        shapes(extended).len(),
        shapes(&draft).len() + 2,
        "it has two functions more"
    );
    // What would break plugins that are in the field.
    for (from, to) in [
        ("gap: bool,", "gap: bool, late: bool,"),
        ("not-ready(string),", ""),
        ("increment: u64", "increment: s64"),
        (
            "export decoding;",
            "export decoding; export flushing;\n}\nworld other {",
        ),
        ("interface monitoring {", "interface watching {"),
    ] {
        let changed = draft.replacen(from, to, 1);
        assert_ne!(changed, draft, "{from}");
        let found = check_additions_alone(&released, &changed);
        assert_eq!(found.is_err(), !from.starts_with("export"), "{from}: {found:?}");
    }
}

/// The component in `plugins/prebuilt` was built against this version; the host here is a later one.
#[test]
fn a_plugin_of_this_version_runs_on_a_later_host() {
    let mut config = Config::new();
    config.wasm_component_model(true);
    let engine = Engine::new(&config).unwrap();
    let wasm = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/prebuilt/standardize.wasm"));
    let component = Component::new(&engine, wasm.unwrap()).unwrap();
    let mut linker = Linker::<Later>::new(&engine);
    extended::Processor::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |later| later).unwrap();
    let mut store = Store::new(&engine, Later);
    let plugin = extended::Processor::instantiate(&mut store, &component, &linker).unwrap();
    let processing = plugin.floorhand_plugin_processing();
    let config = r#"{"input": "x", "mean": [1], "scale": [2]}"#;
    let signature = processing.call_configure(&mut store, config, &[], &[] as &[TensorSpec]);
    assert_eq!(signature.unwrap().unwrap().inputs[0].name, "x");
    let context = Context {
        sequence: 0,
        time_ns: 0,
        gap: true,
        key: None,
        id: None,
    };
    let input = Tensor {
        datatype: Datatype::Fp32,
        shape: vec![1, 1, 1],
        data: 3_f32.to_le_bytes().to_vec(),
    };
    let outcome = processing
        .call_process(&mut store, &[context], &[input])
        .unwrap()
        .unwrap();
    assert_eq!(outcome.answers[0].tensors[0].data, 1_f32.to_le_bytes());
}

#[test]
fn a_plugin_of_a_later_version_runs_here_if_it_uses_nothing_new() {
    let later = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wit-extended");
    let host = Host::new(HostConfig::default()).unwrap();
    let plugin = host.component(&guests::Processor::default().component_of(&later, "0.1.9"));
    let mut processor = Processor::start(&plugin.unwrap(), setup(Limits::default())).unwrap();
    let outputs = processor.process(&CONTEXT, &[x(&[1.0])]).unwrap();
    assert_eq!(outputs, [x(&[1.0]).renamed("y")]);
    let newer = guests::Processor {
        imports: r#"(import "floorhand:plugin/host@0.1.0" "histogram" (func $histogram (param i32 i32 f64)))"#,
        ..Default::default()
    };
    let error = host.component(&newer.component_of(&later, "0.1.9")).unwrap_err();
    assert!(
        matches!(&error, HostError::World(text) if text.contains("histogram")),
        "{error}"
    );
}

#[test]
fn a_plugin_of_another_track_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let released = std::fs::read_to_string(wit("0.1.0").join("plugin.wit")).unwrap();
    let other = released.replace("plugin@0.1.0;", "plugin@0.2.0;");
    std::fs::write(folder.path().join("plugin.wit"), other).unwrap();
    let host = Host::new(HostConfig::default()).unwrap();
    let plugin = guests::Processor::default().component_of(folder.path(), "0.2.0");
    let error = host.component(&plugin).unwrap_err().to_string();
    assert!(
        error.contains("floorhand:plugin/") && error.contains("@0.2.0"),
        "{error}"
    );
    assert!(error.contains("this agent has version 0.1.0"), "{error}");
}
