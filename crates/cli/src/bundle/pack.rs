//! `floorhand bundle pack`: a folder becomes one file.

use super::golden::{self, GoldenArgs};
use super::{advice, describe};
use crate::contents::Contents;
use crate::output::Output;
use crate::unlock::UnlockArgs;
use crate::{engine, files};
use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use floorhand_bundle::{Archive, Signer};
use floorhand_keys::KeyLocation;
use std::path::PathBuf;

/// `floorhand bundle pack`
#[derive(Debug, Args)]
pub struct PackArgs {
    /// The folder with bundle.toml, the model, and the files they name
    dir: PathBuf,
    /// Where to write the bundle [default: NAME-VERSION.fhb in this folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A key to sign with, a file or pkcs11:token=LABEL;object=LABEL; without one the bundle is signed later, by `bundle sign`
    #[arg(long = "key", value_name = "KEY", value_hint = ValueHint::FilePath)]
    keys: Vec<KeyLocation>,
    #[command(flatten)]
    unlock: UnlockArgs,
    #[command(flatten)]
    golden: GoldenArgs,
}

/// Packs.
pub(super) fn run(args: &PackArgs, out: &Output) -> Result<()> {
    // Keys first: a wrong path is known at once, not after a minute of golden cases.
    let signers = args.unlock.signers(&args.keys)?;
    golden::make(&args.dir, &args.golden, out)?;
    let mut contents = Contents::of_folder(&args.dir)?;
    engine::check(&contents, out)?;
    advice::tell(&contents, out);
    let signing: Vec<&dyn Signer> = signers.iter().map(|signer| signer.as_ref()).collect();
    let manifest = contents.manifest.seal(&signing).context("manifest can't be signed")?;
    contents.signers = signing.iter().map(|key| key.public().id()).collect();
    let file = args
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{}-{}.fhb", contents.manifest.name, contents.manifest.version)));
    let mut bytes = Vec::new();
    let archive = Archive {
        manifest,
        assignment: None,
        blobs: std::mem::take(&mut contents.blobs),
    };
    archive.write(&mut bytes)?;
    files::replace(&file, &bytes, files::PUBLIC)?;
    let mut value = describe::summary(&contents);
    value.insert("file".to_owned(), file.display().to_string().into());
    value.insert("file_bytes".to_owned(), bytes.len().into());
    out.show(&value, |out| {
        describe::identity(&contents, out)?;
        out.pairs(&[
            ("file", file.display().to_string()),
            ("file size", describe::size(bytes.len() as u64)),
        ])?;
        if contents.signers.is_empty() {
            out.note("no device takes it unsigned: sign it with `floorhand bundle sign`");
        }
        Ok(())
    })
}
