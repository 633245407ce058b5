//! Who may ask: callers with the token where there is one, and no page of another site that a browser on this machine
//! happens to show.

use super::{App, problem};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The shortest token that is taken: 128 bits in hexadecimal.
pub(crate) const MIN_TOKEN: usize = 32;
/// Nothing but what this server has; forms and frames nowhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Checks a request before any handler sees it, and puts the headers on the answer that keep a browser strict.
pub(crate) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    app.hub.counters.http_requests.add_one();
    let mut response = match refusal(&app, &request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn refusal(app: &App, request: &Request) -> Option<Response> {
    let headers = request.headers();
    // A name that somebody else's DNS points to 127.0.0.1 makes their page same-origin with this server.
    if app.loopback && !is_local(text(headers, &header::HOST).unwrap_or_default()) {
        let error = "this hub listens on loopback only: ask for localhost, 127.0.0.1 or [::1]";
        return Some(problem(StatusCode::FORBIDDEN, error.to_owned()));
    }
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !safe && is_foreign(headers) {
        return Some(problem(
            StatusCode::FORBIDDEN,
            "pages of other sites may not change anything here".to_owned(),
        ));
    }
    let token = app.hub.settings.api_token.as_deref()?;
    let shown = shown_token(headers, safe);
    if shown.is_some_and(|shown| same(shown.as_bytes(), token.as_bytes())) {
        return None;
    }
    let error = "show the token of this hub's api_token_file: `Authorization: Bearer TOKEN`";
    let mut response = problem(StatusCode::UNAUTHORIZED, error.to_owned());
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Basic realm=\"floorhand hub\""),
    );
    Some(response)
}

/// The token of a `Bearer` header, or, where nothing is changed, the password of a `Basic` one, which is what browsers can
/// send. They send it by themselves, and so on behalf of others too.
fn shown_token(headers: &HeaderMap, safe: bool) -> Option<String> {
    let (scheme, value) = text(headers, &header::AUTHORIZATION)?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().to_owned());
    }
    if !safe || !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
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

/// Compares in a time that doesn't tell how many bytes are right.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |all, (a, b)| all | (a ^ b)) == 0
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
    fn tokens_come_as_bearer_or_to_look_only_as_password() {
        assert_eq!(
            shown_token(&headers(&[("authorization", "Bearer abc")]), false).as_deref(),
            Some("abc")
        );
        let basic = headers(&[("authorization", "Basic eDphYmM=")]);
        assert_eq!(shown_token(&basic, true).as_deref(), Some("abc"));
        assert_eq!(shown_token(&basic, false), None);
        assert_eq!(shown_token(&headers(&[("authorization", "abc")]), true), None);
        assert!(same(b"abc", b"abc") && !same(b"abc", b"abd") && !same(b"abc", b"ab"));
    }
}
