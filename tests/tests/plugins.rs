//! The first-party plugins as components: the committed ones are what their list says, ask for nothing but our own
//! interfaces, answer their recorded cases, and do what a build of today does.

use anyhow::{Context as _, Result, bail, ensure};
use floorhand_bundle::{Assembly, BUILTIN_PREFIX, ComponentName, Digest, Recipe};
use floorhand_pipeline::{Host, HostConfig, Outcome, Pipeline, Processed, decode, model_signature};
use floorhand_tests::{run_ok, say, workspace};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use wit_component::DecodedWasm;
use wit_parser::WorldItem;

/// Bundles with recorded inputs: in them several first-party plugins work together.
const BUNDLES: [&str; 4] = [
    "crates/cli/demo/bundles/v1",
    "crates/cli/demo/bundles/v2",
    "crates/cli/demo/bundles/v4",
    "tests/skab/fixture/bundle",
];
/// Enough to fill the monitors' windows: 50 results of four chunks each in the demo's bundles, 100 rows in the other.
const SAMPLES: usize = 420;

fn prebuilt() -> PathBuf {
    workspace().join("plugins/prebuilt")
}

/// The components of a folder by file name.
fn components(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut components = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            components.insert(name.unwrap_or_default(), std::fs::read(&path)?);
        }
    }
    ensure!(!components.is_empty(), "no components in {}", folder.display());
    Ok(components)
}

#[test]
fn the_committed_components_are_those_of_the_list() -> Result<()> {
    let listed = std::fs::read_to_string(prebuilt().join("SHA256SUMS"))?;
    let there: Vec<String> = components(&prebuilt())?
        .iter()
        .map(|(name, bytes)| format!("{}  {name}", Digest::of(bytes)))
        .collect();
    let listed: Vec<&str> = listed.lines().collect();
    ensure!(there == listed, "SHA256SUMS has {listed:#?}, and there are {there:#?}");
    Ok(())
}

#[test]
fn components_import_nothing_but_our_own_interfaces() -> Result<()> {
    for (file, bytes) in components(&prebuilt())? {
        let DecodedWasm::Component(resolve, world) = wit_component::decode(&bytes)? else {
            bail!("{file} is not a component")
        };
        let world = resolve.worlds.get(world).context("a component has a world")?;
        for (import, item) in &world.imports {
            let name = resolve.name_world_key(import);
            let known = ["floorhand:plugin/host@", "floorhand:plugin/types@"]
                .iter()
                .any(|known| name.starts_with(known));
            // Types that a world names stand among its imports.
            ensure!(known || matches!(item, WorldItem::Type { .. }), "{file} imports {name}");
        }
    }
    Ok(())
}

/// Where `cargo xtask plugins --check` puts what it builds.
fn built_today() -> PathBuf {
    let root = workspace();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    target.join("plugins/fresh")
}

#[test]
fn components_answer_their_recorded_cases() -> Result<()> {
    let committed = prebuilt();
    for folder in [committed.clone(), built_today()] {
        if !folder.is_dir() {
            continue;
        }
        for (file, bytes) in components(&folder)? {
            if folder != committed && std::fs::read(committed.join(&file)).is_ok_and(|same| same == bytes) {
                continue;
            }
            let plugin = workspace().join("plugins").join(file.trim_end_matches(".wasm"));
            let component = folder.join(&file);
            let words: [&OsStr; 5] = [
                "plugin".as_ref(),
                "test".as_ref(),
                plugin.as_ref(),
                "--component".as_ref(),
                component.as_ref(),
            ];
            run_ok(&words)?;
        }
    }
    Ok(())
}

#[test]
fn fresh_components_do_what_the_committed_ones_do() -> Result<()> {
    let root = workspace();
    let fresh = built_today();
    if !fresh.is_dir() {
        ensure!(
            std::env::var_os("CI").is_none(),
            "{} is missing: run `cargo xtask plugins --check` first",
            fresh.display()
        );
        say("SKIPPED: no freshly built plugins: run `cargo xtask plugins --check` where there is a compiler for them");
        return Ok(());
    }
    let (committed, fresh) = (components(&prebuilt())?, components(&fresh)?);
    ensure!(
        committed.keys().eq(fresh.keys()),
        "other plugins than the committed ones: {:?}",
        fresh.keys()
    );
    if committed == fresh {
        say("the fresh components are the committed ones, byte for byte");
    }
    for bundle in BUNDLES {
        let folder = root.join(bundle);
        let expected = process(&folder, &committed).with_context(|| format!("{bundle}, committed"))?;
        let actual = process(&folder, &fresh).with_context(|| format!("{bundle}, fresh"))?;
        for (number, (expected, actual)) in expected.iter().zip(&actual).enumerate() {
            ensure!(
                without_latency(expected) == without_latency(actual),
                "{bundle}, sample {number}: {actual:?}, and with the committed plugins {expected:?}"
            );
        }
        let count = |fits: fn(&Processed) -> bool| expected.iter().filter(|processed| fits(processed)).count();
        let results = count(|processed| matches!(processed.outcome, Outcome::Result(_)));
        let findings = count(|processed| !processed.findings.is_empty());
        say(&format!(
            "{bundle}: {} samples, {results} results, {findings} with findings",
            expected.len()
        ));
        ensure!(results > 0, "{bundle} gave no result");
    }
    Ok(())
}

/// Sends a bundle's recorded inputs through its pipeline, with these components for its plugins.
fn process(folder: &Path, plugins: &BTreeMap<String, Vec<u8>>) -> Result<Vec<Processed>> {
    let mut load = |reference: &str| match reference.strip_prefix(BUILTIN_PREFIX) {
        Some(name) => {
            let file = format!("{name}.wasm");
            plugins.get(&file).cloned().ok_or_else(|| format!("no {file}"))
        }
        None => std::fs::read(folder.join(reference)).map_err(|error| format!("{reference}: {error}")),
    };
    let recipe = Recipe::parse(&std::fs::read_to_string(folder.join("bundle.toml"))?)?;
    let Assembly { manifest, blobs } = recipe.assemble(&mut load, model_signature)?;
    let mut read = |name: &ComponentName| {
        let component = manifest.component(name);
        let bytes = component.and_then(|component| blobs.get(&component.blob.sha256));
        bytes.cloned().ok_or_else(|| format!("no {name}"))
    };
    let host = Host::new(HostConfig::default())?;
    let mut pipeline = Pipeline::load(&manifest.pipeline, &mut read, &host)?;
    let cases = std::fs::read_to_string(folder.join("golden.jsonl"))?;
    let inputs: Vec<Value> = cases
        .lines()
        .map(|line| {
            Ok(serde_json::from_str::<Value>(line)?
                .get("input")
                .cloned()
                .unwrap_or_default())
        })
        .collect::<Result<_>>()?;
    let samples = inputs.iter().cycle().take(SAMPLES).zip(0..);
    samples
        .map(|(input, now_ms)| {
            let sample = decode::json_value(input, pipeline.inputs())?;
            Ok(pipeline.process(&sample, now_ms))
        })
        .collect()
}

/// All that doesn't depend on how busy the machine is. Tensors are compared by their bytes.
fn without_latency(processed: &Processed) -> Processed {
    Processed {
        latency_us: 0,
        ..processed.clone()
    }
}
