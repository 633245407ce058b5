//! The issuer's public keys, and checking signatures with them: by ring, as everything else here, behind jsonwebtoken.
//!
//! A key is good for one algorithm, that of its own type. So a token can't choose how it is checked.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, new_error};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::Value;
use std::sync::Arc;

/// The algorithms that are taken, by their names in a token. None of them works with a shared secret.
pub(super) const ALGORITHMS: [(&str, Algorithm); 3] = [
    ("RS256", Algorithm::RS256),
    ("ES256", Algorithm::ES256),
    ("EdDSA", Algorithm::EdDSA),
];
/// Issuers have two or three keys, large ones some tens.
const MAX_KEYS: usize = 64;

/// jsonwebtoken's way to ring. It signs nothing.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    verifier_factory: |algorithm, key| {
        Ok(Box::new(Checker {
            algorithm: *algorithm,
            key: key.clone(),
        }))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring check the signatures of this process.
pub(super) fn install() {
    // It fails only when it was done before.
    let _ = PROVIDER.install_default();
}

/// An algorithm that is taken, by its name.
pub(super) fn allowed(name: &str) -> Option<Algorithm> {
    let found = ALGORITHMS.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, algorithm)| algorithm)
}

/// The name of an algorithm that is taken.
pub(super) fn name(algorithm: Algorithm) -> &'static str {
    let found = ALGORITHMS.into_iter().find(|(_, known)| *known == algorithm);
    found.map_or("another", |(name, _)| name)
}

/// A key of the issuer.
pub(super) struct Key {
    kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?}, {:?})", self.kid, self.algorithm)
    }
}

/// The issuer's keys.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Arc<Key>>);

impl KeySet {
    /// The keys of a JWK set that can be used; others are passed over.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let set: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let keys = set
            .get("keys")
            .and_then(Value::as_array)
            .ok_or("it has no list `keys`")?;
        let keys = keys.iter().filter_map(usable).take(MAX_KEYS).map(Arc::new).collect();
        Ok(Self(keys))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The key of an id; the only key, where a token names none.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<Arc<Key>> {
        match (kid, self.0.as_slice()) {
            (None, [only]) => Some(Arc::clone(only)),
            (None, _) => None,
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)).cloned(),
        }
    }
}

fn usable(value: &Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        _ => return None,
    };
    let own = match algorithm {
        Algorithm::RS256 => KeyAlgorithm::RS256,
        Algorithm::ES256 => KeyAlgorithm::ES256,
        _ => KeyAlgorithm::EdDSA,
    };
    let common = &jwk.common;
    let is_for_signing = common
        .public_key_use
        .as_ref()
        .is_none_or(|one| *one == PublicKeyUse::Signature);
    let is_for_it = common.key_algorithm.is_none_or(|one| one == own);
    if !is_for_signing || !is_for_it {
        return None;
    }
    Some(Key {
        kid: common.key_id.clone(),
        algorithm,
        decoding: DecodingKey::from_jwk(&jwk).ok()?,
    })
}

/// Checks signatures of one algorithm with one key.
struct Checker {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for Checker {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Checker {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let no = |_| signature::Error::new();
        match (self.algorithm, self.key.kind()) {
            (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .map_err(no),
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
                    .verify(message, signature)
                    .map_err(no)
            }
            (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(key)) => UnparsedPublicKey::new(&ED25519, key)
                .verify(message, signature)
                .map_err(no),
            _ => Err(signature::Error::new()),
        }
    }
}
