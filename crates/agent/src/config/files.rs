//! Files that the configuration names, read within bounds.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Reads a file of at most `most` bytes.
pub(super) fn read_limited(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    if bytes.len() as u64 > most {
        return Err(format!(
            "{} is longer than {most} bytes; it is another file",
            path.display()
        ));
    }
    Ok(bytes)
}
