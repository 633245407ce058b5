//! `floorhand-agent doctor`: looks at everything that the agent stands on, and says of each whether it is well and, where
//! it isn't, what to do.
//!
//! Works beside a running agent and without one, with a network and without. It changes nothing but for a connection to
//! the brokers, which it makes only while no agent runs: a second connection under one identity would end the first.

pub(crate) mod certificate;
mod device;
mod network;
mod report;
mod state;

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::Config;
use crate::exit::Exit;
use crate::local::{self, LocalError, Status};
use report::Report;

/// Days before the end of a certificate or a trust root from which on it is told.
const SOON_DAYS: u64 = 30;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Makes all checks and prints what they found. The code is that of the first check that failed; a warning isn't a
/// failure.
#[must_use]
pub(crate) fn run(config_path: &Path, json: bool) -> ExitCode {
    let mut report = Report::default();
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64);
    match Config::load(config_path) {
        Ok(config) => {
            report.ok("configuration", format!("{} is right", config_path.display()));
            examine(&config, now_ms, &mut report);
        }
        Err(errors) => {
            for mistake in &errors.mistakes {
                let file = config_path.display();
                report.fail(
                    "configuration",
                    Exit::Configuration,
                    mistake,
                    format!("correct it in {file}"),
                );
            }
        }
    }
    report.print(json)
}

/// The version of the trust root that the device has taken, as its state record says; 0 for none but the pinned one.
pub(crate) fn taken_root(config: &Config) -> Result<u64, String> {
    state::taken_root(&config.state_dir)
}

fn examine(config: &Config, now_ms: u64, report: &mut Report) {
    let agent = agent(config, report);
    device::trust_root(config, now_ms, report);
    device::device_key(config, report);
    device::certificates(config, now_ms, report);
    device::state_directory(config, agent.is_some(), report);
    let signed_ms = agent.as_ref().map(|status| status.clock_ms);
    device::clock(config, now_ms, signed_ms, report);
    network::connections(config, agent.as_ref(), report);
}

/// Asks the running agent. `None` when there is none that answers.
fn agent(config: &Config, report: &mut Report) -> Option<Status> {
    match local::status(&config.socket_path()) {
        Ok(status) => {
            let device = config.device.as_str();
            if status.device == device {
                report.ok("agent", format!("{} runs, process {}", status.agent, status.pid));
            } else {
                let finding = format!(
                    "the one that runs is {}, and the configuration is {device}'s",
                    status.device
                );
                report.warn("agent", finding, "restart it to take the configuration over");
            }
            Some(status)
        }
        Err(error @ LocalError::NotRunning(_)) => {
            report.warn("agent", "it isn't running", error);
            None
        }
        Err(error) => {
            report.fail("agent", error.exit(), "it doesn't answer", error);
            None
        }
    }
}

/// How long until `end_ms`, for people. `Err` when it is over.
fn remaining(end_ms: u64, now_ms: u64) -> Result<u64, u64> {
    match end_ms.checked_sub(now_ms) {
        Some(left) => Ok(left / DAY_MS),
        None => Err((now_ms - end_ms) / DAY_MS),
    }
}

#[cfg(test)]
mod tests {
    use super::report::Verdict;
    use super::*;
    use floorhand_bundle::{RoleKeys, SecretKey, TrustRoot};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    const NOW_MS: u64 = 1_800_000_000_000;

    /// A device that was never started, with a trust root that expires in twenty days.
    pub(super) fn device() -> (tempfile::TempDir, Config) {
        let dir = tempfile::tempdir().unwrap();
        let key = SecretKey::from_seed(&[1; 32]);
        let role = RoleKeys::any_of(vec![key.public()]);
        let root = TrustRoot {
            fleet: "plant-a".parse().unwrap(),
            version: 1,
            expires_ms: NOW_MS + 20 * DAY_MS,
            issued_ms: 0,
            critical: vec![],
            root: role.clone(),
            release: role.clone(),
            assignment: role,
        };
        fs::write(dir.path().join("root.cose"), root.seal(&[&key]).unwrap()).unwrap();
        let key_file = dir.path().join("device.key");
        fs::write(&key_file, key.to_pem().unwrap()).unwrap();
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let text = "device = \"press-01\"\nfleet = \"plant-a\"\ntrust_root = \"root.cose\"\n\
                    device_key = \"device.key\"\nstate_dir = \"state\"\n[store]\nblob_budget_bytes = 2_000_000\n\
                    [telemetry]\nspool_budget_bytes = 2_100_000\nhigh_reserve_bytes = 0\n[plugins]\ncache_bytes = 0\n";
        fs::write(dir.path().join("agent.toml"), text).unwrap();
        let config = Config::load(&dir.path().join("agent.toml")).unwrap();
        (dir, config)
    }

    #[test]
    fn a_device_without_agent_and_network_is_looked_at_as_a_whole() {
        let (_dir, config) = device();
        let mut report = Report::default();
        examine(&config, NOW_MS, &mut report);
        let found: Vec<_> = report.checks.iter().map(|check| (check.name, check.verdict)).collect();
        let expected = [
            ("agent", Verdict::Warn),
            ("trust root", Verdict::Warn),
            ("device key", Verdict::Ok),
            ("state format", Verdict::Ok),
            ("state record", Verdict::Ok),
            ("free space", Verdict::Ok),
            ("state directory", Verdict::Ok),
            ("clock", Verdict::Ok),
            ("hub", Verdict::Ok),
        ];
        assert_eq!(found, expected, "{:#?}", report.checks);
        assert_eq!(
            report.checks[1].finding,
            "version 1 of fleet plant-a expires in 20 days"
        );
        let mut report = Report::default();
        examine(&config, NOW_MS + 21 * DAY_MS, &mut report);
        let root = &report.checks[1];
        assert_eq!(
            (root.verdict, root.finding.ends_with("expired 1 days ago")),
            (Verdict::Fail, true),
            "{root:?}"
        );
    }
}
