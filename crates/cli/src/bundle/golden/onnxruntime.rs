//! ONNX Runtime in a Python of the person's own, as an engine: what golden cases are made with.
//!
//! Owns the child process. The model goes to it as a file, tensors as bytes through its standard input and output.

use crate::exit::Failure;
use anyhow::{Context as _, Result};
use floorhand_pipeline::{Engine, InferenceError, LoadOptions, Session, Tract};
use floorhand_tensor::{Signature, Tensor};
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What Python runs.
const PROGRAM: &str = include_str!("onnxruntime.py");
/// The longest line that it tells: names and shapes of outputs.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// The largest output that is taken.
const MAX_TENSOR_BYTES: usize = 128 << 20;
/// How much of what Python says about a failure is shown.
const SHOWN: usize = 400;

/// A Python that has ONNX Runtime.
#[derive(Debug)]
pub(super) struct OnnxRuntime {
    python: PathBuf,
    pub(super) version: String,
}

impl OnnxRuntime {
    /// Asks a Python for ONNX Runtime.
    pub(super) fn find(python: &Path) -> Result<Self> {
        let program = "import numpy, onnxruntime; print(onnxruntime.__version__)";
        let output = Command::new(python).args(["-c", program]).output();
        let name = python.display();
        let output = output.with_context(|| format!("{name} can't be started; name a Python with --python"))?;
        if output.status.success() {
            return Ok(Self {
                python: python.to_owned(),
                version: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            });
        }
        let said = last_line(&output.stderr);
        Err(Failure::refused(format!(
            "{name} has no ONNX Runtime ({said}); run `{name} -m pip install onnxruntime`, or name another Python with --python"
        ))
        .into())
    }
}

fn last_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let line = text
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no message");
    line.chars().take(SHOWN).collect()
}

impl Engine for OnnxRuntime {
    fn name(&self) -> &str {
        "ONNX Runtime"
    }

    /// Loads the model in tract, too: for its signature, and because no device could run what tract refuses.
    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Session>, InferenceError> {
        let signature = Tract.load(onnx, options)?.signature().clone();
        Python::start(&self.python, onnx, signature)
            .map(|python| Box::new(python) as Box<dyn Session>)
            .map_err(|error| InferenceError::Engine {
                engine: self.name().to_owned(),
                reason: format!("{error:#}"),
            })
    }
}

/// A model in a Python process.
#[derive(Debug)]
struct Python {
    signature: Signature,
    child: Child,
    asked: ChildStdin,
    told: BufReader<ChildStdout>,
    /// Holds the model as long as the process may read it.
    _model: tempfile::NamedTempFile,
    /// What it complains of. No pipe: nobody reads it until the end, and warnings would fill it.
    complaints: tempfile::NamedTempFile,
}

#[derive(Serialize)]
struct Asked<'a> {
    inputs: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: &'a [u64],
    bytes: usize,
}

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    outputs: Vec<Output>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    datatype: String,
    shape: Vec<u64>,
    bytes: usize,
}

impl Python {
    fn start(python: &Path, onnx: &[u8], signature: Signature) -> Result<Self> {
        let mut model = tempfile::NamedTempFile::new().context("the model can't be written for Python")?;
        model.write_all(onnx).context("the model can't be written for Python")?;
        let complaints = tempfile::NamedTempFile::new().context("no file for what Python says")?;
        let mut command = Command::new(python);
        command.args(["-c", PROGRAM]).arg(model.path());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints.reopen().context("no file for what Python says")?)
            .spawn()
            .context("Python can't be started")?;
        let asked = child.stdin.take().context("Python has no input")?;
        let told = BufReader::new(child.stdout.take().context("Python has no output")?);
        let mut python = Self {
            signature,
            child,
            asked,
            told,
            _model: model,
            complaints,
        };
        python.line()?;
        Ok(python)
    }

    /// The next line that it tells; what it complained of if there is none.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.told.by_ref().take(MAX_LINE_BYTES).read_line(&mut line)?;
        if line.ends_with('\n') {
            return Ok(line);
        }
        // What it says at its end stands there before its output is closed.
        drop(self.child.kill());
        drop(self.child.wait());
        let mut said = Vec::new();
        self.complaints.reopen()?.take(MAX_LINE_BYTES).read_to_end(&mut said)?;
        Err(Failure::refused(last_line(&said)).into())
    }

    fn ask(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let wanted = &self.signature.inputs;
        let given: Vec<&Tensor> = inputs
            .iter()
            .filter(|tensor| wanted.iter().any(|spec| spec.name == tensor.name()))
            .collect();
        let entries = given.iter().map(|tensor| Entry {
            name: tensor.name(),
            datatype: tensor.datatype().name(),
            shape: tensor.shape(),
            bytes: tensor.data().len(),
        });
        let asked = Asked {
            inputs: entries.collect(),
        };
        serde_json::to_writer(&mut self.asked, &asked)?;
        self.asked.write_all(b"\n")?;
        for tensor in given {
            self.asked.write_all(tensor.data())?;
        }
        self.asked.flush()?;
        let told: Told = serde_json::from_str(&self.line()?)?;
        if let Some(error) = told.error {
            return Err(Failure::refused(error).into());
        }
        told.outputs.into_iter().map(|output| self.output(output)).collect()
    }

    fn output(&mut self, output: Output) -> Result<Tensor> {
        anyhow::ensure!(
            output.bytes <= MAX_TENSOR_BYTES,
            "output {:?} is too large",
            output.name
        );
        let mut data = vec![0; output.bytes];
        self.told.read_exact(&mut data)?;
        Ok(Tensor::new(output.name, output.datatype.parse()?, output.shape, data)?)
    }
}

impl Session for Python {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, InferenceError> {
        self.ask(inputs).map_err(|error| InferenceError::Engine {
            engine: "ONNX Runtime".to_owned(),
            reason: format!("{error:#}"),
        })
    }

    fn warm_up(&mut self) -> Result<(), InferenceError> {
        Ok(())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
