//! From the trust root by which a device knows its hub to the one that counts now.
//!
//! A device knows its hub by the root that it has, by the one whose digest is in its token, or by both; roots that followed
//! since come with the answer. Every one of them is believed for the signatures of the one before.

use floorhand_bundle::{Digest, RootChain, TrustRoot, Verified};
use std::path::Path;

/// Roots that were checked.
pub(super) struct Known {
    /// The one that the device pins: its own, where it has one.
    pub(super) pinned: Verified<TrustRoot>,
    /// From the oldest that the device knows to the one that counts.
    pub(super) chain: RootChain,
}

/// Follows the roots of an answer, the oldest first, from the device's own (in `folder`) or the token's. Where there are both,
/// it begins at the older, and both have to be on the way.
pub(super) fn follow(
    answered: &[Vec<u8>],
    own: Option<Verified<TrustRoot>>,
    token: Digest,
    folder: &Path,
) -> Result<Known, String> {
    let roots = answered.iter().map(|root| TrustRoot::open_pinned(root));
    let roots: Vec<Verified<TrustRoot>> = roots.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let meant = roots.iter().find(|root| root.digest() == token);
    let Some(own) = own else {
        let pinned = meant.cloned().ok_or_else(|| strange(&roots, token))?;
        let chain = extended(pinned.clone(), &roots)?;
        return Ok(Known { pinned, chain });
    };
    let first = meant.filter(|meant| meant.version < own.version).unwrap_or(&own);
    let chain = extended(first.clone(), &roots).map_err(|problem| other_root(&own, &problem, folder))?;
    for (whose, digest) in [("the token's", token), ("its own", own.digest())] {
        if !chain.iter().any(|root| root.digest() == digest) {
            let newest = chain.newest().version;
            let problem = format!("the roots that the hub shows, up to version {newest}, lack {whose}, {digest}");
            return Err(other_root(&own, &problem, folder));
        }
    }
    Ok(Known { pinned: own, chain })
}

/// The chain from a root over all those after it.
fn extended(first: Verified<TrustRoot>, roots: &[Verified<TrustRoot>]) -> Result<RootChain, String> {
    let version = first.version;
    let mut chain = RootChain::new(first);
    for root in roots.iter().filter(|root| root.version > version) {
        chain.extend(root.envelope()).map_err(|error| error.to_string())?;
    }
    Ok(chain)
}

fn strange(roots: &[Verified<TrustRoot>], token: Digest) -> String {
    let shown: Vec<String> = roots.iter().map(|root| root.digest().to_string()).collect();
    format!(
        "who answers has the trust root {}, and the token is for {token}: this isn't the hub that made the token; look who \
         answers at that address, or ask for a new token",
        shown.join(" and ")
    )
}

fn other_root(own: &Verified<TrustRoot>, problem: &str, folder: &Path) -> String {
    format!(
        "this device has the trust root {} (version {} of fleet {}), and {problem}: ask for a token of its own hub. Only to \
         give the device to another fleet remove {} first, and with it the device's key",
        own.digest(),
        own.version,
        own.fleet,
        folder.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_bundle::{RoleKeys, SecretKey};

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    /// A root that this root key signs, and whose next one it may sign.
    fn root(version: u64, signer: u8) -> Verified<TrustRoot> {
        let root = TrustRoot {
            fleet: "plant-a".parse().unwrap(),
            version,
            expires_ms: u64::MAX,
            issued_ms: 0,
            critical: vec![],
            root: RoleKeys::any_of(vec![key(signer).public()]),
            release: RoleKeys::any_of(vec![key(1).public()]),
            // Each has another.
            assignment: RoleKeys::any_of(vec![key(100 + version as u8).public()]),
        };
        TrustRoot::open_pinned(&root.seal(&[&key(signer)]).unwrap()).unwrap()
    }

    /// The version that is pinned, and the one that counts.
    fn versions(
        answered: &[&Verified<TrustRoot>],
        own: Option<&Verified<TrustRoot>>,
        token: &Verified<TrustRoot>,
    ) -> Result<(u64, u64), String> {
        let answered: Vec<Vec<u8>> = answered.iter().map(|root| root.envelope().to_vec()).collect();
        let known = follow(&answered, own.cloned(), token.digest(), Path::new("/identity"))?;
        assert!(
            own.is_none_or(|own| own.envelope() == known.pinned.envelope()),
            "its own stays"
        );
        Ok((known.pinned.version, known.chain.newest().version))
    }

    #[test]
    fn a_device_goes_on_from_its_own_root_whichever_the_token_has() {
        let [one, two, three] = [1, 2, 3].map(|version| root(version, 1));
        let all = [&one, &two, &three];
        for (answered, own, token, expected) in [
            (&all[..], None, &one, (1, 3)),
            (&all, None, &three, (3, 3)),
            (&all, Some(&one), &three, (1, 3)),
            (&all, Some(&one), &one, (1, 3)),
            (&all, Some(&three), &one, (3, 3)),
            (&all[1..], Some(&one), &two, (1, 3)),
            (&all[..1], None, &one, (1, 1)),
        ] {
            assert_eq!(versions(answered, own, token), Ok(expected), "{own:?}");
        }
    }

    #[test]
    fn a_chain_that_does_not_hold_is_refused() {
        let [one, two, three] = [1, 2, 3].map(|version| root(version, 1));
        // Made by who has none of the root keys: a root in the place of the second, and one that follows it.
        let (forged, after) = (root(2, 9), root(3, 9));
        for (answered, own, token, part) in [
            (&[&one, &forged][..], None, &one, "signed by 0 of the 1"),
            (
                &[&one, &forged, &after],
                Some(&one),
                &three,
                "this device has the trust root",
            ),
            (&[&forged, &after], Some(&one), &forged, "signed by 0 of the 1"),
            (&[&forged, &after], None, &one, "isn't the hub that made the token"),
            (&[&one, &two], Some(&one), &three, "lack the token's"),
            (&[&one, &two], Some(&one), &forged, "lack the token's"),
            (&[&one], Some(&two), &one, "lack its own"),
            (&[&one, &two], Some(&forged), &one, "lack its own"),
            (&[&one, &three], None, &one, "only root 2 does"),
            (&[], None, &one, "isn't the hub that made the token"),
        ] {
            let problem = versions(answered, own, token).unwrap_err();
            assert!(problem.contains(part), "{part:?} is not in {problem:?}");
        }
    }
}
