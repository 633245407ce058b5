//! `/devices/ID`: one device, its numbers, its history.

use super::drift;
use super::fleet::card;
use super::parts::{ago, bundle, count, iso, notes, page as whole, progress, text};
use crate::fleet::HubError;
use crate::http::App;
use crate::http::api::{devices, records};
use crate::http::charts::{Size, label};
use crate::http::models::{AnswerView, DeviceDetail, DeviceView, HelloView, MetricsView, RecordView};
use axum::extract::{Path, State};
use axum::response::Html;
use maud::{Markup, html};
use serde_json::Value;

const FINDINGS: i64 = 50;
const EVENTS: i64 = 20;
const PREDICTIONS: i64 = 10;
const EXPLANATIONS: i64 = 5;
/// Features of an explanation that are shown; the API has more.
const EXPLAINED_BY: usize = 4;
const ANSWERS: i64 = 10;
/// Characters of an answer that are shown; the API has the whole.
const ANSWER_SHOWN: usize = 4000;

/// A device's page.
pub(crate) async fn page(State(app): State<App>, Path(id): Path<String>) -> Result<Html<String>, HubError> {
    let detail = devices::detail(&app, &id).await?;
    let findings = records::newest(&app, &id, "finding", FINDINGS).await?;
    let events = records::newest(&app, &id, "event", EVENTS).await?;
    let predictions = records::newest(&app, &id, "prediction", PREDICTIONS).await?;
    let explanations = records::newest(&app, &id, "explanation", EXPLANATIONS).await?;
    let answers: Vec<AnswerView> = app
        .hub
        .database
        .answers(&id, ANSWERS)
        .await?
        .into_iter()
        .map(Into::into)
        .collect();
    let chart = drift::chart(&app, &detail.device, &findings).await?;
    let now_ms = app.hub.now_ms();
    let device = &detail.device;
    let header = html! {
        header {
            h1 { a href="/" { "floorhand" } }
            span.fleet { (app.hub.root.fleet) }
            span.device { span.dot.on[device.online] {} (device.id) }
        }
    };
    let main = html! {
        div.columns {
            section { h2 { "Device" } (facts(device, now_ms)) }
            section { h2 { "Last window" } (numbers(device.metrics.as_ref(), now_ms)) }
        }
        @if let Some(chart) = &chart { section { h2 { "Drift" } div.chart-alone { (card(&device.id, chart, Size::Page)) } } }
        section { h2 { "Assignments" } (assignments(&detail, now_ms)) }
        div.columns {
            section { h2 { "Findings" } (notes(&findings, now_ms, false)) }
            section { h2 { "Events" } (notes(&events, now_ms, false)) }
        }
        @if !explanations.is_empty() { section { h2 { "Explanations" } (explanation_list(&explanations, now_ms)) } }
        @if !predictions.is_empty() { section { h2 { "Sampled predictions" } (prediction_list(&predictions, now_ms)) } }
        section { h2 { "Answers" } (answer_list(&answers, now_ms)) }
    };
    Ok(whole(&format!("{id} · floorhand"), &header, &main))
}

fn facts(device: &DeviceView, now_ms: u64) -> Markup {
    html! {
        dl {
            dt { "seen" } dd { (ago(now_ms, device.last_seen_ms)) }
            @if let Some(hello) = &device.hello { (hello_facts(hello)) } @else { dt { "hello" } dd { "none so far" } }
            dt { "samples" } dd { (count(device.totals.samples)) }
            dt { "failures" } dd { (count(device.totals.failures)) }
            dt { "records" } dd { (count(device.totals.records)) " stored, " (count(device.totals.lost)) " lost on the device" }
            dt { "registered" } dd { (iso(device.registered_ms)) }
            dt { "key" } dd { code { (device.public_key) } }
        }
    }
}

fn hello_facts(hello: &HelloView) -> Markup {
    let generation = |name: &str, running: &Option<crate::http::models::RunningView>| {
        html! {
            @if let Some(running) = running {
                dt { (name) } dd { (bundle(&running.bundle)) span.dim { " generation " (running.generation) } }
            }
        }
    };
    html! {
        (generation("runs", &hello.active))
        (generation("candidate", &hello.candidate))
        (generation("before", &hello.previous))
        dt { "deployment" } dd { (hello.deployment.as_str().unwrap_or_default()) }
        dt { "mode" } dd { (hello.mode) ", samples " (hello.sampling_ppm) " of a million predictions" }
        dt { "agent" } dd { (hello.agent) " on " (hello.platform) ", hardware " (hello.hardware) }
        dt { "taken" } dd { "assignment " (hello.seq) ", command " (hello.command_id) ", root " (hello.root_version) ", floor " (hello.floor) }
        dt { "boot" } dd { code { (hello.boot_id) } }
    }
}

fn numbers(metrics: Option<&MetricsView>, now_ms: u64) -> Markup {
    let Some(metrics) = metrics else {
        return html! { p.empty { "No metrics so far." } };
    };
    html! {
        dl {
            dt { "taken" } dd { (ago(now_ms, metrics.time_ms)) ", over " (label(metrics.window_ms as f64 / 1000.0)) " s" }
            dt { "samples a second" } dd { (label(metrics.samples_per_s)) }
            dt { "latency" } dd { (label(metrics.latency_p50_us as f64 / 1000.0)) " ms median, "
                (label(metrics.latency_p99_us as f64 / 1000.0)) " ms 99th percentile" }
            dt { "failures" } dd { (count(metrics.failures)) " of " (count(metrics.samples)) }
            @for (name, value) in &metrics.gauges { dt { (name) } dd { (label(*value)) } }
            @for (name, value) in &metrics.counters { dt { (name) } dd { "+" (count(*value)) } }
        }
    }
}

fn assignments(detail: &DeviceDetail, now_ms: u64) -> Markup {
    html! {
        @if detail.assignments.is_empty() { p.empty { "None so far." } } @else {
            div.scroll { table {
                thead { tr { th.number { "Seq" } th { "Job" } th { "Bundle" } th { "Mode" } th { "Progress" } th { "Changed" } } }
                tbody { @for one in &detail.assignments {
                    tr {
                        td.number { (one.seq) }
                        td { (one.job) }
                        td { @match &one.bundle {
                            Some(digest) => code title=(digest) { (digest.chars().take(12).collect::<String>()) },
                            None => span.dim { "as before" },
                        } }
                        td { (one.mode) }
                        td { (progress(one)) }
                        td { (ago(now_ms, one.updated_ms)) }
                    }
                } }
            } }
        }
    }
}

fn explanation_list(explanations: &[RecordView], now_ms: u64) -> Markup {
    let number = |value: &Value, key: &str| label(value.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN));
    html! {
        div.scroll { table {
            thead { tr { th.number { "Sample" } th { "Finding" } th { "Output" } th { "Because of" } th { "Received" } } }
            tbody { @for record in explanations {
                tr {
                    td.number { (record.body.get("sample").and_then(Value::as_u64).unwrap_or_default()) }
                    td { (text(&record.body, "finding")) }
                    td { (text(&record.body, "output")) " " (number(&record.body, "prediction")) " instead of " (number(&record.body, "base")) }
                    td { @for feature in record.body.get("features").and_then(Value::as_array).into_iter().flatten().take(EXPLAINED_BY) {
                        div { (text(feature, "feature")) span.dim { " " (text(feature, "value")) } " " (number(feature, "contribution")) }
                    } }
                    td { (ago(now_ms, record.received_ms)) }
                }
            } }
        } }
    }
}

fn prediction_list(predictions: &[RecordView], now_ms: u64) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th.number { "Sample" } th { "Id" } th { "Outputs" } th { "Bundle" } th { "Received" } } }
            tbody { @for record in predictions {
                tr {
                    td.number { (record.body.get("sample").and_then(Value::as_u64).unwrap_or_default()) }
                    td { (text(&record.body, "id")) }
                    td { code { (record.body.get("outputs").map(ToString::to_string).unwrap_or_default()) } }
                    td { code.dim { (text(&record.body, "bundle").chars().take(8).collect::<String>()) } }
                    td { (ago(now_ms, record.received_ms)) }
                }
            } }
        } }
    }
}

fn answer_list(answers: &[AnswerView], now_ms: u64) -> Markup {
    html! {
        @if answers.is_empty() { p.empty { "None so far." } }
        @for answer in answers {
            article.answer {
                div.job-head {
                    strong { (answer.kind) " " (answer.number) }
                    span { (outcome_name(&answer.outcome)) }
                    span.when { (ago(now_ms, answer.received_ms)) }
                }
                @let body = outcome_text(&answer.outcome);
                @if !body.is_empty() { pre { (body.chars().take(ANSWER_SHOWN).collect::<String>()) } }
            }
        }
    }
}

/// The outcome's name: it is a text, or an object with one key.
fn outcome_name(outcome: &Value) -> &str {
    let key = outcome
        .as_object()
        .and_then(|object| object.keys().next())
        .map(String::as_str);
    outcome.as_str().or(key).unwrap_or_default()
}

fn outcome_text(outcome: &Value) -> &str {
    ["/done/body", "/rejected/reason"]
        .iter()
        .find_map(|path| outcome.pointer(path)?.as_str())
        .unwrap_or_default()
}
