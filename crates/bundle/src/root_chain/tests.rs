//! Chains of roots: each rule by an example, and all of them against a model.

use super::*;
use crate::keys::SecretKey;
use crate::root::RoleKeys;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn role(seeds: &[u8], threshold: u32) -> RoleKeys {
    RoleKeys {
        keys: seeds.iter().map(|&seed| key(seed).public()).collect(),
        threshold,
    }
}

/// Root keys 1, 2 and 3, of which two sign; release key 11; assignment key 21.
fn root(version: u64) -> TrustRoot {
    TrustRoot {
        fleet: "plant-a".parse().unwrap(),
        version,
        expires_ms: 1000,
        issued_ms: 0,
        critical: vec![],
        root: role(&[1, 2, 3], 2),
        release: role(&[11], 1),
        assignment: role(&[21], 1),
    }
}

fn sealed(root: &TrustRoot, by: &[u8]) -> Vec<u8> {
    let keys: Vec<SecretKey> = by.iter().map(|&seed| key(seed)).collect();
    let keys: Vec<&SecretKey> = keys.iter().collect();
    root.seal(&keys).unwrap()
}

fn pinned(root: &TrustRoot, by: &[u8]) -> RootChain {
    RootChain::new(TrustRoot::open_pinned(&sealed(root, by)).unwrap())
}

/// What a chain of version 1 says to a root, signed by these.
fn refusal(next: &TrustRoot, by: &[u8]) -> String {
    let mut chain = pinned(&root(1), &[1, 2]);
    let before = chain.clone();
    let error = chain.extend(&sealed(next, by)).unwrap_err().to_string();
    assert_eq!(chain, before, "what is refused changes nothing");
    error
}

#[test]
fn a_device_that_was_away_walks_over_roots_that_have_expired() {
    let mut chain = pinned(&root(1), &[1, 2]);
    for version in 2..=5 {
        let next = TrustRoot {
            expires_ms: version,
            ..root(version)
        };
        chain.extend(&sealed(&next, &[2, 3])).unwrap();
    }
    assert_eq!((chain.newest().version, chain.iter().count()), (5, 5));
    let versions: Vec<u64> = chain.iter().map(|root| root.version).collect();
    assert_eq!(versions, [5, 4, 3, 2, 1], "the newest first");
    let late = chain
        .newest()
        .verify(Role::Release, crate::Domain::Manifest, b"", 10, 6);
    assert!(
        matches!(late, Err(DocumentError::RootExpired { version: 5, .. })),
        "expiry is held against at use: {late:?}"
    );
}

#[test]
fn a_jump_a_step_back_and_another_fleet_are_refused() {
    assert!(refusal(&root(3), &[1, 2]).contains("trust root 3 does not follow root 1; only root 2 does"));
    assert!(refusal(&root(1), &[1, 2]).contains("root 1 does not follow root 1"));
    assert!(refusal(&root(0), &[1, 2]).contains("root 0 does not follow root 1"));
    let foreign = TrustRoot {
        fleet: "plant-b".parse().unwrap(),
        ..root(2)
    };
    assert!(refusal(&foreign, &[1, 2]).contains("of fleet plant-b, and this is plant-a"));
}

#[test]
fn both_thresholds_have_to_be_met() {
    let next = TrustRoot {
        root: role(&[3, 4, 5], 2),
        ..root(2)
    };
    for lacking in [&[4, 5][..], &[1, 2], &[1, 3], &[3, 4, 5], &[1, 2, 4, 11, 21]] {
        assert!(
            refusal(&next, lacking).contains("signed by 1 of the 2")
                || refusal(&next, lacking).contains("by 0 of the 2")
        );
    }
    let mut chain = pinned(&root(1), &[1, 2]);
    chain.extend(&sealed(&next, &[1, 3, 4])).unwrap();
    assert_eq!(chain.newest().root, next.root, "one key may count for both");
}

#[test]
fn a_field_that_has_to_be_known_stops_a_chain() {
    let critical = TrustRoot {
        critical: vec!["delegations".to_owned()],
        ..root(2)
    };
    // It can't be sealed here either, so it is made the way a newer version would.
    let payload = crate::cbor::encode("trust root", &critical).unwrap();
    let bytes = crate::Envelope::seal(crate::Domain::Root, &payload, &[&key(1), &key(2)]).unwrap();
    let error = pinned(&root(1), &[1, 2]).extend(&bytes).unwrap_err();
    assert!(matches!(error, DocumentError::Critical { .. }), "{error}");
}

#[test]
fn a_key_that_was_taken_out_never_comes_back() {
    let mut chain = pinned(&root(1), &[1, 2]);
    let second = TrustRoot {
        release: role(&[12], 1),
        ..root(2)
    };
    chain.extend(&sealed(&second, &[1, 2])).unwrap();
    let back = TrustRoot {
        release: role(&[12, 11], 1),
        ..root(3)
    };
    let error = chain.extend(&sealed(&back, &[1, 2])).unwrap_err().to_string();
    assert!(
        error.contains("back the role release") && error.contains(&key(11).public().id().to_string()),
        "{error}"
    );
    // In another role it is a new one.
    let moved = TrustRoot {
        assignment: role(&[21, 11], 1),
        release: role(&[12], 1),
        ..root(3)
    };
    chain.extend(&sealed(&moved, &[1, 2])).unwrap();
}

#[test]
fn numbers_begin_anew_where_no_key_of_before_is_left() {
    let mut chain = pinned(&root(1), &[1, 2]);
    for (version, assignment) in [
        (2, role(&[21, 22], 1)),
        (3, role(&[22], 1)),
        (4, role(&[23], 1)),
        (5, role(&[23], 1)),
    ] {
        let next = TrustRoot {
            assignment,
            ..root(version)
        };
        chain.extend(&sealed(&next, &[1, 2])).unwrap();
    }
    let epochs: Vec<u64> = (0..=6).map(|version| chain.epoch(version)).collect();
    assert_eq!(
        epochs,
        [0, 0, 0, 0, 4, 4, 4],
        "a set that overlaps the one before goes on with its numbers"
    );
}

/// A root as a generator draws it: who is in the role, how many have to sign, what its version is above the one before,
/// whether the fleet is right, and who signs.
#[derive(Debug, Clone)]
struct Drawn {
    keys: BTreeSet<u8>,
    threshold: u32,
    step: u64,
    foreign: bool,
    signers: BTreeSet<u8>,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let keys = || proptest::collection::btree_set(1..=6_u8, 1..=4);
    let step = prop_oneof![8 => Just(1_u64), 1 => Just(0), 1 => Just(2)];
    (keys(), 1..=3_u32, step, proptest::bool::weighted(0.05), keys()).prop_map(
        |(keys, threshold, step, foreign, signers)| {
            let threshold = threshold.min(keys.len() as u32);
            Drawn {
                keys,
                threshold,
                step,
                foreign,
                signers,
            }
        },
    )
}

/// What the rules say, in sets of seeds and nothing of the code under test.
fn follows(next: &Drawn, earlier: &[Drawn]) -> bool {
    let Some(current) = earlier.last() else { return false };
    let signed = |root: &Drawn| next.signers.intersection(&root.keys).count() >= root.threshold as usize;
    let revoked = |seed: &u8| !current.keys.contains(seed) && earlier.iter().any(|root| root.keys.contains(seed));
    next.step == 1 && !next.foreign && signed(current) && signed(next) && !next.keys.iter().any(revoked)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_chain_takes_exactly_what_the_rules_allow(roots in proptest::collection::vec(drawn(), 1..8)) {
        let first = Drawn { keys: [1, 2, 3].into(), threshold: 2, step: 1, foreign: false, signers: [1, 2].into() };
        let document = |drawn: &Drawn, version: u64| TrustRoot {
            fleet: if drawn.foreign { "plant-b" } else { "plant-a" }.parse().unwrap(),
            root: role(&drawn.keys.iter().copied().collect::<Vec<_>>(), drawn.threshold),
            ..root(version)
        };
        let seal = |drawn: &Drawn, version| {
            sealed(&document(drawn, version), &drawn.signers.iter().copied().collect::<Vec<_>>())
        };
        let mut chain = pinned(&document(&first, 1), &[1, 2]);
        let mut taken = vec![first];
        for next in roots {
            let before = chain.clone();
            let version = chain.newest().version + next.step;
            let accepted = chain.extend(&seal(&next, version)).is_ok();
            prop_assert_eq!(accepted, follows(&next, &taken), "{:?} after {:?}", next, taken);
            if accepted {
                taken.push(next);
            } else {
                prop_assert_eq!(&chain, &before);
            }
        }
    }

    #[test]
    fn a_bent_root_is_never_taken(at in 0..400_usize, bit in 0..8_u32) {
        let mut bytes = sealed(&root(2), &[1, 2]);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        prop_assert!(pinned(&root(1), &[1, 2]).extend(&bytes).is_err());
    }
}
