//! A bundle with a decoder: packed, shown, and run on messages in every form of a file.

use crate::common::{Shop, demo_bundle};
use serde_json::{Value, json};

const FIELDS: usize = 9;

/// A folder `bundle` with the demo's model behind rows of semicolons. Its golden cases are the model's own answers.
fn shop() -> Shop {
    let shop = Shop::with_root();
    std::fs::create_dir(shop.path("bundle")).unwrap();
    std::fs::copy(demo_bundle("v1").join("model.onnx"), shop.path("bundle/model.onnx")).unwrap();
    write_recipe(&shop, "id");
    write_golden(&shop, &json!({ "input": { "x": vec![0.0; FIELDS] }, "output": null }));
    let refused = shop.run(&["bundle", "pack", "bundle", "--key", "release.key"]);
    refused.failed(
        3,
        "golden case 1: the pipeline gives a result, and none is expected yet",
    );
    // Any answer is needed to see which one is right.
    write_golden(
        &shop,
        &json!({ "message": row("g", 1), "output": { "probability": 7 } }),
    );
    let output = shop.run(&["run", "bundle", "-i", "bundle/bundle.toml"]);
    assert_eq!(
        output.code, 1,
        "nothing in a recipe is a row of numbers: {}",
        output.stderr
    );
    std::fs::write(shop.path("one.csv"), row("g", 1)).unwrap();
    let answer = shop.run(&["run", "bundle", "-i", "one.csv"]).ok().json();
    write_golden(
        &shop,
        &json!({ "message": row("g", 1), "output": answer.get("outputs") }),
    );
    shop
}

fn row(id: &str, number: usize) -> String {
    let values: Vec<String> = (0..FIELDS)
        .map(|field| format!("{}", number as f64 - 0.5 * field as f64))
        .collect();
    format!("{id};{}", values.join(";"))
}

fn write_recipe(shop: &Shop, id: &str) {
    let fields: Vec<String> = (0..FIELDS).map(|field| format!("{{ name = \"f{field}\" }}")).collect();
    let columns: Vec<String> = (0..FIELDS).map(|field| format!("\"f{field}\"")).collect();
    let text = format!(
        "[bundle]\nname = \"bearing\"\nversion = \"1.0.0\"\nrelease_counter = 1\n\
         [decoder]\nname = \"rows\"\nplugin = \"builtin:csv-row\"\n[decoder.config]\nseparator = \";\"\nid = \"{id}\"\n\
         columns = [\"id\", {}]\noutputs = [{{ name = \"x\", fields = [{}] }}]\n\
         [[input]]\nname = \"x\"\ndatatype = \"FP32\"\nshape = [1, {FIELDS}]\n\
         [model]\nfile = \"model.onnx\"\n[golden]\nfile = \"golden.jsonl\"\n",
        columns.join(", "),
        fields.join(", ")
    );
    std::fs::write(shop.path("bundle/bundle.toml"), text).unwrap();
}

fn write_golden(shop: &Shop, case: &Value) {
    std::fs::write(shop.path("bundle/golden.jsonl"), case.to_string()).unwrap();
}

/// The ids of the results that a run gives.
fn ids(shop: &Shop, arguments: &[&str]) -> Vec<String> {
    let ran = shop.run(&[&["run", "bundle", "-i"], arguments].concat()).ok();
    let id = |line: &str| {
        let result: Value = serde_json::from_str(line).unwrap();
        result.get("id").and_then(Value::as_str).unwrap().to_owned()
    };
    ran.stdout.lines().map(id).collect()
}

#[test]
fn a_decoder_is_packed_shown_and_run() {
    let shop = shop();
    shop.run(&["bundle", "pack", "bundle", "--key", "release.key", "-o", "b.fhb"])
        .ok();
    let shown = shop.run(&["bundle", "inspect", "b.fhb"]).ok().stdout;
    let line = shown.lines().find(|line| line.contains("decoder")).unwrap();
    assert!(line.contains("rows") && line.contains("csv-row.wasm"), "{line}");
    let facts = shop.run(&["--json", "bundle", "inspect", "b.fhb"]).ok().json();
    assert_eq!(facts.pointer("/pipeline/decoder/config/separator").unwrap(), ";");
    assert_eq!(facts.get("critical").unwrap(), &json!(["pipeline.decoder"]));

    let (one, two) = (row("a", 2), row("b", 3));
    std::fs::write(shop.path("lines.csv"), format!("{one}\n\n{two}\n")).unwrap();
    assert_eq!(ids(&shop, &["lines.csv"]), ["a", "b"], "a message a line");
    assert_eq!(
        ids(&shop, &["lines.csv", "--format", "file"]),
        ["a", "b"],
        "one message of two rows"
    );
    let recorded = [
        json!({ "topic": "line", "message": format!("{one}\n{two}"), "time_ms": 1_767_225_600_000_u64 }),
        json!({ "message_base64": "bm90aGluZw==" }),
        json!({ "mesage": "" }),
        json!({ "topic": "line" }),
    ];
    let text = recorded.map(|message| message.to_string()).join("\n");
    std::fs::write(shop.path("recorded.jsonl"), text).unwrap();
    let ran = shop
        .run(&["run", "bundle", "-i", "recorded.jsonl", "--format", "messages"])
        .ok();
    let first: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["id"], &first["time_ms"]),
        (&json!("a"), &json!(1_767_225_600_000_u64))
    );
    assert_eq!(ran.stdout.lines().count(), 2);
    for part in [
        "line 2: stage rows: ",
        "line 3: expected a message as a JSON object: unknown field `mesage`",
        "line 4: it has neither `message` nor `message_base64`",
    ] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
}

#[test]
fn what_does_not_fit_a_decoder_is_said() {
    let shop = shop();
    std::fs::write(shop.path("lines.csv"), row("a", 2)).unwrap();
    let run = |arguments: &[&str]| shop.run(&[&["run", "bundle", "-i", "lines.csv"], arguments].concat());
    run(&["--format", "csv"]).failed(1, "the bundle has a decoder, which takes messages");
    run(&["--delimiter", ";"]).failed(1, "the bundle has a decoder, which takes messages");
    std::fs::write(shop.path("empty.csv"), "\n").unwrap();
    shop.run(&["run", "bundle", "-i", "empty.csv"])
        .failed(1, "empty.csv has no sample, as the bundle's decoder reads it");
    write_golden(
        &shop,
        &json!({ "input": { "x": vec![0.0; FIELDS] }, "output": { "probability": 7 } }),
    );
    let pack = ["bundle", "pack", "bundle", "--key", "release.key"];
    shop.run(&pack).failed(3, "golden case 1");
    // The plugin's schema, and its own check.
    let recipe = std::fs::read_to_string(shop.path("bundle/bundle.toml")).unwrap();
    std::fs::write(
        shop.path("bundle/bundle.toml"),
        recipe.replace("separator", "seperator"),
    )
    .unwrap();
    shop.run(&pack)
        .failed(1, "stage rows: key seperator: there is no such key");
    write_recipe(&shop, "number");
    shop.run(&pack).failed(1, "stage rows: ");
    let demo = demo_bundle("v1");
    shop.run(&["run", demo.to_str().unwrap(), "-i", "lines.csv", "--format", "lines"])
        .failed(1, "the bundle has no decoder for messages: --format is csv or jsonl");
}
