//! The pages' style and script, as files of their own so that the content security policy needs no exception.

use axum::http::header;
use axum::response::IntoResponse;

/// The style sheet.
pub(crate) async fn css() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        include_str!("style.css"),
    )
}

/// Renews `main` every two seconds while the page is looked at.
pub(crate) async fn script() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")],
        include_str!("refresh.js"),
    )
}
