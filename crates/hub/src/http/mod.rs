//! HTTP: the API under `/api/v1`, its description, metrics, pages. Handlers translate; what is decided is decided in
//! `fleet`.
//!
//! No TLS and no accounts in here: on loopback everybody on the machine may ask, elsewhere everybody who shows the token,
//! and a proxy in front gives both a better door.

mod api;
mod charts;
mod guard;
mod listener;
mod metrics;
mod models;
mod openapi;
mod pages;
mod routes;
mod style;
mod views;

pub(crate) use guard::MIN_TOKEN;

use crate::fleet::{Hub, HubError};
use axum::Json;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use models::Problem;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// JSON that callers send: the longest is a list of devices, some thousand of 64 characters.
const MAX_JSON_BYTES: usize = 512 * 1024;
/// Callers that wait for an answer at the same time, a connection each.
const MAX_WAITING: usize = 256;
/// Uploads at the same time: each is in memory while it comes.
const MAX_UPLOADS: usize = 2;

/// What handlers share.
#[derive(Debug, Clone)]
pub(crate) struct App {
    hub: Arc<Hub>,
    waiting: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    /// Turns true when the hub ends, so that nobody waits any longer.
    stopping: watch::Receiver<bool>,
    /// Whether it listens on loopback, and so has to know by itself that a browser isn't led here by somebody else.
    loopback: bool,
}

/// Serves until `stopping` turns true and what runs then has ended.
pub(crate) async fn serve(listener: TcpListener, hub: Arc<Hub>, mut stopping: watch::Receiver<bool>) {
    let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let router = router(hub, loopback, stopping.clone());
    let stop = async move {
        // An error means that the sender is gone, and with it the program.
        drop(stopping.wait_for(|stop| *stop).await);
    };
    if let Err(error) = axum::serve(listener::Bounded::new(listener), router)
        .with_graceful_shutdown(stop)
        .await
    {
        tracing::error!("failed to serve HTTP: {error}");
    }
}

fn router(hub: Arc<Hub>, loopback: bool, stopping: watch::Receiver<bool>) -> Router {
    let app = App {
        hub,
        waiting: Arc::new(Semaphore::new(MAX_WAITING)),
        uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
        stopping,
        loopback,
    };
    Router::new()
        .merge(routes::api())
        .route("/", get(pages::fleet))
        .route("/devices/{id}", get(pages::device))
        .route("/static/style.css", get(style::css))
        .route("/static/refresh.js", get(style::script))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(openapi::document))
        .fallback(async || HubError::NotFound("no such page; see /openapi.json".to_owned()))
        .layer(axum::middleware::from_fn_with_state(app.clone(), guard::check))
        .route("/healthz", get(metrics::health))
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
