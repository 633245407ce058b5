//! `aggregate`: mean, standard deviation, extremes and slope of each field over the last seconds, minutes or hours: the
//! online half of a feature store.
//!
//! A window is the samples of a span of time that ends with the newest one, by the samples' own times. Formulas and what
//! happens to samples out of order are those of `floorhand_statistics::rolling`. README.md has the configuration.

mod config;

pub use config::{Config, Statistic, WindowConfig};
use floorhand_plugin_sdk::{
    Assets, Columns, Context, Datatype, Error, Origin, Processor, Series, Signature, Tensor, TensorSpec, host, state,
    take,
};
use floorhand_statistics::rolling::{Extent, Push, RollingWindow, Sample, Summary};

floorhand_plugin_sdk::export!(Aggregate as processor);

/// The format of the snapshot.
const STATE_VERSION: u32 = 1;

/// The configured plugin and the samples in its windows.
#[derive(Debug)]
pub struct Aggregate {
    columns: Columns,
    input: TensorSpec,
    output: TensorSpec,
    form: Form,
    /// Observations that the widest window holds before there is an answer, and its place.
    min_samples: usize,
    widest: usize,
    /// What each key begins with.
    empty: Vec<Window>,
    series: Series<Vec<Window>>,
}

/// What is told of the windows.
#[derive(Debug)]
struct Form {
    fields: usize,
    statistics: Vec<Statistic>,
    min_values: u64,
    missing: f32,
}

/// One span of time.
#[derive(Debug, Clone)]
struct Window {
    extent: Extent,
    max_samples: usize,
    /// One for each field. All hold the same times.
    fields: Vec<RollingWindow>,
}

/// What became of a sample's rows.
#[derive(Debug, Default)]
struct Seen {
    late: bool,
    full: bool,
    restarted: bool,
}

impl Processor for Aggregate {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        let empty = config.windows()?;
        let (min_samples, widest) = config.min_samples(&empty)?;
        let series = Series::new(config.max_keys.check()?);
        let names = config.names();
        let output = TensorSpec::new(
            config.output.as_ref().unwrap_or(&config.input),
            Datatype::Fp32,
            vec![1, names.len() as i64],
        );
        let (missing, min_values) = (config.missing.unwrap_or(f32::NAN), config.min_values);
        let columns = Columns::new(
            config.input,
            // Monitors' columns have an origin; a processor's input has none.
            Origin::Input,
            config.datatype,
            config.shape,
            config.fields,
        )?;
        let mut input = columns.watch().spec.with_fields(columns.names());
        if let Some(last) = input.shape.last_mut() {
            *last = columns.names().len() as i64;
        }
        Ok(Self {
            input,
            output: output.with_fields(names),
            form: Form {
                fields: columns.names().len(),
                statistics: config.statistics,
                min_values,
                missing,
            },
            min_samples,
            widest,
            empty,
            series,
            columns,
        })
    }

    fn signature(&self) -> Signature {
        let windows: usize = self.empty.iter().map(Window::state_bytes).sum();
        Signature {
            inputs: vec![self.input.clone()],
            outputs: vec![self.output.clone()],
            state_bytes: (state::VERSION_BYTES + self.series.state_bytes(windows)) as u32,
        }
    }

    fn process(&mut self, context: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        let tensor = take(inputs, &self.input.name)?;
        let time_ms = context.time_ms() as i64;
        let mut seen = Seen::default();
        // Before a key is taken in for it.
        tensor.check(&self.input)?;
        let empty = &self.empty;
        let windows = self.series.of(context.key.as_deref(), || empty.clone())?;
        self.columns.each(&[tensor], |column, value| {
            for window in windows.iter_mut() {
                if let Some(field) = window.fields.get_mut(column) {
                    seen.note(field.push(Sample { time_ms, value }));
                }
            }
        })?;
        seen.count();
        let observations = windows.get(self.widest).map_or(0, Window::observations);
        if observations < self.min_samples {
            return Ok(Vec::new());
        }
        let values = self.form.values(windows);
        let shape = vec![1, values.len() as u64];
        Ok(vec![Tensor::from_f32(&self.output.name, shape, &values)])
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut writer = state::Writer::new(STATE_VERSION);
        self.series.write(&mut writer, |windows, writer| {
            windows.iter().for_each(|window| window.write(writer));
        });
        writer.finish()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut reader = state::Reader::new(STATE_VERSION, bytes)?;
        let series = self.series.read(&mut reader, |reader| {
            self.empty.iter().map(|window| window.read(reader)).collect()
        })?;
        reader.finish()?;
        self.series = series;
        Ok(())
    }
}

impl Form {
    /// Field by field, of each window by window, in the order of the names.
    fn values(&self, windows: &[Window]) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.fields * windows.len() * self.statistics.len());
        for column in 0..self.fields {
            for window in windows {
                let Some(field) = window.fields.get(column) else {
                    continue;
                };
                let summary = field.summary();
                let value = |statistic: &Statistic| self.value(*statistic, &summary);
                values.extend(self.statistics.iter().map(value));
            }
        }
        values
    }

    fn value(&self, statistic: Statistic, summary: &Summary) -> f32 {
        if statistic == Statistic::Count {
            return summary.count() as f32;
        }
        let value = match statistic {
            _ if summary.count() < self.min_values => None,
            Statistic::Mean => summary.mean(),
            Statistic::Std => summary.sample_deviation(),
            Statistic::Min => summary.min(),
            Statistic::Max => summary.max(),
            Statistic::Slope => summary.slope_per_second(),
            Statistic::Count => None,
        };
        value.map_or(self.missing, |value| value as f32)
    }
}

impl Window {
    fn new(extent: Extent, max_samples: usize, fields: usize) -> Result<Self, Error> {
        let window = RollingWindow::new(extent).map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            extent,
            max_samples,
            fields: vec![window; fields],
        })
    }

    /// Those of one field, as of every other.
    fn observations(&self) -> usize {
        self.fields.first().map_or(0, |field| field.state().0.len())
    }

    /// The older part's length, the times, and each field's values.
    fn state_bytes(&self) -> usize {
        4 + (1 + self.fields.len()) * (state::LENGTH_BYTES + 8 * self.max_samples)
    }

    fn write(&self, writer: &mut state::Writer) {
        if let Some(first) = self.fields.first() {
            let (samples, older) = first.state();
            writer.u32(older as u32);
            let times: Vec<u64> = samples.map(|sample| sample.time_ms.cast_unsigned()).collect();
            writer.u64s(&times);
        }
        for field in &self.fields {
            writer.f64s(field.state().0.map(|sample| sample.value));
        }
    }

    /// A window like this one with saved samples.
    fn read(&self, reader: &mut state::Reader<'_>) -> Result<Self, Error> {
        let (older, times) = (reader.u32()?, reader.u64s()?);
        let mut restored = Self::new(self.extent, self.max_samples, self.fields.len())?;
        for field in &mut restored.fields {
            let values = reader.f64s()?;
            if values.len() != times.len() {
                return Err(bad("saved state has other values than times".into()));
            }
            let sample = |(&time, value): (&u64, f64)| Sample {
                time_ms: time.cast_signed(),
                value,
            };
            let samples: Vec<Sample> = times.iter().zip(values).map(sample).collect();
            let done = field.restore(&samples, older as usize);
            done.map_err(|error| bad(error.to_string()))?;
        }
        Ok(restored)
    }
}

impl Seen {
    const fn note(&mut self, push: Push) {
        match push {
            Push::Taken => {}
            Push::Late => self.late = true,
            Push::Full => self.full = true,
            Push::Restarted => self.restarted = true,
        }
    }

    fn count(&self) {
        for (is, name) in [
            (self.late, "aggregate-late"),
            (self.full, "aggregate-full"),
            (self.restarted, "aggregate-restarts"),
        ] {
            if is {
                host::counter(name, 1);
            }
        }
    }
}

const fn bad(what: String) -> Error {
    Error::BadConfig(what)
}

#[cfg(test)]
mod tests;
