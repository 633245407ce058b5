//! A device behind a link with every fault there is.

use crate::device::{Device, Fetched};
use anyhow::{Context as _, Result, ensure};
use floorhand_bundle::{BlobRef, SecretKey};
use floorhand_protocol::{ChunkMessage, FETCH_WINDOW_BYTES};
use floorhand_testkit::{FaultCounts, FaultRates, Mosquitto, MosquittoConfig, MqttProxy};
use floorhand_tests::{Hub, Site, noise, say};
use floorhand_transport::{Config, ReconnectPolicy};
use std::fs;
use std::time::Duration;

const DEVICE: &str = "press-1";
const BLOB_BYTES: usize = 8 << 20;
/// A request that is lost is made again after ten seconds, and much else runs on the machine.
const WITHIN: Duration = Duration::from_secs(600);

/// What came to the device, against what it needed.
#[derive(Debug)]
struct Moved {
    needed: u64,
    /// Chunks that reached it, by the lengths of the signed list, repetitions too.
    delivered: u64,
    faults: FaultCounts,
    requests: u64,
}

impl Moved {
    fn again(&self) -> u64 {
        self.delivered.saturating_sub(self.needed)
    }
}

/// Waits short and always alike: a link that breaks as often as here would have a device wait for a minute.
const RECONNECT: ReconnectPolicy = ReconnectPolicy {
    least: Duration::from_millis(100),
    most: Duration::from_millis(500),
    stable_after: Duration::from_secs(10),
    seed: Some(7),
};

/// Fetches a blob from the hub by way of a proxy with these faults.
async fn fetch(broker: &Mosquitto, hub: &Hub, site: &Site, seed: u8, set: impl FnOnce(&MqttProxy)) -> Result<Moved> {
    let (packed, blob) = site.with_blob(&site.pack_fixture(seed.into())?, &noise(BLOB_BYTES, seed.into()))?;
    hub.http(
        "POST",
        "/api/v1/bundles",
        "application/octet-stream",
        &fs::read(packed)?,
    )?;
    let id = format!("{DEVICE}-{seed}");
    hub.register(&id, &SecretKey::from_seed(&[seed; 32]).public())?;
    let proxy = MqttProxy::start(broker.port(), seed.into())?;
    let config = Config {
        reconnect: RECONNECT,
        ..Config::new(format!("mqtt://127.0.0.1:{}", proxy.port()), id)
    };
    let mut device = Device::connect_with(config).await?;
    proxy.watch("/down/chunk");
    set(&proxy);
    let fetched = tokio::time::timeout(WITHIN, device.fetch(&blob, &mut u64::from(seed))).await;
    let Fetched { counts, requests } = fetched.context("the blob didn't arrive")??;
    ensure!(counts.fetched_bytes == blob.length, "{counts:?}");
    Ok(Moved {
        needed: blob.length,
        delivered: delivered(&proxy, &blob)?,
        faults: proxy.counts(),
        requests,
    })
}

fn delivered(proxy: &MqttProxy, blob: &BlobRef) -> Result<u64> {
    let mut bytes = 0;
    for payload in proxy.seen() {
        let index = ChunkMessage::decode(&payload)?.index;
        bytes += u64::from(blob.chunks.get(index as usize).context("no such chunk")?.length);
    }
    Ok(bytes)
}

fn tell(what: &str, moved: &Moved) {
    say(&format!(
        "{what}: {} faults ({:?}), {} bytes needed, {} delivered, {} again, {} requests",
        moved.faults.injected(),
        moved.faults,
        moved.needed,
        moved.delivered,
        moved.again(),
        moved.requests,
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_megabytes_arrive_whole_over_a_link_with_every_fault() -> Result<()> {
    let Some(broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else {
        return Ok(());
    };
    let site = Site::new()?;
    let hub = site.start_hub_at(&broker.url())?;

    let cut = fetch(&broker, &hub, &site, 1, |proxy| proxy.cut_every(Some(300_007))).await?;
    tell("cut every 300,007 bytes", &cut);
    ensure!(cut.faults.cut >= 20, "{} cuts: the test shows nothing", cut.faults.cut);
    let most = cut.faults.cuts() * FETCH_WINDOW_BYTES;
    ensure!(cut.again() <= most, "{} bytes came again, at most {most}", cut.again());

    let rates = FaultRates {
        lose: 10,
        delay: 40,
        repeat: 80,
        reorder: 80,
        truncate: 40,
    };
    let bad = fetch(&broker, &hub, &site, 2, |proxy| proxy.inject(rates)).await?;
    tell("every fault", &bad);
    ensure!(bad.faults.injected() >= 20, "the test shows nothing");
    // What the proxy itself sends twice comes twice.
    let twice = bad.faults.repeated * 64 * 1024;
    let most = (bad.faults.cuts() + bad.faults.lost) * FETCH_WINDOW_BYTES + twice;
    ensure!(bad.again() <= most, "{} bytes came again, at most {most}", bad.again());
    Ok(())
}
