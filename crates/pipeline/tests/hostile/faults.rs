//! What a pipeline makes of a plugin that fails again and again, or lies about its state.

use crate::guests::{self, CONTEXT, x};
use crate::neighbour::{beside, host, negative, pipeline, sample};
use floorhand_bundle::OnBreak;
use floorhand_pipeline::{Outcome, Pipeline, Processed, SampleError, StageEvent, StageEventKind};
use floorhand_plugin_host::{Limits, PluginError, Processor};

/// An instance's third call traps.
const THIRD: guests::Processor<'_> = guests::Processor {
    imports: "",
    process: "(if (i32.eq (i32.load (i32.const 128)) (i32.const 3)) (then (unreachable)))",
    fields: "",
    pages: 0,
    configure: "",
    snapshot: "",
    restore: "",
};

/// Gives the pipeline a sample at each of these seconds.
fn feed(pipeline: &mut Pipeline, seconds: std::ops::Range<u64>) -> Vec<Processed> {
    seconds
        .map(|second| pipeline.process(&sample(&[1.0; 4]), second * 1000))
        .collect()
}

/// `+` for the right result, `-` for a failed sample, `!` for one whose stage is at rest.
fn marks(processed: &[Processed]) -> String {
    let right = Outcome::Result(vec![negative(1.0)]);
    let mark = |processed: &Processed| match &processed.outcome {
        outcome if *outcome == right => '+',
        Outcome::Failed(SampleError::Plugin { .. }) => '-',
        Outcome::Failed(SampleError::Resting { .. }) => '!',
        other => panic!("{other:?}"),
    };
    processed.iter().map(mark).collect()
}

fn events(processed: &[Processed]) -> Vec<&StageEvent> {
    processed.iter().flat_map(|processed| &processed.events).collect()
}

#[test]
fn a_trap_on_every_third_call_opens_the_breaker() {
    for (on_break, expected) in [
        (OnBreak::Bypass, "++-++-+++++++"),
        (OnBreak::Fail, "++-++-++-!!!!"),
        (OnBreak::Rollback, "++-++-++-!!!!"),
    ] {
        let host = host();
        let mut hostile = pipeline(&host, &THIRD, on_break, 1_000);
        beside(&host, || {
            let processed = feed(&mut hostile, 0..13);
            assert_eq!(marks(&processed), expected);
            let kinds: Vec<_> = events(&processed).iter().map(|event| event.kind).collect();
            assert_eq!(kinds, [None, None, Some(on_break)].map(StageEventKind::Fault));
            // The third was in second 8; a minute later it is tried again, from a new instance.
            assert_eq!(marks(&feed(&mut hostile, 68..71)), "++-");
        });
    }
}

#[test]
fn a_storm_of_nan() {
    // Every other sample becomes all NaN.
    let storm = guests::Processor {
        process: "(if (i32.and (i32.load (i32.const 128)) (i32.const 1)) (then
            (memory.fill (i32.load (i32.const 204)) (i32.const 255) (i32.load (i32.const 208)))))",
        ..Default::default()
    };
    let host = host();
    let mut hostile = pipeline(&host, &storm, OnBreak::Fail, 1_000);
    let mut innocent = pipeline(&host, &guests::Processor::default(), OnBreak::Fail, 1_000);
    beside(&host, || {
        for (at, processed) in feed(&mut hostile, 0..200).into_iter().enumerate() {
            assert!(processed.events.is_empty(), "it is the sample that failed");
            match processed.outcome {
                Outcome::Failed(SampleError::NonFinite { side: "input", .. }) if at % 2 == 0 => {}
                Outcome::Result(outputs) if at % 2 == 1 => assert_eq!(outputs, [negative(1.0)]),
                other => panic!("{at}: {other:?}"),
            }
        }
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7f80_0001)] {
            let processed = innocent.process(&sample(&[1.0, value, 1.0, 1.0]), 0);
            assert!(
                matches!(
                    processed.outcome,
                    Outcome::Failed(SampleError::NonFinite { index: 1, .. })
                ),
                "{:?}",
                processed.outcome
            );
            assert_eq!(marks(&feed(&mut innocent, 0..1)), "+");
        }
    });
}

#[test]
fn a_state_that_grows() {
    // A kibibyte more with each sample, of a mebibyte that is promised and allowed.
    let grows = guests::Processor {
        configure: "(i32.store (i32.const 116) (i32.const 1048576))",
        snapshot: "(i32.store (i32.const 264) (i32.shl (i32.load (i32.const 128)) (i32.const 10)))",
        pages: 64,
        ..Default::default()
    };
    let host = host();
    let mut hostile = pipeline(&host, &grows, OnBreak::Fail, 1_000);
    beside(&host, || {
        let mut processed = Vec::new();
        for _ in 0..2000 {
            processed.extend(feed(&mut hostile, 0..1));
        }
        // Snapshots at 256, 512, 768 and 1,024; then each fails until the breaker opens, and costs no sample.
        assert_eq!(marks(&processed), format!("{}{}", "+".repeat(1792), "!".repeat(208)));
        let events = events(&processed);
        assert_eq!(events.len(), 3);
        assert!(
            events
                .iter()
                .all(|event| event.reason.contains("limit of 1048576 bytes")),
            "{events:?}"
        );
    });
}

#[test]
fn memory_that_grows_with_each_sample() {
    let grows = guests::Processor {
        process: "(if (i32.eq (i32.const -1) (memory.grow (i32.const 20))) (then (unreachable)))
            (memory.fill (i32.shl (i32.sub (memory.size) (i32.const 20)) (i32.const 16)) (i32.const 1) (i32.const 1310720))",
        ..Default::default()
    };
    let host = host();
    let mut hostile = pipeline(&host, &grows, OnBreak::Fail, 1_000);
    beside(&host, || {
        // 255 pages are left, twelve times twenty.
        let processed = feed(&mut hostile, 0..39);
        let life = format!("{}-", "+".repeat(12));
        assert_eq!(marks(&processed), life.repeat(3));
        let reason = &events(&processed)[0].reason;
        assert!(
            reason.contains("needs more than its limit of 16777216 bytes"),
            "{reason}"
        );
    });
}

#[test]
fn a_snapshot_that_lies() {
    let lies = guests::Processor {
        snapshot: "(i32.store (i32.const 264) (i32.const 5))",
        ..Default::default()
    };
    let host = host();
    let plugin = host.component(&lies.component()).unwrap();
    let mut hostile = pipeline(&host, &lies, OnBreak::Fail, 1_000);
    beside(&host, || {
        let mut processor = Processor::start(&plugin, guests::setup(Limits::default())).unwrap();
        processor.process(&CONTEXT, &[x(&[1.0])]).unwrap();
        let error = processor.snapshot().unwrap_err();
        assert_eq!(
            error.to_string(),
            "snapshot: the plugin's answer is wrong: 5 bytes, and it promised at most 4"
        );
        assert!(error.is_trap() && !processor.is_running());
        assert_eq!(processor.snapshot(), Err(PluginError::Stopped));
        let mut processed = Vec::new();
        for _ in 0..300 {
            processed.extend(feed(&mut hostile, 0..1));
        }
        assert_eq!(marks(&processed), "+".repeat(300));
        assert_eq!(events(&processed).len(), 1);
    });
}
