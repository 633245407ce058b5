//! How far a job is, as a table.

use super::facts::{items, status_tone, text};
use crate::output::Output;
use anyhow::Result;
use serde_json::Value;

/// How far a job is on each device.
pub(super) fn assignments(job: &Value, out: &Output) -> Result<()> {
    let mut table = out.table(&["device", "status", "step", "reason"]);
    for assignment in items(job.get("assignments").unwrap_or(&Value::Null)) {
        let status = text(assignment, "/status");
        let tone = status_tone(&status);
        table.add_row(vec![
            text(assignment, "/device").into(),
            out.cell(status, tone),
            text(assignment, "/step").into(),
            text(assignment, "/reason").into(),
        ]);
    }
    out.print(table)
}
