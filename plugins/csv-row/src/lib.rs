//! `csv-row`: rows of comma-separated values to tensors, each field by its column.
//!
//! A message is one row or several, with or without a header; rows are samples, or one sample together. README.md has the
//! configuration and what becomes of values that are missing or no numbers.

mod config;
mod rows;

pub use config::{Config, Field, Output, Rows, Time};

use crate::rows::{Dialect, MAX_COLUMNS, Row, Table};
use floorhand_plugin_sdk::{
    Assets, Decoder, Error, Failure, Layout, MAX_SAMPLES, Message, Missing, Number, Production, Sample, TimeFormat,
    decoder::checked_name,
};

floorhand_plugin_sdk::export!(CsvRow as decoder);

/// Tensors of a sample: more than any model takes.
const MAX_OUTPUTS: usize = 64;

/// The most `max_bytes` may be: the host's default limit of what a plugin may be given.
const MAX_BYTES: usize = 8 << 20;

/// The configured plugin. Has no state.
#[derive(Debug)]
pub struct CsvRow {
    outputs: Vec<(Layout, Vec<String>)>,
    id: Option<String>,
    key: Option<String>,
    time: Option<(String, TimeFormat)>,
    /// Where everything is; `None` where each message says so in its header.
    columns: Option<Columns>,
    dialect: Dialect,
    skip_lines: usize,
    rows: Rows,
    values: Values,
    max_bytes: usize,
}

/// Which column is whose, by their indices.
#[derive(Debug, Clone)]
struct Columns {
    /// How many a row has.
    width: usize,
    outputs: Vec<Vec<usize>>,
    id: Option<usize>,
    key: Option<usize>,
    time: Option<usize>,
}

/// What is a number.
#[derive(Debug)]
struct Values {
    has_decimal_comma: bool,
    missing: Missing,
    missing_values: Vec<String>,
}

/// What rows have come to: the numbers of each output, and the first row's id, key and time.
struct Collected {
    numbers: Vec<Vec<Number>>,
    id: Option<String>,
    key: Option<String>,
    time_ns: Option<u64>,
}

impl Decoder for CsvRow {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        check(&config)?;
        let outputs = config.outputs.iter().map(|output| {
            let names: Vec<&str> = output.fields.iter().map(|field| field.name.as_str()).collect();
            let width = names.len() as i64;
            let shape = match config.rows {
                Rows::Samples => output.shape.clone(),
                Rows::OneSample => output.shape.clone().or_else(|| Some(vec![-1, width])),
            };
            let columns = output
                .fields
                .iter()
                .map(|field| field.column.as_ref().unwrap_or(&field.name).clone());
            Ok((
                Layout::of_fields(&output.name, output.datatype, shape, &names)?,
                columns.collect(),
            ))
        });
        let mut plugin = Self {
            outputs: outputs.collect::<Result<_, Error>>()?,
            id: config.id,
            key: config.key,
            time: config.time.map(|time| (time.column, time.unit)),
            columns: None,
            dialect: Dialect {
                separator: one_byte("separator", &config.separator)?,
                quote: match config.quote.as_str() {
                    "" => None,
                    quote => Some(one_byte("quote", quote)?),
                },
            },
            skip_lines: config.skip_lines,
            rows: config.rows,
            values: Values {
                has_decimal_comma: config.decimal == ",",
                missing: config.missing,
                missing_values: config.missing_values,
            },
            max_bytes: config.max_bytes,
        };
        if plugin.dialect.quote == Some(plugin.dialect.separator) {
            return Err(bad("quote and separator are the same".into()));
        }
        if !config.header {
            let names: Vec<&str> = config.columns.iter().map(String::as_str).collect();
            let columns = plugin
                .columns_of(&names)
                .map_err(|what| bad(format!("columns: {what}")))?;
            plugin.columns = Some(columns);
        }
        Ok(plugin)
    }

    fn production(&self) -> Production {
        Production {
            outputs: self.outputs.iter().map(|(layout, _)| layout.spec().clone()).collect(),
            state_bytes: 0,
        }
    }

    fn decode(&mut self, message: Message) -> Result<Vec<Result<Sample, Failure>>, Error> {
        let length = message.payload.len();
        if length > self.max_bytes {
            return Err(input(format!(
                "message of {length} bytes, more than max_bytes, {}",
                self.max_bytes
            )));
        }
        let mut table = Table::new(self.dialect, rows::skip_lines(&message.payload, self.skip_lines));
        let columns = match &self.columns {
            Some(columns) => columns.clone(),
            None => {
                let header = table.next().ok_or_else(|| input("there is no header".into()))?;
                let names: Vec<&str> = header.values().map(Option::unwrap_or_default).collect();
                self.columns_of(&names)
                    .map_err(|what| input(format!("header: {what}")))?
            }
        };
        match self.rows {
            Rows::Samples => self.samples(&mut table, &columns),
            Rows::OneSample => Ok(self.one_sample(&mut table, &columns).into_iter().collect()),
        }
    }
}

impl CsvRow {
    fn samples(&self, table: &mut Table<'_>, columns: &Columns) -> Result<Vec<Result<Sample, Failure>>, Error> {
        let mut samples = Vec::new();
        while let Some(row) = table.next() {
            if samples.len() == MAX_SAMPLES {
                return Err(input(format!("more than {MAX_SAMPLES} rows")));
            }
            let mut collected = self.collected();
            let read = self.take(&mut collected, row, columns);
            let key = collected.key.clone();
            let sample = read.and_then(|()| self.sample(collected));
            samples.push(sample.map_err(|error| Failure::of(key, error)));
        }
        Ok(samples)
    }

    /// `None` where there is no row.
    fn one_sample(&self, table: &mut Table<'_>, columns: &Columns) -> Option<Result<Sample, Failure>> {
        let mut collected = self.collected();
        let mut rows = 0_usize;
        while let Some(row) = table.next() {
            rows += 1;
            if let Err(error) = self.take(&mut collected, row, columns) {
                let error = input(format!("row {rows}: {}", error.message()));
                return Some(Err(Failure::of(collected.key, error)));
            }
        }
        let key = collected.key.clone();
        (rows > 0).then(|| self.sample(collected).map_err(|error| Failure::of(key, error)))
    }

    fn collected(&self) -> Collected {
        Collected {
            numbers: vec![Vec::new(); self.outputs.len()],
            id: None,
            key: None,
            time_ns: None,
        }
    }

    fn take(&self, collected: &mut Collected, row: Row<'_>, columns: &Columns) -> Result<(), Error> {
        if row.len() != columns.width {
            return Err(input(format!("{} columns, expected {}", row.len(), columns.width)));
        }
        let is_first = collected.numbers.iter().all(Vec::is_empty);
        let text = |index: Option<usize>| row.value(index?).filter(|text| !text.is_empty());
        let name = |what, index| text(index).map(|text| checked_name(what, text)).transpose();
        if is_first {
            // First of all: what it is of is known also of a row that can't be read.
            collected.key = name("key", columns.key)?;
        }
        for ((numbers, indices), (_, names)) in collected.numbers.iter_mut().zip(&columns.outputs).zip(&self.outputs) {
            for (&index, name) in indices.iter().zip(names) {
                numbers.push(self.values.number(name, row.value(index))?);
            }
        }
        if is_first {
            collected.id = name("id", columns.id)?;
            if let (Some(text), Some((name, unit))) = (text(columns.time), &self.time) {
                let time = match unit {
                    TimeFormat::Rfc3339 => unit.parse(text),
                    _ => unit.parse(&self.values.with_point(text)),
                };
                let time = time.map_err(|error| input(format!("column {name:?}: {}", error.message())))?;
                collected.time_ns = Some(time);
            }
        }
        Ok(())
    }

    fn sample(&self, collected: Collected) -> Result<Sample, Error> {
        let tensors = self
            .outputs
            .iter()
            .zip(&collected.numbers)
            .map(|((layout, _), numbers)| layout.tensor(numbers));
        Ok(Sample {
            tensors: tensors.collect::<Result<_, _>>()?,
            id: collected.id,
            key: collected.key,
            time_ns: collected.time_ns,
        })
    }

    /// Finds all columns by their names, or says which isn't there.
    fn columns_of(&self, names: &[&str]) -> Result<Columns, String> {
        if names.len() > MAX_COLUMNS {
            return Err(format!("more than {MAX_COLUMNS} columns"));
        }
        let find = |wanted: &String| {
            let mut found = names
                .iter()
                .enumerate()
                .filter(|(_, name)| **name == wanted.as_str())
                .map(|(index, _)| index);
            match (found.next(), found.next()) {
                (Some(index), None) => Ok(index),
                (Some(_), Some(_)) => Err(format!("there are two columns {wanted:?}")),
                (None, _) => Err(format!("there is no column {wanted:?}")),
            }
        };
        let outputs = self
            .outputs
            .iter()
            .map(|(_, columns)| columns.iter().map(find).collect());
        Ok(Columns {
            width: names.len(),
            outputs: outputs.collect::<Result<_, _>>()?,
            id: self.id.as_ref().map(find).transpose()?,
            key: self.key.as_ref().map(find).transpose()?,
            time: self.time.as_ref().map(|(column, _)| find(column)).transpose()?,
        })
    }
}

impl Values {
    fn number(&self, column: &str, text: Option<&str>) -> Result<Number, Error> {
        let text = text.ok_or_else(|| input(format!("column {column:?} is no UTF-8")))?;
        if !text.is_empty() && !self.missing_values.iter().any(|missing| missing == text) {
            let number = of_text(&self.with_point(text));
            return number.ok_or_else(|| {
                let shown: String = text.chars().take(40).collect();
                input(format!("column {column:?} is {shown:?}, no number"))
            });
        }
        match self.missing {
            Missing::Nan => Ok(Number::MISSING),
            Missing::Error => Err(input(format!("column {column:?} is missing"))),
        }
    }

    /// With a decimal comma, a point is no part of a number.
    fn with_point(&self, text: &str) -> String {
        if self.has_decimal_comma {
            let swapped = text.chars().map(|character| match character {
                ',' => '.',
                '.' => ',',
                other => other,
            });
            return swapped.collect();
        }
        text.to_owned()
    }
}

/// A decimal number; words such as `inf`, which Rust would read, are none.
fn of_text(text: &str) -> Option<Number> {
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
    {
        return None;
    }
    let integer = text.parse().map(Number::Signed);
    integer
        .or_else(|_| text.parse().map(Number::Unsigned))
        .or_else(|_| text.parse().map(Number::Float))
        .ok()
}

fn check(config: &Config) -> Result<(), Error> {
    if config.outputs.is_empty() || config.outputs.len() > MAX_OUTPUTS {
        return Err(bad(format!(
            "outputs has {} tensors: 1 to {MAX_OUTPUTS}",
            config.outputs.len()
        )));
    }
    for (index, output) in config.outputs.iter().enumerate() {
        if config
            .outputs
            .iter()
            .take(index)
            .any(|earlier| earlier.name == output.name)
        {
            return Err(bad(format!("outputs has {:?} twice", output.name)));
        }
        if config.missing == Missing::Nan && !output.datatype.is_float() {
            let datatype = output.datatype.name();
            return Err(bad(format!(
                "missing is \"nan\", which {datatype} of output {:?} doesn't have",
                output.name
            )));
        }
        if config.rows == Rows::OneSample && output.shape.as_ref().is_some_and(|shape| !shape.contains(&-1)) {
            return Err(bad(format!(
                "shape of output {:?} has no -1 for the rows of a sample",
                output.name
            )));
        }
        if config.rows == Rows::Samples && output.shape.as_ref().is_some_and(|shape| shape.contains(&-1)) {
            return Err(bad(format!(
                "shape of output {:?} has a -1, and every row is a sample",
                output.name
            )));
        }
    }
    if config.header != config.columns.is_empty() {
        return Err(bad(
            "either columns or header says what the columns are: give one of them".into(),
        ));
    }
    if !matches!(config.decimal.as_str(), "." | ",") || config.decimal == config.separator {
        return Err(bad(format!(
            "decimal is {:?}, and has to be \".\" or \",\" and not the separator",
            config.decimal
        )));
    }
    if !(1..=MAX_BYTES).contains(&config.max_bytes) {
        return Err(bad(format!(
            "max_bytes is {}, and has to be 1 to {MAX_BYTES}",
            config.max_bytes
        )));
    }
    Ok(())
}

fn one_byte(key: &str, text: &str) -> Result<u8, Error> {
    match text.as_bytes() {
        &[byte] if byte.is_ascii() && byte != b'\n' && byte != b'\r' => Ok(byte),
        _ => Err(bad(format!("{key} is {text:?}, and has to be one ASCII character"))),
    }
}

fn bad(what: String) -> Error {
    Error::BadConfig(what)
}

fn input(what: String) -> Error {
    Error::BadInput(what)
}

#[cfg(test)]
mod tests;
