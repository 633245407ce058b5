//! Reading what is to be sent: batches of one boot each, this boot's and older ones' in the order the caller asks for.

use redb::{AccessGuard, Range, ReadTransaction};

use super::Priority;
use super::tables::{BOOTS, Boot, Key, PRIORITIES, RECORDS, TIME_BYTES};

/// How far the caller has read. [`Cursor::default`] is the beginning: start there after each reconnect, and whenever an
/// acknowledgement is overdue, since what isn't acknowledged has to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// The next number of what is live.
    live: u64,
    /// The next key of what was held back.
    backfill: Key,
}

impl Cursor {
    /// Begins again with what is live.
    pub fn rewind_live(&mut self) {
        self.live = 0;
    }

    /// Begins again with what was held back.
    pub fn rewind_backfill(&mut self) {
        self.backfill = Key::default();
    }
}

/// How much to read at once. At least one record is always given, however long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most records.
    pub max_records: usize,
    /// Most bytes of payload.
    pub max_bytes: usize,
}

/// Which records are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Live ones alone: this boot's, from where [`Spool::hold_back`](super::Spool::hold_back) has put the border.
    Live,
    /// Those held back alone, the oldest first: earlier boots', then this boot's below the border.
    Backfill,
    /// Live ones, and when there are none, those held back.
    LiveFirst,
}

/// Records of one boot in order of sequence number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The boot.
    pub boot_id: u64,
    /// Whether they were held back: the hub mustn't take them for the present.
    pub historical: bool,
    /// The records, at least one.
    pub records: Vec<Record>,
}

/// A kept record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number within the boot.
    pub seq: u64,
    /// What it was given when it was appended.
    pub priority: Priority,
    /// When it was made, in milliseconds of the caller's clock.
    pub time_ms: u64,
    /// The record, opaque.
    pub payload: Vec<u8>,
}

pub(super) fn next_batch(
    txn: &ReadTransaction,
    (boot, live_from): (Boot, u64),
    cursor: &mut Cursor,
    limits: BatchLimits,
    order: Order,
) -> Result<Option<Batch>, redb::Error> {
    if order != Order::Backfill {
        let live = next_live(txn, (boot, live_from), cursor, limits)?;
        if live.is_some() || order == Order::Live {
            return Ok(live);
        }
    }
    next_old(txn, (boot.ordinal, live_from), cursor, limits)
}

fn next_live(
    txn: &ReadTransaction,
    (boot, live_from): (Boot, u64),
    cursor: &mut Cursor,
    limits: BatchLimits,
) -> Result<Option<Batch>, redb::Error> {
    let from = (boot.ordinal, cursor.live.max(live_from));
    let records = read(txn, from, (boot.ordinal.saturating_add(1), 0), limits)?;
    let Some(last) = records.last() else { return Ok(None) };
    cursor.live = last.seq + 1;
    Ok(Some(Batch {
        boot_id: boot.id,
        historical: false,
        records,
    }))
}

fn next_old(
    txn: &ReadTransaction,
    border: Key,
    cursor: &mut Cursor,
    limits: BatchLimits,
) -> Result<Option<Batch>, redb::Error> {
    let Some(key) = Merge::open(txn, cursor.backfill, border)?.first_key() else {
        return Ok(None);
    };
    let end_of_boot = (key.0.saturating_add(1), 0);
    let records = read(txn, key, end_of_boot.min(border), limits)?;
    let Some(last) = records.last() else { return Ok(None) };
    cursor.backfill = (key.0, last.seq + 1);
    let known = txn.open_table(BOOTS)?.get(key.0)?.map(|value| value.value().0);
    let boot_id = known.ok_or_else(|| redb::Error::Corrupted("records of a boot that isn't listed".to_owned()))?;
    Ok(Some(Batch {
        boot_id,
        historical: true,
        records,
    }))
}

/// Records from a key on, and before another one of the same boot.
fn read(txn: &ReadTransaction, from: Key, until: Key, limits: BatchLimits) -> Result<Vec<Record>, redb::Error> {
    let mut merge = Merge::open(txn, from, until)?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    while let Some(record) = merge.next()? {
        bytes += record.payload.len();
        let full = records.len() >= limits.max_records || bytes > limits.max_bytes;
        if full && !records.is_empty() {
            break;
        }
        records.push(record);
    }
    Ok(records)
}

type Row = (AccessGuard<'static, Key>, AccessGuard<'static, &'static [u8]>);

/// The three tables of records read as one, in order of key.
struct Merge {
    lanes: Vec<Lane>,
}

struct Lane {
    priority: Priority,
    rows: Range<'static, Key, &'static [u8]>,
    head: Option<Row>,
}

impl Merge {
    fn open(txn: &ReadTransaction, from: Key, until: Key) -> Result<Self, redb::Error> {
        let mut lanes = Vec::with_capacity(RECORDS.len());
        if from >= until {
            return Ok(Self { lanes });
        }
        for (definition, priority) in RECORDS.into_iter().zip(PRIORITIES) {
            let mut rows = txn.open_table(definition)?.range(from..until)?;
            let head = rows.next().transpose()?;
            lanes.push(Lane { priority, rows, head });
        }
        Ok(Self { lanes })
    }

    fn first_key(&self) -> Option<Key> {
        self.lanes.iter().filter_map(Lane::key).min()
    }

    fn next(&mut self) -> Result<Option<Record>, redb::Error> {
        let first = self.first_key();
        let Some(lane) = self
            .lanes
            .iter_mut()
            .find(|lane| lane.key().is_some() && lane.key() == first)
        else {
            return Ok(None);
        };
        let Some((key, value)) = lane.head.take() else {
            return Ok(None);
        };
        lane.head = lane.rows.next().transpose()?;
        let damaged = || redb::Error::Corrupted("a record is shorter than its time".to_owned());
        let (time, payload) = value.value().split_first_chunk::<TIME_BYTES>().ok_or_else(damaged)?;
        Ok(Some(Record {
            seq: key.value().1,
            priority: lane.priority,
            time_ms: u64::from_le_bytes(*time),
            payload: payload.to_vec(),
        }))
    }
}

impl Lane {
    fn key(&self) -> Option<Key> {
        self.head.as_ref().map(|(key, _)| key.value())
    }
}
