//! Golden cases: what passes, and what is refused because it would show nothing.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use floorhand_bundle::{Golden, InputSpec, ModelSpec, PipelineSpec};
use floorhand_pipeline::{Host, HostConfig, Pipeline, model_signature, run_golden};
use std::path::Path;

fn fixture(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read(root.join("tests/skab/fixture/bundle").join(name)).unwrap()
}

/// The fixture's model alone.
fn pipeline() -> Pipeline {
    let signature = model_signature(&fixture("model.onnx")).unwrap();
    let spec = PipelineSpec {
        explain: None,
        decoder: None,
        inputs: vec![InputSpec {
            tensor: signature.inputs.first().unwrap().clone(),
            fields: Vec::new(),
        }],
        preprocess: Vec::new(),
        model: ModelSpec {
            component: "model.onnx".parse().unwrap(),
            signature,
            allow_nan: false,
            engines: Vec::new(),
            state: Vec::new(),
        },
        postprocess: Vec::new(),
        monitors: Vec::new(),
    };
    let host = Host::new(HostConfig::default()).unwrap();
    Pipeline::load(&spec, &mut |name| Ok(fixture(name.as_str())), &host).unwrap()
}

/// The error of cases, or an empty text.
fn run(cases: &str) -> String {
    let golden = Golden {
        component: "golden.jsonl".parse().unwrap(),
        cases: cases.lines().count() as u64,
        tolerance: 1e-4,
        tolerances: Default::default(),
    };
    run_golden(&mut pipeline(), &golden, cases.as_bytes())
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

#[test]
fn cases_have_to_show_something() {
    let input = r#""input": {"x": [[0, 0, 0, 0, 0, 0, 0, 0]]}"#;
    let check = |output: &str, part: &str| {
        let error = run(&format!("{{{input}{output}}}"));
        assert!(
            error.contains(part) && error.is_empty() == part.is_empty(),
            "{output}: {error}"
        );
    };
    check("", "missing field `output`");
    check(r#", "ouput": {"q": [0]}"#, "unknown field `ouput`");
    check(r#", "outputs": [{"q": [0]}]"#, "`outputs` is for a message");
    check(
        r#", "message": "{}", "output": {"q": [0]}"#,
        "has `input` and a message",
    );
    check(r#", "output": {}"#, "names nothing to compare");
    check(r#", "output": null"#, "none is expected yet");
    check(r#", "output": {"z": [0]}"#, "there is no output \"z\"");
    check(r#", "output": {"q": [77]}"#, "expected [77.000000]");
    check(r#", "output": {"q": [NaN]}"#, "golden case 1 is no case");
    let message = run(r#"{"message": "{}", "output": {"q": [0]}}"#);
    assert!(
        message.contains("it is a message, and the bundle has no decoder"),
        "{message}"
    );
    assert!(run("").contains("no golden case has an output"), "{}", run(""));
}
