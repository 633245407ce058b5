//! What every monitor promises of a stream, whatever it looks for: as [`streams`](super::streams) for processors.

#![expect(clippy::panic, reason = "these are a test's assertions")]

use super::{
    hostile,
    streams::{look_alike, stacked},
};
use crate::{Asset, Context, Error, Finding, Monitor, Report, Subscription, monitor::Instance};

pub use super::streams::Sample;

/// Places at which a stream is interrupted, at most: each costs a run of what follows.
const MAX_CUTS: usize = 40;

/// What became of a sample.
pub type Answer = Result<Vec<Finding>, Error>;

/// Runs a stream through the monitor, sample by sample, and gives what it found. Then again from a snapshot in the middle,
/// with several samples in a call, and with broken snapshots, which have to be refused without a change. Samples without a
/// key are given one that is as long as it may be, for a monitor that keeps keys in its state.
///
/// # Panics
///
/// If any of this finds something else, or if the largest snapshot of the stream isn't what the subscription declares.
pub fn check_stream<P: Monitor>(config: &str, assets: &[Asset], stream: &[Sample]) -> Vec<Answer> {
    let stream = &of_a_key(stream);
    let (mut monitor, subscription) = configured::<P>(config, assets);
    let mut snapshots = vec![monitor.snapshot()];
    let mut answers = Vec::new();
    for (context, tensors) in stream {
        answers.push(monitor.observe(context.clone(), tensors.clone()));
        snapshots.push(monitor.snapshot());
    }
    let largest = snapshots.iter().max_by_key(|snapshot| snapshot.len());
    let largest = largest.map(Vec::as_slice).unwrap_or_default();
    assert_eq!(
        largest.len(),
        subscription.state_bytes as usize,
        "the largest snapshot and state_bytes"
    );
    for cut in (0..=stream.len()).step_by(1 + stream.len() / MAX_CUTS) {
        let (mut restored, _) = configured::<P>(config, assets);
        let snapshot = snapshots.get(cut).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(restored.restore(snapshot), Ok(()), "snapshot {cut}");
        assert_eq!(restored.snapshot(), snapshot, "restored {cut}");
        for ((context, tensors), answer) in stream.iter().zip(&answers).skip(cut) {
            assert_eq!(
                &restored.observe(context.clone(), tensors.clone()),
                answer,
                "restored at {cut}"
            );
        }
        assert_eq!(Some(&restored.snapshot()), snapshots.last(), "restored at {cut}");
    }
    for size in [1, 2, 7, stream.len().max(1)] {
        check_calls::<P>(config, assets, stream, size, &answers);
    }
    check_broken::<P>(config, assets, largest);
    answers
}

/// Hands over hostile tensors in the place of the stream's last sample. What isn't as the subscription asks has to be
/// refused, and nothing that follows may be another because of it.
///
/// # Panics
///
/// If it is otherwise.
pub fn check_hostile<P: Monitor>(config: &str, assets: &[Asset], stream: &[Sample]) {
    let Some(((context, good), before)) = stream.split_last() else {
        panic!("a stream without samples");
    };
    let (mut monitor, subscription) = configured::<P>(config, assets);
    for (context, tensors) in before {
        let _ = monitor.observe(context.clone(), tensors.clone());
    }
    let start = monitor.snapshot();
    assert!(
        monitor.observe(context.clone(), Vec::new()).is_err(),
        "no tensors at all"
    );
    for (place, watch) in subscription.watches.iter().enumerate() {
        for tensor in hostile(&watch.spec) {
            let (mut monitor, _) = configured::<P>(config, assets);
            assert_eq!(monitor.restore(&start), Ok(()));
            let mut tensors = good.clone();
            tensors
                .iter_mut()
                .skip(place)
                .take(1)
                .for_each(|there| there.clone_from(&tensor));
            let fits = tensor.check(&watch.spec).is_ok();
            let answer = monitor.observe(context.clone(), tensors.clone());
            if !fits {
                assert!(answer.is_err(), "{:?} of {:?} is taken", tensor.datatype, tensor.shape);
                assert_eq!(monitor.snapshot(), start, "{:?} changes what comes", tensor.shape);
            }
            assert!(monitor.snapshot().len() <= subscription.state_bytes as usize);
            // A host that doesn't check may hand over what isn't a batch at all.
            let _ = monitor.call(vec![context.clone(); 2], tensors);
        }
    }
}

/// Runs two streams at once, as two machines whose keys are as long as they may be: what is found of each has to be exactly
/// what an instance of its own finds, from any snapshot on, with the key as a detail. A machine too many is refused, as the
/// second is without `max_keys`. Gives what was found of the first and the second.
///
/// # Panics
///
/// If it is otherwise, or if nothing is found at all.
pub fn check_keys<P: Monitor>(config: &str, assets: &[Asset], streams: [&[Sample]; 2]) -> [Vec<Answer>; 2] {
    let [first, second] = ["a", "b"].map(|letter| letter.repeat(256));
    let alone = [(&first, streams[0]), (&second, streams[1])].map(|(key, stream)| {
        let (mut monitor, _) = configured::<P>(config, assets);
        let answers = stream.iter().map(|sample| observe_as(&mut monitor, key, sample));
        answers.collect::<Vec<Answer>>()
    });
    let found = alone.iter().flatten().flatten().flatten();
    assert!(found.count() > 0, "nothing is found");
    let two = with_max_keys(config, 2);
    let (mut monitor, subscription) = configured::<P>(&two, assets);
    let mut together = [Vec::new(), Vec::new()];
    let longest = streams.map(<[Sample]>::len).into_iter().max().unwrap_or(0);
    for place in 0..longest {
        for ((key, stream), answers) in [&first, &second].into_iter().zip(streams).zip(&mut together) {
            let Some(sample) = stream.get(place) else { continue };
            answers.push(observe_as(&mut monitor, key, sample));
        }
        if place % (1 + longest / MAX_CUTS) == 0 {
            let snapshot = monitor.snapshot();
            assert!(snapshot.len() <= subscription.state_bytes as usize);
            (monitor, _) = configured::<P>(&two, assets);
            assert_eq!(monitor.restore(&snapshot), Ok(()), "at {place}");
        }
    }
    assert_eq!(together, alone, "machines at once and alone");
    for (answers, key) in together.iter().zip([&first, &second]) {
        let told = |finding: &Finding| {
            finding
                .details
                .last()
                .is_some_and(|last| last.name == "key" && last.value == *key)
        };
        assert!(
            answers.iter().flatten().flatten().all(told),
            "a finding without its key"
        );
    }
    let (mut single, _) = configured::<P>(config, assets);
    for (monitor, known, most) in [(&mut monitor, &first, 2), (&mut single, &first, 1)] {
        let Some(sample) = streams[0].first() else { continue };
        let _ = observe_as(monitor, known, sample);
        let before = monitor.snapshot();
        let error = observe_as(monitor, "one too many", sample);
        let expected =
            format!("key \"one too many\" is one more than the {most} that there is room for: raise max_keys");
        assert_eq!(error, Err(Error::Exhausted(expected)));
        assert_eq!(monitor.snapshot(), before, "a key too many changes what comes");
    }
    together
}

/// Runs a stream with and without gaps before its samples: what is found has to be the same.
///
/// # Panics
///
/// If it is otherwise, or if nothing is found at all.
pub fn check_gaps_are_passed_over<P: Monitor>(config: &str, assets: &[Asset], stream: &[Sample]) {
    let run = |gap: bool| {
        let (mut monitor, _) = configured::<P>(config, assets);
        let answers = stream.iter().map(|(context, tensors)| {
            let context = Context { gap, ..context.clone() };
            monitor.observe(context, tensors.clone())
        });
        let answers: Vec<Answer> = answers.collect();
        (answers, monitor.snapshot())
    };
    let without = run(false);
    assert!(without.0.iter().flatten().flatten().count() > 0, "nothing is found");
    assert_eq!(run(true), without, "gaps before all samples");
}

fn of_a_key(stream: &[Sample]) -> Vec<Sample> {
    let keyed = |(context, tensors): &Sample| {
        let key = context.key.clone().unwrap_or_else(|| "k".repeat(256));
        let context = Context {
            key: Some(key),
            ..context.clone()
        };
        (context, tensors.clone())
    };
    stream.iter().map(keyed).collect()
}

fn observe_as<P: Monitor>(monitor: &mut Instance<P>, key: &str, (context, tensors): &Sample) -> Answer {
    let context = Context {
        key: Some(key.to_owned()),
        ..context.clone()
    };
    monitor.observe(context, tensors.clone())
}

/// The configuration with room for so many keys.
fn with_max_keys(config: &str, keys: u16) -> String {
    match serde_json::from_str::<serde_json::Value>(config) {
        Ok(serde_json::Value::Object(mut object)) => {
            object.insert("max_keys".into(), keys.into());
            serde_json::Value::Object(object).to_string()
        }
        _ => panic!("{config}: no object"),
    }
}

fn configured<P: Monitor>(config: &str, assets: &[Asset]) -> (Instance<P>, Subscription) {
    let mut monitor = Instance::new();
    match monitor.configure(config, assets.to_vec()) {
        Ok(subscription) => (monitor, subscription),
        Err(error) => panic!("{config}: {}", error.message()),
    }
}

fn check_calls<P: Monitor>(config: &str, assets: &[Asset], stream: &[Sample], size: usize, answers: &[Answer]) {
    let (mut monitor, _) = configured::<P>(config, assets);
    let mut found: Vec<Answer> = Vec::new();
    for samples in stream.chunk_by(|(_, left), (_, right)| look_alike(left, right)) {
        for samples in samples.chunks(size) {
            let contexts: Vec<Context> = samples.iter().map(|(context, _)| context.clone()).collect();
            match monitor.call(contexts, stacked(samples)) {
                Ok(report) => found.extend(taken_apart(report, samples.len())),
                Err(error) => found.extend(vec![Err(error); samples.len()]),
            }
        }
    }
    assert_eq!(found, answers, "{size} samples in a call");
}

fn taken_apart(report: Report, samples: usize) -> Vec<Answer> {
    let mut answers = vec![Ok(Vec::new()); samples];
    for (index, finding) in report.findings {
        match answers.get_mut(index as usize) {
            Some(Ok(findings)) => findings.push(finding),
            _ => panic!("a finding at sample {index} of {samples}"),
        }
    }
    for refusal in report.refusals {
        match answers.get_mut(refusal.index as usize) {
            Some(answer) => *answer = Err(refusal.error),
            None => panic!("a refusal of sample {} of {samples}", refusal.index),
        }
    }
    answers
}

/// What ends early, goes on too long or has another version is refused and changes nothing; other damage may be taken, and
/// never leads to a panic.
fn check_broken<P: Monitor>(config: &str, assets: &[Asset], snapshot: &[u8]) {
    let (mut monitor, _) = configured::<P>(config, assets);
    let before = monitor.snapshot();
    let mut refused = |bytes: &[u8], what: &str| {
        let answer = monitor.restore(bytes);
        assert!(matches!(answer, Err(Error::BadConfig(_))), "{what}: {answer:?}");
        assert_eq!(monitor.snapshot(), before, "{what}");
    };
    refused(&[snapshot, &[0]].concat(), "one byte too many");
    for length in (0..snapshot.len()).step_by(1 + snapshot.len() / MAX_CUTS) {
        refused(snapshot.get(..length).unwrap_or_default(), "ends early");
    }
    let flipped = |place: usize| {
        let mut bytes = snapshot.to_vec();
        bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 0xff);
        bytes
    };
    refused(&flipped(0), "another version");
    for place in (4..snapshot.len()).step_by(1 + snapshot.len() / MAX_CUTS) {
        let (mut monitor, _) = configured::<P>(config, assets);
        if monitor.restore(&flipped(place)).is_err() {
            assert_eq!(monitor.snapshot(), before, "byte {place}");
        }
    }
}
