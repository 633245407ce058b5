//! A bundle for a device that no network reaches.

use super::client::{Hub, encoded};
use crate::bundle::size;
use crate::files;
use crate::output::Output;
use anyhow::Result;
use clap::Args;
use floorhand_bundle::DeviceId;
use serde_json::json;
use std::path::PathBuf;

/// `floorhand fleet export`
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The device that it is carried to; no other takes it
    device: DeviceId,
    /// The bundle that the device has to be assigned: NAME@VERSION, or the first digits of its digest
    #[arg(long)]
    bundle: Option<String>,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Writes the file.
pub(super) fn export(hub: &Hub, args: &ExportArgs, out: &Output) -> Result<()> {
    let device = encoded(args.device.as_str());
    let bundle = args
        .bundle
        .as_ref()
        .map_or_else(String::new, |bundle| format!("?bundle={}", encoded(bundle)));
    let waiting = out.spinner(format!("exporting for {}", args.device));
    let bytes = hub.download(&format!("devices/{device}/export{bundle}"));
    waiting.finish_and_clear();
    let bytes = bytes?;
    files::replace(&args.output, &bytes, files::PUBLIC)?;
    out.show(
        &json!({ "file": args.output, "bytes": bytes.len(), "device": args.device }),
        |out| {
            out.line(&format!(
                "{} ({}) written; on the device: floorhand-agent import {}",
                args.output.display(),
                size(bytes.len() as u64),
                args.output.file_name().unwrap_or_default().to_string_lossy()
            ))
        },
    )
}
