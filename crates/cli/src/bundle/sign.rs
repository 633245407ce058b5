//! `floorhand bundle sign`: one more signature over the same bytes.

use super::describe;
use super::source::read_archive;
use crate::contents::Contents;
use crate::output::Output;
use crate::unlock::UnlockArgs;
use crate::{engine, files};
use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use floorhand_bundle::{Archive, Domain, Envelope, MAX_MANIFEST_BYTES};
use floorhand_keys::KeyLocation;
use std::path::PathBuf;

/// `floorhand bundle sign`
#[derive(Debug, Args)]
pub struct SignArgs {
    /// The bundle
    file: PathBuf,
    /// A release key, a file or pkcs11:token=LABEL;object=LABEL; each adds one signature
    #[arg(long = "key", value_name = "KEY", required = true, value_hint = ValueHint::FilePath)]
    keys: Vec<KeyLocation>,
    #[command(flatten)]
    unlock: UnlockArgs,
    /// Where to write the signed bundle [default: in place of FILE]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Signs.
pub(super) fn run(args: &SignArgs, out: &Output) -> Result<()> {
    // Keys first: a wrong passphrase is known at once, not after a minute of golden cases.
    let signers = args.unlock.signers(&args.keys)?;
    let archive = read_archive(&args.file)?;
    let mut contents = Contents::unverified(archive.clone())?;
    engine::check(&contents, out)?;
    let mut manifest = archive.manifest;
    for key in &signers {
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
