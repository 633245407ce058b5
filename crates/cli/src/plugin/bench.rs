//! `floorhand plugin bench`: what a plugin costs.
//!
//! The calls are those of the cases, over and over, each timed by itself. Nothing here is a test: numbers are of this
//! machine, and are for comparing one build with the next.

use super::cases::{self, CaseFile};
use super::guest::{Call, Guest, Start};
use super::{build, inspect};
use crate::bundle::size;
use crate::output::Output;
use anyhow::{Context as _, Result, anyhow, ensure};
use clap::{Args, ValueHint};
use floorhand_plugin_build::Inspection;
use floorhand_plugin_host::{CacheConfig, CompiledPlugin, Host, HostConfig, Limits};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// `floorhand plugin bench`
#[derive(Debug, Args)]
#[command(after_help = "\
A native baseline is a program of yours that does the same without WebAssembly: where the crate has an example `native`, or \
one that ends in `-native`, it is run with the file of cases as its argument, and writes {\"median_ns\": N, \"p99_ns\": N}.")]
pub struct BenchArgs {
    /// The plugin's folder
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// A component to measure instead of what the source comes to: a .wasm file, or builtin:NAME
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    component: Option<PathBuf>,
    /// How long to measure the calls of each file of cases, in seconds
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
}

/// Longer than anybody waits.
const MAX_SECONDS: f64 = 3600.0;

/// Times that loading and starting are measured: the middle one is told.
const REPEATS: usize = 5;

/// Calls whose times are kept: 8 MB of them.
const MAX_CALLS: usize = 1_000_000;

/// Room for the machine code of any plugin.
const MAX_CACHE_BYTES: u64 = 1 << 30;

/// Memory grows by so much.
const PAGE_BYTES: u64 = 64 << 10;

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok();
    let fits = seconds.filter(|seconds| *seconds > 0.0 && *seconds <= MAX_SECONDS);
    fits.ok_or_else(|| format!("expected seconds, above 0 and up to {MAX_SECONDS}"))
}

/// What a plugin costs.
#[derive(Debug, Serialize)]
struct Costs {
    component_bytes: usize,
    compile_ms: f64,
    load_from_cache_ms: f64,
    files: Vec<FileCosts>,
}

/// What it costs on one file of cases.
#[derive(Debug, Serialize)]
struct FileCosts {
    file: String,
    /// Instantiating and configuring.
    start_ms: f64,
    /// The least memory limit under which the cases pass through.
    memory_bytes: u64,
    calls: usize,
    #[serde(flatten)]
    times: Times,
    native: Option<Times>,
}

/// Of single calls.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Times {
    median_ns: u64,
    p99_ns: u64,
}

/// Measures, and tells.
pub(super) fn run(args: &BenchArgs, out: &Output) -> Result<()> {
    let component = match &args.component {
        Some(path) => inspect::component(path)?,
        None => build::build(&args.dir, out)?.component,
    };
    let files = cases::read_all(&args.dir)?;
    let waiting = out.spinner("measuring");
    let costs = measure(args, &component, &files);
    waiting.finish_and_clear();
    let costs = costs?;
    out.show(&costs, |out| human(&costs, out))
}

fn measure(args: &BenchArgs, component: &[u8], files: &[CaseFile]) -> Result<Costs> {
    let compile = || Ok(Host::new(HostConfig::default())?.component(component)?);
    let (compile_ms, plugin) = middle(compile)?;
    let least_bytes = Inspection::of(component)?.memory_bytes;
    let files = files.iter().map(|file| {
        let start = || Ok(Guest::start(&plugin, &Start::of(file))?);
        let (start_ms, _) = middle(start).with_context(|| file.name.clone())?;
        let (calls, times) = time_calls(&plugin, file, Duration::from_secs_f64(args.seconds))?;
        Ok(FileCosts {
            file: file.name.clone(),
            start_ms,
            memory_bytes: memory(&plugin, file, least_bytes)?,
            calls,
            times,
            native: native(&args.dir, file)?,
        })
    });
    Ok(Costs {
        component_bytes: component.len(),
        compile_ms,
        files: files.collect::<Result<_>>()?,
        load_from_cache_ms: load_from_cache(component)?,
    })
}

/// The middle time of several, in milliseconds, and what was made last.
fn middle<T>(make: impl Fn() -> Result<T>) -> Result<(f64, T)> {
    let mut times = Vec::with_capacity(REPEATS);
    let mut made = make()?;
    for _ in 0..REPEATS {
        let started = Instant::now();
        made = make()?;
        times.push(started.elapsed());
    }
    times.sort();
    let time = times.get(REPEATS / 2).copied().unwrap_or_default();
    Ok((time.as_secs_f64() * 1e3, made))
}

fn load_from_cache(component: &[u8]) -> Result<f64> {
    let folder = tempfile::tempdir().context("no folder for a cache can be made")?;
    let load = || -> Result<(Duration, u64)> {
        let host = Host::new(HostConfig {
            cache: Some(CacheConfig {
                dir: folder.path().to_owned(),
                // Nothing of it stays: it needs to be no secret.
                key: [0; 32],
                max_bytes: MAX_CACHE_BYTES,
            }),
            ..HostConfig::default()
        })?;
        let started = Instant::now();
        host.component(component)?;
        Ok((started.elapsed(), host.stats().cache_hits))
    };
    let mut times = Vec::with_capacity(REPEATS);
    // The first one fills the cache.
    load()?;
    for _ in 0..REPEATS {
        let (time, hits) = load()?;
        ensure!(hits == 1, "the cache in {} keeps nothing", folder.path().display());
        times.push(time);
    }
    times.sort();
    Ok(times.get(REPEATS / 2).copied().unwrap_or_default().as_secs_f64() * 1e3)
}

/// Goes through the file's calls until the time is up, each sample a step later than the one before.
fn time_calls(plugin: &CompiledPlugin, file: &CaseFile, limit: Duration) -> Result<(usize, Times)> {
    let mut guest = Guest::start(plugin, &Start::of(file))?;
    let lines = (0..).zip(&file.calls);
    let calls = lines.map(|(sequence, (_, line))| guest.call_of(line, sequence));
    let mut calls: Vec<Call> = calls.collect::<Result<_>>()?;
    let count = calls.len() as u64;
    ensure!(count > 0, "{} has no call", file.name);
    let mut times = Vec::new();
    let started = Instant::now();
    // Once around to warm up.
    calls.iter().for_each(|call| drop(guest.call(call)));
    while started.elapsed() < limit && times.len() < MAX_CALLS {
        for call in &mut calls {
            if let Call::Sample(context, _) = call {
                context.sequence += count;
                context.time_ns = context.time_ns.saturating_add(count * 1_000_000_000);
            }
            let begun = Instant::now();
            drop(guest.call(call));
            times.push(begun.elapsed().as_nanos() as u64);
        }
        ensure!(guest.is_running(), "{}: the plugin has stopped", file.name);
    }
    times.sort_unstable();
    let at = |part: f64| {
        times
            .get((times.len() as f64 * part) as usize)
            .copied()
            .unwrap_or_default()
    };
    Ok((
        times.len(),
        Times {
            median_ns: at(0.5),
            p99_ns: at(0.99),
        },
    ))
}

/// The least memory limit, in whole pages, under which every call gets its answer.
fn memory(plugin: &CompiledPlugin, file: &CaseFile, least_bytes: u64) -> Result<u64> {
    let fits = |memory_bytes: u64| -> Result<bool> {
        let limits = Limits {
            memory_bytes,
            ..Limits::default()
        };
        let Ok(mut guest) = Guest::start(
            plugin,
            &Start {
                limits,
                ..Start::of(file)
            },
        ) else {
            return Ok(false);
        };
        for (sequence, (_, line)) in (0..).zip(&file.calls) {
            let call = guest.call_of(line, sequence)?;
            drop(guest.call(&call));
            if !guest.is_running() {
                return Ok(false);
            }
        }
        Ok(guest.snapshot().is_ok())
    };
    let (mut low, mut high) = (least_bytes / PAGE_BYTES, Limits::default().memory_bytes / PAGE_BYTES);
    ensure!(
        fits(high * PAGE_BYTES)?,
        "{}: the plugin stops on its own cases: `floorhand plugin test`",
        file.name
    );
    while low < high {
        let page = low.midpoint(high);
        if fits(page * PAGE_BYTES)? {
            high = page;
        } else {
            low = page + 1;
        }
    }
    Ok(high * PAGE_BYTES)
}

/// What the crate's own example says, if there is one.
fn native(dir: &Path, file: &CaseFile) -> Result<Option<Times>> {
    let Some(example) = native_example(dir) else {
        return Ok(None);
    };
    let path = dir.join(cases::FOLDER).join(&file.name);
    let path = path.canonicalize().with_context(|| path.display().to_string())?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(dir)
        .args(["run", "--quiet", "--release", "--example", &example, "--"])
        .arg(path)
        .stderr(Stdio::inherit());
    let output = command.output().context("cargo can't be started")?;
    ensure!(
        output.status.success(),
        "the native baseline fails: see what it says above"
    );
    let times = serde_json::from_slice(&output.stdout);
    times
        .map(Some)
        .map_err(|error| anyhow!("the native baseline wrote no times: {error}"))
}

/// Plugins of one workspace have examples of different names, or cargo builds one over the other: `native`, `<plugin>-native`.
fn native_example(dir: &Path) -> Option<String> {
    let named = |path: PathBuf| {
        let is_program = path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file();
        let name = path.file_stem()?.to_str()?;
        (is_program && (name == "native" || name.ends_with("-native"))).then(|| name.to_owned())
    };
    let entries = std::fs::read_dir(dir.join("examples")).ok()?;
    entries.flatten().find_map(|entry| named(entry.path()))
}

fn human(costs: &Costs, out: &Output) -> Result<()> {
    out.pairs(&[
        ("component", size(costs.component_bytes as u64)),
        ("compiling", format!("{:.1} ms", costs.compile_ms)),
        ("from the cache", format!("{:.2} ms", costs.load_from_cache_ms)),
    ])?;
    let mut table = out.table(&["cases", "start", "memory", "calls", "median", "p99", "native", "ratio"]);
    for file in &costs.files {
        let native = file
            .native
            .map_or_else(|| "-".to_owned(), |times| time(times.median_ns));
        let ratio = file.native.map_or_else(
            || "-".to_owned(),
            |times| format!("{:.1}", file.times.median_ns as f64 / times.median_ns.max(1) as f64),
        );
        table.add_row([
            file.file.clone(),
            format!("{:.2} ms", file.start_ms),
            size(file.memory_bytes),
            file.calls.to_string(),
            time(file.times.median_ns),
            time(file.times.p99_ns),
            native,
            ratio,
        ]);
    }
    out.print(table)
}

fn time(nanoseconds: u64) -> String {
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{:.1} us", nanoseconds as f64 / 1e3),
        _ => format!("{:.1} ms", nanoseconds as f64 / 1e6),
    }
}
