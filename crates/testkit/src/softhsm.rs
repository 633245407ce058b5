//! Tokens without hardware: SoftHSM with its own folder, which ends with the test.
//!
//! SoftHSM finds its folder by an environment variable, which a process can't safely change for itself: the code that is
//! tested runs in a process of its own, started with [`SoftHsm::environment`].

use anyhow::{Context as _, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where distributions and Homebrew put the module.
const MODULES: [&str; 6] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    "/usr/lib/libsofthsm2.so",
];
/// The program that makes tokens.
const UTILITY: &str = "softhsm2-util";
/// Set where a token test that doesn't run must not look like one that passed.
const REQUIRED_BY: [&str; 2] = ["CI", "FLOORHAND_REQUIRE_SOFTHSM"];
/// The security officer's PIN, which only making a token needs.
const OFFICER_PIN: &str = "87654321";

/// A folder with tokens.
#[derive(Debug)]
pub struct SoftHsm {
    dir: tempfile::TempDir,
    module: PathBuf,
}

impl SoftHsm {
    /// The PIN of each token.
    pub const PIN: &str = "pin-1234";

    /// A folder without tokens; `None`, with a message, where there is no SoftHSM.
    ///
    /// # Panics
    /// When there is none and `CI` or `FLOORHAND_REQUIRE_SOFTHSM` is set, or when there is one and it fails.
    #[must_use]
    #[expect(
        clippy::panic,
        clippy::print_stderr,
        reason = "this is a test's own failure and a test's own message"
    )]
    pub fn start_or_skip() -> Option<Self> {
        let required = REQUIRED_BY.iter().any(|name| std::env::var_os(name).is_some());
        let module = MODULES.iter().map(PathBuf::from).find(|module| module.is_file());
        match module {
            None if required => panic!("SoftHSM is missing: install it (Debian: apt install softhsm2)"),
            None => {
                eprintln!("SKIPPED: needs SoftHSM: install softhsm2 (Debian: apt install softhsm2)");
                None
            }
            Some(module) => match Self::start(module) {
                Ok(started) => Some(started),
                Err(error) => panic!("failed to start the test's SoftHSM: {error:#}"),
            },
        }
    }

    fn start(module: PathBuf) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("floorhand-softhsm-").tempdir()?;
        let tokens = dir.path().join("tokens");
        std::fs::create_dir(&tokens)?;
        let config = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
        std::fs::write(dir.path().join("softhsm2.conf"), config)?;
        Ok(Self { dir, module })
    }

    /// Makes a token with this label and [`SoftHsm::PIN`].
    ///
    /// # Errors
    /// When SoftHSM refuses.
    pub fn add_token(&self, label: &str) -> anyhow::Result<()> {
        let (variable, config) = self.environment();
        let made = Command::new(UTILITY)
            .args([
                "--init-token",
                "--free",
                "--label",
                label,
                "--pin",
                Self::PIN,
                "--so-pin",
                OFFICER_PIN,
            ])
            .env(variable, config)
            .output()
            .context(UTILITY)?;
        ensure!(
            made.status.success(),
            "{UTILITY}: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        Ok(())
    }

    /// The PKCS #11 module.
    #[must_use]
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// The variable, with its value, by which a process finds these tokens.
    #[must_use]
    pub fn environment(&self) -> (&'static str, PathBuf) {
        ("SOFTHSM2_CONF", self.dir.path().join("softhsm2.conf"))
    }
}
