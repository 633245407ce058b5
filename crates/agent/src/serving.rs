//! The serving thread: owns the pipelines and the sinks, takes samples from the sources one by one.
//!
//! It never waits for the core, the hub or the disk of the store. What it finds goes to telemetry, what a candidate shows
//! goes to the core.

mod decoders;
mod explaining;
mod input;
mod own;
mod requests;
mod window;

use crate::budget::ControlGroup;
use crate::clock::monotonic_ms;
use crate::core::{CoreSender, Notice};
use crate::limiter::Limiter;
use crate::local::Flow;
use crate::notify::Heartbeat;
use crate::open_inference::job::Job;
use crate::sinks::{Kind, SinkWriter};
use crate::telemetry::Telemetry;
use decoders::Decoders;
use explaining::{Explained, Explaining};
use floorhand_bundle::{Digest, OnBreak};
use floorhand_lifecycle::TrialSample;
use floorhand_pipeline::decode::DecodeError;
use floorhand_pipeline::{
    Loaded, Outcome, Processed, ResultHead, Sample, SampleError, Serving, StageEvent, StageEventKind, Trial,
    finding_json, give_back_memory, result_json,
};
use floorhand_protocol::{Finding, Mode, Parameters, Phase, Prediction, RecordBody, Severity};
use floorhand_tensor::Tensor;
use own::Own;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use window::Window;

pub(crate) use explaining::Reply;
pub(crate) use input::{Input, Payload, within_bounds};
pub(crate) use requests::Requests;
pub(crate) use window::Totals;

/// Samples that wait for the pipeline: enough to hide the wake-ups, few enough to hold large ones.
const QUEUE: usize = 64;
/// How long the thread sleeps when nothing comes: metrics go out and files are flushed in this rhythm.
const IDLE: Duration = Duration::from_millis(250);

/// What the thread is told.
pub(crate) enum Message {
    Sample(Input),
    /// Somebody asks for an inference.
    Infer(Box<Job>),
    /// Messages may have been lost here.
    Missed,
    SourceError {
        source: String,
        problem: String,
    },
    Activate(Box<Loaded>),
    Try(Box<Loaded>),
    Promote,
    DropCandidate,
    SetMode(Mode),
    SetParameters(Parameters),
    SetInterval(u64),
    /// Report metrics now.
    Report,
    /// Explain the last of these samples, or the next one that is served if there are none.
    Explain {
        samples: Vec<serde_json::Value>,
        reply: Reply,
    },
    /// What came of explaining a sample that nobody asked about.
    Explained(Result<Explained, String>),
    Stop(SyncSender<()>),
}

/// The way to the serving thread.
#[derive(Clone)]
pub(crate) struct ServeSender(mpsc::Sender<Message>);

impl ServeSender {
    /// Hands a sample over, waiting while the queue is full.
    pub(crate) async fn sample(&self, input: Input) {
        drop(self.0.send(Message::Sample(input)).await);
    }

    /// The same from a thread that isn't the runtime's. False when the serving thread has ended.
    pub(crate) fn sample_blocking(&self, input: Input) -> bool {
        self.0.blocking_send(Message::Sample(input)).is_ok()
    }

    /// Hands a request over, waiting while the queue is full. When the thread has ended, its answer never comes.
    pub(crate) async fn infer(&self, job: Job) {
        drop(self.0.send(Message::Infer(Box::new(job))).await);
    }

    /// Says that a source can't go on.
    pub(crate) fn source_error(&self, source: &str, problem: String) {
        self.tell(Message::SourceError {
            source: source.to_owned(),
            problem,
        });
    }

    /// Tells the thread something, from a thread that isn't the runtime's.
    pub(crate) fn tell(&self, message: Message) {
        drop(self.0.blocking_send(message));
    }

    /// Tells the thread something, from a task.
    pub(crate) async fn send(&self, message: Message) {
        drop(self.0.send(message).await);
    }

    /// Works on what is queued, flushes the sinks, and ends the thread.
    pub(crate) async fn stop(&self, within: Duration) {
        let (done, ended) = std::sync::mpsc::sync_channel(1);
        if self.0.send(Message::Stop(done)).await.is_ok() {
            let wait = move || ended.recv_timeout(within).is_ok();
            drop(tokio::task::spawn_blocking(wait).await);
        }
    }
}

/// What the thread needs.
pub(crate) struct Setup {
    pub(crate) sinks: Vec<SinkWriter>,
    pub(crate) core: CoreSender,
    pub(crate) telemetry: Telemetry,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) interval_ms: u64,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) totals: Arc<Totals>,
    pub(crate) requests: Requests,
}

/// Starts the thread.
pub(crate) fn start(setup: Setup, queue: ServeQueue) -> std::io::Result<()> {
    let window = Window::new(monotonic_ms());
    let mut server = Server {
        serving: Serving::default(),
        mode: Mode::Run,
        sampling: Sampling::default(),
        window,
        decoders: Decoders::default(),
        limiter: Limiter::default(),
        own: Own::new(ControlGroup::own()),
        explaining: Explaining::new(queue.1),
        setup,
    };
    std::thread::Builder::new()
        .name("serving".to_owned())
        .spawn(move || server.run(queue.0))?;
    Ok(())
}

/// What [`start`] takes samples from.
pub(crate) struct ServeQueue(mpsc::Receiver<Message>, mpsc::WeakSender<Message>);

#[cfg(test)]
impl ServeQueue {
    /// What the thread would be told next.
    pub(crate) fn try_next(&mut self) -> Option<Message> {
        self.0.try_recv().ok()
    }
}

/// The queue to the serving thread, and its other end.
pub(crate) fn queue() -> (ServeSender, ServeQueue) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let back = sender.downgrade();
    (ServeSender(sender), ServeQueue(receiver, back))
}

/// Picks every n-th prediction, without drawing lots: the share is exact and the same everywhere.
#[derive(Debug, Default)]
struct Sampling {
    ppm: u32,
    sum: u64,
}

impl Sampling {
    fn picks(&mut self) -> bool {
        self.sum += u64::from(self.ppm.min(1_000_000));
        let picked = self.sum >= 1_000_000;
        if picked {
            self.sum -= 1_000_000;
        }
        picked
    }
}

/// Gives a generation's memory back on a thread of its own: of a large model that takes milliseconds.
fn unload(loaded: Option<Loaded>) {
    let Some(loaded) = loaded else { return };
    let generation = loaded.generation;
    // Where no thread can be had the closure is dropped here, and the generation with it.
    let spawned = std::thread::Builder::new().name("unload".to_owned()).spawn(move || {
        drop(loaded);
        give_back_memory();
    });
    if let Err(error) = spawned {
        tracing::debug!(generation, %error, "no thread to unload on");
    }
}

struct Server {
    setup: Setup,
    serving: Serving,
    mode: Mode,
    sampling: Sampling,
    window: Window,
    decoders: Decoders,
    limiter: Limiter,
    own: Own,
    explaining: Explaining,
}

impl Server {
    fn run(&mut self, mut messages: mpsc::Receiver<Message>) {
        // What ended a batch of requests, and comes next.
        let mut held = None;
        loop {
            let now_ms = monotonic_ms();
            self.setup.heartbeat.beat(now_ms);
            if self.window.is_over(now_ms, self.setup.interval_ms) {
                self.report_metrics(now_ms);
            }
            let Some(message) = held.take().or_else(|| self.next(&mut messages)) else {
                continue;
            };
            match message {
                Message::Sample(input) => self.message(&input),
                Message::Infer(job) => held = self.requests(*job, &mut messages),
                Message::Stop(done) => {
                    self.flush();
                    self.report_metrics(monotonic_ms());
                    let _ = done.try_send(());
                    return;
                }
                other => self.control(other),
            }
        }
    }

    /// The next message, or `None` when nothing has come for a while.
    fn next(&mut self, messages: &mut mpsc::Receiver<Message>) -> Option<Message> {
        if let Ok(message) = messages.try_recv() {
            return Some(message);
        }
        self.flush();
        let waited = async { tokio::time::timeout(IDLE, messages.recv()).await };
        match self.setup.runtime.clone().block_on(waited) {
            Ok(Some(message)) => Some(message),
            // Every sender is gone: the agent is ending without having said so.
            Ok(None) => Some(Message::Stop(std::sync::mpsc::sync_channel(1).0)),
            Err(_) => None,
        }
    }

    fn control(&mut self, message: Message) {
        match message {
            Message::Missed => self.serving.miss(),
            Message::SourceError { source, problem } => {
                self.event("source-error", &source, &problem);
            }
            Message::Activate(loaded) => unload(self.serving.activate(*loaded)),
            Message::Try(loaded) => unload(self.serving.try_candidate(*loaded)),
            Message::Promote => unload(self.serving.promote()),
            Message::DropCandidate => unload(self.serving.drop_candidate()),
            Message::SetMode(mode) => self.mode = mode,
            Message::SetParameters(parameters) => self.sampling.ppm = parameters.sampling_ppm,
            Message::SetInterval(interval_ms) => self.setup.interval_ms = interval_ms,
            Message::Report => self.report_metrics(monotonic_ms()),
            Message::Explain { samples, reply } => self.asked_to_explain(samples, reply),
            Message::Explained(explained) => self.explained(explained),
            Message::Sample(_) | Message::Infer(_) | Message::Stop(_) => {}
        }
        self.show();
    }

    fn message(&mut self, input: &Input) {
        self.setup.totals.came_from(&input.source);
        if self.mode == Mode::Paused {
            self.came(1);
            self.window.count("paused-samples", 1);
            self.serving.miss();
            return;
        }
        let Self { serving, decoders, .. } = self;
        let mut underway = serving.begin(|taker| decoders.decode(taker, input, monotonic_ms()));
        // What nobody took apart is one.
        self.came(underway.samples().unwrap_or(1));
        if !underway.is_taken() {
            self.window.count("samples-without-bundle", 1);
        }
        if let Some(generation) = self.serving.active().map(|active| active.generation) {
            self.stage_events(&underway.take_events(), generation);
        }
        if let Some(generation) = self.serving.candidate_mut().map(|candidate| candidate.generation) {
            self.stage_events(&underway.take_candidate_events(), generation);
        }
        let alone = underway.samples().is_none();
        // One by one, and with the time of each: a message may hold thousands.
        loop {
            let now_ms = monotonic_ms();
            self.setup.heartbeat.beat(now_ms);
            let Some((served, trial)) = self.serving.next(&mut underway, now_ms) else {
                return;
            };
            if let Some(trial) = &trial {
                self.tried(trial, Some(input).filter(|_| alone));
            }
            match served.map(|served| (served.sample, served.processed)) {
                Some((Ok(sample), processed)) => self.served(&sample, &processed, true),
                Some((Err(error), _)) => self.undecodable(input, &error),
                None => {}
            }
        }
    }

    /// Counts samples.
    fn came(&mut self, samples: usize) {
        let samples = samples as u64;
        self.setup.totals.samples.fetch_add(samples, Ordering::Relaxed);
        self.window.samples += samples;
    }

    fn undecodable(&mut self, input: &Input, error: &DecodeError) {
        self.failed();
        self.window.count("undecodable-samples", 1);
        self.event("bad-sample", &input.source, &error.to_string());
    }

    /// `to_sinks`: whether sinks are told.
    fn served(&mut self, sample: &Sample, served: &Processed, to_sinks: bool) {
        let active = self.serving.active();
        let Some((bundle, generation)) = active.map(|active| (active.bundle, active.generation)) else {
            return;
        };
        let engine = active.and_then(|active| active.pipeline.chosen_engine().map(str::to_owned));
        self.window.latency.add(served.latency_us);
        let head = ResultHead {
            id: &sample.id,
            key: sample.key.as_deref(),
            time_ms: sample.time_ms(),
            sequence: served.sequence,
            bundle,
            engine: engine.as_deref(),
        };
        match &served.outcome {
            Outcome::Result(outputs) => self.result(&head, outputs, to_sinks),
            Outcome::NotYet => {}
            Outcome::Failed(error) => {
                self.failed();
                self.event("sample-failed", "pipeline", &error.to_string());
            }
        }
        for found in &served.findings {
            tracing::info!(
                stage = found.stage,
                finding = found.finding.message,
                "a monitor found something"
            );
            if to_sinks {
                let object = finding_json(&head, found);
                self.write(Kind::Finding, &object);
            }
        }
        self.report_findings(served, bundle, false);
        self.stage_events(&served.events, generation);
        self.explain(sample, served, to_sinks);
    }

    fn result(&mut self, head: &ResultHead<'_>, outputs: &[Tensor], to_sinks: bool) {
        self.setup.totals.results.fetch_add(1, Ordering::Relaxed);
        self.window.results += 1;
        if to_sinks {
            self.write(Kind::Result, &result_json(head, outputs));
        }
        if self.sampling.picks() {
            // Telemetry has numbers alone; texts stand in the sinks.
            let outputs = outputs
                .iter()
                .filter_map(|tensor| Some((tensor.name().to_owned(), tensor.to_f64().ok()?)));
            self.setup.telemetry.report(RecordBody::Prediction(Prediction {
                bundle: head.bundle,
                sample: head.sequence,
                id: head.id.to_owned(),
                time_ms: head.time_ms,
                outputs: outputs.collect(),
            }));
        }
    }

    /// `alone`: the message, where nothing serves beside the candidate, so that what it can't read nobody can.
    fn tried(&mut self, trial: &Trial, alone: Option<&Input>) {
        if let (Some(input), Outcome::Failed(SampleError::Decode(error))) = (alone, &trial.processed.outcome) {
            self.undecodable(input, error);
        }
        self.report_findings(&trial.processed, trial.bundle, true);
        let generation = self.serving.candidate_mut().map_or(0, |candidate| candidate.generation);
        self.stage_events(&trial.processed.events, generation);
        if !trial.counts {
            return;
        }
        let failure = match &trial.processed.outcome {
            Outcome::Failed(error) => Some(error.to_string()),
            Outcome::Result(_) | Outcome::NotYet => None,
        };
        self.setup.core.notice(Notice::Trial(TrialSample {
            failure,
            not_yet: matches!(trial.processed.outcome, Outcome::NotYet),
            latency_us: trial.processed.latency_us,
            disagreement: trial.disagreement,
            alarms: trial.alarms,
        }));
    }

    fn report_findings(&self, processed: &Processed, bundle: Digest, candidate: bool) {
        for found in &processed.findings {
            let finding = &found.finding;
            self.setup.telemetry.report(RecordBody::Finding(Finding {
                bundle,
                candidate,
                stage: found.stage.clone(),
                kind: finding.kind.clone(),
                severity: severity(finding.severity),
                phase: Some(phase(finding.phase)),
                subject: finding.subject.clone(),
                value: finding.value.unwrap_or(f64::NAN),
                threshold: finding.threshold.unwrap_or(f64::NAN),
                sample: processed.sequence,
                message: finding.message.clone(),
                details: finding.details.iter().cloned().collect(),
            }));
        }
    }

    fn stage_events(&mut self, events: &[StageEvent], generation: u64) {
        for event in events {
            let StageEventKind::Fault(opened) = event.kind else {
                self.event("sample-refused", &event.stage, &event.reason);
                continue;
            };
            self.window.count("plugin-faults", 1);
            self.event("plugin-fault", &event.stage, &event.reason);
            let Some(policy) = opened else { continue };
            let message = format!(
                "three faults within a minute; the bundle says {policy:?}: {}",
                event.reason
            );
            self.event("plugin-breaker", &event.stage, &message);
            if policy == OnBreak::Rollback {
                let reason = format!(
                    "plugin {} failed three times within a minute: {}",
                    event.stage, event.reason
                );
                self.setup.core.notice(Notice::Broken { generation, reason });
            }
        }
    }

    fn failed(&mut self) {
        self.setup.totals.failures.fetch_add(1, Ordering::Relaxed);
        self.window.failures += 1;
    }

    fn write(&mut self, kind: Kind, object: &serde_json::Value) {
        let problems: Vec<(String, String)> = self
            .setup
            .sinks
            .iter_mut()
            .filter_map(|sink| {
                sink.write(kind, object)
                    .err()
                    .map(|problem| (sink.name().to_owned(), problem))
            })
            .collect();
        for (sink, problem) in problems {
            self.window.count("sink-errors", 1);
            self.event("sink-error", &sink, &problem);
        }
    }

    fn flush(&mut self) {
        let flow = |sink: &SinkWriter| Flow {
            name: sink.name().to_owned(),
            count: sink.written,
            dropped: sink.dropped,
        };
        let flows = self.setup.sinks.iter().map(flow).collect();
        *self.setup.totals.sinks.lock().unwrap_or_else(PoisonError::into_inner) = flows;
        let problems: Vec<String> = self
            .setup
            .sinks
            .iter_mut()
            .filter_map(|sink| sink.flush().err())
            .collect();
        for problem in problems {
            self.event("sink-error", "flush", &problem);
        }
    }

    /// Logs and reports something that went wrong, but not with every sample.
    fn event(&mut self, kind: &'static str, subject: &str, problem: &str) {
        let Some(held_back) = self.limiter.admit(kind, subject, monotonic_ms()) else {
            return;
        };
        let more = if held_back > 0 {
            format!(" ({held_back} more like this before)")
        } else {
            String::new()
        };
        tracing::warn!(kind, subject, "{problem}{more}");
        self.setup
            .telemetry
            .event(kind, Severity::Warning, subject, format!("{problem}{more}"));
    }

    fn report_metrics(&mut self, now_ms: u64) {
        if let Some(candidate) = self.serving.candidate_mut() {
            // Kept from growing; what a candidate measures isn't the device's.
            drop(candidate.pipeline.take_telemetry());
        }
        let bundle = self.serving.active().map(|active| active.bundle);
        let mut figures = self
            .serving
            .active_mut()
            .map(|active| active.pipeline.take_telemetry())
            .unwrap_or_default();
        if let Some(problem) = self.own.measure(&mut figures) {
            self.event("memory-limit", "agent", &problem);
        }
        let metrics = self.window.close(now_ms, bundle, figures);
        self.setup.telemetry.report(RecordBody::Metrics(metrics));
    }
}

fn phase(phase: floorhand_pipeline::Phase) -> Phase {
    match phase {
        floorhand_pipeline::Phase::Once => Phase::Once,
        floorhand_pipeline::Phase::Raised => Phase::Raised,
        floorhand_pipeline::Phase::Cleared => Phase::Cleared,
    }
}

fn severity(severity: floorhand_pipeline::Severity) -> Severity {
    match severity {
        floorhand_pipeline::Severity::Info => Severity::Info,
        floorhand_pipeline::Severity::Warning => Severity::Warning,
        floorhand_pipeline::Severity::Alarm => Severity::Alarm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_predictions_is_picked_evenly() {
        let picked = |ppm| {
            let mut sampling = Sampling { ppm, sum: 0 };
            (0..1000).filter(|_| sampling.picks()).count()
        };
        assert_eq!(
            [picked(0), picked(10_000), picked(500_000), picked(1_000_000)],
            [0, 10, 500, 1000]
        );
    }
}
