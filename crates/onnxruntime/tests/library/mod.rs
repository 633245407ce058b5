//! ONNX Runtime's library, of the Python that tests are run with.

#![expect(clippy::print_stderr, reason = "a test says what it skips")]

use floorhand_onnxruntime::OnnxRuntime;
use std::path::PathBuf;
use std::process::Command;

/// Asks a Python where its package onnxruntime has the library.
const ASK: &str = "import glob, os, onnxruntime; \
                   print(glob.glob(os.path.join(os.path.dirname(onnxruntime.__file__), 'capi', 'libonnxruntime.so.*'))[0]); \
                   print(onnxruntime.__version__)";

/// The library of the Python in `FLOORHAND_PYTHON`, and its version. None, and a line that says so, where there is none.
pub(crate) fn library() -> Option<(PathBuf, String)> {
    let python = std::env::var_os("FLOORHAND_PYTHON").map_or_else(|| "python3".into(), PathBuf::from);
    let asked = Command::new(&python).args(["-c", ASK]).output();
    if let Ok(output) = asked
        && output.status.success()
    {
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines = text.lines();
        return Some((lines.next().unwrap().into(), lines.next().unwrap().to_owned()));
    }
    assert!(
        std::env::var_os("FLOORHAND_REQUIRE_PYTHON").is_none(),
        "{} has no onnxruntime, and FLOORHAND_REQUIRE_PYTHON is set",
        python.display()
    );
    eprintln!("SKIPPED: needs a Python with the package onnxruntime (FLOORHAND_PYTHON)");
    None
}

/// That engine.
pub(crate) fn engine() -> Option<OnnxRuntime> {
    library().map(|(path, _)| OnnxRuntime::open(&path).unwrap())
}
