//! Compares with what SciPy, pandas, scikit-learn, librosa and ONNX Runtime gave on the same inputs:
//! `cases/transforms.json`, written by `oracle_transforms.py`.
//!
//! To 1e-9 relative; alarms and classes identically; pixels, which are single precision by definition, to the bit.

#![expect(
    clippy::unwrap_used,
    reason = "a malformed case file should stop the test where it is"
)]

use floorhand_statistics::{
    decibel::Decibel,
    f_distribution,
    frames::Frames,
    image::{Config as ImageConfig, ImageTransform, Layout, Method, Normalization, Size},
    mel::{Config as MelConfig, MelFilters, Norm, Scale},
    pca::PrincipalComponents,
    rolling::{Extent, RollingWindow, Sample, Summary},
    softmax,
    spectrum::{Options, Scaling, Spectrum},
    window_function::WindowFunction,
    zscore::{Baseline, Config as ZConfig, ZScore},
};
use serde_json::Value;

/// Relative, as every oracle comparison of this project.
const TOLERANCE: f64 = 1e-9;

fn cases(section: &str) -> Vec<Value> {
    let cases: Value = serde_json::from_str(include_str!("cases/transforms.json")).unwrap();
    cases.get(section).unwrap().as_array().unwrap().clone()
}

fn list(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap_or(f64::NAN))
        .collect()
}

/// `floor` is the magnitude below which a difference is rounding in the input's own scale.
fn close(actual: f64, expected: f64, floor: f64, what: &str) {
    let allowed = TOLERANCE * if expected.abs() > floor { expected.abs() } else { floor };
    assert!(
        (actual - expected).abs() <= allowed,
        "{what}: {actual} and not {expected}"
    );
}

/// The same where there may be no answer.
fn close_or_none(actual: Option<f64>, expected: &Value, floor: f64, what: &str) {
    match actual {
        Some(actual) => close(actual, expected.as_f64().unwrap_or(f64::NAN), floor, what),
        None => assert!(expected.is_null(), "{what}: nothing and not {expected}"),
    }
}

fn all_close(actual: &[f64], expected: &Value, floor: f64, what: &str) {
    let expected = list(expected);
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (index, (&actual, expected)) in actual.iter().zip(expected).enumerate() {
        close(actual, expected, floor, &format!("{what} at {index}"));
    }
}

#[test]
fn f_and_t_quantiles_agree_with_scipy() {
    for case in cases("f_distribution") {
        let degrees = [0, 1].map(|index| case["degrees"][index].as_u64().unwrap() as u32);
        let [numerator, denominator] = degrees;
        let (found, expected) = match case["probability"].as_f64() {
            Some(probability) => (
                f_distribution::quantile(probability, numerator, denominator),
                "quantile",
            ),
            None => (
                f_distribution::two_sided_t(case["tail"].as_f64().unwrap(), denominator),
                "t",
            ),
        };
        // A digit more than elsewhere: limits of millions of samples lose it where logarithms are taken carelessly.
        let quotient = found.unwrap() / case[expected].as_f64().unwrap();
        assert!((quotient - 1.0).abs() < 1e-10, "{case}: {quotient}");
    }
}

#[test]
fn rolling_windows_agree_with_fractions_and_pandas() {
    for case in cases("rolling") {
        let times: Vec<i64> = case["times_ms"]
            .as_array()
            .unwrap()
            .iter()
            .map(|time| time.as_i64().unwrap())
            .collect();
        let values = list(&case["values"]);
        for extent in case["extents"].as_array().unwrap() {
            let mut window = RollingWindow::new(rolling_extent(&extent["extent"])).unwrap();
            let mut rows = extent["rows"].as_array().unwrap().clone();
            for (row, (&time_ms, &value)) in times.iter().zip(&values).enumerate() {
                window.push(Sample { time_ms, value });
                rows.retain(|expected| {
                    if expected["row"] != row {
                        return true;
                    }
                    compare_summary(&window.summary(), expected);
                    false
                });
            }
            assert!(rows.is_empty(), "all were compared");
        }
    }
}

fn rolling_extent(extent: &Value) -> Extent {
    match extent["samples"].as_u64() {
        Some(samples) => Extent::Samples(samples as usize),
        None => Extent::Time {
            width_ms: extent["width_ms"].as_u64().unwrap(),
            max_samples: 300,
        },
    }
}

/// Values are around 10,000, of which a f64 has twelve decimals: deviations and slopes are rounding below 0.001.
fn compare_summary(summary: &Summary, expected: &Value) {
    let what = expected.to_string();
    assert_eq!(expected["count"], summary.count(), "{what}");
    close_or_none(summary.mean(), &expected["mean"], 0.0, &what);
    close_or_none(summary.sample_deviation(), &expected["std"], 1e-3, &what);
    close_or_none(summary.slope_per_second(), &expected["slope"], 1e-3, &what);
    assert_eq!(
        (summary.min(), summary.max()),
        (expected["min"].as_f64(), expected["max"].as_f64()),
        "{what}"
    );
}

#[test]
fn distances_and_limits_agree_with_scikit_learn_and_scipy() {
    for case in cases("pca") {
        let name = case["name"].as_str().unwrap();
        let parameters = ["mean", "scale", "components", "explained_variances"].map(|name| list(&case[name]));
        let [mean, scale, components, variances] = parameters;
        let mut pca = PrincipalComponents::new(mean, scale, components, variances).unwrap();
        let rows = case["rows"].as_array().unwrap();
        let found: Vec<_> = rows.iter().map(|row| pca.distances(&list(row)).unwrap()).collect();
        all_close(
            &found.iter().map(|found| found.t2).collect::<Vec<_>>(),
            &case["t2"],
            1e-3,
            name,
        );
        // With all components kept Q is nothing but rounding.
        all_close(
            &found.iter().map(|found| found.q).collect::<Vec<_>>(),
            &case["q"],
            1e-3,
            name,
        );
        let training_rows = case["training_rows"].as_u64().unwrap() as u32;
        for limit in case["limits"].as_array().unwrap() {
            let probability = limit["probability"].as_f64().unwrap();
            close_or_none(pca.t2_limit(probability, training_rows), &limit["t2"], 0.0, name);
            close_or_none(pca.jackson_mudholkar(probability), &limit["q"], 0.0, name);
        }
    }
}

#[test]
fn z_scores_agree_with_pandas_and_alarms_are_the_same() {
    for case in cases("zscore") {
        for expected in case["baselines"].as_array().unwrap() {
            let baseline = match expected["baseline"]["samples"].as_u64() {
                Some(samples) => Baseline::Rolling(samples as usize),
                None => Baseline::HalfLife(expected["baseline"]["half_life"].as_f64().unwrap()),
            };
            let (raise, clear) = (4.0, 2.0);
            let config = ZConfig {
                baseline,
                raise,
                clear,
                ..ZConfig::default()
            };
            let mut score = ZScore::new(config).unwrap();
            let reports: Vec<_> = list(&case["values"]).iter().map(|&value| score.push(value)).collect();
            let raised = |row: &usize| reports[*row].is_some_and(|report| report.raised);
            let alarms: Vec<usize> = (0..reports.len()).filter(raised).collect();
            assert!(
                alarms.len() > 10 && expected["alarms"] == Value::from(alarms.clone()),
                "{baseline:?} {alarms:?}"
            );
            for (row, z) in list(&expected["rows"])
                .into_iter()
                .zip(expected["z"].as_array().unwrap())
            {
                let report = reports[row as usize];
                close_or_none(
                    report.map(|report| report.z),
                    z,
                    1e-3,
                    &format!("{baseline:?} at {row}"),
                );
            }
            let limit = reports.last().unwrap().unwrap().limit;
            close(limit, expected["limit"].as_f64().unwrap(), 0.0, "limit");
        }
    }
}

#[test]
fn classes_and_how_sure_they_are_agree_with_scipy() {
    for case in cases("softmax") {
        let name = case["name"].as_str().unwrap();
        let mut values = list(&case["logits"]);
        assert!(softmax::softmax(&mut values));
        all_close(&values, &case["probabilities"], 0.0, name);
        close_or_none(softmax::entropy(&values), &case["entropy"], 1e-3, name);
        close_or_none(softmax::confidence(&values), &case["confidence"], 0.0, name);
        close_or_none(softmax::margin(&values), &case["margin"], 1e-3, name);
        assert_eq!(case["argmax"], softmax::argmax(&values).unwrap(), "{name}");
        assert_eq!(case["top"], Value::from(softmax::top(&values, 5).unwrap()), "{name}");
    }
}

#[test]
fn spectra_with_other_windows_agree_with_scipy() {
    for case in cases("spectrum") {
        let values = list(&case["values"]);
        for expected in case["options"].as_array().unwrap() {
            let function = match expected["function"].as_str().unwrap() {
                "hann" => WindowFunction::Hann,
                "hamming" => WindowFunction::Hamming,
                _ => WindowFunction::Rectangular,
            };
            let options = |scaling| Options {
                function,
                weighted: expected["weighted"].as_u64().map(|weighted| weighted as usize),
                remove_mean: expected["remove_mean"].as_bool().unwrap(),
                scaling,
            };
            let power = |scaling| {
                let mut spectrum = Spectrum::with_options(values.len(), options(scaling)).unwrap();
                spectrum.power(&values).unwrap().to_vec()
            };
            let what = format!("{:?}", options(Scaling::Squared));
            // A bin in which nothing is holds the rounding of those that hold something.
            all_close(&power(Scaling::Squared), &expected["squared"], 1e-3, &what);
            all_close(&power(Scaling::MeanSquare), &expected["mean_square"], 1e-6, &what);
        }
    }
}

#[test]
fn mel_filters_agree_with_librosa() {
    for case in cases("mel") {
        for expected in case["filters"].as_array().unwrap() {
            let norm = match expected["norm"].as_str().unwrap() {
                "slaney" => Norm::Area,
                "None" => Norm::Peak,
                "1" => Norm::Sum,
                _ => Norm::Largest,
            };
            let scale = if expected["htk"] == true {
                Scale::Htk
            } else {
                Scale::Slaney
            };
            let filters = MelFilters::new(&mel_config(8_000.0, 128, 10, [100.0, 3_900.0], scale, norm)).unwrap();
            for (filter, row) in expected["weights"].as_array().unwrap().iter().enumerate() {
                let first = row["first"].as_u64().unwrap() as usize;
                let weights = filters.weights(filter).unwrap();
                let (before, rest) = weights.split_at(first);
                let (within, after) = rest.split_at(row["weights"].as_array().unwrap().len());
                assert!(
                    before.iter().chain(after).all(|&weight| weight == 0.0),
                    "{scale:?} {norm:?} {filter}"
                );
                all_close(within, &row["weights"], 1e-3, &format!("{scale:?} {norm:?} {filter}"));
            }
        }
        let filters = MelFilters::new(&mel_config(
            22_050.0,
            2048,
            128,
            [0.0, 11_025.0],
            Scale::Slaney,
            Norm::Area,
        ));
        let power: Vec<f64> = (0..1025).map(|bin| 1.0 / f64::from(1 + bin)).collect();
        let mut bands = [0.0; 128];
        filters.unwrap().apply(&power, &mut bands).unwrap();
        all_close(&bands, &case["default"], 0.0, "librosa's defaults");
    }
}

#[test]
fn mel_spectrograms_and_levels_agree_with_librosa() {
    for case in cases("mel") {
        let config = mel_config(16_000.0, 512, 40, [20.0, 7_600.0], Scale::Htk, Norm::Area);
        let filters = MelFilters::new(&config).unwrap();
        let options = Options {
            weighted: Some(400),
            remove_mean: false,
            scaling: Scaling::Squared,
            ..Options::default()
        };
        let mut spectrum = Spectrum::with_options(512, options).unwrap();
        let mut frames = Frames::new(512, 160).unwrap();
        let mut spectrogram = Vec::new();
        for sample in list(&case["sound"]) {
            if let Some(frame) = frames.push(sample) {
                let mut bands = vec![0.0; 40];
                filters.apply(spectrum.power(frame).unwrap(), &mut bands).unwrap();
                spectrogram.push(bands);
            }
        }
        let expected = case["bands"].as_array().unwrap();
        assert_eq!(spectrogram.len(), expected.len());
        for (bands, expected) in spectrogram.iter().zip(expected) {
            all_close(bands, expected, 1e-3, "bands");
        }
        let decibel = Decibel {
            reference: 2.0,
            floor: 1e-3,
            range_db: 20.0,
        };
        decibel.levels(&mut spectrogram[0]);
        all_close(&spectrogram[0], &case["levels"], 1e-3, "levels");
    }
}

fn mel_config(
    sample_rate_hz: f64,
    window: usize,
    filters: usize,
    [low_hz, high_hz]: [f64; 2],
    scale: Scale,
    norm: Norm,
) -> MelConfig {
    MelConfig {
        sample_rate_hz,
        window,
        filters,
        low_hz,
        high_hz,
        scale,
        norm,
    }
}

#[test]
fn pixels_are_those_of_onnx_resize_in_single_precision() {
    for case in cases("image") {
        let bytes = |value: &Value| -> Vec<u8> { list(value).into_iter().map(|value| value as u8).collect() };
        let singles = |value: &Value| -> Vec<f32> { list(value).into_iter().map(|value| value as f32).collect() };
        let frame = bytes(&case["frame"]);
        let normalization = Normalization {
            divisor: 255.0,
            mean: singles(&case["mean"]),
            deviation: singles(&case["deviation"]),
        };
        for expected in case["results"].as_array().unwrap() {
            let what = format!("{} {}", expected["method"], expected["size"]);
            let side = |index: usize| expected["size"][index].as_u64().unwrap() as usize;
            let config = ImageConfig {
                source: Size { width: 9, height: 7 },
                target: Size {
                    width: side(1),
                    height: side(0),
                },
                channels: 3,
                method: if expected["method"] == "nearest" {
                    Method::Nearest
                } else {
                    Method::Bilinear
                },
                layout: Layout::Nchw,
                reverse_channels: false,
            };
            let transform = ImageTransform::new(config).unwrap();
            let mut values = vec![[0; 4]; transform.target_len()];
            transform.normalize(&frame, &normalization, &mut values).unwrap();
            let values: Vec<f32> = values.into_iter().map(f32::from_le_bytes).collect();
            assert_eq!(values, singles(&expected["nchw"]), "{what}");

            let layout = Layout::Nhwc;
            let mut pixels = vec![0; transform.target_len()];
            let transform = ImageTransform::new(ImageConfig { layout, ..config }).unwrap();
            transform.resize(&frame, &mut pixels).unwrap();
            assert_eq!(pixels, bytes(&expected["nhwc_u8"]), "{what}");
        }
    }
}
