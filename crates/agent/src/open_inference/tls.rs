//! TLS of the listeners: 1.2 and 1.3, with clients' certificates where the configuration names their CA.

use crate::config::OpenInference;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

/// Reads the files; `None` where none are named. `protocols` are those that are spoken, as ALPN names them. The error is the
/// key of the file that is wrong, and what is.
pub(crate) fn open(
    section: &OpenInference,
    protocols: &[&[u8]],
) -> Result<Option<Arc<ServerConfig>>, (&'static str, String)> {
    let (Some(cert), Some(key)) = (&section.cert, &section.key) else {
        return Ok(None);
    };
    let chain = certificates(cert).map_err(|problem| ("cert", problem))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| ("key", named(key, &error)))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| ("cert", error.to_string()))?;
    let builder = match &section.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let wrong = |error: &dyn Display| ("client_ca", named(path, error));
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path).map_err(|problem| ("client_ca", problem))? {
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| wrong(&error))?)
        }
    };
    let mut config = builder
        .with_single_cert(chain, secret)
        .map_err(|error| ("key", named(key, &error)))?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Some(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| named(path, &error))?;
    if certificates.is_empty() {
        return Err(named(path, &"no certificate in it"));
    }
    Ok(certificates)
}

fn named(path: &Path, error: &dyn Display) -> String {
    format!("is {}, which can't be used: {error}", path.display())
}
