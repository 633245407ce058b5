//! Every route in one table, with the role it needs and, where it changes something, the entry it leaves in the audit log.
//! The router is built from it, the guard looks roles up in it, tests go through the whole of it.
//!
//! A route that isn't in here can't be reached; one that changes something and names no entry doesn't compile.

use super::{App, api, login, metrics, openapi, pages, style};
use crate::access::Role;
use axum::Router;
use axum::http::Method;
use axum::routing;

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nobody in particular.
    Public,
    /// Somebody who may look.
    Viewer,
    /// Somebody who steers devices.
    Operator,
    /// Somebody who releases bundles.
    Releaser,
    /// Somebody who decides about the others.
    Admin,
}

impl Need {
    /// The role; `None` where none is needed.
    pub(super) const fn role(self) -> Option<Role> {
        match self {
            Self::Public => None,
            Self::Viewer => Some(Role::Viewer),
            Self::Operator => Some(Role::Operator),
            Self::Releaser => Some(Role::Releaser),
            Self::Admin => Some(Role::Admin),
        }
    }
}

/// One route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    /// As axum's function is called: `get`, `put`, `post` or `delete`.
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) need: Need,
    /// The action of the audit entry that it leaves.
    pub(super) records: Option<&'static str>,
}

/// What the route of a request needs. HEAD is GET without the body.
pub(super) fn need(method: &Method, path: &str) -> Option<Need> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let is_it = |route: &&Route| route.path == path && route.method.eq_ignore_ascii_case(method.as_str());
    ROUTES.iter().find(is_it).map(|route| route.need)
}

const fn only(actions: &[&'static str]) -> Option<&'static str> {
    match actions {
        [action] => Some(action),
        _ => None,
    }
}

const fn changes_are_recorded(routes: &[Route]) -> bool {
    let mut rest = routes;
    while let [route, more @ ..] = rest {
        if !matches!(route.method.as_bytes(), b"get") && route.records.is_none() {
            return false;
        }
        rest = more;
    }
    true
}

macro_rules! routes {
    ($($method:ident $need:ident $path:literal $(records $action:literal)? => $handler:expr),+ $(,)?) => {
        /// Every route.
        pub(super) const ROUTES: &[Route] = &[$(Route {
            method: stringify!($method),
            path: $path,
            need: Need::$need,
            records: only(&[$($action)?]),
        }),+];

        const _: () = assert!(changes_are_recorded(ROUTES), "a route that changes something has to say what it records");

        /// The router of all routes.
        pub(super) fn router() -> Router<App> {
            Router::new()$(.route($path, routing::$method($handler)))+
        }
    };
}

routes! {
    get Viewer "/api/v1/devices" => api::devices::list,
    get Viewer "/api/v1/devices/{id}" => api::devices::show,
    put Admin "/api/v1/devices/{id}" records "device.enroll" => api::devices::register,
    delete Admin "/api/v1/devices/{id}" records "device.remove" => api::devices::remove,
    post Operator "/api/v1/devices/{id}/rollback" records "rollback" => api::orders::rollback,
    post Operator "/api/v1/devices/{id}/pause" records "pause" => api::orders::pause,
    post Operator "/api/v1/devices/{id}/resume" records "resume" => api::orders::resume,
    post Operator "/api/v1/devices/{id}/sampling" records "set-sampling" => api::orders::sampling,
    post Operator "/api/v1/devices/{id}/report-now" records "command.report-now" => api::orders::report_now,
    post Operator "/api/v1/devices/{id}/fetch-logs" records "command.fetch-logs" => api::orders::fetch_logs,
    get Viewer "/api/v1/devices/{id}/answers/{kind}/{number}" => api::orders::answer,
    get Operator "/api/v1/devices/{id}/export" => api::bundles::export,
    get Admin "/api/v1/enrolment-tokens" => api::enrolment::list,
    post Admin "/api/v1/enrolment-tokens" records "enrolment-token.new" => api::enrolment::create,
    delete Admin "/api/v1/enrolment-tokens/{id}" records "enrolment-token.revoke" => api::enrolment::remove,
    post Public "/api/v1/enrol" records "device.enroll" => api::enrolment::enrol,
    get Viewer "/api/v1/bundles" => api::bundles::list,
    post Releaser "/api/v1/bundles" records "bundle.push" => api::bundles::ingest,
    get Viewer "/api/v1/bundles/{reference}" => api::bundles::show,
    get Viewer "/api/v1/roots" => api::roots::list,
    post Admin "/api/v1/roots" records "root.publish" => api::roots::publish,
    post Operator "/api/v1/deployments" records "deploy" => api::orders::deploy,
    get Viewer "/api/v1/jobs" => api::orders::jobs,
    get Viewer "/api/v1/jobs/{job}" => api::orders::job,
    get Viewer "/api/v1/findings" => api::records::findings,
    get Viewer "/api/v1/records" => api::records::records,
    get Viewer "/api/v1/gaps" => api::records::gaps,
    get Viewer "/api/v1/series" => api::records::series,
    get Viewer "/api/v1/stats" => api::records::stats,
    get Admin "/api/v1/tokens" => api::tokens::list,
    post Admin "/api/v1/tokens" records "token.new" => api::tokens::make,
    delete Admin "/api/v1/tokens/{name}" records "token.revoke" => api::tokens::revoke,
    get Admin "/api/v1/audit" => api::audit::list,
    get Admin "/api/v1/audit/checkpoint" => api::audit::checkpoint,
    get Viewer "/" => pages::fleet,
    get Viewer "/devices/{id}" => pages::device,
    get Viewer "/metrics" => metrics::metrics,
    get Viewer "/openapi.json" => openapi::document,
    get Public "/login" => login::page,
    post Public "/login" records "session.login" => login::log_in,
    post Public "/logout" records "session.logout" => login::log_out,
    get Public "/static/style.css" => style::css,
    get Public "/static/refresh.js" => style::script,
    get Public "/healthz" => metrics::health,
}
