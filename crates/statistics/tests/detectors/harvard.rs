//! The Harvard concept-drift streams (Lobo 2020, Synthetic datasets for concept drift detection purposes): 40,000 rows
//! with abrupt drifts at rows 10,000, 20,000 and 30,000.
//!
//! Prequential, as such detectors are usually compared: each row is first predicted and then learnt by an online learner
//! (Gaussian naive Bayes), whether the prediction was wrong goes to the detector, and at an alarm a learner that knows
//! nothing takes over. The first alarm within 2,000 rows of a drift is its detection; every other alarm is false.
//!
//! SEA's drifts hardly show in these errors: a learner that never starts over is wrong in 0.19 to 0.27 of any thousand rows,
//! before a drift and after it. So most detectors, River's as these, miss most of them.
//!
//! The detectors' plugins are held against the same streams, by their own tests that take this file in.
//!
//! What River's detectors do in the same place is in `cases/drift_streams.json`, written by
//! `oracle_detectors.py --streams FOLDER`. The streams are no part of the repository.

use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

const DRIFTS: [u64; 3] = [10_000, 20_000, 30_000];

/// A later alarm is no answer to the drift: the learner has learnt the new concept by then.
const TOLERANCE: u64 = 2_000;

/// A row with its label.
struct Row {
    features: Vec<f64>,
    label: usize,
}

/// What a detector's alarms are worth.
#[derive(Debug, Default, Clone, Copy)]
struct Score {
    found: u32,
    false_alarms: u32,
    /// Rows from a drift to its detection, over all that were found.
    delays: u64,
}

impl Score {
    fn of(alarms: &[u64]) -> Self {
        let mut score = Self::default();
        for drift in DRIFTS {
            let found = alarms.iter().find(|alarm| (drift..drift + TOLERANCE).contains(alarm));
            score.found += u32::from(found.is_some());
            score.delays += found.map_or(0, |alarm| alarm - drift);
        }
        score.false_alarms = u32::try_from(alarms.len()).unwrap() - score.found;
        score
    }

    fn delay(self) -> f64 {
        self.delays as f64 / f64::from(self.found.max(1))
    }
}

/// Naive Bayes with a normal distribution per class and feature, the same operation by operation as in the script.
struct GaussianBayes {
    rows: f64,
    classes: [Class; 2],
}

#[derive(Clone)]
struct Class {
    count: f64,
    /// Mean and sum of squared distances to it, of each feature.
    features: Vec<(f64, f64)>,
}

impl GaussianBayes {
    fn new(features: usize) -> Self {
        let class = Class {
            count: 0.0,
            features: vec![(0.0, 0.0); features],
        };
        Self {
            rows: 0.0,
            classes: [class.clone(), class],
        }
    }

    fn predict(&self, row: &[f64]) -> usize {
        let [zero, one] = &self.classes;
        usize::from(one.score(row, self.rows) > zero.score(row, self.rows))
    }

    fn learn(&mut self, row: &Row) {
        self.rows += 1.0;
        let class = &mut self.classes[row.label];
        class.count += 1.0;
        for ((mean, squares), value) in class.features.iter_mut().zip(&row.features) {
            let distance = value - *mean;
            *mean += distance / class.count;
            *squares += distance * (value - *mean);
        }
    }
}

impl Class {
    fn score(&self, row: &[f64], rows: f64) -> f64 {
        if self.count < 2.0 {
            return if self.count == 0.0 { f64::NEG_INFINITY } else { 0.0 };
        }
        let mut score = libm::log(self.count / rows);
        for ((mean, squares), value) in self.features.iter().zip(row) {
            let variance = squares / self.count + 1e-9;
            let distance = value - mean;
            score -= 0.5 * libm::log(variance) + distance * distance / (2.0 * variance);
        }
        score
    }
}

/// The rows that alarmed, and how many predictions were wrong. `alarms_at` takes in whether one was.
fn prequential(rows: &[Row], mut alarms_at: impl FnMut(bool) -> bool) -> (Vec<u64>, u64) {
    let mut learner = GaussianBayes::new(rows[0].features.len());
    let (mut alarms, mut errors) = (Vec::new(), 0);
    for (index, row) in (0..).zip(rows) {
        let wrong = learner.predict(&row.features) != row.label;
        errors += u64::from(wrong);
        learner.learn(row);
        if alarms_at(wrong) {
            alarms.push(index);
            learner = GaussianBayes::new(row.features.len());
        }
    }
    (alarms, errors)
}

/// `None`, with a word on what is missing, where the streams aren't.
fn folder() -> Option<PathBuf> {
    let data = std::env::var_os("FLOORHAND_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let folder = data.join("drift");
    if folder.is_dir() {
        return Some(folder);
    }
    println!(
        "SKIPPED: there is no {}: name the folder that holds drift in FLOORHAND_DATA",
        folder.display()
    );
    None
}

fn read(path: &Path) -> Vec<Row> {
    let output = Command::new("gzip").arg("-dc").arg(path).output().unwrap();
    assert!(output.status.success(), "gzip can't unpack {}", path.display());
    let text = String::from_utf8(output.stdout).unwrap();
    let row = |line: &str| {
        let numbers: Vec<f64> = line.split(',').map(|number| number.parse().unwrap()).collect();
        let (label, features) = numbers.split_last().unwrap();
        Row {
            features: features.to_vec(),
            label: usize::from(*label == 1.0),
        }
    };
    text.lines().skip(1).map(row).collect()
}

/// Runs `alarms`, which answers for a detector's recorded name and parameters with one that takes errors in and says
/// whether it alarms, on every recorded stream, and holds it against River: as many drifts found, no more false alarms, no
/// later, and at the very same rows. `only` names the detector to look at.
pub(crate) fn check<D: FnMut(bool) -> bool>(only: Option<&str>, mut detector: impl FnMut(&str, &Value) -> D) {
    let Some(folder) = folder() else { return };
    let cases: Value = serde_json::from_str(include_str!("../cases/drift_streams.json")).unwrap();
    let mut compared = 0;
    for stream in cases["streams"].as_array().unwrap() {
        let name = stream["stream"].as_str().unwrap();
        let rows = read(&folder.join(name));
        assert_eq!(rows.len() as u64, stream["rows"].as_u64().unwrap());
        println!("{name}: found of 3, false alarms, mean delay in rows; River's in brackets");
        for answer in stream["answers"].as_array().unwrap() {
            let (recorded, parameters) = (answer["detector"].as_str().unwrap(), &answer["parameters"]);
            if only.is_some_and(|only| only != recorded) {
                continue;
            }
            let (alarms, errors) = prequential(&rows, detector(recorded, parameters));
            assert_eq!(errors, answer["errors"].as_u64().unwrap(), "not the script's learner");
            compare(
                &format!("{recorded} {parameters} on {name}"),
                &alarms,
                &answer["alarms"],
            );
            compared += 1;
        }
    }
    assert!(compared > 0, "no recorded detector is {only:?}");
}

fn compare(what: &str, alarms: &[u64], rivers: &Value) {
    let rivers: Vec<u64> = serde_json::from_value(rivers.clone()).unwrap();
    let (ours, theirs) = (Score::of(alarms), Score::of(&rivers));
    println!(
        "  {what}: {} {} {:.0} ({} {} {:.0})",
        ours.found,
        ours.false_alarms,
        ours.delay(),
        theirs.found,
        theirs.false_alarms,
        theirs.delay()
    );
    assert!(ours.found >= theirs.found, "{what}");
    assert!(ours.false_alarms <= theirs.false_alarms, "{what}");
    assert!(ours.delay() <= theirs.delay(), "{what}");
    assert_eq!(alarms, rivers, "{what}");
}
