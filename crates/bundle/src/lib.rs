//! Bundles and the trust they are under: bytes + trust + now -> [`Verified`] documents.
//!
//! Pure: no files, no sockets, no clock, no randomness. Time and seeds come in as values.
//!
//! A bundle is a [`Manifest`] that names every file by digest; its identity is the digest of the manifest's signed
//! bytes. A [`TrustRoot`] says whose signatures count.
//!
//! ```
//! use floorhand_bundle::{BlobRef, Envelope, Domain, RoleKeys, SecretKey, TrustRoot, Role};
//!
//! let (offline, online) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
//! let root = TrustRoot {
//!     fleet: "plant-a".parse()?,
//!     version: 1,
//!     expires_ms: 2_000_000_000_000,
//!     issued_ms: 0,
//!     critical: vec![],
//!     root: RoleKeys::any_of(vec![offline.public()]),
//!     release: RoleKeys::any_of(vec![offline.public()]),
//!     assignment: RoleKeys::any_of(vec![online.public()]),
//! };
//! let pinned = TrustRoot::open_pinned(&root.seal(&[&offline])?)?;
//!
//! // The online key can't sign what only the offline key may.
//! let forged = Envelope::seal(Domain::Manifest, b"...", &[&online])?;
//! assert!(pinned.verify(Role::Release, Domain::Manifest, &forged, 4096, 1_700_000_000_000).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Testing
//!
//! Keys come from seeds, so tests need no key files: `SecretKey::from_seed(&[1; 32])`. [`Recipe::assemble`] takes its
//! files from a closure.

mod archive;
pub mod cbor;
mod chunks;
mod digest;
mod encrypted;
mod envelope;
mod explain;
mod gates;
mod keys;
mod lineage;
mod manifest;
mod names;
mod recipe;
mod root;
mod root_chain;
mod signer;
mod verified;

pub use archive::{Archive, ArchiveError};
pub use chunks::{BlobRef, Chunk, ChunkError, MAX_BLOB_BYTES, MAX_CHUNK_BYTES};
pub use digest::{Digest, DigestError, Hasher};
pub use envelope::{Domain, Envelope, EnvelopeError};
pub use explain::{ExplainMethod, ExplainSpec, ExplainWhen, FeatureGroups, Layout, Measure, Patches};
pub use gates::{Disagreement, FindingsGate, Gates, Golden};
pub use keys::{KeyError, KeyId, PublicKey, SecretKey};
pub use lineage::Lineage;
pub use manifest::{
    Component, ComponentRole, InputSpec, MAX_MANIFEST_BYTES, Manifest, ModelSpec, OnBreak, PipelineSpec, StageLimits,
    StageSpec, StateSpec,
};
pub use names::{BundleName, ComponentName, DeviceId, EngineName, FleetId, HardwareClass, NameError, StageName};
pub use recipe::{
    Assembly, BUILTIN_PREFIX, Identity, Load, Recipe, RecipeError, RecipeGolden, RecipeInput, RecipeModel, RecipeStage,
};
pub use root::{MAX_ROOT_BYTES, Role, RoleKeys, TrustRoot};
pub use root_chain::{MAX_ROOTS, RootChain};
pub use semver::Version;
pub use signer::{SignError, Signer};
pub use verified::{DocumentError, Verified, check_critical};
