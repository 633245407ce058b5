//! Somebody who has broken into the hub: with its online key and its place at the broker, but without the offline key.
//!
//! The forger assigns a bundle that it has changed, and hands out its chunks in the hub's place. What it can't do is sign
//! the manifest again.

use super::observer::Observer;
use super::site::Site;
use anyhow::Result;
use floorhand_bundle::{BlobRef, DeviceId, Digest, Manifest};
use floorhand_protocol::{Assigned, Assignment, ChunkMessage, Down, Fetch, Mode, Parameters, Topic, Up};
use floorhand_transport::{Client, Event, Qos};

/// How long the forged assignment may be begun, in milliseconds.
const LIFE_MS: u64 = 3_600_000;

/// A manifest in which one letter of the lineage was changed after it was signed.
pub(super) fn tamper(manifest: &[u8]) -> Result<Vec<u8>> {
    let (honest, _, _) = Manifest::inspect_unverified(manifest)?;
    let author = honest.lineage.author.as_bytes();
    let at = manifest
        .windows(author.len())
        .position(|window| window == author)
        .ok_or_else(|| anyhow::anyhow!("the manifest does not name its author"))?;
    let mut tampered = manifest.to_vec();
    if let Some(byte) = tampered.get_mut(at) {
        *byte ^= 0x20;
    }
    Ok(tampered)
}

/// Assigns a tampered manifest to a device with the stolen key, and hands out its chunks for as long as it runs.
pub(super) async fn forge(
    site: &Site,
    observer: &Observer,
    device: &DeviceId,
    seq: u64,
    tampered: Vec<u8>,
) -> Result<String> {
    let blob = BlobRef::of(&tampered);
    let (_, bundle, _) = Manifest::inspect_unverified(&tampered)?;
    let now_ms = crate::time::now_ms();
    let job = "forged".to_owned();
    let assignment = Assignment {
        fleet: site.fleet.clone(),
        device: device.clone(),
        seq,
        job: job.clone(),
        run: Some(Assigned {
            bundle,
            manifest: blob.clone(),
        }),
        mode: Mode::Run,
        parameters: Parameters::default(),
        issued_ms: now_ms,
        expires_ms: now_ms + LIFE_MS,
        critical: Vec::new(),
    };
    let (client, mut incoming) = Client::start(site.fleet_connection("forger")?)?;
    client
        .subscribe(Topic::filter_up(&site.fleet), Qos::AtLeastOnce)
        .await?;
    let hand_out = client.clone();
    tokio::spawn(async move {
        while let Some(event) = incoming.recv().await {
            let Event::Message(message) = event else { continue };
            let Ok(Topic::Up {
                fleet,
                device,
                kind: Up::Fetch,
            }) = message.topic.parse()
            else {
                continue;
            };
            let Ok(fetch) = Fetch::decode(&message.payload) else {
                continue;
            };
            if fetch.digest != blob.sha256 {
                continue;
            }
            let topic = Topic::Down {
                fleet,
                device,
                kind: Down::Chunk,
            }
            .to_string();
            for chunk in chunks(&fetch, &blob, &tampered) {
                let Ok(bytes) = chunk.encode() else { continue };
                drop(hand_out.publish(topic.clone(), bytes, Qos::AtLeastOnce, false).await);
            }
        }
    });
    let topic = Topic::Down {
        fleet: site.fleet.clone(),
        device: device.clone(),
        kind: Down::Assign,
    };
    let sealed = assignment.seal(&site.assignment)?;
    observer
        .client()
        .publish(topic.to_string(), sealed, Qos::AtLeastOnce, false)
        .await?;
    Ok(job)
}

fn chunks(fetch: &Fetch, blob: &BlobRef, bytes: &[u8]) -> Vec<ChunkMessage> {
    let wanted = fetch.indices();
    blob.layout()
        .filter(|(index, _, _)| wanted.contains(index))
        .filter_map(|(index, offset, chunk)| {
            let at = usize::try_from(offset).ok()?;
            let piece = bytes.get(at..at + chunk.length as usize)?;
            debug_assert_eq!(Digest::of(piece), chunk.sha256);
            Some(ChunkMessage::pack(fetch.token, fetch.digest, index, piece))
        })
        .collect()
}
