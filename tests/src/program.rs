//! The program under test: found beside the tests, run to its end or in the background.

use crate::say;
use anyhow::{Context as _, Result, ensure};
use floorhand_testkit::eventually;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Settings of whoever runs the tests that would reach the program.
const SETTINGS: [&str; 9] = [
    "FLOORHAND_AGENT_CONFIG",
    "FLOORHAND_HUB",
    "FLOORHAND_HUB_CA",
    "FLOORHAND_HUB_DATABASE",
    "FLOORHAND_LOG",
    "FLOORHAND_ONNXRUNTIME",
    "FLOORHAND_TOKEN",
    "JOURNAL_STREAM",
    "NOTIFY_SOCKET",
];
/// A daemon drains its queues for some 15 s at most when it is told to end.
const END_WITHIN: Duration = Duration::from_secs(40);
/// Between two looks at another process, where a look starts a process itself.
const PAUSE: Duration = Duration::from_millis(100);
/// Lines of a log that are shown when something goes wrong.
const TAIL_LINES: usize = 40;

/// Where the program is: in the folder of the build that these tests belong to.
///
/// # Errors
/// When it has not been built. `cargo test` for this package alone doesn't build it.
pub fn floorhand() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the test's own file can't be found")?;
    let profile = own
        .parent()
        .and_then(Path::parent)
        .context("the test stands in no target directory")?;
    let program = profile.join("floorhand");
    ensure!(
        program.is_file(),
        "{} has not been built: run `cargo xtask test`, or `cargo build --workspace --bins` before this test",
        program.display()
    );
    Ok(program)
}

fn command<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Command> {
    Ok(command_of(&floorhand()?, arguments))
}

fn command_of<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    for name in SETTINGS {
        command.env_remove(name);
    }
    command
}

/// How the program ended, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs the program to its end.
///
/// # Errors
/// When it can't be started. Any exit code is fine.
pub fn run<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Ended> {
    run_with(arguments, &[])
}

/// The same with settings in its environment.
///
/// # Errors
/// When it can't be started. Any exit code is fine.
pub fn run_with<S: AsRef<OsStr>>(arguments: &[S], settings: &[(&str, &str)]) -> Result<Ended> {
    let mut command = command(arguments)?;
    let output = command
        .envs(settings.iter().copied())
        .output()
        .context("floorhand can't be started")?;
    Ok(Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs the program, which has to end well; returns its standard output.
///
/// # Errors
/// When it ends with another code than 0, with what it said.
pub fn run_ok<S: AsRef<OsStr>>(arguments: &[S]) -> Result<String> {
    let ended = run(arguments)?;
    let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
    ensure!(
        ended.code == Some(0),
        "floorhand {} ended with {:?}\n{}{}",
        words.join(" "),
        ended.code,
        ended.stdout,
        ended.stderr
    );
    Ok(ended.stdout)
}

/// Set where there is a Python with all requirements: then a test that can't use it fails instead of being skipped.
const REQUIRE_PYTHON: &str = "FLOORHAND_REQUIRE_PYTHON";

/// A Python that can do these imports: the one in `FLOORHAND_PYTHON`, or the system's. Where there is none it is told.
///
/// # Panics
/// When there is none and `FLOORHAND_REQUIRE_PYTHON` is set.
#[must_use]
pub fn python(imports: &str) -> Option<PathBuf> {
    let python = std::env::var_os("FLOORHAND_PYTHON").map_or_else(|| "python3".into(), PathBuf::from);
    let tried = Command::new(&python).args(["-c", imports]).output();
    if tried.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(
        std::env::var_os(REQUIRE_PYTHON).is_none(),
        "{} can't do {imports:?}, and {REQUIRE_PYTHON} is set",
        python.display()
    );
    say("SKIPPED: needs a Python with what tests/python/requirements.txt names (FLOORHAND_PYTHON)");
    None
}

/// Asks a Python where its package onnxruntime has the library.
const WHERE: &str = "import glob, os, onnxruntime; \
                     print(glob.glob(os.path.join(os.path.dirname(onnxruntime.__file__), 'capi', 'libonnxruntime.so.*'))[0], end='')";

/// ONNX Runtime's library, as the Python package has it; none without one, as [`python`] says.
///
/// # Errors
/// When the package has none.
pub fn onnxruntime_library() -> Result<Option<String>> {
    let Some(python) = python("import onnxruntime") else {
        return Ok(None);
    };
    let asked = Command::new(python).args(["-c", WHERE]).output()?;
    ensure!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    Ok(Some(String::from_utf8(asked.stdout)?))
}

/// Looks until there is something to see. It blocks: in an async test call it from the test's own function, which runs
/// beside the runtime's workers.
///
/// # Errors
/// When there is nothing within the time, or a look fails.
pub fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(seen) = look().with_context(|| format!("waiting for {what}"))? {
            return Ok(seen);
        }
        ensure!(started.elapsed() < within, "no {what} within {} s", within.as_secs());
        std::thread::sleep(PAUSE);
    }
}

/// The program in the background. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts it; what it prints is appended to `log`.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start<S: AsRef<OsStr>>(log: &Path, arguments: &[S]) -> Result<Self> {
        Self::start_program(&floorhand()?, log, arguments)
    }

    /// Starts another program in the same way.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_program<S: AsRef<OsStr>>(program: &Path, log: &Path, arguments: &[S]) -> Result<Self> {
        Self::start_command(command_of(program, arguments), log)
    }

    /// Starts the program with settings of its own.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_with<S: AsRef<OsStr>>(log: &Path, arguments: &[S], settings: &[(&str, &str)]) -> Result<Self> {
        let mut command = command(arguments)?;
        command.envs(settings.iter().copied());
        Self::start_command(command, log)
    }

    fn start_command(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{} can't be started", command.get_program().display()))?;
        Ok(Self {
            log: log.to_owned(),
            child,
        })
    }

    /// Waits until it ends by itself; returns its exit code, `None` when a signal ended it.
    ///
    /// # Errors
    /// When it goes on for longer; then it is killed.
    pub fn wait(&mut self, within: Duration) -> Result<Option<i32>> {
        let mut status = None;
        let ended = eventually(within, || {
            status = self.child.try_wait().unwrap_or_default();
            status.is_some()
        });
        if !ended {
            self.kill()?;
        }
        let status = status.with_context(|| format!("it went on for {} s\n{}", within.as_secs(), self.tail()))?;
        Ok(status.code())
    }

    /// Sends SIGTERM and waits; returns its exit code.
    ///
    /// # Errors
    /// When it doesn't end; then it is killed.
    pub fn stop(&mut self) -> Result<Option<i32>> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.wait(END_WITHIN)
    }

    /// Sends SIGHUP.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn reload(&self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::HUP)?)
    }

    /// Ends it at once, as a power cut would.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The process's id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// All that it and its predecessors have printed.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of its log, for messages.
    #[must_use]
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(TAIL_LINES);
        format!(
            "{} ends:\n{}",
            self.log.display(),
            lines.get(from..).unwrap_or_default().join("\n")
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.kill());
    }
}
