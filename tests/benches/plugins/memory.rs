//! What instances take: memory, time to start, and time for a sample that goes through all of them.
//!
//! Measured in a process that does nothing else and has compiled nothing, so that no memory that a compiler gave back hides
//! what an instance takes.

use crate::compile::{cached, fill};
use crate::copies::least_pages;
use crate::guests::CONTEXT;
use crate::plugins::{component, host, input, start};
use crate::rounds::{Contender, median, race};
use crate::table;
use anyhow::{Context as _, Result, bail, ensure};
use floorhand_plugin_host::{Host, Limits};
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// By this argument this program knows that it is to start instances.
pub(crate) const CHILD: &str = "--instances";

/// Processes for each line.
const PROCESSES: usize = 5;

/// Values of the samples.
const VALUES: usize = 64;

/// Prints the section.
pub(crate) fn print() -> Result<()> {
    table::heading("Instances in one process");
    println!("Samples of {VALUES} f32. *Of one as often* is the same number of calls, all of the same instance.\n");
    table::head(&[
        "plugin",
        "instances",
        "start of all, code from the cache",
        "PSS of each",
        "of that private",
        "least linear memory",
        "a sample through all",
        "of one as often",
    ]);
    for (name, count) in [
        ("echo", 50),
        ("standardize", 1),
        ("standardize", 50),
        ("standardize", 100),
    ] {
        let pages = least_pages(name, &host()?.component(&component(name)?)?, VALUES)?;
        let told = tell(name, count)?;
        let middle = |key: &str| median(told.iter().filter_map(|one| one.get(key)?.as_f64()).collect());
        let each = |key: &str| format!("{} KiB", table::digits(middle(key) / count as f64));
        table::row(&[
            format!("`{name}`"),
            count.to_string(),
            table::time(middle("start_ns")),
            each("pss_kib"),
            each("private_kib"),
            format!("{} KiB", pages * 64),
            table::time(middle("through_ns")),
            table::ratio(Some(middle("of_one"))),
        ]);
    }
    Ok(())
}

/// What so many processes say about as many instances.
fn tell(name: &str, count: usize) -> Result<Vec<Value>> {
    let folder = tempfile::tempdir()?;
    let (cache, file) = (folder.path().join("cache"), folder.path().join(format!("{name}.wasm")));
    let wasm = component(name)?;
    fill(&cache, &wasm)?;
    fs::write(&file, wasm)?;
    let tell = |_| {
        let mut command = Command::new(std::env::current_exe()?);
        let output = command
            .arg(CHILD)
            .args([&cache, &file])
            .arg(count.to_string())
            .output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "the process with {count} instances: {complaint}"
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    (0..PROCESSES).map(tell).collect()
}

/// The process: starts the instances, gives each a sample, and writes what that took.
pub(crate) fn child(cache: &str, file: &str, count: usize) -> Result<ExitCode> {
    let wasm = fs::read(file)?;
    let name = if file.ends_with("echo.wasm") {
        "echo"
    } else {
        "standardize"
    };
    let sample = input(name, VALUES)?;
    let host = Host::new(cached(cache.as_ref()))?;
    let before = memory_kib("self")?;
    let started = Instant::now();
    let plugin = host.component(&wasm)?;
    let mut instances: Vec<_> = (0..count)
        .map(|_| start(&plugin, Limits::default()))
        .collect::<Result<_>>()?;
    let start_ns = started.elapsed().as_nanos() as f64;
    for instance in &mut instances {
        instance.process(&CONTEXT, &[&sample])?;
    }
    let after = memory_kib("self")?;
    if host.stats().cache_hits != 1 {
        bail!("the plugin was compiled: {cache}");
    }
    let mut one = start(&plugin, Limits::default())?;
    let times = race(vec![
        Contender::new("all", || {
            for instance in &mut instances {
                drop(instance.process(&CONTEXT, &[&sample]).unwrap());
            }
        }),
        Contender::new("one", || {
            for _ in 0..count {
                drop(one.process(&CONTEXT, &[&sample]).unwrap());
            }
        }),
    ])?;
    let told = json!({
        "start_ns": start_ns,
        "pss_kib": after.0 - before.0,
        "private_kib": after.1 - before.1,
        "through_ns": times.median("all"),
        "of_one": times.ratio("all", "one"),
    });
    println!("{told}");
    Ok(ExitCode::SUCCESS)
}

/// A process's proportional set size and the part of it that is its own memory, in KiB.
pub(crate) fn memory_kib(process: &str) -> Result<(f64, f64)> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).context("smaps_rollup")?;
    let of = |name: &str| -> Result<f64> {
        let line = rollup.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        number.with_context(|| format!("smaps_rollup without {name}"))
    };
    Ok((of("Pss:")?, of("Pss_Anon:")?))
}
