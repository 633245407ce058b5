//! Who may what, over the whole table of routes; and what each change leaves in the audit log.

use super::*;
use crate::access::Role;
use crate::access::tokens;
use crate::audit::{self, Checkpoint, Entry};
use crate::database::NewToken;
use crate::fleet::{TokenWish, make_token, revoke_token};
use crate::http::listener::Peer;
use crate::http::routes::{Need, ROUTES, Route};
use crate::testing::{csr, enrolment, root};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use floorhand_bundle::TrustRoot;
use floorhand_protocol::{EnrolmentRequest, EnrolmentToken};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

async fn token(api: &Api, name: &str, roles: &[Role]) -> String {
    make_token(&api.hub.database, name, roles, 0, NOW_MS).await.unwrap().1
}

/// A hub that nobody may ask without a token, and an admin's.
async fn closed() -> (Api, String) {
    let api = Api::with(|_| {}, false).await;
    let admin = token(&api, "root", &[Role::Admin]).await;
    (api, admin)
}

fn concrete(path: &str) -> String {
    path.replace("{kind}", "cmd")
        .replace("{number}", "1")
        .replace(['{', '}'], "")
}

/// A request with this token, each from an address of its own, so that no limit is met.
fn asked(route: &Route, token: Option<&str>, number: u32) -> Request<Body> {
    let mut builder = builder(&route.method.to_uppercase(), &concrete(route.path));
    if let Some(token) = token {
        builder = builder.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let mut request = builder.body(Body::empty()).unwrap();
    let from = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + number));
    request.extensions_mut().insert(Peer(from));
    request
}

#[tokio::test]
async fn every_route_is_for_its_roles_and_no_others() {
    use Role::{Admin, Operator, Releaser, Viewer};
    let (api, admin) = closed().await;
    let mut callers = vec![(vec![Admin], admin)];
    for (name, roles) in [
        ("viewer", vec![Viewer]),
        ("operator", vec![Operator]),
        ("releaser", vec![Releaser]),
        ("both", vec![Operator, Releaser]),
    ] {
        let made = token(&api, name, &roles).await;
        callers.push((roles, made));
    }
    let expired = tokens::draw().unwrap();
    let new = NewToken {
        name: "expired".to_owned(),
        hash: tokens::hash(&expired),
        roles: "admin".to_owned(),
        is_admin: true,
        expires_ms: NOW_MS,
    };
    api.hub.database.add_token(&new, NOW_MS - 1).await.unwrap();
    let revoked = token(&api, "revoked", &[Admin]).await;
    revoke_token(&api.hub.database, "revoked", NOW_MS).await.unwrap();
    let made_up = tokens::draw().unwrap();
    let mut number = 0;
    for route in ROUTES {
        let what = format!("{} {}", route.method, route.path);
        for wrong in [None, Some(&expired), Some(&revoked), Some(&made_up)] {
            number += 1;
            let (status, _, _) = api.raw(asked(route, wrong.map(String::as_str), number)).await;
            let is_kept_out = status == 401 && route.path != "/login";
            assert_eq!(is_kept_out, route.need != Need::Public, "{what} {wrong:?}: {status}");
        }
        for (roles, token) in &callers {
            number += 1;
            let (status, body) = api.send(asked(route, Some(token), number)).await;
            let allowed = match route.need {
                Need::Public => true,
                Need::Viewer => true,
                Need::Operator => roles.contains(&Operator) || roles.contains(&Admin),
                Need::Releaser => roles.contains(&Releaser) || roles.contains(&Admin),
                Need::Admin => roles.contains(&Admin),
            };
            let refused = status == 403 || (status == 401 && route.need != Need::Public);
            assert_eq!(!refused, allowed, "{what} {roles:?}: {status} {body}");
        }
    }
}

async fn enrolment_token(api: &Api, device: &str) -> EnrolmentToken {
    let wish = TokenWish {
        pattern: device.to_owned(),
        hardware: None,
        replace: false,
        valid_ms: 60_000,
    };
    let token = api.hub.create_token(&wish).await.unwrap();
    token.text.parse().unwrap()
}

/// What a device sends that has a token.
fn enrolling(device: &str, token: &EnrolmentToken) -> Request<Body> {
    let sealed = EnrolmentRequest {
        device: device.parse().unwrap(),
        hardware: "gateway".parse().unwrap(),
        public_key: key(7).public(),
        csr: csr(device),
        fleet: None,
        critical: vec![],
    };
    let sealed = sealed.seal(&key(7), &token.secret).unwrap();
    request(
        "POST",
        "/api/v1/enrol",
        Some(json!({"request": STANDARD.encode(sealed)})),
    )
}

#[tokio::test]
async fn nobody_who_sends_rubbish_keeps_devices_out() {
    let api = Api::with(|hub| hub.enrolment = Some(enrolment()), false).await;
    let good = enrolment_token(&api, "press-1").await;
    let stranger = EnrolmentToken {
        secret: key(77),
        ..good.clone()
    };
    let rubbish = json!({"request": STANDARD.encode(b"rubbish")});
    for number in 0..1000_u32 {
        let mut junk = match number % 3 {
            0 => request("POST", "/api/v1/enrol", Some(json!({"request": "no base64"}))),
            1 => request("POST", "/api/v1/enrol", Some(rubbish.clone())),
            _ => enrolling("press-1", &stranger),
        };
        // From so many addresses that none of them asks too often.
        let from = IpAddr::from(Ipv4Addr::from(0x0a00_0001 + (number << 8)));
        junk.extensions_mut().insert(Peer(from));
        let (status, body) = api.send(junk).await;
        assert!(matches!(status, 400 | 422), "{number}: {status} {body}");
    }
    let mut request = enrolling("press-1", &good);
    request
        .extensions_mut()
        .insert(Peer(IpAddr::from(Ipv4Addr::new(192, 168, 0, 7))));
    assert_eq!(api.send(request).await.0, 200);
    // One address alone is still held back.
    let mut asked = 0;
    for _ in 0..1000 {
        let mut junk = super::request("POST", "/api/v1/enrol", Some(rubbish.clone()));
        junk.extensions_mut()
            .insert(Peer(IpAddr::from(Ipv4Addr::new(192, 168, 0, 8))));
        asked += u32::from(api.send(junk).await.0 != 429);
    }
    assert!(asked < 1000, "{asked}");
}

/// A request that carries each change out, on a hub with the device `press-1`, the bundle `valve@1.0.0` and the token
/// `spare`. `None`: nobody has said how.
fn change(route: &Route, cookie: &str) -> Option<Request<Body>> {
    let json = |path: &str, body: Value| Some(request(&route.method.to_uppercase(), path, Some(body)));
    let plain = |path: &str| Some(request(&route.method.to_uppercase(), path, None));
    match (route.method, route.path) {
        ("put", "/api/v1/devices/{id}") => json(
            "/api/v1/devices/press-2",
            json!({"public_key_pem": key(8).public().to_pem().unwrap()}),
        ),
        ("delete", "/api/v1/devices/{id}") => plain("/api/v1/devices/press-2"),
        ("post", "/api/v1/devices/{id}/rollback") => {
            json("/api/v1/devices/press-1/rollback", json!({"bundle": "valve@1.0.0"}))
        }
        ("post", "/api/v1/devices/{id}/sampling") => json("/api/v1/devices/press-1/sampling", json!({"ppm": 5})),
        ("post", "/api/v1/devices/{id}/fetch-logs") => json("/api/v1/devices/press-1/fetch-logs", json!({"lines": 5})),
        ("post", "/api/v1/devices/{id}/pause" | "/api/v1/devices/{id}/resume" | "/api/v1/devices/{id}/report-now") => {
            plain(&route.path.replace("{id}", "press-1"))
        }
        ("post", "/api/v1/bundles") => Some(
            builder("POST", "/api/v1/bundles")
                .body(Body::from(bundle("2.0.0", 2).0))
                .unwrap(),
        ),
        ("post", "/api/v1/roots") => {
            let next = TrustRoot {
                version: 2,
                ..root().into_inner()
            };
            let sealed = next.seal(&[&key(1)]).unwrap();
            Some(builder("POST", "/api/v1/roots").body(Body::from(sealed)).unwrap())
        }
        ("post", "/api/v1/enrolment-tokens") => json("/api/v1/enrolment-tokens", json!({"devices": "press-*"})),
        ("post", "/api/v1/deployments") => json(
            "/api/v1/deployments",
            json!({"bundle": "valve@1.0.0", "devices": ["press-1"]}),
        ),
        ("post", "/api/v1/tokens") => json("/api/v1/tokens", json!({"name": "new", "roles": ["viewer"]})),
        ("delete", "/api/v1/tokens/{name}") => plain("/api/v1/tokens/spare"),
        ("post", "/login") => {
            let form = builder("POST", "/login").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            Some(form.body(Body::from(format!("token={cookie}"))).unwrap())
        }
        ("post", "/logout") => {
            let out = builder("POST", "/logout").header(header::COOKIE, format!("floorhand={cookie}"));
            Some(out.body(Body::empty()).unwrap())
        }
        _ => None,
    }
}

#[tokio::test]
async fn every_change_leaves_an_entry_by_whom_it_was_made() {
    let api = Api::with(|hub| hub.enrolment = Some(enrolment()), false).await;
    let admin = token(&api, "root", &[Role::Admin]).await;
    token(&api, "spare", &[Role::Viewer]).await;
    api.hub.open_roots().await.unwrap();
    let (let_in, spare) = (
        enrolment_token(&api, "press-3").await,
        enrolment_token(&api, "press-4").await,
    );
    let device = "press-1".parse().unwrap();
    api.hub.enroll(&device, &key(9).public(), false).await.unwrap();
    api.hub.ingest(bundle("1.0.0", 1).0).await.unwrap();
    let mut changes = 0;
    for route in ROUTES.iter().filter(|route| route.method != "get") {
        let what = format!("{} {}", route.method, route.path);
        let session = match route.path {
            "/logout" => api.hub_login(&admin).await,
            _ => admin.clone(),
        };
        let before = api.hub.database.audit_head().await.unwrap().unwrap().0;
        let request = match route.path {
            "/api/v1/enrol" => Some(enrolling("press-3", &let_in)),
            "/api/v1/enrolment-tokens/{id}" => {
                let path = format!("/api/v1/enrolment-tokens/{}", spare.secret.public().id());
                Some(request("DELETE", &path, None))
            }
            _ => change(route, &session),
        };
        let mut request = request.unwrap_or_else(|| panic!("{what} changes something, and this test doesn't know how"));
        if route.need != Need::Public {
            let value = format!("Bearer {admin}").parse().unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let (status, body) = api.send(request).await;
        assert!((200..400).contains(&status), "{what}: {status} {body}");
        let entries = api.hub.database.audit_after(before, 10).await.unwrap();
        let brief: Vec<(&str, &str, &str)> = entries
            .iter()
            .map(|entry| {
                (
                    entry.action.as_str(),
                    entry.actor_kind.as_str(),
                    entry.actor_name.as_str(),
                )
            })
            .collect();
        let records = route.records.unwrap();
        if route.path == "/api/v1/enrol" {
            let by = let_in.secret.public().id().to_string();
            let by = ("enrolment-token", by.as_str());
            let expected = [(records, by.0, by.1), ("certificate.issue", by.0, by.1)];
            assert_eq!(brief, expected, "{what}");
        } else {
            assert_eq!(brief, [(records, "token", "root")], "{what}");
        }
        changes += 1;
    }
    assert_eq!(changes, 18);
    let all = api.hub.database.audit_after(0, 1000).await.unwrap();
    let verdict = audit::verify(all.into_iter().map(Ok::<_, Infallible>), &[]).unwrap();
    assert_eq!(verdict.broken, None);
    let jobs = api.hub.database.jobs(10).await.unwrap();
    assert!(jobs.iter().all(|job| job.created_by == "token root"), "{jobs:?}");
}

impl Api {
    async fn hub_login(&self, token: &str) -> String {
        let form = builder("POST", "/login").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let (status, headers, _) = self.raw(form.body(Body::from(format!("token={token}"))).unwrap()).await;
        assert_eq!(status, 303);
        let cookie = headers[header::SET_COOKIE].to_str().unwrap();
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; Max-Age=28800; HttpOnly; SameSite=Strict");
        pair.strip_prefix("floorhand=").unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_browser_logs_in_looks_and_changes_nothing() {
    let (api, admin) = closed().await;
    let page = |path: &str, cookie: &str| {
        let builder = builder("GET", path).header(header::ACCEPT, "text/html");
        builder
            .header(header::COOKIE, format!("floorhand={cookie}"))
            .body(Body::empty())
            .unwrap()
    };
    let (status, headers, _) = api.raw(page("/", "")).await;
    assert_eq!(
        (status.as_u16(), &headers[header::LOCATION]),
        (303, &"/login".parse().unwrap())
    );
    let (status, headers, form) = api.raw(page("/login", "")).await;
    let form = String::from_utf8(form).unwrap();
    assert!(
        status == 200 && form.contains("name=\"token\"") && !form.contains("<script"),
        "{form}"
    );
    assert!(
        headers[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap()
            .contains("form-action 'self'")
    );
    let wrong = builder("POST", "/login").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let (status, _, form) = api.raw(wrong.body(Body::from("token=%3Cb%3E")).unwrap()).await;
    assert!(status == 401 && String::from_utf8(form).unwrap().contains("knows no such token"));
    let cookie = api.hub_login(&admin).await;
    let (status, _, shown) = api.raw(page("/", &cookie)).await;
    assert!(status == 200 && String::from_utf8(shown).unwrap().contains("logged in as root"));
    let mut crossed = request("DELETE", "/api/v1/devices/press-1", None);
    crossed
        .headers_mut()
        .insert(header::COOKIE, format!("floorhand={cookie}").parse().unwrap());
    assert_eq!(api.send(crossed).await.0, 401, "a cookie changes nothing");
    let (status, body) = api.send(page("/api/v1/tokens", &cookie)).await;
    assert!(
        status == 403 && body["error"].as_str().unwrap().contains("is for looking"),
        "{body}"
    );
    revoke_token(&api.hub.database, "root", NOW_MS).await.unwrap();
    assert_eq!(
        api.raw(page("/", &cookie)).await.0,
        303,
        "with its token the login is over"
    );
}

#[tokio::test]
async fn with_tls_browsers_are_told_to_stay_with_it() {
    let (_dir, hub, _sent) = hub().await;
    let (_stop, stopping) = watch::channel(false);
    let door = Door::new(Some("0123456789abcdef0123456789abcdef"), None, false);
    let router = router(app(Arc::new(hub), door, (false, true), stopping));
    let form = builder("POST", "/login").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let login = form.body(Body::from("token=0123456789abcdef0123456789abcdef")).unwrap();
    let response = router.oneshot(login).await.unwrap();
    let headers = response.headers();
    assert_eq!(headers[header::STRICT_TRANSPORT_SECURITY], "max-age=31536000");
    assert_eq!(headers[header::X_FRAME_OPTIONS], "DENY");
    let cookie = headers[header::SET_COOKIE].to_str().unwrap();
    assert!(
        cookie.starts_with("__Host-floorhand=") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let (api, _) = closed().await;
    let guess = |number: u32| {
        let mut request = request("GET", "/api/v1/stats", None);
        let value = format!("Bearer guess-{number}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
        request
    };
    for number in 0..10 {
        assert_eq!(api.raw(guess(number)).await.0, 401);
    }
    let (status, headers, _) = api.raw(guess(10)).await;
    assert_eq!(
        (status.as_u16(), &headers[header::RETRY_AFTER]),
        (429, &"5".parse().unwrap())
    );
    let statuses = async |path: &str| {
        let mut statuses = Vec::new();
        for _ in 0..110 {
            statuses.push(api.raw(request("GET", path, None)).await.0.as_u16());
        }
        statuses
    };
    let health = statuses("/healthz").await;
    assert_eq!(
        (health[0], health[109]),
        (200, 429),
        "what needs nobody is limited by address"
    );
}

#[tokio::test]
async fn the_log_is_read_by_the_page_and_vouched_for() {
    let (api, admin) = closed().await;
    for number in 0..5 {
        token(&api, &format!("t{number}"), &[Role::Viewer]).await;
    }
    let get = async |path: &str| {
        let mut request = request("GET", path, None);
        let value = format!("Bearer {admin}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
        let (status, body) = api.send(request).await;
        assert_eq!(status, 200, "{body}");
        body
    };
    let (mut all, mut after): (Vec<Entry>, u64) = (Vec::new(), 0);
    loop {
        let page = get(&format!("/api/v1/audit?after={after}&limit=2")).await;
        let entries: Vec<Entry> = serde_json::from_value(page["entries"].clone()).unwrap();
        if entries.is_empty() {
            break;
        }
        all.extend(entries);
        after = page["next"].as_u64().unwrap();
    }
    assert_eq!((all.len(), after), (6, 6));
    let newest = get("/api/v1/audit?limit=1").await;
    assert_eq!(newest["entries"][0]["subject"], "t4");
    let vouched = get("/api/v1/audit/checkpoint").await;
    let sealed = hex::decode(vouched["envelope"].as_str().unwrap()).unwrap();
    let mark = Checkpoint::open(&sealed, &root()).unwrap().mark().unwrap();
    assert_eq!((mark.seq, &mark.hash), (6, &all[5].hash));
    api.hub.keep_checkpoint().await.unwrap();
    api.hub.keep_checkpoint().await.unwrap();
    assert_eq!(api.hub.database.last_checkpoint().await.unwrap().unwrap(), (6, sealed));
    all.pop();
    let verdict = audit::verify(all.into_iter().map(Ok::<_, Infallible>), &[mark]).unwrap();
    assert_eq!(verdict.broken.unwrap().finding, audit::Finding::Truncated);
}

#[tokio::test]
async fn a_logout_is_charged_to_whoever_asks() {
    let (api, _) = closed().await;
    for number in 0..150 {
        let mut out = builder("POST", "/logout").header(header::COOKIE, "floorhand=made-up");
        let from = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + number));
        out.extensions_mut().unwrap().insert(Peer(from));
        assert_eq!(api.raw(out.body(Body::empty()).unwrap()).await.0, 303);
    }
    let health = api.raw(request("GET", "/healthz", None)).await.0;
    assert_eq!(health, 200, "who asks from this machine has used nothing up");
}
