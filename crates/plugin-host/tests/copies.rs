//! How often the host copies a tensor's bytes: counted in what it allocates, which is where a copy would go.
//!
//! On the way in they are written into the plugin's own memory, which is no allocation of the host's; on the way out into
//! one new tensor. Alone in its program: counting takes the place of the allocator.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests use the rest")]
mod guests;

use floorhand_plugin_host::{Context, Host, HostConfig, Limits, Processor};
use floorhand_tensor::Tensor;
use guests::{CONTEXT, setup, x};

/// Values of a short and of a long sample.
const SHORT: usize = 4_096;
const LONG: usize = 150_528;

/// Samples of a batch.
const SAMPLES: u64 = 4;

fn processor() -> Processor {
    let host = Host::new(HostConfig::default()).unwrap();
    let plugin = host.component(&guests::Processor::default().component()).unwrap();
    Processor::start(&plugin, setup(Limits::default())).unwrap()
}

/// Allocations of a warm call, and their bytes.
fn allocated(mut call: impl FnMut()) -> (u64, u64) {
    call();
    let used = allocation_counter::measure(call);
    (used.count_total, used.bytes_total)
}

#[test]
fn a_sample_is_allocated_once_and_that_on_its_way_out() {
    let mut processor = processor();
    let mut of = |values: usize| {
        let input = x(&vec![0.5; values]);
        allocated(|| assert_eq!(processor.process(&CONTEXT, &[&input]).unwrap().len(), 1))
    };
    let (short, long) = (of(SHORT), of(LONG));
    assert_eq!(long.0, short.0, "as many allocations, however long the sample is");
    assert_eq!(long.1 - short.1, ((LONG - SHORT) * 4) as u64);
}

#[test]
fn a_batch_is_allocated_once_more_to_be_handed_out_sample_by_sample() {
    let mut processor = processor();
    let contexts: Vec<Context> = (0..SAMPLES).map(|sequence| Context { sequence, ..CONTEXT }).collect();
    let mut of = |values: usize| {
        let numbers = vec![0.5; values * SAMPLES as usize];
        let input = Tensor::from_f32("x", vec![SAMPLES, values as u64], &numbers).unwrap();
        allocated(|| assert_eq!(processor.process_batch(&contexts, &[&input]).unwrap().len(), 4))
    };
    let (short, long) = (of(SHORT), of(LONG));
    assert_eq!(long.0, short.0);
    assert_eq!(long.1 - short.1, 2 * SAMPLES * ((LONG - SHORT) * 4) as u64);
}
