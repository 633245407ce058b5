//! `/api/v1/bundles`: what can be deployed; and a bundle on a stick.

use super::{Params, unread};
use crate::fleet::HubError;
use crate::http::App;
use crate::http::models::{BundleView, Problem};
use axum::Json;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use std::time::Duration;

/// The slowest link over which bundles are uploaded; who is slower holds one of few places for too long.
const SLOWEST_UPLOAD_BYTES_PER_S: u64 = 16 * 1024;
/// Beyond what the length takes at that rate.
const UPLOAD_GRACE: Duration = Duration::from_secs(60);

/// All bundles, the newest first.
#[utoipa::path(get, path = "/api/v1/bundles", tag = "bundles", responses((status = 200, body = Vec<BundleView>)))]
pub(crate) async fn list(State(app): State<App>) -> Result<Json<Vec<BundleView>>, HubError> {
    let rows = app.hub.database.bundles().await?;
    rows.into_iter().map(BundleView::of).collect::<Result<_, _>>().map(Json)
}

/// One bundle.
#[utoipa::path(get, path = "/api/v1/bundles/{reference}", tag = "bundles",
    params(("reference" = String, Path, description = "A digest, a prefix that only one has, or NAME@VERSION")),
    responses((status = 200, body = BundleView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn show(State(app): State<App>, Path(reference): Path<String>) -> Result<Json<BundleView>, HubError> {
    BundleView::of(app.hub.find_bundle(&reference).await?).map(Json)
}

/// Takes a signed bundle in.
#[utoipa::path(post, path = "/api/v1/bundles", tag = "bundles",
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "A .fhb file"),
    responses((status = 201, description = "taken in", body = BundleView),
        (status = 200, description = "was here", body = BundleView),
        (status = 409, description = "its name and version are another bundle's", body = Problem),
        (status = 422, description = "refused, with the reason", body = Problem)))]
pub(crate) async fn ingest(
    State(app): State<App>,
    mut request: Request,
) -> Result<(StatusCode, Json<BundleView>), HubError> {
    let _upload = app
        .uploads
        .acquire()
        .await
        .map_err(|error| HubError::Internal(error.to_string()))?;
    let most = app.hub.settings.max_bundle_bytes;
    DefaultBodyLimit::max(most).apply(&mut request);
    let length = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    let length = length.map_or(most, |length: usize| length.min(most)) as u64;
    let within = UPLOAD_GRACE + Duration::from_secs(length / SLOWEST_UPLOAD_BYTES_PER_S);
    let bytes = super::whole(request, &app, within).await?;
    let bytes = bytes.map_err(|error| unread(&error, "the bundle", most))?;
    let (row, new) = app.hub.ingest(bytes.into()).await?;
    tracing::info!(
        bundle = row.digest,
        name = row.name,
        version = row.version,
        new,
        "ingested a bundle"
    );
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(BundleView::of(row)?)))
}

/// Which bundle to export.
#[derive(Debug, Deserialize)]
pub(crate) struct ExportParams {
    bundle: Option<String>,
}

/// The bundle that a device is assigned, with the assignment, as a file to be carried to it.
#[utoipa::path(get, path = "/api/v1/devices/{id}/export", tag = "bundles",
    params(("id" = String, Path, description = "The device"),
        ("bundle" = Option<String>, Query, description = "The bundle that is expected; another one is a conflict")),
    responses((status = 200, description = "A .fhb file", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, body = Problem),
        (status = 409, description = "no assignment of it that is valid; deploy first", body = Problem)))]
pub(crate) async fn export(
    State(app): State<App>,
    Path(id): Path<String>,
    Params(params): Params<ExportParams>,
) -> Result<impl IntoResponse, HubError> {
    let bytes = app.hub.export(&id, params.bundle.as_deref()).await?;
    // The id was found among the devices, so it has no character that would end the quotes.
    let name = format!("attachment; filename=\"{id}.fhb\"");
    let kind = "application/octet-stream".to_owned();
    Ok((
        [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)],
        bytes,
    ))
}
