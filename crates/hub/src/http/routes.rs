//! The API's operations in one table: the router is built from it, and a test holds it against the description.

use super::{App, api};
use axum::Router;
use axum::routing;

macro_rules! operations {
    ($($method:ident $path:literal => $handler:expr),+ $(,)?) => {
        /// Every operation of the API: method and path.
        #[cfg(test)]
        pub(super) const OPERATIONS: &[(&str, &str)] = &[$((stringify!($method), $path)),+];

        /// The API's router.
        pub(super) fn api() -> Router<App> {
            Router::new()$(.route($path, routing::$method($handler)))+
        }
    };
}

operations! {
    get "/api/v1/devices" => api::devices::list,
    get "/api/v1/devices/{id}" => api::devices::show,
    put "/api/v1/devices/{id}" => api::devices::register,
    delete "/api/v1/devices/{id}" => api::devices::remove,
    post "/api/v1/devices/{id}/rollback" => api::orders::rollback,
    post "/api/v1/devices/{id}/pause" => api::orders::pause,
    post "/api/v1/devices/{id}/resume" => api::orders::resume,
    post "/api/v1/devices/{id}/sampling" => api::orders::sampling,
    post "/api/v1/devices/{id}/report-now" => api::orders::report_now,
    post "/api/v1/devices/{id}/fetch-logs" => api::orders::fetch_logs,
    get "/api/v1/devices/{id}/answers/{kind}/{number}" => api::orders::answer,
    get "/api/v1/devices/{id}/export" => api::bundles::export,
    get "/api/v1/bundles" => api::bundles::list,
    post "/api/v1/bundles" => api::bundles::ingest,
    get "/api/v1/bundles/{reference}" => api::bundles::show,
    get "/api/v1/roots" => api::roots::list,
    post "/api/v1/roots" => api::roots::publish,
    post "/api/v1/deployments" => api::orders::deploy,
    get "/api/v1/jobs" => api::orders::jobs,
    get "/api/v1/jobs/{job}" => api::orders::job,
    get "/api/v1/findings" => api::records::findings,
    get "/api/v1/records" => api::records::records,
    get "/api/v1/gaps" => api::records::gaps,
    get "/api/v1/series" => api::records::series,
    get "/api/v1/stats" => api::records::stats,
}
