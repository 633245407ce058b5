//! Place by place, in every order of what is read and answered, against the definition.

use super::super::by_place::{ByPlace, UNBOUNDED};
use super::*;

/// Numbers channel by channel as they lie place by place.
fn turned(numbers: &[f32], channels: usize) -> Vec<f32> {
    let places = numbers.len() / channels;
    let mut turned = Vec::new();
    for place in 0..places {
        turned.extend(numbers.iter().skip(place).step_by(places));
    }
    turned
}

/// What it answers to numbers that lie channel by channel, in that order again.
fn answers(by_place: &ByPlace, of: &Plain, [from, to]: [Order; 2], numbers: &[f32], answers: &mut [f32]) {
    let numbers = match from {
        Order::ByChannel => numbers.to_vec(),
        Order::ByPlace => turned(numbers, of.channels),
    };
    by_place.eval(&numbers, answers);
    if to == Order::ByPlace {
        let places = of.output[0] * of.output[1];
        answers.copy_from_slice(&turned(answers, places));
    }
}

const ORDERS: [[Order; 2]; 4] = [
    [Order::ByPlace, Order::ByPlace],
    [Order::ByPlace, Order::ByChannel],
    [Order::ByChannel, Order::ByPlace],
    [Order::ByChannel, Order::ByChannel],
];

#[test]
fn answers_are_those_of_the_definition_in_every_order() {
    for (channels, picture, kernel, strides, dilations, padding) in [
        // Of one place each: with whole registers of outputs and without, with tiles that fit and that don't.
        ([64, 64, 1], [25, 5], [1, 1], [1, 1], [1, 1], [0; 4]),
        ([16, 40, 1], [3, 3], [1, 1], [1, 1], [1, 1], [0; 4]),
        ([5, 7, 1], [4, 4], [1, 1], [1, 1], [1, 1], [0; 4]),
        ([8, 33, 1], [9, 11], [1, 1], [2, 2], [1, 1], [0; 4]),
        ([3, 4, 1], [2, 1], [1, 1], [1, 1], [1, 1], [0; 4]),
        // Of a few channels that are read where they are.
        ([3, 16, 1], [16, 32], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
        ([3, 8, 1], [9, 40], [3, 3], [2, 2], [1, 1], [0, 0, 1, 1]),
        ([1, 64, 1], [49, 10], [10, 4], [2, 2], [1, 1], [4, 1, 5, 1]),
        ([2, 17, 1], [6, 43], [2, 3], [1, 3], [1, 1], [0, 0, 0, 0]),
        ([4, 20, 1], [6, 30], [2, 2], [1, 1], [2, 3], [1, 2, 0, 1]),
        // Of many.
        ([16, 32, 1], [8, 8], [3, 3], [2, 2], [1, 1], [0, 0, 1, 1]),
        ([32, 16, 1], [8, 8], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
        ([5, 50, 1], [7, 6], [3, 2], [2, 1], [1, 2], [2, 0, 1, 3]),
        // Each for itself: several places in a register, one in several, and channels that fill none.
        ([8, 8, 8], [12, 48], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
        ([8, 8, 8], [12, 9], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
        ([16, 16, 16], [5, 13], [3, 3], [1, 1], [1, 1], [1, 2, 1, 0]),
        ([32, 32, 32], [6, 6], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
        ([64, 64, 64], [25, 5], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
        ([128, 128, 128], [6, 6], [3, 3], [2, 2], [1, 1], [0, 0, 1, 1]),
        ([50, 50, 50], [5, 6], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
        ([3, 3, 3], [7, 9], [2, 5], [3, 2], [1, 1], [1, 4, 0, 3]),
        ([20, 20, 20], [6, 7], [3, 3], [1, 1], [2, 2], [2, 2, 2, 2]),
        ([16, 16, 16], [2, 2], [5, 5], [1, 1], [1, 1], [2, 2, 2, 2]),
        ([16, 16, 16], [3, 3], [3, 3], [1, 1], [1, 1], [3, 3, 3, 3]),
    ] {
        let of = plain(channels, picture, kernel, strides, dilations, padding);
        for orders in ORDERS {
            let mut before: Option<Vec<f32>> = None;
            for vectors in tiles::Vectors::all() {
                let by_place = ByPlace::with(&of, orders, UNBOUNDED, vectors).unwrap();
                let found = check(&format!("{vectors:?} {orders:?}"), &of, |numbers, found| {
                    answers(&by_place, &of, orders, numbers, found);
                });
                assert!(before.is_none_or(|before| before == found), "{orders:?} {of:?}");
                before = Some(found);
            }
        }
    }
}

#[test]
fn bounds_are_kept_and_nan_is_let_through() {
    for channels in [[20, 20, 20], [6, 21, 1]] {
        let of = plain(channels, [5, 6], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]);
        let mut picture = numbers(channels[0] * 30);
        picture[7] = f32::NAN;
        let run = |bounds: [f32; 2], vectors: tiles::Vectors| {
            let by_place = ByPlace::with(&of, [Order::ByChannel; 2], bounds, vectors).unwrap();
            let mut found = vec![0.0; channels[1] * 30];
            by_place.eval(&picture, &mut found);
            found
        };
        for vectors in tiles::Vectors::all() {
            let (free, kept) = (run(UNBOUNDED, vectors), run([0.0, 0.75], vectors));
            let nan = free.iter().filter(|number| number.is_nan()).count();
            assert!(nan > 0 && nan < free.len(), "{nan}");
            for (free, kept) in free.iter().zip(kept) {
                assert!(
                    (free.is_nan() && kept.is_nan()) || free.clamp(0.0, 0.75) == kept,
                    "{free} {kept}"
                );
            }
        }
    }
}

#[test]
fn groups_and_what_is_beyond_measure_are_not_taken() {
    let taken = |of: &Plain| ByPlace::of(of, [Order::ByPlace; 2], UNBOUNDED).is_some();
    if tiles::Vectors::of_this_processor().is_none() {
        println!("SKIPPED: this processor leaves convolutions to tract");
        return;
    }
    let one = [1, 1];
    assert!(taken(&plain([8, 8, 1], [4, 4], one, one, one, [0; 4])));
    assert!(!taken(&plain([8, 8, 2], [4, 4], one, one, one, [0; 4])), "groups");
    assert!(
        !taken(&plain([4, 8, 4], [4, 4], one, one, one, [0; 4])),
        "two outputs each"
    );
    assert!(!taken(&plain([1, 4, 1], [1, 5 << 20], one, one, one, [0; 4])), "20 MiB");
    assert!(
        !taken(&plain([1280, 1024, 1], [3, 3], one, one, one, [0; 4])),
        "5 MiB of weights"
    );
}
