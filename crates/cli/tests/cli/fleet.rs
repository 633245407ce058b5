//! Fleet commands against a hub that says what it is told to say: what is asked, what is shown, how it ends.

use crate::common::{Ran, Shop};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

/// A request: its first line without the version, and its body.
type Request = (String, Vec<u8>);

/// A hub that gives one answer after the other, each on a connection of its own.
struct FakeHub {
    url: String,
    served: JoinHandle<Vec<Request>>,
}

impl FakeHub {
    fn new(answers: Vec<(u16, Value)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = move || {
            answers
                .iter()
                .map(|answer| serve_one(listener.accept().unwrap().0, answer))
                .collect()
        };
        Self {
            url,
            served: std::thread::spawn(serve),
        }
    }

    fn run(&self, shop: &Shop, args: &[&str]) -> Ran {
        shop.run(&[&["fleet", "--hub", self.url.as_str()][..], args].concat())
    }

    /// What was asked, all answers given.
    fn requests(self) -> Vec<Request> {
        self.served.join().unwrap()
    }
}

fn serve_one(stream: TcpStream, (status, body): &(u16, Value)) -> Request {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut received = vec![0; length];
    reader.read_exact(&mut received).unwrap();
    // Nothing follows a 204.
    let body = if *status == 204 {
        String::new()
    } else {
        body.to_string()
    };
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    reader.into_inner().write_all(answer.as_bytes()).unwrap();
    (first.trim().trim_end_matches(" HTTP/1.1").to_owned(), received)
}

fn job(device: &str, status: &str, step: &str) -> Value {
    json!({ "id": "j1", "assignments": [{ "device": device, "status": status, "step": step, "reason": "" }] })
}

#[test]
fn devices_are_listed() {
    let running = json!({ "generation": 1, "bundle": { "digest": "ab", "name": "bearing", "version": "1.0.0" } });
    let hello = json!({ "mode": "run", "hardware": "gateway", "active": running });
    let totals = json!({ "samples": 7, "failures": 0 });
    let device = json!({ "id": "press-07", "online": true, "last_seen_ms": 1, "hello": hello, "totals": totals });
    let hub = FakeHub::new(vec![(200, json!([device])), (200, json!([device]))]);
    let shop = Shop::new();
    let plain = hub.run(&shop, &["ls"]).ok().stdout;
    let row = plain.lines().nth(1).unwrap();
    for part in ["press-07", "online", "bearing 1.0.0", "gateway", "7"] {
        assert!(row.contains(part), "{part} is not in {row}");
    }
    assert!(!plain.contains('\u{1b}'), "no colours in a pipe");
    assert_eq!(hub.run(&shop, &["ls", "--json"]).ok().json()[0]["id"], "press-07");
    assert_eq!(hub.requests()[0].0, "GET /api/v1/devices");
}

#[test]
fn a_hub_that_is_not_there_is_unreachable() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let shop = Shop::new();
    shop.run(&["fleet", "ls", "--hub", &format!("http://{closed}")])
        .failed(4, "can't be reached");
    shop.run(&["fleet", "ls", "--hub", "ftp://x"])
        .failed(2, "no http:// or https:// address");
    shop.run(&["fleet", "ls", "--hub", "https://x"])
        .failed(2, "needs --hub-ca");
}

#[test]
fn refusals_are_told_in_the_hubs_words() {
    let answers = vec![
        (401, json!({ "error": "show the token" })),
        (
            422,
            json!({ "error": "manifest is signed by 0 of the 1 keys it needs" }),
        ),
        (404, json!({ "error": "no device \"x\" here" })),
        (500, Value::Null),
    ];
    let hub = FakeHub::new(answers);
    let shop = Shop::new();
    std::fs::write(shop.path("b.fhb"), b"bytes of a bundle").unwrap();
    hub.run(&shop, &["ls"]).failed(3, "--token or FLOORHAND_TOKEN");
    hub.run(&shop, &["push", "b.fhb"])
        .failed(3, "b.fhb can't be pushed: manifest is signed by 0 of the 1");
    hub.run(&shop, &["show", "x"]).failed(1, "no device \"x\" here");
    hub.run(&shop, &["ls"]).failed(1, "answers 500");
    let requests = hub.requests();
    assert_eq!(
        requests[1],
        ("POST /api/v1/bundles".to_owned(), b"bytes of a bundle".to_vec())
    );
}

#[test]
fn a_rollout_is_followed_to_its_end() {
    let begun = json!({ "job": "j1", "bundle": "ab", "assignments": [{ "device": "a", "seq": 1 }], "skipped": [] });
    let answers = vec![
        (201, begun.clone()),
        (200, job("a", "IN_PROGRESS", "trial")),
        (200, job("a", "SUCCEEDED", "committed")),
        (201, begun),
        (200, job("a", "FAILED", "rolled-back")),
    ];
    let hub = FakeHub::new(answers);
    let shop = Shop::new();
    let deploy = ["deploy", "bearing@1.0.0", "--device", "a", "--wait"];
    let good = hub.run(&shop, &deploy).ok();
    assert!(
        good.stdout.contains("committed") && good.stderr.contains("a: trial IN_PROGRESS"),
        "{}",
        good.stderr
    );
    hub.run(&shop, &deploy).failed(5, "a: rolled-back FAILED");
    let requests = hub.requests();
    let body: Value = serde_json::from_slice(&requests[0].1).unwrap();
    assert_eq!(body, json!({ "bundle": "bearing@1.0.0", "devices": ["a"] }));
    assert_eq!(requests[1].0, "GET /api/v1/jobs/j1");
    let nowhere = shop.run(&["fleet", "deploy", "x"]).failed(2, "--device");
    assert!(nowhere.stderr.contains("--all"), "{}", nowhere.stderr);
    shop.run(&["fleet", "deploy", "x", "--device", "a", "--all"])
        .failed(2, "cannot be used with");
}

#[test]
fn a_device_is_enrolled_by_its_public_key() {
    let enrolled = |what: &str| json!({ "id": "a", "registration": what });
    let answers = vec![
        (201, enrolled("new")),
        (200, enrolled("known")),
        (
            409,
            json!({ "error": "device a is known by another key; say --replace" }),
        ),
        (200, enrolled("replaced")),
        (204, Value::Null),
    ];
    let hub = FakeHub::new(answers);
    let shop = Shop::new();
    shop.run(&["keys", "new", "a", "--no-passphrase"]).ok();
    shop.run(&["fleet", "enroll", "a", "--key", "a.key"]).failed(
        1,
        "a.key is a secret key, which is to stay where it was made; give the public one, a.pub",
    );
    let enroll = ["enroll", "a", "--key", "a.pub"];
    for said in ["a is known by key ", "a is already known by this key"] {
        let plain = hub.run(&shop, &enroll).ok().stdout;
        assert!(plain.contains(said), "{plain}");
    }
    hub.run(&shop, &enroll).failed(1, "say --replace");
    let replaced = hub.run(&shop, &[&enroll[..], &["--replace"]].concat()).ok().stdout;
    assert!(replaced.contains("in place of the one it had"), "{replaced}");
    let removed = hub.run(&shop, &["remove", "a", "--json"]).ok().json();
    assert_eq!(removed, json!({ "device": "a", "removed": true }));
    let requests = hub.requests();
    let bodies = requests[..4]
        .iter()
        .map(|(_, body)| serde_json::from_slice::<Value>(body).unwrap());
    let replace: Vec<_> = bodies.map(|body| body.get("replace").cloned()).collect();
    assert_eq!(replace, [None, None, None, Some(json!(true))]);
    assert_eq!(requests[4].0, "DELETE /api/v1/devices/a");
}

#[test]
fn what_would_steer_a_terminal_is_spelt_out() {
    let answers = vec![
        (404, json!({ "error": "no bundle \u{1b}[2J" })),
        (201, json!({ "id": 4 })),
        (
            200,
            json!({ "outcome": { "done": { "body": "line 1\n\u{1b}]0;x\u{7}\n" } } }),
        ),
    ];
    let hub = FakeHub::new(answers);
    let shop = Shop::new();
    hub.run(&shop, &["show", "a"]).failed(1, "no bundle \\u{1b}[2J");
    let log = hub.run(&shop, &["fetch-logs", "a"]).ok().stdout;
    assert_eq!(log, "line 1\n\\u{1b}]0;x\\u{7}\n");
    hub.requests();
}

#[test]
fn a_device_answers_or_not() {
    let answers = vec![
        (201, json!({ "id": 4 })),
        (200, json!({ "outcome": { "done": { "body": "line 1\nline 2\n" } } })),
        (201, json!({ "job": "j", "seq": 9 })),
        (
            200,
            json!({ "outcome": { "rejected": { "reason": "9 is not above 9" } } }),
        ),
        (201, json!({ "job": "j", "seq": 10 })),
        (404, json!({ "error": "device a has not answered assign/10 so far" })),
    ];
    let hub = FakeHub::new(answers);
    let shop = Shop::new();
    assert_eq!(
        hub.run(&shop, &["fetch-logs", "a", "--lines", "2"]).ok().stdout,
        "line 1\nline 2\n"
    );
    hub.run(&shop, &["pause", "a"])
        .failed(5, "a refuses to pause: 9 is not above 9");
    hub.run(&shop, &["set-sampling", "a", "0.25", "--timeout", "1"])
        .failed(5, "has not answered");
    let requests = hub.requests();
    assert_eq!(requests[1].0, "GET /api/v1/devices/a/answers/cmd/4?wait_s=30");
    assert_eq!(requests[3].0, "GET /api/v1/devices/a/answers/assign/9?wait_s=30");
    assert_eq!(
        serde_json::from_slice::<Value>(&requests[4].1).unwrap(),
        json!({ "ppm": 250_000 })
    );
    shop.run(&["fleet", "set-sampling", "a", "7"]).failed(2, "from 0 to 1");
}
