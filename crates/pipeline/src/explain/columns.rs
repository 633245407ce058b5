//! A model's inputs as one row of columns, and back.
//!
//! Explainers know rows of numbers alone. What they are given here are tokens: 0 for the value that the sample has in a column, n for the
//! one of the n-th row of the background. So a column may be of any type, texts among them, and the model gets the very bytes.

use floorhand_bundle::InputSpec;
use floorhand_plugin_host::Given;
use floorhand_tensor::{Datatype, Dim, Tensor, TensorError, TensorSpec};
use serde_json::{Number, Value};

/// Characters of a text that an explanation shows; a category is shorter.
const MAX_TEXT_CHARS: usize = 64;

/// The columns of a model's inputs, one tensor behind the other.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    inputs: Vec<Input>,
    /// What each column is called.
    names: Vec<String>,
}

#[derive(Debug, Clone)]
struct Input {
    spec: TensorSpec,
    shape: Vec<u64>,
    len: usize,
}

/// The values of all columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row(Vec<Part>);

/// The values of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// So many bytes each.
    Numbers {
        size: usize,
        data: Vec<u8>,
    },
    Texts(Vec<Vec<u8>>),
}

impl Part {
    fn of(tensor: &Tensor) -> Result<Self, TensorError> {
        Ok(match tensor.datatype().size() {
            Some(size) => Self::Numbers {
                size,
                data: tensor.data().to_vec(),
            },
            None => Self::Texts(tensor.elements()?.into_iter().map(<[u8]>::to_vec).collect()),
        })
    }

    fn cell(&self, at: usize) -> &[u8] {
        match self {
            Self::Numbers { size, data } => data.get(at * size..(at + 1) * size).unwrap_or_default(),
            Self::Texts(texts) => texts.get(at).map_or(&[], Vec::as_slice),
        }
    }
}

impl Columns {
    /// Of the inputs that a model takes. `given` says what they are called, and `fields` the samples' inputs, where these are
    /// what the model gets.
    pub(super) fn new(takes: &[TensorSpec], given: &[Given], fields: &[InputSpec]) -> Result<Self, String> {
        let mut columns = Self {
            inputs: Vec::with_capacity(takes.len()),
            names: Vec::new(),
        };
        for spec in takes {
            let len = spec.fixed_len().and_then(|len| usize::try_from(len).ok());
            let len = len.filter(|len| *len <= floorhand_explanation::MAX_FEATURES);
            let len = len.ok_or_else(|| {
                format!(
                    "the model's input {} is {spec}: what is explained has a fixed size, {} values at most",
                    spec.name,
                    floorhand_explanation::MAX_FEATURES
                )
            })?;
            let given = given.iter().find(|given| given.spec.name == spec.name);
            let fields = fields.iter().find(|input| input.tensor.name == spec.name);
            columns.names.extend(names(spec, len, given, fields));
            columns.inputs.push(Input {
                spec: spec.clone(),
                shape: sizes(spec),
                len,
            });
        }
        Ok(columns)
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The shape of the only input, if there is one alone.
    pub(super) fn only_shape(&self) -> Option<&[u64]> {
        match self.inputs.as_slice() {
            [input] => Some(&input.shape),
            _ => None,
        }
    }

    /// The values of a model's inputs, which are found by name.
    pub(super) fn row(&self, tensors: &[Tensor]) -> Result<Row, TensorError> {
        let parts = self.inputs.iter().map(|input| {
            let missing = || TensorError::Missing {
                name: input.spec.name.clone(),
                present: tensors.iter().map(|tensor| tensor.name().to_owned()).collect(),
            };
            let tensor = tensors.iter().find(|tensor| tensor.name() == input.spec.name);
            let tensor = tensor.ok_or_else(missing)?;
            input.spec.check(tensor)?;
            Part::of(tensor)
        });
        Ok(Row(parts.collect::<Result<_, _>>()?))
    }

    /// Where `row` is the sample's own, else where it is from: the tokens of the background, row by row.
    pub(super) fn tokens(&self, own: &Row, background: &[Row]) -> Vec<f32> {
        let mut tokens = Vec::with_capacity(background.len() * self.len());
        for (row, number) in background.iter().zip(1_u16..) {
            for (part, (ours, input)) in row.0.iter().zip(own.0.iter().zip(&self.inputs)) {
                let same = |at: usize| part.cell(at) == ours.cell(at);
                tokens.extend((0..input.len).map(|at| if same(at) { 0.0 } else { f32::from(number) }));
            }
        }
        tokens
    }

    /// The model's inputs that a row of tokens stands for.
    pub(super) fn tensors(&self, tokens: &[f32], own: &Row, background: &[Row]) -> Result<Vec<Tensor>, TensorError> {
        let mut rest = tokens;
        let mut tensors = Vec::with_capacity(self.inputs.len());
        for (place, input) in self.inputs.iter().enumerate() {
            let (here, behind) = rest.split_at(input.len.min(rest.len()));
            rest = behind;
            let cell = |(at, token): (usize, &f32)| {
                // Tokens are whole and few.
                let from = (*token as usize).checked_sub(1);
                let row = from.map_or(Some(own), |from| background.get(from)).unwrap_or(own);
                row.0.get(place).map_or(&[][..], |part| part.cell(at))
            };
            let cells = here.iter().enumerate().map(cell);
            let (name, shape) = (&input.spec.name, input.shape.clone());
            tensors.push(match input.spec.datatype {
                Datatype::Bytes => Tensor::from_elements(name, shape, &cells.collect::<Vec<_>>())?,
                datatype => Tensor::new(name, datatype, shape, cells.flatten().copied().collect())?,
            });
        }
        Ok(tensors)
    }

    /// The mean of the rows in each column, NaNs left out; of texts the one that most rows have, the first of several.
    pub(super) fn mean(&self, rows: &[Row]) -> Result<Row, TensorError> {
        let mut parts = Vec::with_capacity(self.inputs.len());
        for (place, input) in self.inputs.iter().enumerate() {
            let of_place: Vec<&Part> = rows.iter().filter_map(|row| row.0.get(place)).collect();
            parts.push(match input.spec.datatype {
                Datatype::Bytes => Part::Texts((0..input.len).map(|at| most(&of_place, at)).collect()),
                datatype => {
                    let mut sums = vec![(0.0, 0.0); input.len];
                    for part in &of_place {
                        let values = self.numbers(input, part)?;
                        for ((sum, count), value) in sums.iter_mut().zip(values).filter(|(_, value)| !value.is_nan()) {
                            *sum += value;
                            *count += 1.0;
                        }
                    }
                    let mean = |(sum, count): &(f64, f64)| match datatype {
                        // Of truths that which most rows have.
                        Datatype::Bool => (sum / count).round(),
                        _ => sum / count,
                    };
                    let means: Vec<f64> = sums.iter().map(mean).collect();
                    Part::of(&Tensor::from_f64("mean", datatype, vec![input.len as u64], &means)?)?
                }
            });
        }
        Ok(Row(parts))
    }

    /// A column's value for people and programs: a number or a text, null for what is no finite number.
    pub(super) fn value(&self, row: &Row, column: usize) -> Value {
        let mut at = column;
        for (input, part) in self.inputs.iter().zip(&row.0) {
            if let Some(behind) = at.checked_sub(input.len) {
                at = behind;
                continue;
            }
            return shown(part, input.spec.datatype, at);
        }
        Value::Null
    }

    fn numbers(&self, input: &Input, part: &Part) -> Result<Vec<f64>, TensorError> {
        let Part::Numbers { data, .. } = part else {
            return Ok(Vec::new());
        };
        Tensor::new(&input.spec.name, input.spec.datatype, input.shape.clone(), data.clone())?.to_f64()
    }
}

/// An element of a tensor for people and programs.
pub(super) fn element(tensor: &Tensor, at: usize) -> Value {
    Part::of(tensor).map_or(Value::Null, |part| shown(&part, tensor.datatype(), at))
}

fn shown(part: &Part, datatype: Datatype, at: usize) -> Value {
    let cell = part.cell(at);
    if datatype == Datatype::Bytes {
        let text = String::from_utf8_lossy(cell);
        return Value::from(text.chars().take(MAX_TEXT_CHARS).collect::<String>());
    }
    let tensor = Tensor::new("value", datatype, vec![1], cell.to_vec());
    let numbers = tensor.and_then(|tensor| match tensor.to_f32() {
        // As many digits as it has.
        Ok(values) => Ok(values
            .iter()
            .filter_map(|value| value.to_string().parse().ok())
            .collect()),
        Err(_) => tensor.to_f64(),
    });
    let number = numbers.ok().and_then(|numbers| numbers.first().copied());
    number.and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}

/// The text that most rows have here.
fn most(parts: &[&Part], at: usize) -> Vec<u8> {
    let count = |cell: &[u8]| parts.iter().filter(|part| part.cell(at) == cell).count();
    let cells = parts.iter().map(|part| part.cell(at)).rev();
    cells.max_by_key(|cell| count(cell)).unwrap_or_default().to_vec()
}

fn sizes(spec: &TensorSpec) -> Vec<u64> {
    let size = |dim: &Dim| if let Dim::Fixed(size) = dim { *size } else { 1 };
    spec.shape.iter().map(size).collect()
}

/// What a tensor's elements are called: by the fields of its last dimension, with the line where there are several; else by
/// the tensor and their place in it.
fn names(spec: &TensorSpec, len: usize, given: Option<&Given>, fields: Option<&InputSpec>) -> Vec<String> {
    let own = fields.map_or(&[][..], |input| input.fields.as_slice());
    if own.len() == len && len > 0 {
        return own.to_vec();
    }
    let fields = given.map_or(&[][..], |given| given.fields.as_slice());
    let name = |at: usize| {
        let field = at.checked_rem(fields.len()).and_then(|place| fields.get(place));
        match field {
            Some(field) if fields.len() == len => field.name.clone(),
            Some(field) => format!("{}[{}]", field.name, at / fields.len()),
            None if len == 1 => spec.name.clone(),
            None => format!("{}[{at}]", spec.name),
        }
    };
    (0..len).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_plugin_host::{Field, Origin};

    fn columns() -> Columns {
        let takes = [
            TensorSpec::new("x", Datatype::Fp64, vec![Dim::Fixed(1), Dim::Fixed(2)]),
            TensorSpec::new("kind", Datatype::Bytes, vec![Dim::Fixed(1)]),
        ];
        Columns::new(&takes, &[], &[]).unwrap()
    }

    fn row(columns: &Columns, values: [f64; 2], kind: &str) -> Row {
        let tensors = [
            Tensor::from_elements("kind", vec![1], &[kind]).unwrap(),
            Tensor::from_f64("x", Datatype::Fp64, vec![1, 2], &values).unwrap(),
        ];
        columns.row(&tensors).unwrap()
    }

    #[test]
    fn tokens_stand_for_the_very_bytes_of_any_type() {
        let columns = columns();
        let own = row(&columns, [0.1, f64::NAN], "ä");
        let background = [row(&columns, [0.1, 2.0], "b"), row(&columns, [1e300, f64::NAN], "ä")];
        assert_eq!(columns.tokens(&own, &background), [0.0, 1.0, 1.0, 2.0, 0.0, 0.0]);
        let tensors = columns.tensors(&[2.0, 0.0, 1.0], &own, &background).unwrap();
        assert_eq!(columns.row(&tensors).unwrap(), row(&columns, [1e300, f64::NAN], "b"));
        assert_eq!(columns.value(&own, 0), 0.1);
        assert_eq!(columns.value(&own, 1), Value::Null);
        assert_eq!(columns.value(&own, 2), "ä");
    }

    #[test]
    fn the_mean_leaves_nan_out_and_takes_the_commonest_text() {
        let columns = columns();
        let rows = [("b", f64::NAN), ("a", 4.0), ("a", 2.0)].map(|(kind, x)| row(&columns, [1.0, x], kind));
        assert_eq!(columns.mean(&rows).unwrap(), row(&columns, [1.0, 3.0], "a"));
        assert_eq!(columns.mean(&rows[..2]).unwrap(), row(&columns, [1.0, 4.0], "b"));
    }

    #[test]
    fn columns_are_called_what_their_fields_are() {
        let spec = |shape: &[u64]| {
            let shape = shape.iter().map(|&size| Dim::Fixed(size)).collect();
            TensorSpec::new("x", Datatype::Fp32, shape)
        };
        let given = Given {
            origin: Origin::Features,
            spec: spec(&[2, 2]),
            fields: ["flow", "power"]
                .map(|name| Field {
                    name: name.to_owned(),
                    unit: String::new(),
                })
                .to_vec(),
        };
        let names = |shape: &[u64], given: &[Given]| Columns::new(&[spec(shape)], given, &[]).unwrap().names;
        assert_eq!(
            names(&[2, 2], std::slice::from_ref(&given)),
            ["flow[0]", "power[0]", "flow[1]", "power[1]"]
        );
        assert_eq!(names(&[1, 2], std::slice::from_ref(&given)), ["flow", "power"]);
        assert_eq!(names(&[1, 2], &[]), ["x[0]", "x[1]"]);
        assert_eq!(names(&[1], &[]), ["x"]);
        let open = TensorSpec::new("x", Datatype::Fp32, vec![Dim::Any]);
        assert!(Columns::new(&[open], &[], &[]).unwrap_err().contains("fixed size"));
    }
}
