//! A bundle on a stick: for devices that no network reaches.

use super::orders::{digest, summary};
use super::{Hub, HubError};
use crate::database::unsigned;
use floorhand_bundle::{Archive, MAX_BLOB_BYTES};

impl Hub {
    /// The bundle that a device is assigned, with the assignment, as a `.fhb` file to be carried to it. Where a bundle is
    /// named, it has to be that one.
    pub(crate) async fn export(&self, device: &str, reference: Option<&str>) -> Result<Vec<u8>, HubError> {
        let row = self.find_device(device).await?;
        let mut latest = self.database.latest_assignment(device).await?;
        if let Some(stored) = &latest
            && self.renew(&row, stored).await?
        {
            latest = self.database.latest_assignment(device).await?;
        }
        let latest = latest.filter(|row| !row.bundle.is_empty() && self.now_ms() <= unsigned(row.expires_ms));
        let advice = "deploy the bundle to it first, then export it within the assignment's time to live";
        let latest = latest.ok_or_else(|| {
            HubError::Conflict(format!("device {device} has no valid assignment of a bundle: {advice}"))
        })?;
        let bundle = self.find_bundle(&latest.bundle).await?;
        if let Some(reference) = reference {
            let wanted = self.find_bundle(reference).await?;
            if wanted.digest != bundle.digest {
                let assigned = format!("{}@{}", bundle.name, bundle.version);
                return Err(HubError::Conflict(format!(
                    "device {device} is assigned {assigned}: {advice}"
                )));
            }
        }
        let summary = summary(&bundle)?;
        let _memory = self
            .bundles_in_memory
            .acquire()
            .await
            .map_err(|error| HubError::Internal(error.to_string()))?;
        // One that never said anything may have any root that is older than the newest.
        let known = row.hello()?.map_or(0, |hello| hello.root_version);
        let roots = self.roots();
        let (store, assignment, envelope) = (self.store.clone(), latest.sealed()?, digest(&bundle.envelope)?);
        let packing = tokio::task::spawn_blocking(move || {
            let read = |digest| store.blobs().read(digest, MAX_BLOB_BYTES).map_err(HubError::from);
            let blobs = summary.components.iter().map(|one| Ok((one.sha256, read(one.sha256)?)));
            let blobs = blobs.collect::<Result<_, HubError>>()?;
            let archive = Archive {
                manifest: read(envelope)?,
                assignment: Some(assignment),
                blobs,
            };
            let mut bytes = Vec::new();
            let mut later: Vec<(u64, &[u8])> = roots
                .iter()
                .filter(|root| root.version > known.max(1))
                .map(|root| (root.version, root.envelope()))
                .collect();
            later.sort_unstable_by_key(|(version, _)| *version);
            archive
                .write_with_roots(&later, &mut bytes)
                .map_err(|error| HubError::Internal(error.to_string()))?;
            Ok(bytes)
        });
        packing
            .await
            .map_err(|error| HubError::Internal(format!("a task on files failed: {error}")))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Selection;
    use crate::testing::{NOW_MS, bundle, hub, root};
    use floorhand_protocol::Assignment;

    #[tokio::test]
    async fn a_stick_carries_bundle_and_assignment() {
        let (_dir, hub, _sent) = hub().await;
        hub.database
            .register(&"press-1".parse().unwrap(), "aa", false, NOW_MS)
            .await
            .unwrap();
        let (bytes, digest) = bundle("1.0.0", 1);
        hub.ingest(bytes).await.unwrap();
        hub.ingest(bundle("1.1.0", 2).0).await.unwrap();
        assert!(matches!(hub.export("press-1", None).await, Err(HubError::Conflict(_))));
        hub.deploy(&digest.to_string(), &Selection::All).await.unwrap();
        let archive = Archive::read(&hub.export("press-1", Some("valve@1.0.0")).await.unwrap()[..]).unwrap();
        let device = "press-1".parse().unwrap();
        let assignment = Assignment::open(&archive.assignment.unwrap(), &root(), &device, NOW_MS).unwrap();
        assert_eq!(assignment.run.clone().unwrap().bundle, digest);
        assert_eq!(archive.blobs.len(), 2);
        assert!(matches!(
            hub.export("press-1", Some("valve@1.1.0")).await,
            Err(HubError::Conflict(_))
        ));
    }
}
