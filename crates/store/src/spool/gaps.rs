//! Gaps: which sequence numbers were dropped for want of room, until that has been reported.
//!
//! Adjacent numbers make one gap. There is a bound on gaps, since a device can be offline for months: beyond it, the two
//! oldest neighbours of one boot become one gap that is wider than it is deep, which its `count` tells.
//!
//! A gap that was given out to be reported lies in a table of its own and doesn't change until it is acknowledged: what is
//! sent twice is the same twice, so the hub's sum is right whatever gets lost on the way.

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata as _, Table, WriteTransaction};

use super::tables::{BOOTS, GAPS, Key, REPORTED, Totals};

/// Gaps kept before neighbours are joined, and gaps reported at once: they fit into one message.
pub(super) const MAX_GAPS: u64 = 512;

pub(super) type GapTable<'txn> = Table<'txn, Key, (u64, u64)>;

/// Sequence numbers of one boot of which records were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The boot.
    pub boot_id: u64,
    /// First number dropped.
    pub first: u64,
    /// Last number dropped.
    pub last: u64,
    /// Records dropped between the two, both included. Less than the width when gaps had to be joined.
    pub count: u64,
}

/// Adds dropped records: `dropped` of them from a number on.
pub(super) fn add(
    table: &mut GapTable<'_>,
    totals: &mut Totals,
    (ordinal, seq): Key,
    dropped: u64,
) -> Result<(), redb::Error> {
    let end = seq + dropped.saturating_sub(1);
    let before = table.range((ordinal, 0)..=(ordinal, seq))?.next_back().transpose()?;
    let before = before.map(|(key, value)| (key.value().1, value.value()));
    let (first, last, count) = match before {
        // Within a joined gap, or right behind a gap.
        Some((first, (last, count))) if seq <= last.saturating_add(1) => (first, last.max(end), count + dropped),
        _ => (seq, end, dropped),
    };
    let after = table
        .range((ordinal, last)..=(ordinal, last.saturating_add(1)))?
        .next_back()
        .transpose()?;
    let after = after
        .map(|(key, value)| (key.value().1, value.value()))
        .filter(|(next, _)| *next == last + 1);
    let (last, count) = match after {
        Some((next, (next_last, next_count))) => {
            table.remove((ordinal, next))?;
            (next_last, count + next_count)
        }
        None => (last, count),
    };
    table.insert((ordinal, first), (last, count))?;
    while table.len()? > MAX_GAPS {
        join_oldest(table, totals)?;
    }
    Ok(())
}

/// Joins the two oldest neighbours of one boot. Where every boot has one gap only, the oldest is forgotten, and counted.
fn join_oldest(table: &mut GapTable<'_>, totals: &mut Totals) -> Result<(), redb::Error> {
    let mut oldest: Option<(Key, u64, u64)> = None;
    let mut joined = None;
    for row in table.iter()? {
        let (key, value) = row?;
        let (key, (last, count)) = (key.value(), value.value());
        match oldest {
            Some((left, _, left_count)) if left.0 == key.0 => {
                joined = Some((left, key, last, left_count + count));
                break;
            }
            _ => oldest = Some((key, last, count)),
        }
    }
    if let Some((left, right, last, count)) = joined {
        table.remove(right)?;
        table.insert(left, (last, count))?;
    } else if let Some((_, value)) = table.pop_first()? {
        totals.unlisted += value.value().1;
    }
    Ok(())
}

/// Every gap that wasn't acknowledged, oldest first.
pub(super) fn list(txn: &ReadTransaction) -> Result<Vec<Gap>, redb::Error> {
    let mut found = Vec::new();
    for definition in [REPORTED, GAPS] {
        for row in txn.open_table(definition)?.iter()? {
            let (key, value) = row?;
            found.push((key.value(), value.value()));
        }
    }
    found.sort_unstable();
    named(&txn.open_table(BOOTS)?, &found)
}

/// The gaps that were reported and aren't acknowledged.
pub(super) fn reported(txn: &ReadTransaction) -> Result<Vec<Gap>, redb::Error> {
    let mut found = Vec::new();
    for row in txn.open_table(REPORTED)?.iter()? {
        let (key, value) = row?;
        found.push((key.value(), value.value()));
    }
    named(&txn.open_table(BOOTS)?, &found)
}

/// Whether there are gaps that weren't reported.
pub(super) fn are_waiting(txn: &ReadTransaction) -> Result<bool, redb::Error> {
    Ok(!txn.open_table(GAPS)?.is_empty()?)
}

/// Takes all gaps as reported. From now on they don't change: a gap has the same ends however often it is sent, and
/// numbers that are dropped later make another one.
pub(super) fn report(txn: &WriteTransaction) -> Result<(), redb::Error> {
    let (mut open, mut reported) = (txn.open_table(GAPS)?, txn.open_table(REPORTED)?);
    while let Some((key, value)) = open.pop_first()? {
        reported.insert(key.value(), value.value())?;
    }
    Ok(())
}

/// Forgets the gaps of a boot that were reported and acknowledged, each by its ends. An acknowledged record says nothing of
/// a gap, even where its number lies in one: it was sent first, and dropped then.
pub(super) fn acknowledge(
    txn: &WriteTransaction,
    ordinal: u64,
    acknowledged: &[(u64, u64)],
) -> Result<(), redb::Error> {
    let mut reported = txn.open_table(REPORTED)?;
    for &(first, last) in acknowledged {
        let found = reported.get((ordinal, first))?.map(|value| value.value().0);
        if found == Some(last) {
            reported.remove((ordinal, first))?;
        }
    }
    Ok(())
}

/// Gaps with the ids of their boots.
fn named(boots: &impl ReadableTable<u64, (u64, u64)>, found: &[(Key, (u64, u64))]) -> Result<Vec<Gap>, redb::Error> {
    let mut named = Vec::with_capacity(found.len());
    for &((ordinal, first), (last, count)) in found {
        if let Some(boot) = boots.get(ordinal)? {
            named.push(Gap {
                boot_id: boot.value().0,
                first,
                last,
                count,
            });
        }
    }
    Ok(named)
}
