//! The spool beside a bare redb loop that commits the same groups of the same records to the same disk, two-phase and with
//! fsync: while there is room, and when each group pushes out as many old records.

#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use floorhand_store::{NewRecord, Priority, Spool, SpoolConfig};
use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition};

const RECORDS: TableDefinition<'static, (u64, u64), &'static [u8]> = TableDefinition::new("records");
const PAYLOAD: [u8; 220] = [7; 220];
const BUDGET_BYTES: u64 = 8 << 20;

/// Records of one commit: half a second at 100 a second, and the most that the agent commits at once.
const GROUPS: [u64; 2] = [50, 512];

fn spool(dir: &tempfile::TempDir, budget_bytes: u64) -> Spool {
    let config = SpoolConfig {
        budget_bytes,
        high_reserve_bytes: budget_bytes / 4,
    };
    Spool::open(&dir.path().join("spool.redb"), 1, config).unwrap()
}

fn group(count: u64) -> Vec<NewRecord<'static>> {
    // As devices have it: nearly all of the lowest priority.
    let priority = |at: u64| match at % 50 {
        3 => Priority::High,
        7 => Priority::Normal,
        _ => Priority::Low,
    };
    (0..count)
        .map(|at| NewRecord {
            priority: priority(at),
            time_ms: at,
            payload: &PAYLOAD,
        })
        .collect()
}

fn bare(dir: &tempfile::TempDir) -> Database {
    Database::builder()
        .set_cache_size(2 << 20)
        .create(dir.path().join("bare.redb"))
        .unwrap()
}

/// Commits a group, behind as many removals as there are to be.
fn commit(database: &Database, next: &mut u64, count: u64, most: u64) {
    let mut txn = database.begin_write().unwrap();
    txn.set_durability(Durability::Immediate).unwrap();
    txn.set_two_phase_commit(true);
    {
        let mut table = txn.open_table(RECORDS).unwrap();
        for _ in 0..count {
            table.insert((1, *next), PAYLOAD.as_slice()).unwrap();
            *next += 1;
            if *next > most {
                black_box(table.pop_first().unwrap());
            }
        }
    }
    txn.commit().unwrap();
}

fn append(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("append");
    bench.sample_size(30);
    for count in GROUPS {
        bench.throughput(Throughput::Elements(count));
        let records = group(count);
        for (name, budget_bytes) in [("room", 4 << 30), ("full", BUDGET_BYTES)] {
            let dir = tempfile::tempdir().unwrap();
            let mut spool = spool(&dir, budget_bytes);
            let most = spool.config().capacity_bytes() / SpoolConfig::charge(PAYLOAD.len());
            let full = if name == "full" { most } else { 0 };
            for _ in 0..full / count + 1 {
                spool.append_batch(&records).unwrap();
            }
            bench.bench_function(BenchmarkId::new(format!("spool, {name}"), count), |bencher| {
                bencher.iter(|| spool.append_batch(&records).unwrap());
            });
            let database = bare(&dir);
            let mut next = 1;
            for _ in 0..full / count + 1 {
                commit(&database, &mut next, count, most);
            }
            bench.bench_function(BenchmarkId::new(format!("bare redb, {name}"), count), |bencher| {
                bencher.iter(|| commit(&database, &mut next, count, most));
            });
            let kept = database.begin_read().unwrap().open_table(RECORDS).unwrap();
            assert!(kept.first().unwrap().is_some());
        }
    }
    bench.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
