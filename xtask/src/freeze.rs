//! Released versions of the plugin interface don't change.
//!
//! Every folder of `wit/` but the draft, `wit/next`, is a release: its `SHA256SUMS`, in the format of sha256sum, lists all
//! of its files. A new release is a new folder; a file that is changed, missing or added in an old one is a violation,
//! because plugins that were built against it are in the field and can't be asked.

use crate::workspace;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fs, path::Path};

/// The draft, which may change.
const DRAFT: &str = "next";

/// The list of digests within a frozen folder.
const DIGESTS: &str = "SHA256SUMS";

/// Every change of a frozen file of this workspace, a line each.
pub fn check_workspace() -> Result<Vec<String>> {
    check(&workspace::root()?.join("wit"))
}

fn check(wit: &Path) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    let entries = fs::read_dir(wit).with_context(|| format!("read {}", wit.display()))?;
    for entry in entries {
        let entry = entry?;
        let version = entry.file_name().to_string_lossy().into_owned();
        if version == DRAFT || !entry.path().is_dir() {
            continue;
        }
        violations.extend(check_release(&entry.path(), &version)?);
    }
    violations.sort();
    Ok(violations)
}

fn check_release(folder: &Path, version: &str) -> Result<Vec<String>> {
    let here = format!("wit/{version}");
    let Ok(list) = fs::read_to_string(folder.join(DIGESTS)) else {
        return Ok(vec![format!(
            "{here}/{DIGESTS} is missing: `cd {here} && sha256sum *.wit > {DIGESTS}` freezes it"
        )]);
    };
    let mut violations = Vec::new();
    let mut present = digests(folder)?;
    for line in list.lines() {
        let Some((expected, name)) = line.split_once("  ") else {
            violations.push(format!("{here}/{DIGESTS}: malformed line {line:?}"));
            continue;
        };
        match present.remove(name) {
            None => violations.push(format!("{here}/{name} is frozen and missing")),
            Some(actual) if actual != expected => {
                violations.push(format!(
                    "{here}/{name} is frozen and has changed: changes go to wit/{DRAFT}"
                ));
            }
            Some(_) => {}
        }
    }
    let added = present.into_keys();
    violations.extend(added.map(|name| format!("{here}/{name} was added to a frozen version: it goes to wit/{DRAFT}")));
    Ok(violations)
}

/// Name to SHA-256 of every file but the list itself. A folder within a release has no digest and so is never listed.
fn digests(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut digests = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            digests.insert(format!("{name}/"), String::new());
        } else if name != DIGESTS {
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            digests.insert(name, hex::encode(Sha256::digest(&bytes)));
        }
    }
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A `wit` folder with a draft and one frozen release.
    fn wit() -> TempDir {
        let wit = tempfile::tempdir().unwrap();
        fs::create_dir(wit.path().join("next")).unwrap();
        fs::write(wit.path().join("next/plugin.wit"), "a draft").unwrap();
        fs::create_dir(wit.path().join("0.1.0")).unwrap();
        fs::write(wit.path().join("0.1.0/plugin.wit"), "abc").unwrap();
        // FIPS 180-4's example, "abc": the file as sha256sum would write it.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        fs::write(wit.path().join("0.1.0/SHA256SUMS"), format!("{digest}  plugin.wit\n")).unwrap();
        wit
    }

    fn violations(wit: &TempDir) -> Vec<String> {
        check(wit.path()).unwrap()
    }

    #[test]
    fn a_release_as_it_was_is_fine_and_so_is_any_draft() {
        let wit = wit();
        assert_eq!(violations(&wit), Vec::<String>::new());
        fs::write(wit.path().join("next/plugin.wit"), "another draft").unwrap();
        assert_eq!(violations(&wit), Vec::<String>::new());
    }

    #[test]
    fn a_changed_file_is_a_violation() {
        let wit = wit();
        fs::write(wit.path().join("0.1.0/plugin.wit"), "abd").unwrap();
        assert_eq!(
            violations(&wit),
            ["wit/0.1.0/plugin.wit is frozen and has changed: changes go to wit/next"]
        );
    }

    #[test]
    fn a_missing_and_an_added_file_are_violations() {
        let wit = wit();
        fs::rename(wit.path().join("0.1.0/plugin.wit"), wit.path().join("0.1.0/other.wit")).unwrap();
        assert_eq!(violations(&wit).len(), 2);
    }

    #[test]
    fn a_release_without_digests_or_with_broken_ones_is_a_violation() {
        let wit = wit();
        fs::create_dir(wit.path().join("0.2.0")).unwrap();
        assert!(violations(&wit)[0].starts_with("wit/0.2.0/SHA256SUMS is missing"));
        fs::write(wit.path().join("0.2.0/SHA256SUMS"), "nonsense\n").unwrap();
        assert!(violations(&wit)[0].starts_with("wit/0.2.0/SHA256SUMS: malformed line"));
    }
}
