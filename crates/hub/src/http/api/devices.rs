//! `/api/v1/devices`: who is in the fleet.

use super::JsonBody;
use crate::fleet::{Enrolled, HubError};
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

/// Registers a device by its key, or, where the request says so, gives a registered one another key.
#[utoipa::path(put, path = "/api/v1/devices/{id}", tag = "devices",
    params(("id" = String, Path, description = "1 to 64 of A-Z a-z 0-9 _ -")), request_body = Registration,
    responses((status = 201, description = "registered", body = DeviceView),
        (status = 200, description = "was registered by this key, or has it now in place of another", body = DeviceView),
        (status = 400, description = "no id, or no public key", body = Problem),
        (status = 409, description = "is known by another key, or another device has this one", body = Problem)))]
pub(crate) async fn register(
    State(app): State<App>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<Registration>,
) -> Result<(StatusCode, Json<DeviceView>), HubError> {
    let device = device_id(&id)?;
    let key = public_key(&body.public_key_pem)?;
    let enrolled = app.hub.enroll(&device, &key, body.replace).await?;
    tracing::info!(%device, key = %key.id(), registration = enrolled.name(), "registered a device");
    let row = app.hub.find_device(&id).await?;
    let assignment = app.hub.database.latest_assignment(&id).await?;
    let mut view = DeviceView::of(row, assignment)?;
    view.registration = Some(enrolled.name().to_owned());
    let status = match enrolled {
        Enrolled::New => StatusCode::CREATED,
        Enrolled::Known | Enrolled::Replaced => StatusCode::OK,
    };
    Ok((status, Json(view)))
}

fn device_id(id: &str) -> Result<DeviceId, HubError> {
    id.parse()
        .map_err(|error: floorhand_bundle::NameError| HubError::Invalid(error.to_string()))
}

fn public_key(pem: &str) -> Result<PublicKey, HubError> {
    if pem.contains("PRIVATE KEY") {
        let problem =
            "public_key_pem is a secret key, which is to stay where it was made; send the public one, the .pub file";
        return Err(HubError::Invalid(problem.to_owned()));
    }
    PublicKey::from_pem(pem).map_err(|error| HubError::Invalid(error.to_string()))
}

/// Removes a device. What it was assigned and what it reported stays.
#[utoipa::path(delete, path = "/api/v1/devices/{id}", tag = "devices",
    params(("id" = String, Path, description = "The device")),
    responses((status = 204, description = "removed"), (status = 404, body = Problem)))]
pub(crate) async fn remove(State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode, HubError> {
    let device = device_id(&id)?;
    if !app.hub.database.unregister(device.as_str(), app.hub.now_ms()).await? {
        return Err(HubError::NotFound(format!("no device {id:?} here")));
    }
    tracing::info!(%device, "removed a device");
    Ok(StatusCode::NO_CONTENT)
}
