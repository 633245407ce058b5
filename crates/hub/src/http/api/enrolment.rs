//! `/api/v1/enrolment-tokens`, for operators; `/api/v1/enrol`, for devices that have nothing but a token.

use super::JsonBody;
use crate::database::{EnrolmentTokenRow, unsigned};
use crate::fleet::{HubError, TokenWish};
use crate::http::App;
use crate::http::models::{Enrolled, EnrolmentBody, EnrolmentTokenBody, EnrolmentTokenView, Problem};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use floorhand_protocol::MAX_ENROLMENT_BYTES;

/// How long a token is good for when nobody says.
const DEFAULT_VALID_S: u64 = 24 * 3600;

/// Makes a token by which a device enrols itself once. The answer alone has it: the hub keeps no secret of it.
#[utoipa::path(post, path = "/api/v1/enrolment-tokens", tag = "enrolment", request_body = EnrolmentTokenBody,
    responses((status = 201, body = EnrolmentTokenView),
        (status = 409, description = "this hub makes no certificates", body = Problem),
        (status = 422, description = "the name is one that no device may have", body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    JsonBody(body): JsonBody<EnrolmentTokenBody>,
) -> Result<(StatusCode, Json<EnrolmentTokenView>), HubError> {
    let hardware = body.hardware.as_deref().map(str::parse).transpose();
    let wish = TokenWish {
        pattern: body.devices,
        hardware: hardware.map_err(|error: floorhand_bundle::NameError| HubError::Invalid(error.to_string()))?,
        replace: body.replace,
        valid_ms: body.valid_s.unwrap_or(DEFAULT_VALID_S).saturating_mul(1000),
    };
    let token = app.hub.create_token(&wish).await?;
    let mut view = EnrolmentTokenView::from(token.row);
    view.token = Some(token.text);
    Ok((StatusCode::CREATED, Json(view)))
}

/// Tokens, the newest first, without their secrets.
#[utoipa::path(get, path = "/api/v1/enrolment-tokens", tag = "enrolment", responses((status = 200, body = Vec<EnrolmentTokenView>)))]
pub(crate) async fn list(State(app): State<App>) -> Result<Json<Vec<EnrolmentTokenView>>, HubError> {
    let tokens = app.hub.database.enrolment_tokens().await?;
    Ok(Json(tokens.into_iter().map(EnrolmentTokenView::from).collect()))
}

/// Makes a token worthless. What it has let in stays.
#[utoipa::path(delete, path = "/api/v1/enrolment-tokens/{id}", tag = "enrolment",
    params(("id" = String, Path, description = "The token's id")),
    responses((status = 204, description = "removed"), (status = 404, body = Problem)))]
pub(crate) async fn remove(State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode, HubError> {
    if !app.hub.database.remove_enrolment_token(&id, app.hub.now_ms()).await? {
        return Err(HubError::NotFound(format!("no enrolment token {id:?} here")));
    }
    tracing::info!(token = id, "removed an enrolment token");
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a device in. Needs no operator's token: the request is signed with the enrolment token's key, and the answer by the hub.
///
/// How often an address may ask is bounded before this. What all of them send together isn't, or who sends rubbish from some of
/// them would keep every device out: rubbish costs a look-up and some signatures, and nothing is written but once for a token.
#[utoipa::path(post, path = "/api/v1/enrol", tag = "enrolment", request_body = EnrolmentBody,
    responses((status = 200, description = "the device is registered, or the same request comes again", body = Enrolled),
        (status = 409, description = "the device is known by another key, or the hub makes no certificates", body = Problem),
        (status = 422, description = "token, signatures or certificate request don't hold", body = Problem),
        (status = 429, description = "too many from one address", body = Problem)))]
pub(crate) async fn enrol(
    State(app): State<App>,
    JsonBody(body): JsonBody<EnrolmentBody>,
) -> Result<Json<Enrolled>, HubError> {
    // A third more than the bytes it stands for.
    if body.request.len() > MAX_ENROLMENT_BYTES * 4 / 3 + 4 {
        return Err(HubError::TooLarge(format!(
            "a request has at most {MAX_ENROLMENT_BYTES} bytes"
        )));
    }
    let request = STANDARD
        .decode(&body.request)
        .map_err(|_| HubError::Invalid("request: expected base64".to_owned()))?;
    let admitted = app.hub.admit(&request).await.inspect_err(|error| {
        tracing::warn!("refused an enrolment: {error}");
    })?;
    let encoded = |roots: Vec<Vec<u8>>| roots.iter().map(|root| STANDARD.encode(root)).collect();
    Ok(Json(Enrolled {
        earlier_roots: encoded(admitted.earlier_roots),
        root: STANDARD.encode(admitted.root),
        next_roots: encoded(admitted.next_roots),
        certificate: STANDARD.encode(admitted.answer),
    }))
}

impl From<EnrolmentTokenRow> for EnrolmentTokenView {
    fn from(row: EnrolmentTokenRow) -> Self {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            id: row.id,
            token: None,
            devices: row.pattern,
            hardware: some(row.hardware),
            replace: row.replaces != 0,
            created_ms: unsigned(row.created_ms),
            expires_ms: unsigned(row.expires_ms),
            used_ms: unsigned(row.used_ms),
            used_by: some(row.device),
        }
    }
}
