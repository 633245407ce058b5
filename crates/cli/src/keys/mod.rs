//! `floorhand keys`: Ed25519 key pairs in the PEM forms that `openssl` reads and writes, or in tokens behind PKCS #11.
//!
//! A secret key is written once, readable by its owner alone, under a passphrase unless somebody says otherwise, and
//! never printed.

mod list;
mod new;
mod passphrase;
mod show;

use crate::output::Output;
use crate::unlock::UnlockArgs;
use crate::{authority, files};
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand, ValueHint};
use floorhand_bundle::{PublicKey, SecretKey, Signer};
use floorhand_keys::{KeyFile, KeyLocation, Kind};
use std::path::{Path, PathBuf};

/// `floorhand keys`
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key pair: NAME.key, to be kept secret, and NAME.pub, to be handed out
    ///
    /// Make one for whoever releases bundles (and keep it off the network), one for the hub, and one for each device. The
    /// secret key is encrypted under a passphrase that you are asked for. With --pkcs11 it is made in a token (an HSM, a
    /// smart card), which it never leaves, and NAME.pub alone is written.
    New(Box<new::NewArgs>),
    /// Make the fleet's certificate authority: NAME.pem, to be handed out, and NAME.key, to be kept secret
    ///
    /// The hub signs devices' certificates with it; the broker lets in whom it has signed.
    Ca(authority::CaArgs),
    /// Make a certificate for somebody who is no device: a broker, a hub, a person who watches
    Cert(authority::CertArgs),
    /// Show what kind of key there is, and its id
    Show(ShowArgs),
    /// Give a secret key another passphrase, its first one, or none
    Passphrase(passphrase::PassphraseArgs),
    /// List the keys of a folder or of a token
    List(ListArgs),
}

/// `floorhand keys show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A .key or a .pub file, or pkcs11:token=LABEL;object=LABEL
    #[arg(value_name = "KEY", value_hint = ValueHint::AnyPath)]
    key: KeyLocation,
    #[command(flatten)]
    unlock: UnlockArgs,
}

/// `floorhand keys list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// A folder, or pkcs11:token=LABEL
    #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    place: KeyLocation,
    #[command(flatten)]
    unlock: UnlockArgs,
}

/// Runs a `keys` command.
pub fn run(command: &KeysCommand, out: &Output) -> Result<()> {
    match command {
        KeysCommand::New(args) => new::run(args, out),
        KeysCommand::Ca(args) => authority::ca(args, out),
        KeysCommand::Cert(args) => authority::cert(args, out),
        KeysCommand::Show(args) => show::run(args, out),
        KeysCommand::Passphrase(args) => passphrase::run(args, out),
        KeysCommand::List(args) => list::run(args, out),
    }
}

/// A key that can sign, or that signatures can be checked with.
pub enum Key {
    /// It signs.
    Secret(Box<dyn Signer>),
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

    /// What signs, if it can.
    pub fn signer(&self) -> Option<&dyn Signer> {
        match self {
            Self::Secret(key) => Some(key.as_ref()),
            Self::Public(_) => None,
        }
    }
}

/// Reads a key of either kind.
pub fn read(location: &KeyLocation, unlock: &UnlockArgs) -> Result<Key> {
    if let KeyLocation::File(path) = location {
        let file = KeyFile::read(path)?;
        if file.kind() == Kind::Public {
            return Ok(Key::Public(file.public()?));
        }
    }
    unlock.signer(location).map(Key::Secret)
}

/// Reads a key that is to be handed out.
pub fn read_public(path: &Path) -> Result<PublicKey> {
    let file = KeyFile::read(path)?;
    ensure!(
        file.kind() == Kind::Public,
        "{} is a secret key, which is to stay where it was made; give the public one, {}",
        path.display(),
        path.with_extension("pub").display()
    );
    Ok(file.public()?)
}

/// A new secret key from the system's randomness.
pub fn generate() -> Result<SecretKey> {
    Ok(SecretKey::from_seed(&random()?))
}

fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the system gives no randomness for a key")?;
    Ok(bytes)
}

/// Writes the public half of a pair.
fn write_public(path: &Path, key: &PublicKey) -> Result<()> {
    files::create(path, key.to_pem()?.as_bytes(), files::PUBLIC, false)
}

/// A file of a key pair.
fn pair_file(folder: &Path, name: &str, extension: &str) -> PathBuf {
    folder.join(format!("{name}.{extension}"))
}
