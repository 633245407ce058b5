//! The models of MLPerf Tiny, fp32 and int8, against ONNX Runtime on 1,000 inputs each, one at a time as a device does.
//!
//! ONNX Runtime has two answers: with its optimisations, which join and reorder nodes, and without, node by node as
//! ONNX defines them. They aren't the same: in 1,000 rows the int8 key words have one with another class and a score 9
//! of 256 steps apart, since a value that is rounded at the edge of a step goes to the next layer a whole step away.
//! Ours has to be near one of the two in every row, and a classifier's top class has to be that of one of them. Where
//! one of them gives several classes the same highest score, which int8 allows, any of those is.

use crate::cases::{Case, Folder};
use floorhand_inference::{LoadOptions, Model};
use floorhand_tensor::{Datatype, Tensor, compare};
use floorhand_testkit::shared_data;
use std::collections::BTreeSet;

/// How far an output may be from the nearer of ONNX Runtime's two, by the end of the model's name: in steps where the
/// output is int8, else relative above 1 and absolute below.
///
/// The autoencoder's outputs are decibels, sums of products up to 100 in size that come out near 0 for some: in 640,000
/// of them ONNX Runtime's own two answers are 1.2e-5 apart, and ours is up to 5.4e-5 from the nearer, in both cases
/// less than a millionth of the largest output.
///
/// What goes into the key words' Softmax is within a step, of 0.1447. There that is a quarter of it at most, and in
/// steps of 1/256 behind it 9.3.
const TOLERANCES: [(&str, f64); 4] = [("ad01-fp32", 1e-4), ("fp32", 1e-5), ("kws-int8", 10.0), ("int8", 1.0)];

/// A model with fewer outputs is a classifier; the autoencoder has 640.
const CLASSES: usize = 100;

/// How the answers of one model differ.
#[derive(Debug, Default)]
struct Differences {
    /// Rows of which another class is the top one.
    top_1: usize,
    /// Rows in which ONNX Runtime has several top classes, or another with its optimisations than without.
    ties: usize,
    /// As the tolerance is meant.
    largest: f64,
    /// Rows that differ at all.
    rows: usize,
}

fn compare(folder: &Folder, case: &Case) -> Result<Differences, String> {
    let mut model = Model::load(&folder.model(case), &LoadOptions::default()).map_err(|error| error.to_string())?;
    let data = folder.data(case);
    let mut differences = Differences::default();
    for row in 0..usize::try_from(case.inputs[0].shape.as_ref().unwrap()[0]).unwrap() {
        let answers = model
            .run(&[case.inputs[0].row(&data, row)?])
            .map_err(|error| error.to_string())?;
        let both = [&case.outputs[0], &case.also[0]];
        let expected = both
            .iter()
            .map(|entry| entry.row(&data, row))
            .collect::<Result<Vec<_>, _>>()?;
        differences.add(&expected, &answers[0]);
    }
    Ok(differences)
}

impl Differences {
    /// Takes in a row; each of `expected` is right.
    fn add(&mut self, expected: &[Tensor], answer: &Tensor) {
        let nearest = expected
            .iter()
            .map(|expected| largest(expected, answer))
            .fold(f64::INFINITY, f64::min);
        self.rows += usize::from(nearest > 0.0);
        self.largest = self.largest.max(nearest);
        let tops: BTreeSet<usize> = expected.iter().flat_map(tops).collect();
        self.ties += usize::from(tops.len() > 1);
        self.top_1 += usize::from(!self::tops(answer).first().is_some_and(|top| tops.contains(top)));
    }
}

/// The largest difference of two tensors, in steps or as floats.
fn largest(expected: &Tensor, answer: &Tensor) -> f64 {
    let (wanted, given) = (expected.to_f64().unwrap(), answer.to_f64().unwrap());
    if expected.datatype() == Datatype::Int8 {
        assert_eq!(wanted.len(), given.len());
        return wanted
            .iter()
            .zip(&given)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
    }
    compare::largest_difference(expected, answer).unwrap()
}

/// Every place of the largest value.
fn tops(tensor: &Tensor) -> Vec<usize> {
    let values = tensor.to_f64().unwrap();
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (0..values.len()).filter(|&at| values[at] == largest).collect()
}

#[test]
fn mlperf_tiny_answers_as_in_onnx_runtime() {
    let Some(models) = shared_data("models") else {
        return;
    };
    let Some(folder) = Folder::made_by("mlperf_tiny.py", &[&models]) else {
        return;
    };
    let names: Vec<&str> = folder
        .cases
        .iter()
        .map(|case| case.name.trim_start_matches("mlperf-tiny-"))
        .collect();
    assert_eq!(
        names,
        ["ad01-fp32", "ad01-int8", "kws-fp32", "kws-int8", "resnet8-fp32"]
    );
    let mut failed = Vec::new();
    for case in &folder.cases {
        assert_eq!(case.inputs[0].shape.as_ref().unwrap()[0], 1000, "{}", case.name);
        let tolerance = TOLERANCES.iter().find(|(end, _)| case.name.ends_with(end)).unwrap().1;
        let is_classifier = case.outputs[0].shape.as_ref().unwrap()[1] < CLASSES as u64;
        let differences = compare(&folder, case);
        eprintln!("{}: {differences:?}", case.name);
        match differences {
            Ok(found) if found.largest <= tolerance && !(is_classifier && found.top_1 > 0) => {}
            found => failed.push(format!("{}: {found:?}", case.name)),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
