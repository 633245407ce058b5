//! Telemetry: records, findings, gauges over time, totals.

use super::{Params, limit};
use crate::database::{Filter, signed, unsigned};
use crate::fleet::HubError;
use crate::http::App;
use crate::http::models::{GapView, PointView, Problem, RecordPage, RecordView, Stats, TotalsView};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;

/// Points of a series in one answer: a day of one a minute, with room.
const MAX_POINTS: i64 = 5000;
const KINDS: [&str; 6] = ["job", "finding", "metrics", "event", "prediction", "explanation"];

/// Which records.
#[derive(Debug, Deserialize)]
pub(crate) struct RecordParams {
    #[serde(default)]
    device: String,
    #[serde(default)]
    kind: String,
    after: Option<u64>,
    limit: Option<u32>,
}

/// Records in the order of their arrival: those behind `after`, or the newest ones.
#[utoipa::path(get, path = "/api/v1/records", tag = "telemetry",
    params(("device" = Option<String>, Query, description = "All when left out"),
        ("kind" = Option<String>, Query, description = "job, finding, metrics, event, prediction or explanation; all when left out"),
        ("after" = Option<u64>, Query, description = "`next` of the page before; the newest records when left out"),
        ("limit" = Option<u32>, Query, description = "50 when left out, 1000 at most")),
    responses((status = 200, body = RecordPage), (status = 400, body = Problem)))]
pub(crate) async fn records(
    State(app): State<App>,
    Params(params): Params<RecordParams>,
) -> Result<Json<RecordPage>, HubError> {
    if !params.kind.is_empty() && !KINDS.contains(&params.kind.as_str()) {
        return Err(HubError::Invalid(format!(
            "{:?} is no kind: expected {}",
            params.kind,
            KINDS.join(", ")
        )));
    }
    let filter = Filter {
        device: params.device,
        kind: params.kind,
        limit: limit(params.limit),
    };
    let rows = match params.after {
        Some(after) => app.hub.database.records_after(&filter, signed(after)).await?,
        None => {
            let mut rows = app.hub.database.newest_records(&filter).await?;
            rows.reverse();
            rows
        }
    };
    let next = rows.last().map_or(params.after.unwrap_or(0), |row| unsigned(row.id));
    Ok(Json(RecordPage {
        records: rows.into_iter().map(Into::into).collect(),
        next,
    }))
}

/// Which findings.
#[derive(Debug, Deserialize)]
pub(crate) struct DeviceParams {
    #[serde(default)]
    device: String,
    limit: Option<u32>,
}

/// What monitors found, the newest first.
#[utoipa::path(get, path = "/api/v1/findings", tag = "telemetry",
    params(("device" = Option<String>, Query, description = "All when left out"),
        ("limit" = Option<u32>, Query, description = "50 when left out, 1000 at most")),
    responses((status = 200, description = "Records of kind finding", body = Vec<RecordView>)))]
pub(crate) async fn findings(
    State(app): State<App>,
    Params(params): Params<DeviceParams>,
) -> Result<Json<Vec<RecordView>>, HubError> {
    newest(&app, &params.device, "finding", limit(params.limit))
        .await
        .map(Json)
}

/// The newest records of a kind, the newest first.
pub(crate) async fn newest(app: &App, device: &str, kind: &str, limit: i64) -> Result<Vec<RecordView>, HubError> {
    let filter = Filter {
        device: device.to_owned(),
        kind: kind.to_owned(),
        limit,
    };
    let rows = app.hub.database.newest_records(&filter).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Records that devices dropped and declared, the newest first.
#[utoipa::path(get, path = "/api/v1/gaps", tag = "telemetry",
    params(("device" = Option<String>, Query, description = "All when left out"),
        ("limit" = Option<u32>, Query, description = "50 when left out, 1000 at most")),
    responses((status = 200, body = Vec<GapView>)))]
pub(crate) async fn gaps(
    State(app): State<App>,
    Params(params): Params<DeviceParams>,
) -> Result<Json<Vec<GapView>>, HubError> {
    let rows = app.hub.database.gaps(&params.device, limit(params.limit)).await?;
    Ok(Json(rows.into_iter().map(Into::into).collect()))
}

/// Which gauge.
#[derive(Debug, Deserialize)]
pub(crate) struct SeriesParams {
    device: String,
    gauge: String,
    #[serde(default)]
    since_ms: u64,
}

/// A gauge over time, the newest 5000 points at most, in rising order.
#[utoipa::path(get, path = "/api/v1/series", tag = "telemetry",
    params(("device" = String, Query, description = "The device"),
        ("gauge" = String, Query, description = "STAGE/NAME, as in the device's metrics"),
        ("since_ms" = Option<u64>, Query, description = "The device's time from which on; all when left out")),
    responses((status = 200, body = Vec<PointView>), (status = 400, body = Problem)))]
pub(crate) async fn series(
    State(app): State<App>,
    Params(params): Params<SeriesParams>,
) -> Result<Json<Vec<PointView>>, HubError> {
    let SeriesParams {
        device,
        gauge,
        since_ms,
    } = params;
    let points = app.hub.database.series(&device, &gauge, since_ms, MAX_POINTS).await?;
    Ok(Json(points.into_iter().map(Into::into).collect()))
}

/// The hub and all its devices in numbers.
#[utoipa::path(get, path = "/api/v1/stats", tag = "telemetry", responses((status = 200, body = Stats)))]
pub(crate) async fn stats(State(app): State<App>) -> Result<Json<Stats>, HubError> {
    gathered(&app).await.map(Json)
}

/// The hub and all its devices in numbers.
pub(crate) async fn gathered(app: &App) -> Result<Stats, HubError> {
    let totals = app.hub.database.totals().await?;
    let counters = app.hub.counters.all();
    Ok(Stats {
        fleet: app.hub.root.fleet.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now_ms: app.hub.now_ms(),
        broker_connected: app.hub.is_connected(),
        devices: unsigned(totals.devices),
        online: unsigned(totals.online),
        totals: TotalsView {
            samples: unsigned(totals.samples),
            results: unsigned(totals.results),
            failures: unsigned(totals.failures),
            records: unsigned(totals.records),
            duplicates: unsigned(totals.duplicates),
            lost: unsigned(totals.lost),
        },
        counters: counters
            .into_iter()
            .map(|(name, _, value)| (name.to_owned(), value))
            .collect(),
    })
}
