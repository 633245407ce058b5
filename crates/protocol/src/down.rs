//! What the hub signs: assignments, commands, acks.

use floorhand_bundle::{
    BlobRef, DeviceId, Digest, DocumentError, Domain, Envelope, FleetId, MAX_MANIFEST_BYTES, Role, Signer, TrustRoot,
    Verified, cbor, check_critical,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The largest assignment in bytes: the chunk list of a 1 MiB manifest, and parameters.
pub const MAX_ASSIGNMENT_BYTES: usize = 16 * 1024;
/// The largest command in bytes.
pub const MAX_COMMAND_BYTES: usize = 4 * 1024;
/// The largest ack in bytes: some thousand ranges.
pub const MAX_ACK_BYTES: usize = 32 * 1024;

/// The CBOR tag in front of an envelope.
const ENVELOPE_TAG_BYTES: usize = 2;

/// Whether a device works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Samples are taken and results given.
    #[default]
    Run,
    /// Samples are let go by, and counted.
    Paused,
}

/// What can be set for one device without another bundle.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Parameters {
    /// The share of predictions that are reported in telemetry, in parts per million.
    pub sampling_ppm: u32,
}

/// The bundle that a device shall run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// The bundle's digest: that of its manifest's signed bytes.
    pub bundle: Digest,
    /// The manifest's envelope, as a blob to be fetched.
    pub manifest: BlobRef,
}

/// The whole desired state of one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The fleet.
    pub fleet: FleetId,
    /// The device; another one refuses it.
    pub device: DeviceId,
    /// Rises with every assignment of the device, across bundles and modes.
    pub seq: u64,
    /// The hub's name for the change that this is part of, by which its progress is reported.
    pub job: String,
    /// What to run. `None`: what runs already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Assigned>,
    /// Whether to run it.
    #[serde(default)]
    pub mode: Mode,
    /// Settings.
    #[serde(default)]
    pub parameters: Parameters,
    /// When it was signed, in milliseconds since 1970 UTC. The device's clock never goes below it afterwards.
    pub issued_ms: u64,
    /// After this it is not begun any more. What runs goes on.
    pub expires_ms: u64,
    /// Names of fields that a reader has to know.
    #[serde(default)]
    pub critical: Vec<String>,
}

/// What a device shall do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Flush metrics into telemetry now, and answer with the device's status.
    ReportNow,
    /// Answer with the last lines of the agent's log.
    FetchLogs {
        /// How many lines, at most.
        lines: u32,
    },
}

/// Something to do once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The fleet.
    pub fleet: FleetId,
    /// The device; another one refuses it.
    pub device: DeviceId,
    /// Rises with every command to the device. One that isn't above the last is a repetition, and is let go by.
    pub id: u64,
    /// When it was signed, in milliseconds since 1970 UTC.
    pub issued_ms: u64,
    /// After this it is refused.
    pub expires_ms: u64,
    /// What to do.
    pub action: Action,
    /// Names of fields that a reader has to know.
    #[serde(default)]
    pub critical: Vec<String>,
}

/// A range of sequence numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeqRange {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// Telemetry that the hub has stored. Only this lets a device delete it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The device.
    pub device: DeviceId,
    /// The boot whose sequence numbers these are.
    pub boot_id: u64,
    /// The numbers of records that were stored.
    pub ranges: Vec<SeqRange>,
    /// The gaps that were stored, each by its ends. Apart from the records: a device may drop a record that it has sent, so
    /// the same number can be in both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<SeqRange>,
}

impl Assignment {
    /// Encodes and signs.
    pub fn seal<S: Signer + ?Sized>(&self, key: &S) -> Result<Vec<u8>, DocumentError> {
        seal(Domain::Assignment, self, key)
    }

    /// Opens an assignment that is for this device and has not expired.
    pub fn open(
        bytes: &[u8],
        root: &TrustRoot,
        device: &DeviceId,
        now_ms: u64,
    ) -> Result<Verified<Self>, DocumentError> {
        let opened: Verified<Self> = open(Domain::Assignment, bytes, root, MAX_ASSIGNMENT_BYTES, now_ms)?;
        check_critical("assignment", &opened.critical, &[])?;
        check_address("assignment", (&opened.fleet, &opened.device), (&root.fleet, device))?;
        check_expiry("assignment", opened.expires_ms, now_ms)?;
        if let Some(assigned) = &opened.run {
            assigned.manifest.check()?;
            check_manifest_length(assigned.manifest.length)?;
        }
        Ok(opened)
    }
}

/// Refuses what can be no manifest before a byte of it is fetched.
fn check_manifest_length(length: u64) -> Result<(), DocumentError> {
    // The limit holds behind the envelope's tag.
    let most = (MAX_MANIFEST_BYTES + ENVELOPE_TAG_BYTES) as u64;
    if length <= most {
        return Ok(());
    }
    Err(DocumentError::Content {
        document: "assignment",
        problem: format!("its manifest is said to have {length} bytes, and none has more than {most}"),
    })
}

impl Command {
    /// Encodes and signs.
    pub fn seal<S: Signer + ?Sized>(&self, key: &S) -> Result<Vec<u8>, DocumentError> {
        seal(Domain::Command, self, key)
    }

    /// Opens a command that is for this device and has not expired.
    pub fn open(
        bytes: &[u8],
        root: &TrustRoot,
        device: &DeviceId,
        now_ms: u64,
    ) -> Result<Verified<Self>, DocumentError> {
        let opened: Verified<Self> = open(Domain::Command, bytes, root, MAX_COMMAND_BYTES, now_ms)?;
        check_critical("command", &opened.critical, &[])?;
        check_address("command", (&opened.fleet, &opened.device), (&root.fleet, device))?;
        check_expiry("command", opened.expires_ms, now_ms)?;
        Ok(opened)
    }
}

impl Ack {
    /// Encodes and signs.
    pub fn seal<S: Signer + ?Sized>(&self, key: &S) -> Result<Vec<u8>, DocumentError> {
        seal(Domain::Ack, self, key)
    }

    /// Opens an ack for this device.
    pub fn open(
        bytes: &[u8],
        root: &TrustRoot,
        device: &DeviceId,
        now_ms: u64,
    ) -> Result<Verified<Self>, DocumentError> {
        let opened: Verified<Self> = open(Domain::Ack, bytes, root, MAX_ACK_BYTES, now_ms)?;
        check_address("ack", (&root.fleet, &opened.device), (&root.fleet, device))?;
        Ok(opened)
    }
}

pub(crate) fn seal<T, S>(domain: Domain, document: &T, key: &S) -> Result<Vec<u8>, DocumentError>
where
    T: Serialize,
    S: Signer + ?Sized,
{
    let payload = cbor::encode(domain.name(), document)?;
    Ok(Envelope::seal(domain, &payload, &[key])?)
}

pub(crate) fn open<T: DeserializeOwned>(
    domain: Domain,
    bytes: &[u8],
    root: &TrustRoot,
    limit: usize,
    now_ms: u64,
) -> Result<Verified<T>, DocumentError> {
    let payload = root.verify(Role::Assignment, domain, bytes, limit, now_ms)?;
    let document = cbor::decode(domain.name(), &payload, limit)?;
    Ok(Verified::new(document, &payload, bytes))
}

pub(crate) fn check_address(
    document: &'static str,
    written: (&FleetId, &DeviceId),
    own: (&FleetId, &DeviceId),
) -> Result<(), DocumentError> {
    if written == own {
        return Ok(());
    }
    let problem = format!(
        "it is for device {} of fleet {}, and this is {} of {}",
        written.1, written.0, own.1, own.0
    );
    Err(DocumentError::Content { document, problem })
}

fn check_expiry(document: &'static str, expires_ms: u64, now_ms: u64) -> Result<(), DocumentError> {
    if now_ms > expires_ms {
        return Err(DocumentError::Expired {
            document,
            expires_ms,
            now_ms,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_bundle::{RoleKeys, SecretKey};

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn root() -> TrustRoot {
        TrustRoot {
            fleet: "plant-a".parse().unwrap(),
            version: 1,
            expires_ms: 10_000,
            issued_ms: 0,
            critical: vec![],
            root: RoleKeys::any_of(vec![key(1).public()]),
            release: RoleKeys::any_of(vec![key(1).public()]),
            assignment: RoleKeys::any_of(vec![key(2).public()]),
        }
    }

    fn assignment() -> Assignment {
        Assignment {
            fleet: "plant-a".parse().unwrap(),
            device: "press-07".parse().unwrap(),
            seq: 1,
            job: "job-1".to_owned(),
            run: Some(Assigned {
                bundle: Digest::of(b"payload"),
                manifest: BlobRef::of(b"envelope"),
            }),
            mode: Mode::Run,
            parameters: Parameters::default(),
            issued_ms: 1000,
            expires_ms: 5000,
            critical: vec![],
        }
    }

    #[test]
    fn an_assignment_round_trips() {
        let device = "press-07".parse().unwrap();
        let opened = Assignment::open(&assignment().seal(&key(2)).unwrap(), &root(), &device, 5000).unwrap();
        assert_eq!(*opened, assignment());
    }

    #[test]
    fn an_assignment_is_refused_for_the_wrong_device_key_time_or_meaning() {
        let device: DeviceId = "press-07".parse().unwrap();
        let check = |assignment: Assignment, signer: u8, device: &DeviceId, now_ms: u64, part: &str| {
            let sealed = assignment.seal(&key(signer)).unwrap();
            let error = Assignment::open(&sealed, &root(), device, now_ms)
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{error}");
        };
        check(
            assignment(),
            2,
            &"press-08".parse().unwrap(),
            0,
            "for device press-07 of fleet plant-a, and this is",
        );
        check(assignment(), 1, &device, 0, "signed by 0 of the 1 keys");
        check(assignment(), 2, &device, 5001, "expired");
        check(
            assignment(),
            2,
            &device,
            10_001,
            "trust root 1 of fleet plant-a has expired",
        );
        check(
            Assignment {
                fleet: "plant-b".parse().unwrap(),
                ..assignment()
            },
            2,
            &device,
            0,
            "of fleet plant-b",
        );
        check(
            Assignment {
                critical: vec!["quota".to_owned()],
                ..assignment()
            },
            2,
            &device,
            0,
            "quota",
        );
    }

    #[test]
    fn a_command_is_no_assignment() {
        let command = Command {
            fleet: "plant-a".parse().unwrap(),
            device: "press-07".parse().unwrap(),
            id: 1,
            issued_ms: 0,
            expires_ms: 5000,
            action: Action::FetchLogs { lines: 10 },
            critical: vec![],
        };
        let sealed = command.seal(&key(2)).unwrap();
        let device = "press-07".parse().unwrap();
        assert_eq!(
            Command::open(&sealed, &root(), &device, 0).unwrap().into_inner(),
            command
        );
        assert!(Assignment::open(&sealed, &root(), &device, 0).is_err());
        assert!(Ack::open(&sealed, &root(), &device, 0).is_err());
    }

    #[test]
    fn an_ack_names_gaps_apart_from_records() {
        let device: DeviceId = "press-07".parse().unwrap();
        let range = |first, last| SeqRange { first, last };
        let mut ack = Ack {
            device: device.clone(),
            boot_id: 7,
            ranges: vec![],
            gaps: vec![range(1, 9)],
        };
        let opened = |ack: &Ack| Ack::open(&ack.seal(&key(2)).unwrap(), &root(), &device, 0).unwrap();
        assert_eq!(*opened(&ack), ack);
        // Without gaps it is what it was before there were any in it.
        ack.gaps.clear();
        let payload = cbor::encode("ack", &ack).unwrap();
        assert!(!payload.windows(4).any(|part| part == b"gaps"));
        assert_eq!(*opened(&ack), ack);
    }
}
