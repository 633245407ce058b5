//! What is wrong with a configuration.

use std::path::PathBuf;

/// What is wrong with a configuration. Each names the key or the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The address can't be read.
    #[error("broker address {url:?}: {reason}")]
    Url {
        /// What was given, without a password.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A value is out of its range.
    #[error("{key} {reason}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it has to be.
        reason: &'static str,
    },
    /// An `mqtts://` address without files.
    #[error("an mqtts:// address needs the file of the CA that the broker's certificate is from")]
    TlsMissing,
    /// Files with an `mqtt://` address.
    #[error("TLS files are given and the address says mqtt://, which is not encrypted; say mqtts://")]
    TlsUnused,
    /// A file can't be read or has something else in it.
    #[error("{what} file {path}: {reason}", path = path.display())]
    File {
        /// What it should have in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key can't be used together.
    #[error("certificate {cert} and key {key}: {reason}", cert = cert.display(), key = key.display())]
    Identity {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
    /// TLS can't be set up.
    #[error("TLS can't be set up: {reason}")]
    Tls {
        /// What rustls said.
        reason: String,
    },
    /// More than one of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<ConfigError>),
}
