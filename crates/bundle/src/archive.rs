//! `.fhb` files: a bundle on a disk or a USB stick. A tar archive of `manifest.cose`, the blobs it names, and
//! possibly the assignment of the device it is carried to, with the trust roots that the device hasn't got yet.
//!
//! Nothing in an archive is trusted for being in it: the manifest is opened under a trust root like one that came over
//! the network, and each blob is held against the digest that is its name.

use crate::digest::{Digest, Hasher};
use crate::manifest::MAX_MANIFEST_BYTES;
use crate::root::MAX_ROOT_BYTES;
use crate::root_chain::MAX_ROOTS;
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

const MANIFEST: &str = "manifest.cose";
const ASSIGNMENT: &str = "assignment.cose";
const BLOBS: &str = "blobs/sha256/";
/// What stands before and behind the version of a trust root.
const ROOT: (&str, &str) = ("roots/", ".cose");
/// The most bytes that are read of an archive: twice the largest blob.
const MAX_ARCHIVE_BYTES: u64 = 2 * crate::chunks::MAX_BLOB_BYTES;
/// The largest document in an archive: a manifest; assignments are far smaller.
const MAX_DOCUMENT_BYTES: u64 = MAX_MANIFEST_BYTES as u64;
/// Read at once of a blob that isn't held in memory.
const PIECE_BYTES: usize = 64 * 1024;

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
    /// A manifest or an assignment that is longer than any can be.
    #[error("bundle archive has a {name} of {length} bytes; none has more than {MAX_DOCUMENT_BYTES}")]
    Document {
        /// Its name in the archive.
        name: &'static str,
        /// Its length in bytes.
        length: u64,
    },
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
        self.write_with_roots(&[], to)
    }

    /// Writes the archive with the trust roots, by version, that the device it is carried to has to take first.
    pub fn write_with_roots(&self, roots: &[(u64, &[u8])], to: impl Write) -> Result<(), ArchiveError> {
        let mut tar = tar::Builder::new(to);
        for (version, root) in roots {
            append(&mut tar, &format!("{}{version}{}", ROOT.0, ROOT.1), root)?;
        }
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
        let mut tar = tar::Archive::new(from.take(MAX_ARCHIVE_BYTES));
        // Raw, as in `walk`: a sparse file would be as long as it says, whatever the archive holds of it.
        for entry in tar.entries()?.raw(true) {
            let mut entry = entry?;
            let name = file_name(&entry)?;
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

    /// Reads manifest and assignment alone, wherever in the archive they stand: `blobs` stays empty. For whoever mustn't
    /// hold a model in memory; [`Archive::stream_blobs`] hands them over afterwards.
    pub fn read_documents(from: impl Read + Seek) -> Result<Self, ArchiveError> {
        let mut archive = Self::default();
        walk::<ArchiveError>(from, |name, length, content| {
            match name {
                Name::Manifest => archive.manifest = read_document(MANIFEST, length, content)?,
                Name::Assignment => archive.assignment = Some(read_document(ASSIGNMENT, length, content)?),
                Name::Blob(_) | Name::Root(_) => {}
            }
            Ok(())
        })?;
        if archive.manifest.is_empty() {
            return Err(ArchiveError::NoManifest);
        }
        Ok(archive)
    }

    /// Reads the trust roots alone, by rising version. Each is unverified.
    pub fn read_roots(from: impl Read + Seek) -> Result<Vec<Vec<u8>>, ArchiveError> {
        let mut roots = BTreeMap::new();
        walk::<ArchiveError>(from, |name, length, content| {
            if let Name::Root(version) = name {
                if length > MAX_ROOT_BYTES as u64 || roots.len() >= MAX_ROOTS {
                    return Err(ArchiveError::Entry(format!("{}{version}{}", ROOT.0, ROOT.1)));
                }
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                roots.insert(version, bytes);
            }
            Ok(())
        })?;
        Ok(roots.into_values().collect())
    }

    /// Hands each blob to `take`: its name, its length in bytes, and its content, to be read in pieces or passed over.
    /// The content isn't held against the name, and ends early in an archive that was cut off.
    pub fn stream_blobs<E: From<ArchiveError>>(
        from: impl Read + Seek,
        mut take: impl FnMut(Digest, u64, &mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        walk(from, |name, length, content| match name {
            Name::Blob(digest) => take(digest, length, content),
            Name::Manifest | Name::Assignment | Name::Root(_) => Ok(()),
        })
    }

    /// Holds every blob against its name, without keeping it.
    pub fn check_blobs(from: impl Read + Seek) -> Result<(), ArchiveError> {
        let mut piece = vec![0; PIECE_BYTES];
        Self::stream_blobs::<ArchiveError>(from, |expected, _, content| {
            let mut hasher = Hasher::default();
            loop {
                match content.read(&mut piece)? {
                    0 => break,
                    read => hasher.update(piece.get(..read).unwrap_or_default()),
                }
            }
            let actual = hasher.finish();
            if actual == expected {
                Ok(())
            } else {
                Err(ArchiveError::Blob { expected, actual })
            }
        })
    }

    fn take(&mut self, name: String, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        match Name::parse(name)? {
            Name::Manifest => self.manifest = bytes,
            Name::Assignment => self.assignment = Some(bytes),
            Name::Root(_) => {}
            Name::Blob(expected) => {
                let actual = Digest::of(&bytes);
                if actual != expected {
                    return Err(ArchiveError::Blob { expected, actual });
                }
                self.blobs.insert(expected, bytes);
            }
        }
        Ok(())
    }
}

/// What an entry is, by its name.
enum Name {
    Manifest,
    Assignment,
    Root(u64),
    Blob(Digest),
}

impl Name {
    fn parse(name: String) -> Result<Self, ArchiveError> {
        match name.as_str() {
            MANIFEST => Ok(Self::Manifest),
            ASSIGNMENT => Ok(Self::Assignment),
            other => {
                let blob = other.strip_prefix(BLOBS).and_then(|hex| hex.parse().ok());
                let root = || other.strip_prefix(ROOT.0)?.strip_suffix(ROOT.1)?.parse().ok();
                blob.map(Self::Blob)
                    .or_else(|| root().map(Self::Root))
                    .ok_or(ArchiveError::Entry(name))
            }
        }
    }
}

/// Goes through an archive from its beginning, without reading what `take` doesn't read.
fn walk<E: From<ArchiveError>>(
    mut from: impl Read + Seek,
    mut take: impl FnMut(Name, u64, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    check_length(&mut from)?;
    let mut archive = tar::Archive::new(from);
    // Raw: long names and sparse files, which no bundle has, would be put together in memory.
    for entry in archive.entries_with_seek().map_err(ArchiveError::from)?.raw(true) {
        let mut entry = entry.map_err(ArchiveError::from)?;
        let name = file_name(&entry)?;
        let length = entry.size();
        take(Name::parse(name)?, length, &mut entry)?;
    }
    Ok(())
}

/// The entry's name, if it is a plain file.
fn file_name(entry: &tar::Entry<'_, impl Read>) -> Result<String, ArchiveError> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    if entry.header().entry_type().is_file() {
        Ok(name)
    } else {
        Err(ArchiveError::Entry(name))
    }
}

/// Leaves the archive at its beginning.
fn check_length(from: &mut impl Seek) -> Result<(), ArchiveError> {
    if from.seek(SeekFrom::End(0))? > MAX_ARCHIVE_BYTES {
        return Err(ArchiveError::TooLong);
    }
    from.rewind()?;
    Ok(())
}

fn read_document(name: &'static str, length: u64, content: &mut dyn Read) -> Result<Vec<u8>, ArchiveError> {
    if length > MAX_DOCUMENT_BYTES {
        return Err(ArchiveError::Document { name, length });
    }
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes)?;
    Ok(bytes)
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
    use std::io::Cursor;

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
    fn roots_ride_along_and_change_nothing_else() {
        let mut bytes = Vec::new();
        let roots: [(u64, &[u8]); 2] = [(10, b"ten"), (9, b"nine")];
        archive().write_with_roots(&roots, &mut bytes).unwrap();
        assert_eq!(Archive::read(&bytes[..]).unwrap(), archive());
        let read = Archive::read_roots(Cursor::new(&bytes)).unwrap();
        assert_eq!(read, [b"nine".to_vec(), b"ten".to_vec()]);
        assert_eq!(
            Archive::read_documents(Cursor::new(&bytes)).unwrap().manifest,
            archive().manifest
        );
        Archive::check_blobs(Cursor::new(&bytes)).unwrap();
        let long = vec![0; MAX_ROOT_BYTES + 1];
        bytes.clear();
        archive().write_with_roots(&[(2, &long)], &mut bytes).unwrap();
        assert!(matches!(
            Archive::read_roots(Cursor::new(&bytes)),
            Err(ArchiveError::Entry(_))
        ));
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
        assert!(matches!(
            Archive::read_documents(Cursor::new(&bytes)),
            Err(ArchiveError::Entry(_))
        ));
    }

    #[test]
    fn blobs_come_piece_by_piece_wherever_they_stand() {
        let archive = archive();
        let mut tar = tar::Builder::new(Vec::new());
        for (digest, bytes) in &archive.blobs {
            append(&mut tar, &format!("{BLOBS}{digest}"), bytes).unwrap();
        }
        append(&mut tar, ASSIGNMENT, b"assigned").unwrap();
        append(&mut tar, MANIFEST, b"signed").unwrap();
        for bytes in [tar.into_inner().unwrap(), written(&archive)] {
            let documents = Archive::read_documents(Cursor::new(&bytes)).unwrap();
            let expected = Archive {
                blobs: BTreeMap::new(),
                ..archive.clone()
            };
            assert_eq!(documents, expected);
            let mut blobs = BTreeMap::new();
            Archive::stream_blobs::<ArchiveError>(Cursor::new(&bytes), |digest, length, content| {
                let mut bytes = Vec::new();
                // The rest is passed over.
                content.take(4).read_to_end(&mut bytes)?;
                blobs.insert(digest, (length, bytes));
                Ok(())
            })
            .unwrap();
            let beginnings = archive.blobs.iter();
            let beginnings: BTreeMap<_, _> = beginnings
                .map(|(digest, bytes)| (*digest, (bytes.len() as u64, bytes[..4].to_vec())))
                .collect();
            assert_eq!(blobs, beginnings);
            Archive::check_blobs(Cursor::new(&bytes)).unwrap();
        }
    }

    #[test]
    fn damage_that_is_streamed_is_named() {
        let bytes = written(&archive());
        let at = bytes.windows(6).position(|window| window == b"plugin").unwrap();
        let mut bent = bytes.clone();
        bent[at] ^= 1;
        let found = Archive::check_blobs(Cursor::new(&bent));
        assert!(matches!(found, Err(ArchiveError::Blob { .. })), "{found:?}");
        let found = Archive::check_blobs(Cursor::new(&bytes[..at + 3]));
        assert!(matches!(found, Err(ArchiveError::Blob { .. })), "{found:?}");
        let empty = Archive::read_documents(Cursor::new(b""));
        assert!(matches!(empty, Err(ArchiveError::NoManifest)), "{empty:?}");
    }

    #[test]
    fn what_would_fill_the_memory_is_refused() {
        let mut tar = tar::Builder::new(Vec::new());
        append(&mut tar, MANIFEST, &vec![0; MAX_MANIFEST_BYTES + 1]).unwrap();
        let bytes = tar.into_inner().unwrap();
        let found = Archive::read_documents(Cursor::new(&bytes));
        assert!(matches!(found, Err(ArchiveError::Document { .. })), "{found:?}");
        let mut tar = tar::Builder::new(Vec::new());
        // Needs an entry that holds the name alone.
        append(&mut tar, &"long/".repeat(100), b"x").unwrap();
        let bytes = tar.into_inner().unwrap();
        let found = Archive::read_documents(Cursor::new(&bytes));
        assert!(matches!(found, Err(ArchiveError::Entry(_))), "{found:?}");
    }

    #[test]
    fn a_sparse_file_is_refused_by_every_reader() {
        let mut header = tar::Header::new_gnu();
        header.set_path(MANIFEST).unwrap();
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.set_size(0);
        // Says that it is 256 MiB of nothing, in an archive of 2 KiB.
        let end = "00002000000";
        let gnu = header.as_gnu_mut().unwrap();
        gnu.realsize[..11].copy_from_slice(end.as_bytes());
        gnu.sparse[0].offset[..11].copy_from_slice(end.as_bytes());
        gnu.sparse[0].numbytes[..11].copy_from_slice(b"00000000000");
        header.set_cksum();
        let mut tar = tar::Builder::new(Vec::new());
        tar.append(&header, &b""[..]).unwrap();
        let bytes = tar.into_inner().unwrap();
        let found = Archive::read(&bytes[..]);
        assert!(
            matches!(found, Err(ArchiveError::Entry(_))),
            "{:?}",
            found.map(|read| read.manifest.len())
        );
        assert!(matches!(
            Archive::read_documents(Cursor::new(&bytes)),
            Err(ArchiveError::Entry(_))
        ));
    }
}
