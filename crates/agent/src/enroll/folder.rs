//! The folder with a device's identity, and what lies in it while the device enrols.

use crate::args::{EnrollArgs, Place};
use crate::identity::{self, PUBLIC, SECRET};
use floorhand_bundle::{DeviceId, Digest, MAX_ROOT_BYTES, SecretKey, TrustRoot, Verified};
use floorhand_protocol::{EnrolmentRequest, EnrolmentToken, IssuedCertificate, MAX_ENROLMENT_BYTES};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Longer than a key.
const MAX_KEY_BYTES: u64 = 16 * 1024;
const ROOT: &str = "root.cose";
const DEVICE_KEY: &str = "device.key";
const IDENTITY: &str = "identity.pem";
const BROKER_CA: &str = "ca.pem";
const SNIPPET: &str = "agent.toml";
const PENDING_KEY: &str = "pending.key";
const PENDING_REQUEST: &str = "pending.cose";

/// The folder.
pub(super) struct Folder {
    path: PathBuf,
}

/// A request that was made and isn't answered yet.
pub(super) struct Pending {
    /// The TLS key, PEM.
    pub(super) key: String,
    /// The digest of its certificate request.
    pub(super) csr: Digest,
    /// The signed request.
    pub(super) request: Vec<u8>,
}

impl Folder {
    /// Makes the folder where there is none. It belongs to whoever the one above it belongs to: the agent, though root may be
    /// at work here.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let told = |error: io::Error| format!("{}: {error}", path.display());
        let made = match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(path)
                    .map_err(told)?;
                true
            }
            Err(error) => return Err(told(error)),
        };
        let above = path.parent().and_then(|above| fs::metadata(above).ok());
        if let Some(above) = above.filter(|above| made && above.uid() != rustix::process::getuid().as_raw()) {
            std::os::unix::fs::chown(path, Some(above.uid()), Some(above.gid())).map_err(told)?;
        }
        // Configurations name absolute paths.
        let path = fs::canonicalize(path).map_err(told)?;
        Ok(Self { path })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The trust root that this device has already.
    pub(super) fn root(&self) -> Result<Option<Verified<TrustRoot>>, String> {
        let Some(bytes) = self.read(ROOT, MAX_ROOT_BYTES as u64)? else {
            return Ok(None);
        };
        let root = TrustRoot::open_pinned(&bytes);
        root.map(Some)
            .map_err(|error| format!("{}: {error}", self.path.join(ROOT).display()))
    }

    /// The key that this device signs with; made where there is none.
    pub(super) fn device_key(&self) -> Result<SecretKey, String> {
        if let Some(pem) = self.read(DEVICE_KEY, MAX_KEY_BYTES)? {
            let key = SecretKey::from_pem(&String::from_utf8_lossy(&pem));
            return key.map_err(|error| format!("{}: {error}", self.path.join(DEVICE_KEY).display()));
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| format!("the system gives no randomness for a key: {error}"))?;
        let key = SecretKey::from_seed(&seed);
        let pem = key.to_pem().map_err(|error| error.to_string())?;
        self.write(DEVICE_KEY, pem.as_bytes(), SECRET)?;
        Ok(key)
    }

    /// A request for this device by this very token that was broken off.
    pub(super) fn pending(&self, device: &DeviceId, token: &EnrolmentToken) -> Result<Option<Pending>, String> {
        let request = self.read(PENDING_REQUEST, MAX_ENROLMENT_BYTES as u64)?;
        let key = self.read(PENDING_KEY, MAX_KEY_BYTES)?;
        let (Some(request), Some(key)) = (request, key) else {
            return Ok(None);
        };
        // One that can't be opened with this token is another token's, or damaged; either way a new one is made.
        let opened = EnrolmentRequest::open(&request, &token.secret.public()).ok();
        let opened = opened.filter(|opened| opened.device == *device);
        Ok(opened.map(|opened| Pending {
            key: String::from_utf8_lossy(&key).into_owned(),
            csr: Digest::of(&opened.csr),
            request,
        }))
    }

    /// Keeps a request, so that it can be sent again. The key first: without it the request is worth nothing.
    pub(super) fn keep(&self, pending: &Pending) -> Result<(), String> {
        self.forget(PENDING_REQUEST)?;
        self.write(PENDING_KEY, pending.key.as_bytes(), SECRET)?;
        self.write(PENDING_REQUEST, &pending.request, SECRET)
    }

    /// Writes what came. The request goes last: until then the command can be run again.
    pub(super) fn finish(
        &self,
        args: &EnrollArgs,
        place: &Place,
        root: &Verified<TrustRoot>,
        pending: &Pending,
        issued: &IssuedCertificate,
    ) -> Result<(PathBuf, String), String> {
        let ca: Vec<&[u8]> = match issued.broker_ca.as_slice() {
            [] => issued.chain.last().map(AsRef::as_ref).into_iter().collect(),
            others => others.iter().map(AsRef::as_ref).collect(),
        };
        let ca: String = ca.into_iter().map(identity::pem).collect();
        self.write(ROOT, root.envelope(), PUBLIC)?;
        self.write(BROKER_CA, ca.as_bytes(), PUBLIC)?;
        let text = identity::assemble(&pending.key, &issued.chain);
        self.write(IDENTITY, text.as_bytes(), SECRET)?;
        let config = self.config(args, place, root, issued);
        self.write(SNIPPET, config.as_bytes(), PUBLIC)?;
        self.forget(PENDING_REQUEST)?;
        self.forget(PENDING_KEY)?;
        Ok((self.path.join(SNIPPET), config))
    }

    /// The part of the configuration that uses these files.
    fn config(&self, args: &EnrollArgs, place: &Place, root: &TrustRoot, issued: &IssuedCertificate) -> String {
        let text = |path: &Path| toml::Value::from(path.display().to_string()).to_string();
        let path = |name: &str| text(&self.path.join(name));
        let state_dir = place.state_dir.as_deref();
        let state_dir = state_dir.map_or_else(String::new, |dir| format!("state_dir = {}\n", text(dir)));
        let broker = match &issued.broker {
            Some(url) => format!("broker = {}", toml::Value::from(url.as_str())),
            None => "#broker = \"mqtts://HOST:8883\" (the hub didn't say)".to_owned(),
        };
        format!(
            "device = \"{}\"\nfleet = \"{}\"\nhardware = \"{}\"\n{state_dir}trust_root = {}\ndevice_key = {}\n\n[fleet_connection]\n\
             {broker}\nca = {}\ncert = {identity}\nkey = {identity}\nrenew = true\n",
            issued.device,
            root.fleet,
            args.hardware,
            path(ROOT),
            path(DEVICE_KEY),
            path(BROKER_CA),
            identity = path(IDENTITY),
        )
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), String> {
        identity::replace(&self.path.join(name), bytes, mode)
    }

    fn forget(&self, name: &str) -> Result<(), String> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
            _ => Ok(()),
        }
    }

    /// A file's bytes; `None` where there is none.
    fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
        let path = self.path.join(name);
        let mut bytes = Vec::new();
        // One more than the most, to tell a file that is longer.
        match File::open(&path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes)) {
            Ok(_) if bytes.len() as u64 > most => Err(format!("{} is longer than {most} bytes", path.display())),
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{} can't be read: {error}", path.display())),
        }
    }
}
