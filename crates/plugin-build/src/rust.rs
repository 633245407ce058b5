//! How a plugin crate becomes a core module: the compiler's flags, and which paths must not be in what comes out.
//!
//! It must not change a crate or a manifest: what the profile needs is given in the environment.

use crate::{BuildError, TARGET, Toolchain};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// A build of plugin crates.
#[derive(Debug)]
pub struct RustBuild<'a> {
    /// From where cargo is started.
    pub folder: &'a Path,
    /// The crates' names.
    pub packages: &'a [String],
    /// Where cargo builds; not shared with builds for another target, whose flags differ.
    pub target_dir: &'a Path,
    /// Whether Cargo.lock has to be right already.
    pub locked: bool,
    /// Whether cargo says nothing but what is wrong.
    pub quiet: bool,
    /// Further keys of the profile, e.g. `profile.release.opt-level="s"`.
    pub profile: &'a [&'a str],
    /// Folders of this machine, and what they are called in the module.
    pub renamed: &'a [(PathBuf, &'a str)],
}

impl RustBuild<'_> {
    /// Builds; cargo speaks to the person by itself. Where a package's module then is, says [`module`](Self::module).
    pub fn run(&self, toolchain: &Toolchain) -> Result<(), BuildError> {
        let mut command = toolchain.cargo_build()?;
        command
            .current_dir(self.folder)
            .env("CARGO_TARGET_DIR", self.target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", self.rustflags(toolchain)?)
            .env_remove("RUSTFLAGS");
        for (key, value) in [
            ("LTO", "fat"),
            ("CODEGEN_UNITS", "1"),
            ("PANIC", "abort"),
            ("STRIP", "symbols"),
        ] {
            command.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
        }
        for key in self.profile {
            command.args(["--config", key]);
        }
        if self.locked {
            command.arg("--locked");
        }
        if self.quiet {
            command.arg("--quiet");
        }
        for package in self.packages {
            command.args(["--package", package]);
        }
        // What is built is for nobody's pipe.
        command.stdout(std::io::stderr());
        let status = command.status().map_err(|source| BuildError::Start {
            program: command.get_program().display().to_string(),
            source,
        })?;
        if status.success() {
            return Ok(());
        }
        Err(BuildError::Compile(format!(
            "building {} for {TARGET} failed: see what cargo says above",
            self.packages.join(", ")
        )))
    }

    /// The core module of a library's name.
    pub fn module(&self, library: &str) -> Result<Vec<u8>, BuildError> {
        let folder = self.target_dir.join(TARGET).join("release");
        let path = folder.join(format!("{}.wasm", library.replace('-', "_")));
        fs::read(&path).map_err(BuildError::read(&path))
    }

    /// The same flags for every machine but for the paths that are renamed.
    fn rustflags(&self, toolchain: &Toolchain) -> Result<OsString, BuildError> {
        let mut flags = OsString::from("-Ctarget-feature=+simd128");
        let mut rename = |from: &Path, to: &str| {
            flags.push("\u{1f}--remap-path-prefix=");
            flags.push(from);
            flags.push("=");
            flags.push(to);
        };
        // The last prefix that fits wins: the wide ones first.
        let cargo_home = cargo_home()?;
        rename(&cargo_home, "/cargo");
        // One folder per registry, which is named after its host.
        let registries = fs::read_dir(cargo_home.join("registry/src"));
        for registry in registries.into_iter().flatten().flatten() {
            rename(&registry.path(), "/cargo");
        }
        for source in toolchain.library_sources() {
            rename(&source, "/rustc");
        }
        for (from, to) in self.renamed {
            rename(from, to);
        }
        rename(self.target_dir, "/target");
        Ok(flags)
    }
}

/// Where cargo keeps what it has downloaded.
pub fn cargo_home() -> Result<PathBuf, BuildError> {
    let given = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    given
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .ok_or_else(|| BuildError::Toolchain("neither CARGO_HOME nor HOME is set: set one".to_owned()))
}
