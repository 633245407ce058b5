//! `floorhand keys new`: a key pair in two files, or its secret half in a token.

use super::{generate, pair_file, random, write_public};
use crate::files;
use crate::output::Output;
use crate::unlock::UnlockArgs;
use anyhow::{Result, anyhow};
use clap::Args;
use floorhand_bundle::SecretKey;
use floorhand_keys::{TokenUri, encrypted_text};
use serde_json::json;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// `floorhand keys new`
#[derive(Debug, Args)]
pub struct NewArgs {
    /// What the files are called: NAME.key and NAME.pub
    name: String,
    /// The folder they are written to
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Write the secret key unencrypted, for a daemon that starts with nobody there: whoever reads the file has the key
    #[arg(long, conflicts_with_all = ["passphrase_files", "pkcs11"])]
    no_passphrase: bool,
    /// Make the key in this token, pkcs11:token=LABEL, under the URI's object or under NAME
    #[arg(long, value_name = "URI")]
    pkcs11: Option<TokenUri>,
    #[command(flatten)]
    unlock: UnlockArgs,
}

pub(super) fn run(args: &NewArgs, out: &Output) -> Result<()> {
    if args.name.is_empty() || args.name.contains('/') {
        return Err(anyhow!(
            "{:?} is no name for a key; the folder is given with --out",
            args.name
        ));
    }
    let secret = pair_file(&args.out, &args.name, "key");
    let public = pair_file(&args.out, &args.name, "pub");
    // Before anything is asked for or made. What comes into being meanwhile isn't overwritten either.
    let wanted: &[&Path] = if args.pkcs11.is_some() {
        &[&public]
    } else {
        &[&secret, &public]
    };
    if let Some(there) = wanted.iter().find(|path| path.exists()) {
        return Err(anyhow!(
            "{} is there already, and keys are never overwritten; choose another name, or move it away",
            there.display()
        ));
    }
    match &args.pkcs11 {
        Some(uri) => in_token(args, uri, &public, out),
        None => in_files(args, &secret, &public, out),
    }
}

fn in_files(args: &NewArgs, secret_file: &Path, public_file: &Path, out: &Output) -> Result<()> {
    let key = generate()?;
    let text = if args.no_passphrase {
        key.to_pem()?
    } else {
        encrypted(&key, args, secret_file)?
    };
    files::create(secret_file, text.as_bytes(), files::SECRET, false)?;
    write_public(public_file, &key.public())?;
    let id = key.public().id().to_string();
    let protection = if args.no_passphrase {
        "none: whoever reads the file has the key"
    } else {
        "a passphrase"
    };
    out.show(
        &json!({ "key_id": id, "secret": secret_file, "public": public_file, "encrypted": !args.no_passphrase }),
        |out| {
            out.pairs(&[
                ("key id", id.clone()),
                ("secret", secret_file.display().to_string()),
                ("protected by", protection.to_owned()),
                ("public", public_file.display().to_string()),
            ])
        },
    )
}

fn encrypted(key: &SecretKey, args: &NewArgs, file: &Path) -> Result<Zeroizing<String>> {
    let passphrase = args.unlock.new_passphrase(file)?;
    Ok(encrypted_text(key, &passphrase, &random()?)?.into())
}

fn in_token(args: &NewArgs, uri: &TokenUri, public_file: &Path, out: &Output) -> Result<()> {
    let label = uri.object.as_deref().unwrap_or(&args.name);
    let made = args.unlock.keyring().generate(uri, label)?;
    let public = made
        .public
        .ok_or_else(|| anyhow!("{} was made, and the token does not give its public key", made.uri))?;
    write_public(public_file, &public)?;
    let (id, location, pem) = (public.id().to_string(), made.uri.to_string(), public.to_pem()?);
    out.show(
        &json!({ "key_id": id, "secret": location, "public": public_file, "public_key_pem": pem }),
        |out| {
            out.pairs(&[
                ("key id", id.clone()),
                ("secret", location.clone()),
                ("public", public_file.display().to_string()),
                ("public key", pem.trim().to_owned()),
            ])
        },
    )
}
