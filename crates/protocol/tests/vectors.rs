//! The vectors that other implementations are checked with are what this code makes.

#[path = "../examples/vectors.rs"]
#[expect(dead_code, reason = "the example's main")]
mod vectors;

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
