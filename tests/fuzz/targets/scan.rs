//! The scanner takes bytes in one encoding only: both decoders read what it takes, read it as the same, and write it
//! again byte for byte. Floats are the exception: the scanner takes each of their widths.

#![no_main]

use floorhand_bundle::cbor;
use libfuzzer_sys::fuzz_target;
use serde_cbor::Value;

fuzz_target!(|bytes: &[u8]| {
    if cbor::scan(bytes, 1 << 16).is_err() {
        return;
    }
    assert!(cbor::scan(bytes, bytes.len()).is_ok() && cbor::scan(bytes, bytes.len() - 1).is_err());
    let value: Value = serde_cbor::from_slice(bytes).expect("serde_cbor reads what the scanner takes");
    let other: ciborium::Value = ciborium::from_reader(bytes).expect("ciborium reads what the scanner takes");
    let written = cbor::encode("value", &value).expect("what was read can be written");
    let mut other_written = Vec::new();
    ciborium::into_writer(&other, &mut other_written).expect("what was read can be written");
    cbor::scan(&written, usize::MAX).expect("what is written passes the scanner");
    let floats = Floats::of(&value);
    if !floats.any {
        assert_eq!(written, bytes, "serde_cbor");
    }
    if !floats.nan {
        assert_eq!(written, other_written, "serde_cbor and ciborium");
        let again: Value = serde_cbor::from_slice(&written).expect("what was written can be read");
        assert_eq!(again, value);
    }
});

/// Which floats a value holds.
#[derive(Default)]
struct Floats {
    any: bool,
    /// NaN has many encodings, of which serde_cbor writes one.
    nan: bool,
}

impl Floats {
    fn of(value: &Value) -> Self {
        let mut found = Self::default();
        found.look(value);
        found
    }

    fn look(&mut self, value: &Value) {
        match value {
            Value::Float(float) => {
                self.any = true;
                self.nan |= float.is_nan();
            }
            Value::Array(items) => items.iter().for_each(|item| self.look(item)),
            Value::Map(map) => map.values().for_each(|item| self.look(item)),
            _ => {}
        }
    }
}
