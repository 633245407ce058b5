//! A look at a state directory's blobs without its lock, which a running agent has. Changes nothing.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use floorhand_bundle::Digest;

use crate::blobs::sealed_dirs;
use crate::error::{At as _, StoreError};
use crate::pages::{BlobFile, Form};
use crate::vault::{SEALED, StorageKeys, Vault, data_key_path};

/// The whole blobs of a state directory, to be looked at.
#[derive(Debug)]
pub struct Peek {
    /// Where blobs lie, and how: those that couldn't be sealed yet, too.
    places: Vec<(PathBuf, Form)>,
}

impl Peek {
    /// A directory's blobs; `keys` where it is sealed.
    ///
    /// # Errors
    /// When it is sealed, and under another key.
    pub fn new(root: &Path, keys: Option<&StorageKeys>) -> Result<Self, StoreError> {
        let path = data_key_path(root);
        let plain = (root.join("blobs").join("sha256"), Form::Plain);
        let sealed = match fs::read(&path) {
            // Not sealed yet: the next start does it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { places: vec![plain] });
            }
            read => read.at("read", &path)?,
        };
        let keys = keys.ok_or_else(|| StoreError::KeyMissing { path: root.to_owned() })?;
        let vault = Vault::unlock(&sealed, keys).ok_or(StoreError::WrongKey { path })?;
        let (whole, _) = sealed_dirs(&root.join(SEALED));
        Ok(Self {
            places: vec![(whole, Form::Sealed(vault)), plain],
        })
    }

    /// Where a whole blob lies, or would.
    #[must_use]
    pub fn path(&self, digest: Digest) -> PathBuf {
        let mut paths = self.places.iter().map(|(dir, _)| dir.join(digest.to_string()));
        let first = paths.next().unwrap_or_default();
        if first.exists() {
            return first;
        }
        paths.find(|path| path.exists()).unwrap_or(first)
    }

    /// What the content of the blob of this name hashes to: the same, unless it is damaged.
    ///
    /// # Errors
    /// When it isn't here, or can't be read.
    pub fn content_digest(&self, digest: Digest) -> Result<Digest, StoreError> {
        for (dir, form) in &self.places {
            let path = dir.join(digest.to_string());
            let file = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.at("open", &path)?,
            };
            let length = form.content_bytes(file.metadata().at("look at", &path)?.len());
            let blob = BlobFile::new(file, form.clone(), digest, length);
            return blob.content_digest().at("read", &path);
        }
        Err(StoreError::BlobMissing { digest })
    }
}
