//! What unlocks a key: passphrases of files, PINs of tokens.

use crate::error::KeysError;
use crate::file::{MAX_KEY_BYTES, check_exposed, read_limited};
use secrecy::SecretString;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longer than a passphrase that anybody types.
const MAX_SECRET_BYTES: u64 = 4096;

/// Where passphrases and PINs come from, when one is needed.
pub trait Unlock {
    /// The passphrases to try on a key file, a few at most: each try costs a quarter of a second.
    ///
    /// # Errors
    /// When there is none.
    fn passphrases(&self, file: &Path) -> Result<Vec<SecretString>, KeysError>;

    /// The PIN of a token. It is tried once: tokens lock themselves.
    ///
    /// # Errors
    /// When there is none.
    fn pin(&self, token: &str) -> Result<SecretString, KeysError>;
}

/// Passphrases and PINs in files, for programs that nobody sits in front of.
#[derive(Debug, Clone, Default)]
pub struct SecretFiles {
    /// Files whose first lines are passphrases.
    pub passphrases: Vec<PathBuf>,
    /// A file whose first line is a PIN.
    pub pin: Option<PathBuf>,
}

impl Unlock for SecretFiles {
    fn passphrases(&self, file: &Path) -> Result<Vec<SecretString>, KeysError> {
        if self.passphrases.is_empty() {
            return Err(KeysError::NotGiven {
                what: format!("the passphrase of {}", file.display()),
                advice: "name a file that has it in its first line".to_owned(),
            });
        }
        self.passphrases.iter().map(|path| read_secret_file(path)).collect()
    }

    fn pin(&self, token: &str) -> Result<SecretString, KeysError> {
        match &self.pin {
            Some(path) => read_secret_file(path),
            None => Err(KeysError::NotGiven {
                what: format!("the PIN of token {token}"),
                advice: "name a file that has it in its first line, as ?pin-source=/path in the URI".to_owned(),
            }),
        }
    }
}

/// The first line of a file that others can't read.
///
/// # Errors
/// When it can't be read, lies open, or has nothing in its first line.
pub fn read_secret_file(path: &Path) -> Result<SecretString, KeysError> {
    let (text, metadata) = read_limited(path, MAX_SECRET_BYTES)?;
    check_exposed(path, &metadata)?;
    let line = Zeroizing::new(text.lines().next().unwrap_or_default().to_owned());
    if line.is_empty() {
        return Err(KeysError::Unlikely {
            path: path.to_owned(),
            what: "empty in its first line, where a passphrase or a PIN has to stand".to_owned(),
        });
    }
    Ok(SecretString::from(line.as_str()))
}

/// A text that is a secret as a whole, such as the key of a certificate authority, with the same checks. It is wiped from
/// memory when it is dropped.
///
/// # Errors
/// When it can't be read, is longer than a key, or everybody may read it.
pub fn read_secret_text(path: &Path) -> Result<Zeroizing<String>, KeysError> {
    let (text, metadata) = read_limited(path, MAX_KEY_BYTES)?;
    check_exposed(path, &metadata)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_the_first_line_of_a_file_that_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            read_secret_file(&path)
        };
        let secret = write("pass word\r\nnot this\n", 0o640).unwrap();
        assert_eq!(secret.expose_secret(), "pass word");
        assert!(!format!("{secret:?}").contains("pass word"));
        for (text, mode, part) in [
            (
                "pass word\n",
                0o644,
                "can be read by everybody on this machine (mode 644)",
            ),
            ("\npass word\n", 0o600, "empty in its first line"),
            (&"x".repeat(5000), 0o600, "longer than 4096 bytes"),
        ] {
            let error = write(text, mode).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("pass word"), "{error}");
        }
    }

    #[test]
    fn a_secret_text_is_read_whole_from_a_file_that_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.key");
        let read = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            read_secret_text(&path)
        };
        assert_eq!(read("one\ntwo\n", 0o600).unwrap().as_str(), "one\ntwo\n");
        assert_eq!(read("one\n", 0o640).unwrap().as_str(), "one\n", "a group may share it");
        for (text, mode, part) in [
            ("one\n", 0o644, "can be read by everybody on this machine (mode 644)"),
            (&*"x".repeat(20_000), 0o600, "longer than 16384 bytes"),
        ] {
            let error = read(text, mode).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("ca.key"), "{error}");
        }
    }

    #[test]
    fn nothing_is_unlocked_by_nothing() {
        let none = SecretFiles::default();
        let error = none.passphrases(Path::new("a.key")).unwrap_err().to_string();
        assert!(error.contains("the passphrase of a.key is needed"), "{error}");
        let error = none.pin("hsm").unwrap_err().to_string();
        assert!(error.contains("the PIN of token hsm is needed"), "{error}");
    }
}
