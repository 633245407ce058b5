//! `floorhand keys passphrase`: the same key under another passphrase, its first one, or none.
//!
//! The file is replaced whole, after what will stand in it has been read back: a key that can't be opened is a key lost.

use super::random;
use crate::files;
use crate::output::{Output, Tone};
use crate::unlock::{UnlockArgs, new_passphrase};
use anyhow::{Context, Result, ensure};
use clap::Args;
use floorhand_bundle::SecretKey;
use floorhand_keys::{ExposeSecret, KeyFile, Kind, SecretString, encrypted_text};
use serde_json::json;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// `floorhand keys passphrase`
#[derive(Debug, Args)]
pub struct PassphraseArgs {
    /// A .key file
    file: PathBuf,
    /// A file whose first line is the new passphrase, instead of asking for it
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    /// Write the key unencrypted, for a daemon that starts with nobody there: whoever reads the file has the key
    #[arg(long, conflicts_with = "new_passphrase_file")]
    remove: bool,
    #[command(flatten)]
    unlock: UnlockArgs,
}

pub(super) fn run(args: &PassphraseArgs, out: &Output) -> Result<()> {
    let file = KeyFile::read(&args.file)?;
    let was_open = file.kind() == Kind::Secret;
    let key = file.secret(&args.unlock)?;
    let text = if args.remove {
        key.to_pem()?
    } else {
        let passphrase = new_passphrase(args.new_passphrase_file.as_slice(), &args.file)?;
        encrypted(&key, &passphrase, &args.file)?
    };
    files::replace(&args.file, text.as_bytes(), files::SECRET)?;
    let id = key.public().id().to_string();
    let value = json!({ "key_id": id, "secret": args.file, "encrypted": !args.remove });
    out.show(&value, |out| {
        out.pairs(&[("key id", id.clone()), ("secret", args.file.display().to_string())])?;
        if was_open && !args.remove {
            let text =
                "the unencrypted key may still be found on the disk and in backups; if that matters, make another key";
            out.note_in(Tone::Warn, text);
        }
        Ok(())
    })
}

/// The encrypted key, which was opened again.
fn encrypted(key: &SecretKey, passphrase: &SecretString, file: &Path) -> Result<Zeroizing<String>> {
    let text = encrypted_text(key, passphrase, &random()?)?;
    let again = SecretKey::from_encrypted_pem(&text, passphrase.expose_secret().as_bytes());
    let again = again.with_context(|| format!("{}: what would be written does not open", file.display()))?;
    ensure!(
        again.public() == key.public(),
        "{}: what would be written holds another key",
        file.display()
    );
    Ok(text.into())
}
