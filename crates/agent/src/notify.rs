//! What the service manager is told, by sd_notify(3), and how it is known that the agent's threads still come round.
//!
//! Without a service manager (no `NOTIFY_SOCKET`) all of it does nothing. Nothing here decides what to do about a thread
//! that is stuck: who asks [`Heartbeat::stale`] keeps the watchdog's message back, and the service manager acts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

/// The agent is up: `systemctl start` returns.
pub(crate) fn ready() {
    send(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] ends it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // systemd takes a reload without this time for a failed one.
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the service manager isn't told of the reload"),
    }
}

/// The agent is ending.
pub(crate) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// A line for `systemctl status`.
pub(crate) fn status(line: &str) {
    // A line break would begin another assignment.
    send(&[NotifyState::Status(&line.replace(['\n', '\r'], " "))]);
}

/// All is well, as of now.
pub(crate) fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// How often [`watchdog`] has to be called, half of what the service manager waits for. `None`: it doesn't watch.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        // Without a service manager there is no socket, which sd_notify counts as success or as not found.
        if error.kind() != io::ErrorKind::NotFound {
            tracing::debug!(%error, "the service manager can't be told");
        }
    }
}

/// When a thread last came round. Clones share the stamp.
#[derive(Debug, Clone)]
pub(crate) struct Heartbeat {
    name: &'static str,
    last_ms: Arc<AtomicU64>,
}

impl Heartbeat {
    /// A thread that begins now, by a clock that only goes forward, in milliseconds.
    pub(crate) fn new(name: &'static str, now_ms: u64) -> Self {
        Self {
            name,
            last_ms: Arc::new(AtomicU64::new(now_ms)),
        }
    }

    /// The thread's name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The thread came round.
    pub(crate) fn beat(&self, now_ms: u64) {
        self.last_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Whether it hasn't come round for longer than `limit_ms`.
    pub(crate) fn stale(&self, now_ms: u64, limit_ms: u64) -> bool {
        now_ms.saturating_sub(self.last_ms.load(Ordering::Relaxed)) > limit_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    #[test]
    fn a_thread_that_does_not_come_round_is_stale() {
        let core = Heartbeat::new("core", 1000);
        let seen_elsewhere = core.clone();
        assert_eq!((core.stale(1500, 500), core.stale(1501, 500)), (false, true));
        core.beat(2000);
        assert!(!seen_elsewhere.stale(2500, 500) && !seen_elsewhere.stale(0, 500));
        assert_eq!(seen_elsewhere.name(), "core");
    }

    /// Does its work only as the child of the test below, which gives it a service manager's environment.
    #[test]
    fn speaks_to_its_service_manager() {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return;
        }
        assert_eq!(watchdog_interval(), Some(Duration::from_secs(3)));
        ready();
        status("two\nlines");
        watchdog();
        reloading();
        stopping();
    }

    #[test]
    fn the_service_manager_hears_each_message() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "notify::tests::speaks_to_its_service_manager"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "6000000")
            .env_remove("WATCHDOG_PID")
            .output()
            .unwrap();
        assert!(child.status.success(), "{child:?}");
        let mut heard = Vec::new();
        let mut buffer = [0; 512];
        while let Ok(length) = manager.recv(&mut buffer) {
            heard.push(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned());
        }
        assert_eq!(heard.len(), 5, "{heard:?}");
        assert_eq!(heard[..3], ["READY=1", "STATUS=two lines", "WATCHDOG=1"]);
        assert!(heard[3].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{heard:?}");
        assert_eq!(heard[4], "STOPPING=1");
    }
}
