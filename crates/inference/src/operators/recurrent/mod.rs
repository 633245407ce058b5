//! LSTM, GRU and RNN layers, a step at a time.
//!
//! tract 0.23.9 makes of such a layer a loop over a small model, whose plan takes longer than what it computes: three times
//! what ONNX Runtime takes for an LSTM of 64 hidden numbers, seven times for a GRU. And it reads none of the attributes but
//! `layout` and `linear_before_reset`: a layer that runs backwards ran forwards, others had other activations than they ask
//! for, or none of the clipping, and rows had no lengths of their own. Here a step is a product or two of the weights with
//! the input, the output before and a one for the bias, and a few loops. It can go when tract's takes no longer and reads
//! what it is given.

mod curve;
mod layer;
#[cfg(test)]
mod tests;

use super::kernel::{Built, Fact, Kernel, site, wrap};
use curve::{Curve, Kernels};
use layer::{Given, Kind, Layer, State};
use std::borrow::Cow;
use std::sync::Arc;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{AttributeProto, NodeProto};
use tract_onnx::tract_core::internal::*;

/// Where an optional input stands among those of ONNX.
const BIAS: usize = 3;
const LENGTHS: usize = 4;
const OUTPUT: usize = 5;
const CELL: usize = 6;
const PEEPHOLES: usize = 7;

pub(super) fn rnn(_context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    build(node, Kind::Rnn)
}

pub(super) fn gru(_context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    let is_late = attribute(node, "linear_before_reset").is_some_and(|late| late.i != 0);
    build(node, Kind::Gru { is_late })
}

pub(super) fn lstm(_context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    build(node, Kind::Lstm)
}

fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn build(node: &NodeProto, kind: Kind) -> TractResult<Built> {
    let refused = |name: &str, problem: &str| format_err!("{}, attribute {name:?}: {problem}", site(node));
    if attribute(node, "clip").is_some() {
        return Err(refused("clip", "is not supported; train without clipping of the gates"));
    }
    if attribute(node, "input_forget").is_some_and(|coupled| coupled.i != 0) {
        return Err(refused(
            "input_forget",
            "is not supported; train with gates of their own",
        ));
    }
    let direction = attribute(node, "direction").map_or(&b"forward"[..], |direction| &direction.s);
    let is_backwards = match direction.to_ascii_lowercase().as_slice() {
        b"forward" => vec![false],
        b"reverse" => vec![true],
        b"bidirectional" => vec![false, true],
        _ => {
            let problem = format!("is {:?}, which ONNX doesn't have", String::from_utf8_lossy(direction));
            return Err(refused("direction", &problem));
        }
    };
    // Inputs that aren't given aren't counted.
    let is_given = |slot: usize| node.input.get(slot).is_some_and(|name| !name.is_empty());
    let index = |slot: usize| is_given(slot).then(|| (0..slot).filter(|&slot| is_given(slot)).count());
    let of_lstm = |slot: usize| index(slot).filter(|_| kind == Kind::Lstm);
    let recurrent = Recurrent {
        kind,
        curves: Curve::of_node(node, kind.curves(), is_backwards.len())?,
        is_backwards,
        batch_first: attribute(node, "layout").is_some_and(|layout| layout.i == 1),
        bias: index(BIAS),
        lengths: index(LENGTHS),
        output: index(OUTPUT),
        cell: of_lstm(CELL),
        peepholes: of_lstm(PEEPHOLES),
        layers: Vec::new(),
    };
    Ok(wrap(node, recurrent))
}

/// The operator: X, W and R, and the others where they are given.
#[derive(Debug, Clone)]
struct Recurrent {
    kind: Kind,
    /// Of each direction.
    is_backwards: Vec<bool>,
    /// Of each direction, one behind the other.
    curves: Vec<Curve>,
    batch_first: bool,
    bias: Option<usize>,
    /// How many steps each row has.
    lengths: Option<usize>,
    output: Option<usize>,
    cell: Option<usize>,
    peepholes: Option<usize>,
    /// One for each direction, once weights are known to be constants.
    layers: Vec<Layer>,
}

/// An input's numbers as floats of 32 bits, in this shape.
fn floats(inputs: &[&Tensor], index: Option<usize>, name: &str, shape: &[usize]) -> TractResult<Option<Vec<f32>>> {
    let Some(index) = index else { return Ok(None) };
    let input = *inputs.get(index).context("an input is missing")?;
    ensure!(
        input.shape() == shape,
        "its input {name} has shape {:?}, and takes {shape:?}",
        input.shape()
    );
    let numbers = input.cast_to::<f32>()?;
    let plain = numbers.try_as_plain_ram()?;
    Ok(Some(plain.as_slice::<f32>()?.to_vec()))
}

/// The part of numbers that is the `index`th of parts as long.
fn part(numbers: &[f32], index: usize, length: usize) -> &[f32] {
    numbers.get(index * length..(index + 1) * length).unwrap_or_default()
}

impl Recurrent {
    fn directions(&self) -> usize {
        self.is_backwards.len()
    }

    /// The weights of each direction.
    fn layers(&self, inputs: &[&Tensor]) -> TractResult<Vec<Layer>> {
        let [_, w, r, ..] = inputs else {
            bail!("it has {} inputs, and takes three at least", inputs.len());
        };
        let (&[_, gates, width], &[_, _, hidden]) = (w.shape(), r.shape()) else {
            bail!("its weights have shapes {:?} and {:?}", w.shape(), r.shape());
        };
        ensure!(
            hidden > 0 && gates == self.kind.gates() * hidden,
            "its weights are for {gates} gates of {hidden} cells"
        );
        let directions = self.directions();
        let w = floats(inputs, Some(1), "W", &[directions, gates, width])?.unwrap_or_default();
        let r = floats(inputs, Some(2), "R", &[directions, gates, hidden])?.unwrap_or_default();
        let bias = floats(inputs, self.bias, "B", &[directions, 2 * gates])?;
        let peepholes = floats(inputs, self.peepholes, "P", &[directions, 3 * hidden])?;
        let of = |direction: usize| {
            let given = Given {
                w: part(&w, direction, gates * width),
                r: part(&r, direction, gates * hidden),
                bias: bias.as_deref().map(|bias| part(bias, direction, 2 * gates)),
                peepholes: peepholes.as_deref().map(|all| part(all, direction, 3 * hidden)),
            };
            Layer::of(self.kind, &given, hidden)
        };
        Ok((0..directions).map(of).collect())
    }

    /// The sizes of X: steps, rows, width.
    fn sizes<T: Clone>(&self, shape: &[T]) -> TractResult<[T; 3]> {
        match (shape, self.batch_first) {
            ([rows, steps, width], true) | ([steps, rows, width], false) => {
                Ok([steps.clone(), rows.clone(), width.clone()])
            }
            _ => bail!("its input has {} axes, and takes three", shape.len()),
        }
    }

    /// The shapes of Y, and of the last output and cell.
    fn shapes<T: Clone>(&self, [steps, rows]: [T; 2], directions: T, hidden: T) -> (TVec<T>, TVec<T>) {
        if self.batch_first {
            let last = tvec![rows.clone(), directions.clone(), hidden.clone()];
            (tvec![rows, steps, directions, hidden], last)
        } else {
            let last = tvec![directions.clone(), rows.clone(), hidden.clone()];
            (tvec![steps, directions, rows, hidden], last)
        }
    }

    /// How many steps each row has.
    fn lengths(&self, inputs: &[&Tensor], steps: usize, rows: usize) -> TractResult<Vec<usize>> {
        let Some(index) = self.lengths else {
            return Ok(vec![steps; rows]);
        };
        let input = inputs.get(index).context("an input is missing")?.cast_to::<i64>()?;
        ensure!(
            input.shape() == [rows],
            "its input sequence_lens has shape {:?}, and takes one number for each of {rows} rows",
            input.shape()
        );
        let plain = input.try_as_plain_ram()?;
        let length = |&length: &i64| {
            let length = usize::try_from(length).ok().filter(|&length| length <= steps);
            length.with_context(|| {
                format!("one of its sequence_lens is not between 0 and the {steps} steps of its input")
            })
        };
        plain.as_slice::<i64>()?.iter().map(length).collect()
    }

    fn answer(&self, layers: &[Layer], inputs: &[&Tensor]) -> TractResult<Answer> {
        let x = inputs.first().context("no input")?;
        let [steps, rows, width] = self.sizes(x.shape())?;
        let hidden = layers.first().map_or(0, |layer| layer.hidden);
        ensure!(
            layers.iter().all(|layer| layer.width == width && layer.hidden > 0),
            "its input has {width} numbers for each step, which its weights aren't for"
        );
        let directions = layers.len();
        let (y_shape, last_shape) = self.shapes([steps, rows], directions, hidden);
        let x = floats(inputs, Some(0), "X", x.shape())?.unwrap_or_default();
        let output = floats(inputs, self.output, "initial_h", &last_shape)?;
        let cell = floats(inputs, self.cell, "initial_c", &last_shape)?;
        let lengths = self.lengths(inputs, steps, rows)?;
        let kernels = Kernels::new()?;
        let zeros = |shape: &[usize]| vec![0.0; shape.iter().product()];
        let (mut y, mut last, mut cells) = (zeros(&y_shape), zeros(&last_shape), zeros(&last_shape));
        let curves = self.curves.chunks_exact(self.kind.curves().len());
        for ((direction, layer), (curves, &is_backwards)) in (0..).zip(layers).zip(curves.zip(&self.is_backwards)) {
            for (row, &length) in (0..).zip(&lengths) {
                let place = if self.batch_first {
                    row * directions + direction
                } else {
                    direction * rows + row
                };
                // Not its state before: so does ONNX Runtime.
                if length == 0 {
                    continue;
                }
                let before = |all: &Option<Vec<f32>>| all.as_deref().map(|all| part(all, place, hidden).to_vec());
                let mut state = State::of(layer, before(&output), before(&cell));
                for step in 0..length {
                    let step = if is_backwards { length - 1 - step } else { step };
                    let (from, to) = if self.batch_first {
                        (row * steps + step, (row * steps + step) * directions + direction)
                    } else {
                        (step * rows + row, (step * directions + direction) * rows + row)
                    };
                    state.step(self.kind, layer, part(&x, from, width), curves, &kernels)?;
                    write(&mut y, to, state.output(layer));
                }
                write(&mut last, place, state.output(layer));
                write(&mut cells, place, &state.cell);
            }
        }
        Ok(Answer {
            shapes: (y_shape, last_shape),
            y,
            last,
            cells,
        })
    }
}

/// The output of each step, and those of the last.
struct Answer {
    shapes: (TVec<usize>, TVec<usize>),
    y: Vec<f32>,
    last: Vec<f32>,
    cells: Vec<f32>,
}

impl Kernel for Recurrent {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let [x, w, r, ..] = inputs else {
            bail!("it has {} inputs, and takes three at least", inputs.len());
        };
        ensure!(
            x.datum_type.is_float(),
            "its input is {:?}, and has to be floats",
            x.datum_type
        );
        let [steps, rows, width] = self.sizes(&x.shape)?;
        let taken = w.shape.get(2).and_then(|width| width.to_usize().ok());
        if let (Ok(width), Some(taken)) = (width.to_usize(), taken) {
            ensure!(
                width == taken,
                "its input has {width} numbers for each step, and its weights take {taken}"
            );
        }
        let hidden = r.shape.get(2).context("its weights R have fewer axes than three")?;
        let directions = self.directions().to_dim();
        let (of_w, of_r) = (w.shape.first(), r.shape.first());
        ensure!(
            of_w == Some(&directions) && of_r == of_w && w.shape.len() == 3,
            "its weights have shapes {:?} and {:?}, and it has {directions} directions",
            w.shape,
            r.shape
        );
        let (y, last) = self.shapes([steps, rows], directions, hidden.clone());
        let fact = |shape: TVec<TDim>| Fact::new(x.datum_type, shape);
        let outputs = [y, last.clone(), last].into_iter().map(fact);
        Ok(outputs.take(if self.kind == Kind::Lstm { 3 } else { 2 }).collect())
    }

    fn settled(&self, constants: &[Option<&Tensor>]) -> TractResult<Option<Arc<dyn Kernel>>> {
        let mut wanted = [Some(1), Some(2), self.bias, self.peepholes].into_iter().flatten();
        if !wanted.all(|index| constants.get(index).is_some_and(Option::is_some)) {
            return Ok(None);
        }
        let nothing = Tensor::default();
        let inputs: Vec<&Tensor> = constants.iter().map(|constant| constant.unwrap_or(&nothing)).collect();
        let layers = self.layers(&inputs)?;
        Ok(Some(Arc::new(Self { layers, ..self.clone() })))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let layers = if self.layers.is_empty() {
            Cow::Owned(self.layers(inputs)?)
        } else {
            Cow::Borrowed(self.layers.as_slice())
        };
        let datum_type = inputs.first().context("no input")?.datum_type();
        let answer = self.answer(&layers, inputs)?;
        let (y, last) = &answer.shapes;
        let tensor = |shape: &[usize], numbers: &[f32]| -> TractResult<Tensor> {
            Ok(Tensor::from_shape(shape, numbers)?.cast_to_dt(datum_type)?.into_owned())
        };
        let mut outputs = tvec![tensor(y, &answer.y)?, tensor(last, &answer.last)?];
        if self.kind == Kind::Lstm {
            outputs.push(tensor(last, &answer.cells)?);
        }
        Ok(outputs)
    }
}

/// Writes numbers as the `index`th of parts as long.
fn write(to: &mut [f32], index: usize, numbers: &[f32]) {
    if let Some(to) = to.get_mut(index * numbers.len()..(index + 1) * numbers.len()) {
        to.copy_from_slice(numbers);
    }
}
