//! Orders to devices, the jobs they make, and what devices answer.

use super::{JsonBody, OptionalJsonBody, Params, limit};
use crate::fleet::{HubError, JobIssued, Selection};
use crate::http::App;
use crate::http::models::{
    AnswerView, Deployment, FetchLogs, Issued, IssuedCommand, IssuedOne, JobView, Problem, Rollback, Sampling,
};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use floorhand_protocol::{Action, Mode};
use serde::Deserialize;
use std::time::Duration;

/// The longest that a caller may wait for an answer, in seconds: below what proxies cut off.
const MAX_WAIT_S: u64 = 50;
/// More lines than any device keeps: an agent keeps 2,000, another device may keep more.
const MAX_LINES: u32 = 10_000;

/// Assigns a bundle to devices.
#[utoipa::path(post, path = "/api/v1/deployments", tag = "orders", request_body = Deployment,
    responses((status = 201, body = Issued), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "a device can't run it", body = Problem)))]
pub(crate) async fn deploy(
    State(app): State<App>,
    JsonBody(body): JsonBody<Deployment>,
) -> Result<(StatusCode, Json<Issued>), HubError> {
    let selection = match (body.all, body.devices.is_empty()) {
        (true, true) => Selection::All,
        (false, false) => {
            let ids = body.devices.iter().map(|id| id.parse()).collect::<Result<_, _>>();
            Selection::Devices(ids.map_err(|error| HubError::Invalid(format!("devices: {error}")))?)
        }
        _ => return Err(HubError::Invalid("name either `devices` or `\"all\": true`".to_owned())),
    };
    let issued = app.hub.deploy(&body.bundle, &selection).await?;
    Ok((StatusCode::CREATED, Json(issued.into())))
}

/// Assigns the bundle that the device had before, or a named one.
#[utoipa::path(post, path = "/api/v1/devices/{id}/rollback", tag = "orders",
    params(("id" = String, Path, description = "The device")), request_body = Option<Rollback>,
    responses((status = 201, body = IssuedOne), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn rollback(
    State(app): State<App>,
    Path(id): Path<String>,
    OptionalJsonBody(body): OptionalJsonBody<Rollback>,
) -> Result<(StatusCode, Json<IssuedOne>), HubError> {
    one(app.hub.rollback(&id, body.bundle.as_deref()).await?)
}

/// Lets samples go by.
#[utoipa::path(post, path = "/api/v1/devices/{id}/pause", tag = "orders",
    params(("id" = String, Path, description = "The device")),
    responses((status = 201, body = IssuedOne), (status = 404, body = Problem),
        (status = 409, description = "it was removed meanwhile", body = Problem)))]
pub(crate) async fn pause(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<IssuedOne>), HubError> {
    one(app.hub.change_mode(&id, Mode::Paused).await?)
}

/// Takes samples again.
#[utoipa::path(post, path = "/api/v1/devices/{id}/resume", tag = "orders",
    params(("id" = String, Path, description = "The device")),
    responses((status = 201, body = IssuedOne), (status = 404, body = Problem),
        (status = 409, description = "it was removed meanwhile", body = Problem)))]
pub(crate) async fn resume(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<IssuedOne>), HubError> {
    one(app.hub.change_mode(&id, Mode::Run).await?)
}

/// Sets the share of predictions that are reported.
#[utoipa::path(post, path = "/api/v1/devices/{id}/sampling", tag = "orders",
    params(("id" = String, Path, description = "The device")), request_body = Sampling,
    responses((status = 201, body = IssuedOne), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "it was removed meanwhile", body = Problem)))]
pub(crate) async fn sampling(
    State(app): State<App>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<Sampling>,
) -> Result<(StatusCode, Json<IssuedOne>), HubError> {
    one(app.hub.set_sampling(&id, body.ppm).await?)
}

fn one(issued: JobIssued) -> Result<(StatusCode, Json<IssuedOne>), HubError> {
    let (_, seq) = issued
        .assignments
        .first()
        .ok_or_else(|| HubError::Conflict("the device was removed meanwhile".to_owned()))?;
    Ok((
        StatusCode::CREATED,
        Json(IssuedOne {
            seq: *seq,
            job: issued.job,
            bundle: issued.bundle,
        }),
    ))
}

/// Has a device send its metrics now and answer with its status.
#[utoipa::path(post, path = "/api/v1/devices/{id}/report-now", tag = "orders",
    params(("id" = String, Path, description = "The device")),
    responses((status = 201, body = IssuedCommand), (status = 404, body = Problem)))]
pub(crate) async fn report_now(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<IssuedCommand>), HubError> {
    let id = app.hub.command(&id, &Action::ReportNow).await?;
    Ok((StatusCode::CREATED, Json(IssuedCommand { id })))
}

/// Has a device answer with the last lines of its log.
#[utoipa::path(post, path = "/api/v1/devices/{id}/fetch-logs", tag = "orders",
    params(("id" = String, Path, description = "The device")), request_body = FetchLogs,
    responses((status = 201, body = IssuedCommand), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn fetch_logs(
    State(app): State<App>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<FetchLogs>,
) -> Result<(StatusCode, Json<IssuedCommand>), HubError> {
    if body.lines == 0 || body.lines > MAX_LINES {
        return Err(HubError::Invalid(format!(
            "lines: {} is not 1 to {MAX_LINES}",
            body.lines
        )));
    }
    let id = app.hub.command(&id, &Action::FetchLogs { lines: body.lines }).await?;
    Ok((StatusCode::CREATED, Json(IssuedCommand { id })))
}

/// How long to wait.
#[derive(Debug, Deserialize)]
pub(crate) struct WaitParams {
    #[serde(default)]
    wait_s: u64,
}

/// What a device answered to an assignment (`assign`) or a command (`cmd`), waiting for it if it isn't there.
#[utoipa::path(get, path = "/api/v1/devices/{id}/answers/{kind}/{number}", tag = "orders",
    params(("id" = String, Path, description = "The device"), ("kind" = String, Path, description = "assign or cmd"),
        ("number" = u64, Path, description = "The assignment's seq, or the command's id"),
        ("wait_s" = Option<u64>, Query, description = "Seconds to wait, 50 at most")),
    responses((status = 200, body = AnswerView), (status = 404, description = "no answer so far", body = Problem),
        (status = 503, description = "too many callers wait", body = Problem)))]
pub(crate) async fn answer(
    State(app): State<App>,
    Path((id, kind, number)): Path<(String, String, String)>,
    Params(params): Params<WaitParams>,
) -> Result<Json<AnswerView>, HubError> {
    let number: u64 = number
        .parse()
        .map_err(|_| HubError::Invalid(format!("{number:?} is no seq and no id")))?;
    if !matches!(kind.as_str(), "assign" | "cmd") {
        return Err(HubError::Invalid(format!("{kind:?} is neither assign nor cmd")));
    }
    app.hub.find_device(&id).await?;
    let missing = || HubError::NotFound(format!("device {id} has not answered {kind}/{number} so far"));
    let wait = Duration::from_secs(params.wait_s.min(MAX_WAIT_S));
    tokio::time::timeout(
        wait.max(Duration::from_millis(1)),
        wait_for_answer(&app, &id, &kind, number, wait),
    )
    .await
    .map_or_else(|_| Err(missing()), |found| found?.ok_or_else(missing))
    .map(Json)
}

async fn wait_for_answer(
    app: &App,
    id: &str,
    kind: &str,
    number: u64,
    wait: Duration,
) -> Result<Option<AnswerView>, HubError> {
    let look = async || {
        app.hub
            .database
            .answer(id, kind, number)
            .await
            .map(|row| row.map(AnswerView::from))
    };
    // Whoever looks first and then begins to listen can miss what came in between.
    let mut answered = app.hub.answered.subscribe();
    let mut stopping = app.stopping.clone();
    let found = look().await?;
    if found.is_some() || wait.is_zero() {
        return Ok(found);
    }
    let _place = app
        .waiting
        .try_acquire()
        .map_err(|_| HubError::Busy("too many callers wait for answers; ask again later".to_owned()))?;
    loop {
        tokio::select! {
            changed = answered.changed() => if changed.is_err() { return Ok(None) },
            _ = stopping.wait_for(|stop| *stop) => return Ok(None),
        }
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
    }
}

/// Which jobs.
#[derive(Debug, Deserialize)]
pub(crate) struct JobParams {
    limit: Option<u32>,
}

/// The newest jobs with their assignments, the newest first.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "orders",
    params(("limit" = Option<u32>, Query, description = "50 when left out, 1000 at most")),
    responses((status = 200, body = Vec<JobView>)))]
pub(crate) async fn jobs(
    State(app): State<App>,
    Params(params): Params<JobParams>,
) -> Result<Json<Vec<JobView>>, HubError> {
    views(&app, limit(params.limit)).await.map(Json)
}

/// The newest jobs with their assignments, the newest first.
pub(crate) async fn views(app: &App, limit: i64) -> Result<Vec<JobView>, HubError> {
    let mut views = Vec::new();
    for row in app.hub.database.jobs(limit).await? {
        let bundle = app.hub.database.bundle(&row.bundle).await?;
        let assignments = app.hub.database.job_assignments(&row.id).await?;
        views.push(JobView::of(row, bundle, assignments));
    }
    Ok(views)
}

/// One job, with the status of each device.
#[utoipa::path(get, path = "/api/v1/jobs/{job}", tag = "orders",
    params(("job" = String, Path, description = "The job")),
    responses((status = 200, body = JobView), (status = 404, body = Problem)))]
pub(crate) async fn job(State(app): State<App>, Path(job): Path<String>) -> Result<Json<JobView>, HubError> {
    let row = app.hub.database.job(&job).await?;
    let row = row.ok_or_else(|| HubError::NotFound(format!("no job {job:?} here")))?;
    let bundle = app.hub.database.bundle(&row.bundle).await?;
    let assignments = app.hub.database.job_assignments(&job).await?;
    Ok(Json(JobView::of(row, bundle, assignments)))
}
