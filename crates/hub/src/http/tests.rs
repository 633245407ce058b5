//! The API from outside: requests in, status and JSON out, on a hub with SQLite in a directory of its own.

mod access;

use super::*;
use crate::access::Role;
use crate::fleet::Outgoing;
use crate::testing::{NOW_MS, bundle, finding, hello, hub, key, metrics};
use axum::body::Body;
use axum::http::{Request, header};
use floorhand_bundle::{Archive, Digest};
use floorhand_protocol::{Answer, Outcome, Record, UpBatch};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tower::ServiceExt as _;

struct Api {
    router: Router,
    hub: Arc<Hub>,
    sent: tokio::sync::mpsc::Receiver<Outgoing>,
    _stop: watch::Sender<bool>,
    _dir: tempfile::TempDir,
}

impl Api {
    async fn start() -> Self {
        Self::with(|_| {}, true).await
    }

    async fn with(change: impl FnOnce(&mut Hub), loopback: bool) -> Self {
        let (dir, mut hub, sent) = hub().await;
        change(&mut hub);
        let hub = Arc::new(hub);
        let (stop, stopping) = watch::channel(false);
        let door = Door::new(hub.settings.api_token.as_deref(), None, loopback);
        let router = router(app(Arc::clone(&hub), door, (loopback, false), stopping));
        Self {
            router,
            hub,
            sent,
            _stop: stop,
            _dir: dir,
        }
    }

    async fn raw(&self, request: Request<Body>) -> (StatusCode, axum::http::HeaderMap, Vec<u8>) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        (
            status,
            headers,
            axum::body::to_bytes(response.into_body(), 64 << 20)
                .await
                .unwrap()
                .to_vec(),
        )
    }

    async fn send(&self, request: Request<Body>) -> (u16, Value) {
        let (status, _, body) = self.raw(request).await;
        (status.as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send(request("GET", path, None)).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(request("POST", path, Some(body))).await
    }

    async fn register(&self, id: &str) {
        let body = json!({"public_key_pem": key(9).public().to_pem().unwrap()});
        let (status, _) = self
            .send(request("PUT", &format!("/api/v1/devices/{id}"), Some(body)))
            .await;
        assert_eq!(status, 201);
    }

    async fn ingest(&self, version: &str, release_counter: u64) -> Digest {
        let (bytes, digest) = bundle(version, release_counter);
        let request = builder("POST", "/api/v1/bundles").body(Body::from(bytes)).unwrap();
        let (status, body) = self.send(request).await;
        assert_eq!(
            (status, body["digest"].as_str().unwrap()),
            (201, digest.to_string().as_str()),
            "{body}"
        );
        digest
    }

    async fn batch(&self, records: Vec<Record>) {
        let device = "press-1".parse().unwrap();
        let batch = UpBatch {
            device,
            boot_id: u64::MAX,
            historical: false,
            records,
            gaps: vec![],
        };
        self.hub
            .take("fh/v1/plant-a/d/press-1/up/batch", &batch.seal(&key(9)).unwrap())
            .await;
    }
}

fn builder(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost:8460")
}

fn request(method: &str, path: &str, body: Option<Value>) -> Request<Body> {
    match body {
        Some(body) => builder(method, path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap(),
        None => builder(method, path).body(Body::empty()).unwrap(),
    }
}

#[tokio::test]
async fn devices_are_registered_listed_and_removed() {
    let api = Api::start().await;
    api.register("press-1").await;
    let (status, list) = api.get("/api/v1/devices").await;
    assert_eq!(
        (status, list.as_array().unwrap().len(), &list[0]["hello"]),
        (200, 1, &Value::Null)
    );
    assert!(list[0].get("registration").is_none(), "{list}");
    let bad = api
        .send(request(
            "PUT",
            "/api/v1/devices/press-1",
            Some(json!({"public_key_pem": "x"})),
        ))
        .await;
    assert!(
        bad.0 == 400 && bad.1["error"].as_str().unwrap().contains("not an Ed25519 public key"),
        "{bad:?}"
    );
    let bad = api
        .send(request(
            "PUT",
            "/api/v1/devices/a.b",
            Some(json!({"public_key_pem": "x"})),
        ))
        .await;
    assert!(bad.1["error"].as_str().unwrap().contains("no device id"), "{bad:?}");
    assert_eq!(api.send(request("DELETE", "/api/v1/devices/a.b", None)).await.0, 400);
    assert_eq!(
        api.send(request("DELETE", "/api/v1/devices/press-1", None)).await.0,
        204
    );
    assert_eq!(
        api.send(request("DELETE", "/api/v1/devices/press-1", None)).await.0,
        404
    );
    assert_eq!(api.get("/api/v1/devices/press-1").await.0, 404);
}

#[tokio::test]
async fn a_devices_key_changes_only_when_that_was_said() {
    let api = Api::start().await;
    api.register("press-1").await;
    let check = async |device: &str, seed: u8, replace: Option<bool>, expected: u16, part: &str| {
        let mut body = json!({"public_key_pem": key(seed).public().to_pem().unwrap()});
        if let Some(replace) = replace {
            body["replace"] = json!(replace);
        }
        let path = format!("/api/v1/devices/{device}");
        let (status, answer) = api.send(request("PUT", &path, Some(body))).await;
        let said = answer.get("registration").unwrap_or(&answer["error"]);
        assert!(
            status == expected && said.as_str().unwrap().contains(part),
            "{device} {seed} {replace:?}: {status} {answer}"
        );
    };
    check("press-1", 9, None, 200, "known").await;
    check("press-1", 8, None, 409, "--replace").await;
    check("press-1", 8, Some(false), 409, "--replace").await;
    check("press-2", 9, Some(true), 409, "is that of device press-1").await;
    check("press-1", 8, Some(true), 200, "replaced").await;
    check("press-2", 9, None, 201, "new").await;
    let (_, shown) = api.get("/api/v1/devices/press-1").await;
    assert_eq!(
        shown["device"]["public_key"],
        hex::encode(key(8).public().as_bytes()).as_str()
    );
    let secret = json!({"public_key_pem": key(8).to_pem().unwrap().as_str()});
    let (status, answer) = api.send(request("PUT", "/api/v1/devices/press-3", Some(secret))).await;
    assert!(
        status == 400 && answer["error"].as_str().unwrap().contains("the .pub file"),
        "{answer}"
    );
}

#[tokio::test]
async fn bundles_come_in_and_are_told_apart() {
    let api = Api::start().await;
    let digest = api.ingest("1.0.0", 1).await;
    let again = builder("POST", "/api/v1/bundles")
        .body(Body::from(bundle("1.0.0", 1).0))
        .unwrap();
    assert_eq!(api.send(again).await.0, 200);
    let (_, shown) = api.get("/api/v1/bundles/valve@1.0.0").await;
    assert_eq!(shown["digest"], digest.to_string());
    assert_eq!(shown["details"]["components"][0]["name"], "model.onnx");
    assert_eq!(api.get("/api/v1/bundles").await.1.as_array().unwrap().len(), 1);
    let refused = builder("POST", "/api/v1/bundles").body(Body::from("nonsense")).unwrap();
    let (status, body) = api.send(refused).await;
    assert!(
        status == 422 && body["error"].as_str().unwrap().contains("bundle archive"),
        "{body}"
    );
    let api = Api::with(|hub| hub.settings.max_bundle_bytes = 1000, true).await;
    let large = builder("POST", "/api/v1/bundles")
        .body(Body::from(bundle("1.0.0", 1).0))
        .unwrap();
    let (status, body) = api.send(large).await;
    assert!(
        status == 413 && body["error"].as_str().unwrap().contains("is longer than 1000 bytes"),
        "{body}"
    );
    let long = json!({"bundle": "x".repeat(MAX_JSON_BYTES), "all": true});
    assert_eq!(api.post("/api/v1/deployments", long).await.0, 413);
}

#[tokio::test]
async fn a_deployment_is_followed_from_order_to_answer() {
    let mut api = Api::start().await;
    api.register("press-1").await;
    let digest = api.ingest("1.0.0", 1).await;
    let order = json!({"bundle": digest.short(), "devices": ["press-1"]});
    let (status, issued) = api.post("/api/v1/deployments", order).await;
    assert_eq!(
        (status, &issued["assignments"]),
        (201, &json!([{"device": "press-1", "seq": 1}])),
        "{issued}"
    );
    assert!(api.sent.try_recv().unwrap().retain);
    let (_, job) = api
        .get(&format!("/api/v1/jobs/{}", issued["job"].as_str().unwrap()))
        .await;
    assert_eq!(
        (&job["kind"], &job["bundle"]["name"]),
        (&json!("deploy"), &json!("valve"))
    );
    assert_eq!(job["assignments"][0]["status"], "QUEUED");
    assert_eq!(api.get("/api/v1/devices/press-1/answers/assign/1").await.0, 404);
    let waiting = api.get("/api/v1/devices/press-1/answers/assign/1?wait_s=50");
    let answering = async {
        let device = "press-1".parse().unwrap();
        let answer = Answer {
            device,
            boot_id: 1,
            to: "assign/1".to_owned(),
            time_ms: 1,
            outcome: Outcome::Accepted,
        };
        api.hub
            .take("fh/v1/plant-a/d/press-1/up/answer", &answer.seal(&key(9)).unwrap())
            .await;
    };
    let ((status, answer), ()) = tokio::join!(waiting, answering);
    assert_eq!((status, &answer["outcome"]), (200, &json!("accepted")));
    assert_eq!(
        api.get("/api/v1/jobs?limit=1").await.1[0]["assignments"][0]["status"],
        "IN_PROGRESS"
    );
    let (status, _, stick) = api.raw(request("GET", "/api/v1/devices/press-1/export", None)).await;
    assert_eq!(status, 200);
    assert!(Archive::read(&stick[..]).unwrap().assignment.is_some());
}

#[tokio::test]
async fn orders_to_one_device() {
    let mut api = Api::start().await;
    api.register("press-1").await;
    api.ingest("1.0.0", 1).await;
    for (path, body, status) in [
        ("rollback", json!({"bundle": "valve@1.0.0"}), 201),
        ("sampling", json!({"ppm": 5000}), 201),
        ("sampling", json!({"ppm": 1_000_001}), 400),
        ("sampling", json!({"pm": 1}), 400),
        ("fetch-logs", json!({"lines": 20}), 201),
        ("fetch-logs", json!({"lines": 0}), 400),
    ] {
        let answer = api.post(&format!("/api/v1/devices/press-1/{path}"), body.clone()).await;
        assert_eq!(answer.0, status, "{path} {body} {answer:?}");
    }
    for (path, expected) in [("pause", json!(3)), ("resume", json!(4))] {
        let (status, body) = api
            .send(request("POST", &format!("/api/v1/devices/press-1/{path}"), None))
            .await;
        assert_eq!((status, &body["seq"]), (201, &expected), "{body}");
    }
    let (status, body) = api
        .send(request("POST", "/api/v1/devices/press-1/report-now", None))
        .await;
    assert_eq!((status, body), (201, json!({"id": 2})));
    let retained: Vec<bool> = std::iter::from_fn(|| api.sent.try_recv().ok())
        .map(|one| one.retain)
        .collect();
    assert_eq!(
        retained,
        [true, true, false, true, true, false],
        "assignments are retained, commands never"
    );
    let (_, detail) = api.get("/api/v1/devices/press-1").await;
    assert_eq!(
        (&detail["device"]["assignment"]["mode"], &detail["device"]["seq"]),
        (&json!("run"), &json!(4))
    );
    assert_eq!(detail["commands"][1]["action"], json!({"fetch-logs": {"lines": 20}}));
    let (status, body) = api.send(request("POST", "/api/v1/devices/ghost/pause", None)).await;
    assert!(status == 404 && body["error"].as_str().unwrap().contains("ghost"));
    let (status, body) = api
        .send(request("POST", "/api/v1/devices/press-1/rollback", None))
        .await;
    assert!(
        status == 409 && body["error"].as_str().unwrap().contains("name one"),
        "{body}"
    );
    let both = json!({"bundle": "valve@1.0.0", "devices": ["press-1"], "all": true});
    assert_eq!(api.post("/api/v1/deployments", both).await.0, 400);
}

#[tokio::test]
async fn telemetry_can_be_read_in_all_its_forms() {
    let api = Api::start().await;
    api.register("press-1").await;
    api.batch(vec![finding(0, 10, 0.5), metrics(1, 20, 40, &[("psi/psi/x", 0.5)])])
        .await;
    let (_, page) = api.get("/api/v1/records?limit=1").await;
    assert_eq!(page["records"][0]["kind"], "metrics", "without a start the newest");
    let (_, page) = api.get("/api/v1/records?after=0&limit=1&device=press-1").await;
    assert_eq!(
        (&page["records"][0]["kind"], &page["records"][0]["boot_id"]),
        (&json!("finding"), &json!("18446744073709551615"))
    );
    let (_, page) = api.get(&format!("/api/v1/records?after={}", page["next"])).await;
    assert_eq!(page["records"].as_array().unwrap().len(), 1);
    let (_, end) = api.get(&format!("/api/v1/records?after={}", page["next"])).await;
    assert_eq!((&end["records"], &end["next"]), (&json!([]), &page["next"]));
    assert_eq!(api.get("/api/v1/records?kind=nonsense").await.0, 400);
    assert_eq!(api.get("/api/v1/records?limit=x").await.0, 400);
    let (_, findings) = api.get("/api/v1/findings?device=press-1").await;
    assert_eq!(findings[0]["body"]["severity"], "warning");
    let (_, series) = api.get("/api/v1/series?device=press-1&gauge=psi/psi/x").await;
    assert_eq!(series, json!([{"time_ms": 20, "value": 0.5}]));
    let (_, stats) = api.get("/api/v1/stats").await;
    assert_eq!(
        (&stats["totals"]["records"], &stats["totals"]["samples"]),
        (&json!(2), &json!(40))
    );
    let (_, _, text) = api.raw(request("GET", "/metrics", None)).await;
    let text = String::from_utf8(text).unwrap();
    for line in [
        "floorhand_hub_records_total 2",
        "floorhand_device_samples_total{device=\"press-1\"} 40",
    ] {
        assert!(text.lines().any(|other| other == line), "{line:?} is not in {text}");
    }
}

#[tokio::test]
async fn pages_show_what_there_is_and_escape_it() {
    let api = Api::start().await;
    let (status, headers, empty) = api.raw(request("GET", "/", None)).await;
    assert_eq!(status, 200);
    assert!(String::from_utf8(empty).unwrap().contains("No device is registered"));
    assert!(
        headers[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap()
            .starts_with("default-src 'none'")
    );
    api.register("press-1").await;
    api.ingest("1.0.0", 1).await;
    api.post("/api/v1/deployments", json!({"bundle": "valve@1.0.0", "all": true}))
        .await;
    let mut said = hello("press-1", 1, 1);
    said.platform = "<script>alert(1)</script>".to_owned();
    api.hub
        .take("fh/v1/plant-a/d/press-1/up/hello", &said.seal(&key(9)).unwrap())
        .await;
    api.batch(vec![finding(0, 10, 0.5), metrics(1, NOW_MS, 40, &[("psi/psi/x", 0.5)])])
        .await;
    for (path, parts) in [
        (
            "/",
            &[
                "press-1",
                "queued",
                "x has drifted &lt;b&gt;far&lt;/b&gt;",
                "limit 0.2",
                "polyline",
                "valve@1.0.0",
            ][..],
        ),
        ("/devices/press-1", &["psi/psi/x", "deploy-", "limit 0.2"]),
    ] {
        let (_, _, page) = api.raw(request("GET", path, None)).await;
        let page = String::from_utf8(page).unwrap();
        for part in parts {
            assert!(page.contains(part), "{part:?} is not on {path}: {page}");
        }
        assert!(!page.contains("<script>alert") && !page.contains(" style="), "{page}");
    }
    assert_eq!(api.get("/devices/ghost").await.0, 404);
    assert_eq!(api.get("/nowhere").await.0, 404);
}

#[tokio::test]
async fn pages_of_other_sites_are_kept_out() {
    let api = Api::start().await;
    api.register("press-1").await;
    let rebound = Request::builder()
        .uri("/api/v1/devices")
        .header(header::HOST, "evil.example:8460");
    assert_eq!(api.send(rebound.body(Body::empty()).unwrap()).await.0, 403);
    let crossed = builder("POST", "/api/v1/devices/press-1/pause").header(header::ORIGIN, "http://evil.example");
    assert_eq!(api.send(crossed.body(Body::empty()).unwrap()).await.0, 403);
    let simple = builder("POST", "/api/v1/deployments").header(header::CONTENT_TYPE, "text/plain");
    let (status, body) = api.send(simple.body(Body::from("{}")).unwrap()).await;
    assert!(status == 400 && body["error"].as_str().unwrap().contains("application/json"));
}

#[tokio::test]
async fn where_there_is_a_token_it_has_to_be_shown() {
    let token = "0123456789abcdef0123456789abcdef";
    let api = Api::with(|hub| hub.settings.api_token = Some(token.to_owned()), false).await;
    for path in ["/", "/metrics", "/openapi.json", "/api/v1/devices", "/nowhere"] {
        let (status, headers, _) = api.raw(request("GET", path, None)).await;
        assert!(
            status == 401 && headers.contains_key(header::WWW_AUTHENTICATE),
            "{path}"
        );
    }
    assert_eq!(api.raw(request("GET", "/healthz", None)).await.0, 200);
    let shown = |value: String| {
        builder("GET", "/api/v1/stats")
            .header(header::AUTHORIZATION, value)
            .body(Body::empty())
    };
    assert_eq!(api.send(shown(format!("Bearer {token}")).unwrap()).await.0, 200);
    assert_eq!(api.send(shown(format!("Bearer {token}x")).unwrap()).await.0, 401);
}

#[tokio::test]
async fn the_description_names_every_route() {
    let api = Api::start().await;
    let (status, document) = api.get("/openapi.json").await;
    assert_eq!(status, 200);
    let paths = document["paths"].as_object().unwrap();
    let methods = |path: &Value| path.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let described: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, item)| methods(item).into_iter().map(move |method| (method, path.clone())))
        .collect();
    let routed: BTreeSet<(String, String)> = routes::ROUTES
        .iter()
        .filter(|route| route.path.starts_with("/api/"))
        .map(|route| (route.method.to_owned(), route.path.to_owned()))
        .collect();
    assert_eq!(described, routed);
    for (method, path) in &described {
        let concrete = path
            .replace("{kind}", "cmd")
            .replace("{number}", "1")
            .replace(['{', '}'], "");
        let (status, body) = api.send(request(&method.to_uppercase(), &concrete, None)).await;
        let unknown = body["error"]
            .as_str()
            .is_some_and(|error| error.contains("no such page"));
        assert!(status != 405 && !unknown, "{method} {path}: {status} {body}");
    }
}

#[tokio::test]
async fn the_description_says_who_may_ask_and_what_goes_wrong() {
    let (_, document) = Api::start().await.get("/openapi.json").await;
    let schemes = &document["components"]["securitySchemes"];
    assert_eq!(
        (&schemes["token"]["scheme"], &schemes["password"]["scheme"]),
        (&json!("bearer"), &json!("basic"))
    );
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            let need = routes::need(&method.to_uppercase().parse().unwrap(), path).unwrap();
            let mut expected = vec!["403", "429", "500"];
            assert_eq!(responses.contains_key("401"), need.role().is_some(), "{method} {path}");
            if need.role().is_some() {
                expected.push("401");
            }
            if operation.get("requestBody").is_some() {
                expected.extend(["400", "408", "413"]);
            }
            for status in expected {
                let schema = &responses[status]["content"]["application/json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
            }
            let said = operation["description"].as_str().unwrap();
            let ways = operation["security"].as_array().unwrap();
            operations += 1;
            let Some(role) = need.role().map(Role::name) else {
                assert_eq!(ways, &[json!({})], "{method} {path}");
                assert!(said.contains("Needs no role."), "{method} {path}: {said}");
                continue;
            };
            let expected = if role == "viewer" { 4 } else { 2 };
            assert_eq!(
                (ways.len(), &ways[1]),
                (expected, &json!({"token": [role]})),
                "{method} {path}"
            );
            assert!(
                said.contains(&format!("Needs the role {role}.")),
                "{method} {path}: {said}"
            );
        }
    }
    assert_eq!(operations, 34);
}

#[tokio::test]
async fn enrolling_needs_no_operators_token_and_making_tokens_does() {
    let token = "0123456789abcdef0123456789abcdef";
    let api = Api::with(|hub| hub.settings.api_token = Some(token.to_owned()), false).await;
    let wish = json!({"devices": "press-1"});
    assert_eq!(api.post("/api/v1/enrolment-tokens", wish.clone()).await.0, 401);
    let (status, body) = api.post("/api/v1/enrol", json!({"request": "AAAA"})).await;
    assert_eq!(status, 409, "{body}");
    assert!(body["error"].as_str().unwrap().contains("[enrolment]"), "{body}");
    let shown = builder("POST", "/api/v1/enrolment-tokens")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(wish.to_string()))
        .unwrap();
    assert_eq!(api.send(shown).await.0, 409, "this hub makes no certificates");
}

/// A body of which nothing comes.
struct Silent;

impl axum::body::HttpBody for Silent {
    type Data = axum::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let (_dir, hub, _sent) = hub().await;
    let (_stop, stopping) = watch::channel(false);
    let mut app = app(Arc::new(hub), Door::new(None, None, true), (true, false), stopping);
    assert_eq!(app.body_within, Duration::from_secs(30), "what operating.md says");
    app.body_within = Duration::from_millis(50);
    let router = router(app);
    for (path, kind) in [
        ("/login", "application/x-www-form-urlencoded"),
        ("/api/v1/roots", "application/octet-stream"),
        ("/api/v1/deployments", "application/json"),
        ("/api/v1/enrol", "application/json"),
    ] {
        let request = builder("POST", path).header(header::CONTENT_TYPE, kind);
        let answer = router.clone().oneshot(request.body(Body::new(Silent)).unwrap());
        // Without a limit it would be waited for until the connection ends, here for good.
        let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
        assert_eq!(answer.unwrap().unwrap().status(), 408, "{path}");
    }
}
