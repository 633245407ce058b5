//! What no recorded case shows: thresholds at the ends of the numbers, and forests that are deep.

use super::description::{Contribution, Description, Split, Test, Vertex};
use super::forest::Forest;
use super::scores::Sum;

fn leaf(weight: f64) -> Vertex {
    Vertex::Leaf(vec![Contribution { target: 0, weight }])
}

/// 1 where the test holds, 0 where it doesn't.
fn stump(test: Test, value: f64, nan_is_true: bool) -> Description {
    let split = Split {
        feature: 0,
        test,
        value,
        nan_is_true,
        if_true: 1,
        if_false: 2,
    };
    Description {
        vertices: vec![Vertex::Split(split), leaf(1.0), leaf(0.0)],
        roots: vec![0],
        targets: 1,
        double: false,
    }
}

fn answers(description: &Description, values: &[f32]) -> Vec<f32> {
    let forest = Forest::<f32>::new(description).unwrap();
    let mut answers = Vec::new();
    let mut sums = Sum::new(Forest::<f32>::block(values.len()));
    forest.walk(values, 1, &mut sums, |sums, _, rows| answers.extend(sums.take(rows)));
    answers
}

#[test]
fn every_test_holds_where_the_processor_says_so() {
    const VALUES: [f32; 9] = [
        f32::NEG_INFINITY,
        f32::MIN,
        -1.0,
        -0.0,
        0.0,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::INFINITY,
        f32::NAN,
    ];
    type Holds = fn(f32, f32) -> bool;
    let tests: [(Test, Holds); 6] = [
        (Test::AtMost, |x, t| x <= t),
        (Test::Below, |x, t| x < t),
        (Test::AtLeast, |x, t| x >= t),
        (Test::Above, |x, t| x > t),
        (Test::Equal, |x, t| x == t),
        (Test::NotEqual, |x, t| x != t),
    ];
    for (test, holds) in &tests {
        for threshold in VALUES {
            for nan_is_true in [false, true] {
                let description = stump(test.clone(), threshold.into(), nan_is_true);
                let expected = VALUES.map(|x| f32::from(u8::from(holds(x, threshold) || (nan_is_true && x.is_nan()))));
                assert_eq!(
                    answers(&description, &VALUES),
                    expected,
                    "{test:?} {threshold} {nan_is_true}"
                );
            }
        }
    }
    let members = stump(
        Test::Member(vec![2.0, -1.0, f64::NEG_INFINITY, f64::INFINITY]),
        0.0,
        false,
    );
    assert_eq!(
        answers(&members, &VALUES),
        [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    );
    let none = stump(Test::Member(vec![]), 0.0, true);
    assert_eq!(answers(&none, &VALUES), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
}

/// A tree may be as deep as it has splits: neither building nor walking it takes a stack.
#[test]
fn a_tree_may_be_a_list() {
    let splits: usize = 100_000;
    let mut vertices = Vec::new();
    for level in 0..splits {
        vertices.push(Vertex::Split(Split {
            feature: 0,
            test: Test::AtMost,
            value: level as f64,
            nan_is_true: false,
            if_true: splits + level,
            if_false: if level + 1 == splits { 2 * splits } else { level + 1 },
        }));
    }
    vertices.extend((0..=splits).map(|level| leaf(level as f64)));
    let description = Description {
        vertices,
        roots: vec![0],
        targets: 1,
        double: false,
    };
    assert_eq!(
        answers(&description, &[-1.0, 0.5, 99_998.5, 1e9]),
        [0.0, 1.0, 99_999.0, 100_000.0]
    );
}
