//! Before any handler: who asks, whether the route is for them, and no page of another site that a browser happens to show.
//! It translates between HTTP and the door, and sets the headers that keep a browser strict.

use super::listener::Peer;
use super::login::cookie_name;
use super::{App, problem, routes};
use crate::access::door::{Denied, Shown};
use crate::access::{Actor, Role};
use crate::fleet::HubError;
use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::net::{IpAddr, Ipv4Addr};

/// The shortest token that is taken from `api_token_file`: 128 bits in hexadecimal.
pub(crate) const MIN_TOKEN: usize = 32;
/// Nothing but what this server has; frames nowhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// A browser that has seen this hub over TLS asks it in no other way for a year.
const TRANSPORT_SECURITY: &str = "max-age=31536000";

/// Checks a request before any handler sees it.
pub(crate) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    app.hub.counters.http_requests.add_one();
    let (mut parts, body) = request.into_parts();
    let here = Peer(IpAddr::from(Ipv4Addr::LOCALHOST));
    let Peer(from) = *parts.extensions.get_or_insert(here);
    let mut response = match let_in(&app, &parts, from).await {
        Ok(Some(actor)) => actor.act(next.run(Request::from_parts(parts, body))).await,
        Ok(None) => next.run(Request::from_parts(parts, body)).await,
        Err(refusal) => *refusal,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if app.tls {
        let value = HeaderValue::from_static(TRANSPORT_SECURITY);
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    response
}

/// As whom a request is let in; `None` where the route needs nobody.
async fn let_in(app: &App, request: &Parts, from: IpAddr) -> Result<Option<Actor>, Box<Response>> {
    if let Some(refusal) = refusal(app, request) {
        return Err(Box::new(refusal));
    }
    let path = request.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    // What isn't in the table is nothing; who may look may be told so.
    let need = path.and_then(|path| routes::need(&request.method, path));
    let Some(role) = need.unwrap_or(routes::Need::Viewer).role() else {
        let knocked = app.door.knock(from, app.hub.now_ms());
        return knocked.map(|()| None).map_err(|denied| Box::new(self::denied(denied)));
    };
    let shown = shown(&request.headers, is_safe(&request.method), app.tls);
    let entered = app.door.enter(&app.hub.database, &shown, from, app.hub.now_ms()).await;
    let actor = entered.map_err(|denied| {
        let refusal = match denied {
            Denied::Missing if wants_page(request) => Redirect::to("/login").into_response(),
            other => self::denied(other),
        };
        app.hub.counters.http_denied.add_one();
        Box::new(refusal)
    })?;
    if actor.roles.allow(role) {
        return Ok(Some(actor));
    }
    app.hub.counters.http_denied.add_one();
    Err(Box::new(not_allowed(&actor, role)))
}

fn not_allowed(actor: &Actor, role: Role) -> Response {
    let how = match actor.method {
        crate::access::Method::Basic | crate::access::Method::Session => {
            "; a password or a login in a browser is for looking: show the token as `Authorization: Bearer TOKEN`"
        }
        _ => "",
    };
    let error = format!(
        "this needs the role {}, and {actor} has {}{how}",
        role.name(),
        actor.roles
    );
    problem(StatusCode::FORBIDDEN, error)
}

/// What is answered to those who aren't let in.
pub(super) fn denied(denied: Denied) -> Response {
    match denied {
        Denied::Missing => {
            let error = "show a token of this hub: `Authorization: Bearer TOKEN`";
            challenged(error.to_owned())
        }
        Denied::Wrong(reason) => challenged(reason),
        Denied::TooOften(wait_ms) => {
            let wait_s = wait_ms.div_ceil(1000).max(1);
            let mut response = problem(
                StatusCode::TOO_MANY_REQUESTS,
                format!("that is too often; ask again in {wait_s} s"),
            );
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(wait_s));
            response
        }
        Denied::Unavailable(reason) => problem(StatusCode::SERVICE_UNAVAILABLE, reason),
        Denied::Database(error) => HubError::Database(error).into_response(),
    }
}

fn challenged(error: String) -> Response {
    let mut response = problem(StatusCode::UNAUTHORIZED, error);
    for way in ["Bearer realm=\"floorhand hub\"", "Basic realm=\"floorhand hub\""] {
        response
            .headers_mut()
            .append(header::WWW_AUTHENTICATE, HeaderValue::from_static(way));
    }
    response
}

/// What nobody may, whoever they are.
fn refusal(app: &App, request: &Parts) -> Option<Response> {
    let headers = &request.headers;
    // A name that somebody else's DNS points to 127.0.0.1 makes their page same-origin with this server.
    if app.loopback && !is_local(text(headers, &header::HOST).unwrap_or_default()) {
        let error = "this hub listens on loopback only: ask for localhost, 127.0.0.1 or [::1]";
        return Some(problem(StatusCode::FORBIDDEN, error.to_owned()));
    }
    if !is_safe(&request.method) && is_foreign(headers) {
        return Some(problem(
            StatusCode::FORBIDDEN,
            "pages of other sites may not change anything here".to_owned(),
        ));
    }
    None
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a person looks for a page, who can be shown where to log in.
fn wants_page(request: &Parts) -> bool {
    let path = request.uri.path();
    request.method == Method::GET
        && !path.starts_with("/api/")
        && text(&request.headers, &header::ACCEPT).is_some_and(|kinds| kinds.contains("text/html"))
}

/// The token of a `Bearer` header, or, where nothing is changed, the password of a `Basic` one or a cookie: what browsers
/// can send. They send both by themselves, and so on behalf of others too.
fn shown(headers: &HeaderMap, safe: bool, tls: bool) -> Shown {
    let authorization = text(headers, &header::AUTHORIZATION).and_then(|value| value.split_once(' '));
    match authorization {
        Some((scheme, value)) if scheme.eq_ignore_ascii_case("bearer") => Shown::Bearer(value.trim().to_owned()),
        Some((scheme, value)) if safe && scheme.eq_ignore_ascii_case("basic") => {
            password(value).map_or(Shown::Nothing, Shown::Password)
        }
        Some(_) => Shown::Nothing,
        None if safe => cookie(headers, cookie_name(tls)).map_or(Shown::Nothing, Shown::Cookie),
        None => Shown::Nothing,
    }
}

fn password(value: &str) -> Option<String> {
    let decoded = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

/// The value of a cookie; none where it is empty.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let pairs = text(headers, &header::COOKIE)?.split(';');
    let value = pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(known, _)| *known == name)?;
    (!value.1.is_empty()).then(|| value.1.to_owned())
}

/// Whether a browser says that the request comes from a page of another origin.
fn is_foreign(headers: &HeaderMap) -> bool {
    if text(headers, &header::HeaderName::from_static("sec-fetch-site"))
        .is_some_and(|site| !matches!(site, "same-origin" | "none"))
    {
        return true;
    }
    let host = text(headers, &header::HOST).unwrap_or_default();
    text(headers, &header::ORIGIN).is_some_and(|origin| origin.split_once("://").map(|(_, rest)| rest) != Some(host))
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn names_of_this_machine() {
        for host in [
            "localhost",
            "localhost:8460",
            "127.0.0.1:8460",
            "127.9.9.9",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8460",
            "127.0.0.1.evil.example",
            "10.0.0.1:80",
            "[::2]:80",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_told_by_their_headers() {
        for (pairs, foreign) in [
            (&[("host", "localhost:1")][..], false),
            (&[("host", "localhost:1"), ("origin", "http://localhost:1")], false),
            (&[("host", "localhost:1"), ("origin", "http://localhost:2")], true),
            (&[("host", "localhost:1"), ("origin", "null")], true),
            (&[("host", "localhost:1"), ("sec-fetch-site", "cross-site")], true),
            (&[("host", "localhost:1"), ("sec-fetch-site", "same-origin")], false),
        ] {
            assert_eq!(is_foreign(&headers(pairs)), foreign, "{pairs:?}");
        }
    }

    #[test]
    fn tokens_come_as_bearer_or_to_look_only_as_password_or_cookie() {
        let check = |pairs: &[(&'static str, &'static str)], safe: bool, expected: Shown| {
            assert_eq!(shown(&headers(pairs), safe, false), expected, "{pairs:?} {safe}");
        };
        let abc = || "abc".to_owned();
        check(&[("authorization", "Bearer abc")], false, Shown::Bearer(abc()));
        let basic = [("authorization", "Basic eDphYmM=")];
        check(&basic, true, Shown::Password(abc()));
        check(&basic, false, Shown::Nothing);
        check(&[("authorization", "abc")], true, Shown::Nothing);
        let cookie = [("cookie", "other=1; floorhand=abc")];
        check(&cookie, true, Shown::Cookie(abc()));
        check(&cookie, false, Shown::Nothing);
        check(&[("cookie", "floorhand=")], true, Shown::Nothing);
        let both = [("cookie", "floorhand=abc"), ("authorization", "Bearer def")];
        check(&both, true, Shown::Bearer("def".to_owned()));
        assert_eq!(
            shown(&headers(&cookie), true, true),
            Shown::Nothing,
            "with TLS it has the safer name"
        );
    }
}
