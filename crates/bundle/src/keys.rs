//! Ed25519 keys and their ids. Reads and writes the PEM forms that `openssl genpkey -algorithm ed25519` uses; secret keys
//! under a passphrase are in `encrypted.rs`.

use crate::digest::Digest;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes, PrivateKeyInfoRef,
};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use pkcs8::der::SecretDocument;
use pkcs8::der::pem::{LineEnding, PemLabel};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use zeroize::Zeroizing;

/// A text that is no key of the kind that was asked for. No message holds anything of a secret key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It isn't the PEM block that was asked for, or something is wrong in it.
    #[error("not an Ed25519 {kind} key in PEM ({expected}): {problem}")]
    Malformed {
        /// Secret or public.
        kind: &'static str,
        /// How such a block begins.
        expected: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A public key stands where a secret one is needed.
    #[error("a public key, and only a secret one can sign; name the .key file of the pair")]
    PublicForSecret,
    /// A secret key stands where a public one is needed.
    #[error("a secret key, which is to stay where it was made; give the public one, the .pub file of the pair")]
    SecretForPublic,
    /// It is encrypted, and no passphrase was given.
    #[error(
        "the key is encrypted with a passphrase, which was not given; \
         `floorhand keys passphrase --remove` writes it without one"
    )]
    Encrypted,
    /// The passphrase isn't the right one, or what it protects is damaged: the two can't be told apart.
    #[error("the passphrase does not open the key: it is another one, or the file is damaged")]
    Passphrase,
}

/// How the PEM block in a text calls itself.
fn label(text: &str) -> Option<&str> {
    let (_, after) = text.split_once("-----BEGIN ")?;
    Some(after.split_once("-----")?.0)
}

/// A public key's block that isn't as it has to be.
fn public_malformed(problem: impl ToString) -> KeyError {
    KeyError::Malformed {
        kind: "public",
        expected: "-----BEGIN PUBLIC KEY-----",
        problem: problem.to_string(),
    }
}

/// A secret key's block that isn't as it has to be.
pub(crate) fn secret_malformed(expected: &'static str, problem: impl ToString) -> KeyError {
    KeyError::Malformed {
        kind: "secret",
        expected,
        problem: problem.to_string(),
    }
}

/// The first 16 bytes of the SHA-256 of a public key. Thresholds count these, so a key counts once however often it is
/// listed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// An id as it stands in an envelope, if it has 16 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A key that signatures are checked with.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key's id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let digest = Digest::of(self.0.as_bytes());
        let mut id = [0; 16];
        id.iter_mut().zip(digest.as_bytes()).for_each(|(to, from)| *to = *from);
        KeyId(id)
    }

    /// Reads a `PUBLIC KEY` block.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        if label(text).is_some_and(|label| label.ends_with("PRIVATE KEY")) {
            return Err(KeyError::SecretForPublic);
        }
        VerifyingKey::from_public_key_pem(text.trim())
            .map(Self)
            .map_err(public_malformed)
    }

    /// A `PUBLIC KEY` block.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.0.to_public_key_pem(LineEnding::LF).map_err(public_malformed)
    }

    /// The 32 bytes of RFC 8032.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// A key from the 32 bytes of RFC 8032, if they are a point of the curve.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        VerifyingKey::from_bytes(bytes).ok().map(Self)
    }

    /// Strict verification: no small-order keys, no non-canonical encodings, no cofactor.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature).is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&hex::encode(self.as_bytes()))
        } else {
            serializer.serialize_bytes(self.as_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let bytes = if deserializer.is_human_readable() {
            hex::decode(String::deserialize(deserializer)?).map_err(D::Error::custom)?
        } else {
            serde_bytes::ByteBuf::deserialize(deserializer)?.into_vec()
        };
        <&[u8; 32]>::try_from(bytes.as_slice())
            .ok()
            .and_then(Self::from_bytes)
            .ok_or_else(|| D::Error::custom("not the 32 bytes of an Ed25519 public key"))
    }
}

/// A key that signs. Never printed, never serialised but by [`SecretKey::to_pem`], [`SecretKey::to_encrypted_pem`] and
/// [`SecretKey::to_seed`]; wiped from memory when dropped.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of these 32 random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32 bytes that [`SecretKey::from_seed`] makes this key of, for what is carried by hand.
    #[must_use]
    pub fn to_seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Reads an unencrypted `PRIVATE KEY` block (PKCS #8).
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        match label(text) {
            Some("ENCRYPTED PRIVATE KEY") => return Err(KeyError::Encrypted),
            Some("PUBLIC KEY") => return Err(KeyError::PublicForSecret),
            _ => {}
        }
        SigningKey::from_pkcs8_pem(text.trim()).map(Self).map_err(malformed)
    }

    /// A `PRIVATE KEY` block (PKCS #8), unencrypted; wiped from memory when dropped.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        self.to_pkcs8_der()?
            .to_pem(PrivateKeyInfoRef::PEM_LABEL, LineEnding::LF)
            .map_err(malformed)
    }

    /// PKCS #8, version 1: without the public half, which OpenSSL 3.0 doesn't read there.
    pub(crate) fn to_pkcs8_der(&self) -> Result<SecretDocument, KeyError> {
        let bytes = KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        };
        bytes.to_pkcs8_der().map_err(malformed)
    }

    /// The key of what was decrypted.
    pub(crate) fn from_pkcs8_der(der: &[u8]) -> Option<Self> {
        SigningKey::from_pkcs8_der(der).map(Self).ok()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The 64 bytes of a signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

fn malformed(problem: impl ToString) -> KeyError {
    secret_malformed("-----BEGIN PRIVATE KEY-----", problem)
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public().id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_through_pem_and_say_nothing_when_printed() {
        let key = SecretKey::from_seed(&[7; 32]);
        let again = SecretKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(again.public(), key.public());
        assert_eq!(
            PublicKey::from_pem(&key.public().to_pem().unwrap()).unwrap(),
            key.public()
        );
        assert_eq!(format!("{key:?}"), format!("SecretKey(of {})", key.public().id()));
        assert!(key.public().verifies(b"x", &key.sign(b"x")));
        assert!(!key.public().verifies(b"y", &key.sign(b"x")));
        assert!(!key.public().verifies(b"x", &key.sign(b"x")[1..]));
        let error = PublicKey::from_pem("hello").unwrap_err().to_string();
        assert!(
            error.starts_with("not an Ed25519 public key in PEM (-----BEGIN PUBLIC KEY-----)"),
            "{error}"
        );
    }

    #[test]
    fn a_key_of_the_other_kind_is_called_so() {
        let key = SecretKey::from_seed(&[7; 32]);
        let (secret, public) = (key.to_pem().unwrap(), key.public().to_pem().unwrap());
        assert_eq!(SecretKey::from_pem(&public).unwrap_err(), KeyError::PublicForSecret);
        assert_eq!(PublicKey::from_pem(&secret).unwrap_err(), KeyError::SecretForPublic);
        let encrypted = secret.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert_eq!(SecretKey::from_pem(&encrypted).unwrap_err(), KeyError::Encrypted);
        assert_eq!(PublicKey::from_pem(&encrypted).unwrap_err(), KeyError::SecretForPublic);
        let error = SecretKey::from_pem(&secret[..secret.len() - 40]).unwrap_err();
        assert!(matches!(error, KeyError::Malformed { kind: "secret", .. }), "{error}");
    }
}
