//! A device without engines.

use anyhow::{Context as _, Result};
use floorhand_agent::delivery::{Counts, Download, Held, Way};
use floorhand_bundle::{BlobRef, DeviceId, FleetId};
use floorhand_protocol::{ChunkMessage, Down, Topic, Up};
use floorhand_store::{Store, StoreOptions};
use floorhand_testkit::Pki;
use floorhand_tests::FLEET;
use floorhand_transport::{Client, Config, Event, Incoming, Qos, TlsFiles};
use std::time::{Duration, Instant};

/// A look at the time, for requests that are due.
const TICK: Duration = Duration::from_millis(250);

/// A device without engines.
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) client: Client,
    incoming: Incoming,
    _dir: tempfile::TempDir,
    store: Store,
}

/// What a fetch came to.
pub(crate) struct Fetched {
    pub(crate) counts: Counts,
    pub(crate) requests: u64,
}

fn fleet() -> Result<FleetId> {
    Ok(FLEET.parse()?)
}

impl Device {
    /// Connects with TLS and a certificate of its own, and waits until it is.
    pub(crate) async fn connect(id: &str, url: &str, pki: &Pki) -> Result<Self> {
        let identity = pki.issue(id)?;
        let tls = Some(TlsFiles::mutual(pki.ca(), &identity.cert, &identity.key));
        Self::connect_with(Config {
            tls,
            ..Config::new(url, id)
        })
        .await
    }

    /// The same as the configuration says; the client id is the device's.
    pub(crate) async fn connect_with(config: Config) -> Result<Self> {
        let id: DeviceId = config.client_id.parse()?;
        let (client, mut incoming) = Client::start(config)?;
        client
            .subscribe(Topic::filter_down(&fleet()?, &id), Qos::AtLeastOnce)
            .await?;
        loop {
            match incoming.recv().await.context("the client has ended")? {
                Event::Connected { .. } => break,
                Event::Refused { topic, reason } => anyhow::bail!("{topic}: {reason}"),
                _ => {}
            }
        }
        let dir = tempfile::tempdir()?;
        let options = StoreOptions {
            blob_budget_bytes: 64 << 20,
        };
        let store = Store::open(dir.path(), options)?;
        Ok(Self {
            id,
            client,
            incoming,
            _dir: dir,
            store,
        })
    }

    fn up(&self, kind: Up) -> Result<String> {
        let (fleet, device) = (fleet()?, self.id.clone());
        Ok(Topic::Up { fleet, device, kind }.to_string())
    }

    /// Fetches as the agent's core does: subscribed while it fetches, asking when the download says so.
    pub(crate) async fn fetch(&mut self, blob: &BlobRef, random: &mut u64) -> Result<Fetched> {
        let began = Instant::now();
        let topic = Topic::Blob {
            fleet: fleet()?,
            digest: blob.sha256,
        }
        .to_string();
        let mut download = Download::begin(&self.store, blob, &Held::default())?.context("nothing to fetch")?;
        let mut requests = 0;
        self.client.subscribe(&topic, Qos::AtLeastOnce).await?;
        download.subscribed(true);
        while !download.is_complete() {
            let now_ms = began.elapsed().as_millis() as u64;
            download.subscribed(download.wants_topic());
            let mut draw = || {
                *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *random >> 16
            };
            if let Some(fetch) = download.request(now_ms, &mut draw) {
                requests += 1;
                self.client
                    .publish(self.up(Up::Fetch)?, fetch.encode()?, Qos::AtLeastOnce, false)
                    .await?;
            }
            let Ok(event) = tokio::time::timeout(TICK, self.incoming.recv()).await else {
                continue;
            };
            match event.context("the client has ended")? {
                Event::Message(message) => {
                    let way = match message.topic.parse()? {
                        Topic::Down { kind: Down::Chunk, .. } => Way::Answer,
                        Topic::Blob { .. } => Way::Broadcast,
                        _ => continue,
                    };
                    let now_ms = began.elapsed().as_millis() as u64;
                    download.take(ChunkMessage::decode(&message.payload)?, way, now_ms)?;
                }
                Event::Connected { .. } => download.reconnected(began.elapsed().as_millis() as u64),
                Event::Refused { topic, reason } => anyhow::bail!("{topic}: {reason}"),
                _ => {}
            }
        }
        self.client.unsubscribe(&topic).await?;
        let counts = download.counts();
        // Hashes the whole once more.
        tokio::task::block_in_place(|| download.finish())?;
        Ok(Fetched { counts, requests })
    }
}
