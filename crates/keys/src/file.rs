//! Key files: PEM, with the checks that a secret needs.
//!
//! Before an encrypted key stands a line with its id, which PEM allows and other programs pass over: it tells which key
//! the file holds without its passphrase, and that the key that comes out is the one that went in.

use crate::error::KeysError;
use crate::unlock::Unlock;
use floorhand_bundle::{KeyError, KeyId, PublicKey, SecretKey};
use secrecy::{ExposeSecret, SecretString};
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The largest key file in bytes: a key in PEM has some hundred.
pub const MAX_KEY_BYTES: u64 = 16 * 1024;

/// What the line with the id begins with.
const KEY_ID: &str = "Key-Id: ";

/// What a key file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A key to hand out.
    Public,
    /// A secret key that anybody who has the file has.
    Secret,
    /// A secret key under a passphrase.
    Encrypted,
}

/// A key file that was read. It has no `Debug`, so that no log can have it.
pub struct KeyFile {
    path: PathBuf,
    text: Zeroizing<String>,
    metadata: Metadata,
}

impl KeyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read, or is longer than [`MAX_KEY_BYTES`].
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        let (text, metadata) = read_limited(path, MAX_KEY_BYTES)?;
        Ok(Self {
            path: path.to_owned(),
            text,
            metadata,
        })
    }

    /// What it says it holds. What says nothing counts as public: nothing can be signed with it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            Kind::Encrypted
        } else if self.text.contains("PRIVATE KEY-----") {
            Kind::Secret
        } else {
            Kind::Public
        }
    }

    /// Whether others than its owner may read it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        mode(&self.metadata) & 0o077 != 0
    }

    /// The key's id, for an encrypted key as the file says it, if it does.
    ///
    /// # Errors
    /// When it holds no key.
    pub fn key_id(&self) -> Result<Option<KeyId>, KeysError> {
        let public = self.public_half()?;
        Ok(public.map_or_else(|| self.written_id(), |public| Some(public.id())))
    }

    /// The public half of whatever it holds; `None` where a passphrase would be needed.
    ///
    /// # Errors
    /// When it holds no key.
    pub fn public_half(&self) -> Result<Option<PublicKey>, KeysError> {
        match self.kind() {
            Kind::Encrypted => Ok(None),
            Kind::Secret => Ok(Some(self.plain()?.public())),
            Kind::Public => Ok(Some(self.public()?)),
        }
    }

    /// The public key it holds.
    ///
    /// # Errors
    /// When it holds none, or a secret one.
    pub fn public(&self) -> Result<PublicKey, KeysError> {
        PublicKey::from_pem(&self.text).map_err(|error| self.wrong(error))
    }

    /// The secret key it holds.
    ///
    /// # Errors
    /// When it holds none, when everybody can read it, when no passphrase opens it.
    pub fn secret(&self, unlock: &dyn Unlock) -> Result<SecretKey, KeysError> {
        let key = match self.kind() {
            Kind::Public => return Err(self.not_secret()),
            Kind::Secret => self.plain()?,
            Kind::Encrypted => self.open(&unlock.passphrases(&self.path)?)?,
        };
        check_exposed(&self.path, &self.metadata)?;
        let found = key.public().id();
        match self.written_id() {
            Some(written) if written != found => Err(KeysError::Damaged {
                path: self.path.clone(),
                written,
                found,
            }),
            _ => Ok(key),
        }
    }

    fn open(&self, passphrases: &[SecretString]) -> Result<SecretKey, KeysError> {
        for passphrase in passphrases {
            match SecretKey::from_encrypted_pem(&self.text, passphrase.expose_secret().as_bytes()) {
                Err(KeyError::Passphrase) => {}
                opened => return opened.map_err(|error| self.wrong(error)),
            }
        }
        Err(self.wrong(KeyError::Passphrase))
    }

    fn plain(&self) -> Result<SecretKey, KeysError> {
        SecretKey::from_pem(&self.text).map_err(|error| self.wrong(error))
    }

    /// A public key, or no key at all.
    fn not_secret(&self) -> KeysError {
        match SecretKey::from_pem(&self.text) {
            Err(error) => self.wrong(error),
            Ok(_) => self.wrong(KeyError::PublicForSecret),
        }
    }

    fn wrong(&self, source: KeyError) -> KeysError {
        KeysError::Key {
            path: self.path.clone(),
            source,
        }
    }

    fn written_id(&self) -> Option<KeyId> {
        let line = self.text.lines().find_map(|line| line.strip_prefix(KEY_ID))?;
        KeyId::from_slice(&hex::decode(line.trim()).ok()?)
    }
}

/// What is written to the file of a secret key under a passphrase. `random` is fresh for each file.
///
/// # Errors
/// When the key can't be encrypted.
pub fn encrypted_text(key: &SecretKey, passphrase: &SecretString, random: &[u8; 32]) -> Result<String, KeyError> {
    let pem = key.to_encrypted_pem(passphrase.expose_secret().as_bytes(), random)?;
    Ok(format!("{KEY_ID}{}\n{pem}", key.public().id()))
}

/// A file's text, if it has at most `limit` bytes.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<(Zeroizing<String>, Metadata), KeysError> {
    let unreadable = |source| KeysError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let unlikely = |what: String| KeysError::Unlikely {
        path: path.to_owned(),
        what,
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    // In one piece: a buffer that grew would leave copies of a secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit as usize + 1));
    file.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(unlikely(format!("longer than {limit} bytes")));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| unlikely("not a text".to_owned()))?;
    Ok((Zeroizing::new(text.to_owned()), metadata))
}

/// A group may share a secret, as a daemon's group does with its administrator; everybody may not.
pub(crate) fn check_exposed(path: &Path, metadata: &Metadata) -> Result<(), KeysError> {
    let mode = mode(metadata);
    if metadata.is_file() && mode & 0o007 != 0 {
        return Err(KeysError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

fn mode(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o777
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    /// Gives these passphrases for every file.
    struct Given(&'static [&'static str]);

    impl Unlock for Given {
        fn passphrases(&self, _: &Path) -> Result<Vec<SecretString>, KeysError> {
            Ok(self.0.iter().map(|&text| SecretString::from(text)).collect())
        }

        fn pin(&self, _: &str) -> Result<SecretString, KeysError> {
            unreachable!("a file has no PIN")
        }
    }

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn encrypted() -> &'static str {
        static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        TEXT.get_or_init(|| encrypted_text(&key(1), &SecretString::from("correct horse"), &[3; 32]).unwrap())
    }

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, KeyFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("release.key");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let file = KeyFile::read(&path).unwrap();
        (dir, file)
    }

    #[track_caller]
    fn refused(text: &str, mode: u32, passphrases: &'static [&'static str], part: &str) {
        let error = file(text, mode).1.secret(&Given(passphrases)).unwrap_err().to_string();
        assert!(
            error.contains(part) && error.contains("release.key"),
            "{part:?} is not in {error}"
        );
        assert_eq!(error.lines().count(), 1, "{error}");
        for passphrase in passphrases {
            assert!(!error.contains(passphrase), "{error}");
        }
    }

    #[test]
    fn every_way_in_which_a_file_is_wrong_is_told() {
        let (plain, public) = (key(1).to_pem().unwrap(), key(1).public().to_pem().unwrap());
        refused(
            encrypted(),
            0o600,
            &["battery staple", "horse correct"],
            "does not open the key",
        );
        refused(
            &encrypted()[..encrypted().len() - 60],
            0o600,
            &["correct horse"],
            "not an Ed25519 secret key",
        );
        refused(&plain[..plain.len() - 40], 0o600, &[], "not an Ed25519 secret key");
        refused(&plain, 0o604, &[], "can be read by everybody");
        refused(encrypted(), 0o644, &["correct horse"], "can be read by everybody");
        refused(&public, 0o600, &[], "a public key, and only a secret one can sign");
        refused("hello", 0o600, &[], "not an Ed25519 secret key");
        let other = key(2).public().id().to_string();
        let damaged = encrypted().replace(&key(1).public().id().to_string(), &other);
        refused(&damaged, 0o600, &["correct horse"], "it is damaged; restore it");
    }

    #[test]
    fn one_of_several_passphrases_opens_it_and_its_id_needs_none() {
        let (_dir, file) = file(encrypted(), 0o640);
        let opened = file.secret(&Given(&["battery staple", "correct horse"])).unwrap();
        assert_eq!(opened.public(), key(1).public());
        assert_eq!(
            (file.kind(), file.key_id().unwrap()),
            (Kind::Encrypted, Some(key(1).public().id()))
        );
        assert!(file.is_shared());
    }
}
