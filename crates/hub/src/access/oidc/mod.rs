//! People whom an OpenID Connect issuer vouches for: a signed JWT in, a name and roles out.
//!
//! The hub never talks to the issuer on a caller's behalf; it fetches the issuer's public keys and nothing else. What a
//! token says counts only after its signature was checked with one of them, by an algorithm of [`keys::ALGORITHMS`].

pub(crate) mod fetch;
mod keys;

use super::{Role, Roles};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use keys::{Key, KeySet};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tokens of usual issuers have one or two kilobytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// How far the issuer's clock may be from the hub's.
const LEEWAY_MS: u64 = 60_000;
/// Keys are fetched anew after this time, so that one that the issuer gave up isn't believed for good.
const FRESH_MS: u64 = 3_600_000;
/// Keys are believed for this long when the issuer can't be reached.
const STALE_MS: u64 = 24 * 3_600_000;
/// Between two fetches: made-up key ids make the hub ask the issuer no more often.
const FETCH_EVERY_MS: u64 = 30_000;

/// What the configuration says of the issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Its URL, as its tokens have it in `iss`.
    pub(crate) issuer: String,
    /// What its tokens have in `aud` when they are for this hub.
    pub(crate) audience: String,
    /// The claim with the groups, dots between nested ones.
    pub(crate) roles_claim: String,
    /// The claim that names people in the audit log.
    pub(crate) name_claim: String,
    /// Which group is which role.
    pub(crate) roles: Vec<(String, Role)>,
    /// The CA of an `https://` issuer.
    pub(crate) ca: Option<PathBuf>,
}

/// Somebody the issuer vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) roles: Roles,
    pub(crate) expires_ms: u64,
}

/// Why a token isn't believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// It is no JWT.
    #[error("the token is no JWT: {0}")]
    Malformed(String),
    /// Not an algorithm that is taken.
    #[error("the token is signed by algorithm {0:?}: expected RS256, ES256 or EdDSA")]
    Algorithm(String),
    /// It wants something that this hub doesn't know.
    #[error("the token has critical header fields, which this hub doesn't know")]
    Critical,
    /// It names no key that the issuer has.
    #[error("the token names key {0:?}, which the issuer doesn't have")]
    UnknownKey(String),
    /// The key is for another algorithm.
    #[error("the token is signed by {0:?}, and the issuer's key of that name is for another algorithm")]
    OtherAlgorithm(String),
    /// The signature isn't that of the key.
    #[error("the token's signature does not hold")]
    Signature,
    /// It is over.
    #[error("the token has expired; get another from the issuer")]
    Expired,
    /// It isn't valid so far.
    #[error("the token isn't valid yet; are the clocks of hub and issuer right?")]
    NotYet,
    /// Of another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// For somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// A claim is missing, or isn't what it has to be.
    #[error("the token's claim {0:?} is missing or not what it has to be")]
    Claim(String),
    /// It gives no role.
    #[error("the token has no group that is a role here; see `[oidc.roles]` of the hub")]
    NoRole,
    /// The issuer's keys can't be had.
    #[error("the issuer's keys can't be fetched: {0}")]
    Unavailable(String),
}

/// The issuer, as far as the hub knows it.
#[derive(Debug)]
pub(crate) struct Oidc {
    settings: Settings,
    fetcher: Arc<fetch::Fetcher>,
    /// Held for a look only, never while the issuer is asked.
    cache: Mutex<Cache>,
    /// Whoever asks the issuer, and those who can't go on without the answer.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Cache {
    keys: KeySet,
    fetched_ms: u64,
    /// `None` before the first.
    tried_ms: Option<u64>,
    problem: String,
}

/// What the hub knows of a key.
enum Found {
    /// The issuer has it.
    Fresh(Arc<Key>),
    /// The issuer had it, and should be asked again; believed until it answers.
    Old(Arc<Key>),
    /// It isn't known, or not believed any more.
    Nothing,
}

impl Cache {
    /// Whether the issuer's keys were had so lately that they are believed.
    fn is_known(&self, now_ms: u64) -> bool {
        self.fetched_ms > 0 && now_ms.saturating_sub(self.fetched_ms) < STALE_MS
    }

    fn find(&self, header: &Header, now_ms: u64) -> Found {
        let is_fresh = self.fetched_ms > 0 && now_ms.saturating_sub(self.fetched_ms) < FRESH_MS;
        match self.keys.find(header.kid.as_deref()) {
            Some(key) if is_fresh => Found::Fresh(key),
            Some(key) if self.is_known(now_ms) => Found::Old(key),
            _ => Found::Nothing,
        }
    }
}

/// The key, if it is for the algorithm that the token says.
fn fitting(key: Arc<Key>, header: &Header) -> Result<Arc<Key>, Refused> {
    if key.algorithm != header.algorithm {
        return Err(Refused::OtherAlgorithm(keys::name(header.algorithm).to_owned()));
    }
    Ok(key)
}

/// A token's header, as far as it decides.
struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
}

impl Oidc {
    /// An issuer that wasn't asked for anything so far.
    ///
    /// # Errors
    /// When its CA can't be read.
    pub(crate) fn new(settings: Settings) -> Result<Self, String> {
        keys::install();
        let fetcher = Arc::new(fetch::Fetcher::new(&settings.issuer, settings.ca.as_deref())?);
        Ok(Self {
            settings,
            fetcher,
            cache: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
        })
    }

    /// Whose token this is.
    pub(crate) async fn identify(&self, token: &str, now_ms: u64) -> Result<Identity, Refused> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refused::Malformed(format!("longer than {MAX_TOKEN_BYTES} bytes")));
        }
        let header = header(token)?;
        let key = self.key(&header, now_ms).await?;
        let claims = verified(token, &header, &key)?;
        self.identity(&claims, now_ms)
    }

    /// The key that a header names, asking the issuer for it where that is needed and hasn't just been done.
    ///
    /// An issuer that is slow holds up those whose key isn't known, and the one who asks: others, who can be judged, don't
    /// wait for the answer to somebody's made-up key id.
    async fn key(&self, header: &Header, now_ms: u64) -> Result<Arc<Key>, Refused> {
        let found = self.cache().find(header, now_ms);
        let turn = match found {
            Found::Fresh(key) => return fitting(key, header),
            Found::Old(key) => match self.fetching.try_lock() {
                Ok(turn) => turn,
                Err(_) => return fitting(key, header),
            },
            Found::Nothing => self.fetching.lock().await,
        };
        // Somebody else may have got it meanwhile.
        if let Found::Fresh(key) = self.cache().find(header, now_ms) {
            return fitting(key, header);
        }
        self.refresh(now_ms).await;
        drop(turn);
        let cache = self.cache();
        match cache.find(header, now_ms) {
            Found::Fresh(key) | Found::Old(key) => fitting(key, header),
            Found::Nothing if cache.is_known(now_ms) => {
                Err(Refused::UnknownKey(header.kid.clone().unwrap_or_default()))
            }
            Found::Nothing => Err(Refused::Unavailable(cache.problem.clone())),
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the issuer for its keys, unless that has just been done. By whoever has the turn, so that it isn't asked twice
    /// at once.
    async fn refresh(&self, now_ms: u64) {
        {
            let mut cache = self.cache();
            let is_due = |tried: u64| now_ms.saturating_sub(tried) >= FETCH_EVERY_MS;
            if !cache.tried_ms.is_none_or(is_due) {
                return;
            }
            cache.tried_ms = Some(now_ms);
        }
        let fetcher = Arc::clone(&self.fetcher);
        let fetched = tokio::task::spawn_blocking(move || fetcher.keys()).await;
        let mut cache = self.cache();
        match fetched.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(keys) => {
                tracing::info!(issuer = %self.settings.issuer, keys = keys.len(), "fetched the issuer's keys");
                (cache.keys, cache.fetched_ms) = (keys, now_ms.max(1));
            }
            Err(problem) => {
                tracing::warn!(issuer = %self.settings.issuer, "failed to fetch the issuer's keys: {problem}");
                cache.problem = problem;
            }
        }
    }

    /// What verified claims say.
    fn identity(&self, claims: &Value, now_ms: u64) -> Result<Identity, Refused> {
        let settings = &self.settings;
        if claims.get("iss").and_then(Value::as_str) != Some(settings.issuer.as_str()) {
            return Err(Refused::Issuer);
        }
        if !is_for(claims.get("aud"), &settings.audience) {
            return Err(Refused::Audience);
        }
        let expires_ms = time_ms(claims, "exp")?.ok_or_else(|| Refused::Claim("exp".to_owned()))?;
        if expires_ms.saturating_add(LEEWAY_MS) <= now_ms {
            return Err(Refused::Expired);
        }
        for claim in ["nbf", "iat"] {
            if time_ms(claims, claim)?.is_some_and(|from_ms| from_ms > now_ms.saturating_add(LEEWAY_MS)) {
                return Err(Refused::NotYet);
            }
        }
        let missing = || Refused::Claim(settings.name_claim.clone());
        let name = at(claims, &settings.name_claim)
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty() && name.len() <= 256)
            .ok_or_else(missing)?;
        let roles = self.roles(at(claims, &settings.roles_claim));
        if roles.is_empty() {
            return Err(Refused::NoRole);
        }
        Ok(Identity {
            name: name.to_owned(),
            roles,
            expires_ms,
        })
    }

    /// The roles of groups: a list of texts, or one with blanks between them as in `scope`.
    fn roles(&self, groups: Option<&Value>) -> Roles {
        let groups: Vec<&str> = match groups {
            Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(groups)) => groups.split(' ').collect(),
            _ => Vec::new(),
        };
        let mapped = self.settings.roles.iter();
        let roles: Vec<Role> = mapped
            .filter(|(group, _)| groups.contains(&group.as_str()))
            .map(|(_, role)| *role)
            .collect();
        Roles::of(&roles)
    }
}

/// Whether a text looks like a JWT: three parts with dots between.
pub(crate) fn looks_like_one(text: &str) -> bool {
    text.split('.').count() == 3 && text.starts_with("ey")
}

fn header(token: &str) -> Result<Header, Refused> {
    use base64::Engine as _;
    let malformed = |error: &dyn std::fmt::Display| Refused::Malformed(error.to_string());
    let first = token.split('.').next().unwrap_or_default();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(first)
        .map_err(|error| malformed(&error))?;
    let fields: Value = serde_json::from_slice(&bytes).map_err(|error| malformed(&error))?;
    let algorithm = fields.get("alg").and_then(Value::as_str).unwrap_or_default();
    let Some(algorithm) = keys::allowed(algorithm) else {
        return Err(Refused::Algorithm(algorithm.chars().take(32).collect()));
    };
    if fields.get("crit").is_some() {
        return Err(Refused::Critical);
    }
    let kid = fields.get("kid").and_then(Value::as_str);
    let kid = kid.map(|kid| kid.chars().take(256).collect());
    Ok(Header { algorithm, kid })
}

/// The claims of a token whose signature holds. What they say is checked by the hub's own clock, not here.
fn verified(token: &str, header: &Header, key: &Key) -> Result<Value, Refused> {
    let mut validation = Validation::new(header.algorithm);
    (
        validation.validate_exp,
        validation.validate_nbf,
        validation.validate_aud,
    ) = (false, false, false);
    validation.required_spec_claims.clear();
    jsonwebtoken::decode::<Value>(token, &key.decoding, &validation)
        .map(|data| data.claims)
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => Refused::Signature,
            _ => Refused::Malformed(error.to_string()),
        })
}

/// A nested claim; one whose own name has the dots comes first.
fn at<'a>(claims: &'a Value, path: &str) -> Option<&'a Value> {
    claims
        .get(path)
        .or_else(|| path.split('.').try_fold(claims, |value, name| value.get(name)))
}

fn is_for(audience: Option<&Value>, own: &str) -> bool {
    match audience {
        Some(Value::String(one)) => one == own,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(own)),
        _ => false,
    }
}

/// A time in seconds as milliseconds. One that is there has to be a number.
fn time_ms(claims: &Value, claim: &str) -> Result<Option<u64>, Refused> {
    match claims.get(claim) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(Some((seconds * 1000.0) as u64)),
            _ => Err(Refused::Claim(claim.to_owned())),
        },
    }
}

#[cfg(test)]
pub(crate) mod tests;
