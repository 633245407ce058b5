//! `floorhand audit`: what was changed at the hub, by whom, and whether the record of it is whole.

use super::{Opened, Place, failed};
use crate::exit::Failure;
use crate::fleet::client::Hub;
use crate::output::{Output, visible};
use crate::{files, root, time};
use anyhow::{Context, Result, anyhow};
use clap::{Args, Subcommand};
use floorhand_hub::audit::{self, Checkpoint, Entry, MAX_CHECKPOINT_BYTES, Mark};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// The longest line of an export: an entry with its details, a hundred names at most.
const MAX_LINE: u64 = 256 * 1024;
/// Entries that are asked for at a time.
const PAGE: u64 = 1000;

/// `floorhand audit`
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that no entry was changed, removed, inserted or moved, and tell the first that was
    Verify(VerifyArgs),
    /// Show the newest entries
    Show {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u64,
        /// Where the hub is.
        #[command(flatten)]
        place: Place,
    },
    /// Write all entries to a file, one JSON object a line
    Export {
        /// Where to write them
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Replace a file that is there already
        #[arg(long)]
        force: bool,
        /// Where the hub is.
        #[command(flatten)]
        place: Place,
    },
    /// Have the hub sign how far its log goes, to be kept where nobody of the hub can change it
    Checkpoint {
        /// Where to write it
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Replace a file that is there already
        #[arg(long)]
        force: bool,
        /// Where the hub is.
        #[command(flatten)]
        place: Place,
    },
}

/// `floorhand audit verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Verify an export instead of asking the hub
    #[arg(long, value_name = "FILE", conflicts_with_all = ["database", "config"])]
    file: Option<PathBuf>,
    /// What the hub signed earlier: tells also what was cut off at the end since; can be given more than once
    #[arg(long = "checkpoint", value_name = "FILE", requires = "roots")]
    checkpoints: Vec<PathBuf>,
    /// The fleet's trust root, which says whose checkpoints count. Where it has changed, all since the first checkpoint's,
    /// the oldest first
    #[arg(long = "root", value_name = "FILE", num_args = 1..)]
    roots: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
}

type Entries<'a> = Box<dyn Iterator<Item = Result<Entry>> + 'a>;

/// Runs an `audit` command.
pub fn run(command: &AuditCommand, out: &Output) -> Result<()> {
    match command {
        AuditCommand::Verify(args) => verify(args, out),
        AuditCommand::Show { limit, place } => show(*limit, place, out),
        AuditCommand::Export { output, force, place } => export(output, *force, place, out),
        AuditCommand::Checkpoint { output, force, place } => checkpoint(output, *force, place, out),
    }
}

fn verify(args: &VerifyArgs, out: &Output) -> Result<()> {
    let opened = match &args.file {
        Some(_) => None,
        None => Some(args.place.open_to_read()?),
    };
    // What is known of the log comes first: a hub that runs adds to it meanwhile.
    let marks = marks(args, opened.as_ref())?;
    let (written, lost) = match &opened {
        Some(Opened::Database(database)) => (
            database.written().map_err(failed)?,
            database.lost_guards().map_err(failed)?,
        ),
        _ => (0, Vec::new()),
    };
    let entries: Entries<'_> = match (&args.file, &opened) {
        (Some(file), _) => lines(file)?,
        (None, Some(opened)) => of(opened),
        (None, None) => return Err(anyhow!("there is nothing to verify")),
    };
    let verdict = audit::verify(entries, &marks)?.with_written(written);
    let broken = verdict
        .broken
        .map(|broken| format!("the audit log is broken: {broken}"));
    let problems: Vec<String> = broken.into_iter().chain(unguarded(&lost)).collect();
    if !problems.is_empty() {
        return Err(Failure::refused(problems.join("; ")).into());
    }
    let (entries, checkpoints) = (verdict.entries, marks.len());
    let value = json!({ "ok": true, "entries": entries, "head": verdict.head, "checkpoints": checkpoints });
    out.show(&value, |out| {
        if checkpoints == 0 {
            out.note("without a checkpoint of the hub nobody can tell whether entries were cut off at the end");
        }
        out.line(&format!(
            "{entries} entries are whole and in order; the last is {}",
            verdict.head
        ))
    })
}

/// What to say of triggers that are gone.
fn unguarded(lost: &[&str]) -> Option<String> {
    (!lost.is_empty()).then(|| {
        format!(
            "somebody took {} away from the audit log's table, which keep entries from being changed; the hub makes them \
             anew when it starts",
            lost.join(", ")
        )
    })
}

/// What is known from elsewhere: the checkpoints that are given, and the last of the database.
fn marks(args: &VerifyArgs, opened: Option<&Opened>) -> Result<Vec<Mark>> {
    if args.roots.is_empty() {
        return Ok(Vec::new());
    }
    let roots = root::read_chain(&args.roots)?;
    let unknown = |what: String| {
        Failure::refused(format!(
            "{what}; if the hub's key has changed since, or the root, give all roots from then on: --root OLDEST ... NEWEST"
        ))
    };
    let mut marks = Vec::new();
    for file in &args.checkpoints {
        let bytes = files::read(file, MAX_CHECKPOINT_BYTES as u64)?;
        let opened = Checkpoint::open_under(&bytes, &roots);
        let opened = opened.map_err(|error| unknown(format!("{}: {error}", file.display())))?;
        marks.extend(opened.mark());
    }
    if let Some(Opened::Database(database)) = opened {
        let own = database.checkpoint(&roots);
        marks.extend(own.map_err(|error| unknown(error.to_string()))?);
    }
    Ok(marks)
}

fn show(limit: u64, place: &Place, out: &Output) -> Result<()> {
    let opened = place.open_to_read()?;
    let newest: Vec<Entry> = match &opened {
        Opened::Hub(hub) => page(&hub.get(&format!("audit?limit={}", limit.min(PAGE)))?)?,
        Opened::Database(_) => {
            let mut newest = VecDeque::new();
            for entry in of(&opened) {
                newest.push_back(entry?);
                if newest.len() as u64 > limit {
                    newest.pop_front();
                }
            }
            newest.into()
        }
    };
    out.show(&newest, |out| {
        let mut table = out.table(&["entry", "when", "who", "as", "what", "to what", "details"]);
        for entry in &newest {
            table.add_row(vec![
                entry.seq.to_string(),
                time::utc(entry.time_ms),
                visible(&entry.actor_name),
                visible(&format!("{}, {}", entry.actor_kind, entry.actor_roles)),
                visible(&entry.action),
                visible(&entry.subject),
                visible(&entry.details),
            ]);
        }
        out.print(table)
    })
}

fn export(output: &Path, force: bool, place: &Place, out: &Output) -> Result<()> {
    let opened = place.open_to_read()?;
    let mut text = Vec::new();
    let mut count = 0_u64;
    for entry in of(&opened) {
        serde_json::to_writer(&mut text, &entry?)?;
        text.write_all(b"\n")?;
        count += 1;
    }
    files::create(output, &text, files::PUBLIC, force)?;
    let value = json!({ "entries": count, "file": output.display().to_string() });
    out.show(&value, |out| {
        out.line(&format!("{count} entries are in {}", output.display()))
    })
}

fn checkpoint(output: &Path, force: bool, place: &Place, out: &Output) -> Result<()> {
    let Opened::Hub(hub) = place.open_to_read()? else {
        return Err(Failure::usage("a checkpoint is signed by the hub: ask it with --hub, without a database").into());
    };
    let answer = hub.get("audit/checkpoint")?;
    let envelope = answer.get("envelope").and_then(Value::as_str).and_then(unhex);
    let envelope = envelope.ok_or_else(|| anyhow!("the hub's answer has no signed checkpoint"))?;
    files::create(output, &envelope, files::PUBLIC, force)?;
    let seq = answer.get("seq").and_then(Value::as_u64).unwrap_or_default();
    out.show(&answer, |out| {
        out.line(&format!(
            "{} vouches for the first {seq} entries; keep it elsewhere",
            output.display()
        ))
    })
}

fn of(opened: &Opened) -> Entries<'_> {
    match opened {
        Opened::Database(database) => Box::new(
            database
                .entries_after(0)
                .map(|entry| entry.map_err(|error| failed(error).into())),
        ),
        Opened::Hub(hub) => Box::new(Pages {
            hub,
            after: Some(0),
            page: VecDeque::new(),
        }),
    }
}

/// The log as the hub's API gives it, page by page.
struct Pages<'a> {
    hub: &'a Hub,
    /// `None` behind the last page.
    after: Option<u64>,
    page: VecDeque<Entry>,
}

impl Iterator for Pages<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if let (true, Some(after)) = (self.page.is_empty(), self.after.take()) {
            let answer = self.hub.get(&format!("audit?after={after}&limit={PAGE}"));
            match answer.and_then(|answer| page(&answer)) {
                Ok(entries) => {
                    self.after = entries.last().map(|last| last.seq).filter(|seq| *seq > after);
                    self.page = entries.into();
                }
                Err(error) => return Some(Err(error)),
            }
        }
        self.page.pop_front().map(Ok)
    }
}

fn page(answer: &Value) -> Result<Vec<Entry>> {
    let entries = answer.get("entries").cloned().unwrap_or_default();
    serde_json::from_value(entries).context("the hub's answer is no page of its audit log")
}

/// The lines of an export.
fn lines(file: &Path) -> Result<Entries<'static>> {
    let name = file.display().to_string();
    let opened = File::open(file).with_context(|| format!("{name} can't be read"))?;
    let mut reader = BufReader::new(opened);
    let mut number = 0_u64;
    let next = move || -> Option<Result<Entry>> {
        number += 1;
        let mut line = String::new();
        match reader.by_ref().take(MAX_LINE).read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).with_context(|| format!("{name}: line {number} is no entry"))),
            Err(error) => Some(Err(anyhow!("{name}: line {number} can't be read: {error}"))),
        }
    };
    Ok(Box::new(std::iter::from_fn(next)))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<char> = text.chars().collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).ok())
        .collect()
}
