//! Generations: for each number one folder with a manifest and what else belongs to it, written as a whole or not at all.
//!
//! A folder is made under a temporary name and renamed when everything in it is durable. What the files say is for
//! others; that a generation is active is in the state record, not here.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, write_new};
use crate::error::{At as _, StoreError};

/// The manifest's file name; every generation has it.
pub const MANIFEST: &str = "manifest.cose";

/// Manifests and assignments have limits far below; this one only bounds a read and a write.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// A manifest, an assignment and room for what later formats add.
const MAX_FILES: usize = 8;
const MAX_NAME_BYTES: usize = 64;
const TEMPORARY: &str = "tmp-";

/// The generations of one state directory.
#[derive(Debug, Clone)]
pub struct Generations {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl Generations {
    pub(crate) fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Self, StoreError> {
        let dir = root.join("gens");
        disk.create_dir(&dir).at("create directory", &dir)?;
        let generations = Self { disk, dir };
        if let Err(error) = generations.remove_leftovers() {
            // No generation has such a name, and the next one of that number begins with removing it.
            tracing::warn!(%error, "what a power cut has left of a generation can't be removed");
        }
        Ok(generations)
    }

    /// Writes a generation, durably and as a whole. Writing the same again is no error, so that a try cut short by a
    /// power failure can be repeated.
    ///
    /// # Errors
    /// When it is there with other content, when a file's name or size isn't allowed, or when a step fails; then the
    /// generation is not there.
    pub fn write(&self, generation: u64, manifest: &[u8], extra: &[(&str, &[u8])]) -> Result<(), StoreError> {
        let files: Vec<(&str, &[u8])> = [(MANIFEST, manifest)]
            .into_iter()
            .chain(extra.iter().copied())
            .collect();
        check_files(&files)?;
        let target = self.path(generation);
        if target.exists() {
            return self.check_same(generation, &files);
        }
        let temporary = self.dir.join(format!("{TEMPORARY}{generation}"));
        let written = self.write_folder(&temporary, &files);
        if written.is_err() {
            // Best effort: opening the directory removes leftovers too.
            drop(self.remove_folder(&temporary));
        }
        written?;
        self.disk.rename(&temporary, &target).at("rename", &temporary)?;
        let named = self.disk.sync_dir(&self.dir).at("fsync directory", &self.dir);
        if named.is_err() {
            // A name that may not last must not look like one that does.
            drop(self.disk.rename(&target, &temporary));
        }
        named
    }

    /// Reads a generation's file, [`MANIFEST`] for example.
    ///
    /// # Errors
    /// When it isn't there or can't be read.
    pub fn read(&self, generation: u64, name: &str) -> Result<Vec<u8>, StoreError> {
        check_name(name)?;
        let path = self.path(generation).join(name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::GenerationMissing {
                    generation,
                    name: name.to_owned(),
                });
            }
            opened => opened.at("open", &path)?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).at("read", &path)?;
        Ok(bytes)
    }

    /// The generations there are, in rising order.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn list(&self) -> Result<Vec<u64>, StoreError> {
        let mut found: Vec<u64> = self.names()?.iter().filter_map(|name| name.parse().ok()).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Removes a generation; no error when it isn't there. Its blobs stay for
    /// [`collect_garbage`](crate::Blobs::collect_garbage).
    ///
    /// # Errors
    /// When the system refuses.
    pub fn remove(&self, generation: u64) -> Result<(), StoreError> {
        let path = self.path(generation);
        if !path.exists() {
            return Ok(());
        }
        // Under a temporary name first: a folder that lost half of its files must not look like a generation.
        let temporary = self.dir.join(format!("{TEMPORARY}{generation}"));
        self.remove_folder(&temporary)?;
        self.disk.rename(&path, &temporary).at("rename", &path)?;
        self.disk.sync_dir(&self.dir).at("fsync directory", &self.dir)?;
        self.remove_folder(&temporary)
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.dir.join(generation.to_string())
    }

    fn write_folder(&self, folder: &Path, files: &[(&str, &[u8])]) -> Result<(), StoreError> {
        self.remove_folder(folder)?;
        self.disk.create_dir(folder).at("create directory", folder)?;
        for (name, bytes) in files {
            write_new(self.disk.as_ref(), &folder.join(name), bytes)?;
        }
        self.disk.sync_dir(folder).at("fsync directory", folder)
    }

    fn remove_folder(&self, folder: &Path) -> Result<(), StoreError> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            listed => listed.at("list", folder)?,
        };
        for entry in entries {
            let path = entry.at("list", folder)?.path();
            self.disk.remove_file(&path).at("remove", &path)?;
        }
        self.disk.remove_dir(folder).at("remove", folder)
    }

    fn check_same(&self, generation: u64, files: &[(&str, &[u8])]) -> Result<(), StoreError> {
        let count = fs::read_dir(self.path(generation))
            .at("list", &self.path(generation))?
            .count();
        let same = files
            .iter()
            .all(|(name, bytes)| self.read(generation, name).is_ok_and(|found| found == *bytes));
        if same && count == files.len() {
            Ok(())
        } else {
            Err(StoreError::GenerationDiffers { generation })
        }
    }

    fn remove_leftovers(&self) -> Result<(), StoreError> {
        for name in self.names()? {
            if name.starts_with(TEMPORARY) {
                self.remove_folder(&self.dir.join(name))?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        let entries = fs::read_dir(&self.dir).at("list", &self.dir)?;
        entries
            .map(|entry| Ok(entry.at("list", &self.dir)?.file_name().to_string_lossy().into_owned()))
            .collect()
    }
}

fn check_files(files: &[(&str, &[u8])]) -> Result<(), StoreError> {
    let refuse = |name: &str, reason| {
        Err(StoreError::GenerationFile {
            name: name.to_owned(),
            reason,
        })
    };
    for (index, (name, bytes)) in files.iter().enumerate() {
        check_name(name)?;
        if index >= MAX_FILES {
            return refuse(name, "is one file too many");
        }
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return refuse(name, "is larger than 4 MiB");
        }
        if files.iter().take(index).any(|(other, _)| other == name) {
            return refuse(name, "is given twice");
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), StoreError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    let fits = !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.starts_with('.') && name.chars().all(plain);
    if fits {
        return Ok(());
    }
    Err(StoreError::GenerationFile {
        name: name.to_owned(),
        reason: "isn't made of 1 to 64 of a-z, 0-9, '.', '-', '_'",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::faults::FaultyDisk;

    fn generations(dir: &Path) -> Generations {
        Generations::open(Arc::new(RealDisk), dir).unwrap()
    }

    #[test]
    fn writes_reads_lists_and_removes() {
        let dir = tempfile::tempdir().unwrap();
        let generations = generations(dir.path());
        for generation in [10, 9] {
            generations
                .write(generation, b"manifest", &[("assignment.cose", b"assignment")])
                .unwrap();
        }
        assert_eq!(generations.list().unwrap(), vec![9, 10]);
        assert_eq!(generations.read(9, MANIFEST).unwrap(), b"manifest");
        assert_eq!(generations.read(9, "assignment.cose").unwrap(), b"assignment");
        assert!(matches!(
            generations.read(9, "other"),
            Err(StoreError::GenerationMissing { generation: 9, .. })
        ));
        generations.remove(9).unwrap();
        generations.remove(9).unwrap();
        assert_eq!(generations.list().unwrap(), vec![10]);
    }

    #[test]
    fn the_same_again_is_fine_and_other_content_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let generations = generations(dir.path());
        generations.write(1, b"manifest", &[("a", b"a")]).unwrap();
        generations.write(1, b"manifest", &[("a", b"a")]).unwrap();
        for (manifest, extra) in [(b"Manifest", vec![("a", b"a".as_slice())]), (b"manifest", vec![])] {
            let error = generations.write(1, manifest, &extra).unwrap_err();
            assert!(matches!(error, StoreError::GenerationDiffers { generation: 1 }));
        }
    }

    #[test]
    fn names_that_could_leave_the_folder_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let generations = generations(dir.path());
        for name in ["", "..", "a/b", "../state", ".hidden", "A", MANIFEST] {
            let error = generations.write(1, b"m", &[(name, b"x")]).unwrap_err();
            assert!(matches!(error, StoreError::GenerationFile { .. }), "{name:?}");
        }
        assert!(generations.list().unwrap().is_empty());
    }

    #[test]
    fn whichever_step_fails_a_generation_is_whole_or_not_there() {
        for step in 0.. {
            let dir = tempfile::tempdir().unwrap();
            generations(dir.path()).write(1, b"old", &[("a", b"a")]).unwrap();
            let faulty = FaultyDisk::failing_at(step);
            let result = Generations::open(Arc::new(faulty.clone()), dir.path()).and_then(|generations| {
                generations.write(2, b"new", &[("a", b"a")])?;
                generations.remove(1)
            });
            let after = generations(dir.path());
            for generation in after.list().unwrap() {
                let expected: &[u8] = if generation == 1 { b"old" } else { b"new" };
                assert_eq!(after.read(generation, MANIFEST).unwrap(), expected, "step {step}");
                assert_eq!(after.read(generation, "a").unwrap(), b"a", "step {step}");
            }
            assert!(!after.list().unwrap().is_empty(), "step {step}");
            if !faulty.has_failed() {
                result.unwrap();
                assert_eq!(after.list().unwrap(), vec![2]);
                return;
            }
            after.write(2, b"new", &[("a", b"a")]).unwrap();
        }
    }
}
