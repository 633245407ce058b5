//! A day without a hub at 100 records a second, then the way back, on simulated time: the real spool and the real drain,
//! a link that loses, repeats, delays and reorders, and a hub that keeps the rules of the real one.
//!
//! By default an hour with a 24th of the budget; `FLOORHAND_SPOOL_DAY=whole` runs the day.

use super::drain::{Drain, Encoded, encode};
use super::queue::Acked;
use floorhand_bundle::Digest;
use floorhand_protocol::{Finding, Metrics, Phase, Prediction, RecordBody, Severity, UpBatch};
use floorhand_store::{BatchLimits, Cursor, Order, Priority, Spool, SpoolConfig, Store, StoreOptions};
use std::collections::{BTreeMap, BTreeSet};

const RECORDS_PER_SECOND: u64 = 100;
const DAY_S: u64 = 86_400;
/// Records of one transaction while nothing is sent: the thread's group.
const GROUP: u64 = 512;
const STEP_MS: u64 = 100;
/// A record waits for others for so long, as configured by default.
const DELAY_MS: u64 = 500;
/// Reports that find no room before they come to the spool, once in each half.
const LOST: usize = 17;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What a device says of itself: mostly predictions, metrics, now and then a finding.
struct Mix {
    high: Encoded,
    normal: Encoded,
    low: Vec<Encoded>,
    made: u64,
}

impl Mix {
    fn new() -> Self {
        let bundle = Digest::of(b"bundle");
        let finding = Finding {
            bundle,
            candidate: false,
            stage: "drift".to_owned(),
            kind: "drift".to_owned(),
            subject: "vibration/rms".to_owned(),
            severity: Severity::Warning,
            phase: Some(Phase::Raised),
            value: 0.31,
            threshold: 0.25,
            sample: 123_456,
            message: "the distribution of vibration/rms has moved: PSI 0.31 over 1,000 samples".to_owned(),
            details: BTreeMap::from([("window-samples".to_owned(), "1000".to_owned())]),
        };
        let gauges = (0..12)
            .map(|at| (format!("drift/psi/sensor-{at}"), f64::from(at) / 7.0))
            .collect();
        let metrics = Metrics {
            bundle: Some(bundle),
            window_ms: 10_000,
            samples: 1000,
            results: 1000,
            gauges,
            ..Metrics::default()
        };
        let prediction = |values: usize| {
            let outputs = [("score".to_owned(), (0..values).map(|at| at as f64 / 3.0).collect())];
            RecordBody::Prediction(Prediction {
                bundle,
                sample: 123_456,
                id: String::new(),
                time_ms: 1_790_000_000_000,
                outputs: outputs.into(),
            })
        };
        let encoded = |body| encode((1_790_000_000_000, body)).unwrap();
        Self {
            high: encoded(RecordBody::Finding(finding)),
            normal: encoded(RecordBody::Metrics(metrics)),
            low: [1, 8, 16, 40].map(|values| encoded(prediction(values))).into(),
            made: 0,
        }
    }

    fn next(&mut self) -> Encoded {
        self.made += 1;
        match self.made {
            made if made % 500 == 3 => self.high.clone(),
            made if made % 250 == 7 => self.normal.clone(),
            made => self.low[made as usize % self.low.len()].clone(),
        }
    }
}

/// The hub: each record once, each gap once, an ack for every batch.
#[derive(Default)]
struct Hub {
    rows: BTreeMap<u64, BTreeMap<u64, u64>>,
    historical: BTreeSet<(u64, u64)>,
    gaps: BTreeMap<(u64, u64, u64), u64>,
    duplicates: u64,
}

impl Hub {
    fn take(&mut self, batch: &UpBatch, now_ms: u64) -> Vec<Acked> {
        assert!(batch.records.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        let (boot_id, mut ranges) = (batch.boot_id, Vec::<(u64, u64)>::new());
        let rows = self.rows.entry(boot_id).or_default();
        for record in &batch.records {
            match ranges.last_mut() {
                Some(last) if last.1 + 1 == record.seq => last.1 = record.seq,
                _ => ranges.push((record.seq, record.seq)),
            }
            if rows.insert(record.seq, now_ms).is_some() {
                self.duplicates += 1;
            } else if batch.historical {
                self.historical.insert((batch.boot_id, record.seq));
            }
        }
        let mut gaps: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
        for gap in &batch.gaps {
            self.gaps.insert((gap.boot_id, gap.first, gap.last), gap.count);
            gaps.entry(gap.boot_id).or_default().push((gap.first, gap.last));
        }
        // Several acks for one batch are allowed.
        let of_records = ranges.chunks(100).map(|ranges| (boot_id, ranges, &[][..]));
        let of_gaps = gaps.iter().map(|(boot_id, gaps)| (*boot_id, &[][..], gaps.as_slice()));
        let acks = of_records.chain(of_gaps).map(|(boot_id, ranges, gaps)| Acked {
            boot_id,
            ranges: ranges.to_vec(),
            gaps: gaps.to_vec(),
        });
        acks.collect()
    }
}

/// A link with faults: messages under way by the time they arrive.
struct Link {
    random: Random,
    up: BTreeMap<(u64, u64), UpBatch>,
    down: BTreeMap<(u64, u64), Acked>,
    sent: u64,
    historical_sent: u64,
    faults: u64,
}

impl Link {
    fn new() -> Self {
        Self {
            random: Random(11),
            up: BTreeMap::new(),
            down: BTreeMap::new(),
            sent: 0,
            historical_sent: 0,
            faults: 0,
        }
    }

    /// When the copies of a message arrive: none, one or two, in whatever order.
    fn arrivals(&mut self, now_ms: u64) -> Vec<(u64, u64)> {
        let copies = match self.random.below(40) {
            0 | 1 => 0,
            2 | 3 => 2,
            _ => 1,
        };
        self.faults += u64::from(copies != 1);
        (0..copies)
            .map(|_| {
                self.sent += 1;
                let slow = if self.random.below(20) == 0 { 3000 } else { 150 };
                (now_ms + 10 + self.random.below(slow), self.sent)
            })
            .collect()
    }
}

/// What was offered: the priority of each number, by boot, and when those made online were offered.
#[derive(Default)]
struct Offered {
    boots: BTreeMap<u64, Vec<Priority>>,
    live_ms: BTreeMap<(u64, u64), u64>,
}

struct Simulation {
    dir: tempfile::TempDir,
    config: SpoolConfig,
    drain: Option<Drain>,
    boot_id: u64,
    /// The boots in the order in which they were.
    order: Vec<u64>,
    mix: Mix,
    offered: Offered,
    link: Link,
    hub: Hub,
    now_ms: u64,
    file_most: u64,
}

impl Simulation {
    fn new(budget_bytes: u64) -> Self {
        let config = SpoolConfig {
            budget_bytes,
            high_reserve_bytes: budget_bytes / 4,
        };
        let dir = tempfile::tempdir().unwrap();
        let mut simulation = Self {
            dir,
            config,
            drain: None,
            boot_id: 40,
            order: Vec::new(),
            mix: Mix::new(),
            offered: Offered::default(),
            link: Link::new(),
            hub: Hub::default(),
            now_ms: 0,
            file_most: 0,
        };
        simulation.restart();
        simulation
    }

    /// The agent starts: another boot, nothing in memory.
    fn restart(&mut self) {
        self.drain = None;
        self.boot_id = self.boot_id * 31 % 1009;
        self.order.push(self.boot_id);
        assert!(self.offered.boots.insert(self.boot_id, Vec::new()).is_none());
        self.start(self.boot_id);
    }

    fn start(&mut self, boot_id: u64) {
        let store = Store::open(
            self.dir.path(),
            StoreOptions {
                blob_budget_bytes: 1 << 20,
            },
        )
        .unwrap();
        let spool = Spool::open(&store.spool_path(), boot_id, self.config).unwrap();
        assert!(spool.moved_aside().is_none());
        let limits = BatchLimits {
            max_records: 512,
            max_bytes: 64 << 10,
        };
        let device = "press-1".parse().unwrap();
        self.drain = Some(Drain::new(spool, device, limits, store.ballast(), self.now_ms));
    }

    fn drain(&mut self) -> &mut Drain {
        self.drain.as_mut().unwrap()
    }

    fn make(&mut self, count: u64, is_live: bool) {
        let records: Vec<Encoded> = (0..count).map(|_| self.mix.next()).collect();
        let (boot_id, now_ms) = (self.boot_id, self.now_ms);
        let offered = self.offered.boots.get_mut(&boot_id).unwrap();
        for (priority, ..) in &records {
            offered.push(*priority);
            if is_live {
                self.offered.live_ms.insert((boot_id, offered.len() as u64), now_ms);
            }
        }
        self.drain().keep_encoded(records, now_ms, now_ms);
        let length = self.dir.path().join("spool.redb").metadata().unwrap().len();
        self.file_most = self.file_most.max(length);
    }

    /// Reports that found no room before they came here. The event that tells of them is a record, too.
    fn lose(&mut self, count: usize) {
        let boot_id = self.boot_id;
        let offered = self.offered.boots.get_mut(&boot_id).unwrap();
        offered.extend(vec![Priority::Low; count]);
        offered.push(Priority::High);
        self.drain().lost(count as u64);
    }

    fn offline(&mut self, seconds: u64) {
        let groups = seconds * RECORDS_PER_SECOND / GROUP;
        for group in 0..groups {
            self.now_ms += GROUP * 1000 / RECORDS_PER_SECOND;
            if group == groups / 3 {
                self.lose(LOST);
            }
            self.make(GROUP, false);
        }
        self.now_ms = self.now_ms.next_multiple_of(DELAY_MS);
    }

    /// One step with the link there; returns whether everything is acknowledged.
    fn online(&mut self, with_news: bool) -> bool {
        self.now_ms += STEP_MS;
        let now_ms = self.now_ms;
        if with_news && now_ms.is_multiple_of(DELAY_MS) {
            self.make(RECORDS_PER_SECOND * DELAY_MS / 1000, true);
        }
        let mut acks: Vec<Acked> = Vec::new();
        while let Some(entry) = self.link.down.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            acks.push(entry.remove());
        }
        let acks: Vec<_> = acks.iter().map(Acked::borrowed).collect();
        let Self { drain, link, hub, .. } = self;
        let drain = drain.as_mut().unwrap();
        drain.acknowledged(&acks, now_ms);
        let mut sent = (0, 0);
        drain.send(now_ms, &mut |batch| {
            sent.0 += 1;
            sent.1 += u64::from(batch.historical);
            link.historical_sent += u64::from(batch.historical);
            for arrival in link.arrivals(now_ms) {
                link.up.insert(arrival, batch.clone());
            }
            true
        });
        assert!(sent.0 <= 4 && sent.1 <= 1, "{sent:?} at once");
        while let Some(entry) = link.up.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            let batch = entry.remove();
            for ack in hub.take(&batch, now_ms) {
                for arrival in link.arrivals(now_ms) {
                    link.down.insert(arrival, ack.clone());
                }
            }
        }
        drain.stats().records == 0
    }

    /// Runs until all that was there is acknowledged, with news coming all the while but for the end.
    fn drain_all(&mut self, is_done: impl Fn(&Self) -> bool) -> u64 {
        let begun_ms = self.now_ms;
        while !is_done(self) {
            self.online(true);
            assert!(self.now_ms < begun_ms + DAY_S * 1000, "never drained");
        }
        self.now_ms - begun_ms
    }
}

/// Counts by priority: high, normal, low.
fn by_priority(priorities: impl Iterator<Item = Priority>) -> [u64; 3] {
    let mut counts = [0; 3];
    priorities.for_each(|priority| counts[priority as usize] += 1);
    counts
}

/// Everything offered is a row at the hub or counted by a gap, and nothing is both.
fn check_sums(simulation: &Simulation) -> ([u64; 3], [u64; 3], [u64; 3]) {
    let Simulation { offered, hub, .. } = simulation;
    let mut all = ([0; 3], [0; 3], [0; 3]);
    for (boot, priorities) in &offered.boots {
        let rows = hub.rows.get(boot).cloned().unwrap_or_default();
        assert!(
            rows.keys().all(|seq| (1..=priorities.len() as u64).contains(seq)),
            "a row that nobody offered"
        );
        let numbered = || (1_u64..).zip(priorities.iter().copied());
        let gaps: Vec<_> = hub.gaps.iter().filter(|((of, ..), _)| of == boot).collect();
        let declared = |seq: u64| gaps.iter().any(|((_, first, last), _)| (*first..=*last).contains(&seq));
        let lost: Vec<u64> = numbered()
            .map(|(seq, _)| seq)
            .filter(|seq| !rows.contains_key(seq))
            .collect();
        let undeclared = lost.iter().find(|seq| !declared(**seq));
        assert_eq!(undeclared, None, "of boot {boot}");
        // As the hub does it: what is there isn't lost, though it was dropped while its acknowledgement was under way.
        let settled = |((_, first, last), count): &(&(u64, u64, u64), &u64)| {
            (**count).min(last - first + 1 - rows.range(first..=last).count() as u64)
        };
        let counted: u64 = gaps.iter().map(settled).sum();
        assert_eq!(
            counted,
            lost.len() as u64,
            "gaps of boot {boot} count otherwise than what isn't there"
        );
        let add = |to: &mut [u64; 3], counts: [u64; 3]| to.iter_mut().zip(counts).for_each(|(to, count)| *to += count);
        add(&mut all.0, by_priority(priorities.iter().copied()));
        add(
            &mut all.1,
            by_priority(numbered().filter(|(seq, _)| rows.contains_key(seq)).map(|(_, p)| p)),
        );
        add(
            &mut all.2,
            by_priority(numbered().filter(|(seq, _)| !rows.contains_key(seq)).map(|(_, p)| p)),
        );
    }
    all
}

/// Before anything was sent: all of high is kept, then the newest of normal and of low, and they fill the budget. Kept
/// and declared are what was offered. Returns how many bytes of records the file holds, and how many of them payload.
fn check_kept(simulation: &mut Simulation) -> (u64, u64) {
    simulation.drain = None;
    let path = simulation.dir.path().join("spool.redb");
    let mut spool = Spool::open(&path, simulation.boot_id, simulation.config).unwrap();
    let (mut kept, mut bytes) = (BTreeSet::new(), (0, 0));
    let (mut cursor, limits) = (
        Cursor::default(),
        BatchLimits {
            max_records: 4096,
            max_bytes: 1 << 20,
        },
    );
    while let Some(batch) = spool.next_batch(&mut cursor, limits, Order::LiveFirst).unwrap() {
        for record in batch.records {
            kept.insert((batch.boot_id, record.seq));
            // Key, time, and where the value ends: what a row of the file has beside.
            bytes = (
                bytes.0 + record.payload.len() as u64 + 28,
                bytes.1 + record.payload.len() as u64,
            );
        }
    }
    let declared: u64 = spool.gaps().unwrap().iter().map(|gap| gap.count).sum();
    let offered: u64 = simulation.offered.boots.values().map(|all| all.len() as u64).sum();
    assert_eq!(offered, kept.len() as u64 + declared);
    for priority in [Priority::High, Priority::Normal, Priority::Low] {
        let of_boot = |boot: &u64| {
            let boot = *boot;
            let numbered = (1_u64..).zip(simulation.offered.boots[&boot].iter());
            let of_priority = numbered.filter(move |(_, other)| **other == priority);
            of_priority.map(move |(seq, _)| (boot, seq)).collect::<Vec<_>>()
        };
        let is_kept: Vec<bool> = simulation
            .order
            .iter()
            .flat_map(of_boot)
            .map(|key| kept.contains(&key))
            .collect();
        let dropped = is_kept.iter().take_while(|is_kept| !**is_kept).count();
        let later = is_kept.iter().skip(dropped).filter(|is_kept| !**is_kept).count();
        match priority {
            Priority::High => assert_eq!(dropped + later, 0, "of the highest priority"),
            Priority::Normal => assert_eq!(later, 0, "newer ones went before older ones"),
            Priority::Low => assert!(later <= 2 * LOST, "{later} newer ones went before older ones"),
        }
    }
    drop(spool);
    assert!(
        simulation.file_most <= simulation.config.budget_bytes,
        "{} bytes",
        simulation.file_most
    );
    simulation.start(simulation.boot_id);
    bytes
}

#[test]
fn a_day_offline_fits_into_the_budget_and_is_drained_behind_live_data() {
    let whole = std::env::var("FLOORHAND_SPOOL_DAY").is_ok_and(|day| day == "whole");
    let parts = if whole { 1 } else { 24 };
    let started = std::time::Instant::now();
    let mut simulation = Simulation::new((64 << 20) / parts);
    simulation.offline(DAY_S / parts / 2);
    simulation.restart();
    simulation.offline(DAY_S / parts / 2);
    let bytes = check_kept(&mut simulation);
    // What redb needs at any size is 7% of a 24th of the budget.
    let least_percent = if whole { 80 } else { 75 };
    assert!(
        bytes.0 * 100 >= simulation.config.budget_bytes * least_percent,
        "{bytes:?} of the budget"
    );
    let (offline, kept) = (simulation.mix.made, simulation.drain().stats());
    let took = started.elapsed();

    // The link is back, the agent restarts once on the way.
    let now_ms = simulation.now_ms;
    simulation.drain().connected(true, now_ms);
    let half = kept.records / 2;
    let history = |simulation: &Simulation, boots: &[u64]| -> u64 {
        boots
            .iter()
            .map(|boot| simulation.hub.rows.get(boot).map_or(0, |rows| rows.len() as u64))
            .sum()
    };
    let boots: Vec<u64> = simulation.offered.boots.keys().copied().collect();
    let mut drained_ms = simulation.drain_all(|simulation| history(simulation, &boots) >= half);
    simulation.restart();
    let now_ms = simulation.now_ms;
    simulation.drain().connected(true, now_ms);
    // The connection breaks and comes back, too.
    drained_ms += simulation.drain_all(|simulation| simulation.now_ms > now_ms + 20_000);
    let now_ms = simulation.now_ms;
    simulation.drain().connected(false, now_ms);
    simulation.drain().connected(true, now_ms);
    drained_ms += simulation.drain_all(|simulation| {
        simulation
            .drain
            .as_ref()
            .is_some_and(|drain| drain.stats().records <= 500)
    });
    for _ in 0..20_000 {
        simulation.online(false);
    }
    assert_eq!(simulation.drain().stats().records, 0, "everything is acknowledged");
    report(
        &simulation,
        (offline, kept, bytes),
        drained_ms,
        (took, started.elapsed()),
    );
}

fn report(
    simulation: &Simulation,
    (offline, kept, bytes): (u64, floorhand_store::SpoolStats, (u64, u64)),
    drained_ms: u64,
    (took, all_took): (std::time::Duration, std::time::Duration),
) {
    let (offered, acknowledged, gaps) = check_sums(simulation);
    for at in 0..3 {
        assert_eq!(offered[at], acknowledged[at] + gaps[at]);
    }
    assert_eq!(gaps[0], 0, "nothing of the highest priority is lost");
    let arrived = |(boot, seq): &(u64, u64)| simulation.hub.rows.get(boot).and_then(|rows| rows.get(seq)).copied();
    let live = &simulation.offered.live_ms;
    let mut waits: Vec<u64> = live
        .iter()
        .filter_map(|(key, made_ms)| Some(arrived(key)? - made_ms))
        .collect();
    waits.sort_unstable();
    // What the restart caught unacknowledged is an earlier boot's, and so history by right.
    let of_last_boot: Vec<_> = live.keys().filter(|(boot, _)| *boot == simulation.boot_id).collect();
    let is_late = |key: &&&(u64, u64)| simulation.hub.historical.contains(**key);
    let late = of_last_boot.iter().filter(is_late).count();
    let at = |part: usize| {
        waits
            .get((waits.len() * part / 1000).min(waits.len() - 1))
            .copied()
            .unwrap_or(0)
    };
    assert!(
        live.len() as u64 * 1000 + 60_000 >= drained_ms * RECORDS_PER_SECOND,
        "too little came while it was drained"
    );
    assert_eq!(waits.len(), live.len(), "all that is live has arrived");
    assert!(
        late * 10 <= of_last_boot.len(),
        "{late} of {} live records were marked as history",
        of_last_boot.len()
    );
    assert!(at(500) <= 1000, "half of what is live takes {} ms", at(500));
    let link = &simulation.link;
    eprintln!(
        "offline {offline} records; kept {} in rows and payload of {bytes:?} bytes of {}, file at most {}; \
         [high, normal, low] offered {offered:?} = acknowledged {acknowledged:?} + gaps {gaps:?} in {} gaps; \
         drained in {} s of simulated time by {} historical batches, {} faults, {} duplicates; \
         live latency 50% {} ms, 99% {} ms, 99.9% {} ms, most {} ms; {late} of {} live ones came as history; took {took:?} + {:?}",
        kept.records,
        simulation.config.budget_bytes,
        simulation.file_most,
        simulation.hub.gaps.len(),
        drained_ms / 1000,
        link.historical_sent,
        link.faults,
        simulation.hub.duplicates,
        at(500),
        at(990),
        at(999),
        at(1000),
        of_last_boot.len(),
        all_took - took,
    );
}
