//! Messages as lines for people: time, device, kind, and what it says.

use super::decode::{Body, Seen, Signature};
use crate::output::{Output, Tone, visible};
use crate::time;
use floorhand_protocol::{
    Answer, Explanation, Finding, Hello, JobReport, JobStatus, Metrics, Mode, Outcome, Prediction, Record, RecordBody,
    Running, Severity, UpBatch,
};

/// Wide enough for the usual device names; longer ones push their line to the right.
const DEVICE_WIDTH: usize = 14;
const KIND_WIDTH: usize = 11;

/// One thing that was said.
struct Said {
    time_ms: u64,
    kind: &'static str,
    tone: Tone,
    text: String,
}

/// The lines of a message: one, or one for each record of a batch.
pub(super) fn lines(seen: &Seen, received_ms: u64, out: &Output) -> Vec<String> {
    let device = seen.device.as_ref().map_or("?", |device| device.as_str());
    let doubt = if seen.signature == Signature::Unchecked {
        out.paint(" (unverified)", Tone::Dim)
    } else {
        String::new()
    };
    said(seen, received_ms)
        .iter()
        .map(|said| {
            let time = out.paint(&time::time_of_day(said.time_ms), Tone::Dim);
            let kind = out.paint(&format!("{:<KIND_WIDTH$}", said.kind), said.tone);
            format!(
                "{time}  {device:<DEVICE_WIDTH$}  {kind}  {}{doubt}",
                visible(&said.text)
            )
        })
        .collect()
}

fn said(seen: &Seen, received_ms: u64) -> Vec<Said> {
    let one = |tone, text| {
        vec![Said {
            time_ms: received_ms,
            kind: seen.kind(),
            tone,
            text,
        }]
    };
    match &seen.body {
        Body::Hello(hello) => one(Tone::Plain, hello_text(hello)),
        Body::Batch(batch) => batch_said(batch),
        Body::Answer(answer) => {
            let (tone, text) = answer_text(answer);
            one(tone, text)
        }
        Body::Renewal(_) => one(Tone::Dim, "asks for its next certificate".to_owned()),
        Body::Presence(presence) if presence.online => one(Tone::Good, "online".to_owned()),
        Body::Presence(_) => one(Tone::Warn, "offline".to_owned()),
        Body::Fetch(fetch) => {
            let text = format!("asks for {} chunks of {}", fetch.indices().len(), fetch.digest.short());
            one(Tone::Dim, text)
        }
        Body::Refused(reason) => one(Tone::Bad, reason.clone()),
    }
}

fn hello_text(hello: &Hello) -> String {
    let mut text = format!("{} ", running("serves", hello.active.as_ref()));
    if let Some(candidate) = &hello.candidate {
        text.push_str(&format!("and {} ", running("tries", Some(candidate))));
    }
    if hello.mode == Mode::Paused {
        text.push_str("paused ");
    }
    text.push_str(&format!(
        "agent {} on {}, assignment {}",
        hello.agent, hello.platform, hello.seq
    ));
    text
}

fn running(verb: &str, running: Option<&Running>) -> String {
    match running {
        Some(Running { generation, bundle }) => {
            format!("{verb} {} {} (generation {generation})", bundle.name, bundle.version)
        }
        None => format!("{verb} nothing"),
    }
}

fn batch_said(batch: &UpBatch) -> Vec<Said> {
    let late = if batch.historical { " (held back)" } else { "" };
    let mut said: Vec<Said> = batch.records.iter().map(|record| record_said(record, late)).collect();
    said.extend(batch.gaps.iter().map(|gap| Said {
        time_ms: batch.records.first().map_or(0, |record| record.time_ms),
        kind: "gap",
        tone: Tone::Warn,
        text: format!(
            "{} records between {} and {} were dropped: no room",
            gap.count, gap.first, gap.last
        ),
    }));
    said
}

fn record_said(record: &Record, late: &str) -> Said {
    let (kind, tone, text) = match &record.body {
        RecordBody::Job(job) => ("job", status_tone(job.status), job_text(job)),
        RecordBody::Finding(finding) => ("finding", severity_tone(finding.severity), finding_text(finding)),
        RecordBody::Metrics(metrics) => {
            let tone = if metrics.failures > 0 { Tone::Warn } else { Tone::Dim };
            ("metrics", tone, metrics_text(metrics))
        }
        RecordBody::Event(event) => {
            let text = format!("{} {}: {}", event.kind, event.subject, event.message);
            ("event", severity_tone(event.severity), text)
        }
        RecordBody::Prediction(prediction) => ("prediction", Tone::Plain, prediction_text(prediction)),
        RecordBody::Explanation(explanation) => ("explanation", Tone::Plain, explanation_text(explanation)),
    };
    Said {
        time_ms: record.time_ms,
        kind,
        tone,
        text: format!("{text}{late}"),
    }
}

fn job_text(job: &JobReport) -> String {
    let what = job
        .id
        .as_ref()
        .map_or_else(|| job.bundle.short(), |id| format!("{} {}", id.name, id.version));
    let reason = if job.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", job.reason)
    };
    format!("{what} {} {}{reason}", job.step.name(), job.status.name())
}

fn finding_text(finding: &Finding) -> String {
    let trial = if finding.candidate { ", in trial" } else { "" };
    let Finding {
        kind,
        subject,
        message,
        value,
        threshold,
        ..
    } = finding;
    let severity = finding.severity.name();
    // Not every finding has a statistic and a limit.
    let numbers = match (value.is_nan(), threshold.is_nan()) {
        (true, _) => String::new(),
        (false, true) => format!(" ({value:.4}{trial})"),
        (false, false) => format!(" ({value:.4} against {threshold:.4}{trial})"),
    };
    format!("{severity} {kind} of {subject}: {message}{numbers}")
}

fn metrics_text(metrics: &Metrics) -> String {
    let Metrics {
        samples,
        results,
        failures,
        latency_p50_us,
        latency_p99_us,
        ..
    } = metrics;
    let seconds = metrics.window_ms as f64 / 1000.0;
    format!(
        "{samples} samples, {results} results, {failures} failures in {seconds:.0} s; \
         p50 {latency_p50_us} us, p99 {latency_p99_us} us"
    )
}

/// The first features; `--json` has all.
fn explanation_text(explanation: &Explanation) -> String {
    let features = explanation.features.iter().take(3);
    let features: Vec<_> = features
        .map(|one| format!("{} {:+.4}", one.feature, one.contribution))
        .collect();
    let Explanation {
        sample,
        finding,
        output,
        prediction,
        base,
        ..
    } = explanation;
    format!(
        "sample {sample} ({finding}): {output} is {prediction:.4} instead of {base:.4}: {}",
        features.join(", ")
    )
}

fn prediction_text(prediction: &Prediction) -> String {
    let outputs: Vec<_> = prediction
        .outputs
        .iter()
        .map(|(name, values)| output_text(name, values))
        .collect();
    let id = if prediction.id.is_empty() {
        String::new()
    } else {
        format!(" ({})", prediction.id)
    };
    format!("sample {}{id}: {}", prediction.sample, outputs.join(", "))
}

/// A line has room for a few numbers; `--json` has all.
fn output_text(name: &str, values: &[f64]) -> String {
    let shown: Vec<_> = values.iter().take(4).map(|value| format!("{value:.4}")).collect();
    let more = if values.len() > 4 {
        format!(" and {} more", values.len() - 4)
    } else {
        String::new()
    };
    format!("{name} = {}{more}", shown.join(" "))
}

fn answer_text(answer: &Answer) -> (Tone, String) {
    match &answer.outcome {
        Outcome::Accepted => (Tone::Plain, format!("{} accepted", answer.to)),
        Outcome::Done { body } => (Tone::Good, format!("{} done, {} bytes", answer.to, body.len())),
        Outcome::Rejected { reason } => (Tone::Bad, format!("{} rejected: {reason}", answer.to)),
    }
}

fn status_tone(status: JobStatus) -> Tone {
    match status {
        JobStatus::Succeeded => Tone::Good,
        JobStatus::Queued | JobStatus::InProgress => Tone::Plain,
        _ => Tone::Bad,
    }
}

fn severity_tone(severity: Severity) -> Tone {
    match severity {
        Severity::Info => Tone::Plain,
        Severity::Warning => Tone::Warn,
        Severity::Alarm => Tone::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_bundle::Digest;
    use floorhand_protocol::Phase;
    use floorhand_protocol::Step;
    use std::collections::BTreeMap;

    fn text_of(body: RecordBody) -> String {
        record_said(
            &Record {
                seq: 0,
                time_ms: 0,
                body,
            },
            "",
        )
        .text
    }

    #[test]
    fn records_read_as_sentences() {
        let bundle = Digest::of(b"x");
        let job = JobReport {
            job: "j".to_owned(),
            seq: 1,
            bundle,
            id: None,
            status: JobStatus::Failed,
            step: Step::Trial,
            reason: "probability differs".to_owned(),
        };
        assert_eq!(
            text_of(RecordBody::Job(job)),
            format!("{} trial FAILED: probability differs", bundle.short())
        );
        let finding = Finding {
            bundle,
            candidate: false,
            stage: "drift".to_owned(),
            kind: "drift".to_owned(),
            severity: Severity::Alarm,
            phase: Some(Phase::Raised),
            subject: "rms".to_owned(),
            value: 0.5,
            threshold: 0.2,
            sample: 9,
            message: "has moved".to_owned(),
            details: BTreeMap::new(),
        };
        assert_eq!(
            text_of(RecordBody::Finding(finding)),
            "alarm drift of rms: has moved (0.5000 against 0.2000)"
        );
        assert_eq!(
            output_text("y", &[1.0, 2.0, 3.0, 4.0, 5.0]),
            "y = 1.0000 2.0000 3.0000 4.0000 and 1 more"
        );
    }
}
