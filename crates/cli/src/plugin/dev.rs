//! `floorhand plugin dev`: what a change comes to, as soon as the file is saved.

mod data;

use super::cases::{self, CaseFile};
use super::guest::{Guest, Start};
use super::{build, test};
use crate::bundle::size;
use crate::engine;
use crate::exit::flatten;
use crate::output::{Output, Tone};
use anyhow::{Context as _, Result, anyhow};
use clap::{Args, ValueHint};
use floorhand_plugin_build::Project;
use floorhand_plugin_host::CompiledPlugin;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

/// `floorhand plugin dev`
#[derive(Debug, Args)]
pub struct DevArgs {
    /// The plugin's folder
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub(super) dir: PathBuf,
    /// Recorded data to show results for: a CSV with a header, or one JSON object a line; for a decoder, a message a line
    /// [default: the calls of the cases]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) data: Option<PathBuf>,
    /// The columns of a CSV that the plugin takes, in order [default: the key `fields` of the configuration]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(super) columns: Vec<String>,
    /// The file of cases whose configuration and assets are used for the data [default: the first]
    #[arg(long, value_name = "NAME")]
    cases: Option<String>,
    /// Results to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(super) rows: usize,
    /// Build, test and show once, and end
    #[arg(long)]
    once: bool,
}

/// Between two looks at the files: quick for a person, nothing for a processor.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Files that are looked at: a source folder has fewer.
const MAX_WATCHED: usize = 10_000;

/// Builds, tests and shows, over and over. With `--once` the exit code says whether all was well.
pub(super) fn run(args: &DevArgs, out: &Output) -> Result<ExitCode> {
    loop {
        let before = changes(args)?;
        let result = round(args, out);
        if args.once {
            return result.map(|passed| if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        if let Err(error) = result {
            out.note_in(Tone::Bad, &format!("error: {}", flatten(&error)));
        }
        out.note_in(Tone::Dim, "waiting for a file to be saved; Ctrl-C ends it");
        while changes(args)? == before {
            std::thread::sleep(LOOK_EVERY);
        }
        out.line("")?;
    }
}

/// One time around; whether every check has passed.
fn round(args: &DevArgs, out: &Output) -> Result<bool> {
    let started = Instant::now();
    let built = build::build(&args.dir, out)?;
    let name = built.path.file_name().unwrap_or_default().display().to_string();
    let (bytes, seconds) = (size(built.component.len() as u64), started.elapsed().as_secs_f64());
    out.line(&format!("{name}: {}, {bytes}, built in {seconds:.1} s", built.world))?;
    let outcomes = test::outcomes(&built.component, &args.dir)?;
    let passed = outcomes.iter().filter(|outcome| outcome.failure.is_none()).count();
    let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.failure.is_some()).collect();
    for outcome in &failed {
        let failure = outcome.failure.as_deref().unwrap_or_default();
        out.line(&format!(
            "{} {}, {}",
            out.paint("FAILED", Tone::Bad),
            outcome.file,
            outcome.check
        ))?;
        out.line(&format!("       {}", crate::output::visible(failure)))?;
    }
    let tone = if failed.is_empty() { Tone::Good } else { Tone::Bad };
    out.line(&out.paint(&format!("{passed} passed, {} failed", failed.len()), tone))?;
    let plugin = engine::host()?.component(&built.component)?;
    show(args, &plugin, out)?;
    Ok(failed.is_empty())
}

/// Shows what comes out for the data, or for the cases.
fn show(args: &DevArgs, plugin: &CompiledPlugin, out: &Output) -> Result<()> {
    let files = cases::read_all(&args.dir)?;
    let wanted = |file: &&CaseFile| {
        let name = args.cases.as_deref();
        name.is_none_or(|name| file.name == name || file.name.strip_suffix(".jsonl") == Some(name))
    };
    let file = files.iter().find(wanted).ok_or_else(|| {
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        anyhow!(
            "--cases: there is no such file in {}; there are {}",
            cases::FOLDER,
            names.join(", ")
        )
    })?;
    let mut guest = Guest::start(plugin, &Start::of(file)).with_context(|| file.name.clone())?;
    let calls = match &args.data {
        Some(path) => data::read(args, path, &guest, file)?,
        None => {
            let lines = (0..).zip(&file.calls).take(args.rows);
            let calls = lines.map(|(sequence, (_, line))| guest.call_of(line, sequence).map(Ok));
            calls.collect::<Result<_>>()?
        }
    };
    let source = args
        .data
        .as_ref()
        .map_or_else(|| file.name.clone(), |path| path.display().to_string());
    out.line(&format!("{source}, with the configuration of {}:", file.name))?;
    let mut table = out.table(&["call", "in", "out"]);
    for (number, call) in calls.iter().enumerate() {
        let (given, (text, tone)) = match call {
            Ok(call) => (data::call(call), data::answer(&guest.call(call))),
            Err(error) => (String::new(), (error.clone(), Tone::Bad)),
        };
        table.add_row([
            out.cell(number, Tone::Dim),
            out.cell(given, Tone::Plain),
            out.cell(text, tone),
        ]);
    }
    out.print(table)
}

/// What the files were last, by path: when each was written, and how long it is.
type Changes = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

fn changes(args: &DevArgs) -> Result<Changes> {
    let mut changes = Changes::new();
    // A manifest that is being edited may be none for a while.
    let watched = match Project::open(&args.dir) {
        Ok(project) => project.watched(),
        Err(error) if args.once => return Err(error.into()),
        Err(_) => vec![args.dir.clone()],
    };
    let mut pending: Vec<PathBuf> = watched.into_iter().chain(args.data.clone()).collect();
    while let Some(path) = pending.pop() {
        let Ok(metadata) = path.metadata() else { continue };
        if metadata.is_dir() {
            pending.extend(entries(&path));
        } else if changes.len() < MAX_WATCHED {
            changes.insert(path, (metadata.modified().ok(), metadata.len()));
        }
    }
    Ok(changes)
}

/// What is in a folder and may be edited: neither what a build writes nor what is hidden.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            !name.starts_with('.') && !name.ends_with(".wasm") && name != "target" && name != "build"
        })
        .map(|entry| entry.path())
        .collect()
}
