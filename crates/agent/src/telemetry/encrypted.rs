//! Telemetry on an encrypted disk, over restarts: what was kept sealed is sent as it was, also after the device's key was
//! replaced, and what can't be opened any more is declared as lost.

use super::drain::Drain;
use floorhand_protocol::{Event, RecordBody, Severity, UpBatch};
use floorhand_store::{BatchLimits, Spool, SpoolConfig, StorageKey, StorageKeys, Store, StoreOptions, Vault};
use std::path::Path;

const SECRET: &str = "a captured sample";
const RECORDS: u64 = 3;

fn store(root: &Path, current: u8, before: Option<u8>) -> Store {
    let key = |seed| StorageKey::from_bytes([seed; 32]);
    let keys = StorageKeys {
        current: key(current),
        before: before.map(key),
    };
    let options = StoreOptions {
        blob_budget_bytes: 1 << 20,
    };
    Store::open_sealed(root, options, &keys).unwrap()
}

fn drain(store: &Store, vault: Option<&Vault>, boot_id: u64) -> Drain {
    let config = SpoolConfig {
        budget_bytes: 4 << 20,
        high_reserve_bytes: 1 << 20,
    };
    let spool = Spool::open(&store.spool_path(), boot_id, config).unwrap();
    let limits = BatchLimits {
        max_records: 512,
        max_bytes: 64 << 10,
    };
    let device = "press-1".parse().unwrap();
    Drain::new(spool, device, limits, store.ballast(), 0).sealed_with(vault.cloned())
}

/// What goes out in a minute, none of it acknowledged.
fn sent(drain: &mut Drain) -> Vec<UpBatch> {
    let mut batches = Vec::new();
    drain.connected(true, 0);
    for second in 0..60 {
        drain.send(second * 1000, &mut |batch| {
            batches.push(batch);
            true
        });
    }
    batches
}

fn event(number: u64) -> RecordBody {
    RecordBody::Event(Event {
        kind: "test".to_owned(),
        severity: Severity::Warning,
        subject: number.to_string(),
        message: SECRET.to_owned(),
    })
}

#[test]
fn what_was_kept_sealed_is_sent_as_it_was_or_declared_as_lost() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path(), 1, None);
    let reports = (1..=RECORDS).map(|number| (number, event(number))).collect();
    drain(&first, first.vault(), 1).keep(reports, 0, 0);
    let file = std::fs::read(first.spool_path()).unwrap();
    assert!(!file.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
    drop(first);

    // The key was replaced, and nothing had been acknowledged.
    for (boot_id, before) in [(2, Some(1)), (3, None)] {
        let store = store(dir.path(), 2, before);
        let batches = sent(&mut drain(&store, store.vault(), boot_id));
        let records: Vec<_> = batches.iter().flat_map(|batch| &batch.records).collect();
        assert!(batches.iter().all(|batch| batch.gaps.is_empty() && batch.boot_id == 1));
        for (record, number) in records.iter().zip(1..=RECORDS) {
            assert_eq!((record.seq, record.time_ms, &record.body), (number, number, &event(number)));
        }
        assert_eq!(records.len() as u64 % RECORDS, 0);
        assert!(!records.is_empty(), "boot {boot_id}");
    }

    let other = tempfile::tempdir().unwrap();
    let foreign = store(other.path(), 9, None);
    let store = store(dir.path(), 2, None);
    for (boot_id, vault) in [(4, foreign.vault()), (5, None)] {
        let batches = sent(&mut drain(&store, vault, boot_id));
        assert!(batches.iter().all(|batch| batch.records.is_empty()));
        let gap = batches.iter().flat_map(|batch| &batch.gaps).next().unwrap();
        assert_eq!((gap.boot_id, gap.first, gap.last, gap.count), (1, 1, RECORDS, RECORDS));
    }
}
