//! What explaining takes beside the model: a linear model of one output, so that next to nothing of it is the model's.
//!
//!     cargo bench -p floorhand-explanation

#![expect(clippy::unwrap_used, reason = "a failure should stop the bench where it is")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use floorhand_explanation::{Explanation, Groups, KernelShap, Options, Question, explain};
use std::{convert::Infallible, hint::black_box};

const BACKGROUND_ROWS: usize = 20;

fn run(features: usize, coalitions: usize) -> Explanation {
    let row = vec![1.0; features];
    let background: Vec<f32> = (0..features * BACKGROUND_ROWS)
        .map(|value| (value % 7) as f32)
        .collect();
    let question = Question::new(Groups::single(features).unwrap(), &row, &background, 1).unwrap();
    let options = Options {
        coalitions,
        ..Options::default()
    };
    let mut explainer = KernelShap::new(question, &options).unwrap();
    let model = |rows: &[f32], count: usize| {
        let sums = rows.chunks_exact(rows.len() / count).map(|row| row.iter().sum());
        Ok::<Vec<f32>, Infallible>(sums.collect())
    };
    explain(&mut explainer, model, || true).unwrap()
}

fn kernel_shap(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernel_shap");
    for (features, coalitions) in [(10, 256), (30, 256), (64, 256), (256, 1024)] {
        group.bench_with_input(
            BenchmarkId::new(format!("{coalitions} coalitions"), features),
            &features,
            |bencher, &features| {
                bencher.iter(|| run(black_box(features), coalitions));
            },
        );
    }
    group.finish();
}

criterion_group!(benches, kernel_shap);
criterion_main!(benches);
