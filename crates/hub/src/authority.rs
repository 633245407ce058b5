//! The fleet's certificate authority: makes it, and signs with it.
//!
//! A certificate says who a connection is to the broker, by its common name, and the broker's access list puts that name
//! into topics. So a name is never taken from a request: it comes as a [`DeviceId`] or a [`StaffName`], neither of which
//! can hold a wildcard or a slash. Of a request nothing is used but its public key.

use floorhand_bundle::DeviceId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, DnValue, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, UnixTime};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use x509_parser::time::ASN1Time;

/// A request for a certificate is a name, a key and a signature.
const MAX_CSR_BYTES: usize = 4 * 1024;
/// A certificate is valid from this long before it was made: clocks of a plant are not the same.
const BACKDATED_MS: u64 = 3_600_000;
/// Certificates of a chain, the CA's own with it.
const MAX_CHAIN: usize = 4;
/// Bytes of a serial number (RFC 5280 takes up to 20).
const SERIAL_BYTES: usize = 16;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The CA's certificate can't be used.
    #[error("the CA's certificate can't be used: {0}")]
    Certificate(String),
    /// The CA's key can't be used.
    #[error("the CA's key can't be used (PKCS #8, PEM): {0}")]
    Key(String),
    /// The request isn't one, or its signature doesn't hold.
    #[error("certificate request: {0}")]
    Request(String),
    /// The request is in another name.
    #[error("certificate request: its subject has to be the common name {expected} and nothing else")]
    Subject {
        /// The device that asks.
        expected: DeviceId,
    },
    /// The CA's certificate, or one above it, has ended.
    #[error(
        "the CA's certificate has ended: make a CA that is valid longer, give the hub its files, and let all devices enrol again"
    )]
    Ended,
    /// Its key is of a kind that isn't taken.
    #[error("certificate request: its key has to be P-256, P-384 or Ed25519")]
    KeyKind,
    /// A certificate couldn't be made.
    #[error("make a certificate: {0}")]
    Make(String),
}

/// A name of somebody who is no device: a broker, a hub, a person who watches.
///
/// It may have dots, which device ids can't have: a name with one is never a device's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaffName(String);

impl StaffName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a device could have the same name.
    #[must_use]
    pub fn could_be_a_device(&self) -> bool {
        self.0.parse::<DeviceId>().is_ok()
    }
}

impl fmt::Display for StaffName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for StaffName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "{text:?} is no name for a certificate: expected 1 to 64 of A-Z a-z 0-9 _ - . (a broker puts it into topics)"
        ))
    }
}

/// A certificate and its key, as files have them.
pub struct PemPair {
    /// `CERTIFICATE` blocks.
    pub certificate: String,
    /// A `PRIVATE KEY` block (PKCS #8).
    pub key: String,
}

/// A certificate that was made for a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The device's certificate, then the CA's (DER).
    pub chain: Vec<Vec<u8>>,
    /// Its serial number.
    pub serial: Vec<u8>,
    /// Until when it is valid, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
}

/// A certificate authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    chain: Vec<CertificateDer<'static>>,
    /// When the first certificate of `chain` ends. Nothing that is signed is good for longer, so nothing is signed for longer.
    ends_ms: u64,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({} certificates)", self.chain.len())
    }
}

impl Authority {
    /// Makes a new CA, valid for this long.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn create(name: &StaffName, now_ms: u64, life_ms: u64) -> Result<PemPair, AuthorityError> {
        let mut params = dated(now_ms, life_ms)?;
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(make)?;
        let certificate = params.self_signed(&key).map_err(make)?;
        Ok(PemPair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Opens a CA: its certificate, perhaps with those above it, and its key. It is tried out.
    ///
    /// # Errors
    /// When one of the two can't be used, or they don't belong together, or the certificate is no CA's or has expired.
    pub fn open(certificates: &[u8], key: &str, now_ms: u64) -> Result<Self, AuthorityError> {
        let refused = |problem: &dyn fmt::Display| AuthorityError::Certificate(problem.to_string());
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<_, _>>()
            .map_err(|error| refused(&error))?;
        let first = chain.first().filter(|_| chain.len() < MAX_CHAIN);
        let first = first.ok_or_else(|| refused(&format!("expected 1 to {} of them, PEM", MAX_CHAIN - 1)))?;
        let mut ends_ms = u64::MAX;
        for certificate in &chain {
            ends_ms = ends_ms.min(check_ca(certificate, now_ms).map_err(|problem| refused(&problem))?);
        }
        let key = KeyPair::from_pem(key).map_err(|error| AuthorityError::Key(error.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(first, key).map_err(|error| refused(&error))?;
        let authority = Self { issuer, chain, ends_ms };
        authority.try_out(now_ms).map_err(|problem| refused(&problem))?;
        Ok(authority)
    }

    /// The certificate of the CA at the top, by which all others are checked (DER).
    #[must_use]
    pub fn top(&self) -> &[u8] {
        self.chain.last().map_or(&[], |top| top.as_ref())
    }

    /// When the CA's certificate ends, or the first of those above it, in milliseconds since 1970 UTC.
    #[must_use]
    pub fn ends_ms(&self) -> u64 {
        self.ends_ms
    }

    /// Makes a device's certificate for the key of its request. Nothing else of the request is used. It ends after `life_ms`,
    /// or with the CA's.
    ///
    /// # Errors
    /// When the request's signature doesn't hold, its subject isn't the device alone, its key is of another kind, or the CA's
    /// certificate has ended.
    pub fn issue(&self, device: &DeviceId, csr: &[u8], now_ms: u64, life_ms: u64) -> Result<Issued, AuthorityError> {
        let request = read_request(csr)?;
        let names: Vec<(&DnType, &DnValue)> = request.params.distinguished_name.iter().collect();
        let is_device = |value: &DnValue| text(value).is_some_and(|text| text == device.as_str());
        if !matches!(names.as_slice(), [(DnType::CommonName, value)] if is_device(value)) {
            return Err(AuthorityError::Subject {
                expected: device.clone(),
            });
        }
        let life_ms = self.life_ms(now_ms, life_ms)?;
        let params = client(device.as_str(), now_ms, life_ms)?;
        self.sign(params, &request.public_key, now_ms.saturating_add(life_ms))
    }

    /// How long what is signed now may be valid, of what is wished.
    fn life_ms(&self, now_ms: u64, wished_ms: u64) -> Result<u64, AuthorityError> {
        match self.ends_ms.saturating_sub(now_ms) {
            0 => Err(AuthorityError::Ended),
            left_ms => Ok(wished_ms.min(left_ms)),
        }
    }

    /// Makes a certificate and its key for somebody who is no device. With host names it is good for a server, too. It ends
    /// after `life_ms`, or with the CA's.
    ///
    /// # Errors
    /// When a host name can't stand in a certificate, or the CA's certificate has ended.
    pub fn issue_staff(
        &self,
        name: &StaffName,
        hosts: &[String],
        now_ms: u64,
        life_ms: u64,
    ) -> Result<PemPair, AuthorityError> {
        let mut params = client(name.as_str(), now_ms, self.life_ms(now_ms, life_ms)?)?;
        if !hosts.is_empty() {
            params.subject_alt_names = CertificateParams::new(hosts).map_err(make)?.subject_alt_names;
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let key = KeyPair::generate().map_err(make)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(make)?;
        Ok(PemPair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        expires_ms: u64,
    ) -> Result<Issued, AuthorityError> {
        let mut serial = [0; SERIAL_BYTES];
        getrandom::fill(&mut serial).map_err(|error| AuthorityError::Make(error.to_string()))?;
        // A serial number is positive, and its first byte not 0.
        serial[0] = serial[0] & 0x7f | 0x40;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let certificate = params.signed_by(key, &self.issuer).map_err(make)?;
        let mut chain = vec![certificate.der().to_vec()];
        chain.extend(self.chain.iter().map(|above| above.to_vec()));
        Ok(Issued {
            chain,
            serial: serial.to_vec(),
            // Certificates know seconds.
            expires_ms: expires_ms / 1000 * 1000,
        })
    }

    /// Makes a certificate as for a device and checks it as a broker would.
    fn try_out(&self, now_ms: u64) -> Result<(), String> {
        let told = |error: &dyn fmt::Display| error.to_string();
        let key = KeyPair::generate().map_err(|error| told(&error))?;
        let params = client("try-out", now_ms, BACKDATED_MS).map_err(|error| told(&error))?;
        let issued = self.sign(params, &key, now_ms).map_err(|error| told(&error))?;
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(self.top().to_vec()))
            .map_err(|error| told(&error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| told(&error))?;
        let chain: Vec<CertificateDer<'_>> = issued.chain.iter().map(|der| der.as_slice().into()).collect();
        let (leaf, above) = chain.split_first().ok_or("it signs nothing")?;
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
        verifier
            .verify_client_cert(leaf, above, now)
            .map(drop)
            .map_err(|error| {
                format!("what it signs isn't accepted ({error}): is it a CA's, still valid, and is the key its own?")
            })
    }
}

/// Refuses what checks nothing of the certificate that it starts from would take: one that is no CA's, or has ended. When it
/// ends, in milliseconds since 1970 UTC.
fn check_ca(certificate: &[u8], now_ms: u64) -> Result<u64, String> {
    let (_, read) = x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    let now = i64::try_from(now_ms / 1000)
        .ok()
        .and_then(|now| ASN1Time::from_timestamp(now).ok());
    if !now.is_some_and(|now| read.validity().is_valid_at(now)) {
        return Err(format!(
            "{} isn't valid now: {} to {}",
            read.subject(),
            read.validity().not_before,
            read.validity().not_after
        ));
    }
    if read.is_ca() {
        let ends_s = read.validity().not_after.timestamp();
        return Ok(u64::try_from(ends_s).unwrap_or(0).saturating_mul(1000));
    }
    Err(format!("{} is no CA's", read.subject()))
}

/// What a CA signs for others: who connects, and from when to when.
fn client(name: &str, now_ms: u64, life_ms: u64) -> Result<CertificateParams, AuthorityError> {
    let mut params = dated(now_ms, life_ms)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Without a name, valid from a little before now until `life_ms` after it.
fn dated(now_ms: u64, life_ms: u64) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // A tenth of a short life: its thirds, by which it is renewed, stay what they are.
    let before_ms = now_ms.saturating_sub(BACKDATED_MS.min(life_ms / 10));
    let after_ms = now_ms
        .checked_add(life_ms)
        // Past the year 9999 a certificate can't say when it ends.
        .filter(|after_ms| *after_ms < 253_370_764_800_000)
        .ok_or_else(|| AuthorityError::Make("it would end after the year 9998".to_owned()))?;
    let at = |ms: u64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(ms / 1000);
    (params.not_before, params.not_after) = (at(before_ms), at(after_ms));
    Ok(params)
}

/// Reads a request, and checks that who made it has the key.
fn read_request(csr: &[u8]) -> Result<CertificateSigningRequestParams, AuthorityError> {
    if csr.len() > MAX_CSR_BYTES {
        let problem = format!("it is longer than {MAX_CSR_BYTES} bytes");
        return Err(AuthorityError::Request(problem));
    }
    let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr))
        .map_err(|error| AuthorityError::Request(error.to_string()))?;
    let key = &request.public_key;
    // The length too: the kind is read from the signature, and a key of another kind would make a broken certificate.
    let fits = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, 65),
        (&rcgen::PKCS_ECDSA_P384_SHA384, 97),
        (&rcgen::PKCS_ED25519, 32),
    ]
    .into_iter()
    .any(|(kind, length)| key.algorithm() == kind && key.der_bytes().len() == length);
    if fits {
        Ok(request)
    } else {
        Err(AuthorityError::KeyKind)
    }
}

fn text(value: &DnValue) -> Option<&str> {
    match value {
        DnValue::Utf8String(text) => Some(text),
        DnValue::PrintableString(text) => Some(text.as_str()),
        _ => None,
    }
}

fn make(error: rcgen::Error) -> AuthorityError {
    AuthorityError::Make(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::NOW_MS;

    const DAY_MS: u64 = 24 * 3600 * 1000;

    fn authority() -> Authority {
        let pair = Authority::create(&"plant-a.ca".parse().unwrap(), NOW_MS, 10 * DAY_MS).unwrap();
        Authority::open(pair.certificate.as_bytes(), &pair.key, NOW_MS).unwrap()
    }

    /// A request that asks for more than it gets.
    fn request(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["broker.plant-a".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, name) in names {
            params.distinguished_name.push(kind.clone(), *name);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params
            .serialize_request(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .to_vec()
    }

    #[test]
    fn of_a_request_the_key_is_used_and_nothing_else() {
        let device: DeviceId = "press-07".parse().unwrap();
        let csr = request(&[(DnType::CommonName, "press-07")]);
        let issued = authority().issue(&device, &csr, NOW_MS, DAY_MS).unwrap();
        assert_eq!((issued.chain.len(), issued.serial.len()), (2, 16));
        assert_eq!(issued.expires_ms, NOW_MS + DAY_MS);
        let leaf = &issued.chain[0];
        let has = |bytes: &[u8]| leaf.windows(bytes.len()).any(|window| window == bytes);
        assert!(has(b"press-07"));
        assert!(!has(b"broker.plant-a"), "a host name that was asked for");
        // id-kp-clientAuth is there, id-kp-serverAuth is not.
        assert!(has(&[0x2b, 6, 1, 5, 5, 7, 3, 2]) && !has(&[0x2b, 6, 1, 5, 5, 7, 3, 1]));
    }

    #[test]
    fn a_request_in_another_name_is_refused() {
        let device: DeviceId = "press-07".parse().unwrap();
        for names in [
            &[][..],
            &[(DnType::CommonName, "press-08")],
            &[(DnType::CommonName, "+")],
            &[(DnType::OrganizationName, "press-07")],
            &[(DnType::CommonName, "press-07"), (DnType::OrganizationName, "x")],
        ] {
            let refused = authority().issue(&device, &request(names), NOW_MS, DAY_MS).unwrap_err();
            assert!(
                matches!(refused, AuthorityError::Subject { .. }),
                "{names:?}: {refused}"
            );
        }
        let csr = request(&[(DnType::CommonName, "press-07")]);
        let mut forged = csr.clone();
        *forged.last_mut().unwrap() ^= 1;
        for bytes in [&forged[..], &csr[..100], b"", &[0; 5000]] {
            let refused = authority().issue(&device, bytes, NOW_MS, DAY_MS).unwrap_err();
            assert!(matches!(refused, AuthorityError::Request(_)), "{refused}");
        }
    }

    /// When a certificate ends, in milliseconds since 1970.
    fn ends_ms(der: &[u8]) -> u64 {
        let (_, read) = x509_parser::parse_x509_certificate(der).unwrap();
        u64::try_from(read.validity().not_after.timestamp()).unwrap() * 1000
    }

    #[test]
    fn nothing_is_signed_for_longer_than_the_authority_lives() {
        let (device, authority) = ("press-07".parse().unwrap(), authority());
        let csr = request(&[(DnType::CommonName, "press-07")]);
        let end_ms = NOW_MS + 10 * DAY_MS;
        assert_eq!(authority.ends_ms(), end_ms);
        for (now_ms, expected_ms) in [
            (NOW_MS, NOW_MS + 8 * DAY_MS),
            (NOW_MS + 9 * DAY_MS, end_ms),
            (end_ms - 1000, end_ms),
        ] {
            let issued = authority.issue(&device, &csr, now_ms, 8 * DAY_MS).unwrap();
            assert_eq!(
                (issued.expires_ms, ends_ms(&issued.chain[0])),
                (expected_ms, expected_ms)
            );
            let staff = authority
                .issue_staff(&"hub".parse().unwrap(), &[], now_ms, 8 * DAY_MS)
                .unwrap();
            let staff = CertificateDer::from_pem_slice(staff.certificate.as_bytes()).unwrap();
            assert_eq!(ends_ms(&staff), expected_ms);
        }
        for now_ms in [end_ms, end_ms + 1] {
            let refused = authority.issue(&device, &csr, now_ms, DAY_MS).unwrap_err();
            assert!(matches!(refused, AuthorityError::Ended), "{refused}");
            assert!(
                authority
                    .issue_staff(&"hub".parse().unwrap(), &[], now_ms, DAY_MS)
                    .is_err()
            );
        }
    }

    #[test]
    fn of_a_chain_the_first_end_counts() {
        let signed = |name: &str, days: u64, above: Option<&Issuer<'static, KeyPair>>| {
            let mut params = dated(NOW_MS, days * DAY_MS).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let key = KeyPair::generate().unwrap();
            let made = match above {
                Some(above) => params.signed_by(&key, above),
                None => params.self_signed(&key),
            };
            (made.unwrap(), key)
        };
        for (lower, upper) in [(5, 50), (50, 5)] {
            let (top, top_key) = signed("top", upper, None);
            let issuer = Issuer::from_ca_cert_der(top.der(), top_key).unwrap();
            let (below, key) = signed("below", lower, Some(&issuer));
            let both = format!("{}{}", below.pem(), top.pem());
            let authority = Authority::open(both.as_bytes(), &key.serialize_pem(), NOW_MS).unwrap();
            assert_eq!(authority.ends_ms(), NOW_MS + 5 * DAY_MS, "{lower} {upper}");
        }
    }

    #[test]
    fn names_that_mean_something_in_a_topic_are_none() {
        for name in ["+", "#", "a/b", "a+", "", "\u{e4}", "a b", &"x".repeat(65)] {
            assert!(
                name.parse::<StaffName>().is_err() && name.parse::<DeviceId>().is_err(),
                "{name}"
            );
        }
        let (dotted, plain): (StaffName, StaffName) = ("hub.1".parse().unwrap(), "hub".parse().unwrap());
        assert!(!dotted.could_be_a_device() && plain.could_be_a_device());
    }

    #[test]
    fn what_is_no_authority_is_refused_at_once() {
        let pair = Authority::create(&"plant-a.ca".parse().unwrap(), NOW_MS, 10 * DAY_MS).unwrap();
        let other = Authority::create(&"plant-a.ca".parse().unwrap(), NOW_MS, 10 * DAY_MS).unwrap();
        let open = |certificate: &str, key: &str, now_ms| {
            Authority::open(certificate.as_bytes(), key, now_ms)
                .map(drop)
                .unwrap_err()
                .to_string()
        };
        assert!(open(&pair.certificate, &other.key, NOW_MS).contains("isn't accepted"));
        assert!(open(&pair.certificate, &pair.key, NOW_MS + 11 * DAY_MS).contains("isn't valid now"));
        assert!(open(&pair.certificate, "x", NOW_MS).contains("key"));
        assert!(open("x", &pair.key, NOW_MS).contains("expected 1 to 3"));
        let authority = Authority::open(pair.certificate.as_bytes(), &pair.key, NOW_MS).unwrap();
        let leaf = authority
            .issue_staff(&"broker".parse().unwrap(), &["localhost".to_owned()], NOW_MS, DAY_MS)
            .unwrap();
        assert!(open(&leaf.certificate, &leaf.key, NOW_MS).contains("is no CA's"));
    }
}
