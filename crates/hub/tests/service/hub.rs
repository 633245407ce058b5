//! The program, and what people ask it over HTTP.

use crate::PATIENCE;
use crate::fixture::{key, root, write_key};
use floorhand_testkit::{eventually, free_port};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The running program. It is killed when dropped.
pub(crate) struct Hub {
    child: Child,
    pub(crate) http: u16,
    pub(crate) dir: tempfile::TempDir,
}

impl Hub {
    /// Starts it with these lines of configuration, and waits until it answers.
    pub(crate) fn start(lines: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), lines)
    }

    pub(crate) fn start_in(dir: tempfile::TempDir, lines: &str) -> Self {
        Self::start_asking(dir, lines, |http| {
            ureq::get(format!("http://127.0.0.1:{http}/healthz")).call().is_ok()
        })
    }

    /// The same over TLS, as somebody asks who trusts its certificate.
    pub(crate) fn start_over_tls(lines: &str, agent: &ureq::Agent) -> Self {
        let asked = |http| agent.get(format!("https://localhost:{http}/healthz")).call().is_ok();
        Self::start_asking(tempfile::tempdir().unwrap(), lines, asked)
    }

    fn start_asking(dir: tempfile::TempDir, lines: &str, answers: impl Fn(u16) -> bool) -> Self {
        let http = free_port().unwrap();
        let mut text = String::new();
        writeln!(
            text,
            "fleet = 'plant-a'\nassignment_key = 'assignment.pem'\ntrust_root = 'root.cose'"
        )
        .unwrap();
        writeln!(text, "http_listen = '127.0.0.1:{http}'\n{lines}").unwrap();
        std::fs::write(dir.path().join("hub.toml"), text).unwrap();
        write_key(&dir.path().join("assignment.pem"), 2);
        std::fs::write(dir.path().join("root.cose"), root().envelope()).unwrap();
        let child = program(dir.path()).spawn().unwrap();
        let hub = Self { child, http, dir };
        let ready = eventually(PATIENCE, || answers(http));
        assert!(ready, "the hub didn't start: {}", hub.log());
        hub
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    fn try_get(&self, path: &str) -> Result<String, ureq::Error> {
        ureq::get(self.url(path)).call()?.body_mut().read_to_string()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        serde_json::from_str(
            &self
                .try_get(path)
                .unwrap_or_else(|error| panic!("{path}: {error}: {}", self.log())),
        )
        .unwrap()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let sent = ureq::post(self.url(path))
            .header("content-type", "application/json")
            .send(body.to_string());
        serde_json::from_str(&sent.unwrap().body_mut().read_to_string().unwrap()).unwrap()
    }

    pub(crate) fn register(&self, device: &str) {
        let body = json!({"public_key_pem": key(9).public().to_pem().unwrap()}).to_string();
        let url = self.url(&format!("/api/v1/devices/{device}"));
        ureq::put(url)
            .header("content-type", "application/json")
            .send(body)
            .unwrap();
    }

    pub(crate) fn ingest(&self, bytes: &[u8]) -> String {
        let mut answer = ureq::post(self.url("/api/v1/bundles")).send(bytes).unwrap();
        let bundle: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        bundle["digest"].as_str().unwrap().to_owned()
    }

    /// Sends it SIGHUP.
    pub(crate) fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }

    /// Asks it to end, and gives its exit code and its directory.
    pub(crate) fn terminate(mut self) -> (Option<i32>, tempfile::TempDir) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut code = None;
        let ended = eventually(PATIENCE, || match self.child.try_wait().unwrap() {
            Some(status) => {
                code = status.code();
                true
            }
            None => false,
        });
        assert!(ended, "{}", self.log());
        (code, std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap()))
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn program(dir: &Path) -> Command {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_floorhand-hub"));
    command
        .arg("--config")
        .arg(dir.join("hub.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command
}
