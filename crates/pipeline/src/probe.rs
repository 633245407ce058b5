//! Loading a model for the first time: in a process of its own, within limits on memory and time.
//!
//! An engine that analyses and optimises a model can't be interrupted, and what it takes for that isn't known before. So a
//! [worker](floorhand_worker) loads the model and runs it once. What comes back is the signature, the memory and the time,
//! or why it is refused; only then is it loaded in this process. Tells nothing of a model that this process has loaded before:
//! whoever asks decides which are probed.

use floorhand_bundle::Digest;
use floorhand_inference::{Engine, InferenceError, LoadOptions, MAX_MODEL_BYTES, Session, Tract};
use floorhand_tensor::Signature;
use floorhand_worker::{Limits, Program, Work, WorkerError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What a worker is told that it is for.
const WORK: &Work = b"fhmodel2";

/// A verdict names every tensor of a signature, each of some tens of bytes; refusals go another way.
const MAX_VERDICT: u64 = 1 << 20;

/// What goes in front of a model, of which shapes are the most.
const MAX_TASK: usize = 1 << 20;

/// What an engine, or the runtime, says that gets no memory.
const NO_MEMORY: [&str; 5] = [
    "failed to allocate",
    "Failed to allocate",
    "bad_alloc",
    "memory allocation of",
    "Cannot allocate memory",
];

/// The signal that ends a process that has had all its CPU time, SIGXCPU.
const OUT_OF_TIME: Option<i32> = Some(24);

/// Verdicts that are kept: those of a bundle that is being packed and run.
const KEPT: usize = 8;

/// What loading a model may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelLimits {
    /// Address space of the process that loads it first, in bytes. Default: 1 GiB. A model may have 128 MiB, of which three
    /// copies exist at once while it loads, and 128 MiB a tensor; the program itself has some 100 MiB of address space.
    pub memory_bytes: u64,
    /// Time, on the clock and of the CPU, in milliseconds. Default: 60,000. Models for devices load within a second, and
    /// within some seconds on the smallest.
    pub load_ms: u32,
}

impl Default for ModelLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            load_ms: 60_000,
        }
    }
}

/// What came of loading a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What the model takes and gives.
    pub signature: Signature,
    /// The most memory that the process had resident, in bytes.
    pub peak_bytes: u64,
    /// The time from the model's bytes to its first answer, in milliseconds.
    pub load_ms: u64,
    /// Whether it runs several samples together, which has been tried within the limits, too.
    pub together: bool,
}

/// Loads models in a process of its own.
#[derive(Debug)]
pub struct Probe {
    program: Program,
    limits: ModelLimits,
    passed: Mutex<VecDeque<Passed>>,
}

/// A model that can be loaded, and in what.
#[derive(Debug)]
struct Passed {
    model: Digest,
    library: Option<PathBuf>,
    asked: LoadOptions,
    verdict: Verdict,
}

/// What a worker is told in front of a model.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    shapes: BTreeMap<String, Vec<u64>>,
    /// The library of its engine; without one tract.
    library: Option<PathBuf>,
}

impl Probe {
    /// One whose `program` calls [`probe_worker`].
    #[must_use]
    pub fn new(program: Program, limits: ModelLimits) -> Self {
        Self {
            program,
            limits,
            passed: Mutex::default(),
        }
    }

    /// What becomes of a model that is loaded in tract. The last ones that passed are remembered.
    pub fn model(&self, onnx: &[u8], options: &LoadOptions) -> Result<Verdict, InferenceError> {
        self.model_in(None, onnx, options)
    }

    /// The same in the engine of this library, or in tract without one.
    pub fn model_in(
        &self,
        library: Option<&Path>,
        onnx: &[u8],
        options: &LoadOptions,
    ) -> Result<Verdict, InferenceError> {
        if onnx.len() > MAX_MODEL_BYTES {
            return Err(InferenceError::ModelTooLarge { bytes: onnx.len() });
        }
        let digest = Digest::of(onnx);
        if let Some(verdict) = self.passed(digest, library, options) {
            return Ok(verdict);
        }
        let task = Task {
            shapes: options.shapes.clone(),
            library: library.map(Path::to_owned),
        };
        let task = serde_json::to_vec(&task).map_err(|error| {
            InferenceError::Probe(format!("load the model: its worker can't be told what to do: {error}"))
        })?;
        let length = u32::try_from(task.len()).unwrap_or(u32::MAX).to_le_bytes();
        let limits = Limits {
            memory_bytes: self.limits.memory_bytes,
            time_ms: self.limits.load_ms,
            answer_bytes: MAX_VERDICT,
        };
        let answer = floorhand_worker::run(&self.program, WORK, &limits, &[&length, &task, onnx]);
        let answer = answer.map_err(|error| self.refusal(error))?;
        let verdict: Verdict = serde_json::from_slice(&answer).map_err(|error| {
            InferenceError::Probe(format!("load the model: its worker said something else: {error}"))
        })?;
        tracing::debug!(
            peak_bytes = verdict.peak_bytes,
            load_ms = verdict.load_ms,
            "a model can be loaded"
        );
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.push_front(Passed {
            model: digest,
            library: library.map(Path::to_owned),
            asked: options.clone(),
            verdict: verdict.clone(),
        });
        passed.truncate(KEPT);
        Ok(verdict)
    }

    fn passed(&self, model: Digest, library: Option<&Path>, options: &LoadOptions) -> Option<Verdict> {
        let passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &Passed| known.asked == *options || LoadOptions::of(&known.verdict.signature) == *options;
        let found = passed
            .iter()
            .find(|known| known.model == model && known.library.as_deref() == library && same(known))?;
        Some(found.verdict.clone())
    }

    fn refusal(&self, error: WorkerError) -> InferenceError {
        let ModelLimits { memory_bytes, load_ms } = self.limits;
        let slow = || {
            InferenceError::Probe(format!(
                "load the model: it isn't done after {} s, which loading a model may take (load_timeout_s); make it \
                 smaller, or allow it more",
                load_ms.div_ceil(1000)
            ))
        };
        let large = |reason: &str| {
            InferenceError::Probe(format!(
                "load the model: it needs more memory than the {} MiB that loading a model may take (memory_bytes); make it \
                 smaller, or allow it more ({reason})",
                memory_bytes >> 20
            ))
        };
        match error {
            WorkerError::Refused(reason) if NO_MEMORY.iter().any(|words| reason.contains(words)) => large(&reason),
            WorkerError::Refused(reason) => InferenceError::Probe(reason),
            WorkerError::Timeout { .. } => slow(),
            // What a limit on CPU time ends says nothing.
            WorkerError::Ended { status, said } if said.is_empty() && status.signal() == OUT_OF_TIME => slow(),
            WorkerError::Ended { status, said } if NO_MEMORY.iter().any(|words| said.contains(words)) => {
                large(&format!("{status}: {said}"))
            }
            other => InferenceError::Probe(format!("load the model: {other}")),
        }
    }
}

/// An engine behind a [`Probe`]: a model is loaded in this process once one of its own has loaded it in the same engine.
#[derive(Debug)]
pub(crate) struct Probed {
    pub(crate) probe: Arc<Probe>,
    /// tract, or one that has a library.
    pub(crate) engine: Arc<dyn Engine>,
}

impl Engine for Probed {
    fn name(&self) -> &str {
        self.engine.name()
    }

    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Session>, InferenceError> {
        let verdict = self.probe.model_in(self.library(), onnx, options)?;
        let mut session = self.engine.load(onnx, options)?;
        if !verdict.together {
            // Perhaps for want of memory within the limits.
            session.expect_batches(false);
        }
        Ok(session)
    }

    fn library(&self) -> Option<&Path> {
        self.engine.library()
    }
}

/// What a worker process does: loads the model that it is handed and runs it once, within the limits in front of it. `open`
/// gives the engine of a library.
#[must_use]
pub fn probe_worker(open: impl FnOnce(&Path) -> Result<Arc<dyn Engine>, String>) -> ExitCode {
    let most = MAX_MODEL_BYTES + MAX_TASK + size_of::<u32>();
    floorhand_worker::serve(WORK, most as u64, |input| {
        // A panic of the engine's comes back as its refusal; a report of it in front would be what the parent reads.
        std::panic::set_hook(Box::new(|_| {}));
        let started = Instant::now();
        let (task, onnx) = parts(&input).ok_or_else(|| "no model".to_owned())?;
        let Task { shapes, library } = serde_json::from_slice(task).map_err(|error| error.to_string())?;
        let engine = library.map_or_else(|| Ok(Arc::new(Tract) as Arc<dyn Engine>), |library| open(&library))?;
        let mut model = engine
            .load(onnx, &LoadOptions { shapes })
            .map_err(|error| error.to_string())?;
        model.warm_up().map_err(|error| error.to_string())?;
        // What an agent that takes requests does, too: planning for several is as much work as loading, and may take more memory.
        model.expect_batches(true);
        let verdict = Verdict {
            signature: model.signature().clone(),
            peak_bytes: floorhand_worker::peak_memory_bytes().unwrap_or(0),
            load_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            together: model.runs_together(),
        };
        serde_json::to_vec(&verdict).map_err(|error| error.to_string())
    })
}

/// The task and the model, which stand behind the task's length.
fn parts(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = input.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::ExitStatus;

    #[test]
    fn how_a_worker_ended_is_told_as_it_was() {
        let program = Program {
            exe: PathBuf::from("/nowhere"),
            args: Vec::new(),
        };
        let probe = Probe::new(program, ModelLimits::default());
        let check = |signal, said: &str, expected: &str| {
            let said = said.to_owned();
            let status = ExitStatus::from_raw(signal);
            let told = probe.refusal(WorkerError::Ended { status, said }).to_string();
            assert!(told.contains(expected), "{told}");
        };
        check(24, "", "isn't done after 60 s");
        check(11, "", "ended with signal: 11");
        check(
            6,
            "memory allocation of 5 bytes failed",
            "needs more memory than the 1024 MiB",
        );
        check(
            6,
            "terminate called: std::bad_alloc",
            "needs more memory than the 1024 MiB",
        );
        check(6, "free(): invalid pointer", "free(): invalid pointer");
        let status = ExitStatus::from_raw(9);
        let told = probe.refusal(WorkerError::Killed { status }).to_string();
        assert!(
            told.starts_with("load the model: the system ended it (signal: 9"),
            "{told}"
        );
    }
}
