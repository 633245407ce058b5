//! Asking the issuer for its keys: discovery, then the key set, within bounds of time and length, without redirects.

use super::keys::KeySet;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// For each of the two answers. Callers wait meanwhile.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A discovery document has some kilobytes.
const MAX_DISCOVERY_BYTES: u64 = 64 * 1024;
/// Some tens of keys with their certificate chains.
const MAX_KEYS_BYTES: u64 = 512 * 1024;

/// Asks one issuer.
#[derive(Debug)]
pub(super) struct Fetcher {
    issuer: String,
    agent: Agent,
}

impl Fetcher {
    /// For an issuer whose certificate is from this CA.
    pub(super) fn new(issuer: &str, ca: Option<&Path>) -> Result<Self, String> {
        let config = Agent::config_builder()
            .max_redirects(0)
            .timeout_global(Some(TIMEOUT))
            // One fetch in an hour: nothing is gained by keeping a connection.
            .max_idle_connections(0)
            .user_agent(concat!("floorhand-hub/", env!("CARGO_PKG_VERSION")));
        let config = match ca {
            Some(ca) => config.tls_config(tls(ca)?),
            None => config,
        };
        Ok(Self {
            issuer: issuer.to_owned(),
            agent: config.build().new_agent(),
        })
    }

    /// The issuer's keys as they are now.
    pub(super) fn keys(&self) -> Result<KeySet, String> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let discovery = self.get(&url, MAX_DISCOVERY_BYTES)?;
        let discovery: serde_json::Value =
            serde_json::from_slice(&discovery).map_err(|error| format!("{url}: {error}"))?;
        let text = |key: &str| discovery.get(key).and_then(|value| value.as_str());
        if text("issuer") != Some(self.issuer.as_str()) {
            return Err(format!("{url}: it is of another issuer"));
        }
        let keys = text("jwks_uri").ok_or_else(|| format!("{url}: it has no `jwks_uri`"))?;
        // Keys that came unprotected would be anybody's.
        if !may_be_asked(keys) {
            return Err(format!("{url}: its `jwks_uri` is not https"));
        }
        let set = self.get(keys, MAX_KEYS_BYTES)?;
        KeySet::read(&set).map_err(|problem| format!("{keys}: {problem}"))
    }

    fn get(&self, url: &str, most: u64) -> Result<Vec<u8>, String> {
        let failed = |error: ureq::Error| format!("{url}: {error}");
        let mut answer = self.agent.get(url).call().map_err(failed)?;
        if answer.status() != 200 {
            return Err(format!("{url}: answered {}", answer.status()));
        }
        answer
            .body_mut()
            .with_config()
            .limit(most)
            .read_to_vec()
            .map_err(failed)
    }
}

/// Whether what comes from a URL can be believed: TLS, or the same machine.
pub(crate) fn may_be_asked(url: &str) -> bool {
    if let Some(rest) = url.strip_prefix("http://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        return name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    }
    url.starts_with("https://")
}

fn tls(ca: &Path) -> Result<TlsConfig, String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", ca.display());
    let read = CertificateDer::pem_file_iter(ca).map_err(|error| named(&error))?;
    let certificates = read
        .map(|one| one.map(|one| Certificate::from_der(&one).to_owned()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| named(&error))?;
    if certificates.is_empty() {
        return Err(named(&"no certificate in it"));
    }
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&certificates))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        for (url, may) in [
            ("https://sso.example/keys", true),
            ("http://127.0.0.1:80/keys", true),
            ("http://localhost/keys", true),
            ("http://[::1]:8080", true),
            ("http://sso.example/keys", false),
            ("http://127.0.0.1.sso.example/", false),
            ("http://127.0.0.1@sso.example/", false),
            ("http://sso.example@127.0.0.1/", false),
            ("ftp://127.0.0.1/", false),
        ] {
            assert_eq!(may_be_asked(url), may, "{url}");
        }
    }
}
