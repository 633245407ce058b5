//! From WebAssembly to machine code, in this process or, on a device, in one of its own.
//!
//! A compiler is the largest piece of code that a component can drive before any of its limits hold, and the most
//! memory the daemon would ever use. So a [worker](floorhand_worker) does it: the component goes in, machine code comes out.

use crate::engine::engine;
use crate::{CompileLimits, HostError};
use floorhand_worker::{Limits, Program, Work, WorkerError};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use wasmtime::Engine;

/// What a worker is told that it is for.
const WORK: &Work = b"fhcompil";

/// A worker refuses longer input, in bytes, whoever its parent is.
const MAX_WORKER_INPUT: u64 = 256 << 20;

/// Where components are compiled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Compiler {
    /// In this process: only the size of what goes in and comes out is limited. For tools, where somebody sits by.
    #[default]
    InProcess,
    /// In a process of its own, within all of [`CompileLimits`].
    Subprocess {
        /// The program, usually the one that is running; it has to call [`compile_worker`].
        exe: PathBuf,
        /// Its arguments, by which it knows that it is a worker.
        args: Vec<OsString>,
    },
}

/// Compiles a component that has been found to be one.
pub(crate) fn compile(
    engine: &Engine,
    compiler: &Compiler,
    limits: &CompileLimits,
    wasm: &[u8],
) -> Result<Vec<u8>, HostError> {
    let code = match compiler {
        Compiler::InProcess => engine
            .precompile_component(wasm)
            .map_err(|error| HostError::Refused(format!("{error:#}")))?,
        Compiler::Subprocess { exe, args } => in_subprocess(exe.clone(), args.clone(), limits, wasm)?,
    };
    if code.len() as u64 > limits.compiled_bytes {
        return Err(HostError::TooLarge {
            what: "machine code",
            max: limits.compiled_bytes,
        });
    }
    Ok(code)
}

/// What a worker process does: reads limits and a component from standard input, writes machine code to standard output.
/// Exits with 0, or with 1 and one line on standard error.
#[must_use]
pub fn compile_worker() -> ExitCode {
    floorhand_worker::serve(WORK, MAX_WORKER_INPUT, |wasm| {
        let engine = engine().map_err(|error| error.to_string())?;
        engine.precompile_component(&wasm).map_err(|error| format!("{error:#}"))
    })
}

fn in_subprocess(exe: PathBuf, args: Vec<OsString>, limits: &CompileLimits, wasm: &[u8]) -> Result<Vec<u8>, HostError> {
    let limits = Limits {
        memory_bytes: limits.compile_memory_bytes,
        time_ms: limits.compile_ms,
        answer_bytes: limits.compiled_bytes,
    };
    let code = floorhand_worker::run(&Program { exe, args }, WORK, &limits, &[wasm]);
    code.map_err(|error| match error {
        WorkerError::Process { operation, source } => HostError::Worker { operation, source },
        WorkerError::Timeout { limit_ms } => HostError::CompileTimeout { limit_ms },
        WorkerError::AnswerTooLarge { max } => HostError::TooLarge {
            what: "machine code",
            max,
        },
        WorkerError::Refused(complaint) => HostError::Refused(complaint),
        WorkerError::Killed { .. } => HostError::Refused(format!("the compiler was ended: {error}")),
        WorkerError::Ended { status, said } => HostError::Refused(match (status.code(), said.as_str()) {
            (Some(_), _) => format!("the compiler ended with {status}"),
            (None, "") => format!("the compiler came to its limits and ended with {status}"),
            (None, said) => format!("the compiler came to its limits and ended with {status}: {said}"),
        }),
    })
}
