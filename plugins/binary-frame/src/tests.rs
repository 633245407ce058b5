//! Tests of the plugin as the component runs it: JSON in, messages in, samples out. What Python's struct makes of the same
//! messages is in `tests/cases`, written by `tests/oracle.py`.

use super::*;
use floorhand_plugin_sdk::{decoder::Instance, testing};
use serde_json::{Value, json};

type Plugin = Instance<BinaryFrame>;

fn config() -> Value {
    json!({
        "outputs": [
            {"name": "x", "fields": [
                {"name": "p", "type": "INT16", "scale": 0.5, "add": 1, "missing_value": -32768},
                {"name": "t", "type": "UINT16", "endianness": "big"},
                {"name": "ok", "type": "UINT8", "bits": {"first": 3}},
                {"name": "mode", "type": "UINT8", "offset": 4, "bits": {"first": 0, "count": 3}},
            ]},
            {"name": "n", "datatype": "INT64", "fields": [{"name": "n", "type": "INT64"}]},
        ],
        "magic": "a55a",
        "header_bytes": 4,
        "length": {"offset": 2, "type": "UINT16", "plus": 4},
        "check": {"kind": "xor8"},
        "repeat": true,
        "id": {"offset": 13, "type": "UINT8"},
    })
}

fn configured(config: &Value) -> Plugin {
    let mut plugin = Plugin::new();
    plugin.configure(&config.to_string(), vec![]).unwrap();
    plugin
}

fn decode(plugin: &mut Plugin, payload: &[u8]) -> Result<Vec<Result<Sample, Failure>>, Error> {
    plugin.decode(testing::message_of("", payload))
}

fn record(p: i16, t: u16, flags: u8, n: i64, id: u8) -> Vec<u8> {
    let mut bytes = p.to_le_bytes().to_vec();
    bytes.extend(t.to_be_bytes());
    bytes.push(flags);
    bytes.extend(n.to_le_bytes());
    bytes.push(id);
    bytes
}

fn framed(records: &[Vec<u8>]) -> Vec<u8> {
    let body = records.concat();
    let mut bytes = vec![0xa5, 0x5a];
    bytes.extend((body.len() as u16 + 1).to_le_bytes());
    bytes.extend(body);
    bytes.push(bytes.iter().fold(0, |sum, byte| sum ^ byte));
    bytes
}

#[test]
fn recorded_cases() {
    testing::cases::check_decoder::<BinaryFrame>(env!("CARGO_MANIFEST_DIR"));
}

#[test]
fn records_are_samples() {
    let mut plugin = configured(&config());
    let message = framed(&[
        record(-3, 513, 0b1101, -(1 << 60), 7),
        record(-32768, 0, 0, 0, 8),
        record(2, 1, 2, 3, 255),
    ]);
    let samples = decode(&mut plugin, &message).unwrap();
    let first = samples[0].as_ref().unwrap();
    assert_eq!(first.tensors[0].to_f32().unwrap(), [-0.5, 513.0, 1.0, 5.0]);
    assert_eq!(first.tensors[1].data, (-(1_i64 << 60)).to_le_bytes());
    assert_eq!((first.id.as_deref(), first.time_ns), (Some("7"), None));
    assert_eq!(samples[1].as_ref().unwrap_err().message(), "field \"p\" is missing");
    assert_eq!(
        samples[2].as_ref().unwrap().tensors[0].to_f32().unwrap(),
        [2.0, 1.0, 0.0, 2.0]
    );
    assert!(decode(&mut plugin, &framed(&[])).unwrap().is_empty());
}

#[test]
fn a_frame_that_is_wrong_is_refused() {
    let mut plugin = configured(&config());
    let good = framed(&[record(1, 1, 1, 1, 1)]);
    assert!(decode(&mut plugin, &good).is_ok());
    let changed = |at: usize, bits: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= bits;
        bytes
    };
    let mut half = framed(&[vec![0; 7]]);
    for (payload, expected) in [
        (changed(0, 1), "the message doesn't begin with magic"),
        (changed(2, 1), "message of 19 bytes says that it has 18"),
        (changed(9, 1), "the message's check is wrong"),
        (good[..18].to_vec(), "message of 18 bytes says that it has 19"),
        (vec![0xa5, 0x5a, 0], "message of 3 bytes, less than its header"),
        (vec![0xa5, 0x5a, 0, 0], "message of 4 bytes, less than header and check"),
        (std::mem::take(&mut half), "7 bytes of records, and a record has 14"),
        (vec![], "the message doesn't begin with magic"),
        (vec![0; 262_145], "message of 262145 bytes, more than max_bytes, 262144"),
    ] {
        assert_eq!(testing::message(decode(&mut plugin, &payload)), expected);
    }
    let mut single = config();
    single["repeat"] = json!(false);
    let two = framed(&[record(1, 1, 1, 1, 1), record(1, 1, 1, 1, 1)]);
    assert!(testing::message(decode(&mut configured(&single), &two)).starts_with("28 bytes of records"));
    let mut bytes =
        configured(&json!({"outputs": [{"name": "x", "fields": [{"name": "b", "type": "UINT8"}]}], "repeat": true}));
    assert_eq!(decode(&mut bytes, &[1; 4096]).unwrap().len(), 4096);
    assert!(testing::message(decode(&mut bytes, &[1; 4097])).starts_with("4097 records"));
}

#[test]
fn a_key_may_stand_in_the_header_and_lengthen_the_record() {
    let fields = json!([{"name": "b", "type": "UINT8"}]);
    let in_header = json!({
        "outputs": [{"name": "x", "fields": fields}],
        "header_bytes": 2,
        "repeat": true,
        "key": {"offset": 0, "type": "UINT16", "in": "message"},
    });
    let samples = decode(&mut configured(&in_header), &[1, 2, 3, 4]).unwrap();
    let keys: Vec<_> = samples
        .iter()
        .map(|sample| sample.as_ref().unwrap().key.as_deref())
        .collect();
    assert_eq!(keys, [Some("513"); 2]);
    let in_record = json!({"outputs": [{"name": "x", "fields": fields}], "key": {"offset": 1, "type": "INT8"}});
    let samples = decode(&mut configured(&in_record), &[1, 255]).unwrap();
    let sample = samples[0].as_ref().unwrap();
    assert_eq!((sample.key.as_deref(), sample.id.as_deref()), (Some("-1"), None));
    for (key, value) in [("type", json!("FP32")), ("offset", json!(2))] {
        let mut config = in_header.clone();
        config["key"][key] = value;
        assert!(
            Plugin::new().configure(&config.to_string(), vec![]).is_err(),
            "{config}"
        );
    }
}

#[test]
fn a_record_that_fails_says_of_which_key_it_is() {
    let config = json!({
        "outputs": [{"name": "x", "fields": [{"name": "b", "type": "UINT8"}]}],
        "repeat": true,
        "key": {"offset": 0, "type": "UINT8"},
        "time": {"offset": 1, "type": "INT32", "unit": "s"},
    });
    let samples = decode(&mut configured(&config), &[7, 255, 255, 255, 255, 8, 1, 0, 0, 0]).unwrap();
    let lost = samples[0].as_ref().unwrap_err();
    assert!(lost.message().starts_with("time: "), "{}", lost.message());
    assert_eq!(lost.key.as_deref(), Some("7"));
    assert_eq!(samples[1].as_ref().unwrap().key.as_deref(), Some("8"));
}

#[test]
fn several_numbers_in_a_row_fill_a_shape() {
    let config = json!({"outputs": [{"name": "w", "datatype": "INT16", "shape": [2, 3], "fields": [
        {"name": "head", "type": "UINT8"}, {"name": "wave", "type": "INT16", "count": 5, "endianness": "big"}]}]});
    let mut plugin = Plugin::new();
    let production = plugin.configure(&config.to_string(), vec![]).unwrap();
    assert!(production.outputs[0].fields.is_empty());
    let samples = decode(&mut plugin, &[9, 0, 1, 255, 255, 0, 2, 1, 0, 128, 0]).unwrap();
    let tensor = &samples[0].as_ref().unwrap().tensors[0];
    assert_eq!(tensor.shape, [2, 3]);
    assert_eq!(
        tensor.numbers().unwrap().collect::<Vec<_>>(),
        [9.0, 1.0, -1.0, 2.0, 256.0, -32768.0]
    );
}

#[test]
fn a_missing_number_may_be_nan() {
    let mut lenient = config();
    lenient["missing"] = json!("nan");
    lenient["outputs"] = json!([lenient["outputs"][0]]);
    lenient["record_bytes"] = json!(14);
    let samples = decode(&mut configured(&lenient), &framed(&[record(-32768, 1, 0, 0, 0)])).unwrap();
    let values = samples[0].as_ref().unwrap().tensors[0].to_f32().unwrap();
    assert!(values[0].is_nan() && values[1] == 1.0);
}

/// The message of the refusal, where a key has this value.
fn check_refused(cases: &[(&str, Value, &str)]) {
    for (pointer, value, expected) in cases {
        let mut config = config();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[key] = value.clone();
        let message = testing::message(Plugin::new().configure(&config.to_string(), vec![]));
        assert!(message.starts_with(expected), "{pointer}: {message}");
    }
}

#[test]
fn fields_that_are_refused() {
    check_refused(&[
        ("/colour", json!(1), "configuration, key colour: unknown field `colour`"),
        ("/outputs", json!([]), "outputs has 0 tensors"),
        ("/outputs/1/name", json!("x"), "outputs has \"x\" twice"),
        ("/outputs/0/fields", json!([]), "output \"x\" has no fields"),
        ("/outputs/0/fields/1/name", json!("p"), "output \"x\" has the field"),
        (
            "/outputs/0/fields/0/type",
            json!("FP8"),
            "configuration, key outputs[0].fields[0].type: \"FP8\" is no datatype",
        ),
        ("/outputs/0/fields/0/count", json!(0), "field \"p\" has no numbers"),
        (
            "/outputs/0/fields/0/count",
            json!(u32::MAX),
            "field \"p\" has no numbers, or ends beyond",
        ),
        (
            "/outputs/0/fields/0/offset",
            json!(u64::MAX),
            "field \"p\" has no numbers, or ends beyond",
        ),
        (
            "/outputs/0/fields/0/bits",
            json!({"first": 0}),
            "field \"p\" has bits, and is no unsigned",
        ),
        (
            "/outputs/0/fields/2/bits",
            json!({"first": 7, "count": 2}),
            "bits of field \"ok\" aren't within its 8",
        ),
        (
            "/outputs/0/fields/2/bits",
            json!({"first": 1, "count": 0}),
            "bits of field \"ok\"",
        ),
        (
            "/outputs/0/shape",
            json!([3]),
            "output \"x\" has shape [3]: it has to end in 4",
        ),
        (
            "/outputs/0/shape",
            json!([2, 3]),
            "shape of output \"x\" is [2, 3], and its fields have 4",
        ),
    ]);
}

#[test]
fn frames_that_are_refused() {
    check_refused(&[
        ("/magic", json!("abc"), "magic has to be hexadecimal"),
        ("/header_bytes", json!(1), "header_bytes is 1"),
        (
            "/length/offset",
            json!(3),
            "length has to be an unsigned integer within the header",
        ),
        ("/length/type", json!("FP32"), "length has to be an unsigned"),
        (
            "/check/kind",
            json!("md5"),
            "configuration, key check.kind: unknown variant `md5`",
        ),
        ("/check/from", json!(5), "check.from is beyond the header"),
        ("/record_bytes", json!(13), "record_bytes is 13, and fields end at 14"),
        ("/id/type", json!("FP32"), "id has to be an integer"),
        ("/id/type", json!("BYTES"), "id has to be an integer"),
        ("/outputs/0/fields/0/type", json!("BYTES"), "field \"p\" is BYTES"),
        (
            "/id/in",
            json!("message"),
            "id, key or time of the message isn't within its header",
        ),
        (
            "/time",
            json!({"offset": 0, "type": "UINT32", "unit": "rfc3339"}),
            "time.unit is \"rfc3339\"",
        ),
        (
            "/missing",
            json!("nan"),
            "missing is \"nan\", which INT64 of output \"n\"",
        ),
        ("/max_bytes", json!(0), "max_bytes is 0"),
    ]);
}

#[test]
fn broken_messages_are_errors_and_change_nothing() {
    let mut unchecked = config();
    for key in ["check", "length", "magic"] {
        unchecked[key] = json!(null);
    }
    unchecked["time"] = json!({"offset": 5, "type": "FP64", "unit": "s"});
    let message = framed(&[
        record(-3, 513, 0b1101, 4_000_000_000_000_000_000, 7),
        record(2, 1, 2, 3, 255),
    ]);
    for config in [config(), unchecked] {
        let mut plugin = configured(&config);
        let whole = if config["check"].is_null() {
            &message[..message.len() - 1]
        } else {
            &message[..]
        };
        let expected = decode(&mut plugin, whole).unwrap();
        assert!(!expected.is_empty());
        for payload in testing::damaged(whole, 1) {
            for sample in decode(&mut plugin, &payload).into_iter().flatten().flatten() {
                for (tensor, spec) in sample.tensors.iter().zip(plugin.plugin().unwrap().production().outputs) {
                    tensor.check(&spec).unwrap();
                }
            }
        }
        assert_eq!(decode(&mut plugin, whole).unwrap(), expected);
    }
    let mut plugin = configured(&config());
    assert!(plugin.snapshot().is_empty() && plugin.restore(&[1]).is_err());
}
