//! `floorhand-agent enroll`: a device gets its identity from its hub, with nothing but a token.
//!
//! Keys are made here and never leave. What comes back is believed for what it is signed with: the trust root is the one
//! that the device has, or whose digest stands in the token, and the certificate is in a document signed under that root or
//! one that followed it. TLS on the way keeps it from other eyes; it isn't what the device relies on.
//!
//! It can be broken off at any instruction and run again: what was made is kept and used again, and the hub answers the same
//! request with the same certificate.

mod ask;
mod folder;
mod roots;

use crate::args::{EnrollArgs, Place};
use crate::clock::system_ms;
use crate::exit::Exit;
use crate::identity;
use floorhand_bundle::{DeviceId, Digest, FleetId};
use floorhand_protocol::{EnrolmentRequest, EnrolmentToken, IssuedCertificate};
use folder::{Folder, Pending};
use roots::Known;
use serde_json::json;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;

/// A line.
const MAX_TOKEN_FILE: u64 = 4096;

/// Why there is no identity, with the exit code.
type Failed = (Exit, String);

/// Runs the command.
pub(crate) fn run(args: &EnrollArgs, place: &Place, json: bool) -> ExitCode {
    let enrolled = match enroll(args, place) {
        Ok(enrolled) => enrolled,
        Err((exit, problem)) if json => {
            tell(&json!({ "error": problem }).to_string());
            return exit.into();
        }
        Err((exit, problem)) => return exit.say(&problem),
    };
    tell(&if json { enrolled.json() } else { enrolled.text() });
    ExitCode::SUCCESS
}

fn tell(text: &str) {
    // Nobody is left to be told when the stream is closed.
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// A device that has its identity.
struct Enrolled {
    device: DeviceId,
    fleet: String,
    root: Digest,
    expires_ms: u64,
    /// The agent's configuration.
    belongs: std::path::PathBuf,
    /// The part of it that uses this identity.
    snippet: std::path::PathBuf,
    config: String,
}

impl Enrolled {
    fn json(&self) -> String {
        let (device, root) = (self.device.as_str(), self.root.to_string());
        let snippet = self.snippet.display().to_string();
        json!({ "device": device, "fleet": self.fleet, "root_digest": root, "expires_ms": self.expires_ms, "snippet": snippet })
            .to_string()
    }

    fn text(&self) -> String {
        format!(
            "{} is enrolled in fleet {} (trust root {}).\nThis belongs into {}, and is in {}:\n\n{}",
            self.device,
            self.fleet,
            self.root,
            self.belongs.display(),
            self.snippet.display(),
            self.config.trim_end()
        )
    }
}

fn enroll(args: &EnrollArgs, place: &Place) -> Result<Enrolled, Failed> {
    let token = token(args)?;
    let device = device(args, &token)?;
    let out = args.out.clone().unwrap_or_else(|| place.identity());
    let folder = Folder::open(&out).map_err(own)?;
    let root = folder.root().map_err(own)?;
    let key = folder.device_key().map_err(own)?;
    let pending = match folder.pending(&device, &token).map_err(own)? {
        Some(pending) => pending,
        None => {
            let fleet = root.as_ref().map(|root| root.fleet.clone());
            let pending = new_request(args, (&device, fleet), &token, &key)?;
            folder.keep(&pending).map_err(own)?;
            pending
        }
    };
    let answer = ask::ask(args, &token, &pending.request)?;
    let known = roots::follow(&answer.roots, root, token.root, folder.path()).map_err(refused)?;
    let issued = open_certificate(&answer, &known, &device, &pending)?;
    let root = known.pinned;
    let ca = issued.chain.last().map(|ca| ca.to_vec()).unwrap_or_default();
    let says = identity::check(&pending.key, &issued.chain, (&device, &ca), system_ms())
        .map_err(|problem| (Exit::Refused, format!("the certificate that the hub gave: {problem}")))?;
    let (snippet, config) = folder.finish(args, place, &root, &pending, &issued).map_err(own)?;
    Ok(Enrolled {
        fleet: root.fleet.to_string(),
        root: root.digest(),
        device,
        expires_ms: says.not_after_ms,
        belongs: place.config.clone(),
        snippet,
        config,
    })
}

/// Something on this machine.
fn own(problem: String) -> Failed {
    (Exit::Failure, problem)
}

fn refused(problem: impl std::fmt::Display) -> Failed {
    (Exit::Refused, problem.to_string())
}

fn token(args: &EnrollArgs) -> Result<EnrolmentToken, Failed> {
    let text = match (&args.token, &args.token_file) {
        (_, Some(path)) => {
            let mut text = String::new();
            let read = File::open(path).and_then(|file| file.take(MAX_TOKEN_FILE).read_to_string(&mut text));
            read.map_err(|error| own(format!("{}: {error}", path.display())))?;
            text
        }
        (Some(token), None) => token.clone(),
        (None, None) => String::new(),
    };
    text.trim().parse().map_err(|error| own(format!("{error}")))
}

/// The name that the token has, or, where it is for several, the one that was given.
fn device(args: &EnrollArgs, token: &EnrolmentToken) -> Result<DeviceId, Failed> {
    match (&token.device, &args.device) {
        (Some(meant), Some(given)) if meant != given => Err(own(format!(
            "the token is for {meant}, and --device says {given}; ask for a token for {given}"
        ))),
        (Some(device), _) | (None, Some(device)) => Ok(device.clone()),
        (None, None) => Err(own(
            "the token is for several devices: say which this is with --device".to_owned()
        )),
    }
}

fn new_request(
    args: &EnrollArgs,
    (device, fleet): (&DeviceId, Option<FleetId>),
    token: &EnrolmentToken,
    key: &floorhand_bundle::SecretKey,
) -> Result<Pending, Failed> {
    let requested = identity::request(device).map_err(own)?;
    let request = EnrolmentRequest {
        device: device.clone(),
        hardware: args.hardware.clone(),
        public_key: key.public(),
        csr: requested.csr.clone().into(),
        fleet,
        critical: Vec::new(),
    };
    let sealed = request.seal(key, &token.secret);
    Ok(Pending {
        key: requested.key,
        csr: Digest::of(&requested.csr),
        request: sealed.map_err(|error| own(error.to_string()))?,
    })
}

/// Opens the certificate's document, which is signed under the newest root. The device pins its own, and is led on from there
/// when it says hello.
fn open_certificate(
    answer: &ask::Answer,
    roots: &Known,
    device: &DeviceId,
    pending: &Pending,
) -> Result<IssuedCertificate, Failed> {
    let asked = (device, pending.csr);
    let issued = IssuedCertificate::open(&answer.certificate, roots.chain.newest(), asked, system_ms());
    Ok(issued.map_err(refused)?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_bundle::{RoleKeys, SecretKey, TrustRoot};
    use std::path::Path;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    /// A root under root key 1 whose assignments this key signs.
    fn root(version: u64, assignment: u8) -> Vec<u8> {
        let root = TrustRoot {
            fleet: "plant-a".parse().unwrap(),
            version,
            expires_ms: u64::MAX,
            issued_ms: 0,
            critical: vec![],
            root: RoleKeys::any_of(vec![key(1).public()]),
            release: RoleKeys::any_of(vec![key(1).public()]),
            assignment: RoleKeys::any_of(vec![key(assignment).public()]),
        };
        root.seal(&[&key(1)]).unwrap()
    }

    fn answer(later: Vec<Vec<u8>>, signer: u8) -> ask::Answer {
        let issued = IssuedCertificate {
            fleet: "plant-a".parse().unwrap(),
            device: "press-1".parse().unwrap(),
            csr: Digest::of(b"csr"),
            chain: vec![],
            broker: None,
            broker_ca: vec![],
            issued_ms: 1,
            critical: vec![],
        };
        ask::Answer {
            roots: [vec![root(1, 2)], later].concat(),
            certificate: issued.seal(&key(signer)).unwrap(),
        }
    }

    #[test]
    fn a_certificate_counts_under_the_newest_root_that_follows_the_tokens() {
        let token = TrustRoot::open_pinned(&root(1, 2)).unwrap().digest();
        let pending = Pending {
            key: String::new(),
            csr: Digest::of(b"csr"),
            request: vec![],
        };
        let open = |answer: ask::Answer| {
            let known = roots::follow(&answer.roots, None, token, Path::new("/identity")).map_err(|_| Exit::Refused)?;
            let opened = open_certificate(&answer, &known, &"press-1".parse().unwrap(), &pending);
            opened.map(|_| known.pinned.version).map_err(|(exit, _)| exit)
        };
        let refused = Err(Exit::Refused);
        assert_eq!(open(answer(vec![], 2)), Ok(1));
        assert_eq!(open(answer(vec![root(2, 3)], 3)), Ok(1), "the token's root is pinned");
        assert_eq!(open(answer(vec![], 3)), refused, "no root says so");
        assert_eq!(open(answer(vec![root(2, 3)], 2)), refused, "the key was replaced");
        assert_eq!(open(answer(vec![root(3, 3)], 3)), refused, "a root is missing");
    }
}
