//! What the machine lets this agent have: the limits of its control group (Linux, version 2), and how near it is to them.
//!
//! A device that runs several bundles runs an agent for each, and the system's own means say what each may take
//! (`MemoryMax=`, `CPUQuota=` of its unit). The kernel holds the agent to it; here it is only read, so that people see it.

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

/// The group this process is in, and those around it, whose limits hold for it, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControlGroup {
    /// The innermost first.
    folders: Vec<PathBuf>,
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
    /// This process's own. `None` where there is no version 2, or it can't be read.
    pub(crate) fn own() -> Option<Self> {
        Self::find(&read(Path::new("/proc/self/cgroup"))?, Path::new(ROOT))
    }

    /// The group of this folder, alone.
    #[cfg(test)]
    pub(crate) fn at(folder: &Path) -> Option<Self> {
        Self::find("0::/", folder)
    }

    /// `groups` is what `/proc/self/cgroup` says.
    fn find(groups: &str, root: &Path) -> Option<Self> {
        let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let innermost = root.join(path);
        // Beside version 1 its folder has no controllers.
        read(&innermost.join("memory.current"))?;
        let folders = innermost.ancestors().take_while(|folder| folder.starts_with(root));
        Some(Self {
            folders: folders.take(MAX_DEPTH).map(Path::to_owned).collect(),
        })
    }

    /// What it may have and has now.
    pub(crate) fn budget(&self) -> Budget {
        let own = |file: &str| self.folders.first().and_then(|folder| read(&folder.join(file)));
        let events = own("memory.events").unwrap_or_default();
        let limit = |folder: &PathBuf| read(&folder.join("memory.max"))?.trim().parse::<u64>().ok();
        // The kernel counts a hit in the group whose limit it is, and not in those inside.
        let limits = self.folders.iter().filter_map(|folder| Some((limit(folder)?, folder)));
        let limiting = limits.min();
        let hits = limiting.and_then(|(_, folder)| read(&folder.join("memory.events")));
        let processors = own("cpu.stat").unwrap_or_default();
        let quotas = self
            .folders
            .iter()
            .filter_map(|folder| quota_millis(&read(&folder.join("cpu.max"))?));
        Budget {
            memory_bytes: own("memory.current")
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0),
            memory_limit_bytes: limiting.map(|(bytes, _)| bytes),
            memory_limit_hits: hits.map_or(0, |events| named(&events, "max")),
            ended_for_memory: named(&events, "oom_kill"),
            cpu_limit: quotas.min().map(|millis| f64::from(millis) / 1000.0),
            throttled_ms: named(&processors, "throttled_usec") / 1000,
        }
    }
}

/// Thousandths of a processor, of `QUOTA PERIOD` in microseconds. `None`: no limit.
fn quota_millis(text: &str) -> Option<u32> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    u32::try_from(quota.checked_mul(1000)?.checked_div(period)?).ok()
}

/// A figure of lines of `NAME FIGURE`; 0 where it isn't.
fn named(lines: &str, name: &str) -> u64 {
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
}
