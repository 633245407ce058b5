//! Keys in files, through the binary.

use crate::common::{Shop, demo_bundle};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// A shop with passphrase files `right` and `wrong`, and `release.key` under the right one.
fn with_encrypted_key() -> Shop {
    let shop = Shop::new();
    shop.write_secret("right", "correct horse\n");
    shop.write_secret("wrong", "battery staple\n");
    shop.run(&["keys", "new", "release", "--passphrase-file", "right"]).ok();
    shop
}

/// What openssl says the public half of a secret key is; `None`, with a message, where there is no openssl.
fn public_by_openssl(shop: &Shop, arguments: &[&str]) -> Option<String> {
    let derived = Command::new("openssl")
        .args(["pkey", "-pubout"])
        .args(arguments)
        .current_dir(shop.dir.path())
        .output();
    let Ok(derived) = derived else {
        eprintln!("skipped: openssl is not installed");
        return None;
    };
    assert!(derived.status.success(), "{}", String::from_utf8_lossy(&derived.stderr));
    Some(String::from_utf8(derived.stdout).unwrap())
}

#[test]
fn a_key_pair_is_made_once_and_its_secret_stays_one() {
    let shop = with_encrypted_key();
    let made = shop
        .run(&["--json", "keys", "new", "hub", "--no-passphrase"])
        .ok()
        .json();
    assert_eq!(made["encrypted"], false);
    for name in ["release.key", "hub.key"] {
        let mode = std::fs::metadata(shop.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let shown = shop.run(&["--json", "keys", "show", name]).ok();
        let public = shop.run(&["--json", "keys", "show", &name.replace("key", "pub")]).ok();
        assert_eq!(shown.json()["key_id"], public.json()["key_id"]);
        assert_eq!(shown.json()["encrypted"], name == "release.key");
        assert!(!shown.stdout.contains("PRIVATE"));
    }
    let before = std::fs::read(shop.path("hub.key")).unwrap();
    for _ in 0..2 {
        shop.run(&["keys", "new", "hub", "--no-passphrase"])
            .failed(1, "is there already, and keys are never overwritten");
        // The second time the secret half stands alone.
        drop(std::fs::remove_file(shop.path("hub.pub")));
    }
    assert_eq!(std::fs::read(shop.path("hub.key")).unwrap(), before);
    shop.run(&["keys", "new", "a/b", "--no-passphrase"])
        .failed(1, "is no name for a key");
}

#[test]
fn a_key_without_a_passphrase_has_to_be_asked_for() {
    let shop = Shop::new();
    let asked = shop
        .run(&["keys", "new", "release"])
        .failed(1, "there is no terminal to ask on");
    assert!(asked.stderr.contains("--no-passphrase"), "{}", asked.stderr);
    shop.write_secret("short", "1234567\n");
    shop.run(&["keys", "new", "release", "--passphrase-file", "short"])
        .failed(1, "fewer than 8 characters");
    std::fs::write(shop.path("open"), "correct horse\n").unwrap();
    std::fs::set_permissions(shop.path("open"), std::fs::Permissions::from_mode(0o644)).unwrap();
    shop.run(&["keys", "new", "release", "--passphrase-file", "open"])
        .failed(1, "open can be read by everybody");
    assert!(!shop.path("release.key").exists() && !shop.path("release.pub").exists());
}

#[test]
fn openssl_reads_what_is_written_with_a_passphrase_and_without() {
    let shop = with_encrypted_key();
    shop.run(&["keys", "new", "hub", "--no-passphrase"]).ok();
    for (name, more) in [("release", &["-passin", "file:right"][..]), ("hub", &[])] {
        let key = format!("{name}.key");
        let Some(derived) = public_by_openssl(&shop, &[&["-in", &key], more].concat()) else {
            return;
        };
        let public = std::fs::read_to_string(shop.path(&format!("{name}.pub"))).unwrap();
        assert_eq!(derived.trim(), public.trim());
    }
}

#[test]
fn what_openssl_encrypts_signs_here() {
    let shop = with_encrypted_key();
    for (name, how) in [
        ("pbkdf2.key", &["-v2", "aes-256-cbc"][..]),
        ("scrypt.key", &["-scrypt"]),
    ] {
        let made = Command::new("openssl")
            .args([
                "pkcs8",
                "-topk8",
                "-in",
                "release.key",
                "-passin",
                "file:right",
                "-passout",
                "file:wrong",
            ])
            .args(how)
            .args(["-out", name])
            .current_dir(shop.dir.path())
            .output();
        let Ok(made) = made else {
            eprintln!("skipped: openssl is not installed");
            return;
        };
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        shop.run(&["keys", "passphrase", name, "--passphrase-file", "wrong", "--remove"])
            .ok();
        let shown = shop.run(&["--json", "keys", "show", name]).ok().json();
        let public = shop.run(&["--json", "keys", "show", "release.pub"]).ok().json();
        assert_eq!(
            (&shown["encrypted"], &shown["key_id"]),
            (&false.into(), &public["key_id"])
        );
    }
}

#[test]
fn a_passphrase_is_changed_removed_and_set_and_the_key_stays_the_same() {
    let shop = with_encrypted_key();
    let id = |shop: &Shop| shop.run(&["--json", "keys", "show", "release.key"]).ok().json();
    let before = id(&shop);
    let bytes = std::fs::read(shop.path("release.key")).unwrap();
    let passphrase = |more: &[&str]| shop.run(&[&["keys", "passphrase", "release.key"], more].concat());
    passphrase(&["--passphrase-file", "wrong", "--remove"])
        .failed(1, "release.key: the passphrase does not open the key");
    passphrase(&["--remove"]).failed(1, "the passphrase of release.key is needed");
    assert_eq!(std::fs::read(shop.path("release.key")).unwrap(), bytes);

    passphrase(&["--passphrase-file", "right", "--new-passphrase-file", "wrong"]).ok();
    passphrase(&["--passphrase-file", "right", "--remove"]).failed(1, "does not open");
    passphrase(&["--passphrase-file", "right", "--passphrase-file", "wrong", "--remove"]).ok();
    let open = id(&shop);
    assert_eq!((&open["encrypted"], &open["exposed"]), (&false.into(), &false.into()));
    let set = passphrase(&["--new-passphrase-file", "right"]).ok();
    assert!(set.stderr.contains("make another key"), "{}", set.stderr);
    assert_eq!(id(&shop), before);
}

#[test]
fn a_key_that_can_not_sign_is_told_before_anything_is_done() {
    let shop = with_encrypted_key();
    let bundle = demo_bundle("v1").display().to_string();
    let pack = |more: &[&str]| shop.run(&[&["bundle", "pack", &bundle, "-o", "a.fhb"], more].concat());
    pack(&["--key", "release.key"]).failed(
        1,
        "the passphrase of release.key is needed: there is no terminal to ask on",
    );
    let wrong = pack(&["--key", "release.key", "--passphrase-file", "wrong"]).failed(1, "does not open the key");
    assert!(!wrong.stderr.contains("staple"), "{}", wrong.stderr);
    assert_eq!(wrong.stderr.lines().count(), 1, "{}", wrong.stderr);
    pack(&["--key", "release.pub"]).failed(1, "release.pub: a public key, and only a secret one can sign");
    let whole = std::fs::read_to_string(shop.path("release.key")).unwrap();
    shop.write_secret("cut.key", &whole[..whole.len() / 2]);
    pack(&["--key", "cut.key", "--passphrase-file", "right"]).failed(1, "cut.key: not an Ed25519 secret key");
    std::fs::set_permissions(shop.path("release.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    pack(&["--key", "release.key", "--passphrase-file", "right"]).failed(1, "release.key can be read by everybody");
    assert!(!shop.path("a.fhb").exists());
}

#[test]
fn keys_under_passphrases_of_their_own_sign_a_root_and_a_bundle() {
    let shop = with_encrypted_key();
    shop.run(&["keys", "new", "root", "--passphrase-file", "wrong"]).ok();
    shop.run(&["keys", "new", "hub", "--no-passphrase"]).ok();
    let root = [
        "root",
        "new",
        "--fleet",
        "plant-a",
        "--root",
        "root.key",
        "hub.key",
        "--release",
        "release.pub",
    ];
    let more = [
        "--assignment",
        "hub.pub",
        "-o",
        "root.cose",
        "--passphrase-file",
        "wrong",
    ];
    let root = shop.run(&[&["--json"], &root[..], &more].concat()).ok().json();
    assert_eq!(root["root"]["threshold"], 2);
    let bundle = demo_bundle("v1").display().to_string();
    shop.run(&["bundle", "pack", &bundle, "-o", "a.fhb"]).ok();
    let both = ["--passphrase-file", "right", "--passphrase-file", "wrong"];
    shop.run(
        &[
            &["bundle", "sign", "a.fhb", "--key", "root.key", "--key", "release.key"],
            &both[..],
        ]
        .concat(),
    )
    .ok();
    shop.run(&["bundle", "verify", "a.fhb", "--root", "root.cose"]).ok();
}

#[test]
fn a_folder_tells_its_keys() {
    let shop = with_encrypted_key();
    shop.run(&["keys", "new", "hub", "--no-passphrase"]).ok();
    std::fs::set_permissions(shop.path("hub.key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    shop.write_secret("tls.key", "-----BEGIN RSA PRIVATE KEY-----\n");
    let listed = shop.run(&["keys", "list"]).ok().stdout;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 5, "{listed}");
    assert!(lines[1].contains("secret, unencrypted, readable by others"), "{listed}");
    assert!(
        lines[3].contains("release.key") && lines[3].contains("under a passphrase"),
        "{listed}"
    );
    let json = shop.run(&["--json", "keys", "list", "."]).ok().json();
    assert_eq!(json[2]["key_id"], json[3]["key_id"]);
    shop.run(&["keys", "list", "nowhere"])
        .failed(1, "nowhere can't be read");
}

#[test]
fn an_authority_signs_only_while_its_key_is_closed_to_others() {
    let shop = Shop::new();
    shop.run(&["keys", "ca", "plant-a.ca"]).ok();
    let signed = |name: &str| {
        shop.run(&[
            "keys",
            "cert",
            name,
            "--ca",
            "plant-a.ca.pem",
            "--ca-key",
            "plant-a.ca.key",
        ])
    };
    signed("hub").ok();
    std::fs::set_permissions(shop.path("plant-a.ca.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    signed("broker.1").failed(1, "plant-a.ca.key can be read by everybody on this machine (mode 644)");
    assert!(!shop.path("broker.1.pem").exists());
}
