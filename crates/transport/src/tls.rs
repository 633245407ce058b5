//! TLS for a connection: which CA the broker's certificate has to be from, and who we are.
//!
//! The provider is named here (ring), never taken from the process, so that another crate's choice can't change it. The
//! system's own certificates are not trusted: a fleet has its CA.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::ConfigError;

/// The files of a TLS connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The CA (or CAs) that the broker's certificate has to be from, PEM.
    pub ca: PathBuf,
    /// Who we are, for a broker that asks (mutual TLS).
    pub identity: Option<ClientIdentity>,
}

/// A client's certificate and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate, with its chain where there is one, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Files for mutual TLS.
    #[must_use]
    pub fn mutual(ca: impl Into<PathBuf>, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        let identity = ClientIdentity {
            cert: cert.into(),
            key: key.into(),
        };
        Self {
            ca: ca.into(),
            identity: Some(identity),
        }
    }

    /// Reads the files, adding every mistake to `errors`. `None` when there was one.
    pub(crate) fn load(&self, errors: &mut Vec<ConfigError>) -> Option<Arc<ClientConfig>> {
        let roots = collect(load_roots(&self.ca), errors);
        let identity = self.identity.as_ref().map(|identity| {
            let chain = collect(load_chain(&identity.cert), errors);
            let key = collect(load_key(&identity.key), errors);
            chain.zip(key)
        });
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions();
        let builder = match builder {
            Ok(builder) => builder.with_root_certificates(roots?),
            Err(error) => {
                errors.push(ConfigError::Tls {
                    reason: error.to_string(),
                });
                return None;
            }
        };
        let Some(identity) = identity else {
            return Some(Arc::new(builder.with_no_client_auth()));
        };
        let (chain, key) = identity?;
        match builder.with_client_auth_cert(chain, key) {
            Ok(config) => Some(Arc::new(config)),
            Err(error) => {
                errors.extend(self.identity.as_ref().map(|identity| mismatch(identity, &error)));
                None
            }
        }
    }
}

fn mismatch(identity: &ClientIdentity, error: &rustls::Error) -> ConfigError {
    let reason = match error {
        rustls::Error::InconsistentKeys(_) => "the key belongs to another certificate".to_owned(),
        other => other.to_string(),
    };
    ConfigError::Identity {
        cert: identity.cert.clone(),
        key: identity.key.clone(),
        reason,
    }
}

fn collect<T>(result: Result<T, ConfigError>, errors: &mut Vec<ConfigError>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

fn load_roots(path: &Path) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in load_chain(path)? {
        roots
            .add(certificate)
            .map_err(|error| file_error("CA", path, error.to_string()))?;
    }
    Ok(roots)
}

fn load_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|error| file_error("certificate", path, reason(&error)))?;
    if chain.is_empty() {
        return Err(file_error(
            "certificate",
            path,
            "there is no certificate in it (PEM expected)".to_owned(),
        ));
    }
    Ok(chain)
}

fn load_key(path: &Path) -> Result<PrivateKeyDer<'static>, ConfigError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| file_error("key", path, reason(&error)))
}

fn file_error(what: &'static str, path: &Path, reason: String) -> ConfigError {
    ConfigError::File {
        what,
        path: path.to_owned(),
        reason,
    }
}

fn reason(error: &rustls_pki_types::pem::Error) -> String {
    use rustls_pki_types::pem::Error as E;
    match error {
        E::Io(error) => error.to_string(),
        E::NoItemsFound => "there is none in it (PEM expected)".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_testkit::Pki;

    fn mistakes(files: &TlsFiles) -> Vec<String> {
        let mut errors = Vec::new();
        assert_eq!(files.load(&mut errors).is_some(), errors.is_empty());
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn good_files_load() {
        let pki = Pki::new().unwrap();
        let device = pki.issue("press-01").unwrap();
        assert_eq!(
            mistakes(&TlsFiles::mutual(pki.ca(), &device.cert, &device.key)),
            Vec::<String>::new()
        );
        assert_eq!(
            mistakes(&TlsFiles {
                ca: pki.ca(),
                identity: None
            }),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_key_of_another_certificate_is_told() {
        let pki = Pki::new().unwrap();
        let (one, two) = (pki.issue("one").unwrap(), pki.issue("two").unwrap());
        let found = mistakes(&TlsFiles::mutual(pki.ca(), &one.cert, &two.key));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("the key belongs to another certificate"), "{found:?}");
    }

    #[test]
    fn every_file_that_is_missing_or_wrong_is_told_at_once() {
        let pki = Pki::new().unwrap();
        let device = pki.issue("press-01").unwrap();
        let found = mistakes(&TlsFiles::mutual("/nowhere/ca.pem", &device.key, &device.cert));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("/nowhere/ca.pem"), "{found:?}");
        assert!(found[1].contains("no certificate in it"), "{found:?}");
        assert!(found[2].contains("there is none in it"), "{found:?}");
    }
}
