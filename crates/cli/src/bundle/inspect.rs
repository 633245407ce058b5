//! `floorhand bundle inspect`: everything a manifest says, for a person who holds no trust root.

use super::describe;
use super::source::{Source, read_archive};
use crate::contents::Contents;
use crate::output::{Output, Tone};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// `floorhand bundle inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The bundle: a .fhb file, or a folder with bundle.toml
    file: PathBuf,
}

/// Inspects.
pub(super) fn run(args: &InspectArgs, out: &Output) -> Result<()> {
    let contents = match Source::of(&args.file) {
        Source::Folder(folder) => Contents::of_folder(&folder)?,
        Source::File(file) => Contents::unverified(read_archive(&file)?)?,
    };
    out.show(&describe::everything(&contents)?, |out| {
        describe::identity(&contents, out)?;
        describe::details(&contents.manifest, out)?;
        out.note_in(
            Tone::Warn,
            "not verified: this is what the file says; `bundle verify` checks it",
        );
        Ok(())
    })
}
