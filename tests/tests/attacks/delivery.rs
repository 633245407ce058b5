//! "Endless data" and "slow retrieval", and the attacks on broadcasts.

use crate::hostile::{Content, Hostile, Scene, Sent, down, runs};
use anyhow::{Context as _, Result, ensure};
use floorhand_bundle::{BlobRef, Chunk, Digest, Manifest};
use floorhand_protocol::{BROADCAST_TOKEN, ChunkBody, ChunkMessage, Down, Encoding, Fetch, JobStatus};
use floorhand_tests::noise;
use serde_json::json;

fn data(fetch: &Fetch, index: u32, encoding: Encoding, data: Vec<u8>) -> Sent {
    let body = ChunkBody::Data { encoding, data };
    Sent::Answer(ChunkMessage {
        body,
        ..ChunkMessage::unknown(fetch.token, fetch.digest, index)
    })
}

#[test]
fn endless_data_chunks_that_are_longer_than_signed_are_refused() -> Result<()> {
    let Some(mut scene) = Scene::set(&json!({}))? else {
        return Ok(());
    };
    let content = Content::of(&scene.archive);
    // 10 MiB of zeros in some hundred bytes.
    let bomb = zstd_of_zeros(10 << 20)?;
    let mut attacks = 0;
    let hub = Hostile::start(&scene, move |fetch| {
        let first = fetch.indices().first().copied().unwrap_or_default();
        attacks += 1;
        Ok(match attacks {
            2 => vec![data(fetch, first, Encoding::Zstd, bomb.clone())],
            3 => vec![data(fetch, first, Encoding::Raw, vec![7; 65_000])],
            4 => vec![data(fetch, first, Encoding::Raw, vec![7; 65_536 + 1])],
            5 => vec![Sent::Answer(ChunkMessage::pack(
                fetch.token,
                fetch.digest,
                first,
                b"short",
            ))],
            _ => content.honest(fetch)?,
        })
    })?;
    hub.assign(&scene.site, &scene.agent, 2, &scene.archive)?;
    let message = hub.event("document-refused", &mut scene.agent)?;
    ensure!(message.contains("chunk"), "{message}");
    scene.agent.wait_until("commit", |status| runs(status, "2.0.0"))?;
    scene.agent.stop()
}

/// One zstd frame that unpacks to so many zeros: a raw block can't, so run-length blocks of 128 KiB each.
fn zstd_of_zeros(length: u32) -> Result<Vec<u8>> {
    const BLOCK: u32 = 128 << 10;
    // Magic number; a frame of a single segment whose content size has four bytes.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    frame.extend(length.to_le_bytes());
    let blocks = length / BLOCK;
    for block in 1..=blocks {
        // RFC 8878, 3.1.1.2: last block, type 1 (run length), size.
        let header = u32::from(block == blocks) | 1 << 1 | BLOCK << 3;
        frame.extend(header.to_le_bytes().get(..3).context("three bytes")?);
        frame.push(0);
    }
    Ok(frame)
}

#[test]
fn endless_data_a_manifest_that_claims_to_be_huge_is_not_fetched() -> Result<()> {
    let Some(mut scene) = Scene::set(&json!({}))? else {
        return Ok(());
    };
    let hub = Hostile::start(&scene, |_| Ok(vec![]))?;
    let mut assignment = scene.site.assignment(&scene.agent.device, 2, Some(&scene.archive))?;
    let chunk = |number: u32| Chunk {
        sha256: Digest::of(&number.to_le_bytes()),
        length: 65_536,
    };
    if let Some(run) = &mut assignment.run {
        run.manifest = BlobRef {
            sha256: Digest::of(b"huge"),
            length: 200 * 65_536,
            chunks: (0..200).map(chunk).collect(),
        };
    }
    let sealed = assignment.seal(&scene.site.secret("assignment")?)?;
    hub.publish(down(&scene.agent, Down::Assign)?, sealed)?;
    let message = hub.event("document-refused", &mut scene.agent)?;
    ensure!(
        message.contains("its manifest is said to have 13107200 bytes"),
        "{message}"
    );
    scene.serves()?;
    ensure!(hub.with(|seen| seen.fetches.is_empty()), "something was asked for");
    scene.agent.stop()
}

#[test]
fn endless_data_a_bundle_beyond_the_budget_is_refused_before_a_chunk_is_asked_for() -> Result<()> {
    let config = json!({ "store": { "blob_budget_bytes": 2 << 20 } });
    let Some(mut scene) = Scene::set(&config)? else {
        return Ok(());
    };
    let content = Content::of(&scene.archive);
    let hub = Hostile::start(&scene, move |fetch| content.honest(fetch))?;
    hub.assign(&scene.site, &scene.agent, 2, &scene.archive)?;
    let report = hub.ended("job-2", &mut scene.agent)?;
    ensure!(report.status == JobStatus::Failed, "{report:?}");
    ensure!(
        report.reason.contains("budget of 2097152") && report.reason.contains("raise the budget"),
        "{report:?}"
    );
    let (manifest, _, _) = Manifest::inspect_unverified(&scene.archive.manifest)?;
    let asked: Vec<Digest> = hub.with(|seen| seen.fetches.iter().map(|fetch| fetch.digest).collect());
    ensure!(!asked.contains(&scene.large.sha256), "the large blob was asked for");
    ensure!(
        !manifest
            .components
            .iter()
            .any(|component| asked.contains(&component.blob.sha256)),
        "a component was asked for"
    );
    scene.serves()?;
    scene.agent.stop()
}

#[test]
fn slow_retrieval_a_hub_that_stops_sending_is_told_and_given_up() -> Result<()> {
    let config = json!({ "fetch": { "timeout_s": 12 } });
    let Some(mut scene) = Scene::set(&config)? else {
        return Ok(());
    };
    let (content, large) = (Content::of(&scene.archive), scene.large.sha256);
    let hub = Hostile::start(&scene, move |fetch| {
        if fetch.digest == large {
            return Ok(vec![]);
        }
        content.honest(fetch)
    })?;
    hub.assign(&scene.site, &scene.agent, 2, &scene.archive)?;
    let message = hub.event("slow-retrieval", &mut scene.agent)?;
    ensure!(message.contains("at least 768 have to"), "{message}");
    let report = hub.ended("job-2", &mut scene.agent)?;
    ensure!(report.status == JobStatus::TimedOut, "{report:?}");
    ensure!(report.reason.contains("at least 3072 have to"), "{report:?}");
    let asked = hub.with(|seen| seen.fetches.iter().filter(|fetch| fetch.digest == large).count());
    ensure!(asked >= 2, "it was asked for {asked} times: it has to be tried again");
    scene.serves()?;
    scene.agent.stop()
}

#[test]
fn slow_retrieval_a_trickle_above_the_minimum_meets_the_deadline() -> Result<()> {
    let config = json!({ "fetch": { "timeout_s": 600, "min_rate_bytes_per_s": 0, "deadline_s": 15 } });
    let Some(mut scene) = Scene::set(&config)? else {
        return Ok(());
    };
    let (content, large) = (Content::of(&scene.archive), scene.large.sha256);
    let hub = Hostile::start(&scene, move |fetch| {
        let mut answers = content.honest(fetch)?;
        if fetch.digest == large {
            answers.truncate(1);
        }
        Ok(answers)
    })?;
    hub.assign(&scene.site, &scene.agent, 2, &scene.archive)?;
    let report = hub.ended("job-2", &mut scene.agent)?;
    ensure!(report.status == JobStatus::TimedOut, "{report:?}");
    ensure!(report.reason.contains("all the time there is"), "{report:?}");
    scene.serves()?;
    scene.agent.stop()
}

#[test]
fn broadcasts_that_are_forged_are_refused_and_listened_to_no_more() -> Result<()> {
    let Some(mut scene) = Scene::set(&json!({}))? else {
        return Ok(());
    };
    let (content, large) = (Content::of(&scene.archive), scene.large.sha256);
    let count = scene.large.chunks.len() as u32;
    let hub = Hostile::start(&scene, move |fetch| {
        let mut sent = Vec::new();
        if fetch.digest == large {
            for index in 0..count {
                let forged = ChunkMessage::pack(BROADCAST_TOKEN, large, index, &noise(1000, index.into()));
                sent.push(Sent::Broadcast(forged));
                sent.push(Sent::Noise(large, vec![0xff; 100]));
            }
        }
        sent.extend(content.honest(fetch)?);
        Ok(sent)
    })?;
    hub.assign(&scene.site, &scene.agent, 2, &scene.archive)?;
    let message = hub.event("document-refused", &mut scene.agent)?;
    ensure!(message.contains("chunk") || message.contains("not what"), "{message}");
    scene.agent.wait_until("commit", |status| runs(status, "2.0.0"))?;
    let listening = hub.with(|seen| {
        let of_large = seen.fetches.iter().filter(|fetch| fetch.digest == large);
        of_large.filter(|fetch| !fetch.wanted.is_empty()).count()
    });
    ensure!(listening <= 2, "it went on listening in {listening} requests");
    scene.agent.stop()
}

/// The hub, or the broker, answers nobody who listens, and publishes nothing.
#[test]
fn broadcasts_that_are_withheld_cost_a_bounded_time() -> Result<()> {
    let Some(mut scene) = Scene::set(&json!({}))? else {
        return Ok(());
    };
    let content = Content::of(&scene.archive);
    let hub = Hostile::start(&scene, move |fetch| {
        if fetch.wanted.is_empty() {
            content.honest(fetch)
        } else {
            Ok(vec![])
        }
    })?;
    hub.assign(&scene.site, &scene.agent, 2, &scene.archive)?;
    scene.agent.wait_until("commit", |status| runs(status, "2.0.0"))?;
    scene.agent.stop()
}
