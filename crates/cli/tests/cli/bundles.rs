//! From a folder to a signed bundle that a device takes, and to one that it doesn't; all through the binary.

use crate::common::{Shop, demo_bundle};
use serde_json::{Value, json};

const FIELDS: usize = 9;

/// A folder `bundle` with the demo's model alone, golden cases made by the model itself, and samples in `samples.csv`.
fn shop() -> Shop {
    let shop = Shop::with_root();
    std::fs::create_dir(shop.path("bundle")).unwrap();
    std::fs::copy(demo_bundle("v1").join("model.onnx"), shop.path("bundle/model.onnx")).unwrap();
    std::fs::write(shop.path("samples.csv"), samples()).unwrap();
    write_recipe(&shop, 1, "");
    write_golden(
        &shop,
        &[json!({ "input": { "x": vec![0.0; FIELDS] }, "output": { "probability": 0.5 } })],
    );
    let results = shop.run(&["run", "bundle", "--input", "samples.csv"]).ok().stdout;
    let cases = results.lines().zip(rows()).map(|(line, row)| {
        let result: Value = serde_json::from_str(line).unwrap();
        json!({ "input": { "x": row }, "output": result.get("outputs") })
    });
    write_golden(&shop, &cases.collect::<Vec<_>>());
    shop
}

fn rows() -> impl Iterator<Item = Vec<f32>> {
    (0..5_u8).map(|row| (0..FIELDS).map(|column| f32::from(row) - 0.5 * column as f32).collect())
}

fn samples() -> String {
    let header: Vec<_> = (0..FIELDS).map(|column| format!("f{column}")).collect();
    let lines = rows().map(|row| row.iter().map(ToString::to_string).collect::<Vec<_>>().join(";"));
    std::iter::once(header.join(";"))
        .chain(lines)
        .collect::<Vec<_>>()
        .join("\n")
}

fn write_recipe(shop: &Shop, release: u32, more: &str) {
    let fields: Vec<_> = (0..FIELDS).map(|column| format!("\"f{column}\"")).collect();
    let text = format!(
        "[bundle]\nname = \"bearing\"\nversion = \"1.0.{release}\"\nrelease_counter = {release}\n{more}\n\
         [lineage]\nauthor = \"the test\"\n\
         [[input]]\nname = \"x\"\ndatatype = \"FP32\"\nshape = [1, {FIELDS}]\nfields = [{}]\n\
         [model]\nfile = \"model.onnx\"\n[golden]\nfile = \"golden.jsonl\"\n",
        fields.join(", ")
    );
    std::fs::write(shop.path("bundle/bundle.toml"), text).unwrap();
}

fn write_golden(shop: &Shop, cases: &[Value]) {
    let lines: Vec<_> = cases.iter().map(ToString::to_string).collect();
    std::fs::write(shop.path("bundle/golden.jsonl"), lines.join("\n")).unwrap();
}

#[test]
fn a_bundle_is_packed_signed_verified_and_inspected() {
    let shop = shop();
    let packed = shop.run(&["--json", "bundle", "pack", "bundle"]).ok().json();
    assert_eq!(packed["file"], "bearing-1.0.1.fhb");
    assert_eq!(packed["signers"], json!([]));
    let verify = ["--json", "bundle", "verify", "bearing-1.0.1.fhb", "--root", "root.cose"];
    shop.run(&verify).failed(
        3,
        "signed by 0 of the 1 keys it needs (signatures by nobody; taken are ",
    );
    shop.run(&["bundle", "sign", "bearing-1.0.1.fhb", "--key", "hub.key"])
        .ok();
    shop.run(&verify).failed(3, "signed by 0 of the 1 keys");
    let signed = shop
        .run(&["--json", "bundle", "sign", "bearing-1.0.1.fhb", "--key", "release.key"])
        .ok()
        .json();
    assert_eq!(signed["signers"].as_array().unwrap().len(), 2);
    let verified = shop.run(&verify).ok().json();
    assert_eq!(
        (&verified["verified"], &verified["golden_cases_passed"]),
        (&json!(true), &json!(5))
    );
    assert_eq!(
        verified["digest"], packed["digest"],
        "signing changes nothing of what is signed"
    );
    let inspected = shop
        .run(&["--json", "bundle", "inspect", "bearing-1.0.1.fhb"])
        .ok()
        .json();
    assert_eq!(inspected["lineage"]["author"], "the test");
    assert_eq!(inspected["components"].as_array().unwrap().len(), 2);
    assert_eq!(inspected["verified"], false);
    let human = shop.run(&["bundle", "inspect", "bearing-1.0.1.fhb"]).ok();
    assert!(
        human.stdout.contains("model.onnx") && human.stderr.contains("not verified"),
        "{}",
        human.stdout
    );
}

#[test]
fn packing_twice_gives_the_same_bytes() {
    let shop = shop();
    for file in ["a.fhb", "b.fhb"] {
        shop.run(&["bundle", "pack", "bundle", "--key", "release.key", "-o", file])
            .ok();
    }
    assert_eq!(
        std::fs::read(shop.path("a.fhb")).unwrap(),
        std::fs::read(shop.path("b.fhb")).unwrap()
    );
}

#[test]
fn a_golden_case_that_fails_stops_pack_and_sign() {
    let shop = shop();
    shop.run(&["bundle", "pack", "bundle", "-o", "good.fhb"]).ok();
    write_golden(
        &shop,
        &[json!({ "input": { "x": vec![0.0; FIELDS] }, "output": { "probability": 2.0 } })],
    );
    let refused = shop
        .run(&["bundle", "pack", "bundle"])
        .failed(3, "golden case 1: output \"probability\" is [");
    assert!(refused.stderr.contains("expected [2.000000]") && refused.stderr.contains("tolerance 1.0e-4"));
    assert!(!shop.path("bearing-1.0.1.fhb").exists());
    write_golden(&shop, &[json!({ "input": { "y": 1 }, "output": null })]);
    shop.run(&["bundle", "pack", "bundle"])
        .failed(3, "golden case 1 is no case: sample has no field \"f0\"");
}

#[test]
fn a_bundle_that_was_tampered_with_is_refused() {
    let shop = shop();
    shop.run(&["bundle", "pack", "bundle", "--key", "release.key", "-o", "good.fhb"])
        .ok();
    let good = std::fs::read(shop.path("good.fhb")).unwrap();
    let check = |bytes: &[u8], part: &str| {
        std::fs::write(shop.path("bad.fhb"), bytes).unwrap();
        shop.run(&["bundle", "verify", "bad.fhb", "--root", "root.cose"])
            .failed(3, part);
    };
    let at = |text: &[u8]| good.windows(text.len()).position(|window| window == text).unwrap();
    let mut bent = good.clone();
    bent[at(b"\"probability\"")] ^= 1;
    check(&bent, "bundle archive is damaged: blob");
    let mut bent = good.clone();
    bent[at(b"bearing")] ^= 1;
    check(&bent, "bad.fhb: manifest is signed by 0 of the 1 keys");
    check(&good[..700], "bad.fhb: bundle archive is cut short or damaged");
    check(
        b"no archive at all",
        "or this is no .fhb file; copy it again, or pack it again",
    );
    std::fs::write(shop.path("bad.fhb"), [0x1b_u8, 0x07, 0x9b].repeat(1000)).unwrap();
    let random = shop.run(&["bundle", "inspect", "bad.fhb"]).failed(3, "no .fhb file");
    assert!(
        !random.stderr.contains(['\u{1b}', '\u{7}', '\u{fffd}']),
        "{:?}",
        random.stderr
    );
}

#[test]
fn every_mistake_of_a_recipe_is_named() {
    let shop = shop();
    write_recipe(&shop, 1, "colour = \"red\"\nflor = 1");
    let failed = shop
        .run(&["bundle", "pack", "bundle"])
        .failed(1, "unknown key `bundle.colour`");
    assert!(failed.stderr.contains("unknown key `bundle.flor`"), "{}", failed.stderr);
    write_recipe(&shop, 1, "");
    std::fs::remove_file(shop.path("bundle/model.onnx")).unwrap();
    std::fs::remove_file(shop.path("bundle/golden.jsonl")).unwrap();
    let failed = shop
        .run(&["bundle", "pack", "bundle"])
        .failed(1, "model.onnx can't be read");
    assert!(
        failed.stderr.contains("golden.jsonl can't be read"),
        "{}",
        failed.stderr
    );
    shop.run(&["bundle", "pack", "nowhere"])
        .failed(1, "nowhere is no bundle: it needs a bundle.toml");
}

#[test]
fn a_model_that_does_not_fit_its_inputs_is_refused() {
    let shop = shop();
    let recipe = std::fs::read_to_string(shop.path("bundle/bundle.toml")).unwrap();
    std::fs::write(
        shop.path("bundle/bundle.toml"),
        recipe.replace("name = \"x\"", "name = \"sensors\""),
    )
    .unwrap();
    shop.run(&["bundle", "pack", "bundle"])
        .failed(1, "the model takes \"x\" as FP32[1, 9], and the sample gives no such");
}

#[test]
fn a_file_is_run_as_on_a_device() {
    let shop = shop();
    shop.run(&["bundle", "pack", "bundle", "--key", "release.key", "-o", "b.fhb"])
        .ok();
    let run = [
        "run",
        "b.fhb",
        "--root",
        "root.cose",
        "-i",
        "samples.csv",
        "-o",
        "results.jsonl",
        "--json",
    ];
    let summary = shop.run(&run).ok().json();
    assert_eq!(
        (&summary["samples"], &summary["results"], &summary["failures"]),
        (&json!(5), &json!(5), &json!(0))
    );
    let results = std::fs::read_to_string(shop.path("results.jsonl")).unwrap();
    let folder = shop.run(&["run", "bundle", "-i", "samples.csv"]).ok().stdout;
    let outputs = |text: &str| -> Vec<Value> {
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["outputs"].clone())
            .collect()
    };
    assert_eq!(outputs(&results), outputs(&folder));
    let jsonl: Vec<_> = rows().map(|row| json!({ "x": row }).to_string()).collect();
    std::fs::write(shop.path("samples.jsonl"), jsonl.join("\n")).unwrap();
    let unverified = shop.run(&["run", "b.fhb", "-i", "samples.jsonl"]).ok();
    assert_eq!(outputs(&unverified.stdout), outputs(&folder));
    assert!(unverified.stderr.contains("not verified"), "{}", unverified.stderr);
}

#[test]
fn bad_samples_are_counted_and_the_rest_goes_on() {
    let shop = shop();
    let broken = samples().replacen("\n1;", "\nwet;", 1);
    std::fs::write(shop.path("broken.csv"), broken).unwrap();
    let run = shop
        .run(&["run", "bundle", "-i", "broken.csv", "-o", "r.jsonl", "--json"])
        .ok();
    assert_eq!(
        (&run.json()["failures"], &run.json()["results"]),
        (&json!(1), &json!(4))
    );
    assert!(
        run.stderr.contains("line 3: field \"f0\" is \"wet\", and no number"),
        "{}",
        run.stderr
    );
    std::fs::write(shop.path("short.csv"), "f0;f1\n1;2\n").unwrap();
    shop.run(&["run", "bundle", "-i", "short.csv"])
        .failed(1, "the table has no column f2, f3");
    std::fs::write(shop.path("none.jsonl"), "{}\n").unwrap();
    shop.run(&["run", "bundle", "-i", "none.jsonl"])
        .failed(1, "line 1: sample has no field \"f0\"");
    let header = samples().lines().next().unwrap().to_owned();
    std::fs::write(shop.path("header.csv"), format!("{header}\n")).unwrap();
    shop.run(&["run", "bundle", "-i", "header.csv"])
        .failed(1, "header.csv has no sample");
    std::fs::write(shop.path("wet.csv"), format!("{header}\n{}\n", "wet;".repeat(FIELDS))).unwrap();
    shop.run(&["run", "bundle", "-i", "wet.csv"])
        .failed(1, "not one of its 1 samples could be worked with");
    shop.run(&["run", "bundle", "-i", "samples.csv", "-o", "samples.csv"])
        .failed(1, "is the input");
    shop.run(&["run", "bundle", "-i", "samples.csv", "--root", "root.cose"])
        .failed(1, "a folder is not signed");
}

#[test]
fn a_stray_quote_costs_its_own_row_as_on_a_device() {
    let shop = shop();
    let stray = samples().replacen("\n2;", "\n\"2;", 1);
    std::fs::write(shop.path("stray.csv"), format!("{stray}\n")).unwrap();
    let run = shop
        .run(&["run", "bundle", "-i", "stray.csv", "-o", "r.jsonl", "--json"])
        .ok();
    assert_eq!(
        (&run.json()["failures"], &run.json()["results"]),
        (&json!(1), &json!(4))
    );
    assert!(run.stderr.contains("line 4: "), "{}", run.stderr);
    assert_eq!(
        std::fs::read_to_string(shop.path("r.jsonl")).unwrap().lines().count(),
        4
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_samples() {
    let shop = shop();
    let jsonl: Vec<_> = rows().map(|row| json!({ "x": row }).to_string()).collect();
    for (file, text) in [("bom.csv", samples()), ("bom.jsonl", jsonl.join("\n"))] {
        std::fs::write(shop.path(file), format!("\u{feff}{text}")).unwrap();
        let run = shop.run(&["run", "bundle", "-i", file, "-o", "r.jsonl", "--json"]).ok();
        assert_eq!(run.json()["results"], 5, "{file}");
    }
}

#[test]
fn the_demos_bundles_pack_with_the_plugins_that_the_tool_carries() {
    let shop = Shop::with_root();
    let pack = |version: &str| {
        let folder = demo_bundle(version);
        shop.run(&[
            "bundle",
            "pack",
            folder.to_str().unwrap(),
            "--key",
            "release.key",
            "-o",
            "demo.fhb",
        ])
    };
    for version in ["v1", "v2", "v4"] {
        pack(version).ok();
        shop.run(&["bundle", "verify", "demo.fhb", "--root", "root.cose"]).ok();
    }
    pack("v3").failed(3, "output \"probability\" is [");
}
