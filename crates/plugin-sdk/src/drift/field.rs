//! The fields of a windowed drift monitor: their windows, episodes and calibration.

use super::{Limits, Statistic};
use crate::{Detail, Error, Finding, Phase, Severity, host, state};
use floorhand_statistics::{
    calibration::Calibration,
    drift::DriftReport,
    episode::{Change, Episode},
};

/// The format of the snapshot.
const STATE_VERSION: u32 = 2;

/// Findings are about the tensor that is held against the reference, which is watched first.
const WATCH: Option<u32> = Some(0);

/// All fields of a monitor.
#[derive(Debug, Clone)]
pub struct Fields<S> {
    gauge: &'static str,
    fields: Vec<Field<S>>,
}

impl<S: Statistic> Fields<S> {
    /// None yet. Gauges are called `<gauge>/<field>`.
    #[must_use]
    pub const fn new(gauge: &'static str) -> Self {
        Self {
            gauge,
            fields: Vec::new(),
        }
    }

    /// Adds a field, whose threshold is calibrated on `blocks` if there are any.
    pub fn add(&mut self, name: &str, statistic: S, limits: &Limits, blocks: Option<Calibration>) -> Result<(), Error> {
        let gauge = format!("{}/{name}", self.gauge);
        self.fields.push(Field::new(name, gauge, statistic, limits, blocks)?);
        Ok(())
    }

    /// Takes in the next value of the field in `column`.
    pub fn observe(&mut self, column: usize, value: f64) -> Option<Finding> {
        self.fields.get_mut(column)?.observe(value)
    }

    /// The most bytes that a snapshot has.
    #[must_use]
    pub fn state_bytes(&self) -> u32 {
        let fields: usize = self.fields.iter().map(Field::state_bytes).sum();
        u32::try_from(state::VERSION_BYTES + 4 + fields).unwrap_or(u32::MAX)
    }

    /// All that later findings depend on.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let mut writer = state::Writer::new(STATE_VERSION);
        writer.u32(self.fields.len() as u32);
        self.fields.iter().for_each(|field| field.save(&mut writer));
        writer.finish()
    }

    /// Goes on from a snapshot; one that doesn't fit changes nothing.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut reader = state::Reader::new(STATE_VERSION, bytes)?;
        if reader.u32()? as usize != self.fields.len() {
            return Err(Error::BadConfig("saved state has another number of fields".into()));
        }
        let mut fields = self.fields.clone();
        for field in &mut fields {
            field
                .load(&mut reader)
                .map_err(|error| Error::BadConfig(format!("field {:?}: {}", field.name, error.message())))?;
        }
        reader.finish()?;
        self.fields = fields;
        Ok(())
    }
}

/// One field under observation.
#[derive(Debug, Clone)]
pub struct Field<S> {
    name: String,
    gauge: String,
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
            name: name.to_owned(),
            gauge,
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

    fn state_bytes(&self) -> usize {
        8 + state::LENGTH_BYTES + 8 * self.limits.calibration_windows + self.statistic.state_bytes()
    }

    fn save(&self, writer: &mut state::Writer) {
        writer.u64(self.drift.length());
        writer.f64s(self.first.iter().copied());
        self.statistic.save(writer);
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
            subject: self.name.clone(),
            value: Some(report.statistic),
            threshold: Some(if calibrated > report.threshold {
                calibrated
            } else {
                report.threshold
            }),
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
            subject: self.name.clone(),
            value: Some(report.statistic),
            threshold: Some(report.threshold),
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
