//! A device's way into the fleet as a person walks it: a CA and its certificates, a broker configured by the program, a token
//! made at the hub, one command on the device. And those who try to walk it without being asked.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use floorhand_bundle::{Digest, SecretKey};
use floorhand_protocol::{EnrolmentRequest, EnrolmentToken, IssuedCertificate};
use floorhand_testkit::{Mosquitto, MosquittoTls, free_port};
use floorhand_tests::{Ended, FLEET, Hub, PATIENCE, Process, Site, run, run_ok, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Refused: a signature, an address or a digest doesn't hold.
const REFUSED: Option<i32> = Some(6);
/// Not reachable.
const UNREACHABLE: Option<i32> = Some(5);
/// Longer than a slow machine takes from enrolment to the first connection, and short enough to see it renewed.
const SHORT_LIFE_S: u64 = 90;

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A site with a CA of its own and a hub that signs with it.
struct Plant {
    site: Site,
    hub: Hub,
    broker: Option<Mosquitto>,
}

impl Plant {
    /// With the broker that the hub brings, for what needs none.
    fn without_broker() -> Result<Self> {
        let site = Site::new()?;
        run_ok(&["keys", "ca", "fleet-ca", "--out", &site.text("")])?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let keys = json!({ "embedded_broker": address, "enrolment": enrolment(&site, "mqtts://broker.plant-a") });
        let hub = site.start_hub_with(&format!("mqtt://{address}"), keys)?;
        Ok(Self {
            site,
            hub,
            broker: None,
        })
    }

    /// As in production: Mosquitto with the configuration that the program writes, all certificates from the fleet's CA.
    fn with_broker(life_s: u64) -> Result<Self> {
        let site = Site::new()?;
        run_ok(&["keys", "ca", "fleet-ca", "--out", &site.text("")])?;
        let (ca, ca_key) = (site.text("fleet-ca.pem"), site.text("fleet-ca.key"));
        let signed = |arguments: &[&str]| {
            let common = ["--ca", &ca, "--ca-key", &ca_key, "--out", &site.text("")];
            run_ok(&[&["keys", "cert"], arguments, &common].concat())
        };
        signed(&["broker.1", "--host", "localhost", "--host", "127.0.0.1"])?;
        signed(&["hub"])?;
        let broker = broker(&site)?;
        let mut enrolment = enrolment(&site, &broker.url());
        if let Some(enrolment) = enrolment.as_object_mut() {
            enrolment.insert("certificate_ttl_s".to_owned(), life_s.into());
        }
        let tls = json!({ "ca": ca, "cert": site.path("hub.pem"), "key": site.path("hub.key") });
        let keys = json!({ "broker": broker.url(), "tls": tls, "enrolment": enrolment });
        let hub = site.start_hub_with(&broker.url(), keys)?;
        Ok(Self {
            site,
            hub,
            broker: Some(broker),
        })
    }

    fn token(&self, arguments: &[&str]) -> Result<String> {
        let made = self.hub.fleet_ok(&[&["enroll-token"], arguments].concat())?;
        let token = made.get("token").and_then(Value::as_str);
        Ok(token.context("no token")?.to_owned())
    }

    /// The folder of a device's identity.
    fn folder(&self, name: &str) -> PathBuf {
        self.site.path(&format!("{name}-identity"))
    }

    fn enroll(&self, folder: &str, hub: &str, token: &str, more: &[&str]) -> Result<Ended> {
        let out = text(&self.folder(folder));
        run(&[
            &["agent", "enroll", "--hub", hub, "--token", token, "--out", &out],
            more,
        ]
        .concat())
    }

    fn devices(&self) -> Result<Vec<Value>> {
        let listed = self.hub.fleet_ok(&["ls"])?;
        Ok(listed.as_array().context("no list")?.clone())
    }
}

fn enrolment(site: &Site, broker: &str) -> Value {
    json!({ "ca": site.path("fleet-ca.pem"), "ca_key": site.path("fleet-ca.key"), "broker": broker })
}

fn broker(site: &Site) -> Result<Mosquitto> {
    let [ca, cert, key] = ["fleet-ca.pem", "broker.1.pem", "broker.1.key"].map(|name| site.path(name));
    let (out, data, port) = (site.path("broker"), site.path("broker-data"), free_port()?);
    fs::create_dir(&data)?;
    run_ok(&[
        "hub",
        "broker-config",
        "mosquitto",
        "--fleet",
        FLEET,
        "--bind",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--ca",
        &text(&ca),
        "--cert",
        &text(&cert),
        "--key",
        &text(&key),
        "--acl",
        &text(&out.join("floorhand.acl")),
        "--data",
        &text(&data),
        "--out",
        &text(&out),
    ])?;
    // Mosquitto works as its own user when it is started as root.
    for (path, mode) in [(&site.path(""), 0o755), (&out, 0o755), (&data, 0o777), (&key, 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Mosquitto::start_configured(&out.join("mosquitto.conf"), port, MosquittoTls { ca, cert, key })
}

/// What a request came with, and the body of the answer; somebody between a device and its hub.
struct Between {
    port: u16,
    serving: JoinHandle<Result<String>>,
}

impl Between {
    /// Takes one request and lets `answer` say what comes back; nothing, where it says so. The request's body is kept.
    fn start(answer: impl FnOnce(&str) -> Result<Option<String>> + Send + 'static) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            let body = request_body(&stream)?;
            if let Some(answer) = answer(&body)? {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    answer.len()
                );
                stream.write_all(head.as_bytes())?;
                stream.write_all(answer.as_bytes())?;
            }
            Ok(body)
        });
        Ok(Self { port, serving })
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn body(self) -> Result<String> {
        self.serving.join().map_err(|_| anyhow::anyhow!("it panicked"))?
    }
}

fn request_body(stream: &TcpStream) -> Result<String> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(String::from_utf8(body)?)
}

/// Sends a request's body to the hub; status and answer.
fn post(hub: &str, body: &str) -> Result<(u16, Value)> {
    let address = hub.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address)?;
    let head = format!(
        "POST /api/v1/enrol HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).context("no status")?.parse()?;
    let (_, json) = answer.split_once("\r\n\r\n").context("no body")?;
    Ok((status, serde_json::from_str(json)?))
}

#[test]
fn a_second_agent_of_a_machine_enrols_beside_the_first() -> Result<()> {
    let plant = Plant::without_broker()?;
    for (device, instance) in [("press-7", None), ("press-7-line-2", Some("line-2"))] {
        let token = plant.token(&["--device", device])?;
        let more: Vec<&str> = instance.iter().flat_map(|name| ["--instance", *name]).collect();
        let ended = plant.enroll(device, &plant.hub.url, &token, &more)?;
        ensure!(ended.code == Some(0), "{ended:?}\n{}", plant.hub.process.tail());
        let snippet = fs::read_to_string(plant.folder(device).join("agent.toml"))?;
        let (config, state_dir) = match instance {
            Some(_) => (
                "/etc/floorhand/line-2/agent.toml",
                Some("/var/lib/floorhand-agents/line-2"),
            ),
            None => ("/etc/floorhand/agent.toml", None),
        };
        ensure!(ended.stdout.contains(&format!("belongs into {config},")), "{ended:?}");
        let parsed: toml::Table = snippet.parse()?;
        let found = parsed.get("state_dir").and_then(toml::Value::as_str);
        ensure!(found == state_dir, "{snippet}");
    }
    Ok(())
}

#[test]
fn a_device_enrols_connects_and_renews_its_certificate() -> Result<()> {
    if !Mosquitto::is_there() {
        return Ok(());
    }
    let plant = Plant::with_broker(SHORT_LIFE_S)?;
    let token = plant.token(&["--device", "press-7"])?;
    let ended = plant.enroll("press-7", &plant.hub.url, &token, &["--hardware", "gateway"])?;
    ensure!(ended.code == Some(0), "{ended:?}\n{}", plant.hub.process.tail());
    let folder = plant.folder("press-7");
    for (name, mode) in [
        ("", 0o700),
        ("device.key", 0o600),
        ("identity.pem", 0o600),
        ("root.cose", 0o644),
    ] {
        let found = fs::metadata(folder.join(name))?.permissions().mode() & 0o777;
        ensure!(found == mode, "{name}: {found:o}");
    }
    ensure!(!folder.join("pending.cose").exists() && !folder.join("pending.key").exists());
    ensure!(fs::read(folder.join("root.cose"))? == fs::read(plant.site.path("root.cose"))?);

    // The agent runs with the very part of the configuration that was written for it.
    let first = fs::read(folder.join("identity.pem"))?;
    let snippet = fs::read_to_string(folder.join("agent.toml"))?;
    let config = plant.site.path("press-7.toml");
    let state = plant.site.path("press-7-state");
    fs::write(&config, format!("state_dir = {:?}\n{snippet}", text(&state)))?;
    let log = plant.site.path("press-7.log");
    let mut agent = Process::start(&log, &["agent", "--config", &text(&config)])?;
    let online = |device: &Value| device["id"] == "press-7" && device["online"] == true;
    wait_for("device that is online", PATIENCE, || {
        ensure!(agent.is_running(), "{}", agent.tail());
        Ok(plant.devices()?.iter().any(online).then_some(()))
    })
    .with_context(|| format!("{}\n{}", agent.tail(), plant.hub.process.tail()))?;

    let said = |what: &str| fs::read_to_string(&log).unwrap_or_default().matches(what).count();
    wait_for("renewed certificate", PATIENCE, || {
        Ok((said("the certificate is renewed") > 0).then_some(()))
    })
    .with_context(|| format!("{}\n{}", agent.tail(), plant.hub.process.tail()))?;
    wait_for("connection with it", PATIENCE, || {
        Ok((said("connected to the fleet's broker") > 1).then_some(()))
    })
    .with_context(|| agent.tail())?;
    let second = fs::read(folder.join("identity.pem"))?;
    ensure!(second != first, "key and certificate are other ones");
    ensure!(fs::metadata(folder.join("identity.pem"))?.permissions().mode() & 0o777 == 0o600);
    wait_for("device that is online again", PATIENCE, || {
        Ok(plant.devices()?.iter().any(online).then_some(()))
    })?;
    wait_for("event at the hub", PATIENCE, || {
        let export = plant.hub.fleet_ok(&["show", "press-7"])?;
        Ok((export["device"]["totals"]["records"].as_u64() > Some(0)).then_some(()))
    })?;
    ensure!(agent.stop()? == Some(0), "{}", agent.tail());

    // Its certificate has ended while it was off, say: the same key, a new token, and no word of replacing anything.
    let again = plant.token(&["--device", "press-7"])?;
    let ended = plant.enroll("press-7", &plant.hub.url, &again, &[])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(plant.devices()?.len() == 1);
    drop(plant.broker);
    Ok(())
}

#[test]
fn a_token_is_good_for_one_device_once_and_for_a_while() -> Result<()> {
    let plant = Plant::without_broker()?;
    let url = &plant.hub.url;
    let token = plant.token(&["--device", "press-1"])?;
    let ended = plant.enroll("press-1", url, &token, &["--device", "press-2"])?;
    ensure!(ended.stderr.contains("the token is for press-1"), "{ended:?}");
    ensure!(plant.enroll("press-1", url, &token, &[])?.code == Some(0));
    let ended = plant.enroll("press-1-copy", url, &token, &[])?;
    ensure!(
        ended.code == REFUSED && ended.stderr.contains("has been used, by press-1"),
        "{ended:?}"
    );

    let short = plant.token(&["--device", "press-3", "--valid", "1s"])?;
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let ended = plant.enroll("press-3", url, &short, &[])?;
    ensure!(
        ended.code == REFUSED && ended.stderr.contains("has expired"),
        "{ended:?}"
    );
    ensure!(!plant.folder("press-3").join("identity.pem").exists());

    // What was begun with one token goes on with another.
    let kept = fs::read(plant.folder("press-3").join("device.key"))?;
    let fresh = plant.token(&["--device", "press-3"])?;
    ensure!(plant.enroll("press-3", url, &fresh, &[])?.code == Some(0));
    ensure!(
        fs::read(plant.folder("press-3").join("device.key"))? == kept,
        "the device keeps its key"
    );

    let gateways = plant.token(&["--pattern", "gw-*", "--hardware", "gateway"])?;
    for (device, hardware, part) in [
        ("press-9", "gateway", "is for gw-*, and this is press-9"),
        ("gw-1", "generic", "of the hardware class gateway"),
    ] {
        let ended = plant.enroll("gw-1", url, &gateways, &["--device", device, "--hardware", hardware])?;
        ensure!(ended.code == REFUSED && ended.stderr.contains(part), "{ended:?}");
    }
    let nameless = plant.enroll("gw-1", url, &gateways, &["--hardware", "gateway"])?;
    ensure!(
        nameless.stderr.contains("say which this is with --device"),
        "{nameless:?}"
    );
    let removed = plant.hub.fleet_ok(&["enroll-tokens"])?;
    let open = removed
        .as_array()
        .context("no list")?
        .iter()
        .find(|token| token["devices"] == "gw-*");
    let id = open.and_then(|token| token["id"].as_str()).context("no id")?.to_owned();
    plant.hub.fleet_ok(&["enroll-tokens", "--remove", &id])?;
    let ended = plant.enroll("gw-1", url, &gateways, &["--device", "gw-1", "--hardware", "gateway"])?;
    ensure!(
        ended.code == REFUSED && ended.stderr.contains("knows no such"),
        "{ended:?}"
    );
    let reserved = plant.hub.fleet(&["enroll-token", "--device", "hub"])?;
    ensure!(
        reserved.code == Some(3) && format!("{reserved:?}").contains("other rights"),
        "{reserved:?}"
    );
    let devices = plant.devices()?;
    ensure!(devices.len() == 2, "{devices:?}");
    Ok(())
}

#[test]
fn two_devices_race_for_one_token() -> Result<()> {
    let plant = Plant::without_broker()?;
    let token = plant.token(&["--pattern", "press-*"])?;
    let codes: Vec<Option<i32>> = std::thread::scope(|scope| {
        let racing: Vec<_> = (0..4)
            .map(|n| {
                let (plant, token) = (&plant, &token);
                scope.spawn(move || {
                    let device = format!("press-{n}");
                    plant.enroll(&device, &plant.hub.url, token, &["--device", &device])
                })
            })
            .collect();
        racing
            .into_iter()
            .filter_map(|one| one.join().ok()?.ok())
            .map(|ended| ended.code)
            .collect()
    });
    let won = codes.iter().filter(|code| **code == Some(0)).count();
    let refused = codes.iter().filter(|code| **code == REFUSED).count();
    ensure!((won, refused) == (1, 3), "{codes:?}");
    ensure!(plant.devices()?.len() == 1);
    Ok(())
}

#[test]
fn a_known_device_is_replaced_only_by_a_token_that_says_so() -> Result<()> {
    let plant = Plant::without_broker()?;
    plant.site.new_key("press-1")?;
    plant
        .hub
        .fleet_ok(&["enroll", "press-1", "--key", &plant.site.text("press-1.pub")])?;
    let token = plant.token(&["--device", "press-1"])?;
    let ended = plant.enroll("press-1", &plant.hub.url, &token, &[])?;
    ensure!(ended.code == REFUSED && ended.stderr.contains("--replace"), "{ended:?}");
    let token = plant.token(&["--device", "press-1", "--replace"])?;
    ensure!(plant.enroll("press-1", &plant.hub.url, &token, &[])?.code == Some(0));
    let key = SecretKey::from_pem(&fs::read_to_string(plant.folder("press-1").join("device.key"))?)?;
    let known = plant.devices()?[0]["public_key"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let expected: String = key
        .public()
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ensure!(known == expected, "{known}");
    Ok(())
}

#[test]
fn a_forged_hub_gives_a_device_nothing() -> Result<()> {
    let (plant, other) = (Plant::without_broker()?, Site::new()?);
    let line = plant.token(&["--device", "press-1"])?;
    let encoded = |path: PathBuf| anyhow::Ok(STANDARD.encode(fs::read(path)?));
    let (foreign, ours) = (
        encoded(other.path("root.cose"))?,
        encoded(plant.site.path("root.cose"))?,
    );

    // One with a root of its own.
    let answer = json!({ "root": foreign, "certificate": STANDARD.encode(b"anything") }).to_string();
    let forged = Between::start(move |_| Ok(Some(answer)))?;
    let ended = plant.enroll("press-1", &forged.url(), &line, &[])?;
    ensure!(
        ended.code == REFUSED && ended.stderr.contains("isn't the hub that made the token"),
        "{ended:?}"
    );
    let heard = forged.body()?;

    // One that shows the fleet's own root, which is no secret, and a certificate of its own making.
    let request = STANDARD.decode(
        serde_json::from_str::<Value>(&heard)?["request"]
            .as_str()
            .context("no request")?,
    )?;
    let token: EnrolmentToken = line.parse()?;
    let opened = EnrolmentRequest::open(&request, &token.secret.public())?;
    let certificate = IssuedCertificate {
        fleet: FLEET.parse()?,
        device: opened.device.clone(),
        csr: Digest::of(&opened.csr),
        chain: vec![],
        broker: Some("mqtts://evil.example".to_owned()),
        broker_ca: vec![],
        issued_ms: 1,
        critical: vec![],
    };
    let sealed = certificate.seal(&other.secret("assignment")?)?;
    let answer = json!({ "root": ours, "certificate": STANDARD.encode(sealed) }).to_string();
    let forged = Between::start(move |_| Ok(Some(answer)))?;
    let ended = plant.enroll("press-1", &forged.url(), &line, &[])?;
    ensure!(
        ended.code == REFUSED && ended.stderr.contains("certificate is signed by 0 of the 1 keys"),
        "{ended:?}"
    );
    drop(forged.body()?);

    // The token's secret is in nothing that either of them heard.
    let seed = token.secret.to_seed();
    ensure!(!request.windows(32).any(|window| window == seed), "the secret was sent");
    let left: Vec<String> = fs::read_dir(plant.folder("press-1"))?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    ensure!(
        !left.iter().any(|name| name == "root.cose" || name == "identity.pem"),
        "{left:?}"
    );

    // A device that has a root takes no token of another fleet.
    ensure!(plant.enroll("press-1", &plant.hub.url, &line, &[])?.code == Some(0));
    let foreign = EnrolmentToken {
        root: Digest::of(b"another root"),
        ..plant.token(&["--device", "press-1"])?.parse()?
    };
    let ended = plant.enroll("press-1", &plant.hub.url, &foreign.to_text(), &[])?;
    ensure!(
        ended.code == REFUSED && ended.stderr.contains("this device has the trust root"),
        "{ended:?}"
    );
    let ended = plant.enroll("press-1", "http://hub.plant-a", &line, &[])?;
    ensure!(ended.stderr.contains("is not encrypted"), "{ended:?}");
    Ok(())
}

#[test]
fn an_answer_that_was_lost_is_given_again_and_a_replay_gets_nothing_new() -> Result<()> {
    let plant = Plant::without_broker()?;
    let token = plant.token(&["--device", "press-1"])?;
    // The hub has worked on the request; the answer never arrives, as after a power cut between the two.
    let hub = plant.hub.url.clone();
    let cut = Between::start(move |body| {
        let (status, answer) = post(&hub, body)?;
        ensure!(status == 200, "{answer}");
        Ok(None)
    })?;
    let ended = plant.enroll("press-1", &cut.url(), &token, &[])?;
    ensure!(
        ended.code == UNREACHABLE && ended.stderr.contains("run the same command again"),
        "{ended:?}"
    );
    let heard = cut.body()?;
    ensure!(plant.folder("press-1").join("pending.cose").exists());
    ensure!(plant.devices()?.len() == 1, "the hub has registered it");

    let ended = plant.enroll("press-1", &plant.hub.url, &token, &[])?;
    ensure!(ended.code == Some(0), "{ended:?}");

    // Who listened sends the same again: he gets the certificate of the device, to whose key he has none.
    let (status, first) = post(&plant.hub.url, &heard)?;
    let (again, second) = post(&plant.hub.url, &heard)?;
    ensure!((status, again) == (200, 200) && first == second);
    ensure!(plant.devices()?.len() == 1);
    // And another request by the same token, which only its holder could make, is refused.
    let line: EnrolmentToken = token.parse()?;
    let key = SecretKey::from_seed(&[3; 32]);
    let other = EnrolmentRequest {
        device: "press-1".parse()?,
        hardware: "generic".parse()?,
        public_key: key.public(),
        csr: vec![0; 10].into(),
        fleet: None,
        critical: vec![],
    };
    let body = json!({ "request": STANDARD.encode(other.seal(&key, &line.secret)?) }).to_string();
    let (status, said) = post(&plant.hub.url, &body)?;
    ensure!(
        status == 422
            && said["error"]
                .as_str()
                .is_some_and(|text| text.contains("has been used")),
        "{said}"
    );
    // Cut off before anything was sent: the keys are there, and the next attempt uses them.
    let before = plant.token(&["--device", "press-2"])?;
    let nobody = format!("http://127.0.0.1:{}", free_port()?);
    ensure!(plant.enroll("press-2", &nobody, &before, &[])?.code == UNREACHABLE);
    let kept = fs::read(plant.folder("press-2").join("pending.cose"))?;
    ensure!(plant.enroll("press-2", &nobody, &before, &[])?.code == UNREACHABLE);
    ensure!(
        fs::read(plant.folder("press-2").join("pending.cose"))? == kept,
        "the same request"
    );
    ensure!(plant.enroll("press-2", &plant.hub.url, &before, &[])?.code == Some(0));
    Ok(())
}

/// As `docs/operating.md` tells to change the hub's key, with a device that has enrolled before, and a token that was handed out.
#[test]
fn a_change_of_the_hubs_key_ends_neither_enrolled_devices_nor_open_tokens() -> Result<()> {
    let site = Site::new()?;
    run_ok(&["keys", "ca", "fleet-ca", "--out", &site.text("")])?;
    site.new_key("assignment-2")?;
    let enrolment = enrolment(&site, "mqtts://broker.plant-a");
    let keys = json!({ "enrolment": enrolment, "next_assignment_key": site.path("assignment-2.key") });
    let hub = site.start_hub_alone_with(&keys)?;
    let mut plant = Plant {
        site,
        hub,
        broker: None,
    };
    let first = plant.token(&["--device", "press-1"])?;
    ensure!(plant.enroll("press-1", &plant.hub.url, &first, &[])?.code == Some(0));
    let open = plant.token(&["--device", "press-2"])?;

    let [root, second, added, removed, offline] = [
        "root.cose",
        "root-2.cose",
        "assignment-2.pub",
        "assignment.pub",
        "offline.key",
    ]
    .map(|name| plant.site.text(name));
    let change = [
        "--add-assignment",
        &added,
        "--remove-assignment",
        &removed,
        "--key",
        &offline,
    ];
    run_ok(&[&["root", "next", &root], &change[..]].concat())?;
    run_ok(&["root", "publish", "--hub", &plant.hub.url, &second])?;
    plant.hub.process.stop()?;
    let keys = json!({
        "enrolment": enrolment,
        "trust_root": second,
        "assignment_key": plant.site.path("assignment-2.key"),
    });
    plant.hub = plant.site.start_hub_alone_with(&keys)?;

    // The certificate of the one has ended, say; the other comes only now.
    let before = |name: &str| anyhow::Ok(fs::read(plant.folder("press-1").join(name))?);
    let (pinned, key, identity) = (before("root.cose")?, before("device.key")?, before("identity.pem")?);
    let again = plant.token(&["--device", "press-1"])?;
    let ended = plant.enroll("press-1", &plant.hub.url, &again, &[])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(
        (before("root.cose")?, before("device.key")?) == (pinned.clone(), key),
        "both stay"
    );
    ensure!(before("identity.pem")? != identity);
    let ended = plant.enroll("press-2", &plant.hub.url, &open, &[])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(
        fs::read(plant.folder("press-2").join("root.cose"))? == pinned,
        "the token's root"
    );
    let fresh = plant.token(&["--device", "press-3"])?;
    ensure!(plant.enroll("press-3", &plant.hub.url, &fresh, &[])?.code == Some(0));
    ensure!(fs::read(plant.folder("press-3").join("root.cose"))? == fs::read(&second)?);
    ensure!(plant.devices()?.len() == 3);
    Ok(())
}
