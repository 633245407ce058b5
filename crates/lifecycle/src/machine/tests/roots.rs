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
        issued_ms: 0,
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

/// The same root, made at this time.
fn made_at(issued_ms: u64, mut event: Event) -> Event {
    if let Event::NewRoot(new) = &mut event {
        new.root.issued_ms = issued_ms;
    }
    event
}

#[test]
fn a_clock_far_ahead_is_not_believed_at_the_first_boot_nor_after_a_change_of_keys() {
    const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;
    // What the device goes by while its real-time clock says 2031, under roots that end then or later.
    let now_ms = |bench: &Bench| {
        let clock = crate::TrustedClock {
            floor_ms: bench.saved.clock_ms,
            root_expires_ms: 66 * YEAR_MS,
        };
        clock.now_ms(61 * YEAR_MS)
    };
    let made_ms = 56 * YEAR_MS;
    let mut bench = Bench::new();
    bench.event(made_at(made_ms, under(1, &[3], &[])));
    assert_eq!(now_ms(&bench), made_ms, "a device that was given nothing yet");
    bench.event(Event::SignedTime(made_ms + 5));
    bench.event(made_at(made_ms + 1, under(2, &[3, 4], &[])));
    assert_eq!(
        now_ms(&bench),
        made_ms + 5,
        "a root that changes no keys takes nothing back"
    );
    bench.event(made_at(made_ms + 9, under(3, &[4], &[])));
    assert_eq!(
        (bench.saved.seq, now_ms(&bench)),
        (0, made_ms + 9),
        "4 was there before"
    );
    bench.event(made_at(made_ms + 7, under(4, &[5], &[])));
    assert_eq!(
        (bench.saved.seq, now_ms(&bench)),
        (0, made_ms + 7),
        "the numbers began anew"
    );
}

#[test]
fn a_record_without_the_roots_time_is_told_of_the_root_again() {
    let mut bench = Bench::new();
    bench.event(under(1, &[3], &[]));
    let Event::NewRoot(new) = made_at(9, under(1, &[3], &[])) else {
        unreachable!("it is one")
    };
    assert!(!bench.saved.is_under(&new.root));
    bench.event(Event::NewRoot(new.clone()));
    assert!(bench.saved.is_under(&new.root));
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
