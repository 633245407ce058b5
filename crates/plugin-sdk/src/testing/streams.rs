//! What every processor promises of a stream, whatever it computes: that it goes on from a snapshot with the same bits,
//! that its state is as large as declared, that calls may be cut anywhere, and that nothing makes it panic.

#![expect(clippy::panic, reason = "these are a test's assertions")]

use super::hostile;
use crate::{Asset, Context, Error, Outcome, Processor, Tensor, TensorSpec, processor::Instance};

/// One sample of a stream.
pub type Sample = (Context, Vec<Tensor>);

/// What became of one sample.
pub type Answer = Result<Vec<Tensor>, Error>;

/// Places at which a stream is interrupted, at most: each costs a run of what follows.
const MAX_CUTS: usize = 64;

/// What came of a hostile input.
#[derive(Debug)]
pub struct Met {
    /// The input that stood in the place of a good one.
    pub tensor: Tensor,
    /// Whether it is of the type and shape that the signature asks for.
    pub fits: bool,
    /// What the plugin answered.
    pub answer: Answer,
    /// Whether the plugin's state is another one now.
    pub changed: bool,
}

/// Runs a stream through the plugin, sample by sample, and gives its answers.
///
/// Then does so again with a new instance from a snapshot in the middle, and again with several samples in a call. Also
/// hands over broken snapshots, which have to be refused without a change.
///
/// # Panics
///
/// If any of this gives other answers, or if the largest snapshot of the stream isn't what the signature declares.
pub fn check<P: Processor>(config: &str, assets: &[Asset], stream: &[Sample]) -> Vec<Answer> {
    let (mut plugin, state_bytes) = configured::<P>(config, assets);
    let mut snapshots = vec![plugin.snapshot()];
    let mut answers = Vec::new();
    for (context, inputs) in stream {
        answers.push(plugin.process(context.clone(), inputs.clone()));
        snapshots.push(plugin.snapshot());
    }
    let largest = snapshots.iter().map(Vec::len).max();
    assert_eq!(largest, Some(state_bytes), "the largest snapshot and state_bytes");
    for cut in (0..=stream.len()).step_by(1 + stream.len() / MAX_CUTS) {
        let (_, after) = stream.split_at(cut);
        let (mut restored, _) = configured::<P>(config, assets);
        let snapshot = snapshots.get(cut).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(restored.restore(snapshot), Ok(()), "snapshot {cut}");
        assert_eq!(restored.snapshot(), snapshot, "restored {cut}");
        for (index, (context, inputs)) in (cut..).zip(after) {
            let answer = restored.process(context.clone(), inputs.clone());
            assert_eq!(Some(&answer), answers.get(index), "sample {index}, restored at {cut}");
        }
        assert_eq!(Some(&restored.snapshot()), snapshots.last(), "restored at {cut}");
    }
    for size in [1, 2, 3, 7, stream.len().max(1)] {
        check_calls::<P>(config, assets, stream, size, &answers);
    }
    if let Some(snapshot) = snapshots.iter().max_by_key(|snapshot| snapshot.len()) {
        check_broken::<P>(config, assets, snapshot, stream);
    }
    answers
}

/// Puts hostile inputs in the place of the stream's last sample, after all before it.
///
/// # Panics
///
/// If an input that doesn't fit is answered, or an answer isn't as the signature says.
pub fn meet_hostile<P: Processor>(config: &str, assets: &[Asset], stream: &[Sample]) -> Vec<Met> {
    let Some(((context, good), before)) = stream.split_last() else {
        panic!("a stream without samples");
    };
    let (mut plugin, _) = configured::<P>(config, assets);
    for (context, inputs) in before {
        let _ = plugin.process(context.clone(), inputs.clone());
    }
    let Some(signature) = plugin.plugin().map(P::signature) else {
        panic!("not configured");
    };
    assert!(plugin.process(context.clone(), Vec::new()).is_err(), "no inputs at all");
    let start = plugin.snapshot();
    let mut met = Vec::new();
    for (place, spec) in signature.inputs.iter().enumerate() {
        for tensor in hostile(spec) {
            let (mut plugin, _) = configured::<P>(config, assets);
            assert_eq!(plugin.restore(&start), Ok(()));
            let mut inputs = good.clone();
            if let Some(input) = inputs.get_mut(place) {
                input.clone_from(&tensor);
            }
            let fits = tensor.name == spec.name && tensor.check(spec).is_ok();
            let answer = plugin.process(context.clone(), inputs.clone());
            assert!(
                fits || answer.is_err(),
                "{:?} {:?} is answered",
                spec.name,
                tensor.shape
            );
            if let Ok(outputs) = &answer {
                check_outputs(outputs, &signature.outputs);
            }
            let changed = plugin.snapshot() != start;
            // A host that doesn't check may hand over what isn't a batch at all.
            let _ = plugin.call(vec![context.clone(); 2], inputs);
            met.push(Met {
                tensor,
                fits,
                answer,
                changed,
            });
        }
    }
    met
}

/// The stream of several machines at once: each sample comes once of every key, and keys are as long as they may be.
#[must_use]
pub fn of_keys(stream: &[Sample], keys: u8) -> Vec<Sample> {
    let of_key = |(context, inputs): &Sample, key: u8| {
        let key = char::from(b'a' + key).to_string().repeat(256);
        let context = Context {
            key: Some(key),
            ..context.clone()
        };
        (context, inputs.clone())
    };
    let all = |sample| (0..keys).map(move |key| of_key(sample, key));
    stream.iter().flat_map(all).collect()
}

fn configured<P: Processor>(config: &str, assets: &[Asset]) -> (Instance<P>, usize) {
    let mut plugin = Instance::new();
    match plugin.configure(config, assets.to_vec()) {
        Ok(signature) => (plugin, signature.state_bytes as usize),
        Err(error) => panic!("{config}: {}", error.message()),
    }
}

/// No outputs, or all of the signature.
fn check_outputs(outputs: &[Tensor], specs: &[TensorSpec]) {
    assert!(outputs.is_empty() || outputs.len() == specs.len());
    for (output, spec) in outputs.iter().zip(specs) {
        assert_eq!(output.name, spec.name);
        assert_eq!(output.check(spec), Ok(()));
    }
}

fn check_calls<P: Processor>(config: &str, assets: &[Asset], stream: &[Sample], size: usize, answers: &[Answer]) {
    let (mut plugin, _) = configured::<P>(config, assets);
    let mut found = Vec::new();
    for samples in stream.chunk_by(|(_, left), (_, right)| look_alike(left, right)) {
        for samples in samples.chunks(size) {
            let contexts: Vec<Context> = samples.iter().map(|(context, _)| context.clone()).collect();
            match plugin.call(contexts, stacked(samples)) {
                Ok(outcome) => found.extend(taken_apart(outcome, samples.len())),
                Err(error) => found.extend(vec![Err(error); samples.len()]),
            }
        }
    }
    assert_eq!(found, answers, "{size} samples in a call");
}

pub(super) fn look_alike(left: &[Tensor], right: &[Tensor]) -> bool {
    let looks = |tensors: &[Tensor]| -> Vec<_> {
        tensors
            .iter()
            .map(|tensor| (tensor.name.clone(), tensor.datatype, tensor.shape.clone()))
            .collect()
    };
    looks(left) == looks(right)
}

/// One tensor with all samples for each input.
pub(super) fn stacked(samples: &[Sample]) -> Vec<Tensor> {
    let Some((_, first)) = samples.first() else {
        return Vec::new();
    };
    let mut stacked = first.clone();
    for (place, tensor) in stacked.iter_mut().enumerate() {
        tensor.shape.insert(0, samples.len() as u64);
        let rest = samples.iter().skip(1);
        tensor.data.extend(
            rest.filter_map(|(_, inputs)| inputs.get(place))
                .flat_map(|input| &input.data),
        );
    }
    stacked
}

fn taken_apart(outcome: Outcome, samples: usize) -> Vec<Answer> {
    let mut answers = vec![Ok(Vec::new()); samples];
    for refusal in outcome.refusals {
        if let Some(answer) = answers.get_mut(refusal.index as usize) {
            *answer = Err(refusal.error);
        }
    }
    for joint in outcome.answers {
        for (place, &sample) in joint.indices.iter().enumerate() {
            let Some(answer) = answers.get_mut(sample as usize) else {
                panic!("an answer to sample {sample} of {samples}");
            };
            *answer = Ok(joint
                .tensors
                .iter()
                .map(|tensor| part(tensor, place, joint.indices.len()))
                .collect());
        }
    }
    answers
}

fn part(tensor: &Tensor, place: usize, parts: usize) -> Tensor {
    assert_eq!(tensor.shape.first(), Some(&(parts as u64)), "{:?}", tensor.name);
    let bytes = tensor.data.len() / parts;
    Tensor {
        name: tensor.name.clone(),
        datatype: tensor.datatype,
        shape: tensor.shape.iter().skip(1).copied().collect(),
        data: tensor.data.iter().skip(place * bytes).take(bytes).copied().collect(),
    }
}

/// What ends early, goes on too long or has another version is refused; other damage may be, and never leads to a panic.
fn check_broken<P: Processor>(config: &str, assets: &[Asset], snapshot: &[u8], stream: &[Sample]) {
    let (mut plugin, _) = configured::<P>(config, assets);
    let before = plugin.snapshot();
    let mut refused = |bytes: &[u8], what: &str| {
        let answer = plugin.restore(bytes);
        assert!(matches!(answer, Err(Error::BadConfig(_))), "{what}: {answer:?}");
        assert_eq!(plugin.snapshot(), before, "{what}");
    };
    refused(&[snapshot, &[0]].concat(), "one byte too many");
    if snapshot.is_empty() {
        return;
    }
    for length in (0..snapshot.len()).step_by(1 + snapshot.len() / MAX_CUTS) {
        refused(snapshot.get(..length).unwrap_or_default(), "ends early");
    }
    let flipped = |place: usize, mask: u8| {
        let mut bytes = snapshot.to_vec();
        bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= mask);
        bytes
    };
    refused(&flipped(0, 1), "another version");
    for place in (4..snapshot.len()).step_by(1 + snapshot.len() / MAX_CUTS) {
        for mask in [1, 0x80, 0xff] {
            let (mut plugin, _) = configured::<P>(config, assets);
            if plugin.restore(&flipped(place, mask)).is_err() {
                assert_eq!(plugin.snapshot(), before, "byte {place}");
            }
            for (context, inputs) in stream {
                let _ = plugin.process(context.clone(), inputs.clone());
            }
        }
    }
}
