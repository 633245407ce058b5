//! `floorhand keys ca` and `keys cert`: the fleet's certificate authority, and certificates of those who are no devices.
//!
//! Devices get theirs from the hub (`floorhand fleet enroll-token`), so that a device's TLS key never leaves it.

use crate::files;
use crate::output::Output;
use crate::time;
use anyhow::{Context, Result, anyhow};
use clap::Args;
use floorhand_hub::authority::{Authority, PemPair, StaffName};
use serde_json::json;
use std::path::{Path, PathBuf};

/// `floorhand keys ca`
#[derive(Debug, Args)]
pub struct CaArgs {
    /// What the files are called, NAME.pem and NAME.key; the CA's common name
    name: StaffName,
    /// The folder they are written to
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// How long it is valid: every device has to enrol again before it ends
    #[arg(long, value_name = "DAYS", default_value_t = 3650)]
    days: u64,
    /// Replace files that are there already; what only that key could sign can't be signed any more
    #[arg(long)]
    force: bool,
}

/// `floorhand keys cert`
#[derive(Debug, Args)]
pub struct CertArgs {
    /// The common name, by which the broker knows it; the files are NAME.pem and NAME.key. One with a dot is no device's
    name: StaffName,
    /// The CA's certificate
    #[arg(long, value_name = "PEM")]
    ca: PathBuf,
    /// The CA's key
    #[arg(long, value_name = "KEY")]
    ca_key: PathBuf,
    /// A host name or an address by which it is reached, for a broker or another server; again for each
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// The folder they are written to
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// How long it is valid
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    days: u64,
    /// Replace files that are there already
    #[arg(long)]
    force: bool,
}

/// Makes a CA.
pub(crate) fn ca(args: &CaArgs, out: &Output) -> Result<()> {
    let pair = Authority::create(&args.name, time::now_ms(), life_ms(args.days)?)?;
    write(&args.out, args.name.as_str(), &pair, args.force, out)
}

/// Makes a certificate.
pub(crate) fn cert(args: &CertArgs, out: &Output) -> Result<()> {
    let certificate = files::read(&args.ca, files::MAX_SMALL_BYTES)?;
    let key = floorhand_keys::read_secret_text(&args.ca_key)?;
    let now_ms = time::now_ms();
    let authority = Authority::open(&certificate, &key, now_ms)
        .with_context(|| format!("{} and {}", args.ca.display(), args.ca_key.display()))?;
    let pair = authority.issue_staff(&args.name, &args.hosts, now_ms, life_ms(args.days)?)?;
    write(&args.out, args.name.as_str(), &pair, args.force, out)
}

fn life_ms(days: u64) -> Result<u64> {
    match days.checked_mul(time::DAY_MS) {
        Some(life_ms) if life_ms > 0 => Ok(life_ms),
        _ => Err(anyhow!("--days {days} is no time that a certificate can be valid for")),
    }
}

fn write(folder: &Path, name: &str, pair: &PemPair, force: bool, out: &Output) -> Result<()> {
    let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    if certificate.exists() && !force {
        return Err(anyhow!(
            "{} is there already; choose another name, or pass --force to replace the pair",
            certificate.display()
        ));
    }
    files::create(&key, pair.key.as_bytes(), files::SECRET, force)?;
    files::create(&certificate, pair.certificate.as_bytes(), files::PUBLIC, force)?;
    out.show(&json!({ "certificate": certificate, "key": key }), |out| {
        out.pairs(&[
            ("certificate", certificate.display().to_string()),
            ("key", key.display().to_string()),
        ])
    })
}
