//! The vectors that other implementations are checked with are what this code makes.

#[path = "../examples/seeds.rs"]
#[expect(dead_code, reason = "the example's main")]
mod seeds;

use seeds::vectors;
use std::path::Path;

#[test]
fn the_committed_vectors_are_what_the_code_makes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/python/vectors.json");
    let committed = std::fs::read_to_string(path).unwrap();
    let made = vectors::json().unwrap();
    // Line by line: a whole file of hexadecimal digits shows nobody what differs.
    for (committed, made) in committed.lines().zip(made.lines()) {
        let name = made.split(':').next().unwrap_or_default();
        assert_eq!(
            committed, made,
            "vector {name} changed: old devices may not read it (docs/protocol.md)"
        );
    }
    assert_eq!(committed.lines().count(), made.lines().count());
}

#[test]
fn the_fuzzers_seeds_are_what_the_code_makes() {
    const AGAIN: &str = "write them again: cargo run -p floorhand-protocol --example seeds -- tests/fuzz/seeds";
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/seeds"));
    let made = seeds::all().unwrap();
    for (path, bytes) in &made {
        let committed =
            std::fs::read(folder.join(path)).unwrap_or_else(|error| panic!("seed {path}: {error}; {AGAIN}"));
        assert!(committed == *bytes, "seed {path} is not what the code makes; {AGAIN}");
    }
    let targets = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = targets.flat_map(|target| std::fs::read_dir(target).unwrap());
    assert_eq!(files.count(), made.len(), "seeds that the code doesn't make; {AGAIN}");
}
