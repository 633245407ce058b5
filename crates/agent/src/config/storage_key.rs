//! Where the key is that the state directory is encrypted with.
//!
//! A file is the least: it protects a disk that is taken out only if it lies elsewhere. A credential of systemd's can be
//! sealed by the machine's TPM and is seen by the service alone; a key in the kernel's keyring is put there at every boot.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use floorhand_store::StorageKey;
use linux_keyutils::{KeyRing, KeyRingIdentifier};
use serde::{Serialize, Serializer};

use super::files::read_limited;

/// A key and a line break have 65.
const MAX_KEY_BYTES: u64 = 128;
/// Where systemd puts a service's credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Keyrings that are looked through, the nearest first.
const KEYRINGS: [KeyRingIdentifier; 4] = [
    KeyRingIdentifier::Process,
    KeyRingIdentifier::Session,
    KeyRingIdentifier::User,
    KeyRingIdentifier::UserSession,
];

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In a file.
    File(PathBuf),
    /// In a credential of the service, by its name.
    Credential(String),
    /// In a keyring of the kernel, by its description.
    Keyring(String),
}

impl KeySource {
    /// Reads `file:PATH`, relative to `base`, `credential:NAME` or `keyring:NAME`.
    pub(super) fn parse(text: &str, base: &Path) -> Result<Self, String> {
        let refused = |problem: &str| {
            let forms = "say \"file:PATH\", \"credential:NAME\" or \"keyring:NAME\"";
            Err(format!("is {text:?}, {problem}; {forms}"))
        };
        match text.split_once(':') {
            Some((_, "")) => refused("which names nothing"),
            Some(("file", path)) => Ok(Self::File(base.join(path))),
            Some(("credential", name)) if name.contains('/') || name.starts_with('.') => {
                refused("and no credential has that name")
            }
            Some(("credential", name)) => Ok(Self::Credential(name.to_owned())),
            Some(("keyring", name)) => Ok(Self::Keyring(name.to_owned())),
            _ => refused("which is no place for a key"),
        }
    }

    /// Gets the key.
    ///
    /// # Errors
    /// When it isn't there, is open to everybody, or isn't a key. Nothing of it is in the message.
    pub fn read(&self) -> Result<StorageKey, String> {
        let content = match self {
            Self::File(path) => read_private(path)?,
            Self::Credential(name) => read_limited(&credential(name)?, MAX_KEY_BYTES)?,
            Self::Keyring(name) => from_keyring(name)?,
        };
        StorageKey::parse(&content)
            .ok_or_else(|| format!("{self} is no key: it has to be 32 bytes, or 64 hexadecimal digits"))
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Keyring(name) => write!(f, "keyring:{name}"),
        }
    }
}

impl Serialize for KeySource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn read_private(path: &Path) -> Result<Vec<u8>, String> {
    let content = read_limited(path, MAX_KEY_BYTES)?;
    let mode = fs::metadata(path).map_or(0, |found| found.permissions().mode());
    if mode & 0o007 != 0 {
        let path = path.display();
        return Err(format!(
            "{path} is open to every user of this machine; close it with `chmod o= {path}`"
        ));
    }
    Ok(content)
}

fn credential(name: &str) -> Result<PathBuf, String> {
    match std::env::var_os(CREDENTIALS) {
        Some(dir) => Ok(Path::new(&dir).join(name)),
        None => Err(format!(
            "no credentials were given to this process; give the service `LoadCredentialEncrypted={name}`, and see \
             systemd-creds(1)"
        )),
    }
}

fn from_keyring(name: &str) -> Result<Vec<u8>, String> {
    let mut why = String::new();
    for keyring in KEYRINGS {
        let found = KeyRing::from_special_id(keyring, false).and_then(|keyring| keyring.search(name));
        let mut content = vec![0; MAX_KEY_BYTES as usize];
        match found.and_then(|key| key.read(&mut content)) {
            // The kernel tells the key's own length, which may be more than it wrote.
            Ok(length) => {
                content.truncate(length);
                return Ok(content);
            }
            Err(error) => why = error.to_string(),
        }
    }
    Err(format!(
        "no keyring that this process sees has a key {name:?} of type user ({why}); add it with `keyctl padd user {name} @u`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    fn parse(text: &str) -> Result<KeySource, String> {
        KeySource::parse(text, Path::new("/etc/floorhand"))
    }

    #[test]
    fn places_are_told_by_their_kind() {
        assert_eq!(parse("file:a.key").unwrap().to_string(), "file:/etc/floorhand/a.key");
        assert_eq!(parse("file:/b.key").unwrap().to_string(), "file:/b.key");
        assert_eq!(parse("credential:storage").unwrap().to_string(), "credential:storage");
        assert_eq!(
            parse("keyring:fh:storage").unwrap(),
            KeySource::Keyring("fh:storage".to_owned())
        );
        for bad in ["a.key", "file:", "credential:../x", "credential:a/b", "tpm:1", ""] {
            let problem = parse(bad).unwrap_err();
            assert!(problem.contains("say \"file:PATH\""), "{problem}");
        }
    }

    #[test]
    fn a_file_is_a_key_and_for_few() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("storage.key");
        let source = KeySource::File(path.clone());
        assert!(source.read().unwrap_err().contains("can't be read"));
        fs::write(&path, "5a".repeat(32)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(source.read().unwrap_err().contains("chmod o="));
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        source.read().unwrap();
        for wrong in ["5a".repeat(31), "5a".repeat(100)] {
            fs::write(&path, &wrong).unwrap();
            let problem = source.read().unwrap_err();
            assert!(!problem.contains("5a5a"), "{problem}");
        }
    }

    #[test]
    fn a_key_in_the_kernels_keyring() {
        let name = format!("floorhand-test-{}", std::process::id());
        let source = KeySource::Keyring(name.clone());
        let added = KeyRing::from_special_id(KeyRingIdentifier::Process, true)
            .and_then(|keyring| keyring.add_key(&name, &[7_u8; 32]));
        let key = match added {
            Ok(key) => key,
            // Containers often close the keyrings.
            Err(error) => {
                eprintln!("skipped: this process may not use the kernel's keyrings ({error})");
                return;
            }
        };
        source.read().unwrap();
        key.invalidate().unwrap();
        assert!(source.read().unwrap_err().contains("keyctl padd user"));
    }
}
