//! What the device has to go on with after a restart: the state record, and the bundles that it names.
//!
//! Everything is read as it lies there: without the lock, which a running agent has, and without changing anything.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use floorhand_bundle::{BlobRef, Digest, MAX_MANIFEST_BYTES, Manifest};
use floorhand_lifecycle::{Generation, State};
use floorhand_store::{MANIFEST, Peek, StoreError};

use super::report::Report;
use crate::config::Config;
use crate::exit::Exit;
use crate::trust::Trust;

const RECORD: &str = "state record";
const BUNDLES: &str = "bundles";
/// What a record is framed by, of the version that this program writes: see `floorhand_store::StateFile`, which can be
/// had only together with the lock.
const FRAME: &[u8] = b"FHST\x01\x00";
/// Twice what a record has at most.
const MAX_RECORD_BYTES: u64 = 128 * 1024;

/// What a generation is kept for, and what to do when it is damaged.
struct Role {
    purpose: &'static str,
    advice: &'static str,
}

static ACTIVE: Role = Role {
    purpose: "which is active",
    advice: "export this bundle for the device and import it, which replaces what is damaged; without that the next start \
             goes back to the bundle before, or fetches it from the hub",
};
static PREVIOUS: Role = Role {
    purpose: "which can be gone back to",
    advice: "going back to it will fail; the next bundle that is deployed takes its place",
};

/// Something that isn't as the record says.
struct Damage {
    finding: String,
    advice: &'static str,
}

pub(super) fn stored(config: &Config, agent_runs: bool, report: &mut Report) {
    let dir = config.state_dir.as_path();
    let state = match read(dir) {
        Ok(state) => state.unwrap_or_default(),
        Err(problem) => {
            let advice = "restore it from a backup; or move it away, and the device forgets its bundles, its floor and \
                          its sequence numbers";
            report.fail(RECORD, Exit::StateDirectory, problem, advice);
            return;
        }
    };
    let names: Vec<String> = kept(&state).map(|(generation, _)| name(generation)).collect();
    if names.is_empty() {
        report.ok(RECORD, "nothing is committed yet");
        return;
    }
    report.ok(RECORD, format!("can be read, seq {}", state.seq));
    let Ok(trust) = Trust::at_rest(config, state.root_version) else {
        report.warn(
            BUNDLES,
            "can't be verified without the trust root",
            "put the trust root right first",
        );
        return;
    };
    let blobs = match blobs(config) {
        Ok(blobs) => blobs,
        Err(problem) => {
            let advice = "put `store.encryption_key` right first";
            report.fail(BUNDLES, Exit::StateDirectory, problem, advice);
            return;
        }
    };
    let mut damages = find_damages(dir, &blobs, &trust, &state);
    // A running agent may have let go of a generation in the meantime.
    if agent_runs
        && !damages.is_empty()
        && let Ok(Some(later)) = read(dir)
    {
        damages = find_damages(dir, &blobs, &trust, &later);
    }
    if damages.is_empty() {
        report.ok(BUNDLES, format!("{}, whole on the disk", names.join(" and ")));
    }
    for Damage { finding, advice } in damages {
        report.fail(BUNDLES, Exit::StateDirectory, finding, advice);
    }
}

fn blobs(config: &Config) -> Result<Peek, String> {
    let keys = config.storage_keys()?;
    Peek::new(&config.state_dir, keys.as_ref()).map_err(|error| error.to_string())
}

/// The trust root that the record names; 0 when there is no record yet.
pub(super) fn taken_root(dir: &Path) -> Result<u64, String> {
    Ok(read(dir)?.map_or(0, |state| state.root_version))
}

/// The record of a state directory; `None` when there is none yet.
fn read(dir: &Path) -> Result<Option<State>, String> {
    let path = dir.join("state");
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_RECORD_BYTES).read_to_end(&mut bytes));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{} can't be read: {error}", path.display())),
        Ok(_) => {}
    }
    let payload = unframe(&bytes).ok_or_else(|| format!("{} is damaged", path.display()))?;
    match State::decode(payload) {
        Ok(state) => Ok(Some(state)),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Frame, length, payload, digest of all before.
fn unframe(bytes: &[u8]) -> Option<&[u8]> {
    let (covered, digest) = bytes.split_last_chunk::<32>()?;
    let (length, payload) = covered.strip_prefix(FRAME)?.split_first_chunk::<4>()?;
    let whole = u32::from_le_bytes(*length) as usize == payload.len() && Digest::of(covered).as_bytes() == digest;
    whole.then_some(payload)
}

/// The generations that have to be whole for the device to go on, or back.
fn kept(state: &State) -> impl Iterator<Item = (&Generation, &'static Role)> {
    let active = state.active.iter().map(|generation| (generation, &ACTIVE));
    active.chain(state.previous.iter().map(|generation| (generation, &PREVIOUS)))
}

fn name(generation: &Generation) -> String {
    format!("{} {}", generation.bundle.name, generation.bundle.version)
}

fn find_damages(dir: &Path, blobs: &Peek, trust: &Trust, state: &State) -> Vec<Damage> {
    // What two bundles have in common is looked at once.
    let mut seen = BTreeSet::new();
    let mut damages = Vec::new();
    for (generation, role) in kept(state) {
        let (whose, advice) = (format!("{}, {}", name(generation), role.purpose), role.advice);
        let manifest = match open_manifest(dir, trust, generation) {
            Ok(manifest) => manifest,
            Err(problem) => {
                let finding = format!("{problem}; it is the manifest of {whose}");
                damages.push(Damage { finding, advice });
                continue;
            }
        };
        for component in &manifest.components {
            if seen.insert(component.blob.sha256)
                && let Some(problem) = blob_problem(blobs, &component.blob)
            {
                let finding = format!("{problem}; it is {} of {whose}", component.name);
                damages.push(Damage { finding, advice });
            }
        }
    }
    damages
}

fn open_manifest(dir: &Path, trust: &Trust, generation: &Generation) -> Result<Manifest, String> {
    let path = dir.join("gens").join(generation.number.to_string()).join(MANIFEST);
    let wrong = |problem: String| format!("{}: {problem}", path.display());
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(MAX_MANIFEST_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| wrong(error.to_string()))?;
    let manifest = trust.open_accepted(&bytes).map_err(|error| wrong(error.to_string()))?;
    if manifest.digest() != generation.bundle.digest {
        return Err(wrong("another bundle's manifest is there".to_owned()));
    }
    Ok(manifest.into_inner())
}

/// What is wrong with a file of the store, with its path; `None` when its content is what its name says.
fn blob_problem(blobs: &Peek, blob: &BlobRef) -> Option<String> {
    let problem = match blobs.content_digest(blob.sha256) {
        Ok(digest) if digest == blob.sha256 => return None,
        Ok(_) => "is damaged".to_owned(),
        Err(StoreError::BlobMissing { .. }) => "is missing".to_owned(),
        Err(error) => format!("can't be read: {error}"),
    };
    Some(format!("{} {problem}", blobs.path(blob.sha256).display()))
}

#[cfg(test)]
mod tests {
    use super::super::report::{Check, Verdict};
    use super::super::tests::device;
    use super::*;
    use floorhand_bundle::SecretKey;
    use floorhand_protocol::BundleId;
    use floorhand_store::{Store, StoreOptions};
    use floorhand_tensor::{Datatype, Dim, TensorSpec};
    use std::fs;

    const MODEL: &[u8] = b"a model";
    const GOLDEN: &[u8] = b"golden cases";

    fn manifest() -> Manifest {
        let tensor = TensorSpec::new("x".to_owned(), Datatype::Fp32, vec![Dim::Fixed(2)]);
        serde_json::from_value(serde_json::json!({
            "name": "valve",
            "version": "1.2.0",
            "release_counter": 1,
            "floor": 0,
            "hardware": ["*"],
            "min_agent": "0.1.0",
            "components": [
                { "name": "model.onnx", "role": "model", "blob": BlobRef::of(MODEL) },
                { "name": "golden.jsonl", "role": "golden", "blob": BlobRef::of(GOLDEN) },
            ],
            "pipeline": {
                "inputs": [{ "tensor": tensor }],
                "model": { "component": "model.onnx", "signature": { "inputs": [], "outputs": [] } },
            },
            "golden": { "component": "golden.jsonl", "cases": 1, "tolerance": 0.001 },
            "gates": {},
        }))
        .unwrap()
    }

    /// A device that serves a bundle. The store stays locked, as by a running agent.
    fn serving() -> (tempfile::TempDir, Config, Store) {
        let (dir, config) = device();
        let options = StoreOptions {
            blob_budget_bytes: 1 << 20,
        };
        let store = Store::open(&config.state_dir, options).unwrap();
        let manifest = manifest();
        for content in [MODEL, GOLDEN] {
            store.blobs().put(content).unwrap();
        }
        let sealed = manifest.seal(&[&SecretKey::from_seed(&[1; 32])]).unwrap();
        store.generations().write(3, &sealed, &[]).unwrap();
        let bundle = BundleId {
            digest: Digest::of(&manifest.encode().unwrap()),
            name: manifest.name.clone(),
            version: manifest.version.clone(),
        };
        let active = Generation {
            number: 3,
            bundle,
            release_counter: 1,
            floor: 0,
            job: "job".to_owned(),
            seq: 7,
        };
        let state = State {
            active: Some(active),
            seq: 7,
            ..State::default()
        };
        store.state().save(&state.encode().unwrap()).unwrap();
        (dir, config, store)
    }

    fn look(config: &Config) -> Vec<Check> {
        let mut report = Report::default();
        stored(config, true, &mut report);
        report.checks
    }

    /// What the last check has found, which has to be a failure of this name.
    fn failure(config: &Config, name: &str) -> String {
        let last = look(config).pop().unwrap();
        assert_eq!((last.name, last.verdict), (name, Verdict::Fail), "{last:?}");
        last.finding
    }

    #[test]
    fn what_is_whole_is_well() {
        let (_dir, config) = device();
        let found: Vec<String> = look(&config).into_iter().map(|check| check.finding).collect();
        assert_eq!(found, ["nothing is committed yet"]);
        let (_dir, config, _store) = serving();
        let found = look(&config);
        assert!(found.iter().all(|check| check.verdict == Verdict::Ok), "{found:?}");
        let found: Vec<&str> = found.iter().map(|check| check.finding.as_str()).collect();
        assert_eq!(found, ["can be read, seq 7", "valve 1.2.0, whole on the disk"]);
    }

    #[test]
    fn a_component_that_is_damaged_or_missing_is_named() {
        let (_dir, config, store) = serving();
        let path = store.blobs().path(Digest::of(MODEL));
        fs::write(&path, b"a modem").unwrap();
        let finding = failure(&config, BUNDLES);
        let shown = path.display();
        assert_eq!(
            finding,
            format!("{shown} is damaged; it is model.onnx of valve 1.2.0, which is active")
        );
        fs::remove_file(&path).unwrap();
        assert!(failure(&config, BUNDLES).starts_with(&format!("{shown} is missing; ")));
        store.generations().remove(3).unwrap();
        let finding = failure(&config, BUNDLES);
        assert!(
            finding.ends_with("it is the manifest of valve 1.2.0, which is active"),
            "{finding}"
        );
    }

    #[test]
    fn a_record_that_is_damaged_is_told() {
        let (_dir, config, store) = serving();
        let path = store.state().path();
        let whole = fs::read(path).unwrap();
        let mut bent = whole.clone();
        bent[20] ^= 1;
        for wrong in [b"garbage".as_slice(), b"", &whole[..whole.len() - 1], bent.as_slice()] {
            fs::write(path, wrong).unwrap();
            assert_eq!(failure(&config, RECORD), format!("{} is damaged", path.display()));
        }
    }
}
