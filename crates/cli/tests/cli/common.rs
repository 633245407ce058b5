//! Running the built binary the way a person would.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of its own, with the commands run in it.
pub(crate) struct Shop {
    /// The folder.
    pub(crate) dir: tempfile::TempDir,
}

/// What a command gave.
pub(crate) struct Ran {
    /// Its exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Ran {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }

    /// The command has to have gone well.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    /// The command has to have ended with this code and said this.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, part: &str) -> Self {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.contains(part), "{part:?} is not in {:?}", self.stderr);
        self
    }
}

impl Shop {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Keys `release`, `hub` and `root`, and a trust root of fleet `plant-a` made of them.
    pub(crate) fn with_root() -> Self {
        let shop = Self::new();
        for name in ["release", "hub", "root"] {
            shop.run(&["keys", "new", name, "--no-passphrase"]).ok();
        }
        let root = [
            "root",
            "new",
            "--fleet",
            "plant-a",
            "--root",
            "root.key",
            "--release",
            "release.pub",
        ];
        shop.run(&[&root[..], &["--assignment", "hub.pub", "-o", "root.cose"]].concat())
            .ok();
        shop
    }

    /// Runs `floorhand`.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, &[])
    }

    /// Runs `floorhand` with more variables in its environment.
    pub(crate) fn run_with(&self, args: &[&str], environment: &[(&str, &Path)]) -> Ran {
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_floorhand"))
            .args(args)
            .current_dir(self.dir.path())
            .env_remove("FLOORHAND_HUB")
            .env_remove("FLOORHAND_TOKEN")
            .env_remove("FLOORHAND_PKCS11_MODULE")
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        Ran {
            code: status.code().unwrap(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Writes a file that nobody else may read.
    pub(crate) fn write_secret(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).unwrap();
    }

    /// A file of the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A bundle of the demo.
pub(crate) fn demo_bundle(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/bundles").join(version)
}
