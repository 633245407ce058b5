//! Golden cases that ONNX Runtime answers, `bundle pack --golden-from onnxruntime`, and those of a training script.

use anyhow::{Context as _, Result, ensure};
use floorhand_tests::{python, run, run_ok, workspace};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// The quickstart's bundle without its golden cases.
fn folder() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    for file in fs::read_dir(workspace().join("tests/quickstart/bundle"))? {
        let file = file?.path();
        let name = file.file_name().context("a file has a name")?;
        if name != "golden.jsonl" {
            fs::copy(&file, folder.path().join(name))?;
        }
    }
    Ok(folder)
}

fn arguments(folder: &Path, python: &Path, input: &Path) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    let output = text(&folder.join("out.fhb"));
    let words = [
        "bundle",
        "pack",
        &text(folder),
        "-o",
        &output,
        "--golden-from",
        "onnxruntime",
    ];
    let words = words.into_iter().map(str::to_owned);
    let given = [
        "--golden-input",
        &text(input),
        "--golden-cases",
        "7",
        "--python",
        &text(python),
    ]
    .map(str::to_owned);
    words.chain(given).collect()
}

fn cases(folder: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(folder.join("golden.jsonl"))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[test]
fn cases_are_made_with_onnx_runtime_and_held_against_tract() -> Result<()> {
    let Some(python) = python("import numpy, onnxruntime") else {
        return Ok(());
    };
    let folder = folder()?;
    let input = workspace().join("tests/quickstart/pump.csv");
    let arguments = arguments(folder.path(), &python, &input);
    run_ok(&arguments)?;
    let made = cases(folder.path())?;
    ensure!(made.len() == 7, "{made:?}");
    let recorded = cases(&workspace().join("tests/quickstart/bundle"))?;
    let of = |cases: &[Value], pointer: &str| cases.first().and_then(|case| case.pointer(pointer)).is_some();
    ensure!(
        of(&made, "/input/sensors/3") && of(&made, "/output/probability/0"),
        "{made:?}"
    );
    ensure!(of(&recorded, "/output/probability"), "{recorded:?}");
    // A second time they would be overwritten.
    let again = run(&arguments)?;
    ensure!(
        again.code != Some(0) && again.stderr.contains("remove it to have it made"),
        "{again:?}"
    );
    // One that is bent is found when tract runs it.
    let text = fs::read_to_string(folder.path().join("golden.jsonl"))?;
    let bent = text.replacen("\"probability\":[0.", "\"probability\":[1.", 1);
    ensure!(bent != text, "{text}");
    fs::write(folder.path().join("golden.jsonl"), bent)?;
    let refused = run(&["bundle", "pack", &folder.path().display().to_string()])?;
    ensure!(
        refused.code != Some(0) && refused.stderr.contains("golden case 1"),
        "{refused:?}"
    );
    Ok(())
}

/// Moves a model's weights into a file beside it, as exporters do with large ones.
const SAVE_APART: &str = "import onnx, sys; model = onnx.load(sys.argv[1]); \
                          onnx.save_model(model, sys.argv[1], save_as_external_data=True, location=sys.argv[2], size_threshold=0)";

/// A bundle is whole: the weights that a model keeps in a file beside it are packed into it, and its golden cases are those of both.
#[test]
fn weights_beside_a_model_are_packed_into_it() -> Result<()> {
    let Some(python) = python("import numpy, onnx, onnxruntime") else {
        return Ok(());
    };
    let folder = folder()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let whole = fs::read(folder.path().join("model.onnx"))?;
    let apart = Command::new(&python)
        .args(["-c", SAVE_APART, &path("model.onnx"), "weights.bin"])
        .output()?;
    ensure!(apart.status.success(), "{}", String::from_utf8_lossy(&apart.stderr));
    let weights = fs::read(folder.path().join("weights.bin"))?;
    let model = fs::read(folder.path().join("model.onnx"))?;
    ensure!(!weights.is_empty() && model != whole, "nothing was moved");
    let input = workspace().join("tests/quickstart/pump.csv");
    let pack = arguments(folder.path(), &python, &input);

    fs::remove_file(folder.path().join("weights.bin"))?;
    let refused = run(&pack)?;
    ensure!(
        refused.code == Some(1) && refused.stderr.contains("weights.bin"),
        "{refused:?}"
    );
    fs::write(folder.path().join("weights.bin"), &weights[1..])?;
    let refused = run(&pack)?;
    ensure!(
        refused.code == Some(1) && refused.stderr.contains("weights.bin"),
        "{refused:?}"
    );

    fs::write(folder.path().join("weights.bin"), weights)?;
    run_ok(&pack)?;
    ensure!(cases(folder.path())?.len() == 7, "its golden cases are made of both");
    // What is packed needs neither.
    fs::remove_file(folder.path().join("weights.bin"))?;
    let answers = |bundle: &str, output: &str| -> Result<Vec<Value>> {
        let input = input.display().to_string();
        run_ok(&[
            "run",
            bundle,
            "--input",
            &input,
            "--rows",
            "50",
            "--output",
            &path(output),
        ])?;
        let text = fs::read_to_string(path(output))?;
        let outputs = |line: &str| Ok(serde_json::from_str::<Value>(line)?.pointer("/outputs").cloned());
        let found = text.lines().map(outputs).collect::<Result<Vec<_>>>()?;
        found.into_iter().map(|outputs| outputs.context("outputs")).collect()
    };
    let packed = answers(&path("out.fhb"), "packed.jsonl")?;
    ensure!(packed.len() == 50, "{} of 50", packed.len());
    fs::write(folder.path().join("model.onnx"), whole)?;
    let expected = answers(&folder.path().display().to_string(), "whole.jsonl")?;
    ensure!(packed == expected, "the answers of the packed one are others");
    Ok(())
}

/// An answer that is off by 0.02 passes by a tolerance of its own output, and not by that of another.
#[test]
fn a_tolerance_is_that_of_its_output() -> Result<()> {
    let folder = folder()?;
    let mut recorded = cases(&workspace().join("tests/quickstart/bundle"))?;
    let number = |case: &Value| case.pointer("/output/probability/0/0").and_then(Value::as_f64);
    let first = recorded.first_mut().context("no case")?;
    let off = number(first).context("it has no such answer")? + 0.02;
    *first.pointer_mut("/output/probability/0/0").context("no such answer")? = off.into();
    let lines = recorded.iter().map(|case| format!("{case}\n"));
    fs::write(folder.path().join("golden.jsonl"), lines.collect::<String>())?;
    let recipe = fs::read_to_string(folder.path().join("bundle.toml"))?;
    let pack = |tolerance: &str| {
        let changed = recipe.replace("tolerance = 1e-4", tolerance);
        ensure!(tolerance == "tolerance = 1e-4" || changed != recipe, "{recipe}");
        fs::write(folder.path().join("bundle.toml"), changed)?;
        let output = folder.path().join("out.fhb").display().to_string();
        let ended = run(&["bundle", "pack", &folder.path().display().to_string(), "-o", &output])?;
        Ok((ended.code == Some(0), ended.stderr))
    };
    let (passes, told) = pack("tolerance = 1e-4")?;
    ensure!(!passes && told.contains("golden case 1"), "{told}");
    let (passes, told) = pack("tolerance = 1e-4\ntolerances = { probability = 0.05 }")?;
    ensure!(passes, "{told}");
    let (passes, told) = pack("tolerance = 0.05\ntolerances = { probability = 1e-4 }")?;
    ensure!(!passes && told.contains("golden case 1"), "{told}");
    Ok(())
}

#[test]
fn what_is_missing_is_said_with_what_to_do() -> Result<()> {
    let folder = folder()?;
    let input = workspace().join("tests/quickstart/pump.csv");
    let check = |python: &str, input: &Path, expected: &str| -> Result<()> {
        let ended = run(&arguments(folder.path(), Path::new(python), input))?;
        ensure!(ended.code != Some(0) && ended.stderr.contains(expected), "{ended:?}");
        ensure!(!folder.path().join("golden.jsonl").exists(), "something was written");
        Ok(())
    };
    check("/nowhere/python", &input, "name a Python with --python")?;
    check("false", &input, "has no ONNX Runtime")?;
    if let Some(python) = python("import numpy, onnxruntime") {
        check(
            &python.display().to_string(),
            Path::new("/nowhere.csv"),
            "can't be read",
        )?;
    }
    Ok(())
}

/// A training script's part: the helper, with the answers that scikit-learn gave.
const SCRIPT: &str = "
import json, sys
sys.path.insert(0, sys.argv[1])
import floorhand, numpy
recorded = [json.loads(line) for line in open(sys.argv[2])]
floorhand.write_golden(
    sys.argv[3],
    inputs={'sensors': numpy.array([case['input']['sensors'] for case in recorded], numpy.float32)},
    outputs={'probability': numpy.array([case['output']['probability'] for case in recorded])},
)";

#[test]
fn the_python_helper_writes_cases_that_pack_takes() -> Result<()> {
    let Some(python) = python("import numpy") else {
        return Ok(());
    };
    let (folder, root) = (folder()?, workspace());
    let check = |command: &mut Command| -> Result<()> {
        let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    let mut tests = Command::new(&python);
    check(
        tests
            .arg(root.join("tests/python/test_floorhand.py"))
            .arg(folder.path()),
    )?;
    let mut script = Command::new(&python);
    script.args(["-c", SCRIPT]).arg(root.join("packaging/python"));
    script.arg(root.join("tests/quickstart/bundle/golden.jsonl"));
    check(script.arg(folder.path().join("golden.jsonl")))?;
    let output = folder.path().join("out.fhb").display().to_string();
    run_ok(&["bundle", "pack", &folder.path().display().to_string(), "-o", &output])?;
    Ok(())
}
