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
    // Other targets begin with what their own crates make.
    let own: std::collections::BTreeSet<&str> = made.keys().filter_map(|path| path.split('/').next()).collect();
    let targets = own.into_iter().map(|target| folder.join(target));
    let files = targets.flat_map(|target| std::fs::read_dir(target).unwrap());
    assert_eq!(files.count(), made.len(), "seeds that the code doesn't make; {AGAIN}");
}

/// A target that knows another kind of message than the seeds begins with nothing to go on.
#[test]
fn every_kind_that_the_fuzzers_know_has_a_seed() {
    let made = seeds::all().unwrap();
    for (target, before) in [("messages", "match kind % "), ("envelope", "const DOMAINS: [Domain; ")] {
        let path = format!("{}/../../tests/fuzz/targets/{target}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = std::fs::read_to_string(path).unwrap();
        let (_, after) = source.split_once(before).unwrap();
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        for kind in 0..digits.parse::<u8>().unwrap() {
            let of_kind = |(path, bytes): (&String, &Vec<u8>)| path.starts_with(target) && bytes.first() == Some(&kind);
            assert!(made.iter().any(of_kind), "{target} {kind}");
        }
    }
}
