//! `cargo xtask fuzz`: the fuzz targets of `tests/fuzz`, each for some seconds, from the seeds in the repository.
//!
//! Owns the flags that make a stable compiler count what is covered, so that no tool has to be installed: these are
//! `cargo fuzz`'s own, without a sanitizer, which needs a nightly compiler and finds what safe Rust doesn't have. What a
//! run finds is kept beside what was built, and nothing is written to the working tree but the lock file that it ignores.

use crate::{
    system::{find_program, output_of},
    workspace,
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const PACKAGE: &str = "tests/fuzz";

/// Counts of edges, with comparisons' operands, as libFuzzer's runtime reads them.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                        -Cllvm-args=-sanitizer-coverage-pc-table \
                        -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// The longest input in bytes: an archive of a few entries. What is longer is slow, and shows nothing new.
const MAX_INPUT_BYTES: u32 = 16 * 1024;

/// An input that takes longer than this, in seconds, is a finding: a thousand times what the slowest takes.
const MAX_INPUT_SECONDS: u32 = 20;

/// What `cargo xtask fuzz` takes.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// How long each target runs, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// The targets to run; all where none is named
    targets: Vec<String>,
}

/// Builds and runs the targets. An error is an input that broke one, or something that kept them from being built.
pub fn run(options: &Options) -> Result<()> {
    if find_program("c++").is_none() {
        let missing = "no C++ compiler, which libFuzzer's runtime needs (Debian, Ubuntu: apt-get install g++)";
        ensure!(!workspace::in_ci(), "{missing}");
        println!("xtask: {missing}; nothing is fuzzed");
        return Ok(());
    }
    let folder = workspace::root()?.join(PACKAGE);
    let all = targets(&folder)?;
    if let Some(unknown) = options.targets.iter().find(|name| !all.contains(name)) {
        anyhow::bail!("there is no fuzz target {unknown}; there are {}", all.join(", "));
    }
    let chosen = if options.targets.is_empty() {
        &all
    } else {
        &options.targets
    };
    let built = build(&folder)?;
    let mut broken = Vec::new();
    for name in chosen {
        if !fuzz(name, &folder, &built, options.seconds)? {
            broken.push(name.as_str());
        }
    }
    ensure!(broken.is_empty(), "fuzz: found something in {}", broken.join(", "));
    println!("fuzz: ok");
    Ok(())
}

/// The targets, which are the package's programs.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let sources = fs::read_dir(folder.join("targets")).with_context(|| format!("read {}", folder.display()))?;
    let mut names = Vec::new();
    for source in sources {
        let path = source?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Builds all targets, and tells the folder they are in.
fn build(folder: &Path) -> Result<PathBuf> {
    // The versions that are shipped are the ones to be fuzzed. Cargo adds libFuzzer's to them.
    fs::copy(workspace::root()?.join("Cargo.lock"), folder.join("Cargo.lock")).context("copy the lock file")?;
    let host = output_of(
        Command::new("rustc")
            .args(["--print", "host-tuple"])
            .current_dir(folder),
    )?;
    let target_directory = workspace::manifests()?
        .target_directory
        .join("fuzz")
        .into_std_path_buf();
    let mut cargo = workspace::cargo()?;
    // With a target named, build scripts and macros are built without the flags, which don't link there.
    cargo.args(["build", "--release", "--bins", "--target", &host, "--target-dir"]);
    cargo
        .arg(&target_directory)
        .current_dir(folder)
        .env("RUSTFLAGS", COVERAGE);
    ensure!(
        cargo.status().context("start cargo build")?.success(),
        "the fuzz targets don't build"
    );
    Ok(target_directory.join(host).join("release"))
}

/// Runs one target, says in a line what it did, and whether it held.
fn fuzz(name: &str, folder: &Path, built: &Path, seconds: u32) -> Result<bool> {
    let corpus = built.join("corpus").join(name);
    fs::create_dir_all(&corpus).with_context(|| format!("create {}", corpus.display()))?;
    let mut command = Command::new(built.join(name));
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_INPUT_BYTES}"))
        .arg(format!("-timeout={MAX_INPUT_SECONDS}"))
        .arg(format!("-artifact_prefix={}/{name}-", built.display()))
        .arg("-print_final_stats=1")
        .arg(&corpus)
        .arg(folder.join("seeds").join(name));
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("start the fuzz target {name}"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    let executions = executions(&log).unwrap_or_default();
    if output.status.success() && executions > 0 {
        println!("fuzz: {name}: {executions} executions, no findings");
        return Ok(true);
    }
    eprintln!("{log}\nfuzz: {name}: failed after {executions} executions");
    Ok(false)
}

/// What libFuzzer counted: `stat::number_of_executed_units: 264750`.
fn executions(log: &str) -> Option<u64> {
    let mut lines = log.lines();
    let count = lines.find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_libfuzzers_count() {
        let log = "Done 264750 runs in 7 second(s)\nstat::number_of_executed_units: 264750\nstat::peak_rss_mb: 29\n";
        assert_eq!(executions(log), Some(264_750));
        assert_eq!(executions("==1== ERROR: libFuzzer: deadly signal\n"), None);
    }

    #[test]
    fn every_target_has_its_program_and_its_seeds() {
        let folder = workspace::root().unwrap().join(PACKAGE);
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let targets = targets(&folder).unwrap();
        assert!(targets.len() >= 6, "{targets:?}");
        for name in targets {
            assert!(
                manifest.contains(&format!("path = \"targets/{name}.rs\"")),
                "{name} is no program"
            );
            assert!(
                fs::read_dir(folder.join("seeds").join(&name)).unwrap().count() > 0,
                "{name} has no seeds"
            );
        }
    }
}
