//! `floorhand root publish`: gives the hub the roots that follow its own.

use super::document::read;
use crate::fleet::client::{Hub, HubOptions};
use crate::output::Output;
use crate::time;
use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;
use std::io::Cursor;
use std::path::PathBuf;

/// `floorhand root publish`
#[derive(Debug, Args)]
pub struct PublishArgs {
    #[command(flatten)]
    hub: HubOptions,
    /// The trust roots, the oldest first
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// `floorhand root status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    hub: HubOptions,
}

/// Publishes.
pub(super) fn run(args: &PublishArgs, out: &Output) -> Result<()> {
    // All of them are looked at before the first is sent.
    let roots = args.files.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let hub = Hub::new(&args.hub)?;
    let mut taken = Vec::new();
    for (root, path) in roots.iter().zip(&args.files) {
        let bytes = root.envelope().to_vec();
        let length = bytes.len() as u64;
        let answer = hub.upload("roots", Cursor::new(bytes), length);
        taken.push(answer.with_context(|| format!("{} is not published", path.display()))?);
    }
    out.show(&Value::Array(taken), |out| {
        for root in &roots {
            out.pairs(&[
                (
                    "published",
                    format!("trust root {} of fleet {}", root.version, root.fleet),
                ),
                ("expires", time::utc(root.expires_ms)),
            ])?;
        }
        out.note("devices take it when they are connected; see how far they are with `floorhand root status`");
        Ok(())
    })
}

/// Asks how far the fleet is.
pub(super) fn status(args: &StatusArgs, out: &Output) -> Result<()> {
    let roots = Hub::new(&args.hub)?.get("roots")?;
    out.show(&roots, |out| {
        let mut table = out.table(&["root", "expires", "devices"]);
        for root in roots.as_array().into_iter().flatten() {
            let number = |name: &str| root.get(name).and_then(Value::as_u64).unwrap_or_default();
            table.add_row(vec![
                number("version").to_string(),
                time::utc(number("expires_ms")),
                number("devices").to_string(),
            ]);
        }
        out.print(table)
    })
}
