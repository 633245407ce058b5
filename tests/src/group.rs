//! A control group of the kernel's with a budget, made as a service manager makes one: whoever is in it is held to it.

use crate::say;
use anyhow::{Context as _, Result};
use rustix::process::getpid;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Where control groups are mounted, by agreement.
const ROOT: &str = "/sys/fs/cgroup";
/// The length of time in which a share of the processor is counted, in microseconds.
const PERIOD_US: u64 = 100_000;
/// Set where control groups can be made: then a test that can't make one fails instead of being skipped.
const REQUIRE: &str = "FLOORHAND_REQUIRE_CONTROL_GROUPS";

static MADE: AtomicU32 = AtomicU32::new(0);

/// A group, for as long as this lives and processes are in it.
#[derive(Debug)]
pub struct Group {
    folders: Vec<PathBuf>,
}

impl Group {
    /// Makes one that may have so many bytes of memory and so many hundredths of a processor. None where that isn't allowed: it takes the
    /// superuser.
    ///
    /// # Errors
    /// When there is none and `FLOORHAND_REQUIRE_CONTROL_GROUPS` is set.
    pub fn new(memory_bytes: u64, percent: u64) -> Result<Option<Self>> {
        match Self::version_2(memory_bytes, percent).or_else(|_| Self::version_1(memory_bytes, percent)) {
            Ok(group) => Ok(Some(group)),
            Err(error) if std::env::var_os(REQUIRE).is_some() => Err(error.context(format!("{REQUIRE} is set"))),
            Err(error) => {
                say(&format!("SKIPPED: no control group can be made here: {error:#}"));
                Ok(None)
            }
        }
    }

    fn version_2(memory_bytes: u64, percent: u64) -> Result<Self> {
        let group = Self::empty(&[ROOT])?;
        group.set("memory.max", &memory_bytes.to_string())?;
        group.set("cpu.max", &format!("{} {PERIOD_US}", PERIOD_US * percent / 100))?;
        Ok(group)
    }

    fn version_1(memory_bytes: u64, percent: u64) -> Result<Self> {
        let group = Self::empty(&["/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu"])?;
        group.set("memory.limit_in_bytes", &memory_bytes.to_string())?;
        group.set("cpu.cfs_period_us", &PERIOD_US.to_string())?;
        group.set("cpu.cfs_quota_us", &(PERIOD_US * percent / 100).to_string())?;
        Ok(group)
    }

    /// A group in each of these trees.
    fn empty(trees: &[&str]) -> Result<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("floorhand-test-{}-{number}", getpid().as_raw_nonzero());
        let mut group = Self { folders: Vec::new() };
        for tree in trees {
            let folder = Path::new(tree).join(&name);
            fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
            group.folders.push(folder);
        }
        Ok(group)
    }

    /// Writes a file that the kernel has put into one of the folders; it is never made here.
    fn set(&self, file: &str, text: &str) -> Result<()> {
        let mut paths = self.folders.iter().map(|folder| folder.join(file));
        let path = paths
            .find(|path| path.exists())
            .with_context(|| format!("{:?} have no {file}", self.folders))?;
        fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// The files that take the number of a process that is to be in it.
    pub(crate) fn entrances(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|folder| folder.join("cgroup.procs")).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in &self.folders {
            // It can go once its last process is gone, which takes a moment.
            for _ in 0..50 {
                if fs::remove_dir(folder).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
