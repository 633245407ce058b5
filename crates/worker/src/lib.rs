//! A part of a program in a process of its own: bytes in, bytes out, within limits on memory and time.
//!
//! What is large, and driven by bytes that somebody else made, can end the process that it runs in: a compiler, or an
//! engine that optimises a model. So a daemon starts itself again as a worker. Limits and input go in at standard input, the answer comes out at
//! standard output. The worker limits its own address space and CPU time before it reads its input, and is the first that Linux ends when memory is
//! used up; its parent keeps the clock and the size of the answer. What memory it took is given back when it ends.
//!
//! Knows nothing of what is worked on. It keeps no worker: each is started for one piece of work.
//!
//! # Testing
//!
//! `examples/worker.rs` is the smallest program that is a worker; `tests/limits.rs` lets it come to each limit.

use rustix::process::{Resource, Rlimit, setrlimit};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// What of a worker's complaint is kept, in bytes: it goes into an error's message.
const MAX_COMPLAINT: u64 = 4 << 10;

/// Bytes in front of the input: what work it is for, the address space in bytes, the CPU time in seconds.
const HEADER: usize = 24;

/// The signal that nothing outlives.
const SIGKILL: i32 = 9;

/// How long after its CPU time is over a worker ends that didn't end by SIGXCPU.
const HARD_AFTER_SECONDS: u64 = 5;

/// Names a kind of work, so that a worker refuses what isn't meant for it.
pub type Work = [u8; 8];

/// A program that is a worker when it is started with these arguments: it calls [`serve`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The program, usually the one that is running.
    pub exe: PathBuf,
    /// Its arguments, by which it knows that it is a worker, and for what.
    pub args: Vec<OsString>,
}

/// What a worker may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Address space, in bytes.
    pub memory_bytes: u64,
    /// Time on the clock, in milliseconds; as CPU time, rounded up to seconds, the worker limits itself to the same.
    pub time_ms: u32,
    /// The answer, in bytes.
    pub answer_bytes: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The process can't be started or spoken to.
    #[error("{operation} the worker: {source}")]
    Process {
        /// What was tried: start, speak to, read from, wait for.
        operation: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// It took too long and was ended.
    #[error("not done after {limit_ms} ms")]
    Timeout {
        /// The limit.
        limit_ms: u32,
    },
    /// More than was to come.
    #[error("the answer is over the limit of {max} bytes")]
    AnswerTooLarge {
        /// The limit.
        max: u64,
    },
    /// The work itself failed; its own words.
    #[error("{0}")]
    Refused(String),
    /// It ended with SIGKILL, which is none of its own limits: those of CPU time and of address space end it in other ways.
    #[error(
        "the system ended it ({status}), as it does when the memory of the machine, or of the service's budget (MemoryMax= of its \
         unit), is used up"
    )]
    Killed {
        /// How it ended.
        status: ExitStatus,
    },
    /// It ended without an answer, as one does that comes to its limits.
    #[error("ended with {status}: {said}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// The first line that it said, if any: what its runtime says first is the reason.
        said: String,
    },
}

impl WorkerError {
    fn process(operation: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Process { operation, source }
    }
}

/// Has a worker do a piece of work. `input` is given in parts, to be one behind the other.
pub fn run(program: &Program, work: &Work, limits: &Limits, input: &[&[u8]]) -> Result<Vec<u8>, WorkerError> {
    let mut command = Command::new(&program.exe);
    // The environment may hold secrets, and the work needs none of it.
    command
        .args(&program.args)
        .env_clear()
        // Where a library's own libraries are is no secret, and the same for both.
        .envs(std::env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(WorkerError::process("start"))?;
    let answer = converse(&mut child, &header(work, limits), limits, input);
    // Whatever came of it, the process is gone before this returns. It may be gone already.
    drop(child.kill());
    let status = child.wait().map_err(WorkerError::process("wait for"))?;
    let (answer, complaint) = answer?;
    if status.success() {
        return Ok(answer);
    }
    let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
    let said = complaint.lines().next().unwrap_or_default().to_owned();
    Err(match (status.code(), status.signal()) {
        (Some(_), _) if !said.is_empty() => WorkerError::Refused(complaint),
        (_, Some(SIGKILL)) => WorkerError::Killed { status },
        _ => WorkerError::Ended { status, said },
    })
}

/// Feeds the worker and takes its answer and its complaint. Afterwards the worker may still run.
fn converse(
    child: &mut Child,
    header: &[u8],
    limits: &Limits,
    input: &[&[u8]],
) -> Result<(Vec<u8>, Vec<u8>), WorkerError> {
    let missing = || WorkerError::process("speak to")(io::ErrorKind::BrokenPipe.into());
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    let (sender, receiver) = mpsc::channel();
    let max = limits.answer_bytes;
    thread::scope(|scope| {
        // A worker that ends early closes its input; its answer says why.
        scope.spawn(move || {
            let mut parts = std::iter::once(header).chain(input.iter().copied());
            drop(parts.try_for_each(|part| stdin.write_all(part)));
        });
        let complaint = scope.spawn(|| read_up_to(stderr, MAX_COMPLAINT));
        scope.spawn(move || sender.send(read_up_to(stdout, max + 1)));
        let answer = receiver.recv_timeout(Duration::from_millis(u64::from(limits.time_ms)));
        if !matches!(&answer, Ok(Ok(bytes)) if bytes.len() as u64 <= max) {
            // Ends the other threads too: its pipes close.
            drop(child.kill());
        }
        let answer = answer.map_err(|_| WorkerError::Timeout {
            limit_ms: limits.time_ms,
        })?;
        let answer = answer.map_err(WorkerError::process("read from"))?;
        if answer.len() as u64 > max {
            return Err(WorkerError::AnswerTooLarge { max });
        }
        Ok((answer, complaint.join().ok().and_then(Result::ok).unwrap_or_default()))
    })
}

fn header(work: &Work, limits: &Limits) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let cpu_seconds = u64::from(limits.time_ms.div_ceil(1000)).max(1);
    let fields = [*work, limits.memory_bytes.to_le_bytes(), cpu_seconds.to_le_bytes()];
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

/// What a worker process does: takes limits and input from standard input, limits itself, does the work, and writes the
/// answer to standard output. Input over `max_input` bytes isn't read, whoever the parent is. Exits with 0, or with 1 and
/// the reason on standard error.
#[must_use]
pub fn serve(work: &Work, max_input: u64, run: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, String>) -> ExitCode {
    let done = take(work, max_input, io::stdin().lock())
        .and_then(run)
        .and_then(|answer| {
            let mut output = io::stdout().lock();
            let written = output.write_all(&answer).and_then(|()| output.flush());
            written.map_err(|error| format!("nobody takes the answer: {error}"))
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            // Nothing is left to do if the parent doesn't listen.
            drop(writeln!(io::stderr(), "{complaint}"));
            ExitCode::FAILURE
        }
    }
}

/// Limits this process as its parent says, and takes its input.
fn take(work: &Work, max_input: u64, mut from: impl Read) -> Result<Vec<u8>, String> {
    let mut header = [0; HEADER];
    from.read_exact(&mut header)
        .map_err(|error| format!("no header: {error}"))?;
    let ([kind, memory_bytes, cpu_seconds], _) = header.as_chunks::<8>() else {
        return Err("no header".to_owned());
    };
    if kind != work {
        return Err("this command is for the program's own use".to_owned());
    }
    let (memory_bytes, cpu_seconds) = (u64::from_le_bytes(*memory_bytes), u64::from_le_bytes(*cpu_seconds));
    limit(Resource::As, memory_bytes, memory_bytes)?;
    // With a hard limit of the same it would end by SIGKILL, as one does that the system has no memory for.
    limit(
        Resource::Cpu,
        cpu_seconds,
        cpu_seconds.saturating_add(HARD_AFTER_SECONDS),
    )?;
    limit(Resource::Core, 0, 0)?;
    // Where memory is used up this is what has to go, and not its parent. No system without the file needs it.
    drop(std::fs::write("/proc/self/oom_score_adj", "1000"));
    let mut input = Vec::new();
    from.take(max_input)
        .read_to_end(&mut input)
        .map_err(|error| format!("no input: {error}"))?;
    Ok(input)
}

fn limit(resource: Resource, soft: u64, hard: u64) -> Result<(), String> {
    let limit = Rlimit {
        current: Some(soft),
        maximum: Some(hard),
    };
    setrlimit(resource, limit).map_err(|error| format!("no limit for {resource:?}: {error}"))
}

/// The most memory that this process has had resident, in bytes; none where the system doesn't tell.
#[must_use]
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}
