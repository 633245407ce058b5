//! Envelopes: COSE_Sign (RFC 9052, section 4.1) with EdDSA, over a payload that isn't looked at before its signatures.
//!
//! Every document type signs under a domain string of its own, as the external additional data, so that a signature
//! over one can't be taken for a signature over another. Signatures are checked over the payload bytes as received.

use crate::cbor::{self, CborError};
use crate::keys::{KeyId, PublicKey};
use crate::signer::{SignError, Signer};
use coset::{CborSerializable, CoseSign, CoseSignBuilder, CoseSignatureBuilder, HeaderBuilder, Label, iana};
use std::collections::BTreeSet;

/// CBOR tag 98, COSE_Sign, which every envelope starts with.
const TAG: [u8; 2] = [0xd8, 0x62];
/// More signatures than any threshold asks for; bounds the work that one forged envelope can cause.
const MAX_SIGNATURES: usize = 16;

/// What a signature is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// A trust root.
    Root,
    /// A bundle's manifest.
    Manifest,
    /// What a device shall be.
    Assignment,
    /// What a device shall do once.
    Command,
    /// What the hub has taken.
    Ack,
    /// What a device has seen.
    UpBatch,
    /// What a device is.
    Hello,
    /// What a device answers to a command.
    Answer,
    /// How far the hub's audit log goes.
    AuditCheckpoint,
    /// A device's first word: who it wants to be, signed by the token too that lets it.
    Enrolment,
    /// A device's wish for its next certificate.
    Renewal,
    /// The certificate that the hub had made for a device.
    Certificate,
}

impl Domain {
    /// The bytes that are signed along with the payload.
    #[must_use]
    pub const fn external_aad(self) -> &'static [u8] {
        match self {
            Self::Root => b"floorhand/v1/root",
            Self::Manifest => b"floorhand/v1/manifest",
            Self::Assignment => b"floorhand/v1/assignment",
            Self::Command => b"floorhand/v1/command",
            Self::Ack => b"floorhand/v1/ack",
            Self::UpBatch => b"floorhand/v1/up-batch",
            Self::Hello => b"floorhand/v1/hello",
            Self::Answer => b"floorhand/v1/answer",
            Self::AuditCheckpoint => b"floorhand/v1/audit-checkpoint",
            Self::Enrolment => b"floorhand/v1/enrolment",
            Self::Renewal => b"floorhand/v1/renewal",
            Self::Certificate => b"floorhand/v1/certificate",
        }
    }

    /// The document's name, for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "trust root",
            Self::Manifest => "manifest",
            Self::Assignment => "assignment",
            Self::Command => "command",
            Self::Ack => "ack",
            Self::UpBatch => "up batch",
            Self::Hello => "hello",
            Self::Answer => "answer",
            Self::AuditCheckpoint => "audit checkpoint",
            Self::Enrolment => "enrolment",
            Self::Renewal => "renewal",
            Self::Certificate => "certificate",
        }
    }
}

/// Why an envelope was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not a COSE_Sign envelope in deterministic CBOR.
    #[error("{document} is not a signed document: {problem}")]
    Malformed {
        /// The document's name.
        document: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Too few keys of the role have signed.
    #[error(
        "{document} is signed by {valid} of the {threshold} keys it needs (signatures by {signers}; taken are {taken})"
    )]
    Threshold {
        /// The document's name.
        document: &'static str,
        /// How many different keys of the role have a valid signature on it.
        valid: usize,
        /// How many are needed.
        threshold: usize,
        /// Who claims to have signed it.
        signers: String,
        /// Whose signatures count.
        taken: String,
    },
    /// A key that was to sign it did not.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// A signed document whose signatures have not been checked yet. Nothing of the payload can be had from it.
#[derive(Debug, Clone)]
pub struct Envelope {
    domain: Domain,
    sign: CoseSign,
}

impl Envelope {
    /// Signs a payload with every key, in the order given.
    pub fn seal<S: Signer + ?Sized>(domain: Domain, payload: &[u8], keys: &[&S]) -> Result<Vec<u8>, EnvelopeError> {
        let mut builder = CoseSignBuilder::new().payload(payload.to_vec());
        for key in keys {
            let sign = |message: &[u8]| key.sign(message).map(Vec::from);
            builder = builder.try_add_created_signature(unsigned(&key.public()), domain.external_aad(), sign)?;
        }
        to_bytes(domain, builder.build())
    }

    /// Takes bytes apart without looking at the payload. `limit` is the most bytes the whole may have.
    pub fn open(domain: Domain, bytes: &[u8], limit: usize) -> Result<Self, EnvelopeError> {
        let malformed = |problem: String| EnvelopeError::Malformed {
            document: domain.name(),
            problem,
        };
        let body = bytes
            .strip_prefix(&TAG)
            .ok_or_else(|| malformed("no COSE_Sign tag".to_owned()))?;
        cbor::scan(body, limit).map_err(|error| malformed(error.to_string()))?;
        let sign = CoseSign::from_slice(body).map_err(|error| malformed(error.to_string()))?;
        check_headers(&sign).map_err(|problem| malformed(problem.to_owned()))?;
        Ok(Self { domain, sign })
    }

    /// Adds a signature to those there are, which stay as they are.
    pub fn add_signature<S: Signer + ?Sized>(mut self, key: &S) -> Result<Vec<u8>, EnvelopeError> {
        let mut signature = unsigned(&key.public());
        signature.signature = key
            .sign(&self.sign.tbs_data(self.domain.external_aad(), &signature))?
            .to_vec();
        self.sign
            .signatures
            .retain(|other| other.protected.header.key_id != signature.protected.header.key_id);
        self.sign.signatures.push(signature);
        to_bytes(self.domain, self.sign)
    }

    /// Who claims to have signed.
    #[must_use]
    pub fn signers(&self) -> Vec<KeyId> {
        self.sign
            .signatures
            .iter()
            .filter_map(|signature| KeyId::from_slice(&signature.protected.header.key_id))
            .collect()
    }

    /// The payload, if at least `threshold` different keys out of `keys` have signed it.
    pub fn verify(self, keys: &[PublicKey], threshold: usize) -> Result<Vec<u8>, EnvelopeError> {
        let valid = keys
            .iter()
            .filter(|key| self.is_signed_by(key))
            .map(PublicKey::id)
            .collect::<BTreeSet<_>>()
            .len();
        // A threshold of 0 would accept everything; no document of ours means that.
        let threshold = threshold.max(1);
        if valid < threshold {
            let list = |ids: Vec<KeyId>| {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                if ids.is_empty() {
                    "nobody".to_owned()
                } else {
                    ids.join(", ")
                }
            };
            let signers = list(self.signers());
            let taken = list(keys.iter().map(PublicKey::id).collect());
            return Err(EnvelopeError::Threshold {
                document: self.domain.name(),
                valid,
                threshold,
                signers,
                taken,
            });
        }
        Ok(self.sign.payload.unwrap_or_default())
    }

    /// The payload without any check, for tools that show a document to a person who holds no keys.
    #[must_use]
    pub fn payload_unverified(&self) -> &[u8] {
        self.sign.payload.as_deref().unwrap_or_default()
    }

    /// Whether this key has a valid signature on it.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let id = key.id();
        self.sign.signatures.iter().enumerate().any(|(which, signature)| {
            signature.protected.header.key_id == id.as_bytes()
                && self
                    .sign
                    .verify_signature(which, self.domain.external_aad(), |signature, message| {
                        if key.verifies(message, signature) {
                            Ok(())
                        } else {
                            Err(())
                        }
                    })
                    .is_ok()
        })
    }
}

/// A signature's headers, its bytes still missing.
fn unsigned(key: &PublicKey) -> coset::CoseSignature {
    let header = HeaderBuilder::new()
        .algorithm(iana::Algorithm::EdDSA)
        .key_id(key.id().as_bytes().to_vec())
        .build();
    CoseSignatureBuilder::new().protected(header).build()
}

fn to_bytes(domain: Domain, sign: CoseSign) -> Result<Vec<u8>, EnvelopeError> {
    let body = sign.to_vec().map_err(|error| EnvelopeError::Malformed {
        document: domain.name(),
        problem: error.to_string(),
    })?;
    Ok([&TAG[..], &body].concat())
}

/// Everything that could change what a signature means has to be protected, known and encoded in one way.
fn check_headers(sign: &CoseSign) -> Result<(), &'static str> {
    if sign.payload.is_none() {
        return Err("no payload");
    }
    if sign.signatures.len() > MAX_SIGNATURES {
        return Err("more than 16 signatures");
    }
    if !sign.protected.is_empty() || !sign.unprotected.is_empty() {
        return Err("headers on the envelope itself");
    }
    sign.signatures.iter().try_for_each(check_signature_headers)
}

fn check_signature_headers(signature: &coset::CoseSignature) -> Result<(), &'static str> {
    if !signature.unprotected.is_empty() {
        return Err("an unprotected header");
    }
    let encoded = signature.protected.original_data.as_deref().unwrap_or_default();
    if let Err(CborError::Encoding { .. } | CborError::TooLong { .. }) = cbor::scan(encoded, 256) {
        return Err("a protected header that is not deterministic CBOR");
    }
    let header = &signature.protected.header;
    if header.alg != Some(coset::Algorithm::Assigned(iana::Algorithm::EdDSA)) {
        return Err("a signature that is not EdDSA");
    }
    if header.key_id.len() != 16 {
        return Err("a key id that has not 16 bytes");
    }
    let known = [
        header.content_type.is_none(),
        header.iv.is_empty(),
        header.partial_iv.is_empty(),
    ];
    let others = header.rest.iter().any(|(label, _)| !matches!(label, Label::Int(_)));
    if !header.crit.is_empty() || known.contains(&false) || others || !header.rest.is_empty() {
        return Err("a header other than algorithm and key id");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn verify(domain: Domain, bytes: &[u8], seeds: &[u8], threshold: usize) -> Result<Vec<u8>, EnvelopeError> {
        let keys: Vec<_> = seeds.iter().map(|&seed| key(seed).public()).collect();
        Envelope::open(domain, bytes, 4096)?.verify(&keys, threshold)
    }

    #[test]
    fn a_threshold_counts_different_keys_of_the_role() {
        let sealed = Envelope::seal(Domain::Root, b"payload", &[&key(1), &key(2), &key(9)]).unwrap();
        assert_eq!(verify(Domain::Root, &sealed, &[1, 2, 3], 2).unwrap(), b"payload");
        assert!(verify(Domain::Root, &sealed, &[1, 2, 3], 3).is_err());
        assert!(
            verify(Domain::Root, &sealed, &[1, 1, 1], 2).is_err(),
            "one key listed thrice counts once"
        );
        let twice = Envelope::seal(Domain::Root, b"payload", &[&key(1), &key(1)]).unwrap();
        assert!(
            verify(Domain::Root, &twice, &[1, 2], 2).is_err(),
            "one key signing twice counts once"
        );
        assert!(
            verify(
                Domain::Root,
                &Envelope::seal::<SecretKey>(Domain::Root, b"p", &[]).unwrap(),
                &[1],
                0
            )
            .is_err()
        );
    }

    #[test]
    fn a_signature_is_good_for_its_own_document_type_and_bytes() {
        let sealed = Envelope::seal(Domain::Command, b"payload", &[&key(1)]).unwrap();
        assert!(verify(Domain::Command, &sealed, &[1], 1).is_ok());
        assert!(verify(Domain::Assignment, &sealed, &[1], 1).is_err());
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert!(verify(Domain::Command, &bent, &[1], 1).is_err(), "byte {at}");
            assert!(verify(Domain::Command, &sealed[..at], &[1], 1).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn signatures_can_be_added_later() {
        let sealed = Envelope::seal(Domain::Manifest, b"payload", &[&key(1)]).unwrap();
        let both = Envelope::open(Domain::Manifest, &sealed, 4096)
            .unwrap()
            .add_signature(&key(2))
            .unwrap();
        assert_eq!(verify(Domain::Manifest, &both, &[1, 2], 2).unwrap(), b"payload");
        let again = Envelope::open(Domain::Manifest, &both, 4096)
            .unwrap()
            .add_signature(&key(2))
            .unwrap();
        assert_eq!(
            Envelope::open(Domain::Manifest, &again, 4096).unwrap().signers().len(),
            2
        );
    }
}
