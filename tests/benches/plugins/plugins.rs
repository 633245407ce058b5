//! The plugins that are measured: the components in plugins/prebuilt, and one that answers with its input.

use crate::{guests, table};
use anyhow::{Context as _, Result};
use floorhand_plugin_host::{CompiledPlugin, Host, HostConfig, Limits, Processor, Setup};
use floorhand_tensor::Tensor;
use floorhand_tests::workspace;
use std::fs;

/// What `standardize` is configured with; the echo takes anything.
pub(crate) const CONFIG: &str = r#"{"input": "x", "output": "y", "mean": [0.5], "scale": [2.0]}"#;

/// A component of plugins/prebuilt.
pub(crate) struct Prebuilt {
    pub(crate) name: String,
    pub(crate) wasm: Vec<u8>,
}

/// All of them, the smallest first.
pub(crate) fn prebuilt() -> Result<Vec<Prebuilt>> {
    let folder = workspace().join("plugins/prebuilt");
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let wasm = fs::read(&path)?;
            all.push(Prebuilt { name, wasm });
        }
    }
    all.sort_by_key(|one| one.wasm.len());
    Ok(all)
}

/// The smallest, the median and the largest of them.
pub(crate) fn three_sizes() -> Result<Vec<(&'static str, Prebuilt)>> {
    let all = prebuilt()?;
    let (middle, last) = (all.len() / 2, all.len().saturating_sub(1));
    let named = all.into_iter().enumerate().filter_map(|(at, one)| match at {
        at if at == last => Some(("largest", one)),
        at if at == middle => Some(("median", one)),
        0 => Some(("smallest", one)),
        _ => None,
    });
    Ok(named.collect())
}

/// `echo`, whose answer is the very bytes it was given, or a component of plugins/prebuilt.
pub(crate) fn component(name: &str) -> Result<Vec<u8>> {
    if name == "echo" {
        return Ok(guests::Processor::default().component());
    }
    let path = workspace().join(format!("plugins/prebuilt/{name}.wasm"));
    fs::read(&path).with_context(|| path.display().to_string())
}

/// A host as tools have it: everything in this process, nothing kept.
pub(crate) fn host() -> Result<Host> {
    Ok(Host::new(HostConfig::default())?)
}

/// Starts a processor within these limits.
pub(crate) fn start(plugin: &CompiledPlugin, limits: Limits) -> Result<Processor> {
    let setup = Setup {
        name: "bench".to_owned(),
        config: CONFIG.to_owned(),
        assets: Vec::new(),
        given: Vec::new(),
        limits,
    };
    Ok(Processor::start(plugin, setup)?)
}

/// So many numbers in the shape that the plugin takes.
pub(crate) fn input(name: &str, values: usize) -> Result<Tensor> {
    let numbers: Vec<f32> = (0..values).map(|at| at as f32).collect();
    let shape = if name == "echo" {
        vec![values as u64]
    } else {
        vec![1, values as u64]
    };
    Ok(Tensor::from_f32("x", shape, &numbers)?)
}

/// Prints how large the components are.
pub(crate) fn print_sizes() -> Result<()> {
    table::heading("Component sizes");
    let all = prebuilt()?;
    table::head(&["component", "bytes"]);
    for one in &all {
        table::row(&[format!("`{}`", one.name), table::grouped(one.wasm.len() as u64)]);
    }
    let bytes: Vec<f64> = all.iter().map(|one| one.wasm.len() as f64).collect();
    let total = bytes.iter().sum::<f64>() as u64;
    let median = crate::rounds::median(bytes) as u64;
    table::row(&["**median**".to_owned(), format!("**{}**", table::grouped(median))]);
    table::row(&[format!("all {}", all.len()), table::grouped(total)]);
    Ok(())
}
