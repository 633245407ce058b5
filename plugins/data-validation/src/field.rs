//! One column: what is checked of it, and which episodes last.

use floorhand_plugin_sdk::{Error, Finding, KeyState, Phase, Severity, host, state};
use floorhand_statistics::{
    episode::{Change, Episode},
    range::{Check, Limits},
    stuck::StuckDetector,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// What to check of one column.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldConfig {
    /// The name that findings and counters carry. Unique.
    pub name: String,
    /// The column, from 0.
    pub index: usize,
    /// The least value that is in range, in the field's unit. No limit by default.
    #[serde(default)]
    pub min: Option<f64>,
    /// The largest value that is in range, in the field's unit. No limit by default.
    #[serde(default)]
    pub max: Option<f64>,
    /// How many samples in a row may be missing (NaN). 0 by default: one that is missing is a finding.
    #[serde(default)]
    pub max_missing_run: u64,
    /// From how many equal values in a row on the sensor is stuck, at least 2. Not checked by default.
    #[serde(default)]
    #[schemars(range(min = 2))]
    pub stuck_after: Option<u64>,
    /// How much the value may change in a second from one sample to the next, in the field's unit. Not checked by default.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub max_rate: Option<f64>,
}

/// Nanoseconds of a second.
const SECOND_NS: f64 = 1e9;

/// A column under observation.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    name: Arc<str>,
    /// Of its values; empty if it isn't known.
    unit: Arc<str>,
    index: usize,
    limits: Limits,
    max_missing_run: u64,
    missing_run: u64,
    detector: Option<StuckDetector>,
    out_of_range: Episode,
    missing: Episode,
    not_finite: Episode,
    stuck: Episode,
    max_rate: Option<f64>,
    /// The last finite value, NaN before there is one, and the time of its sample.
    last: (f64, u64),
    rate: Episode,
}

/// A field's bytes in the snapshot: the run of equal values, that of missing ones, the last value with its time, and the
/// lengths of five episodes.
const STATE_BYTES: usize = 10 * 8;

impl Field {
    /// Checks the configuration of the field at `position` of a tensor with `width` columns, -1 for any number.
    pub(crate) fn new(config: FieldConfig, position: usize, width: i64) -> Result<Self, Error> {
        let bad = |what: String| Error::BadConfig(format!("fields[{position}] ({}): {what}", config.name));
        if width >= 0 && !i64::try_from(config.index).is_ok_and(|index| index < width) {
            return Err(bad(format!(
                "index {} is beyond the {width} columns of the shape",
                config.index
            )));
        }
        if config.stuck_after.is_some_and(|after| after < 2) {
            return Err(bad("stuck_after has to be at least 2".into()));
        }
        if config.max_rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return Err(bad("max_rate has to be a number above 0".into()));
        }
        let (min, max) = (
            config.min.unwrap_or(f64::NEG_INFINITY),
            config.max.unwrap_or(f64::INFINITY),
        );
        let limits = Limits::new(min, max).map_err(|error| bad(format!("min and max: {error}")))?;
        Ok(Self {
            name: config.name.into(),
            unit: Arc::default(),
            index: config.index,
            limits,
            max_missing_run: config.max_missing_run,
            missing_run: 0,
            detector: config.stuck_after.map(StuckDetector::new),
            out_of_range: Episode::new(),
            missing: Episode::new(),
            not_finite: Episode::new(),
            stuck: Episode::new(),
            max_rate: config.max_rate,
            last: (f64::NAN, 0),
            rate: Episode::new(),
        })
    }

    /// The same with a unit for its values.
    pub(crate) fn with_unit(self, unit: &str) -> Self {
        Self {
            unit: unit.into(),
            ..self
        }
    }

    /// The field's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The field's column.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Looks at the field's next value.
    pub(crate) fn observe(&mut self, value: f64, findings: &mut Vec<Finding>) {
        let check = self.limits.check(value);
        self.range(check, value, findings);
        self.missing(check == Check::Missing, findings);

        let infinite = check == Check::Infinite;
        let change = self.not_finite.push(infinite);
        self.count("not-finite", infinite);
        let message = || "the value is infinite".to_owned();
        findings.extend(self.finding("not-finite", Severity::Alarm, change, value, f64::MAX, message));

        let Some(detector) = &mut self.detector else { return };
        let (stuck, after) = (detector.push(value), detector.after());
        let (_, run) = detector.state();
        let change = self.stuck.push(stuck);
        self.count("stuck", stuck);
        let message = || format!("the value has been {value} for {after} samples");
        findings.extend(self.finding("stuck", Severity::Warning, change, run as f64, after as f64, message));
    }

    /// Begins anew with rates: samples before the next one may be missing. What lasts goes on lasting.
    pub(crate) fn forget_last(&mut self) {
        self.last = (f64::NAN, 0);
    }

    /// Looks at how fast the value got from the sample before to this one. What is no number is no sample here; where time
    /// stands still, the next one is held against the first of that time, and where it goes back a new start is made.
    pub(crate) fn observe_rate(&mut self, value: f64, time_ns: u64, findings: &mut Vec<Finding>) {
        let Some(max_rate) = self.max_rate.filter(|_| value.is_finite()) else {
            return;
        };
        let (before, before_ns) = self.last;
        if before.is_nan() || time_ns < before_ns {
            self.last = (value, time_ns);
            return;
        }
        if time_ns == before_ns {
            return;
        }
        self.last = (value, time_ns);
        let seconds = (time_ns - before_ns) as f64 / SECOND_NS;
        let rate = (value - before).abs() / seconds;
        let fast = rate > max_rate;
        let change = self.rate.push(fast);
        self.count("rate", fast);
        let message = || format!("from {before} to {value} in {seconds} s");
        findings.extend(self.finding("rate", Severity::Warning, change, rate, max_rate, message));
    }

    fn range(&mut self, check: Check, value: f64, findings: &mut Vec<Finding>) {
        // What is no number is neither in nor out of range: it doesn't end an episode.
        if matches!(check, Check::Missing | Check::Infinite) {
            return;
        }
        let outside = check != Check::Within;
        let change = self.out_of_range.push(outside);
        self.count("out-of-range", outside);
        // At an episode's end the limit that the value is nearer to again.
        let (min, max) = (self.limits.min(), self.limits.max());
        let limit = if check == Check::Above || (!outside && max - value < value - min) {
            max
        } else {
            min
        };
        let message = || format!("{value} is outside of {min} to {max}");
        findings.extend(self.finding("out-of-range", Severity::Warning, change, value, limit, message));
    }

    fn missing(&mut self, missing: bool, findings: &mut Vec<Finding>) {
        self.missing_run = if missing { self.missing_run.saturating_add(1) } else { 0 };
        let run = self.missing_run;
        let change = self.missing.push(run > self.max_missing_run);
        self.count("missing", missing);
        let message = || format!("missing for {run} samples");
        let allowed = self.max_missing_run as f64;
        findings.extend(self.finding("missing", Severity::Warning, change, run as f64, allowed, message));
    }

    fn count(&self, kind: &str, holds: bool) {
        if holds {
            host::counter(&format!("{kind}/{}", self.name), 1);
        }
    }

    fn finding(
        &self,
        kind: &str,
        severity: Severity,
        change: Change,
        value: f64,
        threshold: f64,
        message: impl FnOnce() -> String,
    ) -> Option<Finding> {
        let (phase, severity, message) = match change {
            Change::None => return None,
            Change::Began => (Phase::Raised, severity, message()),
            Change::Ended(samples) => (
                Phase::Cleared,
                Severity::Info,
                format!("{kind} no longer, after {samples} samples"),
            ),
        };
        let unit = match kind {
            "out-of-range" | "not-finite" => self.unit.to_string(),
            "rate" if !self.unit.is_empty() => format!("({})/s", self.unit),
            "rate" => String::new(),
            // A number of samples.
            _ => "1".to_owned(),
        };
        Some(Finding {
            unit,
            kind: kind.to_owned(),
            severity,
            phase,
            watch: Some(0),
            subject: self.name.to_string(),
            value: Some(value).filter(|value| !value.is_nan()),
            threshold: Some(threshold),
            message,
            details: Vec::new(),
        })
    }
}

impl KeyState for Field {
    fn state_bytes(&self) -> usize {
        STATE_BYTES
    }

    fn write(&self, writer: &mut state::Writer) {
        let (last, run) = self.detector.as_ref().map_or((0.0, 0), StuckDetector::state);
        writer.f64(last);
        writer.u64(run);
        writer.u64(self.missing_run);
        writer.f64(self.last.0);
        writer.u64(self.last.1);
        for episode in [self.out_of_range, self.missing, self.not_finite, self.stuck, self.rate] {
            writer.u64(episode.length());
        }
    }

    fn read(&mut self, reader: &mut state::Reader<'_>) -> Result<(), Error> {
        let (last, run) = (reader.f64()?, reader.u64()?);
        if let Some(detector) = &mut self.detector {
            detector.restore(last, run);
        }
        self.missing_run = reader.u64()?;
        self.last = (reader.f64()?, reader.u64()?);
        for episode in [
            &mut self.out_of_range,
            &mut self.missing,
            &mut self.not_finite,
            &mut self.stuck,
            &mut self.rate,
        ] {
            episode.restore(reader.u64()?);
        }
        Ok(())
    }
}
