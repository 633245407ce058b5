//! A pipeline's latency beside plugins that do their worst, against the same pipeline's when all is quiet.
//!
//! One sample every two milliseconds, for two seconds each; the hostile plugin is called and restarted without pause, on a
//! thread of its own. Prints the 50th and 99th percentile in microseconds and the ratio of the 99th to the quiet one. On a
//! machine with a single free core the hostile plugin takes turns with the pipeline, and the scheduler is what is measured.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic and tell")]

#[expect(dead_code, reason = "tests use the rest")]
#[path = "../../plugin-host/tests/guests/mod.rs"]
mod guests;
#[expect(dead_code, reason = "tests use the rest")]
#[path = "../tests/hostile/neighbour.rs"]
mod neighbour;

use floorhand_bundle::OnBreak;
use floorhand_pipeline::{Host, Outcome};
use floorhand_plugin_host::{Limits, Processor};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Samples of one figure: the 99th percentile is the eleventh from the top.
const SAMPLES: u64 = 1_000;

const PACE: Duration = Duration::from_millis(2);

/// What the hostile plugin does in `process`, by name, and the fields of its module.
const HOSTILE: [(&str, &str, &str); 8] = [
    ("endless loop", "", "(loop $on (br $on))"),
    (
        "exponential recursion",
        "(func $deeper (param i32) (if (local.get 0) (then (call $deeper (i32.sub (local.get 0) (i32.const 1)))
            (call $deeper (i32.sub (local.get 0) (i32.const 1))))))",
        "(call $deeper (i32.const 60))",
    ),
    (
        "memory.fill",
        "",
        "(loop $on (memory.fill (i32.const 4096) (i32.const 7) (i32.const 13000000)) (br $on))",
    ),
    (
        "memory.copy",
        "",
        "(loop $on (memory.copy (i32.const 4096) (i32.const 8192) (i32.const 13000000)) (br $on))",
    ),
    (
        "memory.grow",
        "",
        "(loop $on (drop (memory.grow (i32.const 1))) (br $on))",
    ),
    (
        "log flood",
        "",
        "(loop $on (call $log (i32.const 1) (i32.const 16) (i32.const 2)) (br $on))",
    ),
    (
        "metric flood",
        "",
        "(loop $on (call $gauge (i32.const 65536) (i32.const 8000000) (f64.const 0)) (br $on))",
    ),
    ("trap and restart", "", "(unreachable)"),
];

fn main() {
    let host = neighbour::host();
    let [p50, quiet] = percentiles(&host);
    println!("{:<24} p50 {p50:>6} us  p99 {quiet:>6} us", "quiet");
    for (name, fields, process) in HOSTILE {
        let guest = guests::Processor {
            fields,
            process,
            pages: 200,
            ..Default::default()
        };
        let plugin = host.component(&guest.component()).unwrap();
        let stop = AtomicBool::new(false);
        let [p50, p99] = thread::scope(|scope| {
            scope.spawn(|| {
                let mut hostile = Processor::start(&plugin, guests::setup(Limits::default())).unwrap();
                while !stop.load(Ordering::SeqCst) {
                    drop(hostile.process(&guests::CONTEXT, &[guests::x(&[1.0])]));
                    hostile.restart().unwrap();
                }
            });
            let figures = percentiles(&host);
            stop.store(true, Ordering::SeqCst);
            figures
        });
        let ratio = p99 as f64 / quiet as f64;
        println!("{name:<24} p50 {p50:>6} us  p99 {p99:>6} us  {ratio:>5.2} times the quiet one");
    }
}

/// The 50th and the 99th percentile of a fresh pipeline, in microseconds.
fn percentiles(host: &Host) -> [u64; 2] {
    let mut pipeline = neighbour::pipeline(host, &guests::Processor::default(), OnBreak::Fail, 1_000);
    let sample = neighbour::sample(&[1.0; 4]);
    let mut micros = Vec::new();
    let mut next = Instant::now();
    for at in 0..SAMPLES {
        next += PACE;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let started = Instant::now();
        let processed = pipeline.process(&sample, at);
        micros.push(u64::try_from(started.elapsed().as_micros()).unwrap());
        assert!(matches!(processed.outcome, Outcome::Result(_)));
    }
    micros.sort_unstable();
    let rank = |percent: usize| *micros.get(micros.len() * percent / 100).unwrap().max(&1);
    [rank(50), rank(99)]
}
