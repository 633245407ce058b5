//! What a plugin meets sooner or later: numbers that are none, tensors of nothing, torn states, wrong configurations.
//!
//! It may answer each with an error. It may not trap, overrun or grab memory, and what it refuses may not change what comes
//! after. What doesn't fit its signature never reaches it: the host is tried with that all the same.

use super::super::guest::{Answer, Call, Guest, Start, error_name};
use super::Run;
use super::checks::{Check, is_fault, start};
use anyhow::{Context as _, Result, anyhow, ensure};
use floorhand_plugin_host::{Context as SampleContext, PluginError, World};
use floorhand_tensor::{Datatype, Dim, Tensor, TensorSpec};
use serde_json::{Value, json};

/// Those that are for a world.
pub(super) fn of(world: World) -> impl Iterator<Item = &'static Check> {
    let own = match world {
        World::Processor | World::Monitor => SAMPLES,
        World::Decoder => MESSAGES,
    };
    own.iter().chain(ALL)
}

const SAMPLES: &[Check] = &[
    ("survives NaN, infinities, nothing and too much", numbers),
    ("a sample that it refuses changes nothing, or is a gap", refusals),
];

const MESSAGES: &[Check] = &[("survives messages that are cut, huge or noise", messages)];

const ALL: &[Check] = &[
    ("a state that is torn or foreign is refused or survived", states),
    ("a wrong value of any key is refused or survived", configurations),
];

/// Numbers that break formulas: all elements are one of them.
const NUMBERS: [f64; 8] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MAX,
    f64::MIN,
    5e-324,
    -0.0,
    1e300,
];

/// What a dimension of any size is tried with. The last is a frame's worth.
const SIZES: [u64; 4] = [0, 1, 3, 1 << 16];

/// Elements of a tensor that is tried: with several dimensions of any size it would get out of hand.
const MAX_ELEMENTS: u64 = 1 << 20;

/// Bytes of the largest message that is tried.
const HUGE_MESSAGE: usize = 256 << 10;

fn numbers(run: &Run<'_>) -> Result<()> {
    let mut guest = start(run)?;
    let specs = guest.inputs();
    let Some(context) = half_way(run, &mut guest) else {
        return Ok(());
    };
    for (what, tensors) in tensors(&specs)? {
        let answer = guest.call(&Call::Sample(context.clone(), tensors));
        survived(&mut guest, &answer, &what)?;
    }
    Ok(())
}

fn messages(run: &Run<'_>) -> Result<()> {
    let mut guest = start(run)?;
    for call in &run.calls {
        let Call::Message { payload, .. } = call else {
            return Ok(());
        };
        for (what, payload) in torn(payload) {
            let mut torn = call.clone();
            if let Call::Message { payload: bytes, .. } = &mut torn {
                *bytes = payload;
            }
            let answer = guest.call(&torn);
            survived(&mut guest, &answer, &what)?;
        }
    }
    Ok(())
}

/// Sends the first half of the samples, so that the plugin has a state of its own; gives the context of one that follows
/// without a gap, which would let the plugin begin anew.
fn half_way(run: &Run<'_>, guest: &mut Guest) -> Option<SampleContext> {
    let half = run.calls.get(..run.calls.len() / 2).unwrap_or_default();
    half.iter().for_each(|call| drop(guest.call(call)));
    match half.last().or(run.calls.first())? {
        Call::Sample(last, _) => Some(SampleContext {
            sequence: last.sequence + 1,
            gap: false,
            ..last.clone()
        }),
        Call::Message { .. } => None,
    }
}

/// What comes after a refused sample is what it would have been without it, or after a gap: what is built of neighbouring
/// samples may begin anew where one couldn't be read.
fn refusals(run: &Run<'_>) -> Result<()> {
    let half = run.calls.len() / 2;
    let without = run.answers.get(half..).unwrap_or_default();
    let after_gap = after_gap(run, half)?;
    for (what, tensors) in tensors(&start(run)?.inputs())? {
        let mut guest = start(run)?;
        let Some(context) = half_way(run, &mut guest) else {
            return Ok(());
        };
        let answer = guest.call(&Call::Sample(context, tensors));
        survived(&mut guest, &answer, &what)?;
        let Answer::Error(error) = answer else { continue };
        let rest = run.calls.iter().skip(half);
        let answers: Vec<Answer> = rest.map(|call| guest.call(call)).collect();
        ensure!(
            answers == without || answers == after_gap,
            "{what}: answers {}, and then something else than without that sample or after a gap",
            error_name(&error)
        );
    }
    Ok(())
}

/// The answers from a call on when samples before it are missing.
fn after_gap(run: &Run<'_>, from: usize) -> Result<Vec<Answer>> {
    let mut guest = start(run)?;
    let calls = run.calls.iter().enumerate().map(|(index, call)| match call {
        Call::Sample(context, tensors) if index == from => {
            let gap = SampleContext {
                gap: true,
                ..context.clone()
            };
            guest.call(&Call::Sample(gap, tensors.clone()))
        }
        _ => guest.call(call),
    });
    let mut answers: Vec<Answer> = calls.collect();
    Ok(answers.split_off(from))
}

fn states(run: &Run<'_>) -> Result<()> {
    let mut guest = start(run)?;
    run.calls.iter().for_each(|call| drop(guest.call(call)));
    let state = guest.snapshot()?;
    let mut cut = state.clone();
    let torn = cut.pop().is_some();
    let mut longer = state.clone();
    longer.push(0);
    let flipped: Vec<u8> = state.iter().map(|byte| !byte).collect();
    for (what, bytes, has_to_be_refused) in [
        ("a state without its last byte", cut, torn),
        ("a state with a byte more", longer, true),
        ("a state of other bits", flipped, false),
        ("a state of 64 KiB of ones", vec![0xff; 64 << 10], true),
    ] {
        let mut fresh = start(run)?;
        match fresh.restore(&bytes) {
            Ok(()) if has_to_be_refused => return Err(anyhow!("{what} is taken")),
            Ok(()) => {}
            Err(error) if is_fault(&error) => return Err(anyhow!("{what}: {error}")),
            Err(_) => continue,
        }
        for call in &run.calls {
            let answer = fresh.call(call);
            survived(&mut fresh, &answer, what)?;
        }
    }
    Ok(())
}

/// Every key of the file's configuration, one after the other, with values that are wrong for most keys.
fn configurations(run: &Run<'_>) -> Result<()> {
    let keys = run.file.config.as_object().into_iter().flatten();
    for (key, _) in keys {
        for value in [
            Value::Null,
            json!(true),
            json!(-1),
            json!(0),
            json!(1e308),
            json!(u64::MAX),
            json!(""),
            json!("\u{0}\u{1f600}"),
            json!([]),
            json!([null]),
            json!({}),
            json!(vec![0; 10_000]),
        ] {
            let mut config = run.file.config.clone();
            let Some(keys) = config.as_object_mut() else { continue };
            let shown: String = value.to_string().chars().take(40).collect();
            keys.insert(key.clone(), value);
            match Guest::start(
                run.plugin,
                &Start {
                    config: &config,
                    ..Start::of(run.file)
                },
            ) {
                // The host finds it where a value goes into the signature as it is, e.g. a tensor's name.
                Err(PluginError::BadConfig(_) | PluginError::BadOutput { .. }) | Ok(_) => {}
                Err(error) if is_fault(&error) => return Err(anyhow!("{key} = {shown}: {error}")),
                Err(error) => return Err(anyhow!("{key} = {shown}: {error}, where bad-config is expected")),
            }
        }
    }
    Ok(())
}

/// No fault, and it still runs.
fn survived(guest: &mut Guest, answer: &Answer, what: &str) -> Result<()> {
    if let Answer::Error(error) = answer
        && is_fault(error)
    {
        return Err(anyhow!("{what}: {error}"));
    }
    ensure!(guest.is_running(), "{what}: the plugin has stopped");
    guest
        .snapshot()
        .with_context(|| format!("{what}: no snapshot afterwards"))?;
    Ok(())
}

/// Sets of inputs, each with what is wrong with it.
fn tensors(specs: &[TensorSpec]) -> Result<Vec<(String, Vec<Tensor>)>> {
    let mut sets = Vec::new();
    for number in NUMBERS {
        let set = specs
            .iter()
            .map(|spec| filled(spec, spec.datatype, &shape(spec, 3), number));
        sets.push((format!("inputs of {number}"), set.collect::<Result<_>>()?));
    }
    for size in SIZES {
        let set = specs
            .iter()
            .map(|spec| filled(spec, spec.datatype, &shape(spec, size), 1.0));
        sets.push((format!("dimensions of {size}"), set.collect::<Result<_>>()?));
    }
    let other = |spec: &TensorSpec| match spec.datatype {
        Datatype::Int8 => Datatype::Fp32,
        _ => Datatype::Int8,
    };
    let set = specs.iter().map(|spec| filled(spec, other(spec), &shape(spec, 3), 1.0));
    sets.push(("inputs of another type".to_owned(), set.collect::<Result<_>>()?));
    let set = specs.iter().map(|spec| {
        let mut shape = shape(spec, 3);
        shape.push(2);
        filled(spec, spec.datatype, &shape, 1.0)
    });
    sets.push(("inputs of another rank".to_owned(), set.collect::<Result<_>>()?));
    sets.push(("no inputs".to_owned(), Vec::new()));
    Ok(sets)
}

fn shape(spec: &TensorSpec, size: u64) -> Vec<u64> {
    let mut elements = 1_u64;
    let shape = spec.shape.iter().map(|dim| {
        let length = match dim {
            Dim::Fixed(length) => *length,
            // A second dimension of any size stays small.
            Dim::Any if elements.saturating_mul(size) > MAX_ELEMENTS => 1,
            Dim::Any => size,
        };
        elements = elements.saturating_mul(length.max(1));
        length
    });
    shape.collect()
}

fn filled(spec: &TensorSpec, datatype: Datatype, shape: &[u64], value: f64) -> Result<Tensor> {
    let elements = usize::try_from(shape.iter().product::<u64>())?;
    if datatype == Datatype::Bytes {
        let texts = vec![value.to_string(); elements];
        return Ok(Tensor::from_elements(&spec.name, shape.to_vec(), &texts)?);
    }
    Ok(Tensor::from_f64(
        &spec.name,
        datatype,
        shape.to_vec(),
        &vec![value; elements],
    )?)
}

/// A message in pieces, and things that are none.
fn torn(payload: &[u8]) -> Vec<(String, Vec<u8>)> {
    let step = payload.len().div_ceil(16).max(1);
    let mut torn: Vec<(String, Vec<u8>)> = (0..payload.len())
        .step_by(step)
        .map(|length| {
            (
                format!("its first {length} bytes"),
                payload.iter().copied().take(length).collect(),
            )
        })
        .collect();
    torn.push((
        "its bits turned round".to_owned(),
        payload.iter().map(|byte| !byte).collect(),
    ));
    torn.push(("the message a thousand times".to_owned(), payload.repeat(1000)));
    for byte in [0, b' ', b'[', b'{', b'9', b'\n', 0xff] {
        torn.push((format!("256 KiB of {byte:#04x}"), vec![byte; HUGE_MESSAGE]));
    }
    // The same noise every time.
    let noise = (0..4096_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8);
    torn.push(("noise".to_owned(), noise.collect()));
    torn
}
