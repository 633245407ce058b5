//! `cargo xtask plugins`: builds the first-party plugins from source into `plugins/prebuilt/`.
//!
//! Owns how a plugin crate becomes a component: compiler flags, the core module's way to a component, the check of what it
//! imports and that no path of this machine is in it, and the digests beside it. It must not change a crate or the root
//! manifest: the profile is given in the environment.
//!
//! A machine may lack the WebAssembly target. Then the committed components stay as they are, which is an error where a
//! fresh build is required (CI).

use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::semver::Version;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};
use wit_component::{ComponentEncoder, DecodedWasm};
use wit_parser::WorldItem;

/// What components are built for: no WASI, nothing but what the WIT names.
const TARGET: &str = "wasm32-unknown-unknown";

/// Configuration and errors, most of a plugin's code, run once: they are compiled for size.
const OPT_LEVEL: &str = "s";

/// The loops over samples are here: compiled for speed, which is what turns them into vector instructions.
const FAST_PACKAGE: &str = "floorhand-statistics";

/// A component above this isn't one of ours: something large got linked in.
const MAX_COMPONENT_BYTES: usize = 256 * 1024;

/// The only package whose interfaces a plugin may import.
const PACKAGE: &str = "floorhand:plugin/";

/// Where the committed components are, from the workspace's root.
const PREBUILT: &str = "plugins/prebuilt";

/// Where `check` leaves the fresh components, from the plugins' target directory.
const FRESH: &str = "fresh";

/// The list of digests beside them, in the format of sha256sum.
const DIGESTS: &str = "SHA256SUMS";

/// Builds all plugins. With `check` the committed ones are left alone: the fresh components go to `plugins/fresh` in the
/// target directory, where tests that compare behaviour find them, and are compared with the committed digests; both
/// outcomes are fine, because another compiler gives other bytes. With `require_fresh` a machine that can't build them is
/// an error.
pub fn run(check: bool, require_fresh: bool) -> Result<()> {
    let root = workspace_root()?;
    let Some(toolchain) = Toolchain::find()? else {
        ensure!(
            !require_fresh,
            "no compiler for {TARGET} here: `rustup target add {TARGET}`, or Debian's rustc-web, cargo-web and \
             rust-web-src in a version that Cargo.toml's rust-version allows"
        );
        verify_committed(&root)?;
        report(&format!(
            "plugins: no compiler for {TARGET}, so the committed components in {PREBUILT} stay"
        ));
        return Ok(());
    };
    let target_dir = target_dir(&root);
    let components = build(&root, &target_dir, &toolchain)?;
    if !check {
        return write(&root, &components);
    }
    write_to(&target_dir.join(FRESH), &components)?;
    compare(&root, &components)
}

/// Whether there is a compiler that can build them.
pub fn has_compiler() -> Result<bool> {
    Ok(Toolchain::find()?.is_some())
}

/// Makes sure that the committed components are those whose digests stand beside them.
fn verify_committed(root: &Path) -> Result<()> {
    for (name, expected) in committed_digests(root)? {
        let path = root.join(PREBUILT).join(&name);
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        ensure!(
            digest(&bytes) == expected,
            "{} isn't what {DIGESTS} says: `cargo xtask plugins`",
            path.display()
        );
    }
    Ok(())
}

/// A compiler that can build for WebAssembly.
enum Toolchain {
    /// The one that builds this workspace; its target is installed.
    Current,
    /// Debian's rustc-web, cargo-web and rust-web-src, which build the standard library from its source.
    Debian {
        /// Of the folder where rust-lld is.
        linker: PathBuf,
    },
}

impl Toolchain {
    const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
    const DEBIAN_CARGO: &str = "/usr/bin/cargo";

    fn find() -> Result<Option<Self>> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let target = rustc_prints(&rustc, &["--print", "target-libdir", "--target", TARGET])?;
        if Path::new(&target).is_dir() {
            return Ok(Some(Self::Current));
        }
        let there = [Self::DEBIAN_RUSTC, Self::DEBIAN_CARGO]
            .iter()
            .all(|tool| Path::new(tool).is_file());
        if !there {
            return Ok(None);
        }
        let (version, needed) = (rustc_version(Self::DEBIAN_RUSTC.as_ref())?, needed_version()?);
        if version < needed {
            report(&format!(
                "plugins: {} is {version}, and the plugins need {needed}: install a newer rustc-web",
                Self::DEBIAN_RUSTC
            ));
            return Ok(None);
        }
        let sysroot = PathBuf::from(rustc_prints(Self::DEBIAN_RUSTC.as_ref(), &["--print", "sysroot"])?);
        if !sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file() {
            return Ok(None);
        }
        // The current toolchain's own linker if it has one, else LLVM's.
        let host_libs = PathBuf::from(rustc_prints(&rustc, &["--print", "target-libdir"])?);
        let beside = host_libs.parent().map(|folder| folder.join("bin"));
        let linker = beside
            .into_iter()
            .chain([PathBuf::from("/usr/bin")])
            .find(|dir| dir.join("rust-lld").exists());
        Ok(linker.map(|linker| Self::Debian { linker }))
    }

    /// `cargo build` with what this toolchain needs.
    fn cargo_build(&self) -> Result<Command> {
        let mut command = match self {
            Self::Current => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
            Self::Debian { linker } => {
                let rest = std::env::var_os("PATH").unwrap_or_default();
                let path = std::env::join_paths([linker.clone()].into_iter().chain(std::env::split_paths(&rest)))?;
                let mut command = Command::new(Self::DEBIAN_CARGO);
                // -Zbuild-std is unstable, and this is Debian's own way to allow it in a stable compiler.
                command
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("RUSTC", Self::DEBIAN_RUSTC)
                    .env("PATH", path);
                command.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTDOC");
                command
            }
        };
        command.args(["build", "--release", "--locked", "--target", TARGET]);
        if matches!(self, Self::Debian { .. }) {
            // No backtraces: WebAssembly gives a plugin none.
            command.args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"]);
        }
        Ok(command)
    }

    /// Where the standard library's sources are, whose paths panics would carry: as cargo names them, and behind links.
    fn library_sources(&self) -> Result<Vec<PathBuf>> {
        match self {
            Self::Current => Ok(Vec::new()),
            Self::Debian { .. } => {
                let sysroot = rustc_prints(Self::DEBIAN_RUSTC.as_ref(), &["--print", "sysroot"])?;
                let named = Path::new(&sysroot).join("lib/rustlib/src/rust");
                Ok(vec![fs::canonicalize(&named)?, named])
            }
        }
    }
}

/// Builds all plugin crates and makes components of them: file name to bytes.
fn build(root: &Path, target_dir: &Path, toolchain: &Toolchain) -> Result<BTreeMap<String, Vec<u8>>> {
    let plugins = plugin_packages(root)?;
    let mut command = toolchain.cargo_build()?;
    command.current_dir(root).env("CARGO_TARGET_DIR", target_dir);
    command
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(root, target_dir, toolchain)?)
        .env_remove("RUSTFLAGS");
    for (key, value) in [
        ("OPT_LEVEL", OPT_LEVEL),
        ("LTO", "fat"),
        ("CODEGEN_UNITS", "1"),
        ("PANIC", "abort"),
        ("STRIP", "symbols"),
    ] {
        command.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    command.args([
        "--config",
        &format!("profile.release.package.{FAST_PACKAGE}.opt-level=3"),
    ]);
    for package in plugins.values() {
        command.args(["--package", package]);
    }
    let status = command.status().context("start cargo for the plugins")?;
    ensure!(status.success(), "building the plugins for {TARGET} failed: {status}");
    let modules = target_dir.join(TARGET).join("release");
    let secrets = machine_paths(root, target_dir)?;
    plugins
        .iter()
        .map(|(name, package)| {
            let path = modules.join(format!("{}.wasm", package.replace('-', "_")));
            let module = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let component = componentize(&module).with_context(|| format!("make a component of {package}"))?;
            check_component(&component, &secrets).with_context(|| format!("check the component of {package}"))?;
            Ok((format!("{name}.wasm"), component))
        })
        .collect()
}

/// A core module with wit-bindgen's custom section to a validated component.
fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().module(module)?.validate(true).encode()
}

/// It imports nothing but our package, holds no path of this machine, and isn't large.
fn check_component(component: &[u8], machine_paths: &[String]) -> Result<()> {
    ensure!(
        component.len() <= MAX_COMPONENT_BYTES,
        "{} bytes, more than {MAX_COMPONENT_BYTES}",
        component.len()
    );
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("not a component")
    };
    let world = resolve.worlds.get(world).context("the component has no world")?;
    // A world's types are listed among its imports; they are names for what the interfaces have.
    let imports = world
        .imports
        .iter()
        .filter(|(_, item)| !matches!(item, WorldItem::Type { .. }));
    for (import, _) in imports {
        let name = resolve.name_world_key(import);
        ensure!(
            name.starts_with(PACKAGE),
            "imports {name}, and may import {PACKAGE}* alone"
        );
    }
    for path in machine_paths {
        let found = component.windows(path.len()).any(|bytes| bytes == path.as_bytes());
        ensure!(!found, "holds the path {path} of this machine");
    }
    Ok(())
}

/// The same flags for every machine but for the paths that are mapped away.
fn rustflags(root: &Path, target_dir: &Path, toolchain: &Toolchain) -> Result<OsString> {
    let mut flags: Vec<OsString> = vec!["-Ctarget-feature=+simd128".into()];
    let mut remap = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    };
    // The last prefix that fits wins: the wide ones first.
    let cargo_home = cargo_home()?;
    remap(&cargo_home, "/cargo");
    // One folder per registry, which is named after its host.
    for registry in fs::read_dir(cargo_home.join("registry/src")).into_iter().flatten() {
        remap(&registry?.path(), "/cargo");
    }
    for source in toolchain.library_sources()? {
        remap(&source, "/rustc");
    }
    remap(root, "/floorhand");
    remap(target_dir, "/target");
    let mut joined = OsString::new();
    for (index, flag) in flags.iter().enumerate() {
        if index > 0 {
            joined.push("\u{1f}");
        }
        joined.push(flag);
    }
    Ok(joined)
}

/// Paths that must not be in a component.
fn machine_paths(root: &Path, target_dir: &Path) -> Result<Vec<String>> {
    let mut paths = vec![root.to_owned(), target_dir.to_owned(), cargo_home()?];
    paths.extend(std::env::home_dir());
    // A home of "/" or the like would be found in anything.
    Ok(paths
        .into_iter()
        .map(|path| path.display().to_string())
        .filter(|path| path.len() > 4)
        .collect())
}

/// The folder's name to the package's name, of every plugin in `plugins/`.
fn plugin_packages(root: &Path) -> Result<BTreeMap<String, String>> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(root)
        .no_deps()
        .exec()?;
    let folder = root.join("plugins");
    let plugins: BTreeMap<String, String> = metadata
        .packages
        .iter()
        .filter_map(|package| {
            let home = package.manifest_path.parent()?;
            let name = home.file_name()?.to_owned();
            (home.parent()? == folder.as_path()).then(|| (name, package.name.to_string()))
        })
        .collect();
    ensure!(!plugins.is_empty(), "no plugins in {}", folder.display());
    Ok(plugins)
}

fn compare(root: &Path, components: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    verify_committed(root)?;
    let committed = committed_digests(root)?;
    for name in committed.keys() {
        ensure!(
            components.contains_key(name),
            "{PREBUILT}/{name} belongs to no plugin: `cargo xtask plugins`"
        );
    }
    for (name, component) in components {
        let fresh = digest(component);
        let found = committed
            .get(name)
            .with_context(|| format!("{PREBUILT}/{name} is missing: `cargo xtask plugins`"))?;
        let verdict = if *found == fresh {
            "the committed component, byte for byte"
        } else {
            "other bytes than the committed component (another compiler or source); the tests compare what they do"
        };
        report(&format!("plugins: {name}, {} bytes, fresh: {verdict}", component.len()));
    }
    Ok(())
}

fn write(root: &Path, components: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let folder = root.join(PREBUILT);
    write_to(&folder, components)?;
    let mut digests = String::new();
    for (name, component) in components {
        writeln!(digests, "{}  {name}", digest(component))?;
        report(&format!("plugins: {PREBUILT}/{name}, {} bytes", component.len()));
    }
    fs::write(folder.join(DIGESTS), digests).with_context(|| format!("write {PREBUILT}/{DIGESTS}"))
}

fn write_to(folder: &Path, components: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    for (name, component) in components {
        let path = folder.join(name);
        fs::write(&path, component).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// File name to digest, from the committed list.
fn committed_digests(root: &Path) -> Result<BTreeMap<String, String>> {
    let path = root.join(PREBUILT).join(DIGESTS);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    text.lines()
        .map(|line| {
            let (digest, name) = line
                .split_once("  ")
                .with_context(|| format!("{DIGESTS}: malformed line {line:?}"))?;
            Ok((name.to_owned(), digest.to_owned()))
        })
        .collect()
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn rustc_prints(rustc: &std::ffi::OsStr, arguments: &[&str]) -> Result<String> {
    let output = Command::new(rustc).args(arguments).output();
    let output = output.with_context(|| format!("run {}", rustc.display()))?;
    ensure!(output.status.success(), "{} {arguments:?} failed", rustc.display());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn rustc_version(rustc: &std::ffi::OsStr) -> Result<Version> {
    let printed = rustc_prints(rustc, &["--version"])?;
    parse_rustc_version(&printed).with_context(|| format!("{} says it is {printed:?}", rustc.display()))
}

/// `rustc 1.96.0 (ac68faa20 2026-06-02) (built from a source tarball)` to 1.96.0.
fn parse_rustc_version(printed: &str) -> Option<Version> {
    Version::parse(printed.split_whitespace().nth(1)?).ok()
}

/// The workspace's rust-version.
fn needed_version() -> Result<Version> {
    let metadata = workspace::manifests()?;
    let versions = metadata
        .packages
        .iter()
        .filter_map(|package| package.rust_version.clone());
    versions.max().context("Cargo.toml has a rust-version")
}

fn workspace_root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .map(Path::to_owned)
        .context("xtask stands in the workspace's root")
}

fn target_dir(root: &Path) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    root.join(target).join("plugins")
}

fn cargo_home() -> Result<PathBuf> {
    let given = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    given
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}

fn report(line: &str) {
    use io::Write as _;
    // Nobody may be reading any more; the work is done all the same.
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_compilers_say_of_themselves() {
        let check =
            |printed: &str, expected: Option<Version>| assert_eq!(parse_rustc_version(printed), expected, "{printed}");
        check(
            "rustc 1.96.0 (ac68faa20 2026-06-02) (built from a source tarball)",
            Some(Version::new(1, 96, 0)),
        );
        check("rustc 1.85.0", Some(Version::new(1, 85, 0)));
        check("rustc", None);
        check("rustc web", None);
    }

    #[test]
    fn the_needed_version_is_that_of_the_manifest() {
        let manifest = fs::read_to_string(workspace_root().unwrap().join("Cargo.toml")).unwrap();
        let needed = needed_version().unwrap();
        assert!(
            manifest.contains(&format!("rust-version = \"{}.{}\"", needed.major, needed.minor)),
            "{needed}"
        );
    }
}
