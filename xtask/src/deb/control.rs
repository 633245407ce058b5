//! A package's control data: version, architecture, dependencies, sizes, checksums.
//!
//! Computed from the files themselves. The binary is read as bytes, so that one for another architecture needs no tools
//! of that architecture.

use crate::system::output_of;
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// ELF's `e_machine` and Debian's name for it, of the targets the agent is shipped for.
const MACHINES: &[(u16, &str)] = &[(62, "amd64"), (183, "arm64"), (40, "armhf"), (243, "riscv64")];

/// A semantic version as dpkg orders it: a pre-release comes before its release.
pub fn debian_version(version: &str) -> String {
    version.replacen('-', "~", 1)
}

/// Debian's architecture of a little-endian ELF program, if it is one that the agent is shipped for.
pub fn elf_architecture(program: &[u8]) -> Option<&'static str> {
    let machine = program.strip_prefix(b"\x7fELF")?.get(14..16)?;
    let machine = u16::from_le_bytes(machine.try_into().ok()?);
    let known = MACHINES.iter().find(|(number, _)| *number == machine);
    known.map(|(_, name)| *name)
}

/// `Depends`: the C library in the version whose symbols the program names, the unwinder if it is linked, and what the
/// maintainer scripts run.
pub fn depends(program: &[u8]) -> String {
    let mut depends = match newest_glibc(program) {
        Some((major, minor)) => format!("libc6 (>= {major}.{minor})"),
        None => "libc6".to_owned(),
    };
    if contains(program, b"libgcc_s.so.1") {
        depends.push_str(", libgcc-s1");
    }
    depends + ", passwd"
}

/// The control file.
pub fn control(name: &str, version: &str, architecture: &str, size_kib: u64, depends: &str) -> String {
    format!(
        "Package: {name}\n\
         Version: {version}\n\
         Architecture: {architecture}\n\
         Maintainer: The Floorhand authors\n\
         Installed-Size: {size_kib}\n\
         Depends: {depends}\n\
         Section: net\n\
         Priority: optional\n\
         Homepage: https://github.com/floorhand/floorhand\n\
         Description: runs signed bundles of models and plugins on an edge device\n \
         The agent takes its bundle over MQTT, verifies it, tries it beside the running one, serves it, and rolls it\n \
         back by itself when it does worse. It needs no connection to keep working.\n"
    )
}

/// Every installed file, relative to the tree, in order.
pub fn files(tree: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![tree.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(inside) = path.strip_prefix(tree) {
                files.push(inside.to_owned());
            }
        }
    }
    files.retain(|path| !path.starts_with("DEBIAN"));
    files.sort();
    Ok(files)
}

/// Checksums for `dpkg --verify`.
pub fn md5sums(tree: &Path, files: &[PathBuf]) -> Result<String> {
    let mut command = Command::new("md5sum");
    command.current_dir(tree).arg("--").args(files);
    Ok(output_of(&mut command)? + "\n")
}

/// Kibibytes on disk, each file rounded up.
pub fn installed_kib(tree: &Path, files: &[PathBuf]) -> Result<u64> {
    let mut total = 0;
    for file in files {
        let length = fs::metadata(tree.join(file)).with_context(|| format!("look at {}", file.display()))?;
        total += length.len().div_ceil(1024);
    }
    Ok(total)
}

/// The highest `GLIBC_x.y` among the versions of the symbols the program needs.
fn newest_glibc(program: &[u8]) -> Option<(u32, u32)> {
    let label = b"GLIBC_";
    let starts = program.windows(label.len()).enumerate();
    let versions = starts.filter(|(_, window)| window == label).filter_map(|(start, _)| {
        let rest = program.get(start + label.len()..)?;
        let end = rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
        let (major, minor) = std::str::from_utf8(rest.get(..end)?).ok()?.split_once('.')?;
        let minor = minor.split('.').next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    versions.max()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of a 64-bit little-endian ELF program for this machine.
    fn elf(machine: u16) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(18, 0);
        bytes.extend(machine.to_le_bytes());
        bytes
    }

    #[test]
    fn a_program_says_what_it_is_for() {
        assert_eq!(elf_architecture(&elf(62)), Some("amd64"));
        assert_eq!(elf_architecture(&elf(183)), Some("arm64"));
        assert_eq!(elf_architecture(&elf(3)), None);
        assert_eq!(elf_architecture(b"#!/bin/sh\n"), None);
        assert_eq!(elf_architecture(b"\x7fELF"), None);
    }

    #[test]
    fn the_newest_symbol_decides_about_the_library() {
        let program = b"..GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.4\0GLIBC_PRIVATE\0GLIBC_\0libgcc_s.so.1\0";
        assert_eq!(depends(program), "libc6 (>= 2.34), libgcc-s1, passwd");
        assert_eq!(depends(b"#!/bin/sh\n"), "libc6, passwd");
    }

    #[test]
    fn a_pre_release_comes_before_its_release() {
        assert_eq!(debian_version("1.2.3"), "1.2.3");
        assert_eq!(debian_version("1.2.3-rc.1"), "1.2.3~rc.1");
    }
}
