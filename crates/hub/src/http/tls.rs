//! TLS of the API and the pages: TLS 1.2 and 1.3, no client certificates, files that may be replaced while the hub runs.

use crate::config::HttpTls;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// How often the files are looked at. A certificate is replaced days before it ends.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Reads the files. The error names the one that is wrong.
pub(crate) fn open(files: &HttpTls) -> Result<Arc<ServerConfig>, String> {
    let certificates = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| named(&files.cert, &error))?;
    if certificates.is_empty() {
        return Err(named(&files.cert, &"no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| named(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| format!("{} and {}: {error}", files.cert.display(), files.key.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Puts new files into use at SIGHUP and when they change: for connections that are made then; those that are open go on
/// as they are. Files that can't be used change nothing.
///
/// SIGHUP is heard from this call on, not only once the future runs.
pub(crate) fn renew(files: HttpTls, current: watch::Sender<Arc<ServerConfig>>) -> impl Future<Output = ()> + Send {
    let hangups = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
    async move {
        let mut hangups = match hangups {
            Ok(hangups) => hangups,
            Err(error) => {
                tracing::error!("SIGHUP can't be heard, so a new certificate needs a restart: {error}");
                return;
            }
        };
        let mut tick = tokio::time::interval(LOOK_EVERY);
        let mut seen = stamps(&files);
        loop {
            tokio::select! {
                _ = hangups.recv() => {}
                _ = tick.tick() => if stamps(&files) == seen { continue },
            }
            seen = stamps(&files);
            match open(&files) {
                Ok(config) => {
                    current.send_replace(config);
                    tracing::info!(cert = %files.cert.display(), "read the certificate again");
                }
                Err(problem) => {
                    tracing::error!("the certificate stays as it was, the new one can't be used: {problem}")
                }
            }
        }
    }
}

/// What changes with a file.
fn stamps(files: &HttpTls) -> [Option<(SystemTime, u64)>; 2] {
    [&files.cert, &files.key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn named(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}
