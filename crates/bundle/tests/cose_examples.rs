//! The COSE working group's examples (github.com/cose-wg/Examples: `eddsa-examples`, `sign-tests`; the first of
//! RFC 9052, appendix C.1.1), restated: what is signed, and what an envelope of ours refuses of them.
//!
//! The structure that is signed and the signature are the standard's, bit by bit. None of the examples is an envelope of
//! ours, since ours keep everything under the signature: the working group's readers take those that are called `pass`
//! and refuse `fail`; we refuse them all, each for the reason that stands beside it.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use coset::{CborSerializable, CoseSign};
use floorhand_bundle::{Domain, Envelope, EnvelopeError, PublicKey, SecretKey};

/// `eddsa-01` (COSE_Sign) and `eddsa-sig-01` (COSE_Sign1) share key and content.
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const EDDSA_01: &str = "d8628443a10300a054546869732069732074686520636f6e74656e742e818343a10127a104423131584077f3eacd11852c4bf9cb1d72fabe6b26fba1d76092b2b5b7ec83b83557652264e69690dbc1172ddc0bf88411c0d25a507fdb247a20c40d5e245fabd3fc9ec106";
const EDDSA_01_SIGNED: &str = "85695369676e617475726543a1030043a101274054546869732069732074686520636f6e74656e742e";
const EDDSA_01_SIGNATURE: &str = "77f3eacd11852c4bf9cb1d72fabe6b26fba1d76092b2b5b7ec83b83557652264e69690dbc1172ddc0bf88411c0d25a507fdb247a20c40d5e245fabd3fc9ec106";
const EDDSA_SIG_01: &str = "d28445a201270300a10442313154546869732069732074686520636f6e74656e742e58407142fd2ff96d56db85bee905a76ba1d0b7321a95c8c4d3607c5781932b7afb8711497dfa751bf40b58b3bcc32300b1487f3db34085eef013bf08f4a44d6fef0d";
const EDDSA_SIG_01_SIGNED: &str = "846a5369676e61747572653145a2012703004054546869732069732074686520636f6e74656e742e";
const EDDSA_SIG_01_SIGNATURE: &str = "7142fd2ff96d56db85bee905a76ba1d0b7321a95c8c4d3607c5781932b7afb8711497dfa751bf40b58b3bcc32300b1487f3db34085eef013bf08f4a44d6fef0d";
/// Ed448.
const EDDSA_02: &str = "d8628440a054546869732069732074686520636f6e74656e742e818343a10127a1044565643434385872abf04f4bc7dfacf70c20c34a3cfbd27719911dc8518b2d67bf6af62895d0fa1e6a1cb8b47ad1297c0e9c34beb34e50dffef14350ebd57842807d54914111150f698543b0a5e1da1db79632c6415ce18ef74edaea680b0c8881439d869171481d78e2f7d26340c293c2ecded8de1425851900";

const NO_TAG: &str = "no COSE_Sign tag";
const UNPROTECTED: &str = "an unprotected header";
/// Refused by `coset` already, in its own words.
const BY_COSET: &str = "";
const ON_ENVELOPE: &str = "headers on the envelope itself";

/// The parts that the examples of `sign-tests` share: from the payload to the protected header, the key id in the
/// unprotected one, and the signature but for its last byte.
const CONTENT: &str = "54546869732069732074686520636f6e74656e742e8183";
const ES256: &str = "43a10126";
const KEY_ID: &str = "a1044231315840";
const SIGNATURE: &str = "e2aeafd40d69d19dfe6e52077c5d7ff4e408282cbefb5d06cbf414af2e19d982ac45ac98b8544c908b4507de1e90b717c3d34816fe926a2b98f53afd2fa0f3";
const WITH_EXTERNAL: &str = "cbb8dad9beafb890e1a414124d8bfbc26bedf2a94fcb5a882432bff6d63e15f574eeb2ab51d83fa2cbf62672ebf4c7d993b0f4c2447647d831ba57cca86b93";
const WITH_CONTENT_TYPE: &str = "d71c05db52c9ce7f1bf5aac01334bbeacac1d86a2303e6eeaa89266f45c01ed602ca649eaf790d8bc99d2458457ca6a872061940e7afbe48e289dfac146ae2";

fn sign_test(start: &str, algorithm: &str, signature: &str, last: &str) -> String {
    [start, CONTENT, algorithm, KEY_ID, signature, last].concat()
}

/// Name, bytes, why we refuse.
fn examples() -> Vec<(&'static str, String, &'static str)> {
    let plain = "d8628440a0";
    vec![
        ("eddsa-01", EDDSA_01.to_owned(), ON_ENVELOPE),
        ("eddsa-02", EDDSA_02.to_owned(), UNPROTECTED),
        ("eddsa-sig-01", EDDSA_SIG_01.to_owned(), NO_TAG),
        ("RFC 9052 C.1.1", sign_test(plain, ES256, SIGNATURE, "0a"), UNPROTECTED),
        // Protected is the encoding of an empty map instead of the empty string, which means the same to COSE.
        (
            "sign-pass-01",
            sign_test("d8628441a0a0", ES256, SIGNATURE, "0a"),
            UNPROTECTED,
        ),
        (
            "sign-pass-02",
            sign_test(plain, ES256, WITH_EXTERNAL, "0a"),
            UNPROTECTED,
        ),
        ("sign-pass-03", sign_test("8440a0", ES256, SIGNATURE, "0a"), NO_TAG),
        // Another tag.
        (
            "sign-fail-01",
            sign_test("d903e68440a0", ES256, SIGNATURE, "0a"),
            NO_TAG,
        ),
        // The signature's last byte.
        ("sign-fail-02", sign_test(plain, ES256, SIGNATURE, "0b"), UNPROTECTED),
        // Algorithm -999, and one named by text.
        (
            "sign-fail-03",
            sign_test(plain, "45a1013903e6", SIGNATURE, "0a"),
            BY_COSET,
        ),
        (
            "sign-fail-04",
            sign_test(plain, "4aa10167756e6b6e6f776e", SIGNATURE, "0a"),
            UNPROTECTED,
        ),
        // A protected header of the envelope that was added, and one that was taken away.
        (
            "sign-fail-06",
            sign_test("d8628443a10300a0", ES256, SIGNATURE, "0a"),
            ON_ENVELOPE,
        ),
        (
            "sign-fail-07",
            sign_test("d8628441a0a0", ES256, WITH_CONTENT_TYPE, "58"),
            UNPROTECTED,
        ),
        (
            "ecdsa-01",
            sign_test("d8628443a10300a0", ES256, WITH_CONTENT_TYPE, "58"),
            ON_ENVELOPE,
        ),
    ]
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    hex::decode(hexadecimal).unwrap()
}

fn key() -> PublicKey {
    PublicKey::from_bytes(&bytes(KEY).try_into().unwrap()).unwrap()
}

#[test]
fn no_example_is_an_envelope_of_ours_and_each_has_its_reason() {
    for (name, example, expected) in examples() {
        match Envelope::open(Domain::Root, &bytes(&example), 4096) {
            Err(EnvelopeError::Malformed { problem, .. }) => assert!(problem.contains(expected), "{name}: {problem}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn what_is_signed_and_the_signature_are_the_standards() {
    let secret = SecretKey::from_seed(&bytes(SEED).try_into().unwrap());
    assert_eq!(secret.public(), key());
    for (signed, signature) in [
        (EDDSA_01_SIGNED, EDDSA_01_SIGNATURE),
        (EDDSA_SIG_01_SIGNED, EDDSA_SIG_01_SIGNATURE),
    ] {
        assert!(key().verifies(&bytes(signed), &bytes(signature)));
        assert_eq!(hex::encode(secret.sign(&bytes(signed))), signature);
    }
    // The library that our envelopes are made with puts the same bytes under the signature.
    let sign = CoseSign::from_slice(&bytes(EDDSA_01)[2..]).unwrap();
    assert_eq!(hex::encode(sign.tbs_data(b"", &sign.signatures[0])), EDDSA_01_SIGNED);
}

/// The structure of RFC 9052, section 4.4, put together here by hand.
#[test]
fn an_envelope_of_ours_signs_the_standards_structure() {
    let secret = SecretKey::from_seed(&bytes(SEED).try_into().unwrap());
    let sealed = Envelope::seal(Domain::Ack, b"This is the content.", &[&secret]).unwrap();
    let protected = [&[0xa2, 0x01, 0x27, 0x04, 0x50][..], secret.public().id().as_bytes()].concat();
    let aad = Domain::Ack.external_aad();
    let mut signed = b"\x85\x69Signature\x40".to_vec();
    for part in [&protected, aad, b"This is the content."] {
        // All are shorter than 24 bytes.
        signed.push(0x40 | u8::try_from(part.len()).unwrap());
        signed.extend_from_slice(part);
    }
    let signature = sealed.last_chunk::<64>().unwrap();
    assert!(key().verifies(&signed, signature));
    assert_eq!(secret.sign(&signed), *signature);
}

/// An envelope around one signature of this key with these protected headers, put together by hand.
fn envelope(protected: &[u8], unprotected: &[u8]) -> Vec<u8> {
    let secret = SecretKey::from_seed(&bytes(SEED).try_into().unwrap());
    // Lengths of 24 and more take a byte of their own.
    let string = |bytes: &[u8]| match bytes.len() as u8 {
        length @ 0..24 => [&[0x40 | length][..], bytes].concat(),
        length => [&[0x58, length][..], bytes].concat(),
    };
    let aad = string(Domain::Ack.external_aad());
    let signed = [
        b"\x85\x69Signature\x40",
        &string(protected)[..],
        &aad,
        &string(b"content"),
    ]
    .concat();
    let signature = secret.sign(&signed);
    let head = b"\xd8\x62\x84\x40\xa0";
    let content = string(b"content");
    [
        head,
        &content[..],
        b"\x81\x83",
        &string(protected),
        unprotected,
        &string(&signature),
    ]
    .concat()
}

#[test]
fn each_rule_of_a_signatures_headers_refuses_alone() {
    let id = key().id();
    let with = |algorithm: &str, rest: &str| bytes(&format!("{algorithm}0450{id}{rest}"));
    let good = with("a20127", "");
    let taken = Envelope::open(Domain::Ack, &envelope(&good, b"\xa0"), 4096).unwrap();
    assert_eq!(taken.verify(&[key()], 1).unwrap(), b"content");
    let check = |protected: &[u8], unprotected: &[u8], expected: &str| {
        let error = Envelope::open(Domain::Ack, &envelope(protected, unprotected), 4096).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    let not_eddsa = "a signature that is not EdDSA";
    // ES256, "unknown" (sign-fail-04), none.
    for algorithm in ["a20126", "a20167756e6b6e6f776e", "a1"] {
        check(&with(algorithm, ""), b"\xa0", not_eddsa);
    }
    // -999 (sign-fail-03), and Ed25519 by the number that RFC 9864 gave it later, -19.
    for algorithm in ["a2013903e6", "a20132"] {
        check(&with(algorithm, ""), b"\xa0", BY_COSET);
    }
    check(&good, b"\xa1\x04\x42\x31\x31", UNPROTECTED);
    check(&bytes("a10127"), b"\xa0", "a key id that has not 16 bytes");
    check(&bytes("a2012704423131"), b"\xa0", "a key id that has not 16 bytes");
    let other = "a header other than algorithm and key id";
    // An initialisation vector, and a label that nobody has given a meaning.
    check(&with("a30127", "054100"), b"\xa0", other);
    check(&with("a30127", "186400"), b"\xa0", other);
    let encoding = "a protected header that is not deterministic CBOR";
    check(&[&good[..], &[0]].concat(), b"\xa0", BY_COSET);
    check(&bytes(&format!("a20450{id}0127")), b"\xa0", encoding);
}
