//! The agent's systemd unit: what it promises, and that systemd understands it.

#![expect(clippy::unwrap_used, reason = "a test's own failures")]

use std::{collections::BTreeMap, fs, path::Path, process::Command};

fn unit() -> String {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(here.join("../packaging/floorhand-agent.service")).unwrap()
}

/// Key to its values, in order; a key may stand more than once.
fn settings(unit: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut settings: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in unit.lines().filter(|line| !line.starts_with('#')) {
        if let Some((key, value)) = line.split_once('=') {
            settings.entry(key).or_default().push(value);
        }
    }
    settings
}

#[test]
fn promises_what_the_agent_needs() {
    let unit = unit();
    let settings = settings(&unit);
    for (key, values) in [
        ("Type", vec!["notify"]),
        ("WatchdogSec", vec!["30s"]),
        ("Restart", vec!["always"]),
        ("User", vec!["floorhand"]),
        ("StateDirectory", vec!["floorhand"]),
        ("CapabilityBoundingSet", vec![""]),
        ("NoNewPrivileges", vec!["yes"]),
        ("ProtectSystem", vec!["strict"]),
    ] {
        assert_eq!(settings.get(key), Some(&values), "{key}");
    }
    // It kills the compiler of plugins; the comment says so.
    assert!(!settings.contains_key("MemoryDenyWriteExecute"));
    assert!(unit.contains("MemoryDenyWriteExecute= is left out on purpose"));
}

#[test]
fn systemd_understands_it() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("floorhand-agent.service");
    // The program needs not be installed where this runs.
    fs::write(
        &copy,
        unit().replace("ExecStart=/usr/bin/floorhand-agent", "ExecStart=/bin/true"),
    )
    .unwrap();
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&copy)
        .output();
    let Ok(output) = verify else {
        eprintln!("SKIPPED: needs systemd-analyze");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let about_it: Vec<&str> = said.lines().filter(|line| line.contains("floorhand-agent")).collect();
    assert!(output.status.success() && about_it.is_empty(), "{said}");
}
