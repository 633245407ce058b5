//! Bundles, keys and documents that the tests share.

use floorhand_bundle::{
    Archive, BlobRef, BundleName, Component, ComponentRole, DeviceId, Digest, FleetId, Gates, Golden, HardwareClass,
    InputSpec, Lineage, Manifest, ModelSpec, PipelineSpec, RoleKeys, SecretKey, TrustRoot, Verified,
};
use floorhand_pipeline::{Host, HostConfig, Outcome, Pipeline, decode, model_signature};
use floorhand_protocol::{Action, Assigned, Assignment, Command, Mode, Parameters};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// How often a trial may be started.
pub(super) const TRIES: u32 = 2;
/// Samples of a trial.
pub(super) const SAMPLES: u64 = 2;
/// A component of several chunks.
const NOISE_BYTES: usize = 40_000;
/// Documents of the tests hold for a day.
const LIFE_MS: u64 = 86_400_000;

/// What there is once, for all tests.
pub(super) static WORLD: LazyLock<World> = LazyLock::new(World::new);

pub(super) struct World {
    pub(super) root: Verified<TrustRoot>,
    pub(super) host: Arc<Host>,
    pub(super) runtime: tokio::runtime::Runtime,
    /// All blobs of all bundles, the manifests too.
    pub(super) blobs: BTreeMap<Digest, Vec<u8>>,
    bundles: BTreeMap<&'static str, Bundle>,
    now_ms: u64,
}

/// A bundle: its digest, its manifest's envelope, its components.
pub(super) struct Bundle {
    pub(super) digest: Digest,
    pub(super) manifest: Vec<u8>,
    pub(super) components: Vec<Digest>,
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub(super) fn device_key() -> SecretKey {
    key(3)
}

pub(super) fn device() -> DeviceId {
    "press-1".parse().unwrap()
}

pub(super) fn fleet() -> FleetId {
    "plant-a".parse().unwrap()
}

pub(super) fn hardware() -> HardwareClass {
    "gateway".parse().unwrap()
}

impl World {
    fn new() -> Self {
        let root = TrustRoot {
            fleet: fleet(),
            version: 1,
            expires_ms: u64::MAX / 2,
            issued_ms: 0,
            critical: vec![],
            root: RoleKeys::any_of(vec![key(1).public()]),
            release: RoleKeys::any_of(vec![key(1).public()]),
            assignment: RoleKeys::any_of(vec![key(2).public()]),
        };
        let root = TrustRoot::open_pinned(&root.seal(&[&key(1)]).unwrap()).unwrap();
        let mut world = Self {
            root,
            host: Arc::new(Host::new(HostConfig::default()).unwrap()),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            blobs: BTreeMap::new(),
            bundles: BTreeMap::new(),
            now_ms: crate::clock::system_ms(),
        };
        for (counter, name) in ["a", "b", "c", "d", "e", "f", "bad", "last"].into_iter().enumerate() {
            world.add(name, counter as u64 + 1);
        }
        world
    }

    fn add(&mut self, name: &'static str, release_counter: u64) {
        let onnx = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/skab/fixture/bundle/model.onnx");
        let model = std::fs::read(onnx).unwrap();
        let noise = noise(release_counter);
        let signature = model_signature(&model).unwrap();
        let pipeline = PipelineSpec {
            decoder: None,
            inputs: vec![InputSpec {
                tensor: signature.inputs[0].clone(),
                fields: Vec::new(),
            }],
            preprocess: Vec::new(),
            model: ModelSpec {
                component: "model.onnx".parse().unwrap(),
                signature,
                allow_nan: false,
                engines: Vec::new(),
                state: Vec::new(),
            },
            postprocess: Vec::new(),
            monitors: Vec::new(),
            explain: None,
        };
        let golden = golden(&pipeline, &model, &self.host, release_counter);
        let files = [
            ("model.onnx", ComponentRole::Model, model),
            ("golden.jsonl", ComponentRole::Golden, golden.into_bytes()),
            ("noise.md", ComponentRole::ModelCard, noise),
        ];
        let component = |(name, role, bytes): &(&str, ComponentRole, Vec<u8>)| Component {
            name: name.parse().unwrap(),
            role: *role,
            blob: BlobRef::of(bytes),
        };
        let manifest = Manifest {
            name: name.parse::<BundleName>().unwrap(),
            version: "1.0.0".parse().unwrap(),
            release_counter,
            floor: 1,
            hardware: vec!["*".parse().unwrap()],
            min_agent: "0.1.0".parse().unwrap(),
            critical: vec![],
            components: files.iter().map(component).collect(),
            pipeline,
            golden: Golden {
                component: "golden.jsonl".parse().unwrap(),
                cases: 1,
                tolerance: 1e-3,
                tolerances: BTreeMap::new(),
            },
            gates: Gates {
                samples: SAMPLES,
                tries: TRIES,
                latency_p99_ms: 60_000,
                ..Gates::default()
            },
            lineage: Lineage::default(),
        };
        let sealed = manifest.seal(&[&key(1)]).unwrap();
        let bundle = Bundle {
            digest: Digest::of(&manifest.encode().unwrap()),
            components: files.iter().map(|file| Digest::of(&file.2)).collect(),
            manifest: sealed.clone(),
        };
        self.blobs.insert(Digest::of(&sealed), sealed);
        self.blobs
            .extend(files.into_iter().map(|(_, _, bytes)| (Digest::of(&bytes), bytes)));
        self.bundles.insert(name, bundle);
    }

    pub(super) fn bundle(&self, name: &str) -> &Bundle {
        self.bundles.get(name).unwrap()
    }

    pub(super) fn name_of(&self, digest: Digest) -> &'static str {
        let mut all = self.bundles.iter();
        all.find(|(_, bundle)| bundle.digest == digest)
            .map_or("?", |(name, _)| name)
    }

    /// When the document of this number was signed.
    pub(super) fn issued_ms(&self, number: u64) -> u64 {
        self.now_ms + number
    }

    /// An assignment of a bundle, sealed by the hub.
    pub(super) fn assignment(&self, seq: u64, name: &str) -> Vec<u8> {
        let bundle = self.bundle(name);
        let assignment = Assignment {
            fleet: fleet(),
            device: device(),
            seq,
            job: format!("job-{seq}"),
            run: Some(Assigned {
                bundle: bundle.digest,
                manifest: BlobRef::of(&bundle.manifest),
            }),
            mode: Mode::Run,
            parameters: Parameters::default(),
            issued_ms: self.issued_ms(seq),
            expires_ms: self.now_ms + LIFE_MS,
            critical: vec![],
        };
        assignment.seal(&key(2)).unwrap()
    }

    /// A command, sealed by the hub.
    pub(super) fn command(&self, id: u64) -> Vec<u8> {
        let command = Command {
            fleet: fleet(),
            device: device(),
            id,
            issued_ms: self.issued_ms(1000 + id),
            expires_ms: self.now_ms + LIFE_MS,
            action: Action::ReportNow,
            critical: vec![],
        };
        command.seal(&key(2)).unwrap()
    }

    /// A bundle with its assignment, as it is carried on a stick.
    pub(super) fn archive(&self, seq: u64, name: &str) -> Vec<u8> {
        let bundle = self.bundle(name);
        let blob = |digest: &Digest| (*digest, self.blobs.get(digest).unwrap().clone());
        let archive = Archive {
            manifest: bundle.manifest.clone(),
            assignment: Some(self.assignment(seq, name)),
            blobs: bundle.components.iter().map(blob).collect(),
        };
        let mut bytes = Vec::new();
        archive.write(&mut bytes).unwrap();
        bytes
    }
}

/// One golden case: what the model answers now.
fn golden(spec: &PipelineSpec, model: &[u8], host: &Host, last: u64) -> String {
    let input = json!({ "x": [[0, 0, 0, 0, 0, 0, 0, last]] });
    let mut pipeline = Pipeline::load(spec, &mut |_| Ok(model.to_vec()), host).unwrap();
    let sample = decode::json(input.to_string().as_bytes(), pipeline.inputs()).unwrap();
    let Outcome::Result(outputs) = pipeline.process(&sample, 1).outcome else {
        panic!("the model gives no result");
    };
    let q = outputs.iter().find(|tensor| tensor.name() == "q").unwrap();
    json!({ "input": input, "output": { "q": [q.to_f32().unwrap()] } }).to_string()
}

/// Bytes that are other ones for each bundle.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..NOISE_BYTES).map(|_| next()).collect()
}
