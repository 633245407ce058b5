//! The tests that the threat model names: a claim whose test was renamed or removed is a claim that nothing shows.

#![expect(clippy::unwrap_used, reason = "a test's own failures")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A test's path (crate or file, modules, name) and the file it stands in.
type Tests = BTreeMap<Vec<String>, PathBuf>;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The modules of a file, as Rust has them from its folder on: `src/a/mod.rs` and `src/a.rs` are `a`.
fn modules(folder: &Path, file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(folder).unwrap().with_extension("");
    let parts = inside.components().map(|part| part.as_os_str().to_str().unwrap());
    parts
        .filter(|part| !["mod", "lib", "main"].contains(part))
        .map(str::to_owned)
        .collect()
}

/// The names of a file's tests, each behind the inline module that it is in.
fn tests_in(text: &str) -> Vec<Vec<String>> {
    let (mut found, mut inline, mut is_test) = (Vec::new(), None, false);
    for line in text.lines() {
        let code = line.trim_start();
        if let Some(name) = line
            .strip_prefix("mod ")
            .or_else(|| line.strip_prefix("pub(crate) mod "))
        {
            inline = name.strip_suffix(" {").map(str::to_owned).or(inline);
        }
        is_test |= code.starts_with("#[test]") || code.starts_with("#[tokio::test");
        let function = code.strip_prefix("async ").unwrap_or(code).strip_prefix("fn ");
        if let (true, Some(rest)) = (is_test, function) {
            let name = rest.split('(').next().unwrap().to_owned();
            found.push(inline.clone().into_iter().chain([name]).collect());
            is_test = false;
        }
    }
    found
}

fn all_tests() -> Tests {
    let root = workspace();
    let mut folders = vec![(root.join("tests/tests"), None), (root.join("xtask/tests"), None)];
    for entry in fs::read_dir(root.join("crates")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().replace('-', "_");
        folders.push((path.join("src"), Some(name.clone())));
        folders.push((path.join("tests"), Some(name)));
    }
    let mut tests = Tests::new();
    for (folder, name) in folders.into_iter().filter(|(folder, _)| folder.is_dir()) {
        let mut files = Vec::new();
        sources(&folder, &mut files);
        for file in files {
            let above: Vec<String> = name.iter().cloned().chain(modules(&folder, &file)).collect();
            for test in tests_in(&fs::read_to_string(&file).unwrap()) {
                tests.insert([above.clone(), test].concat(), file.clone());
            }
        }
    }
    tests
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Every name in the document that has to be a test's, a test file's or a folder's: all of the column that says what shows
/// a claim, and elsewhere what has the form of one.
fn named(document: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut is_shown = false;
    for line in document.lines() {
        let last = line.trim_matches('|').rsplit('|').next().unwrap().trim();
        match last {
            _ if !line.starts_with('|') => is_shown = false,
            "shown by" | "mounted by" => is_shown = true,
            _ if is_shown => names.extend(quoted(last)),
            _ => {}
        }
        names.extend(quoted(line).filter(|name| name.contains("::") && *name != "file::test"));
    }
    names
}

/// Whether the end of a test's path, or of its module's, is this one. `…` and `*` stand for what was left out of a name.
fn fits(test: &[String], name: &[&str]) -> bool {
    let (last, above) = name.split_last().unwrap();
    let ends_with = |path: &[String], end: &[&str]| {
        path.len() >= end.len() && path.iter().rev().zip(end.iter().rev()).all(|(own, other)| own == other)
    };
    let (own, modules) = test.split_last().unwrap();
    let is_it = match last.strip_suffix(['…', '*']) {
        Some(begin) => own.starts_with(begin),
        None => own == last,
    };
    (is_it && ends_with(modules, above)) || ends_with(modules, name)
}

/// Why a name is none; nothing where it is one.
fn problem(name: &str, tests: &Tests) -> Option<String> {
    let root = workspace();
    if name.contains('/') {
        let is_there = [root.join(name), root.join("crates").join(name)]
            .iter()
            .any(|path| path.exists());
        return (!is_there).then(|| format!("{name}: there is no such file"));
    }
    let parts: Vec<&str> = name.split("::").collect();
    let files: BTreeSet<&PathBuf> = tests
        .iter()
        .filter(|(test, _)| fits(test, &parts))
        .map(|(_, file)| file)
        .collect();
    match files.len() {
        0 => Some(format!("{name}: there is no such test")),
        // A name of a folder may stand for all that is in it; one of a test has to be one test's.
        1 => None,
        _ if parts.last().is_some_and(|last| *last == "*") => None,
        _ => Some(format!("{name} may be of any of {files:?}: say which")),
    }
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let document = fs::read_to_string(workspace().join("docs/threat-model.md")).unwrap();
    let (names, tests) = (named(&document), all_tests());
    assert!(
        names.len() > 40 && tests.len() > 500,
        "{} names, {} tests",
        names.len(),
        tests.len()
    );
    let problems: Vec<String> = names.into_iter().filter_map(|name| problem(name, &tests)).collect();
    assert!(problems.is_empty(), "docs/threat-model.md:\n{}", problems.join("\n"));
}

#[test]
fn names_are_told_from_what_is_none() {
    let tests: Tests = [
        ("hub::access::door::tests::guesses_are_slowed", "door.rs"),
        ("hub::database::audit::tests::tampering", "audit.rs"),
        ("agent::core::tests::disk::ailing", "disk.rs"),
        ("kill::main_test", "kill/main.rs"),
    ]
    .map(|(path, file)| (path.split("::").map(str::to_owned).collect(), file.into()))
    .into();
    for right in [
        "door::tests::guesses_…",
        "door::tests",
        "hub::database::audit::tests::tampering",
        "kill",
        "kill::*",
    ] {
        assert_eq!(problem(right, &tests), None);
    }
    for wrong in [
        "guesses",
        "door::guesses_are_slowed",
        "delivery::simulated",
        "tests::*_slowed",
        "no/such.rs",
    ] {
        assert!(problem(wrong, &tests).is_some(), "{wrong}");
    }
    let text = "| attack | answer `a` | mounted by |\n|---|---|---|\n| b | `c` | `d`, `e::f` |\nand `g`, `h::i`\n";
    assert_eq!(named(text), BTreeSet::from(["d", "e::f", "h::i"]));
    let text =
        "#[tokio::test]\nasync fn a() {}\nfn b() {}\nmod tests {\n    #[test]\n    #[cfg(x)]\n    fn c() {}\n}\n";
    assert_eq!(tests_in(text), [vec!["a"], vec!["tests", "c"]]);
}
