//! Keys in tokens of SoftHSM. Its folder comes from the environment, so that each test starts itself again with one.
#![expect(clippy::unwrap_used, reason = "a test ends where its assumption does")]

use cryptoki::context::Pkcs11;
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use floorhand_bundle::{Domain, Envelope, Signer};
use floorhand_keys::{Keyring, KeysError, SecretString, TokenUri, Unlock};
use floorhand_testkit::SoftHsm;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says, in the process that a test starts, which module to use.
const INSIDE: &str = "FLOORHAND_TEST_MODULE";

/// Gives this PIN, and counts how often it was asked for it.
struct Pin {
    pin: &'static str,
    asked: std::cell::Cell<u32>,
}

impl Pin {
    fn new(pin: &'static str) -> Self {
        Self {
            pin,
            asked: std::cell::Cell::new(0),
        }
    }
}

impl Unlock for Pin {
    fn passphrases(&self, _: &Path) -> Result<Vec<SecretString>, KeysError> {
        unreachable!("a token has no passphrase")
    }

    fn pin(&self, _: &str) -> Result<SecretString, KeysError> {
        self.asked.set(self.asked.get() + 1);
        Ok(SecretString::from(self.pin))
    }
}

/// The module, inside; outside the test of this name is run once more, with tokens `release` and `root`.
fn inside(test: &str) -> Option<PathBuf> {
    if let Some(module) = std::env::var_os(INSIDE) {
        return Some(module.into());
    }
    let hsm = SoftHsm::start_or_skip()?;
    for token in ["release", "root"] {
        hsm.add_token(token).unwrap();
    }
    let (variable, config) = hsm.environment();
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(variable, config)
        .env(INSIDE, hsm.module())
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    None
}

fn uri(text: &str) -> TokenUri {
    text.parse().unwrap()
}

#[test]
fn a_key_is_made_in_a_token_found_again_and_signs() {
    let Some(module) = inside("a_key_is_made_in_a_token_found_again_and_signs") else {
        return;
    };
    let pin = Pin::new(SoftHsm::PIN);
    let keyring = Keyring {
        unlock: &pin,
        module: Some(&module),
    };
    let made = keyring.generate(&uri("pkcs11:token=release"), "2026").unwrap();
    let public = made.public.clone().unwrap();
    let second = keyring
        .generate(&uri("pkcs11:token=release;id=%01%02"), "2027")
        .unwrap();
    assert_eq!(second.id, [1, 2]);
    assert_ne!(second.public, made.public);
    let listed = keyring.list(&uri("pkcs11:token=release")).unwrap();
    assert_eq!(listed, [made.clone(), second]);
    assert_eq!(keyring.list(&uri("pkcs11:token=root")).unwrap(), []);

    let signer = keyring.signer(&made.uri.clone().into()).unwrap();
    let sealed = Envelope::seal(Domain::Manifest, b"payload", &[&signer]).unwrap();
    let opened = Envelope::open(Domain::Manifest, &sealed, 4096).unwrap();
    assert_eq!(opened.verify(&[public], 1).unwrap(), b"payload");

    let error = keyring
        .generate(&uri("pkcs11:token=release"), "2026")
        .unwrap_err()
        .to_string();
    assert!(error.contains("has an object named \"2026\" already"), "{error}");
}

#[test]
fn what_is_not_there_or_not_unlocked_is_told() {
    let Some(module) = inside("what_is_not_there_or_not_unlocked_is_told") else {
        return;
    };
    let (right, wrong) = (Pin::new(SoftHsm::PIN), Pin::new("7777"));
    let check = |unlock: &Pin, module: Option<&Path>, text: &str, parts: &[&str]| {
        let error = Keyring { unlock, module }
            .signer(&uri(text).into())
            .map(drop)
            .unwrap_err()
            .to_string();
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
        assert!(!error.contains(unlock.pin), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    };
    let here = Some(module.as_path());
    // Before the right PIN: a process that is logged in stays so.
    check(
        &wrong,
        here,
        "pkcs11:token=release;object=a",
        &["the PIN is not that of token release"],
    );
    assert_eq!(wrong.asked.get(), 1);
    check(
        &right,
        here,
        "pkcs11:token=relase",
        &["means 0 tokens", "\"release\"", "\"root\""],
    );
    check(&right, here, "pkcs11:object=a", &["means 2 tokens"]);
    assert_eq!(right.asked.get(), 0);
    let keyring = Keyring {
        unlock: &right,
        module: here,
    };
    check(
        &right,
        here,
        "pkcs11:token=release;object=a",
        &["means 0 Ed25519 keys", "there are none"],
    );
    for label in ["a", "b"] {
        keyring.generate(&uri("pkcs11:token=release"), label).unwrap();
    }
    check(
        &right,
        here,
        "pkcs11:token=release;object=c",
        &["means 0 Ed25519 keys", "\"a\" (id ", "\"b\" (id "],
    );
    check(&right, here, "pkcs11:token=release", &["means 2 Ed25519 keys"]);
    check(&right, None, "pkcs11:token=release", &["module-path="]);
    check(
        &right,
        Some(Path::new("/none.so")),
        "pkcs11:token=release",
        &["/none.so can't be used"],
    );
    let no_module = std::env::current_exe().unwrap();
    check(&right, Some(&no_module), "pkcs11:token=release", &["can't be used"]);
}

#[test]
fn a_login_that_was_lost_is_made_again() {
    let Some(module) = inside("a_login_that_was_lost_is_made_again") else {
        return;
    };
    let pin = Pin::new(SoftHsm::PIN);
    let keyring = Keyring {
        unlock: &pin,
        module: Some(&module),
    };
    let made = keyring.generate(&uri("pkcs11:token=release"), "a").unwrap();
    let signer = keyring.signer(&made.uri.into()).unwrap();
    signer.sign(b"before").unwrap();
    // Somebody else in this process logs all of it out, as a token does that is pulled out.
    let (context, slot) = release_slot(&module);
    let other = context.open_ro_session(slot).unwrap();
    other.logout().unwrap();
    assert_eq!(state(&other), SessionState::RoPublic);
    let signature = signer.sign(b"after").unwrap();
    assert!(signer.public().verifies(b"after", &signature));
    assert_eq!(state(&other), SessionState::RoUser);
}

#[test]
fn a_pin_that_was_refused_is_not_tried_again() {
    let Some(module) = inside("a_pin_that_was_refused_is_not_tried_again") else {
        return;
    };
    let pin = Pin::new(SoftHsm::PIN);
    let keyring = Keyring {
        unlock: &pin,
        module: Some(&module),
    };
    let made = keyring.generate(&uri("pkcs11:token=release"), "a").unwrap();
    let signer = keyring.signer(&made.uri.into()).unwrap();
    let (context, slot) = release_slot(&module);
    let other = context.open_rw_session(slot).unwrap();
    let new = SecretString::from("another-pin");
    other.set_pin(&SecretString::from(SoftHsm::PIN), &new).unwrap();
    other.logout().unwrap();
    let is_counting = || context.get_token_info(slot).unwrap().user_pin_count_low();
    for tried in [true, false] {
        let error = signer.sign(b"x").unwrap_err().to_string();
        assert!(error.contains("the PIN is not that of token release"), "{error}");
        assert_eq!(is_counting(), tried);
        // The right PIN starts the token's count anew.
        other.login(UserType::User, Some(&new)).unwrap();
        other.logout().unwrap();
        assert!(!is_counting());
    }
}

fn release_slot(module: &Path) -> (Pkcs11, Slot) {
    let context = Pkcs11::new(module).unwrap();
    let slots = context.get_slots_with_token().unwrap();
    let is_release = |slot: &&Slot| context.get_token_info(**slot).unwrap().label() == "release";
    let slot = *slots.iter().find(is_release).unwrap();
    (context, slot)
}

fn state(session: &Session) -> SessionState {
    session.get_session_info().unwrap().session_state()
}

#[test]
fn many_threads_sign_with_one_key() {
    let Some(module) = inside("many_threads_sign_with_one_key") else {
        return;
    };
    let pin = Pin::new(SoftHsm::PIN);
    let keyring = Keyring {
        unlock: &pin,
        module: Some(&module),
    };
    let made = keyring.generate(&uri("pkcs11:token=release"), "a").unwrap();
    let signer = keyring.signer(&made.uri.into()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let signer = &signer;
            scope.spawn(move || {
                for round in 0..10_u8 {
                    let message = [thread, round];
                    let signature = signer.sign(&message).unwrap();
                    assert!(signer.public().verifies(&message, &signature));
                }
            });
        }
    });
}
