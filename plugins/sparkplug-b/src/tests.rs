//! Tests of the plugin as the component runs it: JSON in, messages in, samples out. What it makes of payloads that Google's
//! protobuf encoded is in `tests/cases`, written by `tests/oracle.py`.

use super::*;
use floorhand_plugin_sdk::{decoder::Instance, testing};
use serde_json::{Value, json};

type Plugin = Instance<SparkplugB>;

fn config() -> Value {
    json!({"outputs": [{"name": "x", "fields": [{"name": "p", "metric": "Sensors/p"}, {"name": "t"}]}]})
}

fn configured(config: &Value) -> Plugin {
    let mut plugin = Plugin::new();
    plugin.configure(&config.to_string(), vec![]).unwrap();
    plugin
}

fn varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn integer(number: u64, value: u64, bytes: &mut Vec<u8>) {
    varint(number << 3, bytes);
    varint(value, bytes);
}

fn text(number: u64, value: &[u8], bytes: &mut Vec<u8>) {
    varint(number << 3 | 2, bytes);
    varint(value.len() as u64, bytes);
    bytes.extend(value);
}

/// A metric of type Double, by name or alias; without a value it is null.
fn metric(name: Option<&str>, alias: Option<u64>, value: Option<f64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    name.iter().for_each(|name| text(1, name.as_bytes(), &mut bytes));
    alias.iter().for_each(|&alias| integer(2, alias, &mut bytes));
    name.iter().for_each(|_| integer(4, 10, &mut bytes));
    match value {
        Some(value) => {
            varint(13 << 3 | 1, &mut bytes);
            bytes.extend(value.to_le_bytes());
        }
        None => integer(7, 1, &mut bytes),
    }
    bytes
}

fn birth_number(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    text(1, b"bdSeq", &mut bytes);
    integer(4, 8, &mut bytes);
    integer(11, number, &mut bytes);
    bytes
}

fn payload(sequence: Option<u64>, metrics: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    integer(1, 1_767_225_600_000, &mut bytes);
    metrics.iter().for_each(|metric| text(2, metric, &mut bytes));
    sequence.iter().for_each(|&sequence| integer(3, sequence, &mut bytes));
    bytes
}

fn born(sequence: u64) -> Vec<u8> {
    payload(
        Some(sequence),
        &[
            birth_number(4),
            metric(Some("Sensors/p"), Some(1), Some(0.5)),
            metric(Some("t"), Some(2), Some(20.0)),
        ],
    )
}

/// Why nothing of a message could be read.
fn refused(plugin: &mut Plugin, topic: &str, payload: &[u8]) -> Failure {
    let mut samples = decode(plugin, topic, payload).unwrap();
    assert_eq!(samples.len(), 1);
    samples.remove(0).unwrap_err()
}

fn decode(plugin: &mut Plugin, topic: &str, payload: &[u8]) -> Result<Vec<Result<Sample, Failure>>, Error> {
    plugin.decode(testing::message_of(topic, payload))
}

/// The values of the one sample that there has to be.
fn values(plugin: &mut Plugin, topic: &str, payload: &[u8]) -> Vec<f32> {
    let samples = decode(plugin, topic, payload).unwrap();
    assert_eq!(samples.len(), 1);
    samples[0].as_ref().unwrap().tensors[0].to_f32().unwrap()
}

fn gaps() -> u64 {
    testing::take_recorded()
        .counters
        .get("sequence-gaps")
        .copied()
        .unwrap_or_default()
}

#[test]
fn recorded_cases() {
    testing::cases::check_decoder::<SparkplugB>(env!("CARGO_MANIFEST_DIR"));
}

#[test]
fn data_change_what_a_birth_told() {
    let mut plugin = configured(&config());
    assert_eq!(values(&mut plugin, "spBv1.0/g/NBIRTH/n", &born(0)), [0.5, 20.0]);
    let data = payload(
        Some(1),
        &[metric(None, Some(2), Some(21.0)), metric(None, Some(99), Some(1.0))],
    );
    let samples = decode(&mut plugin, "spBv1.0/g/NDATA/n", &data).unwrap();
    let sample = samples[0].as_ref().unwrap();
    assert_eq!(sample.tensors[0].to_f32().unwrap(), [0.5, 21.0]);
    assert_eq!(
        (sample.id.as_deref(), sample.key.as_deref(), sample.time_ns),
        (None, Some("g/n"), Some(1_767_225_600_000_000_000))
    );
    let other = payload(Some(2), &[metric(None, Some(99), Some(1.0))]);
    assert!(decode(&mut plugin, "spBv1.0/g/NDATA/n", &other).unwrap().is_empty());
    let null = payload(Some(3), &[metric(None, Some(1), None)]);
    let samples = decode(&mut plugin, "spBv1.0/g/NDATA/n", &null).unwrap();
    let lost = samples[0].as_ref().unwrap_err();
    assert_eq!(
        (lost.message(), lost.key.as_deref()),
        ("metric \"Sensors/p\" of \"g/n\" has no value", Some("g/n"))
    );
    assert_eq!(gaps(), 0);
    for topic in ["spBv1.0/g/NCMD/n", "spBv1.0/STATE/host"] {
        assert!(decode(&mut plugin, topic, b"{\"online\": true}").unwrap().is_empty());
    }
}

#[test]
fn nodes_and_devices_are_kept_apart() {
    let mut plugin = configured(&config());
    values(&mut plugin, "spBv1.0/g/NBIRTH/n", &born(0));
    values(&mut plugin, "spBv1.0/g/DBIRTH/n/a", &born(1));
    values(&mut plugin, "spBv1.0/g/DBIRTH/n/b", &born(2));
    let one = |sequence, value| payload(Some(sequence), &[metric(None, Some(1), Some(value))]);
    assert_eq!(values(&mut plugin, "spBv1.0/g/DDATA/n/a", &one(3, 7.0)), [7.0, 20.0]);
    assert_eq!(values(&mut plugin, "spBv1.0/g/DDATA/n/b", &one(4, 8.0)), [8.0, 20.0]);
    assert_eq!(values(&mut plugin, "spBv1.0/g/NDATA/n", &one(5, 9.0)), [9.0, 20.0]);
    assert_eq!(gaps(), 0, "a node and its devices share one sequence");
    // A device's death ends its session, a node's those of all its devices.
    decode(&mut plugin, "spBv1.0/g/DDEATH/n/a", &payload(Some(6), &[])).unwrap();
    let unborn = refused(&mut plugin, "spBv1.0/g/DDATA/n/a", &one(7, 1.0));
    assert!(unborn.message().contains("have it born again"), "{unborn:?}");
    assert_eq!(unborn.key.as_deref(), Some("g/n/a"), "the others miss nothing");
    assert_eq!(values(&mut plugin, "spBv1.0/g/DDATA/n/b", &one(8, 1.0)), [1.0, 20.0]);
    let late = payload(None, &[birth_number(3)]);
    decode(&mut plugin, "spBv1.0/g/NDEATH/n", &late).unwrap();
    assert_eq!(
        values(&mut plugin, "spBv1.0/g/DDATA/n/b", &one(9, 2.0)),
        [2.0, 20.0],
        "the death of another birth"
    );
    decode(&mut plugin, "spBv1.0/g/NDEATH/n", &payload(None, &[birth_number(4)])).unwrap();
    assert_eq!(plugin.snapshot(), configured(&config()).snapshot());
    let unborn = refused(&mut plugin, "spBv1.0/g/DDATA/n/b", &one(10, 2.0));
    assert_eq!(unborn.key.as_deref(), Some("g/n/b"));
    assert_eq!(gaps(), 0);
}

#[test]
fn gaps_in_the_sequence_are_counted() {
    let mut plugin = configured(&config());
    let one = |sequence| payload(Some(sequence), &[metric(None, Some(1), Some(1.0))]);
    values(&mut plugin, "spBv1.0/g/NBIRTH/n", &born(254));
    for (sequence, expected) in [(255, 0), (0, 0), (2, 1), (3, 0), (3, 1), (4, 0)] {
        values(&mut plugin, "spBv1.0/g/NDATA/n", &one(sequence));
        assert_eq!(gaps(), expected, "{sequence}");
    }
    values(&mut plugin, "spBv1.0/g/NBIRTH/n", &born(0));
    assert_eq!(gaps(), 0, "a birth begins anew");
    assert!(refused(&mut plugin, "spBv1.0/g/NDATA/n", &one(256)).key.is_some());
}

#[test]
fn names_do_without_a_birth_and_aliases_do_not() {
    let mut nan = config();
    nan["missing"] = json!("nan");
    let mut plugin = configured(&nan);
    let named = payload(Some(9), &[metric(Some("t"), None, Some(3.0))]);
    let found = values(&mut plugin, "spBv1.0/g/NDATA/n", &named);
    assert!(found[0].is_nan() && found[1] == 3.0);
    let alias = payload(Some(10), &[metric(None, Some(2), Some(3.0))]);
    let unborn = refused(&mut plugin, "spBv1.0/g/NDATA/n", &alias);
    assert!(
        unborn.message().starts_with("no birth of \"g/n\" has been seen"),
        "{unborn:?}"
    );
}

#[test]
fn sources_are_bounded() {
    let mut two = config();
    two["max_sources"] = json!(2);
    let mut plugin = configured(&two);
    values(&mut plugin, "spBv1.0/g/NBIRTH/n", &born(0));
    values(&mut plugin, "spBv1.0/g/DBIRTH/n/a", &born(1));
    let before = plugin.snapshot();
    for topic in ["spBv1.0/g/DBIRTH/n/b", "spBv1.0/g/NBIRTH/m", "spBv1.0/g/DDATA/m/a"] {
        let Failure { key, error } = refused(&mut plugin, topic, &born(2));
        let Error::Exhausted(message) = error else {
            panic!("{error:?}")
        };
        assert!(
            message.ends_with("is more than the 2 nodes and devices of max_sources"),
            "{message}"
        );
        assert!(key.is_some());
    }
    assert_eq!(plugin.snapshot(), before);
    decode(&mut plugin, "spBv1.0/g/DDEATH/n/a", &payload(Some(2), &[])).unwrap();
    values(&mut plugin, "spBv1.0/g/DBIRTH/n/b", &born(3));
}

#[test]
fn a_restored_instance_gives_the_same() {
    let mut random = testing::random(3);
    let (mut whole, mut parts) = (configured(&config()), configured(&config()));
    let most = whole.plugin().unwrap().production().state_bytes as usize;
    for step in 0..600_u64 {
        let draw = random.next().unwrap();
        let node = ["n", "m"][(draw % 2) as usize];
        let (topic, bytes) = match draw / 2 % 16 {
            0 => (format!("spBv1.0/g/NBIRTH/{node}"), born(step % 256)),
            1 => (format!("spBv1.0/g/DBIRTH/{node}/d"), born(step % 256)),
            2 => (format!("spBv1.0/g/DDEATH/{node}/d"), payload(Some(step % 256), &[])),
            3 => (format!("spBv1.0/g/NDEATH/{node}"), payload(None, &[birth_number(4)])),
            other => {
                let value = (other > 4).then_some(step as f64);
                let metrics = [metric(None, Some(1 + draw / 32 % 3), value)];
                (format!("spBv1.0/g/DDATA/{node}/d"), payload(Some(step % 256), &metrics))
            }
        };
        let snapshot = parts.snapshot();
        assert!(snapshot.len() <= most);
        parts = configured(&config());
        parts.restore(&snapshot).unwrap();
        assert_eq!(
            decode(&mut parts, &topic, &bytes),
            decode(&mut whole, &topic, &bytes),
            "{step}: {topic}"
        );
    }
    assert_eq!(parts.snapshot(), whole.snapshot());
}

#[test]
fn the_declared_state_is_that_of_the_longest_names() {
    let mut plugin = configured(&config());
    for index in 0..16 {
        let topic = format!("spBv1.0/g/NBIRTH/{index:0>254}");
        decode(&mut plugin, &topic, &born(0)).unwrap();
    }
    assert_eq!(
        plugin.snapshot().len(),
        plugin.plugin().unwrap().production().state_bytes as usize
    );
}

#[test]
fn broken_snapshots_change_nothing() {
    let mut plugin = configured(&config());
    values(&mut plugin, "spBv1.0/g/NBIRTH/n", &born(0));
    values(&mut plugin, "spBv1.0/g/DBIRTH/n/d", &born(1));
    let snapshot = plugin.snapshot();
    for broken in testing::damaged(&snapshot, 3) {
        let before = plugin.snapshot();
        if plugin.restore(&broken).is_err() {
            assert_eq!(plugin.snapshot(), before);
        }
        drop(decode(&mut plugin, "spBv1.0/g/DDATA/n/d", &born(2)));
    }
    for broken in [&[][..], &snapshot[..20], &[&snapshot[..], &[0]].concat()] {
        assert!(matches!(plugin.restore(broken), Err(Error::BadConfig(_))));
    }
}

#[test]
fn broken_messages_are_errors() {
    for samples in ["message", "timestamp"] {
        let mut config = config();
        config["samples"] = json!(samples);
        let mut plugin = configured(&config);
        let message = born(1);
        for payload in testing::damaged(&message, 1) {
            for topic in ["spBv1.0/g/NBIRTH/n", "spBv1.0/g/DDATA/n/d", "spBv1.0/g/NDEATH/n"] {
                let before = plugin.snapshot();
                let samples = decode(&mut plugin, topic, &payload).unwrap();
                assert!(samples.len() < 4);
                // A sample that fails has been taken in, and so has a source without a birth.
                let of_message = |failed: &Failure| {
                    !["metric ", "no birth "]
                        .iter()
                        .any(|begin| failed.message().starts_with(begin))
                };
                if matches!(samples.as_slice(), [Err(failed)] if of_message(failed)) {
                    assert_eq!(plugin.snapshot(), before);
                }
            }
        }
        assert_eq!(values(&mut plugin, "spBv1.0/g/NBIRTH/n", &message), [0.5, 20.0]);
    }
    let mut plugin = configured(&config());
    assert!(
        refused(&mut plugin, "spBv1.0/g/NDATA/n", &[0; 131_073])
            .message()
            .starts_with("message of 131073 bytes")
    );
    assert_eq!(decode(&mut plugin, "some/topic", &born(0)), Ok(vec![]));
    assert_eq!(testing::take_recorded().counters["foreign-topics"], 1);
    let mut compressed = Vec::new();
    text(4, b"SPBV1.0_COMPRESSED", &mut compressed);
    assert!(
        refused(&mut plugin, "spBv1.0/g/NDATA/n", &compressed)
            .message()
            .starts_with("the payload is compressed")
    );
}

#[test]
fn configurations_that_are_refused() {
    for (pointer, value, expected) in [
        ("/colour", json!(1), "configuration, key colour: unknown field `colour`"),
        ("/outputs", json!([]), "outputs has 0 tensors"),
        (
            "/outputs",
            json!([config()["outputs"][0], config()["outputs"][0]]),
            "outputs has \"x\" twice",
        ),
        ("/outputs/0/fields", json!([]), "output \"x\" has 0 fields"),
        ("/outputs/0/shape", json!([-1, 2]), "shape of output \"x\" has a -1"),
        ("/outputs/0/shape", json!([3]), "output \"x\" has shape [3]"),
        (
            "/outputs/0/fields/0/metric",
            json!(""),
            "outputs have 2 metrics: 4096 at most, none without a name",
        ),
        ("/outputs/0/fields/0/name", json!("t"), "output \"x\" has the field"),
        (
            "/samples",
            json!("second"),
            "configuration, key samples: unknown variant `second`",
        ),
        ("/max_sources", json!(0), "max_sources is 0"),
        ("/max_sources", json!(257), "max_sources is 257"),
        ("/max_bytes", json!(0), "max_bytes is 0"),
    ] {
        let mut config = config();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[key] = value;
        let message = testing::message(Plugin::new().configure(&config.to_string(), vec![]));
        assert!(message.starts_with(expected), "{pointer}: {message}");
    }
    let mut integers = config();
    integers["missing"] = json!("nan");
    integers["outputs"][0]["datatype"] = json!("INT8");
    let message = testing::message(Plugin::new().configure(&integers.to_string(), vec![]));
    assert!(message.starts_with("missing is \"nan\", which INT8"), "{message}");
}
