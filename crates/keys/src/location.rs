//! A key as people name it, and what opens it.

use crate::error::KeysError;
use crate::file::KeyFile;
use crate::token::{self, TokenKey};
use crate::unlock::Unlock;
use crate::uri::{SCHEME, TokenUri, UriError};
use floorhand_bundle::Signer;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyLocation {
    /// In a PEM file.
    File(PathBuf),
    /// In a token.
    Token(Box<TokenUri>),
}

impl FromStr for KeyLocation {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.starts_with(SCHEME) {
            Ok(Self::Token(Box::new(text.parse()?)))
        } else {
            Ok(Self::File(text.into()))
        }
    }
}

impl From<TokenUri> for KeyLocation {
    fn from(uri: TokenUri) -> Self {
        Self::Token(Box::new(uri))
    }
}

impl fmt::Display for KeyLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Token(uri) => uri.fmt(f),
        }
    }
}

/// What keys are opened with.
#[derive(Clone, Copy)]
pub struct Keyring<'a> {
    /// Where passphrases and PINs come from.
    pub unlock: &'a dyn Unlock,
    /// The PKCS #11 module of URIs that name none.
    pub module: Option<&'a Path>,
}

impl Keyring<'_> {
    /// A key that signs.
    ///
    /// # Errors
    /// When it isn't there, or isn't unlocked.
    pub fn signer(&self, location: &KeyLocation) -> Result<Box<dyn Signer>, KeysError> {
        match location {
            KeyLocation::File(path) => Ok(Box::new(KeyFile::read(path)?.secret(self.unlock)?)),
            KeyLocation::Token(uri) => Ok(Box::new(token::open(uri, self)?)),
        }
    }

    /// The Ed25519 keys of a token, those that the URI means.
    ///
    /// # Errors
    /// When the token isn't there, or isn't unlocked.
    pub fn list(&self, uri: &TokenUri) -> Result<Vec<TokenKey>, KeysError> {
        token::list(uri, self)
    }

    /// Makes a key pair in a token. Its secret half never leaves it.
    ///
    /// # Errors
    /// When the token isn't there, isn't unlocked, has an object of this label, or can't make Ed25519 keys.
    pub fn generate(&self, uri: &TokenUri, label: &str) -> Result<TokenKey, KeysError> {
        token::generate(uri, label, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_a_key_in_a_token_and_anything_else_a_file() {
        assert_eq!("a.key".parse(), Ok(KeyLocation::File("a.key".into())));
        assert!(matches!("pkcs11:token=a".parse(), Ok(KeyLocation::Token(_))));
        assert!("pkcs11:colour=red".parse::<KeyLocation>().is_err());
    }
}
