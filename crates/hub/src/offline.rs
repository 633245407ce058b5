//! What can be done to a hub's database without its hub: the first token is made, the audit log is read. Whoever has the
//! database in hand needs no token; the audit log says that it was done this way.

use crate::access::{Actor, Role};
use crate::audit::{Checkpoint, Entry, Mark};
use crate::clock::now_ms;
use crate::config::{Draft, HubArgs};
use crate::database::{Database, DatabaseError};
use crate::exit;
use crate::fleet::{self, HubError};
use crate::http::TokenView;
use floorhand_bundle::RootChain;
use serde_json::Value;
use std::collections::VecDeque;
use tokio::runtime::Runtime;

/// Entries that are read at a time.
const PAGE: i64 = 1000;

/// Why it can't be done.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The configuration doesn't say where the database is.
    #[error("{0}")]
    Config(String),
    /// The process itself.
    #[error("start: {0}")]
    Runtime(#[from] std::io::Error),
    /// What was asked, or the database.
    #[error("{0}")]
    Refused(String),
}

impl From<HubError> for OfflineError {
    fn from(error: HubError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<DatabaseError> for OfflineError {
    fn from(error: DatabaseError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// The URL of the database that a configuration names.
///
/// # Errors
/// With every mistake in the configuration. The files that it names needn't be there.
pub fn database_url(args: &HubArgs) -> Result<String, OfflineError> {
    let draft = Draft::load(args);
    match draft.config {
        Some(config) if draft.problems.is_empty() => Ok(config.database_url()),
        _ => Err(OfflineError::Config(draft.problems.join("\n"))),
    }
}

/// A hub's database.
pub struct Offline {
    runtime: Runtime,
    database: Database,
}

impl Offline {
    /// Opens the database of a URL. One that isn't there is made, as the hub itself would.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn open(url: &str) -> Result<Self, OfflineError> {
        let runtime = exit::runtime()?;
        let database = runtime.block_on(Database::open(url))?;
        Ok(Self { runtime, database })
    }

    /// Opens the database of a URL to read it: nothing in it changes, also beside a hub that runs.
    ///
    /// # Errors
    /// When there is none, or it is of another version.
    pub fn open_existing(url: &str) -> Result<Self, OfflineError> {
        let runtime = exit::runtime()?;
        let database = runtime.block_on(Database::open_existing(url))?;
        Ok(Self { runtime, database })
    }

    /// Makes a token that holds for so many days, 365 when left out, for good when 0. The answer, which is the API's,
    /// is the only place where it ever stands.
    ///
    /// # Errors
    /// When the name is taken or no name, or the first token would be no admin's.
    pub fn new_token(&self, name: &str, roles: &[Role], days: Option<u64>) -> Result<Value, OfflineError> {
        let (now_ms, days) = (now_ms(), days.unwrap_or(fleet::DEFAULT_DAYS));
        let making = fleet::make_token(&self.database, name, roles, days, now_ms);
        let (row, token) = self.runtime.block_on(Actor::command_line().act(making))?;
        let mut view = TokenView::of(row, now_ms);
        view.token = Some(token);
        Ok(json(&view))
    }

    /// All tokens, as the API answers them.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn tokens(&self) -> Result<Value, OfflineError> {
        let rows = self.runtime.block_on(self.database.tokens())?;
        let views: Vec<TokenView> = rows.into_iter().map(|row| TokenView::of(row, now_ms())).collect();
        Ok(json(&views))
    }

    /// Revokes a token, from the next request on.
    ///
    /// # Errors
    /// When there is none of that name, or it was revoked before.
    pub fn revoke_token(&self, name: &str) -> Result<(), OfflineError> {
        let revoking = fleet::revoke_token(&self.database, name, now_ms());
        Ok(self.runtime.block_on(Actor::command_line().act(revoking))?)
    }

    /// The audit log behind an entry, in order; 0 for all of it.
    pub fn entries_after(&self, seq: u64) -> impl Iterator<Item = Result<Entry, OfflineError>> + '_ {
        Entries {
            offline: self,
            after: seq,
            page: VecDeque::new(),
            ended: false,
        }
    }

    /// How many entries of the audit log were written, as the database itself counts. Asked for before the entries are,
    /// there are as many at least.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn written(&self) -> Result<u64, OfflineError> {
        Ok(self.runtime.block_on(self.database.audit_written())?)
    }

    /// The triggers that have the database refuse to change an entry, and that somebody has taken away.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn lost_guards(&self) -> Result<Vec<&'static str>, OfflineError> {
        Ok(self.runtime.block_on(self.database.lost_guards())?)
    }

    /// What the last checkpoint in the database knows, if a hub of one of these roots has signed it; `None` before the
    /// first.
    ///
    /// # Errors
    /// When somebody else signed it.
    pub fn checkpoint(&self, roots: &RootChain) -> Result<Option<Mark>, OfflineError> {
        let Some((_, sealed)) = self.runtime.block_on(self.database.last_checkpoint())? else {
            return Ok(None);
        };
        let checkpoint = Checkpoint::open_under(&sealed, roots);
        let checkpoint = checkpoint.map_err(|error| OfflineError::Refused(format!("the database's own {error}")))?;
        Ok(checkpoint.mark())
    }
}

/// Entries of a database, read by the page.
struct Entries<'a> {
    offline: &'a Offline,
    after: u64,
    page: VecDeque<Entry>,
    ended: bool,
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, OfflineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty() && !self.ended {
            let reading = self.offline.database.audit_after(self.after, PAGE);
            match self.offline.runtime.block_on(reading) {
                Ok(page) => self.page = page.into(),
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error.into()));
                }
            }
            self.ended = (self.page.len() as i64) < PAGE;
        }
        let entry = self.page.pop_front()?;
        self.after = entry.seq;
        Some(Ok(entry))
    }
}

/// A view as the API has it.
fn json(view: &impl serde::Serialize) -> Value {
    // Texts and numbers, which can always be written.
    serde_json::to_value(view).unwrap_or_default()
}
