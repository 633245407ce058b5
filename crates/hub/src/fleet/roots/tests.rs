//! Rotation as the hub sees it: what is taken, what a device is sent in which order, which numbers are gone on above.

use super::*;
use crate::fleet::{Outgoing, Selection};
use crate::testing::{NOW_MS, archived, bundle, finding, hello, hub, key, manifest, root};
use floorhand_bundle::{Archive, RoleKeys};
use floorhand_protocol::{Assignment, Mode, UpBatch};
use tokio::sync::mpsc;

const HELLO: &str = "fh/v1/plant-a/d/press-1/up/hello";
const BATCH: &str = "fh/v1/plant-a/d/press-1/up/batch";

/// A root after the one of the tests: release key `release`, assignment key `assignment`, signed by root key 1.
fn next(version: u64, release: u8, assignment: u8) -> Vec<u8> {
    let root = TrustRoot {
        version,
        release: RoleKeys::any_of(vec![key(release).public()]),
        assignment: RoleKeys::any_of(vec![key(assignment).public()]),
        ..root().into_inner()
    };
    root.seal(&[&key(1)]).unwrap()
}

/// A hub with key 2, and key 3 for the next root, and one registered device.
async fn rotating() -> (tempfile::TempDir, Hub, mpsc::Receiver<Outgoing>) {
    let (dir, hub, sent) = hub().await;
    let hub = hub.with_next_key(Some(Box::new(key(3))));
    hub.open_roots().await.unwrap();
    let device = "press-1".parse().unwrap();
    let public = hex::encode(key(9).public().as_bytes());
    hub.database.register(&device, &public, false, NOW_MS).await.unwrap();
    (dir, hub, sent)
}

async fn say(hub: &Hub, count: u64, root_version: u64, seq: u64) {
    let mut hello = hello("press-1", 1, count);
    (hello.root_version, hello.seq) = (root_version, seq);
    hub.take(HELLO, &hello.seal(&key(9)).unwrap()).await;
}

fn kinds(sent: &mut mpsc::Receiver<Outgoing>) -> Vec<(String, Vec<u8>)> {
    std::iter::from_fn(|| sent.try_recv().ok())
        .map(|one| {
            let kind = one.topic.rsplit('/').next().unwrap_or_default().to_owned();
            assert_eq!(one.retain, kind == "assign");
            (kind, one.payload)
        })
        .collect()
}

fn assignment(payload: &[u8], root: &[u8]) -> Assignment {
    let root = TrustRoot::open_pinned(root).unwrap();
    Assignment::open(payload, &root, &"press-1".parse().unwrap(), NOW_MS)
        .unwrap()
        .into_inner()
}

#[tokio::test]
async fn a_device_gets_the_root_first_and_then_what_it_shall_be() {
    let (_dir, hub, mut sent) = rotating().await;
    say(&hub, 1, 1, 0).await;
    hub.change_mode("press-1", Mode::Paused).await.unwrap();
    assert_eq!(kinds(&mut sent).len(), 1);
    let second = next(2, 1, 3);
    assert!(hub.take_root(&second).await.unwrap().new);
    hub.send_roots().await.unwrap();
    assert_eq!(
        kinds(&mut sent),
        [("root".to_owned(), second.clone())],
        "it is there, so at once"
    );
    assert!(!hub.take_root(&second).await.unwrap().new);
    // An order for a device that can't take it yet waits; so do acks; and a command is refused.
    hub.set_sampling("press-1", 5).await.unwrap();
    let batch = UpBatch {
        device: "press-1".parse().unwrap(),
        boot_id: 5,
        historical: false,
        records: vec![finding(1, 1, 0.5)],
        gaps: vec![],
    };
    hub.take(BATCH, &batch.seal(&key(9)).unwrap()).await;
    let action = floorhand_protocol::Action::ReportNow;
    let refused = hub.command("press-1", &action).await.unwrap_err().to_string();
    assert!(refused.contains("has an older trust root"), "{refused}");
    assert_eq!(kinds(&mut sent), []);
    assert_eq!(hub.counters.records.value(), 1, "stored all the same");
    say(&hub, 2, 1, 1).await;
    assert_eq!(
        kinds(&mut sent),
        [("root".to_owned(), second.clone())],
        "nothing under a key that doesn't count there"
    );
    say(&hub, 3, 2, 0).await;
    let told = kinds(&mut sent);
    assert_eq!(told.len(), 1);
    let assigned = assignment(&told[0].1, &second);
    assert_eq!((assigned.mode, assigned.parameters.sampling_ppm), (Mode::Paused, 5));
    hub.take(BATCH, &batch.seal(&key(9)).unwrap()).await;
    assert_eq!(kinds(&mut sent)[0].0, "ack");
}

#[tokio::test]
async fn what_was_signed_with_the_old_key_is_signed_again_and_a_rollout_goes_on() {
    let (_dir, hub, mut sent) = rotating().await;
    say(&hub, 1, 1, 0).await;
    let (bytes, digest) = bundle("1.0.0", 1);
    hub.ingest(bytes).await.unwrap();
    let issued = hub.deploy(&digest.to_string(), &Selection::All).await.unwrap();
    let second = next(2, 1, 3);
    hub.take_root(&second).await.unwrap();
    kinds(&mut sent);
    say(&hub, 2, 2, 0).await;
    let told = kinds(&mut sent);
    let assigned = assignment(&told[0].1, &second);
    assert_eq!(assigned.run.clone().unwrap().bundle, digest);
    assert!(assigned.seq > 1);
    let job = hub.database.job_assignments(&issued.job).await.unwrap();
    assert_eq!(
        job[0].status, "QUEUED",
        "the job stands where the renewed assignment stands"
    );
    say(&hub, 3, 2, assigned.seq).await;
    assert_eq!(kinds(&mut sent), [], "once");
}

#[tokio::test]
async fn a_device_walks_up_root_by_root() {
    let (_dir, hub, mut sent) = rotating().await;
    let roots = [next(2, 1, 2), next(3, 4, 2), next(4, 4, 3)];
    for root in &roots {
        hub.take_root(root).await.unwrap();
    }
    for (at, root) in roots.iter().enumerate() {
        say(&hub, at as u64 + 1, at as u64 + 1, 0).await;
        assert_eq!(kinds(&mut sent), [("root".to_owned(), root.clone())]);
    }
    say(&hub, 9, 4, 0).await;
    assert_eq!(kinds(&mut sent), []);
}

#[tokio::test]
async fn roots_that_do_not_follow_are_refused_and_change_nothing() {
    let (_dir, hub, _sent) = rotating().await;
    for (bytes, part) in [
        (next(3, 1, 3), "only root 2 does"),
        (next(1, 4, 3), "only root 2 does"),
        (next(2, 1, 5), "next_assignment_key"),
        (b"nonsense".to_vec(), "no COSE_Sign tag"),
    ] {
        let error = hub.take_root(&bytes).await.unwrap_err().to_string();
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
    assert_eq!(hub.roots().newest().version, 1);
    assert_eq!(hub.database.roots().await.unwrap().len(), 1);
}

/// Whether somebody who waits for roots to be sent is woken.
async fn is_woken(hub: &Hub) -> bool {
    let waiting = std::time::Duration::from_millis(10);
    tokio::time::timeout(waiting, hub.resend.notified()).await.is_ok()
}

#[tokio::test]
async fn a_root_that_is_published_again_is_sent_again() {
    let (_dir, hub, _sent) = rotating().await;
    let second = next(2, 1, 3);
    hub.take_root(&second).await.unwrap();
    assert!(is_woken(&hub).await && !is_woken(&hub).await);
    assert!(!hub.take_root(&second).await.unwrap().new);
    assert!(is_woken(&hub).await);
}

#[tokio::test]
async fn a_root_that_another_hub_took_is_found_and_nothing_is_done_when_there_is_none() {
    let (_dir, hub, _sent) = rotating().await;
    let before = hub.roots();
    hub.reload_roots().await.unwrap();
    assert!(Arc::ptr_eq(&before, &hub.roots()), "nothing is new");
    let second = next(2, 1, 3);
    assert!(hub.database.add_root(2, &second, true, NOW_MS).await.unwrap());
    hub.reload_roots().await.unwrap();
    assert_eq!(hub.roots().newest().version, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn roots_that_are_read_again_meanwhile_never_take_one_back() {
    const ROOTS: u64 = 40;
    let (_dir, hub, _sent) = rotating().await;
    let hub = Arc::new(hub);
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let reading: Vec<_> = (0..3)
        .map(|_| {
            let (hub, done) = (Arc::clone(&hub), Arc::clone(&done));
            tokio::spawn(async move {
                let mut seen = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    hub.reload_roots().await.unwrap();
                    let newest = hub.roots().newest().version;
                    assert!(newest >= seen, "{newest} after {seen}");
                    seen = newest;
                }
            })
        })
        .collect();
    for version in 2..=ROOTS {
        let taken = hub.take_root(&next(version, 1, 3)).await;
        assert!(taken.unwrap().new, "{version}");
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    for task in reading {
        task.await.unwrap();
    }
    assert_eq!(hub.roots().newest().version, ROOTS);
}

#[tokio::test]
async fn a_root_from_a_machine_whose_clock_is_ahead_is_refused() {
    let (_dir, hub, _sent) = rotating().await;
    let made_at = |issued_ms: u64| {
        let root = TrustRoot {
            version: 2,
            issued_ms,
            ..root().into_inner()
        };
        root.seal(&[&key(1)]).unwrap()
    };
    let error = hub
        .take_root(&made_at(NOW_MS + AHEAD_MS + 1))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("was made 60 s from now"), "{error}");
    assert!(hub.take_root(&made_at(NOW_MS + AHEAD_MS)).await.unwrap().new);
}

#[tokio::test]
async fn a_number_that_a_thief_drove_up_is_not_gone_on_above() {
    let (_dir, hub, mut sent) = rotating().await;
    say(&hub, 1, 1, u64::MAX).await;
    let row = hub.database.device("press-1").await.unwrap().unwrap();
    assert_eq!((row.seq, row.hello().unwrap().unwrap().seq), (0, u64::MAX));
    say(&hub, 2, 1, 1 << 31).await;
    assert_eq!(
        hub.database.device("press-1").await.unwrap().unwrap().seq,
        1 << 31,
        "a restored hub would"
    );
    let second = next(2, 1, 3);
    hub.take_root(&second).await.unwrap();
    say(&hub, 3, 1, 1 << 31).await;
    say(&hub, 4, 2, 0).await;
    kinds(&mut sent);
    hub.change_mode("press-1", Mode::Paused).await.unwrap();
    let told = kinds(&mut sent);
    assert_eq!(
        assignment(&told[0].1, &second).seq,
        1,
        "the numbers begin anew with the key"
    );
}

#[tokio::test]
async fn a_restored_hub_is_given_the_roots_again() {
    let (_dir, hub, _sent) = rotating().await;
    let second = next(2, 1, 3);
    // The device went on under root 2 and took seven; the backup knows of neither.
    say(&hub, 1, 2, 7).await;
    hub.take_root(&second).await.unwrap();
    say(&hub, 2, 2, 7).await;
    let issued = hub.change_mode("press-1", Mode::Paused).await.unwrap();
    assert_eq!(issued.assignments[0].1, 8);
}

#[tokio::test]
async fn the_configured_root_is_where_the_chain_stands() {
    let (_dir, mut hub, _sent) = rotating().await;
    let second = next(2, 1, 3);
    hub.root = TrustRoot::open_pinned(&second).unwrap();
    hub.open_roots().await.unwrap();
    assert_eq!((hub.roots().newest().version, hub.roots().iter().count()), (2, 2));
    assert_eq!(hub.signing_key().unwrap().public(), key(3).public());
    hub.root = TrustRoot::open_pinned(&next(2, 4, 3)).unwrap();
    let error = hub.open_roots().await.unwrap_err().to_string();
    assert!(error.contains("another root of version 2"), "{error}");
    hub.root = root();
    hub.open_roots().await.unwrap();
    assert_eq!(
        hub.roots().newest().version,
        2,
        "an older one in the configuration changes nothing"
    );
    let hub = hub.with_next_key(None);
    let error = hub.open_roots().await.unwrap_err().to_string();
    assert!(error.contains("not in the assignment role of trust root 2"), "{error}");
}

#[tokio::test]
async fn what_a_revoked_release_key_signed_is_not_deployed_until_it_is_signed_again() {
    let (_dir, hub, _sent) = rotating().await;
    let (bytes, digest) = bundle("1.0.0", 1);
    hub.ingest(bytes.clone()).await.unwrap();
    hub.take_root(&next(2, 4, 2)).await.unwrap();
    let error = hub
        .deploy(&digest.to_string(), &Selection::All)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("is not signed as trust root 2 wants"), "{error}");
    assert!(matches!(hub.ingest(bytes).await, Err(HubError::Refused(_))));
    let (manifest, blobs) = manifest("1.0.0", 1);
    let again = Archive {
        manifest: manifest.seal(&[&key(4)]).unwrap(),
        assignment: None,
        blobs,
    };
    assert!(!hub.ingest(archived(&again)).await.unwrap().1, "the same bundle");
    hub.deploy(&digest.to_string(), &Selection::All).await.unwrap();
}

#[tokio::test]
async fn a_stick_carries_the_roots_that_a_device_lacks() {
    let (_dir, hub, _sent) = rotating().await;
    let (bytes, digest) = bundle("1.0.0", 1);
    hub.ingest(bytes).await.unwrap();
    hub.deploy(&digest.to_string(), &Selection::All).await.unwrap();
    let (second, third) = (next(2, 1, 2), next(3, 1, 3));
    hub.take_root(&second).await.unwrap();
    hub.take_root(&third).await.unwrap();
    let file = hub.export("press-1", None).await.unwrap();
    let roots = Archive::read_roots(std::io::Cursor::new(&file)).unwrap();
    assert_eq!(roots, [second, third.clone()]);
    let archive = Archive::read(&file[..]).unwrap();
    assert_eq!(
        assignment(&archive.assignment.unwrap(), &third).run.unwrap().bundle,
        digest
    );
}
