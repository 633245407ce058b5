//! The statistics' recorded cases are what other libraries give: they are made again and compared.

use anyhow::{Result, ensure};
use floorhand_tests::{python, workspace};
use std::process::Command;

/// Makes cases again by a script of the statistics.
fn check(script: &str, sections: &[&str], imports: &str) -> Result<()> {
    let Some(python) = python(imports) else {
        return Ok(());
    };
    let output = Command::new(python)
        .arg(workspace().join("crates/statistics/tests").join(script))
        .arg("--check")
        .args(sections)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()?;
    ensure!(
        output.status.success(),
        "{script}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn distances_are_scipys() -> Result<()> {
    check("oracle_distances.py", &[], "import numpy, scipy")
}

#[test]
fn alarms_are_rivers() -> Result<()> {
    check("oracle_detectors.py", &[], "import numpy, river")
}

#[test]
fn transforms_are_those_of_pandas_scikit_learn_scipy_and_onnx_runtime() -> Result<()> {
    let sections = [
        "f_distribution",
        "image",
        "pca",
        "rolling",
        "softmax",
        "spectrum",
        "zscore",
    ];
    let imports = "import numpy, onnx, onnxruntime, pandas, scipy, sklearn";
    check("oracle_transforms.py", &sections, imports)
}
