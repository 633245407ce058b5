//! What the process that a test is in takes.

/// The anonymous part of this process's proportional set size, in bytes: without files, of which as much counts as happens to be mapped
/// by nobody else. None where the system doesn't tell.
#[must_use]
pub fn anonymous_pss() -> Option<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss_Anon:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}
