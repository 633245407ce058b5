//! Monitors that find more than there is.

use crate::guests::{self, CONTEXT, x};
use crate::neighbour::{beside, host};
use crate::worlds::monitor;
use floorhand_plugin_host::{Finding, Limits, Monitor, PluginError};

fn observe(configure: &str, observe: &str) -> Result<Vec<Finding>, PluginError> {
    let host = host();
    let plugin = host.component(&monitor(200, configure, observe)).unwrap();
    beside(&host, || {
        Monitor::start(&plugin, guests::setup(Limits::default()))?.observe(&CONTEXT, &[x(&[1.0])])
    })
}

fn findings(count: u32) -> String {
    format!("(i32.store (i32.const 168) (i32.const {count}))")
}

fn wrong(result: Result<Vec<Finding>, PluginError>, expected: &str) {
    match result {
        Err(PluginError::BadOutput { reason, .. }) => assert!(reason.contains(expected), "{reason}"),
        other => panic!("{other:?}"),
    }
}

fn too_large(result: Result<Vec<Finding>, PluginError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, PluginError::OutputTooLarge { .. }), "{error}");
}

#[test]
fn huge_lists() {
    assert_eq!(observe("", &findings(100)).unwrap().len(), 64);
    too_large(observe("", &findings(100_000)));
    let details = "(i32.store (i32.const 65616) (i32.const 131072)) (i32.store (i32.const 65620) (i32.const COUNT))";
    too_large(observe(
        "",
        &format!("{} {}", findings(1), details.replace("COUNT", "300000")),
    ));
    let found = observe("", &format!("{} {}", findings(1), details.replace("COUNT", "1000"))).unwrap();
    assert_eq!(found[0].details.len(), 16);
    too_large(observe(
        "",
        "(i32.store (i32.const 172) (i32.const 65536)) (i32.store (i32.const 176) (i32.const 300000))",
    ));
}

#[test]
fn findings_about_nothing() {
    let sample = format!("{} (i32.store (i32.const 65536) (i32.const 5))", findings(1));
    wrong(observe("", &sample), "sample 5 of a call with 1");
    let watch = |watch: &str| {
        let about =
            format!("(i32.store8 (i32.const 65552) (i32.const 1)) (i32.store (i32.const 65556) (i32.const {watch}))");
        observe("", &format!("{} {about}", findings(1)))
    };
    assert_eq!(watch("0").unwrap()[0].watch, Some(0));
    wrong(watch("1"), "watch 1, and there are 1");
    wrong(watch("-1"), "watch 4294967295");
}

#[test]
fn more_watches_than_there_may_be() {
    let watches = |count: u32| {
        let code = format!(
            "(loop $on
            (memory.copy (i32.add (i32.const 65536) (i32.shl (local.get $i) (i32.const 5))) (i32.const 40) (i32.const 32))
            (br_if $on (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {count}))))
            (i32.store (i32.const 100) (i32.const 65536)) (i32.store (i32.const 104) (i32.const {count}))"
        );
        observe(&code, "")
    };
    wrong(watches(65), "65 watches, not 1 to 64");
    too_large(watches(100_000));
    wrong(observe("(i32.store (i32.const 104) (i32.const 0))", ""), "0 watches");
}
