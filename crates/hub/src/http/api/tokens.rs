//! `/api/v1/tokens`: who is let in.

use super::JsonBody;
use crate::fleet::{DEFAULT_DAYS, HubError, make_token, revoke_token};
use crate::http::App;
use crate::http::models::{NewToken, Problem, TokenView};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

/// All tokens, by name, with those that hold no longer.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "access", responses((status = 200, body = Vec<TokenView>)))]
pub(crate) async fn list(State(app): State<App>) -> Result<Json<Vec<TokenView>>, HubError> {
    let (rows, now_ms) = (app.hub.database.tokens().await?, app.hub.now_ms());
    Ok(Json(rows.into_iter().map(|row| TokenView::of(row, now_ms)).collect()))
}

/// Makes a token. The answer is the only place where it ever stands.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "access", request_body = NewToken,
    responses((status = 201, body = TokenView), (status = 400, body = Problem),
        (status = 409, description = "there is or was one of that name, or the first would be no admin's", body = Problem)))]
pub(crate) async fn make(
    State(app): State<App>,
    JsonBody(body): JsonBody<NewToken>,
) -> Result<(StatusCode, Json<TokenView>), HubError> {
    let days = body.expires_days.unwrap_or(DEFAULT_DAYS);
    let now_ms = app.hub.now_ms();
    let (row, token) = make_token(&app.hub.database, &body.name, &body.roles, days, now_ms).await?;
    let mut view = TokenView::of(row, now_ms);
    view.token = Some(token);
    Ok((StatusCode::CREATED, Json(view)))
}

/// Revokes a token, from the next request on.
#[utoipa::path(delete, path = "/api/v1/tokens/{name}", tag = "access",
    params(("name" = String, Path, description = "The token's name")),
    responses((status = 204, description = "it holds no longer"), (status = 404, body = Problem),
        (status = 409, description = "it was revoked before", body = Problem)))]
pub(crate) async fn revoke(State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, HubError> {
    revoke_token(&app.hub.database, &name, app.hub.now_ms()).await?;
    Ok(StatusCode::NO_CONTENT)
}
