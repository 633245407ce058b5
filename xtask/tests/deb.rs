//! The agent's package, with a stub for the agent: installed, upgraded, removed and purged, in a folder of its own.
//!
//! dpkg works on that folder as if it were a system (`--root`), and its scripts run outside of it, with `DPKG_ROOT`: no
//! account and no unit of this machine is touched.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test's own failures and messages"
)]

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

const AGENT: &str = "usr/bin/floorhand-agent";
const CONFIGURATION: &str = "etc/floorhand/agent.toml";
const STATE: &str = "var/lib/floorhand/state";
const TEMPLATE: &str = "usr/lib/systemd/system/floorhand-agent@.service";
const FURTHER: &str = "var/lib/floorhand-agents/line-2/state";
const UNIT: &str = "usr/lib/systemd/system/floorhand-agent.service";
const ENABLED: &str = "etc/systemd/system/multi-user.target.wants/floorhand-agent.service";

/// A folder that dpkg takes for a system with nothing in it.
struct System {
    root: TempDir,
    packages: TempDir,
}

impl System {
    /// `None` where there is no dpkg, or no right to give files to others, not even a pretended one.
    fn new() -> Option<Self> {
        if !runs("dpkg", "--version") || !(is_root() || runs("fakeroot", "--version")) {
            eprintln!("SKIPPED: needs dpkg, and root or fakeroot");
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        for folder in [
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
            "var/lib/dpkg/triggers",
            "etc",
        ] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        fs::write(root.path().join("var/lib/dpkg/status"), "").unwrap();
        fs::write(root.path().join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        fs::write(root.path().join("etc/group"), "root:x:0:\n").unwrap();
        let packages = tempfile::tempdir().unwrap();
        Some(Self { root, packages })
    }

    /// Makes the package of this version around a stub.
    fn package(&self, version: &str) -> PathBuf {
        let stub = self.packages.path().join("stub");
        fs::write(&stub, format!("#!/bin/sh\n# {version}\nexit 0\n")).unwrap();
        let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
        xtask.args(["deb", "--version", version, "--binary"]).arg(&stub);
        let output = xtask.arg("--output").arg(self.packages.path()).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    }

    fn dpkg(&self, action: &str, what: &Path) {
        let mut command = if is_root() {
            Command::new("dpkg")
        } else {
            let mut fakeroot = Command::new("fakeroot");
            fakeroot.arg("dpkg");
            fakeroot
        };
        command.arg(format!("--root={}", self.root.path().display()));
        command.args([
            "--force-script-chrootless",
            "--force-depends",
            "--force-bad-path",
            "--log=/dev/null",
        ]);
        let output = command.arg(action).arg(what).output().unwrap();
        assert!(output.status.success(), "dpkg {action}: {}", said(&output));
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// A link that points outside of the folder counts as well.
    fn has(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// The account's number in `etc/passwd` or `etc/group`.
    fn number(&self, file: &str) -> u32 {
        let text = self.read(file);
        let line = text.lines().find(|line| line.starts_with("floorhand:")).unwrap();
        line.split(':').nth(2).unwrap().parse().unwrap()
    }
}

#[test]
fn installs_upgrades_keeping_state_removes_and_purges() {
    let Some(system) = System::new() else { return };
    let name = Path::new("floorhand-agent");

    system.dpkg("--install", &system.package("1.0.0"));
    check_installed(&system);

    fs::write(system.path(STATE), "generation 7").unwrap();
    fs::create_dir_all(system.path(FURTHER).parent().unwrap()).unwrap();
    fs::write(system.path(FURTHER), "generation 2").unwrap();
    fs::write(system.path("etc/floorhand/device.key"), "a key").unwrap();
    fs::write(system.path(CONFIGURATION), "device = \"press-01\"\n").unwrap();
    system.dpkg("--install", &system.package("1.1.0"));
    assert!(system.read(AGENT).contains("1.1.0"), "the new binary is in place");
    check_kept(&system);
    assert!(
        !system.has("etc/floorhand/agent.toml.dpkg-dist"),
        "nobody was asked about the configuration"
    );

    system.dpkg("--remove", name);
    assert!(!system.has(AGENT) && !system.has(UNIT));
    check_kept(&system);

    system.dpkg("--install", &system.package("1.2.0"));
    assert!(system.read(AGENT).contains("1.2.0"));
    check_kept(&system);

    system.dpkg("--purge", name);
    for path in [
        AGENT,
        UNIT,
        TEMPLATE,
        ENABLED,
        CONFIGURATION,
        "var/lib/floorhand",
        "var/lib/floorhand-agents",
        "usr/share/doc/floorhand-agent",
    ] {
        assert!(!system.has(path), "{path} is left");
    }
    assert_eq!(
        system.read("etc/floorhand/device.key"),
        "a key",
        "what somebody put there is theirs"
    );
}

fn check_installed(system: &System) {
    assert!(system.read(AGENT).contains("1.0.0"));
    assert_eq!(mode(&system.path(AGENT)), 0o755);
    assert_eq!(mode(&system.path(CONFIGURATION)), 0o644);
    assert_eq!(mode(&system.path("etc/floorhand")), 0o750, "keys will lie there");
    assert_eq!(mode(&system.path("var/lib/floorhand")), 0o700);
    // A pretended root's owners can't be seen from outside.
    if is_root() {
        assert_eq!(system.path("etc/floorhand").metadata().unwrap().uid(), 0);
        assert_eq!(
            system.path("etc/floorhand").metadata().unwrap().gid(),
            system.number("etc/group")
        );
        assert_eq!(
            system.path("var/lib/floorhand").metadata().unwrap().uid(),
            system.number("etc/passwd")
        );
    }
    for file in ["copyright", "changelog.gz", "third-party-licenses.txt.gz"] {
        assert!(system.has(&format!("usr/share/doc/floorhand-agent/{file}")), "{file}");
    }
    assert!(system.has(UNIT));
    let template = system.read(TEMPLATE);
    for line in [
        "ExecStart=/usr/bin/floorhand-agent --instance %i",
        "StateDirectory=floorhand-agents/%i",
    ] {
        assert!(template.lines().any(|there| there == line), "{line}: {template}");
    }
    assert!(!template.contains("/etc/floorhand/agent.toml"), "{template}");
    systemd_understands(&template);
    if runs("deb-systemd-helper", "--help") {
        assert!(system.has(ENABLED), "the unit is enabled");
    }
}

fn systemd_understands(template: &str) {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("floorhand-agent@line-2.service");
    // The program needs not be installed where this runs.
    fs::write(&unit, template.replace("/usr/bin/floorhand-agent", "/bin/true")).unwrap();
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&unit)
        .output();
    let Ok(output) = verify else {
        eprintln!("SKIPPED: needs systemd-analyze");
        return;
    };
    let about_it = said(&output).contains("floorhand-agent@");
    assert!(output.status.success() && !about_it, "{}", said(&output));
}

fn check_kept(system: &System) {
    assert_eq!(system.read(STATE), "generation 7");
    assert_eq!(system.read(FURTHER), "generation 2");
    assert_eq!(system.read(CONFIGURATION), "device = \"press-01\"\n");
    assert_eq!(system.read("etc/floorhand/device.key"), "a key");
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.trim_ascii() == b"0"
}

/// Whether a program is here at all, whatever it answers.
fn runs(program: &str, argument: &str) -> bool {
    Command::new(program).arg(argument).output().is_ok()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
