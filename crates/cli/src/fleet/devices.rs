//! What the hub knows about devices.

use super::client::{Hub, encoded};
use super::facts::{bundle, flag, items, number, short, status_tone, text};
use crate::output::{Output, Tone};
use crate::{keys, time};
use anyhow::Result;
use floorhand_bundle::DeviceId;
use serde_json::{Value, json};
use std::path::Path;

/// Lists them.
pub(super) fn list(hub: &Hub, out: &Output) -> Result<()> {
    let devices = hub.get("devices")?;
    out.show(&devices, |out| {
        let now_ms = time::now_ms();
        let mut table = out.table(&[
            "device",
            "state",
            "runs",
            "tries",
            "hardware",
            "samples",
            "failures",
            "last seen",
        ]);
        for device in items(&devices) {
            let (state, tone) = state(device);
            table.add_row(vec![
                text(device, "/id").into(),
                out.cell(state, tone),
                running(device, "active").into(),
                running(device, "candidate").into(),
                text(device, "/hello/hardware").into(),
                text(device, "/totals/samples").into(),
                text(device, "/totals/failures").into(),
                seen(device, now_ms).into(),
            ]);
        }
        out.print(table)?;
        if items(&devices).is_empty() {
            out.note("no device yet: make one known with `floorhand fleet enroll`");
        }
        Ok(())
    })
}

/// Shows one.
pub(super) fn show(hub: &Hub, device: &DeviceId, out: &Output) -> Result<()> {
    let detail = hub.get(&format!("devices/{}", encoded(device.as_str())))?;
    out.show(&detail, |out| {
        let device = detail.get("device").cloned().unwrap_or_default();
        let (state, _) = state(&device);
        out.pairs(&[
            ("device", text(&device, "/id")),
            ("state", state.to_owned()),
            ("last seen", seen(&device, time::now_ms())),
            ("runs", running(&device, "active")),
            ("can go back to", running(&device, "previous")),
            ("tries", running(&device, "candidate")),
            ("deployment", text(&device, "/hello/deployment")),
            ("agent", text(&device, "/hello/agent")),
            ("hardware", text(&device, "/hello/hardware")),
            ("platform", text(&device, "/hello/platform")),
            ("floor", text(&device, "/hello/floor")),
            ("reports", sampling(&device)),
            ("samples", text(&device, "/totals/samples")),
            ("results", text(&device, "/totals/results")),
            ("failures", text(&device, "/totals/failures")),
            ("records", text(&device, "/totals/records")),
            ("lost records", text(&device, "/totals/lost")),
            ("latency p50", micros(&device, "/metrics/latency_p50_us")),
            ("latency p99", micros(&device, "/metrics/latency_p99_us")),
            ("public key", text(&device, "/public_key")),
        ])?;
        history(&detail, out)
    })
}

/// Makes a device known, or, where that is what was asked for, gives a known one another key.
pub(super) fn enroll(hub: &Hub, device: &DeviceId, key: &Path, replace: bool, out: &Output) -> Result<()> {
    let public = keys::read_public(key)?;
    let path = format!("devices/{}", encoded(device.as_str()));
    let mut body = json!({ "public_key_pem": public.to_pem()? });
    // Left out where it isn't meant: a hub that is older than the field refuses it.
    if let Some(body) = body.as_object_mut().filter(|_| replace) {
        body.insert("replace".to_owned(), true.into());
    }
    let answer = hub.put(&path, &body)?;
    out.show(&answer, |out| {
        let id = public.id();
        out.line(&match text(&answer, "/registration").as_str() {
            "known" => format!("{device} is already known by this key, {id}"),
            "replaced" => format!("{device} is known by key {id} now, in place of the one it had"),
            _ => format!("{device} is known by key {id}"),
        })
    })
}

/// Makes the hub forget one.
pub(super) fn remove(hub: &Hub, device: &DeviceId, out: &Output) -> Result<()> {
    hub.delete(&format!("devices/{}", encoded(device.as_str())))?;
    out.show(&json!({ "device": device, "removed": true }), |out| {
        out.line(&format!("{device} is forgotten; what it runs goes on"))
    })
}

/// Lists findings.
pub(super) fn findings(hub: &Hub, device: Option<&DeviceId>, limit: u32, out: &Output) -> Result<()> {
    let device = device.map_or_else(String::new, |device| format!("&device={}", encoded(device.as_str())));
    let findings = hub.get(&format!("findings?limit={limit}{device}"))?;
    out.show(&findings, |out| {
        let mut table = out.table(&[
            "time", "device", "severity", "kind", "about", "value", "limit", "message",
        ]);
        for finding in items(&findings) {
            let severity = text(finding, "/body/severity");
            let tone = severity_tone(&severity);
            table.add_row(vec![
                number(finding, "/time_ms").map_or_else(String::new, time::utc).into(),
                text(finding, "/device").into(),
                out.cell(severity, tone),
                text(finding, "/body/kind").into(),
                text(finding, "/body/subject").into(),
                rounded(finding, "/body/value").into(),
                rounded(finding, "/body/threshold").into(),
                text(finding, "/body/message").into(),
            ]);
        }
        out.print(table)
    })
}

/// Whether a device is there and works.
fn state(device: &Value) -> (&'static str, Tone) {
    if device.pointer("/hello").is_none_or(Value::is_null) {
        return ("never seen", Tone::Warn);
    }
    match (flag(device, "/online"), text(device, "/hello/mode") == "paused") {
        (false, _) => ("offline", Tone::Bad),
        (true, true) => ("paused", Tone::Warn),
        (true, false) => ("online", Tone::Good),
    }
}

/// A generation of a device, as its last hello says.
fn running(device: &Value, which: &str) -> String {
    device
        .pointer(&format!("/hello/{which}/bundle"))
        .map_or_else(String::new, bundle)
}

fn seen(device: &Value, now_ms: u64) -> String {
    match number(device, "/last_seen_ms") {
        None | Some(0) => String::new(),
        Some(seen_ms) => time::ago(seen_ms, now_ms),
    }
}

fn sampling(device: &Value) -> String {
    let ppm = number(device, "/hello/sampling_ppm");
    ppm.map_or_else(String::new, |ppm| format!("{}% of predictions", ppm as f64 / 10_000.0))
}

fn micros(device: &Value, pointer: &str) -> String {
    number(device, pointer).map_or_else(String::new, |micros| format!("{:.3} ms", micros as f64 / 1000.0))
}

/// A number with as many digits as a person compares.
fn rounded(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_f64)
        .map_or_else(String::new, |number| format!("{number:.4}"))
}

fn severity_tone(severity: &str) -> Tone {
    match severity {
        "alarm" => Tone::Bad,
        "warning" => Tone::Warn,
        _ => Tone::Plain,
    }
}

/// The assignments of a device, the newest first, where the hub gives them.
fn history(detail: &Value, out: &Output) -> Result<()> {
    let assignments = detail.get("assignments").map_or(&[][..], items);
    if assignments.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut table = out.table(&["assignment", "job", "bundle", "status", "step", "reason"]);
    for assignment in assignments {
        let status = text(assignment, "/status");
        let tone = status_tone(&status);
        table.add_row(vec![
            text(assignment, "/seq").into(),
            text(assignment, "/job").into(),
            short(&text(assignment, "/bundle")).into(),
            out.cell(status, tone),
            text(assignment, "/step").into(),
            text(assignment, "/reason").into(),
        ]);
    }
    out.print(table)
}
