//! The fuzzers' seeds are what `examples/inference_seeds.rs` makes of the recorded requests.

#[path = "../examples/inference_seeds.rs"]
mod seeds;

use std::path::Path;

#[test]
fn the_fuzzers_seeds_are_what_the_code_makes() {
    const AGAIN: &str =
        "write them again: cargo run -p floorhand-open-inference --example inference_seeds -- tests/fuzz/seeds";
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/seeds");
    let made = seeds::all().unwrap();
    for (path, bytes) in &made {
        let committed = std::fs::read(folder.join(path)).unwrap_or_else(|error| panic!("{path}: {error}; {AGAIN}"));
        assert!(committed == *bytes, "seed {path} is not what the code makes; {AGAIN}");
    }
    let files = seeds::TARGETS
        .iter()
        .flat_map(|target| std::fs::read_dir(folder.join(target)).unwrap());
    assert_eq!(files.count(), made.len(), "seeds that the code doesn't make; {AGAIN}");
}
