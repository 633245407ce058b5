//! What holds for every plugin, on the calls of its own cases: see "Rules a plugin lives by" in docs/plugins.md.

use super::super::guest::{Answer, Call, Guest, Start};
use super::{Run, compare};
use anyhow::{Context as _, Result, anyhow, ensure};
use floorhand_plugin_host::{Context, Fault, Limits, PluginError, World};
use floorhand_tensor::Tensor;
use serde_json::Value;

/// A check: its name says what holds.
pub(super) type Check = (&'static str, fn(&Run<'_>) -> Result<()>);

/// The first of all.
pub(super) const ANSWERS: &str = "answers what the cases expect";

/// Those that are for a world.
pub(super) fn of(world: World) -> impl Iterator<Item = &'static Check> {
    let own = match world {
        World::Processor | World::Monitor => SAMPLES,
        World::Decoder => &[],
    };
    own.iter().chain(ALL)
}

const SAMPLES: &[Check] = &[("several samples in a call give what they give one by one", batches)];

const ALL: &[Check] = &[
    ("the same calls give a fresh instance the same bytes", deterministic),
    ("goes on from a snapshot as if nothing had happened", snapshots),
    ("snapshots are as large as declared at most", state_bytes),
    ("an unknown key of the configuration is refused", unknown_key),
    ("the schema allows this configuration and no unknown key", schema),
];

/// Samples in a call that are tried: few, an odd number, all.
const BATCHES: [usize; 3] = [2, 5, 1024];

/// Places at which a run is cut in two, at most: each costs a run of its own.
const MAX_CUTS: usize = 8;

/// A key that no plugin has.
const NO_KEY: &str = "floorhand-no-such-key";

pub(super) fn answers(run: &Run<'_>) -> Result<()> {
    for ((number, line), answer) in run.file.calls.iter().zip(&run.answers) {
        let difference = compare::difference(run.file, line, answer).with_context(|| format!("line {number}"))?;
        if let Some(difference) = difference {
            return Err(anyhow!("line {number}: {difference}"));
        }
    }
    Ok(())
}

fn deterministic(run: &Run<'_>) -> Result<()> {
    let mut again = start(run)?;
    for (index, call) in run.calls.iter().enumerate() {
        same(run, index, &again.call(call))?;
    }
    Ok(())
}

/// Consecutive samples that the host takes and whose tensors are alike go into one call.
fn batches(run: &Run<'_>) -> Result<()> {
    for size in BATCHES {
        let mut guest = start(run)?;
        let mut index = 0;
        while let Some(call) = run.calls.get(index) {
            let batch = batch(run, index, size.min(guest.max_samples()));
            if batch.is_empty() {
                same(run, index, &guest.call(call))?;
                index += 1;
                continue;
            }
            let answers = guest.call_batch(&batch)?;
            ensure!(
                answers.len() == batch.len(),
                "{} answers for {} samples",
                answers.len(),
                batch.len()
            );
            for answer in answers {
                same(run, index, &answer).with_context(|| format!("{} samples in a call", batch.len()))?;
                index += 1;
            }
        }
    }
    Ok(())
}

/// The samples from one on that can be given together, at most so many. None for messages, and for a sample that doesn't fit
/// the signature: it never reaches the plugin.
fn batch<'a>(run: &'a Run<'_>, from: usize, size: usize) -> Vec<(Context, &'a [Tensor])> {
    let mut batch: Vec<(Context, &[Tensor])> = Vec::new();
    for (call, answer) in run.calls.iter().zip(&run.answers).skip(from).take(size) {
        let (Call::Sample(context, tensors), false) = (call, never_called(answer)) else {
            break;
        };
        let alike = batch.first().is_none_or(|(_, first)| {
            let pairs = first.iter().zip(tensors);
            first.len() == tensors.len() && pairs.into_iter().all(|(one, other)| one.shape() == other.shape())
        });
        if !alike {
            break;
        }
        batch.push((context.clone(), tensors));
    }
    batch
}

/// Whether the host refused the sample without asking the plugin.
fn never_called(answer: &Answer) -> bool {
    matches!(
        answer,
        Answer::Error(PluginError::Input(_) | PluginError::InputTooLarge { .. } | PluginError::Stopped)
    )
}

fn snapshots(run: &Run<'_>) -> Result<()> {
    let step = run.calls.len().div_ceil(MAX_CUTS).max(1);
    let mut whole = start(run)?;
    run.calls.iter().for_each(|call| drop(whole.call(call)));
    let last = whole.snapshot()?;
    for cut in (0..=run.calls.len()).step_by(step) {
        let at = || format!("cut before call {cut}");
        let (first, second) = run.calls.split_at_checked(cut).unwrap_or_default();
        let mut before = start(run)?;
        first.iter().for_each(|call| drop(before.call(call)));
        let state = before.snapshot().with_context(at)?;
        ensure!(before.snapshot()? == state, "{}: a second snapshot differs", at());
        let mut after = start(run)?;
        after.restore(&state).with_context(at)?;
        for (index, call) in (cut..).zip(second) {
            same(run, index, &after.call(call)).with_context(at)?;
        }
        ensure!(after.snapshot()? == last, "{}: the last snapshot differs", at());
    }
    Ok(())
}

/// The host refuses to configure a plugin that declares more than it may have: so much is known of what it declares.
fn state_bytes(run: &Run<'_>) -> Result<()> {
    let mut guest = start(run)?;
    let mut largest = guest.snapshot()?.len();
    for call in &run.calls {
        drop(guest.call(call));
        if guest.is_running() {
            largest = largest.max(guest.snapshot()?.len());
        }
    }
    let Some(less) = largest.checked_sub(1) else {
        return Ok(());
    };
    let limits = Limits {
        state_bytes: less as u64,
        ..Limits::default()
    };
    let declared_less = Guest::start(
        run.plugin,
        &Start {
            limits,
            ..Start::of(run.file)
        },
    )
    .is_ok();
    ensure!(
        !declared_less,
        "a snapshot has {largest} bytes, more than state-bytes says"
    );
    Ok(())
}

fn unknown_key(run: &Run<'_>) -> Result<()> {
    let config = with_unknown_key(run);
    let started = Guest::start(
        run.plugin,
        &Start {
            config: &config,
            ..Start::of(run.file)
        },
    );
    match started {
        Err(PluginError::BadConfig(_)) => Ok(()),
        Err(error) => Err(anyhow!("{error}, where bad-config is expected")),
        Ok(_) => Err(anyhow!(
            "{NO_KEY:?} is taken: refuse keys you don't know, so that a mistyped one is found (in Rust: deny_unknown_fields)"
        )),
    }
}

fn schema(run: &Run<'_>) -> Result<()> {
    let schema = run
        .schema
        .context("the component has none: write schema.json beside the source, and build it again")?;
    if let Some(error) = schema.errors(&run.file.config).first() {
        return Err(anyhow!("{error}"));
    }
    ensure!(
        !schema.errors(&with_unknown_key(run)).is_empty(),
        "{NO_KEY:?} is allowed: write \"additionalProperties\": false"
    );
    Ok(())
}

fn with_unknown_key(run: &Run<'_>) -> Value {
    let mut config = run.file.config.clone();
    if let Some(keys) = config.as_object_mut() {
        keys.insert(NO_KEY.to_owned(), Value::Bool(true));
    }
    config
}

/// A fresh instance of the file's configuration.
pub(super) fn start(run: &Run<'_>) -> Result<Guest, PluginError> {
    Guest::start(run.plugin, &Start::of(run.file))
}

/// Whether an answer is what the first run gave.
fn same(run: &Run<'_>, index: usize, answer: &Answer) -> Result<()> {
    let first = run.answers.get(index).context("more answers than calls")?;
    if answer == first {
        return Ok(());
    }
    let line = run.file.calls.get(index).map_or(0, |(number, _)| *number);
    Err(anyhow!(
        "line {line}: {} and not {} as before{}",
        compare::shown(answer),
        compare::shown(first),
        if compare::shown(answer) == compare::shown(first) {
            ", with other bytes"
        } else {
            ""
        }
    ))
}

/// Whether an error is the plugin's own fault: a trap, an overrun, a memory grab, an answer that isn't allowed.
pub(super) fn is_fault(error: &PluginError) -> bool {
    error.fault() == Fault::Plugin
}
