//! The fields of a windowed drift monitor: their windows, episodes and calibration.

use super::{Limits, Statistic};
use crate::{Detail, Error, Finding, KeyState, Keyed, MaxKeys, Phase, Severity, host, name_key, state};
use floorhand_statistics::{
    calibration::Calibration,
    drift::DriftReport,
    episode::{Change, Episode},
};
use std::sync::Arc;

/// The format of the snapshot.
const STATE_VERSION: u32 = 3;

/// Findings are about the tensor that is held against the reference, which is watched first.
const WATCH: Option<u32> = Some(0);

/// All fields of a monitor, for each key.
#[derive(Debug, Clone)]
pub struct Fields<S> {
    gauge: &'static str,
    fields: Keyed<Vec<Field<S>>>,
}

impl<S: Statistic> Fields<S> {
    /// None yet. Gauges are called `<gauge>/<field>`.
    pub fn new(gauge: &'static str, max_keys: MaxKeys) -> Result<Self, Error> {
        Ok(Self {
            gauge,
            fields: Keyed::new(STATE_VERSION, Vec::new(), max_keys)?,
        })
    }

    /// Adds a field, whose threshold is calibrated on `blocks` if there are any.
    pub fn add(&mut self, name: &str, statistic: S, limits: &Limits, blocks: Option<Calibration>) -> Result<(), Error> {
        let gauge = format!("{}/{name}", self.gauge);
        let field = Field::new(name, gauge, statistic, limits, blocks)?;
        self.fields.empty_mut().push(field);
        Ok(())
    }

    /// Takes in a sample of a key: the values of fields, each with its column, one after another.
    pub fn observe(
        &mut self,
        key: Option<&str>,
        values: impl Iterator<Item = (usize, f64)>,
    ) -> Result<Vec<Finding>, Error> {
        let fields = self.fields.of(key)?;
        let found = values.filter_map(|(column, value)| fields.get_mut(column)?.observe(value));
        let mut findings: Vec<Finding> = found.collect();
        name_key(&mut findings, key);
        Ok(findings)
    }

    /// The most bytes that a snapshot has.
    #[must_use]
    pub fn state_bytes(&self) -> u32 {
        self.fields.state_bytes()
    }

    /// All that later findings depend on.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        self.fields.snapshot()
    }

    /// Goes on from a snapshot; one that doesn't fit changes nothing.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.fields.restore(bytes)
    }
}

/// One field under observation.
#[derive(Debug, Clone)]
pub struct Field<S> {
    name: Arc<str>,
    gauge: Arc<str>,
    statistic: S,
    limits: Limits,
    /// Statistics of the first windows, while they are collected and afterwards.
    first: Vec<f64>,
    /// What was calibrated; the criterion's threshold holds beside it.
    calibrated: Option<f64>,
    drift: Episode,
}

impl<S: Statistic> Field<S> {
    /// A field whose threshold is calibrated on `blocks`, on its first windows, or not at all.
    pub fn new(
        name: &str,
        gauge: String,
        statistic: S,
        limits: &Limits,
        blocks: Option<Calibration>,
    ) -> Result<Self, Error> {
        if blocks.is_some() && limits.calibration_windows > 0 {
            return Err(Error::BadConfig(format!(
                "calibration_windows, and the reference has blocks of {name:?}: give one of them"
            )));
        }
        let mut field = Self {
            name: name.into(),
            gauge: gauge.into(),
            statistic: statistic.with_criterion(limits.criterion),
            limits: *limits,
            first: Vec::new(),
            calibrated: None,
            drift: Episode::new(),
        };
        field.calibrated = blocks.and_then(|blocks| field.threshold_of(&blocks));
        Ok(field)
    }

    /// Takes in the next value.
    pub fn observe(&mut self, value: f64) -> Option<Finding> {
        let mut report = self.statistic.push(value)?;
        host::gauge(&self.gauge, self.statistic.level().unwrap_or(report.statistic));
        if self.first.len() < self.limits.calibration_windows {
            return self.calibrate(&report);
        }
        if let Some(calibrated) = self.calibrated.filter(|&calibrated| calibrated > report.threshold) {
            report.threshold = calibrated;
        }
        self.finding(&report)
    }

    fn load(&mut self, reader: &mut state::Reader<'_>) -> Result<(), Error> {
        self.drift.restore(reader.u64()?);
        self.first = reader.f64s()?;
        let wanted = self.limits.calibration_windows;
        let are_statistics = self.first.iter().all(|statistic| (0.0..=f64::MAX).contains(statistic));
        if self.first.len() > wanted || !are_statistics {
            return Err(Error::BadConfig("saved state is of another calibration".into()));
        }
        if wanted > 0 {
            self.calibrated = self.threshold_of_first();
        }
        self.statistic.load(reader)
    }

    /// Takes one of the first windows in; the last of them gives a finding, for the record.
    fn calibrate(&mut self, report: &DriftReport) -> Option<Finding> {
        // A sum that overflowed says nothing about noise.
        if report.statistic.is_finite() {
            self.first.push(report.statistic);
        }
        self.calibrated = self.threshold_of_first();
        let calibrated = self.calibrated?;
        let windows = self.first.len();
        Some(Finding {
            kind: "calibrated".into(),
            severity: Severity::Info,
            phase: Phase::Once,
            watch: WATCH,
            subject: self.name.to_string(),
            value: Some(report.statistic),
            threshold: Some(if calibrated > report.threshold {
                calibrated
            } else {
                report.threshold
            }),
            unit: "1".to_owned(),
            message: format!("the first {windows} windows have shown what noise is here"),
            details: vec![Detail::new("calibration-windows", windows)],
        })
    }

    /// The threshold of the first windows, once there are all.
    fn threshold_of_first(&self) -> Option<f64> {
        if self.first.len() < self.limits.calibration_windows {
            return None;
        }
        self.threshold_of(&Calibration::new(self.first.clone()).ok()?)
    }

    /// By rank where the blocks are enough for the confidence, else by the shape of the noise.
    fn threshold_of(&self, blocks: &Calibration) -> Option<f64> {
        let confidence = self.limits.confidence;
        let by_rank = blocks.threshold(confidence).ok()?;
        // A hair more, however the confidence was rounded.
        if by_rank.probability <= (1.0 - confidence) * (1.0 + 1e-9) {
            return Some(by_rank.threshold);
        }
        blocks.extrapolated(confidence, self.statistic.growth()).ok()
    }

    fn finding(&mut self, report: &DriftReport) -> Option<Finding> {
        let (phase, severity, message) = match self.drift.push(report.drifted()) {
            Change::None => return None,
            Change::Began => (Phase::Raised, Severity::Alarm, self.statistic.began(report.samples)),
            Change::Ended(windows) => (Phase::Cleared, Severity::Info, self.statistic.ended(windows)),
        };
        Some(Finding {
            kind: self.statistic.kind().into(),
            severity,
            phase,
            watch: WATCH,
            subject: self.name.to_string(),
            value: Some(report.statistic),
            threshold: Some(report.threshold),
            unit: "1".to_owned(),
            message,
            details: self.details(report),
        })
    }

    fn details(&self, report: &DriftReport) -> Vec<Detail> {
        let mut details = vec![Detail::new("window-samples", report.samples)];
        if let Some(level) = self.statistic.level() {
            details.push(Detail::new("window-mean", level));
        }
        if let Some(p) = self.statistic.p_value(report) {
            details.push(Detail::new("p-value", format!("{p:.3e}")));
        }
        if let Some(alarms) = self.limits.false_alarms_per_day {
            details.push(Detail::new("false-alarms-per-day", format!("{alarms:.3e}")));
        }
        details
    }
}

impl<S: Statistic> KeyState for Field<S> {
    fn state_bytes(&self) -> usize {
        8 + state::LENGTH_BYTES + 8 * self.limits.calibration_windows + self.statistic.state_bytes()
    }

    fn write(&self, writer: &mut state::Writer) {
        writer.u64(self.drift.length());
        writer.f64s(self.first.iter().copied());
        self.statistic.save(writer);
    }

    fn read(&mut self, reader: &mut state::Reader<'_>) -> Result<(), Error> {
        self.load(reader)
            .map_err(|error| Error::BadConfig(format!("field {:?}: {}", self.name, error.message())))
    }
}
