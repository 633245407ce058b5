//! Licences and notices of everything the program is linked from.
//!
//! MIT, BSD and Apache ask that their notices go with the binary. They are read from the sources cargo has downloaded;
//! a text that several crates share appears once. Crates that are needed for building alone are left out.

use crate::workspace;
use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

/// How files with licences begin, in upper case.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];

/// One text for a package: the list of crates, then the texts they refer to by number.
pub fn third_party(package: &str) -> Result<String> {
    let metadata = resolved()?;
    let mut texts: BTreeMap<String, usize> = BTreeMap::new();
    let mut list = String::new();
    for dependency in linked(&metadata, package)? {
        let folder = dependency
            .manifest_path
            .parent()
            .context("a manifest stands in a folder")?;
        let mut numbers = Vec::new();
        for text in license_texts(folder.as_std_path())? {
            let next = texts.len() + 1;
            numbers.push(*texts.entry(text).or_insert(next));
        }
        let license = dependency.license.as_deref().unwrap_or("see its text");
        write!(list, "{} {}: {license}", dependency.name, dependency.version)?;
        if let Some(repository) = &dependency.repository {
            write!(list, "; {repository}")?;
        }
        for number in numbers {
            write!(list, " [{number}]")?;
        }
        list.push('\n');
    }
    Ok(assemble(package, &list, texts))
}

fn assemble(package: &str, list: &str, texts: BTreeMap<String, usize>) -> String {
    let mut result = format!(
        "{package} holds these libraries. A number in brackets is a text below that came with the library.\n\n{list}"
    );
    let numbered: BTreeMap<usize, String> = texts.into_iter().map(|(text, number)| (number, text)).collect();
    for (number, text) in numbered {
        result.push_str(&format!("\n{}\n[{number}]\n\n{}\n", "-".repeat(80), text.trim_end()));
    }
    result
}

/// The whole graph for this machine's kind, which is what has been downloaded.
fn resolved() -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.current_dir(workspace::root()?);
    command.other_options(vec![
        "--locked".to_owned(),
        "--filter-platform".to_owned(),
        "x86_64-unknown-linux-gnu".to_owned(),
    ]);
    command.exec().context("read what the workspace depends on")
}

/// Packages that aren't ours and that the package reaches through normal dependencies, by name and version.
fn linked<'a>(metadata: &'a Metadata, package: &str) -> Result<Vec<&'a Package>> {
    let resolve = metadata.resolve.as_ref().context("cargo resolved nothing")?;
    let nodes: BTreeMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let start = metadata.packages.iter().find(|candidate| candidate.name == package);
    let mut waiting = vec![&start.with_context(|| format!("no package {package}"))?.id];
    let mut reached = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if !reached.insert(id) {
            continue;
        }
        let dependencies = nodes.get(id).into_iter().flat_map(|node| &node.deps);
        let normal = dependencies.filter(|dependency| {
            let mut kinds = dependency.dep_kinds.iter();
            kinds.any(|kind| kind.kind == DependencyKind::Normal)
        });
        waiting.extend(normal.map(|dependency| &dependency.pkg));
    }
    let foreign = |package: &&Package| reached.contains(&package.id) && package.source.is_some();
    let mut packages: Vec<&Package> = metadata.packages.iter().filter(foreign).collect();
    packages.sort_by_key(|package| (package.name.to_string(), package.version.clone()));
    Ok(packages)
}

/// Texts of licences and notices in a crate's folder, by file name.
fn license_texts(folder: &Path) -> Result<Vec<String>> {
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if path.is_file() && NAMES.iter().any(|start| name.starts_with(start)) {
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let text = String::from_utf8_lossy(&bytes).replace('\r', "");
            texts.insert(name, text);
        }
    }
    Ok(texts.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_texts_of_licences_and_notices_alone() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["LICENSE-MIT", "Copying.txt", "NOTICE", "README.md", "licence"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        fs::create_dir(folder.path().join("LICENSES")).unwrap();
        assert_eq!(
            license_texts(folder.path()).unwrap(),
            ["Copying.txt", "licence", "LICENSE-MIT", "NOTICE"]
        );
    }

    #[test]
    fn a_shared_text_appears_once() {
        let texts = BTreeMap::from([("same".to_owned(), 1), ("other".to_owned(), 2)]);
        let text = assemble("agent", "a 1: MIT [1]\nb 2: MIT [1] [2]\n", texts);
        assert_eq!(text.matches("same").count(), 1);
        assert!(text.find("[1]\n\nsame").unwrap() < text.find("[2]\n\nother").unwrap());
    }
}
