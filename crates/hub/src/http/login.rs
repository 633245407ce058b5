//! `/login`: a person's token for a cookie, with which a browser may look. Changes take the token itself, so a page of
//! somebody else that has the browser send something gains nothing.

use super::api::in_time;
use super::{App, guard, problem};
use crate::access::door::Denied;
use crate::access::{Actor, Kind, tokens};
use crate::fleet::HubError;
use crate::http::listener::Peer;
use axum::Form;
use axum::extract::{Extension, FromRequest as _, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use maud::{DOCTYPE, html};
use serde::Deserialize;

/// What the form sends.
#[derive(Deserialize)]
pub(crate) struct Login {
    token: String,
}

/// The cookie's name. With TLS no other host and no plain connection can set it, which the prefix has browsers see to.
pub(crate) fn cookie_name(tls: bool) -> &'static str {
    if tls { "__Host-floorhand" } else { "floorhand" }
}

/// The form.
pub(crate) async fn page(State(app): State<App>) -> Result<Response, HubError> {
    if app.door.is_open(&app.hub.database).await? {
        return Ok(Redirect::to("/").into_response());
    }
    Ok(form("").into_response())
}

/// Takes a token, gives a cookie.
pub(crate) async fn log_in(
    State(app): State<App>,
    Extension(Peer(from)): Extension<Peer>,
    request: Request,
) -> Response {
    let Login { token } = match in_time(Form::from_request(request, &app), app.body_within).await {
        Ok(Ok(Form(login))) => login,
        Ok(Err(error)) => return error.into_response(),
        Err(late) => return late.into_response(),
    };
    let now_ms = app.hub.now_ms();
    match app.door.log_in(&app.hub.database, token.trim(), from, now_ms).await {
        Ok((cookie, good_ms)) => with_cookie(&app, &cookie, good_ms / 1000, "/"),
        Err(Denied::Wrong(reason)) => (StatusCode::UNAUTHORIZED, form(&reason)).into_response(),
        Err(other) => guard::denied(other),
    }
}

/// Ends the browser's login.
pub(crate) async fn log_out(
    State(app): State<App>,
    Extension(Peer(from)): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, HubError> {
    if let Some(cookie) = guard::cookie(&headers, cookie_name(app.tls)) {
        // Whose login it was is told by the entry of its beginning; here nobody has shown a token.
        let shown = crate::access::door::Shown::Cookie(cookie.clone());
        let entered = app.door.enter(&app.hub.database, &shown, from, app.hub.now_ms()).await;
        let actor = entered.ok().filter(|actor| actor.kind != Kind::Anybody);
        let hash = tokens::hash(&cookie);
        let ending = app.hub.database.end_session(&hash, app.hub.now_ms());
        match actor {
            Some(actor) => actor.act(ending).await?,
            None => ending.await?,
        }
    }
    Ok(with_cookie(&app, "", 0, "/login"))
}

/// Who is logged in by a cookie, for the pages' foot.
pub(crate) fn logged_in() -> Option<String> {
    let actor = Actor::current();
    (actor.method == crate::access::Method::Session).then_some(actor.name)
}

fn with_cookie(app: &App, value: &str, max_age_s: u64, to: &str) -> Response {
    let name = cookie_name(app.tls);
    let secure = if app.tls { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}");
    let Ok(cookie) = HeaderValue::from_str(&cookie) else {
        return problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the cookie can't be written".to_owned(),
        );
    };
    let mut response = Redirect::to(to).into_response();
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response
}

fn form(reason: &str) -> Html<String> {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Log in · floorhand" }
                link rel="stylesheet" href="/static/style.css";
                link rel="icon" href="data:,";
            }
            body.login {
                header { h1 { "floorhand" } }
                main {
                    section {
                        h2 { "Log in" }
                        form method="post" action="/login" {
                            label for="token" { "Token" }
                            input #token name="token" type="password" autocomplete="current-password" required autofocus;
                            button { "Log in" }
                        }
                        @if !reason.is_empty() { p.bad role="alert" { (reason) } }
                        p.dim {
                            "An administrator makes you one: " code { "floorhand hub token new NAME --role viewer" } ". "
                            "A browser may look with it; changes are made with " code { "floorhand fleet" } "."
                        }
                    }
                }
            }
        }
    };
    Html(markup.into_string())
}
