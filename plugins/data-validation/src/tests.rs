//! Tests of the plugin as the component runs it: JSON in, observations in, findings out.

use super::*;
use floorhand_plugin_sdk::{
    Tensor,
    monitor::Instance,
    testing::{
        self,
        cases::check_monitor,
        monitors::{Sample, check_keys, check_stream},
    },
};
use serde_json::{Value, json};

type Plugin = Instance<DataValidation>;

fn config() -> Value {
    json!({"input": "x", "fields": [
        {"name": "pressure", "index": 0, "min": 0, "max": 10, "stuck_after": 3},
        {"name": "flow", "index": 1, "max_missing_run": 2},
    ]})
}

fn configured(config: &Value) -> Plugin {
    let mut plugin = Plugin::new();
    plugin.configure(&config.to_string(), vec![]).unwrap();
    plugin
}

/// Observes one row, and gives each finding as "kind subject severity value".
fn see(plugin: &mut Plugin, row: &[f32]) -> Vec<String> {
    let tensor = Tensor::from_f32("x", vec![1, row.len() as u64], row);
    let findings = plugin.observe(testing::context(0), vec![tensor]).unwrap();
    let severity = |finding: &Finding| match finding.severity {
        Severity::Info => "Info",
        Severity::Warning => "Warning",
        Severity::Alarm => "Alarm",
    };
    findings
        .iter()
        .map(|f| format!("{} {} {} {}", f.kind, f.subject, severity(f), f.value.unwrap_or(0.0)))
        .collect()
}

#[test]
fn an_episode_is_two_findings_and_its_samples_are_counted() {
    let mut plugin = configured(&config());
    assert!(see(&mut plugin, &[5.0, 1.0]).is_empty());
    assert_eq!(see(&mut plugin, &[11.0, 1.0]), ["out-of-range pressure Warning 11"]);
    assert!(see(&mut plugin, &[12.0, 1.0]).is_empty());
    assert!(
        see(&mut plugin, &[f32::INFINITY, 1.0])
            .iter()
            .all(|finding| finding.starts_with("not-finite pressure Alarm"))
    );
    assert_eq!(
        see(&mut plugin, &[9.0, 1.0]),
        ["out-of-range pressure Info 9", "not-finite pressure Info 9"]
    );
    assert_eq!(see(&mut plugin, &[-1.0, 1.0]), ["out-of-range pressure Warning -1"]);
    let counters = testing::take_recorded().counters;
    assert_eq!(
        counters,
        [
            ("not-finite/pressure".to_owned(), 1),
            ("out-of-range/pressure".to_owned(), 3)
        ]
        .into()
    );
}

#[test]
fn missing_values_are_tolerated_for_as_long_as_configured() {
    let mut plugin = configured(&config());
    assert!(see(&mut plugin, &[1.0, f32::NAN]).is_empty());
    assert!(see(&mut plugin, &[2.0, f32::NAN]).is_empty());
    assert_eq!(see(&mut plugin, &[3.0, f32::NAN]), ["missing flow Warning 3"]);
    assert_eq!(see(&mut plugin, &[4.0, 0.0]), ["missing flow Info 0"]);
    assert_eq!(see(&mut plugin, &[f32::NAN, 0.0]), ["missing pressure Warning 1"]);
    assert_eq!(
        see(&mut plugin, &[5.0]),
        ["missing pressure Info 0"],
        "a column that isn't there is missing"
    );
    assert_eq!(testing::take_recorded().counters["missing/flow"], 4);
}

#[test]
fn a_stuck_sensor_is_found_and_let_go() {
    let mut plugin = configured(&config());
    let found: Vec<Vec<String>> = [4.0, 4.0, 4.0, 4.0, 5.0]
        .map(|value| see(&mut plugin, &[value, 0.0]))
        .into();
    assert_eq!(found[2], ["stuck pressure Warning 3"]);
    assert_eq!(found[4], ["stuck pressure Info 1"]);
    assert!(found[0].is_empty() && found[1].is_empty() && found[3].is_empty());
}

#[test]
fn findings_have_the_units_that_the_pipeline_tells() {
    let text = json!({"input": "x", "fields": [
        {"name": "pressure", "index": 1, "max": 10, "max_rate": 1, "stuck_after": 2},
        {"name": "flow", "index": 0, "max": 10, "max_rate": 1},
    ]});
    let given = Watch {
        origin: Origin::Input,
        spec: TensorSpec::new("x", Datatype::Fp32, vec![1, 2]).with_units([("flow", ""), ("pressure", "bar")]),
    };
    let mut plugin = Plugin::new();
    plugin.configure_given(&text.to_string(), vec![], vec![given]).unwrap();
    let mut units = Vec::new();
    for (second, row) in [[0.0, 0.0], [20.0, 20.0], [20.0, 20.0]].iter().enumerate() {
        let tensor = Tensor::from_f32("x", vec![1, 2], row);
        for found in plugin.observe(testing::context(second as u64), vec![tensor]).unwrap() {
            if found.phase == Phase::Raised {
                units.push(format!("{} {}: {}", found.kind, found.subject, found.unit));
            }
        }
    }
    units.sort();
    assert_eq!(
        units,
        [
            "out-of-range flow: ",
            "out-of-range pressure: bar",
            "rate flow: ",
            "rate pressure: (bar)/s",
            "stuck pressure: 1"
        ]
    );
}

#[test]
fn a_value_that_changes_too_fast_is_found() {
    let mut plugin = configured(&json!({"input": "x", "fields": [{"name": "level", "index": 0, "max_rate": 2}]}));
    let mut at = |milliseconds: u64, rows: &[f32]| rates(&mut plugin, milliseconds, false, rows);
    assert!(at(1000, &[1.0]).is_empty(), "nothing before it");
    assert!(at(1500, &[2.0]).is_empty(), "2 a second is allowed");
    let found = at(1750, &[1.25]);
    assert_eq!(
        found,
        [(Phase::Raised, Some(3.0), "from 2 to 1.25 in 0.25 s".to_owned())]
    );
    assert!(
        at(2000, &[f32::NAN]).is_empty() && at(2000, &[f32::INFINITY]).is_empty(),
        "no sample"
    );
    assert!(at(1750, &[99.0]).is_empty(), "time stands still");
    let found = at(2750, &[1.5]);
    assert_eq!(
        found,
        [(Phase::Cleared, Some(0.25), "rate no longer, after 1 samples".to_owned())]
    );
    assert!(at(500, &[50.0]).is_empty(), "time goes back: a new start");
    assert!(at(1500, &[90.0, 51.0]).is_empty(), "the last row stands for the sample");
    assert_eq!(at(1501, &[51.5])[0].1, Some(500.0));
    assert_eq!(testing::take_recorded().counters["rate/level"], 2);
}

#[test]
fn a_rate_spans_no_gap() {
    let mut plugin = configured(&json!({"input": "x", "fields": [{"name": "level", "index": 0, "max_rate": 2}]}));
    assert!(rates(&mut plugin, 1000, true, &[1.0]).is_empty());
    assert!(
        rates(&mut plugin, 2000, true, &[99.0]).is_empty(),
        "samples may be missing"
    );
    assert_eq!(rates(&mut plugin, 3000, false, &[1.0])[0].0, Phase::Raised);
    assert!(
        rates(&mut plugin, 4000, true, &[1.0]).is_empty(),
        "what lasts goes on lasting"
    );
    let gap = Context {
        gap: true,
        ..testing::context(0)
    };
    let misfit = plugin
        .observe(gap, vec![Tensor::from_f32("x", vec![1], &[1.0])])
        .unwrap();
    assert_eq!(misfit[0].kind, "misfit");
    assert!(
        rates(&mut plugin, 5000, false, &[1.5]).is_empty(),
        "the gap was before the misfit"
    );
    assert_eq!(rates(&mut plugin, 6000, false, &[2.0])[0].0, Phase::Cleared);
}

/// What is found of the rate at a sample.
fn rates(plugin: &mut Plugin, milliseconds: u64, gap: bool, rows: &[f32]) -> Vec<(Phase, Option<f64>, String)> {
    let context = Context {
        time_ns: milliseconds * 1_000_000,
        gap,
        ..testing::context(0)
    };
    let tensor = Tensor::from_f32("x", vec![rows.len() as u64, 1], rows);
    let found = plugin.observe(context, vec![tensor]).unwrap();
    let rates = found.into_iter().filter(|finding| finding.kind == "rate");
    rates
        .map(|finding| (finding.phase, finding.value, finding.message))
        .collect()
}

/// What is checked of the stream's fields, each of which has something to find.
fn everything() -> String {
    let mut config = config();
    config["fields"][0]["max_rate"] = json!(3);
    config.to_string()
}

/// Two rows a sample.
fn stream() -> Vec<Sample> {
    let rows = [
        4.0,
        4.0,
        4.0,
        11.0,
        f32::INFINITY,
        5.0,
        f32::NAN,
        f32::NAN,
        f32::NAN,
        9.0,
        8.0,
    ];
    let sample = |n: usize| {
        let values = [rows[n % 11], rows[(n + 5) % 11], rows[(n + 1) % 11], 0.0];
        (
            testing::context(n as u64),
            vec![Tensor::from_f32("x", vec![2, 2], &values)],
        )
    };
    (0..22).map(sample).collect()
}

#[test]
fn a_stream_may_be_cut_anywhere() {
    let answers = check_stream::<DataValidation>(&everything(), &[], &stream());
    let kinds: std::collections::BTreeSet<_> = answers.into_iter().flatten().flatten().map(|f| f.kind).collect();
    let expected = ["missing", "not-finite", "out-of-range", "rate", "stuck"];
    assert!(kinds.iter().map(String::as_str).eq(expected), "{kinds:?}");
}

#[test]
fn machines_at_once_are_each_like_one_alone() {
    let mut stream = stream();
    // What doesn't fit is of its machine, too.
    stream[7].1 = vec![Tensor::from_f32("x", vec![2], &[0.0; 2])];
    let [first, second] = check_keys::<DataValidation>(&everything(), &[], [&stream, &stream[3..]]);
    assert_ne!(first, second);
    let kinds = |answers: &[_]| -> std::collections::BTreeSet<String> {
        let findings = answers
            .iter()
            .flat_map(|answer: &Result<Vec<Finding>, Error>| answer.as_ref().unwrap());
        findings.map(|finding| finding.kind.clone()).collect()
    };
    let expected = ["misfit", "missing", "not-finite", "out-of-range", "rate", "stuck"];
    assert!(kinds(&first).iter().map(String::as_str).eq(expected));
}

#[test]
fn a_gap_is_one_in_the_rates_of_its_machine() {
    let mut plugin =
        configured(&json!({"input": "x", "fields": [{"name": "level", "index": 0, "max_rate": 2}], "max_keys": 2}));
    let mut at = |key: &str, gap: bool, second: u64, value: f32| {
        let context = Context {
            key: Some(key.into()),
            gap,
            ..testing::context(second)
        };
        let tensor = Tensor::from_f32("x", vec![1, 1], &[value]);
        plugin.observe(context, vec![tensor]).unwrap().len()
    };
    assert_eq!((at("a", true, 0, 1.0), at("b", false, 0, 1.0)), (0, 0));
    assert_eq!(at("a", false, 1, 9.0), 1);
    assert_eq!(at("a", true, 2, 99.0), 0);
    assert_eq!(at("b", false, 2, 99.0), 1, "of this one none is missing");
    assert_eq!(at("b", true, 3, 1.0), 0);
}

#[test]
fn a_gap_ends_no_run() {
    let mut plugin = configured(&config());
    let mut at = |row: [f32; 2]| -> Vec<String> {
        let context = Context {
            gap: true,
            ..testing::context(0)
        };
        let found = plugin
            .observe(context, vec![Tensor::from_f32("x", vec![1, 2], &row)])
            .unwrap();
        found.into_iter().map(|finding| finding.kind).collect()
    };
    assert!(at([4.0, f32::NAN]).is_empty() && at([4.0, f32::NAN]).is_empty());
    assert_eq!(at([4.0, f32::NAN]), ["stuck", "missing"]);
}

#[test]
fn recorded_cases() {
    assert!(check_monitor::<DataValidation>(env!("CARGO_MANIFEST_DIR")) > 0);
}

#[test]
fn every_row_of_a_batch_is_a_sample() {
    let mut plugin = configured(&config());
    let tensor = Tensor::from_f32("x", vec![3, 2], &[1.0, 0.0, 11.0, 0.0, 2.0, 0.0]);
    let findings = plugin.observe(testing::context(0), vec![tensor]).unwrap();
    assert_eq!(findings.len(), 2);
    assert_eq!(findings[0].message, "11 is outside of 0 to 10");
    assert_eq!((findings[0].threshold, findings[1].threshold), (Some(10.0), Some(0.0)));
}

#[test]
fn a_batch_gives_a_bounded_number_of_findings() {
    let mut plugin = configured(&config());
    let rows: Vec<f32> = (0..2_000)
        .flat_map(|row| [if row % 2 == 0 { 20.0 } else { 5.0 }, 0.0])
        .collect();
    let findings = plugin
        .observe(testing::context(0), vec![Tensor::from_f32("x", vec![2_000, 2], &rows)])
        .unwrap();
    assert_eq!(findings.len(), MAX_FINDINGS);
    assert_eq!(
        testing::take_recorded().counters["findings-dropped"],
        2_000 - MAX_FINDINGS as u64
    );
}

#[test]
fn a_tensor_of_another_type_is_a_finding() {
    let mut plugin = configured(&config());
    let wrong = || {
        let tensor = Tensor {
            datatype: Datatype::Int32,
            ..Tensor::from_f32("x", vec![1, 2], &[0.0; 2])
        };
        vec![tensor]
    };
    let findings = plugin.observe(testing::context(0), wrong()).unwrap();
    assert_eq!(
        (findings[0].kind.as_str(), findings[0].severity),
        ("misfit", Severity::Alarm)
    );
    assert_eq!(findings[0].message, r#"tensor "x" is INT32, expected FP32"#);
    assert!(plugin.observe(testing::context(0), wrong()).unwrap().is_empty());
    assert_eq!(see(&mut plugin, &[1.0, 1.0]), ["misfit x Info 2"]);
}

#[test]
fn a_restored_instance_finds_the_same() {
    let rows = [
        [4.0, 0.0],
        [4.0, f32::NAN],
        [4.0, f32::NAN],
        [11.0, f32::NAN],
        [11.0, 1.0],
        [5.0, 1.0],
        [f32::NAN, 1.0],
    ];
    for cut in 0..rows.len() {
        let (mut whole, mut before, mut after) = (configured(&config()), configured(&config()), configured(&config()));
        let expected: Vec<_> = rows.iter().flat_map(|row| see(&mut whole, row)).collect();
        let mut found: Vec<_> = rows[..cut].iter().flat_map(|row| see(&mut before, row)).collect();
        let snapshot = before.snapshot();
        after.restore(&snapshot).unwrap();
        found.extend(rows[cut..].iter().flat_map(|row| see(&mut after, row)));
        assert_eq!(found, expected);
    }
}

#[test]
fn broken_snapshots_leave_the_state_alone() {
    let mut plugin = configured(&config());
    see(&mut plugin, &[11.0, 0.0]);
    let snapshot = plugin.snapshot();
    for broken in [&[][..], &snapshot[..30], &[&snapshot[..], &[0]].concat()] {
        assert!(matches!(plugin.restore(broken), Err(Error::BadConfig(_))));
        assert_eq!(plugin.snapshot(), snapshot);
    }
    let one = json!({"input": "x", "fields": [{"name": "a", "index": 0}]});
    assert_eq!(
        testing::message(configured(&one).restore(&snapshot)),
        "saved state has another number of fields"
    );
}

#[test]
fn configurations_that_are_refused() {
    for (key, value, expected) in [
        ("field", json!([]), "configuration, key field: unknown field `field`"),
        ("fields", json!([]), "fields has 0 entries"),
        (
            "datatype",
            json!("BYTES"),
            "datatype is BYTES, and has to be one of numbers",
        ),
        (
            "fields",
            json!([{"name": "a", "index": 0, "mim": 1}]),
            "configuration, key fields[0].mim: unknown field `mim`",
        ),
        (
            "fields",
            json!([{"name": "a"}]),
            "configuration, key fields[0]: missing field `index`",
        ),
        (
            "fields",
            json!([{"name": "a", "index": 0, "min": 2, "max": 1}]),
            "fields[0] (a): min and max: limits 2 to 1",
        ),
        (
            "fields",
            json!([{"name": "a", "index": 0, "stuck_after": 1}]),
            "fields[0] (a): stuck_after has to be at least 2",
        ),
        (
            "fields",
            json!([{"name": "a", "index": 0, "max_rate": 0}]),
            "fields[0] (a): max_rate has to be a number above 0",
        ),
        (
            "fields",
            json!([{"name": "a", "index": 0}, {"name": "a", "index": 1}]),
            "fields[1].name \"a\" is taken",
        ),
        ("shape", json!([]), "shape needs a dimension"),
        ("max_keys", json!(1025), "max_keys is 1025, and has to be 1 to 1024"),
        (
            "shape",
            json!([1, 1]),
            "fields[1] (flow): index 1 is beyond the 1 columns",
        ),
        (
            "datatype",
            json!("FLOAT"),
            "configuration, key datatype: \"FLOAT\" is no datatype",
        ),
        (
            "origin",
            json!("model"),
            "configuration, key origin: unknown variant `model`",
        ),
    ] {
        let mut config = config();
        config[key] = value;
        let message = testing::message(Plugin::new().configure(&config.to_string(), vec![]));
        assert!(message.starts_with(expected), "{key}: {message}");
    }
}

#[test]
fn hostile_inputs_are_findings_or_errors() {
    let mut plugin = configured(&config());
    let spec = plugin.plugin().unwrap().watch.spec.clone();
    for tensor in testing::hostile(&spec) {
        assert!(plugin.observe(testing::context(0), vec![tensor]).is_ok());
    }
    assert!(plugin.observe(testing::context(0), vec![]).is_err());
    see(&mut plugin, &[5.0, 5.0]);
    assert_eq!(see(&mut plugin, &[11.0, 5.0]), ["out-of-range pressure Warning 11"]);
}
