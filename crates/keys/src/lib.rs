//! Where signing keys are held: PEM files, plain or under a passphrase, and tokens (HSMs, smart cards) behind PKCS #11.
//!
//! Owns reading key files with the checks that a secret needs, finding keys in tokens, and signing there. It is the only
//! crate that names cryptoki, whose modules are other people's code in our process: it is for the workstation and the
//! hub, never for a device. It must not ask anybody anything (what unlocks a key comes from an [`Unlock`]), and must not
//! let a passphrase, a PIN or a secret key into a message, a log or a `Debug`.
//!
//! ```no_run
//! use floorhand_bundle::{Domain, Envelope};
//! use floorhand_keys::{KeyLocation, Keyring, SecretFiles};
//!
//! let unlock = SecretFiles { passphrases: vec!["passphrase".into()], pin: None };
//! let keyring = Keyring { unlock: &unlock, module: None };
//! let location: KeyLocation = "pkcs11:token=release;object=2026?module-path=/usr/lib/softhsm/libsofthsm2.so".parse()?;
//! let signer = keyring.signer(&location)?;
//! let sealed = Envelope::seal(Domain::Manifest, b"payload", &[&signer])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Testing
//!
//! Tokens are tested with SoftHSM (`floorhand_testkit::SoftHsm`), in processes of their own, since its configuration
//! comes from the environment.

mod error;
mod file;
mod location;
mod module;
mod token;
mod unlock;
mod uri;

pub use error::KeysError;
pub use file::{KeyFile, Kind, MAX_KEY_BYTES, encrypted_text};
pub use location::{KeyLocation, Keyring};
pub use secrecy::{ExposeSecret, SecretString};
pub use token::{TokenKey, TokenSigner};
pub use unlock::{SecretFiles, Unlock, read_secret_file, read_secret_text};
pub use uri::{TokenUri, UriError};
pub use zeroize::Zeroizing;
