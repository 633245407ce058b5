//! `floorhand bundle sign`: one more signature over the same bytes.

use super::describe;
use super::source::read_archive;
use crate::contents::Contents;
use crate::output::Output;
use crate::{engine, files, keys};
use anyhow::{Context, Result};
use clap::Args;
use floorhand_bundle::{Archive, Domain, Envelope, MAX_MANIFEST_BYTES};
use std::path::PathBuf;

/// `floorhand bundle sign`
#[derive(Debug, Args)]
pub struct SignArgs {
    /// The bundle
    file: PathBuf,
    /// A release key; each adds one signature
    #[arg(long = "key", value_name = "KEY", required = true)]
    keys: Vec<PathBuf>,
    /// Where to write the signed bundle [default: in place of FILE]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Signs.
pub(super) fn run(args: &SignArgs, out: &Output) -> Result<()> {
    let secrets = args
        .keys
        .iter()
        .map(|path| keys::read_secret(path))
        .collect::<Result<Vec<_>>>()?;
    let archive = read_archive(&args.file)?;
    let mut contents = Contents::unverified(archive.clone())?;
    engine::check(&contents, out)?;
    let mut manifest = archive.manifest;
    for key in &secrets {
        manifest = Envelope::open(Domain::Manifest, &manifest, MAX_MANIFEST_BYTES)?
            .add_signature(key)
            .context("manifest can't be signed")?;
    }
    contents.signers = Envelope::open(Domain::Manifest, &manifest, MAX_MANIFEST_BYTES)?.signers();
    let file = args.output.as_ref().unwrap_or(&args.file);
    let mut bytes = Vec::new();
    Archive { manifest, ..archive }.write(&mut bytes)?;
    files::replace(file, &bytes, files::PUBLIC)?;
    let mut value = describe::summary(&contents);
    value.insert("file".to_owned(), file.display().to_string().into());
    out.show(&value, |out| {
        describe::identity(&contents, out)?;
        out.pairs(&[("file", file.display().to_string())])
    })
}
