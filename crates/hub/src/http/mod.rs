//! HTTP: the API under `/api/v1`, its description, metrics, pages. Handlers translate; what is decided is decided in
//! `fleet`.
//!
//! Who may ask is decided in `access`, by the roles that `routes` has for each route.

mod api;
mod charts;
mod guard;
mod listener;
mod login;
mod metrics;
mod models;
mod openapi;
mod pages;
mod routes;
mod style;
pub(crate) mod tls;
mod views;

pub(crate) use guard::MIN_TOKEN;
pub(crate) use models::TokenView;

use crate::access::door::Door;
use crate::access::oidc::Oidc;
use crate::fleet::{Hub, HubError};
use axum::Json;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use models::Problem;
use rustls::ServerConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// JSON that callers send: the longest is a list of devices, some thousand of 64 characters.
const MAX_JSON_BYTES: usize = 512 * 1024;
/// Callers that wait for an answer at the same time, a connection each.
const MAX_WAITING: usize = 256;
/// A body that is no bundle comes within this time: half a megabyte over the slowest link that anybody has.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Uploads at the same time: each is in memory while it comes.
const MAX_UPLOADS: usize = 2;

/// What handlers share.
#[derive(Debug, Clone)]
pub(crate) struct App {
    hub: Arc<Hub>,
    door: Arc<Door>,
    waiting: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    /// How long a body that is no bundle may take.
    body_within: Duration,
    /// Turns true when the hub ends, so that nobody waits any longer.
    stopping: watch::Receiver<bool>,
    /// Whether it listens on loopback, and so has to know by itself that a browser isn't led here by somebody else.
    loopback: bool,
    /// Whether it speaks TLS.
    tls: bool,
}

/// How it is to be served.
pub(crate) struct Service {
    /// The certificate, which may change; `None`: plain HTTP.
    pub(crate) tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    /// Who vouches for people.
    pub(crate) oidc: Option<Oidc>,
}

/// Serves until `stopping` turns true and what runs then has ended.
pub(crate) async fn serve(listener: TcpListener, hub: Arc<Hub>, service: Service, mut stopping: watch::Receiver<bool>) {
    let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let Service { tls, oidc } = service;
    let door = Door::new(hub.settings.api_token.as_deref(), oidc, loopback);
    match door.is_open(&hub.database).await {
        Ok(true) => tracing::warn!(
            "everybody on this machine may do everything here; close the door with a first token: \
             `floorhand hub token new NAME --role admin`"
        ),
        Ok(false) => {}
        Err(error) => tracing::error!("failed to look for tokens: {error}"),
    }
    let router = router(app(hub, door, (loopback, tls.is_some()), stopping.clone()));
    let stop = async move {
        // An error means that the sender is gone, and with it the program.
        drop(stopping.wait_for(|stop| *stop).await);
    };
    listener::serve(listener, router, tls, stop).await;
}

fn app(hub: Arc<Hub>, door: Door, (loopback, tls): (bool, bool), stopping: watch::Receiver<bool>) -> App {
    App {
        hub,
        door: Arc::new(door),
        waiting: Arc::new(Semaphore::new(MAX_WAITING)),
        uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
        body_within: BODY_WITHIN,
        stopping,
        loopback,
        tls,
    }
}

fn router(app: App) -> Router {
    routes::router()
        .fallback(async || HubError::NotFound("no such page; see /openapi.json".to_owned()))
        .layer(axum::middleware::from_fn_with_state(app.clone(), guard::check))
        .layer(DefaultBodyLimit::max(MAX_JSON_BYTES))
        .with_state(app)
}

impl IntoResponse for HubError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Database(_) | Self::Store(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!("failed to answer a request: {self}");
        }
        problem(status, self.to_string())
    }
}

/// An error as every caller gets it.
fn problem(status: StatusCode, error: String) -> Response {
    (status, Json(Problem { error })).into_response()
}

#[cfg(test)]
mod tests;
