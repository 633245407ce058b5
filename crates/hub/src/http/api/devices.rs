//! `/api/v1/devices`: who is in the fleet.

use super::JsonBody;
use crate::fleet::HubError;
use crate::http::App;
use crate::http::models::{DeviceDetail, DeviceView, Problem, Registration};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use floorhand_bundle::{DeviceId, PublicKey};
use std::collections::BTreeMap;

/// Assignments and commands that are shown with a device.
const HISTORY: i64 = 20;

/// All devices, by id.
#[utoipa::path(get, path = "/api/v1/devices", tag = "devices", responses((status = 200, body = Vec<DeviceView>)))]
pub(crate) async fn list(State(app): State<App>) -> Result<Json<Vec<DeviceView>>, HubError> {
    views(&app).await.map(Json)
}

/// Every device with its newest assignment.
pub(crate) async fn views(app: &App) -> Result<Vec<DeviceView>, HubError> {
    let latest = app.hub.database.latest_assignments().await?;
    let mut latest: BTreeMap<String, _> = latest.into_iter().map(|row| (row.device.clone(), row)).collect();
    let rows = app.hub.database.devices().await?;
    rows.into_iter()
        .map(|row| {
            let assignment = latest.remove(&row.id);
            DeviceView::of(row, assignment)
        })
        .collect()
}

/// One device with its last assignments and commands.
#[utoipa::path(get, path = "/api/v1/devices/{id}", tag = "devices",
    params(("id" = String, Path, description = "The device")),
    responses((status = 200, body = DeviceDetail), (status = 404, body = Problem)))]
pub(crate) async fn show(State(app): State<App>, Path(id): Path<String>) -> Result<Json<DeviceDetail>, HubError> {
    detail(&app, &id).await.map(Json)
}

/// One device with its history.
pub(crate) async fn detail(app: &App, id: &str) -> Result<DeviceDetail, HubError> {
    let row = app.hub.find_device(id).await?;
    let assignments = app.hub.database.assignments(id, HISTORY).await?;
    let commands = app.hub.database.commands(id, HISTORY).await?;
    Ok(DeviceDetail {
        device: DeviceView::of(row, assignments.first().cloned())?,
        assignments: assignments.into_iter().map(Into::into).collect(),
        commands: commands.into_iter().map(Into::into).collect(),
    })
}

/// Registers a device, or gives a registered one another key.
#[utoipa::path(put, path = "/api/v1/devices/{id}", tag = "devices",
    params(("id" = String, Path, description = "1 to 64 of A-Z a-z 0-9 _ -")), request_body = Registration,
    responses((status = 201, description = "registered", body = DeviceView),
        (status = 200, description = "was registered, has this key now", body = DeviceView),
        (status = 400, body = Problem)))]
pub(crate) async fn register(
    State(app): State<App>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<Registration>,
) -> Result<(StatusCode, Json<DeviceView>), HubError> {
    let device = id
        .parse::<DeviceId>()
        .map_err(|error| HubError::Invalid(error.to_string()))?;
    let key = PublicKey::from_pem(&body.public_key_pem).map_err(|error| HubError::Invalid(error.to_string()))?;
    let public_key = hex::encode(key.as_bytes());
    let new = app
        .hub
        .database
        .register(&device, &public_key, app.hub.now_ms())
        .await?;
    tracing::info!(%device, key = %key.id(), new, "registered a device");
    let row = app.hub.find_device(&id).await?;
    let assignment = app.hub.database.latest_assignment(&id).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(DeviceView::of(row, assignment)?)))
}

/// Removes a device. What it was assigned and what it reported stays.
#[utoipa::path(delete, path = "/api/v1/devices/{id}", tag = "devices",
    params(("id" = String, Path, description = "The device")),
    responses((status = 204, description = "removed"), (status = 404, body = Problem)))]
pub(crate) async fn remove(State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode, HubError> {
    if !app.hub.database.unregister(&id, app.hub.now_ms()).await? {
        return Err(HubError::NotFound(format!("no device {id:?} here")));
    }
    tracing::info!(device = id, "removed a device");
    Ok(StatusCode::NO_CONTENT)
}
