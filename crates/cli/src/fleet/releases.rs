//! Bundles at the hub, and the jobs by which they reach devices.

use super::client::{Hub, encoded};
use super::facts::{bundle, items, number, short, text};
use super::progress as job_progress;
use crate::bundle::size;
use crate::output::Output;
use crate::time;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs::File;
use std::path::Path;

/// Lists bundles.
pub(super) fn list(hub: &Hub, out: &Output) -> Result<()> {
    let bundles = hub.get("bundles")?;
    out.show(&bundles, |out| {
        let mut table = out.table(&["bundle", "digest", "release", "size", "came"]);
        for one in items(&bundles) {
            table.add_row(vec![
                bundle(one),
                short(&text(one, "/digest")),
                text(one, "/release_counter"),
                number(one, "/total_bytes").map_or_else(String::new, size),
                number(one, "/ingested_ms").map_or_else(String::new, |at| time::ago(at, time::now_ms())),
            ]);
        }
        out.print(table)?;
        if items(&bundles).is_empty() {
            out.note("no bundle yet: bring one with `floorhand fleet push`");
        }
        Ok(())
    })
}

/// Gives the hub a bundle.
pub(super) fn push(hub: &Hub, file: &Path, out: &Output) -> Result<()> {
    let pushed = upload(hub, file, out)?;
    out.show(&pushed, |out| {
        out.line(&format!(
            "{} is at the hub: {}",
            bundle(&pushed),
            text(&pushed, "/digest")
        ))
    })
}

/// Sends a bundle with a bar that shows how far it is.
pub(super) fn upload(hub: &Hub, file: &Path, out: &Output) -> Result<Value> {
    let open = || {
        let opened = File::open(file)?;
        let length = opened.metadata()?.len();
        Ok::<_, std::io::Error>((opened, length))
    };
    let (opened, length) = open().with_context(|| format!("{} can't be read", file.display()))?;
    let bar = out
        .bar(length, "{msg} [{bar:30}] {bytes}/{total_bytes} {eta}")
        .with_message(file.display().to_string());
    let pushed = hub.upload("bundles", bar.wrap_read(opened), length);
    bar.finish_and_clear();
    pushed.with_context(|| format!("{} can't be pushed", file.display()))
}

/// Lists jobs.
pub(super) fn jobs(hub: &Hub, out: &Output) -> Result<()> {
    let jobs = hub.get("jobs")?;
    out.show(&jobs, |out| {
        let mut table = out.table(&["job", "what", "bundle", "devices", "begun", "by"]);
        for job in items(&jobs) {
            table.add_row(vec![
                text(job, "/id"),
                text(job, "/kind"),
                job.get("bundle")
                    .filter(|value| !value.is_null())
                    .map_or_else(String::new, bundle),
                progress(job),
                number(job, "/created_ms").map_or_else(String::new, |at| time::ago(at, time::now_ms())),
                text(job, "/created_by"),
            ]);
        }
        out.print(table)
    })
}

/// How many devices have come to a good end, and how many there are.
fn progress(job: &Value) -> String {
    let assignments = job.get("assignments").map_or(&[][..], items);
    let succeeded = assignments
        .iter()
        .filter(|one| text(one, "/status") == "SUCCEEDED")
        .count();
    format!("{succeeded} of {} succeeded", assignments.len())
}

/// Shows one job.
pub(super) fn job(hub: &Hub, job: &str, out: &Output) -> Result<()> {
    let job = hub.get(&format!("jobs/{}", encoded(job)))?;
    out.show(&job, |out| job_progress::assignments(&job, out))
}
