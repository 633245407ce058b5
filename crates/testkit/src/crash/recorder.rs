//! The disk that records.

use floorhand_store::{Disk, DiskFile, RealDisk};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A file or a directory, however it is called. 0 is the recorded directory itself.
pub(super) type Node = usize;
/// A name in a directory.
pub(super) type Name = (Node, String);

/// A durable step, or what the caller says between two of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    /// A directory was made.
    CreateDir(Entry),
    /// A file was made, empty.
    Create(Entry),
    /// A file that was there was emptied.
    Truncate(Content),
    /// A file got a length.
    Allocate(Content, u64),
    /// Bytes were written.
    Write(Content, u64, Vec<u8>),
    /// A file was made durable.
    SyncFile(Content),
    /// Something got another name.
    Rename(Entry, Entry),
    /// A directory's names were made durable.
    SyncDir(Content),
    /// A name was removed.
    Remove(Entry),
    /// The caller's own.
    Mark(T),
}

/// A name and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub(super) name: Name,
    pub(super) node: Node,
}

/// A file's or a directory's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content(pub(super) Node);

struct Log<T> {
    root: PathBuf,
    nodes: BTreeMap<PathBuf, Node>,
    next: Node,
    steps: Vec<Step<T>>,
}

/// Does on the real disk what it is told, below one directory, and writes it down. Clones share the record.
pub struct Recorder<T> {
    log: Arc<Mutex<Log<T>>>,
}

impl<T> Clone for Recorder<T> {
    fn clone(&self) -> Self {
        Self {
            log: Arc::clone(&self.log),
        }
    }
}

impl<T> fmt::Debug for Recorder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder({} steps)", self.lock().steps.len())
    }
}

impl<T: Clone> Recorder<T> {
    /// Records what is done below `root`, which is there and empty.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        let log = Log {
            root: root.to_owned(),
            nodes: BTreeMap::from([(root.to_owned(), 0)]),
            next: 1,
            steps: Vec::new(),
        };
        Self {
            log: Arc::new(Mutex::new(log)),
        }
    }

    /// Records what is done below `root`, in which there is something already: the record begins with steps that make it,
    /// durably. Returns how many those are, too.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn over(root: &Path) -> io::Result<(Self, usize)> {
        let recorder = Self::new(root);
        let mut log = recorder.lock();
        log.take_in(root)?;
        let count = log.steps.len();
        drop(log);
        Ok((recorder, count))
    }

    /// Writes down something of the caller's own, at this place.
    pub fn mark(&self, mark: T) {
        self.lock().steps.push(Step::Mark(mark));
    }

    /// All that was recorded.
    #[must_use]
    pub fn steps(&self) -> Vec<Step<T>> {
        self.lock().steps.clone()
    }
}

impl<T> Recorder<T> {
    fn lock(&self) -> MutexGuard<'_, Log<T>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Log<T> {
    fn node(&self, path: &Path) -> io::Result<Node> {
        self.nodes
            .get(path)
            .copied()
            .ok_or_else(|| io::Error::other(format!("{} was not made by the recorder", path.display())))
    }

    fn name(&self, path: &Path) -> io::Result<Name> {
        let parent = path.parent().unwrap_or(&self.root);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((self.node(parent)?, name))
    }

    fn entry(&self, path: &Path) -> io::Result<Entry> {
        Ok(Entry {
            name: self.name(path)?,
            node: self.node(path)?,
        })
    }

    /// Adds the steps that make what is in `dir`.
    fn take_in(&mut self, dir: &Path) -> io::Result<()> {
        let dir_node = self.node(dir)?;
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let entry = self.new_entry(&path)?;
            let content = Content(entry.node);
            if path.is_dir() {
                self.steps.push(Step::CreateDir(entry));
                self.take_in(&path)?;
            } else {
                self.steps.push(Step::Create(entry));
                self.steps.push(Step::Write(content, 0, std::fs::read(&path)?));
                self.steps.push(Step::SyncFile(content));
            }
        }
        self.steps.push(Step::SyncDir(Content(dir_node)));
        Ok(())
    }

    fn new_entry(&mut self, path: &Path) -> io::Result<Entry> {
        let node = self.next;
        self.next += 1;
        self.nodes.insert(path.to_owned(), node);
        self.entry(path)
    }
}

impl<T: Send + 'static> Disk for Recorder<T> {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut log = self.lock();
        RealDisk.create_dir(path)?;
        if !log.nodes.contains_key(path) {
            let entry = log.new_entry(path)?;
            log.steps.push(Step::CreateDir(entry));
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut log = self.lock();
        let inner = RealDisk.create(path)?;
        let (node, step) = match log.nodes.get(path) {
            Some(&node) => (node, Step::Truncate(Content(node))),
            None => {
                let entry = log.new_entry(path)?;
                (entry.node, Step::Create(entry))
            }
        };
        log.steps.push(step);
        Ok(self.file(inner, node))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let node = self.lock().node(path)?;
        Ok(self.file(RealDisk.open(path)?, node))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut log = self.lock();
        RealDisk.rename(from, to)?;
        let old = log.entry(from)?;
        let moved: Vec<PathBuf> = log
            .nodes
            .keys()
            .filter(|path| path.starts_with(from))
            .cloned()
            .collect();
        for path in moved {
            if let (Some(node), Ok(below)) = (log.nodes.remove(&path), path.strip_prefix(from)) {
                let path = if below.as_os_str().is_empty() {
                    to.to_owned()
                } else {
                    to.join(below)
                };
                log.nodes.insert(path, node);
            }
        }
        let new = log.entry(to)?;
        log.steps.push(Step::Rename(old, new));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut log = self.lock();
        let node = log.node(path)?;
        log.steps.push(Step::SyncDir(Content(node)));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut log = self.lock();
        RealDisk.remove_file(path)?;
        let entry = log.entry(path)?;
        log.nodes.remove(path);
        log.steps.push(Step::Remove(entry));
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut log = self.lock();
        RealDisk.remove_dir(path)?;
        let entry = log.entry(path)?;
        log.nodes.remove(path);
        log.steps.push(Step::Remove(entry));
        Ok(())
    }
}

impl<T: Send + 'static> Recorder<T> {
    fn file(&self, inner: Box<dyn DiskFile>, node: Node) -> Box<dyn DiskFile> {
        Box::new(RecordedFile {
            inner,
            node,
            recorder: self.clone(),
        })
    }
}

struct RecordedFile<T> {
    inner: Box<dyn DiskFile>,
    node: Node,
    recorder: Recorder<T>,
}

impl<T> fmt::Debug for RecordedFile<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordedFile({})", self.node)
    }
}

impl<T: Send + 'static> DiskFile for RecordedFile<T> {
    fn allocate(&mut self, length: u64) -> io::Result<()> {
        self.inner.allocate(length)?;
        let step = Step::Allocate(Content(self.node), length);
        self.recorder.lock().steps.push(step);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, bytes)?;
        let step = Step::Write(Content(self.node), offset, bytes.to_vec());
        self.recorder.lock().steps.push(step);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let step = Step::SyncFile(Content(self.node));
        self.recorder.lock().steps.push(step);
        Ok(())
    }
}
