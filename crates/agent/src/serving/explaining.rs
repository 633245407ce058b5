//! Explaining samples beside serving them: which ones, and the thread that does it.
//!
//! The serving thread hands over what the model was given, when the result has gone out, and never waits: what finds no room is dropped and
//! counted. The thread runs at the lowest priority, so that on a device of one core samples come first, and is started when the first
//! explanation is wanted. What it finds comes back to the serving thread, which owns the sinks.

use super::{Message, Server};
use crate::clock::monotonic_ms;
use crate::sinks::Kind;
use floorhand_bundle::{Digest, ExplainSpec, ExplainWhen};
use floorhand_pipeline::{
    ExplainError, Explanation, Outcome, Phase, Processed, ResultHead, Sample, Severity, SharedExplainer,
    explanation_json,
};
use floorhand_protocol::{FeatureContribution, MAX_EXPLAINED_FEATURES, MAX_FEATURE_BYTES, RecordBody};
use floorhand_tensor::Tensor;
use serde_json::Value;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tokio::sync::{mpsc, oneshot};

/// Samples that wait to be explained, each with the model's features: a finding often comes with others.
const QUEUE: usize = 4;
/// Rates are of a minute.
const MINUTE_MS: u64 = 60_000;
/// What a process is given that shall not be in the way of others.
const LOWEST_PRIORITY: i32 = 19;

/// Who asked, and gets a JSON object, or to hear why there is none.
pub(crate) type Reply = oneshot::Sender<Result<Value, String>>;

/// What the serving thread has of it.
pub(super) struct Explaining {
    back: mpsc::WeakSender<Message>,
    queue: Option<SyncSender<Task>>,
    minute: Minute,
    /// Results since the last one that was explained for its number.
    results: u64,
    /// Who waits for the next sample's.
    next: Option<Reply>,
}

/// How many there were in the minute that began at a time.
#[derive(Debug, Default)]
struct Minute {
    began_ms: u64,
    count: u64,
}

impl Minute {
    fn admits(&mut self, most: u64, now_ms: u64) -> bool {
        if now_ms.saturating_sub(self.began_ms) >= MINUTE_MS {
            *self = Self {
                began_ms: now_ms,
                count: 0,
            };
        }
        self.count += 1;
        self.count <= most
    }
}

struct Task {
    explainer: SharedExplainer,
    of: Of,
    why: Why,
    to_sinks: bool,
}

enum Of {
    /// What the model was given for a sample that was served, and the sample's own tensors.
    Features(Vec<Tensor>, Vec<Tensor>, Head),
    /// Samples that nobody serves, the last of which is explained.
    Samples(Vec<Value>, Digest, Option<String>),
}

/// By what a sample is known.
struct Head {
    id: String,
    key: Option<String>,
    time_ms: u64,
    sequence: u64,
    bundle: Digest,
    engine: Option<String>,
}

impl Head {
    fn borrowed(&self) -> ResultHead<'_> {
        ResultHead {
            id: &self.id,
            key: self.key.as_deref(),
            time_ms: self.time_ms,
            sequence: self.sequence,
            bundle: self.bundle,
            engine: self.engine.as_deref(),
        }
    }
}

/// Why a sample is explained.
enum Why {
    /// A finding's stage and kind.
    Finding(String),
    Every,
    Asked(Reply),
}

impl Why {
    fn text(&self) -> &str {
        match self {
            Self::Finding(finding) => finding,
            Self::Every => "every",
            Self::Asked(_) => "request",
        }
    }
}

/// What came of one that nobody asked for.
pub(crate) struct Explained {
    pub(super) object: Value,
    /// Whether sinks are given it.
    pub(super) to_sinks: bool,
    /// What the hub is told of a finding's.
    pub(super) record: Option<Box<floorhand_protocol::Explanation>>,
}

impl Explaining {
    pub(super) fn new(back: mpsc::WeakSender<Message>) -> Self {
        Self {
            back,
            queue: None,
            minute: Minute::default(),
            results: 0,
            next: None,
        }
    }

    /// Why this sample is to be explained, if it is.
    fn why(&mut self, spec: &ExplainSpec, processed: &Processed) -> Option<Why> {
        self.results += 1;
        // A finding is the hub's and the sinks': whoever asks has another sample.
        if let Some(finding) = finding(spec.when, processed) {
            return Some(Why::Finding(finding));
        }
        if let Some(asked) = self.asked() {
            return Some(asked);
        }
        let due = spec.every.is_some_and(|every| self.results >= every);
        due.then(|| {
            self.results = 0;
            Why::Every
        })
    }

    /// The same within what a minute may have, and whether something was dropped for that. Then whoever asks has the sample.
    fn admitted(&mut self, spec: &ExplainSpec, processed: &Processed, now_ms: u64) -> (Option<Why>, bool) {
        match self.why(spec, processed) {
            None => (None, false),
            Some(Why::Asked(reply)) => (Some(Why::Asked(reply)), false),
            Some(why) if self.minute.admits(spec.per_minute, now_ms) => (Some(why), false),
            Some(_) => (self.asked(), true),
        }
    }

    /// Whoever asked for the next sample and still waits.
    fn asked(&mut self) -> Option<Why> {
        self.next.take().filter(|reply| !reply.is_closed()).map(Why::Asked)
    }

    /// Hands a task over; gives back one that finds no room, and why.
    fn hand_over(&mut self, task: Task) -> Result<(), Box<(Task, String)>> {
        let queue = match &self.queue {
            Some(queue) => queue,
            None => match start(self.back.clone()) {
                Ok(queue) => self.queue.insert(queue),
                Err(error) => return Err(Box::new((task, format!("failed to start a thread: {error}")))),
            },
        };
        queue.try_send(task).map_err(|error| {
            Box::new(match error {
                TrySendError::Full(task) => (task, "others wait to be explained; try again later".to_owned()),
                TrySendError::Disconnected(task) => (task, "the thread that explains has ended".to_owned()),
            })
        })
    }
}

/// The first finding that is bad enough.
fn finding(when: ExplainWhen, processed: &Processed) -> Option<String> {
    let least = match when {
        ExplainWhen::Request => return None,
        ExplainWhen::Warning => Severity::Warning,
        ExplainWhen::Alarm => Severity::Alarm,
    };
    let mut findings = processed.findings.iter();
    let found = findings.find(|found| found.finding.severity >= least && found.finding.phase != Phase::Cleared)?;
    Some(format!("{}/{}", found.stage, found.finding.kind))
}

impl Server {
    /// Has a sample explained that has been served, if it is one of those that are. `to_sinks`: its result went there, too.
    pub(super) fn explain(&mut self, sample: &Sample, processed: &Processed, to_sinks: bool) {
        let Some(active) = self.serving.active() else { return };
        let (Some(explainer), Outcome::Result(_)) = (active.pipeline.explainer(), &processed.outcome) else {
            return;
        };
        let (spec, now_ms) = (explainer.spec(), monotonic_ms());
        let (why, dropped) = self.explaining.admitted(spec, processed, now_ms);
        if dropped {
            self.window.count("explanations-dropped", 1);
        }
        let Some(why) = why else { return };
        let Some(features) = active.pipeline.features_of(sample, processed.sequence) else {
            return;
        };
        let head = Head {
            id: sample.id.clone(),
            key: sample.key.clone(),
            time_ms: sample.time_ms(),
            sequence: processed.sequence,
            bundle: active.bundle,
            engine: active.pipeline.chosen_engine().map(str::to_owned),
        };
        let task = Task {
            explainer: explainer.clone(),
            of: Of::Features(features, sample.tensors.clone(), head),
            why,
            to_sinks,
        };
        self.hand_over(task);
    }

    /// Has samples explained for who asks: the last of these, or the next that is served if there are none.
    pub(super) fn asked_to_explain(&mut self, samples: Vec<Value>, reply: Reply) {
        let refused = |reply: Reply, problem: &str| drop(reply.send(Err(problem.to_owned())));
        let Some(active) = self.serving.active() else {
            return refused(reply, "nothing serves");
        };
        let Some(explainer) = active.pipeline.explainer() else {
            return refused(
                reply,
                "the bundle that serves doesn't say how it is explained: its bundle.toml needs [explain]",
            );
        };
        if samples.is_empty() {
            if self
                .explaining
                .next
                .as_ref()
                .is_some_and(|waiting| !waiting.is_closed())
            {
                return refused(reply, "somebody waits for the next sample already");
            }
            self.explaining.next = Some(reply);
            return;
        }
        let engine = active.pipeline.chosen_engine().map(str::to_owned);
        let task = Task {
            explainer: explainer.clone(),
            of: Of::Samples(samples, active.bundle, engine),
            why: Why::Asked(reply),
            to_sinks: false,
        };
        self.hand_over(task);
    }

    /// Gives what was explained to the sinks, and what explains a finding to the hub.
    pub(super) fn explained(&mut self, explained: Result<Explained, String>) {
        match explained {
            Ok(Explained {
                object,
                to_sinks,
                record,
            }) => {
                self.window.count("explanations", 1);
                if to_sinks {
                    self.write(Kind::Explanation, &object);
                }
                if let Some(record) = record {
                    self.setup.telemetry.report(RecordBody::Explanation(*record));
                }
            }
            Err(problem) => {
                self.window.count("explanations-failed", 1);
                self.event("explanation-failed", "pipeline", &problem);
            }
        }
    }

    fn hand_over(&mut self, task: Task) {
        let Err(refused) = self.explaining.hand_over(task) else {
            return;
        };
        let (task, problem) = *refused;
        match task.why {
            Why::Asked(reply) => drop(reply.send(Err(problem))),
            Why::Finding(_) | Why::Every => self.window.count("explanations-dropped", 1),
        }
    }
}

fn start(back: mpsc::WeakSender<Message>) -> std::io::Result<SyncSender<Task>> {
    let (queue, tasks) = sync_channel(QUEUE);
    std::thread::Builder::new()
        .name("explaining".to_owned())
        .spawn(move || run(&tasks, &back))?;
    Ok(queue)
}

/// Ends with the serving thread.
fn run(tasks: &Receiver<Task>, back: &mpsc::WeakSender<Message>) {
    // Of this thread alone, on Linux.
    if let Err(error) = rustix::process::setpriority_process(None, LOWEST_PRIORITY) {
        tracing::warn!(%error, "samples are explained at the priority at which they are served");
    }
    for task in tasks {
        let Task {
            explainer,
            of,
            why,
            to_sinks,
        } = task;
        let explained = explain(&explainer, of, why.text());
        let message = match why {
            Why::Asked(reply) => {
                drop(reply.send(explained.map(|(object, _)| object)));
                continue;
            }
            Why::Finding(_) | Why::Every => explained.map(|(object, found)| Explained {
                object,
                to_sinks,
                record: match why {
                    Why::Finding(finding) => Some(Box::new(record(&found, finding))),
                    Why::Every | Why::Asked(_) => None,
                },
            }),
        };
        let Some(back) = back.upgrade() else { return };
        if back.blocking_send(Message::Explained(message)).is_err() {
            return;
        }
    }
}

/// An explanation and whose it is.
type Found = (Head, Explanation);

fn explain(explainer: &SharedExplainer, of: Of, why: &str) -> Result<(Value, Found), String> {
    let mut explainer = explainer.lock();
    let mut time_left = explainer.within_budget();
    let found: Result<Found, ExplainError> = match of {
        Of::Features(features, given, head) => {
            let explained = explainer.explain_features(&features, &given, &mut time_left);
            explained.map(|explanation| (head, explanation))
        }
        Of::Samples(samples, bundle, engine) => {
            let explained = explainer.explain_json(&samples, &mut time_left);
            explained.map(|(sample, explanation)| {
                let head = Head {
                    time_ms: sample.time_ms(),
                    id: sample.id,
                    key: sample.key,
                    sequence: samples.len() as u64 - 1,
                    bundle,
                    engine,
                };
                (head, explanation)
            })
        }
    };
    let (head, explanation) = found.map_err(|error| format!("failed to explain: {error}"))?;
    let object = explanation_json(&head.borrowed(), why, &explanation);
    Ok((object, (head, explanation)))
}

fn record((head, explanation): &Found, finding: String) -> floorhand_protocol::Explanation {
    let listed = explanation.contributions.iter().take(MAX_EXPLAINED_FEATURES);
    let features: Vec<FeatureContribution> = listed
        .map(|one| FeatureContribution {
            feature: cut(&one.feature),
            value: one
                .given
                .as_ref()
                .or(one.value.as_ref())
                .map_or_else(String::new, value_text),
            contribution: one.contribution,
        })
        .collect();
    let listed: f64 = features.iter().map(|one| one.contribution).sum();
    floorhand_protocol::Explanation {
        bundle: head.bundle,
        sample: head.sequence,
        id: head.id.clone(),
        time_ms: head.time_ms,
        finding,
        method: explanation.method.name().to_owned(),
        output: cut(&explanation.output),
        element: explanation.element.map(|element| element as u64),
        base: explanation.base,
        prediction: explanation.prediction,
        features,
        others: explanation.prediction - explanation.base - listed,
        evaluations: explanation.evaluations as u64,
        exact: explanation.exact,
        complete: explanation.complete,
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => cut(text),
        other => other.to_string(),
    }
}

/// No longer than a record has room for.
fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_FEATURE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_pipeline::{Finding, StageFinding};
    use serde_json::json;

    #[test]
    fn a_minute_has_its_number_and_the_next_one_again() {
        let mut minute = Minute::default();
        let admitted = |minute: &mut Minute, now_ms| (0..5).filter(|_| minute.admits(2, now_ms)).count();
        assert_eq!(admitted(&mut minute, 1_000), 2);
        assert_eq!(admitted(&mut minute, 59_999), 0);
        assert_eq!(admitted(&mut minute, 60_000), 2);
    }

    #[test]
    fn whoever_asks_has_the_sample_that_a_finding_may_not_take() {
        let spec: ExplainSpec = serde_json::from_value(json!({ "background": "rows.csv", "per_minute": 1 })).unwrap();
        let found = StageFinding {
            stage: "drift".to_owned(),
            finding: Finding {
                kind: "psi".to_owned(),
                severity: Severity::Warning,
                phase: Phase::Once,
                watch: None,
                subject: String::new(),
                value: None,
                threshold: None,
                unit: String::new(),
                message: String::new(),
                details: Vec::new(),
            },
        };
        let flagged = Processed {
            sequence: 0,
            outcome: Outcome::Result(Vec::new()),
            findings: vec![found],
            events: Vec::new(),
            latency_us: 0,
        };
        let (sender, _receiver) = mpsc::channel(1);
        let mut explaining = Explaining::new(sender.downgrade());
        let (reply, mut answer) = oneshot::channel();
        explaining.next = Some(reply);
        let first = explaining.admitted(&spec, &flagged, 1_000);
        assert!(matches!(first, (Some(Why::Finding(ref finding)), false) if finding == "drift/psi"));
        assert!(explaining.next.is_some() && answer.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        assert!(matches!(
            explaining.admitted(&spec, &flagged, 2_000),
            (Some(Why::Asked(_)), true)
        ));
        assert!(matches!(explaining.admitted(&spec, &flagged, 3_000), (None, true)));
        // Somebody who has gone gets none.
        let (reply, gone) = oneshot::channel();
        drop(gone);
        explaining.next = Some(reply);
        assert!(matches!(explaining.admitted(&spec, &flagged, 4_000), (None, true)));
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(cut(&"ä".repeat(100)).len(), MAX_FEATURE_BYTES);
        assert_eq!(cut(&format!("a{}", "ä".repeat(100))).len(), MAX_FEATURE_BYTES - 1);
    }
}
