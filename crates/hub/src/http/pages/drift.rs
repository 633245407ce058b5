//! Which gauges of a device are charted, and against which limit.

use super::parts::{number, text};
use crate::fleet::HubError;
use crate::http::App;
use crate::http::charts::{Chart, Line};
use crate::http::models::{DeviceView, RecordView};
use std::collections::BTreeMap;

/// Lines in one chart: more can't be told apart.
const MAX_LINES: usize = 6;
/// How far back a chart goes, in points of each line.
const POINTS: i64 = 1000;

/// The chart of a device's drift statistic; `None` when it reports none.
pub(crate) async fn chart(app: &App, device: &DeviceView, findings: &[RecordView]) -> Result<Option<Chart>, HubError> {
    let Some(metrics) = &device.metrics else {
        return Ok(None);
    };
    let names = chosen(&metrics.gauges);
    let Some(first) = names.first().cloned() else {
        return Ok(None);
    };
    let mut lines = Vec::with_capacity(names.len());
    for name in names {
        let points = app.hub.database.series(&device.id, &name, 0, POINTS).await?;
        let points = points
            .iter()
            .map(|point| (crate::database::unsigned(point.time_ms), point.value))
            .collect();
        lines.push(Line { name, points });
    }
    Ok(Some(Chart {
        lines,
        threshold: threshold(&first, &device.id, findings),
    }))
}

/// The gauges to draw: those of a drift monitor, the highest now first. A device without one shows nothing, rather than
/// something that isn't drift.
fn chosen(gauges: &BTreeMap<String, f64>) -> Vec<String> {
    let mut drift: Vec<(&String, f64)> = gauges
        .iter()
        .filter(|(name, _)| ["psi", "drift"].iter().any(|mark| name.contains(mark)))
        .map(|(name, value)| (name, *value))
        .collect();
    drift.sort_by(|a, b| b.1.total_cmp(&a.1));
    drift
        .into_iter()
        .take(MAX_LINES)
        .map(|(name, _)| name.clone())
        .collect()
}

/// The limit of a gauge `STAGE/.../SUBJECT`: the one in the newest finding of its stage, about its own subject if there is
/// one.
fn threshold(gauge: &str, device: &str, findings: &[RecordView]) -> Option<f64> {
    let (stage, _) = gauge.split_once('/')?;
    let (_, subject) = gauge.rsplit_once('/')?;
    let of_stage = || {
        findings
            .iter()
            .filter(|finding| finding.device == device && text(&finding.body, "stage") == stage)
            .filter(|finding| number(&finding.body, "threshold").is_some())
    };
    of_stage()
        .find(|finding| text(&finding.body, "subject") == subject)
        .or_else(|| of_stage().next())
        .and_then(|finding| number(&finding.body, "threshold"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn finding(device: &str, subject: &str, threshold: f64) -> RecordView {
        RecordView {
            id: 1,
            device: device.to_owned(),
            boot_id: "1".to_owned(),
            seq: 0,
            time_ms: 0,
            received_ms: 0,
            kind: "finding".to_owned(),
            historical: false,
            body: json!({"stage": "watch", "subject": subject, "threshold": threshold}),
        }
    }

    #[test]
    fn drift_gauges_are_drawn_the_highest_first() {
        let gauges = [("watch/psi/rms", 0.1), ("watch/psi/peak", 0.4), ("model/loss", 9.0)];
        let gauges = gauges.map(|(name, value)| (name.to_owned(), value)).into();
        assert_eq!(chosen(&gauges), ["watch/psi/peak", "watch/psi/rms"]);
        assert_eq!(chosen(&BTreeMap::new()), Vec::<String>::new());
    }

    #[test]
    fn the_limit_is_the_one_that_findings_name() {
        let findings = [
            finding("b", "rms", 9.0),
            finding("a", "peak", 0.3),
            finding("a", "rms", 0.2),
        ];
        assert_eq!(threshold("watch/psi/rms", "a", &findings), Some(0.2));
        assert_eq!(threshold("watch/psi/kurtosis", "a", &findings), Some(0.3));
        assert_eq!(threshold("other/psi/rms", "a", &findings), None);
        assert_eq!(threshold("rms", "a", &findings), None);
    }
}
