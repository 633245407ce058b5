//! The telemetry thread: owns the spool, fills it in groups, drains it to the hub, deletes what the hub has signed for.
//!
//! Nothing else touches the spool. Whoever has something to report hands it to [`Telemetry`], which never blocks: what
//! doesn't fit is counted, takes sequence numbers like everything else, and is declared as a gap.
//!
//! This file has the thread and its clock; what is done with the spool is in `drain`, what may be sent when in `flow`.
//! Both get the time as a value: `simulation` runs a day of them in seconds.

mod drain;
mod flow;
mod queue;
#[cfg(test)]
mod simulation;
mod timeout;

use crate::clock::{monotonic_ms, system_ms};
use crate::fleet::Fleet;
use crate::notify::Heartbeat;
use drain::Drain;
use floorhand_bundle::{DeviceId, SecretKey};
use floorhand_protocol::{Ack, Event, RecordBody, SeqRange, Severity, Up, UpBatch};
use floorhand_store::{Ballast, BatchLimits, Spool, Vault};
use queue::{Acked, Queue, Report, Taken};
use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Records that are made durable together, at most.
const GROUP: usize = 512;

/// What there is to say about the spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SpoolFigures {
    /// Records kept.
    pub(crate) records: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Records that were dropped for want of room.
    pub(crate) dropped: u64,
}

/// The way to the telemetry thread. Clones share it.
#[derive(Clone)]
pub(crate) struct Telemetry {
    queue: Arc<Queue>,
    figures: Arc<Mutex<SpoolFigures>>,
}

/// What the thread needs.
pub(crate) struct Setup {
    pub(crate) spool: Spool,
    pub(crate) device: DeviceId,
    pub(crate) key: SecretKey,
    pub(crate) fleet: Option<Fleet>,
    pub(crate) limits: BatchLimits,
    pub(crate) delay_ms: u64,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) ballast: Ballast,
    /// Where what is kept is encrypted.
    pub(crate) vault: Option<Vault>,
}

impl Telemetry {
    /// Starts the thread.
    pub(crate) fn start(setup: Setup) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let figures = Arc::new(Mutex::new(SpoolFigures::default()));
        let Setup {
            spool,
            device,
            key,
            fleet,
            limits,
            delay_ms,
            heartbeat,
            ballast,
            vault,
        } = setup;
        let mut thread = Thread {
            drain: Drain::new(spool, device, limits, ballast, monotonic_ms()).sealed_with(vault),
            key,
            fleet,
            delay_ms,
            heartbeat,
            figures: Arc::clone(&figures),
        };
        thread.publish_figures();
        let reports = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("telemetry".to_owned())
            .spawn(move || thread.run(&reports))?;
        Ok(Self { queue, figures })
    }

    /// A way to nobody: reports stay where [`Telemetry::reports`] finds them.
    #[cfg(test)]
    pub(crate) fn to_nobody() -> Self {
        Self {
            queue: Arc::default(),
            figures: Arc::default(),
        }
    }

    /// What was reported since the last look, where no thread takes it.
    #[cfg(test)]
    pub(crate) fn reports(&self) -> Vec<RecordBody> {
        let taken = self.queue.take(Duration::ZERO);
        taken.reports.into_iter().map(|(_, body)| body).collect()
    }

    /// Reports something, at the system's time.
    pub(crate) fn report(&self, body: RecordBody) {
        self.queue.report(system_ms(), body);
    }

    /// Reports an event.
    pub(crate) fn event(&self, kind: &str, severity: Severity, subject: &str, message: String) {
        self.report(RecordBody::Event(Event {
            kind: kind.to_owned(),
            severity,
            subject: subject.to_owned(),
            message,
        }));
    }

    /// The hub has signed for these.
    pub(crate) fn ack(&self, ack: &Ack) {
        let pairs = |ranges: &[SeqRange]| ranges.iter().map(|range| (range.first, range.last)).collect();
        self.queue.ack(Acked {
            boot_id: ack.boot_id,
            ranges: pairs(&ack.ranges),
            gaps: pairs(&ack.gaps),
        });
    }

    /// The fleet connection stands, or has ended.
    pub(crate) fn connected(&self, connected: bool) {
        self.queue.connected(connected);
    }

    /// Makes everything durable that was reported so far, and ends the thread.
    pub(crate) fn stop(&self, within: Duration) {
        let (done, ended) = sync_channel(1);
        self.queue.stop(done);
        let _ = ended.recv_timeout(within);
    }

    /// What the spool holds.
    pub(crate) fn figures(&self) -> SpoolFigures {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Thread {
    drain: Drain,
    key: SecretKey,
    fleet: Option<Fleet>,
    delay_ms: u64,
    heartbeat: Heartbeat,
    figures: Arc<Mutex<SpoolFigures>>,
}

impl Thread {
    fn run(&mut self, queue: &Queue) {
        let mut waiting: VecDeque<Report> = VecDeque::new();
        let mut oldest_ms = 0;
        loop {
            self.heartbeat.beat(monotonic_ms());
            let idle_ms = if waiting.is_empty() { 1000 } else { self.delay_ms.max(1) };
            let taken = queue.take(Duration::from_millis(idle_ms));
            if waiting.is_empty() {
                oldest_ms = monotonic_ms();
            }
            let stop = self.take(taken, &mut waiting);
            let due = stop.is_some() || monotonic_ms().saturating_sub(oldest_ms) >= self.delay_ms;
            while waiting.len() >= GROUP || (due && !waiting.is_empty()) {
                let group = waiting.drain(..waiting.len().min(GROUP)).collect();
                self.drain.keep(group, system_ms(), monotonic_ms());
                self.heartbeat.beat(monotonic_ms());
            }
            self.send();
            self.publish_figures();
            if let Some(done) = stop {
                let _ = done.try_send(());
                return;
            }
        }
    }

    /// Takes what came, except for the reports, which wait to be kept in groups.
    fn take(&mut self, taken: Taken, waiting: &mut VecDeque<Report>) -> Option<SyncSender<()>> {
        waiting.extend(taken.reports);
        self.drain.lost(taken.lost);
        let acks: Vec<_> = taken.acks.iter().map(Acked::borrowed).collect();
        self.drain.acknowledged(&acks, monotonic_ms());
        if let Some(connected) = taken.connected {
            self.drain.connected(connected, monotonic_ms());
        }
        taken.stop
    }

    fn send(&mut self) {
        let (Some(fleet), key) = (&self.fleet, &self.key) else {
            return;
        };
        self.drain
            .send(monotonic_ms(), &mut |batch: UpBatch| match batch.seal(key) {
                Ok(bytes) => fleet.publish(Up::Batch, bytes).is_ok(),
                Err(error) => {
                    tracing::error!(%error, "telemetry can't be signed");
                    false
                }
            });
    }

    fn publish_figures(&self) {
        let stats = self.drain.stats();
        let figures = SpoolFigures {
            records: stats.records,
            bytes: stats.bytes,
            dropped: stats.dropped,
        };
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}
