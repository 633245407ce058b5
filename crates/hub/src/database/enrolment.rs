//! Tokens that let devices in once, and the certificates that were made for them.

use super::{Database, DatabaseError, During as _, Registered, Writing, signed};
use crate::audit::Note;
use floorhand_bundle::DeviceId;

/// A token that has expired is remembered for so long, for whoever wonders who used it.
const TOKENS_KEPT_MS: u64 = 30 * 24 * 3600 * 1000;
/// Renewals of one device that are remembered after their certificates have expired, so that one that somebody recorded is
/// known when it comes again. A device renews some six times a year, and adds a row only with its own key: who hasn't that
/// can't push others out.
const RENEWALS_KEPT: i64 = 1000;
/// Tokens that are listed.
const MAX_TOKENS: i64 = 1000;
/// What is being done when a token is used, for errors.
const REDEEM: &str = "use an enrolment token";

/// A token as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct EnrolmentTokenRow {
    pub(crate) id: String,
    /// 32 bytes, hexadecimal.
    pub(crate) public_key: String,
    pub(crate) pattern: String,
    pub(crate) hardware: String,
    pub(crate) replaces: i64,
    pub(crate) created_ms: i64,
    pub(crate) expires_ms: i64,
    pub(crate) used_ms: i64,
    pub(crate) device: String,
    pub(crate) request: String,
    pub(crate) answer: String,
}

/// A certificate that was made, with the answer that brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewCertificate<'a> {
    pub(crate) serial: String,
    pub(crate) device: &'a DeviceId,
    /// The digest of its request, hexadecimal.
    pub(crate) csr: String,
    pub(crate) issued_ms: u64,
    pub(crate) expires_ms: u64,
    /// Hexadecimal.
    pub(crate) answer: String,
}

impl NewCertificate<'_> {
    /// What the audit log says of it.
    fn note(&self, action: &'static str) -> Note {
        Note::new(action, self.device.as_str())
            .with("serial", self.serial.as_str())
            .with("expires_ms", self.expires_ms)
    }
}

/// A device that comes in by a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redemption<'a> {
    pub(crate) token: &'a str,
    /// The digest of the request, hexadecimal.
    pub(crate) request: String,
    /// The device's key, hexadecimal.
    pub(crate) public_key: String,
    pub(crate) replace: bool,
    pub(crate) certificate: NewCertificate<'a>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redeemed {
    /// The device is registered, and the token is used.
    Done(Registered),
    /// Another request was faster, or the token is gone. Nothing has changed.
    TooLate,
}

impl Database {
    /// Stores a new token.
    pub(crate) async fn add_enrolment_token(
        &self,
        token: &EnrolmentTokenRow,
        now_ms: u64,
    ) -> Result<(), DatabaseError> {
        let operation = "store an enrolment token";
        let mut writing = self.write(operation).await?;
        sqlx::query(
            "INSERT INTO enrolment_tokens (id, public_key, pattern, hardware, replaces, created_ms, expires_ms, used_ms, \
             device, request, answer) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, '', '', '')",
        )
        .bind(&token.id)
        .bind(&token.public_key)
        .bind(&token.pattern)
        .bind(&token.hardware)
        .bind(token.replaces)
        .bind(token.created_ms)
        .bind(token.expires_ms)
        .execute(&mut *writing.transaction)
        .await
        .during(operation)?;
        let note = Note::new("enrolment-token.new", &token.id)
            .with("devices", token.pattern.as_str())
            .with("hardware", token.hardware.as_str())
            .with("replace", token.replaces != 0)
            .with("expires_ms", token.expires_ms);
        writing.note(&note, now_ms).await?;
        writing.commit(operation).await
    }

    /// A token by its key's id.
    pub(crate) async fn enrolment_token(&self, id: &str) -> Result<Option<EnrolmentTokenRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM enrolment_tokens WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .during("look up an enrolment token")
    }

    /// The newest tokens.
    pub(crate) async fn enrolment_tokens(&self) -> Result<Vec<EnrolmentTokenRow>, DatabaseError> {
        sqlx::query_as("SELECT * FROM enrolment_tokens ORDER BY created_ms DESC, id LIMIT $1")
            .bind(MAX_TOKENS)
            .fetch_all(&self.pool)
            .await
            .during("list enrolment tokens")
    }

    /// Forgets a token, used or not. False when there is none.
    pub(crate) async fn remove_enrolment_token(&self, id: &str, now_ms: u64) -> Result<bool, DatabaseError> {
        let operation = "remove an enrolment token";
        let mut writing = self.write(operation).await?;
        let removed = sqlx::query("DELETE FROM enrolment_tokens WHERE id = $1")
            .bind(id)
            .execute(&mut *writing.transaction)
            .await
            .during(operation)?
            .rows_affected();
        if removed > 0 {
            writing.note(&Note::new("enrolment-token.revoke", id), now_ms).await?;
        }
        writing.commit(operation).await?;
        Ok(removed > 0)
    }

    /// Uses a token: marks it, registers the device and keeps its certificate, all or nothing. A registration that is refused
    /// leaves the token as it was.
    pub(crate) async fn redeem(&self, redemption: &Redemption<'_>, now_ms: u64) -> Result<Redeemed, DatabaseError> {
        let mut writing = self.write(REDEEM).await?;
        let certificate = &redemption.certificate;
        let marked = sqlx::query(
            "UPDATE enrolment_tokens SET used_ms = $2, device = $3, request = $4, answer = $5 \
             WHERE id = $1 AND used_ms = 0",
        )
        .bind(redemption.token)
        .bind(signed(now_ms))
        .bind(certificate.device.as_str())
        .bind(&redemption.request)
        .bind(&certificate.answer)
        .execute(&mut *writing.transaction)
        .await
        .during(REDEEM)?;
        if marked.rows_affected() == 0 {
            return Ok(Redeemed::TooLate);
        }
        writing.add_certificate(certificate, REDEEM).await?;
        let registered = writing
            .register(certificate.device, &redemption.public_key, redemption.replace, now_ms)
            .await?;
        if matches!(registered, Registered::OtherKey(_) | Registered::KeyOf(_)) {
            return Ok(Redeemed::Done(registered));
        }
        let note = certificate
            .note("certificate.issue")
            .with("enrolment_token", redemption.token);
        writing.note(&note, now_ms).await?;
        writing.commit(REDEEM).await?;
        Ok(Redeemed::Done(registered))
    }

    /// Keeps the certificate that follows a device's last.
    pub(crate) async fn renew_certificate(
        &self,
        certificate: &NewCertificate<'_>,
        now_ms: u64,
    ) -> Result<(), DatabaseError> {
        let operation = "store a certificate";
        let mut writing = self.write(operation).await?;
        writing.add_certificate(certificate, operation).await?;
        writing.note(&certificate.note("certificate.renew"), now_ms).await?;
        writing.commit(operation).await
    }

    /// The answer that a certificate request of this device got, hexadecimal, and until when its certificate is valid. The
    /// answer is empty once that has expired and been forgotten.
    pub(crate) async fn certificate_for(
        &self,
        device: &DeviceId,
        csr: &str,
    ) -> Result<Option<(String, i64)>, DatabaseError> {
        sqlx::query_as("SELECT answer, expires_ms FROM certificates WHERE device = $1 AND csr = $2")
            .bind(device.as_str())
            .bind(csr)
            .fetch_optional(&self.pool)
            .await
            .during("look up a certificate")
    }

    /// When the last certificate of a device was made; 0 for none.
    pub(crate) async fn last_certificate_ms(&self, device: &DeviceId) -> Result<i64, DatabaseError> {
        sqlx::query_scalar("SELECT COALESCE(MAX(issued_ms), 0) FROM certificates WHERE device = $1")
            .bind(device.as_str())
            .fetch_one(&self.pool)
            .await
            .during("look up the last certificate")
    }

    /// Forgets certificates that have expired, but not which requests they were made for; and tokens that expired long ago.
    pub(crate) async fn forget_enrolments(&self, now_ms: u64) -> Result<(), DatabaseError> {
        let operation = "forget old enrolments";
        let _turn = self.writer.lock().await;
        sqlx::query("UPDATE certificates SET answer = '' WHERE expires_ms < $1 AND answer <> ''")
            .bind(signed(now_ms))
            .execute(&self.pool)
            .await
            .during(operation)?;
        sqlx::query(
            "DELETE FROM certificates WHERE answer = '' AND serial IN (SELECT serial FROM (SELECT serial, \
             ROW_NUMBER() OVER (PARTITION BY device ORDER BY issued_ms DESC, serial) AS place FROM certificates) AS placed \
             WHERE place > $1)",
        )
        .bind(RENEWALS_KEPT)
        .execute(&self.pool)
        .await
        .during(operation)?;
        sqlx::query("DELETE FROM enrolment_tokens WHERE expires_ms < $1")
            .bind(signed(now_ms.saturating_sub(TOKENS_KEPT_MS)))
            .execute(&self.pool)
            .await
            .during(operation)
            .map(drop)
    }
}

impl Writing<'_> {
    async fn add_certificate(
        &mut self,
        certificate: &NewCertificate<'_>,
        operation: &'static str,
    ) -> Result<(), DatabaseError> {
        sqlx::query(
            "INSERT INTO certificates (serial, device, csr, issued_ms, expires_ms, answer) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&certificate.serial)
        .bind(certificate.device.as_str())
        .bind(&certificate.csr)
        .bind(signed(certificate.issued_ms))
        .bind(signed(certificate.expires_ms))
        .bind(&certificate.answer)
        .execute(&mut *self.transaction)
        .await
        .during(operation)
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::database;

    #[tokio::test]
    async fn requests_are_remembered_beyond_their_certificates_and_not_without_end() {
        let (_dir, database) = database().await;
        let device: DeviceId = "press-1".parse().unwrap();
        let other: DeviceId = "press-2".parse().unwrap();
        let certificate = |device, number: i64| NewCertificate {
            serial: format!("{device}-{number}"),
            device,
            csr: number.to_string(),
            issued_ms: number as u64,
            expires_ms: 10_000 + number as u64,
            answer: "aa".to_owned(),
        };
        for number in 0..RENEWALS_KEPT + 5 {
            database
                .renew_certificate(&certificate(&device, number), 1)
                .await
                .unwrap();
        }
        database.renew_certificate(&certificate(&other, 0), 1).await.unwrap();
        database.forget_enrolments(10_003).await.unwrap();
        let known = async |device: &DeviceId, number: i64| {
            let found = database.certificate_for(device, &number.to_string()).await.unwrap();
            found.map(|(answer, _)| answer)
        };
        assert_eq!(known(&device, 2).await, None, "the oldest, beyond those that are kept");
        assert_eq!(known(&device, 3).await.as_deref(), Some("aa"), "it is valid");
        assert_eq!(known(&other, 0).await.as_deref(), Some(""), "each device has its own");
        database.forget_enrolments(99_999).await.unwrap();
        assert_eq!(known(&device, 4).await, None);
        assert_eq!(known(&device, 5).await.as_deref(), Some(""));
    }
}
