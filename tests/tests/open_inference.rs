//! The Open Inference Protocol of a running agent: tritonclient's HTTP and gRPC clients, a bundle that is swapped under
//! them, and clients that mean no good.

use anyhow::{Context as _, Result, ensure};
use floorhand_testkit::{Mosquitto, MosquittoConfig, Pki, free_port};
use floorhand_tests::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, RESET, SETTINGS, frame, grpc_head,
};
use floorhand_tests::{Agent, PATIENCE, Plant, Site, python, rows, wait_for, workspace};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const IMPORTS: &str = "import tritonclient.http, tritonclient.grpc, grpc, onnx";
const MODEL: &str = "skab-pca";
/// Longer than the longest request of the tests that is in order, and shorter than the one that isn't.
const MAX_BODY_BYTES: u64 = 256 << 10;

/// An agent that nobody sends samples but by this protocol.
struct Asked {
    site: Site,
    agent: Agent,
    http: String,
    grpc: String,
    python: PathBuf,
}

impl Asked {
    /// Starts one, unless there is no Python with the clients. `more` are further keys of its section.
    fn start(more: &[(&str, Value)]) -> Result<Option<Self>> {
        let Some(python) = python(IMPORTS) else { return Ok(None) };
        let site = Site::new()?;
        let [http, grpc] = [(); 2].map(|()| free_port().map(|port| format!("127.0.0.1:{port}")));
        let (http, grpc) = (http?, grpc?);
        let agent = site.device("press-1", &json!({ "open_inference": section(&http, &grpc, more) }))?;
        let mut asked = Self {
            site,
            agent,
            http,
            grpc,
            python,
        };
        asked.agent.start()?;
        asked.agent.wait_until("start", |status| !status.is_null())?;
        Ok(Some(asked))
    }

    fn script(&self, command: &str, more: &[&str]) -> Command {
        let mut script = Command::new(&self.python);
        script
            .arg("-P")
            .arg(workspace().join("tests/python/open_inference/agent.py"))
            .args([command, &self.http, &self.grpc])
            .args(more)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        script
    }

    /// Runs the script, which has to end well.
    fn run(&self, command: &str, more: &[&str]) -> Result<()> {
        let output = self.script(command, more).output()?;
        ensure!(
            output.status.success(),
            "{command}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.agent.tail()
        );
        Ok(())
    }

    fn import(&self, packed: &Path, seq: u64) -> Result<()> {
        let stick = self.site.export(packed, &self.agent.device, seq)?;
        let imported = self.agent.import(&stick)?;
        ensure!(imported.code == Some(0), "{imported:?}\n{}", self.agent.tail());
        Ok(())
    }
}

fn section(http: &str, grpc: &str, more: &[(&str, Value)]) -> Value {
    let mut section = json!({ "http_listen": http, "grpc_listen": grpc, "max_body_bytes": MAX_BODY_BYTES });
    if let Some(section) = section.as_object_mut() {
        section.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    }
    section
}

fn golden() -> String {
    let path = workspace().join("tests/skab/fixture/bundle/golden.jsonl");
    path.to_string_lossy().into_owned()
}

fn runs(status: &Value, version: &str) -> bool {
    status.pointer("/active/version").and_then(Value::as_str) == Some(version)
}

#[test]
fn public_clients_are_answered_before_and_through_a_swap() -> Result<()> {
    let Some(mut asked) = Asked::start(&[("batch_delay_us", json!(500))])? else {
        return Ok(());
    };
    let golden = golden();
    asked.run("unready", &[])?;
    // These samples are all that the first bundle sees in its trial.
    asked.import(&asked.site.pack_fixture(1)?, 1)?;
    asked.run("try", &[MODEL, &golden])?;
    asked.agent.wait_until("commit", |status| runs(status, "1.0.0"))?;
    asked.run("ask", &[MODEL, &golden])?;

    let packed = asked.site.pack_fixture(2)?;
    let arguments = [MODEL, &golden, "1.0.0", "2.0.0"];
    let mut swapping = asked.script("swap", &arguments);
    let mut child = swapping.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut said = String::new();
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut said)?;
    asked.import(&packed, 2)?;
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        asked.agent.tail()
    );
    let status = asked.agent.wait_until("commit", |status| runs(status, "2.0.0"))?;
    let came = status["sources"].as_array().context("no sources")?;
    ensure!(came.iter().any(|flow| flow["name"] == "open-inference"), "{came:?}");
    asked.agent.stop()
}

#[test]
fn every_datatype_comes_back_as_it_went() -> Result<()> {
    for (name, command) in [("types", "types"), ("words", "words")] {
        let Some(mut asked) = Asked::start(&[])? else {
            return Ok(());
        };
        let folder = asked.site.path("made");
        std::fs::create_dir(&folder)?;
        let made = Command::new(&asked.python)
            .arg("-P")
            .arg(workspace().join("tests/python/open_inference/make_bundles.py"))
            .arg(&folder)
            .output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        asked.import(&asked.site.pack(&folder.join(name), &format!("{name}.fhb"))?, 1)?;
        asked.run(command, &[])?;
        asked.agent.stop()?;
    }
    Ok(())
}

#[test]
fn who_is_not_known_is_not_answered() -> Result<()> {
    let pki = Pki::new()?;
    let identity = pki.issue("localhost")?;
    let token = tempfile::NamedTempFile::new()?;
    std::fs::write(token.path(), "a-token-of-the-tests\n")?;
    let more = [
        ("cert", json!(identity.cert)),
        ("key", json!(identity.key)),
        ("token_file", json!(token.path())),
    ];
    let Some(mut asked) = Asked::start(&more)? else {
        return Ok(());
    };
    asked.import(&asked.site.pack_fixture(1)?, 1)?;
    for address in [&mut asked.http, &mut asked.grpc] {
        *address = address.replace("127.0.0.1", "localhost");
    }
    let ca = pki.ca().to_string_lossy().into_owned();
    asked.run("secure", &[MODEL, &golden(), &ca, "a-token-of-the-tests"])?;
    asked.agent.stop()
}

#[test]
fn a_port_that_is_taken_is_told_at_the_start() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let site = Site::new()?;
    let mut agent = site.device("press-1", &json!({ "open_inference": { "grpc_listen": address } }))?;
    agent.start()?;
    let code = agent.process()?.wait(PATIENCE)?;
    ensure!(code == Some(3), "{code:?}");
    let log = agent.log();
    let said = format!("`open_inference.grpc_listen` is {address}, which can't be listened on");
    ensure!(log.contains(&said), "{log}");
    Ok(())
}

#[test]
fn a_socket_in_the_file_system_is_for_the_agents_own_group() -> Result<()> {
    let site = Site::new()?;
    let path = site.path("infer.sock");
    let listen = format!("unix:{}", path.display());
    let mut agent = site.device("press-1", &json!({ "open_inference": { "http_listen": listen } }))?;
    // Twice: what the first leaves is replaced.
    for _ in 0..2 {
        agent.start()?;
        agent.wait_until("start", |status| !status.is_null())?;
        let mut stream = UnixStream::connect(&path)?;
        stream.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        ensure!(status_of(&answer) == "HTTP/1.1 200 OK", "{}", status_of(&answer));
        let mode = std::fs::metadata(&path)?.permissions().mode();
        ensure!(mode & 0o777 == 0o660, "{mode:o}");
        agent.stop()?;
    }
    Ok(())
}

/// Sends bytes, and reads what comes until the other side has ended the connection.
fn exchange(address: &str, sent: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // The other side may end it before all is sent.
    drop(stream.write_all(sent));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    Ok(answer)
}

fn status_of(answer: &[u8]) -> String {
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

/// Clients of HTTP/1.1 that mean no good.
fn hostile_http(address: &str) -> Result<()> {
    let infer = format!("POST /v2/models/{MODEL}/infer HTTP/1.1\r\nhost: x\r\n");
    let headers = "x: y\r\n".repeat(100);
    let long = format!("x: {}\r\n", "y".repeat(200_000));
    for (head, expected) in [
        (format!("GET /v2 HTTP/1.1\r\n{headers}\r\n"), "HTTP/1.1 431"),
        (format!("GET /v2 HTTP/1.1\r\n{long}\r\n"), "HTTP/1.1 431"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "v".repeat(200_000)), "HTTP/1.1 4"),
        ("not HTTP\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        (format!("{infer}content-length: 99999999999\r\n\r\n"), "HTTP/1.1 413"),
        (
            format!("{infer}content-length: 99999999\r\nexpect: 100-continue\r\n\r\n"),
            "HTTP/1.1 413",
        ),
        // A chunk that is longer than all may be, and one that is none.
        (
            format!("{infer}transfer-encoding: chunked\r\n\r\nzz\r\n"),
            "HTTP/1.1 400",
        ),
        (format!("{infer}content-length: -1\r\n\r\n"), "HTTP/1.1 400"),
    ] {
        let answer = exchange(address, &[head.as_bytes(), b"connection: close"].concat())?;
        let status = status_of(&answer);
        ensure!(
            status.starts_with(expected),
            "{}: {status}",
            head.get(..60).unwrap_or(&head)
        );
    }
    // A body that never comes whole: the request's time is over, and so is the connection.
    let answer = exchange(address, format!("{infer}content-length: 1000\r\n\r\n{{").as_bytes())?;
    ensure!(status_of(&answer).starts_with("HTTP/1.1 408"), "{}", status_of(&answer));
    // More than is taken, whatever was said before.
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000)).repeat(5);
    let chunked = format!("{infer}transfer-encoding: chunked\r\nconnection: close\r\n\r\n{chunk}0\r\n\r\n");
    let answer = exchange(address, chunked.as_bytes())?;
    ensure!(status_of(&answer).starts_with("HTTP/1.1 413"), "{}", status_of(&answer));
    Ok(())
}

/// Clients of HTTP/2 that mean no good. Each has its connection ended, or a status.
fn hostile_grpc(address: &str) -> Result<()> {
    let begun = [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[])].concat();
    let head = |stream| frame(HEADERS, END_HEADERS, stream, &grpc_head());
    // Streams that are begun and taken back at once.
    let streams = (0..5_000_u32).map(|number| number * 2 + 1);
    let rapid: Vec<u8> = streams
        .flat_map(|stream| [head(stream), frame(RESET, 0, stream, &8_u32.to_be_bytes())].concat())
        .collect();
    exchange(address, &[begun.clone(), rapid].concat())?;
    // A head without end.
    let endless = frame(HEADERS, 0, 1, &grpc_head());
    let more = frame(CONTINUATION, 0, 1, &[0; 16_000]).repeat(200);
    exchange(address, &[begun.clone(), endless, more].concat())?;
    // Settings without end, frames of the wrong stream, and no HTTP/2 at all.
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]).repeat(20_000);
    let answer = exchange(address, &[begun.clone(), settings, frame(DATA, 0, 99, &[0])].concat())?;
    ensure!(!answer.is_empty(), "no settings were answered");
    exchange(address, &[begun.clone(), frame(DATA, 0, 0, &[0; 10])].concat())?;
    exchange(address, b"GET / HTTP/1.1\r\n\r\n")?;
    exchange(
        address,
        &[PREFACE, &frame(99, 0xff, 7, &[0; 16_384]), &[0xff; 20]].concat(),
    )?;
    // Messages that aren't as long as they say. The status stands in a head: 3, as a literal.
    for message in [
        &[0, 0, 0, 0, 9, 1][..],
        &[0, 0xff, 0xff, 0xff, 0xff],
        &[0, 0],
        &[1, 0, 0, 0, 0],
    ] {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&[begun.clone(), head(1), frame(DATA, END_STREAM, 1, message)].concat())?;
        let mut seen = Vec::new();
        let mut bytes = [0; 4096];
        // Until the head of the answer, which ends the stream.
        while !seen
            .windows(9)
            .any(|at| at.get(3..5) == Some(&[HEADERS, END_STREAM | END_HEADERS]) && at.get(8) == Some(&1))
        {
            let read = stream.read(&mut bytes)?;
            ensure!(read > 0, "{message:?} had no status");
            seen.extend(bytes.get(..read).unwrap_or_default());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_means_no_good_ends_no_other_source() -> Result<()> {
    let Some(broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else {
        return Ok(());
    };
    let (source, sink) = Plant::topics("press-1");
    let site = Site::new()?;
    let [http, grpc] = [(); 2].map(|()| free_port().map(|port| format!("127.0.0.1:{port}")));
    let (http, grpc) = (http?, grpc?);
    let bounds = [("timeout_ms", json!(1000)), ("max_connections", json!(8))];
    let mut agent = site.device(
        "press-1",
        &json!({
            "plant_connection": { "broker": broker.url() },
            "source": [{ "type": "mqtt", "topic": source }],
            "sink": [{ "type": "mqtt", "topic": sink }],
            "open_inference": section(&http, &grpc, &bounds),
        }),
    )?;
    agent.start()?;
    agent.wait_until("connections", |status| status["plant_connected"] == true)?;
    let plant = Plant::start(&broker.url(), "press-1").await?;
    let recording = rows(&workspace().join("tests/skab/fixture/anomaly-free.csv"))?;
    let stick = site.export(&site.pack_fixture(1)?, &agent.device, 1)?;
    let imported = agent.import(&stick)?;
    ensure!(imported.code == Some(0), "{imported:?}");
    let feeding = plant.feed(recording.clone(), Duration::from_millis(10));
    agent.wait_until("commit", |status| runs(status, "1.0.0"))?;

    // They hold all places there are for as long as they may, while samples come from elsewhere.
    let idle: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(&http)).collect::<Result<_, _>>()?;
    let sample = recording.first().context("no recording")?;
    plant.ask(vec![("beside the idle".to_owned(), sample.clone())]).await?;
    drop(idle);
    let attack = std::thread::spawn(move || {
        hostile_http(&http)?;
        hostile_grpc(&grpc)?;
        anyhow::Ok((http, grpc))
    });
    let mut asked = 0;
    while !attack.is_finished() {
        asked += 1;
        plant.ask(vec![(format!("beside {asked}"), sample.clone())]).await?;
    }
    let attacked = attack.join().ok().context("the attack panicked")?;
    let (http, _) = attacked.with_context(|| agent.tail())?;
    feeding.stop().await?;
    ensure!(asked > 0, "nothing was asked beside the attack");
    let answer = wait_for("an answer", PATIENCE, || {
        let answer = exchange(
            &http,
            b"GET /v2/health/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        )?;
        Ok(Some(answer).filter(|answer| !answer.is_empty()))
    })?;
    ensure!(status_of(&answer) == "HTTP/1.1 200 OK", "{}", status_of(&answer));
    plant.ask(vec![("behind it".to_owned(), sample.clone())]).await?;
    agent.stop()
}
