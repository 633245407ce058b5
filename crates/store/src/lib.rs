//! Durable files: blobs, generations, the state record, the telemetry spool.
//!
//! Records and state are opaque bytes here: this crate knows how they survive a power cut and nothing of what they mean.
//! No network, no signatures, no clock. The only crate that names redb. Everything blocks: call it from a thread that may.
//!
//! ```text
//! <root>/format                    version of this layout
//! <root>/lock                      held while a process has the directory open
//! <root>/blobs/sha256/<hex>        whole, verified content
//! <root>/partial/<hex>             content being fetched
//! <root>/sealed/                   key, blobs and partial, where content is sealed: see [`Store::open_sealed`]
//! <root>/gens/<n>/manifest.cose    and what else belongs to the generation
//! <root>/roots/<n>.cose            trust roots after the pinned one
//! <root>/state                     one small checksummed record
//! <root>/spool.redb                telemetry, see [`Spool`]
//! <root>/ballast                   room for when there is none left, see [`Ballast`]
//! ```
//!
//! A power cut at any instruction leaves each of them as it was before or after an operation, never between. Every
//! durable step of files (not of the spool, which redb writes) goes through [`Disk`], so that tests can fail each one.
//!
//! ```
//! use floorhand_bundle::Digest;
//! use floorhand_store::{Store, StoreOptions};
//!
//! let root = tempfile::tempdir()?;
//! let store = Store::open(root.path(), StoreOptions { blob_budget_bytes: 1 << 20 })?;
//! let content = b"a model";
//! let digest = Digest::of(content);
//! if let Some(mut partial) = store.blobs().begin(digest, content.len() as u64)? {
//!     partial.write_at(0, content)?;
//!     partial.finish()?;
//! }
//! assert_eq!(store.blobs().read(digest, 1024)?, content);
//! store.state().save(b"active = 1")?;
//! assert_eq!(store.state().load()?.as_deref(), Some(b"active = 1".as_slice()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Testing
//!
//! Give [`Store::open_on`] a [`Disk`] of your own that records or fails operations, and [`Spool::open_on`] a [`Medium`];
//! `src/faults.rs` has a disk that fails the k-th, floorhand-testkit both that record. A program that was built for debugging
//! can be killed at any durable step by name: see `src/kill.rs`.

mod ballast;
mod blobs;
mod disk;
mod error;
#[cfg(test)]
mod faults;
mod generations;
#[cfg(debug_assertions)]
mod kill;
mod pages;
mod partial;
mod peek;
mod roots;
mod spool;
mod state;
mod store;
mod vault;

pub use ballast::Ballast;
pub use blobs::{Blobs, Freed};
pub use disk::{Disk, DiskFile, RealDisk};
pub use error::StoreError;
pub use generations::{Generations, MANIFEST};
#[cfg(debug_assertions)]
pub use kill::KillPoint;
pub use pages::BlobFile;
pub use partial::PartialBlob;
pub use peek::Peek;
pub use roots::Roots;
pub use spool::{
    Acknowledged, Batch, BatchLimits, Cursor, Gap, MAX_RECORD_BYTES, Medium, MediumFile, NewRecord, Order, Priority,
    RealMedium, Record, Spool, SpoolConfig, SpoolError, SpoolStats,
};
pub use state::StateFile;
pub use store::{FORMAT_VERSION, Store, StoreOptions};
pub use vault::{StorageKey, StorageKeys, Vault};
