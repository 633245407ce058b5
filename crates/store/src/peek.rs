//! A look at a state directory's blobs without its lock, which a running agent has. Changes nothing.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use floorhand_bundle::Digest;

use crate::error::{At as _, StoreError};
use crate::pages::{BlobFile, Form};
use crate::vault::{SEALED, StorageKeys, Vault, data_key_path};

/// The whole blobs of a state directory, to be looked at.
#[derive(Debug)]
pub struct Peek {
    dir: PathBuf,
    form: Form,
}

impl Peek {
    /// A directory's blobs; `keys` where it is sealed.
    ///
    /// # Errors
    /// When it is sealed, and under another key.
    pub fn new(root: &Path, keys: Option<&StorageKeys>) -> Result<Self, StoreError> {
        let path = data_key_path(root);
        let sealed = match fs::read(&path) {
            // Not sealed yet: the next start does it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    dir: root.join("blobs").join("sha256"),
                    form: Form::Plain,
                });
            }
            read => read.at("read", &path)?,
        };
        let keys = keys.ok_or_else(|| StoreError::KeyMissing { path: root.to_owned() })?;
        let vault = Vault::unlock(&sealed, keys).ok_or(StoreError::WrongKey { path })?;
        Ok(Self {
            dir: root.join(SEALED).join("blobs"),
            form: Form::Sealed(vault),
        })
    }

    /// Where a whole blob lies, or would.
    #[must_use]
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(digest.to_string())
    }

    /// What the content of the blob of this name hashes to: the same, unless it is damaged.
    ///
    /// # Errors
    /// When it isn't here, or can't be read.
    pub fn content_digest(&self, digest: Digest) -> Result<Digest, StoreError> {
        let path = self.path(digest);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreError::BlobMissing { digest }),
            opened => opened.at("open", &path)?,
        };
        let length = self.form.content_bytes(file.metadata().at("look at", &path)?.len());
        let blob = BlobFile::new(file, self.form.clone(), digest, length);
        blob.content_digest().at("read", &path)
    }
}
