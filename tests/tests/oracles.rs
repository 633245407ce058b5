//! Recorded cases are what other libraries give: every script that wrote some makes them again and compares.
//!
//! Scripts are found, not listed: `oracle.py` in the tests of each first-party plugin, `oracle*.py` in those of the
//! statistics, of the models' operators and of the explanations. All of them together take a minute and a half of CPU time, so none is left out. What is: the
//! section `mel` of `oracle_transforms.py`, which needs librosa, and that is left out of tests/python/requirements.txt for its size.

use anyhow::{Context as _, Result, ensure};
use floorhand_testkit::shared_data;
use floorhand_tests::{python, workspace};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// All that the scripts import.
const IMPORTS: &str = "import google.protobuf, numpy, onnx, onnxruntime, pandas, river, scipy, sklearn";

/// What those of the explanations import.
const SHAP: &str = "import shap, sklearn, onnxruntime";

/// Of a script that isn't run whole the sections that are.
const SECTIONS: [(&str, &[&str]); 1] = [(
    "oracle_transforms.py",
    &[
        "f_distribution",
        "image",
        "pca",
        "rolling",
        "softmax",
        "spectrum",
        "zscore",
    ],
)];

/// Files of a folder and those below with the time of their last change.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, SystemTime>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(self::files(&entry.path())?);
        } else {
            files.insert(entry.path(), entry.metadata()?.modified()?);
        }
    }
    Ok(files)
}

/// The scripts in a folder of tests.
fn scripts(tests: &Path) -> Result<Vec<PathBuf>> {
    let is_oracle = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("oracle") && name.ends_with(".py")
    };
    let scripts: Vec<_> = files(tests)?.into_keys().filter(is_oracle).collect();
    ensure!(!scripts.is_empty(), "{} has no oracle.py", tests.display());
    Ok(scripts)
}

/// Makes a script's cases again; `given` stands in front of what every script takes.
fn check(python: &Path, script: &Path, given: &[&Path]) -> Result<()> {
    let tests = script.parent().context("a script lies in a folder")?;
    let before = files(tests)?;
    let name = script.file_name().unwrap_or_default();
    let sections = SECTIONS.iter().filter(|(partial, _)| name == *partial);
    let output = Command::new(python)
        .arg(script)
        .args(given)
        .arg("--check")
        .args(sections.flat_map(|(_, sections)| *sections))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()?;
    ensure!(
        output.status.success(),
        "{}: {}{}",
        script.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    // One that doesn't know `--check` writes what it made, and would find no difference ever.
    ensure!(
        before == files(tests)?,
        "{} writes files with --check",
        script.display()
    );
    Ok(())
}

/// Makes the cases of several folders of tests again, and tells of all that differ.
fn check_all(folders: &[PathBuf]) -> Result<()> {
    let mut all = Vec::new();
    for tests in folders {
        all.extend(scripts(tests)?);
    }
    let Some(python) = python(IMPORTS) else {
        return Ok(());
    };
    let checked = all.iter().map(|script| check(&python, script, &[]));
    let differences: Vec<String> = checked
        .filter_map(|checked| checked.err().map(|error| format!("{error:#}")))
        .collect();
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

#[test]
fn the_statistics_cases_are_those_of_other_libraries() -> Result<()> {
    check_all(&[workspace().join("crates/statistics/tests")])
}

#[test]
fn the_operators_cases_are_those_of_onnx_runtime() -> Result<()> {
    check_all(&[workspace().join("crates/inference/tests")])
}

#[test]
fn the_explanations_cases_are_those_of_shap() -> Result<()> {
    let Some(python) = python(SHAP) else {
        return Ok(());
    };
    for script in scripts(&workspace().join("crates/explanation/tests"))? {
        check(&python, &script, &[])?;
    }
    let Some(models) = shared_data("models") else {
        return Ok(());
    };
    check(
        &python,
        &workspace().join("tests/python/explain/record_shap.py"),
        &[&models],
    )
}

#[test]
fn the_plugins_cases_are_those_of_other_libraries() -> Result<()> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(workspace().join("plugins"))? {
        let folder = entry?.path();
        if folder.join("Cargo.toml").is_file() {
            folders.push(folder.join("tests"));
        }
    }
    folders.sort();
    ensure!(!folders.is_empty(), "no plugins");
    check_all(&folders)
}
