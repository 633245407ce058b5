//! What is computed of a window, seen from a monitor: values in, reports out, state saved and restored.

use crate::{
    Error,
    state::{LENGTH_BYTES, Reader, Writer},
};
use core::f64::consts::LN_2;
use floorhand_statistics::{
    StatisticsError,
    calibration::Growth,
    categorical::TumblingChiSquare,
    chi_square,
    drift::{Criterion, DriftReport},
    jensen_shannon::TumblingJensenShannon,
    kolmogorov_smirnov::{self, TumblingKolmogorovSmirnov},
    mean_shift::TumblingMean,
    psi::TumblingPsi,
    reliability::{Bin, TumblingReliability},
    wasserstein::TumblingWasserstein,
};

/// A statistic of consecutive windows of one field against its reference.
pub trait Statistic: Clone {
    /// The same with a criterion.
    #[must_use]
    fn with_criterion(self, criterion: Criterion) -> Self;

    /// Takes one sample in, and reports when it fills the window.
    fn push(&mut self, value: f64) -> Option<DriftReport>;

    /// How the statistic grows with the distance between distributions.
    fn growth(&self) -> Growth;

    /// With what probability noise alone gives the reported statistic or more, for independent samples; `None` where
    /// nothing simple says so.
    fn p_value(&self, report: &DriftReport) -> Option<f64>;

    /// After a report: the window's own value in the unit of what is watched, which is the gauge then; `None` where the
    /// statistic is.
    fn level(&self) -> Option<f64> {
        None
    }

    /// What kind of finding it makes.
    fn kind(&self) -> &'static str {
        "drift"
    }

    /// What to say when a window of so many samples is the first above the threshold.
    fn began(&self, samples: u64) -> String {
        format!("the last {samples} values are distributed otherwise than in training")
    }

    /// What to say after so many windows above it.
    fn ended(&self, windows: u64) -> String {
        format!("distributed as in training again, after {windows} windows")
    }

    /// The most bytes that [`save`](Self::save) appends.
    fn state_bytes(&self) -> usize;

    /// Appends all that the next report depends on.
    fn save(&self, writer: &mut Writer);

    /// Goes on from what [`save`](Self::save) wrote.
    fn load(&mut self, reader: &mut Reader<'_>) -> Result<(), Error>;
}

/// What is the same for all statistics that count samples into cells.
macro_rules! counted {
    () => {
        fn with_criterion(self, criterion: Criterion) -> Self {
            self.with_criterion(criterion)
        }

        fn state_bytes(&self) -> usize {
            8 + LENGTH_BYTES + 8 * self.state().1.len()
        }

        fn save(&self, writer: &mut Writer) {
            let (seen, counts) = self.state();
            writer.u64(seen);
            writer.u64s(counts);
        }

        fn load(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
            let (seen, counts) = (reader.u64()?, reader.u64s()?);
            self.restore(seen, &counts).map_err(unfit)
        }
    };
}

impl Statistic for TumblingPsi {
    counted!();

    fn push(&mut self, value: f64) -> Option<DriftReport> {
        self.push(value).map(|report| DriftReport {
            statistic: report.psi,
            threshold: report.threshold,
            samples: report.samples,
        })
    }

    fn growth(&self) -> Growth {
        Growth::Quadratic
    }

    fn p_value(&self, report: &DriftReport) -> Option<f64> {
        let scale = 1.0 / self.reference().total() + 1.0 / report.samples as f64;
        Some(chi_square_p(report.statistic / scale, self.reference().bins()))
    }
}

impl Statistic for TumblingJensenShannon {
    counted!();

    fn push(&mut self, value: f64) -> Option<DriftReport> {
        self.push(value)
    }

    fn growth(&self) -> Growth {
        Growth::Linear
    }

    fn p_value(&self, report: &DriftReport) -> Option<f64> {
        let scale = 1.0 / self.reference().total() + 1.0 / report.samples as f64;
        let squared = 8.0 * LN_2 * report.statistic * report.statistic;
        Some(chi_square_p(squared / scale, self.reference().bins()))
    }
}

impl Statistic for TumblingKolmogorovSmirnov {
    counted!();

    fn push(&mut self, value: f64) -> Option<DriftReport> {
        self.push(value)
    }

    fn growth(&self) -> Growth {
        Growth::Linear
    }

    fn p_value(&self, report: &DriftReport) -> Option<f64> {
        let scale = f64::sqrt(1.0 / self.reference().drawn() + 1.0 / report.samples as f64);
        // What a reference of quantiles may be off is no evidence.
        let distance = report.statistic - self.reference().coarseness();
        Some(kolmogorov_smirnov::survival(distance / scale))
    }
}

impl Statistic for TumblingChiSquare {
    counted!();

    fn push(&mut self, value: f64) -> Option<DriftReport> {
        self.push(value)
    }

    fn growth(&self) -> Growth {
        Growth::Quadratic
    }

    fn p_value(&self, report: &DriftReport) -> Option<f64> {
        Some(chi_square::survival(report.statistic, self.degrees()))
    }
}

impl Statistic for TumblingWasserstein {
    fn with_criterion(self, criterion: Criterion) -> Self {
        self.with_criterion(criterion)
    }

    fn push(&mut self, value: f64) -> Option<DriftReport> {
        self.push(value)
    }

    fn growth(&self) -> Growth {
        Growth::Linear
    }

    fn p_value(&self, _report: &DriftReport) -> Option<f64> {
        None
    }

    fn state_bytes(&self) -> usize {
        // A full window has been reported and is empty again.
        8 + LENGTH_BYTES + 8 * self.window().saturating_sub(1)
    }

    fn save(&self, writer: &mut Writer) {
        let (seen, values) = self.state();
        writer.u64(seen);
        let bits: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
        writer.u64s(&bits);
    }

    fn load(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let seen = reader.u64()?;
        let values: Vec<f64> = reader.u64s()?.into_iter().map(f64::from_bits).collect();
        self.restore(seen, &values).map_err(unfit)
    }
}

impl Statistic for TumblingMean {
    fn with_criterion(self, criterion: Criterion) -> Self {
        self.with_criterion(criterion)
    }

    fn push(&mut self, value: f64) -> Option<DriftReport> {
        self.push(value)
    }

    fn growth(&self) -> Growth {
        Growth::Linear
    }

    fn p_value(&self, report: &DriftReport) -> Option<f64> {
        // The square of a normal variable is chi-square distributed with one degree of freedom.
        let scale = 1.0 / self.drawn() + 1.0 / report.samples as f64;
        Some(chi_square::survival(report.statistic * report.statistic / scale, 1))
    }

    fn level(&self) -> Option<f64> {
        self.last_mean()
    }

    fn began(&self, samples: u64) -> String {
        format!("the mean of the last {samples} values is another one than in training")
    }

    fn ended(&self, windows: u64) -> String {
        format!("the mean is that of training again, after {windows} windows")
    }

    fn state_bytes(&self) -> usize {
        3 * 8
    }

    fn save(&self, writer: &mut Writer) {
        let (seen, samples, sum) = self.state();
        writer.u64(seen);
        writer.u64(samples);
        writer.f64(sum);
    }

    fn load(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let (seen, samples, sum) = (reader.u64()?, reader.u64()?, reader.f64()?);
        self.restore(seen, samples, sum).map_err(unfit)
    }
}

/// A value is the confidence of an answer, with a minus where it was wrong.
impl Statistic for TumblingReliability {
    fn with_criterion(self, criterion: Criterion) -> Self {
        self.with_criterion(criterion)
    }

    fn push(&mut self, value: f64) -> Option<DriftReport> {
        self.push(value.abs(), value.is_sign_positive())
    }

    fn growth(&self) -> Growth {
        Growth::Linear
    }

    fn p_value(&self, _report: &DriftReport) -> Option<f64> {
        None
    }

    fn kind(&self) -> &'static str {
        "miscalibrated"
    }

    fn began(&self, samples: u64) -> String {
        format!("the last {samples} answers were right less or more often than their confidence says")
    }

    fn ended(&self, windows: u64) -> String {
        format!("answers are right as often as their confidence says again, after {windows} windows")
    }

    fn state_bytes(&self) -> usize {
        5 * 8 * self.state().len()
    }

    fn save(&self, writer: &mut Writer) {
        for bin in self.state() {
            writer.u64(bin.answers);
            writer.u64(bin.correct);
            [bin.confidence, bin.variance, bin.third]
                .into_iter()
                .for_each(|sum| writer.f64(sum));
        }
    }

    fn load(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let mut bins = self.state().to_vec();
        for bin in &mut bins {
            *bin = Bin {
                answers: reader.u64()?,
                correct: reader.u64()?,
                confidence: reader.f64()?,
                variance: reader.f64()?,
                third: reader.f64()?,
            };
        }
        self.restore(&bins).map_err(unfit)
    }
}

/// Declares a statistic that is one of several, each with the name of its case.
#[macro_export]
macro_rules! one_statistic_of {
    ($(#[$about:meta])* $name:ident { $($(#[$case_about:meta])* $case:ident($type:ty),)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone)]
        pub enum $name {
            $($(#[$case_about])* $case($type),)*
        }

        $crate::one_statistic_of!(@methods $name, $($case)*);
    };
    (@methods $name:ident, $($case:ident)*) => {
        impl $crate::drift::Statistic for $name {
            fn with_criterion(self, criterion: floorhand_statistics::drift::Criterion) -> Self {
                match self { $(Self::$case(one) => Self::$case(one.with_criterion(criterion)),)* }
            }

            fn push(&mut self, value: f64) -> ::std::option::Option<floorhand_statistics::drift::DriftReport> {
                match self { $(Self::$case(one) => $crate::drift::Statistic::push(one, value),)* }
            }

            fn growth(&self) -> floorhand_statistics::calibration::Growth {
                match self { $(Self::$case(one) => one.growth(),)* }
            }

            fn p_value(
                &self,
                report: &floorhand_statistics::drift::DriftReport,
            ) -> ::std::option::Option<f64> {
                match self { $(Self::$case(one) => one.p_value(report),)* }
            }

            fn level(&self) -> ::std::option::Option<f64> {
                match self { $(Self::$case(one) => one.level(),)* }
            }

            fn kind(&self) -> &'static str {
                match self { $(Self::$case(one) => one.kind(),)* }
            }

            fn began(&self, samples: u64) -> ::std::string::String {
                match self { $(Self::$case(one) => one.began(samples),)* }
            }

            fn ended(&self, windows: u64) -> ::std::string::String {
                match self { $(Self::$case(one) => one.ended(windows),)* }
            }

            fn state_bytes(&self) -> usize {
                match self { $(Self::$case(one) => one.state_bytes(),)* }
            }

            fn save(&self, writer: &mut $crate::state::Writer) {
                match self { $(Self::$case(one) => one.save(writer),)* }
            }

            fn load(
                &mut self,
                reader: &mut $crate::state::Reader<'_>,
            ) -> ::std::result::Result<(), $crate::Error> {
                match self { $(Self::$case(one) => one.load(reader),)* }
            }
        }
    };
}

fn chi_square_p(statistic: f64, cells: usize) -> f64 {
    let degrees = u32::try_from(cells.saturating_sub(1)).unwrap_or(u32::MAX);
    chi_square::survival(statistic, degrees)
}

/// State that doesn't belong to the statistic.
fn unfit(error: StatisticsError) -> Error {
    Error::BadConfig(error.to_string())
}
