//! The broker with the generated files, who is connected to it, and how an attempt is judged.

use anyhow::{Context as _, Result, ensure};
use floorhand_testkit::{Identity, Mosquitto, MosquittoTls, Pki, free_port};
use floorhand_tests::{FLEET, PATIENCE, Site, run_ok};
use floorhand_transport::{Client, ClientIdentity, Config, Event, Message, Qos, TlsFiles};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::timeout;

/// The serial number of the certificate that is revoked.
pub(crate) const REVOKED: u8 = 7;

/// Somebody connected.
pub(crate) struct Peer {
    pub(crate) client: Client,
    pub(crate) incoming: floorhand_transport::Incoming,
}

impl Peer {
    /// Waits for something; what comes before it is passed to `seen`.
    pub(crate) async fn until(&mut self, what: &str, mut is_it: impl FnMut(&Event) -> bool) -> Result<Event> {
        loop {
            let event = timeout(PATIENCE, self.incoming.recv()).await;
            let event = event
                .with_context(|| format!("no {what}"))?
                .context("the client has ended")?;
            if is_it(&event) {
                return Ok(event);
            }
        }
    }

    /// Publishes, and waits until the broker has refused it; in which words.
    pub(crate) async fn refused(&mut self, topic: &str, payload: &[u8], retain: bool) -> Result<String> {
        self.client
            .publish(topic, payload.to_vec(), Qos::AtLeastOnce, retain)
            .await?;
        let event = self
            .until(
                "refusal",
                |event| matches!(event, Event::Refused { topic: of, .. } if of == topic),
            )
            .await?;
        match event {
            Event::Refused { reason, .. } => Ok(reason),
            _ => unreachable!(),
        }
    }

    /// Everything that comes until a message with this payload.
    pub(crate) async fn messages_until(&mut self, payload: &[u8]) -> Result<Vec<Message>> {
        let mut seen = Vec::new();
        self.until("control message", |event| match event {
            Event::Message(message) => {
                seen.push(message.clone());
                message.payload == payload
            }
            _ => false,
        })
        .await?;
        seen.pop();
        Ok(seen)
    }
}

pub(crate) struct Bench {
    pub(crate) site: Site,
    pub(crate) pki: Pki,
    pub(crate) broker: Mosquitto,
    pub(crate) hub: Peer,
    pub(crate) operator: Peer,
    pub(crate) rows: Vec<(String, String)>,
    pub(crate) count: AtomicU64,
}

pub(crate) fn tls(pki: &Pki, identity: Option<&Identity>) -> TlsFiles {
    TlsFiles {
        ca: pki.ca(),
        identity: identity.map(|identity| ClientIdentity {
            cert: identity.cert.clone(),
            key: identity.key.clone(),
        }),
    }
}

pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Keys that sign, which the programs don't take when everybody may read them.
const SIGNING: [&str; 3] = ["assignment.key", "offline.key", "release.key"];

/// Mosquitto works as its own user when it is started as root.
pub(crate) fn open_to_all(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let signs = SIGNING.iter().any(|name| entry.file_name() == *name);
        if entry.file_type()?.is_file() && !signs {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

/// The broker, with the files that the program wrote, as they are.
pub(crate) fn start_broker(site: &Site, pki: &Pki) -> Result<Mosquitto> {
    let files = MosquittoTls::issued_by(pki)?;
    let crl = pki.revocation_list(&[REVOKED])?;
    let (out, data, port) = (site.path("broker"), site.path("broker-data"), free_port()?);
    fs::create_dir(&data)?;
    run_ok(&[
        "hub",
        "broker-config",
        "mosquitto",
        "--fleet",
        FLEET,
        "--hub",
        "hub",
        "--hub",
        "hub.2",
        "--observer",
        "anna.o",
        "--operator",
        "ben.o",
        "--bind",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--ca",
        &text(&files.ca),
        "--cert",
        &text(&files.cert),
        "--key",
        &text(&files.key),
        "--crl",
        &text(&crl),
        "--acl",
        &text(&out.join("floorhand.acl")),
        "--data",
        &text(&data),
        "--out",
        &text(&out),
    ])?;
    for folder in [&out, &data, &pki.dir().to_owned(), &site.path("")] {
        open_to_all(folder)?;
    }
    Mosquitto::start_configured(&out.join("mosquitto.conf"), port, files)
}

pub(crate) async fn connect(
    url: &str,
    config: impl FnOnce(&mut Config),
    tls: TlsFiles,
    client_id: &str,
) -> Result<Peer> {
    let mut settings = Config::new(url, client_id);
    settings.tls = Some(tls);
    config(&mut settings);
    let (client, incoming) = Client::start(settings)?;
    let mut peer = Peer { client, incoming };
    let event = peer
        .until("connection", |event| {
            matches!(event, Event::Connected { .. } | Event::Retrying { .. })
        })
        .await?;
    match event {
        Event::Connected { .. } => Ok(peer),
        Event::Retrying { reason, .. } => anyhow::bail!("{reason}"),
        _ => unreachable!(),
    }
}

pub(crate) fn up(device: &str, kind: &str) -> String {
    format!("fh/v1/{FLEET}/d/{device}/up/{kind}")
}

pub(crate) fn down(device: &str, kind: &str) -> String {
    format!("fh/v1/{FLEET}/d/{device}/down/{kind}")
}

impl Bench {
    pub(crate) async fn new() -> Result<Self> {
        let (site, pki) = (Site::new()?, Pki::new()?);
        let broker = start_broker(&site, &pki)?;
        let url = broker.url();
        let staff = async |name: &str| {
            let identity = pki.issue(name)?;
            connect(&url, |_| {}, tls(&pki, Some(&identity)), name).await
        };
        let (hub, operator) = (staff("hub.2").await?, staff("ben.o").await?);
        operator.client.subscribe("#", Qos::AtLeastOnce).await?;
        let mut bench = Self {
            site,
            pki,
            broker,
            hub,
            operator,
            rows: Vec::new(),
            count: AtomicU64::new(0),
        };
        bench.watching().await?;
        Ok(bench)
    }

    /// Sends something by the hub until the operator, whose subscription takes its time, sees it.
    pub(crate) async fn watching(&mut self) -> Result<()> {
        let control = self.unique("control");
        for _ in 0..600 {
            let topic = down("control", "x");
            self.hub
                .client
                .publish(topic, control.clone(), Qos::AtLeastOnce, false)
                .await?;
            let wait = std::time::Duration::from_millis(200);
            if timeout(wait, self.operator.messages_until(&control)).await.is_ok() {
                return Ok(());
            }
        }
        anyhow::bail!("the operator sees nothing\n{}", self.broker.log())
    }

    pub(crate) fn unique(&self, what: &str) -> Vec<u8> {
        format!("{what}-{}", self.count.fetch_add(1, Ordering::Relaxed)).into_bytes()
    }

    pub(crate) fn row(&mut self, attempt: impl Into<String>, observed: impl Into<String>) {
        self.rows.push((attempt.into(), observed.into()));
    }

    pub(crate) async fn device(&self, name: &str) -> Result<Peer> {
        let identity = self.pki.issue(name)?;
        self.peer(&identity, name).await
    }

    pub(crate) async fn peer(&self, identity: &Identity, client_id: &str) -> Result<Peer> {
        connect(&self.broker.url(), |_| {}, tls(&self.pki, Some(identity)), client_id).await
    }

    /// Sends something by the hub that is allowed, and makes sure that the operator, who sees it, has not seen `payload` before.
    pub(crate) async fn unseen(&mut self, payload: &[u8]) -> Result<()> {
        let control = self.unique("control");
        self.hub
            .client
            .publish(down("control", "x"), control.clone(), Qos::AtLeastOnce, false)
            .await?;
        let seen = self.operator.messages_until(&control).await?;
        let leaked = seen.iter().find(|message| message.payload == payload);
        ensure!(leaked.is_none(), "the operator saw {leaked:?}\n{}", self.broker.log());
        Ok(())
    }

    /// A row: somebody publishes what he may not.
    pub(crate) async fn denied_publish(&mut self, who: &str, peer: &mut Peer, topic: &str, retain: bool) -> Result<()> {
        let payload = self.unique("attack");
        let reason = peer.refused(topic, &payload, retain).await?;
        ensure!(reason.contains("NotAuthorized"), "{who} on {topic}: {reason}");
        self.unseen(&payload).await?;
        let kept = if retain { ", retained" } else { "" };
        self.row(
            format!("{who} publishes on {topic}{kept}"),
            format!("{reason}; nobody saw it"),
        );
        Ok(())
    }

    /// A row: a device subscribes to what it may not read.
    pub(crate) async fn denied_subscribe(
        &mut self,
        device: &str,
        peer: &mut Peer,
        victim: &mut Peer,
        filter: &str,
    ) -> Result<()> {
        peer.client.subscribe(filter, Qos::AtLeastOnce).await?;
        peer.client.subscribe(down(device, "#"), Qos::AtLeastOnce).await?;
        // The broker answers subscriptions in order: when the second works, the first stands.
        self.reached(device, peer).await?;
        let (to_victim, from_victim, to_all) = (self.unique("secret"), self.unique("secret"), self.unique("secret"));
        for (topic, payload) in [(down("press-2", "x"), &to_victim), (down("press-3", "assign"), &to_all)] {
            self.hub
                .client
                .publish(topic, payload.clone(), Qos::AtLeastOnce, false)
                .await?;
        }
        victim
            .client
            .publish(up("press-2", "x"), from_victim.clone(), Qos::AtLeastOnce, false)
            .await?;
        // The operator has seen it: the broker has passed it on to everybody whom it passes it to.
        self.operator.messages_until(&from_victim).await?;
        let seen = self.reached(device, peer).await?;
        let own = format!("fh/v1/{FLEET}/d/{device}/");
        let leaked = seen.iter().find(|message| !message.topic.starts_with(&own));
        ensure!(
            leaked.is_none(),
            "{device} got {leaked:?} by {filter}\n{}",
            self.broker.log()
        );
        peer.client.unsubscribe(filter).await?;
        self.row(
            format!("{device} subscribes to {filter}"),
            "the subscription stands, and nothing is delivered",
        );
        Ok(())
    }

    /// Sends a control to a device until it gets one; what came before it.
    pub(crate) async fn reached(&self, device: &str, peer: &mut Peer) -> Result<Vec<Message>> {
        let control = self.unique("for-you");
        let mut seen = Vec::new();
        for _ in 0..600 {
            self.hub
                .client
                .publish(down(device, "control"), control.clone(), Qos::AtLeastOnce, false)
                .await?;
            let wait = std::time::Duration::from_millis(200);
            while let Ok(Some(event)) = timeout(wait, peer.incoming.recv()).await {
                match event {
                    Event::Message(message) if message.payload == control => return Ok(seen),
                    Event::Message(message) if message.payload.starts_with(b"for-you") => {}
                    Event::Message(message) => seen.push(message),
                    _ => {}
                }
            }
        }
        anyhow::bail!("{device} never got its control message\n{}", self.broker.log())
    }

    /// A row: somebody isn't let in.
    pub(crate) async fn no_entry(&mut self, who: &str, tls: Option<TlsFiles>, word: &str) -> Result<()> {
        let url = match &tls {
            Some(_) => self.broker.url(),
            None => self.broker.url().replace("mqtts:", "mqtt:"),
        };
        let mut settings = Config::new(&url, "press-1");
        settings.tls = tls;
        let (client, incoming) = Client::start(settings)?;
        let mut peer = Peer { client, incoming };
        // With TLS 1.3 a client learns of the refusal of its certificate after its own handshake.
        let event = peer
            .until("refusal", |event| {
                matches!(event, Event::Retrying { .. } | Event::Connected { .. })
            })
            .await?;
        let Event::Retrying { reason, .. } = event else {
            anyhow::bail!("{who} was let in\n{}", self.broker.log());
        };
        ensure!(
            reason.contains(word),
            "{who}: {reason}, not {word}\n{}",
            self.broker.log()
        );
        self.row(format!("{who} connects"), reason);
        Ok(())
    }
}
