//! Files that people name on the command line: read whole within a limit, written whole or not at all.

use anyhow::{Context, Result, anyhow};
use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Longer than any key, recipe or certificate that a person writes or is given.
pub const MAX_SMALL_BYTES: u64 = 1024 * 1024;
/// Mode of files that anybody may read.
pub const PUBLIC: u32 = 0o644;
/// Mode of files that nobody else may read.
pub const SECRET: u32 = 0o600;

/// Reads a file of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than the limit, to tell a file that has it from one that exceeds it.
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .with_context(|| format!("{} can't be read", path.display()))?;
    if bytes.len() as u64 > limit {
        return Err(anyhow!("{} is longer than {limit} bytes", path.display()));
    }
    Ok(bytes)
}

/// Reads a text of at most [`MAX_SMALL_BYTES`].
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path, MAX_SMALL_BYTES)?).with_context(|| format!("{} is not a text", path.display()))
}

/// Writes a new file, and refuses to replace one unless `force` says so.
pub fn create(path: &Path, bytes: &[u8], mode: u32, force: bool) -> Result<()> {
    if force {
        return replace(path, bytes, mode);
    }
    let written = staged(path, bytes, mode)?;
    match written.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Err(anyhow!(
            "{} is there already; choose another name, or pass --force to replace it",
            path.display()
        )),
        Err(error) => Err(error.error).with_context(|| format!("{} can't be written", path.display())),
    }
}

/// Writes a new file that nobody but its owner may read.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    create(path, bytes, SECRET, false)
}

/// Writes a file in the place of what may be there.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    staged(path, bytes, mode)?
        .persist(path)
        .map(|_| ())
        .map_err(|error| error.error)
        .with_context(|| format!("{} can't be written", path.display()))
}

/// The bytes, durable under another name beside `path`.
fn staged(path: &Path, bytes: &[u8], mode: u32) -> Result<tempfile::NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let write = || {
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        Ok::<_, std::io::Error>(file)
    };
    write().with_context(|| format!("{} can't be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        create(&path, b"one", SECRET, false).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, SECRET);
        let error = create(&path, b"two", SECRET, false).unwrap_err().to_string();
        assert!(error.contains("is there already"), "{error}");
        assert_eq!(read(&path, 10).unwrap(), b"one");
        create(&path, b"two", SECRET, true).unwrap();
        assert_eq!(read(&path, 3).unwrap(), b"two");
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"1234").unwrap();
        assert!(read(&path, 3).unwrap_err().to_string().contains("longer than 3 bytes"));
        let error = read(&folder.path().join("none"), 3).unwrap_err();
        assert!(error.to_string().contains("none can't be read"), "{error}");
    }
}
