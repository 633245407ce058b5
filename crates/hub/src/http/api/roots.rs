//! `/api/v1/roots`: whose signatures count, and how far the fleet is with the newest root.

use super::{unread, whole};
use crate::fleet::HubError;
use crate::http::App;
use crate::http::models::{Problem, RoleView, RootView};
use axum::Json;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use floorhand_bundle::{MAX_ROOT_BYTES, RoleKeys, TrustRoot, Verified};
use std::collections::BTreeMap;

/// The trust roots, the newest first, each with the number of devices that have it.
#[utoipa::path(get, path = "/api/v1/roots", tag = "roots", responses((status = 200, body = Vec<RootView>)))]
pub(crate) async fn list(State(app): State<App>) -> Result<Json<Vec<RootView>>, HubError> {
    let mut devices: BTreeMap<u64, u64> = BTreeMap::new();
    for row in app.hub.database.devices().await? {
        if let Some(hello) = row.hello()? {
            *devices.entry(hello.root_version).or_default() += 1;
        }
    }
    let view = |root: &Verified<TrustRoot>| RootView::of(root, devices.get(&root.version).copied().unwrap_or(0));
    Ok(Json(app.hub.roots().iter().map(view).collect()))
}

/// Takes the trust root that follows the newest one.
#[utoipa::path(post, path = "/api/v1/roots", tag = "roots",
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "A trust root, signed by \
        the thresholds of the newest one and of its own"),
    responses((status = 201, description = "counts from now on", body = RootView),
        (status = 200, description = "was here", body = RootView),
        (status = 409, description = "the hub has no key that it lists for assignments", body = Problem),
        (status = 422, description = "refused, with the reason", body = Problem)))]
pub(crate) async fn publish(
    State(app): State<App>,
    mut request: Request,
) -> Result<(StatusCode, Json<RootView>), HubError> {
    DefaultBodyLimit::max(MAX_ROOT_BYTES + 2).apply(&mut request);
    let bytes = whole(request, &app, app.body_within).await?;
    let bytes = bytes.map_err(|error| unread(&error, "the trust root", MAX_ROOT_BYTES))?;
    let taken = app.hub.take_root(&bytes).await?;
    let status = if taken.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(RootView::of(&taken.root, 0))))
}

impl RootView {
    fn of(root: &Verified<TrustRoot>, devices: u64) -> Self {
        Self {
            version: root.version,
            digest: root.digest().to_string(),
            expires_ms: root.expires_ms,
            root: RoleView::of(&root.root),
            release: RoleView::of(&root.release),
            assignment: RoleView::of(&root.assignment),
            devices,
        }
    }
}

impl RoleView {
    fn of(role: &RoleKeys) -> Self {
        Self {
            threshold: role.threshold,
            key_ids: role.keys.iter().map(|key| key.id().to_string()).collect(),
        }
    }
}
