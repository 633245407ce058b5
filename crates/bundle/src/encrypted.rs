//! Secret keys under a passphrase: PKCS #8 `ENCRYPTED PRIVATE KEY` blocks (RFC 5958), encrypted by PBES2 (RFC 8018) with
//! scrypt (RFC 7914) and AES-256 in CBC mode, which `openssl pkey` of version 3 reads.
//!
//! CBC mode has no check of its own: a block that was damaged in the right place opens as another key. Whoever keeps a
//! key in a file writes its id beside it and compares. Salt and vector come in as random bytes.

use crate::keys::{KeyError, SecretKey, secret_malformed};
use pkcs8::der::SecretDocument;
use pkcs8::der::pem::{LineEnding, PemLabel};
use pkcs8::pkcs5::pbes2::{self, Kdf, Parameters, Salt, ScryptParams};
use pkcs8::pkcs5::{self, EncryptionScheme};
use pkcs8::{EncryptedPrivateKeyInfoRef, Error as Pkcs8Error, PrivateKeyInfoRef};

/// scrypt's memory is 128 · N · r bytes, 16 MiB: OpenSSL refuses 32 MiB and above.
const SCRYPT_N: u64 = 1 << 14;
const SCRYPT_R: u16 = 8;
/// What the memory is too small for is made up in rounds: OWASP's password storage cheat sheet counts N = 2^14, p = 5
/// as equal to N = 2^17, p = 1.
const SCRYPT_P: u16 = 5;

/// The most memory that a file may ask for before its passphrase is known to be right: four times N = 2^17.
const MAX_SCRYPT_BYTES: u64 = 512 << 20;
/// The most rounds over that memory: three times our own.
const MAX_SCRYPT_P: u16 = 16;
/// The most iterations of PBKDF2, some ten seconds: sixteen times what OWASP asks for.
const MAX_PBKDF2_ITERATIONS: u32 = 10_000_000;

impl SecretKey {
    /// Reads an `ENCRYPTED PRIVATE KEY` block: PBES2 with scrypt or PBKDF2, and AES.
    pub fn from_encrypted_pem(text: &str, passphrase: &[u8]) -> Result<Self, KeyError> {
        let (label, document) = SecretDocument::from_pem(text.trim()).map_err(malformed)?;
        EncryptedPrivateKeyInfoRef::validate_pem_label(label).map_err(malformed)?;
        let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(malformed)?;
        check_cost(&encrypted.encryption_algorithm)?;
        let opened = encrypted.decrypt(passphrase).map_err(|error| match error {
            Pkcs8Error::EncryptedPrivateKey(
                problem @ (pkcs5::Error::UnsupportedAlgorithm { .. }
                | pkcs5::Error::AlgorithmParametersInvalid { .. }
                | pkcs5::Error::NoPbes1CryptSupport),
            ) => malformed(problem),
            // Wrong padding, or padding that happens to be right around something that is no key.
            _ => KeyError::Passphrase,
        })?;
        Self::from_pkcs8_der(opened.as_bytes()).ok_or(KeyError::Passphrase)
    }

    /// An `ENCRYPTED PRIVATE KEY` block. `random` is salt and initialization vector: fresh for each call.
    pub fn to_encrypted_pem(&self, passphrase: &[u8], random: &[u8; 32]) -> Result<String, KeyError> {
        let (salt, vector) = random.split_at(16);
        let parameters = Parameters {
            kdf: Kdf::Scrypt(ScryptParams {
                salt: Salt::new(salt).map_err(malformed)?,
                cost_parameter: SCRYPT_N,
                block_size: SCRYPT_R,
                parallelization: SCRYPT_P,
                key_length: None,
            }),
            encryption: pbes2::EncryptionScheme::Aes256Cbc {
                iv: vector.try_into().map_err(malformed)?,
            },
        };
        let plain = self.to_pkcs8_der()?;
        let pem = PrivateKeyInfoRef::try_from(plain.as_bytes())
            .and_then(|info| info.encrypt_with_params(parameters, passphrase))
            .map_err(malformed)?
            .to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF)
            .map_err(malformed)?;
        Ok(pem.as_str().to_owned())
    }
}

/// A file says itself what opening it costs.
fn check_cost(scheme: &EncryptionScheme) -> Result<(), KeyError> {
    let kdf = match scheme {
        EncryptionScheme::Pbes2(parameters) => &parameters.kdf,
        _ => return Err(malformed("its encryption is not PBES2")),
    };
    let bearable = match kdf {
        Kdf::Scrypt(scrypt) => {
            let memory = scrypt.cost_parameter.saturating_mul(128 * u64::from(scrypt.block_size));
            memory <= MAX_SCRYPT_BYTES && scrypt.parallelization <= MAX_SCRYPT_P
        }
        Kdf::Pbkdf2(pbkdf2) => pbkdf2.iteration_count <= MAX_PBKDF2_ITERATIONS,
        _ => false,
    };
    if bearable {
        Ok(())
    } else {
        Err(malformed(
            "opening it would cost more than 512 MiB of memory or 10,000,000 iterations; encrypt it again with less",
        ))
    }
}

fn malformed(problem: impl ToString) -> KeyError {
    secret_malformed("-----BEGIN ENCRYPTED PRIVATE KEY-----", problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An iteration of scrypt takes a quarter of a second: tests share one encrypted key.
    fn encrypted() -> &'static str {
        static PEM: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        PEM.get_or_init(|| key().to_encrypted_pem(b"correct horse", &[9; 32]).unwrap())
    }

    fn key() -> SecretKey {
        SecretKey::from_seed(&[7; 32])
    }

    fn problem(text: &str, passphrase: &str) -> KeyError {
        SecretKey::from_encrypted_pem(text, passphrase.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_key_comes_back_with_its_passphrase_and_with_no_other() {
        let opened = SecretKey::from_encrypted_pem(encrypted(), b"correct horse").unwrap();
        assert_eq!(opened.public(), key().public());
        for wrong in ["correct horsf", "", "correct horse "] {
            assert_eq!(problem(encrypted(), wrong), KeyError::Passphrase, "{wrong:?}");
        }
        assert_eq!(SecretKey::from_pem(encrypted()).unwrap_err(), KeyError::Encrypted);
        let other = key().to_encrypted_pem(b"correct horse", &[8; 32]).unwrap();
        assert_ne!(other, encrypted());
    }

    #[test]
    fn a_text_before_the_block_is_passed_over() {
        let text = format!("Key-Id: 0123\n{}", encrypted());
        let opened = SecretKey::from_encrypted_pem(&text, b"correct horse").unwrap();
        assert_eq!(opened.public(), key().public());
    }

    #[test]
    fn what_is_cut_off_or_another_kind_of_file_is_told() {
        let plain = key().to_pem().unwrap();
        for text in ["", "hello", plain.as_str(), &encrypted()[..encrypted().len() / 2]] {
            let error = problem(text, "correct horse");
            assert!(matches!(error, KeyError::Malformed { .. }), "{error}");
        }
    }

    #[test]
    fn a_file_can_not_ask_for_all_memory() {
        let costly = |cost_parameter, block_size, parallelization| {
            let kdf = Kdf::Scrypt(ScryptParams {
                salt: Salt::new([0; 16]).unwrap(),
                cost_parameter,
                block_size,
                parallelization,
                key_length: None,
            });
            let encryption = pbes2::EncryptionScheme::Aes256Cbc { iv: [0; 16] };
            check_cost(&EncryptionScheme::Pbes2(Parameters { kdf, encryption }))
        };
        costly(1 << 14, 8, 5).unwrap();
        costly(1 << 19, 8, 1).unwrap();
        for (cost, block, parallel) in [(1 << 20, 8, 1), (1 << 14, 8, 17), (1 << 63, u16::MAX, 1)] {
            let error = costly(cost, block, parallel).unwrap_err().to_string();
            assert!(error.contains("encrypt it again with less"), "{error}");
        }
    }

    #[test]
    fn a_block_that_was_cut_anywhere_is_refused_before_its_passphrase_is_tried() {
        let (_, document) = SecretDocument::from_pem(encrypted()).unwrap();
        for at in 0..document.as_bytes().len() {
            let error = problem(&block_of(&document.as_bytes()[..at]), "correct horse");
            assert!(matches!(error, KeyError::Malformed { .. }), "cut at {at}: {error}");
        }
    }

    /// Bytes as a block that says they are an encrypted key.
    fn block_of(bytes: &[u8]) -> String {
        pkcs8::der::pem::encode_string("ENCRYPTED PRIVATE KEY", LineEnding::LF, bytes).unwrap()
    }
}
