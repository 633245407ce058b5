//! Extism, timed in a process of its own: it brings a Wasmtime of another version, and is no part of this workspace.

use anyhow::{Context as _, Result, anyhow};
use floorhand_tests::workspace;
use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Where it is built, in this workspace's target directory.
const PROGRAM: &str = "extism/release/floorhand-bench-extism";

/// The process. It ends with this.
pub(crate) struct Extism {
    pipes: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
    child: Child,
}

impl Extism {
    /// Starts it; where it isn't built, that is told.
    pub(crate) fn start_or_skip() -> Result<Option<Self>> {
        let own = std::env::current_exe()?;
        let target = own
            .ancestors()
            .nth(3)
            .context("the bench stands in no target directory")?;
        let program = target.join(PROGRAM);
        if !program.is_file() {
            let manifest = workspace().join("tests/benches/extism/Cargo.toml");
            println!(
                "Skipped Extism: `cargo build --release --locked --manifest-path {} --target-dir {}` has not been run.\n",
                manifest.display(),
                target.join("extism").display()
            );
            return Ok(None);
        }
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let stdin = child.stdin.take().context("no standard input")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let extism = Self {
            pipes: RefCell::new((stdin, BufReader::new(stdout))),
            child,
        };
        extism.line()?;
        Ok(Some(extism))
    }

    /// Times so many calls of `echo` or `standardize`: of a plugin as Extism comes, or limited in memory and time.
    pub(crate) fn time(&self, limits: &str, guest: &str, values: usize, calls: u64) -> Result<Duration> {
        writeln!(self.pipes.borrow_mut().0, "{limits} {guest} {values} {calls}")?;
        let nanoseconds = self.line()?.trim().parse::<u64>();
        Ok(Duration::from_nanos(nanoseconds.context("no time")?))
    }

    fn line(&self) -> Result<String> {
        let mut line = String::new();
        match self.pipes.borrow_mut().1.read_line(&mut line)? {
            0 => Err(anyhow!("the Extism process has ended: see what it says above")),
            _ => Ok(line),
        }
    }
}

impl Drop for Extism {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
