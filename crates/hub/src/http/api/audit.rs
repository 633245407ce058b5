//! `/api/v1/audit`: what was changed, by whom.

use super::{Params, limit};
use crate::audit::Entry;
use crate::fleet::HubError;
use crate::http::App;
use crate::http::models::{AuditPage, CheckpointView};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;

/// Which entries.
#[derive(Debug, Deserialize)]
pub(crate) struct AuditParams {
    after: Option<u64>,
    limit: Option<u32>,
}

/// Entries of the audit log in order; without a start the newest.
#[utoipa::path(get, path = "/api/v1/audit", tag = "access",
    params(("after" = Option<u64>, Query, description = "Those behind this one; 0 for all. The newest when left out"),
        ("limit" = Option<u32>, Query, description = "50 when left out, 1000 at most")),
    responses((status = 200, body = AuditPage)))]
pub(crate) async fn list(
    State(app): State<App>,
    Params(params): Params<AuditParams>,
) -> Result<Json<AuditPage>, HubError> {
    let most = limit(params.limit);
    let head = app.hub.database.audit_head().await?.map_or(0, |(seq, _)| seq);
    let after = params.after.unwrap_or_else(|| head.saturating_sub(most.unsigned_abs()));
    let entries: Vec<Entry> = app.hub.database.audit_after(after, most).await?;
    let next = entries.last().map_or(after, |entry| entry.seq);
    Ok(Json(AuditPage { entries, next }))
}

/// How far the audit log goes now, signed by the hub. Keep it elsewhere: it tells when what it covers is changed later.
#[utoipa::path(get, path = "/api/v1/audit/checkpoint", tag = "access",
    responses((status = 200, body = CheckpointView)))]
pub(crate) async fn checkpoint(State(app): State<App>) -> Result<Json<CheckpointView>, HubError> {
    let (checkpoint, sealed) = app.hub.checkpoint().await?;
    Ok(Json(CheckpointView {
        seq: checkpoint.seq,
        hash: checkpoint.hash,
        time_ms: checkpoint.time_ms,
        envelope: hex::encode(sealed),
    }))
}
