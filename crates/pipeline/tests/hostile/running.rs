//! Processors that don't come back, or take what they can get while they run.

use crate::guests;
use crate::neighbour::{processing, run};
use floorhand_plugin_host::{Limits, PluginError};

const OVERRUN: PluginError = PluginError::Deadline {
    function: "process",
    deadline_ms: 50,
};

fn with_fields(fields: &str, process: &str) -> Result<(), PluginError> {
    let guest = guests::Processor {
        fields,
        process,
        ..Default::default()
    };
    run(guest, Limits::default()).0.map(drop)
}

#[test]
fn exponential_recursion() {
    let deeper = "(call $deeper (i32.sub (local.get 0) (i32.const 1)))";
    let fields = format!("(func $deeper (param i32) (if (local.get 0) (then {deeper} {deeper})))");
    assert_eq!(with_fields(&fields, "(call $deeper (i32.const 60))"), Err(OVERRUN));
}

#[test]
fn bulk_memory_in_a_loop() {
    let fill = "(memory.fill (i32.const 4096) (i32.const 7) (i32.const 13000000))";
    let copy = "(memory.copy (i32.const 4096) (i32.const 8192) (i32.const 13000000))";
    for operation in [fill, copy] {
        assert_eq!(processing(&format!("(loop $on {operation} (br $on))")), Err(OVERRUN));
    }
}

#[test]
fn bulk_memory_without_a_loop() {
    // No turn of a loop at which it could be stopped, and minutes of work.
    let fill = "(memory.fill (i32.const 4096) (i32.const 7) (local.tee $i (i32.const 13000000)))".repeat(20_000);
    assert_eq!(processing(&fill), Err(OVERRUN));
}

#[test]
fn memory_that_grows_on_and_on() {
    let grow = "(loop $on (drop (memory.grow (i32.const 1))) (drop (memory.grow (i32.const 65535)))
        (drop (memory.grow (i32.const 0))) (br $on))";
    assert_eq!(processing(grow), Err(OVERRUN));
}

#[test]
fn a_table_bomb() {
    let grow = "(loop $on (br_if $on (i32.ne (i32.const -1)
        (table.grow $bomb (ref.null func) (i32.const 1000))))) (unreachable)";
    let error = with_fields("(table $bomb 1 funcref)", grow).unwrap_err();
    assert!(
        matches!(
            error,
            PluginError::MemoryLimit {
                function: "process",
                ..
            }
        ),
        "{error}"
    );
    let fill = "(loop $on (table.fill $bomb (i32.const 0) (ref.null func) (i32.const 10000)) (br $on))";
    assert_eq!(with_fields("(table $bomb 10000 funcref)", fill), Err(OVERRUN));
    let error = with_fields(&"(table 10000 funcref)".repeat(90), "").unwrap_err();
    assert!(
        matches!(&error, PluginError::Trap { function: "instantiate", reason } if reason.contains("table")),
        "{error}"
    );
}

#[test]
fn a_giant_branch_table() {
    let targets = "0 ".repeat(60_000);
    let branch = format!("(block (br_table {targets} (local.get $i)))");
    assert!(processing(&branch).is_ok());
    assert_eq!(processing(&format!("(loop $on {branch} (br $on))")), Err(OVERRUN));
}

#[test]
fn blocks_ten_thousand_deep() {
    let deep = format!("{}{}", "(block ".repeat(10_000), ")".repeat(10_000));
    // The text's parser takes no more than a few hundred parentheses; instructions in a row may nest as they like.
    let flat = deep.replace("(block ", "block ").replace(')', " end ");
    assert!(processing(&flat).is_ok());
}

#[test]
fn a_flood_of_host_calls() {
    let guest = |process: &'static str| guests::Processor {
        process,
        pages: 200,
        ..Default::default()
    };
    let flood = "(loop $on (call $counter (i32.const 16) (i32.const 1) (i64.const -1))
        (call $gauge (i32.const 17) (i32.const 1) (f64.const nan))
        (call $log (i32.const 1) (i32.const 16) (i32.const 2)) (br $on))";
    let (result, telemetry) = run(guest(flood), Limits::default());
    assert_eq!(result, Err(OVERRUN));
    assert_eq!(telemetry.counters["x"], u64::MAX);
    assert!(telemetry.gauges["y"].is_nan() && telemetry.log_lines_dropped > 0);
    let long = "(loop $on (call $counter (i32.const 65536) (i32.const 8000000) (i64.const 1))
        (call $log (i32.const 1) (i32.const 65536) (i32.const 8000000)) (br $on))";
    let (result, telemetry) = run(guest(long), Limits::default());
    assert_eq!(result, Err(OVERRUN));
    assert!(telemetry.counters.is_empty() && telemetry.metrics_dropped > 0);
}

#[test]
fn texts_that_are_none() {
    for call in [
        "(call $log (i32.const 1) (i32.const 32) (i32.const 1))",
        "(call $counter (i32.const 32) (i32.const 4) (i64.const 1))",
        "(call $gauge (i32.const 32) (i32.const 2) (f64.const 1))",
        "(call $log (i32.const 9) (i32.const 16) (i32.const 1))",
        "(call $log (i32.const 1) (i32.const -8) (i32.const 100))",
    ] {
        let error = processing(call).unwrap_err();
        assert!(matches!(error, PluginError::Trap { .. }), "{call}: {error}");
    }
}

#[test]
fn an_allocator_that_gives_nothing() {
    let guest = guests::Processor {
        configure: "(global.set $heap (i32.const 0x7fffff00))",
        ..Default::default()
    };
    let error = run(guest, Limits::default()).0.unwrap_err();
    assert!(error.is_trap(), "{error}");
}
