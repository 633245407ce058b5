//! What signs: a key in memory, or one that its holder never hands out.

use crate::keys::{KeyId, PublicKey, SecretKey};
use std::fmt;

/// Why a key gave no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {key} has not signed: {problem}")]
pub struct SignError {
    /// The key.
    pub key: KeyId,
    /// What kept it from signing, and what to do.
    pub problem: String,
}

/// A key that signs documents. [`SecretKey`] always can; a key in a token may be gone, locked or busy.
///
/// One signer is used from many threads by the hub, one signature at a time or not, as it likes.
pub trait Signer: Send + Sync {
    /// The public half, known without asking whoever holds the key.
    fn public(&self) -> PublicKey;

    /// The 64 bytes of an Ed25519 signature over the message itself, not over a hash of it.
    ///
    /// # Errors
    /// When whoever holds the key doesn't sign.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;
}

/// Which key it is, and nothing else of it.
impl fmt::Debug for dyn Signer + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer(of {})", self.public().id())
    }
}

impl Signer for SecretKey {
    fn public(&self) -> PublicKey {
        Self::public(self)
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(Self::sign(self, message))
    }
}

impl<S: Signer + ?Sized> Signer for Box<S> {
    fn public(&self) -> PublicKey {
        (**self).public()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        (**self).sign(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Domain, Envelope, EnvelopeError};

    /// A key whose holder has gone away.
    struct Gone(PublicKey);

    impl Signer for Gone {
        fn public(&self) -> PublicKey {
            self.0.clone()
        }

        fn sign(&self, _: &[u8]) -> Result<[u8; 64], SignError> {
            Err(SignError {
                key: self.0.id(),
                problem: "the token was pulled out; put it back".to_owned(),
            })
        }
    }

    #[test]
    fn keys_of_different_kinds_sign_one_document() {
        let (plain, boxed) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let keys = [plain.public(), boxed.public()];
        let boxed: Box<dyn Signer> = Box::new(boxed);
        let signers: [&dyn Signer; 2] = [&plain, &boxed];
        let sealed = Envelope::seal(Domain::Root, b"payload", &signers).unwrap();
        let opened = Envelope::open(Domain::Root, &sealed, 4096).unwrap();
        assert_eq!(opened.verify(&keys, 2).unwrap(), b"payload");
    }

    #[test]
    fn nothing_is_sealed_by_a_key_that_does_not_sign() {
        let plain = SecretKey::from_seed(&[1; 32]);
        let gone = Gone(SecretKey::from_seed(&[2; 32]).public());
        let error = Envelope::seal(Domain::Root, b"payload", &[&plain as &dyn Signer, &gone]).unwrap_err();
        assert!(matches!(&error, EnvelopeError::Sign(error) if error.key == gone.public().id()));
        assert!(error.to_string().contains("put it back"), "{error}");
        let sealed = Envelope::seal(Domain::Root, b"payload", &[&plain]).unwrap();
        let opened = Envelope::open(Domain::Root, &sealed, 4096).unwrap();
        assert!(matches!(opened.add_signature(&gone), Err(EnvelopeError::Sign(_))));
    }
}
