//! The scanner held against values of every shape: it takes each in its one encoding, both decoders read that and write
//! it again byte for byte, and each single deviation is refused.
//!
//! The encoder here is the test's own, written from RFC 8949, section 4.2, so that it can be told to deviate.

#![expect(clippy::indexing_slicing, reason = "helpers of tests may panic")]

use floorhand_bundle::cbor::{self, CborError};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// No document of these tests is longer.
const LIMIT: usize = 1 << 20;

/// A value as the scanner takes it. Map keys stand by their encodings, which sorts them.
#[derive(Debug, Clone)]
enum Item {
    Unsigned(u64),
    /// -1 minus this.
    Negative(u64),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Item>),
    Map(BTreeMap<Vec<u8>, Item>),
    /// False, true or null, by its head.
    Simple(u8),
    Float(f64),
}

/// What an encoder does once that it mustn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deviation {
    /// An integer or length in a form longer than it needs.
    LongHead,
    /// A string, array or map that ends with a break.
    Indefinite,
    /// A map whose first two pairs have changed places.
    Unsorted,
    /// A map whose first pair comes twice.
    Repeated,
    /// A tag in front of an item.
    Tag(u8),
    /// Another simple value in place of an item: the bytes, and how many of them count.
    Simple([u8; 2], usize),
    /// A key that isn't an integer or a string: one byte.
    Key(u8),
    /// A head that RFC 8949 has no meaning for.
    Reserved(u8),
    /// Text that isn't UTF-8.
    Text,
}

/// Writes values, and deviates at one of the places where it could.
struct Encoder {
    out: Vec<u8>,
    deviation: Option<Deviation>,
    /// Places to pass by before the one to deviate at.
    pass_by: usize,
}

impl Encoder {
    fn encode(item: &Item) -> Vec<u8> {
        let mut encoder = Self {
            out: Vec::new(),
            deviation: None,
            pass_by: 0,
        };
        encoder.item(item);
        encoder.out
    }

    /// The encoding with one deviation, at place `which` modulo the number of places. `None` where there is no place.
    fn deviate(item: &Item, deviation: Deviation, which: usize) -> Option<Vec<u8>> {
        let mut counter = Self {
            out: Vec::new(),
            deviation: Some(deviation),
            pass_by: usize::MAX,
        };
        counter.item(item);
        let places = usize::MAX - counter.pass_by;
        let mut encoder = Self {
            out: Vec::new(),
            deviation: Some(deviation),
            pass_by: which.checked_rem(places)?,
        };
        encoder.item(item);
        Some(encoder.out)
    }

    /// Whether to deviate here, at a place where `deviation` can be done.
    fn here(&mut self, can: impl Fn(Deviation) -> bool) -> Option<Deviation> {
        if !self.deviation.is_some_and(can) {
            return None;
        }
        if self.pass_by == 0 {
            return self.deviation.take();
        }
        self.pass_by -= 1;
        None
    }

    fn item(&mut self, item: &Item) {
        let any = |deviation| {
            matches!(
                deviation,
                Deviation::Tag(_) | Deviation::Simple(..) | Deviation::Reserved(_)
            )
        };
        match self.here(any) {
            Some(Deviation::Tag(tag)) => self.out.push(tag),
            Some(Deviation::Simple(bytes, length)) => return self.out.extend_from_slice(&bytes[..length]),
            Some(Deviation::Reserved(head)) => return self.out.push(head),
            _ => {}
        }
        match item {
            Item::Unsigned(value) => self.head(0, *value),
            Item::Negative(value) => self.head(1, *value),
            Item::Bytes(bytes) => self.string(2, bytes),
            Item::Text(text) => {
                if self.here(|deviation| deviation == Deviation::Text).is_some() {
                    self.string(3, &[text.as_bytes(), &[0xc3]].concat());
                } else {
                    self.string(3, text.as_bytes());
                }
            }
            Item::Array(items) => {
                let end = self.begin(4, items.len());
                items.iter().for_each(|item| self.item(item));
                self.out.extend(end);
            }
            Item::Map(map) => self.map(map),
            Item::Simple(head) => self.out.push(*head),
            Item::Float(value) => self.float(*value),
        }
    }

    fn map(&mut self, map: &BTreeMap<Vec<u8>, Item>) {
        let mut pairs: Vec<_> = map.iter().map(|(key, value)| (key.clone(), value)).collect();
        if pairs.len() > 1 && self.here(|deviation| deviation == Deviation::Unsorted).is_some() {
            pairs.swap(0, 1);
        }
        if !pairs.is_empty() {
            let can = |deviation| matches!(deviation, Deviation::Repeated | Deviation::Key(_));
            match self.here(can) {
                Some(Deviation::Key(key)) => pairs[0].0 = vec![key],
                Some(_) => pairs.insert(0, pairs[0].clone()),
                None => {}
            }
        }
        let end = self.begin(5, pairs.len());
        for (key, value) in pairs {
            self.out.extend(key);
            self.item(value);
        }
        self.out.extend(end);
    }

    /// Begins an array or map; what is given back ends it.
    fn begin(&mut self, major: u8, length: usize) -> Option<u8> {
        if self.here(|deviation| deviation == Deviation::Indefinite).is_some() {
            self.out.push(major << 5 | 31);
            return Some(0xff);
        }
        self.head(major, length as u64);
        None
    }

    fn string(&mut self, major: u8, bytes: &[u8]) {
        let end = self.begin(major, bytes.len());
        if end.is_some() {
            // Its one piece.
            self.head(major, bytes.len() as u64);
        }
        self.out.extend_from_slice(bytes);
        self.out.extend(end);
    }

    fn head(&mut self, major: u8, value: u64) {
        let shortest = match value {
            0..=23 => 0,
            24..=0xff => 1,
            0x100..=0xffff => 2,
            0x1_0000..=0xffff_ffff => 3,
            _ => 4,
        };
        let longer = shortest < 4 && self.here(|deviation| deviation == Deviation::LongHead).is_some();
        let size = shortest + usize::from(longer);
        match size {
            0 => self.out.push(major << 5 | value as u8),
            _ => {
                self.out.push(major << 5 | (23 + size as u8));
                let bytes = value.to_be_bytes();
                self.out.extend_from_slice(&bytes[8 - (1 << (size - 1))..]);
            }
        }
    }

    /// The shortest float that keeps the value, as writers have to choose it.
    fn float(&mut self, value: f64) {
        if let Some(half) = half(value) {
            self.out.push(0xf9);
            self.out.extend(half.to_be_bytes());
        } else if f64::from(value as f32) == value {
            self.out.push(0xfa);
            self.out.extend((value as f32).to_be_bytes());
        } else {
            self.out.push(0xfb);
            self.out.extend(value.to_be_bytes());
        }
    }
}

/// The value as a 16-bit float, if it is one: among all of these that are no NaN.
fn half(value: f64) -> Option<u16> {
    if value.is_nan() {
        return Some(0x7e00);
    }
    let bits = value.to_bits();
    let sign = (bits >> 48) as u16 & 0x8000;
    if value == 0.0 {
        return Some(sign);
    }
    if value.is_infinite() {
        return Some(sign | 0x7c00);
    }
    // In units of the smallest half, 2^-24.
    let units = value.abs() * 16_777_216.0;
    if units.fract() != 0.0 || units >= 65_536.0 * 16_777_216.0 {
        return None;
    }
    let mut units = units as u64;
    let mut exponent = 0_u16;
    while units >= 0x800 {
        if units % 2 == 1 {
            return None;
        }
        units /= 2;
        exponent += 1;
    }
    // From 2^10 units on the leading bit is implied, and counts the exponent up by one.
    Some(sign | ((exponent << 10) + units as u16))
}

fn integers() -> impl Strategy<Value = u64> {
    // As many of each length.
    (0_u32..64, any::<u64>()).prop_map(|(shift, bits)| bits >> shift)
}

fn keys() -> impl Strategy<Value = Item> {
    prop_oneof![
        integers().prop_map(Item::Unsigned),
        integers().prop_map(Item::Negative),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(Item::Bytes),
        "\\PC{0,8}".prop_map(Item::Text),
    ]
}

fn items() -> impl Strategy<Value = Item> {
    let leaf = prop_oneof![
        4 => keys(),
        1 => prop::collection::vec(any::<u8>(), 0..300).prop_map(Item::Bytes),
        1 => "\\PC{0,80}".prop_map(Item::Text),
        1 => (0xf4_u8..=0xf6).prop_map(Item::Simple),
        1 => any::<f64>().prop_map(Item::Float),
        1 => any::<f32>().prop_map(|value| Item::Float(f64::from(value))),
        1 => any::<i16>().prop_map(|value| Item::Float(f64::from(value) / 64.0)),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Item::Array),
            prop::collection::vec((keys(), inner), 0..8).prop_map(map),
        ]
    })
}

fn map(pairs: Vec<(Item, Item)>) -> Item {
    let pairs = pairs.into_iter().map(|(key, value)| (Encoder::encode(&key), value));
    Item::Map(pairs.collect())
}

/// The value beside one that has a place for every deviation.
fn with_all_places(item: Item) -> Item {
    let text = |text: &str| Item::Text(text.to_owned());
    let pairs = vec![(text("a"), Item::Unsigned(7)), (text("b"), text("wort"))];
    Item::Array(vec![item, map(pairs)])
}

fn deviations() -> impl Strategy<Value = Deviation> {
    prop_oneof![
        Just(Deviation::LongHead),
        Just(Deviation::Indefinite),
        Just(Deviation::Unsorted),
        Just(Deviation::Repeated),
        Just(Deviation::Text),
        (0xc0_u8..=0xd7).prop_map(Deviation::Tag),
        (0xe0_u8..=0xf3).prop_map(|head| Deviation::Simple([head, 0], 1)),
        Just(Deviation::Simple([0xf7, 0], 1)),
        any::<u8>().prop_map(|value| Deviation::Simple([0xf8, value], 2)),
        (0x80_u8..=0xff).prop_map(Deviation::Key),
        (0_u8..8, 28_u8..=30).prop_map(|(major, info)| Deviation::Reserved(major << 5 | info)),
        Just(Deviation::Reserved(0xff)),
        Just(Deviation::Reserved(0x1f)),
    ]
}

fn refused(bytes: &[u8]) -> Result<(), TestCaseError> {
    let found = cbor::scan(bytes, LIMIT);
    let refused = matches!(found, Err(CborError::Encoding { offset, .. }) if offset <= bytes.len());
    prop_assert!(refused, "{} gave {found:?}", hex::encode(bytes));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_value_is_taken_in_its_one_encoding_and_read_alike_by_both_decoders(item in items()) {
        let bytes = Encoder::encode(&item);
        prop_assert_eq!(cbor::scan(&bytes, bytes.len()), Ok(()));
        let value: serde_cbor::Value = serde_cbor::from_slice(&bytes).unwrap();
        prop_assert_eq!(hex::encode(cbor::encode("value", &value).unwrap()), hex::encode(&bytes));
        let value: ciborium::Value = ciborium::from_reader(bytes.as_slice()).unwrap();
        let mut written = Vec::new();
        ciborium::into_writer(&value, &mut written).unwrap();
        prop_assert_eq!(hex::encode(written), hex::encode(&bytes));
        let long = CborError::TooLong { actual: bytes.len(), limit: bytes.len() - 1 };
        prop_assert_eq!(cbor::scan(&bytes, bytes.len() - 1), Err(long));
    }

    #[test]
    fn one_deviation_anywhere_is_refused(item in items(), deviation in deviations(), which in any::<usize>()) {
        let item = with_all_places(item);
        let good = Encoder::encode(&item);
        let bytes = Encoder::deviate(&item, deviation, which).unwrap();
        prop_assert_ne!(&bytes, &good);
        refused(&bytes)?;
    }

    #[test]
    fn a_document_that_ends_early_or_late_is_refused(item in items(), more in prop::collection::vec(any::<u8>(), 1..4)) {
        let bytes = Encoder::encode(&item);
        for end in 0..bytes.len() {
            refused(&bytes[..end])?;
        }
        refused(&[bytes, more].concat())?;
    }

    #[test]
    fn sixteen_levels_are_taken_and_seventeen_refused(kinds in prop::collection::vec(any::<bool>(), 17)) {
        let nest = |levels: &[bool]| levels.iter().fold(Item::Unsigned(0), |inner, is_map| match is_map {
            true => map(vec![(Item::Unsigned(1), inner)]),
            false => Item::Array(vec![inner]),
        });
        prop_assert_eq!(cbor::scan(&Encoder::encode(&nest(&kinds[1..])), LIMIT), Ok(()));
        refused(&Encoder::encode(&nest(&kinds)))?;
    }

    #[test]
    fn arbitrary_bytes_are_taken_only_if_both_decoders_read_them(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if cbor::scan(&bytes, LIMIT).is_ok() {
            prop_assert!(serde_cbor::from_slice::<serde_cbor::Value>(&bytes).is_ok());
            prop_assert!(ciborium::from_reader::<ciborium::Value, _>(bytes.as_slice()).is_ok());
        }
    }

    #[test]
    fn a_claim_costs_no_memory(major in 2_u8..=5, shift in 1_u32..64, rest in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut encoder = Encoder { out: Vec::new(), deviation: None, pass_by: 0 };
        // Too long for what follows, up to nearly 2^64.
        encoder.head(major, (u64::MAX >> shift).max(1 << 8));
        let bytes = [encoder.out, rest].concat();
        let mut found = Ok(());
        let used = allocation_counter::measure(|| found = cbor::decode::<serde_cbor::Value>("value", &bytes, LIMIT).map(drop));
        prop_assert!(found.is_err());
        prop_assert!(used.bytes_max <= SCANNER_BYTES, "{} bytes for {}", used.bytes_max, hex::encode(bytes));
    }
}

/// What the scanner holds at most, whatever it is given: 16 open containers.
const SCANNER_BYTES: u64 = 2048;

#[test]
fn the_scanners_memory_does_not_grow_with_the_document() {
    let flat = [&[0x9a, 0, 1, 0, 0][..], &[0; 65_536]].concat();
    let deep = [&[0x81; 15][..], &flat].concat();
    for bytes in [flat, deep] {
        let used = allocation_counter::measure(|| cbor::scan(&bytes, LIMIT).unwrap());
        assert!(used.bytes_max <= SCANNER_BYTES, "{} bytes", used.bytes_max);
    }
}

#[test]
fn what_is_decoded_takes_memory_by_its_length() {
    // One byte a number is the worst that these types can be given: a reader's vector grows by doubling.
    let numbers = [&[0x9a, 0, 1, 0, 0][..], &[0; 65_536]].concat();
    let length = numbers.len() as u64;
    let used = allocation_counter::measure(|| drop(cbor::decode::<Vec<u64>>("numbers", &numbers, LIMIT).unwrap()));
    assert!(used.bytes_max <= 32 * length, "{} bytes for {length}", used.bytes_max);
    let used = allocation_counter::measure(|| {
        drop(cbor::decode::<serde_cbor::Value>("value", &numbers, LIMIT).unwrap());
    });
    assert!(used.bytes_max <= 128 * length, "{} bytes for {length}", used.bytes_max);
}
