//! Published data and models that tests are held against, and that are no part of the workspace.

use std::path::{Path, PathBuf};

/// Names the folder; without it `shared/data` beside the workspace.
const FOLDER: &str = "FLOORHAND_SHARED_DATA";
/// Set where the folder is there: then a test that misses something of it fails instead of being skipped.
const REQUIRE: &str = "FLOORHAND_REQUIRE_SHARED_DATA";

/// A file or folder of the shared data, as `models/NAME.onnx`. Where it isn't there that is told.
///
/// # Panics
/// When it isn't there and `FLOORHAND_REQUIRE_SHARED_DATA` is set.
#[must_use]
#[expect(clippy::print_stderr, reason = "a test that is skipped is told to whoever runs it")]
pub fn shared_data(path: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let path = std::env::var_os(FOLDER).map_or_else(beside, PathBuf::from).join(path);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os(REQUIRE).is_none(),
        "{} isn't there, and {REQUIRE} is set",
        path.display()
    );
    eprintln!("SKIPPED: needs {} ({FOLDER})", path.display());
    None
}
