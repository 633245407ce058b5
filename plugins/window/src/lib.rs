//! `window`: the last rows of a stream as one tensor, every `hop` rows.
//!
//! Rows of any datatype are kept and given as they are, bit by bit; nothing is computed. Until a window is full the answer
//! is "not yet". README.md has the configuration.

mod rows;

use floorhand_plugin_sdk::{
    Assets, Context, Datatype, Error, MAX_FIELDS, MaxKeys, Processor, Series, Signature, Tensor, TensorSpec, host,
    state, take,
};
use rows::{Rows, Sizes};
use schemars::JsonSchema;
use serde::Deserialize;

floorhand_plugin_sdk::export!(Window as processor);

/// Bytes in the windows of all keys: one stands in the memory of 16 MiB three times when it is given away.
const MAX_BYTES: usize = 1 << 22;

/// Dimensions that a tensor may have at the plugin's boundary, the samples' one included.
const MAX_DIMENSIONS: usize = 16;

/// The format of the snapshot.
const STATE_VERSION: u32 = 1;

/// Bytes of a series in front of the rows: rows until the next window, the last sample's time.
const STATE_HEAD: usize = 4 + 8;

/// The plugin's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The tensor with the rows. Its last dimension is the columns.
    pub input: String,
    /// What the window is called. The input's name by default.
    #[serde(default)]
    pub output: Option<String>,
    /// The tensor's type. `"FP32"` by default.
    #[serde(default = "default_datatype")]
    pub datatype: Datatype,
    /// The input's shape; -1 for any size, but for the last. `[-1, columns]` by default.
    #[serde(default)]
    pub shape: Option<Vec<i64>>,
    /// Values in a row.
    #[schemars(range(min = 1))]
    pub columns: usize,
    /// The columns' names, in order: one for each, none twice. None by default.
    #[serde(default)]
    #[schemars(length(max = MAX_FIELDS))]
    pub fields: Vec<String>,
    /// Rows in a window.
    #[schemars(range(min = 1))]
    pub length: usize,
    /// Rows from one window's start to the next's: 1 to `length`. A sample may not have more, unless
    /// `several`. `length` by default.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub hop: Option<usize>,
    /// The window's shape: `length` times `columns` elements, e.g. `[1, length, columns]`. `[length, columns]` by default.
    #[serde(default)]
    #[schemars(length(min = 1, max = 14))]
    pub output_shape: Option<Vec<u64>>,
    /// Whether a window is given column by column, as one-dimensional convolutions want it: `[columns, length]` by default
    /// then. `false` by default.
    #[serde(default)]
    pub columns_first: bool,
    /// A sample whose time is more than this after the one before, or is before it, begins a new window. Any time will do
    /// by default.
    #[serde(default)]
    pub max_gap_ms: Option<u64>,
    /// Whether a sample may complete several windows: the answer then has one more dimension in front, their number.
    /// `false` by default.
    #[serde(default)]
    pub several: bool,
    /// How many keys may come, each with windows of its own: 1 to 1024. 1 by default.
    #[serde(default)]
    pub max_keys: MaxKeys,
}

/// The configured plugin and the rows of the window that is filling.
#[derive(Debug)]
pub struct Window {
    input: TensorSpec,
    output: TensorSpec,
    /// Of one window.
    output_shape: Vec<u64>,
    several: bool,
    columns: usize,
    columns_first: bool,
    max_gap_ns: Option<u64>,
    sizes: Sizes,
    series: Series<Stream>,
}

/// The samples of one key.
#[derive(Debug)]
struct Stream {
    /// Of the sample that came last; 0 before the first.
    last_time_ns: u64,
    rows: Rows,
}

impl Processor for Window {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        let hop = config.hop.unwrap_or(config.length);
        let bytes = check_sizes(&config, hop)?;
        check_fields(&config)?;
        let input_shape = input_shape(&config, hop)?;
        let output_shape = output_shape(&config)?;
        let any_number = config.several.then_some(-1);
        let signed = output_shape.iter().map(|&size| size as i64);
        let signed = any_number.into_iter().chain(signed).collect();
        let output = TensorSpec::new(
            config.output.unwrap_or_else(|| config.input.clone()),
            config.datatype,
            signed,
        );
        let ends_in_columns = output_shape.last() == Some(&(config.columns as u64));
        let fields = if ends_in_columns && !config.columns_first {
            config.fields.clone()
        } else {
            Vec::new()
        };
        Ok(Self {
            input: TensorSpec::new(config.input, config.datatype, input_shape).with_fields(config.fields),
            output: output.with_fields(fields),
            output_shape,
            several: config.several,
            columns: config.columns,
            columns_first: config.columns_first,
            max_gap_ns: config.max_gap_ms.map(|gap_ms| gap_ms.saturating_mul(1_000_000)),
            sizes: Sizes {
                length: config.length,
                hop,
                row_bytes: bytes / config.length,
            },
            series: Series::new(config.max_keys.check()?),
        })
    }

    fn signature(&self) -> Signature {
        let rows = self.sizes.length * self.sizes.row_bytes;
        let series = self.series.state_bytes(STATE_HEAD + state::LENGTH_BYTES + rows);
        Signature {
            inputs: vec![self.input.clone()],
            outputs: vec![self.output.clone()],
            state_bytes: (state::VERSION_BYTES + series) as u32,
        }
    }

    fn process(&mut self, context: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        let key = context.key.as_deref();
        if context.gap
            && let Some(stream) = self.series.known(key)
        {
            *stream = Stream::new(self.sizes);
        }
        let tensor = take(inputs, &self.input.name)?;
        tensor.check(&self.input)?;
        self.check_rows(tensor.data.len() / self.sizes.row_bytes)?;
        let sizes = self.sizes;
        let stream = self.series.of(key, || Stream::new(sizes))?;
        if let Some(max_gap_ns) = self.max_gap_ns {
            stream.mind_the_gap(context.time_ns, max_gap_ns);
        }
        let windows = stream.rows.extend(&tensor.data);
        if windows.is_empty() {
            return Ok(Vec::new());
        }
        let mut shape = self.output_shape.clone();
        if self.several {
            shape.insert(0, windows.len() as u64);
        }
        let size = self.output.datatype.size();
        let data = if self.columns_first {
            let transposed = windows.iter().flat_map(|window| transposed(window, self.columns, size));
            transposed.collect()
        } else {
            windows.concat()
        };
        Ok(vec![Tensor {
            name: self.output.name.clone(),
            datatype: self.output.datatype,
            shape,
            data,
        }])
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut writer = state::Writer::new(STATE_VERSION);
        self.series.write(&mut writer, Stream::write);
        writer.finish()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut reader = state::Reader::new(STATE_VERSION, bytes)?;
        let series = self
            .series
            .read(&mut reader, |reader| Stream::read(self.sizes, reader))?;
        reader.finish()?;
        self.series = series;
        Ok(())
    }
}

impl Window {
    /// Whether so many rows can be answered.
    fn check_rows(&self, rows: usize) -> Result<(), Error> {
        let Sizes { length, hop, row_bytes } = self.sizes;
        if rows > hop && !self.several {
            return Err(Error::BadInput(format!(
                "tensor {:?} has {rows} rows, more than the hop of {hop}: they could fill two windows",
                self.input.name
            )));
        }
        if rows > hop && rows.div_ceil(hop).saturating_mul(length * row_bytes) > MAX_BYTES {
            return Err(Error::BadInput(format!(
                "tensor {:?} has {rows} rows, which could fill windows of more than {MAX_BYTES} bytes: give fewer",
                self.input.name
            )));
        }
        Ok(())
    }
}

impl Stream {
    fn new(sizes: Sizes) -> Self {
        Self {
            last_time_ns: 0,
            rows: Rows::new(sizes),
        }
    }

    /// Starts anew where the source has a hole.
    fn mind_the_gap(&mut self, time_ns: u64, max_gap_ns: u64) {
        let gap_ns = time_ns.checked_sub(self.last_time_ns);
        if !self.rows.is_empty() && gap_ns.is_none_or(|gap_ns| gap_ns > max_gap_ns) {
            self.rows.clear();
            host::counter("window-gaps", 1);
        }
        self.last_time_ns = time_ns;
    }

    fn write(&self, writer: &mut state::Writer) {
        writer.u32(self.rows.wanted() as u32);
        writer.u64(self.last_time_ns);
        writer.bytes(&self.rows.in_order());
    }

    fn read(sizes: Sizes, reader: &mut state::Reader<'_>) -> Result<Self, Error> {
        let mut stream = Self::new(sizes);
        let wanted = reader.u32()? as usize;
        stream.last_time_ns = reader.u64()?;
        if stream.rows.restore(wanted, reader.bytes()?) {
            return Ok(stream);
        }
        Err(bad("saved state belongs to another length, hop or row".into()))
    }
}

/// From row by row to column by column.
fn transposed(rows: &[u8], columns: usize, size: usize) -> Vec<u8> {
    let column = |column: usize| rows.chunks_exact(size).skip(column).step_by(columns);
    (0..columns).flat_map(column).flatten().copied().collect()
}

/// Bytes in a window.
fn check_sizes(config: &Config, hop: usize) -> Result<usize, Error> {
    let Config { columns, length, .. } = *config;
    if !(1..=length).contains(&hop) {
        return Err(bad(format!("hop is {hop}, and has to be 1 to length ({length})")));
    }
    if config.datatype == Datatype::Bytes {
        return Err(bad(
            "datatype is BYTES, whose elements differ in size: take another".into()
        ));
    }
    let keys = config.max_keys.check()?;
    let bytes = columns
        .checked_mul(length)
        .and_then(|elements| elements.checked_mul(config.datatype.size()));
    bytes
        .filter(|bytes| (1..=MAX_BYTES / keys).contains(bytes))
        .ok_or_else(|| {
            bad(format!(
                "length is {length} and columns {columns}: a window has to have 1 to {} bytes",
                MAX_BYTES / keys
            ))
        })
}

fn check_fields(config: &Config) -> Result<(), Error> {
    let fields = &config.fields;
    if !fields.is_empty() && (fields.len() != config.columns || fields.len() > MAX_FIELDS) {
        return Err(bad(format!(
            "fields has {} names for {} columns: one for each, at most {MAX_FIELDS}, or none",
            fields.len(),
            config.columns
        )));
    }
    for (index, name) in fields.iter().enumerate() {
        if fields.iter().take(index).any(|earlier| earlier == name) {
            return Err(bad(format!("fields has {name:?} twice")));
        }
    }
    Ok(())
}

fn input_shape(config: &Config, hop: usize) -> Result<Vec<i64>, Error> {
    let columns = config.columns as i64;
    let shape = config.shape.clone().unwrap_or_else(|| vec![-1, columns]);
    let (others, is_width) = match shape.split_last() {
        Some((last, others)) if others.len() + 1 < MAX_DIMENSIONS => (others, *last == columns),
        _ => (&[][..], false),
    };
    if !is_width {
        return Err(bad(format!(
            "shape is {shape:?}, and has to end in {columns}, the columns"
        )));
    }
    let rows = others.iter().filter(|&&size| size >= 0).map(|&size| size as u64);
    if !config.several && rows.fold(1, u64::saturating_mul) > hop as u64 {
        return Err(bad(format!(
            "shape is {shape:?} and hop {hop}: a sample's rows could fill two windows, which takes several = true"
        )));
    }
    Ok(shape)
}

fn output_shape(config: &Config) -> Result<Vec<u64>, Error> {
    let (length, columns) = (config.length as u64, config.columns as u64);
    let usual = if config.columns_first {
        vec![columns, length]
    } else {
        vec![length, columns]
    };
    let shape = config.output_shape.clone().unwrap_or(usual);
    let elements = shape.iter().copied().fold(1, u64::saturating_mul);
    if elements != length * columns || shape.len() + 2 > MAX_DIMENSIONS {
        return Err(bad(format!(
            "output_shape is {shape:?}, and has to have {} elements, length times columns",
            length * columns
        )));
    }
    Ok(shape)
}

const fn default_datatype() -> Datatype {
    Datatype::Fp32
}

const fn bad(what: String) -> Error {
    Error::BadConfig(what)
}

#[cfg(test)]
mod tests;
