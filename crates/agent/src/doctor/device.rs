//! What lies on the device: trust root, key, certificates, state directory, clock.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use floorhand_store::FORMAT_VERSION;
use rustix::fs::{Access, FlockOperation, access, flock, statvfs};
use rustix::io::Errno;

use super::report::Report;
use super::{DAY_MS, SOON_DAYS, certificate, remaining, state};
use crate::config::Config;
use crate::exit::Exit;
use crate::trust::Trust;

/// 2026-01-01: this program is younger, so a clock before it is wrong.
const OLDEST_PLAUSIBLE_MS: u64 = 1_767_225_600_000;
/// With less room than this not even a state record and a log of transactions can be relied on.
const LEAST_FREE_BYTES: u64 = 16 << 20;

pub(super) fn trust_root(config: &Config, now_ms: u64, report: &mut Report) {
    let name = "trust root";
    // A record that can't be read is told by another check.
    let taken = state::taken_root(&config.state_dir).unwrap_or(0);
    match Trust::at_rest(config, taken) {
        Ok(trust) => {
            if let Err(problem) = trust.root() {
                report.fail(
                    name,
                    Exit::StateDirectory,
                    problem,
                    "connect the device, or import the roots it lacks",
                );
                return;
            }
            let root = trust.newest();
            let (version, fleet) = (root.version, &root.fleet);
            let what = format!("version {version} of fleet {fleet}");
            let advice = "publish the next root to the hub, or import it here";
            expiry(name, &what, root.expires_ms, now_ms, advice, report);
        }
        Err(problem) => report.fail(name, Exit::Configuration, problem, "put the fleet's own there"),
    }
}

fn expiry(name: &'static str, what: &str, end_ms: u64, now_ms: u64, advice: &str, report: &mut Report) {
    match remaining(end_ms, now_ms) {
        Ok(days) if days < SOON_DAYS => report.warn(name, format!("{what} expires in {days} days"), advice),
        Ok(days) => report.ok(name, format!("{what}, good for {days} days")),
        Err(days) => report.fail(
            name,
            Exit::Configuration,
            format!("{what} expired {days} days ago"),
            advice,
        ),
    }
}

pub(super) fn device_key(config: &Config, report: &mut Report) {
    let (name, path) = ("device key", config.device_key.display());
    let key = match config.read_device_key() {
        Ok(key) => key,
        Err(problem) => {
            report.fail(
                name,
                Exit::Configuration,
                problem,
                "make one with `floorhand keys new --no-passphrase`",
            );
            return;
        }
    };
    let id = key.public().id();
    match others_may_read(&config.device_key) {
        Ok(None) => report.ok(name, format!("{id}, readable by its owner alone")),
        Ok(Some(mode)) => {
            let finding = format!("{id}, and others than its owner may read it (mode {mode:04o})");
            report.warn(name, finding, format!("chmod 0600 {path}"));
        }
        Err(error) => report.warn(
            name,
            format!("{id}; {path} can't be looked at: {error}"),
            "look at its folder's rights",
        ),
    }
}

/// The mode of a file that others than its owner may read.
fn others_may_read(path: &Path) -> io::Result<Option<u32>> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

pub(super) fn certificates(config: &Config, now_ms: u64, report: &mut Report) {
    if let Some(fleet) = &config.fleet_connection {
        let device = Some(config.device.as_str());
        for (name, file, owner) in [("hub's CA", &fleet.ca, None), ("certificate", &fleet.cert, device)] {
            if let Some(file) = file {
                certificate(name, file, owner, now_ms, report);
            }
        }
        key_file("certificate's key", fleet.key.as_deref(), report);
    }
    if let Some(plant) = &config.plant_connection {
        for (name, file) in [("plant's CA", &plant.ca), ("plant certificate", &plant.cert)] {
            if let Some(file) = file {
                certificate(name, file, None, now_ms, report);
            }
        }
        key_file("plant key", plant.key.as_deref(), report);
        key_file("plant password", plant.password_file.as_deref(), report);
    }
}

fn certificate(name: &'static str, file: &Path, owner: Option<&str>, now_ms: u64, report: &mut Report) {
    let path = file.display();
    let found = match certificate::read(file) {
        Ok(found) => found,
        Err(problem) => {
            report.fail(name, Exit::Configuration, problem, "put another one there");
            return;
        }
    };
    let advice = format!("have a new one made and put it to {path}");
    // Of a chain, the one that ends first counts, and the first is the owner's.
    let (Some(first), Some(end_ms)) = (found.first(), found.iter().map(|one| one.not_after_ms).min()) else {
        report.fail(
            name,
            Exit::Configuration,
            format!("{path} has no certificate in it"),
            advice,
        );
        return;
    };
    let common_name = first.common_name.as_deref().unwrap_or("without a name");
    if let Some(early) = found
        .iter()
        .map(|one| one.not_before_ms)
        .max()
        .filter(|start| *start > now_ms)
    {
        let finding = format!(
            "{common_name}, which begins to be valid in {} days",
            (early - now_ms) / DAY_MS
        );
        report.fail(name, Exit::Configuration, finding, "set the clock, or wait");
    } else {
        expiry(name, common_name, end_ms, now_ms, &advice, report);
    }
    if let Some(owner) = owner.filter(|owner| *owner != common_name) {
        let finding = format!("it is for {common_name}, and the device is {owner}");
        report.warn(
            name,
            finding,
            "a broker that goes by certificates will refuse it; have one made for the device",
        );
    }
}

/// A secret's file: whether it can be used was seen with the configuration.
fn key_file(name: &'static str, file: Option<&Path>, report: &mut Report) {
    if let Some(file) = file
        && let Ok(Some(mode)) = others_may_read(file)
    {
        let finding = format!(
            "{}: others than its owner may read it (mode {mode:04o})",
            file.display()
        );
        report.warn(name, finding, format!("chmod 0600 {}", file.display()));
    }
}

pub(super) fn state_directory(config: &Config, agent_runs: bool, report: &mut Report) {
    let (name, dir) = ("state directory", config.state_dir.as_path());
    let shown = dir.display();
    let metadata = match fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => {
            report.fail(
                name,
                Exit::StateDirectory,
                format!("{shown} is no directory"),
                "move the file away",
            );
            return;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            report.warn(
                name,
                format!("{shown} isn't there"),
                "the agent makes it at its first start, if it may",
            );
            return;
        }
        Err(error) => {
            report.fail(
                name,
                Exit::StateDirectory,
                format!("{shown}: {error}"),
                "run this as root or the agent's user",
            );
            return;
        }
    };
    let owner = metadata.uid();
    if access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let finding = format!("{shown} belongs to user {owner}, and we may not write to it");
        report.fail(
            name,
            Exit::StateDirectory,
            finding,
            "run this as root or the agent's user, or change its owner",
        );
        return;
    }
    format(dir, report);
    state::stored(config, agent_runs, report);
    lock(dir, agent_runs, report);
    free_space(config, report);
    report.ok(name, format!("{shown}, of user {owner}"));
}

fn format(dir: &Path, report: &mut Report) {
    let name = "state format";
    // A number; whatever else is there is told by its beginning.
    let text = match fs::read_to_string(dir.join("format")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            report.ok(name, "nothing is stored yet");
            return;
        }
        Err(error) => {
            report.fail(
                name,
                Exit::StateDirectory,
                error,
                "restore the file, or start with an empty directory",
            );
            return;
        }
    };
    match text.trim().parse::<u32>() {
        Ok(found) if (1..=FORMAT_VERSION).contains(&found) => {
            report.ok(name, format!("{found}, which this version knows"))
        }
        Ok(found) if found > FORMAT_VERSION => {
            let finding = format!("{found}, and this version knows up to {FORMAT_VERSION}");
            report.fail(
                name,
                Exit::StateDirectory,
                finding,
                "install the newer agent again, or start with an empty directory",
            );
        }
        _ => {
            let begins: String = text.chars().take(32).collect();
            let advice = "restore the file `format`, or start with an empty directory";
            report.fail(
                name,
                Exit::StateDirectory,
                format!("{begins:?} is no format number"),
                advice,
            );
        }
    }
}

fn lock(dir: &Path, agent_runs: bool, report: &mut Report) {
    let locked = File::open(dir.join("lock")).is_ok_and(|file| {
        // The lock ends with the file, at the end of this closure.
        flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    });
    match (locked, agent_runs) {
        (true, false) => {
            let finding = "a process has the state directory and doesn't answer on its socket";
            let advice = "it may be starting; else look at `systemctl status floorhand-agent`";
            report.warn("lock", finding, advice);
        }
        (false, true) => {
            let advice = "another one may have been started on another directory; restart the agent";
            report.warn("lock", "an agent answers, and doesn't hold the state directory", advice);
        }
        _ => {}
    }
}

fn free_space(config: &Config, report: &mut Report) {
    let name = "free space";
    let space = match statvfs(&config.state_dir) {
        Ok(space) => space,
        Err(error) => {
            report.warn(name, format!("can't be told: {error}"), "look with `df`");
            return;
        }
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    // What is stored already is counted again here: a warning too many when the disk is nearly full anyhow.
    let wanted = config
        .store
        .blob_budget_bytes
        .saturating_add(config.telemetry.spool_budget_bytes)
        .saturating_add(config.plugins.cache_bytes);
    let finding = format!("{} MiB", free >> 20);
    if free < LEAST_FREE_BYTES {
        report.fail(
            name,
            Exit::StateDirectory,
            finding,
            "free some space on the disk of the state directory",
        );
    } else if free < wanted {
        let advice = format!(
            "the configuration allows {} MiB for bundles, telemetry and compiled plugins: lower store.blob_budget_bytes, \
             telemetry.spool_budget_bytes or plugins.cache_bytes, or free some space",
            wanted >> 20
        );
        report.warn(name, finding, advice);
    } else {
        report.ok(name, finding);
    }
}

pub(super) fn clock(config: &Config, now_ms: u64, signed_ms: Option<u64>, report: &mut Report) {
    let name = "clock";
    let advice = "set the clock, or let it be set (timedatectl set-ntp true): new bundles may be refused until then";
    let taken = state::taken_root(&config.state_dir).unwrap_or(0);
    let expires_ms = Trust::at_rest(config, taken).map_or(u64::MAX, |trust| trust.newest().expires_ms);
    let signed_ms = signed_ms.unwrap_or(0);
    if now_ms < OLDEST_PLAUSIBLE_MS {
        report.warn(name, "stands before this program was written", advice);
    } else if now_ms < signed_ms {
        let behind_s = (signed_ms - now_ms) / 1000;
        report.warn(name, format!("is {behind_s} s behind what the hub has signed"), advice);
    } else if now_ms > expires_ms {
        report.warn(
            name,
            "stands behind the end of the trust root: one of them is wrong",
            advice,
        );
    } else {
        report.ok(name, "plausible");
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Check, Verdict};
    use super::*;
    use floorhand_testkit::Pki;

    /// The only check that `look` makes.
    fn only(look: impl FnOnce(&mut Report)) -> Check {
        let mut report = Report::default();
        look(&mut report);
        let [check] = report.checks.try_into().unwrap();
        check
    }

    #[test]
    fn ends_are_told_in_days() {
        let at = |now_ms| {
            let check = only(|report| expiry("trust root", "it", 100 * DAY_MS, now_ms, "renew it", report));
            (check.verdict, check.finding)
        };
        assert_eq!(at(0), (Verdict::Ok, "it, good for 100 days".to_owned()));
        assert_eq!(at(70 * DAY_MS), (Verdict::Ok, "it, good for 30 days".to_owned()));
        assert_eq!(at(70 * DAY_MS + 1), (Verdict::Warn, "it expires in 29 days".to_owned()));
        assert_eq!(at(103 * DAY_MS), (Verdict::Fail, "it expired 3 days ago".to_owned()));
    }

    #[test]
    fn certificates_are_looked_at() {
        let pki = Pki::new().unwrap();
        let device = pki.issue("press-01").unwrap();
        let now_ms = OLDEST_PLAUSIBLE_MS;
        let good = only(|report| certificate("certificate", &device.cert, Some("press-01"), now_ms, report));
        assert_eq!(good.verdict, Verdict::Ok, "{good:?}");
        let early = only(|report| certificate("certificate", &device.cert, None, DAY_MS, report));
        assert!(
            early.verdict == Verdict::Fail && early.finding.contains("begins to be valid"),
            "{early:?}"
        );
        let mut report = Report::default();
        certificate("certificate", &device.cert, Some("press-02"), now_ms, &mut report);
        assert_eq!(
            report.checks[1].finding,
            "it is for press-01, and the device is press-02"
        );
        let none = only(|report| certificate("certificate", &device.key, None, now_ms, report));
        assert!(none.finding.ends_with("has no certificate in it"), "{none:?}");
    }

    #[test]
    fn secrets_that_others_may_read_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        fs::write(&file, "secret").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let check = only(|report| key_file("plant key", Some(&file), report));
        assert!(
            check.verdict == Verdict::Warn && check.finding.ends_with("(mode 0640)"),
            "{check:?}"
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let mut report = Report::default();
        key_file("plant key", Some(&file), &mut report);
        assert_eq!(report.checks, []);
    }

    #[test]
    fn formats_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let look = || only(|report| format(dir.path(), report)).verdict;
        assert_eq!(look(), Verdict::Ok, "nothing yet");
        for (text, expected) in [("1\n", Verdict::Ok), ("7\n", Verdict::Fail), ("one", Verdict::Fail)] {
            fs::write(dir.path().join("format"), text).unwrap();
            assert_eq!(look(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_lock_without_an_agent_and_an_agent_without_a_lock_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let count = |agent_runs| {
            let mut report = Report::default();
            lock(dir.path(), agent_runs, &mut report);
            report.checks.len()
        };
        assert_eq!((count(false), count(true)), (0, 1), "no lock at all");
        let held = File::create(dir.path().join("lock")).unwrap();
        flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!((count(false), count(true)), (1, 0));
        drop(held);
        assert_eq!((count(false), count(true)), (0, 1));
    }
}
