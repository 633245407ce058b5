//! The demo's processes: this very program, started again as broker, hub and agents.

use anyhow::{Context, Result};
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that is told to end has this long before it is ended.
const TERM_WAIT: Duration = Duration::from_secs(8);

/// A running process. It is ended when this is dropped.
pub(super) struct Process {
    name: String,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Starts this program with other arguments; what it prints goes to `dir/NAME.log`.
    pub(super) fn start(dir: &Path, name: &str, arguments: &[&str]) -> Result<Self> {
        let mut process = Self {
            name: name.to_owned(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            log: dir.join(format!("{name}.log")),
            child: None,
        };
        process.restart()?;
        Ok(process)
    }

    /// Starts it again after [`Process::stop`].
    pub(super) fn restart(&mut self) -> Result<()> {
        let exe = std::env::current_exe().context("this program's own file can't be found")?;
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(exe);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(
            command
                .spawn()
                .with_context(|| format!("{} can't be started", self.name))?,
        );
        Ok(())
    }

    /// Ends it in order, and by force when that takes too long.
    pub(super) fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        terminate(&child);
        let started = Instant::now();
        while started.elapsed() < TERM_WAIT {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(child.kill());
        drop(child.wait());
    }

    /// Tells it to end, without waiting for that.
    pub(super) fn ask_to_end(&self) {
        if let Some(child) = &self.child {
            terminate(child);
        }
    }

    /// Says so when it has ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        match child.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("{} has ended ({status}): {}", self.name, last_line(&self.log)),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The last that a process said: the folder with its log may be gone when somebody reads the message.
fn last_line(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().next_back().unwrap_or("it said nothing").to_owned()
}

/// SIGTERM, so that it can drain; what it was started with is ended by [`Process::stop`] in any case.
fn terminate(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// A port of this machine that nobody listens on at this moment.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
