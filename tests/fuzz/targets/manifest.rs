//! Manifests, by their decoder and behind a signature: what is taken keeps the bounds that everything behind relies on.

#![no_main]

use floorhand_bundle::{Domain, Envelope, MAX_MANIFEST_BYTES, Manifest, SecretKey, TrustRoot, Verified};
use floorhand_fuzz::{NOW_MS, offline, read, root};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static ROOT: LazyLock<Verified<TrustRoot>> = LazyLock::new(root);
static OFFLINE: LazyLock<SecretKey> = LazyLock::new(offline);

fuzz_target!(|payload: &[u8]| {
    let Some(read) = read::<Manifest>("manifest", payload, MAX_MANIFEST_BYTES) else {
        return;
    };
    let sealed = Envelope::seal(Domain::Manifest, payload, &[&*OFFLINE]).expect("any payload can be sealed");
    let Ok(manifest) = Manifest::open(&sealed, &ROOT, NOW_MS) else {
        assert!(read.encode().is_err() || sealed.len() > MAX_MANIFEST_BYTES);
        return;
    };
    assert!(manifest.floor <= manifest.release_counter);
    let total: u64 = manifest.components.iter().map(|component| component.blob.length).sum();
    assert_eq!(total, manifest.total_bytes());
    for component in &manifest.components {
        let end = component
            .blob
            .layout()
            .last()
            .map_or(0, |(_, offset, chunk)| offset + u64::from(chunk.length));
        assert_eq!(end, component.blob.length);
    }
    for stage in manifest.pipeline.stages() {
        assert!(manifest.component(&stage.plugin).is_some());
    }
});
