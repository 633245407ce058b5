//! The agent under a service manager: what it says on the notify socket as a whole daemon, and how it ends.

use anyhow::{Context as _, Result, ensure};
use floorhand_tests::{PATIENCE, Site};
use serde_json::json;
use std::os::unix::net::UnixDatagram;
use std::time::Instant;

/// As `WatchdogSec=2`: the agent has to speak every second.
const WATCHDOG_USEC: &str = "2000000";
/// The longest message of sd_notify(3) that the agent sends.
const MESSAGE_BYTES: usize = 4096;

struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// Waits for a message that has this line, and returns those that came before it.
    fn wait_for(&self, line: &str) -> Result<Vec<String>> {
        let (started, mut heard) = (Instant::now(), Vec::new());
        let mut buffer = [0; MESSAGE_BYTES];
        self.socket.set_read_timeout(Some(PATIENCE))?;
        while started.elapsed() < PATIENCE {
            let length = self
                .socket
                .recv(&mut buffer)
                .with_context(|| format!("no {line}; heard {heard:?}"))?;
            let message = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
            let found = message
                .lines()
                .any(|said| said == line || said.starts_with(line) && line.ends_with('='));
            heard.push(message);
            if found {
                return Ok(heard);
            }
        }
        anyhow::bail!("no {line}; heard {heard:?}")
    }
}

#[test]
fn a_service_manager_hears_of_start_health_reload_and_end() -> Result<()> {
    let site = Site::new()?;
    let path = site.path("notify");
    let manager = Manager {
        socket: UnixDatagram::bind(&path)?,
    };
    let mut agent = site.device("press-1", &json!({}))?;
    agent.start_with(&[
        ("NOTIFY_SOCKET", &path.to_string_lossy()),
        ("WATCHDOG_USEC", WATCHDOG_USEC),
    ])?;
    let before = manager.wait_for("READY=1").with_context(|| agent.tail())?;
    ensure!(before.len() == 1, "something was said before it was ready: {before:?}");
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1")?;
    }
    manager.wait_for("STATUS=serves nothing yet, no hub configured")?;

    agent.process()?.reload()?;
    let reload = manager.wait_for("RELOADING=1")?;
    ensure!(
        reload.iter().any(|said| said.contains("MONOTONIC_USEC=")),
        "systemd takes a reload without its time for a failed one: {reload:?}"
    );
    manager.wait_for("READY=1")?;
    manager.wait_for("WATCHDOG=1")?;

    agent.stop()?;
    manager.wait_for("STOPPING=1").map(drop)
}
