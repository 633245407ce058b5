//! A blob's file, read and written at any place: as it is, or page by page sealed.
//!
//! A sealed file is a row of pages of 4,096 bytes of content, each with its nonce and tag; the last may be shorter. A
//! page is sealed for its blob and its place, so none can stand for another. A page that doesn't open reads as zeros, as
//! does one that was never written: what a blob is worth is said by its digest, which whoever reads it checks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use floorhand_bundle::{Digest, Hasher};

use crate::disk::DiskFile;
use crate::vault::{SEAL_BYTES, Vault};

/// Content in one page: 1 % more space for nonces and tags, and little to read again around a small piece.
const PAGE_BYTES: u64 = 4096;
const RECORD_BYTES: u64 = PAGE_BYTES + SEAL_BYTES as u64;

/// Read at once while a whole blob is hashed: large enough to cost few calls, small beside a device's memory.
const HASH_BUFFER_BYTES: usize = 64 * 1024;

/// How a blob's content lies in its file.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// As it is.
    Plain,
    /// In sealed pages.
    Sealed(Vault),
}

impl Form {
    /// Bytes of the file that holds `length` bytes of content.
    pub(crate) fn file_bytes(&self, length: u64) -> u64 {
        match self {
            Self::Plain => length,
            Self::Sealed(_) => length.saturating_add(length.div_ceil(PAGE_BYTES).saturating_mul(SEAL_BYTES as u64)),
        }
    }

    /// Bytes of content in a file of `bytes`.
    pub(crate) fn content_bytes(&self, bytes: u64) -> u64 {
        match self {
            Self::Plain => bytes,
            Self::Sealed(_) => bytes.saturating_sub(bytes.div_ceil(RECORD_BYTES) * SEAL_BYTES as u64),
        }
    }
}

/// A blob's content, to be read at any place.
#[derive(Debug)]
pub struct BlobFile {
    file: File,
    form: Form,
    digest: Digest,
    length: u64,
}

impl BlobFile {
    pub(crate) fn new(file: File, form: Form, digest: Digest, length: u64) -> Self {
        Self {
            file,
            form,
            digest,
            length,
        }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads into `buffer` from `offset` on; fewer bytes than it takes only at the end.
    ///
    /// # Errors
    /// When the system refuses, or the file is shorter than it was.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        let buffer = buffer.get_mut(..count).unwrap_or_default();
        match &self.form {
            Form::Plain => self.file.read_exact_at(buffer, offset)?,
            Form::Sealed(vault) => {
                let mut done = 0;
                while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
                    let (index, skip) = place(offset + done as u64);
                    let page = self.page(vault, index)?;
                    let from = page.get(skip..).unwrap_or_default();
                    let taken = from.len().min(rest.len());
                    rest.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                    if taken == 0 {
                        break;
                    }
                    done += taken;
                }
            }
        }
        Ok(count)
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// As [`BlobFile::read_at`], and when the blob ends before.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read_at(offset, buffer)? == buffer.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// What the content hashes to, as far as it goes.
    pub(crate) fn content_digest(&self) -> io::Result<Digest> {
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; HASH_BUFFER_BYTES];
        let mut offset = 0;
        loop {
            let read = self.read_at(offset, &mut buffer)?;
            if read == 0 {
                return Ok(hasher.finish());
            }
            hasher.update(buffer.get(..read).unwrap_or_default());
            offset += read as u64;
        }
    }

    /// Writes a piece through `writer`, which has the same file.
    pub(crate) fn write_at(&self, writer: &mut dyn DiskFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let vault = match &self.form {
            Form::Plain => return writer.write_at(offset, bytes),
            Form::Sealed(_) if bytes.is_empty() => return Ok(()),
            Form::Sealed(vault) => vault,
        };
        let (first, _) = place(offset);
        let mut sealed =
            Vec::with_capacity(self.form.file_bytes(bytes.len() as u64) as usize + 2 * RECORD_BYTES as usize);
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            let (index, skip) = place(at);
            let page_bytes = self.page_bytes(index);
            let (piece, after) = rest.split_at(rest.len().min(page_bytes.saturating_sub(skip)));
            if piece.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "beyond the end of the blob",
                ));
            }
            let page = if piece.len() == page_bytes {
                vault.seal(&self.purpose(index), piece)?
            } else {
                let mut page = self.page(vault, index)?;
                if let Some(to) = page.get_mut(skip..skip + piece.len()) {
                    to.copy_from_slice(piece);
                }
                vault.seal(&self.purpose(index), &page)?
            };
            sealed.extend_from_slice(&page);
            at += piece.len() as u64;
            rest = after;
        }
        writer.write_at(first * RECORD_BYTES, &sealed)
    }

    /// A page's content; zeros when it doesn't open.
    fn page(&self, vault: &Vault, index: u64) -> io::Result<Vec<u8>> {
        let length = self.page_bytes(index);
        let mut sealed = vec![0; length + SEAL_BYTES];
        self.file.read_exact_at(&mut sealed, index * RECORD_BYTES)?;
        Ok(vault
            .unseal(&self.purpose(index), &sealed)
            .unwrap_or_else(|| vec![0; length]))
    }

    fn page_bytes(&self, index: u64) -> usize {
        usize::try_from(self.length.saturating_sub(index * PAGE_BYTES).min(PAGE_BYTES)).unwrap_or(0)
    }

    fn purpose(&self, index: u64) -> Vec<u8> {
        [
            b"floorhand/v1/blob".as_slice(),
            self.digest.as_bytes(),
            &index.to_be_bytes(),
        ]
        .concat()
    }
}

/// The page that has the byte at `offset`, and where in it.
fn place(offset: u64) -> (u64, usize) {
    (offset / PAGE_BYTES, (offset % PAGE_BYTES) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::{Blobs, make_sealed_dirs};
    use crate::disk::RealDisk;
    use crate::vault::{StorageKey, StorageKeys};
    use proptest::prelude::*;
    use std::path::Path;
    use std::sync::Arc;

    fn sealed(dir: &Path, budget_bytes: u64) -> Blobs {
        let keys = StorageKeys {
            current: StorageKey::from_bytes([3; 32]),
            before: None,
        };
        let vault = Vault::open(&RealDisk, &dir.join("key"), &keys).unwrap();
        let blobs = Blobs::open(Arc::new(RealDisk), dir, budget_bytes).unwrap();
        make_sealed_dirs(&RealDisk, &dir.join("sealed"), dir).unwrap();
        blobs.sealed(&dir.join("sealed"), vault).unwrap()
    }

    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sealed")).unwrap();
        dir
    }

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 7 + at / 256) as u8).collect()
    }

    #[test]
    fn lengths_of_files_and_content_belong_together() {
        let dir = directory();
        let keys = StorageKeys {
            current: StorageKey::from_bytes([3; 32]),
            before: None,
        };
        let form = Form::Sealed(Vault::open(&RealDisk, &dir.path().join("key"), &keys).unwrap());
        for length in [0, 1, 4095, 4096, 4097, 8191, 8192, 8193, 1 << 29] {
            assert_eq!(form.content_bytes(form.file_bytes(length)), length);
        }
        assert_eq!((form.file_bytes(4096), form.file_bytes(4097)), (4136, 4177));
    }

    #[test]
    fn nothing_of_the_content_is_in_the_files() {
        let dir = directory();
        let secret = b"the weights of a model".repeat(1000);
        let blobs = sealed(dir.path(), 1 << 20);
        let digest = Digest::of(&secret);
        let mut partial = blobs.begin(digest, secret.len() as u64).unwrap().unwrap();
        partial.write_at(0, &secret[..9000]).unwrap();
        let half = std::fs::read(dir.path().join("sealed/partial").join(digest.to_string())).unwrap();
        partial.write_at(9000, &secret[9000..]).unwrap();
        partial.finish().unwrap();
        let whole = std::fs::read(blobs.path(digest)).unwrap();
        for file in [half, whole] {
            assert!(!file.windows(7).any(|window| window == b"weights"));
        }
        assert_eq!(blobs.read(digest, 1 << 20).unwrap(), secret);
        assert_eq!(blobs.list().unwrap(), vec![(digest, 22_000)]);
        assert_eq!(blobs.used_bytes().unwrap(), 22_000 + 6 * 40);
    }

    #[test]
    fn a_changed_page_is_found_and_its_neighbours_are_not_lost() {
        let dir = directory();
        let blobs = sealed(dir.path(), 1 << 20);
        let bytes = content(10_000);
        let digest = blobs.put(&bytes).unwrap();
        let mut file = std::fs::read(blobs.path(digest)).unwrap();
        file[5000] ^= 1;
        std::fs::write(blobs.path(digest), &file).unwrap();
        let read = blobs.open_file(digest, 10_000).unwrap();
        let mut found = vec![1; 10_000];
        read.read_at(0, &mut found).unwrap();
        assert_eq!((&found[..4096], &found[8192..]), (&bytes[..4096], &bytes[8192..]));
        assert_eq!(found[4096..8192], [0; 4096]);
        assert!(!blobs.verify(digest, 10_000).unwrap());
        assert!(!blobs.has(digest, 10_000), "so that it is fetched again");
    }

    #[test]
    fn pages_can_not_change_places() {
        let dir = directory();
        let blobs = sealed(dir.path(), 1 << 20);
        let digest = blobs
            .put(&[content(4096), content(8192)[1..4097].to_vec()].concat())
            .unwrap();
        let file = std::fs::read(blobs.path(digest)).unwrap();
        let (first, second) = file.split_at(4136);
        std::fs::write(blobs.path(digest), [second, first].concat()).unwrap();
        assert!(!blobs.verify(digest, 8192).unwrap());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn pieces_of_any_size_in_any_order_make_the_whole(
            length in 1_usize..30_000,
            cuts in proptest::collection::vec(0_usize..30_000, 0..8),
            order in any::<u64>(),
        ) {
            let dir = directory();
            let blobs = sealed(dir.path(), 1 << 20);
            let bytes = content(length);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % length).chain([0, length]).collect();
            cuts.sort_unstable();
            let mut pieces: Vec<(usize, usize)> = cuts.windows(2).map(|cut| (cut[0], cut[1])).collect();
            let middle = order as usize % pieces.len();
            pieces.rotate_left(middle);
            let mut partial = blobs.begin(Digest::of(&bytes), length as u64).unwrap().unwrap();
            for (from, to) in pieces {
                partial.write_at(from as u64, &bytes[from..to]).unwrap();
                prop_assert_eq!(partial.read_at(from as u64, to - from).unwrap(), &bytes[from..to]);
            }
            partial.finish().unwrap();
            prop_assert_eq!(blobs.read(Digest::of(&bytes), 1 << 20).unwrap(), bytes);
        }
    }
}
