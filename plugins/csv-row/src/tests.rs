//! Tests of the plugin as the component runs it: JSON in, messages in, samples out. What Python's csv makes of the same
//! messages is in `tests/cases`, written by `tests/oracle.py`.

use super::*;
use floorhand_plugin_sdk::{decoder::Instance, testing};
use serde_json::{Value, json};

type Plugin = Instance<CsvRow>;

fn config() -> Value {
    json!({
        "outputs": [
            {"name": "x", "fields": [{"name": "b"}, {"name": "a"}]},
            {"name": "n", "datatype": "INT32", "fields": [{"name": "count", "column": "n"}], "shape": [1]},
        ],
        "columns": ["t", "a", "b", "n", "part"],
        "id": "part",
        "time": {"column": "t", "unit": "s"},
    })
}

fn configured(config: &Value) -> Plugin {
    let mut plugin = Plugin::new();
    plugin.configure(&config.to_string(), vec![]).unwrap();
    plugin
}

fn decode(plugin: &mut Plugin, text: &str) -> Result<Vec<Result<Sample, Failure>>, Error> {
    plugin.decode(testing::message_of("", text.as_bytes()))
}

fn x(sample: &Result<Sample, Failure>) -> Vec<f32> {
    sample.as_ref().unwrap().tensors[0].to_f32().unwrap()
}

#[test]
fn recorded_cases() {
    testing::cases::check_decoder::<CsvRow>(env!("CARGO_MANIFEST_DIR"));
}

#[test]
fn a_key_says_what_a_row_is_of() {
    let config = json!({
        "outputs": [{"name": "x", "fields": [{"name": "p"}]}],
        "header": true,
        "key": "machine",
        "id": "part",
    });
    let longest = "k".repeat(256);
    let rows = format!("part,p,machine\na,1,press 1\n,1,\nb,1,{longest}\nc,1,{longest}k\n{longest}k,1,d\n");
    let samples = decode(&mut configured(&config), &rows).unwrap();
    let names = |index: usize| {
        let sample = samples[index].as_ref().unwrap();
        (sample.id.as_deref(), sample.key.as_deref())
    };
    assert_eq!(names(0), (Some("a"), Some("press 1")));
    assert_eq!(names(1), (None, None));
    assert_eq!(names(2), (Some("b"), Some(longest.as_str())));
    for (index, key, expected) in [(3, None, "key has 257 bytes"), (4, Some("d"), "id has 257 bytes")] {
        let lost = samples[index].as_ref().unwrap_err();
        assert!(lost.message().starts_with(expected), "{}", lost.message());
        assert_eq!(lost.key.as_deref(), key, "what it is of is known as soon as it is read");
    }
}

#[test]
fn rows_are_samples_and_do_not_stand_in_each_others_way() {
    let mut plugin = configured(&config());
    let samples = decode(&mut plugin, "1.5,1,2,3,P1\n2,x,2,3,P2\n3,1,2\n\n,-1e2,+.5,4,\n").unwrap();
    assert_eq!(samples.len(), 4);
    assert_eq!((x(&samples[0]), x(&samples[3])), (vec![2.0, 1.0], vec![0.5, -100.0]));
    let first = samples[0].as_ref().unwrap();
    assert_eq!((first.id.as_deref(), first.time_ns), (Some("P1"), Some(1_500_000_000)));
    assert_eq!(first.tensors[1].numbers().unwrap().collect::<Vec<_>>(), [3.0]);
    let last = samples[3].as_ref().unwrap();
    assert_eq!((last.id.as_deref(), last.time_ns), (None, None));
    assert_eq!(
        samples[1].as_ref().unwrap_err().message(),
        "column \"a\" is \"x\", no number"
    );
    assert_eq!(samples[2].as_ref().unwrap_err().message(), "3 columns, expected 5");
    assert!(decode(&mut plugin, "").unwrap().is_empty());
}

#[test]
fn a_header_names_the_columns_of_its_message() {
    let mut named = config();
    named["columns"] = json!([]);
    named["header"] = json!(true);
    named["skip_lines"] = json!(1);
    let mut plugin = configured(&named);
    let samples = decode(&mut plugin, "#!;,\"\n\"n\",b, a ,t,part,more\n1,2,3,4,P,\n").unwrap();
    assert_eq!(x(&samples[0]), [2.0, 3.0]);
    for (text, expected) in [
        ("\n", "there is no header"),
        ("\na,b\n1,2\n", "header: there is no column \"n\""),
        ("\na,b,n,a,t,part\n", "header: there are two columns \"a\""),
    ] {
        assert_eq!(testing::message(decode(&mut plugin, text)), expected);
    }
}

#[test]
fn rows_may_be_one_sample() {
    let mut together = config();
    together["rows"] = json!("one-sample");
    together["outputs"][1]["shape"] = json!(null);
    let mut plugin = Plugin::new();
    let production = plugin.configure(&together.to_string(), vec![]).unwrap();
    assert_eq!(
        (
            production.outputs[0].shape.as_slice(),
            production.outputs[1].shape.as_slice()
        ),
        (&[-1, 2][..], &[-1, 1][..])
    );
    let samples = decode(&mut plugin, "1,1,2,3,P1\n2,4,5,6,P2\n").unwrap();
    assert_eq!(samples.len(), 1);
    let sample = samples[0].as_ref().unwrap();
    assert_eq!(
        (sample.tensors[0].shape.as_slice(), x(&samples[0])),
        (&[2, 2][..], vec![2.0, 1.0, 5.0, 4.0])
    );
    assert_eq!(
        (sample.id.as_deref(), sample.time_ns),
        (Some("P1"), Some(1_000_000_000))
    );
    assert!(decode(&mut plugin, "\n\n").unwrap().is_empty());
    let broken = decode(&mut plugin, "1,1,2,3,P1\n2,4,,6,P2\n").unwrap();
    assert_eq!(
        broken[0].as_ref().unwrap_err().message(),
        "row 2: column \"b\" is missing"
    );
}

#[test]
fn decimal_commas_and_missing_values() {
    let mut european = config();
    european["outputs"] = json!([{"name": "x", "fields": [{"name": "a"}, {"name": "b"}]}]);
    european["separator"] = json!(";");
    european["decimal"] = json!(",");
    european["missing"] = json!("nan");
    european["missing_values"] = json!(["NA", "-"]);
    let mut plugin = configured(&european);
    let samples = decode(
        &mut plugin,
        "1,25;-1,5e1;\"0,25\";;P\n1;NA;-;;P\n1;1.5;2;;P\n1;;inf;;P\n",
    )
    .unwrap();
    assert_eq!(x(&samples[0]), [-15.0, 0.25]);
    assert_eq!(samples[0].as_ref().unwrap().time_ns, Some(1_250_000_000));
    assert!(x(&samples[1]).iter().all(|value| value.is_nan()));
    assert_eq!(
        samples[2].as_ref().unwrap_err().message(),
        "column \"a\" is \"1.5\", no number"
    );
    assert_eq!(
        samples[3].as_ref().unwrap_err().message(),
        "column \"b\" is \"inf\", no number"
    );
}

#[test]
fn configurations_that_are_refused() {
    for (pointer, value, expected) in [
        ("/colour", json!(1), "configuration, key colour: unknown field `colour`"),
        ("/outputs", json!([]), "outputs has 0 tensors"),
        ("/outputs/1/name", json!("x"), "outputs has \"x\" twice"),
        ("/outputs/0/fields", json!([]), "output \"x\" has 0 fields"),
        (
            "/outputs/0/shape",
            json!([-1, 2]),
            "shape of output \"x\" has a -1, and every row is a sample",
        ),
        ("/rows", json!("one-sample"), "shape of output \"n\" has no -1"),
        ("/header", json!(true), "either columns or header"),
        ("/columns", json!([]), "either columns or header"),
        ("/columns", json!(["a", "b"]), "columns: there is no column \"n\""),
        ("/columns/0", json!("a"), "columns: there are two columns \"a\""),
        ("/id", json!("serial"), "columns: there is no column \"serial\""),
        ("/key", json!("serial"), "columns: there is no column \"serial\""),
        ("/separator", json!(";;"), "separator is \";;\""),
        ("/separator", json!("\n"), "separator is \"\\n\""),
        ("/separator", json!("\""), "quote and separator are the same"),
        ("/quote", json!("\u{e9}"), "quote is"),
        ("/decimal", json!(","), "decimal is \",\", and has to be"),
        ("/decimal", json!(";"), "decimal is \";\", and has to be"),
        (
            "/missing",
            json!("nan"),
            "missing is \"nan\", which INT32 of output \"n\"",
        ),
        ("/max_bytes", json!(0), "max_bytes is 0"),
    ] {
        let mut config = config();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = config.pointer_mut(parent).unwrap();
        match parent {
            Value::Array(elements) => elements[key.parse::<usize>().unwrap()] = value,
            _ => parent[key] = value,
        }
        let message = testing::message(Plugin::new().configure(&config.to_string(), vec![]));
        assert!(message.starts_with(expected), "{pointer}: {message}");
    }
}

#[test]
fn broken_messages_are_errors_and_change_nothing() {
    let mut together = config();
    together["rows"] = json!("one-sample");
    together["outputs"][1]["shape"] = json!([-1, 1]);
    let message = "1.5,1,\"2\",3,\"P\"\"1\"\n2,3.5,-2,3,P2\n";
    for config in [config(), together] {
        let mut plugin = configured(&config);
        let expected = decode(&mut plugin, message).unwrap();
        assert!(expected.iter().all(Result::is_ok));
        for payload in testing::damaged(message.as_bytes(), 1) {
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
        assert_eq!(decode(&mut plugin, message).unwrap(), expected);
    }
    let mut plugin = configured(&config());
    assert!(testing::message(decode(&mut plugin, &"1\n".repeat(20_000))).contains("more than 4096 rows"));
    assert!(testing::message(decode(&mut plugin, &" ".repeat(262_145))).contains("more than max_bytes"));
    assert!(decode(&mut plugin, &",".repeat(200_000)).unwrap()[0].is_err());
    assert!(plugin.snapshot().is_empty() && plugin.restore(&[1]).is_err());
}
