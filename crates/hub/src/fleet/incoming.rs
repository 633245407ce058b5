//! What devices send: who they are, what they ask for, what they report.
//!
//! Nothing is believed that the device hasn't signed, presence and requests for chunks aside, by which nobody is judged.
//! Telemetry is acknowledged after it was committed, and a batch that comes again is acknowledged again.

use super::{Hub, HubError};
use crate::access::limits::Rate;
use crate::database::{DeviceRow, Telemetry};
use crate::rules;
use floorhand_bundle::{DeviceId, PublicKey};
use floorhand_protocol::{
    Ack, Answer, Down, Fetch, Gap, Hello, MAX_BATCH_GAPS, Presence, SeqRange, Topic, Up, UpBatch,
};
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// Unknown devices that are logged by name; a flood of made-up names must not fill the memory or the log.
const MAX_STRANGERS: usize = 1000;
/// What one device may send. A device that drains a day's backlog sends some tens of batches a second, since it waits for
/// acks; one that fetches a bundle asks some hundred times.
pub(super) const MESSAGES: Rate = Rate {
    per_s: 200.0,
    burst: 4000.0,
};
/// The same in bytes: batches of the largest size at a rate that a disk takes from several devices at once.
pub(super) const MESSAGE_BYTES: Rate = Rate {
    per_s: 8.0 * 1024.0 * 1024.0,
    burst: 64.0 * 1024.0 * 1024.0,
};
/// Devices whose rate is remembered: more than one hub is meant for.
pub(super) const MAX_SENDERS: usize = 20_000;
/// Ranges or gaps in one ack, at most 30 bytes each: below `MAX_ACK_BYTES` with its envelope.
const RANGES_PER_ACK: usize = 1000;

impl Hub {
    /// Takes one message. What is wrong with it is counted and logged; nothing is answered to it.
    pub(crate) async fn take(&self, topic: &str, payload: &[u8]) {
        self.counters.messages.add_one();
        let (device, kind) = match topic.parse() {
            Ok(Topic::Up { fleet, device, kind }) if fleet == self.root.fleet => (device, kind),
            _ => {
                self.counters.foreign_topics.add_one();
                return;
            }
        };
        if self.is_flooding(&device, payload.len()) {
            self.counters.throttled.add_one();
            return;
        }
        match self.dispatch(&device, kind, payload).await {
            Ok(()) => {}
            Err(HubError::NotFound(_)) => self.note_stranger(device),
            Err(HubError::Database(error)) => {
                self.counters.failures.add_one();
                tracing::error!(%device, ?kind, "failed to handle a message: {error}");
            }
            Err(error) => {
                self.counters.refused.add_one();
                tracing::warn!(%device, ?kind, "refused a message: {error}");
            }
        }
    }

    /// Publishes assignments that devices haven't taken, waiting for room: after a connect, since a broker may have lost
    /// them, and after the queue was full.
    pub(crate) async fn resend_assignments(&self) -> Result<(), HubError> {
        let now_ms = self.now_ms();
        for row in self.database.open_assignments().await? {
            let expires_ms = crate::database::unsigned(row.expires_ms);
            let Ok(device) = row.device.parse::<DeviceId>() else {
                continue;
            };
            if row.status == "QUEUED" && now_ms <= expires_ms && self.reaches_device(&device).await? {
                self.counters.resent.add_one();
                self.send(&device, Down::Assign, row.sealed()?).await;
            }
        }
        Ok(())
    }

    /// Whether a device has sent more than it may. What is let go by is neither stored nor acknowledged, so nothing is lost
    /// of a device that comes to its senses.
    fn is_flooding(&self, device: &DeviceId, length: usize) -> bool {
        let now_ms = self.now_ms();
        self.messages.take(device, 1.0, now_ms).is_err()
            || self.message_bytes.take(device, length as f64, now_ms).is_err()
    }

    async fn dispatch(&self, device: &DeviceId, kind: Up, payload: &[u8]) -> Result<(), HubError> {
        let row = self.database.device(device.as_str()).await?;
        let row = row.ok_or_else(|| HubError::NotFound(format!("device {device} is not registered")))?;
        match kind {
            Up::Hello => self.take_hello(device, &row, payload).await,
            Up::Batch => self.take_batch(device, &row, payload).await,
            Up::Answer => self.take_answer(device, &row, payload).await,
            Up::Renew => self.take_renewal(device, &public_key(&row)?, payload).await,
            Up::Fetch => {
                let fetch = Fetch::decode(payload).map_err(refused)?;
                let left_out = self.deliveries.push(device, &fetch);
                self.counters.overload.add(left_out);
                Ok(())
            }
            Up::Presence => {
                let presence = Presence::decode(payload).map_err(refused)?;
                let Presence { boot_id, online } = presence;
                Ok(self
                    .database
                    .store_presence(device.as_str(), boot_id, online, self.now_ms())
                    .await?)
            }
        }
    }

    async fn take_hello(&self, device: &DeviceId, row: &DeviceRow, payload: &[u8]) -> Result<(), HubError> {
        let hello = Hello::open(payload, device, &public_key(row)?).map_err(refused)?;
        // Its other numbers may be anything: whoever had the assignment key can have driven them up, and a hello that was
        // refused for it would keep the next trust root from the device.
        if hello.count >= i64::MAX as u64 {
            return Err(HubError::Refused(format!(
                "hello: count is {}, which leaves no number above it",
                hello.count
            )));
        }
        let seen_before = self
            .database
            .knows_boot(device.as_str(), &hello.boot_id.to_string())
            .await?;
        let count = crate::database::unsigned(row.hello_count);
        let known = rules::KnownBoot {
            boot_id: &row.boot_id,
            count,
            seen_before,
        };
        if rules::is_replay(&hello, known) {
            self.counters.replays.add_one();
            tracing::info!(%device, boot_id = hello.boot_id, count = hello.count, "ignored a repeated hello");
            return Ok(());
        }
        let now_ms = self.now_ms();
        let followed = self.followed(row, &hello);
        if crate::database::unsigned(row.seq) < followed.0 {
            tracing::warn!(%device, seq = hello.seq, "the device has taken assignments that this hub doesn't know: goes on above them");
        }
        self.database.store_hello_above(&hello, followed, now_ms).await?;
        self.send_next_root(device, hello.root_version).await;
        if !self.reaches(Some(&hello)) {
            return Ok(());
        }
        let Some(latest) = self.database.latest_assignment(device.as_str()).await? else {
            return Ok(());
        };
        if self.renew(row, &latest).await? {
            return Ok(());
        }
        let (seq, expires_ms) = (
            crate::database::unsigned(latest.seq),
            crate::database::unsigned(latest.expires_ms),
        );
        if rules::is_owed(seq, expires_ms, hello.seq, now_ms) {
            self.counters.resent.add_one();
            self.send(device, Down::Assign, latest.sealed()?).await;
        }
        Ok(())
    }

    async fn take_batch(&self, device: &DeviceId, row: &DeviceRow, payload: &[u8]) -> Result<(), HubError> {
        let batch = UpBatch::open(payload, device, &public_key(row)?).map_err(refused)?;
        check_numbers(&batch)?;
        let telemetry = Telemetry {
            device: device.as_str(),
            boot_id: batch.boot_id,
            historical: batch.historical,
            records: &batch.records,
            gaps: &batch.gaps,
        };
        let stored = self.database.store_telemetry(&telemetry, self.now_ms()).await?;
        self.counters.records.add(stored.new);
        self.counters.duplicates.add(stored.duplicates);
        if !self.reaches(row.hello()?.as_ref()) {
            // It would refuse the acks; it sends the batch again.
            return Ok(());
        }
        let key = self.signing_key()?;
        for ack in acks(&batch) {
            self.send(device, Down::Ack, ack.seal(key).map_err(refused)?).await;
        }
        Ok(())
    }

    async fn take_answer(&self, device: &DeviceId, row: &DeviceRow, payload: &[u8]) -> Result<(), HubError> {
        let answer = Answer::open(payload, device, &public_key(row)?).map_err(refused)?;
        let (kind, number) = rules::parse_answered(&answer.to).ok_or_else(|| {
            HubError::Refused(format!(
                "answer: it is to {:?}, expected assign/SEQ or cmd/ID",
                answer.to
            ))
        })?;
        let now_ms = self.now_ms();
        if !self.database.store_answer(&answer, (kind, number), now_ms).await? {
            return Ok(());
        }
        if kind == "assign" {
            let Some(assignment) = self.database.assignment(device.as_str(), number).await? else {
                return Ok(());
            };
            let (status, reason) = rules::status_of_answer(&answer.outcome, !assignment.bundle.is_empty());
            self.database
                .settle_assignment(device.as_str(), number, status, reason, now_ms)
                .await?;
        }
        self.answered.send_modify(|count| *count += 1);
        Ok(())
    }

    fn note_stranger(&self, device: DeviceId) {
        self.counters.unknown_devices.add_one();
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if strangers.len() < MAX_STRANGERS && !strangers.contains(&device) {
            tracing::warn!(%device, "ignored a message of a device that is not registered: make it known with `floorhand fleet enroll`");
            strangers.insert(device);
        }
    }
}

/// What a batch says of numbers makes sense, and is no more than a device has to say at once.
fn check_numbers(batch: &UpBatch) -> Result<(), HubError> {
    let seqs = batch.records.iter().map(|record| record.seq);
    let of_gaps = batch.gaps.iter().flat_map(|gap| [gap.first, gap.last]);
    if seqs.chain(of_gaps).any(|seq| i64::try_from(seq).is_err()) {
        return Err(refused("up batch: a sequence number is above 2^63-1"));
    }
    let (count, most) = (batch.gaps.len(), MAX_BATCH_GAPS);
    if count > most {
        return Err(refused(format!(
            "up batch: it has {count} gaps, and none has more than {most}"
        )));
    }
    for Gap { first, last, count, .. } in &batch.gaps {
        // The numbers are below 2^63.
        if first > last || *count == 0 || *count > last - first + 1 {
            return Err(refused(format!(
                "up batch: a gap from {first} to {last} can't be of {count} records"
            )));
        }
    }
    Ok(())
}

/// Acks for all of a batch: the numbers of its records, and its gaps, by boot, each by its ends. A gap says nothing of records
/// whose numbers lie in it, nor they of the gap.
fn acks(batch: &UpBatch) -> Vec<Ack> {
    let ack = |boot_id| Ack {
        device: batch.device.clone(),
        boot_id,
        ranges: Vec::new(),
        gaps: Vec::new(),
    };
    let mut gaps: BTreeMap<u64, Vec<SeqRange>> = BTreeMap::new();
    for gap in &batch.gaps {
        let (first, last) = (gap.first, gap.last);
        gaps.entry(gap.boot_id).or_default().push(SeqRange { first, last });
    }
    let of_gaps = gaps.iter().flat_map(|(boot_id, gaps)| {
        gaps.chunks(RANGES_PER_ACK).map(move |gaps| Ack {
            gaps: gaps.to_vec(),
            ..ack(*boot_id)
        })
    });
    let ranges = rules::ranges(batch.records.iter().map(|record| record.seq));
    let of_records = ranges.chunks(RANGES_PER_ACK).map(|ranges| Ack {
        ranges: ranges.to_vec(),
        ..ack(batch.boot_id)
    });
    of_records.chain(of_gaps).collect()
}

fn public_key(row: &DeviceRow) -> Result<PublicKey, HubError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(&row.public_key, &mut bytes)
        .ok()
        .and_then(|()| PublicKey::from_bytes(&bytes))
        .ok_or_else(|| {
            HubError::Refused(format!(
                "device {} has no usable key: give it one with `floorhand fleet enroll --replace`",
                row.id
            ))
        })
}

fn refused(error: impl std::fmt::Display) -> HubError {
    HubError::Refused(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Outgoing;
    use crate::testing::{NOW_MS, bundle, finding, hello, hub, key, report, root};
    use floorhand_protocol::{Assignment, JobStatus, Outcome, Record, RecordBody, Step};
    use tokio::sync::mpsc;

    const HELLO: &str = "fh/v1/plant-a/d/press-1/up/hello";
    const BATCH: &str = "fh/v1/plant-a/d/press-1/up/batch";

    async fn registered() -> (tempfile::TempDir, Hub, mpsc::Receiver<Outgoing>) {
        let (dir, hub, sent) = hub().await;
        let device = "press-1".parse().unwrap();
        hub.database
            .register(&device, &hex::encode(key(9).public().as_bytes()), false, NOW_MS)
            .await
            .unwrap();
        (dir, hub, sent)
    }

    fn batch(records: Vec<Record>, gaps: Vec<Gap>) -> Vec<u8> {
        let device = "press-1".parse().unwrap();
        UpBatch {
            device,
            boot_id: 5,
            historical: false,
            records,
            gaps,
        }
        .seal(&key(9))
        .unwrap()
    }

    #[tokio::test]
    async fn a_device_that_floods_the_hub_is_held_up_alone() {
        let (_dir, hub, mut sent) = registered().await;
        let burst = MESSAGES.burst as u64;
        for _ in 0..burst {
            hub.take("fh/v1/plant-a/d/press-1/up/presence", b"nonsense").await;
        }
        assert_eq!(
            (hub.counters.refused.value(), hub.counters.throttled.value()),
            (burst, 0)
        );
        hub.take(BATCH, &batch(vec![finding(0, 1, 0.5)], vec![])).await;
        assert_eq!(
            (hub.counters.throttled.value(), acked(&mut sent)),
            (1, vec![]),
            "neither taken nor acknowledged"
        );
        hub.take("fh/v1/plant-a/d/press-2/up/presence", b"nonsense").await;
        assert_eq!(
            (hub.counters.throttled.value(), hub.counters.unknown_devices.value()),
            (1, 1)
        );
        let bytes = vec![0; MESSAGE_BYTES.burst as usize + 1];
        hub.take("fh/v1/plant-a/d/press-3/up/batch", &bytes).await;
        assert_eq!(hub.counters.throttled.value(), 2, "bytes count, too");
    }

    type Acked = (u64, Vec<(u64, u64)>, Vec<(u64, u64)>);

    /// What was acknowledged: of which boot, which records, which gaps.
    fn acked(sent: &mut mpsc::Receiver<Outgoing>) -> Vec<Acked> {
        let pairs = |ranges: &[SeqRange]| ranges.iter().map(|range| (range.first, range.last)).collect();
        let device = "press-1".parse().unwrap();
        std::iter::from_fn(|| sent.try_recv().ok())
            .map(|outgoing| {
                assert_eq!(
                    (outgoing.topic.as_str(), outgoing.retain),
                    ("fh/v1/plant-a/d/press-1/down/ack", false)
                );
                let ack = Ack::open(&outgoing.payload, &root(), &device, NOW_MS).unwrap();
                (ack.boot_id, pairs(&ack.ranges), pairs(&ack.gaps))
            })
            .collect()
    }

    #[tokio::test]
    async fn telemetry_is_stored_once_and_acknowledged_every_time() {
        let (_dir, hub, mut sent) = registered().await;
        let records = vec![finding(3, 1, 0.5), finding(4, 2, 0.5), finding(9, 3, 0.5)];
        let gaps = vec![Gap {
            boot_id: 2,
            first: 10,
            last: 20,
            count: 4,
        }];
        let bytes = batch(records, gaps);
        for _ in 0..2 {
            hub.take(BATCH, &bytes).await;
            assert_eq!(
                acked(&mut sent),
                [(5, vec![(3, 4), (9, 9)], vec![]), (2, vec![], vec![(10, 20)])]
            );
        }
        assert_eq!((hub.counters.records.value(), hub.counters.duplicates.value()), (3, 3));
        assert_eq!(hub.database.totals().await.unwrap().lost, 4);
    }

    #[tokio::test]
    async fn gaps_come_without_records_and_count_once() {
        let (_dir, hub, mut sent) = registered().await;
        let gap = |boot_id, first, last, count| Gap {
            boot_id,
            first,
            last,
            count,
        };
        // One that was joined of others is wider than it counts, and can lie around one that was told before.
        for gaps in [vec![gap(5, 11, 15, 5)], vec![gap(5, 1, 40, 9), gap(4, 7, 7, 1)]] {
            for _ in 0..3 {
                hub.take(BATCH, &batch(vec![], gaps.clone())).await;
                let mut told = Vec::new();
                for (boot, ranges, ends) in acked(&mut sent) {
                    assert_eq!(ranges, [], "a number that nobody sent is acknowledged");
                    told.extend(ends.iter().map(|(first, last)| (boot, *first, *last)));
                }
                let mut expected: Vec<_> = gaps.iter().map(|gap| (gap.boot_id, gap.first, gap.last)).collect();
                expected.sort_unstable();
                assert_eq!(told, expected);
            }
        }
        assert_eq!(hub.database.totals().await.unwrap().lost, 15);
        assert_eq!(hub.database.gaps("", 10).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn gaps_that_make_no_sense_or_are_too_many_are_refused() {
        let (_dir, hub, mut sent) = registered().await;
        let gap = |first, last, count| Gap {
            boot_id: 5,
            first,
            last,
            count,
        };
        let most = i64::MAX as u64;
        let too_many: Vec<Gap> = (0..=MAX_BATCH_GAPS as u64).map(|at| gap(2 * at, 2 * at, 1)).collect();
        let refused = [
            vec![gap(2, 1, 1)],
            vec![gap(1, 2, 0)],
            vec![gap(1, 2, 3)],
            vec![gap(1, most + 1, 1)],
            too_many.clone(),
        ];
        for gaps in &refused {
            hub.take(BATCH, &batch(vec![finding(7, 1, 0.5)], gaps.clone())).await;
        }
        assert_eq!(hub.counters.refused.value(), refused.len() as u64);
        assert_eq!(
            (acked(&mut sent), hub.database.totals().await.unwrap().lost),
            (vec![], 0)
        );
        hub.take(BATCH, &batch(vec![], too_many[1..].to_vec())).await;
        hub.take(BATCH, &batch(vec![], vec![gap(0, most, most)])).await;
        assert_eq!(hub.counters.refused.value(), refused.len() as u64);
        assert_eq!(acked(&mut sent).len(), 2);
    }

    /// A device that declares all it will ever send as lost, again and again, costs no other one anything but its turn.
    #[tokio::test]
    async fn gaps_without_end_hold_up_nobody() {
        let (_dir, hub, mut sent) = registered().await;
        let (other, other_key) = ("press-2".parse().unwrap(), key(8));
        let public = hex::encode(other_key.public().as_bytes());
        hub.database.register(&other, &public, false, NOW_MS).await.unwrap();
        let gap = |first, last| Gap {
            boot_id: 5,
            first,
            last,
            count: 1,
        };
        for report in 0..6 {
            let gaps = (0..512).map(|at| gap(report * 512 + at, 1 << 62)).collect();
            hub.take(BATCH, &batch(vec![], gaps)).await;
        }
        for seq in 5000..5005 {
            hub.take(BATCH, &batch(vec![finding(seq, 1, 0.5)], vec![])).await;
        }
        assert_eq!(acked(&mut sent).len(), 11, "it is served itself");
        let honest = UpBatch {
            device: other,
            boot_id: 5,
            historical: false,
            records: vec![finding(1, 1, 0.5), finding(4, 1, 0.5)],
            gaps: vec![gap(2, 2), gap(3, 4)],
        };
        hub.take("fh/v1/plant-a/d/press-2/up/batch", &honest.seal(&other_key).unwrap())
            .await;
        assert!(sent.try_recv().is_ok());
        let row = hub.database.device("press-2").await.unwrap().unwrap();
        assert_eq!((row.records, row.lost), (2, 2));
        let hostile = hub.database.device("press-1").await.unwrap().unwrap();
        assert_eq!((hostile.records, hostile.lost), (5, 6 * 512));
    }

    #[tokio::test]
    async fn many_ranges_take_several_acks() {
        let (_dir, hub, mut sent) = registered().await;
        let records = (0..1001)
            .map(|at| Record {
                seq: at * 2,
                time_ms: 0,
                body: RecordBody::Metrics(floorhand_protocol::Metrics::default()),
            })
            .collect();
        hub.take(BATCH, &batch(records, vec![])).await;
        let acks = acked(&mut sent);
        assert_eq!(
            acks.iter().map(|(_, ranges, _)| ranges.len()).collect::<Vec<_>>(),
            [1000, 1]
        );
    }

    #[tokio::test]
    async fn forged_messages_change_nothing() {
        let (_dir, hub, mut sent) = registered().await;
        let forged = UpBatch {
            device: "press-1".parse().unwrap(),
            boot_id: 5,
            historical: false,
            records: vec![finding(1, 1, 0.5)],
            gaps: vec![],
        };
        hub.take(BATCH, &forged.seal(&key(8)).unwrap()).await;
        hub.take(HELLO, &hello("press-2", 1, 1).seal(&key(9)).unwrap()).await;
        hub.take(BATCH, b"nonsense").await;
        hub.take("fh/v1/plant-a/d/press-1/up/presence", b"nonsense").await;
        hub.take(BATCH, &batch(vec![finding(u64::MAX, 1, 0.5)], vec![])).await;
        let mut greedy = hello("press-1", 1, 1);
        greedy.count = i64::MAX as u64;
        hub.take(HELLO, &greedy.seal(&key(9)).unwrap()).await;
        assert_eq!(hub.counters.refused.value(), 6);
        hub.take("fh/v1/plant-b/d/press-1/up/hello", b"").await;
        hub.take("anything", b"").await;
        assert_eq!(hub.counters.foreign_topics.value(), 2);
        hub.take("fh/v1/plant-a/d/ghost/up/hello", b"").await;
        assert_eq!(hub.counters.unknown_devices.value(), 1);
        let row = hub.database.device("press-1").await.unwrap().unwrap();
        assert_eq!((row.hello.as_str(), row.records, row.online), ("", 0, 0));
        assert!(sent.try_recv().is_err());
    }

    #[tokio::test]
    async fn whoever_has_the_key_of_a_device_that_was_removed_is_nobody() {
        let (_dir, hub, mut sent) = registered().await;
        hub.take(BATCH, &batch(vec![finding(1, 1, 0.5)], vec![])).await;
        assert_eq!(acked(&mut sent).len(), 1);
        assert!(hub.database.unregister("press-1", NOW_MS).await.unwrap());
        let before = hub.database.totals().await.unwrap();
        hub.take(BATCH, &batch(vec![finding(2, 2, 0.5)], vec![])).await;
        hub.take(HELLO, &hello("press-1", 1, 1).seal(&key(9)).unwrap()).await;
        assert_eq!(hub.counters.unknown_devices.value(), 2);
        assert!(hub.database.device("press-1").await.unwrap().is_none());
        assert_eq!(hub.database.totals().await.unwrap(), before);
        assert!(sent.try_recv().is_err(), "nothing is acknowledged or answered");
    }

    #[tokio::test]
    async fn a_device_that_lacks_its_assignment_gets_it_again() {
        let (_dir, hub, mut sent) = registered().await;
        let (bytes, digest) = bundle("1.0.0", 1);
        hub.ingest(bytes).await.unwrap();
        let selection = crate::fleet::Selection::All;
        hub.deploy(&digest.to_string(), &selection).await.unwrap();
        let published = sent.try_recv().unwrap();
        assert!(published.retain);
        hub.take(HELLO, &hello("press-1", 1, 1).seal(&key(9)).unwrap()).await;
        assert_eq!(sent.try_recv().unwrap(), published, "the same signed bytes");
        hub.take(HELLO, &hello("press-1", 1, 1).seal(&key(9)).unwrap()).await;
        assert_eq!(hub.counters.replays.value(), 1);
        assert!(sent.try_recv().is_err());
        let mut taken = hello("press-1", 1, 2);
        taken.seq = 1;
        hub.take(HELLO, &taken.seal(&key(9)).unwrap()).await;
        assert!(sent.try_recv().is_err());
        hub.resend_assignments().await.unwrap();
        assert_eq!(sent.try_recv().unwrap(), published);
    }

    #[tokio::test]
    async fn a_restored_hub_goes_on_above_what_the_device_has() {
        let (_dir, hub, mut sent) = registered().await;
        let mut ahead = hello("press-1", 1, 1);
        (ahead.seq, ahead.command_id) = (41, 6);
        hub.take(HELLO, &ahead.seal(&key(9)).unwrap()).await;
        let issued = hub
            .change_mode("press-1", floorhand_protocol::Mode::Paused)
            .await
            .unwrap();
        assert_eq!(issued.assignments[0].1, 42);
        let device = "press-1".parse().unwrap();
        let assignment = Assignment::open(&sent.try_recv().unwrap().payload, &root(), &device, NOW_MS).unwrap();
        assert_eq!((assignment.seq, assignment.run.clone()), (42, None));
        assert_eq!(
            hub.command("press-1", &floorhand_protocol::Action::ReportNow)
                .await
                .unwrap(),
            7
        );
    }

    #[tokio::test]
    async fn what_changes_no_bundle_is_done_once_it_is_accepted() {
        let (_dir, hub, _sent) = registered().await;
        let issued = hub
            .change_mode("press-1", floorhand_protocol::Mode::Paused)
            .await
            .unwrap();
        let (_, seq) = issued.assignments[0];
        let accepted = Answer {
            device: "press-1".parse().unwrap(),
            boot_id: 5,
            to: format!("assign/{seq}"),
            time_ms: 1,
            outcome: Outcome::Accepted,
        };
        hub.take("fh/v1/plant-a/d/press-1/up/answer", &accepted.seal(&key(9)).unwrap())
            .await;
        let row = hub.database.latest_assignment("press-1").await.unwrap().unwrap();
        assert_eq!((row.job, row.status.as_str()), (issued.job, "SUCCEEDED"));
    }

    #[tokio::test]
    async fn answers_and_reports_move_an_assignment_along() {
        let (_dir, hub, _sent) = registered().await;
        let (bytes, digest) = bundle("1.0.0", 1);
        hub.ingest(bytes).await.unwrap();
        let issued = hub
            .deploy(&digest.to_string(), &crate::fleet::Selection::All)
            .await
            .unwrap();
        let status = async || {
            let row = hub.database.latest_assignment("press-1").await.unwrap().unwrap();
            (row.status, row.step, row.reason)
        };
        let answer = |outcome: Outcome| {
            let device = "press-1".parse().unwrap();
            Answer {
                device,
                boot_id: 5,
                to: "assign/1".to_owned(),
                time_ms: 1,
                outcome,
            }
            .seal(&key(9))
            .unwrap()
        };
        let topic = "fh/v1/plant-a/d/press-1/up/answer";
        hub.take(topic, &answer(Outcome::Accepted)).await;
        assert_eq!(status().await.0, "IN_PROGRESS");
        hub.take(
            topic,
            &answer(Outcome::Rejected {
                reason: "1 is not above 1".to_owned(),
            }),
        )
        .await;
        assert_eq!(
            status().await.0,
            "IN_PROGRESS",
            "a repetition was rejected, not the assignment"
        );
        assert_eq!(*hub.answered.borrow(), 1);
        let mut failed = report(&issued.job, 1, JobStatus::Failed, Step::Staged);
        failed.reason = "golden case 3 is off by 0.5".to_owned();
        let record = Record {
            seq: 0,
            time_ms: 7,
            body: RecordBody::Job(failed),
        };
        hub.take(BATCH, &batch(vec![record], vec![])).await;
        let expected = (
            "FAILED".to_owned(),
            "staged".to_owned(),
            "golden case 3 is off by 0.5".to_owned(),
        );
        assert_eq!(status().await, expected);
    }
}
