//! Taking back an append that failed, and is there nevertheless.
//!
//! Whoever appends is told that nothing was kept when the last fsync fails, and counts the records as lost. The transaction
//! may have reached the disk all the same: found on the next opening, its records would be sent beside a gap that says that
//! they are gone.

use redb::{ReadableTable as _, WriteTransaction};

use super::tables::{BOOTS, Boot, GAPS, PRIORITIES, RECORDS, TIME_BYTES, Totals};

/// Removes what `boot` has from its next number on: records and gaps. What had to make room for them stays gone, and
/// declared.
pub(super) fn take_back(txn: &WriteTransaction, boot: Boot, totals: &mut Totals) -> Result<(), redb::Error> {
    let from = (boot.ordinal, boot.next_seq);
    for (definition, priority) in RECORDS.into_iter().zip(PRIORITIES) {
        txn.open_table(definition)?
            .retain_in(from..=(boot.ordinal, u64::MAX), |_, value| {
                totals.remove(priority, value.len().saturating_sub(TIME_BYTES));
                false
            })?;
    }
    take_back_gaps(txn, boot, totals)?;
    txn.open_table(BOOTS)?.insert(boot.ordinal, (boot.id, boot.next_seq))?;
    totals.save(txn)
}

fn take_back_gaps(txn: &WriteTransaction, boot: Boot, totals: &mut Totals) -> Result<(), redb::Error> {
    let mut table = txn.open_table(GAPS)?;
    loop {
        let last = table.range((boot.ordinal, 0)..=(boot.ordinal, u64::MAX))?.next_back();
        let Some(((ordinal, first), (last, count))) = last
            .transpose()?
            .map(|(key, value)| (key.value(), value.value()))
            .filter(|(_, (last, _))| *last >= boot.next_seq)
        else {
            return Ok(());
        };
        // A gap begins with a number that was dropped: what is left of it counts one at least.
        let left = u64::from(first < boot.next_seq);
        let beyond = (last + 1 - boot.next_seq.max(first)).min(count.saturating_sub(left));
        totals.dropped = totals.dropped.saturating_sub(beyond);
        if first >= boot.next_seq {
            table.remove((ordinal, first))?;
        } else {
            table.insert((ordinal, first), (boot.next_seq - 1, count - beyond))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::tables::prepare;

    /// A hub refuses a gap that counts nothing.
    #[test]
    fn what_is_left_of_a_joined_gap_counts_its_first_number() {
        let database = redb::Builder::new()
            .create_with_backend(redb::backends::InMemoryBackend::new())
            .unwrap();
        let txn = database.begin_write().unwrap();
        let boot = Boot {
            id: 7,
            ordinal: 0,
            next_seq: 4,
        };
        let (boot, mut totals) = prepare(&txn, boot, false).unwrap();
        totals.dropped = 4;
        for (first, gap) in [(1, (5, 2)), (6, (7, 2))] {
            txn.open_table(GAPS).unwrap().insert((0, first), gap).unwrap();
        }
        take_back(&txn, boot, &mut totals).unwrap();
        let gaps = txn.open_table(GAPS).unwrap();
        let left: Vec<_> = gaps.iter().unwrap().map(|row| row.unwrap().1.value()).collect();
        assert_eq!((left, totals.dropped), (vec![(3, 1)], 1));
    }
}
