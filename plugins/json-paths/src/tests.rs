//! Tests of the plugin as the component runs it: JSON in, messages in, samples out. What Python's json makes of the same
//! messages is in `tests/cases`, written by `tests/oracle.py`.

use super::*;
use floorhand_plugin_sdk::{decoder::Instance, testing};
use serde_json::{Value, json};

type Plugin = Instance<JsonPaths>;

fn config() -> Value {
    json!({
        "outputs": [
            {"name": "x", "fields": [{"name": "p", "path": "/s/p"}, {"name": "t"}]},
            {"name": "w", "datatype": "INT16", "path": "w", "shape": [-1, 2]},
        ],
        "id": {"path": "id"},
        "time": {"path": "at", "unit": "ms"},
    })
}

fn configured(config: &Value) -> Plugin {
    let mut plugin = Plugin::new();
    plugin.configure(&config.to_string(), vec![]).unwrap();
    plugin
}

fn decode(plugin: &mut Plugin, message: &Value) -> Result<Vec<Result<Sample, Failure>>, Error> {
    plugin.decode(testing::message_of("", message.to_string().as_bytes()))
}

fn error(plugin: &mut Plugin, message: &Value) -> String {
    match decode(plugin, message) {
        Ok(mut samples) => samples.remove(0).unwrap_err().message().to_owned(),
        Err(error) => error.message().to_owned(),
    }
}

#[test]
fn recorded_cases() {
    testing::cases::check_decoder::<JsonPaths>(env!("CARGO_MANIFEST_DIR"));
}

#[test]
fn a_key_says_what_a_sample_is_of() {
    let config = json!({
        "outputs": [{"name": "x", "fields": [{"name": "p"}]}],
        "samples": "list",
        "key": {"path": "machine", "from": "message"},
        "id": {"path": "part"},
    });
    let mut plugin = configured(&config);
    let mut found = |machine: Value, part: Value| {
        let message = json!({"machine": machine, "list": [{"p": 1, "part": part}]});
        let sample = decode(&mut plugin, &message).unwrap().remove(0);
        sample.map(|sample| (sample.key, sample.id))
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(found(json!("press 1"), json!("a")), Ok((text("press 1"), text("a"))));
    assert_eq!(found(json!(7), json!(null)), Ok((text("7"), None)));
    let longest = "k".repeat(256);
    assert_eq!(
        found(json!(longest), json!(longest)),
        Ok((text(&longest), text(&longest)))
    );
    for (machine, part, key, expected) in [
        (
            json!("k".repeat(257)),
            json!(1),
            None,
            "key, \"machine\", has 257 bytes, and has to have 1 to 256",
        ),
        (
            json!(1),
            json!(""),
            text("1"),
            "id, \"part\", has 0 bytes, and has to have 1 to 256",
        ),
        (
            json!([]),
            json!(1),
            None,
            "key, \"machine\", is a list, neither text nor an integer",
        ),
    ] {
        let lost = found(machine, part).unwrap_err();
        assert_eq!((lost.message(), &lost.key), (expected, &key));
    }
}

#[test]
fn the_production_names_tensors_and_fields() {
    let production = Plugin::new().configure(&config().to_string(), vec![]).unwrap();
    assert_eq!(production.outputs[0].shape, [1, 2]);
    let names: Vec<&str> = production.outputs[0]
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    assert_eq!(names, ["p", "t"]);
    assert_eq!(
        (production.outputs[1].shape.as_slice(), production.state_bytes),
        (&[-1, 2][..], 0)
    );
}

#[test]
fn a_message_is_a_sample() {
    let message =
        json!({"s": {"p": 1.5}, "t": -2, "w": [[1, 2], [3, 4]], "id": 7, "at": 1_767_225_600_001_u64, "else": {}});
    let sample = decode(&mut configured(&config()), &message).unwrap().remove(0).unwrap();
    assert_eq!(sample.tensors[0].to_f32().unwrap(), [1.5, -2.0]);
    assert_eq!(sample.tensors[1].shape, [2, 2]);
    assert_eq!(
        sample.tensors[1].numbers().unwrap().collect::<Vec<_>>(),
        [1.0, 2.0, 3.0, 4.0]
    );
    assert_eq!(
        (sample.id.as_deref(), sample.time_ns),
        (Some("7"), Some(1_767_225_600_001_000_000))
    );
}

#[test]
fn one_sample_does_not_stand_in_the_way_of_the_others() {
    let config = json!({"outputs": [{"name": "x", "fields": [{"name": "a"}, {"name": "b", "from": "message"}]}],
        "samples": "/list"});
    let mut plugin = configured(&config);
    let samples = decode(
        &mut plugin,
        &json!({"b": 9, "list": [{"a": 1}, {"a": "x"}, {"b": 1}, 5, {"a": 2, "b": 0}]}),
    )
    .unwrap();
    let values: Vec<Option<Vec<f32>>> = samples
        .into_iter()
        .map(|sample| Some(sample.ok()?.tensors[0].to_f32().unwrap()))
        .collect();
    assert_eq!(values, [Some(vec![1.0, 9.0]), None, None, None, Some(vec![2.0, 9.0])]);
    assert!(decode(&mut plugin, &json!({"list": []})).unwrap().is_empty());
    for wrong in [json!({"list": {}}), json!({}), json!([])] {
        assert!(decode(&mut plugin, &wrong).is_err());
    }
    let many = json!({"list": vec![0; MAX_SAMPLES + 1]});
    assert!(testing::message(decode(&mut plugin, &many)).starts_with("4097 samples"));
}

#[test]
fn errors_name_the_path() {
    let mut plugin = configured(&config());
    let good = json!({"s": {"p": 1}, "t": 2, "w": [1, 2]});
    assert!(decode(&mut plugin, &good).unwrap()[0].is_ok());
    for (key, value, expected) in [
        ("t", json!(null), "\"t\" is missing"),
        ("t", json!("2"), "\"t\" is text, no number"),
        ("t", json!(true), "\"t\" is a truth value, no number"),
        ("s", json!([]), "\"/s/p\" is missing"),
        ("w", json!(3), "the lists at \"w\" aren't equally long or deep"),
        ("w", json!([[1, 2], [3]]), "the lists at \"w\" aren't"),
        ("w", json!([[1, 2], 3]), "the lists at \"w\" aren't"),
        ("w", json!([1, [2]]), "the lists at \"w\" aren't"),
        ("w", json!([[1], [2]]), "\"w\" has shape [2, 1], expected [1, 2]"),
        ("w", json!([1, 2, 3]), "3 values for \"w\" of shape [-1, 2]"),
        (
            "w",
            json!([1, 40000]),
            "element 1 of \"w\" is 40000, which INT16 doesn't hold",
        ),
        ("w", json!([1, 1.5]), "element 1 of \"w\" is 1.5, which INT16"),
        ("w", json!([1, null]), "\"w\" is missing"),
        ("id", json!(1.5), "id, \"id\", is a number, neither text nor an integer"),
        ("at", json!(-1), "time, \"at\": \"-1\" is no time in ms"),
        ("at", json!([]), "time, \"at\": it is a list"),
    ] {
        let mut message = good.clone();
        message[key] = value;
        let found = error(&mut plugin, &message);
        assert!(found.starts_with(expected), "{message}: {found}");
    }
}

#[test]
fn missing_values_truth_values_and_text_as_configured() {
    let mut lenient =
        json!({"outputs": [{"name": "x", "fields": [{"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}]}]});
    lenient["missing"] = json!("nan");
    lenient["booleans"] = json!(true);
    lenient["numeric_strings"] = json!(true);
    let mut plugin = configured(&lenient);
    let message = json!({"a": null, "b": true, "c": " -1.5e2 ", "d": ""});
    let values = decode(&mut plugin, &message).unwrap().remove(0).unwrap().tensors[0]
        .to_f32()
        .unwrap();
    assert!(values[0].is_nan() && values[3].is_nan());
    assert_eq!(values[1..3], [1.0, -150.0]);
    for text in ["inf", "NaN", "0x10", "1_000", "1,5", "--1"] {
        assert!(
            error(&mut plugin, &json!({"c": text})).contains("is text, no number"),
            "{text}"
        );
    }
    let mut flags = configured(&json!({"outputs": [{"name": "x", "datatype": "BOOL", "fields": [{"name": "a"}]}]}));
    assert_eq!(
        decode(&mut flags, &json!({"a": true})).unwrap()[0]
            .as_ref()
            .unwrap()
            .tensors[0]
            .data,
        [1]
    );
    assert!(error(&mut flags, &json!({"a": 2})).contains("which BOOL doesn't hold"));
}

#[test]
fn configurations_that_are_refused() {
    for (pointer, value, expected) in [
        ("/colour", json!(1), "configuration, key colour: unknown field `colour`"),
        ("/outputs", json!([]), "outputs has 0 tensors"),
        ("/outputs/1/name", json!("x"), "outputs has \"x\" twice"),
        ("/outputs/0/fields", json!([]), "output \"x\" has 0 fields"),
        ("/outputs/0/fields/1/name", json!("p"), "output \"x\" has the field"),
        (
            "/outputs/0/shape",
            json!([1, 3]),
            "output \"x\" has shape [1, 3]: it has to end in 2",
        ),
        ("/outputs/1/shape", json!([-1, -1]), "output \"w\" has shape [-1, -1]"),
        ("/outputs/0/path", json!("/x"), "output \"x\" has both path and fields"),
        ("/outputs/0/fields/0/path", json!("/~7"), "path \"/~7\" has a ~"),
        (
            "/missing",
            json!("nan"),
            "missing is \"nan\", which INT16 of output \"w\" doesn't have",
        ),
        ("/max_bytes", json!(0), "max_bytes is 0"),
        (
            "/time/unit",
            json!("h"),
            "configuration, key time.unit: unknown variant `h`",
        ),
    ] {
        let mut config = config();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[key] = value;
        let message = testing::message(Plugin::new().configure(&config.to_string(), vec![]));
        assert!(message.starts_with(expected), "{pointer}: {message}");
    }
}

#[test]
fn broken_messages_are_errors_and_change_nothing() {
    let mut listed = config();
    listed["samples"] = json!("/list");
    let sample = json!({"s": {"p": 1.5}, "t": -2, "w": [[1, 2], [3, 4]], "id": "a", "at": 1.5});
    for (config, message) in [
        (config(), sample.clone()),
        (listed, json!({"list": [sample.clone(), sample]})),
    ] {
        let mut plugin = configured(&config);
        let expected = decode(&mut plugin, &message).unwrap();
        assert!(expected.iter().all(Result::is_ok));
        for payload in testing::damaged(message.to_string().as_bytes(), 1) {
            // Whatever it answers: no panic, and the same tensors as promised.
            for sample in plugin
                .decode(testing::message_of("", &payload))
                .into_iter()
                .flatten()
                .flatten()
            {
                for (tensor, spec) in sample.tensors.iter().zip(plugin.plugin().unwrap().production().outputs) {
                    tensor.check(&spec).unwrap();
                }
            }
        }
        assert_eq!(decode(&mut plugin, &message).unwrap(), expected);
    }
    let mut plugin = configured(&config());
    for payload in [&b""[..], b"\xff\xfe", b"nul", b"{\"s\": NaN}", b"[1] 2"] {
        assert!(plugin.decode(testing::message_of("", payload)).is_err());
    }
    let deep = "[".repeat(100_000);
    assert!(plugin.decode(testing::message_of("", deep.as_bytes())).is_err());
    let long = " ".repeat(131_073);
    assert!(testing::message(plugin.decode(testing::message_of("", long.as_bytes()))).contains("more than max_bytes"));
    assert!(plugin.snapshot().is_empty() && plugin.restore(&[1]).is_err());
}
