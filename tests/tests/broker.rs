//! `floorhand broker` with mutual TLS: who has a certificate of its CA comes in, and nobody else.

use anyhow::{Context as _, Result, ensure};
use floorhand_testkit::{Pki, free_port};
use floorhand_tests::{PATIENCE, Process};
use floorhand_transport::{Client, ClientIdentity, Config, Event, Qos, TlsFiles};
use std::path::Path;

/// What the first attempt to connect comes to, and whether a message then comes round.
async fn attempt(url: &str, tls: Option<TlsFiles>) -> Result<bool> {
    let mut config = Config::new(url, "someone");
    config.tls = tls;
    let (client, mut incoming) = Client::start(config)?;
    loop {
        let event = tokio::time::timeout(PATIENCE, incoming.recv()).await?;
        match event.context("the client has ended")? {
            Event::Connected { .. } => {
                client.subscribe("round", Qos::AtLeastOnce).await?;
                client
                    .publish("round", b"trip".to_vec(), Qos::AtLeastOnce, false)
                    .await?;
            }
            Event::Message(message) => return Ok(message.payload == b"trip"),
            Event::Disconnected { .. } | Event::Retrying { .. } => return Ok(false),
            Event::Refused { topic, reason } => anyhow::bail!("{topic}: {reason}"),
        }
    }
}

fn files(ca: &Path, pki: &Pki) -> Result<TlsFiles> {
    let identity = pki.issue("someone")?;
    Ok(TlsFiles {
        ca: ca.to_owned(),
        identity: Some(ClientIdentity {
            cert: identity.cert,
            key: identity.key,
        }),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_its_own_ca_is_asked_for() -> Result<()> {
    let (ours, theirs) = (Pki::new()?, Pki::new()?);
    let dir = tempfile::tempdir()?;
    let identity = ours.issue("broker")?;
    let port = free_port()?;
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut broker = Process::start(
        &dir.path().join("broker.log"),
        &[
            "broker",
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--ca",
            &path(&ours.ca()),
            "--cert",
            &path(&identity.cert),
            "--key",
            &path(&identity.key),
        ],
    )?;
    floorhand_tests::wait_for("broker that listens", PATIENCE, || {
        ensure!(broker.is_running(), "{}", broker.tail());
        Ok(std::net::TcpStream::connect(("127.0.0.1", port)).ok())
    })?;
    let url = format!("mqtts://localhost:{port}");
    ensure!(
        attempt(&url, Some(files(&ours.ca(), &ours)?)).await?,
        "its own: {}",
        broker.tail()
    );
    ensure!(
        !attempt(&url, Some(files(&ours.ca(), &theirs)?)).await?,
        "a certificate of another CA"
    );
    let without = TlsFiles {
        ca: ours.ca(),
        identity: None,
    };
    ensure!(!attempt(&url, Some(without)).await?, "no certificate");
    ensure!(!attempt(&format!("mqtt://localhost:{port}"), None).await?, "no TLS");
    ensure!(
        attempt(&url, Some(files(&ours.ca(), &ours)?)).await?,
        "its own, after all of these"
    );
    ensure!(broker.stop()? == Some(0), "{}", broker.tail());
    Ok(())
}
