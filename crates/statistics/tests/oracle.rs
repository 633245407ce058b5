//! Compares with what NumPy and SciPy gave on the same inputs: `cases/oracle.json`, written by `oracle.py`.

#![expect(
    clippy::unwrap_used,
    reason = "a malformed case file should stop the test where it is"
)]

use floorhand_statistics::{
    chi_square,
    moments::Moments,
    psi::{self, Reference, TumblingPsi},
    signal,
    spectrum::Spectrum,
};
use serde_json::Value;

/// Relative, as every oracle comparison of this project.
const TOLERANCE: f64 = 1e-9;

fn cases() -> Value {
    serde_json::from_str(include_str!("cases/oracle.json")).unwrap()
}

fn list(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

/// `floor` is the magnitude below which a difference is rounding in the input's own scale.
fn close(actual: f64, expected: &Value, floor: f64, what: &str) {
    let expected = expected.as_f64().unwrap();
    let allowed = TOLERANCE * if expected.abs() > floor { expected.abs() } else { floor };
    assert!(
        (actual - expected).abs() <= allowed,
        "{what}: {actual} and not {expected}"
    );
}

#[test]
fn windows_agree_with_numpy_and_scipy() {
    let cases = cases();
    for case in cases["windows"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let values = list(&case["values"]);
        close(signal::rms(&values), &case["rms"], 0.0, name);
        close(signal::peak(&values), &case["peak"], 0.0, name);
        close(signal::crest_factor(&values).unwrap(), &case["crest_factor"], 0.0, name);
        close(signal::kurtosis(&values).unwrap(), &case["kurtosis"], 0.0, name);

        let mut moments = Moments::new();
        values.iter().for_each(|&value| moments.push(value));
        close(moments.mean(), &case["mean"], 1e-3, name);
        close(moments.variance().unwrap(), &case["variance"], 0.0, name);
        close(moments.sample_variance().unwrap(), &case["sample_variance"], 0.0, name);
        // Nearly symmetric windows have a skewness near 0 that is all cancellation.
        close(moments.skewness().unwrap(), &case["skewness"], 1e-2, name);
        close(moments.kurtosis().unwrap(), &case["kurtosis"], 0.0, name);
    }
}

#[test]
fn spectra_agree_with_scipy() {
    let cases = cases();
    let rate_hz = cases["rate_hz"].as_f64().unwrap();
    for case in cases["windows"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let values = list(&case["values"]);
        let mut spectrum = Spectrum::new(values.len()).unwrap();
        let power = spectrum.power(&values).unwrap().to_vec();
        // A bin in which nothing is holds the rounding of those that hold something.
        let floor = 1e-6 * case["variance"].as_f64().unwrap();
        for (actual, expected) in power.iter().zip(case["power"].as_array().unwrap()) {
            close(*actual, expected, floor, name);
        }
        for (band, expected) in cases["bands_hz"]
            .as_array()
            .unwrap()
            .iter()
            .zip(case["bands"].as_array().unwrap())
        {
            let band = list(band);
            let energy: f64 = power[spectrum.bins(band[0], band[1], rate_hz)].iter().sum();
            close(energy, expected, floor, name);
        }
    }
}

#[test]
fn drift_agrees_with_numpy_and_scipy() {
    for case in cases()["psi"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let reference =
            Reference::from_samples(&list(&case["reference"]), case["bins"].as_u64().unwrap() as usize).unwrap();
        for (actual, expected) in reference.edges().iter().zip(case["edges"].as_array().unwrap()) {
            close(*actual, expected, 0.0, name);
        }
        assert_eq!(reference.counts(), list(&case["counts"]), "{name}");

        let current = list(&case["current"]);
        let mut drift = TumblingPsi::new(reference, current.len() as u64).unwrap();
        let report = current.iter().filter_map(|&value| drift.push(value)).next().unwrap();
        close(report.psi, &case["psi"], 0.0, name);
        close(report.threshold, &case["threshold"], 0.0, name);
    }
}

#[test]
fn chi_square_quantiles_agree_with_scipy() {
    for case in cases()["chi_square"].as_array().unwrap() {
        let degrees = case["degrees"].as_u64().unwrap() as u32;
        let probability = case["probability"].as_f64().unwrap();
        let quantile = chi_square::quantile(probability, degrees).unwrap();
        close(quantile, &case["quantile"], 0.0, &format!("{probability} at {degrees}"));
    }
}

#[test]
fn a_histogram_without_movement_has_no_index() {
    assert_eq!(psi::psi(&[10.0, 20.0], &[10.0, 20.0]), 0.0);
}
