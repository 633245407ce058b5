//! A real PostgreSQL on a free loopback port, with its own data directory, which ends with the test.
//!
//! PostgreSQL refuses to run as root: a test that does lends it the account that Debian's package makes.

use crate::{eventually, free_port};
use anyhow::{Context as _, ensure};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where Debian keeps the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// The account that Debian's package makes.
const ACCOUNT: &str = "postgres";
/// A first start writes a new cluster to a slow disk.
const START_WITHIN: Duration = Duration::from_secs(60);
/// Ending takes as long as the last checkpoint.
const END_WITHIN: Duration = Duration::from_secs(20);

/// A running server. Dropping it kills the process and removes its data.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Postgres {
    /// Makes a cluster and starts it; `None`, with a message, where there is no PostgreSQL.
    ///
    /// # Errors
    /// When there is one and it doesn't start. When there is none and `FLOORHAND_REQUIRE_POSTGRES` is set.
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    pub fn start_or_skip() -> anyhow::Result<Option<Self>> {
        let Some(bin) = programs() else {
            ensure!(
                std::env::var_os("FLOORHAND_REQUIRE_POSTGRES").is_none(),
                "PostgreSQL is missing: install it (Debian: apt install postgresql)"
            );
            eprintln!("SKIPPED: needs PostgreSQL: install postgresql (Debian: apt install postgresql)");
            return Ok(None);
        };
        let dir = tempfile::Builder::new().prefix("floorhand-postgres-").tempdir()?;
        let data = dir.path().join("data");
        let root = is_root();
        if root {
            let owned = Command::new("chown").arg(ACCOUNT).arg(dir.path()).status()?;
            ensure!(owned.success(), "chown to {ACCOUNT} ended with {owned}");
        }
        let made = as_account(root, &bin.join("initdb"))
            .args([
                "--auth=trust",
                "--no-sync",
                "--username=floorhand",
                "--encoding=UTF8",
                "--pgdata",
            ])
            .arg(&data)
            .output()
            .context("initdb")?;
        ensure!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = free_port()?;
        let child = as_account(root, &bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-F", "-N", "300"])
            .arg("-k")
            .arg(dir.path())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log"))?)
            .spawn()
            .context("postgres")?;
        let server = Self { child, port, _dir: dir };
        // It listens before it lets anybody in; the last line of this file tells when it does.
        let status = || std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        let is_ready =
            || status().trim_end().ends_with("ready") && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        ensure!(
            eventually(START_WITHIN, is_ready),
            "PostgreSQL isn't ready on port {port}"
        );
        Ok(Some(server))
    }

    /// The URL of its database.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://floorhand@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGINT ends it at once and in order: its shared memory goes with it.
        drop(
            Command::new("kill")
                .args(["-INT", &self.child.id().to_string()])
                .status(),
        );
        if !eventually(END_WITHIN, || matches!(self.child.try_wait(), Ok(Some(_)))) {
            drop(self.child.kill());
        }
        drop(self.child.wait());
    }
}

/// The folder of the newest version's programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir(VERSIONS).ok()?;
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let found = versions.filter_map(|entry| Some(entry.ok()?.path()));
    let newest = found
        .filter(|path| path.join("bin/initdb").is_file())
        .max_by_key(|path| version(path))?;
    Some(newest.join("bin"))
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// A program as PostgreSQL's own account where this is root.
fn as_account(root: bool, program: &Path) -> Command {
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", ACCOUNT, "--regid", ACCOUNT, "--init-groups"])
        .arg(program);
    command.current_dir("/");
    command
}
