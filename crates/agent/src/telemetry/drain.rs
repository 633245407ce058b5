//! What is done with the spool: records in, in groups; batches out, lane by lane; what the hub has signed for goes.
//!
//! No clock and no network: time comes in, and a message goes to whoever calls.

#[cfg(test)]
mod tests;

use super::flow::{Flow, Lane, Waiting};
use super::queue::Report;
use crate::limiter::Limiter;
use floorhand_bundle::{DeviceId, cbor};
use floorhand_protocol::{Event, Gap, MAX_BATCH_BYTES, MAX_RECORD_BYTES, Record, RecordBody, Severity, UpBatch};
use floorhand_store::{
    Acknowledged, Ballast, Batch, BatchLimits, Cursor, NewRecord, Order, Priority, Spool, SpoolConfig, SpoolError,
    SpoolStats, Vault,
};
use std::borrow::Cow;

/// Records of the highest priority that wait for room on the disk: the reports of many deployments.
const HELD: usize = 512;
/// How often it is tried to take the ballast again.
const REFILL_EVERY_MS: u64 = 10_000;
/// What a record takes in a batch beside its body, rounded up.
const RECORD_BYTES: usize = 48;
/// What a batch takes beside its records, with its envelope.
const BATCH_BYTES: usize = 4096;

/// What a sealed record is for: none of another file's opens as one.
const PURPOSE: &[u8] = b"floorhand/v1/record";
/// Begins a sealed record. No CBOR item begins so, and no other record does.
const SEALED: u8 = 0xff;

/// A record's priority, time and bytes.
pub(super) type Encoded = (Priority, u64, Vec<u8>);

/// The spool and its state.
pub(super) struct Drain {
    spool: Spool,
    /// Where what is kept is encrypted.
    vault: Option<Vault>,
    device: DeviceId,
    limits: BatchLimits,
    ballast: Ballast,
    flow: Flow,
    cursor: Cursor,
    /// What the hub has to know and the disk had no room for; it goes first when there is room again.
    held: Vec<Encoded>,
    /// Reports for which there was no room, in the queue or on the disk, and which aren't declared as a gap yet.
    lost: u64,
    /// Those that are declared, and that no event has told of yet.
    untold: u64,
    /// The disk has no room, the ballast was given up: nothing but what matters most is kept.
    short_of_room: bool,
    /// When it was last tried to take the ballast.
    refilled_ms: u64,
    limiter: Limiter,
}

impl Drain {
    pub(super) fn new(spool: Spool, device: DeviceId, mut limits: BatchLimits, ballast: Ballast, now_ms: u64) -> Self {
        // However short the records are, the batch fits into its message.
        let room = MAX_BATCH_BYTES.saturating_sub(BATCH_BYTES + limits.max_bytes);
        limits.max_records = limits.max_records.min(room / RECORD_BYTES);
        Self {
            flow: Flow::new(spool.boot_id()),
            short_of_room: !ballast.hold(),
            spool,
            vault: None,
            device,
            limits,
            ballast,
            cursor: Cursor::default(),
            held: Vec::new(),
            lost: 0,
            untold: 0,
            refilled_ms: now_ms,
            limiter: Limiter::default(),
        }
    }

    /// The same, with what it keeps from now on sealed.
    pub(super) fn sealed_with(mut self, vault: Option<Vault>) -> Self {
        self.vault = vault;
        self
    }

    pub(super) fn stats(&self) -> SpoolStats {
        self.spool.stats()
    }

    /// So many reports found no room on their way here.
    pub(super) fn lost(&mut self, lost: u64) {
        self.lost += lost;
    }

    /// The connection was made, or has ended: what was under way may be lost.
    pub(super) fn connected(&mut self, connected: bool, now_ms: u64) {
        self.flow.connected(connected, now_ms);
        self.cursor = Cursor::default();
    }

    /// Makes records durable.
    pub(super) fn keep(&mut self, waiting: Vec<Report>, time_ms: u64, now_ms: u64) {
        let all = waiting.len();
        let encode = |report| self.seal(encode(report)?);
        let encoded: Vec<Encoded> = waiting.into_iter().filter_map(encode).collect();
        self.lost += (all - encoded.len()) as u64;
        self.keep_encoded(encoded, time_ms, now_ms);
    }

    /// Makes records durable, in as few transactions as their bytes allow.
    pub(super) fn keep_encoded(&mut self, new: Vec<Encoded>, time_ms: u64, now_ms: u64) {
        let mut encoded = std::mem::take(&mut self.held);
        encoded.extend(new);
        if self.short_of_room {
            let all = encoded.len();
            encoded.retain(|(priority, ..)| *priority == Priority::High);
            self.lost += (all - encoded.len()) as u64;
        }
        if (self.lost > 0 || self.untold > 0)
            && let Err(error) = self.declare(time_ms, now_ms)
        {
            return self.hold(encoded, &error, (time_ms, now_ms));
        }
        let mut kept = 0;
        while let Some(rest) = encoded.get(kept..).filter(|rest| !rest.is_empty()) {
            let group = fitting(rest, self.spool.config().group_bytes());
            let records: Vec<NewRecord<'_>> = rest.iter().take(group).map(new_record).collect();
            match self.spool.append_batch(&records) {
                Ok(numbers) => self.tell_durable(numbers.end),
                Err(error) => return self.hold(encoded.split_off(kept), &error, (time_ms, now_ms)),
            }
            kept += group;
        }
        self.refill(now_ms);
    }

    /// Gives what was lost its numbers, and says so from time to time: an event for each loss would take the very room that
    /// was short, and push out others of the highest priority.
    fn declare(&mut self, time_ms: u64, now_ms: u64) -> Result<(), SpoolError> {
        let (lost, untold) = (self.lost, self.untold + self.lost);
        let told = self.limiter.admit("spool", "overflow", now_ms).and_then(|_| {
            let message = format!("{untold} reports were dropped because the disk was full or could not keep up");
            self.seal(encode((time_ms, event("telemetry-overflow", "spool", message)))?)
        });
        if lost == 0 && told.is_none() {
            return Ok(());
        }
        let records: Vec<NewRecord<'_>> = told.iter().map(new_record).collect();
        let numbers = self.spool.append_after_loss(lost, &records)?;
        self.untold = if told.is_some() { 0 } else { untold };
        self.lost = 0;
        self.tell_durable(numbers.end);
        Ok(())
    }

    /// A record as it is kept. One that can't be sealed is left out, and said so: it isn't kept readable.
    fn seal(&self, (priority, time_ms, payload): Encoded) -> Option<Encoded> {
        let Some(vault) = &self.vault else {
            return Some((priority, time_ms, payload));
        };
        let sealed = vault
            .seal(PURPOSE, &payload)
            .map(|sealed| [&[SEALED], sealed.as_slice()].concat());
        match sealed {
            Ok(sealed) if sealed.len() <= MAX_RECORD_BYTES => Some((priority, time_ms, sealed)),
            Ok(sealed) => {
                tracing::warn!(
                    bytes = sealed.len(),
                    "a report is too long to be kept encrypted and is dropped"
                );
                None
            }
            Err(error) => {
                tracing::error!(%error, "a report can't be encrypted and is dropped");
                None
            }
        }
    }

    /// A record's own bytes; `None` for one that was sealed with another key, or damaged.
    fn unseal<'a>(&self, kept: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        match kept.strip_prefix(&[SEALED]) {
            Some(sealed) => self.vault.as_ref()?.unseal(PURPOSE, sealed).map(Cow::Owned),
            None => Some(Cow::Borrowed(kept)),
        }
    }

    fn tell_durable(&self, until: u64) {
        let boot_id = format!("{:016x}", self.spool.boot_id());
        tracing::debug!(boot_id, until, "reports are durable");
    }

    /// Keeps in memory what matters most of what the disk didn't take; the rest is counted.
    fn hold(&mut self, encoded: Vec<Encoded>, error: &SpoolError, (time_ms, now_ms): (u64, u64)) {
        let all = encoded.len();
        self.held = encoded;
        self.held.retain(|(priority, ..)| *priority == Priority::High);
        self.held.truncate(HELD);
        self.lost += (all - self.held.len()) as u64;
        let what = match error {
            SpoolError::BudgetUsedUp { .. } => "telemetry can't be kept; raise `telemetry.spool_budget_bytes`",
            _ => "telemetry can't be kept; free space on the state directory's disk",
        };
        self.complain(what, error, now_ms);
        // What matters most is written into the room that was kept for it.
        if matches!(error, SpoolError::Full { .. }) && self.ballast.give_up() {
            self.short_of_room = true;
            self.keep_encoded(Vec::new(), time_ms, now_ms);
        }
    }

    /// Takes the ballast again when there is room.
    fn refill(&mut self, now_ms: u64) {
        if self.short_of_room && now_ms.saturating_sub(self.refilled_ms) >= REFILL_EVERY_MS {
            self.refilled_ms = now_ms;
            self.short_of_room = !self.ballast.hold();
        }
    }

    /// Logs a problem with the spool, but not with every report.
    fn complain(&mut self, what: &str, error: &SpoolError, now_ms: u64) {
        if let Some(more) = self.limiter.admit("spool", what, now_ms) {
            tracing::error!(more, %error, "{what}");
        }
    }

    /// The hub has signed for these.
    pub(super) fn acknowledged(&mut self, acks: &[Acknowledged<'_>], now_ms: u64) {
        if acks.is_empty() {
            return;
        }
        if let Err(error) = self.spool.ack_all(acks) {
            return self.complain(
                "acknowledged telemetry can't be deleted; it will be sent again",
                &error,
                now_ms,
            );
        }
        for ack in acks {
            self.flow.acknowledged(ack, now_ms);
        }
    }

    /// Sends what may be sent, by a function that says whether it took the message.
    pub(super) fn send(&mut self, now_ms: u64, publish: &mut dyn FnMut(UpBatch) -> bool) {
        if let Some(border) = self.flow.border(now_ms, self.spool.next_seq()) {
            self.spool.hold_back(border);
        }
        for lane in self.flow.overdue(now_ms) {
            tracing::debug!(?lane, "telemetry was not acknowledged in time and is sent again");
            match lane {
                Lane::Live => self.cursor.rewind_live(),
                Lane::Backfill => self.cursor.rewind_backfill(),
                Lane::Gaps => {}
            }
        }
        loop {
            match self.send_one(now_ms, publish) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.complain("telemetry can't be read", &error, now_ms),
            }
        }
    }

    /// Sends the next message. False when there is none, or no way to send it now.
    fn send_one(&mut self, now_ms: u64, publish: &mut dyn FnMut(UpBatch) -> bool) -> Result<bool, SpoolError> {
        for lane in self.flow.lanes(now_ms) {
            let before = self.cursor;
            let (batch, waiting) = match lane {
                Lane::Live => self.records(Order::Live)?,
                Lane::Backfill => self.records(Order::Backfill)?,
                Lane::Gaps => self.gaps()?,
            };
            if waiting.is_empty() {
                if lane == Lane::Backfill {
                    self.flow.no_backfill();
                }
                continue;
            }
            if publish(batch) {
                self.flow.sent(lane, waiting, now_ms);
                return Ok(true);
            }
            self.cursor = before;
            return Ok(false);
        }
        Ok(false)
    }

    /// The next batch of records, and what has to be acknowledged of it.
    fn records(&mut self, order: Order) -> Result<(UpBatch, Vec<Waiting>), SpoolError> {
        let found = self.spool.next_batch(&mut self.cursor, self.limits, order)?;
        let Some(batch) = found else {
            return Ok((self.empty(), Vec::new()));
        };
        let Batch {
            boot_id,
            historical,
            records: found,
        } = batch;
        let (mut records, mut unreadable) = (Vec::with_capacity(found.len()), Vec::new());
        for record in found {
            let (seq, time_ms) = (record.seq, record.time_ms);
            let payload = self.unseal(&record.payload);
            match payload.and_then(|payload| cbor::decode("record", &payload, MAX_RECORD_BYTES).ok()) {
                Some(body) => records.push(Record { seq, time_ms, body }),
                None => unreadable.push(seq),
            }
        }
        if !unreadable.is_empty() {
            tracing::warn!(boot_id, seqs = ?unreadable, "telemetry in the spool can't be read and is declared as lost");
            self.spool.give_up(boot_id, &unreadable)?;
        }
        let waiting = records
            .iter()
            .map(|record| Waiting::Record(boot_id, record.seq))
            .collect();
        let up = UpBatch {
            boot_id,
            historical,
            records,
            ..self.empty()
        };
        Ok((up, waiting))
    }

    /// The gaps to be reported, and what has to be acknowledged of that: each of them.
    fn gaps(&mut self) -> Result<(UpBatch, Vec<Waiting>), SpoolError> {
        let gaps = self.spool.report_gaps()?;
        let waiting = gaps.iter().map(|gap| Waiting::Gap(gap.boot_id, gap.first, gap.last));
        let waiting = waiting.collect();
        let gaps = gaps.iter().map(|gap| Gap {
            boot_id: gap.boot_id,
            first: gap.first,
            last: gap.last,
            count: gap.count,
        });
        let up = UpBatch {
            gaps: gaps.collect(),
            ..self.empty()
        };
        Ok((up, waiting))
    }

    /// A batch with nothing in it.
    fn empty(&self) -> UpBatch {
        UpBatch {
            device: self.device.clone(),
            boot_id: self.spool.boot_id(),
            historical: false,
            records: Vec::new(),
            gaps: Vec::new(),
        }
    }
}

/// How many of the records fit into one transaction.
fn fitting(records: &[Encoded], group_bytes: u64) -> usize {
    let mut bytes = 0;
    let fits = |(.., payload): &&Encoded| {
        bytes += SpoolConfig::charge(payload.len());
        bytes <= group_bytes
    };
    records.iter().take_while(fits).count()
}

fn new_record((priority, time_ms, payload): &Encoded) -> NewRecord<'_> {
    NewRecord {
        priority: *priority,
        time_ms: *time_ms,
        payload,
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
pub(super) fn encode((time_ms, body): (u64, RecordBody)) -> Option<Encoded> {
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
