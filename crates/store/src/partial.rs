//! A blob being fetched: pieces are written where they belong, in any order and as often as they come.
//!
//! Which pieces are there isn't remembered on disk: whoever resumes reads them back and hashes them against the signed
//! list, which holds after any crash. The file has its full length from the start, so a missing piece reads as zeros.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use floorhand_bundle::Digest;

use crate::disk::{Disk, DiskFile, sync_parent};
use crate::error::{At as _, StoreError};
use crate::pages::{BlobFile, Form};

/// A blob that isn't whole yet. Dropping it keeps what was written, for a later [`begin`](crate::Blobs::begin).
#[derive(Debug)]
pub struct PartialBlob {
    disk: Arc<dyn Disk>,
    writer: Box<dyn DiskFile>,
    reader: BlobFile,
    path: PathBuf,
    target: PathBuf,
    digest: Digest,
    length: u64,
    resumed: bool,
}

impl PartialBlob {
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        target: PathBuf,
        (digest, length): (Digest, u64),
        form: Form,
    ) -> Result<Self, StoreError> {
        let file_bytes = form.file_bytes(length);
        let resumed = path.metadata().is_ok_and(|found| found.len() == file_bytes);
        let mut writer = if resumed {
            disk.open(&path).at("open", &path)?
        } else {
            disk.create(&path).at("create", &path)?
        };
        if !resumed && let Err(error) = writer.allocate(file_bytes).at("reserve space for", &path) {
            drop(disk.remove_file(&path));
            return Err(error);
        }
        let reader = BlobFile::new(File::open(&path).at("open", &path)?, form, digest, length);
        Ok(Self {
            disk,
            writer,
            reader,
            path,
            target,
            digest,
            length,
            resumed,
        })
    }

    /// The name it will have.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its full length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether there may be pieces from before: read them with [`PartialBlob::read_at`] and hash them.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Writes a piece that was verified. The same piece may be written again.
    ///
    /// # Errors
    /// When it lies outside of the blob, when the disk is full, or when the system refuses.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.check_inside(offset, bytes.len() as u64)?;
        self.reader
            .write_at(self.writer.as_mut(), offset, bytes)
            .at("write", &self.path)
    }

    /// Reads `count` bytes that may or may not have been written before.
    ///
    /// # Errors
    /// When they lie outside of the blob, or when the system refuses.
    pub fn read_at(&self, offset: u64, count: usize) -> Result<Vec<u8>, StoreError> {
        self.check_inside(offset, count as u64)?;
        let mut bytes = vec![0; count];
        self.reader.read_at(offset, &mut bytes).at("read", &self.path)?;
        Ok(bytes)
    }

    /// Verifies the whole, makes it durable and gives it its name.
    ///
    /// # Errors
    /// When the content isn't what the digest says, or a step fails. In both cases the partial file is gone: content
    /// that is wrong as a whole has no good part, and after a failed fsync what reads well may not be on the disk.
    pub fn finish(mut self) -> Result<(), StoreError> {
        let verified = self.verify().and_then(|()| self.writer.sync().at("fsync", &self.path));
        if let Err(error) = verified {
            drop(self.disk.remove_file(&self.path));
            return Err(error);
        }
        self.disk.rename(&self.path, &self.target).at("rename", &self.path)?;
        let named = sync_parent(self.disk.as_ref(), &self.target);
        if named.is_err() {
            // A name that may not last must not look like one that does.
            drop(self.disk.remove_file(&self.target));
        }
        named
    }

    /// Gives up what was fetched.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn discard(self) -> Result<(), StoreError> {
        self.disk.remove_file(&self.path).at("remove", &self.path)
    }

    fn verify(&self) -> Result<(), StoreError> {
        let actual = self.reader.content_digest().at("read", &self.path)?;
        if actual != self.digest {
            return Err(StoreError::BlobCorrupt {
                digest: self.digest,
                path: self.path.clone(),
                actual,
            });
        }
        Ok(())
    }

    fn check_inside(&self, offset: u64, count: u64) -> Result<(), StoreError> {
        match offset.checked_add(count) {
            Some(end) if end <= self.length => Ok(()),
            _ => Err(StoreError::OutsideBlob {
                digest: self.digest,
                length: self.length,
                offset,
                count,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::Blobs;
    use crate::disk::RealDisk;

    fn blobs(dir: &std::path::Path) -> Blobs {
        Blobs::open(Arc::new(RealDisk), dir, 1 << 20).unwrap()
    }

    #[test]
    fn pieces_come_in_any_order_and_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..200_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let digest = Digest::of(&content);
        let mut partial = blobs(dir.path()).begin(digest, 200_000).unwrap().unwrap();
        assert!(!partial.is_resumed());
        partial.write_at(100_000, &content[100_000..]).unwrap();
        partial.write_at(100_000, &content[100_000..]).unwrap();
        drop(partial);
        let mut partial = blobs(dir.path()).begin(digest, 200_000).unwrap().unwrap();
        assert!(partial.is_resumed());
        assert_eq!(partial.read_at(100_000, 100_000).unwrap(), &content[100_000..]);
        assert_ne!(partial.read_at(0, 100_000).unwrap(), &content[..100_000]);
        partial.write_at(0, &content[..100_000]).unwrap();
        partial.finish().unwrap();
        assert_eq!(blobs(dir.path()).read(digest, 200_000).unwrap(), content);
        assert_eq!(blobs(dir.path()).used_bytes().unwrap(), 200_000);
    }

    #[test]
    fn wrong_content_gets_no_name_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let digest = Digest::of(b"right");
        let mut partial = blobs.begin(digest, 5).unwrap().unwrap();
        partial.write_at(0, b"wrong").unwrap();
        assert!(matches!(partial.finish(), Err(StoreError::BlobCorrupt { .. })));
        assert!(!blobs.has(digest, 5));
        assert_eq!(blobs.used_bytes().unwrap(), 0);
    }

    #[test]
    fn pieces_outside_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut partial = blobs(dir.path()).begin(Digest::of(b"right"), 5).unwrap().unwrap();
        for (offset, count) in [(0, 6), (5, 1), (u64::MAX, 2)] {
            let piece = vec![0; count];
            assert!(matches!(
                partial.write_at(offset, &piece),
                Err(StoreError::OutsideBlob { .. })
            ));
            assert!(matches!(
                partial.read_at(offset, count),
                Err(StoreError::OutsideBlob { .. })
            ));
        }
        partial.write_at(5, b"").unwrap();
        partial.discard().unwrap();
        assert_eq!(blobs(dir.path()).used_bytes().unwrap(), 0);
    }

    #[test]
    fn the_empty_blob_works() {
        let dir = tempfile::tempdir().unwrap();
        let digest = blobs(dir.path()).put(b"").unwrap();
        assert!(blobs(dir.path()).has(digest, 0));
    }

    #[test]
    fn another_length_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"right");
        drop(blobs(dir.path()).begin(digest, 9).unwrap());
        let partial = blobs(dir.path()).begin(digest, 5).unwrap().unwrap();
        assert!(!partial.is_resumed());
        assert_eq!(blobs(dir.path()).used_bytes().unwrap(), 5);
    }
}
