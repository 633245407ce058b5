//! Keys from seeds, a trust root, a bundle.

use floorhand_bundle::{
    Archive, BlobRef, Component, ComponentRole, Digest, FleetId, Gates, Golden, InputSpec, Lineage, Manifest,
    ModelSpec, PipelineSpec, RoleKeys, SecretKey, TrustRoot, Verified,
};
use floorhand_tensor::{Datatype, Dim, Signature, TensorSpec};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(crate) const NEVER_MS: u64 = 4_000_000_000_000;

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// The key's file, as `floorhand keys new --no-passphrase` writes it.
pub(crate) fn write_key(path: &Path, seed: u8) {
    std::fs::write(path, key(seed).to_pem().unwrap()).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

pub(crate) fn fleet() -> FleetId {
    "plant-a".parse().unwrap()
}

pub(crate) fn root() -> Verified<TrustRoot> {
    let root = TrustRoot {
        fleet: fleet(),
        version: 1,
        expires_ms: NEVER_MS,
        issued_ms: 0,
        critical: vec![],
        root: RoleKeys::any_of(vec![key(1).public()]),
        release: RoleKeys::any_of(vec![key(1).public()]),
        assignment: RoleKeys::any_of(vec![key(2).public()]),
    };
    TrustRoot::open_pinned(&root.seal(&[&key(1)]).unwrap()).unwrap()
}

/// A bundle with a model of several chunks.
pub(crate) fn bundle() -> (Vec<u8>, Manifest) {
    let model: Vec<u8> = (0..200_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect();
    let golden = b"{}\n".to_vec();
    let component = |name: &str, role, bytes: &[u8]| Component {
        name: name.parse().unwrap(),
        role,
        blob: BlobRef::of(bytes),
    };
    let tensor = TensorSpec::new("x", Datatype::Fp32, vec![Dim::Fixed(2)]);
    let manifest = Manifest {
        name: "valve".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        release_counter: 1,
        floor: 0,
        hardware: vec!["*".parse().unwrap()],
        min_agent: "0.1.0".parse().unwrap(),
        critical: vec![],
        components: vec![
            component("model.onnx", ComponentRole::Model, &model),
            component("golden.jsonl", ComponentRole::Golden, &golden),
        ],
        pipeline: PipelineSpec {
            decoder: None,
            inputs: vec![InputSpec { tensor, fields: vec![] }],
            preprocess: vec![],
            model: ModelSpec {
                component: "model.onnx".parse().unwrap(),
                signature: Signature::default(),
                allow_nan: false,
                engines: Vec::new(),
                state: Vec::new(),
            },
            postprocess: vec![],
            monitors: vec![],
            explain: None,
        },
        golden: Golden {
            component: "golden.jsonl".parse().unwrap(),
            cases: 1,
            tolerance: 1e-4,
            tolerances: BTreeMap::new(),
        },
        gates: Gates::default(),
        lineage: Lineage::default(),
    };
    let blobs = [model, golden].map(|bytes| (Digest::of(&bytes), bytes)).into();
    let archive = Archive {
        manifest: manifest.seal(&[&key(1)]).unwrap(),
        assignment: None,
        blobs,
    };
    let mut bytes = Vec::new();
    archive.write(&mut bytes).unwrap();
    (bytes, manifest)
}
