//! The file, taken apart key by key. Every mistake is kept instead of stopping at the first.
//!
//! A key that nobody asked for is unknown, and refused: a misspelt one would otherwise be a default in disguise.

use super::HTTP_LISTEN;
use crate::access::Role;
use std::path::PathBuf;
use toml::{Table, Value};

/// The file. Paths in it are relative to its folder. What is required is `None` only where that was told as a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// The fleet's name, as the trust root has it. Required.
    pub(super) fleet: Option<String>,
    /// Where the hub keeps bundles and, with SQLite, its database. Default: `floorhand-hub` beside the file.
    pub(super) data_dir: PathBuf,
    /// `sqlite://PATH` or `postgres://USER@HOST/NAME`. Default: SQLite in `data_dir`.
    pub(super) database: Option<String>,
    /// The key that signs assignments, commands and acks: PEM, Ed25519; or `pkcs11:...`, one in a token, whose URI names
    /// the module and a file with the PIN. Required.
    pub(super) assignment_key: Option<String>,
    /// The key that takes its place with the next trust root, while the roots change. Default: none.
    pub(super) next_assignment_key: Option<String>,
    /// A file whose first line is the passphrase of these keys. Default: none.
    pub(super) assignment_key_passphrase_file: Option<PathBuf>,
    /// The fleet's trust root, `root.cose`: any version that names the key. Required.
    pub(super) trust_root: Option<PathBuf>,
    /// Where the API and the pages are. Default: `127.0.0.1:8460`.
    pub(super) http_listen: String,
    /// Whether `http_listen` may be an address that others can reach although there is no `[http_tls]`: tokens and all that
    /// is asked and answered go through the network for everybody to read. Default: false.
    pub(super) http_without_tls: bool,
    /// A file whose first line is a token of the role admin. Named tokens (`floorhand hub token new`) are better: each can be
    /// revoked, and says in the audit log who it was. Default: none.
    pub(super) api_token_file: Option<PathBuf>,
    /// The MQTT 5 broker: `mqtt://HOST:PORT`, or `mqtts://HOST:PORT` with `[tls]`. Default: the embedded one.
    pub(super) broker: Option<String>,
    /// The loopback address of the broker that runs inside the hub when `broker` isn't given. Default: `127.0.0.1:1883`.
    pub(super) embedded_broker: Option<String>,
    /// Who the hub is to the broker, client id and, in its certificate, common name. Hubs that share a broker need one
    /// each. Default: `hub`.
    pub(super) identity: String,
    /// Hubs of one group share what devices send. Default: none, this hub takes all of it.
    pub(super) share_group: Option<String>,
    /// For how long an assignment can be begun, in seconds. Default: 604800, a week.
    pub(super) assignment_ttl_s: u64,
    /// For how long a command can be begun, in seconds. Default: 300.
    pub(super) command_ttl_s: u64,
    /// For how long telemetry is kept, in days. Default: 30.
    pub(super) telemetry_retention_days: u64,
    /// The largest bundle that is taken, in bytes. Default: 268435456, 256 MiB.
    pub(super) max_bundle_bytes: u64,
    /// Files for an `mqtts://` broker.
    pub(super) tls: Option<FileTls>,
    /// Files for `https://`. Default: none, plain HTTP.
    pub(super) http_tls: Option<FileHttpTls>,
    /// An OpenID Connect issuer that vouches for people. Default: none.
    pub(super) oidc: Option<FileOidc>,
    /// How devices get their certificates.
    pub(super) enrolment: Option<FileEnrolment>,
}

/// `[http_tls]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileHttpTls {
    /// The certificate of the API and the pages, with those between it and its CA: PEM. Required.
    pub(super) cert: Option<PathBuf>,
    /// The certificate's key: PEM. Required.
    pub(super) key: Option<PathBuf>,
}

/// `[oidc]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileOidc {
    /// The issuer's URL, as its tokens have it in `iss`. Required.
    pub(super) issuer: Option<String>,
    /// What tokens for this hub have in `aud`. Required.
    pub(super) audience: Option<String>,
    /// The claim with a person's groups; dots between nested ones. Default: `groups`.
    pub(super) roles_claim: String,
    /// The claim that names a person in the audit log. Default: `sub`.
    pub(super) name_claim: String,
    /// The CA of the issuer's certificate: PEM, one or several. Required for an `https://` issuer.
    pub(super) ca: Option<PathBuf>,
    /// `[oidc.roles]`: the groups that are a role each, as in `operator = ["shift-leads"]`. At least one.
    pub(super) roles: Vec<(String, Role)>,
}

/// `[tls]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileTls {
    /// The CA that the broker's certificate is from: PEM. Required.
    pub(super) ca: Option<PathBuf>,
    /// The hub's certificate: PEM. Required.
    pub(super) cert: Option<PathBuf>,
    /// The certificate's key: PEM. Required.
    pub(super) key: Option<PathBuf>,
}

/// `[enrolment]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileEnrolment {
    /// The fleet CA's certificate, and those above it: PEM. Required.
    pub(super) ca: Option<PathBuf>,
    /// The CA's key: PEM, PKCS #8. Required.
    pub(super) ca_key: Option<PathBuf>,
    /// The broker's address, as devices reach it. Default: `broker`, where that is `mqtts://`.
    pub(super) broker: Option<String>,
    /// The CA that the broker's certificate is from. Default: `tls.ca`, and without it `ca`.
    pub(super) broker_ca: Option<PathBuf>,
    /// For how long a device's certificate is valid, in seconds. Default: 7776000, 90 days.
    pub(super) certificate_ttl_s: u64,
    /// The CA that the certificate is from which devices meet at the API's `https://`. Its digest goes into tokens. Default:
    /// none.
    pub(super) api_ca: Option<PathBuf>,
    /// Names that no device may have, beside `identity`: those of other hubs, and of people who watch. Default: none.
    pub(super) reserved: Vec<String>,
}

/// Reads the file; `None` when it isn't TOML.
pub(super) fn file(text: &str, problems: &mut Vec<String>) -> Option<File> {
    let table = text
        .parse::<Table>()
        .map_err(|error| problems.push(error.to_string().trim_end().to_owned()))
        .ok()?;
    let mut top = Reader::new(table, "", problems);
    let tls = top.section("tls");
    let http_tls = top.section("http_tls");
    let oidc = top.section("oidc");
    let mut file = File {
        fleet: top.need("fleet"),
        data_dir: top.path("data_dir").unwrap_or_else(|| PathBuf::from("floorhand-hub")),
        database: top.text("database"),
        assignment_key: top.need("assignment_key"),
        next_assignment_key: top.text("next_assignment_key"),
        assignment_key_passphrase_file: top.path("assignment_key_passphrase_file"),
        trust_root: top.need("trust_root").map(PathBuf::from),
        http_listen: top.text("http_listen").unwrap_or_else(|| HTTP_LISTEN.to_owned()),
        http_without_tls: top.flag("http_without_tls").unwrap_or(false),
        api_token_file: top.path("api_token_file"),
        broker: top.text("broker"),
        embedded_broker: top.text("embedded_broker"),
        identity: top.text("identity").unwrap_or_else(|| "hub".to_owned()),
        share_group: top.text("share_group"),
        assignment_ttl_s: top.number("assignment_ttl_s").unwrap_or(7 * 24 * 3600),
        command_ttl_s: top.number("command_ttl_s").unwrap_or(300),
        telemetry_retention_days: top.number("telemetry_retention_days").unwrap_or(30),
        max_bundle_bytes: top.number("max_bundle_bytes").unwrap_or(256 << 20),
        tls: None,
        http_tls: None,
        oidc: None,
        enrolment: None,
    };
    let enrolment = top.section("enrolment");
    top.finish();
    file.tls = tls.map(|table| file_tls(table, problems));
    file.http_tls = http_tls.map(|table| file_http_tls(table, problems));
    file.oidc = oidc.map(|table| file_oidc(table, problems));
    file.enrolment = enrolment.map(|table| file_enrolment(table, problems));
    Some(file)
}

fn file_tls(table: Table, problems: &mut Vec<String>) -> FileTls {
    let mut section = Reader::new(table, "tls.", problems);
    let tls = FileTls {
        ca: section.need("ca").map(PathBuf::from),
        cert: section.need("cert").map(PathBuf::from),
        key: section.need("key").map(PathBuf::from),
    };
    section.finish();
    tls
}

fn file_http_tls(table: Table, problems: &mut Vec<String>) -> FileHttpTls {
    let mut section = Reader::new(table, "http_tls.", problems);
    let tls = FileHttpTls {
        cert: section.need("cert").map(PathBuf::from),
        key: section.need("key").map(PathBuf::from),
    };
    section.finish();
    tls
}

fn file_oidc(table: Table, problems: &mut Vec<String>) -> FileOidc {
    let mut section = Reader::new(table, "oidc.", problems);
    let roles = section.section("roles");
    let mut oidc = FileOidc {
        issuer: section.need("issuer"),
        audience: section.need("audience"),
        roles_claim: section.text("roles_claim").unwrap_or_else(|| "groups".to_owned()),
        name_claim: section.text("name_claim").unwrap_or_else(|| "sub".to_owned()),
        ca: section.path("ca"),
        roles: Vec::new(),
    };
    section.finish();
    let mut section = Reader::new(roles.unwrap_or_default(), "oidc.roles.", problems);
    for role in Role::ALL {
        let groups = section.texts(role.name()).unwrap_or_default();
        oidc.roles.extend(groups.into_iter().map(|group| (group, role)));
    }
    section.finish();
    oidc
}

fn file_enrolment(table: Table, problems: &mut Vec<String>) -> FileEnrolment {
    let mut section = Reader::new(table, "enrolment.", problems);
    let enrolment = FileEnrolment {
        ca: section.need("ca").map(PathBuf::from),
        ca_key: section.need("ca_key").map(PathBuf::from),
        broker: section.text("broker"),
        broker_ca: section.path("broker_ca"),
        certificate_ttl_s: section.number("certificate_ttl_s").unwrap_or(90 * 24 * 3600),
        api_ca: section.path("api_ca"),
        reserved: section.texts("reserved").unwrap_or_default(),
    };
    section.finish();
    enrolment
}

/// One table of the file.
struct Reader<'a> {
    table: Table,
    /// The table's own key with a dot, or nothing at the top.
    prefix: &'static str,
    problems: &'a mut Vec<String>,
    known: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    fn new(table: Table, prefix: &'static str, problems: &'a mut Vec<String>) -> Self {
        Self {
            table,
            prefix,
            problems,
            known: Vec::new(),
        }
    }

    /// A text that has to be there.
    fn need(&mut self, key: &'static str) -> Option<String> {
        if !self.table.contains_key(key) {
            self.known.push(key);
            return self.refuse(key, "is missing");
        }
        self.text(key)
    }

    fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) if !text.is_empty() && !text.contains('\0') => Some(text),
            Value::String(_) => self.refuse(key, "is empty; leave the key out, or give it a text"),
            other => self.wrong(key, "a text in quotes", &other),
        }
    }

    fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    fn number(&mut self, key: &'static str) -> Option<u64> {
        match self.take(key)? {
            Value::Integer(number) => match u64::try_from(number) {
                Ok(number) => Some(number),
                Err(_) => self.refuse(key, "is below 0"),
            },
            other => self.wrong(key, "a whole number", &other),
        }
    }

    fn flag(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)? {
            Value::Boolean(flag) => Some(flag),
            other => self.wrong(key, "true or false", &other),
        }
    }

    fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let expected = "a list of texts in quotes";
        let Value::Array(values) = self.take(key)? else {
            return self.refuse(key, &format!("has to be {expected}"));
        };
        let texts = values
            .iter()
            .map(|value| value.as_str().filter(|text| !text.is_empty()));
        match texts.map(|text| text.map(str::to_owned)).collect() {
            Some(texts) => Some(texts),
            None => self.refuse(key, &format!("has to be {expected}, none of them empty")),
        }
    }

    fn section(&mut self, key: &'static str) -> Option<Table> {
        match self.take(key)? {
            Value::Table(table) => Some(table),
            other => self.wrong(key, "a section in brackets", &other),
        }
    }

    /// Refuses what nobody asked for.
    fn finish(self) {
        for key in self.table.keys() {
            let known = self.known.join(", ");
            self.problems
                .push(format!("unknown key `{}{key}`; known here are {known}", self.prefix));
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    fn refuse<T>(&mut self, key: &str, problem: &str) -> Option<T> {
        self.problems.push(format!("`{}{key}` {problem}", self.prefix));
        None
    }

    /// The value itself isn't shown: it may be a password in the wrong place.
    fn wrong<T>(&mut self, key: &str, expected: &str, found: &Value) -> Option<T> {
        let kind = found.type_str();
        self.refuse(key, &format!("has to be {expected}, and is of type {kind}"))
    }
}
