//! `tritonclient`'s own HTTP client in front of a server that is no more than sockets around this crate: what an agent has
//! to do, in one page. `tests/python/open_inference/client.py` makes the calls.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use floorhand_open_inference::http::{HEADER_LENGTH, Head, HttpAnswer, decode_infer, encode_infer};
use floorhand_open_inference::{
    Call, Error, IndexEntry, IndexRequest, Labels, Limits, ModelMetadata, ModelRef, ModelState, ModelStatistics,
    ServerMetadata, Statistics,
};
use floorhand_tensor::{Datatype, Dim, Signature, Tensor, TensorSpec};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

fn signature() -> Signature {
    let spec = |name| TensorSpec::new(name, Datatype::Fp32, vec![Dim::Any, Dim::Fixed(2)]);
    Signature {
        inputs: vec![spec("x")],
        outputs: vec![spec("y")],
    }
}

/// The one model there is, `pump`, of version 1.
fn known(model: &ModelRef) -> Result<(), Error> {
    if model.name != "pump" {
        let model = model.name.clone();
        return Err(Error::UnknownModel { model });
    }
    match model.version.as_deref() {
        None | Some("1") => Ok(()),
        Some(version) => Err(Error::UnknownVersion {
            model: model.name.clone(),
            version: version.to_owned(),
        }),
    }
}

fn answer(method: &str, path: &str, headers: &BTreeMap<String, String>, body: &[u8]) -> Result<HttpAnswer, Error> {
    let call = Call::route(method, path)?;
    let metadata = || ModelMetadata::new("pump", vec!["1".to_owned()], "onnx_tract", &signature());
    Ok(match &call {
        Call::Live | Call::Ready => HttpAnswer::readiness(&call, true),
        Call::ModelReady(model) => known(model).map(|()| HttpAnswer::readiness(&call, true))?,
        Call::ServerMetadata => HttpAnswer::json(200, &ServerMetadata::new("floorhand", "0.1.0")),
        Call::ModelMetadata(model) => known(model).map(|()| HttpAnswer::json(200, &metadata()))?,
        Call::ModelConfig(model) => known(model).map(|()| HttpAnswer::json(200, &metadata().config()))?,
        Call::ModelStatistics(_) => {
            let pump = ModelStatistics {
                name: "pump".to_owned(),
                ..ModelStatistics::default()
            };
            let model_stats = vec![pump];
            HttpAnswer::json(200, &Statistics { model_stats })
        }
        Call::RepositoryIndex => {
            let pump = IndexEntry {
                name: "pump".to_owned(),
                version: "1".to_owned(),
                state: ModelState::Ready,
                reason: String::new(),
            };
            HttpAnswer::json(200, &IndexRequest::decode(body)?.select(vec![pump]))
        }
        Call::Infer(model) => {
            known(model)?;
            infer(model.clone(), headers, body)?
        }
    })
}

fn infer(model: ModelRef, headers: &BTreeMap<String, String>, body: &[u8]) -> Result<HttpAnswer, Error> {
    let head = Head {
        header_length: headers.get(HEADER_LENGTH).map(String::as_str),
        content_encoding: headers.get("content-encoding").map(String::as_str),
    };
    let (request, forms) = decode_infer(model, head, body, &Limits::default())?;
    request.check(&signature())?;
    let mut given = Vec::new();
    for x in &request.inputs {
        let doubled: Vec<f32> = x.to_f32()?.iter().map(|value| value * 2.0).collect();
        given.push(Tensor::from_f32("y", x.shape().to_vec(), &doubled)?);
    }
    let response = request.respond(Some("1".to_owned()), given, &Labels::new())?;
    encode_infer(&response, &forms)
}

/// Answers requests on one connection until the client closes it.
fn serve(connection: TcpStream) -> std::io::Result<()> {
    let mut writer = connection.try_clone()?;
    let mut reader = BufReader::new(connection);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace().map(ToOwned::to_owned);
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(": ") else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers
            .get("content-length")
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let answer = answer(&method, &path, &headers, &body).unwrap_or_else(|error| error.answer());
        let mut head = format!(
            "HTTP/1.1 {} x\r\ncontent-length: {}\r\n",
            answer.status,
            answer.body.len()
        );
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        writer.write_all(&[head.as_bytes(), b"\r\n", &answer.body].concat())?;
    }
}

#[test]
fn its_client_is_answered() {
    let python = std::env::var_os("FLOORHAND_PYTHON").map_or_else(|| "python3".into(), PathBuf::from);
    let tried = Command::new(&python)
        .args(["-P", "-c", "import tritonclient.http"])
        .output();
    if !tried.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("FLOORHAND_REQUIRE_PYTHON").is_none(),
            "no tritonclient"
        );
        println!("SKIPPED: needs a Python with what tests/python/requirements.txt names (FLOORHAND_PYTHON)");
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // It ends with the test's process.
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            std::thread::spawn(move || serve(connection.unwrap()));
        }
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/open_inference/client.py");
    let output = Command::new(&python)
        .arg("-P")
        .arg(script)
        .arg(port.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
