//! What a script wrote: models with inputs and the outputs that are expected of them.
//!
//! The layout is told in `tests/python/models/cases.py`.

use floorhand_tensor::{Datatype, Tensor};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Where a Python is named.
const PYTHON: &str = "FLOORHAND_PYTHON";

/// With it a test that can't use Python fails instead of being skipped.
const REQUIRE_PYTHON: &str = "FLOORHAND_REQUIRE_PYTHON";

/// What the scripts import.
const IMPORTS: &str = "import lightgbm, numpy, onnx, onnxmltools, onnxruntime, pandas, skl2onnx, sklearn, xgboost";

/// The index of a folder of cases.
#[derive(Debug, Deserialize)]
pub(crate) struct Index {
    pub(crate) cases: Vec<Case>,
}

/// A model with inputs and expected outputs.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) inputs: Vec<Entry>,
    pub(crate) outputs: Vec<Entry>,
    /// Outputs that are as right as those.
    pub(crate) also: Vec<Entry>,
    /// Of a node test: the operator that it tests.
    #[serde(default)]
    pub(crate) operator: String,
    /// Of a node test: how far an output may be from the expected one, relative to that.
    #[serde(default)]
    pub(crate) rtol: f64,
    /// Of a node test: how far it may be in any case.
    #[serde(default)]
    pub(crate) atol: f64,
    /// Of a node test: only the type and shape of the outputs are given.
    #[serde(default)]
    pub(crate) random: bool,
}

/// Where a tensor lies in its case's data.
#[derive(Debug, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// A [`Datatype`]'s name, or that of something else.
    pub(crate) datatype: String,
    /// Absent for what isn't a tensor.
    pub(crate) shape: Option<Vec<u64>>,
    #[serde(default)]
    offset: usize,
    #[serde(default)]
    length: usize,
}

impl Entry {
    /// The tensor. An error says that none can be it.
    pub(crate) fn tensor(&self, data: &[u8]) -> Result<Tensor, String> {
        self.part(data, self.shape.clone(), 0..self.length)
    }

    /// Row `row` alone, as a tensor of one row.
    pub(crate) fn row(&self, data: &[u8], row: usize) -> Result<Tensor, String> {
        let mut shape = self.shape.clone().unwrap_or_default();
        let rows = usize::try_from(shape[0]).unwrap();
        shape[0] = 1;
        let range = if self.datatype == "BYTES" {
            strings(&data[self.offset..][..self.length], row, rows)
        } else {
            let size = self.length / rows;
            size * row..size * (row + 1)
        };
        self.part(data, Some(shape), range)
    }

    fn part(&self, data: &[u8], shape: Option<Vec<u64>>, range: std::ops::Range<usize>) -> Result<Tensor, String> {
        let Ok(datatype) = self.datatype.parse::<Datatype>() else {
            return Err(format!("{:?} is {}, which no tensor is", self.name, self.datatype));
        };
        let shape = shape.ok_or_else(|| format!("{:?} has no shape", self.name))?;
        let bytes = data[self.offset..][range].to_vec();
        Tensor::new(&self.name, datatype, shape, bytes).map_err(|error| error.to_string())
    }
}

/// Where in `data` the strings of a row lie, each of them with its length before it.
fn strings(data: &[u8], row: usize, rows: usize) -> std::ops::Range<usize> {
    let mut starts = vec![0];
    let mut at = 0;
    while at < data.len() {
        at += 4 + u32::from_le_bytes(data[at..at + 4].try_into().unwrap()) as usize;
        starts.push(at);
    }
    let columns = (starts.len() - 1) / rows;
    starts[row * columns]..starts[(row + 1) * columns]
}

/// A folder of cases.
pub(crate) struct Folder {
    path: PathBuf,
    pub(crate) cases: Vec<Case>,
    /// Removes it, where this process made it.
    _made: Option<TempDir>,
}

impl Folder {
    /// Runs a script of `tests/python/models`. None, and a line that says so, without a Python for it.
    pub(crate) fn made_by(script: &str, arguments: &[&Path]) -> Option<Self> {
        let python = python()?;
        let script = workspace().join("tests/python/models").join(script);
        let made = tempfile::tempdir().unwrap();
        let output = Command::new(python)
            .arg(&script)
            .arg(made.path())
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // Others run beside it.
            .env("OMP_NUM_THREADS", "1")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}: {}{}",
            script.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let mut folder = Self::open(made.path());
        folder._made = Some(made);
        Some(folder)
    }

    pub(crate) fn open(path: &Path) -> Self {
        let index = std::fs::read(path.join("index.json")).unwrap();
        let Index { cases } = serde_json::from_slice(&index).unwrap();
        assert!(!cases.is_empty(), "no cases in {}", path.display());
        Self {
            path: path.to_owned(),
            cases,
            _made: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn model(&self, case: &Case) -> Vec<u8> {
        std::fs::read(self.path.join(format!("{}.onnx", case.name))).unwrap()
    }

    pub(crate) fn data(&self, case: &Case) -> Vec<u8> {
        std::fs::read(self.path.join(format!("{}.bin", case.name))).unwrap()
    }
}

/// The workspace's root.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn python() -> Option<PathBuf> {
    let python = std::env::var_os(PYTHON).map_or_else(|| "python3".into(), PathBuf::from);
    let tried = Command::new(&python).args(["-c", IMPORTS]).output();
    if tried.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(
        std::env::var_os(REQUIRE_PYTHON).is_none(),
        "{} can't do {IMPORTS:?}, and {REQUIRE_PYTHON} is set",
        python.display()
    );
    eprintln!("SKIPPED: needs a Python with what tests/python/requirements.txt names ({PYTHON})");
    None
}
