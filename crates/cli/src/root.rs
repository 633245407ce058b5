//! `floorhand root`: trust roots, which say whose signatures a fleet's devices accept.

mod document;
mod next;
mod publish;
mod sign;
mod verify;

pub use document::{read, read_chain};

use crate::files;
use crate::keys::{self, Key};
use crate::output::{Output, Tone};
use crate::time;
use crate::unlock::UnlockArgs;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use document::Document;
use floorhand_bundle::{FleetId, PublicKey, RoleKeys, Signer, TrustRoot};
use floorhand_keys::KeyLocation;
use serde_json::{Value, json};
use std::path::PathBuf;

/// `floorhand root`
#[derive(Debug, Subcommand)]
pub enum RootCommand {
    /// Make a fleet's trust root, which is put on each of its devices
    ///
    /// Three roles are kept apart: root keys sign trust roots and nothing else, release keys sign bundles and are kept
    /// off the network, and the assignment key is the hub's, which chooses among released bundles. The root counts when
    /// enough root keys have signed it.
    New(NewArgs),
    /// Make the trust root that follows, with other keys or a later end
    ///
    /// It counts when enough root keys of the current one and enough of its own have signed it.
    Next(next::NextArgs),
    /// Sign a trust root with a root key, wherever that is kept
    Sign(sign::SignArgs),
    /// Tell whether enough have signed a trust root, and who is missing
    Verify(verify::VerifyArgs),
    /// Give the hub the trust roots that follow its own; it takes every device to them
    Publish(publish::PublishArgs),
    /// Ask the hub which trust root counts, and how many devices have which
    Status(publish::StatusArgs),
    /// Show whom a trust root trusts
    Show {
        /// The trust root
        file: PathBuf,
    },
}

/// `floorhand root new`
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The fleet, as its topics name it
    #[arg(long)]
    fleet: FleetId,
    /// A root key. A .key file or a pkcs11: URI signs at once; who has the other half of a .pub file can do so later, with
    /// `root sign`
    #[arg(long = "root", value_name = "KEY", required = true, num_args = 1..)]
    root: Vec<KeyLocation>,
    /// The public key of somebody who may release bundles
    #[arg(long, value_name = "PUB", required = true, num_args = 1..)]
    release: Vec<PathBuf>,
    /// The public key of the hub
    #[arg(long, value_name = "PUB", required = true, num_args = 1..)]
    assignment: Vec<PathBuf>,
    /// How many root keys have to sign a root [default: more than half of them]
    #[arg(long, value_name = "N")]
    threshold: Option<u32>,
    /// How many release keys have to sign a bundle
    #[arg(long, value_name = "N", default_value_t = 1)]
    release_threshold: u32,
    /// The root's number: 1 for a fleet's first, one more for each that follows
    #[arg(long, value_name = "N", default_value_t = 1)]
    root_version: u64,
    /// How long devices take new bundles and assignments under it; what runs then goes on
    #[arg(long, value_name = "DAYS", default_value_t = 3650)]
    expires_days: u64,
    /// Where to write it
    #[arg(short, long, value_name = "FILE", default_value = "root.cose")]
    output: PathBuf,
    /// Replace a file that is there already
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    unlock: UnlockArgs,
}

/// Runs a `root` command.
pub fn run(command: &RootCommand, out: &Output) -> Result<()> {
    match command {
        RootCommand::New(args) => new(args, out),
        RootCommand::Next(args) => next::run(args, out),
        RootCommand::Sign(args) => sign::run(args, out),
        RootCommand::Verify(args) => verify::run(args, out),
        RootCommand::Publish(args) => publish::run(args, out),
        RootCommand::Status(args) => publish::status(args, out),
        RootCommand::Show { file } => show(&Document::read(file)?, out),
    }
}

fn new(args: &NewArgs, out: &Output) -> Result<()> {
    let keys = args
        .root
        .iter()
        .map(|location| keys::read(location, &args.unlock))
        .collect::<Result<Vec<_>>>()?;
    // A majority: losing one of three keys stops nobody, and stealing one of them gives nothing.
    let threshold = args.threshold.unwrap_or(keys.len() as u32 / 2 + 1);
    let signers: Vec<&dyn Signer> = keys.iter().filter_map(Key::signer).collect();
    let now_ms = time::now_ms();
    let root = TrustRoot {
        fleet: args.fleet.clone(),
        version: args.root_version,
        expires_ms: now_ms.saturating_add(args.expires_days.saturating_mul(time::DAY_MS)),
        issued_ms: now_ms,
        critical: Vec::new(),
        root: RoleKeys {
            keys: keys.iter().map(Key::public).collect(),
            threshold,
        },
        release: RoleKeys {
            keys: public_keys(&args.release)?,
            threshold: args.release_threshold,
        },
        assignment: RoleKeys::any_of(public_keys(&args.assignment)?),
    };
    let sealed = root.seal(&signers).context("trust root can't be made of these keys")?;
    let document = Document::parse(sealed)?;
    let complete = document.signatures(&document.root.root).are_enough();
    if complete {
        TrustRoot::open_pinned(&document.bytes).context("trust root that was just made does not open")?;
    }
    files::create(&args.output, &document.bytes, files::PUBLIC, args.force)?;
    if keys.len() == 1 {
        let advice =
            "one root key is one that can be lost or stolen: give --root three of them, two of which have to sign";
        out.note_in(Tone::Warn, advice);
    }
    if !complete {
        out.note_in(Tone::Warn, verify::INCOMPLETE);
    }
    show(&document, out)
}

fn public_keys(paths: &[PathBuf]) -> Result<Vec<PublicKey>> {
    paths.iter().map(|path| keys::read_public(path)).collect()
}

fn show(document: &Document, out: &Output) -> Result<()> {
    let root = &document.root;
    let signatures = document.signatures(&root.root);
    let value = json!({
        "fleet": root.fleet,
        "version": root.version,
        "issued_ms": root.issued_ms,
        "expires_ms": root.expires_ms,
        "expires": time::utc(root.expires_ms),
        "expired": time::now_ms() > root.expires_ms,
        "digest": document.digest(),
        "signatures": signatures.json(),
        "root": role_json(&root.root),
        "release": role_json(&root.release),
        "assignment": role_json(&root.assignment),
    });
    out.show(&value, |out| {
        let expired = if time::now_ms() > root.expires_ms {
            " (expired: nothing new is accepted)"
        } else {
            ""
        };
        let issued = match root.issued_ms {
            0 => "it doesn't say".to_owned(),
            issued_ms => time::utc(issued_ms),
        };
        out.pairs(&[
            ("fleet", root.fleet.to_string()),
            ("version", root.version.to_string()),
            ("made", issued),
            ("expires", format!("{}{expired}", time::utc(root.expires_ms))),
            ("signed", signatures.text()),
            ("roots", role_text(&root.root)),
            ("bundles", role_text(&root.release)),
            ("assignments", role_text(&root.assignment)),
        ])
    })
}

fn role_json(role: &RoleKeys) -> Value {
    let ids: Vec<_> = role.keys.iter().map(|key| key.id().to_string()).collect();
    json!({ "threshold": role.threshold, "key_ids": ids })
}

fn role_text(role: &RoleKeys) -> String {
    let ids: Vec<_> = role.keys.iter().map(|key| key.id().to_string()).collect();
    format!("signed by {} of {}", role.threshold, ids.join(", "))
}
