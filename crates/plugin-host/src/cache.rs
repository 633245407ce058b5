//! Compiled components on disk: authenticated with a key of the device's own, bounded in bytes.
//!
//! Machine code is loaded as it is, so that a file here has the power of the daemon itself. A file counts only if this
//! device wrote it for exactly this component, engine and CPU: it carries a MAC over its name and its content, and one
//! whose MAC is wrong is deleted. It is read once, and what was checked is what is loaded.
//!
//! A cache that can't be read or written costs time, never an answer: problems are logged and counted.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use wasmtime::Engine;

/// Bytes of the MAC, which stands before the machine code.
const MAC_BYTES: usize = 32;

/// How a cached component's file ends.
const SUFFIX: &str = "cwasm";

/// Where compiled components are kept.
#[derive(Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// A directory of the daemon's own; made if it isn't there.
    pub dir: PathBuf,
    /// The device's secret, from which no other device can be fed. Whoever has it and can write to `dir` can run code as
    /// the daemon.
    pub key: [u8; 32],
    /// How much may be kept, in bytes; the files that were written longest ago go first.
    pub max_bytes: u64,
}

impl std::fmt::Debug for CacheConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheConfig")
            .field("dir", &self.dir)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

/// What was found under a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Machine code that this device made.
    Hit(Vec<u8>),
    /// Nothing.
    Miss,
    /// Something that this device didn't make; it has been deleted.
    Rejected,
}

/// What a compiled component depends on: the component, the engine's version and configuration, the target and its CPU's
/// features.
pub(crate) fn key(engine: &Engine, wasm: &[u8]) -> String {
    let mut hasher = Sha256Hasher(Sha256::new());
    hasher.0.update(Sha256::digest(wasm));
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hex::encode(hasher.0.finalize())
}

/// Reads what is kept under `key`, at most `max_bytes` of it.
pub(crate) fn read(config: &CacheConfig, key: &str, max_bytes: u64) -> io::Result<Lookup> {
    let path = path(&config.dir, key);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lookup::Miss),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(max_bytes + MAC_BYTES as u64).read_to_end(&mut bytes)?;
    let genuine = bytes
        .split_first_chunk::<MAC_BYTES>()
        .is_some_and(|(tag, code)| mac(config, key, code).is_some_and(|mac| mac.verify_slice(tag).is_ok()));
    if genuine {
        bytes.drain(..MAC_BYTES);
        return Ok(Lookup::Hit(bytes));
    }
    fs::remove_file(&path)?;
    Ok(Lookup::Rejected)
}

/// Keeps machine code under `key`, in place of what was written longest ago if there is no room.
pub(crate) fn write(config: &CacheConfig, key: &str, code: &[u8]) -> io::Result<()> {
    let bytes = (code.len() + MAC_BYTES) as u64;
    if bytes > config.max_bytes {
        return Ok(());
    }
    fs::create_dir_all(&config.dir)?;
    make_room(config, bytes)?;
    let tag = mac(config, key, code).map(|mac| mac.finalize().into_bytes());
    let tag = tag.ok_or_else(|| io::Error::other("the MAC's key is unusable"))?;
    let temporary = config.dir.join(format!("{key}.{}.tmp", std::process::id()));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(&tag)?;
        file.write_all(code)
    });
    // Not synced: after a power cut the MAC tells a torn file, and it is compiled again.
    let done = written.and_then(|()| fs::rename(&temporary, path(&config.dir, key)));
    if done.is_err() {
        drop(fs::remove_file(&temporary));
    }
    done
}

fn path(dir: &Path, key: &str) -> PathBuf {
    dir.join(key).with_extension(SUFFIX)
}

fn mac(config: &CacheConfig, key: &str, code: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&config.key).ok()?;
    mac.update(key.as_bytes());
    mac.update(code);
    Some(mac)
}

/// Deletes the oldest files until `bytes` more fit, and whatever a crash has left half written.
fn make_room(config: &CacheConfig, bytes: u64) -> io::Result<()> {
    let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(&config.dir)? {
        let entry = entry?;
        let (path, metadata) = (entry.path(), entry.metadata()?);
        if path.extension().is_some_and(|extension| extension == SUFFIX) {
            kept.push((metadata.modified()?, metadata.len(), path));
        } else if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(path)?;
        }
    }
    kept.sort();
    let mut total: u64 = kept.iter().map(|(_, length, _)| length).sum();
    for (_, length, path) in kept {
        if total + bytes <= config.max_bytes {
            break;
        }
        fs::remove_file(path)?;
        total -= length;
    }
    Ok(())
}

/// Lets the engine's compatibility hash, made for `Hasher`, flow into SHA-256.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Not used: the digest is taken from the inside, all of it.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path, max_bytes: u64) -> CacheConfig {
        CacheConfig {
            dir: dir.join("cache"),
            key: [7; 32],
            max_bytes,
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), 1 << 20);
        assert_eq!(read(&config, "a", 100).unwrap(), Lookup::Miss);
        write(&config, "a", b"code").unwrap();
        assert_eq!(read(&config, "a", 100).unwrap(), Lookup::Hit(b"code".to_vec()));
        fs::rename(path(&config.dir, "a"), path(&config.dir, "b")).unwrap();
        assert_eq!(
            read(&config, "b", 100).unwrap(),
            Lookup::Rejected,
            "of another component"
        );
        assert_eq!(read(&config, "b", 100).unwrap(), Lookup::Miss, "and deleted");
        write(&config, "a", b"code").unwrap();
        let other = CacheConfig {
            key: [8; 32],
            ..config.clone()
        };
        assert_eq!(read(&other, "a", 100).unwrap(), Lookup::Rejected, "of another device");
        fs::write(path(&config.dir, "c"), b"short").unwrap();
        assert_eq!(read(&config, "c", 100).unwrap(), Lookup::Rejected);
        write(&config, "a", &[1; 101]).unwrap();
        assert_eq!(
            read(&config, "a", 100).unwrap(),
            Lookup::Rejected,
            "longer than anything that is loaded"
        );
    }

    #[test]
    fn the_oldest_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), 300);
        for (age, key) in [(30, "a"), (20, "b")] {
            write(&config, key, &[0; 100]).unwrap();
            let time = SystemTime::now() - std::time::Duration::from_secs(age);
            File::options()
                .write(true)
                .open(path(&config.dir, key))
                .unwrap()
                .set_modified(time)
                .unwrap();
        }
        write(&config, "c", &[0; 100]).unwrap();
        assert_eq!(read(&config, "a", 100).unwrap(), Lookup::Miss);
        assert!(matches!(read(&config, "b", 100).unwrap(), Lookup::Hit(_)));
        write(&config, "d", &[0; 400]).unwrap();
        assert_eq!(read(&config, "d", 400).unwrap(), Lookup::Miss, "larger than the cache");
    }
}
