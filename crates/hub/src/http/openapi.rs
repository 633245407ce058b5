//! `/openapi.json`: the API's description, from the handlers and models themselves.

use super::{api, models};
use axum::Json;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "floorhand hub",
        description = "Devices, bundles, assignments and telemetry of one fleet. Errors are \
        `{\"error\": text}`. Where the hub has an API token, every request shows it: `Authorization: Bearer TOKEN`."
    ),
    paths(
        api::devices::list,
        api::devices::show,
        api::devices::register,
        api::devices::remove,
        api::bundles::list,
        api::bundles::show,
        api::bundles::ingest,
        api::bundles::export,
        api::orders::deploy,
        api::orders::rollback,
        api::orders::pause,
        api::orders::resume,
        api::orders::sampling,
        api::orders::report_now,
        api::orders::fetch_logs,
        api::orders::answer,
        api::orders::jobs,
        api::orders::job,
        api::records::records,
        api::records::findings,
        api::records::gaps,
        api::records::series,
        api::records::stats,
    ),
    components(schemas(models::Problem))
)]
struct Description;

/// The description.
pub(crate) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(description())
}

/// The description.
pub(crate) fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}
