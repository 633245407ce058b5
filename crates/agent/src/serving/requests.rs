//! Requests of the Open Inference Protocol, as one more source: taken out of the queue in their turn, several of them
//! through the model at once.

use super::{Message, Server};
use crate::clock::{monotonic_ms, monotonic_ns, system_ms};
use crate::open_inference::catalogue::{Catalogue, Done, Model};
use crate::open_inference::job::{Answered, Job};
use crate::open_inference::rows::{self, Layout};
use floorhand_open_inference::Error;
use floorhand_pipeline::{Outcome, Processed, Sample, SampleError};
use floorhand_protocol::Mode;
use floorhand_tensor::Tensor;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{Thread, current, park_timeout};
use std::time::Duration;
use tokio::sync::mpsc;

/// The source that these samples are counted under.
const SOURCE: &str = "open-inference";
/// Messages of other sources that are worked on between two batches of one request: all that can wait.
const OTHERS: usize = super::QUEUE;

/// How requests are worked on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests {
    pub(crate) catalogue: Arc<Catalogue>,
    /// Samples that run through the model together, at most.
    pub(crate) max_batch: usize,
    /// How long a request may wait for others.
    pub(crate) delay_ns: u64,
    /// Whether results go to the sinks, too.
    pub(crate) to_sinks: bool,
}

/// A request whose samples are on their way.
struct Begun {
    job: Job,
    model: Arc<Model>,
    layout: Layout,
    started_ns: u64,
    pipeline_us: u64,
    left: usize,
    answers: Vec<Vec<Tensor>>,
    /// Why there will be no answer.
    failed: Option<Error>,
}

impl Server {
    /// Tells the listeners what serves.
    pub(super) fn show(&self) {
        let paused = self.mode == Mode::Paused;
        self.setup.requests.catalogue.show(&self.serving, paused);
    }

    /// Works on a request and on those that wait behind it, as far as they fit into one batch, or come in time for it. Gives
    /// back the message that ended that.
    pub(super) fn requests(&mut self, first: Job, messages: &mut mpsc::Receiver<Message>) -> Option<Message> {
        let Requests {
            max_batch, delay_ns, ..
        } = self.setup.requests;
        let (jobs, mut held) = gather(first, max_batch, delay_ns, |until_ns| next(messages, until_ns));
        let mut begun = Vec::new();
        let mut waiting = VecDeque::new();
        for job in jobs {
            match self.begin_request(job) {
                Some((one, samples)) => {
                    waiting.extend(samples.into_iter().map(|sample| (begun.len(), sample)));
                    begun.push(one);
                }
                None => continue,
            }
        }
        while let Some(batch) = self.batch(&mut begun, &mut waiting, max_batch) {
            self.run_batch(&mut begun, batch);
            if !waiting.is_empty() {
                self.let_others_by(&mut held, messages);
            }
        }
        held
    }

    /// Takes a request apart. `None`: it has its answer.
    fn begin_request(&mut self, mut job: Job) -> Option<(Begun, Vec<Sample>)> {
        if job.reply.is_closed() {
            return None;
        }
        let catalogue = Arc::clone(&self.setup.requests.catalogue);
        let model = match catalogue.ready(&job.request.model) {
            Ok(model) => model,
            Err(error) => {
                self.unanswered(&job, &catalogue);
                job.reply.send(Err(error));
                return None;
            }
        };
        match taken_apart(&job, &model) {
            Err(error) => {
                job.reply.send(Err(error));
                None
            }
            Ok((layout, samples)) => {
                self.setup.totals.came_from(SOURCE);
                self.came(samples.len());
                job.request.inputs = Vec::new();
                let begun = Begun {
                    left: samples.len(),
                    answers: Vec::with_capacity(samples.len()),
                    job,
                    model,
                    layout,
                    started_ns: monotonic_ns(),
                    pipeline_us: 0,
                    failed: None,
                };
                Some((begun, samples))
            }
        }
    }

    /// A request that nothing answers. A candidate without anything beside it sees its samples all the same: they may be all
    /// that it will ever see.
    fn unanswered(&mut self, job: &Job, catalogue: &Catalogue) {
        let Some(candidate) = self.serving.candidate().filter(|_| catalogue.tries_alone()) else {
            return;
        };
        let model = Model::of(candidate);
        let wanted = &job.request.model;
        let version_is_meant = wanted.version.as_ref().is_none_or(|version| *version == model.version);
        if model.name != wanted.name || !version_is_meant {
            return;
        }
        let Ok((_, samples)) = taken_apart(job, &model) else {
            return;
        };
        self.setup.totals.came_from(SOURCE);
        self.came(samples.len());
        let (most, mut samples) = (self.setup.requests.max_batch.max(1), samples.into_iter());
        while !job.reply.is_closed() {
            let batch: Vec<Sample> = samples.by_ref().take(most).collect();
            if batch.is_empty() {
                return;
            }
            let now_ms = monotonic_ms();
            self.setup.heartbeat.beat(now_ms);
            for (_, trial) in self.serving.process_many(batch, now_ms) {
                if let Some(trial) = &trial {
                    self.tried(trial, None);
                }
            }
        }
    }

    /// The next samples that run together: of requests that somebody still waits for.
    fn batch(
        &self,
        begun: &mut [Begun],
        waiting: &mut VecDeque<(usize, Sample)>,
        max_batch: usize,
    ) -> Option<Vec<(usize, Sample)>> {
        let mut batch = Vec::new();
        while batch.len() < max_batch.max(1)
            && let Some((at, sample)) = waiting.pop_front()
        {
            let abandoned = begun.get(at).is_none_or(|one| one.job.reply.is_closed());
            if !abandoned {
                batch.push((at, sample));
            }
        }
        Some(batch).filter(|batch| !batch.is_empty())
    }

    fn run_batch(&mut self, begun: &mut [Begun], batch: Vec<(usize, Sample)>) {
        let now_ms = monotonic_ms();
        self.setup.heartbeat.beat(now_ms);
        let (of, samples): (Vec<usize>, Vec<Sample>) = batch.into_iter().unzip();
        let steps = self.serving.process_many(samples, now_ms);
        let requests = self.setup.requests.clone();
        requests.catalogue.count_run();
        for (at, (served, trial)) in of.into_iter().zip(steps) {
            if let Some(trial) = &trial {
                self.tried(trial, None);
            }
            // Something serves as long as requests are begun: only this thread puts something else in its place.
            let Some(served) = served else { continue };
            if let Ok(sample) = &served.sample {
                self.served(sample, &served.processed, requests.to_sinks);
            }
            if let Some(one) = begun.get_mut(at) {
                one.take(served.processed);
                one.finish_if_done(&requests.catalogue);
            }
        }
    }

    /// Between two batches of a long request other sources have their turn, in their order, up to whatever is no sample.
    fn let_others_by(&mut self, held: &mut Option<Message>, messages: &mut mpsc::Receiver<Message>) {
        for _ in 0..OTHERS {
            match held.take().or_else(|| messages.try_recv().ok()) {
                Some(Message::Sample(input)) => self.message(&input),
                other => {
                    *held = other;
                    return;
                }
            }
        }
    }
}

impl Begun {
    /// Takes what came of the next sample.
    fn take(&mut self, processed: Processed) {
        let row = (self.layout != Layout::Single).then_some(self.answers.len());
        self.left = self.left.saturating_sub(1);
        self.pipeline_us += processed.latency_us;
        let error = match processed.outcome {
            Outcome::Result(outputs) => return self.answers.push(outputs),
            Outcome::NotYet => Error::NotYet { row },
            Outcome::Failed(error) => Error::Sample {
                row,
                refused: is_refused(&error),
                problem: error.to_string(),
            },
        };
        self.answers.push(Vec::new());
        self.failed.get_or_insert(error);
    }

    /// Answers, when all samples have been worked on.
    fn finish_if_done(&mut self, catalogue: &Catalogue) {
        if self.left > 0 {
            return;
        }
        let answers = std::mem::take(&mut self.answers);
        let rows = answers.len() as u64;
        let outputs = match self.failed.take() {
            Some(error) => Err(error),
            None => rows::join(answers, &self.model.outputs, self.layout),
        };
        let now_ns = monotonic_ns();
        catalogue.count(Done {
            answered: outputs.is_ok(),
            rows,
            ns: now_ns.saturating_sub(self.job.queued_ns),
            queue_ns: self.started_ns.saturating_sub(self.job.queued_ns),
            pipeline_ns: self.pipeline_us.saturating_mul(1000),
        });
        // Without its inputs, which were taken apart.
        let request = self.job.request.clone();
        let version = self.model.version.clone();
        self.job.reply.send(outputs.map(|outputs| Answered {
            request,
            version,
            outputs,
        }));
    }
}

/// A request's samples, and how they lie in it.
fn taken_apart(job: &Job, model: &Model) -> Result<(Layout, Vec<Sample>), Error> {
    let plan = rows::plan(&job.request, &model.inputs, &model.outputs)?;
    let tensors = rows::split(&job.request, &model.inputs, plan)?;
    let id = job.request.id.as_deref().unwrap_or_default();
    let sample = |(row, tensors): (usize, Vec<Tensor>)| {
        let mut sample = Sample {
            id: match plan.layout {
                _ if id.is_empty() => String::new(),
                Layout::Single => id.to_owned(),
                Layout::Batch | Layout::InFront if plan.rows == 1 => id.to_owned(),
                Layout::Batch | Layout::InFront => format!("{id}/{row}"),
            },
            time_ns: 0,
            key: job.options.key.clone(),
            tensors,
        };
        sample.arrived(job.options.time_ms.unwrap_or_else(system_ms));
        sample
    };
    Ok((plan.layout, tensors.into_iter().enumerate().map(sample).collect()))
}

/// Whether it is the sample's own fault.
fn is_refused(error: &SampleError) -> bool {
    match error {
        SampleError::Plugin { source, .. } => !source.is_trap(),
        SampleError::NonFinite { side, .. } => *side == "input",
        SampleError::Decode(_) => true,
        SampleError::Resting { .. } | SampleError::Model(_) => false,
    }
}

/// Requests that go through the model together: the first, those that wait behind it, and those that come within
/// `delay_ns` of its coming, until there are `max_batch` samples. Whatever isn't a request ends it, so that nobody waits
/// for a batch to fill; it is given back. `next` gives the next message, waiting for it until a time.
fn gather(
    first: Job,
    max_batch: usize,
    delay_ns: u64,
    mut next: impl FnMut(u64) -> Option<Message>,
) -> (Vec<Job>, Option<Message>) {
    let until_ns = first.queued_ns.saturating_add(delay_ns);
    let mut rows = first.rows;
    let mut jobs = vec![first];
    while rows < max_batch {
        match next(until_ns) {
            Some(Message::Infer(job)) => {
                rows += job.rows;
                jobs.push(*job);
            }
            other => return (jobs, other),
        }
    }
    (jobs, None)
}

/// The next message, if there is one before a time. Timers of the runtime are of milliseconds; this one is of the system's
/// finest.
fn next(messages: &mut mpsc::Receiver<Message>, until_ns: u64) -> Option<Message> {
    let waker = Waker::from(Arc::new(Unpark(current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(message) = messages.poll_recv(&mut context) {
            return message;
        }
        let left = until_ns.checked_sub(monotonic_ns()).filter(|&left| left > 0)?;
        park_timeout(Duration::from_nanos(left));
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests;
