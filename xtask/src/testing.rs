//! `cargo xtask test`: everything the tests need, then every test.
//!
//! Owns what happens before `cargo test`: a broker and SoftHSM are found or installed, the plugins are built or proven to
//! be the committed ones, the daemons that end-to-end tests start are built. It changes nothing in the working tree. What
//! can't be had is said in one line, and the tests that need it then fail and say so again. Outside CI those that need Python packages,
//! and those that need the shared data where there is none, say that they are skipped.

use crate::{
    plugins,
    system::{Apt, find_program, output_of},
    workspace,
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A broker test without a broker fails instead of being skipped (floorhand-testkit).
const REQUIRE_MOSQUITTO: &str = "FLOORHAND_REQUIRE_MOSQUITTO";

/// A test with a token fails without SoftHSM instead of being skipped (floorhand-testkit).
const REQUIRE_SOFTHSM: &str = "FLOORHAND_REQUIRE_SOFTHSM";

/// A Python with tests/python/requirements.txt, which the tests that compare with Python need.
const PYTHON: &str = "FLOORHAND_PYTHON";

/// A test that can't use that Python fails instead of being skipped (floorhand-tests).
const REQUIRE_PYTHON: &str = "FLOORHAND_REQUIRE_PYTHON";

/// What that Python has installed.
const REQUIREMENTS: &str = "tests/python/requirements.txt";

/// The program jco, which runs components in JavaScript.
const JCO: &str = "FLOORHAND_JCO";

/// A test that can't use it fails instead of being skipped (floorhand-tests).
const REQUIRE_JCO: &str = "FLOORHAND_REQUIRE_JCO";

/// What npm installs for that.
const PACKAGE: &str = "tests/javascript/package.json";

/// A hub without its database of the larger kind fails its test instead of skipping it (floorhand-testkit).
const REQUIRE_POSTGRES: &str = "FLOORHAND_REQUIRE_POSTGRES";

/// Where Debian keeps the programs of PostgreSQL's versions.
const POSTGRES: &str = "/usr/lib/postgresql";

/// Debian's compiler for WebAssembly: the one package of each that builds for a target whose library isn't installed.
const WASM_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Where tests find the components that were built for this run, to hold the committed ones against.
const FRESH_PLUGINS: &str = "FLOORHAND_FRESH_PLUGINS";

/// Published data and models, beside the workspace unless this names the folder.
const SHARED_DATA: &str = "FLOORHAND_SHARED_DATA";

/// A test that misses something of it fails instead of being skipped (floorhand-testkit).
const REQUIRE_SHARED_DATA: &str = "FLOORHAND_REQUIRE_SHARED_DATA";

const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// What `cargo xtask test` takes.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Install what is missing with apt-get, where that is possible without a password
    #[arg(long)]
    install: bool,
    /// Passed on to `cargo test --workspace`
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Runs every test of the workspace. An error is a test that failed, or something that kept them from running.
pub fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    let may_install = options.install || workspace::in_ci();
    let needed = [
        needed("mosquitto", "mosquitto", "the tests with a real broker", may_install),
        needed(
            "softhsm2-util",
            "softhsm2",
            "the tests with keys in a token",
            may_install,
        ),
    ];
    let postgres = postgres(may_install);
    let fresh_plugins = fresh_plugins(may_install)?;
    let python = python(may_install);
    if let Err(missing) = &python {
        println!("xtask: {missing:#}; tests that compare with Python say that they are skipped");
    }
    let jco = jco(may_install);
    if let Err(missing) = &jco {
        println!("xtask: {missing:#}; the test that runs plugins in JavaScript says that it is skipped");
    }
    build_programs()?;
    let mut settings = vec![
        (REQUIRE_MOSQUITTO, PathBuf::from("1")),
        (REQUIRE_SOFTHSM, PathBuf::from("1")),
    ];
    settings.extend(fresh_plugins.map(|folder| (FRESH_PLUGINS, folder)));
    settings.extend(python.is_ok().then(|| (REQUIRE_PYTHON, PathBuf::from("1"))));
    settings.extend(python.ok().map(|python| (PYTHON, python)));
    settings.extend(jco.is_ok().then(|| (REQUIRE_JCO, PathBuf::from("1"))));
    settings.extend(jco.ok().map(|jco| (JCO, jco)));
    settings.extend(postgres.then(|| (REQUIRE_POSTGRES, PathBuf::from("1"))));
    settings.extend(has_shared_data()?.then(|| (REQUIRE_SHARED_DATA, PathBuf::from("1"))));
    let (passed, counts) = run_tests(&options.arguments, settings)?;
    println!("\n{}", summary(&counts, started.elapsed()));
    let missing: Vec<String> = needed.into_iter().filter_map(Result::err).collect();
    for missing in &missing {
        println!("{missing}");
    }
    ensure!(passed, "tests failed");
    ensure!(missing.is_empty(), "{}", missing.join("; "));
    Ok(())
}

/// Whether there are published data and models here.
fn has_shared_data() -> Result<bool> {
    let folder = match std::env::var_os(SHARED_DATA) {
        Some(folder) => PathBuf::from(folder),
        None => workspace::root()?.join("../shared/data"),
    };
    let found = folder.is_dir();
    if !found {
        println!(
            "xtask: there is no {} ({SHARED_DATA}); tests of published models and data say that they are skipped",
            folder.display()
        );
    }
    Ok(found)
}

/// Finds or installs a program that tests can't do without. The error is the line for people.
fn needed(program: &str, package: &str, what: &str, may_install: bool) -> Result<(), String> {
    if find_program(program).is_some() {
        return Ok(());
    }
    let advice = format!(
        "{program} is missing, and {what} need it: install it (Debian, Ubuntu: apt-get install {package}; or run this \
         again with --install)"
    );
    let installed = match Apt::permitted(may_install) {
        Some(apt) => apt.install(&[package]).map_err(|error| format!("{advice}: {error:#}")),
        None => Err(advice),
    };
    if let Err(advice) = &installed {
        eprintln!("xtask: {advice}");
    }
    installed
}

/// Finds or installs PostgreSQL. It is the hub's second database: without it one test says that it is skipped.
fn postgres(may_install: bool) -> bool {
    if Path::new(POSTGRES).is_dir() {
        return true;
    }
    const ALONE: &str = "the hub is tested with SQLite alone";
    match Apt::permitted(may_install).map(|apt| apt.install(&["postgresql"])) {
        Some(Ok(())) => return true,
        Some(Err(error)) => println!("xtask: PostgreSQL can't be installed, and {ALONE}: {error:#}"),
        None => println!("xtask: PostgreSQL is missing, and {ALONE} (Debian, Ubuntu: apt-get install postgresql)"),
    }
    false
}

/// Builds the plugins beside the committed ones, and tells where. Elsewhere than in CI the committed ones are enough.
fn fresh_plugins(may_install: bool) -> Result<Option<PathBuf>> {
    let folder = workspace::manifests()?
        .target_directory
        .join("plugins/fresh")
        .into_std_path_buf();
    // What an earlier run left would be taken for this one's.
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let require_fresh = workspace::in_ci();
    match plugins::run(true, require_fresh) {
        Err(error) if require_fresh && !plugins::has_compiler()? => {
            eprintln!("xtask: {error:#}");
            install_wasm_compiler(may_install)?;
            plugins::run(true, require_fresh)?;
        }
        outcome => outcome?,
    }
    Ok(folder.is_dir().then_some(folder))
}

/// Debian's compiler where there is Debian, which is one package source less to trust; rustup's target elsewhere.
fn install_wasm_compiler(may_install: bool) -> Result<()> {
    if let Some(apt) = Apt::permitted(may_install) {
        return apt.install(&WASM_PACKAGES);
    }
    let mut rustup = Command::new("rustup");
    let status = rustup.args(["target", "add", WASM_TARGET]).status();
    let status = status.with_context(|| format!("no compiler for {WASM_TARGET}, and neither apt-get nor rustup"))?;
    ensure!(status.success(), "rustup could not add {WASM_TARGET}");
    Ok(())
}

/// The Python that was named, or one of its own beside what was built, with what the tests need.
fn python(may_install: bool) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(PYTHON) {
        return Ok(PathBuf::from(named));
    }
    let requirements = fs::read_to_string(workspace::root()?.join(REQUIREMENTS))?;
    let folder = workspace::manifests()?
        .target_directory
        .join("python")
        .into_std_path_buf();
    let (python, installed) = (folder.join("bin/python"), folder.join("requirements.txt"));
    if fs::read_to_string(&installed).is_ok_and(|there| there == requirements) {
        return Ok(python);
    }
    ensure!(
        may_install,
        "no Python with {REQUIREMENTS}: name one in {PYTHON}, or run this again with --install"
    );
    println!("xtask: making a Python environment with {REQUIREMENTS}");
    output_of(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
    output_of(pip.arg(workspace::root()?.join(REQUIREMENTS)))?;
    fs::write(&installed, requirements)?;
    Ok(python)
}

/// The jco that was named, or one of its own beside what was built.
fn jco(may_install: bool) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(JCO) {
        return Ok(PathBuf::from(named));
    }
    let package = fs::read_to_string(workspace::root()?.join(PACKAGE))?;
    let folder = workspace::manifests()?
        .target_directory
        .join("javascript")
        .into_std_path_buf();
    let (jco, installed) = (folder.join("node_modules/.bin/jco"), folder.join("installed.json"));
    if fs::read_to_string(&installed).is_ok_and(|there| there == package) {
        return works(jco);
    }
    ensure!(
        may_install && find_program("npm").is_some(),
        "no jco: name one in {JCO}, or run this again with --install where there is npm"
    );
    println!("xtask: installing {PACKAGE} with npm");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("package.json"), &package)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]);
    // Without a way to its registry it would wait for a quarter of an hour.
    npm.args(["--fetch-timeout=60000", "--fetch-retries=1", "--prefix"]);
    output_of(npm.arg(&folder))?;
    fs::write(&installed, package)?;
    works(jco)
}

/// A Node that is too old for it is as good as none.
fn works(jco: PathBuf) -> Result<PathBuf> {
    output_of(Command::new(&jco).arg("--version"))?;
    Ok(jco)
}

/// The programs that end-to-end tests start. With the tests' own targets in the same command, since cargo would otherwise
/// build what they share twice, with other features.
fn build_programs() -> Result<()> {
    let mut cargo = workspace::cargo()?;
    let status = cargo.args(["build", "--workspace", "--bins", "--tests"]).status();
    ensure!(status.context("start cargo build")?.success(), "the build failed");
    Ok(())
}

/// Runs all tests with these settings in their environment, and none of those left over from elsewhere.
fn run_tests(arguments: &[String], settings: Vec<(&str, PathBuf)>) -> Result<(bool, Counts)> {
    let mut cargo = workspace::cargo()?;
    cargo.args(["test", "--workspace", "--no-fail-fast"]).args(arguments);
    cargo.env_remove(FRESH_PLUGINS).envs(settings).stdout(Stdio::piped());
    let mut child = cargo.spawn().context("start cargo test")?;
    let mut counts = Counts::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line.context("read what cargo test prints")?;
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&line)?;
            stdout.write_all(b"\n")?;
            counts.add(&String::from_utf8_lossy(&line));
        }
    }
    let status = child.wait().context("wait for cargo test")?;
    Ok((status.success(), counts))
}

/// What the test programs counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Test programs, and crates with examples in their documentation.
    suites: usize,
    passed: usize,
    failed: usize,
    ignored: usize,
}

impl Counts {
    /// Takes in a line as libtest ends a suite: `test result: ok. 3 passed; 0 failed; 1 ignored; ..`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        self.suites += 1;
        let counts = result.split_once(". ").map_or("", |(_, counts)| counts);
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else {
                continue;
            };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

fn summary(counts: &Counts, took: Duration) -> String {
    let Counts {
        suites,
        passed,
        failed,
        ignored,
    } = counts;
    let minutes = took.as_secs() / 60;
    let seconds = took.as_secs() % 60;
    format!(
        "{passed} tests passed, {failed} failed, {ignored} ignored, in {suites} suites; {minutes} min {seconds} s in all"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_libtest_prints() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 5 filtered out; finished in 0.00s",
            "test result: ",
        ] {
            counts.add(line);
        }
        assert_eq!(
            counts,
            Counts {
                suites: 3,
                passed: 4,
                failed: 2,
                ignored: 1
            }
        );
    }

    #[test]
    fn the_summary_is_plain() {
        let counts = Counts {
            suites: 2,
            passed: 4,
            failed: 0,
            ignored: 1,
        };
        assert_eq!(
            summary(&counts, Duration::from_secs(754)),
            "4 tests passed, 0 failed, 1 ignored, in 2 suites; 12 min 34 s in all"
        );
    }
}
