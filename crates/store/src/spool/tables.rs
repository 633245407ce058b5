//! The spool's tables and what is done to them within a transaction.
//!
//! Records lie in one table for each priority, keyed by (boot ordinal, seq), so that the oldest of a priority is the
//! first of its table. The ordinal counts the boots this file has seen: boot ids are the caller's and have no order.
//! Totals are kept beside them, so that opening doesn't read every record.

use redb::{ReadableTable as _, Table, TableDefinition, WriteTransaction};

use super::config::{SpoolConfig, charge};
use super::gaps::{self, GapTable};
use super::{Acknowledged, NewRecord, Priority, SpoolStats};

pub(super) type Key = (u64, u64);
pub(super) type RecordTable<'txn> = Table<'txn, Key, &'static [u8]>;

/// A table of records for each priority, [`Priority::High`] first.
pub(super) const RECORDS: [TableDefinition<'static, Key, &'static [u8]>; 3] = [
    TableDefinition::new("high"),
    TableDefinition::new("normal"),
    TableDefinition::new("low"),
];
/// The priorities in the order of [`RECORDS`].
pub(super) const PRIORITIES: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];
/// Boot ordinal -> (boot id, next sequence number).
pub(super) const BOOTS: TableDefinition<'static, u64, (u64, u64)> = TableDefinition::new("boots");
/// (Boot ordinal, first) -> (last, count).
pub(super) const GAPS: TableDefinition<'static, Key, (u64, u64)> = TableDefinition::new("gaps");
/// The same for gaps that were given out to be reported.
pub(super) const REPORTED: TableDefinition<'static, Key, (u64, u64)> = TableDefinition::new("reported");
const TOTALS: TableDefinition<'static, u8, u64> = TableDefinition::new("totals");

/// How records are counted. A file that counts otherwise is counted anew.
const CHARGING: u64 = 2;

/// Rows of the totals' table.
const ROWS: usize = 9;

/// Bytes before the payload in a record's value: its time.
pub(super) const TIME_BYTES: usize = 8;

/// One start of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Boot {
    pub(super) id: u64,
    pub(super) ordinal: u64,
    pub(super) next_seq: u64,
}

/// Counts by priority, and losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    high: Held,
    normal: Held,
    low: Held,
    pub(super) dropped: u64,
    pub(super) unlisted: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Held {
    records: u64,
    bytes: u64,
}

impl Totals {
    pub(super) fn records(&self) -> u64 {
        self.high.records + self.normal.records + self.low.records
    }

    pub(super) fn bytes(&self) -> u64 {
        self.high.bytes + self.normal.bytes + self.low.bytes
    }

    pub(super) fn stats(&self) -> SpoolStats {
        SpoolStats {
            records: self.records(),
            bytes: self.bytes(),
            high_bytes: self.high.bytes,
            dropped: self.dropped,
            unlisted: self.unlisted,
        }
    }

    fn held(&mut self, priority: Priority) -> &mut Held {
        match priority {
            Priority::High => &mut self.high,
            Priority::Normal => &mut self.normal,
            Priority::Low => &mut self.low,
        }
    }

    fn add(&mut self, priority: Priority, payload_bytes: usize) {
        let held = self.held(priority);
        held.records += 1;
        held.bytes += charge(payload_bytes);
    }

    pub(super) fn remove(&mut self, priority: Priority, payload_bytes: usize) {
        let held = self.held(priority);
        held.records = held.records.saturating_sub(1);
        held.bytes = held.bytes.saturating_sub(charge(payload_bytes));
    }

    fn rows(&self) -> [u64; ROWS] {
        let (high, normal, low) = (self.high, self.normal, self.low);
        let held = [
            high.records,
            high.bytes,
            normal.records,
            normal.bytes,
            low.records,
            low.bytes,
        ];
        let [a, b, c, d, e, f] = held;
        [a, b, c, d, e, f, self.dropped, self.unlisted, CHARGING]
    }

    fn from_rows([a, b, c, d, e, f, dropped, unlisted, _]: [u64; ROWS]) -> Self {
        let held = |records, bytes| Held { records, bytes };
        Self {
            high: held(a, b),
            normal: held(c, d),
            low: held(e, f),
            dropped,
            unlisted,
        }
    }

    fn load(txn: &WriteTransaction, suspect: bool) -> Result<Self, redb::Error> {
        let table = txn.open_table(TOTALS)?;
        let mut rows = [0; ROWS];
        for (index, row) in (0_u8..).zip(&mut rows) {
            *row = table.get(index)?.map_or(0, |value| value.value());
        }
        drop(table);
        let mut totals = Self::from_rows(rows);
        if suspect || rows.last() != Some(&CHARGING) {
            totals.recount(txn)?;
        }
        Ok(totals)
    }

    /// Counts what is there, for a file that told of damage or counted otherwise.
    fn recount(&mut self, txn: &WriteTransaction) -> Result<(), redb::Error> {
        (self.high, self.normal, self.low) = Default::default();
        for (definition, priority) in RECORDS.into_iter().zip(PRIORITIES) {
            for row in txn.open_table(definition)?.iter()? {
                self.add(priority, row?.1.value().len().saturating_sub(TIME_BYTES));
            }
        }
        self.save(txn)
    }

    pub(super) fn save(&self, txn: &WriteTransaction) -> Result<(), redb::Error> {
        let mut table = txn.open_table(TOTALS)?;
        for (index, row) in (0_u8..).zip(self.rows()) {
            table.insert(index, row)?;
        }
        Ok(())
    }
}

/// Makes the tables, and a place for this boot behind every earlier one.
pub(super) fn prepare(txn: &WriteTransaction, boot: Boot, suspect: bool) -> Result<(Boot, Totals), redb::Error> {
    for definition in RECORDS {
        txn.open_table(definition)?;
    }
    txn.open_table(GAPS)?;
    txn.open_table(REPORTED)?;
    let totals = Totals::load(txn, suspect)?;
    let mut boots = txn.open_table(BOOTS)?;
    let latest = boots.last()?.map(|(ordinal, value)| (ordinal.value(), value.value()));
    let boot = match latest {
        Some((ordinal, (id, next_seq))) if id == boot.id => Boot {
            id,
            ordinal,
            next_seq: next_seq.max(boot.next_seq),
        },
        Some((ordinal, _)) => Boot {
            ordinal: ordinal + 1,
            ..boot
        },
        None => boot,
    };
    boots.insert(boot.ordinal, (boot.id, boot.next_seq))?;
    let earlier: Result<Vec<u64>, _> = boots
        .range(..boot.ordinal)?
        .map(|row| row.map(|(ordinal, _)| ordinal.value()))
        .collect();
    drop(boots);
    // Boots with nothing left to send or to report: those that ended so, and those whose gap had to be forgotten.
    for ordinal in earlier? {
        forget_boot_if_empty(txn, ordinal, boot.ordinal)?;
    }
    Ok((boot, totals))
}

/// Tables held open while records are appended.
pub(super) struct Appending<'txn> {
    txn: &'txn WriteTransaction,
    high: RecordTable<'txn>,
    normal: RecordTable<'txn>,
    low: RecordTable<'txn>,
    gaps: GapTable<'txn>,
    config: &'txn SpoolConfig,
    /// What records may count together.
    capacity_bytes: u64,
    value: Vec<u8>,
}

impl<'txn> Appending<'txn> {
    pub(super) fn begin(
        txn: &'txn WriteTransaction,
        config: &'txn SpoolConfig,
        capacity_bytes: u64,
    ) -> Result<Self, redb::Error> {
        let [high, normal, low] = RECORDS;
        Ok(Self {
            txn,
            high: txn.open_table(high)?,
            normal: txn.open_table(normal)?,
            low: txn.open_table(low)?,
            gaps: txn.open_table(GAPS)?,
            config,
            capacity_bytes,
            value: Vec::new(),
        })
    }

    /// Inserts a record under the boot's next number, then makes room until everything fits.
    pub(super) fn insert(
        &mut self,
        boot: &mut Boot,
        totals: &mut Totals,
        record: &NewRecord<'_>,
    ) -> Result<(), redb::Error> {
        self.value.clear();
        self.value.extend_from_slice(&record.time_ms.to_le_bytes());
        self.value.extend_from_slice(record.payload);
        let table = match record.priority {
            Priority::High => &mut self.high,
            Priority::Normal => &mut self.normal,
            Priority::Low => &mut self.low,
        };
        table.insert((boot.ordinal, boot.next_seq), self.value.as_slice())?;
        boot.next_seq += 1;
        totals.add(record.priority, record.payload.len());
        self.make_room(totals)
    }

    /// Drops records until the rest fits.
    pub(super) fn make_room(&mut self, totals: &mut Totals) -> Result<(), redb::Error> {
        while totals.bytes() > self.capacity_bytes {
            self.drop_one(totals)?;
        }
        Ok(())
    }

    /// Uses up numbers for records that were lost before they came here.
    pub(super) fn lose(&mut self, boot: &mut Boot, totals: &mut Totals, lost: u64) -> Result<(), redb::Error> {
        if lost == 0 {
            return Ok(());
        }
        let first = boot.next_seq;
        boot.next_seq += lost;
        totals.dropped += lost;
        gaps::add(&mut self.gaps, totals, (boot.ordinal, first), lost)
    }

    pub(super) fn finish(self, boot: &Boot, totals: &mut Totals) -> Result<(), redb::Error> {
        let txn = self.txn;
        drop(self);
        txn.open_table(BOOTS)?.insert(boot.ordinal, (boot.id, boot.next_seq))?;
        totals.save(txn)
    }

    fn drop_one(&mut self, totals: &mut Totals) -> Result<(), redb::Error> {
        let priority = self.victim(totals)?;
        let table = match priority {
            Priority::High => &mut self.high,
            Priority::Normal => &mut self.normal,
            Priority::Low => &mut self.low,
        };
        let Some((key, length)) = table
            .pop_first()?
            .map(|(key, value)| (key.value(), value.value().len().saturating_sub(TIME_BYTES)))
        else {
            return Err(redb::Error::Corrupted(
                "totals count records that aren't there".to_owned(),
            ));
        };
        totals.remove(priority, length);
        totals.dropped += 1;
        gaps::add(&mut self.gaps, totals, key, 1)
    }

    /// Low goes first. High competes with normal by age, and only with what exceeds its reserve.
    fn victim(&self, totals: &Totals) -> Result<Priority, redb::Error> {
        if totals.low.records > 0 {
            return Ok(Priority::Low);
        }
        let high_may_go = totals.high.bytes > self.config.high_reserve_bytes;
        if !high_may_go || totals.normal.records == 0 {
            return Ok(if totals.normal.records > 0 {
                Priority::Normal
            } else {
                Priority::High
            });
        }
        let high = self.high.first()?.map(|(key, _)| key.value());
        let normal = self.normal.first()?.map(|(key, _)| key.value());
        Ok(if high < normal {
            Priority::High
        } else {
            Priority::Normal
        })
    }
}

/// Drops records until the rest counts at most `capacity_bytes`.
pub(super) fn make_room(
    txn: &WriteTransaction,
    config: &SpoolConfig,
    capacity_bytes: u64,
    totals: &mut Totals,
) -> Result<(), redb::Error> {
    Appending::begin(txn, config, capacity_bytes)?.make_room(totals)?;
    totals.save(txn)
}

/// Deletes the records and forgets the reported gaps of a boot that were acknowledged.
pub(super) fn acknowledge(
    txn: &WriteTransaction,
    totals: &mut Totals,
    acknowledged: &Acknowledged<'_>,
    current: u64,
) -> Result<(), redb::Error> {
    let Acknowledged { boot_id, ranges, gaps } = *acknowledged;
    for ordinal in ordinals_of(txn, boot_id)? {
        for (definition, priority) in RECORDS.into_iter().zip(PRIORITIES) {
            let mut table = txn.open_table(definition)?;
            for &(first, last) in ranges.iter().filter(|(first, last)| first <= last) {
                table.retain_in((ordinal, first)..=(ordinal, last), |_, value| {
                    totals.remove(priority, value.len().saturating_sub(TIME_BYTES));
                    false
                })?;
            }
        }
        gaps::acknowledge(txn, ordinal, gaps)?;
        forget_boot_if_empty(txn, ordinal, current)?;
    }
    totals.save(txn)
}

/// Drops records of a boot, and declares them.
pub(super) fn give_up(
    txn: &WriteTransaction,
    totals: &mut Totals,
    boot_id: u64,
    seqs: &[u64],
) -> Result<(), redb::Error> {
    for ordinal in ordinals_of(txn, boot_id)? {
        for (definition, priority) in RECORDS.into_iter().zip(PRIORITIES) {
            let (mut table, mut declared) = (txn.open_table(definition)?, txn.open_table(GAPS)?);
            for &seq in seqs {
                let Some(value) = table.remove((ordinal, seq))? else {
                    continue;
                };
                totals.remove(priority, value.value().len().saturating_sub(TIME_BYTES));
                totals.dropped += 1;
                gaps::add(&mut declared, totals, (ordinal, seq), 1)?;
            }
        }
    }
    totals.save(txn)
}

/// The ordinals under which a boot id is known: one, unless a caller gave an old id again.
fn ordinals_of(txn: &WriteTransaction, boot_id: u64) -> Result<Vec<u64>, redb::Error> {
    let boots = txn.open_table(BOOTS)?;
    let mut found = Vec::new();
    for row in boots.iter()? {
        let (ordinal, value) = row?;
        if value.value().0 == boot_id {
            found.push(ordinal.value());
        }
    }
    Ok(found)
}

/// Forgets a boot that is over and has neither records nor gaps left.
fn forget_boot_if_empty(txn: &WriteTransaction, ordinal: u64, current: u64) -> Result<(), redb::Error> {
    if ordinal == current {
        return Ok(());
    }
    let all = (ordinal, 0)..=(ordinal, u64::MAX);
    for definition in RECORDS {
        if txn.open_table(definition)?.range(all.clone())?.next().is_some() {
            return Ok(());
        }
    }
    for definition in [GAPS, REPORTED] {
        if txn.open_table(definition)?.range(all.clone())?.next().is_some() {
            return Ok(());
        }
    }
    txn.open_table(BOOTS)?.remove(ordinal)?;
    Ok(())
}
