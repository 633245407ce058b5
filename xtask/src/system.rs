//! The machine's package manager, where there is one that may be used.
//!
//! Owns the decision whether something may be installed without asking: on Debian and its relatives, with the right to,
//! and where nobody's workstation is changed behind their back. It never asks for a password.

use anyhow::{Context, Result, ensure};
use std::{
    ffi::OsStr,
    fs,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where daemons are that a user's PATH may leave out.
const DAEMON_FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// The program's path, looked for in PATH and where daemons are.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(DAEMON_FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// `apt-get`, and how to be allowed to run it.
pub struct Apt {
    /// Through `sudo -n`, which never asks.
    sudo: bool,
}

impl Apt {
    /// Debian's package manager if it is here and may be used: `wanted` says that somebody asked for it, which CI does
    /// too. Root without a terminal is a container or a script, and needs no asking.
    pub fn permitted(wanted: bool) -> Option<Self> {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        if !is_debian_like(&release) || find_program("apt-get").is_none() {
            return None;
        }
        if is_root() {
            let unattended = !io::stdin().is_terminal();
            return (wanted || unattended).then_some(Self { sudo: false });
        }
        let sudo = wanted && succeeds("sudo", ["-n", "true"]);
        sudo.then_some(Self { sudo: true })
    }

    /// Installs packages, or the newest of what is installed already. The lists are updated first: with old ones an old
    /// compiler would be installed.
    pub fn install(&self, packages: &[&str]) -> Result<()> {
        println!("xtask: installing {}", packages.join(" "));
        let updated = self.command().arg("update").status().context("run apt-get update")?;
        if !updated.success() {
            println!("xtask: apt-get update failed; going on with the lists there are");
        }
        let mut command = self.command();
        command
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages);
        let installed = command.status().context("run apt-get install")?;
        ensure!(installed.success(), "apt-get could not install {}", packages.join(" "));
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = if self.sudo {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
            sudo
        } else {
            Command::new("apt-get")
        };
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
        command
    }
}

/// Whether this process has the rights of root.
pub fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Runs a program to its end, showing nothing.
pub fn succeeds<I: IntoIterator<Item: AsRef<OsStr>>>(program: &str, arguments: I) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The program's standard output, trimmed; an error names the program and says what it wrote to standard error.
pub fn output_of(command: &mut Command) -> Result<String> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| format!("run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether os-release(5) names Debian, or something made from it.
fn is_debian_like(release: &str) -> bool {
    let values = release.lines().filter_map(|line| line.split_once('='));
    values
        .filter(|(key, _)| matches!(*key, "ID" | "ID_LIKE"))
        .flat_map(|(_, value)| value.trim_matches(['"', '\'']).split_whitespace())
        .any(|id| matches!(id, "debian" | "ubuntu"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_debian_and_its_relatives() {
        for (release, expected) in [
            ("NAME=\"Debian GNU/Linux\"\nID=debian\n", true),
            ("ID=ubuntu\nID_LIKE=debian\n", true),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", true),
            ("ID=fedora\nNAME=\"not debian\"\n", false),
            ("", false),
        ] {
            assert_eq!(is_debian_like(release), expected, "{release}");
        }
    }

    #[test]
    fn finds_programs_by_name() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-anywhere").is_none());
    }

    #[test]
    fn an_error_carries_what_the_program_said() {
        let error = output_of(Command::new("sh").args(["-c", "echo because >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh failed: because");
        assert_eq!(output_of(Command::new("echo").arg("yes")).unwrap(), "yes");
    }
}
