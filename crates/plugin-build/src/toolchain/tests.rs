//! Compilers that only say things, in places of the test's own.

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

struct Machine {
    folder: tempfile::TempDir,
    surroundings: Surroundings,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let surroundings = Surroundings {
            rustc: folder.path().join("rustup/rustc").into(),
            cargo: folder.path().join("rustup/cargo").into(),
            debian: folder.path().join("debian"),
            rustup: true,
            folder: folder.path().to_owned(),
        };
        Self { folder, surroundings }
    }

    /// A compiler of a version; its sysroot is the folder it is in.
    fn compiler(&self, place: &str, version: &str) -> &Self {
        let home = self.folder.path().join(place);
        fs::create_dir_all(&home).unwrap();
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in\n\
             --version) echo 'rustc {version} (0123456789 2026-01-01)';;\n\
             *--target*) echo '{home}/lib/rustlib/{TARGET}/lib';;\n\
             *target-libdir*) echo '{home}/lib/rustlib/host/lib';;\n\
             *sysroot*) echo '{home}';;\nesac\n",
            home = home.display()
        );
        for name in ["rustc", "cargo"] {
            fs::write(home.join(name), &script).unwrap();
            fs::set_permissions(home.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        self
    }

    fn file(&self, path: &str) -> &Self {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        self
    }

    fn refusal(&self) -> String {
        let error = Toolchain::find_in(&self.surroundings).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
        error.replace(&self.folder.path().display().to_string(), "")
    }
}

/// What the standard library's sources and a linker are recognised by.
const SOURCES: &str = "debian/lib/rustlib/src/rust/library/std/Cargo.toml";

#[test]
fn takes_the_first_compiler_that_has_the_target() {
    let machine = Machine::new();
    machine
        .compiler("rustup", "1.99.0")
        .file("rustup/lib/rustlib/wasm32-unknown-unknown/lib/std");
    machine
        .compiler("debian", "1.99.0")
        .file(SOURCES)
        .file("debian/rust-lld");
    let found = Toolchain::find_in(&machine.surroundings).unwrap();
    assert!(matches!(found, Toolchain::Installed { .. }), "{found:?}");
    assert_eq!(*found.version(), Version::new(1, 99, 0));
}

#[test]
fn takes_debians_where_the_first_has_no_target_or_is_old() {
    for first in ["1.99.0", "1.80.0"] {
        let machine = Machine::new();
        machine
            .compiler("rustup", first)
            .compiler("debian", "1.98.0")
            .file(SOURCES)
            .file("rustup/lib/rustlib/host/bin/rust-lld");
        let found = Toolchain::find_in(&machine.surroundings).unwrap();
        let Toolchain::Debian { linker, version, .. } = found else {
            panic!("{found:?}")
        };
        assert!(linker.ends_with("rustlib/host/bin"), "{}", linker.display());
        assert_eq!(version, Version::new(1, 98, 0));
    }
}

#[test]
fn says_in_one_line_what_to_run() {
    let mut machine = Machine::new();
    assert_eq!(
        machine.refusal(),
        "no Rust compiler here: install one from https://rustup.rs, then run `rustup target add wasm32-unknown-unknown`"
    );
    machine.compiler("rustup", "1.80.0");
    let needed = needed_version();
    assert_eq!(
        machine.refusal(),
        format!(
            "/rustup/rustc is 1.80.0 and the SDK needs {needed}: run `rustup update stable && rustup target add \
             wasm32-unknown-unknown`"
        )
    );
    machine.compiler("rustup", "1.99.0");
    assert_eq!(
        machine.refusal(),
        "/rustup/rustc 1.99.0 has no target wasm32-unknown-unknown: run `rustup target add wasm32-unknown-unknown`"
    );
    machine.surroundings.rustup = false;
    let install = "run `apt-get install rustc-web cargo-web rust-web-src lld`";
    assert!(machine.refusal().ends_with(install), "{}", machine.refusal());
    machine.compiler("debian", "1.99.0");
    assert_eq!(
        machine.refusal(),
        format!("/debian/rustc lacks the standard library's sources for wasm32-unknown-unknown: {install}")
    );
    machine.file(SOURCES);
    assert_eq!(
        machine.refusal(),
        format!("/debian/rustc lacks a linker for wasm32-unknown-unknown: {install}")
    );
    machine.compiler("debian", "1.63.0");
    assert!(
        machine
            .refusal()
            .starts_with("/debian/rustc is 1.63.0 and the SDK needs")
    );
}

#[test]
fn reads_what_compilers_say_of_themselves() {
    let check =
        |printed: &str, expected: Option<Version>| assert_eq!(parse_rustc_version(printed), expected, "{printed}");
    check(
        "rustc 1.96.0 (ac68faa20 2026-06-02) (built from a source tarball)",
        Some(Version::new(1, 96, 0)),
    );
    check("rustc 1.85.0", Some(Version::new(1, 85, 0)));
    check("rustc", None);
    check("rustc web", None);
    check("cargo 1.96.0", None);
}

#[test]
fn the_needed_version_is_that_of_the_manifest() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml")).unwrap();
    let needed = needed_version();
    assert!(
        manifest.contains(&format!("rust-version = \"{}.{}\"", needed.major, needed.minor)),
        "{needed}"
    );
}
