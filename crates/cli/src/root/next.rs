//! `floorhand root next`: the root that follows, made of the current one and what shall change.

use super::document::{Document, read};
use super::{sign, verify};
use crate::output::Output;
use crate::unlock::UnlockArgs;
use crate::{files, keys, time};
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use floorhand_bundle::{PublicKey, RoleKeys, SecretKey, TrustRoot};
use floorhand_keys::KeyLocation;
use std::path::{Path, PathBuf};

/// `floorhand root next`
#[derive(Debug, Args)]
pub struct NextArgs {
    /// The current trust root
    current: PathBuf,
    /// A key that may sign roots from now on
    #[arg(long, value_name = "PUB", num_args = 1..)]
    add_root: Vec<PathBuf>,
    /// A key that may do so no more: its .pub file or its id
    #[arg(long, value_name = "PUB|ID", num_args = 1..)]
    remove_root: Vec<String>,
    /// A key that may release bundles from now on
    #[arg(long, value_name = "PUB", num_args = 1..)]
    add_release: Vec<PathBuf>,
    /// A key that may do so no more; what only it has signed isn't tried or gone back to any more
    #[arg(long, value_name = "PUB|ID", num_args = 1..)]
    remove_release: Vec<String>,
    /// A hub's key from now on
    #[arg(long, value_name = "PUB", num_args = 1..)]
    add_assignment: Vec<PathBuf>,
    /// A hub's key no more. Where none of the current ones stays, devices count its orders anew
    #[arg(long, value_name = "PUB|ID", num_args = 1..)]
    remove_assignment: Vec<String>,
    /// How many root keys have to sign a root [default: as many as now]
    #[arg(long, value_name = "N")]
    threshold: Option<u32>,
    /// How many release keys have to sign a bundle [default: as many as now]
    #[arg(long, value_name = "N")]
    release_threshold: Option<u32>,
    /// How long devices take new bundles and assignments under it; what runs then goes on
    #[arg(long, value_name = "DAYS", default_value_t = 3650)]
    expires_days: u64,
    /// A root key that signs now; others can do so later, with `root sign`
    #[arg(long = "key", value_name = "KEY", num_args = 1..)]
    keys: Vec<KeyLocation>,
    /// Where to write it [default: root-VERSION.cose beside the current one]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace a file that is there already
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    unlock: UnlockArgs,
}

/// Makes it.
pub(super) fn run(args: &NextArgs, out: &Output) -> Result<()> {
    let current = read(&args.current)?;
    let version = current
        .version
        .checked_add(1)
        .context("no version is above the current one")?;
    let now_ms = time::now_ms();
    let next = TrustRoot {
        version,
        expires_ms: now_ms.saturating_add(args.expires_days.saturating_mul(time::DAY_MS)),
        issued_ms: now_ms,
        root: changed(&current.root, &args.add_root, &args.remove_root, args.threshold).context("role root")?,
        release: changed(
            &current.release,
            &args.add_release,
            &args.remove_release,
            args.release_threshold,
        )
        .context("role release")?,
        assignment: changed(&current.assignment, &args.add_assignment, &args.remove_assignment, None)
            .context("role assignment")?,
        ..TrustRoot::clone(&current)
    };
    let nobody: &[&SecretKey] = &[];
    let mut document = Document::parse(next.seal(nobody).context("trust root can't be made of these keys")?)?;
    for key in &args.keys {
        document = sign::add(document, key, &args.unlock, Some(&current))?;
    }
    let beside = || args.current.with_file_name(format!("root-{version}.cose"));
    let file = args.output.clone().unwrap_or_else(beside);
    files::create(&file, &document.bytes, files::PUBLIC, args.force)?;
    verify::tell(&[(&document, Some(&*current))], Some(&file), out).map(drop)
}

/// The keys of a role with some more and some less.
fn changed(now: &RoleKeys, add: &[PathBuf], remove: &[String], threshold: Option<u32>) -> Result<RoleKeys> {
    let mut keys = now.keys.clone();
    for name in remove {
        let id = id_of(name)?;
        let before = keys.len();
        keys.retain(|key| key.id().to_string() != id);
        ensure!(
            keys.len() < before,
            "{name} is not among its keys, so it can't be removed"
        );
    }
    for path in add {
        let key: PublicKey = keys::read_public(path)?;
        ensure!(!keys.contains(&key), "{} is among its keys already", path.display());
        keys.push(key);
    }
    let threshold = threshold.unwrap_or(now.threshold);
    if threshold as usize > keys.len() {
        return Err(anyhow!(
            "{threshold} keys have to sign, and {} would be left; add keys, or lower the threshold",
            keys.len()
        ));
    }
    Ok(RoleKeys { keys, threshold })
}

/// The id of a key that is named by its file or by the id itself.
fn id_of(name: &str) -> Result<String> {
    let is_id = name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id && !Path::new(name).exists() {
        return Ok(name.to_ascii_lowercase());
    }
    Ok(keys::read_public(Path::new(name))?.id().to_string())
}
