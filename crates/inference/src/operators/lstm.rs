//! LSTM layers, a step at a time.
//!
//! tract 0.23.9 makes of such a layer a loop over a small model, whose plan takes longer than what it computes: three times
//! what ONNX Runtime takes for 64 hidden numbers. Here a step is one product of the weights with the input, the output
//! before and a one for the bias, and four loops. It can go when tract's takes no longer.

#[cfg(test)]
mod tests;

use super::kernel::{Built, Fact, Kernel, wrap};
use super::nan::of_numbers;
use super::wide::wide;
use std::borrow::Cow;
use std::sync::Arc;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::tract_linalg::element_wise::ElementWise;
use tract_onnx::tract_core::tract_linalg::routines::Func;

/// Gates, in the order of their weights: input, output, forget, and the candidate for the cell.
const GATES: usize = 4;

/// Where an optional input stands among those of ONNX.
const BIAS: usize = 3;
const LENGTHS: usize = 4;
const OUTPUT: usize = 5;
const CELL: usize = 6;
const PEEPHOLES: usize = 7;

/// Activations have been held against the operator's own, and layers that run backwards alone have been turned round.
pub(super) fn build(context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    let is_given = |slot: usize| node.input.get(slot).is_some_and(|name| !name.is_empty());
    if is_given(LENGTHS) {
        return tract_onnx::ops::rec::lstm::lstm(context, node);
    }
    let attribute = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
    // Inputs that aren't given aren't counted.
    let index = |slot: usize| {
        let before = node.input.iter().take(slot).filter(|name| !name.is_empty());
        is_given(slot).then(|| before.count())
    };
    let is_both = attribute("direction").is_some_and(|direction| direction.s.eq_ignore_ascii_case(b"bidirectional"));
    let lstm = Lstm {
        directions: if is_both { 2 } else { 1 },
        batch_first: attribute("layout").is_some_and(|layout| layout.i == 1),
        bias: index(BIAS),
        output: index(OUTPUT),
        cell: index(CELL),
        peepholes: index(PEEPHOLES),
        layers: Vec::new(),
    };
    Ok(wrap(node, lstm))
}

/// The operator: X, W and R, and the others where they are given.
#[derive(Debug, Clone)]
struct Lstm {
    directions: usize,
    batch_first: bool,
    bias: Option<usize>,
    output: Option<usize>,
    cell: Option<usize>,
    peepholes: Option<usize>,
    /// One for each direction, once weights are known to be constants.
    layers: Vec<Layer>,
}

/// A direction's weights.
#[derive(Debug, Clone)]
struct Layer {
    width: usize,
    hidden: usize,
    /// For each number of the input, each of the output before, and for a one: what of it goes into each gate of each cell.
    weights: Vec<f32>,
    /// Where each of them begins.
    #[cfg(target_arch = "x86_64")]
    taps: Vec<usize>,
    /// Of the cell to the gates for input, output and forgetting.
    peepholes: Option<Vec<f32>>,
}

impl Layer {
    /// `w` is for each gate of each cell, then each number of the input; `r` the same for the output; `bias` has those of both.
    fn of(w: &[f32], r: &[f32], bias: &[f32], peepholes: Option<&[f32]>, hidden: usize) -> Self {
        let gates = GATES * hidden;
        let width = w.len() / gates;
        let mut weights = Vec::with_capacity((width + hidden + 1) * gates);
        for (matrix, columns) in [(w, width), (r, hidden)] {
            for column in 0..columns {
                weights.extend(matrix.iter().skip(column).step_by(columns));
            }
        }
        let (of_input, of_output) = bias.split_at(gates.min(bias.len()));
        let bias = (0..gates).map(|gate| of_input.get(gate).unwrap_or(&0.0) + of_output.get(gate).unwrap_or(&0.0));
        weights.extend(bias);
        #[cfg(target_arch = "x86_64")]
        weights.extend([0.0; super::tiles::BEHIND]);
        Self {
            width,
            hidden,
            weights,
            #[cfg(target_arch = "x86_64")]
            taps: (0..=width + hidden).map(|row| row * gates).collect(),
            peepholes: peepholes.map(<[f32]>::to_vec),
        }
    }

    /// The sums of all gates.
    fn product(&self, factors: &[f32], sums: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(vectors) = super::tiles::Vectors::of_this_processor() {
            let row = sums.len();
            return vectors.run(super::tiles::Block {
                taps: &self.taps,
                weights: factors,
                bias: &[0.0],
                numbers: &self.weights,
                sums,
                row,
            });
        }
        self.product_without_vectors(factors, sums);
    }

    fn product_without_vectors(&self, factors: &[f32], sums: &mut [f32]) {
        sums.fill(0.0);
        for (factor, weights) in factors.iter().zip(self.weights.chunks_exact(sums.len())) {
            sums.iter_mut()
                .zip(weights)
                .for_each(|(sum, weight)| *sum += factor * weight);
        }
    }
}

/// The activations' kernels.
struct Curves {
    sigmoid: Box<dyn ElementWise<f32>>,
    tanh: Box<dyn ElementWise<f32>>,
}

/// What goes from step to step: what is multiplied with the weights (input, output, a one), the gates and the cell.
struct State {
    factors: Vec<f32>,
    gates: Vec<f32>,
    cell: Vec<f32>,
}

impl State {
    fn of(layer: &Layer, output: Option<&[f32]>, cell: Option<&[f32]>) -> Self {
        let zeros = || vec![0.0; layer.hidden];
        let mut factors = vec![0.0; layer.width];
        factors.extend(output.map_or_else(zeros, <[f32]>::to_vec));
        factors.push(1.0);
        Self {
            factors,
            gates: vec![0.0; GATES * layer.hidden],
            cell: cell.map_or_else(zeros, <[f32]>::to_vec),
        }
    }

    /// The output.
    fn output(&self, layer: &Layer) -> &[f32] {
        let output = self.factors.get(layer.width..layer.width + layer.hidden);
        output.unwrap_or_default()
    }

    fn step(&mut self, layer: &Layer, input: &[f32], curves: &Curves) -> TractResult<()> {
        let hidden = layer.hidden;
        let (of_input, _) = self.factors.split_at_mut(layer.width);
        of_input.copy_from_slice(input);
        layer.product(&self.factors, &mut self.gates);
        let output = self
            .factors
            .get_mut(layer.width..layer.width + hidden)
            .unwrap_or_default();
        let (opened, candidate) = self.gates.split_at_mut(3 * hidden);
        let (let_in, rest) = opened.split_at_mut(hidden);
        let (let_out, forget) = rest.split_at_mut(hidden);
        if let Some(peepholes) = &layer.peepholes {
            let (of_in, rest) = peepholes.split_at(hidden);
            let (_, of_forget) = rest.split_at(hidden);
            add_products(let_in, of_in, &self.cell);
            add_products(forget, of_forget, &self.cell);
        }
        of_numbers(let_in, &*curves.sigmoid)?;
        of_numbers(forget, &*curves.sigmoid)?;
        of_numbers(candidate, &*curves.tanh)?;
        let cell = &mut self.cell;
        wide(|| {
            let added = let_in.iter().zip(&*candidate);
            for ((cell, forget), (let_in, candidate)) in cell.iter_mut().zip(&*forget).zip(added) {
                *cell = *forget * *cell + *let_in * *candidate;
            }
        });
        if let Some(peepholes) = &layer.peepholes {
            let of_out = peepholes.get(hidden..2 * hidden).unwrap_or_default();
            add_products(let_out, of_out, cell);
        }
        of_numbers(let_out, &*curves.sigmoid)?;
        output.copy_from_slice(cell);
        of_numbers(output, &*curves.tanh)?;
        wide(|| {
            output
                .iter_mut()
                .zip(&*let_out)
                .for_each(|(output, let_out)| *output *= let_out)
        });
        Ok(())
    }
}

fn add_products(sums: &mut [f32], one: &[f32], other: &[f32]) {
    for (sum, (one, other)) in sums.iter_mut().zip(one.iter().zip(other)) {
        *sum += one * other;
    }
}

/// A tensor's numbers as floats of 32 bits.
fn floats<'t>(inputs: &[&'t Tensor], index: usize) -> TractResult<Cow<'t, Tensor>> {
    inputs.get(index).context("an input is missing")?.cast_to::<f32>()
}

/// The part of a slice that is the `index`th of parts as long.
fn part(numbers: &[f32], index: usize, length: usize) -> TractResult<&[f32]> {
    let part = numbers.get(index * length..(index + 1) * length);
    part.with_context(|| format!("an input has {} numbers, and needs more", numbers.len()))
}

impl Lstm {
    /// The weights of each direction.
    fn layers(&self, inputs: &[&Tensor]) -> TractResult<Vec<Layer>> {
        let (w, r) = (floats(inputs, 1)?, floats(inputs, 2)?);
        let (&[_, gates, width], &[_, _, hidden]) = (w.shape(), r.shape()) else {
            bail!("its weights have shapes {:?} and {:?}", w.shape(), r.shape());
        };
        ensure!(
            hidden > 0 && gates == GATES * hidden,
            "its weights are for {gates} gates of {hidden} cells"
        );
        let bias = self.bias.map(|index| floats(inputs, index)).transpose()?;
        let peepholes = self.peepholes.map(|index| floats(inputs, index)).transpose()?;
        let slice = |tensor: &Cow<'_, Tensor>| -> TractResult<Vec<f32>> {
            Ok(tensor.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
        };
        let (w, r) = (slice(&w)?, slice(&r)?);
        let bias = bias.as_ref().map(slice).transpose()?;
        let peepholes = peepholes.as_ref().map(slice).transpose()?;
        let of = |direction: usize| {
            let bias = bias.as_ref().map(|bias| part(bias, direction, 2 * gates));
            let peepholes = peepholes
                .as_ref()
                .map(|peepholes| part(peepholes, direction, 3 * hidden));
            let layer = Layer::of(
                part(&w, direction, gates * width)?,
                part(&r, direction, gates * hidden)?,
                bias.transpose()?.unwrap_or_default(),
                peepholes.transpose()?,
                hidden,
            );
            Ok(layer)
        };
        (0..self.directions).map(of).collect()
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
}

impl Kernel for Lstm {
    fn name(&self) -> &'static str {
        "LSTM"
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
        let [steps, rows, _] = self.sizes(&x.shape)?;
        let hidden = r.shape.get(2).context("its weights R have fewer axes than three")?;
        let directions = self.directions.to_dim();
        let (of_w, of_r) = (w.shape.first(), r.shape.first());
        ensure!(
            of_w == Some(&directions) && of_r == of_w && w.shape.len() == 3,
            "its weights have shapes {:?} and {:?}, and it has {directions} directions",
            w.shape,
            r.shape
        );
        let fact = |shape: TVec<TDim>| Fact::new(x.datum_type, shape);
        let (y, last) = if self.batch_first {
            (
                tvec![rows.clone(), steps, directions.clone(), hidden.clone()],
                tvec![rows, directions, hidden.clone()],
            )
        } else {
            (
                tvec![steps, directions.clone(), rows.clone(), hidden.clone()],
                tvec![directions, rows, hidden.clone()],
            )
        };
        Ok(tvec![fact(y), fact(last.clone()), fact(last)])
    }

    fn settled(&self, constants: &[Option<&Tensor>]) -> TractResult<Option<Arc<dyn Kernel>>> {
        let wanted = [Some(1), Some(2), self.bias, self.peepholes].into_iter().flatten();
        let is_settled = wanted
            .into_iter()
            .all(|index| constants.get(index).is_some_and(Option::is_some));
        if !is_settled {
            return Ok(None);
        }
        let nothing = Tensor::default();
        let inputs: Vec<&Tensor> = constants.iter().map(|constant| constant.unwrap_or(&nothing)).collect();
        let layers = self.layers(&inputs)?;
        Ok(Some(Arc::new(Self { layers, ..self.clone() })))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let fresh;
        let layers = if self.layers.is_empty() {
            fresh = self.layers(inputs)?;
            &fresh
        } else {
            &self.layers
        };
        let datum_type = inputs.first().context("no input")?.datum_type();
        let x = floats(inputs, 0)?;
        let [steps, rows, width] = self.sizes(x.shape())?;
        let hidden = layers.first().map_or(0, |layer| layer.hidden);
        ensure!(
            layers.iter().all(|layer| layer.width == width && layer.hidden > 0),
            "its input has {width} numbers for each step, which its weights aren't for"
        );
        let x = x.try_as_plain_ram()?;
        let x = x.as_slice::<f32>()?;
        let output = self.output.map(|index| floats(inputs, index)).transpose()?;
        let cell = self.cell.map(|index| floats(inputs, index)).transpose()?;
        let before = |tensor: &Option<Cow<'_, Tensor>>, place: usize| -> TractResult<Option<Vec<f32>>> {
            let Some(tensor) = tensor else { return Ok(None) };
            let plain = tensor.try_as_plain_ram()?;
            Ok(Some(part(plain.as_slice::<f32>()?, place, hidden)?.to_vec()))
        };
        let curves = Curves {
            sigmoid: Func::Sigmoid.ew_f32()?,
            tanh: Func::Tanh.ew_f32()?,
        };
        let directions = layers.len();
        let mut y = vec![0.0; steps * directions * rows * hidden];
        let (mut last, mut cells) = (
            vec![0.0; directions * rows * hidden],
            vec![0.0; directions * rows * hidden],
        );
        for (direction, layer) in layers.iter().enumerate() {
            for row in 0..rows {
                let place = if self.batch_first {
                    row * directions + direction
                } else {
                    direction * rows + row
                };
                let (output, cell) = (before(&output, place)?, before(&cell, place)?);
                let mut state = State::of(layer, output.as_deref(), cell.as_deref());
                for step in 0..steps {
                    let step = if direction == 0 { step } else { steps - 1 - step };
                    let (from, to) = if self.batch_first {
                        (row * steps + step, (row * steps + step) * directions + direction)
                    } else {
                        (step * rows + row, (step * directions + direction) * rows + row)
                    };
                    state.step(layer, part(x, from, width)?, &curves)?;
                    write(&mut y, to, state.output(layer));
                }
                write(&mut last, place, state.output(layer));
                write(&mut cells, place, &state.cell);
            }
        }
        let (y_shape, last_shape) = if self.batch_first {
            ([rows, steps, directions, hidden], [rows, directions, hidden])
        } else {
            ([steps, directions, rows, hidden], [directions, rows, hidden])
        };
        let tensor = |shape: &[usize], numbers: &[f32]| -> TractResult<Tensor> {
            Ok(Tensor::from_shape(shape, numbers)?.cast_to_dt(datum_type)?.into_owned())
        };
        Ok(tvec![
            tensor(&y_shape, &y)?,
            tensor(&last_shape, &last)?,
            tensor(&last_shape, &cells)?
        ])
    }
}

/// Writes numbers as the `index`th of parts as long.
fn write(to: &mut [f32], index: usize, numbers: &[f32]) {
    if let Some(to) = to.get_mut(index * numbers.len()..(index + 1) * numbers.len()) {
        to.copy_from_slice(numbers);
    }
}
