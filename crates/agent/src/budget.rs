//! What the machine lets this agent have: the limits of its control groups (Linux), and how near it is to them.
//!
//! A device that runs several bundles runs an agent for each, and the system's own means say what each may take
//! (`MemoryMax=`, `CPUQuota=` of its unit). The kernel holds the agent to it; here it is only read, so that people see it.
//! Version 2 has one tree of groups. Version 1, which older systems use, has one for each controller, and files of other names.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Where version 2 is mounted, by agreement.
const ROOT: &str = "/sys/fs/cgroup";
/// The files are a few lines long.
const MAX_FILE_BYTES: u64 = 4096;
/// Groups that lie within each other; systemd makes five or six.
const MAX_DEPTH: usize = 32;

/// No limit is as many pages as fit into a signed number: more than this, of whatever size they are.
const NO_LIMIT: u64 = 1 << 62;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The groups this process is in, and those around them, whose limits hold for it, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControlGroup {
    version: Version,
    /// Those of memory, the innermost first.
    memory: Vec<PathBuf>,
    /// Those of processors; of version 2 they are the same.
    processors: Vec<PathBuf>,
}

/// What the agent may have, and has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Budget {
    /// Bytes of memory in use by the agent and what it has started, the kernel's buffers for it among them.
    pub(crate) memory_bytes: u64,
    /// The bytes that it may use; `None`: as many as there are.
    pub(crate) memory_limit_bytes: Option<u64>,
    /// How often the group stood at that limit whose limit it is, since that was made: with it what else is in the group.
    pub(crate) memory_limit_hits: u64,
    /// How many of its processes the kernel ended for want of memory since then.
    pub(crate) ended_for_memory: u64,
    /// The processors' worth of time that it may use, as 0.5; `None`: as much as there is.
    pub(crate) cpu_limit: Option<f64>,
    /// Milliseconds for which it was held back by that limit since then.
    pub(crate) throttled_ms: u64,
}

impl ControlGroup {
    /// This process's own. `None` where there are none, or they can't be read.
    pub(crate) fn own() -> Option<Self> {
        Self::find(&read(Path::new("/proc/self/cgroup"))?, Path::new(ROOT))
    }

    /// The group of this folder, alone.
    #[cfg(test)]
    pub(crate) fn at(folder: &Path) -> Option<Self> {
        Self::find("0::/", folder)
    }

    /// `groups` is what `/proc/self/cgroup` says: lines of `NUMBER:CONTROLLERS:/PATH`, without controllers of version 2.
    fn find(groups: &str, root: &Path) -> Option<Self> {
        let of = |controller: &str| {
            groups.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(":/")?;
                controllers.split(',').any(|name| name == controller).then_some(path)
            })
        };
        let unified = of("").map(|path| within(root, path));
        // Beside version 1 its folder has no controllers.
        if let Some(folders) = unified.filter(|folders| has(folders, "memory.current")) {
            return Some(Self {
                version: Version::Two,
                memory: folders.clone(),
                processors: folders,
            });
        }
        let memory = within(&root.join("memory"), of("memory")?);
        let processors = of("cpu").map(|path| within(&root.join("cpu"), path));
        has(&memory, "memory.usage_in_bytes").then_some(Self {
            version: Version::One,
            memory,
            processors: processors.unwrap_or_default(),
        })
    }

    /// What it may have and has now.
    pub(crate) fn budget(&self) -> Budget {
        let (memory, processors) = (self.memory.first(), self.processors.first());
        // The kernel counts a hit in the group whose limit it is, and not in those inside.
        let limits = self
            .memory
            .iter()
            .filter_map(|folder| Some((self.memory_limit(folder)?, folder)));
        let limiting = limits.min();
        let hits = limiting.map(|(_, folder)| match self.version {
            Version::One => figure(folder, "memory.failcnt").unwrap_or(0),
            Version::Two => named(folder, "memory.events", "max"),
        });
        let used = memory.and_then(|folder| match self.version {
            Version::One => figure(folder, "memory.usage_in_bytes"),
            Version::Two => figure(folder, "memory.current"),
        });
        let ended = memory.map(|folder| match self.version {
            Version::One => named(folder, "memory.oom_control", "oom_kill"),
            Version::Two => named(folder, "memory.events", "oom_kill"),
        });
        let throttled_ms = processors.map(|folder| match self.version {
            Version::One => named(folder, "cpu.stat", "throttled_time") / 1_000_000,
            Version::Two => named(folder, "cpu.stat", "throttled_usec") / 1000,
        });
        let quotas = self.processors.iter().filter_map(|folder| self.quota_millis(folder));
        Budget {
            memory_bytes: used.unwrap_or(0),
            memory_limit_bytes: limiting.map(|(bytes, _)| bytes),
            memory_limit_hits: hits.unwrap_or(0),
            ended_for_memory: ended.unwrap_or(0),
            cpu_limit: quotas.min().map(|millis| f64::from(millis) / 1000.0),
            throttled_ms: throttled_ms.unwrap_or(0),
        }
    }

    /// Bytes that processes of a group may use. `None`: no limit.
    fn memory_limit(&self, folder: &Path) -> Option<u64> {
        match self.version {
            Version::One => figure(folder, "memory.limit_in_bytes").filter(|bytes| *bytes < NO_LIMIT),
            Version::Two => figure(folder, "memory.max"),
        }
    }

    /// Thousandths of a processor that processes of a group may use. `None`: no limit.
    fn quota_millis(&self, folder: &Path) -> Option<u32> {
        let (quota, period) = match self.version {
            // No limit is -1.
            Version::One => (
                figure(folder, "cpu.cfs_quota_us")?,
                figure(folder, "cpu.cfs_period_us")?,
            ),
            // No limit is `max`.
            Version::Two => {
                let text = read(&folder.join("cpu.max"))?;
                let (quota, period) = text.trim().split_once(' ')?;
                (quota.parse().ok()?, period.parse().ok()?)
            }
        };
        u32::try_from(quota.checked_mul(1000)?.checked_div(period)?).ok()
    }
}

/// A group's folder, and those around it up to the root.
fn within(root: &Path, path: &str) -> Vec<PathBuf> {
    let innermost = root.join(path);
    let folders = innermost.ancestors().take_while(|folder| folder.starts_with(root));
    folders.take(MAX_DEPTH).map(Path::to_owned).collect()
}

fn has(folders: &[PathBuf], file: &str) -> bool {
    folders.first().is_some_and(|folder| read(&folder.join(file)).is_some())
}

/// The number that a file of a group is.
fn figure(folder: &Path, file: &str) -> Option<u64> {
    read(&folder.join(file))?.trim().parse().ok()
}

/// A figure of a file of lines of `NAME FIGURE`; 0 where it isn't.
fn named(folder: &Path, file: &str, name: &str) -> u64 {
    let lines = read(&folder.join(file)).unwrap_or_default();
    let figure = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    lines.lines().find_map(figure).unwrap_or(0)
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = fs::File::open(path).ok()?;
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_unit_with_limits_of_its_own_and_of_its_slice() {
        let slice = "system.slice/system-floorhand\\x2dagent.slice";
        let unit = format!("{slice}/floorhand-agent@line-2.service");
        let file = |name: &str| format!("{unit}/{name}");
        let root = group(&[
            ("memory.current", "9000000000\n"),
            (&format!("{slice}/memory.max"), "200000000\n"),
            (&format!("{slice}/memory.events"), "max 21\noom_kill 5\n"),
            (&format!("{slice}/cpu.max"), "25000 100000\n"),
            (&file("memory.current"), "50000000\n"),
            (&file("memory.max"), "300000000\n"),
            (
                &file("memory.events"),
                "low 0\nhigh 0\nmax 17\noom 3\noom_kill 2\noom_group_kill 0\n",
            ),
            (&file("cpu.max"), "150000 100000\n"),
            (
                &file("cpu.stat"),
                "usage_usec 9\nnr_throttled 4\nthrottled_usec 2500999\n",
            ),
        ]);
        let group = ControlGroup::find(&format!("1:cpu:/other\n0::/{unit}\n"), root.path()).unwrap();
        let expected = Budget {
            memory_bytes: 50_000_000,
            memory_limit_bytes: Some(200_000_000),
            memory_limit_hits: 21,
            ended_for_memory: 2,
            cpu_limit: Some(0.25),
            throttled_ms: 2500,
        };
        assert_eq!(group.budget(), expected);
    }

    #[test]
    fn without_limits_and_without_groups() {
        let files = [
            ("memory.current", "5000\n"),
            ("memory.max", "max\n"),
            ("cpu.max", "max 100000\n"),
        ];
        let root = group(&files);
        let budget = ControlGroup::find("0::/\n", root.path()).unwrap().budget();
        let expected = Budget {
            memory_bytes: 5000,
            ..Budget::default()
        };
        assert_eq!(budget, expected);
        assert_eq!(ControlGroup::find("4:memory:/a\n0::/elsewhere\n", root.path()), None);
        assert_eq!(ControlGroup::find("4:memory:/a\n", root.path()), None);
    }

    #[test]
    fn a_unit_of_an_older_system() {
        let (slice, unit) = ("system.slice", "system.slice/floorhand-agent.service");
        let root = group(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            (&format!("memory/{slice}/memory.limit_in_bytes"), "400000000\n"),
            (&format!("memory/{slice}/memory.failcnt"), "99\n"),
            (&format!("memory/{unit}/memory.usage_in_bytes"), "50000000\n"),
            (&format!("memory/{unit}/memory.limit_in_bytes"), "300000000\n"),
            (&format!("memory/{unit}/memory.failcnt"), "17\n"),
            (
                &format!("memory/{unit}/memory.oom_control"),
                "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            ),
            ("cpu/cpu.cfs_quota_us", "-1\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            (&format!("cpu/{unit}/cpu.cfs_quota_us"), "50000\n"),
            (&format!("cpu/{unit}/cpu.cfs_period_us"), "100000\n"),
            (
                &format!("cpu/{unit}/cpu.stat"),
                "nr_periods 9\nthrottled_time 2500999999\n",
            ),
            // Version 2 is mounted beside it, for the service manager alone.
            (&format!("{unit}/cgroup.procs"), "1\n"),
        ]);
        let groups = format!("4:memory:/{unit}\n2:cpu,cpuacct:/{unit}\n1:name=systemd:/{unit}\n0::/{unit}\n");
        let expected = Budget {
            memory_bytes: 50_000_000,
            memory_limit_bytes: Some(300_000_000),
            memory_limit_hits: 17,
            ended_for_memory: 2,
            cpu_limit: Some(0.5),
            throttled_ms: 2500,
        };
        assert_eq!(ControlGroup::find(&groups, root.path()).unwrap().budget(), expected);
        // A controller may be missing: then there is no limit of it.
        let expected = Budget {
            cpu_limit: None,
            throttled_ms: 0,
            ..expected
        };
        let groups = format!("4:memory:/{unit}\n");
        assert_eq!(ControlGroup::find(&groups, root.path()).unwrap().budget(), expected);
    }
}
