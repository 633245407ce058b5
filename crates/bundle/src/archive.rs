//! `.fhb` files: a bundle on a disk or a USB stick. A tar archive of `manifest.cose`, the blobs it names, and
//! possibly the assignment of the device it is carried to.
//!
//! Nothing in an archive is trusted for being in it: the manifest is opened under a trust root like one that came over
//! the network, and each blob is held against the digest that is its name.

use crate::digest::Digest;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};

const MANIFEST: &str = "manifest.cose";
const ASSIGNMENT: &str = "assignment.cose";
const BLOBS: &str = "blobs/sha256/";
/// The most bytes that are read of an archive: twice the largest blob.
const MAX_ARCHIVE_BYTES: u64 = 2 * crate::chunks::MAX_BLOB_BYTES;

/// Why an archive can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file or device it is read from.
    #[error("bundle archive can't be read or written: {0}")]
    Io(#[from] io::Error),
    /// An entry that no bundle has.
    #[error("bundle archive has an entry {0:?}; this is not a .fhb file, or it was made by a newer version")]
    Entry(String),
    /// A blob that isn't what its name says.
    #[error("bundle archive is damaged: blob {expected} has digest {actual}; copy it again")]
    Blob {
        /// Its name.
        expected: Digest,
        /// Its digest.
        actual: Digest,
    },
    /// No manifest.
    #[error("bundle archive has no manifest.cose; this is not a .fhb file")]
    NoManifest,
    /// Too long.
    #[error("bundle archive is longer than {MAX_ARCHIVE_BYTES} bytes")]
    TooLong,
}

/// A bundle as a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Archive {
    /// The manifest's envelope.
    pub manifest: Vec<u8>,
    /// The assignment's envelope, where the archive is meant for one device.
    pub assignment: Option<Vec<u8>>,
    /// Blobs by digest.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
}

impl Archive {
    /// Writes the archive. The same bundle always gives the same bytes.
    pub fn write(&self, to: impl Write) -> Result<(), ArchiveError> {
        let mut tar = tar::Builder::new(to);
        append(&mut tar, MANIFEST, &self.manifest)?;
        if let Some(assignment) = &self.assignment {
            append(&mut tar, ASSIGNMENT, assignment)?;
        }
        for (digest, bytes) in &self.blobs {
            append(&mut tar, &format!("{BLOBS}{digest}"), bytes)?;
        }
        tar.into_inner()?.flush()?;
        Ok(())
    }

    /// Reads an archive into memory, checking every blob against its name.
    pub fn read(from: impl Read) -> Result<Self, ArchiveError> {
        let mut archive = Self::default();
        let mut left = MAX_ARCHIVE_BYTES;
        for entry in tar::Archive::new(from.take(MAX_ARCHIVE_BYTES)).entries()? {
            let mut entry = entry?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            left = left.checked_sub(entry.size()).ok_or(ArchiveError::TooLong)?;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            archive.take(name, bytes)?;
        }
        if archive.manifest.is_empty() {
            return Err(ArchiveError::NoManifest);
        }
        Ok(archive)
    }

    fn take(&mut self, name: String, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        if name == MANIFEST {
            self.manifest = bytes;
            return Ok(());
        }
        if name == ASSIGNMENT {
            self.assignment = Some(bytes);
            return Ok(());
        }
        let Some(expected) = name.strip_prefix(BLOBS).and_then(|hex| hex.parse::<Digest>().ok()) else {
            return Err(ArchiveError::Entry(name));
        };
        let actual = Digest::of(&bytes);
        if actual != expected {
            return Err(ArchiveError::Blob { expected, actual });
        }
        self.blobs.insert(expected, bytes);
        Ok(())
    }
}

fn append(tar: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    tar.append_data(&mut header, name, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Archive {
        let blobs = [b"model".to_vec(), b"plugin".to_vec()]
            .map(|bytes| (Digest::of(&bytes), bytes))
            .into();
        Archive {
            manifest: b"signed".to_vec(),
            assignment: Some(b"assigned".to_vec()),
            blobs,
        }
    }

    fn written(archive: &Archive) -> Vec<u8> {
        let mut bytes = Vec::new();
        archive.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Archive::read(&written(&archive())[..]).unwrap(), archive());
    }

    #[test]
    fn damage_is_named() {
        let bytes = written(&archive());
        let at = bytes.windows(5).position(|window| window == b"model").unwrap();
        let mut bent = bytes.clone();
        bent[at] ^= 1;
        assert!(matches!(Archive::read(&bent[..]), Err(ArchiveError::Blob { .. })));
        assert!(Archive::read(&bytes[..700]).is_err());
        assert!(matches!(Archive::read(&[][..]), Err(ArchiveError::NoManifest)));
        let mut odd = archive();
        odd.blobs.clear();
        let mut tar = tar::Builder::new(Vec::new());
        append(&mut tar, "../../etc/passwd", b"x").unwrap_err();
        append(&mut tar, "etc/passwd", b"x").unwrap();
        let bytes = tar.into_inner().unwrap();
        assert!(matches!(Archive::read(&bytes[..]), Err(ArchiveError::Entry(name)) if name == "etc/passwd"));
    }
}
