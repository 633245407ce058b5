//! Content-addressed blobs: whole and verified under `blobs/sha256`, being fetched under `partial`.
//!
//! A blob gets its final name only after its content was hashed and made durable, so a name that is there is the truth.
//! One process, one fetcher for each digest; the store's lock sees to the first, the caller to the second.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use floorhand_bundle::{BlobRef, Digest};

use crate::disk::{Disk, ensure_dirs};
use crate::error::{At as _, StoreError};
use crate::pages::{BlobFile, Form};
use crate::partial::PartialBlob;
use crate::vault::Vault;

/// Copied at once when unsealed content is taken over.
const COPY_BYTES: usize = 64 * 1024;

/// Blobs of one state directory, within a byte budget.
#[derive(Debug, Clone)]
pub struct Blobs {
    disk: Arc<dyn Disk>,
    whole: PathBuf,
    partial: PathBuf,
    /// Where whole blobs lie that couldn't be sealed yet.
    unsealed: Option<PathBuf>,
    budget_bytes: u64,
    form: Form,
}

/// What a collection removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freed {
    /// Files, partial ones too.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Blobs {
    pub(crate) fn open(disk: Arc<dyn Disk>, root: &Path, budget_bytes: u64) -> Result<Self, StoreError> {
        let blobs = root.join("blobs");
        let (whole, partial) = (blobs.join("sha256"), root.join("partial"));
        ensure_dirs(disk.as_ref(), &[&blobs, &whole, &partial], &blobs)?;
        Ok(Self {
            disk,
            whole,
            partial,
            unsealed: None,
            budget_bytes,
            form: Form::Plain,
        })
    }

    /// The same in sealed files, which lie in `dir` ([`make_sealed_dirs`]). What lies here unsealed is taken over, and what was being fetched is
    /// given up. What can't be taken over, for want of room or for damage, stays readable where it is: what serves goes on.
    pub(crate) fn sealed(self, dir: &Path, vault: Vault) -> Result<Self, StoreError> {
        let (whole, partial) = sealed_dirs(dir);
        let mut sealed = Self {
            whole,
            partial,
            form: Form::Sealed(vault),
            ..self.clone()
        };
        if let Err(error) = self.give_up_partial() {
            tracing::warn!(%error, "what was being fetched unencrypted can't be removed");
        }
        let unsealed = self.list()?;
        let mut left = 0_usize;
        for &(digest, length) in &unsealed {
            if let Err(error) = self.take_over(&sealed, digest, length) {
                tracing::error!(%error, "a blob stays unencrypted; it is tried again at the next start");
                left += 1;
            }
        }
        if left < unsealed.len()
            && let Err(error) = self.disk.sync_dir(&self.whole).at("fsync directory", &self.whole)
        {
            tracing::error!(%error, "unencrypted blobs may be there again after a power cut");
        }
        sealed.unsealed = (left > 0).then_some(self.whole);
        Ok(sealed)
    }

    fn take_over(&self, sealed: &Self, digest: Digest, length: u64) -> Result<(), StoreError> {
        let path = self.path(digest);
        let plain = self.open_file(digest, length)?;
        // Its place in the budget is the one that the unsealed file gives up.
        let mut copy = sealed.open_partial(digest, length)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut offset = 0;
        loop {
            let read = match plain.read_at(offset, &mut buffer).at("read", &path) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => {
                    drop(copy.discard());
                    return Err(error);
                }
            };
            copy.write_at(offset, buffer.get(..read).unwrap_or_default())?;
            offset += read as u64;
        }
        match copy.finish() {
            // Damaged already: it would have been fetched again.
            Ok(()) | Err(StoreError::BlobCorrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        self.disk.remove_file(&path).at("remove", &path)
    }

    fn give_up_partial(&self) -> Result<(), StoreError> {
        let unfinished = entries(&self.partial)?;
        for (path, ..) in &unfinished {
            self.disk.remove_file(path).at("remove", path)?;
        }
        if unfinished.is_empty() {
            return Ok(());
        }
        self.disk.sync_dir(&self.partial).at("fsync directory", &self.partial)
    }

    /// The directories that blobs lie in.
    fn dirs(&self) -> impl Iterator<Item = &Path> {
        let unsealed = self.unsealed.as_deref();
        [self.whole.as_path(), &self.partial].into_iter().chain(unsealed)
    }

    /// A whole blob: where it lies, how, and its length.
    fn find(&self, digest: Digest) -> io::Result<Option<(PathBuf, Form, u64)>> {
        let unsealed = self.unsealed.as_ref().map(|dir| (dir, Form::Plain));
        for (dir, form) in std::iter::once((&self.whole, self.form.clone())).chain(unsealed) {
            let path = dir.join(digest.to_string());
            match fs::metadata(&path) {
                Ok(found) if found.is_file() => {
                    let length = form.content_bytes(found.len());
                    return Ok(Some((path, form, length)));
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Whether the blob is here, whole, with this length in bytes. Its content was verified when it came; [`Blobs::read`]
    /// verifies it again.
    #[must_use]
    pub fn has(&self, digest: Digest, length: u64) -> bool {
        self.find(digest)
            .is_ok_and(|found| found.is_some_and(|(_, _, found)| found == length))
    }

    /// Where the whole blob lies, or would: sealed, if the directory is. [`Blobs::open_file`] reads both.
    #[must_use]
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.whole.join(digest.to_string())
    }

    /// Begins or resumes fetching a blob of `length` bytes; `None` when it is here already.
    ///
    /// # Errors
    /// When the budget or the disk has no room for it, or the system refuses.
    pub fn begin(&self, digest: Digest, length: u64) -> Result<Option<PartialBlob>, StoreError> {
        if self.has(digest, length) {
            return Ok(None);
        }
        let path = self.partial.join(digest.to_string());
        let already = fs::metadata(&path).map_or(0, |found| found.len());
        let used = self.used_bytes()?.saturating_sub(already);
        let available = self.budget_bytes.saturating_sub(used);
        let needed = self.form.file_bytes(length);
        if needed > available {
            return Err(StoreError::OverBudget {
                digest,
                needed,
                available,
                budget: self.budget_bytes,
            });
        }
        self.open_partial(digest, length).map(Some)
    }

    fn open_partial(&self, digest: Digest, length: u64) -> Result<PartialBlob, StoreError> {
        let (path, target) = (self.partial.join(digest.to_string()), self.path(digest));
        PartialBlob::open(
            Arc::clone(&self.disk),
            path,
            target,
            (digest, length),
            self.form.clone(),
        )
    }

    /// Whether blobs have room together: asked before the first of them is fetched. What is fetched of them already has its
    /// full room.
    ///
    /// # Errors
    /// When the budget has no room for all of them, or the system refuses.
    pub fn check_room<'a>(&self, wanted: impl Iterator<Item = &'a BlobRef>) -> Result<(), StoreError> {
        let lengths: BTreeMap<Digest, u64> = wanted.map(|blob| (blob.sha256, blob.length)).collect();
        let lacking: BTreeMap<_, _> = lengths
            .into_iter()
            .filter(|(digest, length)| !self.has(*digest, *length))
            .collect();
        let already =
            |digest: &Digest| fs::metadata(self.partial.join(digest.to_string())).map_or(0, |found| found.len());
        let used = self.used_bytes()?.saturating_sub(lacking.keys().map(already).sum());
        let available = self.budget_bytes.saturating_sub(used);
        let needed = lacking
            .values()
            .fold(0, |sum: u64, length| sum.saturating_add(self.form.file_bytes(*length)));
        if needed <= available {
            return Ok(());
        }
        Err(StoreError::TooLarge {
            blobs: lacking.len(),
            needed,
            available,
            budget: self.budget_bytes,
        })
    }

    /// Keeps content that is in memory as a whole.
    ///
    /// # Errors
    /// As [`Blobs::begin`] and [`PartialBlob::finish`].
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if let Some(mut partial) = self.begin(digest, bytes.len() as u64)? {
            partial.write_at(0, bytes)?;
            partial.finish()?;
        }
        Ok(digest)
    }

    /// Opens a blob for reading after checking its length in bytes.
    ///
    /// # Errors
    /// When it isn't here or has another length.
    pub fn open_file(&self, digest: Digest, length: u64) -> Result<BlobFile, StoreError> {
        let file = self.open_any(digest)?;
        if file.length() != length {
            return Err(StoreError::BlobLength {
                digest,
                expected: length,
                actual: file.length(),
            });
        }
        Ok(file)
    }

    /// Reads a blob of at most `max` bytes and verifies its content again: disks rot.
    ///
    /// # Errors
    /// When it isn't here, is longer than `max`, or is damaged.
    pub fn read(&self, digest: Digest, max: u64) -> Result<Vec<u8>, StoreError> {
        let file = self.open_any(digest)?;
        if file.length() > max {
            return Err(StoreError::BlobLength {
                digest,
                expected: max,
                actual: file.length(),
            });
        }
        let path = self.path(digest);
        let mut bytes = vec![0; usize::try_from(file.length()).unwrap_or(0)];
        file.read_at(0, &mut bytes).at("read", &path)?;
        let actual = Digest::of(&bytes);
        if actual == digest {
            Ok(bytes)
        } else {
            Err(StoreError::BlobCorrupt { digest, path, actual })
        }
    }

    /// Whether the blob is here and its content is what its name says. A damaged one is removed, so that it can be had
    /// again.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn verify(&self, digest: Digest, length: u64) -> Result<bool, StoreError> {
        let file = match self.open_any(digest) {
            Err(StoreError::BlobMissing { .. }) => return Ok(false),
            opened => opened?,
        };
        let whole = file.length() == length && file.content_digest().at("read", &self.path(digest))? == digest;
        if !whole {
            self.remove(digest)?;
        }
        Ok(whole)
    }

    /// Removes one blob, whole or partial; no error when there is none.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn remove(&self, digest: Digest) -> Result<(), StoreError> {
        for dir in self.dirs() {
            let path = dir.join(digest.to_string());
            match self.disk.remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => {
                    done.at("remove", &path)?;
                    self.disk.sync_dir(dir).at("fsync directory", dir)?;
                }
            }
        }
        Ok(())
    }

    /// Removes every blob, whole or partial, that isn't in `keep`. Call it only after the state that no longer needs them
    /// is durable.
    ///
    /// # Errors
    /// When the system refuses; what was removed before stays removed.
    pub fn collect_garbage(&self, keep: &BTreeSet<Digest>) -> Result<Freed, StoreError> {
        let mut freed = Freed::default();
        for dir in self.dirs() {
            for (path, name, length) in entries(dir)? {
                if name.parse::<Digest>().is_ok_and(|digest| keep.contains(&digest)) {
                    continue;
                }
                self.disk.remove_file(&path).at("remove", &path)?;
                freed.files += 1;
                freed.bytes += length;
            }
            self.disk.sync_dir(dir).at("fsync directory", dir)?;
        }
        Ok(freed)
    }

    /// Every whole blob with its length in bytes, in order of digest.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        let mut found = BTreeMap::new();
        let unsealed = self.unsealed.as_ref().map(|dir| (dir, &Form::Plain));
        for (dir, form) in unsealed.into_iter().chain([(&self.whole, &self.form)]) {
            let named = entries(dir)?
                .into_iter()
                .filter_map(|(_, name, bytes)| Some((name.parse().ok()?, form.content_bytes(bytes))));
            found.extend(named);
        }
        Ok(found.into_iter().collect())
    }

    /// How many whole blobs of a sealed directory couldn't be sealed yet.
    #[must_use]
    pub fn unsealed_count(&self) -> usize {
        let left = self.unsealed.as_deref().map(entries);
        left.and_then(Result::ok).map_or(0, |left| left.len())
    }

    /// Bytes that blobs take, those being fetched with their full length.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn used_bytes(&self) -> Result<u64, StoreError> {
        let mut used = 0;
        for dir in self.dirs() {
            used += entries(dir)?.iter().map(|(_, _, length)| length).sum::<u64>();
        }
        Ok(used)
    }

    fn open_any(&self, digest: Digest) -> Result<BlobFile, StoreError> {
        let path = self.path(digest);
        let Some((path, form, _)) = self.find(digest).at("look at", &path)? else {
            return Err(StoreError::BlobMissing { digest });
        };
        let file = File::open(&path).at("open", &path)?;
        let length = form.content_bytes(file.metadata().at("look at", &path)?.len());
        Ok(BlobFile::new(file, form, digest, length))
    }
}

/// Where sealed blobs lie below `dir`, whole ones and those being fetched.
pub(crate) fn sealed_dirs(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("blobs"), dir.join("partial"))
}

/// Sees to it that `dir` is there for them, durably; it lies in `root`.
pub(crate) fn make_sealed_dirs(disk: &dyn Disk, dir: &Path, root: &Path) -> Result<(), StoreError> {
    let (whole, partial) = sealed_dirs(dir);
    ensure_dirs(disk, &[dir], root)?;
    ensure_dirs(disk, &[&whole, &partial], dir)
}

/// The files of a directory: path, name, length.
fn entries(dir: &Path) -> Result<Vec<(PathBuf, String, u64)>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).at("list", dir)? {
        let entry = entry.at("list", dir)?;
        let length = entry.metadata().at("look at", &entry.path())?.len();
        found.push((entry.path(), entry.file_name().to_string_lossy().into_owned(), length));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::faults::FaultyDisk;

    fn blobs(dir: &Path, budget_bytes: u64) -> Blobs {
        Blobs::open(Arc::new(RealDisk), dir, budget_bytes).unwrap()
    }

    #[test]
    fn keeps_reads_lists_and_removes() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path(), 1000);
        let digest = blobs.put(b"weights").unwrap();
        assert!(blobs.has(digest, 7) && !blobs.has(digest, 8));
        assert_eq!(blobs.read(digest, 7).unwrap(), b"weights");
        assert!(matches!(
            blobs.read(digest, 6),
            Err(StoreError::BlobLength {
                expected: 6,
                actual: 7,
                ..
            })
        ));
        assert!(matches!(blobs.open_file(digest, 9), Err(StoreError::BlobLength { .. })));
        assert_eq!(blobs.list().unwrap(), vec![(digest, 7)]);
        assert!(blobs.begin(digest, 7).unwrap().is_none());
        blobs.remove(digest).unwrap();
        blobs.remove(digest).unwrap();
        assert!(matches!(blobs.read(digest, 7), Err(StoreError::BlobMissing { .. })));
    }

    #[test]
    fn rotten_content_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path(), 1000);
        let digest = blobs.put(b"weights").unwrap();
        fs::write(blobs.path(digest), b"weighty").unwrap();
        assert!(matches!(blobs.read(digest, 7), Err(StoreError::BlobCorrupt { .. })));
        assert!(!blobs.verify(digest, 7).unwrap());
        assert!(!blobs.has(digest, 7), "so that it is fetched again");
        assert!(!blobs.verify(digest, 7).unwrap());
        blobs.put(b"weights").unwrap();
        assert!(blobs.verify(digest, 7).unwrap());
    }

    #[test]
    fn the_budget_counts_partial_blobs_with_their_full_length() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path(), 100);
        let first = Digest::of(&[1; 60]);
        drop(blobs.begin(first, 60).unwrap());
        assert_eq!(blobs.used_bytes().unwrap(), 60);
        let error = blobs.begin(Digest::of(&[2; 41]), 41).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::OverBudget {
                    needed: 41,
                    available: 40,
                    budget: 100,
                    ..
                }
            ),
            "{error}"
        );
        assert!(blobs.begin(first, 60).unwrap().is_some(), "resuming takes nothing more");
        let freed = blobs.collect_garbage(&BTreeSet::new()).unwrap();
        assert_eq!(freed, Freed { files: 1, bytes: 60 });
        assert!(blobs.begin(Digest::of(&[2; 41]), 41).unwrap().is_some());
    }

    #[test]
    fn blobs_that_have_no_room_together_are_told_before_any_is_begun() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path(), 100);
        let [first, second, third] = [1, 2, 3].map(|content: u8| BlobRef::of(&[content; 40]));
        blobs.check_room([&first, &second, &first].into_iter()).unwrap();
        let error = blobs.check_room([&first, &second, &third].into_iter()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 blobs need 120 bytes and the budget of 100 has 100 left; raise the budget"
        );
        drop(blobs.begin(first.sha256, 40).unwrap());
        blobs.put(&[2; 40]).unwrap();
        blobs.check_room([&first, &second].into_iter()).unwrap();
        assert!(blobs.check_room([&first, &third].into_iter()).is_err());
    }

    #[test]
    fn garbage_is_what_nobody_keeps() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path(), 1000);
        let (keep, lose) = (blobs.put(b"keep").unwrap(), blobs.put(b"lose it").unwrap());
        let freed = blobs.collect_garbage(&BTreeSet::from([keep])).unwrap();
        assert_eq!(freed, Freed { files: 1, bytes: 7 });
        assert!(blobs.has(keep, 4) && !blobs.has(lose, 7));
    }

    #[test]
    fn whichever_step_fails_the_blob_is_whole_or_not_there() {
        let content = vec![9; 5000];
        let digest = Digest::of(&content);
        for step in 0.. {
            let dir = tempfile::tempdir().unwrap();
            drop(blobs(dir.path(), 10_000));
            let faulty = FaultyDisk::failing_at(step);
            let result =
                Blobs::open(Arc::new(faulty.clone()), dir.path(), 10_000).and_then(|blobs| blobs.put(&content));
            let after = blobs(dir.path(), 10_000);
            if after.has(digest, 5000) {
                assert_eq!(after.read(digest, 5000).unwrap(), content, "step {step}");
            }
            if !faulty.has_failed() {
                result.unwrap();
                assert!(after.has(digest, 5000));
                return;
            }
            result.unwrap_err();
            assert_eq!(after.put(&content).unwrap(), digest, "step {step}: the next try works");
        }
    }

    #[test]
    fn a_full_disk_is_told_as_such() {
        let dir = tempfile::tempdir().unwrap();
        drop(blobs(dir.path(), 1000));
        // Four steps make the directories durable, the fifth creates the file, the sixth reserves its space.
        for step in 4..7 {
            let faulty = FaultyDisk::failing_with(step, io::ErrorKind::StorageFull);
            let blobs = Blobs::open(Arc::new(faulty), dir.path(), 1000).unwrap();
            let error = blobs.put(b"weights").unwrap_err();
            assert!(matches!(error, StoreError::Full { .. }), "step {step}: {error}");
        }
    }
}
