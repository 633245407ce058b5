//! Memory is given back by ONNX Runtime, too: a session is replaced a thousand times, and the process stays as large as it was.

#![expect(clippy::unwrap_used, reason = "this is a test")]

mod library;
#[path = "../../inference/tests/onnx/mod.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod onnx;

use floorhand_inference::{Engine, LoadOptions};
use floorhand_tensor::Tensor;
use floorhand_testkit::anonymous_pss;
use onnx::Size;
use std::thread;

const SWAPS: usize = 1000;

/// Sessions after which the process has been as large as it gets.
const SETTLED: usize = 100;

/// How much larger the process may be at the end than it ever was until then, in bytes: its size goes up and down by as much. The model's
/// weights have 1 MiB, so that a two-hundredth of what was dropped would be seen.
const GROWTH: u64 = 4 << 20;

/// 1 MiB of weights.
const SIDE: usize = 512;

#[test]
fn a_thousand_sessions_leave_nothing_behind() {
    let Some(engine) = library::engine() else { return };
    if anonymous_pss().is_none() {
        println!("SKIPPED: needs a kernel that tells proportional set sizes");
        return;
    }
    let weight = |row: usize, column: usize| ((row * 3 + column) % 17) as f32 * 0.25 - 2.0;
    let onnx = onnx::bytes(onnx::dense(Size::Is(1), SIDE, SIDE, weight, |column| {
        column as f32 * 0.5
    }));
    let sample = [Tensor::from_f32("x", vec![1, SIDE as u64], &[0.5; SIDE]).unwrap()];
    let (mut serves, mut largest) = (None, 0);
    for swap in 1..=SWAPS {
        // Loaded on a thread, run on another, and dropped on a third, as the agent does.
        let load = || {
            let mut session = engine.load(&onnx, &LoadOptions::default()).unwrap();
            session.warm_up().unwrap();
            session
        };
        let replaced = serves.replace(thread::scope(|scope| scope.spawn(load).join().unwrap()));
        for _ in 0..3 {
            serves.as_mut().unwrap().run(&sample).unwrap();
        }
        thread::spawn(move || drop(replaced)).join().unwrap();
        if [10, SETTLED, SWAPS].contains(&swap) {
            println!(
                "after {swap}: {:.1} MiB",
                anonymous_pss().unwrap() as f64 / f64::from(1 << 20)
            );
        }
        if swap <= SETTLED {
            largest = largest.max(anonymous_pss().unwrap());
        }
    }
    let grown = anonymous_pss().unwrap().saturating_sub(largest);
    assert!(grown <= GROWTH, "{grown} bytes more than at most until swap {SETTLED}");
}
