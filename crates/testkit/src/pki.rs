//! A throw-away certificate authority: one CA, and certificates for servers and devices as PEM files in a folder that
//! goes away with it. For tests alone: keys lie on disk unencrypted and last as long as the test.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
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
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        let identity = Identity {
            cert: self.dir.path().join(format!("{common_name}.pem")),
            key: self.dir.path().join(format!("{common_name}.key")),
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
