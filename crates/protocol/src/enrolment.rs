//! How a device gets its identity: a token that lets it in once, its request, the certificate that answers it, and the
//! renewal of that certificate later on.
//!
//! A token's secret never travels. It is a key: the request is signed with it and with the device's own key, and the hub
//! keeps the public half alone. The answer is signed by the hub under a trust root whose digest stands in the token. So who
//! sits between the two learns nothing that lets him in, and can't stand in for the hub, whatever becomes of TLS.

use crate::down::{check_address, open, seal};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use floorhand_bundle::{
    DeviceId, Digest, DocumentError, Domain, Envelope, FleetId, HardwareClass, KeyId, PublicKey, SecretKey, Signer,
    TrustRoot, Verified, cbor, check_critical,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::fmt;
use std::str::FromStr;

/// The largest request for a certificate in bytes: a key, a certificate request, names.
pub const MAX_ENROLMENT_BYTES: usize = 8 * 1024;
/// The largest answer in bytes: a chain of a few certificates.
pub const MAX_CERTIFICATE_BYTES: usize = 32 * 1024;

/// What every token begins with, so that it is known for what it is, by people and by programs that look for secrets.
const TOKEN_PREFIX: &str = "fhe1_";
/// Says that a token has the digest of the CA of the hub's HTTPS certificate.
const HAS_API_CA: u8 = 1;
/// Bytes of the digest that tell a mistyped token.
const CHECKSUM: usize = 4;
/// Longer than any token.
const MAX_TOKEN_TEXT: usize = 512;

/// A text that is no enrolment token. The text itself isn't in the message: it may be all but right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It begins otherwise.
    #[error(
        "no enrolment token: expected the line that `floorhand fleet enroll-token` printed, which begins with fhe1_"
    )]
    Kind,
    /// A character is wrong, or some are missing.
    #[error("the enrolment token isn't whole: copy all of the line that `floorhand fleet enroll-token` printed")]
    Damaged,
}

/// What lets a device in once, and by what it knows the hub: all that is carried to the device.
#[derive(Clone)]
pub struct EnrolmentToken {
    /// Signs the request. The hub has the public half.
    pub secret: SecretKey,
    /// The digest of the trust root's signed bytes, by which the device knows its fleet's root.
    pub root: Digest,
    /// The digest of the CA's certificate that the hub's HTTPS certificate is from, where devices meet it by HTTPS.
    pub api_ca: Option<Digest>,
    /// The device that it is for; `None` where it is for any of several.
    pub device: Option<DeviceId>,
}

impl EnrolmentToken {
    /// The one line that is carried to the device. It is a secret until it has been used.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = vec![if self.api_ca.is_some() { HAS_API_CA } else { 0 }];
        bytes.extend_from_slice(&self.secret.to_seed());
        bytes.extend_from_slice(self.root.as_bytes());
        bytes.extend(self.api_ca.iter().flat_map(|digest| digest.as_bytes()));
        bytes.extend(self.device.iter().flat_map(|device| device.as_str().bytes()));
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnrolmentToken({})", self.secret.public().id())
    }
}

impl FromStr for EnrolmentToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let body = text.strip_prefix(TOKEN_PREFIX).ok_or(TokenError::Kind)?;
        if body.len() > MAX_TOKEN_TEXT {
            return Err(TokenError::Damaged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| TokenError::Damaged)?;
        parse(&bytes).ok_or(TokenError::Damaged)
    }
}

fn parse(bytes: &[u8]) -> Option<EnrolmentToken> {
    let (bytes, found) = bytes.split_last_chunk::<CHECKSUM>()?;
    if checksum(bytes) != *found {
        return None;
    }
    let (&[flags], rest) = bytes.split_first_chunk::<1>()?;
    let (seed, rest) = rest.split_first_chunk::<32>()?;
    let (root, rest) = rest.split_first_chunk::<32>()?;
    let (api_ca, rest) = match flags {
        0 => (None, rest),
        HAS_API_CA => rest.split_first_chunk::<32>().map(|(ca, rest)| (Some(*ca), rest))?,
        _ => return None,
    };
    let device = match rest {
        [] => None,
        name => Some(std::str::from_utf8(name).ok()?.parse().ok()?),
    };
    Some(EnrolmentToken {
        secret: SecretKey::from_seed(seed),
        root: Digest::from_bytes(*root),
        api_ca: api_ca.map(Digest::from_bytes),
        device,
    })
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut first = [0; CHECKSUM];
    let digest = Digest::of(bytes);
    first
        .iter_mut()
        .zip(digest.as_bytes())
        .for_each(|(to, from)| *to = *from);
    first
}

/// A device's first word to the hub. Signed by the device's own key, which is in it, and by the token's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentRequest {
    /// Who it wants to be.
    pub device: DeviceId,
    /// Its hardware class, as it says.
    pub hardware: HardwareClass,
    /// The key that it will sign with.
    pub public_key: PublicKey,
    /// A certificate request (PKCS #10, DER) for its TLS key, signed with that key. Of its content only the key is used.
    pub csr: ByteBuf,
    /// The fleet of the trust root that the device has already, if it has one: a hub of another fleet leaves the token unused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetId>,
    /// Names of fields that a reader has to know.
    #[serde(default)]
    pub critical: Vec<String>,
}

impl EnrolmentRequest {
    /// Encodes, and signs with the device's key and the token's.
    ///
    /// # Errors
    /// When it can't be encoded.
    pub fn seal(&self, device: &SecretKey, token: &SecretKey) -> Result<Vec<u8>, DocumentError> {
        let payload = cbor::encode(Domain::Enrolment.name(), self)?;
        Ok(Envelope::seal(Domain::Enrolment, &payload, &[device, token])?)
    }

    /// The keys that claim to have signed, of which one is a token's.
    ///
    /// # Errors
    /// When it is no envelope.
    pub fn signers(bytes: &[u8]) -> Result<Vec<KeyId>, DocumentError> {
        Ok(Envelope::open(Domain::Enrolment, bytes, MAX_ENROLMENT_BYTES)?.signers())
    }

    /// Opens a request that a token's key has signed, and the key that it names as well.
    ///
    /// # Errors
    /// When one of the signatures doesn't hold, it can't be read, or it has a critical field that this version doesn't know.
    pub fn open(bytes: &[u8], token: &PublicKey) -> Result<Verified<Self>, DocumentError> {
        let envelope = Envelope::open(Domain::Enrolment, bytes, MAX_ENROLMENT_BYTES)?;
        let payload = envelope.clone().verify(std::slice::from_ref(token), 1)?;
        let request: Self = cbor::decode(Domain::Enrolment.name(), &payload, MAX_ENROLMENT_BYTES)?;
        check_critical("enrolment", &request.critical, &[])?;
        envelope.verify(&[token.clone(), request.public_key.clone()], 2)?;
        Ok(Verified::new(request, &payload, bytes))
    }
}

/// A device's wish for its next certificate. Signed by the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// The device.
    pub device: DeviceId,
    /// A certificate request (PKCS #10, DER) for a new TLS key.
    pub csr: ByteBuf,
    /// Names of fields that a reader has to know.
    #[serde(default)]
    pub critical: Vec<String>,
}

impl Renewal {
    /// Encodes and signs.
    ///
    /// # Errors
    /// When it can't be encoded.
    pub fn seal<S: Signer + ?Sized>(&self, key: &S) -> Result<Vec<u8>, DocumentError> {
        seal(Domain::Renewal, self, key)
    }

    /// Opens a renewal from the device that holds `key`.
    ///
    /// # Errors
    /// When its signature doesn't hold, it can't be read, it is another device's, or it has a critical field that this version
    /// doesn't know.
    pub fn open(bytes: &[u8], device: &DeviceId, key: &PublicKey) -> Result<Verified<Self>, DocumentError> {
        let opened: Verified<Self> = crate::up::open(Domain::Renewal, bytes, key, MAX_ENROLMENT_BYTES)?;
        check_critical("renewal", &opened.critical, &[])?;
        crate::up::check_sender("renewal", &opened.device, device)?;
        Ok(opened)
    }
}

/// The answer to an enrolment or a renewal. Signed by the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    /// The fleet.
    pub fleet: FleetId,
    /// The device; another one refuses it.
    pub device: DeviceId,
    /// The digest of the certificate request's bytes that it answers.
    pub csr: Digest,
    /// The device's certificate, then those of the authorities above it up to the fleet's CA (X.509, DER).
    pub chain: Vec<ByteBuf>,
    /// The broker's address, where the hub knows by which one devices come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<String>,
    /// The CA certificates that the broker's certificate is from, where they are others than the last of `chain`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broker_ca: Vec<ByteBuf>,
    /// When it was signed, in milliseconds since 1970 UTC.
    pub issued_ms: u64,
    /// Names of fields that a reader has to know.
    #[serde(default)]
    pub critical: Vec<String>,
}

impl IssuedCertificate {
    /// Encodes and signs.
    ///
    /// # Errors
    /// When it can't be encoded.
    pub fn seal<S: Signer + ?Sized>(&self, key: &S) -> Result<Vec<u8>, DocumentError> {
        seal(Domain::Certificate, self, key)
    }

    /// Opens an answer to this device's request `csr`.
    ///
    /// # Errors
    /// When it isn't signed under the root, can't be read, is another device's or answers another request.
    pub fn open(
        bytes: &[u8],
        root: &TrustRoot,
        (device, csr): (&DeviceId, Digest),
        now_ms: u64,
    ) -> Result<Verified<Self>, DocumentError> {
        let opened: Verified<Self> = open(Domain::Certificate, bytes, root, MAX_CERTIFICATE_BYTES, now_ms)?;
        check_critical("certificate", &opened.critical, &[])?;
        check_address("certificate", (&opened.fleet, &opened.device), (&root.fleet, device))?;
        if opened.csr != csr {
            return Err(DocumentError::Content {
                document: "certificate",
                problem: "it answers another request than this device's last".to_owned(),
            });
        }
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn token(api_ca: Option<Digest>, device: Option<&str>) -> EnrolmentToken {
        EnrolmentToken {
            secret: key(7),
            root: Digest::of(b"root"),
            api_ca,
            device: device.map(|device| device.parse().unwrap()),
        }
    }

    #[test]
    fn a_token_is_one_line_that_comes_back_whole() {
        for (api_ca, device) in [
            (None, None),
            (Some(Digest::of(b"ca")), None),
            (None, Some("press-07")),
            (Some(Digest::of(b"ca")), Some(&*"x".repeat(64))),
        ] {
            let text = token(api_ca, device).to_text();
            let again: EnrolmentToken = format!(" {text}\n").parse().unwrap();
            assert_eq!(again.secret.public(), key(7).public());
            assert_eq!((again.root, again.api_ca), (Digest::of(b"root"), api_ca));
            assert_eq!(again.device.as_ref().map(DeviceId::as_str), device);
            assert!(!format!("{again:?}").contains(text.get(5..).unwrap()));
        }
    }

    #[test]
    fn a_mistyped_token_is_told_as_that() {
        let text = token(None, Some("press-07")).to_text();
        for at in 5..text.len() {
            let mut bent = text.clone().into_bytes();
            bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
            let bent = String::from_utf8(bent).unwrap();
            assert_eq!(bent.parse::<EnrolmentToken>().unwrap_err(), TokenError::Damaged, "{at}");
            assert!(text[..at].parse::<EnrolmentToken>().is_err(), "{at}");
        }
        assert_eq!("press-07".parse::<EnrolmentToken>().unwrap_err(), TokenError::Kind);
    }

    fn request(device: &SecretKey) -> EnrolmentRequest {
        EnrolmentRequest {
            device: "press-07".parse().unwrap(),
            hardware: "gateway".parse().unwrap(),
            public_key: device.public(),
            csr: ByteBuf::from(vec![1, 2, 3]),
            fleet: None,
            critical: vec![],
        }
    }

    #[test]
    fn a_request_needs_both_signatures() {
        let sealed = request(&key(1)).seal(&key(1), &key(7)).unwrap();
        assert_eq!(
            EnrolmentRequest::open(&sealed, &key(7).public()).unwrap().into_inner(),
            request(&key(1))
        );
        assert!(
            EnrolmentRequest::signers(&sealed)
                .unwrap()
                .contains(&key(7).public().id())
        );
        for (what, device, token) in [
            ("another token", key(1), key(8)),
            ("a key that isn't the one named", key(2), key(7)),
            ("the token in the place of the device", key(7), key(7)),
        ] {
            let sealed = request(&key(1)).seal(&device, &token).unwrap();
            assert!(EnrolmentRequest::open(&sealed, &key(7).public()).is_err(), "{what}");
        }
        let itself = request(&key(7)).seal(&key(7), &key(7)).unwrap();
        assert!(
            EnrolmentRequest::open(&itself, &key(7).public()).is_err(),
            "a token that names itself as device"
        );
    }

    #[test]
    fn a_critical_field_that_is_not_known_is_refused_and_a_document_without_the_list_is_not() {
        let critical = vec!["quota".to_owned()];
        let mut newer = request(&key(1));
        newer.critical.clone_from(&critical);
        let sealed = newer.seal(&key(1), &key(7)).unwrap();
        let refused = EnrolmentRequest::open(&sealed, &key(7).public())
            .unwrap_err()
            .to_string();
        assert!(refused.contains("quota"), "{refused}");
        let device: DeviceId = "press-07".parse().unwrap();
        let newer = Renewal {
            device: device.clone(),
            csr: ByteBuf::from(vec![9]),
            critical,
        };
        let refused = Renewal::open(&newer.seal(&key(1)).unwrap(), &device, &key(1).public());
        assert!(refused.unwrap_err().to_string().contains("quota"));
        // As devices sent it that knew of no such list.
        #[derive(Serialize)]
        struct Older {
            device: DeviceId,
            csr: ByteBuf,
        }
        let older = Older {
            device: device.clone(),
            csr: ByteBuf::from(vec![9]),
        };
        let sealed = seal(Domain::Renewal, &older, &key(1)).unwrap();
        assert!(
            Renewal::open(&sealed, &device, &key(1).public())
                .unwrap()
                .critical
                .is_empty()
        );
    }

    #[test]
    fn a_certificate_is_for_one_request_of_one_device() {
        let role = floorhand_bundle::RoleKeys::any_of(vec![key(2).public()]);
        let root = TrustRoot {
            fleet: "plant-a".parse().unwrap(),
            version: 1,
            expires_ms: u64::MAX,
            issued_ms: 0,
            critical: vec![],
            root: role.clone(),
            release: role.clone(),
            assignment: role,
        };
        let device: DeviceId = "press-07".parse().unwrap();
        let issued = IssuedCertificate {
            fleet: "plant-a".parse().unwrap(),
            device: device.clone(),
            csr: Digest::of(b"csr"),
            chain: vec![ByteBuf::from(vec![4])],
            broker: None,
            broker_ca: vec![],
            issued_ms: 5,
            critical: vec![],
        };
        let sealed = issued.seal(&key(2)).unwrap();
        let open = |bytes: &[u8], device: &DeviceId, csr| IssuedCertificate::open(bytes, &root, (device, csr), 6);
        assert_eq!(open(&sealed, &device, issued.csr).unwrap().into_inner(), issued);
        assert!(open(&sealed, &"press-08".parse().unwrap(), issued.csr).is_err());
        assert!(open(&sealed, &device, Digest::of(b"other")).is_err());
        assert!(open(&issued.seal(&key(3)).unwrap(), &device, issued.csr).is_err());
        let renewal = Renewal {
            device: device.clone(),
            csr: ByteBuf::from(vec![9]),
            critical: vec![],
        };
        let sealed = renewal.seal(&key(1)).unwrap();
        assert_eq!(
            Renewal::open(&sealed, &device, &key(1).public()).unwrap().into_inner(),
            renewal
        );
        assert!(Renewal::open(&sealed, &device, &key(2).public()).is_err());
        assert!(Renewal::open(&sealed, &"press-08".parse().unwrap(), &key(1).public()).is_err());
    }
}
