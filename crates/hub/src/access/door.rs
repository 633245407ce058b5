//! The door: who shows what is let in as whom. It knows credentials, limits and the database, and no HTTP.
//!
//! A hub on loopback that has neither `api_token_file` nor an issuer nor ever had a token is open: whoever can reach it is on
//! the machine and may everything. The first token closes it for good.

use super::limits::{Buckets, Rate};
use super::oidc::{self, Oidc, Refused};
use super::{Actor, Kind, Method, Role, Roles, tokens};
use crate::audit::Note;
use crate::database::{Database, DatabaseError, SessionRow, TokenRow, unsigned};
use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Requests of one identity: a script that asks in a loop is slowed, a page or a rollout never.
const OF_ONE: Rate = Rate {
    per_s: 100.0,
    burst: 1000.0,
};
/// Requests of one address that show nothing: login pages, health checks, scanners.
const UNKNOWN: Rate = Rate {
    per_s: 20.0,
    burst: 100.0,
};
/// Credentials of one address that are wrong.
const WRONG: Rate = Rate {
    per_s: 0.2,
    burst: 10.0,
};
/// Identities and addresses whose use is remembered: at 64 bytes each, some hundred kilobytes.
const MAX_KEYS: usize = 4096;
/// Credentials that were right lately, which an address with too many wrong ones may go on to use.
const MAX_PROVEN: usize = 1024;
/// Refused credentials that get an entry in the audit log each minute; further ones are counted in the next entry.
const TOLD_EACH_MINUTE: u32 = 10;
/// How long a browser is logged in.
pub(crate) const SESSION_MS: u64 = 8 * 3_600_000;

/// What a request shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Nothing.
    Nothing,
    /// `Authorization: Bearer`.
    Bearer(String),
    /// The password of `Authorization: Basic`, where nothing is changed.
    Password(String),
    /// A browser's cookie, where nothing is changed.
    Cookie(String),
}

/// Why nobody is let in.
#[derive(Debug)]
pub(crate) enum Denied {
    /// Nothing was shown.
    Missing,
    /// What was shown isn't right.
    Wrong(String),
    /// Not so often; again in so many milliseconds.
    TooOften(u64),
    /// It can't be decided now.
    Unavailable(String),
    /// The database failed.
    Database(DatabaseError),
}

impl From<DatabaseError> for Denied {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

/// Who is let in.
#[derive(Debug)]
pub(crate) struct Door {
    /// SHA-256 of the token of `api_token_file`.
    file_token: Option<String>,
    oidc: Option<Oidc>,
    /// Whether it stays open until there is a token.
    may_be_open: bool,
    closed: AtomicBool,
    identities: Buckets<String>,
    unknown: Buckets<IpAddr>,
    wrong: Buckets<IpAddr>,
    proven: Mutex<Proven>,
    told: Mutex<Told>,
    /// The last minute in which the use of a token couldn't be noted, and that was told.
    unnoted_minute: AtomicU64,
}

/// Hashes of credentials that were right, the last ones.
#[derive(Debug, Default)]
struct Proven {
    known: HashSet<String>,
    order: VecDeque<String>,
}

/// How many refusals were written down in this minute.
#[derive(Debug, Default)]
struct Told {
    minute: u64,
    written: u32,
    left_out: u64,
}

impl Door {
    pub(crate) fn new(file_token: Option<&str>, oidc: Option<Oidc>, loopback: bool) -> Self {
        let may_be_open = loopback && file_token.is_none() && oidc.is_none();
        Self {
            file_token: file_token.map(tokens::hash),
            oidc,
            may_be_open,
            closed: AtomicBool::new(false),
            identities: Buckets::new(OF_ONE, MAX_KEYS),
            unknown: Buckets::new(UNKNOWN, MAX_KEYS),
            wrong: Buckets::new(WRONG, MAX_KEYS),
            proven: Mutex::default(),
            told: Mutex::default(),
            unnoted_minute: AtomicU64::new(0),
        }
    }

    /// Who it is that shows this, and may go on now.
    pub(crate) async fn enter(
        &self,
        database: &Database,
        shown: &Shown,
        from: IpAddr,
        now_ms: u64,
    ) -> Result<Actor, Denied> {
        let from = network(from);
        let actor = match self.known(database, shown, from, now_ms).await? {
            Some(actor) => actor,
            None if self.is_open(database).await? => Actor::anybody(),
            None => {
                self.knock(from, now_ms)?;
                return Err(Denied::Missing);
            }
        };
        let key = format!("{}/{}", actor.kind.name(), actor.name);
        self.identities.take(&key, 1.0, now_ms).map_err(Denied::TooOften)?;
        Ok(actor)
    }

    /// Lets an address ask for something that needs nobody.
    pub(crate) fn knock(&self, from: IpAddr, now_ms: u64) -> Result<(), Denied> {
        self.unknown.take(&network(from), 1.0, now_ms).map_err(Denied::TooOften)
    }

    /// Whether everybody on the machine may everything.
    pub(crate) async fn is_open(&self, database: &Database) -> Result<bool, DatabaseError> {
        if !self.may_be_open || self.closed.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let closed = database.has_tokens().await?;
        self.closed.store(closed, Ordering::Relaxed);
        Ok(!closed)
    }

    /// Logs a browser in with a token; the cookie's value, and for how many milliseconds it is good.
    pub(crate) async fn log_in(
        &self,
        database: &Database,
        token: &str,
        from: IpAddr,
        now_ms: u64,
    ) -> Result<(String, u64), Denied> {
        let shown = Shown::Bearer(token.to_owned());
        let actor = self.enter(database, &shown, from, now_ms).await?;
        let (mut ends_ms, mut held) = (now_ms.saturating_add(SESSION_MS), tokens::hash(token));
        if let (Kind::Identity, Some(oidc)) = (actor.kind, &self.oidc) {
            let identity = oidc.identify(token, now_ms).await.map_err(|error| refused(&error))?;
            (ends_ms, held) = (ends_ms.min(identity.expires_ms), String::new());
        }
        let cookie = tokens::draw().map_err(|error| Denied::Unavailable(format!("draw a random cookie: {error}")))?;
        let session = SessionRow {
            hash: tokens::hash(&cookie),
            actor_kind: actor.kind.name().to_owned(),
            actor_name: actor.name.clone(),
            token: held,
            expires_ms: crate::database::signed(ends_ms),
        };
        actor.act(database.add_session(&session, now_ms)).await?;
        Ok((cookie, ends_ms.saturating_sub(now_ms)))
    }

    /// Whom the credentials are of; `None` where there are none.
    async fn known(
        &self,
        database: &Database,
        shown: &Shown,
        from: IpAddr,
        now_ms: u64,
    ) -> Result<Option<Actor>, Denied> {
        let (text, method) = match shown {
            Shown::Nothing => return Ok(None),
            Shown::Bearer(text) => (text, Method::Bearer),
            Shown::Password(text) => (text, Method::Basic),
            Shown::Cookie(text) => (text, Method::Session),
        };
        let hash = tokens::hash(text);
        if !self.is_proven(&hash) {
            self.wrong.look(&from, 1.0, now_ms).map_err(Denied::TooOften)?;
        }
        let found = match method {
            Method::Session => self.of_session(database, &hash, now_ms).await,
            _ => self.of_token(database, text, &hash, now_ms).await,
        };
        match found {
            Ok(mut actor) => {
                self.prove(hash);
                actor.method = method;
                // What a browser sends by itself, it sends on behalf of others too: good for looking.
                if method != Method::Bearer {
                    actor.roles = Roles::of(&[Role::Viewer]);
                }
                Ok(Some(actor))
            }
            Err(Denied::Wrong(problem)) => {
                self.disprove(&hash);
                // A cookie that is over isn't an attempt; whoever has it logs in again.
                if method == Method::Session {
                    return Ok(None);
                }
                // It was looked at before: an empty bucket has refused already.
                let _ = self.wrong.take(&from, 1.0, now_ms);
                self.tell(database, from, &problem, now_ms).await;
                Err(Denied::Wrong(problem))
            }
            Err(other) => Err(other),
        }
    }

    async fn of_token(&self, database: &Database, text: &str, hash: &str, now_ms: u64) -> Result<Actor, Denied> {
        if tokens::is_one(text)
            && let Some(row) = database.token(hash).await?
        {
            let actor = of_row(&row, now_ms)?;
            self.note_use(database, &row, now_ms).await;
            return Ok(actor);
        }
        // Hashes are compared, so the time it takes tells nothing of the token.
        if self.file_token.as_deref() == Some(hash) {
            return Ok(of_file());
        }
        match &self.oidc {
            Some(oidc) if oidc::looks_like_one(text) => {
                let identity = oidc.identify(text, now_ms).await.map_err(|error| refused(&error))?;
                Ok(of_identity(identity.name, identity.roles))
            }
            _ => Err(Denied::Wrong("this hub knows no such token".to_owned())),
        }
    }

    /// Whoever has a token that holds is let in, whether or not its use can be noted: a full disk must not lock out those
    /// who come to see what is wrong.
    async fn note_use(&self, database: &Database, row: &TokenRow, now_ms: u64) {
        if let Err(error) = database.note_use(row, now_ms).await {
            let minute = now_ms / 60_000;
            if self.unnoted_minute.swap(minute, Ordering::Relaxed) != minute {
                tracing::warn!("failed to note the use of tokens: {error}");
            }
        }
    }

    async fn of_session(&self, database: &Database, hash: &str, now_ms: u64) -> Result<Actor, Denied> {
        let over = || Denied::Wrong("the login is over".to_owned());
        let session = database.session(hash, now_ms).await?.ok_or_else(over)?;
        match Kind::named(&session.actor_kind) {
            Some(Kind::Token) => {
                let row = database.token(&session.token).await?.ok_or_else(over)?;
                of_row(&row, now_ms)
            }
            Some(Kind::FileToken) if self.file_token.as_ref() == Some(&session.token) => Ok(of_file()),
            Some(Kind::Identity) if self.oidc.is_some() => {
                Ok(of_identity(session.actor_name, Roles::of(&[Role::Viewer])))
            }
            _ => Err(over()),
        }
    }

    fn is_proven(&self, hash: &str) -> bool {
        let proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        proven.known.contains(hash)
    }

    fn prove(&self, hash: String) {
        let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        if !proven.known.insert(hash.clone()) {
            return;
        }
        proven.order.push_back(hash);
        if proven.order.len() > MAX_PROVEN
            && let Some(oldest) = proven.order.pop_front()
        {
            proven.known.remove(&oldest);
        }
    }

    /// A credential that holds no longer is a wrong one like any other.
    fn disprove(&self, hash: &str) {
        let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        if proven.known.remove(hash) {
            proven.order.retain(|known| known != hash);
        }
    }

    /// Writes a refusal down, unless there were many in this minute.
    async fn tell(&self, database: &Database, from: IpAddr, problem: &str, now_ms: u64) {
        let left_out = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let minute = now_ms / 60_000;
            if told.minute != minute {
                (told.minute, told.written) = (minute, 0);
            }
            if told.written >= TOLD_EACH_MINUTE {
                told.left_out += 1;
                return;
            }
            told.written += 1;
            std::mem::take(&mut told.left_out)
        };
        let note = Note::new("login.refused", from.to_string())
            .with("reason", problem)
            .with("left_out_before", left_out);
        if let Err(error) = database.note(&note, now_ms).await {
            tracing::error!("failed to write a refused login down: {error}");
        }
    }
}

fn of_row(row: &TokenRow, now_ms: u64) -> Result<Actor, Denied> {
    if row.revoked_ms > 0 {
        return Err(Denied::Wrong(format!("token {} was revoked", row.name)));
    }
    if !row.holds(now_ms) {
        let ended_ms = unsigned(row.expires_ms);
        return Err(Denied::Wrong(format!(
            "token {} has expired, at {ended_ms} ms",
            row.name
        )));
    }
    let roles = row
        .roles
        .parse()
        .map_err(|error: super::RoleError| DatabaseError::Damaged {
            what: "a token's roles",
            problem: error.to_string(),
        })?;
    Ok(Actor {
        kind: Kind::Token,
        name: row.name.clone(),
        roles,
        method: Method::Bearer,
    })
}

fn of_file() -> Actor {
    Actor {
        kind: Kind::FileToken,
        name: Kind::FileToken.name().to_owned(),
        roles: Roles::of(&[Role::Admin]),
        method: Method::Bearer,
    }
}

fn of_identity(name: String, roles: Roles) -> Actor {
    Actor {
        kind: Kind::Identity,
        name,
        roles,
        method: Method::Bearer,
    }
}

fn refused(error: &Refused) -> Denied {
    match error {
        Refused::Unavailable(_) => Denied::Unavailable(error.to_string()),
        _ => Denied::Wrong(error.to_string()),
    }
}

/// Whose address it is: one with IPv6 has 2^64 of them.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        },
        v4 => v4,
    }
}

#[cfg(test)]
mod tests;
