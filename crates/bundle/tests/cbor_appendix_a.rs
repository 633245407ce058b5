//! The examples of RFC 8949, appendix A, which decoders are commonly held against: what the scanner takes of them, what it
//! refuses by design, and that both decoders read what it takes as the RFC says.
//!
//! All 81 rows of the RFC's table are here: 59 are taken, 22 refused. The only encodings taken that aren't the shortest
//! are floats of a larger width than they need (docs/protocol.md, "CBOR"). With them the examples of appendix F, which
//! are not well-formed: all are refused.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic")]

use floorhand_bundle::cbor::{self, CborError};
use serde_cbor::Value;
use std::collections::BTreeMap;

const INTEGERS: [(&str, i128); 16] = [
    ("00", 0),
    ("01", 1),
    ("0a", 10),
    ("17", 23),
    ("1818", 24),
    ("1819", 25),
    ("1864", 100),
    ("1903e8", 1000),
    ("1a000f4240", 1_000_000),
    ("1b000000e8d4a51000", 1_000_000_000_000),
    ("1bffffffffffffffff", 18_446_744_073_709_551_615),
    ("3bffffffffffffffff", -18_446_744_073_709_551_616),
    ("20", -1),
    ("29", -10),
    ("3863", -100),
    ("3903e7", -1000),
];

const FLOATS: [(&str, f64); 16] = [
    ("f90000", 0.0),
    ("f98000", -0.0),
    ("f93c00", 1.0),
    ("fb3ff199999999999a", 1.1),
    ("f93e00", 1.5),
    ("f97bff", 65504.0),
    ("fa47c35000", 100_000.0),
    ("fa7f7fffff", 3.402_823_466_385_288_6e38),
    ("fb7e37e43c8800759c", 1e300),
    ("f90001", 5.960_464_477_539_063e-8),
    ("f90400", 6.103_515_625e-5),
    ("f9c400", -4.0),
    ("fbc010666666666666", -4.1),
    ("f97c00", f64::INFINITY),
    ("f97e00", f64::NAN),
    ("f9fc00", f64::NEG_INFINITY),
];

/// Taken, and written again in 16 bits.
const LONG_FLOATS: [(&str, f64); 6] = [
    ("fa7f800000", f64::INFINITY),
    ("fa7fc00000", f64::NAN),
    ("faff800000", f64::NEG_INFINITY),
    ("fb7ff0000000000000", f64::INFINITY),
    ("fb7ff8000000000000", f64::NAN),
    ("fbfff0000000000000", f64::NEG_INFINITY),
];

const A_TAG: &str = "a tag";
const SIMPLE: &str = "a simple value other than false, true and null";
const INDEFINITE: &str = "an indefinite length";

/// Well-formed CBOR that no document of ours is written in.
const REFUSED: [(&str, &str); 22] = [
    // Bignums: no field is wider than 64 bits.
    ("c249010000000000000000", A_TAG),
    ("c349010000000000000000", A_TAG),
    // Undefined, and simple values without a meaning.
    ("f7", SIMPLE),
    ("f0", SIMPLE),
    ("f8ff", SIMPLE),
    // Dates, an expected encoding, embedded CBOR, a URI: a document's fields say what they are.
    ("c074323031332d30332d32315432303a30343a30305a", A_TAG),
    ("c11a514b67b0", A_TAG),
    ("c1fb41d452d9ec200000", A_TAG),
    ("d74401020304", A_TAG),
    ("d818456449455446", A_TAG),
    ("d82076687474703a2f2f7777772e6578616d706c652e636f6d", A_TAG),
    // Strings in pieces, and arrays and maps without a count: two encodings of one value.
    ("5f42010243030405ff", INDEFINITE),
    ("7f657374726561646d696e67ff", INDEFINITE),
    ("9fff", INDEFINITE),
    ("9f018202039f0405ffff", INDEFINITE),
    ("9f01820203820405ff", INDEFINITE),
    ("83018202039f0405ff", INDEFINITE),
    ("83019f0203ff820405", INDEFINITE),
    ("9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff", INDEFINITE),
    ("bf61610161629f0203ffff", INDEFINITE),
    ("826161bf61626163ff", INDEFINITE),
    ("bf6346756ef563416d7421ff", INDEFINITE),
];

/// Appendix F, in its order: heads and items that end early, reserved heads, pieces of a string of another kind, breaks
/// where none may be.
const NOT_WELL_FORMED: [&str; 60] = [
    "18",
    "19",
    "1a",
    "1b",
    "1901",
    "1a0102",
    "1b01020304050607",
    "38",
    "58",
    "78",
    "98",
    "9a01ff00",
    "b8",
    "d8",
    "f8",
    "f900",
    "fa0000",
    "fb000000",
    "41",
    "61",
    "5affffffff00",
    "5bffffffffffffffff010203",
    "7affffffff00",
    "7b7fffffffffffffff010203",
    "81",
    "818181818181818181",
    "8200",
    "a1",
    "a20102",
    "a100",
    "a2000000",
    "5f4100",
    "7f6100",
    "9f",
    "9f0102",
    "bf",
    "bf01020102",
    "819f",
    "9f8000",
    "9f9f9f9f9fffffffff",
    "9f819f819f9fffffff",
    "1c",
    "1d",
    "1e",
    "3c",
    "5d",
    "7e",
    "9c",
    "bd",
    "dc",
    "fe",
    "f800",
    "f81f",
    "5f00ff",
    "7f4100ff",
    "ff",
    "8200ff",
    "a1ff00",
    "1f",
    "f818",
];

fn others() -> Vec<(&'static str, Value)> {
    let integer = |value: i128| Value::Integer(value);
    let text = |text: &str| Value::Text(text.to_owned());
    let array = Value::Array;
    let map = |pairs: Vec<(Value, Value)>| Value::Map(pairs.into_iter().collect::<BTreeMap<_, _>>());
    let long = (1..=25).map(integer).collect();
    let letters = ["a", "b", "c", "d", "e"].map(|letter| (text(letter), text(&letter.to_uppercase())));
    vec![
        ("f4", Value::Bool(false)),
        ("f5", Value::Bool(true)),
        ("f6", Value::Null),
        ("40", Value::Bytes(vec![])),
        ("4401020304", Value::Bytes(vec![1, 2, 3, 4])),
        ("60", text("")),
        ("6161", text("a")),
        ("6449455446", text("IETF")),
        ("62225c", text("\"\\")),
        ("62c3bc", text("\u{fc}")),
        ("63e6b0b4", text("\u{6c34}")),
        ("64f0908591", text("\u{10151}")),
        ("80", array(vec![])),
        ("83010203", array(vec![integer(1), integer(2), integer(3)])),
        (
            "8301820203820405",
            array(vec![
                integer(1),
                array(vec![integer(2), integer(3)]),
                array(vec![integer(4), integer(5)]),
            ]),
        ),
        (
            "98190102030405060708090a0b0c0d0e0f101112131415161718181819",
            array(long),
        ),
        ("a0", map(vec![])),
        (
            "a201020304",
            map(vec![(integer(1), integer(2)), (integer(3), integer(4))]),
        ),
        (
            "a26161016162820203",
            map(vec![
                (text("a"), integer(1)),
                (text("b"), array(vec![integer(2), integer(3)])),
            ]),
        ),
        (
            "826161a161626163",
            array(vec![text("a"), map(vec![(text("b"), text("c"))])]),
        ),
        ("a56161614161626142616361436164614461656145", map(letters.into())),
    ]
}

/// Both decoders' reading; ciborium's in the other's terms.
fn read(hexadecimal: &str) -> Value {
    let bytes = hex::decode(hexadecimal).unwrap();
    assert_eq!(cbor::scan(&bytes, 64), Ok(()), "{hexadecimal}");
    let value: Value = serde_cbor::from_slice(&bytes).unwrap();
    let other: ciborium::Value = ciborium::from_reader(bytes.as_slice()).unwrap();
    let mut written = Vec::new();
    ciborium::into_writer(&other, &mut written).unwrap();
    assert_eq!(cbor::encode("value", &value).unwrap(), written, "{hexadecimal}");
    value
}

fn check(hexadecimal: &str, expected: &Value) {
    let value = read(hexadecimal);
    assert_eq!(value, *expected, "{hexadecimal}");
    assert_eq!(hex::encode(cbor::encode("value", &value).unwrap()), hexadecimal);
}

fn check_float(hexadecimal: &str, expected: f64) -> Value {
    let value = read(hexadecimal);
    let Value::Float(float) = value else {
        panic!("{hexadecimal} is {value:?}");
    };
    let same = float.to_bits() == expected.to_bits() || float.is_nan() && expected.is_nan();
    assert!(same, "{hexadecimal} is {float}");
    value
}

#[test]
fn what_is_deterministic_is_taken_read_alike_and_written_again() {
    for (hexadecimal, expected) in INTEGERS {
        check(hexadecimal, &Value::Integer(expected));
    }
    for (hexadecimal, expected) in others() {
        check(hexadecimal, &expected);
    }
    for (hexadecimal, expected) in FLOATS {
        let value = check_float(hexadecimal, expected);
        assert_eq!(hex::encode(cbor::encode("value", &value).unwrap()), hexadecimal);
    }
}

#[test]
fn floats_are_taken_in_every_width_and_written_in_the_shortest() {
    for (hexadecimal, expected) in LONG_FLOATS {
        let value = check_float(hexadecimal, expected);
        assert_eq!(cbor::encode("value", &value).unwrap().len(), 3, "{hexadecimal}");
    }
}

#[test]
fn what_is_well_formed_and_not_deterministic_is_refused() {
    for (hexadecimal, expected) in REFUSED {
        match cbor::scan(&hex::decode(hexadecimal).unwrap(), 64) {
            Err(CborError::Encoding { problem, .. }) => assert_eq!(problem, expected, "{hexadecimal}"),
            other => panic!("{hexadecimal}: {other:?}"),
        }
    }
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for hexadecimal in NOT_WELL_FORMED {
        let found = cbor::scan(&hex::decode(hexadecimal).unwrap(), 64);
        assert!(
            matches!(found, Err(CborError::Encoding { .. })),
            "{hexadecimal}: {found:?}"
        );
    }
}

#[test]
fn every_row_of_the_table_is_here() {
    let taken = INTEGERS.len() + FLOATS.len() + LONG_FLOATS.len() + others().len();
    assert_eq!((taken, REFUSED.len()), (59, 22));
}
