//! The API's handlers, and the extractors that tell callers their mistakes as JSON.

pub(crate) mod audit;
pub(crate) mod bundles;
pub(crate) mod devices;
pub(crate) mod enrolment;
pub(crate) mod orders;
pub(crate) mod records;
pub(crate) mod roots;
pub(crate) mod tokens;

use crate::fleet::HubError;
use crate::http::App;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Rows of an answer when the caller doesn't say.
const DEFAULT_LIMIT: u32 = 50;
/// Rows of an answer, at most.
const MAX_LIMIT: u32 = 1000;

/// A body of JSON. Its content type has to say so: a page of another site can't send that unasked.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = HubError;

    async fn from_request(request: Request, app: &App) -> Result<Self, HubError> {
        let content_type = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|value| value.starts_with("application/json")) {
            return Err(HubError::Invalid(
                "expected a body of content type application/json".to_owned(),
            ));
        }
        let bytes = whole(request, app, app.body_within).await?;
        let bytes = bytes.map_err(|error| unread(&error, "the body", crate::http::MAX_JSON_BYTES))?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| HubError::Invalid(format!("body: {error}")))
    }
}

/// A body of JSON, or none, which stands for the default.
pub(crate) struct OptionalJsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned + Default> FromRequest<App> for OptionalJsonBody<T> {
    type Rejection = HubError;

    async fn from_request(request: Request, app: &App) -> Result<Self, HubError> {
        if request.headers().get(CONTENT_TYPE).is_none() {
            return Ok(Self(T::default()));
        }
        JsonBody::from_request(request, app)
            .await
            .map(|JsonBody(body)| Self(body))
    }
}

/// The parameters of a query.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = HubError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HubError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|Query(params)| Self(params))
            .map_err(|error| HubError::Invalid(error.body_text()))
    }
}

/// A body's bytes, if they come in time.
async fn whole<S: Send + Sync>(
    request: Request,
    state: &S,
    within: Duration,
) -> Result<Result<Bytes, BytesRejection>, HubError> {
    in_time(Bytes::from_request(request, state), within).await
}

/// What is read of a body, if it comes in time: somebody who sends a byte now and then must not hold a place for good.
pub(super) async fn in_time<T>(reading: impl Future<Output = T>, within: Duration) -> Result<T, HubError> {
    let late = |_| HubError::Late(format!("the body didn't come within {} s", within.as_secs()));
    tokio::time::timeout(within, reading).await.map_err(late)
}

/// Why a body couldn't be read, of which `most` bytes are taken.
fn unread(error: &BytesRejection, what: &str, most: usize) -> HubError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        HubError::TooLarge(format!(
            "{what} is longer than {most} bytes, and this hub takes no more"
        ))
    } else {
        HubError::Invalid(format!("{what} didn't come whole: {}", error.body_text()))
    }
}

/// How many rows to answer with.
fn limit(asked: Option<u32>) -> i64 {
    i64::from(asked.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT))
}
