//! What `pack` says of a model that is right and could be faster.
//!
//! Advice alone: it fails nothing, and what can't be timed is passed over.

use crate::contents::Contents;
use crate::engine;
use crate::output::{Output, Tone};
use floorhand_pipeline::{Engine, InferenceError, LoadOptions, Session, float_twin};
use floorhand_tensor::{Tensor, TensorSpec};
use std::time::{Duration, Instant};

/// Runs of each of the two models: enough for a median.
const RUNS: usize = 50;
/// Nobody waits longer for advice: for both models together.
const WITHIN: Duration = Duration::from_millis(400);
/// Runs that a median takes at least; of a model that is too slow for them in that time nothing is said.
const LEAST_RUNS: usize = 5;
/// Medians of the same model differ by less on a busy machine.
const MARGIN: f64 = 1.15;

/// Times a quantised model beside its twin in floats, and tells if that is faster.
pub(super) fn tell(contents: &Contents, out: &Output) {
    let spec = &contents.manifest.pipeline.model;
    let component = contents.manifest.component(&spec.component);
    let onnx = component.and_then(|component| contents.blobs.get(&component.blob.sha256));
    let engines = engine::engines();
    let runs_it = spec.engines().iter().find_map(|name| engines.find(name).ok().cloned());
    let (Some(onnx), Some(runs_it)) = (onnx, runs_it) else {
        return;
    };
    let options = LoadOptions::of(&spec.signature);
    let time = |twin: &[u8]| medians(runs_it.as_ref(), &options, onnx, twin);
    if let Some(advice) = on_quantised(onnx, runs_it.name(), time) {
        out.note_in(Tone::Warn, &advice);
    }
}

/// The advice on a model, if it is quantised and `time`, which is given the twin in floats, finds that one faster. It gives
/// the microseconds of a run of both, the quantised one first.
fn on_quantised(onnx: &[u8], engine: &str, time: impl FnOnce(&[u8]) -> Option<(f64, f64)>) -> Option<String> {
    let twin = float_twin(onnx).ok().flatten()?;
    let (quantised, float) = time(&twin)?;
    let ratio = quantised / float;
    (ratio > MARGIN).then(|| {
        format!(
            "the quantised model takes {quantised:.0} us a sample here in {engine}, and the same in floats {float:.0} us, \
             {ratio:.1} times less: unless memory is short, pack the model as it was before quantisation"
        )
    })
}

/// The median time of a run of each, in turns, so that what else the machine does hits both.
fn medians(engine: &dyn Engine, options: &LoadOptions, quantised: &[u8], float: &[u8]) -> Option<(f64, f64)> {
    let mut both = [
        prepared(engine, options, quantised).ok()?,
        prepared(engine, options, float).ok()?,
    ];
    let mut times = [Vec::with_capacity(RUNS), Vec::with_capacity(RUNS)];
    let started = Instant::now();
    while times[0].len() < RUNS && started.elapsed() < WITHIN {
        for ((session, inputs), times) in both.iter_mut().zip(&mut times) {
            let begun = Instant::now();
            session.run(inputs).ok()?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
    let [quantised, float] = times;
    Some((median(quantised)?, median(float)?))
}

/// A model that has run once, and zeros for it.
fn prepared(
    engine: &dyn Engine,
    options: &LoadOptions,
    onnx: &[u8],
) -> Result<(Box<dyn Session>, Vec<Tensor>), InferenceError> {
    let mut session = engine.load(onnx, options)?;
    session.warm_up()?;
    let zeros = session.signature().inputs.iter().map(TensorSpec::zeros);
    let zeros = zeros.collect::<Result<Vec<_>, _>>()?;
    Ok((session, zeros))
}

fn median(mut times: Vec<f64>) -> Option<f64> {
    times.sort_by(f64::total_cmp);
    times
        .get(times.len() / 2)
        .copied()
        .filter(|_| times.len() >= LEAST_RUNS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_testkit::shared_data;

    fn key_words(kind: &str) -> Option<Vec<u8>> {
        let model = shared_data(&format!("models/mlperf-tiny-kws-{kind}.onnx"))?;
        Some(std::fs::read(model).unwrap())
    }

    #[test]
    fn a_quantised_model_that_is_slower_than_in_floats_is_told() {
        let Some(onnx) = key_words("int8") else { return };
        let advice = |times| on_quantised(&onnx, "tract", |_| times);
        let text = advice(Some((300.0, 100.0))).unwrap();
        assert!(
            text.contains("takes 300 us") && text.contains("100 us, 3.0 times less"),
            "{text}"
        );
        assert_eq!(advice(Some((110.0, 100.0))), None, "within the margin");
        assert_eq!(advice(Some((50.0, 100.0))), None);
        assert_eq!(advice(None), None, "what can't be timed is passed over");
    }

    #[test]
    fn a_twin_in_floats_runs_and_one_of_floats_has_none() {
        let (Some(int8), Some(fp32)) = (key_words("int8"), key_words("fp32")) else {
            return;
        };
        let mut answers = Vec::new();
        let engine = floorhand_pipeline::Tract;
        let timed = on_quantised(&int8, "tract", |twin| {
            let (mut session, zeros) = prepared(&engine, &LoadOptions::default(), twin).unwrap();
            assert_eq!(session.signature().inputs[0].datatype, floorhand_tensor::Datatype::Fp32);
            answers = session.run(&zeros).unwrap()[0].to_f32().unwrap();
            medians(&engine, &LoadOptions::default(), &int8, twin).map(|_| (1.0, 1.0))
        });
        assert_eq!(timed, None);
        // Still probabilities.
        assert!((answers.iter().sum::<f32>() - 1.0).abs() < 1e-3, "{answers:?}");
        assert_eq!(on_quantised(&fp32, "tract", |_| Some((9.0, 1.0))), None);
    }
}
