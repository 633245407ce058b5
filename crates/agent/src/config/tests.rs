//! What a configuration says, what it refuses, and that the example keeps up with the code.

use std::collections::BTreeSet;
use std::fs;

use floorhand_bundle::{RoleKeys, SecretKey, TrustRoot};
use floorhand_testkit::Pki;
use floorhand_transport::Qos;

use super::*;

const EXAMPLE: &str = include_str!("../../agent.toml");

/// A folder with the files that every configuration needs.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let key = SecretKey::from_seed(&[1; 32]);
    let role = RoleKeys::any_of(vec![key.public()]);
    let root = TrustRoot {
        fleet: "plant-a".parse().unwrap(),
        version: 1,
        expires_ms: 4_000_000_000_000,
        issued_ms: 0,
        critical: vec![],
        root: role.clone(),
        release: role.clone(),
        assignment: role,
    };
    fs::write(folder.path().join("root.cose"), root.seal(&[&key]).unwrap()).unwrap();
    fs::write(folder.path().join("device.key"), key.to_pem().unwrap()).unwrap();
    folder
}

const MINIMAL: &str = "device = \"press-01\"\nfleet = \"plant-a\"\n\
                       trust_root = \"root.cose\"\ndevice_key = \"device.key\"\n";

fn load(folder: &tempfile::TempDir, text: &str) -> Result<Config, Vec<String>> {
    let path = folder.path().join("agent.toml");
    fs::write(&path, text).unwrap();
    Config::load(&path).map_err(|errors| errors.mistakes.iter().map(ToString::to_string).collect())
}

/// Loads what has mistakes, and holds each against the key and a part of the sentence that is expected, in order.
fn check_mistakes(text: &str, expected: &[(&str, &str)]) {
    let found = load(&folder(), text).unwrap_err();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, (key, part)) in found.iter().zip(expected) {
        assert!(
            found.starts_with(&format!("`{key}` ")) && found.contains(part),
            "{found:?}, not {key}: {part}"
        );
    }
}

#[test]
fn the_least_configuration_has_all_defaults() {
    let folder = folder();
    let config = load(&folder, MINIMAL).unwrap();
    assert_eq!(config.hardware.as_str(), "generic");
    assert_eq!(
        config.trust_root,
        folder.path().join("root.cose"),
        "relative to the file's folder"
    );
    assert_eq!(config.socket_path(), Path::new("/var/lib/floorhand/agent.sock"));
    assert_eq!(config.telemetry, Telemetry::default());
    assert_eq!(config.log, Log::default());
    assert_eq!(
        (
            config.fleet_transport().is_none(),
            config.plant_transport().unwrap().is_none()
        ),
        (true, true)
    );
    assert!(config.sources.is_empty() && config.sinks.is_empty());
}

#[test]
fn all_mistakes_are_told_in_one_pass() {
    let text = r#"
        device = "press/01"
        trust_root = "nowhere.cose"
        device_key = "device.key"
        colour = "red"
        [telemetry]
        metrics_interval_s = 0
        spool_budget_bytes = "64 MiB"
        metrics_intervall_s = 5
        [log]
        filter = "floorhand_agent=loud"
        format = "xml"
        [[source]]
        type = "opcua"
        [[source]]
        type = "file"
        path = "nothing.csv"
        rate_hz = -1
        [fetch]
        timeout_s = 10.5
    "#;
    check_mistakes(
        text,
        &[
            ("device", "is no device id"),
            ("fleet", "is missing; say for example fleet = \"plant-a\""),
            ("source[1].type", "is \"opcua\"; it has to be \"mqtt\" or \"file\""),
            ("source[2].rate_hz", "is -1; it has to be a number above 0"),
            (
                "telemetry.metrics_interval_s",
                "is 0; it has to be a whole number from 1 to 86400",
            ),
            (
                "telemetry.spool_budget_bytes",
                "is \"64 MiB\"; it has to be a whole number",
            ),
            (
                "telemetry.metrics_intervall_s",
                "is unknown; known here are metrics_interval_s, ",
            ),
            ("fetch.timeout_s", "is 10.5; it has to be a whole number"),
            ("log.filter", "floorhand_agent=loud"),
            ("log.format", "is \"xml\"; it has to be \"text\" or \"json\""),
            ("colour", "is unknown; known here are device, fleet, "),
            ("trust_root", "nowhere.cose, which can't be opened: No such file"),
            ("source[2].path", "nothing.csv, which can't be opened"),
        ],
    );
}

#[test]
fn an_engine_whose_library_is_not_there_is_no_mistake() {
    let folder = folder();
    let config = load(&folder, &format!("{MINIMAL}[engines]\nonnxruntime = \"lib/ort.so\"\n")).unwrap();
    assert_eq!(config.engines.onnxruntime, Some(folder.path().join("lib/ort.so")));
    check_mistakes(
        &format!("{MINIMAL}[engines]\nonnxrt = 1\n"),
        &[("engines.onnxrt", "is unknown; known here are onnxruntime")],
    );
}

#[test]
fn what_is_not_toml_is_told_with_its_place() {
    let found = load(&folder(), "device = \"press-01\"\nfleet = plant-a\n").unwrap_err();
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("is not TOML: ") && found[0].contains("line 2"),
        "{found:?}"
    );
    let path = Path::new("/nowhere/agent.toml");
    let message = Config::load(path).unwrap_err().to_string();
    assert!(
        message.starts_with("configuration /nowhere/agent.toml can't be used:\n  /nowhere"),
        "{message}"
    );
}

#[test]
fn keys_have_to_fit_together() {
    let fleet = |keys: &str| format!("{MINIMAL}[fleet_connection]\n{keys}");
    check_mistakes(
        &fleet("broker = \"mqtts://hub\""),
        &[
            ("fleet_connection.ca", "is missing"),
            ("fleet_connection.cert", "is missing"),
            ("fleet_connection.key", "is missing"),
        ],
    );
    let hint = "say without_encryption_or_identity = true";
    check_mistakes(&fleet("broker = \"mqtt://hub\""), &[("fleet_connection.broker", hint)]);
    check_mistakes(
        &fleet("broker = \"http://hub\""),
        &[("fleet_connection.broker", "only mqtt://")],
    );
    check_mistakes(
        &fleet("keep_alive_s = 30"),
        &[("fleet_connection.broker", "is missing")],
    );
    for good in ["mqtt://localhost", "mqtt://127.0.0.1:2000", "mqtt://[::1]"] {
        load(&folder(), &fleet(&format!("broker = {good:?}"))).unwrap();
    }
    load(
        &folder(),
        &fleet("broker = \"mqtt://hub\"\nwithout_encryption_or_identity = true"),
    )
    .unwrap();
    check_mistakes(
        &fleet(
            "broker = \"mqtt://localhost\"\n[plant_connection]\nbroker = \"mqtt://LOCALHOST:1883\"\nclient_id = \"press-01\"",
        ),
        &[("plant_connection.client_id", "they would end each other")],
    );
    check_mistakes(
        &format!("{MINIMAL}[plant_connection]\nbroker = \"mqtts://plant\"\ncert = \"device.key\""),
        &[
            ("plant_connection.ca", "is missing"),
            ("plant_connection.key", "is missing, and cert is there"),
        ],
    );
    check_mistakes(
        &format!(
            "{MINIMAL}[plant_connection]\nbroker = \"mqtt://plant\"\nusername = \"x\"\npassword_file = \"device.key\""
        ),
        &[("plant_connection.broker", "send_password_unencrypted = true")],
    );
    check_mistakes(
        &format!("{MINIMAL}[telemetry]\nspool_budget_bytes = 2_200_000"),
        &[("telemetry.high_reserve_bytes", "is more than half")],
    );
    check_mistakes(
        &format!("hardware = \"*\"\n{MINIMAL}"),
        &[("hardware", "name the device's own")],
    );
}

#[test]
fn sources_and_sinks_have_to_fit_together() {
    let text = format!(
        r#"{MINIMAL}
        [[source]]
        type = "mqtt"
        topic = "plant/+/vibration"
        [[source]]
        type = "mqtt"
        topic = "plant/#/vibration"
        [[source]]
        type = "file"
        path = "device.key"
        [[sink]]
        type = "mqtt"
        topic = "plant/press-01/vibration"
        [[sink]]
        type = "mqtt"
        topic = "plant/+/x"
        [[sink]]
        type = "jsonl"
        path = "nowhere/results.jsonl"
        [[sink]]
        type = "jsonl"
        path = "nowhere/results.jsonl"
        max_bytes = 1
    "#
    );
    check_mistakes(
        &text,
        &[
            ("source[3].format", "say \"csv\" or \"jsonl\""),
            ("sink[4].max_bytes", "is 1"),
            ("source[1].type", "needs a section [plant_connection]"),
            ("source[2].topic", "which is no topic filter"),
            ("source[2].type", "needs a section [plant_connection]"),
            ("sink[1].topic", "results would come back as samples"),
            ("sink[1].type", "needs a section [plant_connection]"),
            ("sink[2].topic", "without + and #"),
            ("sink[2].type", "needs a section [plant_connection]"),
            ("sink[3].path", "nowhere, which is no folder"),
            ("sink[4].path", "nowhere, which is no folder"),
            ("sink[4].path", "is that of another sink"),
        ],
    );
    let many = "[[source]]\ntype = \"file\"\npath = \"device.key\"\nformat = \"csv\"\n".repeat(17);
    let found = load(&folder(), &format!("{MINIMAL}{many}")).unwrap_err();
    assert!(found[0].contains("there are 17, and at most 16"), "{found:?}");
}

#[test]
fn who_asks_from_elsewhere_has_to_be_known() {
    let section = |keys: &str| format!("{MINIMAL}[open_inference]\n{keys}");
    let (http, grpc) = ("open_inference.http_listen", "open_inference.grpc_listen");
    check_mistakes(&section(""), &[(http, "name one of them")]);
    check_mistakes(
        &section("http_listen = \"localhost\""),
        &[(http, "an IP address with a port"), (http, "is missing")],
    );
    let same = "http_listen = \"127.0.0.1:9\"\ngrpc_listen = \"127.0.0.1:9\"";
    check_mistakes(&section(same), &[(grpc, "another port")]);
    for open in ["0.0.0.0:9", "[::]:9", "192.0.2.1:9"] {
        check_mistakes(
            &section(&format!("grpc_listen = {open:?}")),
            &[(grpc, "give it `cert` and `key`, and `token_file`")],
        );
    }
    for good in ["127.0.0.1:0", "[::1]:9", "unix:/run/floorhand/infer.sock"] {
        load(&folder(), &section(&format!("http_listen = {good:?}"))).unwrap();
    }
    let folder = folder();
    let pki = Pki::new().unwrap();
    let device = pki.issue("press-01").unwrap();
    fs::write(folder.path().join("short"), "hunter2\n").unwrap();
    fs::write(folder.path().join("token"), "0123456789abcdef\n").unwrap();
    let tls = format!(
        "http_listen = \"0.0.0.0:9\"\ncert = {:?}\nkey = {:?}\n",
        device.cert, device.key
    );
    let found = load(&folder, &section(&tls)).unwrap_err();
    assert!(
        found.len() == 1 && found[0].contains("`token_file` or `client_ca`"),
        "{found:?}"
    );
    load(&folder, &section(&format!("{tls}token_file = \"token\""))).unwrap();
    load(&folder, &section(&format!("{tls}client_ca = {:?}", pki.ca()))).unwrap();
    let found = load(&folder, &section(&format!("{tls}token_file = \"short\""))).unwrap_err();
    assert!(found[0].contains("16 and more printable"), "{found:?}");
    let found = load(&folder, &section(&format!("{tls}client_ca = \"token\""))).unwrap_err();
    assert!(found[0].starts_with("`open_inference.client_ca`"), "{found:?}");
    let little = "http_listen = \"127.0.0.1:9\"\nmax_body_bytes = 2048\nmax_memory_bytes = 1024";
    check_mistakes(
        &section(little),
        &[("open_inference.max_memory_bytes", "less than `max_body_bytes`")],
    );
}

#[test]
fn files_with_something_else_in_them_are_told() {
    let text = "device = \"press-01\"\nfleet = \"plant-b\"\ntrust_root = \"root.cose\"\ndevice_key = \"root.cose\"\n\
                [fleet_connection]\nbroker = \"mqtts://hub\"\n\
                ca = \"device.key\"\ncert = \"agent.toml\"\nkey = \"root.cose\"\n";
    check_mistakes(
        text,
        &[
            ("trust_root", "is the root of fleet plant-a, and `fleet` is plant-b"),
            ("device_key", "not an Ed25519 secret key"),
            ("fleet_connection.ca", "no certificate in it"),
            ("fleet_connection.cert", "no certificate in it"),
            ("fleet_connection.key", "there is none in it"),
        ],
    );
}

#[test]
fn connections_become_the_transports() {
    let (pki, folder) = (Pki::new().unwrap(), folder());
    let device = pki.issue("press-01").unwrap();
    fs::write(folder.path().join("password"), "secret\nsecond line\n").unwrap();
    let text = format!(
        "{MINIMAL}[fleet_connection]\nbroker = \"mqtts://localhost:9\"\nca = {ca:?}\ncert = {cert:?}\nkey = {key:?}\n\
         [plant_connection]\nbroker = \"mqtt://127.0.0.1\"\nusername = \"u\"\npassword_file = \"password\"\n\
         keep_alive_s = 7\n[[source]]\ntype = \"mqtt\"\ntopic = \"a/#\"\nformat = \"raw\"\nqos = 0\n",
        ca = pki.ca(),
        cert = device.cert,
        key = device.key,
    );
    let config = load(&folder, &text).unwrap();
    let fleet = config.fleet_transport().unwrap();
    assert_eq!(
        (fleet.url.as_str(), fleet.client_id.as_str()),
        ("mqtts://localhost:9", "press-01")
    );
    assert_eq!(fleet.check(), Ok(()));
    let plant = config.plant_transport().unwrap().unwrap();
    assert_eq!(
        (plant.client_id.as_str(), plant.keep_alive),
        ("press-01-plant", Duration::from_secs(7))
    );
    assert_eq!(plant.credentials, Some(("u".to_owned(), "secret".to_owned())));
    let expected = MqttSource {
        topic: "a/#".to_owned(),
        format: SampleFormat::Raw,
        qos: Qos::AtMostOnce,
    };
    assert_eq!(config.sources, [Source::Mqtt(expected)]);
}

#[test]
fn a_reload_takes_over_what_it_can_and_names_the_rest() {
    let folder = folder();
    let old = load(&folder, MINIMAL).unwrap();
    let text = format!(
        "hardware = \"big\"\n{MINIMAL}[telemetry]\nmetrics_interval_s = 5\nbatch_records = 1\n\
         [fetch]\ntimeout_s = 60\n[log]\nfilter = \"debug\"\nformat = \"json\"\n\
         [plant_connection]\nbroker = \"mqtt://localhost\"\n[[sink]]\ntype = \"mqtt\"\ntopic = \"a\"\n"
    );
    let new = load(&folder, &text).unwrap();
    let (merged, restart) = old.reloadable_changes(&new);
    assert_eq!(merged.telemetry.metrics_interval_s, 5);
    assert_eq!((merged.fetch.timeout_s, merged.log.filter.as_str()), (60, "debug"));
    assert_eq!(
        (merged.telemetry.batch_records, merged.log.format),
        (512, LogFormat::Text)
    );
    let expected = [
        "hardware",
        "log.format",
        "plant_connection.broker",
        "plant_connection.client_id",
    ];
    assert_eq!(restart[..4], expected);
    assert_eq!(restart[restart.len() - 2..], ["sink", "telemetry.batch_records"]);
    assert_eq!(old.reloadable_changes(&old), (old.clone(), vec![]));
}

/// The example with every default and every example in force.
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => rest.to_owned(),
        _ => line.to_owned(),
    };
    EXAMPLE.lines().map(|text| line(text) + "\n").collect()
}

fn parse(text: &str) -> (Option<Config>, BTreeSet<String>, Vec<Mistake>) {
    let shared = read::Shared::new(Path::new(""));
    let config = parse::config(text, &shared).unwrap();
    let asked = shared.asked();
    (config, asked, shared.into_parts().0)
}

/// All keys of a table, list positions left out, as the reader counts them.
fn keys(table: &toml::Table, prefix: &str, into: &mut BTreeSet<String>) {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        match value {
            toml::Value::Table(table) => keys(table, &format!("{name}."), into),
            toml::Value::Array(list) => {
                list.iter()
                    .for_each(|item| keys(item.as_table().unwrap(), &format!("{name}."), into));
            }
            _ => {}
        }
        into.insert(name);
    }
}

#[test]
fn the_example_parses_as_it_is_and_with_everything_in_force() {
    let (config, _, mistakes) = parse(EXAMPLE);
    assert_eq!((config.is_some(), mistakes), (true, vec![]));
    let (config, asked, mistakes) = parse(&uncommented());
    let mut found = Vec::new();
    check::values(config.as_ref().unwrap(), &mut found);
    found.retain(|mistake| !mistake.problem.contains("which is no folder"));
    assert_eq!((mistakes, found), (vec![], vec![]));
    let mut there = BTreeSet::new();
    keys(&uncommented().parse().unwrap(), "", &mut there);
    assert_eq!(there, asked, "every key of the code is in the example, and no other");
}

#[test]
fn the_examples_defaults_are_the_codes() {
    // What has no default, and examples that are none.
    let not_defaults = [
        "device",
        "fleet",
        "trust_root",
        "device_key",
        "broker",
        "ca",
        "cert",
        "key",
        "username",
        "password_file",
        "type",
        "topic",
        "path",
        "delimiter",
        "rate_hz",
        "encryption_key",
        "encryption_key_before",
        "http_listen",
        "grpc_listen",
        "client_ca",
        "token_file",
        "onnxruntime",
    ];
    let text = uncommented();
    let (whole, ..) = parse(&text);
    let lines: Vec<&str> = text.lines().collect();
    let mut compared = 0;
    for (index, line) in lines.iter().enumerate() {
        let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let without: Vec<&str> = lines
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != index)
            .map(|(_, line)| *line)
            .collect();
        let (config, ..) = parse(&without.join("\n"));
        assert_eq!(
            config == whole,
            !not_defaults.contains(&key),
            "line {}: {line}",
            index + 1
        );
        compared += usize::from(config == whole);
    }
    assert!(compared > 0);
}
