//! An inference over loopback, by HTTP and by gRPC, beside the pipeline's own time: the round trip of one client, and rows a
//! second with 1 and 8 clients at batches of 1, 8 and 64.
//!
//! The agent is a process of its own with the fixture's bundle committed: `standardize`, the model, `data-validation` and
//! `drift-psi`. The clients are a few lines on sockets, so that little of what is measured is theirs: binary tensors over
//! HTTP/1.1, raw contents over HTTP/2 as gRPC has it. The pipeline's own time is what the same stages take in this process, one
//! sample at a time. The program has to be built first:
//! `cargo build --release --bins && cargo bench -p floorhand-tests --bench requests`.

#![expect(clippy::print_stdout, reason = "a bench tells")]

use anyhow::{Context as _, Result, ensure};
use floorhand_bundle::{Archive, Manifest};
use floorhand_pipeline::{Host, HostConfig, Pipeline, Sample};
use floorhand_tensor::Tensor;
use floorhand_testkit::free_port;
use floorhand_tests::http2::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, SETTINGS, WINDOW_UPDATE, frame, grpc_head,
};
use floorhand_tests::{Agent, PATIENCE, Site, wait_for};
use serde_json::json;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

const COLUMNS: usize = 8;
/// Round trips that a median is of.
const ROUND_TRIPS: usize = 2_000;
/// How long rows are counted for.
const COUNTED: Duration = Duration::from_secs(3);

fn main() -> Result<()> {
    let site = Site::new()?;
    let [http, grpc] = [(); 2].map(|()| free_port().map(|port| format!("127.0.0.1:{port}")));
    let (http, grpc) = (http?, grpc?);
    let section = json!({ "http_listen": http, "grpc_listen": grpc, "max_batch": 64 });
    let mut agent = site.device("bench-1", &json!({ "open_inference": section }))?;
    let packed = site.pack_fixture(1)?;
    serve(&site, &mut agent, &packed, &http)?;
    let own = pipeline_alone(&packed)?;
    println!("pipeline alone, one sample: median {} us", own.as_micros());
    let ways = [("HTTP", &http), ("gRPC", &grpc)];
    for (name, address) in ways {
        let mut client = Client::connect(name, address, 1)?;
        let trips = (0..ROUND_TRIPS).map(|_| client.ask()).collect::<Result<Vec<_>>>()?;
        let median = median(trips);
        let ratio = median.as_secs_f64() / own.as_secs_f64();
        println!(
            "{name}, one client, one row: median {} us, {ratio:.1} times the pipeline",
            median.as_micros()
        );
    }
    for (name, address) in ways {
        for clients in [1, 8] {
            for batch in [1, 8, 64] {
                let rows = rows_a_second(name, address, clients, batch)?;
                println!("{name}, {clients} clients, batches of {batch}: {rows:.0} rows/s");
            }
        }
    }
    agent.stop()
}

/// Has the bundle committed, by samples of this protocol.
fn serve(site: &Site, agent: &mut Agent, packed: &Path, http: &str) -> Result<()> {
    agent.start()?;
    agent.wait_until("start", |status| !status.is_null())?;
    let stick = site.export(packed, &agent.device, 1)?;
    let imported = agent.import(&stick)?;
    ensure!(imported.code == Some(0), "import: {}", imported.stderr);
    wait_for("a committed bundle", PATIENCE, || {
        let answered = Client::connect("HTTP", http, 1).and_then(|mut client| client.ask());
        Ok(answered.ok())
    })?;
    Ok(())
}

/// The median of what the same stages take for a sample in this process.
fn pipeline_alone(packed: &Path) -> Result<Duration> {
    let archive = Archive::read(std::fs::File::open(packed)?)?;
    let (manifest, ..) = Manifest::inspect_unverified(&archive.manifest)?;
    let host = Host::new(HostConfig::default())?;
    let mut read = |name: &floorhand_bundle::ComponentName| {
        let component = manifest.component(name).ok_or("no such component")?;
        archive
            .blobs
            .get(&component.blob.sha256)
            .cloned()
            .ok_or_else(|| "no such blob".to_owned())
    };
    let mut pipeline = Pipeline::load(&manifest.pipeline, &mut read, &host)?;
    let sample = Sample {
        id: String::new(),
        time_ns: 1,
        key: None,
        tensors: vec![Tensor::from_f32("sensors", vec![1, COLUMNS as u64], &[1.0; COLUMNS])?],
    };
    let times = (0..ROUND_TRIPS).map(|_| {
        let started = Instant::now();
        pipeline.process(&sample, 0);
        started.elapsed()
    });
    Ok(median(times.collect()))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn rows_a_second(way: &'static str, address: &str, clients: usize, batch: usize) -> Result<f64> {
    let clients = (0..clients)
        .map(|_| Client::connect(way, address, batch))
        .collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    let asking = clients.into_iter().map(|mut client| {
        std::thread::spawn(move || {
            let mut rows = 0;
            while started.elapsed() < COUNTED {
                client.ask()?;
                rows += batch;
            }
            anyhow::Ok(rows)
        })
    });
    let asking: Vec<_> = asking.collect();
    let mut rows = 0;
    for thread in asking {
        rows += thread.join().ok().context("a client panicked")??;
    }
    Ok(rows as f64 / started.elapsed().as_secs_f64())
}

/// A client that sends the same request again and again.
enum Client {
    Http {
        stream: BufReader<TcpStream>,
        request: Vec<u8>,
    },
    Grpc {
        stream: BufReader<TcpStream>,
        message: Vec<u8>,
        next: u32,
    },
}

impl Client {
    fn connect(way: &str, address: &str, batch: usize) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let values = vec![1.0_f32; batch * COLUMNS];
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        if way == "HTTP" {
            return Ok(Self::Http {
                stream: BufReader::new(stream),
                request: http_request(batch, &raw),
            });
        }
        (&stream).write_all(PREFACE)?;
        (&stream).write_all(&frame(SETTINGS, 0, 0, &[]))?;
        // As much as a connection may have open, so that answers never wait for it.
        (&stream).write_all(&frame(WINDOW_UPDATE, 0, 0, &(i32::MAX - 65_535).to_be_bytes()))?;
        Ok(Self::Grpc {
            stream: BufReader::new(stream),
            message: grpc_message(batch, &raw),
            next: 1,
        })
    }

    /// A round trip.
    fn ask(&mut self) -> Result<Duration> {
        let started = Instant::now();
        match self {
            Self::Http { stream, request } => {
                stream.get_mut().write_all(request)?;
                let mut line = String::new();
                stream.read_line(&mut line)?;
                ensure!(line.starts_with("HTTP/1.1 200"), "{line}");
                let mut length = 0;
                loop {
                    line.clear();
                    stream.read_line(&mut line)?;
                    match line.trim_end().split_once(": ") {
                        Some(("content-length", value)) => length = value.parse()?,
                        Some(_) => {}
                        None => break,
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body)?;
            }
            Self::Grpc { stream, message, next } => {
                let id = *next;
                *next += 2;
                let head = frame(HEADERS, END_HEADERS, id, &grpc_head());
                let sent = [head, frame(DATA, END_STREAM, id, message)].concat();
                stream.get_mut().write_all(&sent)?;
                answered(stream, id)?;
            }
        }
        Ok(started.elapsed())
    }
}

/// Reads frames until the stream's answer is whole.
fn answered(stream: &mut BufReader<TcpStream>, id: u32) -> Result<()> {
    let mut data = 0;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, of @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c]))?];
        stream.read_exact(&mut payload)?;
        let own = u32::from_be_bytes(of) == id;
        match kind {
            SETTINGS if flags & ACK == 0 => stream.get_mut().write_all(&frame(SETTINGS, ACK, 0, &[]))?,
            PING if flags & ACK == 0 => stream.get_mut().write_all(&frame(PING, ACK, 0, &payload))?,
            DATA if own => {
                data += payload.len();
                let taken = u32::try_from(payload.len())?.to_be_bytes();
                if !payload.is_empty() {
                    stream.get_mut().write_all(&frame(WINDOW_UPDATE, 0, 0, &taken))?;
                }
            }
            HEADERS if own && flags & END_STREAM != 0 => {
                ensure!(data > 0, "an error was answered");
                return Ok(());
            }
            GOAWAY => anyhow::bail!("the connection was ended"),
            _ => {}
        }
    }
}

fn http_request(batch: usize, raw: &[u8]) -> Vec<u8> {
    let body = json!({
        "inputs": [{
            "name": "sensors", "shape": [batch, COLUMNS], "datatype": "FP32",
            "parameters": { "binary_data_size": raw.len() },
        }],
        "parameters": { "binary_data_output": true },
    });
    let body = body.to_string();
    let head = format!(
        "POST /v2/models/skab-pca/infer HTTP/1.1\r\nhost: x\r\ninference-header-content-length: {}\r\ncontent-length: {}\r\n\r\n",
        body.len(),
        body.len() + raw.len()
    );
    [head.as_bytes(), body.as_bytes(), raw].concat()
}

/// A `ModelInferRequest` behind its length.
fn grpc_message(batch: usize, raw: &[u8]) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2][..], &varint(bytes.len()), bytes].concat();
    let shape = [varint(batch), varint(COLUMNS)].concat();
    let input = [field(1, b"sensors"), field(2, b"FP32"), field(3, &shape)].concat();
    let message = [field(1, b"skab-pca"), field(5, &input), field(7, raw)].concat();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0][..], &length, &message].concat()
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
