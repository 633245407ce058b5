//! The telemetry thread: owns the spool, fills it in groups, drains it to the hub, deletes what the hub has signed for.
//!
//! Nothing else touches the spool. Whoever has something to report hands it to [`Telemetry`], which never blocks: what
//! doesn't fit is counted, takes sequence numbers like everything else, and is declared as a gap.

mod queue;

use crate::clock::{monotonic_ms, system_ms};
use crate::fleet::Fleet;
use crate::limiter::Limiter;
use crate::notify::Heartbeat;
use floorhand_bundle::{DeviceId, SecretKey, cbor};
use floorhand_protocol::{Event, Gap, MAX_RECORD_BYTES, Record, RecordBody, Severity, Up, UpBatch};
use floorhand_store::{Ballast, Batch, BatchLimits, Cursor, NewRecord, Order, Priority, Spool, SpoolError};
use queue::{Acked, Queue, Report, Taken};
use std::collections::{BTreeSet, VecDeque};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Records of one durable transaction.
const GROUP: usize = 512;
/// Records of the highest priority that wait for room on the disk: the reports of many deployments.
const HELD: usize = 512;
/// How often it is tried to take the ballast again.
const REFILL_EVERY_MS: u64 = 10_000;
/// Batches that were sent and not acknowledged: one under way while the hub writes the other.
const IN_FLIGHT: usize = 2;
/// After this a batch that wasn't acknowledged is sent again.
const ACK_TIMEOUT_MS: u64 = 15_000;
/// Every so many batches the oldest records go first, so that a device that always has news gets rid of its past.
const BACKFILL_EVERY: u64 = 4;

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
}

impl Telemetry {
    /// Starts the thread.
    pub(crate) fn start(setup: Setup) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let figures = Arc::new(Mutex::new(SpoolFigures::default()));
        let short_of_room = !setup.ballast.hold();
        let mut drain = Drain {
            setup,
            cursor: Cursor::default(),
            sent: VecDeque::new(),
            batches: 0,
            connected: false,
            held: Vec::new(),
            lost: 0,
            short_of_room,
            refilled_ms: monotonic_ms(),
            limiter: Limiter::default(),
            figures: Arc::clone(&figures),
        };
        drain.publish_figures();
        let reports = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("telemetry".to_owned())
            .spawn(move || drain.run(&reports))?;
        Ok(Self { queue, figures })
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
    pub(crate) fn ack(&self, boot_id: u64, ranges: Vec<(u64, u64)>) {
        self.queue.ack(Acked { boot_id, ranges });
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

/// A batch that was sent.
struct Sent {
    boot_id: u64,
    /// The sequence numbers that aren't acknowledged yet.
    waiting: BTreeSet<u64>,
    sent_ms: u64,
    gaps: Vec<floorhand_store::Gap>,
}

struct Drain {
    setup: Setup,
    cursor: Cursor,
    sent: VecDeque<Sent>,
    batches: u64,
    connected: bool,
    /// What the hub has to know and the disk had no room for; it goes first when there is room again.
    held: Vec<Encoded>,
    /// Reports for which there was no room, in the queue or on the disk, and which aren't declared as a gap yet.
    lost: u64,
    /// The disk has no room, the ballast was given up: nothing but what matters most is kept.
    short_of_room: bool,
    /// When it was last tried to take the ballast.
    refilled_ms: u64,
    limiter: Limiter,
    figures: Arc<Mutex<SpoolFigures>>,
}

/// A record's priority, time and bytes.
type Encoded = (Priority, u64, Vec<u8>);

impl Drain {
    fn run(&mut self, queue: &Queue) {
        let mut waiting: VecDeque<Report> = VecDeque::new();
        let mut oldest_ms = 0;
        loop {
            self.setup.heartbeat.beat(monotonic_ms());
            let idle_ms = if waiting.is_empty() {
                1000
            } else {
                self.setup.delay_ms.max(1)
            };
            let taken = queue.take(Duration::from_millis(idle_ms));
            if waiting.is_empty() {
                oldest_ms = monotonic_ms();
            }
            let stop = self.take(taken, &mut waiting);
            let due = stop.is_some() || monotonic_ms().saturating_sub(oldest_ms) >= self.setup.delay_ms;
            while waiting.len() >= GROUP || (due && !waiting.is_empty()) {
                let group = waiting.drain(..waiting.len().min(GROUP)).collect();
                self.keep(group);
                self.setup.heartbeat.beat(monotonic_ms());
            }
            self.send();
            if let Some(done) = stop {
                let _ = done.try_send(());
                return;
            }
        }
    }

    /// Takes what came, except for the reports, which wait to be kept in groups.
    fn take(&mut self, taken: Taken, waiting: &mut VecDeque<Report>) -> Option<SyncSender<()>> {
        waiting.extend(taken.reports);
        self.lost += taken.lost;
        for Acked { boot_id, ranges } in taken.acks {
            self.acknowledged(boot_id, &ranges);
        }
        if let Some(connected) = taken.connected {
            self.connected = connected;
            // What was under way when the connection broke may be lost.
            self.send_again();
        }
        taken.stop
    }

    /// Makes records durable, all in one transaction.
    fn keep(&mut self, waiting: Vec<Report>) {
        let mut encoded = std::mem::take(&mut self.held);
        let (all, held) = (waiting.len(), encoded.len());
        encoded.extend(waiting.into_iter().filter_map(encode));
        if self.short_of_room {
            encoded.retain(|(priority, ..)| *priority == Priority::High);
        }
        self.lost += (held + all - encoded.len()) as u64;
        let lost = self.lost;
        let told = (lost > 0)
            .then(|| format!("{lost} reports were dropped because the disk was full or could not keep up"))
            .and_then(|message| encode((system_ms(), event("telemetry-overflow", "spool", message))));
        let records: Vec<NewRecord<'_>> = encoded
            .iter()
            .chain(&told)
            .map(|(priority, time_ms, payload)| NewRecord {
                priority: *priority,
                time_ms: *time_ms,
                payload,
            })
            .collect();
        match self.setup.spool.append_after_loss(lost, &records) {
            Ok(_) => {
                self.lost -= lost;
                self.refill();
            }
            Err(error) => self.hold(encoded, &error),
        }
        self.publish_figures();
    }

    /// Keeps in memory what matters most of what the disk didn't take; the rest is counted.
    fn hold(&mut self, encoded: Vec<Encoded>, error: &SpoolError) {
        let all = encoded.len();
        self.held = encoded;
        self.held.retain(|(priority, ..)| *priority == Priority::High);
        self.held.truncate(HELD);
        self.lost += (all - self.held.len()) as u64;
        self.complain(
            "telemetry can't be kept; free space on the state directory's disk",
            error,
        );
        // What matters most is written into the room that was kept for it.
        if matches!(error, SpoolError::Full { .. }) && self.setup.ballast.give_up() {
            self.short_of_room = true;
            self.keep(Vec::new());
        }
    }

    /// Takes the ballast again when there is room.
    fn refill(&mut self) {
        let now_ms = monotonic_ms();
        if self.short_of_room && now_ms.saturating_sub(self.refilled_ms) >= REFILL_EVERY_MS {
            self.refilled_ms = now_ms;
            self.short_of_room = !self.setup.ballast.hold();
        }
    }

    /// Logs a problem with the spool, but not with every report.
    fn complain(&mut self, what: &str, error: &SpoolError) {
        if let Some(more) = self.limiter.admit("spool", what, monotonic_ms()) {
            tracing::error!(more, %error, "{what}");
        }
    }

    fn publish_figures(&self) {
        let stats = self.setup.spool.stats();
        let figures = SpoolFigures {
            records: stats.records,
            bytes: stats.bytes,
            dropped: stats.dropped,
        };
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }

    fn acknowledged(&mut self, boot_id: u64, ranges: &[(u64, u64)]) {
        if let Err(error) = self.setup.spool.ack(boot_id, ranges) {
            return self.complain("acknowledged telemetry can't be deleted; it will be sent again", &error);
        }
        for sent in self.sent.iter_mut().filter(|sent| sent.boot_id == boot_id) {
            sent.waiting
                .retain(|seq| !ranges.iter().any(|&(first, last)| first <= *seq && *seq <= last));
        }
        let (done, waiting): (Vec<Sent>, Vec<Sent>) = self.sent.drain(..).partition(|sent| sent.waiting.is_empty());
        self.sent = waiting.into();
        for sent in done.iter().filter(|sent| !sent.gaps.is_empty()) {
            if let Err(error) = self.setup.spool.forget_gaps(&sent.gaps) {
                tracing::warn!(%error, "reported gaps can't be forgotten; they will be reported again");
            }
        }
        self.publish_figures();
    }

    fn send_again(&mut self) {
        self.cursor = Cursor::default();
        self.sent.clear();
    }

    /// Sends batches as long as there is room under way.
    fn send(&mut self) {
        if !self.connected {
            return;
        }
        let now_ms = monotonic_ms();
        if self
            .sent
            .front()
            .is_some_and(|sent| now_ms.saturating_sub(sent.sent_ms) > ACK_TIMEOUT_MS)
        {
            tracing::debug!("telemetry was not acknowledged in time and is sent again");
            self.send_again();
        }
        while self.sent.len() < IN_FLIGHT {
            match self.send_one(now_ms) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.complain("telemetry can't be read", &error),
            }
        }
    }

    /// Sends the next batch. False when there is none, or no way to send it now.
    fn send_one(&mut self, now_ms: u64) -> Result<bool, SpoolError> {
        let Some(fleet) = self.setup.fleet.clone() else {
            return Ok(false);
        };
        let before = self.cursor;
        let order = if self.batches % BACKFILL_EVERY == BACKFILL_EVERY - 1 {
            Order::BackfillFirst
        } else {
            Order::LiveFirst
        };
        let Some(batch) = self
            .setup
            .spool
            .next_batch(&mut self.cursor, self.setup.limits, order)?
        else {
            return Ok(false);
        };
        let gaps = self.setup.spool.gaps()?;
        let waiting = batch.records.iter().map(|record| record.seq).collect();
        let sent = Sent {
            boot_id: batch.boot_id,
            waiting,
            sent_ms: now_ms,
            gaps,
        };
        let sealed = self.seal(batch, &sent.gaps);
        if sealed.is_none_or(|bytes| fleet.publish(Up::Batch, bytes).is_err()) {
            self.cursor = before;
            return Ok(false);
        }
        self.sent.push_back(sent);
        self.batches += 1;
        Ok(true)
    }

    fn seal(&self, batch: Batch, gaps: &[floorhand_store::Gap]) -> Option<Vec<u8>> {
        let records = batch.records.into_iter().filter_map(|record| {
            let body = cbor::decode("record", &record.payload, MAX_RECORD_BYTES).ok()?;
            Some(Record {
                seq: record.seq,
                time_ms: record.time_ms,
                body,
            })
        });
        let up = UpBatch {
            device: self.setup.device.clone(),
            boot_id: batch.boot_id,
            historical: batch.historical,
            records: records.collect(),
            gaps: gaps
                .iter()
                .map(|gap| Gap {
                    boot_id: gap.boot_id,
                    first: gap.first,
                    last: gap.last,
                    count: gap.count,
                })
                .collect(),
        };
        match up.seal(&self.setup.key) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                tracing::error!(%error, "telemetry can't be signed");
                None
            }
        }
    }
}

fn event(kind: &str, subject: &str, message: String) -> RecordBody {
    RecordBody::Event(Event {
        kind: kind.to_owned(),
        severity: Severity::Warning,
        subject: subject.to_owned(),
        message,
    })
}

/// A record's bytes. One that is longer than a record may be is left out, and said so.
fn encode((time_ms, body): (u64, RecordBody)) -> Option<Encoded> {
    let priority = match body.priority() {
        floorhand_protocol::Priority::High => Priority::High,
        floorhand_protocol::Priority::Normal => Priority::Normal,
        floorhand_protocol::Priority::Low => Priority::Low,
    };
    match cbor::encode("record", &body) {
        Ok(payload) if payload.len() <= MAX_RECORD_BYTES => Some((priority, time_ms, payload)),
        Ok(payload) => {
            tracing::warn!(
                bytes = payload.len(),
                "a report is longer than {MAX_RECORD_BYTES} bytes and is dropped"
            );
            None
        }
        Err(error) => {
            tracing::error!(%error, "a report can't be encoded");
            None
        }
    }
}
