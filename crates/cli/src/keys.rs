//! `floorhand keys`: Ed25519 key pairs in the PEM forms that `openssl` reads and writes.
//!
//! A secret key is written once, readable by its owner alone, and never printed.

use crate::files;
use crate::output::{Output, Tone};
use anyhow::{Context, Result, anyhow};
use clap::{Args, Subcommand};
use floorhand_bundle::{PublicKey, SecretKey};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// `floorhand keys`
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key pair: NAME.key, to be kept secret, and NAME.pub, to be handed out
    ///
    /// Make one for whoever releases bundles (and keep it off the network), one for the hub, and one for each device.
    New(NewArgs),
    /// Show what kind of key a file holds, and its id
    Show {
        /// A .key or a .pub file
        file: PathBuf,
    },
}

/// `floorhand keys new`
#[derive(Debug, Args)]
pub struct NewArgs {
    /// What the files are called: NAME.key and NAME.pub
    name: String,
    /// The folder they are written to
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Replace keys that are there already; what only they could sign can't be signed any more
    #[arg(long)]
    force: bool,
}

/// Runs a `keys` command.
pub fn run(command: &KeysCommand, out: &Output) -> Result<()> {
    match command {
        KeysCommand::New(args) => new(args, out),
        KeysCommand::Show { file } => show(file, out),
    }
}

/// A key as a file holds it.
pub enum Key {
    /// A secret key.
    Secret(SecretKey),
    /// A public key.
    Public(PublicKey),
}

impl Key {
    /// The public half.
    pub fn public(&self) -> PublicKey {
        match self {
            Self::Secret(key) => key.public(),
            Self::Public(key) => key.clone(),
        }
    }
}

/// Reads a key of either kind.
pub fn read(path: &Path) -> Result<Key> {
    let text = files::read_text(path)?;
    let key = if text.contains("PRIVATE KEY") {
        SecretKey::from_pem(&text).map(Key::Secret)
    } else {
        PublicKey::from_pem(&text).map(Key::Public)
    };
    key.with_context(|| format!("{} holds no key", path.display()))
}

/// Reads a key that is to sign.
pub fn read_secret(path: &Path) -> Result<SecretKey> {
    match read(path)? {
        Key::Secret(key) => Ok(key),
        Key::Public(_) => Err(anyhow!(
            "{} is a public key, and only a secret one can sign; name the .key file beside it",
            path.display()
        )),
    }
}

/// Reads a key that is to be handed out.
pub fn read_public(path: &Path) -> Result<PublicKey> {
    match read(path)? {
        Key::Public(key) => Ok(key),
        Key::Secret(_) => Err(anyhow!(
            "{} is a secret key, which is to stay where it was made; give the public one, {}",
            path.display(),
            path.with_extension("pub").display()
        )),
    }
}

/// A new secret key from the system's randomness.
pub fn generate() -> Result<SecretKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).context("the system gives no randomness for a key")?;
    Ok(SecretKey::from_seed(&seed))
}

fn new(args: &NewArgs, out: &Output) -> Result<()> {
    let file = |extension: &str| args.out.join(format!("{}.{extension}", args.name));
    let (secret_file, public_file) = (file("key"), file("pub"));
    if args.name.is_empty() || args.name.contains('/') {
        return Err(anyhow!(
            "{:?} is no name for a key; the folder is given with --out",
            args.name
        ));
    }
    if public_file.exists() && !args.force {
        return Err(anyhow!(
            "{} is there already; choose another name, or pass --force to replace the pair",
            public_file.display()
        ));
    }
    let key = generate()?;
    files::create(&secret_file, key.to_pem()?.as_bytes(), files::SECRET, args.force)?;
    files::create(
        &public_file,
        key.public().to_pem()?.as_bytes(),
        files::PUBLIC,
        args.force,
    )?;
    let id = key.public().id().to_string();
    out.show(
        &json!({ "key_id": id, "secret": secret_file, "public": public_file }),
        |out| {
            out.pairs(&[
                ("key id", id.clone()),
                ("secret", secret_file.display().to_string()),
                ("public", public_file.display().to_string()),
            ])
        },
    )
}

fn show(file: &Path, out: &Output) -> Result<()> {
    let key = read(file)?;
    let kind = match key {
        Key::Secret(_) => "secret",
        Key::Public(_) => "public",
    };
    let exposed = kind == "secret" && readable_by_others(file)?;
    let (id, pem) = (key.public().id().to_string(), key.public().to_pem()?);
    out.show(
        &json!({ "kind": kind, "key_id": id, "public_key_pem": pem, "exposed": exposed }),
        |out| {
            out.pairs(&[
                ("kind", kind.to_owned()),
                ("key id", id.clone()),
                ("public key", pem.trim().to_owned()),
            ])?;
            if exposed {
                let text = format!("{} can be read by others; `chmod 600` it", file.display());
                out.note_in(Tone::Warn, &text);
            }
            Ok(())
        },
    )
}

fn readable_by_others(file: &Path) -> Result<bool> {
    let metadata = std::fs::metadata(file).with_context(|| format!("{} can't be read", file.display()))?;
    Ok(metadata.permissions().mode() & 0o077 != 0)
}
