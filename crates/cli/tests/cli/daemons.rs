//! The daemons as far as the command line carries them: their help, `--check`, and what the demo makes sure of first.

use crate::common::Shop;
use serde_json::json;
use std::net::TcpListener;

/// A folder with a trust root, the hub's key and this configuration of a hub.
fn with_hub(text: &str) -> Shop {
    let shop = Shop::with_root();
    std::fs::write(shop.path("hub.toml"), text).unwrap();
    shop
}

#[test]
fn every_daemon_tells_its_exit_codes() {
    let shop = Shop::new();
    for daemon in ["agent", "hub", "broker"] {
        let help = shop.run(&[daemon, "--help"]).ok().stdout;
        assert!(
            help.contains("Exit codes:") && help.contains("  3  "),
            "{daemon}: {help}"
        );
    }
}

#[test]
fn a_right_configuration_is_told_as_json() {
    let shop = with_hub("fleet = 'plant-a'\nassignment_key = 'hub.key'\ntrust_root = 'root.cose'");
    let checked = shop
        .run(&["--json", "hub", "--config", "hub.toml", "--check"])
        .ok()
        .json();
    assert_eq!(checked, json!({ "ok": true, "config": "hub.toml", "problems": [] }));
    let text = "fleet = 'plant-a'\ndevice = 'press-1'\ntrust_root = 'root.cose'\ndevice_key = 'release.key'";
    std::fs::write(shop.path("agent.toml"), text).unwrap();
    let checked = shop.run(&["agent", "--config", "agent.toml", "--check", "--json"]).ok();
    assert_eq!(checked.json()["ok"], true);
}

#[test]
fn every_mistake_in_a_configuration_is_told_at_once() {
    let shop = with_hub("fleet = 7\nassignment_key = 'none.key'\ntrust_root = 'none.cose'\ncolour = 'red'");
    let parts = ["`fleet`", "unknown key `colour`", "`assignment_key`", "`trust_root`"];
    let plain = shop.run(&["hub", "--config", "hub.toml", "--check"]);
    let json = shop.run(&["--json", "hub", "--config", "hub.toml", "--check"]);
    assert_eq!((plain.code, json.code), (3, 3));
    let verdict = json.json();
    assert_eq!(verdict["ok"], false);
    assert_eq!(verdict["problems"].as_array().unwrap().len(), parts.len());
    for part in parts {
        assert!(plain.stderr.contains(part), "{part} is not in {}", plain.stderr);
        assert!(json.stdout.contains(part), "{part} is not in {}", json.stdout);
    }
    let agent = shop.run(&["--json", "agent", "--config", "none.toml", "--check"]);
    assert_eq!((agent.code, &agent.json()["ok"]), (3, &json!(false)));
}

#[test]
fn the_demo_makes_nothing_where_it_could_not_end_well() {
    let shop = Shop::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let busy = shop.run(&["demo", "--once", "--port", &port]).failed(1, "--port");
    assert!(busy.stderr.contains(&format!("port {port} ")), "{}", busy.stderr);
    assert_eq!(busy.stderr.lines().count(), 1, "{}", busy.stderr);
    shop.run(&["demo", "--once", "--report", "nowhere/seen.json"])
        .failed(1, "nowhere/seen.json can't be written");
    shop.run(&["demo", "--once", "--port", "0"]).failed(2, "--port");
}
