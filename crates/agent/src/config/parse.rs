//! From the file's text to a [`Config`]: which key is read how, and what it is when it is left out.

use std::path::PathBuf;

use floorhand_transport::Qos;

use super::connections::{FleetConnection, PlantConnection};
use super::flows::{FileFormat, FileSource, JsonlSink, MqttSink, MqttSource, SampleFormat, Sink, Source};
use super::read::{Reader, Shared};
use super::{
    Config, EngineSettings, Fetch, KeySource, Log, Mistake, Models, OpenInference, Plugins, StoreSettings, Telemetry,
};
use crate::logging::{self, LogFormat};

/// Sources and sinks each: more belong into a broker's topic structure.
const MAX_FLOWS: usize = 16;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// MQTT has two bytes for it, and the transport's client wants at least 5 s.
const KEEP_ALIVE_S: std::ops::RangeInclusive<u64> = 5..=65_535;
/// When a ping goes out if nothing else is said: short enough for the NAT tables of mobile networks.
const DEFAULT_KEEP_ALIVE_S: u64 = 30;
const DEFAULT_JSONL_BYTES: u64 = 64 * MIB;
/// Beyond it a timer can't keep up anyhow: leave `rate_hz` out.
const MAX_RATE_HZ: f64 = 1e6;

/// Reads all keys. Mistakes are in `shared`; `None` when without them nothing can be made. An error when the text isn't
/// TOML.
pub(super) fn config(text: &str, shared: &Shared) -> Result<Option<Config>, Mistake> {
    let table = text.parse().map_err(|error: toml::de::Error| {
        let problem = format!("is not TOML: {}", error.to_string().trim_end().replace('\n', "\n    "));
        Mistake::file(problem)
    })?;
    let mut top = Reader::new(table, String::new(), shared);
    let device = top.need("device", "\"press-01\"", Reader::parsed);
    let fleet = top.need("fleet", "\"plant-a\"", Reader::parsed);
    let hardware = hardware(&mut top);
    let state_dir = top
        .path("state_dir")
        .unwrap_or_else(|| PathBuf::from("/var/lib/floorhand"));
    let trust_root = top.need("trust_root", "\"/etc/floorhand/root.cose\"", Reader::file);
    let device_key = top.need("device_key", "\"/etc/floorhand/device.key\"", Reader::file);
    let fleet_connection = top.section("fleet_connection").map(fleet_connection);
    let plant_connection = top.section("plant_connection");
    let plant_id = device
        .as_ref()
        .map_or_else(String::new, |device| format!("{device}-plant"));
    let plant_connection = plant_connection.map(|section| self::plant_connection(section, plant_id));
    let sources = top
        .sections("source", MAX_FLOWS)
        .into_iter()
        .map(source)
        .collect::<Vec<_>>();
    let sinks = top
        .sections("sink", MAX_FLOWS)
        .into_iter()
        .map(sink)
        .collect::<Vec<_>>();
    let open_inference = top.section("open_inference").map(OpenInference::read);
    let telemetry = top.section("telemetry").map(telemetry).unwrap_or_default();
    let store = top.section("store").map(store).unwrap_or_default();
    let fetch = top.section("fetch").map(fetch).unwrap_or_default();
    let plugins = top.section("plugins").map(plugins).unwrap_or_default();
    let engines = top.section("engines").map(engines).unwrap_or_default();
    let models = top.section("models").map(models).unwrap_or_default();
    let log = top.section("log").map(log).unwrap_or_default();
    top.finish();
    let (Some(device), Some(fleet), Some(hardware)) = (device, fleet, hardware) else {
        return Ok(None);
    };
    let (Some(trust_root), Some(device_key)) = (trust_root, device_key) else {
        return Ok(None);
    };
    Ok(Some(Config {
        device,
        fleet,
        hardware,
        state_dir,
        trust_root,
        device_key,
        fleet_connection,
        plant_connection,
        sources: sources.into_iter().flatten().collect(),
        sinks: sinks.into_iter().flatten().collect(),
        open_inference,
        telemetry,
        store,
        fetch,
        plugins,
        engines,
        models,
        log,
    }))
}

fn engines(mut section: Reader<'_>) -> EngineSettings {
    let engines = EngineSettings {
        // What isn't there is told when it is opened: the agent serves without it.
        onnxruntime: section.path("onnxruntime"),
    };
    section.finish();
    engines
}

/// `*` is every class in a manifest, and no device's own.
fn hardware(top: &mut Reader<'_>) -> Option<floorhand_bundle::HardwareClass> {
    match top.text("hardware").as_deref() {
        Some("*") => {
            top.mistake(
                "hardware",
                "is `*`, which in a manifest stands for every class; name the device's own",
            );
            None
        }
        Some(text) => text.parse().map_err(|error| top.mistake("hardware", error)).ok(),
        None => "generic".parse().ok(),
    }
}

fn fleet_connection(mut section: Reader<'_>) -> FleetConnection {
    let broker = section.need("broker", "\"mqtts://hub.example:8883\"", Reader::text);
    let connection = FleetConnection {
        broker: broker.unwrap_or_default(),
        ca: section.file("ca"),
        cert: section.file("cert"),
        key: section.file("key"),
        keep_alive_s: section
            .number("keep_alive_s", &KEEP_ALIVE_S)
            .unwrap_or(DEFAULT_KEEP_ALIVE_S),
        renew: section.flag("renew").unwrap_or(false),
        without_encryption_or_identity: section.flag("without_encryption_or_identity").unwrap_or(false),
    };
    section.finish();
    connection
}

fn plant_connection(mut section: Reader<'_>, default_client_id: String) -> PlantConnection {
    let broker = section.need("broker", "\"mqtt://127.0.0.1:1883\"", Reader::text);
    let connection = PlantConnection {
        broker: broker.unwrap_or_default(),
        ca: section.file("ca"),
        cert: section.file("cert"),
        key: section.file("key"),
        username: section.text("username"),
        password_file: section.file("password_file"),
        client_id: section.text("client_id").unwrap_or(default_client_id),
        keep_alive_s: section
            .number("keep_alive_s", &KEEP_ALIVE_S)
            .unwrap_or(DEFAULT_KEEP_ALIVE_S),
        send_password_unencrypted: section.flag("send_password_unencrypted").unwrap_or(false),
    };
    section.finish();
    connection
}

/// What a section is, said by its `type`.
fn kind(section: &mut Reader<'_>, kinds: [&'static str; 2]) -> Option<&'static str> {
    let choices = kinds.map(|kind| (kind, kind));
    let example = format!("{:?} or {:?}", kinds[0], kinds[1]);
    section.need("type", &example, |section, key| section.choice(key, &choices))
}

fn source(mut section: Reader<'_>) -> Option<Source> {
    // Without a type nothing can be said about the other keys.
    let source = match kind(&mut section, ["mqtt", "file"])? {
        "mqtt" => mqtt_source(&mut section).map(Source::Mqtt),
        _ => file_source(&mut section).map(Source::File),
    };
    section.finish();
    source
}

fn mqtt_source(section: &mut Reader<'_>) -> Option<MqttSource> {
    let topic = section.need("topic", "\"plant/press-01/vibration\"", Reader::text);
    let format = section.choice("format", &[("json", SampleFormat::Json), ("raw", SampleFormat::Raw)]);
    let qos = qos(section);
    Some(MqttSource {
        topic: topic?,
        format: format.unwrap_or(SampleFormat::Json),
        qos,
    })
}

fn file_source(section: &mut Reader<'_>) -> Option<FileSource> {
    let path = section.need("path", "\"/srv/recordings/press-01.csv\"", Reader::file);
    let format = section.choice("format", &[("csv", FileFormat::Csv), ("jsonl", FileFormat::Jsonl)]);
    let delimiter = section.text("delimiter");
    let rate_hz = section.positive("rate_hz", MAX_RATE_HZ);
    let repeat = section.flag("repeat").unwrap_or(false);
    let path = path?;
    let by_name = match path.extension().and_then(|end| end.to_str()) {
        Some("csv") => Some(FileFormat::Csv),
        Some("jsonl" | "ndjson") => Some(FileFormat::Jsonl),
        _ => None,
    };
    let Some(format) = format.or(by_name) else {
        section.mistake(
            "format",
            "is missing, and the file's name doesn't tell; say \"csv\" or \"jsonl\"",
        );
        return None;
    };
    Some(FileSource {
        path,
        format,
        delimiter: delimiter.and_then(|text| self::delimiter(section, &text, format)),
        rate_hz,
        repeat,
    })
}

fn delimiter(section: &Reader<'_>, text: &str, format: FileFormat) -> Option<char> {
    if format == FileFormat::Jsonl {
        section.mistake("delimiter", "is for CSV files only; leave it out");
        return None;
    }
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) if c.is_ascii() && !matches!(c, '"' | '\r' | '\n') => Some(c),
        _ => {
            section.mistake(
                "delimiter",
                format!("is {text:?}; it has to be one ASCII character, as \";\" or \"\\t\""),
            );
            None
        }
    }
}

fn sink(mut section: Reader<'_>) -> Option<Sink> {
    let sink = match kind(&mut section, ["mqtt", "jsonl"])? {
        "mqtt" => mqtt_sink(&mut section).map(Sink::Mqtt),
        _ => jsonl_sink(&mut section).map(Sink::Jsonl),
    };
    section.finish();
    sink
}

fn mqtt_sink(section: &mut Reader<'_>) -> Option<MqttSink> {
    let topic = section.need("topic", "\"plant/press-01/condition\"", Reader::text);
    let (qos, retain) = (qos(section), section.flag("retain").unwrap_or(false));
    let findings = section.flag("findings").unwrap_or(false);
    Some(MqttSink {
        topic: topic?,
        qos,
        retain,
        findings,
    })
}

fn jsonl_sink(section: &mut Reader<'_>) -> Option<JsonlSink> {
    let path = section.need("path", "\"/var/log/floorhand/results.jsonl\"", Reader::path);
    let max_bytes = section
        .number("max_bytes", &(4096..=64 * GIB))
        .unwrap_or(DEFAULT_JSONL_BYTES);
    let findings = section.flag("findings").unwrap_or(false);
    Some(JsonlSink {
        path: path?,
        max_bytes,
        findings,
    })
}

fn qos(section: &mut Reader<'_>) -> Qos {
    match section.number("qos", &(0..=1)) {
        Some(0) => Qos::AtMostOnce,
        _ => Qos::AtLeastOnce,
    }
}

fn telemetry(mut section: Reader<'_>) -> Telemetry {
    let default = Telemetry::default();
    let mut number = |key, range, default| section.number(key, &range).unwrap_or(default);
    let telemetry = Telemetry {
        metrics_interval_s: number("metrics_interval_s", 1..=86_400, default.metrics_interval_s),
        spool_budget_bytes: number("spool_budget_bytes", 2 * MIB..=64 * GIB, default.spool_budget_bytes),
        high_reserve_bytes: number("high_reserve_bytes", 0..=32 * GIB, default.high_reserve_bytes),
        batch_records: number("batch_records", 1..=4096, default.batch_records),
        batch_bytes: number("batch_bytes", 32 << 10..=128 << 10, default.batch_bytes),
        batch_delay_ms: number("batch_delay_ms", 0..=60_000, default.batch_delay_ms),
    };
    section.finish();
    telemetry
}

fn store(mut section: Reader<'_>) -> StoreSettings {
    let budget = section.number("blob_budget_bytes", &(MIB..=i64::MAX as u64));
    let encryption_key = storage_key(&mut section, "encryption_key");
    let encryption_key_before = storage_key(&mut section, "encryption_key_before");
    if encryption_key.is_none() && encryption_key_before.is_some() {
        section.mistake("encryption_key", "is missing; name the key that takes its place");
    }
    section.finish();
    StoreSettings {
        blob_budget_bytes: budget.unwrap_or(StoreSettings::default().blob_budget_bytes),
        encryption_key,
        encryption_key_before,
    }
}

fn storage_key(section: &mut Reader<'_>, key: &'static str) -> Option<KeySource> {
    let text = section.text(key)?;
    match KeySource::parse(&text, section.base()) {
        Ok(source) => Some(source),
        Err(problem) => {
            section.mistake(key, problem);
            None
        }
    }
}

fn fetch(mut section: Reader<'_>) -> Fetch {
    let default = Fetch::default();
    let mut number = |key, range, default| section.number(key, &range).unwrap_or(default);
    let fetch = Fetch {
        timeout_s: number("timeout_s", 10..=86_400, default.timeout_s),
        min_rate_bytes_per_s: number("min_rate_bytes_per_s", 0..=1_000_000, default.min_rate_bytes_per_s),
        deadline_s: number("deadline_s", 10..=31_536_000, default.deadline_s),
    };
    section.finish();
    fetch
}

fn plugins(mut section: Reader<'_>) -> Plugins {
    let default = Plugins::default();
    let mut number = |key, range, default| section.number(key, &range).unwrap_or(default);
    let plugins = Plugins {
        compile_memory_bytes: number(
            "compile_memory_bytes",
            64 * MIB..=64 * GIB,
            default.compile_memory_bytes,
        ),
        compile_timeout_s: number("compile_timeout_s", 1..=3600, default.compile_timeout_s),
        cache_bytes: number("cache_bytes", 0..=64 * GIB, default.cache_bytes),
    };
    section.finish();
    plugins
}

fn models(mut section: Reader<'_>) -> Models {
    let default = Models::default();
    let mut number = |key, range, default| section.number(key, &range).unwrap_or(default);
    let models = Models {
        memory_bytes: number("memory_bytes", 128 * MIB..=64 * GIB, default.memory_bytes),
        load_timeout_s: number("load_timeout_s", 1..=3600, default.load_timeout_s),
    };
    section.finish();
    models
}

fn log(mut section: Reader<'_>) -> Log {
    let default = Log::default();
    let filter = section
        .text("filter")
        .and_then(|filter| match logging::check_filter(&filter) {
            Ok(()) => Some(filter),
            Err(error) => {
                section.mistake("filter", format!("can't be used: {error}"));
                None
            }
        });
    let format = section.choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    section.finish();
    Log {
        filter: filter.unwrap_or(default.filter),
        format: format.unwrap_or(default.format),
    }
}
