//! Bundles in: an archive's bytes -> checked under the trust root -> files -> a row. A bundle that is listed is whole, and
//! every blob it names may be served.

use super::{Hub, HubError};
use crate::database::{BundleRow, NewBlob, NewBundle};
use floorhand_bundle::{
    Archive, ArchiveError, BlobRef, Component, ComponentRole, Digest, HardwareClass, Lineage, Manifest, StageSpec,
    TrustRoot, Verified, Version,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What people ask about a bundle. Stored as JSON, so fields are only ever added, with defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// The oldest release that a device may go back to after it.
    pub(crate) floor: u64,
    /// The hardware classes it is made for.
    pub(crate) hardware: Vec<HardwareClass>,
    /// The oldest agent that can run it.
    pub(crate) min_agent: Version,
    /// Its files.
    pub(crate) components: Vec<SummaryComponent>,
    /// Its plugins in the order of a sample's way, monitors last.
    pub(crate) stages: Vec<SummaryStage>,
    /// How many golden cases it has.
    pub(crate) golden_cases: u64,
    /// Samples that its trial needs.
    pub(crate) trial_samples: u64,
    /// Where it comes from.
    pub(crate) lineage: Lineage,
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SummaryComponent {
    pub(crate) name: String,
    pub(crate) role: ComponentRole,
    pub(crate) sha256: Digest,
    pub(crate) length: u64,
}

/// One plugin of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SummaryStage {
    pub(crate) name: String,
    /// `preprocess`, `postprocess` or `monitor`.
    pub(crate) place: String,
    pub(crate) plugin: String,
}

/// An archive whose every part was checked.
#[derive(Debug)]
struct Checked {
    bundle: NewBundle,
    /// The manifest's envelope, and the components that the archive carries.
    files: BTreeMap<Digest, Vec<u8>>,
}

impl Hub {
    /// Takes a bundle in; its row, and whether it is new.
    pub(crate) async fn ingest(&self, bytes: Vec<u8>) -> Result<(BundleRow, bool), HubError> {
        let _memory = self
            .bundles_in_memory
            .acquire()
            .await
            .map_err(|error| HubError::Internal(error.to_string()))?;
        let (roots, store, now_ms) = (self.roots(), self.store.clone(), self.now_ms());
        let checking = tokio::task::spawn_blocking(move || {
            let held = |component: &Component| store.blobs().has(component.blob.sha256, component.blob.length);
            check(&bytes, roots.newest(), &held, now_ms)
        });
        let Checked { bundle, files } = joined(checking.await)?.map_err(HubError::Refused)?;
        self.check_name_is_free(&bundle).await?;
        let store = self.store.clone();
        let writing = tokio::task::spawn_blocking(move || {
            files.values().try_for_each(|bytes| store.blobs().put(bytes).map(drop))
        });
        joined(writing.await)??;
        let new = self.database.add_bundle(&bundle, now_ms).await?;
        // Somebody else may have taken the name in between.
        self.check_name_is_free(&bundle).await?;
        let row = self.database.bundle(&bundle.digest).await?;
        Ok((
            row.ok_or_else(|| HubError::Internal(format!("bundle {} was not stored", bundle.digest)))?,
            new,
        ))
    }

    async fn check_name_is_free(&self, bundle: &NewBundle) -> Result<(), HubError> {
        match self.database.bundle_by_name(&bundle.name, &bundle.version).await? {
            Some(other) if other.digest != bundle.digest => {
                let (name, version, digest) = (&bundle.name, &bundle.version, other.digest);
                Err(HubError::Conflict(format!(
                    "{name}@{version} is bundle {digest} already; raise the version"
                )))
            }
            _ => Ok(()),
        }
    }
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, HubError> {
    result.map_err(|error| HubError::Internal(format!("a task on files failed: {error}")))
}

/// Opens an archive under the root and holds every component against its manifest. `held` tells which components are
/// here already and needn't be in the archive.
fn check(bytes: &[u8], root: &TrustRoot, held: &dyn Fn(&Component) -> bool, now_ms: u64) -> Result<Checked, String> {
    let archive = Archive::read(bytes).map_err(|error| unread(&error))?;
    let manifest = Manifest::open(&archive.manifest, root, now_ms).map_err(|error| error.to_string())?;
    let mut files = archive.blobs;
    let mut blobs = vec![new_blob(&BlobRef::of(&archive.manifest))];
    let mut known: Vec<Digest> = Vec::new();
    for component in &manifest.components {
        let blob = &component.blob;
        match files.get(&blob.sha256) {
            // Chunks are asked for by their number, so a blob is cut in one way only.
            Some(bytes) if BlobRef::of(bytes) != *blob => {
                return Err(format!(
                    "component {}: length or chunk list is not that of its content; pack the bundle again",
                    component.name
                ));
            }
            Some(_) => {}
            None if held(component) => {}
            None => {
                return Err(format!(
                    "component {} ({}) is missing from the archive",
                    component.name, blob.sha256
                ));
            }
        }
        known.push(blob.sha256);
        blobs.push(new_blob(blob));
    }
    if let Some(extra) = files.keys().find(|digest| !known.contains(digest)) {
        return Err(format!("the archive has a blob {extra} that its manifest doesn't name"));
    }
    let envelope = Digest::of(&archive.manifest);
    files.insert(envelope, archive.manifest);
    let bundle = new_bundle(&manifest, envelope, blobs)?;
    Ok(Checked { bundle, files })
}

/// Why bytes are no archive. What the reader of tar files says about them would be about tar files, with pieces of them.
fn unread(error: &ArchiveError) -> String {
    match error {
        ArchiveError::Io(_) => {
            "bundle archive is cut short or damaged, or this is no .fhb file; copy it again, or pack it again"
                .to_owned()
        }
        other => other.to_string(),
    }
}

fn new_blob(blob: &BlobRef) -> NewBlob {
    let chunks = blob.chunks.iter().map(|chunk| chunk.length).collect();
    NewBlob {
        digest: blob.sha256.to_string(),
        length: blob.length,
        chunks,
    }
}

fn new_bundle(manifest: &Verified<Manifest>, envelope: Digest, blobs: Vec<NewBlob>) -> Result<NewBundle, String> {
    Ok(NewBundle {
        digest: manifest.digest().to_string(),
        name: manifest.name.to_string(),
        version: manifest.version.to_string(),
        release_counter: manifest.release_counter,
        envelope: envelope.to_string(),
        total_bytes: manifest.total_bytes(),
        summary: serde_json::to_string(&Summary::of(manifest)).map_err(|error| error.to_string())?,
        blobs,
    })
}

impl Summary {
    fn of(manifest: &Manifest) -> Self {
        let pipeline = &manifest.pipeline;
        let places = [
            ("preprocess", &pipeline.preprocess),
            ("postprocess", &pipeline.postprocess),
            ("monitor", &pipeline.monitors),
        ];
        let stage = |place: &str, stage: &StageSpec| SummaryStage {
            name: stage.name.to_string(),
            place: place.to_owned(),
            plugin: stage.plugin.to_string(),
        };
        Self {
            floor: manifest.floor,
            hardware: manifest.hardware.clone(),
            min_agent: manifest.min_agent.clone(),
            components: manifest.components.iter().map(SummaryComponent::of).collect(),
            stages: (pipeline.decoder.iter().map(|one| stage("decoder", one)))
                .chain(
                    places
                        .iter()
                        .flat_map(|(place, stages)| stages.iter().map(move |one| stage(place, one))),
                )
                .collect(),
            golden_cases: manifest.golden.cases,
            trial_samples: manifest.gates.samples,
            lineage: manifest.lineage.clone(),
        }
    }
}

impl SummaryComponent {
    fn of(component: &Component) -> Self {
        Self {
            name: component.name.to_string(),
            role: component.role,
            sha256: component.blob.sha256,
            length: component.blob.length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{archived, bundle, hub, key, manifest};

    #[tokio::test]
    async fn a_bundle_is_stored_whole_and_once() {
        let (_dir, hub, _sent) = hub().await;
        let (bytes, digest) = bundle("1.0.0", 1);
        let (row, new) = hub.ingest(bytes.clone()).await.unwrap();
        assert!(new && row.digest == digest.to_string() && row.name == "valve");
        assert!(!hub.ingest(bytes).await.unwrap().1);
        let summary: Summary = serde_json::from_str(&row.summary).unwrap();
        assert_eq!(summary.components.len(), 2);
        for component in &summary.components {
            assert!(hub.store().blobs().has(component.sha256, component.length));
            assert!(
                hub.database
                    .blob_chunks(&component.sha256.to_string())
                    .await
                    .unwrap()
                    .is_some()
            );
        }
        assert!(
            hub.database.blob_chunks(&row.envelope).await.unwrap().is_some(),
            "the manifest is fetched too"
        );
    }

    #[tokio::test]
    async fn what_is_held_need_not_come_again() {
        let (_dir, hub, _sent) = hub().await;
        hub.ingest(bundle("1.0.0", 1).0).await.unwrap();
        let (manifest, mut blobs) = manifest("1.1.0", 2);
        blobs.remove(&manifest.components[0].blob.sha256);
        let archive = Archive {
            manifest: manifest.seal(&[&key(1)]).unwrap(),
            assignment: None,
            blobs,
        };
        assert!(hub.ingest(archived(&archive)).await.unwrap().1);
    }

    async fn check_refusal(bytes: Vec<u8>, part: &str) {
        let (_dir, hub, _sent) = hub().await;
        hub.ingest(bundle("9.0.0", 9).0).await.unwrap();
        let error = hub.ingest(bytes).await.unwrap_err().to_string();
        assert!(error.contains(part), "{part:?} is not in {error:?}");
        assert_eq!(hub.database.bundles().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn refusals_name_the_reason() {
        let (sound, blobs) = manifest("1.0.0", 1);
        let sealed = |by: u8| sound.seal(&[&key(by)]).unwrap();
        let archive = |manifest: Vec<u8>, blobs: &BTreeMap<Digest, Vec<u8>>| {
            archived(&Archive {
                manifest,
                assignment: None,
                blobs: blobs.clone(),
            })
        };
        check_refusal(b"hello".to_vec(), "bundle archive is cut short or damaged").await;
        check_refusal(vec![0x1b; 2048], "this is no .fhb file").await;
        let mut whole = archive(sealed(1), &blobs);
        whole.truncate(700);
        check_refusal(whole, "is cut short").await;
        check_refusal(archive(sealed(2), &blobs), "signed by 0 of the 1 keys it needs").await;
        let mut less = blobs.clone();
        less.remove(&sound.components[1].blob.sha256);
        check_refusal(archive(sealed(1), &less), "component golden.jsonl").await;
        let mut more = blobs.clone();
        more.insert(Digest::of(b"x"), b"x".to_vec());
        check_refusal(archive(sealed(1), &more), "that its manifest doesn't name").await;
        let mut cut = sound.clone();
        let chunks = &mut cut.components[0].blob.chunks;
        let (first, second) = (chunks[0].clone(), chunks[1].clone());
        (chunks[0], chunks[1]) = (second, first);
        check_refusal(
            archive(cut.seal(&[&key(1)]).unwrap(), &blobs),
            "component model.onnx: length or chunk",
        )
        .await;
        let mut other = sound.clone();
        other.version = "9.0.0".parse().unwrap();
        check_refusal(archive(other.seal(&[&key(1)]).unwrap(), &blobs), "raise the version").await;
    }
}
