//! What unlocks the keys of a command: files that it names, or the person at the terminal.

use anyhow::{Result, anyhow};
use clap::Args;
use floorhand_bundle::Signer;
use floorhand_keys::{
    ExposeSecret, KeyLocation, Keyring, KeysError, SecretFiles, SecretString, Unlock, read_secret_file,
};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// The fewest characters of a new passphrase: what NIST SP 800-63B asks for at least. scrypt makes each guess cost a
/// quarter of a second and 16 MiB, so that eight random characters take longer than a key lives.
const MIN_PASSPHRASE: usize = 8;

/// How a command that signs comes to passphrases and PINs
#[derive(Debug, Clone, Default, Args)]
pub struct UnlockArgs {
    /// A file whose first line is a key's passphrase, instead of asking for it. Given several times, each is tried
    #[arg(long = "passphrase-file", value_name = "FILE")]
    passphrase_files: Vec<PathBuf>,
    /// A file whose first line is the token's PIN, instead of asking for it
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// The PKCS #11 module of tokens whose URI names none
    #[arg(long, value_name = "FILE", env = "FLOORHAND_PKCS11_MODULE")]
    pkcs11_module: Option<PathBuf>,
}

impl UnlockArgs {
    /// What keys are opened with.
    pub fn keyring(&self) -> Keyring<'_> {
        Keyring {
            unlock: self,
            module: self.pkcs11_module.as_deref(),
        }
    }

    /// The key that `--key` names, ready to sign.
    pub fn signer(&self, location: &KeyLocation) -> Result<Box<dyn Signer>> {
        Ok(self.keyring().signer(location)?)
    }

    /// The keys that `--key` names, in their order.
    pub fn signers(&self, locations: &[KeyLocation]) -> Result<Vec<Box<dyn Signer>>> {
        locations.iter().map(|location| self.signer(location)).collect()
    }

    /// A passphrase for a new file: out of the one file that was named, or typed twice.
    pub fn new_passphrase(&self, what: &Path) -> Result<SecretString> {
        new_passphrase(&self.passphrase_files, what)
    }
}

impl Unlock for UnlockArgs {
    fn passphrases(&self, file: &Path) -> Result<Vec<SecretString>, KeysError> {
        if self.passphrase_files.is_empty() {
            let what = format!("the passphrase of {}", file.display());
            return ask(what, "--passphrase-file").map(|passphrase| vec![passphrase]);
        }
        let files = SecretFiles {
            passphrases: self.passphrase_files.clone(),
            pin: None,
        };
        files.passphrases(file)
    }

    fn pin(&self, token: &str) -> Result<SecretString, KeysError> {
        match &self.pin_file {
            Some(file) => read_secret_file(file),
            None => ask(format!("the PIN of token {token}"), "--pin-file"),
        }
    }
}

/// A passphrase for a new file: out of the file that was named, or typed twice.
pub fn new_passphrase(files: &[PathBuf], what: &Path) -> Result<SecretString> {
    let passphrase = match files {
        [] => typed_twice(what)?,
        [file] => read_secret_file(file)?,
        _ => {
            return Err(anyhow!(
                "a new passphrase is the first line of one file; several were given"
            ));
        }
    };
    if passphrase.expose_secret().chars().count() < MIN_PASSPHRASE {
        return Err(anyhow!(
            "a passphrase of fewer than {MIN_PASSPHRASE} characters is soon guessed by whoever has a copy of the file; take \
             a longer one"
        ));
    }
    Ok(passphrase)
}

fn typed_twice(what: &Path) -> Result<SecretString> {
    let first = ask(
        format!("a passphrase for {}", what.display()),
        "--passphrase-file, or no passphrase with --no-passphrase",
    )?;
    let second = ask("the same passphrase once more".to_owned(), "--passphrase-file")?;
    if first.expose_secret() == second.expose_secret() {
        Ok(first)
    } else {
        Err(anyhow!("the two passphrases are not the same; nothing was written"))
    }
}

/// Asks on the terminal, without showing what is typed.
fn ask(what: String, option: &str) -> Result<SecretString, KeysError> {
    let not_given = |why: &str| KeysError::NotGiven {
        what: what.clone(),
        advice: format!("{why}; give it with {option}"),
    };
    if !std::io::stdin().is_terminal() {
        return Err(not_given("there is no terminal to ask on"));
    }
    // Asks on the terminal itself, so that standard output carries results alone.
    rpassword::prompt_password(format!("{}: ", capitalised(&what)))
        .map(SecretString::from)
        .map_err(|error| not_given(&format!("nothing was typed ({error})")))
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}
