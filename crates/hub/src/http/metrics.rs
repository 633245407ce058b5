//! `/metrics` in the text format of Prometheus, and `/healthz`.

use super::api::{devices, records};
use super::models::{DeviceView, Stats};
use super::{App, problem};
use crate::fleet::HubError;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::fmt::Write as _;

/// Devices that have metrics of their own; above it only the sums are given, since every device makes seven series.
const MAX_DEVICES: usize = 1000;

/// The hub's metrics.
pub(crate) async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, HubError> {
    let stats = records::gathered(&app).await?;
    let devices = devices::views(&app).await?;
    let mut text = Text::default();
    text.counters(&app);
    text.hub(&stats);
    text.root(&app);
    if devices.len() <= MAX_DEVICES {
        text.devices(&devices);
    }
    Ok((
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text.0,
    ))
}

/// 200 when the database answers. The broker's connection doesn't count: a hub without it still serves people.
pub(crate) async fn health(State(app): State<App>) -> Response {
    match app.hub.database.ping().await {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn counters(&mut self, app: &App) {
        for (name, help, value) in app.hub.counters.all() {
            self.family(&format!("floorhand_hub_{name}_total"), "counter", help);
            self.sample(&format!("floorhand_hub_{name}_total"), "", value as f64);
        }
    }

    fn hub(&mut self, stats: &Stats) {
        let gauges = [
            (
                "floorhand_hub_broker_connected",
                "Whether the broker is connected.",
                f64::from(stats.broker_connected),
            ),
            ("floorhand_hub_devices", "Registered devices.", stats.devices as f64),
            (
                "floorhand_hub_devices_online",
                "Devices that are connected.",
                stats.online as f64,
            ),
        ];
        for (name, help, value) in gauges {
            self.family(name, "gauge", help);
            self.sample(name, "", value);
        }
    }

    fn root(&mut self, app: &App) {
        let roots = app.hub.roots();
        let root = roots.newest();
        let expires_s = root.expires_ms as f64 / 1000.0;
        for (name, help, value) in [
            (
                "floorhand_hub_root_version",
                "The version of the trust root that counts.",
                root.version as f64,
            ),
            (
                "floorhand_hub_root_expires_seconds",
                "When it ends, since 1970.",
                expires_s,
            ),
        ] {
            self.family(name, "gauge", help);
            self.sample(name, "", value);
        }
    }

    fn devices(&mut self, devices: &[DeviceView]) {
        type Read = fn(&DeviceView) -> Option<f64>;
        let families: [(&str, &str, &str, Read); 7] = [
            ("online", "gauge", "Whether the device is connected.", |one| {
                Some(f64::from(one.online))
            }),
            (
                "last_seen_seconds",
                "gauge",
                "When the device was heard last, since 1970.",
                |one| Some(one.last_seen_ms as f64 / 1000.0),
            ),
            ("samples_total", "counter", "Samples that came in.", |one| {
                Some(one.totals.samples as f64)
            }),
            ("failures_total", "counter", "Samples that failed.", |one| {
                Some(one.totals.failures as f64)
            }),
            (
                "records_lost_total",
                "counter",
                "Telemetry that was dropped for want of room.",
                |one| Some(one.totals.lost as f64),
            ),
            (
                "samples_per_second",
                "gauge",
                "Samples a second in the last window.",
                |one| one.metrics.as_ref().map(|metrics| metrics.samples_per_s),
            ),
            (
                "latency_p99_seconds",
                "gauge",
                "99th percentile of the last window.",
                |one| one.metrics.as_ref().map(|metrics| metrics.latency_p99_us as f64 / 1e6),
            ),
        ];
        for (name, kind, help, read) in families {
            let name = format!("floorhand_device_{name}");
            self.family(&name, kind, help);
            for device in devices {
                if let Some(value) = read(device) {
                    self.sample(&name, &format!("{{device=\"{}\"}}", device.id), value);
                }
            }
        }
        self.running(devices);
    }

    /// What serves, as labels. Names, versions and ids have no character that needs escaping.
    fn running(&mut self, devices: &[DeviceView]) {
        let name = "floorhand_device_bundle_info";
        self.family(name, "gauge", "The bundle that serves.");
        for device in devices {
            let Some(active) = device.hello.as_ref().and_then(|hello| hello.active.as_ref()) else {
                continue;
            };
            let (id, bundle) = (&device.id, &active.bundle);
            let labels = format!(
                "{{device=\"{id}\",name=\"{}\",version=\"{}\",digest=\"{}\"}}",
                bundle.name, bundle.version, bundle.digest
            );
            self.sample(name, &labels, 1.0);
        }
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string doesn't fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}
