//! Which Rust compiler can build for WebAssembly here.
//!
//! The one on the path if its target is installed, else Debian's, which builds the standard library from its source. Where
//! neither can, the error says in one line what to run.

use crate::BuildError;
use cargo_metadata::semver::Version;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What components are built for: no WASI, nothing but what the WIT names.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// What a machine with Debian's compiler needs besides.
const DEBIAN_PACKAGES: &str = "`apt-get install rustc-web cargo-web rust-web-src lld`";

/// The compiler's version that the SDK needs: this crate's own.
#[must_use]
pub fn needed_version() -> Version {
    // A manifest may leave the patch out.
    let written = env!("CARGO_PKG_RUST_VERSION");
    let mut parts = written.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    Version::new(next(), next(), next())
}

/// Where compilers are looked for.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The compiler that is asked first, a name or a path.
    pub rustc: OsString,
    /// Its cargo.
    pub cargo: OsString,
    /// The folder where Debian's rustc and cargo are.
    pub debian: PathBuf,
    /// Whether rustup can be run, which decides what is recommended.
    pub rustup: bool,
    /// The folder from where the compiler is asked: a project may choose its own toolchain.
    pub folder: PathBuf,
}

impl Surroundings {
    /// Those of this process, for a project in a folder.
    #[must_use]
    pub fn of_process(folder: &Path) -> Self {
        let named = |variable, name: &str| std::env::var_os(variable).unwrap_or_else(|| name.into());
        Self {
            rustc: named("RUSTC", "rustc"),
            cargo: named("CARGO", "cargo"),
            debian: PathBuf::from("/usr/bin"),
            rustup: Command::new("rustup")
                .arg("--version")
                .output()
                .is_ok_and(|output| output.status.success()),
            folder: folder.to_owned(),
        }
    }

    fn prints(&self, program: &OsStr, arguments: &[&str]) -> Result<String, BuildError> {
        let output = Command::new(program).args(arguments).current_dir(&self.folder).output();
        let output = output.map_err(|source| BuildError::Start {
            program: program.display().to_string(),
            source,
        })?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let first = complaint.lines().next().unwrap_or_default();
            return Err(BuildError::Toolchain(format!("{} fails: {first}", program.display())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn version(&self, rustc: &OsStr) -> Result<Version, BuildError> {
        let printed = self.prints(rustc, &["--version"])?;
        parse_rustc_version(&printed).ok_or_else(|| {
            BuildError::Toolchain(format!(
                "{} says it is {printed:?}, which is no version of rustc",
                rustc.display()
            ))
        })
    }
}

/// A compiler that can build for WebAssembly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// The one on the path; its target is installed.
    Installed {
        /// Its cargo.
        cargo: OsString,
        /// Its version.
        version: Version,
    },
    /// Debian's rustc-web, cargo-web and rust-web-src, which build the standard library from its source.
    Debian {
        /// Its compiler.
        rustc: PathBuf,
        /// Its cargo.
        cargo: PathBuf,
        /// Where its libraries and their sources are.
        sysroot: PathBuf,
        /// The folder where rust-lld is.
        linker: PathBuf,
        /// Its version.
        version: Version,
    },
}

impl Toolchain {
    /// The first one of this machine that fits. The error says what to run.
    pub fn find(folder: &Path) -> Result<Self, BuildError> {
        Self::find_in(&Surroundings::of_process(folder))
    }

    /// The first one of these surroundings that fits.
    pub fn find_in(surroundings: &Surroundings) -> Result<Self, BuildError> {
        let needed = needed_version();
        let installed = installed(surroundings, &needed);
        if let Ok(toolchain) = installed {
            return Ok(toolchain);
        }
        match debian(surroundings, &needed) {
            Some(Ok(toolchain)) => Ok(toolchain),
            // Who has rustup is told of it; who has Debian's compiler alone, what that lacks.
            Some(Err(error)) if !surroundings.rustup => Err(error),
            _ => installed,
        }
    }

    /// The compiler's version.
    #[must_use]
    pub const fn version(&self) -> &Version {
        match self {
            Self::Installed { version, .. } | Self::Debian { version, .. } => version,
        }
    }

    /// `cargo build` for WebAssembly with what this toolchain needs.
    pub(crate) fn cargo_build(&self) -> Result<Command, BuildError> {
        let mut command = match self {
            Self::Installed { cargo, .. } => Command::new(cargo),
            Self::Debian {
                rustc, cargo, linker, ..
            } => {
                let rest = std::env::var_os("PATH").unwrap_or_default();
                let path = std::env::join_paths([linker.clone()].into_iter().chain(std::env::split_paths(&rest)));
                let path = path.map_err(|error| BuildError::Toolchain(format!("PATH: {error}")))?;
                let mut command = Command::new(cargo);
                // -Zbuild-std is unstable, and this is Debian's own way to allow it in a stable compiler.
                command
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("RUSTC", rustc)
                    .env("PATH", path);
                command.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTDOC");
                command
            }
        };
        command.args(["build", "--release", "--target", TARGET]);
        if matches!(self, Self::Debian { .. }) {
            // No backtraces: WebAssembly gives a plugin none.
            command.args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"]);
        }
        Ok(command)
    }

    /// Where the standard library's sources are, whose paths panics would carry: behind links, and as cargo names them.
    pub(crate) fn library_sources(&self) -> Vec<PathBuf> {
        match self {
            Self::Installed { .. } => Vec::new(),
            Self::Debian { sysroot, .. } => {
                let named = sysroot.join("lib/rustlib/src/rust");
                named.canonicalize().into_iter().chain([named]).collect()
            }
        }
    }
}

fn installed(surroundings: &Surroundings, needed: &Version) -> Result<Toolchain, BuildError> {
    let rustc = &surroundings.rustc;
    let Ok(version) = surroundings.version(rustc) else {
        return Err(BuildError::Toolchain(format!(
            "no Rust compiler here: install one from https://rustup.rs, then run `rustup target add {TARGET}`"
        )));
    };
    if version < *needed {
        return Err(BuildError::Toolchain(format!(
            "{} is {version} and the SDK needs {needed}: run `rustup update stable && rustup target add {TARGET}`",
            rustc.display()
        )));
    }
    let folder = surroundings.prints(rustc, &["--print", "target-libdir", "--target", TARGET])?;
    if Path::new(&folder).is_dir() {
        return Ok(Toolchain::Installed {
            cargo: surroundings.cargo.clone(),
            version,
        });
    }
    Err(BuildError::Toolchain(format!(
        "{} {version} has no target {TARGET}: run {}",
        rustc.display(),
        if surroundings.rustup {
            format!("`rustup target add {TARGET}`")
        } else {
            DEBIAN_PACKAGES.to_owned()
        }
    )))
}

/// `None` where Debian's compiler isn't installed at all.
fn debian(surroundings: &Surroundings, needed: &Version) -> Option<Result<Toolchain, BuildError>> {
    let (rustc, cargo) = (surroundings.debian.join("rustc"), surroundings.debian.join("cargo"));
    (rustc.is_file() && cargo.is_file()).then(|| fitting_debian(surroundings, needed, rustc, cargo))
}

fn fitting_debian(
    surroundings: &Surroundings,
    needed: &Version,
    rustc: PathBuf,
    cargo: PathBuf,
) -> Result<Toolchain, BuildError> {
    let version = surroundings.version(rustc.as_os_str())?;
    if version < *needed {
        return Err(BuildError::Toolchain(format!(
            "{} is {version} and the SDK needs {needed}: install a newer one with {DEBIAN_PACKAGES}, or rustup from \
             https://rustup.rs",
            rustc.display()
        )));
    }
    let sysroot = PathBuf::from(surroundings.prints(rustc.as_os_str(), &["--print", "sysroot"])?);
    let sources = sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file();
    // The first compiler's own linker if it has one, else LLVM's.
    let beside = surroundings
        .prints(&surroundings.rustc, &["--print", "target-libdir"])
        .ok();
    let beside = beside.and_then(|folder| Some(Path::new(&folder).parent()?.join("bin")));
    let linker = beside
        .into_iter()
        .chain([surroundings.debian.clone()])
        .find(|folder| folder.join("rust-lld").exists());
    match linker.filter(|_| sources) {
        Some(linker) => Ok(Toolchain::Debian {
            rustc,
            cargo,
            sysroot,
            linker,
            version,
        }),
        None => Err(BuildError::Toolchain(format!(
            "{} lacks {} for {TARGET}: run {DEBIAN_PACKAGES}",
            rustc.display(),
            if sources {
                "a linker"
            } else {
                "the standard library's sources"
            }
        ))),
    }
}

/// `rustc 1.96.0 (ac68faa20 2026-06-02) (built from a source tarball)` to 1.96.0.
fn parse_rustc_version(printed: &str) -> Option<Version> {
    let mut words = printed.split_whitespace();
    (words.next() == Some("rustc")).then_some(())?;
    Version::parse(words.next()?).ok()
}

#[cfg(test)]
mod tests;
