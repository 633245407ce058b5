//! Trust roots that take each other's place.

use super::*;
use crate::event::NewRoot;
use floorhand_bundle::{PublicKey, RoleKeys, SecretKey, TrustRoot};

/// A number that no hub gets to by itself.
const FAR: u64 = 1 << 50;

fn key(seed: u8) -> PublicKey {
    SecretKey::from_seed(&[seed; 32]).public()
}

/// A root whose assignments these keys sign.
fn under(version: u64, assignment: &[u8], revoked: &[u64]) -> Event {
    let any_of = |seeds: &[u8]| RoleKeys::any_of(seeds.iter().map(|&seed| key(seed)).collect());
    let root = TrustRoot {
        fleet: "f".parse().unwrap(),
        version,
        expires_ms: u64::MAX,
        critical: vec![],
        root: any_of(&[1]),
        release: any_of(&[2]),
        assignment: any_of(assignment),
    };
    Event::NewRoot(Box::new(NewRoot {
        root,
        revoked: revoked.to_vec(),
        pending_revoked: false,
    }))
}

#[test]
fn numbers_begin_anew_with_the_keys_that_sign_them() {
    let check = |keys: &[u8], expected: (u64, u64, u64)| {
        let mut bench = Bench::new();
        bench.event(under(1, &[3], &[]));
        bench.event(Event::Assigned(Assignment {
            run: None,
            ..assignment("a", FAR)
        }));
        bench.event(Event::CommandTaken(9));
        bench.event(under(2, keys, &[]));
        assert!(
            matches!(bench.actions.first(), Some(Action::Save(_))),
            "durable before anything else"
        );
        let saved = &bench.saved;
        assert_eq!((saved.seq, saved.command_id, saved.clock_ms), expected, "{keys:?}");
        assert_eq!(bench.saved.root_version, 2);
    };
    check(&[3], (FAR, 9, FAR * 1000));
    check(&[3, 4], (FAR, 9, FAR * 1000));
    check(&[4], (0, 0, 0));
}

#[test]
fn a_record_that_knows_of_no_keys_keeps_its_numbers() {
    let mut bench = Bench::new();
    bench.event(Event::Assigned(assignment("a", 7)));
    bench.event(under(5, &[3], &[]));
    assert_eq!((bench.saved.seq, bench.saved.root_version), (7, 5));
}

#[test]
fn what_a_revoked_key_signed_goes_on_serving_and_is_nothing_to_go_back_to() {
    let mut bench = Bench::new();
    for (name, seq) in [("a", 1), ("b", 2)] {
        bench.committed(name, seq);
    }
    bench.event(under(2, &[3], &[1, 2]));
    let told = |action: &&Action| matches!(action, Action::Revoked { .. });
    assert_eq!(bench.actions.iter().filter(told).count(), 2, "{:?}", bench.actions);
    assert_eq!(bench.saved.active.as_ref().unwrap().number, 2);
    assert!(bench.saved.previous.is_none());
    assert!(!bench.actions.iter().any(|action| matches!(action, Action::Activate(_))));
    bench.event(Event::Broken {
        generation: 2,
        reason: "its breaker opened".to_owned(),
    });
    assert_eq!(
        bench.saved.active.as_ref().unwrap().number,
        2,
        "there is no other, and a device always serves"
    );
}

#[test]
fn what_a_revoked_key_signed_is_gone_for_good_once_it_has_made_room() {
    let mut bench = Bench::new();
    bench.committed("a", 1);
    bench.event(under(2, &[3], &[1]));
    bench.power_cut();
    bench.event(Event::Activated(Ok(())));
    bench.committed("b", 2);
    assert_eq!(bench.active(), "b");
    assert!(bench.saved.previous.is_none(), "it is nothing to go back to");
    bench.committed("c", 3);
    assert_eq!(bench.saved.previous.as_ref().unwrap().bundle.name.as_str(), "b");
}

#[test]
fn a_candidate_that_a_revoked_key_signed_is_given_up() {
    let mut bench = Bench::new();
    bench.committed("a", 1);
    bench.staged("b", 2);
    bench.event(under(2, &[3], &[2]));
    assert!(bench.saved.candidate.is_none());
    assert!(bench.actions.contains(&Action::DropCandidate));
    let failed = |action: &Action| matches!(action, Action::Report(report) if report.status == JobStatus::Failed);
    assert!(bench.actions.iter().any(failed), "{:?}", bench.actions);
}

#[test]
fn a_manifest_that_a_revoked_key_signed_is_not_gone_on_with() {
    let mut bench = Bench::new();
    bench.event(Event::Assigned(assignment("a", 1)));
    bench.event(Event::ManifestReady(facts("a", 1)));
    let Event::NewRoot(mut new) = under(2, &[3], &[]) else {
        unreachable!()
    };
    new.pending_revoked = true;
    bench.event(Event::NewRoot(new));
    assert!(bench.saved.pending.is_none() && bench.actions.contains(&Action::StopFetching));
}
