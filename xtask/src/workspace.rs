//! Where things are: the workspace's root, the build directory, cargo itself.
//!
//! Reads the environment and nothing else. Everything that starts cargo starts the one that runs this tool, so that one
//! toolchain and one build directory serve all steps.

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The folder of the root manifest.
pub fn root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_owned)
        .context("xtask stands in the workspace's root")
}

/// `cargo`, in the workspace's root.
pub fn cargo() -> Result<Command> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()?);
    // What cargo tells a program it runs; handed down, it would make build scripts run again.
    for variable in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"] {
        command.env_remove(variable);
    }
    Ok(command)
}

/// The members' manifests as cargo reads them, without resolving what they depend on: no network, no lock file.
pub fn manifests() -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.current_dir(root()?).no_deps();
    command.exec().context("read the workspace's manifests")
}

/// Whether this runs in continuous integration: `CI` is set, to anything but nothing, `0` or `false`.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}
