//! From a component's bytes to something that can be started: compiled here, compiled in a process of its own within limits
//! as the agent does it, and loaded from the cache.

use crate::plugins::{Prebuilt, three_sizes};
use crate::rounds::median;
use crate::table;
use anyhow::{Context as _, Result, ensure};
use floorhand_plugin_host::{CacheConfig, CompileLimits, Compiler, Host, HostConfig};
use std::fs;
use std::path::Path;
use std::time::Instant;

/// By this argument this program knows that it is to compile, and no bench.
pub(crate) const WORKER: &str = "--compile-worker";

/// Compiling takes long enough to be timed one by one.
const ROUNDS: usize = 7;

/// Prints the section.
pub(crate) fn print() -> Result<()> {
    table::heading("Compiling and loading");
    table::head(&[
        "component",
        "bytes",
        "machine code, bytes",
        "compile in this process",
        "compile in a process of its own",
        "load from the cache",
        "compiling here, of loading",
    ]);
    for (which, one) in three_sizes()? {
        let costs = costs(&one)?;
        let [here, apart, load] = &costs.times;
        let ratios = here.iter().zip(load).map(|(here, load)| here / load).collect();
        table::row(&[
            format!("{which}: `{}`", one.name),
            table::grouped(one.wasm.len() as u64),
            table::grouped(costs.machine_code_bytes),
            table::time(median(here.clone())),
            table::time(median(apart.clone())),
            table::time(median(load.clone())),
            table::ratio(Some(median(ratios))),
        ]);
    }
    Ok(())
}

struct Costs {
    /// What the cache has of it.
    machine_code_bytes: u64,
    /// Nanoseconds by round: here, apart, from the cache.
    times: [Vec<f64>; 3],
}

fn costs(one: &Prebuilt) -> Result<Costs> {
    let folder = tempfile::tempdir()?;
    fill(folder.path(), &one.wasm)?;
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let hosts = [HostConfig::default(), apart()?, cached(folder.path())];
        for (config, times) in hosts.into_iter().zip(&mut times) {
            let host = Host::new(config)?;
            let started = Instant::now();
            let plugin = host.component(&one.wasm)?;
            times.push(started.elapsed().as_nanos() as f64);
            drop(plugin);
        }
    }
    let mut files = fs::read_dir(folder.path())?;
    let file = files.next().context("the cache keeps nothing")??;
    Ok(Costs {
        machine_code_bytes: file.metadata()?.len(),
        times,
    })
}

/// A host that compiles as the agent does: in a process of its own, within limits.
pub(crate) fn apart() -> Result<HostConfig> {
    Ok(HostConfig {
        compiler: Compiler::Subprocess {
            exe: std::env::current_exe()?,
            args: vec![WORKER.into()],
        },
        cache: None,
        limits: CompileLimits::default(),
    })
}

/// A host with a cache in this folder.
pub(crate) fn cached(folder: &Path) -> HostConfig {
    HostConfig {
        cache: Some(CacheConfig {
            dir: folder.to_owned(),
            // Nothing of it stays: it needs to be no secret.
            key: [0; 32],
            max_bytes: 1 << 30,
        }),
        ..HostConfig::default()
    }
}

/// Puts a component into the cache.
pub(crate) fn fill(folder: &Path, wasm: &[u8]) -> Result<()> {
    Host::new(cached(folder))?.component(wasm)?;
    let host = Host::new(cached(folder))?;
    host.component(wasm)?;
    ensure!(
        host.stats().cache_hits == 1,
        "the cache in {} keeps nothing",
        folder.display()
    );
    Ok(())
}
