//! `/`: every device and what it runs, the last jobs, the last findings, drift over time.

use super::drift;
use super::parts::{ago, bundle, count, notes, page as whole, progress};
use crate::fleet::HubError;
use crate::http::App;
use crate::http::api::{devices, orders, records};
use crate::http::charts::{Chart, Size, draw, label};
use crate::http::models::{DeviceView, JobView, RecordView, Stats};
use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

/// Rows of the table; the API lists the rest.
const MAX_DEVICES: usize = 200;
/// Charts on the page, of the devices whose drift is highest.
const MAX_CHARTS: usize = 6;
/// Devices whose drift is looked at for that: each takes some queries.
const MAX_CHARTED: usize = 24;
const JOBS: i64 = 8;
const FINDINGS: i64 = 100;
const FINDINGS_SHOWN: usize = 12;
/// Devices of a job that are shown one by one.
const MAX_JOB_DEVICES: usize = 12;

/// The fleet's page.
pub(crate) async fn page(State(app): State<App>) -> Result<Html<String>, HubError> {
    let stats = records::gathered(&app).await?;
    let all = devices::views(&app).await?;
    let jobs = orders::views(&app, JOBS).await?;
    let findings = records::newest(&app, "", "finding", FINDINGS).await?;
    let mut charts = Vec::new();
    for device in all.iter().filter(|device| device.metrics.is_some()).take(MAX_CHARTED) {
        if let Some(chart) = drift::chart(&app, device, &findings).await? {
            charts.push((device.id.as_str(), chart));
        }
    }
    charts.sort_by(|a, b| newest(&b.1).total_cmp(&newest(&a.1)));
    charts.truncate(MAX_CHARTS);
    // Which devices are shown follows their drift; where each stands on the page doesn't, so that nothing jumps about.
    charts.sort_by(|a, b| a.0.cmp(b.0));
    let title = format!("{} · floorhand", stats.fleet);
    let header = html! {
        header { h1 { "floorhand" } span.fleet { (stats.fleet) } }
    };
    let now_ms = stats.now_ms;
    let main = html! {
        (tiles(&stats, &all))
        section { h2 { "Devices" } (table(&all, now_ms)) }
        @if !charts.is_empty() {
            section { h2 { "Drift" } div.charts { @for (id, chart) in &charts { (card(id, chart, Size::Card)) } } }
        }
        div.columns {
            section { h2 { "Jobs" } (job_list(&jobs, now_ms)) }
            section { h2 { "Findings" } (notes(shown(&findings), now_ms, true)) }
        }
    };
    Ok(whole(&title, &header, &main))
}

fn shown(findings: &[RecordView]) -> &[RecordView] {
    findings.get(..FINDINGS_SHOWN).unwrap_or(findings)
}

fn newest(chart: &Chart) -> f64 {
    chart
        .lines
        .first()
        .and_then(|line| line.points.last())
        .map_or(0.0, |(_, value)| *value)
}

fn tiles(stats: &Stats, devices: &[DeviceView]) -> Markup {
    let rate: f64 = devices
        .iter()
        .filter(|device| device.online)
        .filter_map(|device| device.metrics.as_ref())
        .map(|metrics| metrics.samples_per_s)
        .sum();
    let totals = &stats.totals;
    html! {
        div.tiles {
            (tile("online", &format!("{} of {}", stats.online, stats.devices), ""))
            (tile("samples a second", &label(rate), ""))
            (tile("samples", &count(totals.samples), ""))
            (tile("failures", &count(totals.failures), if totals.failures > 0 { "bad" } else { "" }))
            (tile("records", &count(totals.records), ""))
            (tile("records lost", &count(totals.lost), if totals.lost > 0 { "bad" } else { "" }))
            @if stats.broker_connected { (tile("broker", "connected", "")) } @else { (tile("broker", "gone", "bad")) }
        }
    }
}

fn tile(name: &str, value: &str, class: &str) -> Markup {
    html! { div.tile.(class) { span.value { (value) } span.name { (name) } } }
}

fn table(devices: &[DeviceView], now_ms: u64) -> Markup {
    if devices.is_empty() {
        return html! {
            p.empty {
                "No device is registered. Register one with its public key: "
                code { "floorhand fleet enroll DEVICE --key FILE.pub" }
            }
        };
    }
    html! {
        div.scroll {
            table {
                thead { tr {
                    th { "Device" } th { "Runs" } th { "Deployment" } th { "Mode" } th.number { "Samples/s" }
                    th.number { "Failures" } th { "Seen" }
                } }
                tbody { @for device in devices.iter().take(MAX_DEVICES) { (row(device, now_ms)) } }
            }
        }
        @if devices.len() > MAX_DEVICES {
            p.dim { (devices.len() - MAX_DEVICES) " more: /api/v1/devices" }
        }
    }
}

fn row(device: &DeviceView, now_ms: u64) -> Markup {
    let hello = device.hello.as_ref();
    html! {
        tr {
            td {
                span.dot.on[device.online] title=(if device.online { "online" } else { "offline" }) {}
                a href=(format!("/devices/{}", device.id)) { (device.id) }
                @if let Some(hello) = hello { div.dim { (hello.hardware) " · " (hello.platform) } }
            }
            td {
                @match hello.and_then(|hello| hello.active.as_ref()) {
                    Some(active) => (bundle(&active.bundle)),
                    None => span.dim { "nothing" },
                }
                @if let Some(candidate) = hello.and_then(|hello| hello.candidate.as_ref()) {
                    div.dim { "candidate " (bundle(&candidate.bundle)) }
                }
            }
            td { @match &device.assignment { Some(assignment) => { (progress(assignment)) div.dim { (kind(&assignment.job)) } }, None => span.dim { "none" } } }
            td { @if let Some(hello) = hello { (hello.mode) } }
            td.number { @if let Some(metrics) = &device.metrics { (label(metrics.samples_per_s)) } }
            td.number.bad[device.totals.failures > 0] { (count(device.totals.failures)) }
            td { (ago(now_ms, device.last_seen_ms)) }
        }
    }
}

/// What kind of job it is, by its name.
fn kind(job: &str) -> &str {
    job.rsplit_once('-').map_or(job, |(kind, _)| kind)
}

/// A chart with its device and what it draws.
pub(crate) fn card(device: &str, chart: &Chart, size: Size) -> Markup {
    let first = chart.lines.first();
    let value = newest(chart);
    let over = chart.threshold.is_some_and(|threshold| value > threshold);
    html! {
        figure {
            figcaption {
                a href=(format!("/devices/{device}")) { (device) }
                @if let Some(line) = first { span.dim { (line.name) } }
                span.now.bad[over] { (label(value)) }
            }
            (draw(chart, size))
        }
    }
}

fn job_list(jobs: &[JobView], now_ms: u64) -> Markup {
    html! {
        @if jobs.is_empty() { p.empty { "Nothing was deployed so far." } }
        @for job in jobs {
            article.job {
                div.job-head {
                    strong { (job.kind) }
                    @if let Some(id) = &job.bundle { (bundle(id)) }
                    span.when { (ago(now_ms, job.created_ms)) }
                }
                ul.steps {
                    @for assignment in job.assignments.iter().take(MAX_JOB_DEVICES) {
                        li {
                            a href=(format!("/devices/{}", assignment.device)) { (assignment.device) }
                            div { (progress(assignment)) }
                        }
                    }
                }
                @if job.assignments.len() > MAX_JOB_DEVICES {
                    p.dim { (job.assignments.len() - MAX_JOB_DEVICES) " more: /api/v1/jobs/" (job.id) }
                }
            }
        }
    }
}
