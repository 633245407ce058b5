//! The request to the hub over HTTPS, and the CA by which its certificate is known.
//!
//! A hub's certificate is its plant's, not the public web's. The token has the digest of the CA's certificate: a first
//! connection, on which nothing is sent, looks whether the hub shows that very CA, and the real one then trusts it alone.

use super::Failed;
use crate::args::EnrollArgs;
use crate::config::is_loopback;
use crate::exit::Exit;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use floorhand_bundle::Digest;
use floorhand_protocol::EnrolmentToken;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// A hub in the same plant answers in far less.
const WITHIN: Duration = Duration::from_secs(30);
/// Addresses of a name that are tried; together they get the time of one. A hub has two, mostly, of which one may be an IPv6
/// address that leads nowhere in this plant.
const MAX_ADDRESSES: usize = 8;
/// Certificates, the root, those that came after it (a kilobyte each, mostly), and the base64 of it all.
const MAX_ANSWER_BYTES: u64 = 1024 * 1024;
/// A hub that is asked by a hall full of devices says that it is busy.
const TRIES: u32 = 5;
/// Between two tries, and as much again by chance.
const REST_MS: u64 = 2000;
const SERVICE_UNAVAILABLE: u16 = 503;
/// What it says to an address from which too many ask: a hall behind one router has one.
const TOO_MANY_REQUESTS: u16 = 429;
const UNPROCESSABLE: u16 = 422;

/// What the hub said, unverified.
pub(super) struct Answer {
    /// The trust roots that it knows, the oldest first.
    pub(super) roots: Vec<Vec<u8>>,
    pub(super) certificate: Vec<u8>,
}

/// Sends a request and returns the answer.
pub(super) fn ask(args: &EnrollArgs, token: &EnrolmentToken, request: &[u8]) -> Result<Answer, Failed> {
    let hub = Hub::new(args, token)?;
    let body = json!({ "request": STANDARD.encode(request) });
    for attempt in 1.. {
        let (status, text) = hub.post(&body)?;
        match status {
            200 => return answer(&text).ok_or_else(|| hub.strange()),
            SERVICE_UNAVAILABLE | TOO_MANY_REQUESTS if attempt < TRIES => {
                let rest_ms = REST_MS + crate::random::u64() % REST_MS;
                std::thread::sleep(Duration::from_millis(rest_ms));
            }
            _ => return Err(hub.said_no(status, &text)),
        }
    }
    Err(hub.strange())
}

fn answer(text: &str) -> Option<Answer> {
    let json: Value = serde_json::from_str(text).ok()?;
    let decoded = |value: &Value| STANDARD.decode(value.as_str()?).ok();
    let bytes = |key: &str| decoded(json.get(key)?);
    let list = |key: &str| match json.get(key) {
        Some(list) => list.as_array()?.iter().map(decoded).collect::<Option<Vec<_>>>(),
        None => Some(Vec::new()),
    };
    let mut roots = list("earlier_roots")?;
    roots.push(bytes("root")?);
    roots.extend(list("next_roots")?);
    Some(Answer {
        roots,
        certificate: bytes("certificate")?,
    })
}

struct Hub {
    agent: Agent,
    base: String,
}

impl Hub {
    fn new(args: &EnrollArgs, token: &EnrolmentToken) -> Result<Self, Failed> {
        let base = args.hub.trim_end_matches('/').to_owned();
        let wrong = |problem: String| (Exit::Failure, problem);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(WITHIN))
            .user_agent(concat!("floorhand-agent/", env!("CARGO_PKG_VERSION")));
        let (host, port) = address(&base).ok_or_else(|| wrong(format!("--hub {base} is no https:// address")))?;
        let config = if base.starts_with("https://") {
            let ca = match (&args.hub_ca, token.api_ca) {
                (Some(path), _) => {
                    let pem = fs::read(path).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
                    let read = Certificate::from_pem(&pem);
                    read.map_err(|error| wrong(format!("{}: {error}", path.display())))?
                }
                (None, Some(digest)) => Certificate::from_der(&shown(&host, port, digest)?).to_owned(),
                (None, None) => {
                    let problem = "the token doesn't tell the CA that the hub's certificate is from: give it with --hub-ca, or \
                                   set `api_ca` in the hub's [enrolment] and make another token";
                    return Err(wrong(problem.to_owned()));
                }
            };
            let tls = TlsConfig::builder()
                .root_certs(RootCerts::new_with_certs(&[ca]))
                .unversioned_rustls_crypto_provider(provider())
                .build();
            config.tls_config(tls)
        } else if is_loopback(&host) {
            config
        } else {
            return Err(wrong(format!("--hub {base} is not encrypted: say https://")));
        };
        Ok(Self {
            agent: config.build().new_agent(),
            base,
        })
    }

    fn post(&self, body: &Value) -> Result<(u16, String), Failed> {
        let mut response = self
            .agent
            .post(format!("{}/api/v1/enrol", self.base))
            .send_json(body)
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        let read = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER_BYTES)
            .read_to_string();
        Ok((status, read.map_err(|error| self.unreachable(&error))?))
    }

    /// What was made is kept, and the hub gives the same request the same answer.
    fn unreachable(&self, error: &ureq::Error) -> Failed {
        let problem = format!(
            "hub {} can't be reached: {error}; run the same command again, nothing is lost",
            self.base
        );
        (Exit::Unreachable, problem)
    }

    fn strange(&self) -> Failed {
        let problem = format!(
            "{} answers with something else than a hub does; is --hub right?",
            self.base
        );
        (Exit::Unreachable, problem)
    }

    fn said_no(&self, status: u16, text: &str) -> Failed {
        let said = serde_json::from_str::<Value>(text)
            .ok()
            .and_then(|json| json.get("error")?.as_str().map(str::to_owned))
            .unwrap_or_else(|| format!("hub {} answers {status}", self.base));
        match status {
            UNPROCESSABLE | 403 | 409 => (Exit::Refused, said),
            SERVICE_UNAVAILABLE | TOO_MANY_REQUESTS => (Exit::Unreachable, said),
            _ => (Exit::Failure, said),
        }
    }
}

/// Host and port of a URL.
fn address(base: &str) -> Option<(String, u16)> {
    let (scheme, rest) = base.split_once("://")?;
    let default = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let authority = rest.split('/').next().filter(|authority| !authority.is_empty())?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.map_or(Some(default), |port| port.parse().ok())?;
    Some((host.to_owned(), port))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificate with this digest, which the hub has to show. Nothing is sent on this connection.
fn shown(host: &str, port: u16, digest: Digest) -> Result<Vec<u8>, Failed> {
    let unreachable = |error: &dyn std::fmt::Display| {
        (
            Exit::Unreachable,
            format!("hub {host}:{port} can't be reached: {error}"),
        )
    };
    let look = Arc::new(Look {
        digest,
        found: Mutex::default(),
        provider: provider(),
    });
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unreachable(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&look) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| unreachable(&error))?;
    let addresses = (host, port).to_socket_addrs().map_err(|error| unreachable(&error))?;
    let mut stream = connected(addresses.collect()).map_err(|error| unreachable(&error))?;
    for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        set(&stream, Some(WITHIN)).map_err(|error| unreachable(&error))?;
    }
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(|error| unreachable(&error))?;
    let ended = connection.complete_io(&mut stream);
    let found = look.found.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (found, ended) {
        (Some(certificate), Ok(_)) => Ok(certificate),
        (None, Err(error)) if error.kind() != std::io::ErrorKind::InvalidData => Err(unreachable(&error)),
        (_, Err(error)) => Err((
            Exit::Refused,
            format!("{host}:{port} is not the hub that made the token, or shows no certificate of its CA: {error}"),
        )),
        (None, Ok(_)) => Err(unreachable(&"it shows no certificate")),
    }
}

/// A connection to the first of a name's addresses that takes one. The error is the last one's.
fn connected(mut addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    addresses.truncate(MAX_ADDRESSES);
    let mut last = io::Error::other("its name has no address");
    for address in &addresses {
        match TcpStream::connect_timeout(address, WITHIN / addresses.len() as u32) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Looks for one certificate among those that a server shows.
#[derive(Debug)]
struct Look {
    digest: Digest,
    found: Mutex<Option<Vec<u8>>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut all = std::iter::once(end_entity).chain(intermediates);
        let Some(certificate) = all.find(|one| Digest::of(one) == self.digest) else {
            let problem = "the token knows it by another CA; where the hub shows its certificate without that of its CA, give \
                           the latter with --hub-ca";
            return Err(rustls::Error::General(problem.to_owned()));
        };
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_testkit::Pki;
    use rustls_pki_types::PrivateKeyDer;
    use rustls_pki_types::pem::PemObject as _;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::path::Path;
    use std::thread::JoinHandle;

    fn ders(path: &Path) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(path)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    /// A hub behind TLS that refuses every request by its own words, for so many connections; how many requests came.
    fn hub(pki: &Pki, with_ca: bool, connections: usize) -> (u16, JoinHandle<usize>) {
        let identity = pki.issue("hub-api").unwrap();
        let mut chain = ders(&identity.cert);
        if with_ca {
            chain.extend(ders(&pki.ca()));
        }
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(&identity.key).unwrap())
            .unwrap();
        let (config, listener) = (Arc::new(config), TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let port = listener.local_addr().unwrap().port();
        let serving = std::thread::spawn(move || (0..connections).filter(|_| is_asked(&listener, &config)).count());
        (port, serving)
    }

    fn is_asked(listener: &TcpListener, config: &Arc<rustls::ServerConfig>) -> bool {
        let (mut stream, _) = listener.accept().unwrap();
        let mut connection = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
        let mut tls = rustls::Stream::new(&mut connection, &mut stream);
        let mut buffer = [0; 4096];
        if tls.read(&mut buffer).unwrap_or(0) == 0 {
            return false;
        }
        let body = r#"{"error":"as the hub says"}"#;
        let head = format!(
            "HTTP/1.1 422 X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        tls.write_all(format!("{head}{body}").as_bytes()).unwrap();
        tls.conn.send_close_notify();
        drop(tls.flush());
        true
    }

    fn asked(port: u16, api_ca: Option<Digest>, hub_ca: Option<&Path>) -> Failed {
        let args = EnrollArgs {
            hub: format!("https://localhost:{port}"),
            token: None,
            token_file: None,
            device: None,
            hardware: "generic".parse().unwrap(),
            hub_ca: hub_ca.map(Path::to_owned),
            out: Some("/nowhere".into()),
        };
        let token = EnrolmentToken {
            secret: floorhand_bundle::SecretKey::from_seed(&[1; 32]),
            root: Digest::of(b""),
            api_ca,
            device: None,
        };
        ask(&args, &token, b"request").map(drop).unwrap_err()
    }

    #[test]
    fn a_hub_is_known_by_the_authority_in_the_token() {
        let (ours, theirs) = (Pki::new().unwrap(), Pki::new().unwrap());
        let digest = Digest::of(&ders(&ours.ca())[0]);
        let (port, serving) = hub(&ours, true, 2);
        assert_eq!(
            asked(port, Some(digest), None),
            (Exit::Refused, "as the hub says".to_owned())
        );
        assert_eq!(
            serving.join().unwrap(),
            1,
            "nothing is sent on the connection that looks"
        );

        let (port, serving) = hub(&theirs, true, 1);
        let (exit, problem) = asked(port, Some(digest), None);
        assert!(
            exit == Exit::Refused && problem.contains("is not the hub that made the token"),
            "{problem}"
        );
        assert_eq!(serving.join().unwrap(), 0, "a forged hub is sent nothing");
    }

    #[test]
    fn a_hub_that_does_not_show_its_authority_is_known_by_a_file() {
        let pki = Pki::new().unwrap();
        let digest = Digest::of(&ders(&pki.ca())[0]);
        let (port, serving) = hub(&pki, false, 2);
        assert!(asked(port, Some(digest), None).1.contains("--hub-ca"));
        assert_eq!(asked(port, Some(digest), Some(&pki.ca())).1, "as the hub says");
        assert_eq!(serving.join().unwrap(), 1);
        assert!(asked(port, None, None).1.contains("--hub-ca"));
    }

    #[test]
    fn the_addresses_of_a_name_are_tried_until_one_is_there() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let there = listener.local_addr().unwrap();
        let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        assert_eq!(connected(vec![nobody, there]).unwrap().peer_addr().unwrap(), there);
        assert_eq!(
            connected(vec![nobody]).unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        let none = connected(vec![]).unwrap_err().to_string();
        assert!(none.contains("its name has no address"), "{none}");
    }

    #[test]
    fn addresses() {
        for (base, expected) in [
            ("https://hub.plant-a", Some(("hub.plant-a", 443))),
            ("https://hub:8443/x", Some(("hub", 8443))),
            ("http://[::1]:80", Some(("::1", 80))),
            ("http://127.0.0.1:8460", Some(("127.0.0.1", 8460))),
            ("ftp://x", None),
            ("https://", None),
            ("https://x:port", None),
            ("hub", None),
        ] {
            let found = address(base);
            assert_eq!(
                found.as_ref().map(|(host, port)| (host.as_str(), *port)),
                expected,
                "{base}"
            );
        }
    }
}
