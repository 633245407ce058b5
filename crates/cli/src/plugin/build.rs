//! `floorhand plugin build`: from the source to a component.

use crate::bundle::size;
use crate::output::Output;
use crate::schema::Schema;
use anyhow::{Context as _, Result};
use clap::{Args, ValueHint};
use floorhand_plugin_build::{Built, Project};
use serde_json::json;
use std::path::{Path, PathBuf};

/// `floorhand plugin build`
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The plugin's folder
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
}

/// Builds, and says what came of it.
pub(super) fn run(args: &BuildArgs, out: &Output) -> Result<()> {
    let built = build(&args.dir, out)?;
    let path = built.path.display().to_string();
    let value = json!({ "file": path, "world": built.world.name(), "bytes": built.component.len() });
    out.show(&value, |out| {
        out.pairs(&[
            ("component", path.clone()),
            ("world", built.world.to_string()),
            ("size", size(built.component.len() as u64)),
        ])
    })
}

/// Builds the plugin of a folder; compilers speak to standard error.
pub(super) fn build(dir: &Path, out: &Output) -> Result<Built> {
    let project = Project::open(dir)?;
    // A schema that is none would be found by whoever packs a bundle with it.
    if !project.stamp.schema.is_empty() {
        Schema::parse(&project.stamp.schema)
            .with_context(|| project.folder.join("schema.json").display().to_string())?;
    }
    let waiting = out.spinner(format!("building {}", project.stamp.name));
    let built = floorhand_plugin_build::build(&project);
    waiting.finish_and_clear();
    Ok(built?)
}
