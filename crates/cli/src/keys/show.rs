//! `floorhand keys show`: what kind of key there is. Never its secret half, and never a question for a file: what an
//! encrypted file says of itself, is enough to tell which key it is.

use super::ShowArgs;
use crate::output::{Output, Tone};
use anyhow::{Result, anyhow};
use floorhand_bundle::PublicKey;
use floorhand_keys::{KeyFile, KeyLocation, Keyring, Kind, TokenUri};
use serde_json::json;
use std::path::Path;

pub(super) fn run(args: &ShowArgs, out: &Output) -> Result<()> {
    match &args.key {
        KeyLocation::File(path) => file(path, out),
        KeyLocation::Token(uri) => token(uri, &args.unlock.keyring(), out),
    }
}

/// What a kind is called.
pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Public => "public",
        Kind::Secret | Kind::Encrypted => "secret",
    }
}

fn file(path: &Path, out: &Output) -> Result<()> {
    let file = KeyFile::read(path)?;
    let kind = file.kind();
    let id = file.key_id()?.map(|id| id.to_string());
    let pem = file.public_half()?.map(|key| key.to_pem()).transpose()?;
    let encrypted = kind == Kind::Encrypted;
    let exposed = kind != Kind::Public && file.is_shared();
    let value = json!({
        "kind": kind_name(kind),
        "encrypted": encrypted,
        "key_id": id,
        "public_key_pem": pem,
        "exposed": exposed,
    });
    out.show(&value, |out| {
        let name = if encrypted {
            "secret, under a passphrase"
        } else {
            kind_name(kind)
        };
        let mut pairs = vec![("kind", name.to_owned())];
        pairs.push((
            "key id",
            id.clone()
                .unwrap_or_else(|| "known with its passphrase alone".to_owned()),
        ));
        pairs.extend(pem.as_ref().map(|pem| ("public key", pem.trim().to_owned())));
        out.pairs(&pairs)?;
        if exposed {
            let text = format!("{} can be read by others; `chmod 600` it", path.display());
            out.note_in(Tone::Warn, &text);
        }
        Ok(())
    })
}

fn token(uri: &TokenUri, keyring: &Keyring<'_>, out: &Output) -> Result<()> {
    let keys = keyring.list(uri)?;
    let [key] = keys.as_slice() else {
        return Err(anyhow!(
            "{uri} means {} Ed25519 keys, and has to mean one; `floorhand keys list` shows what there is",
            keys.len()
        ));
    };
    let id = key.public.as_ref().map(|public| public.id().to_string());
    let pem = key.public.as_ref().map(PublicKey::to_pem).transpose()?;
    let location = key.uri.to_string();
    let value = json!({ "kind": "secret", "token": location, "key_id": id, "public_key_pem": pem });
    out.show(&value, |out| {
        let mut pairs = vec![("kind", "secret, in a token".to_owned()), ("token", location.clone())];
        pairs.extend(id.clone().map(|id| ("key id", id)));
        pairs.extend(pem.as_ref().map(|pem| ("public key", pem.trim().to_owned())));
        out.pairs(&pairs)
    })
}
