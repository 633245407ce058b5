//! The rows that samples are compared with: the bundle's background, as the model would be given it.

use super::stages::Stages;
use crate::Sample;
use crate::decode::{self, CsvDecoder, Line, Lines, MAX_SAMPLE_BYTES, Table};
use floorhand_bundle::InputSpec;
use floorhand_tensor::Tensor;
use std::sync::Arc;

/// Samples of a background: windows of a hundred rows, as many as are used.
const MAX_SAMPLES: usize = 100_000;

/// Bytes of all rows that preprocessing makes of them. Explainers take 65,536 columns and 100 rows.
const MAX_BYTES: usize = 256 << 20;

/// Reads samples: a table, where the first line isn't a JSON object.
fn samples(bytes: &[u8], inputs: &[InputSpec]) -> Result<Vec<Sample>, String> {
    let mut lines = Lines::new(bytes, MAX_SAMPLE_BYTES, Arc::default());
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let mut table = if text.starts_with(b"{") {
        None
    } else {
        let table = Table::begin(&mut lines, None).map_err(|error| error.to_string())?;
        let table = table.ok_or("it is empty: expected CSV with a header, or one JSON object a line")?;
        let decoder = CsvDecoder::new(&table.header(), inputs).map_err(|error| error.to_string())?;
        Some((table, decoder))
    };
    let mut samples = Vec::new();
    let mut line = Vec::new();
    while let Some(read) = lines.read(&mut line).map_err(|error| error.to_string())? {
        let number = lines.number();
        let at = |problem: String| format!("line {number}: {problem}");
        if read == Line::TooLong {
            return Err(at(format!("is longer than {MAX_SAMPLE_BYTES} bytes")));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let sample = match &mut table {
            Some((table, decoder)) => {
                let row = table.row(&mut line).map_err(|error| at(error.to_string()))?;
                decoder.decode(&row)
            }
            None => decode::json(&line, inputs),
        };
        samples.push(sample.map_err(|error| at(error.to_string()))?);
        if samples.len() > MAX_SAMPLES {
            return Err(format!("it has more than {MAX_SAMPLES} samples; take some at random"));
        }
    }
    Ok(samples)
}

/// What the model would be given of a background: its samples go through the stages in their order, so that windows fill, and at most
/// `rows` of what comes out are taken, from evenly over all. Those without a time are a second apart.
pub(super) fn features(
    bytes: &[u8],
    inputs: &[InputSpec],
    stages: &mut Stages,
    rows: usize,
) -> Result<Vec<Vec<Tensor>>, String> {
    let mut features = Vec::new();
    let mut held = 0;
    for (mut sample, number) in samples(bytes, inputs)?.into_iter().zip(1_u64..) {
        sample.arrived(number * 1_000);
        let made = stages.features(&sample, number - 1);
        let Some(made) = made.map_err(|error| format!("sample {number}: {error}"))? else {
            continue;
        };
        held += made.iter().map(|tensor| tensor.data().len()).sum::<usize>();
        if held > MAX_BYTES {
            return Err(format!(
                "its rows take more than {MAX_BYTES} bytes as the model's features; take fewer samples"
            ));
        }
        features.push(made);
    }
    if features.is_empty() {
        return Err("no sample of it gives a row of features; a window needs as many samples as it is long".to_owned());
    }
    Ok(evenly(features, rows))
}

/// So many, from evenly over all.
fn evenly<T>(all: Vec<T>, wanted: usize) -> Vec<T> {
    let (count, wanted) = (all.len(), wanted.min(all.len()));
    let is_taken = |place: usize| place * wanted / count != (place + 1) * wanted / count;
    let placed = all.into_iter().enumerate();
    placed
        .filter(|(place, _)| is_taken(*place))
        .map(|(_, one)| one)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_tensor::{Datatype, Dim, TensorSpec};

    fn inputs() -> Vec<InputSpec> {
        vec![InputSpec {
            tensor: TensorSpec::new("x", Datatype::Fp32, vec![Dim::Fixed(1), Dim::Fixed(2)]),
            fields: vec!["flow".to_owned(), "power".to_owned()],
        }]
    }

    #[test]
    fn a_table_of_pandas_and_lines_of_json_are_the_same_samples() {
        let table = samples(b"\"\",power,flow,label\n0,2,1,a\n7,4,3.5,b\n", &inputs()).unwrap();
        let lines = samples(b"\n{\"flow\": 1, \"power\": 2}\n\n{\"x\": [[3.5, 4]]}\n", &inputs()).unwrap();
        assert_eq!(table, lines);
        assert_eq!(table[1].tensors[0].to_f32().unwrap(), [3.5, 4.0]);
    }

    #[test]
    fn what_is_no_background_is_told_with_its_line() {
        let refused = |text: &str, part: &str| {
            let mut stages = Stages::none();
            let error = features(text.as_bytes(), &inputs(), &mut stages, 10).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        refused("", "it is empty");
        refused("flow,power\n", "no sample of it");
        refused("flow,pressure\n1,2\n", "no column power");
        refused(
            "flow,power\n1,2\n1,x\n",
            "line 3: field \"power\" is \"x\", and no number",
        );
        refused("{\"flow\": 1}\n", "line 1: sample has no field");
    }

    #[test]
    fn rows_are_from_evenly_over_all() {
        assert_eq!(evenly((1..=10).collect(), 3), [4, 7, 10]);
        assert_eq!(evenly(vec![1, 2], 3), [1, 2]);
    }
}
