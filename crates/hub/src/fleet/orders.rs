//! What operators ask for: bundles on devices, modes and settings, commands.
//!
//! An order is stored and signed first and published then. If the broker loses it, or isn't there, the device's next
//! hello brings it about again.

use super::{Hub, HubError, Summary};
use crate::access::Actor;
use crate::database::{AssignmentRow, BundleRow, DeviceRow, Draft, JobRow, signed, unsigned};
use crate::planner::{self, Change, Current, Demands, Desired};
use floorhand_bundle::{BlobRef, DeviceId, Digest, Domain, Envelope, MAX_MANIFEST_BYTES, cbor};
use floorhand_protocol::{Action, Assigned, Assignment, Command, Down, Hello, MAX_ASSIGNMENT_BYTES, Mode};

/// Digits of a digest that are too few to mean one bundle.
const MIN_PREFIX: usize = 6;
/// How a bundle comes here.
const PUSH_FIRST: &str = "give it to the hub first: `floorhand fleet push FILE`";

/// Which devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Every registered one that can run it.
    All,
    /// These; one that can't run it stops the whole.
    Devices(Vec<DeviceId>),
}

/// A device that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) device: String,
    pub(crate) reason: String,
}

/// What was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobIssued {
    pub(crate) job: String,
    /// Empty where no bundle was named.
    pub(crate) bundle: String,
    /// Device and sequence number.
    pub(crate) assignments: Vec<(String, u64)>,
    pub(crate) skipped: Vec<Skipped>,
}

impl Hub {
    /// Finds a bundle by its digest, by a prefix of it that only one has, or by `NAME@VERSION`.
    pub(crate) async fn find_bundle(&self, reference: &str) -> Result<BundleRow, HubError> {
        let missing = || HubError::NotFound(format!("no bundle {reference:?} here; {PUSH_FIRST}"));
        if let Some((name, version)) = reference.split_once('@') {
            return self.database.bundle_by_name(name, version).await?.ok_or_else(missing);
        }
        let digits = reference.len() >= MIN_PREFIX && reference.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !digits {
            let expected = "expected a digest, at least 6 digits of one, or NAME@VERSION";
            return Err(HubError::Invalid(format!("{reference:?} names no bundle: {expected}")));
        }
        let mut found = self.database.bundles_by_prefix(&reference.to_ascii_lowercase()).await?;
        match (found.pop(), found.pop()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(HubError::Conflict(format!(
                "more than one bundle begins with {reference}; give more of its digits"
            ))),
            _ => Err(missing()),
        }
    }

    /// Assigns a bundle to devices.
    pub(crate) async fn deploy(&self, reference: &str, selection: &Selection) -> Result<JobIssued, HubError> {
        let bundle = self.find_bundle(reference).await?;
        let rows = match selection {
            Selection::All => self.database.devices().await?,
            Selection::Devices(ids) => self.select(ids).await?,
        };
        if rows.is_empty() {
            return Err(HubError::Conflict(
                "there is no device to deploy to; make one known first: `floorhand fleet enroll DEVICE --key FILE.pub`"
                    .to_owned(),
            ));
        }
        self.run_bundle("deploy", &bundle, rows, *selection == Selection::All)
            .await
    }

    /// Assigns the bundle that the device had before, or the one that is named.
    pub(crate) async fn rollback(&self, device: &str, reference: Option<&str>) -> Result<JobIssued, HubError> {
        let row = self.find_device(device).await?;
        let hello = row.hello()?;
        if let (None, Some(hello)) = (reference, &hello) {
            self.check_backwards(device, hello).await?;
        }
        let reference = match (reference, hello.and_then(|hello| hello.previous)) {
            (Some(reference), _) => reference.to_owned(),
            (None, Some(previous)) => previous.bundle.digest.to_string(),
            (None, None) => {
                let problem =
                    "has reported no bundle that it could go back to; name one with --bundle (in the API: \"bundle\")";
                return Err(HubError::Conflict(format!("device {device} {problem}")));
            }
        };
        let bundle = self.find_bundle(&reference).await?;
        self.run_bundle("rollback", &bundle, vec![row], false).await
    }

    /// Refuses to take a device forward by a rollback that names no bundle: after one, what it had before is the newer
    /// one, and whoever asks twice would get that back without a trial.
    async fn check_backwards(&self, device: &str, hello: &Hello) -> Result<(), HubError> {
        let (Some(active), Some(previous)) = (&hello.active, &hello.previous) else {
            return Ok(());
        };
        let [now, before] = [
            self.database.bundle(&active.bundle.digest.to_string()).await?,
            self.database.bundle(&previous.bundle.digest.to_string()).await?,
        ];
        let newer = now
            .zip(before)
            .filter(|(now, before)| before.release_counter > now.release_counter);
        newer.map_or(Ok(()), |(now, before)| {
            let (now, before) = (
                format!("{}@{}", now.name, now.version),
                format!("{}@{}", before.name, before.version),
            );
            Err(HubError::Conflict(format!(
                "device {device} runs {now}, and what it ran before, {before}, is newer: that would be no rollback; \
                 to go there say --bundle {before}, or deploy it, which tries it first"
            )))
        })
    }

    /// Lets a device work or pause.
    pub(crate) async fn change_mode(&self, device: &str, mode: Mode) -> Result<JobIssued, HubError> {
        let row = self.find_device(device).await?;
        let kind = if mode == Mode::Run { "resume" } else { "pause" };
        let desired = vec![self.desired(&row, Change::Mode(mode)).await?];
        self.issue(kind, String::new(), desired, Vec::new()).await
    }

    /// Sets the share of predictions that a device reports, in parts per million.
    pub(crate) async fn set_sampling(&self, device: &str, ppm: u32) -> Result<JobIssued, HubError> {
        if ppm > 1_000_000 {
            return Err(HubError::Invalid(format!(
                "{ppm} parts per million are more than all; expected 0 to 1000000"
            )));
        }
        let row = self.find_device(device).await?;
        let desired = vec![self.desired(&row, Change::Sampling(ppm)).await?];
        self.issue("set-sampling", String::new(), desired, Vec::new()).await
    }

    /// Has a device do something once; the command's id.
    pub(crate) async fn command(&self, device: &str, action: &Action) -> Result<u64, HubError> {
        let id = device_id(device)?;
        if !self.reaches_device(&id).await? {
            return Err(HubError::Conflict(format!(
                "device {device} has an older trust root, under which this hub's key doesn't count; it is sent the next one \
                 when it connects: ask again then"
            )));
        }
        let key = self.signing_key()?;
        let issued_ms = self.now_ms();
        let expires_ms = issued_ms.saturating_add(self.settings.command_ttl_ms);
        let seal = |number: u64| {
            let command = Command {
                fleet: self.root.fleet.clone(),
                device: id.clone(),
                id: number,
                issued_ms,
                expires_ms,
                action: action.clone(),
                critical: Vec::new(),
            };
            command.seal(key).map_err(|error| error.to_string())
        };
        let issued = self
            .database
            .issue_command(device, action, issued_ms, expires_ms, seal)
            .await?;
        let (number, sealed) = issued.ok_or_else(|| no_device(device))?;
        self.send_if_room(&id, Down::Command, sealed);
        Ok(number)
    }

    /// A registered device.
    pub(crate) async fn find_device(&self, device: &str) -> Result<DeviceRow, HubError> {
        // What isn't even an id never reaches the database, which may not take every text.
        let id = device_id(device)?;
        self.database
            .device(id.as_str())
            .await?
            .ok_or_else(|| no_device(device))
    }

    async fn select(&self, ids: &[DeviceId]) -> Result<Vec<DeviceRow>, HubError> {
        let mut rows: Vec<DeviceRow> = Vec::with_capacity(ids.len());
        for id in ids {
            let row = self.find_device(id.as_str()).await?;
            if rows.iter().any(|other| other.id == row.id) {
                return Err(HubError::Invalid(format!("device {id} is named twice")));
            }
            rows.push(row);
        }
        Ok(rows)
    }

    async fn run_bundle(
        &self,
        kind: &str,
        bundle: &BundleRow,
        rows: Vec<DeviceRow>,
        skip_unfit: bool,
    ) -> Result<JobIssued, HubError> {
        let summary = summary(bundle)?;
        let demands = Demands {
            hardware: &summary.hardware,
            min_agent: &summary.min_agent,
            release_counter: unsigned(bundle.release_counter),
        };
        let envelope = digest(&bundle.envelope)?;
        let store = self.store.clone();
        let reading = move || store.blobs().read(envelope, 2 * MAX_MANIFEST_BYTES as u64);
        let reading = tokio::task::spawn_blocking(reading).await;
        let manifest = reading.map_err(|error| HubError::Internal(format!("a task on files failed: {error}")))??;
        self.check_released(&format!("{}@{}", bundle.name, bundle.version), &manifest)?;
        let assigned = Assigned {
            bundle: digest(&bundle.digest)?,
            manifest: BlobRef::of(&manifest),
        };
        let (mut desired, mut skipped) = (Vec::new(), Vec::new());
        for row in rows {
            match planner::unfit(&demands, row.hello()?.as_ref()) {
                None => desired.push(self.desired(&row, Change::Run(assigned.clone())).await?),
                Some(reason) => skipped.push(Skipped { device: row.id, reason }),
            }
        }
        let reasons = || {
            skipped
                .iter()
                .map(|one| format!("{}: {}", one.device, one.reason))
                .collect::<Vec<_>>()
        };
        if desired.is_empty() || (!skip_unfit && !skipped.is_empty()) {
            let bundle = format!("{}@{}", bundle.name, bundle.version);
            return Err(HubError::Conflict(format!(
                "{bundle} can't run there: {}",
                reasons().join("; ")
            )));
        }
        self.issue(kind, bundle.digest.clone(), desired, skipped).await
    }

    pub(super) async fn desired(&self, row: &DeviceRow, change: Change) -> Result<(DeviceId, Desired), HubError> {
        // A device that was removed and made known again begins anew: it isn't paused because the one before was.
        let latest = self.database.latest_assignment(&row.id).await?;
        let current = latest.filter(|latest| latest.issued_ms >= row.registered_ms);
        let current = current.map(|row| current_of(&row, self.now_ms())).transpose()?;
        let hello: Option<Hello> = row.hello()?;
        Ok((
            device_id(&row.id)?,
            planner::desired(current.as_ref(), hello.as_ref(), change),
        ))
    }

    /// Signs, stores and publishes one assignment for each device.
    pub(super) async fn issue(
        &self,
        kind: &str,
        bundle: String,
        desired: Vec<(DeviceId, Desired)>,
        skipped: Vec<Skipped>,
    ) -> Result<JobIssued, HubError> {
        let key = self.signing_key()?;
        let issued_ms = self.now_ms();
        let expires_ms = issued_ms.saturating_add(self.settings.assignment_ttl_ms);
        let job = JobRow {
            id: job_id(kind)?,
            kind: kind.to_owned(),
            bundle: bundle.clone(),
            created_ms: signed(issued_ms),
            created_by: Actor::current().to_string(),
        };
        let drafts: Vec<Draft> = desired
            .iter()
            .map(|(device, desired)| Draft {
                device: device.clone(),
                bundle: desired
                    .run
                    .as_ref()
                    .map_or_else(String::new, |run| run.bundle.to_string()),
                mode: mode_name(desired.mode),
                sampling_ppm: desired.parameters.sampling_ppm,
                issued_ms,
                expires_ms,
            })
            .collect();
        let seal = |index: usize, seq: u64| {
            let (device, desired) = desired.get(index).ok_or("no such draft")?;
            let assignment = Assignment {
                fleet: self.root.fleet.clone(),
                device: device.clone(),
                seq,
                job: job.id.clone(),
                run: desired.run.clone(),
                mode: desired.mode,
                parameters: desired.parameters.clone(),
                issued_ms,
                expires_ms,
                critical: Vec::new(),
            };
            assignment.seal(key).map_err(|error| error.to_string())
        };
        let issued = self.database.issue_job(&job, &drafts, seal).await?;
        tracing::info!(job = %job.id, kind, devices = issued.len(), "issued");
        let assignments = issued.iter().map(|one| (one.device.to_string(), one.seq)).collect();
        for one in issued {
            // One that can't take it yet gets it when its hello tells that it can.
            if self.reaches_device(&one.device).await? {
                self.send_if_room(&one.device, Down::Assign, one.sealed);
            }
        }
        Ok(JobIssued {
            job: job.id,
            bundle,
            assignments,
            skipped,
        })
    }
}

/// The mode as messages and the API write it.
pub(crate) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Run => "run",
        Mode::Paused => "paused",
    }
}

/// What an assignment says, read back from what was signed.
fn current_of(row: &AssignmentRow, now_ms: u64) -> Result<Current, HubError> {
    let damaged = |problem: String| HubError::Internal(format!("assignment {} of {}: {problem}", row.seq, row.device));
    let sealed = row.sealed()?;
    let envelope = Envelope::open(Domain::Assignment, &sealed, MAX_ASSIGNMENT_BYTES);
    let envelope = envelope.map_err(|error| damaged(error.to_string()))?;
    let assignment: Assignment = cbor::decode("assignment", envelope.payload_unverified(), MAX_ASSIGNMENT_BYTES)
        .map_err(|error| damaged(error.to_string()))?;
    let holds = match row.status.as_str() {
        "SUCCEEDED" | "IN_PROGRESS" => true,
        "QUEUED" => now_ms <= unsigned(row.expires_ms),
        _ => false,
    };
    Ok(Current {
        run: assignment.run,
        holds,
        mode: assignment.mode,
        parameters: assignment.parameters,
    })
}

/// What is known of a bundle.
pub(super) fn summary(bundle: &BundleRow) -> Result<Summary, HubError> {
    serde_json::from_str(&bundle.summary)
        .map_err(|error| HubError::Internal(format!("summary of bundle {}: {error}", bundle.digest)))
}

/// A digest that was stored.
pub(super) fn digest(text: &str) -> Result<Digest, HubError> {
    text.parse()
        .map_err(|error| HubError::Internal(format!("in the database: {error}")))
}

fn device_id(text: &str) -> Result<DeviceId, HubError> {
    text.parse()
        .map_err(|error: floorhand_bundle::NameError| HubError::Invalid(error.to_string()))
}

fn no_device(device: &str) -> HubError {
    HubError::NotFound(format!(
        "no device {device:?} here; make it known first: `floorhand fleet enroll {device} --key FILE.pub`"
    ))
}

/// A name for a job that people can tell apart: what it is, and 32 random bits.
fn job_id(kind: &str) -> Result<String, HubError> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| HubError::Internal(format!("draw a random id: {error}")))?;
    Ok(format!("{kind}-{}", hex::encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW_MS, bundle, hello, hub, root};
    use floorhand_bundle::{Manifest, Version};
    use floorhand_protocol::{BundleId, Running};

    async fn with_device() -> (
        tempfile::TempDir,
        Hub,
        tokio::sync::mpsc::Receiver<super::super::Outgoing>,
    ) {
        let (dir, hub, sent) = hub().await;
        hub.database
            .register(&"press-1".parse().unwrap(), "aa", false, NOW_MS)
            .await
            .unwrap();
        (dir, hub, sent)
    }

    #[tokio::test]
    async fn a_device_gets_what_was_signed_for_it() {
        let (_dir, hub, mut sent) = with_device().await;
        let (bytes, digest) = bundle("1.0.0", 1);
        hub.ingest(bytes).await.unwrap();
        let issued = hub.deploy("valve@1.0.0", &Selection::All).await.unwrap();
        assert_eq!(issued.assignments, [("press-1".to_owned(), 1)]);
        let published = sent.try_recv().unwrap();
        assert_eq!(published.topic, "fh/v1/plant-a/d/press-1/down/assign");
        let device = "press-1".parse().unwrap();
        let assignment = Assignment::open(&published.payload, &root(), &device, NOW_MS).unwrap();
        let run = assignment.run.clone().unwrap();
        assert_eq!((run.bundle, assignment.job.as_str()), (digest, issued.job.as_str()));
        let manifest = hub.store().blobs().read(run.manifest.sha256, 1 << 20).unwrap();
        assert_eq!(Manifest::open(&manifest, &root(), NOW_MS).unwrap().digest(), digest);
        hub.change_mode("press-1", Mode::Paused).await.unwrap();
        let paused = Assignment::open(&sent.try_recv().unwrap().payload, &root(), &device, NOW_MS).unwrap();
        assert_eq!(
            (paused.seq, paused.run.clone(), paused.mode),
            (2, Some(run), Mode::Paused)
        );
    }

    #[tokio::test]
    async fn bundles_are_found_or_the_reason_is_told() {
        let (_dir, hub, _sent) = with_device().await;
        let (bytes, digest) = bundle("1.0.0", 1);
        hub.ingest(bytes).await.unwrap();
        for reference in [digest.to_string(), digest.short(), "valve@1.0.0".to_owned()] {
            assert_eq!(hub.find_bundle(&reference).await.unwrap().digest, digest.to_string());
        }
        for (reference, part) in [
            ("valve", "expected a digest"),
            ("valve@2.0.0", "`floorhand fleet push FILE`"),
            ("00ff00", "no bundle"),
        ] {
            let error = hub.find_bundle(reference).await.unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let ghost = Selection::Devices(vec!["ghost".parse().unwrap()]);
        assert!(matches!(
            hub.deploy("valve@1.0.0", &ghost).await,
            Err(HubError::NotFound(problem)) if problem.contains("`floorhand fleet enroll ghost --key")
        ));
        assert!(matches!(
            hub.set_sampling("press-1", 1_000_001).await,
            Err(HubError::Invalid(_))
        ));
    }

    #[tokio::test]
    async fn devices_that_cannot_run_it_are_left_out_or_refused() {
        let (_dir, hub, _sent) = with_device().await;
        hub.database
            .register(&"press-2".parse().unwrap(), "bb", false, NOW_MS)
            .await
            .unwrap();
        let mut ahead = hello("press-2", 1, 1);
        ahead.floor = 5;
        hub.database.store_hello(&ahead, NOW_MS).await.unwrap();
        hub.ingest(bundle("1.0.0", 1).0).await.unwrap();
        let issued = hub.deploy("valve@1.0.0", &Selection::All).await.unwrap();
        assert_eq!(
            (issued.assignments.len(), issued.skipped[0].device.as_str()),
            (1, "press-2")
        );
        let named = Selection::Devices(vec!["press-1".parse().unwrap(), "press-2".parse().unwrap()]);
        let error = hub.deploy("valve@1.0.0", &named).await.unwrap_err().to_string();
        assert!(error.contains("press-2: its floor is release 5"), "{error}");
    }

    #[tokio::test]
    async fn rollback_goes_where_the_device_was() {
        let (_dir, hub, _sent) = with_device().await;
        let (bytes, digest) = bundle("1.0.0", 1);
        hub.ingest(bytes).await.unwrap();
        let error = hub.rollback("press-1", None).await.unwrap_err().to_string();
        assert!(error.contains("name one"), "{error}");
        let bundle = BundleId {
            digest,
            name: "valve".parse().unwrap(),
            version: Version::new(1, 0, 0),
        };
        let mut device = hello("press-1", 1, 1);
        device.previous = Some(Running { generation: 1, bundle });
        hub.database.store_hello(&device, NOW_MS).await.unwrap();
        assert_eq!(hub.rollback("press-1", None).await.unwrap().bundle, digest.to_string());
    }

    #[tokio::test]
    async fn a_second_rollback_does_not_go_forward_again() {
        let (_dir, hub, _sent) = with_device().await;
        let mut running = Vec::new();
        for (version, counter) in [("1.0.0", 1), ("2.0.0", 2)] {
            let (bytes, digest) = bundle(version, counter);
            hub.ingest(bytes).await.unwrap();
            let bundle = BundleId {
                digest,
                name: "valve".parse().unwrap(),
                version: version.parse().unwrap(),
            };
            running.push(Running {
                generation: counter,
                bundle,
            });
        }
        let mut device = hello("press-1", 1, 1);
        (device.active, device.previous) = (running.first().cloned(), running.last().cloned());
        hub.database.store_hello(&device, NOW_MS).await.unwrap();
        let error = hub.rollback("press-1", None).await.unwrap_err().to_string();
        assert!(
            error.contains("valve@2.0.0, is newer: that would be no rollback"),
            "{error}"
        );
        assert!(hub.rollback("press-1", Some("valve@2.0.0")).await.is_ok());
    }

    #[tokio::test]
    async fn a_setting_changed_in_the_middle_of_a_rollout_does_not_end_it() {
        let (_dir, hub, _sent) = with_device().await;
        hub.ingest(bundle("1.0.0", 1).0).await.unwrap();
        let rollout = hub.deploy("valve@1.0.0", &Selection::All).await.unwrap().job;
        hub.set_sampling("press-1", 5).await.unwrap();
        hub.change_mode("press-1", Mode::Paused).await.unwrap();
        let status = || async {
            let rows = hub.database.job_assignments(&rollout).await.unwrap();
            rows.first().unwrap().status.clone()
        };
        assert_eq!(status().await, "QUEUED", "it stands where its last successor stands");
        hub.database
            .settle_assignment("press-1", 3, floorhand_protocol::JobStatus::Succeeded, "", NOW_MS)
            .await
            .unwrap();
        assert_eq!(status().await, "SUCCEEDED");
    }

    #[tokio::test]
    async fn a_device_that_is_made_known_again_begins_anew() {
        let (_dir, hub, mut sent) = with_device().await;
        hub.ingest(bundle("1.0.0", 1).0).await.unwrap();
        hub.change_mode("press-1", Mode::Paused).await.unwrap();
        hub.database.unregister("press-1", NOW_MS).await.unwrap();
        let device: DeviceId = "press-1".parse().unwrap();
        hub.database.register(&device, "cc", false, NOW_MS + 1).await.unwrap();
        while sent.try_recv().is_ok() {}
        hub.deploy("valve@1.0.0", &Selection::All).await.unwrap();
        let assignment = Assignment::open(&sent.try_recv().unwrap().payload, &root(), &device, NOW_MS).unwrap();
        assert_eq!((assignment.mode, assignment.seq), (Mode::Run, 2));
    }
}
