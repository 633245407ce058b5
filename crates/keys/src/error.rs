//! Why a key can't be had. Each message names the file or the token, and what to do; none has a secret in it.

use crate::uri::TokenUri;
use floorhand_bundle::{KeyError, KeyId};
use std::io;
use std::path::PathBuf;

/// Why a key can't be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file can't be read.
    #[error("{} can't be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no text, or longer than any of its kind.
    #[error("{} is {what}", path.display())]
    Unlikely {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// A secret lies open.
    #[error(
        "{} can be read by everybody on this machine (mode {mode:o}): take its key for known to others, or `chmod 600` \
         it if that was a slip",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds no key of the kind that was asked for, or one that doesn't open.
    #[error("{}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// The passphrase fits, and another key comes out than the file was written with.
    #[error("{} says that it holds key {written}, and it holds {found}: it is damaged; restore it from its backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The key it was written with.
        written: KeyId,
        /// The key it gives.
        found: KeyId,
    },
    /// Nobody gave what unlocks the key.
    #[error("{what} is needed: {advice}")]
    NotGiven {
        /// Which passphrase or PIN.
        what: String,
        /// How to give it.
        advice: String,
    },
    /// No PKCS #11 module was named.
    #[error(
        "{uri} needs the token's PKCS #11 module: name it in the URI, as ?module-path=/path/to/module.so{otherwise}"
    )]
    NoModule {
        /// The key.
        uri: Box<TokenUri>,
        /// Where else it can be named.
        otherwise: &'static str,
    },
    /// The module can't be used.
    #[error("PKCS #11 module {} can't be used: {problem}", path.display())]
    Module {
        /// The module.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// No token is the one that the URI means, or several are.
    #[error("{uri} means {found} tokens, and has to mean one; there are {there}")]
    WhichToken {
        /// The key.
        uri: Box<TokenUri>,
        /// How many it means.
        found: usize,
        /// What there is.
        there: String,
    },
    /// The PIN isn't the token's.
    #[error("the PIN is not that of token {token}{warning}")]
    WrongPin {
        /// The token's label.
        token: String,
        /// What the token says of further tries.
        warning: &'static str,
    },
    /// Too many wrong PINs.
    #[error("token {token} is locked after too many wrong PINs; its security officer can unlock it")]
    PinLocked {
        /// The token's label.
        token: String,
    },
    /// No Ed25519 key of the token is the one that the URI means, or several are.
    #[error("{uri} means {found} Ed25519 keys of token {token}, and has to mean one; there are {there}")]
    WhichKey {
        /// The key.
        uri: Box<TokenUri>,
        /// The token's label.
        token: String,
        /// How many it means.
        found: usize,
        /// What there is.
        there: String,
    },
    /// A key would be made beside one of the same name.
    #[error("token {token} has an object named {object:?} already; choose another name")]
    Exists {
        /// The token's label.
        token: String,
        /// The object's label.
        object: String,
    },
    /// The token doesn't do what was asked of it.
    #[error("token {token} can't {action}: {problem}")]
    Token {
        /// The token's label.
        token: String,
        /// What was asked.
        action: &'static str,
        /// What it answered.
        problem: String,
    },
}
