//! Gaps: which sequence numbers were dropped for want of room, until that has been reported.
//!
//! Adjacent numbers make one gap. There is a bound on gaps, since a device can be offline for months: beyond it, the two
//! oldest neighbours of one boot become one gap that is wider than it is deep, which its `count` tells.

use redb::{ReadTransaction, ReadableTable as _, ReadableTableMetadata as _, Table, WriteTransaction};

use super::tables::{BOOTS, GAPS, Key, Totals, forget_boot_if_empty, ordinals_of};

/// Gaps kept before neighbours are joined: a report of them fits into one message.
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

/// Every gap, oldest first.
pub(super) fn list(txn: &ReadTransaction) -> Result<Vec<Gap>, redb::Error> {
    let boots = txn.open_table(BOOTS)?;
    let mut found = Vec::new();
    for row in txn.open_table(GAPS)?.iter()? {
        let (key, value) = row?;
        let ((ordinal, first), (last, count)) = (key.value(), value.value());
        if let Some(boot) = boots.get(ordinal)? {
            found.push(Gap {
                boot_id: boot.value().0,
                first,
                last,
                count,
            });
        }
    }
    Ok(found)
}

/// Forgets the gaps that are still as they were reported.
pub(super) fn forget(txn: &WriteTransaction, reported: &[Gap], current: u64) -> Result<(), redb::Error> {
    for gap in reported {
        for ordinal in ordinals_of(txn, gap.boot_id)? {
            let mut table = txn.open_table(GAPS)?;
            let same = table
                .get((ordinal, gap.first))?
                .is_some_and(|value| value.value() == (gap.last, gap.count));
            if same {
                table.remove((ordinal, gap.first))?;
            }
            drop(table);
            forget_boot_if_empty(txn, ordinal, current)?;
        }
    }
    Ok(())
}
