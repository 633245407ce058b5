//! Keys in tokens, through the binary, with SoftHSM.

use crate::common::{Ran, Shop, demo_bundle};
use floorhand_testkit::SoftHsm;
use std::path::{Path, PathBuf};

/// A folder, and tokens `release` and `online` in the environment of what is run there.
struct Tokens {
    shop: Shop,
    hsm: SoftHsm,
}

impl Tokens {
    /// With a file `pin` that has the tokens' PIN; `None` where there is no SoftHSM.
    fn new() -> Option<Self> {
        let hsm = SoftHsm::start_or_skip()?;
        for token in ["release", "online"] {
            hsm.add_token(token).unwrap();
        }
        let shop = Shop::new();
        shop.write_secret("pin", SoftHsm::PIN);
        shop.write_secret("wrong", "0000\n");
        Some(Self { shop, hsm })
    }

    /// Runs `floorhand`, with the module in its environment.
    fn run(&self, args: &[&str]) -> Ran {
        let (variable, config) = self.hsm.environment();
        let module = ("FLOORHAND_PKCS11_MODULE", self.hsm.module());
        self.shop.run_with(args, &[(variable, &config), module])
    }

    /// Runs `floorhand` without the module.
    fn run_without_module(&self, args: &[&str]) -> Ran {
        let (variable, config) = self.hsm.environment();
        self.shop.run_with(args, &[(variable, &config)])
    }

    /// Makes a key in a token, and a public key file of this name.
    fn make(&self, token: &str, name: &str) -> serde_json::Value {
        let uri = format!("pkcs11:token={token}");
        self.run(&["--json", "keys", "new", name, "--pkcs11", &uri, "--pin-file", "pin"])
            .ok()
            .json()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.shop.path(name)
    }
}

/// The release key's URI.
const RELEASE: &str = "pkcs11:token=release;object=vendor";

#[test]
fn a_key_is_made_in_a_token_and_shown_there() {
    let Some(tokens) = Tokens::new() else { return };
    let made = tokens.make("release", "vendor");
    assert!(!tokens.path("vendor.key").exists());
    let public = tokens.run(&["--json", "keys", "show", "vendor.pub"]).ok().json();
    assert_eq!(made["key_id"], public["key_id"]);
    assert_eq!(made["public_key_pem"], public["public_key_pem"]);
    let shown = tokens
        .run(&["--json", "keys", "show", RELEASE, "--pin-file", "pin"])
        .ok()
        .json();
    assert_eq!((&shown["key_id"], &shown["token"]), (&made["key_id"], &made["secret"]));
    let listed = tokens
        .run(&["--json", "keys", "list", "pkcs11:token=release", "--pin-file", "pin"])
        .ok()
        .json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(
        (&listed[0]["key_id"], &listed[0]["object"]),
        (&made["key_id"], &"vendor".into())
    );

    let again = ["keys", "new", "other", "--pkcs11", RELEASE, "--pin-file", "pin"];
    tokens.run(&again).failed(1, "has an object named \"vendor\" already");
    tokens
        .run(&[
            "keys",
            "new",
            "vendor",
            "--pkcs11",
            "pkcs11:token=release",
            "--pin-file",
            "pin",
        ])
        .failed(1, "vendor.pub is there already");
    assert!(!tokens.path("other.pub").exists());
}

#[test]
fn a_token_signs_a_root_and_a_bundle_beside_keys_in_files() {
    let Some(tokens) = Tokens::new() else { return };
    for (token, name) in [("release", "vendor"), ("online", "root-a")] {
        tokens.make(token, name);
    }
    tokens.shop.write_secret("passphrase", "correct horse\n");
    tokens
        .run(&["keys", "new", "root-b", "--passphrase-file", "passphrase"])
        .ok();
    tokens.run(&["keys", "new", "hub", "--no-passphrase"]).ok();
    let root = [
        "--json",
        "root",
        "new",
        "--fleet",
        "plant-a",
        "--root",
        "pkcs11:token=online;object=root-a",
        "root-b.key",
    ];
    let more = ["--release", "vendor.pub", "--assignment", "hub.pub", "-o", "root.cose"];
    let unlock = ["--pin-file", "pin", "--passphrase-file", "passphrase"];
    let root = tokens.run(&[&root[..], &more, &unlock].concat()).ok().json();
    assert_eq!(root["root"]["threshold"], 2);

    let bundle = demo_bundle("v1").display().to_string();
    let pack = ["bundle", "pack", &bundle, "-o", "a.fhb"];
    tokens.run(&pack).ok();
    tokens
        .run(&["bundle", "verify", "a.fhb", "--root", "root.cose"])
        .failed(3, "signed by 0 of the 1");
    // The PIN's file and the module in the URI, as a build server would have them.
    let uri = format!(
        "{RELEASE}?module-path={}&pin-source=file:{}",
        tokens.hsm.module().display(),
        tokens.path("pin").display()
    );
    tokens
        .run_without_module(&["bundle", "sign", "a.fhb", "--key", &uri])
        .ok();
    tokens.run(&["bundle", "verify", "a.fhb", "--root", "root.cose"]).ok();
}

#[test]
fn what_keeps_a_token_from_signing_is_told_in_one_line() {
    let Some(tokens) = Tokens::new() else { return };
    tokens.make("release", "vendor");
    let bundle = demo_bundle("v1").display().to_string();
    let pack = |key: &str, pin: &str| {
        tokens.run(&[
            "bundle",
            "pack",
            &bundle,
            "-o",
            "a.fhb",
            "--key",
            key,
            "--pin-file",
            pin,
        ])
    };
    for (key, pin, part) in [
        (RELEASE, "wrong", "the PIN is not that of token release"),
        (
            "pkcs11:token=none;object=vendor",
            "pin",
            "means 0 tokens, and has to mean one; there are \"online\", \"release\"",
        ),
        (
            "pkcs11:token=release;object=none",
            "pin",
            "means 0 Ed25519 keys of token release",
        ),
        (RELEASE, "none", "none can't be read"),
        ("pkcs11:token=release?pin-source=/none", "pin", "/none can't be read"),
    ] {
        let failed = pack(key, pin).failed(1, part);
        assert_eq!(failed.stderr.lines().count(), 1, "{}", failed.stderr);
        assert!(
            !failed.stderr.contains("0000") && !failed.stderr.contains(SoftHsm::PIN),
            "{}",
            failed.stderr
        );
    }
    pack("pkcs11:tokn=a", "pin").failed(2, "\"tokn\" is not known here");
    pack("pkcs11:token=release?pin-value=0000", "pin").failed(2, "seen by everybody");
    tokens.run(&["bundle", "pack", &bundle, "--key", RELEASE]).failed(
        1,
        "the PIN of token release is needed: there is no terminal to ask on; give it with --pin-file",
    );
    tokens
        .run_without_module(&["bundle", "pack", &bundle, "--key", RELEASE])
        .failed(1, "name it in the URI, as ?module-path=/path/to/module.so");
    assert!(!tokens.path("a.fhb").exists());
}

#[test]
fn a_hub_takes_its_key_from_a_token() {
    let Some(tokens) = Tokens::new() else { return };
    for name in ["offline", "release"] {
        tokens.run(&["keys", "new", name, "--no-passphrase"]).ok();
    }
    tokens.make("online", "hub");
    tokens.make("online", "stranger");
    let root = [
        "root",
        "new",
        "--fleet",
        "plant-a",
        "--root",
        "offline.key",
        "--release",
        "release.pub",
    ];
    tokens
        .run(&[&root[..], &["--assignment", "hub.pub", "-o", "root.cose"]].concat())
        .ok();
    let check = |object: &str, pin: &Path| {
        let key = format!(
            "pkcs11:token=online;object={object}?module-path={}&pin-source={}",
            tokens.hsm.module().display(),
            pin.display()
        );
        let config = format!("fleet = 'plant-a'\ntrust_root = 'root.cose'\nassignment_key = '{key}'");
        std::fs::write(tokens.path("hub.toml"), config).unwrap();
        tokens.run_without_module(&["--json", "hub", "--config", "hub.toml", "--check"])
    };
    let right = tokens.path("pin");
    assert_eq!(check("hub", &right).ok().json()["ok"], true);
    for (object, pin, part) in [
        ("hub", tokens.path("wrong"), "the PIN is not that of token online"),
        ("stranger", right, "is not in the assignment role of the trust root"),
    ] {
        let verdict = check(object, &pin);
        assert_eq!(verdict.code, 3);
        assert!(verdict.stdout.contains(part), "{}", verdict.stdout);
    }
}
