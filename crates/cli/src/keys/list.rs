//! `floorhand keys list`: the keys of a folder or of a token.

use super::ListArgs;
use super::show::kind_name;
use crate::output::Output;
use anyhow::{Context, Result};
use floorhand_keys::{KeyFile, KeyLocation, Keyring, Kind, TokenKey, TokenUri};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

pub(super) fn run(args: &ListArgs, out: &Output) -> Result<()> {
    match &args.place {
        KeyLocation::File(folder) => in_folder(folder, out),
        KeyLocation::Token(uri) => in_token(uri, &args.unlock.keyring(), out),
    }
}

/// What the names of key files end with.
const EXTENSIONS: [&str; 3] = ["key", "pub", "pem"];

fn in_folder(folder: &Path, out: &Output) -> Result<()> {
    let unreadable = || format!("{} can't be read", folder.display());
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        paths.push(entry.with_context(unreadable)?.path());
    }
    let is_key = |path: &PathBuf| {
        path.extension()
            .and_then(OsStr::to_str)
            .is_some_and(|it| EXTENSIONS.contains(&it))
    };
    paths.retain(is_key);
    paths.sort();
    // A certificate is no key of ours, and neither is its RSA key; both may lie there.
    let keys: Vec<Entry> = paths.iter().filter_map(|path| entry(path)).collect();
    let value: Vec<Value> = keys.iter().map(Entry::json).collect();
    out.show(&value, |out| {
        let mut table = out.table(&["file", "kind", "key id"]);
        for key in &keys {
            let id = key.id.clone().unwrap_or_else(|| "-".to_owned());
            table.add_row([key.name.clone(), key.kind_text(), id]);
        }
        out.print(table)
    })
}

struct Entry {
    name: String,
    kind: Kind,
    id: Option<String>,
    exposed: bool,
}

fn entry(path: &Path) -> Option<Entry> {
    let file = KeyFile::read(path).ok()?;
    let id = file.key_id().ok()?;
    Some(Entry {
        name: path.file_name()?.to_string_lossy().into_owned(),
        kind: file.kind(),
        id: id.map(|id| id.to_string()),
        exposed: file.kind() != Kind::Public && file.is_shared(),
    })
}

impl Entry {
    fn kind_text(&self) -> String {
        let protection = match self.kind {
            Kind::Public => "",
            Kind::Secret => ", unencrypted",
            Kind::Encrypted => ", under a passphrase",
        };
        let exposed = if self.exposed { ", readable by others" } else { "" };
        format!("{}{protection}{exposed}", kind_name(self.kind))
    }

    fn json(&self) -> Value {
        json!({
            "file": self.name,
            "kind": kind_name(self.kind),
            "encrypted": self.kind == Kind::Encrypted,
            "key_id": self.id,
            "exposed": self.exposed,
        })
    }
}

fn in_token(uri: &TokenUri, keyring: &Keyring<'_>, out: &Output) -> Result<()> {
    let keys = keyring.list(uri)?;
    let id = |key: &TokenKey| key.public.as_ref().map(|public| public.id().to_string());
    let entry = |key: &TokenKey| json!({ "kind": "secret", "key_id": id(key), "object": key.label, "uri": key.uri.to_string() });
    let value: Vec<Value> = keys.iter().map(entry).collect();
    out.show(&value, |out| {
        let mut table = out.table(&["object", "key id", "uri"]);
        for key in &keys {
            let id = id(key).unwrap_or_else(|| "-".to_owned());
            table.add_row([key.label.clone(), id, key.uri.to_string()]);
        }
        out.print(table)
    })
}
