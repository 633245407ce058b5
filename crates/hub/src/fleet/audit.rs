//! The audit log beyond its table: tokens that are made, checkpoints that are signed.

use super::{Hub, HubError};
use crate::access::{Role, Roles, tokens};
use crate::audit::Checkpoint;
use crate::database::{Added, Database, NewToken, Revoked, TokenRow};

/// How long a token holds when nobody says.
pub(crate) const DEFAULT_DAYS: u64 = 365;
/// A century.
const MAX_DAYS: u64 = 36_600;
const DAY_MS: u64 = 24 * 3_600_000;

/// Makes a token; it is shown this once. It holds for `days`, or for good when they are 0.
pub(crate) async fn make_token(
    database: &Database,
    name: &str,
    roles: &[Role],
    days: u64,
    now_ms: u64,
) -> Result<(TokenRow, String), HubError> {
    tokens::check_name(name).map_err(HubError::Invalid)?;
    if roles.is_empty() {
        return Err(HubError::Invalid(
            "a token without a role opens nothing; name one".to_owned(),
        ));
    }
    if days > MAX_DAYS {
        return Err(HubError::Invalid(format!("{days} days are more than a century")));
    }
    let token = tokens::draw().map_err(|error| HubError::Internal(format!("draw a random token: {error}")))?;
    let set = Roles::of(roles);
    let new = NewToken {
        name: name.to_owned(),
        hash: tokens::hash(&token),
        roles: set.to_string(),
        is_admin: set.allow(Role::Admin),
        expires_ms: if days == 0 {
            0
        } else {
            now_ms.saturating_add(days * DAY_MS)
        },
    };
    match database.add_token(&new, now_ms).await? {
        Added::New => {}
        Added::NameTaken => {
            return Err(HubError::Conflict(format!(
                "there is or was a token {name:?}; in the audit log a name means one token, so choose another"
            )));
        }
        Added::FirstNotAdmin => {
            return Err(HubError::Conflict(
                "the first token closes the hub, so it has to be of the role admin: who else would make the next?"
                    .to_owned(),
            ));
        }
    }
    let row = database.token(&new.hash).await?;
    let row = row.ok_or_else(|| HubError::Internal("the token was not stored".to_owned()))?;
    Ok((row, token))
}

/// Revokes a token, from the next request on.
pub(crate) async fn revoke_token(database: &Database, name: &str, now_ms: u64) -> Result<(), HubError> {
    match database.revoke_token(name, now_ms).await? {
        Revoked::Now => Ok(()),
        Revoked::Before => Err(HubError::Conflict(format!("token {name:?} was revoked before"))),
        Revoked::Unknown => Err(HubError::NotFound(format!("no token {name:?} here"))),
    }
}

impl Hub {
    /// Signs how far the audit log goes now.
    pub(crate) async fn checkpoint(&self) -> Result<(Checkpoint, Vec<u8>), HubError> {
        let head = self.database.audit_head().await?;
        let (seq, hash) = head.unwrap_or_else(|| (0, crate::audit::GENESIS.to_owned()));
        let checkpoint = Checkpoint {
            fleet: self.root.fleet.clone(),
            seq,
            hash,
            time_ms: self.now_ms(),
        };
        let sealed = checkpoint.seal(self.signing_key()?);
        let sealed = sealed.map_err(|error| HubError::Internal(error.to_string()))?;
        Ok((checkpoint, sealed))
    }

    /// Keeps a checkpoint if the log has grown since the last, and tells it to the process's own log, which is often kept
    /// elsewhere.
    pub(crate) async fn keep_checkpoint(&self) -> Result<(), HubError> {
        let last = self.database.last_checkpoint().await?.map_or(0, |(seq, _)| seq);
        let (checkpoint, sealed) = self.checkpoint().await?;
        if checkpoint.seq > last {
            self.database.add_checkpoint(&checkpoint, &sealed).await?;
            tracing::info!(
                entries = checkpoint.seq,
                head = checkpoint.hash,
                "signed a checkpoint of the audit log"
            );
        }
        Ok(())
    }
}
