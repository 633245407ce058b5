//! Killing the own process at one of its durable steps, chosen by name: what a test of the whole program uses to hit each of
//! them. It is in no program that is shipped: only builds for debugging have it, and there nobody asks for it but tests.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Disk, DiskFile, RealDisk};
use crate::spool::{Medium, MediumFile, RealMedium};

/// When in the step the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    /// Of a write, when half of it is done; of other steps, before.
    Half,
    After,
}

/// The step at which the process kills itself, and a note of every step up to there. Clones share the count.
#[derive(Clone)]
pub struct KillPoint {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    step: String,
    number: u64,
    moment: Moment,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    counts: BTreeMap<String, u64>,
    note: Option<File>,
}

impl fmt::Debug for KillPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KillPoint({}#{})", self.shared.step, self.shared.number)
    }
}

impl KillPoint {
    /// Reads `STEP#NUMBER#MOMENT`, for example `rename state#3#after` or `write spool#1#half`: the process ends at the third
    /// rename of the state record. Each step's name is added to `note` as it begins. An empty text ends nothing.
    #[must_use]
    pub fn parse(text: &str, root: &Path, note: Option<File>) -> Self {
        let mut parts = text.split('#');
        let step = parts.next().unwrap_or_default().to_owned();
        let number = parts.next().and_then(|number| number.parse().ok()).unwrap_or(1);
        let moment = match parts.next() {
            Some("after") => Moment::After,
            Some("half") => Moment::Half,
            _ => Moment::Before,
        };
        let counts = BTreeMap::new();
        let shared = Shared {
            root: root.to_owned(),
            step,
            number,
            moment,
            seen: Mutex::new(Seen { counts, note }),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Does a step, if the process lives to do it. `half` does a part of it.
    fn step<T>(
        &self,
        operation: &str,
        path: &Path,
        half: impl FnOnce(),
        whole: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let shared = &self.shared;
        let name = format!("{operation} {}", kind(&shared.root, path));
        let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let count = seen.counts.entry(name.clone()).or_default();
        *count += 1;
        let is_it = *count == shared.number && name == shared.step;
        if let Some(note) = &mut seen.note {
            drop(writeln!(note, "{name}"));
            if is_it {
                drop(writeln!(note, "killed"));
            }
        }
        drop(seen);
        if !is_it {
            return whole();
        }
        match shared.moment {
            Moment::Before => {}
            Moment::Half => half(),
            Moment::After => drop(whole()),
        }
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal is on its way.
        loop {
            std::thread::park();
        }
    }
}

/// What a file of the state directory is.
fn kind(root: &Path, path: &Path) -> &'static str {
    let below = path.strip_prefix(root).unwrap_or(path);
    let mut names = below.iter().map(|name| name.to_string_lossy().into_owned());
    let first = names.next().unwrap_or_default();
    if first == "sealed" {
        return kind_of_sealed(names);
    }
    match (first.as_str(), names.count()) {
        ("", _) => "root",
        ("roots", 1..) => "trust root",
        ("roots", _) => "roots",
        ("blobs", 2..) => "blob",
        ("blobs", _) => "blobs",
        ("partial", 1..) => "partial",
        ("partial", _) => "partials",
        ("gens", 2..) => "manifest",
        ("gens", 1) => "generation",
        ("gens", _) => "generations",
        ("state.tmp" | "state", _) => "state",
        ("format.tmp" | "format", _) => "format",
        ("spool.redb", _) => "spool",
        _ => "other",
    }
}

/// What a file of the folder of sealed content is.
fn kind_of_sealed(mut names: impl Iterator<Item = String>) -> &'static str {
    let first = names.next().unwrap_or_default();
    match (first.as_str(), names.count()) {
        ("", _) => "sealed",
        ("key.tmp" | "key", _) => "sealed/key",
        ("blobs", 1..) => "sealed/blob",
        ("blobs", _) => "sealed/blobs",
        ("partial", 1..) => "sealed/partial",
        ("partial", _) => "sealed/partials",
        _ => "sealed/other",
    }
}

impl Disk for KillPoint {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.step("mkdir", path, || {}, || RealDisk.create_dir(path))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inner = self.step("create", path, || {}, || RealDisk.create(path))?;
        Ok(self.file(path, inner))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(path, RealDisk.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename", to, || {}, || RealDisk.rename(from, to))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step("fsync", path, || {}, || RealDisk.sync_dir(path))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.step("remove", path, || {}, || RealDisk.remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.step("remove", path, || {}, || RealDisk.remove_dir(path))
    }
}

impl KillPoint {
    fn file(&self, path: &Path, inner: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(Watched {
            inner,
            path: path.to_owned(),
            point: self.clone(),
        })
    }
}

/// A file whose steps are counted.
#[derive(Debug)]
struct Watched<T> {
    inner: T,
    path: PathBuf,
    point: KillPoint,
}

impl DiskFile for Watched<Box<dyn DiskFile>> {
    fn allocate(&mut self, length: u64) -> io::Result<()> {
        let (point, inner) = (self.point.clone(), &mut self.inner);
        point.step("allocate", &self.path, || {}, || inner.allocate(length))
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (point, inner) = (self.point.clone(), Mutex::new(&mut self.inner));
        let write = |bytes: &[u8]| {
            let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.write_at(offset, bytes)
        };
        point.step("write", &self.path, || drop(write(half(bytes))), || write(bytes))
    }

    fn sync(&mut self) -> io::Result<()> {
        let (point, inner) = (self.point.clone(), &mut self.inner);
        point.step("fsync", &self.path, || {}, || inner.sync())
    }
}

impl Medium for KillPoint {
    fn open(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        Ok(Box::new(Watched {
            inner: RealMedium.open(path)?,
            path: path.to_owned(),
            point: self.clone(),
        }))
    }
}

impl MediumFile for Watched<Box<dyn MediumFile>> {
    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, bytes)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.point
            .step("allocate", &self.path, || {}, || self.inner.set_length(length))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let write = |bytes: &[u8]| self.inner.write_at(offset, bytes);
        self.point
            .step("write", &self.path, || drop(write(half(bytes))), || write(bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.point.step("fsync", &self.path, || {}, || self.inner.sync())
    }
}

fn half(bytes: &[u8]) -> &[u8] {
    bytes.get(..bytes.len() / 2).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_a_state_directory_has_its_name() {
        let root = Path::new("/var/lib/floorhand");
        for (path, expected) in [
            ("", "root"),
            ("blobs", "blobs"),
            ("blobs/sha256/00", "blob"),
            ("partial/00", "partial"),
            ("gens/1/manifest.cose", "manifest"),
            ("roots", "roots"),
            ("roots/2.tmp", "trust root"),
            ("sealed", "sealed"),
            ("sealed/key.tmp", "sealed/key"),
            ("sealed/blobs", "sealed/blobs"),
            ("sealed/blobs/00", "sealed/blob"),
            ("sealed/partial", "sealed/partials"),
            ("sealed/partial/00", "sealed/partial"),
            ("spool.redb", "spool"),
        ] {
            assert_eq!(kind(root, &root.join(path)), expected, "{path}");
        }
    }
}
