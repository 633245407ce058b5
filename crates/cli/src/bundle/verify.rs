//! `floorhand bundle verify`: what a device does before it serves, on this machine.

use super::describe;
use super::source::read_archive;
use crate::contents::Contents;
use crate::exit::Failure;
use crate::output::{Output, Tone};
use crate::{engine, root};
use anyhow::{Context, Result};
use clap::Args;
use floorhand_bundle::{HardwareClass, Manifest, Version};
use std::path::PathBuf;

/// `floorhand bundle verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The bundle
    file: PathBuf,
    /// The fleet's trust root
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// A hardware class that it has to be made for
    #[arg(long, value_name = "CLASS")]
    hardware: Option<HardwareClass>,
}

/// Verifies.
pub(super) fn run(args: &VerifyArgs, out: &Output) -> Result<()> {
    let root = root::read(&args.root)?;
    let archive = read_archive(&args.file)?;
    let contents = Contents::verified(archive, &root).with_context(|| args.file.display().to_string())?;
    check_place(&contents.manifest, args.hardware.as_ref())?;
    let checked = engine::check(&contents, out)?;
    let mut value = describe::summary(&contents);
    value.insert("verified".to_owned(), true.into());
    value.insert("fleet".to_owned(), root.fleet.to_string().into());
    value.insert("golden_cases_passed".to_owned(), checked.cases.into());
    out.show(&value, |out| {
        describe::identity(&contents, out)?;
        let cases = format!("{} golden cases passed", checked.cases);
        let verdict = format!("verified for fleet {}: signatures, digests, {cases}", root.fleet);
        out.line(&out.paint(&verdict, Tone::Good))
    })
}

/// Whether this version and the given hardware may run it.
fn check_place(manifest: &Manifest, hardware: Option<&HardwareClass>) -> Result<()> {
    let own: Version = env!("CARGO_PKG_VERSION")
        .parse()
        .context("this tool's own version is no version")?;
    if manifest.min_agent > own {
        let wanted = &manifest.min_agent;
        return Err(Failure::refused(format!("it needs an agent of version {wanted}, and this is {own}")).into());
    }
    match hardware {
        Some(device) if !manifest.hardware.iter().any(|class| class.takes_in(device)) => {
            let classes: Vec<_> = manifest.hardware.iter().map(ToString::to_string).collect();
            Err(Failure::refused(format!(
                "it is made for hardware {}, not for {device}",
                classes.join(", ")
            ))
            .into())
        }
        _ => Ok(()),
    }
}
