//! The program over TLS, from outside: with a certificate that changes while it runs.

use crate::PATIENCE;
use crate::hub::Hub;
use floorhand_testkit::{Pki, eventually, free_port};
use std::path::Path;
use std::sync::Arc;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Somebody who trusts this CA and keeps their connection.
fn trusting(ca: &Path) -> Agent {
    let pem = std::fs::read(ca).unwrap();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[Certificate::from_pem(&pem).unwrap()]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    Agent::config_builder().tls_config(tls).build().new_agent()
}

#[test]
fn a_certificate_is_renewed_without_dropping_connections() {
    let [old, new] = [(); 2].map(|()| Pki::new().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let install = |pki: &Pki| {
        let identity = pki.issue("hub").unwrap();
        std::fs::copy(identity.cert, dir.path().join("http.pem")).unwrap();
        std::fs::copy(identity.key, dir.path().join("http.key")).unwrap();
    };
    install(&old);
    let (cert, key) = (dir.path().join("http.pem"), dir.path().join("http.key"));
    let broker = free_port().unwrap();
    let hub = Hub::start_over_tls(
        &format!("embedded_broker = '127.0.0.1:{broker}'\n[http_tls]\ncert = {cert:?}\nkey = {key:?}"),
        &trusting(&old.ca()),
    );
    let url = format!("https://localhost:{}/healthz", hub.http);
    // Read to its end, so that the connection is used again.
    let asked = |agent: &Agent| {
        let answer = agent.get(&url).call();
        answer.is_ok_and(|mut answer| answer.body_mut().read_to_string().is_ok_and(|text| text == "ok\n"))
    };
    assert!(
        ureq::get(format!("http://localhost:{}/healthz", hub.http))
            .call()
            .is_err(),
        "plain HTTP is no way in"
    );
    let (keeps, comes_new) = (trusting(&old.ca()), trusting(&new.ca()));
    assert!(asked(&keeps) && !asked(&comes_new));
    std::fs::write(&cert, "nonsense").unwrap();
    hub.hang_up();
    let is_told = || asked(&keeps) && hub.log().contains("the certificate stays as it was");
    assert!(eventually(PATIENCE, is_told), "{}", hub.log());
    assert!(asked(&trusting(&old.ca())));
    install(&new);
    hub.hang_up();
    assert!(
        eventually(PATIENCE, || asked(&keeps) && asked(&comes_new)),
        "{}",
        hub.log()
    );
    assert!(!asked(&trusting(&old.ca())), "who comes anew gets the new certificate");
    assert!(asked(&keeps), "who is connected goes on");
    assert_eq!(hub.terminate().0, Some(0));
}
