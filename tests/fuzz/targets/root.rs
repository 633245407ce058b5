//! Trust roots: the one document that is read before its signatures are checked, since it says whose they have to be.

#![no_main]

use floorhand_bundle::{Domain, Envelope, MAX_ROOT_BYTES, TrustRoot, cbor};
use floorhand_fuzz::{offline, read, second};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    drop(TrustRoot::open_pinned(payload));
    if read::<TrustRoot>("trust root", payload, MAX_ROOT_BYTES).is_none() {
        return;
    }
    let sealed = Envelope::seal(Domain::Root, payload, &[&offline(), &second()]).expect("any payload can be sealed");
    let Ok(root) = TrustRoot::open_pinned(&sealed) else {
        return;
    };
    // What is taken is what was signed: as many of its own root keys as it asks for.
    assert!(root.root.threshold >= 1 && root.root.threshold <= 2);
    let again: TrustRoot = cbor::decode("trust root", payload, MAX_ROOT_BYTES).expect("it was read before");
    assert_eq!(*root, again);
});
