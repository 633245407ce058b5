//! `floorhand broker` with mutual TLS: who has a certificate of its CA comes in, and nobody else.

use anyhow::{Context as _, Result, ensure};
use floorhand_testkit::{Pki, free_port};
use floorhand_tests::{PATIENCE, Process, Site, workspace};
use floorhand_transport::{Client, ClientIdentity, Config, Event, Qos, TlsFiles};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
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

fn listens(broker: &mut Process, port: u16) -> Result<()> {
    floorhand_tests::wait_for("broker that listens", PATIENCE, || {
        ensure!(broker.is_running(), "{}", broker.tail());
        Ok(TcpStream::connect(("127.0.0.1", port)).ok())
    })
    .map(drop)
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
    listens(&mut broker, port)?;
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

/// A packet of MQTT 5: its type and flags, and what follows. Short enough for a length of one byte.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first, u8::try_from(body.len()).unwrap_or(u8::MAX)];
    packet.extend_from_slice(body);
    packet
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

/// Connects with a session that is to be kept, and waits for the answer.
fn connect(port: u16, client: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // MQTT 5, no flags, 60 s; the session lasts for an hour.
    let head = [0, 4, b'M', b'Q', b'T', b'T', 5, 0, 0, 60, 5, 0x11, 0, 0, 0x0e, 0x10];
    stream.write_all(&packet(0x10, &[&head, text(client).as_slice()].concat()))?;
    expect(&mut stream, 2)?;
    Ok(stream)
}

/// Reads packets until one is of this type.
fn expect(stream: &mut TcpStream, wanted: u8) -> Result<()> {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head)?;
        let [first, length] = head;
        stream.read_exact(&mut vec![0; usize::from(length)])?;
        if first >> 4 == wanted {
            return Ok(());
        }
    }
}

/// A hub that is killed leaves messages unacknowledged each time.
#[test]
fn a_hub_that_is_killed_again_and_again_leaves_the_broker_and_the_device_working() -> Result<()> {
    const DEVICE: &str = "press-1";
    let site = Site::new()?;
    let port = free_port()?;
    let (address, url) = (format!("127.0.0.1:{port}"), format!("mqtt://127.0.0.1:{port}"));
    let mut broker = Process::start(&site.path("broker.log"), &["broker", "--listen", &address])?;
    listens(&mut broker, port)?;
    let mut agent = site.device(
        DEVICE,
        &json!({
            "fleet_connection": { "broker": url },
            "source": [{
                "type": "file",
                "path": workspace().join("tests/skab/fixture/anomaly-free.csv"),
                "rate_hz": 300.0,
                "repeat": true,
            }],
        }),
    )?;
    let mut hub = site.start_hub_at(&url)?;
    hub.fleet_ok(&["enroll", DEVICE, "--key", &site.text(&format!("{DEVICE}.pub"))])?;
    agent.start()?;
    let packed = site.pack_fixture(1)?;
    let packed = packed.to_string_lossy();
    hub.fleet_ok(&["deploy", &packed, "--device", DEVICE, "--wait", "--timeout", "120"])?;
    hub.fleet_ok(&["set-sampling", DEVICE, "1"])?;
    let mut last = 0;
    for _ in 0..5 {
        last = floorhand_tests::wait_for("records that come to the hub", PATIENCE, || {
            ensure!(broker.is_running(), "{}", broker.tail());
            let shown = hub.fleet_ok(&["show", DEVICE])?;
            let records = shown.pointer("/device/totals/records").and_then(Value::as_u64);
            Ok(records.filter(|&records| records > last + 100))
        })
        .with_context(|| agent.tail())?;
        hub.process.kill()?;
        hub = site.start_hub_at(&url)?;
    }
    hub.process.stop()?;
    agent.stop()?;
    ensure!(broker.stop()? == Some(0), "{}", broker.tail());
    Ok(())
}

/// rumqttd 0.20 panics when the last member of a shared subscription goes with messages that it hasn't acknowledged. No
/// hub of ours subscribes that way to it; somebody else can.
#[test]
fn a_broker_that_can_do_nothing_any_more_ends() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let mut broker = Process::start(&dir.path().join("broker.log"), &["broker", "--listen", &address])?;
    listens(&mut broker, port)?;
    let mut member = connect(port, "member")?;
    let filter = [&[0, 1, 0], text("$share/g/t").as_slice(), &[1]].concat();
    member.write_all(&packet(0x82, &filter))?;
    expect(&mut member, 9)?;
    let mut sender = connect(port, "sender")?;
    let message = [text("t").as_slice(), &[0, 7, 0], b"x"].concat();
    sender.write_all(&packet(0x32, &message))?;
    expect(&mut member, 3)?;
    drop(member);
    let code = broker.wait(PATIENCE)?;
    ensure!(code == Some(5), "{code:?}: {}", broker.tail());
    ensure!(broker.log().contains("its router panicked"), "{}", broker.tail());
    Ok(())
}
