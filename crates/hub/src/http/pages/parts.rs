//! What both pages are made of.

use crate::http::charts::label;
use crate::http::login::logged_in;
use crate::http::models::{AssignmentView, BundleIdView, RecordView};
use axum::response::Html;
use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

/// A page around its `main`, which the script renews.
pub(crate) fn page(title: &str, header: &Markup, main: &Markup) -> Html<String> {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="stylesheet" href="/static/style.css";
                link rel="icon" href="data:,";
                script defer src="/static/refresh.js" {}
            }
            body {
                (header)
                main { (main) }
                footer {
                    span { "floorhand hub " (env!("CARGO_PKG_VERSION")) }
                    a href="/openapi.json" { "API" }
                    a href="/metrics" { "metrics" }
                    span #refreshed { "renewed by reloading" }
                    @if let Some(name) = logged_in() {
                        form.logout method="post" action="/logout" {
                            span { "logged in as " (name) }
                            button { "Log out" }
                        }
                    }
                }
            }
        }
    };
    Html(markup.into_string())
}

/// A time as how long ago it was.
pub(crate) fn ago(now_ms: u64, time_ms: u64) -> Markup {
    if time_ms == 0 {
        return html! { span.dim { "never" } };
    }
    html! { time datetime=(iso(time_ms)) title=(iso(time_ms)) { (duration(now_ms.saturating_sub(time_ms))) } }
}

/// A stretch of time in its largest unit.
pub(crate) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..=1 => "now".to_owned(),
        2..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// RFC 3339 in UTC, to the second. Years 1970 to 9999; the calendar is the proleptic Gregorian one.
pub(crate) fn iso(time_ms: u64) -> String {
    let seconds = (time_ms / 1000).min(253_402_300_799);
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!(
        "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
        days + 1
    )
}

/// A bundle by name, version and the first digits of its digest.
pub(crate) fn bundle(id: &BundleIdView) -> Markup {
    html! {
        span.bundle { (id.name) "@" (id.version) }
        " "
        code.dim title=(id.digest) { (id.digest.chars().take(8).collect::<String>()) }
    }
}

/// The state of an assignment: status, step and, where it has one, its reason.
pub(crate) fn progress(assignment: &AssignmentView) -> Markup {
    html! {
        span.status.(status_class(&assignment.status)) { (assignment.status.to_lowercase().replace('_', " ")) }
        @if !assignment.step.is_empty() { " " span.step { (assignment.step) } }
        @if !assignment.reason.is_empty() { div.reason { (assignment.reason) } }
    }
}

fn status_class(status: &str) -> &'static str {
    match status {
        "SUCCEEDED" => "good",
        "FAILED" | "TIMED_OUT" | "REJECTED" => "bad",
        "IN_PROGRESS" => "busy",
        _ => "calm",
    }
}

/// Findings and events, the newest first.
pub(crate) fn notes(records: &[RecordView], now_ms: u64, with_device: bool) -> Markup {
    html! {
        @if records.is_empty() {
            p.empty { "Nothing so far." }
        } @else {
            ul.notes {
                @for record in records {
                    @let severity = text(&record.body, "severity");
                    li.(severity_class(severity)) {
                        div.note-head {
                            span.severity { (severity) }
                            @if with_device { a href=(format!("/devices/{}", record.device)) { (record.device) } }
                            span { (stage(&record.body)) (text(&record.body, "kind")) " · " (text(&record.body, "subject")) }
                            @if let Some(value) = number(&record.body, "value") {
                                span.dim { (label(value))
                                    @if let Some(limit) = number(&record.body, "threshold") { " against " (label(limit)) }
                                }
                            }
                            @if record.historical { span.tag { "held back" } }
                            @if record.body.get("candidate").and_then(Value::as_bool) == Some(true) { span.tag { "candidate" } }
                            span.when { (ago(now_ms, record.received_ms)) }
                        }
                        div.message { (text(&record.body, "message")) }
                    }
                }
            }
        }
    }
}

fn stage(body: &Value) -> String {
    match text(body, "stage") {
        "" => String::new(),
        stage => format!("{stage} · "),
    }
}

fn severity_class(severity: &str) -> &'static str {
    match severity {
        "alarm" => "alarm",
        "warning" => "warning",
        _ => "info",
    }
}

/// A text of a record's body; empty where there is none.
pub(crate) fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A number of a record's body.
pub(crate) fn number(body: &Value, field: &str) -> Option<f64> {
    body.get(field).and_then(Value::as_f64)
}

/// A count in groups of three digits.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_everybody_reads_them() {
        for (time_ms, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(iso(time_ms), expected);
        }
        assert_eq!(
            [0, 5_000, 130_000, 8_000_000, 200_000_000].map(duration),
            ["now", "5 s", "2 min", "2 h", "2 d"]
        );
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(count),
            ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]
        );
    }
}
