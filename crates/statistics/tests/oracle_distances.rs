//! Compares with what SciPy gave on the same inputs: `cases/distances.json`, written by `oracle_distances.py`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a malformed case file should stop the test where it is"
)]

use floorhand_statistics::{
    calibration::Calibration,
    categorical::{self, CategoryReference, TumblingChiSquare},
    chi_square, jensen_shannon,
    kolmogorov_smirnov::{self, TumblingKolmogorovSmirnov},
    psi::Reference,
    sample::SortedSample,
    wasserstein,
};
use serde_json::Value;

/// Relative, as every oracle comparison of this project.
const TOLERANCE: f64 = 1e-9;

fn cases(of: &str) -> (Vec<Value>, f64) {
    let cases: Value = serde_json::from_str(include_str!("cases/distances.json")).unwrap();
    (
        cases[of].as_array().unwrap().clone(),
        cases["confidence"].as_f64().unwrap(),
    )
}

fn list(value: &Value) -> Vec<f64> {
    let numbers = value.as_array().unwrap().iter();
    numbers.map(|number| number.as_f64().unwrap()).collect()
}

fn close(actual: f64, expected: &Value, what: &Value) {
    let expected = expected.as_f64().unwrap();
    let allowed = TOLERANCE * expected.abs();
    assert!(
        (actual - expected).abs() <= allowed,
        "{what}: {actual} and not {expected}"
    );
}

/// Every value `counts` times.
fn repeated(counts: &[f64]) -> Vec<f64> {
    let cells = (0_u32..).zip(counts);
    cells
        .flat_map(|(cell, &count)| std::iter::repeat_n(f64::from(cell), count as usize))
        .collect()
}

#[test]
fn kolmogorov_smirnov_agrees_with_scipy() {
    let (cases, confidence) = cases("pairs");
    for case in cases {
        let (reference, current) = (list(&case["reference"]), list(&case["current"]));
        let noise = kolmogorov_smirnov::noise(confidence, reference.len() as f64, current.len() as f64);
        let sample = SortedSample::from_samples(&reference, 1000).unwrap();
        let mut drift = TumblingKolmogorovSmirnov::new(sample, current.len() as u64).unwrap();
        let report = current.iter().find_map(|&value| drift.push(value)).unwrap();
        close(report.statistic, &case["ks"], &case["name"]);
        close(noise, &case["ks_noise"], &case["name"]);
        close(report.threshold, &case["ks_noise"], &case["name"]);
    }
}

#[test]
fn wasserstein_agrees_with_scipy() {
    let (cases, confidence) = cases("pairs");
    for case in cases {
        let (reference, mut current) = (list(&case["reference"]), list(&case["current"]));
        let sample = SortedSample::from_samples(&reference, 1000).unwrap();
        close(sample.deviation(), &case["deviation"], &case["name"]);
        close(sample.skewness(), &case["skewness"], &case["name"]);
        current.sort_unstable_by(f64::total_cmp);
        close(
            wasserstein::distance(sample.points(), &current),
            &case["wasserstein"],
            &case["name"],
        );
        let noise = wasserstein::noise(confidence, sample.skewness(), sample.drawn(), current.len() as f64);
        close(noise, &case["wasserstein_noise"], &case["name"]);
    }
}

#[test]
fn jensen_shannon_agrees_with_scipy() {
    let (cases, confidence) = cases("histograms");
    for case in cases {
        let (before, now) = (list(&case["reference"]), list(&case["current"]));
        close(
            jensen_shannon::distance(&before, &now),
            &case["jensen_shannon"],
            &case["name"],
        );
        let noise = jensen_shannon::noise(confidence, before.len(), before.iter().sum(), now.iter().sum());
        close(noise, &case["noise"], &case["name"]);

        // The same through the monitor, with bins around 0, 1, 2 and so on.
        let edges = (1..before.len()).map(|edge| edge as f64 - 0.5).collect();
        let values = repeated(&now);
        let reference = Reference::new(edges, before).unwrap();
        let mut drift = jensen_shannon::TumblingJensenShannon::new(reference, values.len() as u64).unwrap();
        let report = values.iter().find_map(|&value| drift.push(value)).unwrap();
        close(report.statistic, &case["jensen_shannon"], &case["name"]);
        close(report.threshold, &case["noise"], &case["name"]);
    }
}

#[test]
fn chi_square_agrees_with_scipy() {
    for case in cases("categories").0 {
        let (before, now) = (list(&case["reference"]), list(&case["current"]));
        let degrees = before.len() as u32 - 1;
        let scale = now.iter().sum::<f64>() / before.iter().sum::<f64>();
        let expected: Vec<f64> = before.iter().map(|count| count * scale).collect();
        let fit = categorical::goodness_of_fit(&now, &expected);
        close(fit, &case["fit"], &case["name"]);
        close(chi_square::survival(fit, degrees), &case["fit_p"], &case["name"]);
        let both = categorical::homogeneity(&before, &now);
        close(both, &case["homogeneity"], &case["name"]);
        close(
            chi_square::survival(both, degrees),
            &case["homogeneity_p"],
            &case["name"],
        );

        // The same through the monitor: every category is expected often enough to stand for itself.
        let reference = CategoryReference::from_samples(&repeated(&before), 256).unwrap();
        let values = repeated(&now);
        let mut drift = TumblingChiSquare::new(reference, values.len() as u64).unwrap();
        let report = values.iter().find_map(|&value| drift.push(value)).unwrap();
        close(report.statistic, &case["homogeneity"], &case["name"]);
    }
}

#[test]
fn the_noise_of_rare_categories_agrees_with_scipy() {
    let (cases, confidence) = cases("rare");
    for case in cases {
        let noise = categorical::noise(confidence, &list(&case["reference"]), case["window"].as_f64().unwrap());
        close(noise, &case["noise"], &case["reference"]);
    }
}

#[test]
fn probabilities_beyond_agree_with_scipy() {
    for case in cases("distributions").0 {
        let x = case["x"].as_f64().unwrap();
        let survival = match case["degrees"].as_u64() {
            Some(degrees) => chi_square::survival(x, degrees as u32),
            None => kolmogorov_smirnov::survival(x),
        };
        close(survival, &case["survival"], &case["x"]);
    }
}

#[test]
fn tolerance_bounds_agree_with_scipy() {
    for case in cases("tolerance").0 {
        let blocks = case["blocks"].as_u64().unwrap() as u32;
        let calibration = Calibration::new((1..=blocks).map(f64::from).collect()).unwrap();
        let calibrated = calibration.threshold(case["confidence"].as_f64().unwrap()).unwrap();
        close(calibrated.threshold, &case["rank"], &case["blocks"]);
        close(calibrated.at_most, &case["at_most"], &case["blocks"]);
    }
}
