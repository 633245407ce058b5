//! A plugin from nothing to a bundle, the way its author goes; and what is said where something is missing on the way.

use crate::common::{Shop, demo_bundle};
use floorhand_plugin_build::{BuildError, Stamp, Toolchain, c};
use serde_json::Value;
use std::fs;
use std::path::Path;

const WORLDS: [&str; 3] = ["processor", "monitor", "decoder"];

/// Whether a compiler is there; tells why the test is skipped where it isn't.
fn there<T>(found: Result<T, BuildError>) -> bool {
    match found {
        Ok(_) => true,
        Err(error) => {
            eprintln!("skipped: {error}");
            false
        }
    }
}

/// What stands at a place of JSON; null if nothing does.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// Makes, builds and tests a plugin of each world, outside of any workspace.
fn from_new_to_tested(language: &str, shop: &Shop, environment: &[(&str, &Path)]) {
    for world in WORLDS {
        let name = format!("my-{world}");
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-sdk");
        let sdk = sdk.to_str().unwrap();
        shop.run(&[
            "plugin", "new", &name, "--world", world, "--lang", language, "--sdk", sdk,
        ])
        .ok();
        let built = shop
            .run_with(&["--json", "plugin", "build", &name], environment)
            .ok()
            .json();
        assert_eq!(at(&built, "/world"), world);
        let component = format!("{name}/{name}.wasm");
        let tested = shop.run(&["plugin", "test", &name, "--component", &component]);
        assert!(
            tested.stdout.contains(" passed, 0 failed"),
            "{world}: {}{}",
            tested.stdout,
            tested.stderr
        );
        tested.ok();
        let inspected = shop.run(&["--json", "plugin", "inspect", &component]).ok().json();
        assert_eq!(
            (at(&inspected, "/name"), at(&inspected, "/world")),
            (&name.into(), &world.into())
        );
        assert_eq!(
            (at(&inspected, "/version"), at(&inspected, "/interface_version")),
            (&"0.1.0".into(), &"0.1.0".into())
        );
        assert_eq!(at(&inspected, "/schema/additionalProperties"), false);
        assert_eq!(at(&inspected, "/refused_imports"), &serde_json::json!([]));
    }
}

#[test]
fn a_plugin_in_c_from_new_to_tested() {
    if there(c::Compiler::find()) {
        let shop = Shop::new();
        from_new_to_tested("c", &shop, &[]);
        a_wrong_answer_is_found(&shop);
        its_costs_are_measured(&shop);
        recorded_data_is_shown(&shop);
    }
}

#[test]
fn a_plugin_in_rust_from_new_to_tested() {
    let shop = Shop::new();
    if there(Toolchain::find(shop.dir.path())) {
        // One folder for all three: the standard library is built once.
        let target = shop.path("target");
        from_new_to_tested("rust", &shop, &[("CARGO_TARGET_DIR", &target)]);
    }
}

fn a_wrong_answer_is_found(shop: &Shop) {
    let cases = "my-processor/tests/cases/example.jsonl";
    let right = fs::read_to_string(shop.path(cases)).unwrap();
    fs::write(shop.path(cases), right.replace("[[1.5, 15.0]]", "[[1.5, 15.1]]")).unwrap();
    let ran = shop.run(&["plugin", "test", "my-processor"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let expected = "FAILED answers what the cases expect\n         line 3: \"x\" at [0, 1] is 15 and not 15.1";
    assert!(ran.stdout.contains(expected), "{}", ran.stdout);
    fs::write(shop.path(cases), right).unwrap();
    // State that snapshots leave out, and a sample that is refused but counts.
    let source = shop.path("my-processor/src/plugin.c");
    let whole = fs::read_to_string(&source).unwrap();
    let forgetful = whole.replace("started = columns > 0;\n    return true;", "return true;");
    assert_ne!(whole, forgetful);
    fs::write(&source, forgetful).unwrap();
    let ran = shop.run(&["plugin", "test", "my-processor"]);
    assert!(
        ran.stdout.contains("FAILED goes on from a snapshot"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    let hasty = whole.replace(
        "            char *text = floorhand_join",
        "            last[0] += 1.0f;\n            char *text = floorhand_join",
    );
    assert_ne!(whole, hasty);
    fs::write(&source, hasty).unwrap();
    let ran = shop.run(&["plugin", "test", "my-processor"]);
    assert!(
        ran.stdout
            .contains("FAILED a sample that it refuses changes nothing, or is a gap"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    // A compiler's complaint is followed by one line of ours.
    fs::write(&source, whole.replace("static bool started;", "")).unwrap();
    shop.run(&["plugin", "build", "my-processor"]).failed(
        1,
        "error: compiling the plugin failed: see what the compiler says above",
    );
    fs::write(&source, whole).unwrap();
}

fn its_costs_are_measured(shop: &Shop) {
    let costs = shop
        .run(&["--json", "plugin", "bench", "my-processor", "--seconds", "0.05"])
        .ok()
        .json();
    let file = at(&costs, "/files/0");
    for number in [
        at(&costs, "/component_bytes"),
        at(file, "/calls"),
        at(file, "/median_ns"),
        at(file, "/p99_ns"),
    ] {
        assert!(number.as_u64().is_some_and(|number| number > 0), "{costs}");
    }
    // Two pages when it starts, and no more than a device gives it.
    let memory = at(file, "/memory_bytes").as_u64().unwrap();
    assert!(
        (128 << 10..=16 << 20).contains(&memory) && memory.is_multiple_of(64 << 10),
        "{costs}"
    );
}

fn recorded_data_is_shown(shop: &Shop) {
    fs::write(shop.path("data.csv"), "pressure,flow\n1,10\nnone,1\n3,30\n").unwrap();
    let shown = shop
        .run(&["plugin", "dev", "my-processor", "--once", "--data", "data.csv"])
        .ok();
    let shown = shown.stdout;
    assert!(
        shown.contains("x [1, 2] 2, 20") && shown.contains("field \"pressure\" is \"none\""),
        "{shown}"
    );
    let shown = shop.run(&["plugin", "dev", "my-monitor", "--once"]).ok().stdout;
    assert!(shown.contains("alarm: above-limit of temperature"), "{shown}");
}

#[test]
fn what_is_missing_is_said_in_one_line() {
    let shop = Shop::new();
    let one_line = |args: &[&str], environment: &[(&str, &Path)], part: &str| {
        let ran = shop.run_with(args, environment);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        ran.failed(1, part);
    };
    one_line(
        &["plugin", "build"],
        &[],
        "is no plugin: it has neither Cargo.toml nor plugin.toml",
    );
    one_line(
        &["plugin", "new", "My_Filter"],
        &[],
        "lowercase letters, digits and single hyphens",
    );
    one_line(
        &["plugin", "new", "a", "--sdk", "nowhere"],
        &[],
        "--sdk nowhere: neither a version nor a folder",
    );
    one_line(&["plugin", "inspect", "none.wasm"], &[], "none.wasm");
    fs::write(shop.path("text.wasm"), "no component").unwrap();
    one_line(
        &["plugin", "inspect", "text.wasm"],
        &[],
        "text.wasm: this is no WebAssembly component",
    );
    shop.run(&["plugin", "new", "mine", "--lang", "c"]).ok();
    one_line(
        &["plugin", "new", "mine", "--lang", "c"],
        &[],
        "mine is not empty: choose another folder",
    );
    let empty = shop.path("empty");
    fs::create_dir(&empty).unwrap();
    one_line(
        &["plugin", "build", "mine"],
        &[("PATH", &empty)],
        "no C compiler for WebAssembly here: run `apt-get install clang lld`",
    );
    fs::write(shop.path("mine/schema.json"), "{").unwrap();
    one_line(&["plugin", "build", "mine"], &[], "schema.json: the schema is no JSON");
    fs::remove_dir_all(shop.path("mine/tests")).unwrap();
    one_line(
        &["plugin", "test", "mine", "--component", "builtin:standardize"],
        &[],
        "mine/tests/cases has no .jsonl file",
    );
}

/// Needs no compiler: a first-party plugin with another schema.
#[test]
fn pack_and_run_hold_configurations_against_schemas() {
    let shop = Shop::new();
    let bundle = shop.path("bundle");
    fs::create_dir(&bundle).unwrap();
    fs::copy(demo_bundle("v1").join("model.onnx"), bundle.join("model.onnx")).unwrap();
    fs::write(
        bundle.join("golden.jsonl"),
        r#"{"input": {"x": [0, 0, 0, 0, 0, 0, 0, 0, 0]}, "output": {}}"#,
    )
    .unwrap();
    let prebuilt = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/prebuilt/standardize.wasm");
    let stamp = Stamp {
        schema: r#"{"properties": {"input": {"type": "string"}, "mean": {"items": {"type": "number"}}}, "additionalProperties": false}"#
            .to_owned(),
        ..Stamp::default()
    };
    let component = stamp.apply(&fs::read(prebuilt).unwrap()).unwrap();
    fs::write(bundle.join("scale.wasm"), component).unwrap();
    let recipe = "[bundle]\nname = \"bearing\"\nversion = \"1.0.0\"\nrelease_counter = 1\n\
                  [lineage]\nauthor = \"the test\"\n\
                  [[input]]\nname = \"x\"\ndatatype = \"FP32\"\nshape = [1, 9]\n\
                  [[preprocess]]\nname = \"scale\"\nplugin = \"scale.wasm\"\n\
                  config = { input = \"x\", mean = [0, \"low\"], scal = 1 }\n\
                  [model]\nfile = \"model.onnx\"\n[golden]\nfile = \"golden.jsonl\"\n";
    fs::write(bundle.join("bundle.toml"), recipe).unwrap();
    for args in [
        &["bundle", "pack", "bundle"][..],
        &["run", "bundle", "--input", "bundle/golden.jsonl"],
    ] {
        let ran = shop.run(args);
        for part in [
            "config isn't what the plugins' schemas allow:",
            "stage scale: key scal: there is no such key",
            "stage scale: key mean[1]: \"low\" is not of type \"number\"",
        ] {
            assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
        }
        ran.failed(1, "");
    }
}
