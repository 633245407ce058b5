//! `floorhand root sign`: one more signature on a root, at whatever machine its key is kept.

use super::document::{Document, read};
use super::verify;
use crate::files;
use crate::output::Output;
use crate::unlock::UnlockArgs;
use anyhow::{Context, Result, anyhow};
use clap::Args;
use floorhand_bundle::{Domain, Envelope, MAX_ROOT_BYTES, TrustRoot};
use floorhand_keys::KeyLocation;
use std::path::PathBuf;

/// `floorhand root sign`
#[derive(Debug, Args)]
pub struct SignArgs {
    /// The trust root to be signed
    file: PathBuf,
    /// A root key, of this root or of the one before
    #[arg(long = "key", value_name = "KEY", required = true, num_args = 1..)]
    keys: Vec<KeyLocation>,
    /// The root before, to tell what is still missing
    #[arg(long, value_name = "FILE")]
    current: Option<PathBuf>,
    /// Where to write the signed root [default: in place of FILE]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    unlock: UnlockArgs,
}

/// Signs.
pub(super) fn run(args: &SignArgs, out: &Output) -> Result<()> {
    let current = args.current.as_deref().map(read).transpose()?;
    let mut document = Document::read(&args.file)?;
    for key in &args.keys {
        document = add(document, key, &args.unlock, current.as_deref())?;
    }
    let file = args.output.as_ref().unwrap_or(&args.file);
    files::replace(file, &document.bytes, files::PUBLIC)?;
    verify::tell(&[(&document, current.as_deref())], Some(file), out).map(drop)
}

/// Adds a signature. Without the root before, a key that this one doesn't list may be one of that.
pub(super) fn add(
    document: Document,
    location: &KeyLocation,
    unlock: &UnlockArgs,
    current: Option<&TrustRoot>,
) -> Result<Document> {
    let key = unlock.signer(location)?;
    let listed = |root: &TrustRoot| root.root.keys.contains(&key.public());
    if !listed(&document.root) && current.is_some_and(|current| !listed(current)) {
        return Err(anyhow!(
            "{location} is a root key neither of this root nor of the one before; its signature would not count"
        ));
    }
    let signed = Envelope::open(Domain::Root, &document.bytes, MAX_ROOT_BYTES)?
        .add_signature(key.as_ref())
        .context("trust root can't be signed")?;
    Ok(Document::parse(signed)?)
}
