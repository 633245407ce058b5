//! Two hundred devices that want the same blob at about the same time, each with a TLS connection and a certificate of its
//! own, at a Mosquitto with the access list of docs/operating.md.

use crate::device::{Device, Fetched};
use anyhow::{Context as _, Result, ensure};
use floorhand_agent::delivery::Counts;
use floorhand_bundle::{BlobRef, SecretKey};
use floorhand_testkit::{Mosquitto, MosquittoConfig, MosquittoTls, Pki, Proxy};
use floorhand_tests::{Hub, Site, noise, say};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Barrier;

const DEVICES: usize = 200;
const BLOB_BYTES: usize = 8 << 20;
/// What passes from the hub to the broker, with TLS and MQTT around it, in blobs.
const MOST_BLOBS: f64 = 1.5;
/// For two slow cores that much else runs on: 1.6 GB are encrypted, decrypted, hashed and written here.
const WITHIN: Duration = Duration::from_secs(900);

/// As in docs/operating.md.
const ACL: [&str; 7] = [
    "pattern read  fh/v1/+/d/%u/down/#",
    "pattern read  fh/v1/+/blob/#",
    "pattern write fh/v1/+/d/%u/up/#",
    "user hub",
    "topic read  fh/v1/plant-a/d/+/up/#",
    "topic write fh/v1/plant-a/d/+/down/#",
    "topic write fh/v1/plant-a/blob/+",
];

/// Connects `count` devices, some at a time: a TLS handshake is work for both ends.
async fn connect_all(url: &str, pki: &Arc<Pki>, count: usize) -> Result<Vec<Device>> {
    let mut devices = Vec::new();
    for first in (0..count).step_by(10) {
        let joining: Vec<_> = (first..count.min(first + 10))
            .map(|number| {
                let (url, pki) = (url.to_owned(), Arc::clone(pki));
                tokio::spawn(async move { Device::connect(&format!("press-{number}"), &url, &pki).await })
            })
            .collect();
        for device in joining {
            devices.push(device.await??);
        }
    }
    Ok(devices)
}

struct Outcome {
    counts: Vec<Counts>,
    requests: u64,
    seconds: f64,
}

/// All fetch at once.
async fn fetch_all(devices: Vec<Device>, blob: &BlobRef) -> Result<Outcome> {
    let start = Arc::new(Barrier::new(devices.len() + 1));
    let tasks: Vec<_> = devices
        .into_iter()
        .enumerate()
        .map(|(number, mut device)| {
            let (start, blob) = (Arc::clone(&start), blob.clone());
            tokio::spawn(async move {
                start.wait().await;
                let fetched = device.fetch(&blob, &mut (number as u64 + 1)).await;
                device.client.shutdown(Duration::from_secs(10)).await;
                fetched.with_context(|| device.id.to_string())
            })
        })
        .collect();
    start.wait().await;
    let began = Instant::now();
    let (mut counts, mut requests) = (Vec::new(), 0);
    for task in tasks {
        let fetched: Fetched = tokio::time::timeout(WITHIN, task)
            .await
            .context("a device isn't done")???;
        counts.push(fetched.counts);
        requests += fetched.requests;
    }
    Ok(Outcome {
        counts,
        requests,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// A hub at the broker by way of a proxy that counts, with the blob ingested and the devices registered.
fn hub(site: &Site, broker: &Mosquitto, pki: &Pki, devices: usize) -> Result<(Hub, Proxy, BlobRef)> {
    let proxy = Proxy::start(broker.port())?;
    let url = format!("mqtts://127.0.0.1:{}", proxy.port());
    let hub = site.start_hub(&url, pki, &pki.issue("hub")?)?;
    for number in 0..devices {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
        hub.register(&format!("press-{number}"), &SecretKey::from_seed(&seed).public())?;
    }
    let (packed, blob) = site.with_blob(&site.pack_fixture(1)?, &noise(BLOB_BYTES, 1))?;
    hub.http(
        "POST",
        "/api/v1/bundles",
        "application/octet-stream",
        &std::fs::read(packed)?,
    )?;
    Ok((hub, proxy, blob))
}

fn broker(pki: &Pki, acl: &[&str]) -> Result<Option<Mosquitto>> {
    Ok(Mosquitto::start_or_skip(MosquittoConfig {
        tls: Some(MosquittoTls::issued_by(pki)?),
        acl: acl.iter().map(|&line| line.to_owned()).collect(),
        extra: vec!["max_queued_messages 1000".to_owned()],
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_devices_cost_the_hub_little_more_than_one_blob() -> Result<()> {
    let pki = Arc::new(Pki::new()?);
    let Some(broker) = broker(&pki, &ACL)? else {
        return Ok(());
    };
    let site = Site::new()?;
    let (hub, proxy, blob) = hub(&site, &broker, &pki, DEVICES)?;
    let devices = connect_all(&broker.url(), &pki, DEVICES).await?;
    let (before, _) = proxy.passed();
    let outcome = fetch_all(devices, &blob).await?;
    let (after, _) = proxy.passed();
    let blobs = (after - before) as f64 / BLOB_BYTES as f64;
    let sum = |one: fn(&Counts) -> u64| outcome.counts.iter().map(one).sum::<u64>();
    say(&format!(
        "{DEVICES} devices, {BLOB_BYTES} bytes each: {} bytes left the hub, {blobs:.3} blobs, in {:.1} s; {} requests, {} \
         chunks taken from the topic, {} that were there already, {} published once",
        after - before,
        outcome.seconds,
        outcome.requests,
        sum(|counts| counts.broadcast_chunks),
        sum(|counts| counts.surplus_chunks),
        hub.counter("floorhand_hub_broadcast_chunks_total")?,
    ));
    ensure!(outcome.counts.len() == DEVICES, "{} devices", outcome.counts.len());
    ensure!(sum(|counts| counts.forged_chunks) == 0, "forgeries");
    ensure!(blobs <= MOST_BLOBS, "{blobs} blobs left the hub");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_that_come_one_after_the_other_all_get_it() -> Result<()> {
    const LATE: usize = 6;
    let pki = Arc::new(Pki::new()?);
    let Some(broker) = broker(&pki, &ACL)? else {
        return Ok(());
    };
    let site = Site::new()?;
    let (hub, proxy, blob) = hub(&site, &broker, &pki, LATE)?;
    let devices = connect_all(&broker.url(), &pki, LATE).await?;
    let mut tasks = Vec::new();
    for (number, mut device) in devices.into_iter().enumerate() {
        let blob = blob.clone();
        tasks.push(tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(700 * number as u64)).await;
            device.fetch(&blob, &mut (number as u64 + 9)).await
        }));
    }
    for task in tasks {
        tokio::time::timeout(WITHIN, task)
            .await
            .context("a device isn't done")???;
    }
    let blobs = proxy.passed().0 as f64 / BLOB_BYTES as f64;
    say(&format!(
        "{LATE} devices, 0.7 s apart: {blobs:.2} blobs left the hub, {} chunks published once",
        hub.counter("floorhand_hub_broadcast_chunks_total")?
    ));
    ensure!(blobs < LATE as f64, "each was served alone");
    Ok(())
}

/// Without `pattern read fh/v1/+/blob/#` Mosquitto takes the subscription and passes nothing on; without the hub's right to
/// write there it says so. Either way devices end up with the blob, each for itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_lets_nobody_listen_or_broadcast_costs_time_and_nothing_else() -> Result<()> {
    const FEW: usize = 3;
    for forbidden in ["pattern read  fh/v1/+/blob/#", "topic write fh/v1/plant-a/blob/+"] {
        let pki = Arc::new(Pki::new()?);
        let acl: Vec<&str> = ACL.into_iter().filter(|&line| line != forbidden).collect();
        let Some(broker) = broker(&pki, &acl)? else {
            return Ok(());
        };
        let site = Site::new()?;
        let (hub, _proxy, blob) = hub(&site, &broker, &pki, FEW)?;
        let devices = connect_all(&broker.url(), &pki, FEW).await?;
        let outcome = fetch_all(devices, &blob).await?;
        let heard: u64 = outcome.counts.iter().map(|counts| counts.broadcast_chunks).sum();
        say(&format!(
            "without `{forbidden}`: {FEW} devices done after {:.1} s, {heard} chunks heard, {} published for all",
            outcome.seconds,
            hub.counter("floorhand_hub_broadcast_chunks_total")?
        ));
        ensure!(heard == 0, "{heard} chunks came on a forbidden topic");
    }
    Ok(())
}
