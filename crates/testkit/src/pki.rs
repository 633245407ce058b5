//! A throw-away certificate authority: one CA, and certificates for servers and devices as PEM files in a folder that
//! goes away with it. For tests alone: keys lie on disk unencrypted and last as long as the test.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};

/// A throw-away certificate authority.
#[derive(Debug)]
pub struct Pki {
    dir: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// The files of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, PEM.
    pub cert: PathBuf,
    /// Its private key, PKCS #8 PEM.
    pub key: PathBuf,
}

impl Pki {
    /// Makes the CA and its folder.
    ///
    /// # Errors
    /// When a key can't be made or a file can't be written.
    pub fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "floorhand test CA");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let dir = tempfile::Builder::new()
            .prefix("floorhand-pki-")
            .tempdir()
            .context("making a folder for keys")?;
        std::fs::write(dir.path().join("ca.pem"), issuer.pem())?;
        Ok(Self { dir, issuer })
    }

    /// The CA's certificate, PEM.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The folder with every file of this PKI.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A certificate for `common_name`, good for a server on `localhost` and `127.0.0.1` and for a client alike.
    ///
    /// # Errors
    /// When a key can't be made or a file can't be written.
    pub fn issue(&self, common_name: &str) -> anyhow::Result<Identity> {
        self.issue_in(common_name, common_name, |_| {})
    }

    /// One whose name can't be a file's, such as `+`: `file` is what its files are called.
    ///
    /// # Errors
    /// When a key can't be made or a file can't be written.
    pub fn issue_odd(&self, file: &str, common_name: &str) -> anyhow::Result<Identity> {
        self.issue_in(file, common_name, |_| {})
    }

    /// One that ended in the year 2020.
    ///
    /// # Errors
    /// When a key can't be made or a file can't be written.
    pub fn issue_expired(&self, common_name: &str) -> anyhow::Result<Identity> {
        self.issue_in(&format!("{common_name}-expired"), common_name, |params| {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        })
    }

    /// One with a serial number by which [`Pki::revocation_list`] can name it.
    ///
    /// # Errors
    /// When a key can't be made or a file can't be written.
    pub fn issue_numbered(&self, common_name: &str, serial: u8) -> anyhow::Result<Identity> {
        self.issue_in(&format!("{common_name}-{serial}"), common_name, |params| {
            params.serial_number = Some(SerialNumber::from(vec![serial]));
        })
    }

    /// A list of revoked certificates (PEM) with these serial numbers, good for a century.
    ///
    /// # Errors
    /// When it can't be made or written.
    pub fn revocation_list(&self, serials: &[u8]) -> anyhow::Result<PathBuf> {
        let revoked = |serial: &u8| RevokedCertParams {
            serial_number: SerialNumber::from(vec![*serial]),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(2120, 1, 1),
            crl_number: SerialNumber::from(vec![1]),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.dir.path().join("crl.pem");
        std::fs::write(&path, list.signed_by(&self.issuer)?.pem()?)?;
        Ok(path)
    }

    fn issue_in(
        &self,
        file: &str,
        common_name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> anyhow::Result<Identity> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        let identity = Identity {
            cert: self.dir.path().join(format!("{file}.pem")),
            key: self.dir.path().join(format!("{file}.key")),
        };
        std::fs::write(&identity.cert, cert.pem())?;
        std::fs::write(&identity.key, key.serialize_pem())?;
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issues_files_that_go_away() {
        let pki = Pki::new().unwrap();
        let device = pki.issue("press-01").unwrap();
        assert!(
            std::fs::read_to_string(&device.cert)
                .unwrap()
                .contains("BEGIN CERTIFICATE")
        );
        assert!(std::fs::read_to_string(&device.key).unwrap().contains("PRIVATE KEY"));
        let dir = pki.dir().to_owned();
        drop(pki);
        assert!(!dir.exists());
    }
}
