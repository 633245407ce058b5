//! From WebAssembly to machine code, in this process or, on a device, in one of its own.
//!
//! A compiler is the largest piece of code that a component can drive before any of its limits hold, and the most
//! memory the daemon would ever use. So the daemon starts itself again as a worker: the component goes in at standard
//! input after a header with the limits, the machine code comes out at standard output. The worker limits its own
//! address space and CPU time before it reads the component; its parent keeps the clock and the size of the answer.

use crate::engine::engine;
use crate::{CompileLimits, HostError};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use wasmtime::Engine;

/// Begins a worker's input, before two little-endian 64-bit limits: address space in bytes, CPU time in seconds.
const MAGIC: &[u8; 8] = b"fhcompil";

/// What of a worker's complaint is kept, in bytes: it goes into an error's message.
const MAX_COMPLAINT: u64 = 4 << 10;

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
        Compiler::Subprocess { exe, args } => in_subprocess(exe, args, limits, wasm)?,
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
    match work(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            // Nothing is left to do if the parent doesn't listen.
            drop(writeln!(io::stderr(), "{complaint}"));
            ExitCode::FAILURE
        }
    }
}

fn work(mut input: impl Read, mut output: impl Write) -> Result<(), String> {
    let mut header = [0; 24];
    input
        .read_exact(&mut header)
        .map_err(|error| format!("no header: {error}"))?;
    let ([magic, memory_bytes, cpu_seconds], _) = header.as_chunks::<8>() else {
        return Err("no header".to_owned());
    };
    if magic != MAGIC {
        return Err("this command is for the daemon's own use".to_owned());
    }
    limit(Resource::As, u64::from_le_bytes(*memory_bytes))?;
    limit(Resource::Cpu, u64::from_le_bytes(*cpu_seconds))?;
    limit(Resource::Core, 0)?;
    let mut wasm = Vec::new();
    input
        .take(MAX_WORKER_INPUT)
        .read_to_end(&mut wasm)
        .map_err(|error| format!("no component: {error}"))?;
    let engine = engine().map_err(|error| error.to_string())?;
    let code = engine
        .precompile_component(&wasm)
        .map_err(|error| format!("{error:#}"))?;
    output
        .write_all(&code)
        .and_then(|()| output.flush())
        .map_err(|error| format!("nobody takes the code: {error}"))
}

fn limit(resource: Resource, value: u64) -> Result<(), String> {
    let limit = Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    setrlimit(resource, limit).map_err(|error| format!("no limit for {resource:?}: {error}"))
}

fn in_subprocess(exe: &PathBuf, args: &[OsString], limits: &CompileLimits, wasm: &[u8]) -> Result<Vec<u8>, HostError> {
    let mut command = Command::new(exe);
    // The environment may hold secrets, and the compiler needs none of it.
    command
        .args(args)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| HostError::Worker {
        operation: "start",
        source,
    })?;
    let answer = converse(&mut child, limits, wasm);
    // Whatever came of it, the process is gone before this returns. It may be gone already.
    drop(child.kill());
    let status = child.wait().map_err(|source| HostError::Worker {
        operation: "wait for",
        source,
    })?;
    let (code, complaint) = answer?;
    if status.success() {
        return Ok(code);
    }
    let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
    // A compiler that comes to its limits is ended, and what its runtime says first is the reason, if it says anything.
    let first = complaint.lines().next().unwrap_or_default();
    Err(HostError::Refused(match (status.code(), first) {
        (Some(_), "") => format!("the compiler ended with {status}"),
        (Some(_), _) => complaint,
        (None, "") => format!("the compiler came to its limits and ended with {status}"),
        (None, first) => format!("the compiler came to its limits and ended with {status}: {first}"),
    }))
}

/// Feeds the worker and takes its answer: machine code and complaint. Afterwards the worker may still run.
fn converse(child: &mut Child, limits: &CompileLimits, wasm: &[u8]) -> Result<(Vec<u8>, Vec<u8>), HostError> {
    let missing = || HostError::Worker {
        operation: "speak to",
        source: io::ErrorKind::BrokenPipe.into(),
    };
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    let header = header(limits);
    let (sender, receiver) = mpsc::channel();
    let max = limits.compiled_bytes;
    thread::scope(|scope| {
        // A worker that ends early closes its input; its answer says why.
        scope.spawn(move || drop(stdin.write_all(&header).and_then(|()| stdin.write_all(wasm))));
        let complaint = scope.spawn(|| read_up_to(stderr, MAX_COMPLAINT));
        scope.spawn(move || sender.send(read_up_to(stdout, max + 1)));
        let answer = receiver.recv_timeout(Duration::from_millis(u64::from(limits.compile_ms)));
        if !matches!(&answer, Ok(Ok(code)) if code.len() as u64 <= max) {
            // Ends the other threads too: its pipes close.
            drop(child.kill());
        }
        let code = answer.map_err(|_| HostError::CompileTimeout {
            limit_ms: limits.compile_ms,
        })?;
        let code = code.map_err(|source| HostError::Worker {
            operation: "read from",
            source,
        })?;
        if code.len() as u64 > max {
            return Err(HostError::TooLarge {
                what: "machine code",
                max,
            });
        }
        Ok((code, complaint.join().ok().and_then(Result::ok).unwrap_or_default()))
    })
}

fn header(limits: &CompileLimits) -> [u8; 24] {
    let mut header = [0; 24];
    let cpu_seconds = u64::from(limits.compile_ms.div_ceil(1000)).max(1);
    let fields = [
        *MAGIC,
        limits.compile_memory_bytes.to_le_bytes(),
        cpu_seconds.to_le_bytes(),
    ];
    for (to, from) in header.iter_mut().zip(fields.as_flattened()) {
        *to = *from;
    }
    header
}

fn read_up_to(from: impl Read, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}
