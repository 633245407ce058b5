//! The same component gives the same bytes in the device's host, in `floorhand run`, in wasmtime-py and in jco: that is what
//! makes features the same in training and in serving.
//!
//! Every first-party plugin is given the inputs of its recorded cases (`plugins/*/tests/cases`), in calls of one, two, three
//! samples, and then again numbers at random in the same shapes: denormals in one job, NaN and infinity too in another. State
//! is saved and restored on the way. `tests/python/run_component.py` says what a job is, and what is compared. For
//! `floorhand run` each plugin is put into a bundle, and the same numbers go in and come out as JSON (see [`program`]).
//!
//! `FLOORHAND_PYTHON` names a Python with the package wasmtime, `FLOORHAND_JCO` the program jco. What isn't there is said to
//! be skipped; without either, the jobs still run here.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]
#![expect(clippy::print_stderr, reason = "what is skipped is told to whoever runs the tests")]

mod cases;
mod device;
mod engines;
mod job;
mod messages;
mod onnx;
mod program;

use cases::Cases;
use engines::Engine;
use floorhand_plugin_host::{Host, HostConfig, World};
use floorhand_tests::workspace;
use job::{Filling, Job, KEYS};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Freshly built components if there are any (`cargo xtask plugins --check`), else the committed ones.
fn components() -> PathBuf {
    let root = workspace();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
    let fresh = target.join("plugins/fresh");
    if fresh.is_dir() {
        return fresh;
    }
    root.join("plugins/prebuilt")
}

/// Of folders of plugins those that have cases and were built: component and cases' files.
fn with_cases(folders: impl IntoIterator<Item = (PathBuf, PathBuf)>) -> Vec<(PathBuf, Vec<PathBuf>)> {
    let plugin = |(folder, built): (PathBuf, PathBuf)| {
        let name = folder.file_name()?.to_string_lossy().into_owned();
        let component = built.join(format!("{name}.wasm"));
        let mut recorded = sorted(&folder.join("tests/cases"));
        recorded.retain(|file| file.extension() == Some("jsonl".as_ref()));
        (!recorded.is_empty() && component.is_file()).then_some((component, recorded))
    };
    folders.into_iter().filter_map(plugin).collect()
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn first_party() -> Vec<(PathBuf, Vec<PathBuf>)> {
    let folders = sorted(&workspace().join("plugins"));
    let crates = folders.into_iter().filter(|folder| folder.join("Cargo.toml").is_file());
    let crates: Vec<PathBuf> = crates.collect();
    let plugins = with_cases(crates.iter().map(|folder| (folder.clone(), components())));
    assert_eq!(plugins.len(), crates.len(), "a plugin has no cases, or wasn't built");
    plugins
}

#[test]
fn first_party_plugins_give_the_same_bytes_everywhere() {
    run_everywhere(first_party());
}

#[test]
fn first_party_plugins_give_the_same_bytes_in_floorhand_run() {
    let host = Host::new(HostConfig::default()).unwrap();
    for (component, recorded) in first_party() {
        let compiled = host.component(&fs::read(&component).unwrap()).unwrap();
        let mut answers = 0;
        for file in recorded {
            let cases = Cases::read(&file);
            let described = device::describe(&compiled, &cases);
            if let (World::Decoder, Some(job)) = (compiled.world(), messages::job(&cases, &described)) {
                let folder = tempfile::tempdir().unwrap();
                if let Some((expected, actual)) = messages::run(folder.path(), &component, &compiled, &cases, &job) {
                    let what = format!("{}, {}", component.display(), file.display());
                    compare(&what, &expected, "floorhand run", &actual);
                    answers += expected.len() - 1;
                }
                continue;
            }
            for filling in [Filling::Recorded, Filling::Finite, Filling::Missing] {
                let what = format!("{}, {}, {filling:?}", component.display(), file.display());
                let Some(job) = Job::one_by_one(&cases, &described, filling) else {
                    continue;
                };
                let device = device::run(&compiled, &cases, &job);
                let folder = tempfile::tempdir().unwrap();
                if let Some(told) = program::run(folder.path(), &component, &cases, &job, &device) {
                    compare(&what, &told.expected, "floorhand run", &told.actual);
                    answers += told.answers;
                }
            }
        }
        assert!(answers > 0, "{}: nothing was compared", component.display());
        eprintln!("{}: the same {answers} answers in floorhand run", component.display());
    }
}

#[test]
fn plugins_in_javascript_and_python_give_the_same_bytes_everywhere() {
    let folders = ["javascript", "python"].map(|language| sorted(&workspace().join("tests/guests").join(language)));
    let plugins = with_cases(folders.into_iter().flatten().map(|folder| (folder.clone(), folder)));
    if plugins.is_empty() {
        eprintln!("SKIPPED: no plugin was built in tests/guests; the READMEs there say how");
    }
    run_everywhere(plugins);
}

fn run_everywhere(plugins: Vec<(PathBuf, Vec<PathBuf>)>) {
    let scratch = tempfile::tempdir().unwrap();
    let others = [Engine::python(), Engine::jco()];
    let others: Vec<&Engine> = others.iter().flatten().collect();
    let host = Host::new(HostConfig::default()).unwrap();
    for (component, recorded) in plugins {
        let compiled = host.component(&fs::read(&component).unwrap()).unwrap();
        let ready: Vec<_> = others
            .iter()
            .filter(|engine| engine.takes(&component))
            .map(|engine| engine.ready(&component, scratch.path()))
            .collect();
        for file in recorded {
            let cases = Cases::read(&file);
            let fillings = [Filling::Recorded, Filling::Finite, Filling::Any];
            let mut fillings: Vec<(&Cases, Filling)> = fillings.map(|filling| (&cases, filling)).into();
            let keyed = cases.with_keys(KEYS.len());
            fillings.extend(keyed.as_ref().map(|keyed| (keyed, Filling::Keyed)));
            for (cases, filling) in fillings {
                let what = format!("{}, {}, {filling:?}", component.display(), file.display());
                let described = device::describe(&compiled, cases);
                let Some(job) = Job::new(cases, &described, filling) else {
                    continue;
                };
                let path = scratch.path().join("job.jsonl");
                fs::write(&path, job.to_lines()).unwrap();
                let expected = device::run(&compiled, cases, &job);
                for engine in &ready {
                    compare(&what, &expected, engine.name(), &engine.run(&path));
                }
            }
        }
        eprintln!("{}: the same in {} other engines", component.display(), ready.len());
    }
}

/// Line by line, so that a difference is seen where it is.
fn compare(what: &str, expected: &[Value], engine: &str, actual: &[Value]) {
    for (line, (expected, actual)) in expected.iter().zip(actual).enumerate() {
        assert!(
            expected == actual,
            "{what}, line {line}: the host gave\n{expected}\nand {engine}\n{actual}"
        );
    }
    assert_eq!(expected.len(), actual.len(), "{what}: lines of {engine}");
}
