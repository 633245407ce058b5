//! `floorhand run`: the device's own pipeline on a file.
//!
//! The same code on the same bytes gives the same results here and on a device. What differs is around it: samples come
//! from a file, results go to one, and nobody is told but the person who waits.

mod explained;
pub(crate) mod input;
mod messages;
mod summary;

use crate::bundle::{Source, read_archive};
use crate::contents::Contents;
use crate::output::{Output, Tone};
use crate::{engine, root, time};
use anyhow::{Context, Result, anyhow};
use clap::Args;
use floorhand_bundle::{Digest, EngineName};
use floorhand_pipeline::{
    Decoded, Outcome, Pipeline, Processed, ResultHead, Sample, StageEvent, StageEventKind, finding_json, result_json,
};
use indicatif::ProgressBar;
use input::{Format, Input};
use messages::Messages;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use summary::Summary;

/// Messages about single samples that are shown; the summary counts all.
const SHOWN_FAILURES: u64 = 10;

/// `floorhand run`
#[derive(Debug, Args)]
#[command(after_help = "\
Example: floorhand run my-bundle/ --input shift-7.csv --output results.jsonl

A sample's time and id are taken from columns or fields `time_ms` and `id`, where the file has them; otherwise its \
time is that of its arrival, as on a device. A bundle with a decoder takes messages instead: every line, the whole file, or \
recorded ones with their topics (--format). The library of ONNX Runtime, for bundles that \
ask for it, is named in FLOORHAND_ONNXRUNTIME. The exit code is 1 when there is no sample, when not one could be worked \
with, and when the input breaks off.")]
pub struct RunArgs {
    /// The bundle: a .fhb file, or a folder with bundle.toml
    bundle: PathBuf,
    /// The samples: CSV with a header, or one JSON object a line; for a bundle with a decoder the messages; - is standard
    /// input
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,
    /// Where to write the results, one JSON object a line; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Where to write what monitors find, one JSON object a line [default: as text to standard error]
    #[arg(long, value_name = "FILE")]
    findings: Option<PathBuf>,
    /// Say why the model answers as it does, where the bundle has [explain]; each of its samples takes as long as the bundle
    /// allows
    #[arg(long)]
    explain: bool,
    /// Where to write explanations, one JSON object a line [default: as text to standard error]
    #[arg(long, value_name = "FILE", requires = "explain")]
    explanations: Option<PathBuf>,
    /// Take so many samples and leave the rest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rows: Option<u64>,
    /// A fleet's trust root, under which the bundle has to be signed
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// The engine that runs the model, whatever the bundle says: tract or onnxruntime [default: the first that the bundle
    /// names which is there]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<EngineName>,
    /// Samples a second, to see it as it would go live [default: as fast as it can]
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// What the input is [default: by its first character; with a decoder `lines`]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// What stands between the columns of a CSV [default: `,`, `;` or a tab, whichever the header has most of]
    #[arg(long, value_name = "CHAR")]
    delimiter: Option<char>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.trim_end_matches("/s").parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("expected samples a second, above 0".to_owned()),
    }
}

/// Runs.
pub fn run(args: &RunArgs, out: &Output) -> Result<ExitCode> {
    let contents = contents(args, out)?;
    let host = engine::host()?;
    let waiting = out.spinner(format!(
        "loading {} {}",
        contents.manifest.name, contents.manifest.version
    ));
    let pipeline = match &args.engine {
        Some(name) => engine::load_in(&contents, &host, name),
        None => engine::load(&contents, &host),
    };
    waiting.finish_and_clear();
    let mut pipeline = pipeline?;
    for passed_over in pipeline.passed_over() {
        let (name, reason) = (&passed_over.engine, &passed_over.reason);
        out.note(&format!("not in {name}, in {}: {reason}", pipeline.engine()));
    }
    pipeline.warm_up().context("model can't be run")?;
    if args.explain {
        explained::check(&pipeline)?;
    }
    let mut input = Feed::open(args, &pipeline)?;
    let mut run = Run::new(args, contents.digest, &pipeline, input.length(), out)?;
    let read = run.take_all(&mut input, &mut pipeline);
    // Whatever the input is, what it gave so far is written and counted.
    let ended = run.end(&mut pipeline);
    read?;
    ended.map(|()| ExitCode::SUCCESS)
}

/// The bundle, verified where a trust root is given.
fn contents(args: &RunArgs, out: &Output) -> Result<Contents> {
    match (Source::of(&args.bundle), &args.root) {
        (Source::Folder(folder), None) => Contents::of_folder(&folder),
        (Source::Folder(_), Some(_)) => Err(anyhow!("a folder is not signed; leave --root out, or pack it first")),
        (Source::File(file), Some(root)) => {
            let root = root::read(root)?;
            Contents::verified(read_archive(&file)?, &root).with_context(|| file.display().to_string())
        }
        (Source::File(file), None) => {
            out.note_in(Tone::Warn, "not verified: without --root nobody's signature is checked");
            Contents::unverified(read_archive(&file)?).with_context(|| file.display().to_string())
        }
    }
}

/// What is run.
enum Feed {
    Samples(Input),
    Messages(Messages),
}

impl Feed {
    fn open(args: &RunArgs, pipeline: &Pipeline) -> Result<Self> {
        if pipeline.has_decoder() {
            return Messages::open(&args.input, args.format, args.delimiter).map(Self::Messages);
        }
        Input::open(&args.input, args.format, args.delimiter, pipeline.inputs()).map(Self::Samples)
    }

    /// The file's length in bytes, where it has one.
    fn length(&self) -> Option<u64> {
        match self {
            Self::Samples(input) => input.length(),
            Self::Messages(messages) => messages.length(),
        }
    }

    /// How many bytes have been read.
    fn position(&self) -> u64 {
        match self {
            Self::Samples(input) => input.position(),
            Self::Messages(messages) => messages.position(),
        }
    }
}

/// A run under way.
struct Run<'a> {
    args: &'a RunArgs,
    out: &'a Output,
    bundle: Digest,
    /// What runs the model, where the bundle leaves a choice.
    engine: Option<String>,
    results: Box<dyn Write>,
    findings: Option<BufWriter<File>>,
    explanations: Option<BufWriter<File>>,
    summary: Summary,
    bar: ProgressBar,
    started: Instant,
}

impl<'a> Run<'a> {
    fn new(
        args: &'a RunArgs,
        bundle: Digest,
        pipeline: &Pipeline,
        length: Option<u64>,
        out: &'a Output,
    ) -> Result<Self> {
        let to_terminal = is_standard(&args.output) && std::io::stdout().is_terminal();
        // Results that scroll by are progress enough, and a bar between them is none.
        let bar = match length.filter(|_| !to_terminal) {
            Some(length) => out
                .bar(length, "{msg} [{bar:30}] {percent}% {eta}")
                .with_message(file_name(&args.input)),
            None => ProgressBar::hidden(),
        };
        Ok(Self {
            args,
            out,
            bundle,
            engine: pipeline.chosen_engine().map(str::to_owned),
            results: writer(&args.output, &args.input)?,
            findings: args
                .findings
                .as_deref()
                .map(|path| created(path, &args.input))
                .transpose()?,
            explanations: args
                .explanations
                .as_deref()
                .map(|path| created(path, &args.input))
                .transpose()?,
            summary: Summary::default(),
            bar,
            started: Instant::now(),
        })
    }

    /// Takes every sample of an input. An error is one of the input itself, or of what is written.
    fn take_all(&mut self, input: &mut Feed, pipeline: &mut Pipeline) -> Result<()> {
        let path = &self.args.input;
        while self.args.rows.is_none_or(|rows| self.summary.samples < rows)
            && self
                .take_next(input, pipeline)
                .with_context(|| path.display().to_string())?
        {
            self.bar.set_position(input.position());
        }
        Ok(())
    }

    /// Takes the next sample, or the next message with all its samples. False at the end.
    fn take_next(&mut self, input: &mut Feed, pipeline: &mut Pipeline) -> Result<bool> {
        match input {
            Feed::Samples(input) => {
                let Some(sample) = input.next_sample()? else {
                    return Ok(false);
                };
                self.pace();
                let arrived = sample.map(|mut sample| {
                    sample.arrived(time::now_ms());
                    sample
                });
                self.take(arrived, pipeline)?;
            }
            Feed::Messages(messages) => {
                self.pace();
                let now_ms = self.started.elapsed().as_millis() as u64;
                let Some((at, decoded)) = messages.next_decoded(pipeline, time::now_ms(), now_ms)? else {
                    return Ok(false);
                };
                match decoded {
                    Ok(Decoded { samples, events }) => {
                        self.faults(&at, &events);
                        for sample in samples {
                            self.take(sample.with_context(|| at.clone()), pipeline)?;
                        }
                    }
                    Err(error) => self.take(Err(error.context(at)), pipeline)?,
                }
            }
        }
        Ok(true)
    }

    /// Tells of plugins' faults.
    fn faults(&mut self, at: &str, events: &[StageEvent]) {
        for event in events {
            self.summary.plugin_faults += u64::from(event.kind != StageEventKind::Refused);
            self.note(Tone::Bad, &format!("{at}: stage {}: {}", event.stage, event.reason));
        }
    }

    /// Waits until the next sample is due.
    fn pace(&self) {
        let Some(rate) = self.args.rate else { return };
        let due = Duration::from_secs_f64(self.summary.samples as f64 / rate);
        if let Some(early) = due.checked_sub(self.started.elapsed()) {
            std::thread::sleep(early);
        }
    }

    fn take(&mut self, sample: Result<Sample>, pipeline: &mut Pipeline) -> Result<()> {
        self.summary.samples += 1;
        let sample = match sample {
            Ok(sample) => sample,
            Err(error) => {
                pipeline.miss();
                self.failed(&crate::exit::flatten(&error));
                return Ok(());
            }
        };
        let processed = pipeline.process(&sample, self.started.elapsed().as_millis() as u64);
        self.summary.latencies.add(processed.latency_us);
        let (sequence, answered) = (processed.sequence, matches!(processed.outcome, Outcome::Result(_)));
        self.write(&sample, processed)?;
        if self.args.explain && answered {
            self.explain(&sample, sequence, pipeline)?;
        }
        Ok(())
    }

    fn write(&mut self, sample: &Sample, processed: Processed) -> Result<()> {
        let sequence = processed.sequence;
        let engine = self.engine.clone();
        let head = ResultHead {
            id: &sample.id,
            key: sample.key.as_deref(),
            time_ms: sample.time_ms(),
            sequence,
            bundle: self.bundle,
            engine: engine.as_deref(),
        };
        self.faults(&format!("sample {sequence}"), &processed.events);
        for found in &processed.findings {
            *self.summary.findings.entry(found.finding.kind.clone()).or_default() += 1;
            match &mut self.findings {
                Some(file) => writeln!(file, "{}", finding_json(&head, found)).context("findings can't be written")?,
                None => self.found(sequence, found),
            }
        }
        match processed.outcome {
            Outcome::Result(outputs) => {
                self.summary.results += 1;
                writeln!(self.results, "{}", result_json(&head, &outputs)).context("results can't be written")?;
                if self.args.rate.is_some() {
                    // Somebody watches it live: a result that waits in a buffer is late.
                    self.results.flush().context("results can't be written")?;
                }
            }
            Outcome::NotYet => self.summary.not_yet += 1,
            Outcome::Failed(error) => self.failed(&format!("sample {sequence}: {error}")),
        }
        Ok(())
    }

    fn found(&self, sequence: u64, found: &floorhand_pipeline::StageFinding) {
        let (finding, stage) = (&found.finding, &found.stage);
        let numbers = match (finding.value, finding.threshold) {
            (None, _) => String::new(),
            (Some(value), None) => format!(" ({value:.4})"),
            (Some(value), Some(threshold)) => format!(" ({value:.4} against {threshold:.4})"),
        };
        let text = format!(
            "sample {sequence}: {stage}: {} of {}: {}{numbers}",
            finding.kind, finding.subject, finding.message
        );
        self.note(Tone::Warn, &text);
    }

    fn failed(&mut self, text: &str) {
        self.summary.failures += 1;
        if self.summary.failures <= SHOWN_FAILURES {
            self.note(Tone::Bad, text);
        } else if self.summary.failures == SHOWN_FAILURES + 1 {
            self.note(Tone::Bad, "more samples fail; the summary counts them");
        }
    }

    fn note(&self, tone: Tone, text: &str) {
        self.bar.suspend(|| self.out.note_in(tone, text));
    }

    /// Shows what it came to. No sample at all, and none that could be worked with, are errors.
    fn end(mut self, pipeline: &mut Pipeline) -> Result<()> {
        self.bar.finish_and_clear();
        self.results.flush().context("results can't be written")?;
        if let Some(findings) = &mut self.findings {
            findings.flush().context("findings can't be written")?;
        }
        if let Some(explanations) = &mut self.explanations {
            explanations.flush().context("explanations can't be written")?;
        }
        self.summary.seconds = self.started.elapsed().as_secs_f64();
        let telemetry = pipeline.take_telemetry();
        self.summary.gauges = telemetry.gauges.into_iter().collect();
        self.summary.counters = telemetry.counters.into_iter().collect();
        // Standard output is for results, where they go there.
        self.summary.show(!is_standard(&self.args.output), self.out)?;
        let input = self.args.input.display();
        match self.summary.samples {
            0 if pipeline.has_decoder() => Err(anyhow!("{input} has no sample, as the bundle's decoder reads it")),
            0 => Err(anyhow!("{input} has no sample; a table needs rows below its header")),
            samples if samples == self.summary.failures => Err(anyhow!(
                "{input}: not one of its {samples} samples could be worked with"
            )),
            _ => Ok(()),
        }
    }
}

/// Whether a path stands for a standard stream.
fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

fn writer(path: &Path, input: &Path) -> Result<Box<dyn Write>> {
    if is_standard(path) {
        return Ok(Box::new(BufWriter::new(std::io::stdout())));
    }
    Ok(Box::new(created(path, input)?))
}

/// A new file in the place of an old one, but not in that of the input.
fn created(path: &Path, input: &Path) -> Result<BufWriter<File>> {
    let same = path
        .canonicalize()
        .ok()
        .zip(input.canonicalize().ok())
        .is_some_and(|(path, input)| path == input);
    if same {
        return Err(anyhow!(
            "{} is the input; choose another file to write to",
            path.display()
        ));
    }
    File::create(path)
        .map(BufWriter::new)
        .with_context(|| format!("{} can't be written", path.display()))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
