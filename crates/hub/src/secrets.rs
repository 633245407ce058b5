//! What the configuration names: the trust root, the key that signs under it, the API's token, the broker's TLS files.
//! Opened in one pass with the configuration itself, so that every mistake comes at once.

use crate::access::oidc::Oidc;
use crate::authority::Authority;
use crate::clock::now_ms;
use crate::config::{Config, ConfigError, Draft, EnrolmentFiles, HubArgs};
use crate::fleet::Enrolment;
use crate::{http, link};
use floorhand_bundle::{Digest, MAX_ROOT_BYTES, Role, Signer, TrustRoot, Verified};
use floorhand_keys::{KeyLocation, Keyring, KeysError, SecretFiles, Zeroizing, read_secret_text};
use floorhand_transport::ConfigError as TransportError;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A key or a token is far shorter.
const MAX_SECRET_BYTES: u64 = 16 * 1024;

/// What a hub acts by. It has no `Debug`, so that no log can have it.
pub(crate) struct Secrets {
    /// Whose signatures count.
    pub(crate) root: Verified<TrustRoot>,
    /// The key that signs assignments, commands and acks; it, or the next one, is in the root's assignment role.
    pub(crate) key: Box<dyn Signer>,
    /// The key that takes its place with the next root.
    pub(crate) next_key: Option<Box<dyn Signer>>,
    /// A token of the role admin.
    pub(crate) api_token: Option<String>,
    /// What `https://` is served with.
    pub(crate) http_tls: Option<Arc<rustls::ServerConfig>>,
    /// Who vouches for people.
    pub(crate) oidc: Option<Oidc>,
    /// What devices get their certificates by.
    pub(crate) enrolment: Option<Enrolment>,
}

/// Reads the configuration and everything that it names. The error has every mistake in them.
pub(crate) fn open(args: &HubArgs) -> Result<(Config, Secrets), ConfigError> {
    let Draft {
        config,
        mut problems,
        files,
    } = Draft::load(args);
    let missing = missing(&files, &mut problems);
    let opened = config.and_then(|config| {
        let reading = Reading {
            config: &config,
            missing: &missing,
            problems: &mut problems,
        };
        let secrets = reading.secrets()?;
        Some((config, secrets))
    });
    match opened {
        Some(opened) if problems.is_empty() => Ok(opened),
        _ => Err(ConfigError {
            file: args.config.clone(),
            problems,
        }),
    }
}

/// Files that can't be opened; each is told.
fn missing(files: &[(&'static str, PathBuf)], problems: &mut Vec<String>) -> BTreeSet<PathBuf> {
    let mut missing = BTreeSet::new();
    for (key, path) in files {
        let problem = match File::open(path).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_dir() => "is a folder; name a file".to_owned(),
            Ok(_) => continue,
            Err(error) => format!("can't be opened: {error}"),
        };
        problems.push(format!("`{key}`: {}: {problem}", path.display()));
        missing.insert(path.clone());
    }
    missing
}

/// The files of a configuration while they are read.
struct Reading<'a> {
    config: &'a Config,
    /// Files that were told to be missing, of which nothing more is said.
    missing: &'a BTreeSet<PathBuf>,
    problems: &'a mut Vec<String>,
}

impl Reading<'_> {
    fn secrets(mut self) -> Option<Secrets> {
        let root = self.root();
        let config = self.config;
        let key = self.key("assignment_key", &config.assignment_key);
        let next_key = match &config.next_assignment_key {
            Some(location) => self.key("next_assignment_key", location).map(Some),
            None => Some(None),
        };
        if let (Some(root), Some(key), Some(next_key)) = (&root, &key, &next_key) {
            self.check_role(root, key.as_ref(), next_key.as_deref());
        }
        let api_token = match &self.config.api_token_file {
            Some(path) => self.token(path).map(Some),
            None => Some(None),
        };
        let http_tls = self.http_tls();
        let oidc = self.oidc();
        self.check_broker();
        let enrolment = match &self.config.enrolment {
            Some(files) => self.enrolment(files).map(Some),
            None => Some(None),
        };
        Some(Secrets {
            root: root?,
            key: key?,
            next_key: next_key?,
            api_token: api_token?,
            http_tls: http_tls?,
            oidc: oidc?,
            enrolment: enrolment?,
        })
    }

    fn root(&mut self) -> Option<Verified<TrustRoot>> {
        let path = &self.config.trust_root;
        let bytes = self.bytes("trust_root", path, MAX_ROOT_BYTES as u64)?;
        let root = TrustRoot::open_pinned(&bytes);
        let root = root.map_err(|error| self.found("trust_root", path, &error)).ok()?;
        if root.fleet != self.config.fleet {
            let problem = format!(
                "it is the root of fleet {}, and `fleet` is {}",
                root.fleet, self.config.fleet
            );
            self.found("trust_root", path, &problem);
        }
        Some(root)
    }

    fn key(&mut self, name: &str, location: &KeyLocation) -> Option<Box<dyn Signer>> {
        let passphrase = &self.config.assignment_key_passphrase_file;
        let files = match location {
            KeyLocation::File(path) => [Some(path), passphrase.as_ref()],
            KeyLocation::Token(_) => [None, None],
        };
        if files.into_iter().flatten().any(|path| self.missing.contains(path)) {
            return None;
        }
        let unlock = SecretFiles {
            passphrases: passphrase.iter().cloned().collect(),
            pin: None,
        };
        let keyring = Keyring {
            unlock: &unlock,
            module: None,
        };
        let key = keyring.signer(location);
        key.map_err(|error| self.problems.push(key_problem(name, &error))).ok()
    }

    fn check_role(&mut self, root: &TrustRoot, key: &dyn Signer, next: Option<&dyn Signer>) {
        let role = root.role(Role::Assignment);
        let listed = |key: &dyn Signer| role.keys.contains(&key.public());
        if !listed(key) && !next.is_some_and(listed) {
            let problem = format!(
                "key {} is not in the assignment role of the trust root",
                key.public().id()
            );
            let location = &self.config.assignment_key;
            self.problems.push(format!("`assignment_key`: {location}: {problem}"));
        }
        if role.threshold != 1 {
            let problem = "the trust root wants several keys to sign an assignment, and a hub has one";
            self.found("trust_root", &self.config.trust_root, &problem);
        }
    }

    fn token(&mut self, path: &Path) -> Option<String> {
        let text = self.bytes("api_token_file", path, MAX_SECRET_BYTES)?;
        let text = String::from_utf8_lossy(&text);
        let token = text.lines().next().unwrap_or_default().trim();
        if token.len() < http::MIN_TOKEN {
            let problem = format!("the token has fewer than {} characters", http::MIN_TOKEN);
            self.found("api_token_file", path, &problem);
            return None;
        }
        Some(token.to_owned())
    }

    /// What `https://` is served with; `None` when that can't be had, which is told.
    fn http_tls(&mut self) -> Option<Option<Arc<rustls::ServerConfig>>> {
        let Some(files) = &self.config.http_tls else {
            return Some(None);
        };
        if self.missing.contains(&files.cert) || self.missing.contains(&files.key) {
            return None;
        }
        let opened = http::tls::open(files);
        let opened = opened.map_err(|problem| self.problems.push(format!("`http_tls`: {problem}")));
        opened.ok().map(Some)
    }

    /// Who vouches for people; `None` when that can't be had, which is told.
    fn oidc(&mut self) -> Option<Option<Oidc>> {
        let Some(settings) = &self.config.oidc else {
            return Some(None);
        };
        if settings.ca.as_ref().is_some_and(|ca| self.missing.contains(ca)) {
            return None;
        }
        let opened = Oidc::new(settings.clone());
        let opened = opened.map_err(|problem| self.problems.push(format!("`oidc.ca`: {problem}")));
        opened.ok().map(Some)
    }

    fn enrolment(&mut self, files: &EnrolmentFiles) -> Option<Enrolment> {
        let certificates = self.bytes("enrolment.ca", &files.ca, MAX_SECRET_BYTES);
        let key = self.secret_text("enrolment.ca_key", &files.ca_key);
        let broker_ca = match &files.broker_ca {
            Some(path) => self.certificates("enrolment.broker_ca", path),
            None => Some(Vec::new()),
        };
        let api_ca = match &files.api_ca {
            Some(path) => self.certificates("enrolment.api_ca", path).map(Some),
            None => Some(None),
        };
        let authority = Authority::open(certificates.as_ref()?, key.as_ref()?, now_ms());
        let authority = authority
            .map_err(|error| self.found("enrolment.ca", &files.ca, &error))
            .ok()?;
        let mut reserved = files.reserved.clone();
        reserved.push(self.config.identity.clone());
        Some(Enrolment {
            authority,
            broker: files.broker.clone(),
            broker_ca: broker_ca?,
            certificate_ttl_ms: files.certificate_ttl_ms,
            // The last of several is the one at the top.
            api_ca: api_ca?.and_then(|all| all.last().map(|top| Digest::of(top))),
            reserved,
        })
    }

    /// A secret that lies open to nobody; `None` when it can't be had, which is told.
    fn secret_text(&mut self, key: &str, path: &Path) -> Option<Zeroizing<String>> {
        if self.missing.contains(path) {
            return None;
        }
        let text = read_secret_text(path);
        // The error names the file.
        text.map_err(|error| self.problems.push(format!("`{key}`: {error}")))
            .ok()
    }

    /// The certificates of a PEM file, of which there has to be one.
    fn certificates(&mut self, key: &str, path: &Path) -> Option<Vec<Vec<u8>>> {
        let bytes = self.bytes(key, path, MAX_SECRET_BYTES)?;
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        match all {
            Ok(all) if !all.is_empty() => Some(all.iter().map(|one| one.to_vec()).collect()),
            Ok(_) => {
                self.found(key, path, &"there is no certificate in it (PEM expected)");
                None
            }
            Err(error) => {
                self.found(key, path, &error);
                None
            }
        }
    }

    fn check_broker(&mut self) {
        let errors = match link::client_config(self.config).check() {
            Ok(()) => return,
            Err(TransportError::Several(errors)) => errors,
            Err(error) => vec![error],
        };
        let is_told = |error: &TransportError| match error {
            TransportError::File { path, .. } => self.missing.contains(path),
            _ => false,
        };
        let untold = errors.iter().filter(|&error| !is_told(error));
        let untold: Vec<String> = untold.map(|error| format!("broker: {error}")).collect();
        self.problems.extend(untold);
    }

    /// A file's bytes; `None` when they can't be had, which is told.
    fn bytes(&mut self, key: &str, path: &Path, most: u64) -> Option<Vec<u8>> {
        if self.missing.contains(path) {
            return None;
        }
        let bytes = read_limited(path, most);
        bytes.map_err(|error| self.found(key, path, &error)).ok()
    }

    fn found(&mut self, key: &str, path: &Path, problem: &dyn Display) {
        self.problems.push(format!("`{key}`: {}: {problem}", path.display()));
    }
}

/// What is wrong with the hub's key, with the setting that mends it.
fn key_problem(name: &str, error: &KeysError) -> String {
    match error {
        KeysError::NotGiven { what, .. } if what.contains("passphrase") => {
            format!("`{name}`: {what} is needed: set `assignment_key_passphrase_file`")
        }
        _ => format!("`{name}`: {error}"),
    }
}

/// Reads a file of at most `most` bytes.
fn read_limited(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most {
        Err(format!("longer than {most} bytes"))
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{key, root};
    use clap::Parser;
    use floorhand_keys::{SecretString, encrypted_text};
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        hub: HubArgs,
    }

    /// A folder with a root, two keys, of which `assignment.pem` is the one in the root, and this configuration.
    fn folder(text: &str) -> (tempfile::TempDir, HubArgs) {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("root.cose", root().envelope());
        write("assignment.pem", key(2).to_pem().unwrap().as_bytes());
        write("other.pem", key(3).to_pem().unwrap().as_bytes());
        write("open.pem", key(2).to_pem().unwrap().as_bytes());
        let passphrase = SecretString::from("correct horse");
        let encrypted = encrypted_text(&key(2), &passphrase, &[1; 32]).unwrap();
        write("encrypted.pem", encrypted.as_bytes());
        write("passphrase", b"correct horse\n");
        write("another", b"battery staple\n");
        for name in ["assignment.pem", "other.pem", "encrypted.pem", "passphrase", "another"] {
            std::fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o600)).unwrap();
        }
        write("short", b"token\n");
        write("hub.toml", text.as_bytes());
        let path = dir.path().join("hub.toml");
        let args = Cli::parse_from([Path::new("hub"), Path::new("--config"), path.as_path()]).hub;
        (dir, args)
    }

    fn check(text: &str, parts: &[&str]) {
        let (_dir, args) = folder(text);
        let error = open(&args).map(drop).unwrap_err();
        for part in parts {
            assert!(
                error.problems.iter().any(|problem| problem.contains(part)),
                "{part:?} is not in {error}"
            );
        }
        assert_eq!(error.problems.len(), parts.len(), "{error}");
    }

    #[test]
    fn what_is_right_is_opened() {
        let (_dir, args) = folder("fleet = 'plant-a'\nassignment_key = 'assignment.pem'\ntrust_root = 'root.cose'");
        let (config, secrets) = open(&args).unwrap();
        assert_eq!(config.fleet, secrets.root.fleet);
        assert_eq!(secrets.api_token, None);
    }

    #[test]
    fn an_encrypted_key_is_opened_with_its_passphrase_file() {
        const BASE: &str = "fleet = 'plant-a'\ntrust_root = 'root.cose'\n";
        let with = |lines: &str| format!("{BASE}{lines}");
        let passphrase = "assignment_key = 'encrypted.pem'\nassignment_key_passphrase_file = 'passphrase'";
        let (_dir, args) = folder(&with(passphrase));
        assert_eq!(open(&args).unwrap().1.key.public(), key(2).public());
        for (lines, part) in [
            (
                "assignment_key = 'encrypted.pem'",
                "set `assignment_key_passphrase_file`",
            ),
            (
                &passphrase.replace("'passphrase'", "'another'"),
                "does not open the key",
            ),
            (
                &passphrase.replace("'passphrase'", "'none'"),
                "`assignment_key_passphrase_file`: ",
            ),
            (
                "assignment_key = 'open.pem'",
                "can be read by everybody on this machine",
            ),
            ("assignment_key = 'pkcs11:token=a'", "module-path"),
            (
                "assignment_key = 'pkcs11:token=a?module-path=/none.so'",
                "module /none.so can't be used",
            ),
            ("assignment_key = 'pkcs11:colour=a'", "\"colour\" is not known"),
        ] {
            check(&with(lines), &[part]);
        }
    }

    #[test]
    fn a_key_of_the_ca_that_lies_open_is_refused() {
        const TEXT: &str = "fleet = 'plant-a'\nassignment_key = 'assignment.pem'\ntrust_root = 'root.cose'\n\
             [enrolment]\nca = 'ca.pem'\nca_key = 'ca.key'";
        let (dir, args) = folder(TEXT);
        let pair = Authority::create(&"plant-a.ca".parse().unwrap(), now_ms(), 3_600_000).unwrap();
        let path = dir.path().join("ca.key");
        std::fs::write(dir.path().join("ca.pem"), pair.certificate).unwrap();
        std::fs::write(&path, pair.key).unwrap();
        let with = |mode| {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            open(&args).map(|(_, secrets)| secrets.enrolment.is_some())
        };
        assert!(with(0o640).unwrap());
        let problems = with(0o644).unwrap_err().problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        let told = "can be read by everybody on this machine (mode 644)";
        assert!(
            problems[0].contains("`enrolment.ca_key`") && problems[0].contains(told),
            "{problems:?}"
        );
    }

    #[test]
    fn every_file_that_is_wrong_is_told_at_once() {
        check(
            "fleet = 'plant-a'\nassignment_key = 'none.pem'\ntrust_root = 'none.cose'\napi_token_file = 'none'\n\
             broker = 'mqtts://b'\n[tls]\nca = 'ca.pem'\ncert = 'cert.pem'\nkey = 'key.pem'",
            &[
                "`assignment_key`: ",
                "`trust_root`: ",
                "`api_token_file`: ",
                "`tls.ca`: ",
                "`tls.cert`: ",
                "`tls.key`: ",
            ],
        );
        check(
            "fleet = 'plant-b'\nassignment_key = 'other.pem'\ntrust_root = 'root.cose'\napi_token_file = 'short'\n\
             broker = 'mqtts://b'",
            &[
                "it is the root of fleet plant-a",
                "is not in the assignment role",
                "the token has fewer than",
                "broker: ",
            ],
        );
    }

    #[test]
    fn a_wrong_value_hides_no_missing_file() {
        check(
            "fleet = 'plant a'\nassignment_key = 'none.pem'\ntrust_root = '.'\ncolour = 'red'",
            &["`fleet`: ", "unknown key `colour`", "`assignment_key`: ", "is a folder"],
        );
        let (dir, mut args) = folder("");
        args.config = dir.path().join("none.toml");
        let error = open(&args).map(drop).unwrap_err().to_string();
        assert!(error.contains("none.toml: can't be read"), "{error}");
    }
}
