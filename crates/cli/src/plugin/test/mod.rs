//! `floorhand plugin test`: does it answer as its cases say, and does it keep the rules when a device is at its worst?

mod checks;
mod compare;
mod hostile;

use super::cases::{self, CaseFile, FOLDER};
use super::guest::{Answer, Call, Guest, Start};
use super::{build, inspect};
use crate::engine;
use crate::output::{Output, Tone};
use crate::schema::Schema;
use anyhow::{Context as _, Result};
use clap::{Args, ValueHint};
use floorhand_plugin_build::schema_of;
use floorhand_plugin_host::CompiledPlugin;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `floorhand plugin test`
#[derive(Debug, Args)]
pub struct TestArgs {
    /// The plugin's folder
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// A component to test instead of what the source comes to: a .wasm file, or builtin:NAME
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    component: Option<PathBuf>,
}

/// What became of one check.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// The file of cases it is about.
    pub(super) file: String,
    /// What holds, if it has passed.
    pub(super) check: &'static str,
    /// Why it doesn't; one line.
    pub(super) failure: Option<String>,
}

/// A file of cases with what it came to, which further checks build on.
pub(super) struct Run<'a> {
    pub(super) plugin: &'a CompiledPlugin,
    pub(super) schema: Option<&'a Schema>,
    pub(super) file: &'a CaseFile,
    /// The file's lines as calls.
    pub(super) calls: Vec<Call>,
    /// What a fresh instance answered.
    pub(super) answers: Vec<Answer>,
}

/// Tests, and tells. The exit code is 1 if anything has failed.
pub(super) fn run(args: &TestArgs, out: &Output) -> Result<ExitCode> {
    let component = match &args.component {
        Some(path) => inspect::component(path)?,
        None => build::build(&args.dir, out)?.component,
    };
    let outcomes = outcomes(&component, &args.dir)?;
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    out.show(&outcomes, |out| {
        tell(&outcomes, out)?;
        let passed = outcomes.len() - failed;
        let tone = if failed == 0 { Tone::Good } else { Tone::Bad };
        out.line(&out.paint(&format!("{passed} passed, {failed} failed"), tone))
    })?;
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Every check of every file of cases, in order.
pub(super) fn outcomes(component: &[u8], folder: &Path) -> Result<Vec<Outcome>> {
    let files = cases::read_all(folder)?;
    let plugin = engine::host()?.component(component)?;
    let schema = schema_of(component).map(|text| Schema::parse(&text)).transpose()?;
    let mut outcomes = Vec::new();
    for file in &files {
        let mut add = |check, result: Result<()>| {
            outcomes.push(Outcome {
                file: file.name.clone(),
                check,
                failure: result
                    .err()
                    .map(|error| crate::exit::flatten(&error).replace('\n', " ")),
            });
        };
        let run = match play(&plugin, schema.as_ref(), file) {
            Ok(run) => run,
            Err(error) => {
                add(checks::ANSWERS, Err(error));
                continue;
            }
        };
        add(checks::ANSWERS, checks::answers(&run));
        for (check, holds) in checks::of(plugin.world()).chain(hostile::of(plugin.world())) {
            add(check, holds(&run));
        }
    }
    Ok(outcomes)
}

/// Puts a file of cases through a fresh instance.
pub(super) fn play<'a>(plugin: &'a CompiledPlugin, schema: Option<&'a Schema>, file: &'a CaseFile) -> Result<Run<'a>> {
    let mut guest = Guest::start(plugin, &Start::of(file))?;
    let lines = (0..).zip(&file.calls);
    let calls = lines.map(|(sequence, (number, line))| {
        let at = || format!("{FOLDER}/{}, line {number}", file.name);
        guest.call_of(line, sequence).with_context(at)
    });
    let calls: Vec<Call> = calls.collect::<Result<_>>()?;
    let answers = calls.iter().map(|call| guest.call(call)).collect();
    Ok(Run {
        plugin,
        schema,
        file,
        calls,
        answers,
    })
}

/// As test runners do: what holds in a line, and more where something doesn't.
pub(super) fn tell(outcomes: &[Outcome], out: &Output) -> Result<()> {
    let mut file = "";
    for outcome in outcomes {
        if outcome.file != file {
            file = &outcome.file;
            out.line(&format!("{FOLDER}/{file}"))?;
        }
        match &outcome.failure {
            None => out.line(&format!("  {} {}", out.paint("ok    ", Tone::Good), outcome.check))?,
            Some(failure) => {
                out.line(&format!("  {} {}", out.paint("FAILED", Tone::Bad), outcome.check))?;
                out.line(&format!("         {}", crate::output::visible(failure)))?;
            }
        }
    }
    Ok(())
}
