//! Sources of the pure crates: no files, no sockets, no clock.
//!
//! Owns a scan of tokens, not of text: comments, doc examples and strings don't count, and neither does what stands
//! under `#[cfg(test)]`. It knows paths as they are written, also within `use` groups and macros. It can be deceived by
//! somebody who wants to (`use std as s`); it is there for those who forget.

use crate::{arrows::PURE, workspace};
use anyhow::{Context, Result, anyhow};
use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What a pure crate may not name: neighbouring segments of a path, and why.
const FORBIDDEN: &[(&[&str], &str)] = &[
    (&["std", "fs"], "files are the store's and the flows'"),
    (&["std", "net"], "sockets are the transport's and the flows'"),
    (&["time", "SystemTime"], "time comes in as a value"),
    (&["time", "Instant"], "time comes in as a value"),
    (
        &["std", "time", "*"],
        "name what is used of std::time, so that clocks show",
    ),
];

/// Deeper modules than this aren't searched: nobody has them, and a link may run in a circle.
const MAX_FOLDER_DEPTH: usize = 8;

/// Every forbidden path in the sources of the pure crates, a line each.
pub fn check_workspace() -> Result<Vec<String>> {
    let root = workspace::root()?;
    let mut violations = Vec::new();
    for name in PURE {
        let crate_folder = root.join("crates").join(name).join("src");
        for violation in check_folder(&crate_folder)? {
            violations.push(violation.replace(&format!("{}/", root.display()), ""));
        }
    }
    Ok(violations)
}

fn check_folder(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    rust_files(folder, 0, &mut files)?;
    let mut scans = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let scan = scan(&text).with_context(|| format!("scan {}", file.display()))?;
        scans.push((file, scan));
    }
    let test_modules: BTreeSet<PathBuf> = scans
        .iter()
        .flat_map(|(file, scan)| scan.test_modules.iter().map(|name| module_folder(file).join(name)))
        .collect();
    let mut violations = Vec::new();
    for (file, scan) in &scans {
        if file
            .ancestors()
            .any(|path| test_modules.contains(&path.with_extension("")))
        {
            continue;
        }
        for Finding { line, path, reason } in &scan.findings {
            violations.push(format!("{}:{line}: {path}: {reason}", file.display()));
        }
    }
    Ok(violations)
}

fn rust_files(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    if depth > MAX_FOLDER_DEPTH {
        return Err(anyhow!("{} is too deep", folder.display()));
    }
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            rust_files(&path, depth + 1, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Where a file's `mod name;` is looked for.
fn module_folder(file: &Path) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default();
    if ["lib", "main", "mod"].iter().any(|name| stem == *name) {
        file.with_file_name("")
    } else {
        file.with_extension("")
    }
}

/// What a source file holds that matters here.
#[derive(Debug, Default)]
struct Scan {
    findings: Vec<Finding>,
    /// Names of `#[cfg(test)] mod name;`.
    test_modules: Vec<String>,
}

#[derive(Debug)]
struct Finding {
    line: usize,
    path: String,
    reason: &'static str,
}

fn scan(text: &str) -> Result<Scan> {
    let tokens: TokenStream = text.parse().map_err(|error| anyhow!("no Rust tokens: {error}"))?;
    let mut scan = Scan::default();
    scan.walk(tokens);
    Ok(scan)
}

impl Scan {
    fn walk(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = tokens.as_slice();
        while let [first, tail @ ..] = rest {
            rest = match (first, tail.first()) {
                (TokenTree::Punct(punct), Some(TokenTree::Group(attribute)))
                    if punct.as_char() == '#' && is_test_only(attribute) =>
                {
                    self.skip_item(tail.get(1..).unwrap_or_default())
                }
                (TokenTree::Group(group), _) => {
                    self.walk(group.stream());
                    tail
                }
                (TokenTree::Ident(_), _) => self.path(rest, &mut Vec::new()),
                _ => tail,
            };
        }
    }

    /// Leaves out an item: up to its `;` or its braces, further attributes included.
    fn skip_item<'a>(&mut self, tokens: &'a [TokenTree]) -> &'a [TokenTree] {
        let mut rest = tokens;
        while let [first, tail @ ..] = rest {
            match (first, tail) {
                (TokenTree::Ident(word), [TokenTree::Ident(name), TokenTree::Punct(end), ..])
                    if word == "mod" && end.as_char() == ';' =>
                {
                    self.test_modules.push(name.to_string());
                }
                (TokenTree::Punct(end), _) if end.as_char() == ';' => return tail,
                (TokenTree::Group(body), _) if body.delimiter() == Delimiter::Brace => return tail,
                _ => {}
            }
            rest = tail;
        }
        rest
    }

    /// Reads the path that begins here, `a::b::{c, d::*}`, judges its branches, and gives what follows it.
    fn path<'a>(&mut self, tokens: &'a [TokenTree], before: &mut Vec<String>) -> &'a [TokenTree] {
        let depth = before.len();
        let mut span = Span::call_site();
        let mut rest = tokens;
        let mut branched = false;
        loop {
            match rest {
                [TokenTree::Ident(segment), tail @ ..] => {
                    span = segment.span();
                    before.push(segment.to_string());
                    rest = tail;
                }
                [TokenTree::Punct(star), tail @ ..] if star.as_char() == '*' && before.len() > depth => {
                    before.push("*".to_owned());
                    rest = tail;
                }
                [TokenTree::Group(group), tail @ ..] if group.delimiter() == Delimiter::Brace => {
                    self.branches(group, before);
                    branched = true;
                    rest = tail;
                }
                _ => break,
            }
            match rest {
                [TokenTree::Punct(one), TokenTree::Punct(two), tail @ ..]
                    if one.as_char() == ':' && two.as_char() == ':' =>
                {
                    rest = tail;
                }
                _ => break,
            }
        }
        if !branched {
            self.judge(before, span.start().line);
        }
        before.truncate(depth);
        rest
    }

    /// The group of a `use`: each of its comma-separated paths behind those segments.
    fn branches(&mut self, group: &Group, before: &mut Vec<String>) {
        let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
        let mut rest = tokens.as_slice();
        while let [first, tail @ ..] = rest {
            rest = match first {
                TokenTree::Ident(_) => self.path(rest, before),
                TokenTree::Punct(star) if star.as_char() == '*' => {
                    before.push("*".to_owned());
                    self.judge(before, star.span().start().line);
                    before.pop();
                    tail
                }
                _ => tail,
            };
        }
    }

    fn judge(&mut self, path: &[String], line: usize) {
        for (forbidden, reason) in FORBIDDEN {
            if path.windows(forbidden.len()).any(|window| window == *forbidden) {
                let path = path.join("::");
                self.findings.push(Finding { line, path, reason });
            }
        }
    }
}

/// `[cfg(test)]` or `[cfg(all(test, ..))]`; `any(test, ..)` is compiled without tests too.
fn is_test_only(attribute: &Group) -> bool {
    let text: String = attribute.stream().to_string().split_whitespace().collect();
    text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        scan(text)
            .unwrap()
            .findings
            .into_iter()
            .map(|finding| finding.path)
            .collect()
    }

    #[test]
    fn finds_what_is_forbidden_however_it_is_written() {
        for (text, expected) in [
            ("use std::fs;", "std::fs"),
            ("use std::fs::File;", "std::fs::File"),
            ("use std::{collections::BTreeMap, fs};", "std::fs"),
            ("use std::{io, net::{TcpStream}};", "std::net::TcpStream"),
            ("use std::time::{Duration, Instant};", "std::time::Instant"),
            (
                "use std::{time::{Duration, SystemTime as Now}};",
                "std::time::SystemTime",
            ),
            ("use std::time::*;", "std::time::*"),
            ("use std::{time::{*}};", "std::time::*"),
            (
                "fn f() { let now = ::std::time::SystemTime::now(); }",
                "std::time::SystemTime::now",
            ),
            ("use std::time; fn f() { time::Instant::now(); }", "time::Instant::now"),
            ("fn f() { print!(\"{}\", std::fs::read(\"x\")); }", "std::fs::read"),
        ] {
            assert_eq!(paths(text), [expected], "{text}");
        }
    }

    #[test]
    fn leaves_alone_what_is_allowed() {
        for text in [
            "use std::time::Duration; use std::io::Read;",
            "//! use std::fs;\n/// std::net::TcpStream\nfn f() {} // std::fs",
            "const TEXT: &str = \"std::fs::read\";",
            "use crate::clock::Instant; fn f(at: Instant) {}",
            "#[cfg(test)] mod tests { use std::fs; }",
            "#[cfg(test)] #[path = \"x.rs\"] mod tests;",
            "#[cfg(all(test, unix))] use std::fs; use std::fmt;",
            "struct Fs { fs: u8 }",
        ] {
            assert_eq!(paths(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_crate_that_is_not_pure_would_not_pass() {
        let store = workspace::root().unwrap().join("crates/store/src");
        assert!(
            !check_folder(&store).unwrap().is_empty(),
            "files are the store's business"
        );
    }

    #[test]
    fn what_is_compiled_without_tests_counts() {
        assert_eq!(paths("#[cfg(any(test, feature = \"x\"))] use std::fs;").len(), 1);
        assert_eq!(paths("#[cfg(test)] mod tests {} use std::fs;").len(), 1);
    }

    #[test]
    fn a_finding_names_file_and_line_and_test_modules_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        write("lib.rs", "mod a;\n#[cfg(test)]\nmod testing;\n");
        write("testing.rs", "use std::fs;\n");
        write("a.rs", "#[cfg(test)]\nmod cases;\n\nuse std::net;\n");
        write("a/cases.rs", "use std::fs;\n");
        let found = check_folder(folder.path()).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("a.rs:4: std::net: "), "{found:?}");
    }
}
