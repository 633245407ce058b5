//! A device's TLS identity: its key, made here, and the certificate for it, in one file that is replaced as a whole.
//!
//! Key and certificate lie in one PEM file because two files can't be replaced at once: after a power cut between them the
//! key would be another certificate's.

use crate::doctor::certificate::{self, Certificate};
use floorhand_bundle::DeviceId;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Nobody but the agent's own user.
pub(crate) const SECRET: u32 = 0o600;
/// Everybody who gets into the folder.
pub(crate) const PUBLIC: u32 = 0o644;
/// Certificates of a chain that are looked at.
const MAX_CHAIN: usize = 4;

/// A TLS key and the request for its certificate.
pub(crate) struct Requested {
    /// PKCS #8, PEM.
    pub(crate) key: String,
    /// PKCS #10, DER.
    pub(crate) csr: Vec<u8>,
}

/// Makes a key and the request for its certificate.
pub(crate) fn request(device: &DeviceId) -> Result<Requested, String> {
    let failed = |error: rcgen::Error| format!("make a TLS key: {error}");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, device.as_str());
    let key = KeyPair::generate().map_err(failed)?;
    let csr = params.serialize_request(&key).map_err(failed)?;
    Ok(Requested {
        key: key.serialize_pem(),
        csr: csr.der().to_vec(),
    })
}

/// Checks a certificate before it is used: it is for this key and this device, and leads to this CA. Returns what it says.
pub(crate) fn check(
    key: &str,
    chain: &[impl AsRef<[u8]>],
    (device, ca): (&DeviceId, &[u8]),
    now_ms: u64,
) -> Result<Certificate, String> {
    let told = |error: &dyn Display| error.to_string();
    if chain.len() > MAX_CHAIN {
        return Err(format!("it has more than {MAX_CHAIN} certificates"));
    }
    let chain: Vec<CertificateDer<'static>> = chain.iter().map(|der| der.as_ref().to_vec().into()).collect();
    let (leaf, above) = chain.split_first().ok_or("there is no certificate in it")?;
    let says = certificate::walk(leaf).ok_or("it can't be read")?;
    if says.common_name.as_deref() != Some(device.as_str()) {
        let name = says.common_name.unwrap_or_default();
        return Err(format!("it is for {name:?}, and this is {device}"));
    }
    let mut roots = RootCertStore::empty();
    roots.add(ca.to_vec().into()).map_err(|error| told(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| told(&error))?;
    let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
    verifier
        .verify_client_cert(leaf, above, now)
        .map_err(|error| format!("it doesn't lead to the fleet's CA, or isn't valid now by this clock: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| told(&error))?;
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| told(&error))?
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(chain.clone(), key)
        .map_err(|error| format!("it is for another key: {error}"))?;
    Ok(says)
}

/// The file's text: the key, the certificate, and those above it.
pub(crate) fn assemble(key: &str, chain: &[impl AsRef<[u8]>]) -> String {
    let certificates: Vec<String> = chain.iter().map(|der| pem(der.as_ref())).collect();
    format!("{}\n{}", key.trim_end(), certificates.concat())
}

/// A `CERTIFICATE` block.
pub(crate) fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    // base64 is ASCII, so that its bytes are its characters.
    let lines: Vec<String> = body
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

/// The CA that a file's certificate leads to: the last in it, where there is one above the first.
pub(crate) fn ca_of(path: &Path) -> Result<Vec<u8>, String> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    match all.as_slice() {
        [_, .., ca] => Ok(ca.to_vec()),
        _ => Err(format!(
            "{} has no certificate of the CA in it, by which a renewed one could be known; enroll again",
            path.display()
        )),
    }
}

/// Puts a file in the place of what may be there, so that after a power cut one of the two is there, whole. It belongs to
/// whoever the folder belongs to: the agent, though root may be at work here.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    let write = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:016x}.tmp", crate::random::u64()));
        let staged = folder.join(name);
        let written = stage(&staged, bytes, mode, folder).and_then(|()| fs::rename(&staged, path));
        written.inspect_err(|_| drop(fs::remove_file(&staged)))?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error: io::Error| format!("{} can't be written: {error}", path.display()))
}

fn stage(path: &Path, bytes: &[u8], mode: u32, folder: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    let owner = fs::metadata(folder)?;
    if owner.uid() != file.metadata()?.uid() {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_testkit::Pki;
    use std::os::unix::fs::PermissionsExt as _;

    fn ders(path: &Path) -> Vec<Vec<u8>> {
        let all = CertificateDer::pem_file_iter(path).unwrap();
        all.map(|one| one.unwrap().to_vec()).collect()
    }

    #[test]
    fn a_certificate_is_used_only_when_it_fits() {
        let (ours, theirs) = (Pki::new().unwrap(), Pki::new().unwrap());
        let device: DeviceId = "press-01".parse().unwrap();
        let identity = ours.issue("press-01").unwrap();
        let key = fs::read_to_string(&identity.key).unwrap();
        let chain = ders(&identity.cert);
        let (ca, other_ca) = (ders(&ours.ca()).remove(0), ders(&theirs.ca()).remove(0));
        let now_ms = 1_800_000_000_000;
        let says = check(&key, &chain, (&device, &ca), now_ms).unwrap();
        assert_eq!(says.common_name.as_deref(), Some("press-01"));
        let other_key = fs::read_to_string(theirs.issue("press-01").unwrap().key).unwrap();
        let other_device = "press-02".parse().unwrap();
        for (found, part) in [
            (check(&other_key, &chain, (&device, &ca), now_ms), "for another key"),
            (
                check(&key, &chain, (&device, &other_ca), now_ms),
                "doesn't lead to the fleet's CA",
            ),
            (
                check(&key, &chain, (&other_device, &ca), now_ms),
                "it is for \"press-01\"",
            ),
            (check(&key, &chain, (&device, &ca), 0), "isn't valid now"),
            (check(&key, &[[0_u8; 3]], (&device, &ca), now_ms), "can't be read"),
            (check(&key, &chain[..0], (&device, &ca), now_ms), "no certificate"),
        ] {
            let problem = found.unwrap_err();
            assert!(problem.contains(part), "{problem}, not {part}");
        }
    }

    #[test]
    fn what_is_written_can_be_read_by_tls_and_by_nobody_else() {
        let pki = Pki::new().unwrap();
        let identity = pki.issue("press-01").unwrap();
        let mut chain = ders(&identity.cert);
        chain.extend(ders(&pki.ca()));
        let path = pki.dir().join("identity.pem");
        let text = assemble(&fs::read_to_string(&identity.key).unwrap(), &chain);
        for _ in 0..2 {
            replace(&path, text.as_bytes(), SECRET).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SECRET);
        assert_eq!(ders(&path), chain);
        assert_eq!(ca_of(&path).unwrap(), chain[1]);
        assert!(ca_of(&identity.cert).unwrap_err().contains("enroll again"));
        assert!(PrivateKeyDer::from_pem_file(&path).is_ok());
        let left = fs::read_dir(pki.dir()).unwrap().flatten();
        assert!(
            left.map(|entry| entry.file_name())
                .all(|name| !name.to_string_lossy().ends_with(".tmp"))
        );
    }
}
