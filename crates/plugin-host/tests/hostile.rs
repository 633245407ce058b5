//! What a plugin does wrong becomes an error of its own, and another plugin goes on working beside it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests use the rest")]
mod guests;

use floorhand_plugin_host::{Fault, Host, HostConfig, Limits, PluginError, Processor, Telemetry};
use guests::{CONTEXT, setup, x};
use std::time::{Duration, Instant};

/// Starts the plugin, gives it one sample, and checks that a neighbour on the same host still answers afterwards.
fn run(guest: guests::Processor<'_>, limits: Limits) -> (Result<(), PluginError>, Telemetry) {
    let host = Host::new(HostConfig::default()).unwrap();
    let neighbour = host.component(&guests::Processor::default().component()).unwrap();
    let mut neighbour = Processor::start(&neighbour, setup(Limits::default())).unwrap();
    let plugin = host.component(&guest.component()).unwrap();
    let mut telemetry = Telemetry::default();
    let result = Processor::start(&plugin, setup(limits)).and_then(|mut processor| {
        let result = processor.process(&CONTEXT, &[x(&[1.0])]).map(drop);
        telemetry = processor.take_telemetry();
        let stopped = result.as_ref().is_err_and(PluginError::is_trap);
        assert_eq!(processor.is_running(), !stopped, "{result:?}");
        if stopped {
            assert_eq!(processor.process(&CONTEXT, &[x(&[1.0])]), Err(PluginError::Stopped));
            processor.restart().unwrap();
            assert!(processor.is_running());
        }
        result
    });
    assert_eq!(
        neighbour.process(&CONTEXT, &[x(&[2.0])]).unwrap(),
        [x(&[2.0]).renamed("y")]
    );
    (result, telemetry)
}

fn processing(process: &str) -> Result<(), PluginError> {
    run(
        guests::Processor {
            process,
            ..Default::default()
        },
        Limits::default(),
    )
    .0
}

#[test]
fn a_trap() {
    let error = processing("(unreachable)").unwrap_err();
    assert!(matches!(&error, PluginError::Trap { function: "process", reason } if reason.contains("unreachable")));
    let error = processing("(i32.store (i32.const -4) (i32.const 0))").unwrap_err();
    assert!(
        matches!(&error, PluginError::Trap { reason, .. } if reason.contains("out of bounds")),
        "{error}"
    );
    let recursion = guests::Processor {
        fields: "(func $deeper (call $deeper) (call $deeper))",
        process: "(call $deeper)",
        ..Default::default()
    };
    let error = run(recursion, Limits::default()).0.unwrap_err();
    assert!(
        matches!(&error, PluginError::Trap { reason, .. } if reason.contains("stack")),
        "{error}"
    );
}

#[test]
fn an_endless_loop() {
    let start = Instant::now();
    let error = processing("(loop $on (br $on))").unwrap_err();
    assert_eq!(
        error,
        PluginError::Deadline {
            function: "process",
            deadline_ms: 50
        }
    );
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn an_endless_start_function_and_configure() {
    let limits = Limits {
        setup_deadline_ms: 30,
        ..Limits::default()
    };
    let start = guests::Processor {
        fields: "(func $start (loop $on (br $on))) (start $start)",
        ..Default::default()
    };
    let error = run(start, limits.clone()).0.unwrap_err();
    assert_eq!(
        error,
        PluginError::Deadline {
            function: "instantiate",
            deadline_ms: 30
        }
    );
    let configure = guests::Processor {
        configure: "(loop $on (br $on))",
        ..Default::default()
    };
    let error = run(configure, limits).0.unwrap_err();
    assert_eq!(
        error,
        PluginError::Deadline {
            function: "configure",
            deadline_ms: 30
        }
    );
}

#[test]
fn a_memory_grab() {
    let limits = Limits {
        memory_bytes: 4 << 20,
        ..Limits::default()
    };
    let grab = "(loop $on (br_if $on (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)";
    let error = run(
        guests::Processor {
            process: grab,
            ..Default::default()
        },
        limits.clone(),
    )
    .0
    .unwrap_err();
    assert_eq!(
        error,
        PluginError::MemoryLimit {
            function: "process",
            limit_bytes: 4 << 20
        }
    );
    let error = run(
        guests::Processor {
            pages: 65,
            ..Default::default()
        },
        limits.clone(),
    )
    .0
    .unwrap_err();
    assert_eq!(
        error,
        PluginError::MemoryLimit {
            function: "instantiate",
            limit_bytes: 4 << 20
        }
    );
    assert_eq!(
        run(
            guests::Processor {
                pages: 64,
                ..Default::default()
            },
            limits
        )
        .0,
        Ok(())
    );
    let large = Limits {
        memory_bytes: 256 << 20,
        ..Limits::default()
    };
    let grow = "(drop (memory.grow (i32.const 2000))) (i32.store (i32.const 120000000) (i32.const 1))";
    let result = run(
        guests::Processor {
            process: grow,
            ..Default::default()
        },
        large,
    )
    .0;
    assert_eq!(result, Ok(()), "beyond the reservation a memory is moved");
}

#[test]
fn a_table_grab() {
    let table = guests::Processor {
        fields: "(table 20000 funcref)",
        ..Default::default()
    };
    let error = run(table, Limits::default()).0.unwrap_err();
    assert!(
        matches!(
            error,
            PluginError::MemoryLimit {
                function: "instantiate",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_flood_of_logs() {
    let flood = "(loop $on
        (call $log (i32.const 1) (i32.const 8192) (i32.const 2000))
        (br_if $on (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))";
    let (result, telemetry) = run(
        guests::Processor {
            process: flood,
            ..Default::default()
        },
        Limits::default(),
    );
    assert_eq!(
        (result, telemetry.log_lines_dropped),
        (Ok(()), 999),
        "one line of 1 KiB, and the call's share is gone"
    );
    let short = flood.replace("(i32.const 2000)", "(i32.const 1)");
    let (result, telemetry) = run(
        guests::Processor {
            process: &short,
            ..Default::default()
        },
        Limits::default(),
    );
    assert_eq!(result, Ok(()));
    // Twenty at once, and what the loop's own time is worth.
    assert!(
        (900..=980).contains(&telemetry.log_lines_dropped),
        "{}",
        telemetry.log_lines_dropped
    );
}

#[test]
fn a_flood_of_metrics() {
    let flood = "(loop $on
        (i32.store8 (i32.const 600) (i32.add (i32.const 65) (i32.and (local.get $i) (i32.const 15))))
        (i32.store8 (i32.const 601) (i32.add (i32.const 65) (i32.shr_u (local.get $i) (i32.const 4))))
        (call $counter (i32.const 600) (i32.const 2) (i64.const 1))
        (call $gauge (i32.const 8192) (i32.const 50000) (f64.const 1))
        (br_if $on (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 256))))";
    let (result, telemetry) = run(
        guests::Processor {
            process: flood,
            ..Default::default()
        },
        Limits::default(),
    );
    assert_eq!(result, Ok(()));
    assert_eq!(
        (
            telemetry.counters.len(),
            telemetry.gauges.len(),
            telemetry.metrics_dropped
        ),
        (64, 0, 192 + 256)
    );
}

#[test]
fn a_wrong_answer() {
    let check = |process: &str, expected: &str| match processing(process) {
        Err(PluginError::BadOutput {
            function: "process",
            reason,
        }) => {
            assert!(reason.contains(expected), "{reason}");
        }
        other => panic!("{process}: {other:?}"),
    };
    check(
        "(i32.store (i32.const 1024) (i32.const 1))",
        "answers to sample 1 of a call with 1",
    );
    check("(i32.store (i32.const 292) (i32.const 0))", "an answer to no sample");
    check("(i32.store (i32.const 292) (i32.const 2))", "samples don't rise");
    check("(i32.store (i32.const 208) (i32.const 3))", "needs 4 bytes, and has 3");
    check(
        "(i32.store (i32.const 300) (i32.const 2)) (memory.copy (i32.const 212) (i32.const 192) (i32.const 20))",
        "2 tensors",
    );
    check(
        "(i32.store8 (i32.const 192) (i32.const 7))",
        r#"tensor "y" is INT32, expected FP32"#,
    );
    let error = processing("(i32.store8 (i32.const 192) (i32.const 99))").unwrap_err();
    assert!(
        matches!(error, PluginError::Trap { .. }),
        "no datatype has this number: {error}"
    );
    let error = processing("(i32.store (i32.const 204) (i32.const 65534))").unwrap_err();
    assert!(
        matches!(error, PluginError::Trap { .. }),
        "outside of its memory: {error}"
    );
}

#[test]
fn a_huge_answer() {
    let limits = Limits {
        output_bytes: 100_000,
        ..Limits::default()
    };
    // A thousand records that all stand for the same 60,000 bytes.
    let repeat = "(loop $on
        (memory.copy (i32.add (i32.const 8192) (i32.mul (local.get $i) (i32.const 20))) (i32.const 192) (i32.const 20))
        (i32.store (i32.add (i32.const 8208) (i32.mul (local.get $i) (i32.const 20))) (i32.const 60000))
        (br_if $on (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
        (i32.store (i32.const 296) (i32.const 8192))
        (i32.store (i32.const 300) (i32.const 1000))";
    let error = run(
        guests::Processor {
            process: repeat,
            pages: 4,
            ..Default::default()
        },
        limits.clone(),
    )
    .0
    .unwrap_err();
    assert!(
        matches!(
            error,
            PluginError::OutputTooLarge {
                function: "process",
                ..
            }
        ),
        "{error}"
    );
    // One byte-exact tensor over the limit: 25,001 elements of four bytes.
    let one = "(i32.store (i32.const 196) (i32.const 224)) (i32.store (i32.const 224) (i32.const 1))
        (i32.store (i32.const 228) (i32.const 25001))
        (i32.store (i32.const 204) (i32.const 0)) (i32.store (i32.const 208) (i32.const 100004))";
    let error = run(
        guests::Processor {
            process: one,
            pages: 4,
            ..Default::default()
        },
        limits,
    )
    .0
    .unwrap_err();
    assert_eq!(
        error,
        PluginError::OutputTooLarge {
            function: "process",
            limit_bytes: 100_000
        }
    );
}

#[test]
fn a_wrong_promise() {
    let check = |configure: &str| {
        run(
            guests::Processor {
                configure,
                ..Default::default()
            },
            Limits::default(),
        )
        .0
        .unwrap_err()
    };
    let error = check("(i32.store (i32.const 116) (i32.const 2000000))");
    assert!(
        matches!(&error, PluginError::BadConfig(text) if text.contains("2000000")),
        "{error}"
    );
    for most in [0, 1025] {
        let error = check(&format!("(i32.store (i32.const 120) (i32.const {most}))"));
        assert!(error.to_string().contains("not 1 to 1024"), "{error}");
    }
    let error = check("(i32.store (i32.const 44) (i32.const 0))");
    assert!(
        matches!(
            error,
            PluginError::BadOutput {
                function: "configure",
                ..
            }
        ),
        "{error}"
    );
    let error = check("(i32.store (i32.const 104) (i32.const 10000000))");
    assert_eq!(error.fault(), Fault::Plugin, "{error}");
}

#[test]
fn its_own_errors_are_no_traps() {
    let error = "(i32.store8 (i32.const 160) (i32.const 1)) (i32.store8 (i32.const 164) (i32.const KIND))
        (i32.store (i32.const 168) (i32.const 16)) (i32.store (i32.const 172) (i32.const 2))";
    let answer = |kind: &str| processing(&error.replace("KIND", kind)).unwrap_err();
    assert_eq!(answer("0"), PluginError::BadInput("xy".to_owned()));
    assert_eq!(answer("2"), PluginError::Exhausted("xy".to_owned()));
    assert_eq!(answer("3"), PluginError::NotReady("xy".to_owned()));
    assert_eq!(answer("4"), PluginError::Internal("xy".to_owned()));
    assert!(!answer("4").is_trap());
}
