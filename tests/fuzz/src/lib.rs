//! What the fuzz targets share: the keys and the trust root that their seeds are signed under.
//!
//! Owns no checks; each target states what it holds true. The keys are those of `crates/protocol/examples/vectors.rs`.

use floorhand_bundle::cbor::{self, CborError};
use floorhand_bundle::{SecretKey, TrustRoot, Verified};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// When the seeds were signed, in milliseconds since 1970 UTC; the root and everything under it is valid then.
pub const NOW_MS: u64 = 1_700_000_000_000;

/// The release key, which also signs roots.
pub fn offline() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

/// The other key of roots.
pub fn second() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

/// The hub's key.
pub fn online() -> SecretKey {
    SecretKey::from_seed(&[3; 32])
}

/// The device's key.
pub fn device() -> SecretKey {
    SecretKey::from_seed(&[4; 32])
}

/// The fleet's root as it was sealed.
pub const ROOT: &[u8] = include_bytes!("../seeds/root/sealed");

/// The fleet's root.
pub fn root() -> Verified<TrustRoot> {
    TrustRoot::open_pinned(ROOT).expect("the seed is a root")
}

/// Decodes a document, and checks what holds for each that is taken: it can be written again, what was written passes
/// the scanner, and reading that gives the same. Compared by what is written, since NaN isn't equal to itself.
pub fn read<T: Serialize + DeserializeOwned>(what: &'static str, bytes: &[u8], limit: usize) -> Option<T> {
    let document: T = cbor::decode(what, bytes, limit).ok()?;
    let written = cbor::encode(what, &document).expect("what was read can be written");
    let again: Result<T, CborError> = cbor::decode(what, &written, usize::MAX);
    let again = again.expect("what was written can be read");
    assert_eq!(cbor::encode(what, &again).expect("it was written before"), written);
    Some(document)
}
