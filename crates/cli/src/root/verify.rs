//! `floorhand root verify`: whether enough people have signed, and who is missing.

use super::document::{self, Document, Signatures};
use crate::exit::Failure;
use crate::output::{Output, Tone};
use anyhow::Result;
use clap::Args;
use floorhand_bundle::TrustRoot;
use serde_json::json;
use std::path::{Path, PathBuf};

/// What is said of a root that hasn't enough signatures.
pub(super) const INCOMPLETE: &str = "it doesn't count yet; have the others sign it with `floorhand root sign`";

/// `floorhand root verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The trust root
    file: PathBuf,
    /// The roots before it, the oldest first: each has to sign for the next
    #[arg(long, value_name = "FILE", num_args = 1..)]
    chain: Vec<PathBuf>,
}

/// Verifies.
pub(super) fn run(args: &VerifyArgs, out: &Output) -> Result<()> {
    let paths: Vec<&PathBuf> = args.chain.iter().chain([&args.file]).collect();
    let documents = paths
        .iter()
        .map(|path| Document::read(path))
        .collect::<Result<Vec<_>>>()?;
    let before = std::iter::once(None).chain(documents.iter().map(|document| Some(&document.root)));
    let steps: Vec<(&Document, Option<&TrustRoot>)> = documents.iter().zip(before).collect();
    let complete = tell(&steps, None, out)?;
    if !complete {
        return Err(Failure::refused(format!("{} lacks signatures, see above", args.file.display())).into());
    }
    check_chain(&documents, &paths)
}

/// What signatures don't tell: versions, the fleet, keys that come back.
fn check_chain(documents: &[Document], paths: &[&PathBuf]) -> Result<()> {
    let roots = documents.iter().zip(paths);
    document::chain(roots.map(|(document, path)| (path.as_path(), document.bytes.as_slice()))).map(drop)
}

/// Tells of each root who has signed it, of its own root keys and of those of the one before; true when enough have.
pub(super) fn tell(steps: &[(&Document, Option<&TrustRoot>)], file: Option<&Path>, out: &Output) -> Result<bool> {
    let mut complete = true;
    let mut values = Vec::new();
    let mut lines = Vec::new();
    for (document, before) in steps {
        let own = document.signatures(&document.root.root);
        let previous = before.map(|before| document.signatures(&before.root));
        complete &= own.are_enough() && previous.as_ref().is_none_or(Signatures::are_enough);
        values.push(json!({
            "version": document.root.version,
            "digest": document.digest(),
            "own": own.json(),
            "previous": previous.as_ref().map(Signatures::json),
        }));
        lines.push((
            "root",
            format!("version {} of fleet {}", document.root.version, document.root.fleet),
        ));
        if let Some(previous) = &previous {
            lines.push(("signed, of the keys before", previous.text()));
        }
        lines.push(("signed, of its own keys", own.text()));
    }
    if let Some(file) = file {
        lines.push(("file", file.display().to_string()));
    }
    out.show(&json!({ "complete": complete, "roots": values, "file": file }), |out| {
        out.pairs(&lines)?;
        if !complete {
            out.note_in(Tone::Warn, INCOMPLETE);
        }
        Ok(())
    })?;
    Ok(complete)
}
