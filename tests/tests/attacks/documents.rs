//! Who signs, for whom, and how old: arbitrary software, rollback, freeze, mix and match, wrong device and replay, key
//! compromise. "Fast-forward" and what is done about a stolen key are in `tests/roots.rs`.

use crate::hostile::{Content, Hostile, Scene, down, runs};
use anyhow::{Context as _, Result, ensure};
use floorhand_bundle::{Archive, BlobRef, Domain, Envelope, HardwareClass, Manifest, RoleKeys, SecretKey, TrustRoot};
use floorhand_protocol::{Action, Assigned, Command, Down, JobStatus, Outcome};
use floorhand_tests::{FLEET, say};
use serde_json::{Value, json};
use std::fs;

/// A hub that serves these bundles as it should.
fn hub_of(scene: &Scene, archives: &[&Archive]) -> Result<Hostile> {
    let contents: Vec<Content> = archives.iter().map(|archive| Content::of(archive)).collect();
    Hostile::start(scene, move |fetch| {
        let content = contents.iter().find(|content| content.0.contains_key(&fetch.digest));
        content.map_or_else(|| Ok(Vec::new()), |content| content.honest(fetch))
    })
}

/// The bundle with another manifest, signed by these keys.
fn signed(archive: &Archive, keys: &[&SecretKey], change: impl FnOnce(&mut Manifest)) -> Result<Archive> {
    let (mut manifest, ..) = Manifest::inspect_unverified(&archive.manifest)?;
    change(&mut manifest);
    let mut other = archive.clone();
    other.manifest = manifest.seal(keys)?;
    Ok(other)
}

/// Assigns a bundle that the device has to refuse for this reason, and to go on.
fn is_refused(scene: &mut Scene, hub: &Hostile, seq: u64, archive: &Archive, reason: &str) -> Result<()> {
    hub.assign(&scene.site, &scene.agent, seq, archive)?;
    let report = hub.ended(&format!("job-{seq}"), &mut scene.agent)?;
    ensure!(report.status != JobStatus::Succeeded, "{report:?}");
    ensure!(report.reason.contains(reason), "not for {reason:?}: {report:?}");
    say(&format!("refused: {}", report.reason));
    scene.serves()
}

fn number(status: &Value, name: &str) -> Option<u64> {
    status.get(name).and_then(Value::as_u64)
}

/// Waits until a document of this kind was refused for this reason; its number wasn't taken.
fn document_is_refused(scene: &mut Scene, hub: &Hostile, reason: &str, seq: u64) -> Result<()> {
    hub.record(&format!("refusal: {reason}"), &mut scene.agent, |body| match body {
        floorhand_protocol::RecordBody::Event(event) if event.kind == "document-refused" => {
            event.message.contains(reason).then_some(())
        }
        _ => None,
    })?;
    let status = scene.agent.wait_until("status", |status| !status.is_null())?;
    ensure!(number(&status, "seq") == Some(seq), "{status:#}");
    scene.serves()
}

#[test]
fn arbitrary_software_needs_the_release_key_over_these_very_bytes() -> Result<()> {
    let Some(mut scene) = Scene::set(&json!({}))? else {
        return Ok(());
    };
    let stranger = SecretKey::from_seed(&[9; 32]);
    let (online, offline) = (scene.site.secret("assignment")?, scene.site.secret("offline")?);
    let mut attacks = Vec::new();
    for key in [&stranger, &online, &offline] {
        attacks.push(signed(&scene.archive, &[key], |_| {})?);
    }
    // A byte of the version is another one, under the signature of the release key.
    let mut bent = scene.archive.clone();
    let at = bent.manifest.windows(5).position(|window| window == b"2.0.0");
    *bent.manifest.get_mut(at.context("no version")?).context("no version")? = b'3';
    attacks.push(bent);
    let hub = hub_of(&scene, &attacks.iter().collect::<Vec<_>>())?;
    for (seq, attack) in (2..).zip(&attacks) {
        is_refused(&mut scene, &hub, seq, attack, "is signed by 0 of the 1 keys it needs")?;
    }
    scene.agent.stop()
}

#[test]
fn arbitrary_software_a_key_that_signs_twice_is_one_of_two() -> Result<()> {
    let Some(mut scene) = Scene::set(&json!({}))? else {
        return Ok(());
    };
    scene.site.new_key("release-2")?;
    let (release, second) = (scene.site.secret("release")?, scene.site.secret("release-2")?);
    let mut root = TrustRoot::open_pinned(&fs::read(scene.site.path("root.cose"))?)?.into_inner();
    root.version = 2;
    root.release = RoleKeys {
        keys: vec![release.public(), second.public()],
        threshold: 2,
    };
    let payload = Envelope::open(Domain::Manifest, &scene.archive.manifest, 1 << 20)?
        .payload_unverified()
        .to_vec();
    let mut twice = scene.archive.clone();
    twice.manifest = Envelope::seal(Domain::Manifest, &payload, &[&release, &release])?;
    let both = signed(&scene.archive, &[&release, &second], |manifest| {
        manifest.release_counter = 3
    })?;
    let hub = hub_of(&scene, &[&twice, &both])?;
    hub.publish(
        down(&scene.agent, Down::Root)?,
        root.seal(&[&scene.site.secret("offline")?])?,
    )?;
    scene
        .agent
        .wait_until("root 2", |status| number(status, "root_version") == Some(2))?;
    is_refused(&mut scene, &hub, 2, &twice, "is signed by 1 of the 2 keys it needs")?;
    hub.assign(&scene.site, &scene.agent, 3, &both)?;
    scene.agent.wait_until("commit", |status| runs(status, "2.0.0"))?;
    scene.agent.stop()
}

#[test]
fn rollback_below_the_floor_or_the_sequence_is_refused() -> Result<()> {
    let Some(mut scene) = Scene::set(&json!({}))? else {
        return Ok(());
    };
    let release = scene.site.secret("release")?;
    let newer = signed(&scene.archive, &[&release], |manifest| {
        (manifest.release_counter, manifest.floor) = (3, 3);
        manifest.lineage.training_run = "another".to_owned();
    })?;
    let older = scene.archive.clone();
    let hub = hub_of(&scene, &[&newer, &older])?;
    hub.assign(&scene.site, &scene.agent, 7, &newer)?;
    scene.agent.wait_until("commit", |status| runs(status, "2.0.0"))?;
    hub.assign(&scene.site, &scene.agent, 8, &older)?;
    let report = hub.ended("job-8", &mut scene.agent)?;
    ensure!(
        report.status == JobStatus::Rejected && report.reason.contains("floor"),
        "{report:?}"
    );
    // What was right once comes again: a lower number is nothing new.
    let mut again = scene.site.assignment(&scene.agent.device, 5, Some(&older))?;
    again.mode = floorhand_protocol::Mode::Paused;
    hub.publish(
        down(&scene.agent, Down::Assign)?,
        again.seal(&scene.site.secret("assignment")?)?,
    )?;
    let answer = hub.answer("assign/5", &mut scene.agent)?;
    ensure!(matches!(answer.outcome, Outcome::Rejected { .. }), "{answer:?}");
    let status = scene.agent.wait_until("status", |status| !status.is_null())?;
    ensure!(
        number(&status, "seq") == Some(8) && number(&status, "floor") == Some(3) && runs(&status, "2.0.0"),
        "{status:#}"
    );
    ensure!(status.get("mode") == Some(&json!("run")), "{status:#}");
    scene.agent.stop()
}

#[test]
fn freeze_an_assignment_that_was_kept_back_is_begun_no_more() -> Result<()> {
    let Some(mut scene) = Scene::set(&json!({}))? else {
        return Ok(());
    };
    let hub = hub_of(&scene, &[&scene.archive])?;
    let mut kept = scene.site.assignment(&scene.agent.device, 2, Some(&scene.archive))?;
    kept.issued_ms -= 7_200_000;
    kept.expires_ms = kept.issued_ms + 3_600_000;
    hub.publish(
        down(&scene.agent, Down::Assign)?,
        kept.seal(&scene.site.secret("assignment")?)?,
    )?;
    document_is_refused(&mut scene, &hub, "expired", 1)?;
    hub.assign(&scene.site, &scene.agent, 2, &scene.archive)?;
    scene
        .agent
        .wait_until("commit of a fresh one", |status| runs(status, "2.0.0"))?;
    scene.agent.stop()
}

#[test]
fn mix_and_match_one_digest_covers_everything() -> Result<()> {
    let Some(mut scene) = Scene::set(&json!({}))? else {
        return Ok(());
    };
    let other = signed(&scene.archive, &[&scene.site.secret("release")?], |manifest| {
        manifest.release_counter = 3;
    })?;
    let hub = hub_of(&scene, &[&scene.archive, &other])?;
    let (_, bundle, _) = Manifest::inspect_unverified(&scene.archive.manifest)?;
    let mut assignment = scene.site.assignment(&scene.agent.device, 2, None)?;
    // Both are released and signed; the one isn't the other's.
    assignment.run = Some(Assigned {
        bundle,
        manifest: BlobRef::of(&other.manifest),
    });
    hub.publish(
        down(&scene.agent, Down::Assign)?,
        assignment.seal(&scene.site.secret("assignment")?)?,
    )?;
    let report = hub.ended("job-2", &mut scene.agent)?;
    ensure!(report.status == JobStatus::Rejected, "{report:?}");
    say(&format!("refused: {}", report.reason));
    scene.serves()?;
    scene.agent.stop()
}

#[test]
fn wrong_device_and_replay() -> Result<()> {
    let Some(mut scene) = Scene::set(&json!({}))? else {
        return Ok(());
    };
    let (online, release) = (scene.site.secret("assignment")?, scene.site.secret("release")?);
    let class: HardwareClass = "another-class".parse()?;
    let foreign = signed(&scene.archive, &[&release], |manifest| manifest.hardware = vec![class])?;
    let hub = hub_of(&scene, &[&foreign])?;
    let mut of_another = scene.site.assignment(&"press-2".parse()?, 1000, Some(&scene.archive))?;
    hub.publish(down(&scene.agent, Down::Assign)?, of_another.seal(&online)?)?;
    document_is_refused(&mut scene, &hub, "press-2", 1)?;
    of_another.device = scene.agent.device.clone();
    of_another.fleet = "plant-b".parse()?;
    hub.publish(down(&scene.agent, Down::Assign)?, of_another.seal(&online)?)?;
    is_refused(&mut scene, &hub, 2, &foreign, "it is made for another-class")?;

    let command = |id| -> Result<Vec<u8>> {
        let assignment = scene.site.assignment(&scene.agent.device, 1, None)?;
        let command = Command {
            fleet: FLEET.parse()?,
            device: scene.agent.device.clone(),
            id,
            issued_ms: assignment.issued_ms,
            expires_ms: assignment.expires_ms,
            action: Action::ReportNow,
            critical: Vec::new(),
        };
        Ok(command.seal(&online)?)
    };
    let (fifth, sixth) = (command(5)?, command(6)?);
    for sealed in [&fifth, &fifth, &sixth, &fifth] {
        hub.publish(down(&scene.agent, Down::Command)?, sealed.clone())?;
    }
    hub.publish(down(&scene.agent, Down::Command)?, command(7)?)?;
    hub.answer("cmd/7", &mut scene.agent)?;
    let answers = hub.with(|seen| seen.answers.iter().map(|answer| answer.to.clone()).collect::<Vec<_>>());
    for to in ["cmd/5", "cmd/6", "cmd/7"] {
        let count = answers.iter().filter(|answer| *answer == to).count();
        ensure!(count == 1, "{to} was answered {count} times: {answers:?}");
    }
    scene.serves()?;
    scene.agent.stop()
}

#[test]
fn key_compromise_the_online_key_chooses_among_released_bundles_and_no_more() -> Result<()> {
    let Some(mut scene) = Scene::set(&json!({}))? else {
        return Ok(());
    };
    let online = scene.site.secret("assignment")?;
    let own = signed(&scene.archive, &[&online], |manifest| manifest.release_counter = 9)?;
    let hub = hub_of(&scene, &[&own, &scene.archive])?;
    is_refused(&mut scene, &hub, 2, &own, "is signed by 0 of the 1 keys it needs")?;
    let mut root = TrustRoot::open_pinned(&fs::read(scene.site.path("root.cose"))?)?.into_inner();
    root.version = 2;
    root.release = RoleKeys::any_of(vec![online.public()]);
    hub.publish(down(&scene.agent, Down::Root)?, root.seal(&[&online])?)?;
    document_is_refused(&mut scene, &hub, "trust root", 2)?;
    let status = scene.agent.wait_until("status", |status| !status.is_null())?;
    ensure!(number(&status, "root_version") == Some(1), "{status:#}");
    // This much it can do: see the row "key compromise".
    hub.assign(&scene.site, &scene.agent, 3, &scene.archive)?;
    scene.agent.wait_until("commit", |status| runs(status, "2.0.0"))?;
    scene.agent.stop()
}
