//! Mutual TLS in front of the embedded broker: takes connections whose certificate is from one CA, and passes their bytes
//! on to the broker's own loopback port.
//!
//! rumqttd's own TLS is on an old rustls and leaves client certificates unchecked unless it is built otherwise; this is
//! the current one, with the same settings as every other connection of Floorhand.

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// A handshake that takes longer is given up: someone holds a place without using it.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After an accept that failed, for want of file descriptors say, there is this much rest.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// The files of `--ca`, `--cert` and `--key`.
#[derive(Debug, Clone)]
pub(super) struct TlsFiles {
    pub(super) ca: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

impl TlsFiles {
    /// Reads the files. The error names the one that is wrong.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots.add(certificate).map_err(|error| named(&self.ca, &error))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| named(&self.ca, &error))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| named(&self.key, &error))?;
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates(&self.cert)?, key)
            .map_err(|error| named(&self.cert, &error))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| named(path, &error))?;
    let certificates = read
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| named(path, &error))?;
    if certificates.is_empty() {
        return Err(format!("{}: no certificate in it", path.display()));
    }
    Ok(certificates)
}

fn named(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

/// Passes connections on until the task is aborted, at most `connections` at a time.
pub(super) async fn serve(listener: TcpListener, acceptor: TlsAcceptor, broker: SocketAddr, connections: usize) {
    let places = Arc::new(Semaphore::new(connections));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Err(problem) = pass_on(stream, &acceptor, broker).await {
                        tracing::info!(%peer, problem, "a connection was refused or broke");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "connections can't be taken for a moment");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

async fn pass_on(stream: TcpStream, acceptor: &TlsAcceptor, broker: SocketAddr) -> Result<(), String> {
    // Small packets go back and forth; waiting to fill larger ones would cost 40 ms each time.
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let mut outside = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream))
        .await
        .map_err(|_| "the TLS handshake took too long".to_owned())?
        .map_err(|error| error.to_string())?;
    let mut inside = TcpStream::connect(broker).await.map_err(|error| error.to_string())?;
    inside.set_nodelay(true).map_err(|error| error.to_string())?;
    tokio::io::copy_bidirectional(&mut outside, &mut inside)
        .await
        .map_err(|error| error.to_string())?;
    Ok(())
}
