//! Runs cases in another process, since one may bring its process down or never come back.
//!
//! The other process is this program again, with one test of it that judges cases ([`judge_here`]). It tells of each as
//! it ends; where it ends itself, another goes on behind.

use crate::cases::{Case, Folder};
use crate::judge::Verdict;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// The other process's folder of cases.
const FOLDER: &str = "FLOORHAND_PROOF_CASES";

/// The first case that it judges.
const FROM: &str = "FLOORHAND_PROOF_FROM";

/// What stands before a verdict in what the other process prints.
const MARK: &str = "verdict: ";

/// For one case: a node test takes milliseconds, ten thousand rows some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Judges every case in other processes, as many as it takes; `test` is the name of the test there.
pub(crate) fn judge_apart(folder: &Folder, test: &str) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    while verdicts.len() < folder.cases.len() {
        let mut runner = Runner::start(test, folder.path(), verdicts.len());
        while verdicts.len() < folder.cases.len() {
            match runner.next() {
                Ok(verdict) => verdicts.push(verdict),
                Err(end) => {
                    verdicts.push(Verdict::Crashed(end));
                    break;
                }
            }
        }
    }
    verdicts
}

/// The other process, and what it tells.
struct Runner {
    child: Child,
    lines: Receiver<String>,
}

impl Runner {
    fn start(test: &str, folder: &Path, from: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(FOLDER, folder)
            .env(FROM, from.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                if let Some(verdict) = line.strip_prefix(MARK) {
                    drop(sender.send(verdict.to_owned()));
                }
            }
        });
        Self { child, lines }
    }

    /// The next case's verdict. An error is how the process ended without one.
    fn next(&mut self) -> Result<Verdict, String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(serde_json::from_str(&line).unwrap()),
            Err(RecvTimeoutError::Timeout) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            Err(RecvTimeoutError::Disconnected) => Err(self.child.wait().unwrap().to_string()),
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Judges cases if this is the other process.
pub(crate) fn judge_here(judge: impl Fn(&Folder, &Case) -> Verdict) {
    let (Some(folder), Ok(from)) = (std::env::var_os(FOLDER), std::env::var(FROM)) else {
        return;
    };
    let folder = Folder::open(Path::new(&folder));
    for case in &folder.cases[from.parse().unwrap()..] {
        let verdict = judge(&folder, case);
        eprintln!("{MARK}{}", serde_json::to_string(&verdict).unwrap());
    }
}
