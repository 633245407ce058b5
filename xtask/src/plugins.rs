//! `cargo xtask plugins`: builds the first-party plugins from source into `plugins/prebuilt/`.
//!
//! Owns which crates are first-party plugins, how they are optimised, how large their components may be, that no path of
//! this machine is in them, and the digests beside them. How a crate becomes a component is `floorhand-plugin-build`'s, as
//! for everybody's plugins. It must not change a crate or the root manifest.
//!
//! A machine may lack the WebAssembly target. Then the committed components stay as they are, which is an error where a
//! fresh build is required (CI).

use anyhow::{Context, Result, ensure};
use floorhand_plugin_build::{BuildError, Stamp, Toolchain, component, rust};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

/// Configuration and errors, most of a plugin's code, run once: they are compiled for size. The loops over samples are
/// in one crate: compiled for speed, which is what turns them into vector instructions.
const PROFILE: [&str; 2] = [
    "profile.release.opt-level=\"s\"",
    "profile.release.package.floorhand-statistics.opt-level=3",
];

/// A component above this has something large linked in that it should do without. The largest, output-drift, has 0.3 MB: a
/// configuration with many keys, and three statistics.
const MAX_COMPONENT_BYTES: usize = 384 * 1024;

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
    let toolchain = match Toolchain::find(&root) {
        Ok(toolchain) => toolchain,
        Err(BuildError::Toolchain(reason)) if !require_fresh => {
            verify_committed(&root)?;
            report(&format!(
                "plugins: {reason}; until then the committed components in {PREBUILT} stay"
            ));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
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
    match Toolchain::find(&workspace_root()?) {
        Ok(_) => Ok(true),
        Err(BuildError::Toolchain(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
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

/// Builds all plugin crates and makes components of them: file name to bytes.
fn build(root: &Path, target_dir: &Path, toolchain: &Toolchain) -> Result<BTreeMap<String, Vec<u8>>> {
    let plugins = plugin_packages(root)?;
    let packages: Vec<String> = plugins.iter().map(|plugin| plugin.package.clone()).collect();
    let build = rust::RustBuild {
        folder: root,
        packages: &packages,
        target_dir,
        locked: true,
        quiet: false,
        profile: &PROFILE,
        renamed: &[(root.to_owned(), "/floorhand")],
    };
    build.run(toolchain)?;
    let secrets = machine_paths(root, target_dir)?;
    plugins
        .iter()
        .map(|plugin| {
            let package = &plugin.package;
            let component = component::componentize(&build.module(package)?)
                .with_context(|| format!("make a component of {package}"))?;
            component::check(&component).with_context(|| format!("check the component of {package}"))?;
            let component = plugin.stamp.apply(&component)?;
            check_contents(&component, &secrets).with_context(|| format!("check the component of {package}"))?;
            Ok((format!("{}.wasm", plugin.stamp.name), component))
        })
        .collect()
}

/// It holds no path of this machine, and isn't large.
fn check_contents(component: &[u8], machine_paths: &[String]) -> Result<()> {
    ensure!(
        component.len() <= MAX_COMPONENT_BYTES,
        "{} bytes, more than {MAX_COMPONENT_BYTES}",
        component.len()
    );
    for path in machine_paths {
        let found = component.windows(path.len()).any(|bytes| bytes == path.as_bytes());
        ensure!(!found, "holds the path {path} of this machine");
    }
    Ok(())
}

/// Paths that must not be in a component.
fn machine_paths(root: &Path, target_dir: &Path) -> Result<Vec<String>> {
    let mut paths = vec![root.to_owned(), target_dir.to_owned(), rust::cargo_home()?];
    paths.extend(std::env::home_dir());
    // A home of "/" or the like would be found in anything.
    Ok(paths
        .into_iter()
        .map(|path| path.display().to_string())
        .filter(|path| path.len() > 4)
        .collect())
}

/// A crate in `plugins/`.
struct Plugin {
    /// The crate's name.
    package: String,
    /// What goes into its component; its name is the folder's.
    stamp: Stamp,
}

/// Every plugin in `plugins/`.
fn plugin_packages(root: &Path) -> Result<Vec<Plugin>> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(root)
        .no_deps()
        .exec()?;
    let folder = root.join("plugins");
    let mut plugins = Vec::new();
    for package in metadata.packages {
        let home = package.manifest_path.parent().map(|home| home.as_std_path().to_owned());
        let Some(home) = home.filter(|home| home.parent() == Some(&folder)) else {
            continue;
        };
        let schema = home.join("schema.json");
        plugins.push(Plugin {
            package: package.name.to_string(),
            stamp: Stamp {
                name: home.file_name().unwrap_or_default().display().to_string(),
                version: package.version.to_string(),
                description: package.description.unwrap_or_default(),
                authors: package.authors,
                licenses: package.license.unwrap_or_default(),
                schema: fs::read_to_string(&schema).with_context(|| format!("read {}", schema.display()))?,
            },
        });
    }
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

fn report(line: &str) {
    use io::Write as _;
    // Nobody may be reading any more; the work is done all the same.
    let _ = writeln!(io::stdout(), "{line}");
}
