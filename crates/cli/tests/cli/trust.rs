//! Trust roots and what the command line has in common, through the binary.

use crate::common::Shop;

#[test]
fn a_root_says_whom_it_trusts() {
    let shop = Shop::with_root();
    let root = shop.run(&["--json", "root", "show", "root.cose"]).ok().json();
    let release = shop.run(&["--json", "keys", "show", "release.pub"]).ok().json();
    assert_eq!(root["fleet"], "plant-a");
    assert_eq!(root["release"]["key_ids"][0], release["key_id"]);
    assert_eq!(root["root"]["threshold"], 1);
    shop.run(&["root", "show", "release.pub"])
        .failed(3, "release.pub: trust root is not a signed document");
}

#[test]
fn a_root_of_three_keys_needs_two_of_them() {
    let shop = Shop::with_root();
    for name in ["a", "b"] {
        shop.run(&["keys", "new", name, "--no-passphrase"]).ok();
    }
    let new = |keys: &[&str]| {
        let head = [
            "--json",
            "root",
            "new",
            "--fleet",
            "plant-a",
            "-o",
            "three.cose",
            "--root",
        ];
        shop.run(
            &[
                &head[..],
                keys,
                &["--release", "release.pub", "--assignment", "hub.pub"],
            ]
            .concat(),
        )
    };
    assert_eq!(new(&["root.key", "a.key", "b.pub"]).ok().json()["root"]["threshold"], 2);
    new(&["root.key", "a.key", "b.pub"]).failed(1, "is there already");
}

#[test]
fn several_people_sign_the_first_root_each_at_his_own_machine() {
    let shop = Shop::with_root();
    for name in ["a", "b", "stranger"] {
        shop.run(&["keys", "new", name, "--no-passphrase"]).ok();
    }
    let keys = [
        "--root",
        "root.pub",
        "a.pub",
        "b.pub",
        "--release",
        "release.pub",
        "--assignment",
        "hub.pub",
    ];
    let new = [&["root", "new", "--fleet", "plant-a", "-o", "three.cose"][..], &keys].concat();
    let made = shop.run(&new).ok();
    assert!(
        made.stdout.contains("0 of the 2 it needs, by nobody"),
        "{}",
        made.stdout
    );
    assert!(made.stderr.contains("it doesn't count yet"), "{}", made.stderr);
    let verify = ["root", "verify", "three.cose"];
    let sign = |key: &str| shop.run(&["root", "sign", "three.cose", "--key", key]).ok();
    let refused = |count: u32| {
        shop.run(&verify).failed(3, "three.cose lacks signatures");
        let part = format!("signed by {count} of the 2 keys");
        shop.run(&["root", "next", "three.cose"]).failed(3, &part);
    };
    refused(0);
    let digest = |shop: &Shop| shop.run(&["--json", "root", "show", "three.cose"]).ok().json()["digest"].clone();
    let before = digest(&shop);
    sign("root.key");
    refused(1);
    sign("stranger.key");
    refused(1);
    sign("b.key");
    shop.run(&verify).ok();
    assert_eq!(digest(&shop), before, "what is signed stays the same");
    shop.run(&["root", "next", "three.cose"]).ok();
}

#[test]
fn errors_are_one_line_or_one_object() {
    let shop = Shop::new();
    let plain = shop.run(&["keys", "show", "none.pub"]);
    assert_eq!((plain.code, plain.stderr.lines().count()), (1, 1));
    assert!(
        plain.stderr.starts_with("error: none.pub can't be read: "),
        "{}",
        plain.stderr
    );
    let json = shop.run(&["keys", "show", "none.pub", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
    assert_eq!(error["exit_code"], 1);
    shop.run(&["keys", "shw"]).failed(2, "unrecognized subcommand");
}

#[test]
fn completions_know_the_commands() {
    let shop = Shop::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = shop.run(&["completions", shell]).ok().stdout;
        assert!(script.contains("set-sampling"), "{shell}");
    }
}

/// A shop whose `root.cose` two of the keys `root`, `a` and `b` sign.
fn with_three_root_keys() -> Shop {
    let shop = Shop::with_root();
    for name in ["a", "b", "c", "new"] {
        shop.run(&["keys", "new", name, "--no-passphrase"]).ok();
    }
    let keys = [
        "--root",
        "root.key",
        "a.key",
        "b.pub",
        "--release",
        "release.pub",
        "--assignment",
        "hub.pub",
    ];
    shop.run(&[&["root", "new", "--fleet", "plant-a", "--force"][..], &keys].concat())
        .ok();
    shop
}

#[test]
fn several_people_sign_the_next_root_one_after_the_other() {
    let shop = with_three_root_keys();
    let changes = [
        "--add-release",
        "new.pub",
        "--remove-release",
        "release.pub",
        "--add-root",
        "c.pub",
        "--remove-root",
        "a.pub",
    ];
    let made = shop
        .run(&[&["--json", "root", "next", "root.cose"][..], &changes].concat())
        .ok()
        .json();
    assert_eq!(made["complete"], false);
    let shown = shop.run(&["--json", "root", "show", "root-2.cose"]).ok().json();
    assert_eq!(
        (&shown["version"], &shown["signatures"]["enough"]),
        (&2.into(), &false.into())
    );
    let digest = shown["digest"].clone();
    let verify = ["root", "verify", "root-2.cose", "--chain", "root.cose"];
    shop.run(&verify).failed(3, "root-2.cose lacks signatures");
    shop.run(&[
        "root",
        "sign",
        "root-2.cose",
        "--key",
        "root.key",
        "a.key",
        "--current",
        "root.cose",
    ])
    .ok();
    let told = shop.run(&[&["--json"][..], &verify].concat());
    let [own, previous] = ["own", "previous"].map(|whose| told.json()["roots"][1][whose].clone());
    assert_eq!(
        (&previous["enough"], &own["enough"]),
        (&true.into(), &false.into()),
        "{own} {previous}"
    );
    assert_eq!(own["not_signed_by"].as_array().unwrap().len(), 2);
    shop.run(&["root", "sign", "root-2.cose", "--key", "c.key"]).ok();
    shop.run(&verify).ok();
    assert_eq!(
        shop.run(&["--json", "root", "show", "root-2.cose"]).ok().json()["digest"],
        digest
    );
    // What was taken out doesn't come back.
    shop.run(&[
        "root",
        "next",
        "root-2.cose",
        "--add-release",
        "release.pub",
        "--key",
        "root.key",
        "b.key",
    ])
    .ok();
    shop.run(&["root", "verify", "root-3.cose", "--chain", "root.cose", "root-2.cose"])
        .failed(3, "back the role release");
    shop.run(&["root", "verify", "root-3.cose", "--chain", "root.cose"])
        .failed(3, "does not follow root 1");
}

#[test]
fn a_next_root_that_makes_no_sense_is_not_made() {
    let shop = with_three_root_keys();
    let next = |changes: &[&str]| shop.run(&[&["root", "next", "root.cose"][..], changes].concat());
    next(&["--remove-release", "new.pub"]).failed(1, "new.pub is not among its keys");
    next(&["--remove-release", "release.pub"]).failed(1, "1 keys have to sign, and 0 would be left");
    next(&["--add-release", "release.pub"]).failed(1, "release.pub is among its keys already");
    next(&["--threshold", "4"]).failed(1, "4 keys have to sign, and 3 would be left");
    next(&["--key", "new.key"]).failed(1, "new.key is a root key neither of this root nor of the one before");
    next(&["--key", "a.pub"]).failed(1, "a.pub: a public key");
    assert!(!shop.path("root-2.cose").exists());
    next(&[]).ok();
    next(&[]).failed(1, "root-2.cose is there already");
    shop.run(&["root", "publish", "root-2.cose"])
        .failed(3, "signed by 0 of the 2");
}
