//! A broker that runs with exactly the files of `floorhand hub broker-config mosquitto`, and what it denies.
//!
//! Each row is an attempt by somebody with a certificate of his own, or without, and what came of it. It is judged by what an
//! operator sees, who may read everything, and by what the attacker gets: a broker's word that something was denied, or done,
//! proves neither. Nothing is waited for by the clock: a message that is allowed follows each attempt and shows that all
//! before it has been worked on.

#[path = "broker_matrix/bench.rs"]
mod bench;

use anyhow::{Context as _, Result, ensure};
use bench::{Bench, Peer, REVOKED, connect, down, tls, up};
use floorhand_testkit::{Identity, Mosquitto, Pki};
use floorhand_tests::{FLEET, PATIENCE, run, run_ok, say, wait_for};
use floorhand_transport::{Config, Event, LastWill, Message, Qos};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use tokio::time::timeout;

/// Above what the broker takes.
const OVERSIZE: usize = 300_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_does_not_happen() -> Result<()> {
    if !Mosquitto::is_there() {
        return Ok(());
    }
    let mut bench = Bench::new().await?;
    who_is_let_in(&mut bench).await?;
    what_devices_may_write(&mut bench).await?;
    what_devices_may_read(&mut bench).await?;
    who_one_is(&mut bench).await?;
    names_with_wildcards(&mut bench).await?;
    packets_and_wills(&mut bench).await?;
    what_is_kept(&mut bench).await?;
    for (attempt, observed) in &bench.rows {
        say(&format!("denied: {attempt}: {observed}"));
    }
    say(&format!("{} attempts, none with an effect", bench.rows.len()));
    ensure!(bench.rows.len() == 85, "{} rows", bench.rows.len());
    Ok(())
}

async fn who_is_let_in(bench: &mut Bench) -> Result<()> {
    let foreign = Pki::new()?;
    let expired = bench.pki.issue_expired("press-1")?;
    let revoked = bench.pki.issue_numbered("press-1", REVOKED)?;
    let stranger = foreign.issue("press-1")?;
    let of = |pki: &Pki, identity: Option<&Identity>| Some(tls(pki, identity));
    let word = "doesn't accept our certificate";
    bench
        .no_entry("an expired certificate", of(&bench.pki, Some(&expired)), word)
        .await?;
    bench
        .no_entry("a revoked certificate", of(&bench.pki, Some(&revoked)), word)
        .await?;
    bench
        .no_entry("a foreign CA's certificate", of(&bench.pki, Some(&stranger)), word)
        .await?;
    bench
        .no_entry("nobody, without a certificate,", of(&bench.pki, None), word)
        .await?;
    bench.no_entry("nobody, without TLS,", None, "").await?;
    bench
        .no_entry(
            "a device, to a broker of a foreign CA,",
            of(&foreign, Some(&stranger)),
            "not from the CA",
        )
        .await?;
    let alert = old_tls(bench.broker.port())?;
    bench.row("a client connects that speaks TLS 1.1 at most", alert);
    // And the same certificates' owners, in order, are let in.
    let good = bench.pki.issue_numbered("press-1", REVOKED + 1)?;
    bench.peer(&good, "press-1").await?;
    Ok(())
}

/// A handshake that offers TLS 1.1 and nothing newer; the alert that answers it.
fn old_tls(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Version 3.2, 32 bytes of randomness, no session, four cipher suites of that time, no compression.
    let mut hello = vec![3, 2];
    hello.extend([0x5a; 32]);
    hello.push(0);
    hello.extend([0, 8, 0xc0, 0x14, 0xc0, 0x13, 0, 0x35, 0, 0x2f, 1, 0]);
    let length = u8::try_from(hello.len())?;
    let handshake = [&[1, 0, 0, length], hello.as_slice()].concat();
    let record = [&[22, 3, 1, 0, length + 4], handshake.as_slice()].concat();
    stream.write_all(&record)?;
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    // An alert (21) of two bytes: fatal (2), protocol version (70).
    ensure!(
        matches!(answer.as_slice(), [21, _, _, 0, 2, 2, 70, ..]),
        "it was answered with {answer:?}"
    );
    Ok("TLS alert: protocol version".to_owned())
}

async fn what_devices_may_write(bench: &mut Bench) -> Result<()> {
    let mut device = bench.device("press-1").await?;
    // What it may, so that the rest isn't denied for another reason.
    let own = bench.unique("allowed");
    device
        .client
        .publish(up("press-1", "hello"), own.clone(), Qos::AtLeastOnce, false)
        .await?;
    bench.operator.messages_until(&own).await?;
    let foreign = "fh/v1/plant-b/d/press-1/up/hello".to_owned();
    let blob = format!("fh/v1/{FLEET}/blob/{}", "0".repeat(64));
    for (topic, retain) in [
        (up("press-2", "hello"), false),
        (up("press-2", "batch"), true),
        (down("press-1", "assign"), true),
        (down("press-1", "cmd"), true),
        (down("press-1", "ack"), false),
        (down("press-2", "assign"), true),
        (down("press-2", "cmd"), true),
        (down("press-2", "cmd"), false),
        (down("press-2", "ack"), false),
        (down("press-2", "chunk"), false),
        (down("press-2", "certificate"), false),
        (blob.clone(), false),
        (blob, true),
        (foreign, false),
        (format!("fh/v1/{FLEET}/d/press-1"), false),
        ("plant/press-1/sensors".to_owned(), false),
        ("$SYS/broker/version".to_owned(), false),
    ] {
        bench.denied_publish("press-1", &mut device, &topic, retain).await?;
    }
    let identity = bench.pki.issue("anna.o")?;
    let mut observer = bench.peer(&identity, "anna.o").await?;
    for topic in [up("anna-o", "hello"), down("press-2", "assign"), up("press-2", "hello")] {
        bench.denied_publish("an observer", &mut observer, &topic, true).await?;
    }
    let reason = bench
        .operator
        .refused(&down("press-2", "assign"), b"by the operator", true)
        .await?;
    ensure!(reason.contains("NotAuthorized"), "{reason}");
    bench.row("an operator publishes an assignment, retained", reason);
    let payload = bench.unique("attack");
    let reason = bench.hub.refused(&up("press-2", "hello"), &payload, false).await?;
    bench.unseen(&payload).await?;
    bench.row("a hub speaks for a device", format!("{reason}; nobody saw it"));
    Ok(())
}

async fn what_devices_may_read(bench: &mut Bench) -> Result<()> {
    let (mut device, mut victim) = (bench.device("press-1").await?, bench.device("press-2").await?);
    // Something that is kept for the other one, which a subscription would bring at once.
    bench
        .hub
        .client
        .publish(down("press-2", "assign"), b"kept".to_vec(), Qos::AtLeastOnce, true)
        .await?;
    for filter in [
        "#".to_owned(),
        "+/#".to_owned(),
        "+/+/+/+/+/+/+".to_owned(),
        format!("fh/v1/{FLEET}/#"),
        format!("fh/v1/{FLEET}/d/+/down/#"),
        format!("fh/v1/{FLEET}/d/+/up/#"),
        "fh/v1/+/d/+/down/assign".to_owned(),
        down("press-2", "#"),
        down("press-2", "assign"),
        up("press-2", "#"),
        "$share/hubs/#".to_owned(),
        format!("$share/mine/fh/v1/{FLEET}/d/+/up/#"),
        "$SYS/#".to_owned(),
        "$SYS/broker/clients/+".to_owned(),
    ] {
        bench
            .denied_subscribe("press-1", &mut device, &mut victim, &filter)
            .await?;
    }
    // An observer sees what devices say, and nothing that is said to them.
    let identity = bench.pki.issue("anna.o")?;
    let mut observer = bench.peer(&identity, "anna.o").await?;
    observer
        .client
        .subscribe(format!("fh/v1/{FLEET}/#"), Qos::AtLeastOnce)
        .await?;
    let control = bench.unique("seen");
    let mut seen = Vec::new();
    wait_for_observer(&mut victim, &mut observer, &control, &mut seen).await?;
    let leaked = seen.iter().find(|message| message.topic.contains("/down/"));
    ensure!(leaked.is_none(), "the observer got {leaked:?}");
    bench.row(
        format!("an observer subscribes to fh/v1/{FLEET}/#"),
        "gets what devices say, and no assignment, kept or not",
    );
    Ok(())
}

/// Lets a device speak until the observer's subscription stands and has brought it.
async fn wait_for_observer(
    victim: &mut Peer,
    observer: &mut Peer,
    control: &[u8],
    seen: &mut Vec<Message>,
) -> Result<()> {
    for _ in 0..600 {
        victim
            .client
            .publish(up("press-2", "x"), control.to_vec(), Qos::AtLeastOnce, false)
            .await?;
        while let Ok(Some(event)) = timeout(std::time::Duration::from_millis(200), observer.incoming.recv()).await {
            match event {
                Event::Message(message) if message.payload == control => return Ok(()),
                Event::Message(message) => seen.push(message),
                _ => {}
            }
        }
    }
    anyhow::bail!("the observer sees nothing")
}

async fn who_one_is(bench: &mut Bench) -> Result<()> {
    let mut victim = bench.device("press-2").await?;
    victim.client.subscribe(down("press-2", "#"), Qos::AtLeastOnce).await?;
    bench.reached("press-2", &mut victim).await?;
    let identity = bench.pki.issue("press-1")?;
    // The client id of another device.
    let mut thief = bench.peer(&identity, "press-2").await?;
    thief.client.subscribe(down("press-2", "#"), Qos::AtLeastOnce).await?;
    bench
        .denied_publish(
            "press-1 with the client id press-2",
            &mut thief,
            &up("press-2", "hello"),
            false,
        )
        .await?;
    bench
        .reached("press-2", &mut victim)
        .await
        .context("the session was taken over")?;
    ensure!(
        victim.client.is_connected() && victim.client.stats().connects == 1,
        "the victim lost its connection"
    );
    bench.row(
        "press-1 connects with the client id of press-2",
        "is press-1; press-2 keeps session and connection",
    );
    drop(thief);
    // The name of the hub, as client id and as user name.
    for (what, client_id, user) in [
        ("the hub's client id", "hub.2", None),
        ("the hub's user name", "press-1", Some("hub.2")),
        ("both of the hub's", "hub.2", Some("hub.2")),
    ] {
        let named = |config: &mut Config| config.credentials = user.map(|user| (user.to_owned(), "x".to_owned()));
        let mut impostor = connect(&bench.broker.url(), named, tls(&bench.pki, Some(&identity)), client_id).await?;
        let who = format!("press-1 with {what}");
        bench
            .denied_publish(&who, &mut impostor, &down("press-2", "assign"), true)
            .await?;
        ensure!(
            bench.hub.client.stats().connects == 1,
            "the hub lost its connection to {what}"
        );
    }
    // A device whose name differs from the hub's in its case, or is its beginning.
    for name in ["HUB", "Hub", "hub-2", "hu"] {
        let mut near = bench.device(name).await?;
        bench
            .denied_publish(&format!("the device {name}"), &mut near, &down("press-2", "cmd"), false)
            .await?;
    }
    Ok(())
}

async fn names_with_wildcards(bench: &mut Bench) -> Result<()> {
    let names = ["+", "#", "press-+", "press-2/down", "press-2/up/x", "../press-2", "%u"];
    for (number, name) in names.into_iter().enumerate() {
        // A CA that signs such a name: the broker itself has to keep it from others' topics.
        let identity = bench.pki.issue_odd(&format!("odd-{number}"), name)?;
        let mut odd = bench.peer(&identity, "odd").await?;
        for filter in [down("+", "#"), down("press-2", "#"), up("+", "#")] {
            odd.client.subscribe(filter, Qos::AtLeastOnce).await?;
        }
        let who = format!("a certificate for {name:?}");
        for topic in [up("press-2", "hello"), down("press-2", "assign")] {
            bench.denied_publish(&who, &mut odd, &topic, false).await?;
        }
        // It was refused after the operator had seen this, so what it may read would have come before.
        let secret = bench.unique("secret");
        bench
            .hub
            .client
            .publish(down("press-2", "x"), secret.clone(), Qos::AtLeastOnce, false)
            .await?;
        bench.operator.messages_until(&secret).await?;
        odd.client
            .publish(down("press-2", "cmd"), b"barrier".to_vec(), Qos::AtLeastOnce, false)
            .await?;
        odd.until("refusal", |event| {
            assert!(!matches!(event, Event::Message(_)), "{who} got {event:?}");
            matches!(event, Event::Refused { .. })
        })
        .await?;
        bench.row(format!("{who} subscribes to others' topics"), "gets nothing");
        // And our CA signs none.
        let (ca, key) = (bench.site.text("fleet-ca.pem"), bench.site.text("fleet-ca.key"));
        if number == 0 {
            run_ok(&["keys", "ca", "fleet-ca", "--out", &bench.site.text("")])?;
        }
        let ended = run(&[
            "keys",
            "cert",
            name,
            "--ca",
            &ca,
            "--ca-key",
            &key,
            "--out",
            &bench.site.text(""),
        ])?;
        ensure!(
            ended.code == Some(2) && ended.stderr.contains("is no name"),
            "{name}: {ended:?}"
        );
        bench.row(
            format!("the fleet's CA is asked for {who}"),
            "refused by `floorhand keys cert`",
        );
    }
    Ok(())
}

async fn packets_and_wills(bench: &mut Bench) -> Result<()> {
    let identity = bench.pki.issue("press-1")?;
    let payload = vec![b'x'; OVERSIZE];
    let reason = oversize(bench.broker.port(), &bench.pki, &identity, &payload)?;
    bench.unseen(&payload).await?;
    bench.row(format!("press-1 publishes {OVERSIZE} bytes on its own topic"), reason);
    // A will on a topic of another device: refused with the connection, or when it would be published.
    for topic in [up("press-2", "presence"), down("press-2", "assign")] {
        let payload = bench.unique("will");
        let will = LastWill {
            topic: topic.clone(),
            payload: payload.clone(),
            retain: true,
        };
        let willed = |config: &mut Config| config.last_will = Some(will);
        let refused = connect(&bench.broker.url(), willed, tls(&bench.pki, Some(&identity)), "press-1").await;
        let observed = match refused {
            // The connection is taken over, which ends the first one without a goodbye.
            Ok(_first) => {
                let _second = bench.peer(&identity, "press-1").await?;
                "is never published".to_owned()
            }
            Err(error) => format!("{error:#}"),
        };
        bench.unseen(&payload).await?;
        bench.row(format!("press-1 leaves a last will on {topic}"), observed);
    }
    Ok(())
}

/// Sends a packet that is too large by hand, since no client of ours does; how the connection ended.
fn oversize(port: u16, pki: &Pki, identity: &Identity, payload: &[u8]) -> Result<String> {
    let certificates = |path: &Path| CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(&pki.ca())? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(
            certificates(&identity.cert)?,
            PrivateKeyDer::from_pem_file(&identity.key)?,
        )?;
    let name = ServerName::try_from("localhost")?;
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name)?;
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    // CONNECT: MQTT 5, clean start, 60 s, no properties, the client id `press-1`.
    stream.write_all(b"\x10\x14\0\x04MQTT\x05\x02\0\x3c\0\0\x07press-1")?;
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let [kind, length] = head;
    let mut rest = vec![0; usize::from(length)];
    stream.read_exact(&mut rest)?;
    ensure!(kind == 0x20 && rest.get(1) == Some(&0), "no CONNACK: {head:?} {rest:?}");
    let topic = up("press-1", "batch");
    let mut body = u16::try_from(topic.len())?.to_be_bytes().to_vec();
    body.extend(topic.as_bytes());
    body.extend([0, 1, 0]);
    body.extend(payload);
    let mut packet = vec![0x32];
    let mut length = body.len();
    while length > 0 {
        let more = if length > 127 { 0x80 } else { 0 };
        packet.push((length % 128) as u8 | more);
        length /= 128;
    }
    packet.extend(body);
    // The broker may hang up before all of it is sent.
    let sent = stream.write_all(&packet).and_then(|()| stream.flush());
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // DISCONNECT (0xe0) with the reason "packet too large" (0x95), or the bare end.
    ensure!(
        answer.first().is_none_or(|first| *first == 0xe0),
        "it was answered with {answer:?}"
    );
    ensure!(
        read.is_ok()
            || read
                .as_ref()
                .is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock),
        "the connection goes on: {read:?}"
    );
    let reason = answer.get(2).map(|code| format!("DISCONNECT {code:#x}"));
    Ok(reason.unwrap_or_else(|| {
        format!(
            "the connection is cut ({})",
            sent.map_or("while it is sent", |()| "after it was sent")
        )
    }))
}

/// What no access list can forbid: a device has the broker keep a message on its own topic. The hub lets it go by.
async fn what_is_kept(bench: &mut Bench) -> Result<()> {
    let device = bench.device("press-1").await?;
    let presence = floorhand_protocol::Presence {
        boot_id: 1,
        online: true,
    }
    .encode()?;
    device
        .client
        .publish(up("press-1", "presence"), presence.clone(), Qos::AtLeastOnce, true)
        .await?;
    bench.operator.messages_until(&presence).await?;
    bench.site.new_key("press-1")?;
    let identity = bench.pki.issue("hub")?;
    let hub = bench.site.start_hub(&bench.broker.url(), &bench.pki, &identity)?;
    hub.fleet_ok(&["enroll", "press-1", "--key", &bench.site.text("press-1.pub")])?;
    // The hub may have come before the device was known: its next connection gets the kept message again.
    let log = || fs::read_to_string(bench.site.path("hub.log")).unwrap_or_default();
    wait_for("kept message that the hub ignores", PATIENCE, || {
        Ok(log()
            .contains("ignored a message that the broker had kept")
            .then_some(()))
    })
    .with_context(log)?;
    let shown = hub.fleet_ok(&["show", "press-1"])?;
    ensure!(shown.pointer("/device/online") == Some(&false.into()), "{shown}");
    bench.row(
        format!("press-1 publishes on {}, retained", up("press-1", "presence")),
        "the broker keeps it; the hub ignores it",
    );
    Ok(())
}

/// What a guessed group name does, and what a name does that can't be guessed: Mosquitto 2.0 lets anybody join a group of
/// subscribers, and gives a part of the messages to a member who may not read them, which is nobody's then.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_hubs_needs_a_name_that_nobody_guesses() -> Result<()> {
    const MESSAGES: usize = 20;
    if !Mosquitto::is_there() {
        return Ok(());
    }
    let mut bench = Bench::new().await?;
    let (mut thief, victim) = (bench.device("press-1").await?, bench.device("press-2").await?);
    thief.client.subscribe(down("press-1", "#"), Qos::AtLeastOnce).await?;
    let mut lost = Vec::new();
    for (group, guess) in [("hubs", "hubs"), ("hubs-7f3a91c2e4", "hubs")] {
        let shared = |group: &str| format!("$share/{group}/fh/v1/{FLEET}/d/+/up/#");
        bench.hub.client.subscribe(shared(group), Qos::AtLeastOnce).await?;
        thief.client.subscribe(shared(guess), Qos::AtLeastOnce).await?;
        bench.reached("press-1", &mut thief).await?;
        let mut wanted: Vec<Vec<u8>> = (0..MESSAGES).map(|_| bench.unique("shared")).collect();
        for payload in &wanted {
            victim
                .client
                .publish(up("press-2", "x"), payload.clone(), Qos::AtLeastOnce, false)
                .await?;
        }
        // Seen by the operator: the broker has given it to the member whose turn it was.
        bench.operator.messages_until(&wanted[MESSAGES - 1]).await?;
        let got = bench.reached("press-1", &mut thief).await?;
        ensure!(got.is_empty(), "the thief read {got:?}");
        while let Ok(Some(event)) = timeout(std::time::Duration::from_secs(2), bench.hub.incoming.recv()).await {
            if let Event::Message(message) = event {
                wanted.retain(|payload| *payload != message.payload);
            }
        }
        lost.push(wanted.len());
        bench.hub.client.unsubscribe(shared(group)).await?;
        thief.client.unsubscribe(shared(guess)).await?;
    }
    say(&format!(
        "of {MESSAGES} messages the hub missed {} with a guessed group, {} without",
        lost[0], lost[1]
    ));
    ensure!(
        lost[1] == 0,
        "with a name that nobody guesses the hub gets all: {lost:?}"
    );
    Ok(())
}
