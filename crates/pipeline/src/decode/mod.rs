//! Bytes to samples: JSON, raw little-endian, and rows of CSV.
//!
//! The bundle's inputs say what a sample is; a sample that is something else is refused with the name of the field.

mod csv;
mod json;
mod lines;
mod table;

pub use csv::CsvDecoder;
pub use json::{json, json_value, numbers, texts};
pub use lines::{Line, Lines};
pub use table::Table;

use crate::{MS, Sample};
use floorhand_bundle::InputSpec;
use floorhand_tensor::{Datatype, Tensor, TensorError};

/// The largest sample in bytes: a plugin's input limit, and room for writing it as JSON.
pub const MAX_SAMPLE_BYTES: usize = 32 * 1024 * 1024;

/// The longest id of a sample, in bytes.
const MAX_ID_BYTES: usize = 256;
/// Times are below this, as the plugin interface says: 2^63 nanoseconds, in the year 2262.
const END_NS: u64 = 1 << 63;

/// Why bytes are no sample. Each names the field or the place.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than any sample may be.
    #[error("sample of {0} bytes is longer than {MAX_SAMPLE_BYTES} bytes")]
    TooLong(usize),
    /// Not JSON.
    #[error("sample is not JSON: {0}")]
    NotJson(String),
    /// Not a JSON object.
    #[error("sample is JSON, and no object: expected {{\"field\": number, ...}}")]
    NotObject,
    /// A field isn't there.
    #[error("sample has no field {field:?}; it has {present}")]
    Missing {
        /// The field.
        field: String,
        /// Those there are.
        present: String,
    },
    /// A field isn't a number or an array of numbers.
    #[error("field {field:?} {problem}")]
    Field {
        /// The field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A table without a column.
    #[error("the table has no column {missing}; it has {present}")]
    Column {
        /// The columns.
        missing: String,
        /// Those there are.
        present: String,
    },
    /// Raw bytes of the wrong length.
    #[error("raw sample has {actual} bytes, expected {expected}: {layout}")]
    RawLength {
        /// What there is.
        actual: usize,
        /// What there should be.
        expected: u64,
        /// The tensors in order.
        layout: String,
    },
    /// Raw samples need fixed shapes.
    #[error("input {0:?} has a dimension of any size; raw samples need fixed shapes")]
    RawShape(String),
    /// Raw samples need elements of one size.
    #[error("input {0:?} is BYTES, whose elements have no fixed size; send such samples as JSON or CSV")]
    RawText(String),
    /// What a bundle's own decoder says, or why it can't be asked.
    #[error("{problem}")]
    Decoder {
        /// Of which key the sample would have been, where that could be read.
        key: Option<String>,
        /// What is wrong.
        problem: String,
    },
    /// A decoder gives no such sample, and that of the generation beside it does.
    #[error("the decoder doesn't find this sample in its message, and the generation that serves does")]
    NotFound,
    /// A tensor that doesn't come out right.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// Raw little-endian bytes: the inputs' tensors one behind the other. Id and time are left empty.
pub fn raw(bytes: &[u8], inputs: &[InputSpec]) -> Result<Sample, DecodeError> {
    let mut lengths = Vec::with_capacity(inputs.len());
    for input in inputs {
        let elements = input
            .tensor
            .fixed_len()
            .ok_or_else(|| DecodeError::RawShape(input.tensor.name.clone()))?;
        let size = input.tensor.datatype.size();
        let size = size.ok_or_else(|| DecodeError::RawText(input.tensor.name.clone()))?;
        lengths.push(elements * size as u64);
    }
    let expected: u64 = lengths.iter().sum();
    if expected != bytes.len() as u64 {
        let layout = inputs
            .iter()
            .map(|input| format!("{} {}", input.tensor.name, input.tensor));
        let layout = layout.collect::<Vec<_>>().join(", then ");
        return Err(DecodeError::RawLength {
            actual: bytes.len(),
            expected,
            layout,
        });
    }
    let mut rest = bytes;
    let mut tensors = Vec::with_capacity(inputs.len());
    for (input, length) in inputs.iter().zip(lengths) {
        let (data, behind) = rest.split_at(usize::try_from(length).unwrap_or(rest.len()));
        rest = behind;
        let shape = fixed_shape(input);
        tensors.push(Tensor::new(
            &input.tensor.name,
            input.tensor.datatype,
            shape,
            data.to_vec(),
        )?);
    }
    Ok(Sample {
        id: String::new(),
        time_ns: 0,
        key: None,
        tensors,
    })
}

/// A sample's id, which is bounded as a decoder's is: it goes with every result, and to every plugin.
fn id(text: &str) -> Result<String, DecodeError> {
    if text.len() > MAX_ID_BYTES {
        return Err(DecodeError::Field {
            field: "id".to_owned(),
            problem: format!("has {} bytes, and at most {MAX_ID_BYTES} are taken", text.len()),
        });
    }
    Ok(text.to_owned())
}

/// A sample's time in nanoseconds.
fn time_ns(time_ms: u64) -> Result<u64, DecodeError> {
    let time_ns = time_ms.checked_mul(MS).filter(|&ns| ns < END_NS);
    time_ns.ok_or_else(|| DecodeError::Field {
        field: "time_ms".to_owned(),
        problem: format!("is {time_ms}, which is no time in milliseconds since 1970"),
    })
}

/// The shape of an input, its open dimensions as 1.
fn fixed_shape(input: &InputSpec) -> Vec<u64> {
    input
        .tensor
        .shape
        .iter()
        .map(|dim| u64::try_from(i64::from(*dim)).unwrap_or(1))
        .collect()
}

/// A tensor of numbers in the shape of its input.
fn tensor(input: &InputSpec, numbers: &[f64]) -> Result<Tensor, DecodeError> {
    let shape = shape_of(input, numbers.len(), "numbers")?;
    let spec = &input.tensor;
    Ok(Tensor::from_f64(&spec.name, spec.datatype, shape, numbers)?)
}

/// A tensor of texts in the shape of its input.
fn text_tensor<T: AsRef<[u8]>>(input: &InputSpec, texts: &[T]) -> Result<Tensor, DecodeError> {
    let shape = shape_of(input, texts.len(), "texts")?;
    Ok(Tensor::from_elements(&input.tensor.name, shape, texts)?)
}

fn is_text(input: &InputSpec) -> bool {
    input.tensor.datatype == Datatype::Bytes
}

/// The shape of so many elements of an input. One dimension of any size takes what there is.
fn shape_of(input: &InputSpec, given: usize, what: &str) -> Result<Vec<u64>, DecodeError> {
    let mut shape = fixed_shape(input);
    let open = input.tensor.shape.iter().position(|dim| i64::from(*dim) < 0);
    let fixed: u64 = shape.iter().product();
    if let Some(size) = open.and_then(|open| shape.get_mut(open))
        && fixed > 0
    {
        *size = given as u64 / fixed;
    }
    let elements: u64 = shape.iter().product();
    if elements != given as u64 {
        return Err(DecodeError::Field {
            field: input.tensor.name.clone(),
            problem: format!("has {given} {what}, expected {elements}"),
        });
    }
    Ok(shape)
}

#[cfg(test)]
mod tests;
