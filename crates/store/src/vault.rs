//! Encryption at rest: the key that a device is given, the data key behind it, and sealing with XChaCha20-Poly1305.
//!
//! Content is sealed under a data key of the directory's own, drawn at random, which lies in the directory sealed under the
//! key that the device is given ([`StorageKey`]). So that key can be replaced without touching the content. Nonces are
//! drawn at random: 192 bits don't meet twice in a device's life.
//!
//! It hides content from who has the disk without the key. It hides neither names (digests), lengths and times, nor
//! anything from who is root on the running device.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroize;

use crate::disk::{Disk, replace};
use crate::error::{At as _, StoreError};

/// The folder of sealed content.
pub(crate) const SEALED: &str = "sealed";

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// What sealing adds to content: the nonce before it and the tag behind it.
pub(crate) const SEAL_BYTES: usize = NONCE_BYTES + TAG_BYTES;
/// What the data key is sealed for; its version too.
const DATA_KEY_PURPOSE: &[u8] = b"floorhand/v1/data-key";

/// A key that a device was given for what it keeps. It is wiped from memory when it is dropped, and never shown.
#[derive(Clone)]
pub struct StorageKey([u8; KEY_BYTES]);

impl StorageKey {
    /// A key of 256 random bits.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// A key as it stands in a file: 32 bytes, or 64 hexadecimal digits and perhaps a line break. `None` for all else.
    #[must_use]
    pub fn parse(content: &[u8]) -> Option<Self> {
        if let Ok(bytes) = content.try_into() {
            return Some(Self(bytes));
        }
        let mut digits = std::str::from_utf8(content)
            .ok()?
            .trim_end_matches(['\r', '\n'])
            .bytes();
        if digits.len() != 2 * KEY_BYTES {
            return None;
        }
        let mut bytes = [0; KEY_BYTES];
        for byte in &mut bytes {
            *byte = hex(digits.next()?)? << 4 | hex(digits.next()?)?;
        }
        Some(Self(bytes))
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

impl Drop for StorageKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageKey(..)")
    }
}

/// The keys to open a directory with.
#[derive(Debug, Clone)]
pub struct StorageKeys {
    /// What the directory is sealed under from now on.
    pub current: StorageKey,
    /// What it was sealed under until now, where the key is being replaced.
    pub before: Option<StorageKey>,
}

impl StorageKeys {
    fn open_before(&self, sealed: &[u8]) -> Option<(Vault, [u8; KEY_BYTES])> {
        Vault::of(&self.before.as_ref()?.0).open_data_key(sealed)
    }
}

/// Seals and opens under a directory's data key. Clones share it.
#[derive(Clone)]
pub struct Vault(Arc<XChaCha20Poly1305>);

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(..)")
    }
}

impl Vault {
    /// Opens the data key in `path`, or draws one where there is none.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, keys: &StorageKeys) -> Result<Self, StoreError> {
        let current = Self::of(&keys.current.0);
        let sealed = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::draw(disk, path, &current),
            read => read.at("read", path)?,
        };
        if let Some(vault) = current.open_data_key(&sealed) {
            return Ok(vault.0);
        }
        let Some((vault, mut data_key)) = keys.open_before(&sealed) else {
            return Err(StoreError::WrongKey { path: path.to_owned() });
        };
        let resealed = current.seal(DATA_KEY_PURPOSE, &data_key).at("draw a nonce for", path);
        data_key.zeroize();
        replace(disk, path, &resealed?)?;
        Ok(vault)
    }

    /// Opens a sealed data key with either of the keys, and leaves it as it is.
    pub(crate) fn unlock(sealed: &[u8], keys: &StorageKeys) -> Option<Self> {
        let opened = Self::of(&keys.current.0)
            .open_data_key(sealed)
            .or_else(|| keys.open_before(sealed));
        opened.map(|(vault, mut data_key)| {
            data_key.zeroize();
            vault
        })
    }

    /// `content`, unreadable without the key, and good for `purpose` alone.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn seal(&self, purpose: &[u8], content: &[u8]) -> io::Result<Vec<u8>> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let payload = Payload {
            msg: content,
            aad: purpose,
        };
        let sealed = self
            .0
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(io::Error::other)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// What was sealed for `purpose`; `None` when it wasn't, under this key, or was changed since.
    #[must_use]
    pub fn unseal(&self, purpose: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload {
            msg: sealed,
            aad: purpose,
        };
        self.0.decrypt(&XNonce::from(*nonce), payload).ok()
    }

    fn of(key: &[u8; KEY_BYTES]) -> Self {
        Self(Arc::new(XChaCha20Poly1305::new(key.into())))
    }

    fn draw(disk: &dyn Disk, path: &Path, current: &Self) -> Result<Self, StoreError> {
        let mut data_key = [0; KEY_BYTES];
        getrandom::fill(&mut data_key)
            .map_err(io::Error::other)
            .at("draw", path)?;
        let vault = Self::of(&data_key);
        let sealed = current.seal(DATA_KEY_PURPOSE, &data_key).at("draw a nonce for", path);
        data_key.zeroize();
        replace(disk, path, &sealed?)?;
        Ok(vault)
    }

    fn open_data_key(&self, sealed: &[u8]) -> Option<(Self, [u8; KEY_BYTES])> {
        let mut opened = self.unseal(DATA_KEY_PURPOSE, sealed)?;
        let data_key = opened.as_slice().try_into().ok();
        opened.zeroize();
        data_key.map(|data_key| (Self::of(&data_key), data_key))
    }
}

/// Where the sealed data key of a state directory lies.
pub(crate) fn data_key_path(root: &Path) -> PathBuf {
    root.join(SEALED).join("key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn keys(current: u8, before: Option<u8>) -> StorageKeys {
        let key = |seed| StorageKey::from_bytes([seed; 32]);
        StorageKeys {
            current: key(current),
            before: before.map(key),
        }
    }

    #[test]
    fn what_is_sealed_opens_for_its_purpose_alone_and_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(&RealDisk, &dir.path().join("key"), &keys(1, None)).unwrap();
        let sealed = vault.seal(b"page 1", b"weights weights").unwrap();
        assert_eq!(sealed.len(), 15 + SEAL_BYTES);
        assert!(!sealed.windows(7).any(|window| window == b"weights"));
        assert_ne!(sealed, vault.seal(b"page 1", b"weights weights").unwrap());
        assert_eq!(vault.unseal(b"page 1", &sealed).unwrap(), b"weights weights");
        assert_eq!(vault.unseal(b"page 2", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(vault.unseal(b"page 1", &changed), None, "byte {at}");
            assert_eq!(vault.unseal(b"page 1", &sealed[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_key_is_replaced_without_touching_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let open = |current, before| Vault::open(&RealDisk, &path, &keys(current, before));
        let sealed = open(1, None).unwrap().seal(b"", b"weights").unwrap();
        let error = open(2, None).unwrap_err();
        assert!(matches!(error, StoreError::WrongKey { .. }), "{error}");
        assert_eq!(open(2, Some(1)).unwrap().unseal(b"", &sealed).unwrap(), b"weights");
        assert_eq!(open(2, None).unwrap().unseal(b"", &sealed).unwrap(), b"weights");
        assert!(open(1, None).is_err() && open(1, Some(3)).is_err());
        fs::write(&path, b"cut").unwrap();
        assert!(matches!(open(2, None), Err(StoreError::WrongKey { .. })));
    }

    #[test]
    fn keys_are_bytes_or_digits_and_are_never_shown() {
        let bytes = [0xab; 32];
        let digits = "ab".repeat(32);
        for good in [bytes.as_slice(), digits.as_bytes(), format!("{digits}\n").as_bytes()] {
            assert_eq!(StorageKey::parse(good).unwrap().0, bytes);
        }
        for bad in [
            "",
            "ab",
            &"a".repeat(63),
            &"g".repeat(64),
            &"é".repeat(32),
            &"ab".repeat(33),
        ] {
            assert!(StorageKey::parse(bad.as_bytes()).is_none(), "{bad:?}");
        }
        let shown = format!("{:?}", keys(0xab, Some(0xab)));
        assert!(!shown.contains("171") && !shown.contains("ab, "), "{shown}");
    }
}
