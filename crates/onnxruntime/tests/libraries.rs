//! Libraries that aren't ONNX Runtime, in a process that has none: each is refused, and the next is looked at all the same.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use floorhand_onnxruntime::{OnnxRuntime, OpenError};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a library says that it is: no functions but the one for its version, as from a build without them.
fn source(version: &str) -> String {
    format!(
        "struct base {{ const void *(*api)(unsigned); const char *(*version)(void); }};\n\
         static const void *api(unsigned version) {{ (void)version; return 0; }}\n\
         static const char *text(void) {{ return \"{version}\"; }}\n\
         static const struct base base = {{ api, text }};\n\
         const struct base *OrtGetApiBase(void) {{ return &base; }}\n"
    )
}

fn library(folder: &Path, name: &str, source: &str) -> PathBuf {
    let (code, library) = (folder.join(format!("{name}.c")), folder.join(format!("lib{name}.so")));
    std::fs::write(&code, source).unwrap();
    // What links this test, too.
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&code);
    assert!(compiler.status().unwrap().success());
    library
}

#[test]
fn each_is_refused_with_its_own_reason() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path, expected: &str| {
        let error = OnnxRuntime::open(path).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        error
    };
    let text = folder.path().join("text.so");
    std::fs::write(&text, "this is no library").unwrap();
    refused(&text, "can't be used as ONNX Runtime");
    let other = library(folder.path(), "other", "int seven(void) { return 7; }\n");
    refused(&other, "does not export `OrtGetApiBase`");
    let old = library(folder.path(), "old", &source("1.16.3"));
    let error = refused(&old, "it has to be 1.17 or newer");
    assert!(matches!(error, OpenError::TooOld { version, .. } if version == "1.16.3"));
}
