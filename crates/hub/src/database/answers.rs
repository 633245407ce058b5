//! Commands, and what devices answered to them and to assignments.

use super::{Database, DatabaseError, During as _, damaged, signed, unsigned};
use crate::audit::Note;
use floorhand_protocol::{Action, Answer};

/// A command as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct CommandRow {
    pub(crate) id: i64,
    /// JSON.
    pub(crate) action: String,
    pub(crate) issued_ms: i64,
    pub(crate) expires_ms: i64,
    /// JSON; empty before the device has answered.
    pub(crate) outcome: String,
    pub(crate) answered_ms: i64,
}

/// An answer as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct AnswerRow {
    pub(crate) kind: String,
    pub(crate) number: i64,
    pub(crate) boot_id: String,
    pub(crate) time_ms: i64,
    pub(crate) received_ms: i64,
    /// JSON.
    pub(crate) outcome: String,
}

/// The word that the API has for a command.
fn action_name(action: &Action) -> &'static str {
    match action {
        Action::ReportNow => "report-now",
        Action::FetchLogs { .. } => "fetch-logs",
    }
}

impl Database {
    /// Takes the next command id of a device, lets `seal` sign the command under it, and stores it. `None` when the
    /// device isn't registered.
    pub(crate) async fn issue_command(
        &self,
        device: &str,
        action: &Action,
        issued_ms: u64,
        expires_ms: u64,
        seal: impl FnOnce(u64) -> Result<Vec<u8>, String> + Send,
    ) -> Result<Option<(u64, Vec<u8>)>, DatabaseError> {
        let operation = "issue a command";
        let json = serde_json::to_string(action).map_err(damaged("a command"))?;
        let mut writing = self.write(operation).await?;
        let id: Option<i64> =
            sqlx::query_scalar("UPDATE devices SET command_id = command_id + 1 WHERE id = $1 RETURNING command_id")
                .bind(device)
                .fetch_optional(&mut *writing.transaction)
                .await
                .during(operation)?;
        let Some(id) = id else { return Ok(None) };
        let sealed = seal(unsigned(id)).map_err(DatabaseError::Seal)?;
        sqlx::query("INSERT INTO commands (device, id, action, issued_ms, expires_ms) VALUES ($1, $2, $3, $4, $5)")
            .bind(device)
            .bind(id)
            .bind(&json)
            .bind(signed(issued_ms))
            .bind(signed(expires_ms))
            .execute(&mut *writing.transaction)
            .await
            .during(operation)?;
        let note = Note::new(format!("command.{}", action_name(action)), device)
            .with("id", id)
            .with("action", json);
        writing.note(&note, issued_ms).await?;
        writing.commit(operation).await?;
        Ok(Some((unsigned(id), sealed)))
    }

    /// The last commands of a device with their outcomes, the newest first.
    pub(crate) async fn commands(&self, device: &str, limit: i64) -> Result<Vec<CommandRow>, DatabaseError> {
        sqlx::query_as(
            "SELECT c.id AS id, c.action AS action, c.issued_ms AS issued_ms, c.expires_ms AS expires_ms, \
             COALESCE(a.outcome, '') AS outcome, COALESCE(a.received_ms, 0) AS answered_ms FROM commands c \
             LEFT JOIN answers a ON a.device = c.device AND a.kind = 'cmd' AND a.number = c.id \
             WHERE c.device = $1 ORDER BY c.id DESC LIMIT $2",
        )
        .bind(device)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .during("list commands")
    }

    /// Stores an answer; false when there is one already, which stays: a repeated message is answered by a refusal.
    pub(crate) async fn store_answer(
        &self,
        answer: &Answer,
        (kind, number): (&str, u64),
        now_ms: u64,
    ) -> Result<bool, DatabaseError> {
        let operation = "store an answer";
        let outcome = serde_json::to_string(&answer.outcome).map_err(damaged("an answer"))?;
        let _turn = self.writer.lock().await;
        let added = sqlx::query(
            "INSERT INTO answers (device, kind, number, boot_id, time_ms, received_ms, outcome) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        )
        .bind(answer.device.as_str())
        .bind(kind)
        .bind(signed(number))
        .bind(answer.boot_id.to_string())
        .bind(signed(answer.time_ms))
        .bind(signed(now_ms))
        .bind(outcome)
        .execute(&self.pool)
        .await
        .during(operation)?
        .rows_affected();
        Ok(added > 0)
    }

    /// The answer to one assignment or command.
    pub(crate) async fn answer(
        &self,
        device: &str,
        kind: &str,
        number: u64,
    ) -> Result<Option<AnswerRow>, DatabaseError> {
        sqlx::query_as(
            "SELECT kind, number, boot_id, time_ms, received_ms, outcome FROM answers \
             WHERE device = $1 AND kind = $2 AND number = $3",
        )
        .bind(device)
        .bind(kind)
        .bind(signed(number))
        .fetch_optional(&self.pool)
        .await
        .during("look up an answer")
    }

    /// The last answers of a device, the newest first.
    pub(crate) async fn answers(&self, device: &str, limit: i64) -> Result<Vec<AnswerRow>, DatabaseError> {
        sqlx::query_as(
            "SELECT kind, number, boot_id, time_ms, received_ms, outcome FROM answers WHERE device = $1 \
             ORDER BY received_ms DESC, number DESC LIMIT $2",
        )
        .bind(device)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .during("list answers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::database;
    use floorhand_protocol::Outcome;

    #[tokio::test]
    async fn command_ids_rise_and_the_first_answer_stays() {
        let (_dir, database) = database().await;
        let issue = || database.issue_command("press-1", &Action::ReportNow, 1, 2, |id| Ok(vec![id as u8]));
        assert_eq!(issue().await.unwrap(), None, "nobody of that name");
        database
            .register(&"press-1".parse().unwrap(), "aa", false, 1)
            .await
            .unwrap();
        assert_eq!(issue().await.unwrap(), Some((1, vec![1])));
        assert_eq!(issue().await.unwrap(), Some((2, vec![2])));
        let failed = database
            .issue_command("press-1", &Action::ReportNow, 1, 2, |_| Err("no key".to_owned()))
            .await;
        assert_eq!(failed.unwrap_err().to_string(), "no key");
        let mut answer = Answer {
            device: "press-1".parse().unwrap(),
            boot_id: 9,
            to: "cmd/2".to_owned(),
            time_ms: 5,
            outcome: Outcome::Done {
                body: "fine".to_owned(),
            },
        };
        assert!(database.store_answer(&answer, ("cmd", 2), 6).await.unwrap());
        answer.outcome = Outcome::Rejected {
            reason: "2 is not above 2".to_owned(),
        };
        assert!(!database.store_answer(&answer, ("cmd", 2), 7).await.unwrap());
        let commands = database.commands("press-1", 10).await.unwrap();
        assert_eq!(
            commands.iter().map(|row| row.id).collect::<Vec<_>>(),
            [2, 1],
            "a failed one leaves no trace"
        );
        assert_eq!(commands[0].outcome, r#"{"done":{"body":"fine"}}"#);
        assert_eq!(commands[1].outcome, "");
        assert_eq!(
            database.answer("press-1", "cmd", 2).await.unwrap().unwrap().received_ms,
            6
        );
        assert_eq!(database.answers("press-1", 10).await.unwrap().len(), 1);
    }
}
