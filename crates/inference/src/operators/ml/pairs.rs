//! The pairs of classes of an `SVMClassifier`: their decisions, votes and probabilities.

use super::attributes::Attributes;
use std::ops::Range;
use tract_onnx::prelude::TractResult;

/// The pairs, each with the coefficients of both classes' support vectors.
#[derive(Debug)]
pub(crate) struct Pairs {
    /// In the order (0, 1), (0, 2), ..., (1, 2), ...
    pairs: Vec<Pair>,
    vectors: usize,
}

#[derive(Debug)]
struct Pair {
    classes: (usize, usize),
    /// What is multiplied with the likeness to which vectors.
    sides: [(Range<usize>, Vec<f32>); 2],
    rho: f32,
}

impl Pairs {
    /// libsvm's layout: the coefficients are a table with a row for each class but one and a column for each vector. A
    /// class's vectors stand together, and have their coefficient against another class in that one's row, counted
    /// without their own.
    pub(crate) fn parse(attributes: &mut Attributes, classes: usize) -> TractResult<Self> {
        let ranges = ranges(attributes, classes)?;
        let vectors = ranges.last().map_or(0, |range| range.end);
        let coefficients = attributes.floats("coefficients")?;
        if classes < 2 || coefficients.len() != (classes - 1).saturating_mul(vectors) {
            let problem = format!(
                "has {} values for {classes} classes of {vectors} vectors in all; give a value for each vector and \
                 other class",
                coefficients.len()
            );
            return Err(attributes.refuse("coefficients", problem));
        }
        let rho = attributes.floats("rho")?;
        let count = pair_count(classes);
        if rho.len() != count {
            let problem = format!(
                "has {} values for {count} pairs of classes; give one for each",
                rho.len()
            );
            return Err(attributes.refuse("rho", problem));
        }
        let rows: Vec<&[f32]> = coefficients.chunks_exact(vectors).collect();
        let side = |range: &Range<usize>, row: usize| {
            let row = rows.get(row).and_then(|row| row.get(range.clone()));
            (range.clone(), row.unwrap_or_default().to_vec())
        };
        let mut pairs = Vec::with_capacity(count);
        for (i, first) in ranges.iter().enumerate() {
            for (j, second) in ranges.iter().enumerate().skip(i + 1) {
                pairs.push(Pair {
                    classes: (i, j),
                    sides: [side(first, j - 1), side(second, i)],
                    rho: rho.get(pairs.len()).copied().unwrap_or_default(),
                });
            }
        }
        Ok(Self { pairs, vectors })
    }

    pub(crate) fn count(&self) -> usize {
        self.pairs.len()
    }

    pub(crate) fn vectors(&self) -> usize {
        self.vectors
    }

    /// Writes each pair's decision, and returns the class with the most votes, the first of equals.
    pub(crate) fn decide(&self, likeness: &[f32], decisions: &mut [f32], votes: &mut [usize]) -> usize {
        votes.fill(0);
        for (pair, decision) in self.pairs.iter().zip(decisions) {
            let sum = pair.decision(likeness);
            *decision = sum as f32;
            let winner = if sum > 0.0 { pair.classes.0 } else { pair.classes.1 };
            if let Some(votes) = votes.get_mut(winner) {
                *votes += 1;
            }
        }
        let most = votes.iter().max();
        votes.iter().position(|votes| Some(votes) == most).unwrap_or(0)
    }
}

impl Pair {
    fn decision(&self, likeness: &[f32]) -> f64 {
        let mut sum = 0.0;
        for (range, coefficients) in &self.sides {
            let likeness = likeness.get(range.clone()).unwrap_or_default();
            let products = likeness.iter().zip(coefficients).map(|(a, b)| f64::from(a * b));
            sum += products.sum::<f64>();
        }
        sum + f64::from(self.rho)
    }
}

/// How many pairs so many classes make. Where that overflows, no attribute can have as many values.
fn pair_count(classes: usize) -> usize {
    classes.saturating_mul(classes.saturating_sub(1)) / 2
}

/// Which vectors belong to which class.
fn ranges(attributes: &mut Attributes, classes: usize) -> TractResult<Vec<Range<usize>>> {
    let counts = attributes.ints("vectors_per_class")?;
    let mut ranges = Vec::with_capacity(counts.len());
    let mut begin = 0_usize;
    for &count in counts {
        // More vectors than a model can hold are a claim, and no sum of them is worth computing.
        let end = usize::try_from(count).ok().filter(|&count| count <= 1 << 28);
        let Some(end) = end.and_then(|count| begin.checked_add(count)) else {
            let problem = format!("is {counts:?}; give each class's number of support vectors");
            return Err(attributes.refuse("vectors_per_class", problem));
        };
        ranges.push(begin..end);
        begin = end;
    }
    if ranges.len() != classes {
        let problem = format!(
            "has {} values for {classes} class labels; give one for each",
            ranges.len()
        );
        return Err(attributes.refuse("vectors_per_class", problem));
    }
    Ok(ranges)
}

/// Platt's sigmoids, one for each pair, which make a probability of its decision.
#[derive(Debug)]
pub(crate) struct Sigmoids {
    /// Slope and offset.
    parameters: Vec<(f32, f32)>,
    classes: usize,
}

impl Sigmoids {
    pub(crate) fn parse(attributes: &mut Attributes, classes: usize) -> TractResult<Option<Self>> {
        let (slopes, offsets) = (attributes.floats("prob_a")?, attributes.floats("prob_b")?);
        let pairs = pair_count(classes);
        if slopes.is_empty() && offsets.is_empty() {
            return Ok(None);
        }
        if slopes.len() != pairs || offsets.len() != pairs {
            let problem = format!(
                "has {} values beside {} of \"prob_b\" for {pairs} pairs of classes; give one for each in both",
                slopes.len(),
                offsets.len()
            );
            return Err(attributes.refuse("prob_a", problem));
        }
        let parameters = slopes.iter().copied().zip(offsets.iter().copied()).collect();
        Ok(Some(Self { parameters, classes }))
    }

    /// Each class's probability, from those of the pairs: the second method of Wu, Lin and Weng, "Probability Estimates
    /// for Multi-class Classification by Pairwise Coupling" (2004), with libsvm's bounds and number of rounds.
    pub(crate) fn probabilities(&self, decisions: &[f32], probabilities: &mut [f32]) {
        let matrix = self.matrix(decisions);
        let classes = self.classes;
        probabilities.fill(1.0 / classes as f32);
        let accuracy = 0.005 / classes as f32;
        let mut products = vec![0.0_f32; classes];
        for _ in 0..ROUNDS {
            for (product, row) in products.iter_mut().zip(matrix.chunks_exact(classes)) {
                *product = row.iter().zip(probabilities.iter()).map(|(q, p)| q * p).sum();
            }
            let mut mean: f32 = probabilities.iter().zip(&products).map(|(p, q)| p * q).sum();
            let error = products.iter().map(|q| (q - mean).abs()).fold(0.0, f32::max);
            if error < accuracy {
                break;
            }
            for (i, row) in matrix.chunks_exact(classes).enumerate() {
                mean = step(i, row, mean, &mut products, probabilities);
            }
        }
    }

    /// The matrix Q whose quadratic form is to be the smallest.
    fn matrix(&self, decisions: &[f32]) -> Vec<f32> {
        let classes = self.classes;
        let mut matrix = vec![0.0_f32; classes * classes];
        let mut add = |row: usize, column: usize, value: f32| {
            if let Some(entry) = matrix.get_mut(row * classes + column) {
                *entry += value;
            }
        };
        let pairs = (0..classes).flat_map(|i| (i + 1..classes).map(move |j| (i, j)));
        for ((i, j), (decision, &(slope, offset))) in pairs.zip(decisions.iter().zip(&self.parameters)) {
            let first = 1.0 - super::scores::logistic(decision * slope + offset);
            let first = first.clamp(SMALLEST, 1.0 - SMALLEST);
            let second = 1.0 - first;
            add(i, i, second * second);
            add(j, j, first * first);
            add(i, j, -second * first);
            add(j, i, -second * first);
        }
        matrix
    }
}

/// No pair is quite sure.
const SMALLEST: f32 = 1e-7;
/// After which an estimate is taken as it is.
const ROUNDS: usize = 100;

/// Moves one class's probability to where the form is smallest along it, and scales all to a sum of 1. Returns the
/// form's new value.
fn step(i: usize, row: &[f32], mean: f32, products: &mut [f32], probabilities: &mut [f32]) -> f32 {
    let (Some(&diagonal), Some(&product)) = (row.get(i), products.get(i)) else {
        return mean;
    };
    let difference = (mean - product) / diagonal;
    let scale = 1.0 + difference;
    if let Some(probability) = probabilities.get_mut(i) {
        *probability += difference;
    }
    for ((product, entry), probability) in products.iter_mut().zip(row).zip(probabilities) {
        *product = (*product + difference * entry) / scale;
        *probability /= scale;
    }
    (mean + difference * (difference * diagonal + 2.0 * product)) / scale / scale
}
