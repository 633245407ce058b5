//! Rows of CSV: which column goes where is settled once, from the header.

use super::{DecodeError, id, is_text, tensor, text_tensor, time_ns};
use crate::Sample;
use ::csv::StringRecord;
use floorhand_bundle::InputSpec;

/// Texts that stand for a missing number.
const MISSING: [&str; 5] = ["", "NA", "NaN", "nan", "null"];

/// Takes rows of one table apart.
#[derive(Debug, Clone)]
pub struct CsvDecoder {
    inputs: Vec<InputSpec>,
    /// For each input, the column of each of its elements.
    columns: Vec<Vec<usize>>,
    header: StringRecord,
    id: Option<usize>,
    time_ms: Option<usize>,
}

impl CsvDecoder {
    /// A decoder for tables with this header. Columns that no input names are let go by, but for `id` and `time_ms`.
    ///
    /// An input without named fields takes the column of its own name, if it is a single number.
    pub fn new(header: &StringRecord, inputs: &[InputSpec]) -> Result<Self, DecodeError> {
        let position = |name: &str| header.iter().position(|column| column.trim() == name);
        let mut missing = Vec::new();
        let mut columns = Vec::with_capacity(inputs.len());
        for input in inputs {
            let own = std::slice::from_ref(&input.tensor.name);
            let fields = if input.fields.is_empty() {
                own
            } else {
                input.fields.as_slice()
            };
            missing.extend(fields.iter().filter(|field| position(field).is_none()).cloned());
            columns.push(fields.iter().filter_map(|field| position(field)).collect());
        }
        if !missing.is_empty() {
            let present = header.iter().collect::<Vec<_>>().join(", ");
            return Err(DecodeError::Column {
                missing: missing.join(", "),
                present,
            });
        }
        let (id, time_ms) = (position("id"), position("time_ms"));
        Ok(Self {
            inputs: inputs.to_vec(),
            columns,
            header: header.clone(),
            id,
            time_ms,
        })
    }

    /// A sample from one row.
    pub fn decode(&self, row: &StringRecord) -> Result<Sample, DecodeError> {
        let mut tensors = Vec::with_capacity(self.inputs.len());
        for (input, columns) in self.inputs.iter().zip(&self.columns) {
            let columns = columns.iter();
            tensors.push(if is_text(input) {
                let texts = columns.map(|&column| self.text(row, column));
                text_tensor(input, &texts.collect::<Result<Vec<_>, _>>()?)?
            } else {
                let numbers = columns.map(|&column| self.number(row, column));
                tensor(input, &numbers.collect::<Result<Vec<_>, _>>()?)?
            });
        }
        let text = |column: Option<usize>| column.and_then(|column| row.get(column)).unwrap_or_default();
        Ok(Sample {
            id: id(text(self.id))?,
            time_ns: text(self.time_ms).parse().map_or(Ok(0), time_ns)?,
            key: None,
            tensors,
        })
    }

    fn number(&self, row: &StringRecord, column: usize) -> Result<f64, DecodeError> {
        let text = self.text(row, column)?;
        if MISSING.contains(&text) {
            return Ok(f64::NAN);
        }
        text.parse().map_err(|_| {
            let text: String = text.chars().take(40).collect();
            self.wrong(column, format!("is {text:?}, and no number"))
        })
    }

    fn text<'a>(&self, row: &'a StringRecord, column: usize) -> Result<&'a str, DecodeError> {
        let text = row.get(column).map(str::trim);
        text.ok_or_else(|| self.wrong(column, format!("is not there: the row has {} columns", row.len())))
    }

    fn wrong(&self, column: usize, problem: String) -> DecodeError {
        DecodeError::Field {
            field: self.header.get(column).unwrap_or_default().to_owned(),
            problem,
        }
    }
}
