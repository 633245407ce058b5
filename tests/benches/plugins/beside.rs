//! A pipeline's latency beside plugins that do their worst, against the same pipeline's when all is quiet.
//!
//! One sample every two milliseconds; the hostile plugin is called, stopped and started again without pause, on a thread of
//! its own. Three lines are no hostile plugins, and tell what the machine itself adds: loops of native code, one of which copies
//! memory, and a well-behaved plugin called as often as it goes. On a machine with a single free core a busy thread takes turns with the pipeline, and the
//! scheduler is what is measured.

use crate::compile::apart;
use crate::rounds::median;
use crate::{guests, neighbour, table};
use anyhow::{Context as _, Result, ensure};
use floorhand_bundle::OnBreak;
use floorhand_pipeline::{Host, Outcome};
use floorhand_plugin_host::{CompiledPlugin, Limits, Processor};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Samples of one figure: the 99th percentile is the eleventh from the top.
const SAMPLES: u64 = 1_000;

const PACE: Duration = Duration::from_millis(2);

/// Each has its own quiet figure, measured right before.
const ROUNDS: usize = 5;

/// What the plugin copies that copies memory.
const COPIED_BYTES: usize = 13_000_000;

/// What goes on beside the pipeline, until it is told to stop.
type Noise<'a> = Box<dyn Fn(&AtomicBool) + Sync + 'a>;

/// A hostile plugin by name: the fields of its module, what it does in `process`, and in `snapshot`.
const HOSTILE: [(&str, &str, &str, &str); 13] = [
    ("endless loop", "", "(loop $on (br $on))", ""),
    (
        "exponential recursion",
        "(func $deeper (param i32) (if (local.get 0) (then (call $deeper (i32.sub (local.get 0) (i32.const 1)))
            (call $deeper (i32.sub (local.get 0) (i32.const 1))))))",
        "(call $deeper (i32.const 60))",
        "",
    ),
    (
        "memory.fill in a loop",
        "",
        "(loop $on (memory.fill (i32.const 4096) (i32.const 7) (i32.const 13000000)) (br $on))",
        "",
    ),
    (
        "memory.copy in a loop",
        "",
        "(loop $on (memory.copy (i32.const 4096) (i32.const 8192) (i32.const 13000000)) (br $on))",
        "",
    ),
    (
        "memory growth",
        "",
        "(loop $on (drop (memory.grow (i32.const 1))) (br $on))",
        "",
    ),
    (
        "table bomb",
        "(table $bomb 1 funcref)",
        "(loop $on (br_if $on (i32.ne (i32.const -1) (table.grow $bomb (ref.null func) (i32.const 1000)))))
            (unreachable)",
        "",
    ),
    (
        "huge list returned",
        "",
        "(i32.store (i32.const 204) (i32.const 65536)) (i32.store (i32.const 208) (i32.const 8388608))",
        "",
    ),
    (
        "shape of two million dimensions",
        "",
        "(i32.store (i32.const 196) (i32.const 65536)) (i32.store (i32.const 200) (i32.const 2000000))",
        "",
    ),
    (
        "log flood",
        "",
        "(loop $on (call $log (i32.const 1) (i32.const 16) (i32.const 2)) (br $on))",
        "",
    ),
    (
        "metric flood",
        "",
        "(loop $on (call $gauge (i32.const 65536) (i32.const 8000000) (f64.const 0)) (br $on))",
        "",
    ),
    ("trap in every call", "", "(unreachable)", ""),
    (
        "start function that never ends",
        "(func $forever (loop $on (br $on))) (start $forever)",
        "",
        "",
    ),
    (
        "state that grows",
        "",
        "",
        "(i32.store (i32.const 264) (i32.const 12000000))",
    ),
];

/// Prints the section.
pub(crate) fn print() -> Result<()> {
    table::heading("A neighbour's latency beside hostile plugins");
    let host = neighbour::host();
    let mut noises = vec![
        ("(a native loop)", native()),
        ("(a native copy in a loop)", native_copy()),
        ("(a well-behaved plugin)", plugin(&host, "", "", "")?),
    ];
    for (name, fields, process, snapshot) in HOSTILE {
        noises.push((name, plugin(&host, fields, process, snapshot)?));
    }
    noises.push(("100,000 functions, compiled again and again", compiling()?));
    let mut quiet = vec![Vec::new(); noises.len()];
    let mut beside = vec![Vec::new(); noises.len()];
    for _ in 0..ROUNDS {
        for ((_, noise), (quiet, beside)) in noises.iter().zip(quiet.iter_mut().zip(&mut beside)) {
            // Right before it: what else the machine does changes in minutes.
            quiet.push(percentiles(&host)?);
            let stop = AtomicBool::new(false);
            beside.push(thread::scope(|scope| {
                scope.spawn(|| noise(&stop));
                let figures = percentiles(&host);
                stop.store(true, Ordering::SeqCst);
                figures
            })?);
        }
    }
    table::head(&[
        "beside",
        "p50",
        "p99",
        "p50, of the quiet one",
        "p99, of the quiet one",
        "p99, lowest and highest round",
    ]);
    let all: Vec<[f64; 2]> = quiet.concat();
    show("nothing", &all, &all);
    for ((name, _), (quiet, beside)) in noises.iter().zip(quiet.iter().zip(&beside)) {
        show(name, beside, quiet);
    }
    Ok(())
}

fn show(name: &str, figures: &[[f64; 2]], quiet: &[[f64; 2]]) {
    let p50 = || figures.iter().map(|[p50, _]| *p50);
    let p99 = || figures.iter().map(|[_, p99]| *p99);
    let p50_ratios = p50().zip(quiet).map(|(one, [quiet, _])| one / quiet).collect();
    let p99_ratios: Vec<f64> = p99().zip(quiet).map(|(one, [_, quiet])| one / quiet).collect();
    let (low, high) = p99_ratios.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), ratio| {
        (low.min(*ratio), high.max(*ratio))
    });
    table::row(&[
        name.to_owned(),
        table::time(median(p50().collect())),
        table::time(median(p99().collect())),
        table::ratio(Some(median(p50_ratios))),
        format!("**{}**", table::ratio(Some(median(p99_ratios)))),
        format!("{} to {}", table::digits(low), table::digits(high)),
    ]);
}

/// The 50th and the 99th percentile of a fresh pipeline, in nanoseconds.
fn percentiles(host: &Host) -> Result<[f64; 2]> {
    let mut pipeline = neighbour::pipeline(host, &guests::Processor::default(), OnBreak::Fail, 1_000);
    let sample = neighbour::sample(&[1.0; 4]);
    let mut times = Vec::new();
    let mut next = Instant::now();
    for at in 0..SAMPLES {
        next += PACE;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let started = Instant::now();
        let processed = pipeline.process(&sample, at);
        times.push(started.elapsed().as_nanos() as f64);
        ensure!(
            matches!(processed.outcome, Outcome::Result(_)),
            "the neighbour has lost a sample"
        );
    }
    times.sort_by(f64::total_cmp);
    let rank = |percent: usize| times.get(times.len() * percent / 100).copied();
    Ok([rank(50).context("no time")?, rank(99).context("no time")?])
}

/// Native code that leaves its core no pause.
fn native() -> Noise<'static> {
    Box::new(|stop| {
        let mut turns = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            turns = black_box(turns.wrapping_add(1));
        }
    })
}

/// The same with as much of the machine's memory as it can get: what `memory.copy` is to be held against.
fn native_copy() -> Noise<'static> {
    Box::new(|stop| {
        let mut memory = vec![1_u8; COPIED_BYTES + 4096];
        while !stop.load(Ordering::Relaxed) {
            memory.copy_within(4096.., 0);
            black_box(&mut memory);
        }
    })
}

/// A plugin that is started, called and asked for its state as often as it goes.
fn plugin<'a>(host: &Host, fields: &'a str, process: &'a str, snapshot: &'a str) -> Result<Noise<'a>> {
    let guest = guests::Processor {
        fields,
        process,
        snapshot,
        pages: 200,
        ..Default::default()
    };
    let plugin = host.component(&guest.component())?;
    let tame = fields.is_empty() && process.is_empty() && snapshot.is_empty();
    Ok(Box::new(move |stop| {
        while !stop.load(Ordering::SeqCst) {
            // One that doesn't start is started again.
            drop(misbehave(&plugin, stop, tame));
        }
    }))
}

fn misbehave(plugin: &CompiledPlugin, stop: &AtomicBool, tame: bool) -> Result<()> {
    let mut hostile = Processor::start(plugin, guests::setup(Limits::default()))?;
    while !stop.load(Ordering::SeqCst) {
        drop(hostile.process(&guests::CONTEXT, &[guests::x(&[1.0])]));
        if !tame {
            drop(hostile.snapshot());
            hostile.restart()?;
        }
    }
    Ok(())
}

/// Somebody who brings one component after the other that takes long to compile.
fn compiling() -> Result<Noise<'static>> {
    let guest = guests::Processor {
        fields: &"(func (param i32) (result i32) local.get 0)".repeat(100_000),
        ..Default::default()
    };
    let component = guest.component();
    let host = Host::new(apart()?)?;
    Ok(Box::new(move |stop| {
        while !stop.load(Ordering::SeqCst) {
            drop(host.component(&component));
        }
    }))
}
