//! A bundle in memory, wherever it came from.

use floorhand_bundle::{Digest, KeyId, Manifest};
use std::collections::BTreeMap;

/// A bundle in memory: what it is, and every blob it names.
#[derive(Debug)]
pub struct Contents {
    /// The manifest.
    pub manifest: Manifest,
    /// The bundle's digest.
    pub digest: Digest,
    /// The blobs by digest.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    /// Who has signed it, or says so where no trust root was at hand.
    pub signers: Vec<KeyId>,
}
