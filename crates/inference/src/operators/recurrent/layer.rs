//! One direction of a recurrent layer: its weights, and a step.

use super::super::wide::wide;
use super::curve::{Curve, Kernels};
use tract_onnx::tract_core::internal::TractResult;

/// The kinds of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rnn,
    /// `is_late`: the gate that resets is multiplied with the product (`linear_before_reset`), not with the output before.
    Gru {
        is_late: bool,
    },
    Lstm,
}

impl Kind {
    /// The operator's name in ONNX.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rnn => "RNN",
            Self::Gru { .. } => "GRU",
            Self::Lstm => "LSTM",
        }
    }

    /// Gates for each cell, in the order of their weights. Of a GRU: update, reset and the candidate for the output. Of an
    /// LSTM: input, output, forget and the candidate for the cell.
    pub(super) const fn gates(self) -> usize {
        match self {
            Self::Rnn => 1,
            Self::Gru { .. } => 3,
            Self::Lstm => 4,
        }
    }

    /// The activations of a direction, where a node names none.
    pub(super) const fn curves(self) -> &'static [Curve] {
        match self {
            Self::Rnn => &[Curve::Tanh],
            Self::Gru { .. } => &[Curve::Sigmoid, Curve::Tanh],
            Self::Lstm => &[Curve::Sigmoid, Curve::Tanh, Curve::Tanh],
        }
    }
}

/// Weights, for products with a row of numbers.
#[derive(Debug, Clone)]
struct Matrix {
    columns: usize,
    /// For each number what of it goes into each sum.
    weights: Vec<f32>,
    /// Where each of them begins.
    #[cfg(target_arch = "x86_64")]
    taps: Vec<usize>,
}

impl Matrix {
    /// Each part has, for each sum, the weights of some of the numbers.
    fn of(columns: usize, parts: &[&[f32]]) -> Self {
        let mut weights = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            let rows = part.len() / columns;
            for row in 0..rows {
                weights.extend(part.iter().skip(row).step_by(rows));
            }
        }
        #[cfg(target_arch = "x86_64")]
        let taps = (0..weights.len() / columns).map(|row| row * columns).collect();
        #[cfg(target_arch = "x86_64")]
        weights.extend([0.0; super::super::tiles::BEHIND]);
        Self {
            columns,
            weights,
            #[cfg(target_arch = "x86_64")]
            taps,
        }
    }

    fn product(&self, factors: &[f32], sums: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(vectors) = super::super::tiles::Vectors::of_this_processor() {
            return vectors.run(super::super::tiles::Block {
                taps: &self.taps,
                weights: factors,
                bias: &[0.0],
                numbers: &self.weights,
                sums,
                row: self.columns,
            });
        }
        self.product_without_vectors(factors, sums);
    }

    fn product_without_vectors(&self, factors: &[f32], sums: &mut [f32]) {
        sums.fill(0.0);
        for (factor, weights) in factors.iter().zip(self.weights.chunks_exact(self.columns)) {
            sums.iter_mut()
                .zip(weights)
                .for_each(|(sum, weight)| *sum += factor * weight);
        }
    }
}

/// A direction's weights as ONNX has them: `w` for each gate of each cell, then each number of the input; `r` the same for
/// the output; `bias` has those of both.
pub(super) struct Given<'n> {
    pub(super) w: &'n [f32],
    pub(super) r: &'n [f32],
    pub(super) bias: Option<&'n [f32]>,
    /// Of the cell to the gates for input, output and forgetting.
    pub(super) peepholes: Option<&'n [f32]>,
}

/// A direction of a layer.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) width: usize,
    pub(super) hidden: usize,
    /// The gates, but a GRU's candidate.
    gates: Matrix,
    /// A GRU's candidate: of all numbers, or of the input and, apart, of the output before.
    candidate: Vec<Matrix>,
    peepholes: Option<Vec<f32>>,
}

impl Layer {
    pub(super) fn of(kind: Kind, given: &Given<'_>, hidden: usize) -> Self {
        let sums = kind.gates() * hidden;
        let width = given.w.len() / sums;
        let none = vec![0.0; 2 * sums];
        let (of_input, of_output) = given.bias.unwrap_or(&none).split_at(sums);
        let all = [(given.w, width), (of_input, 1), (given.r, hidden), (of_output, 1)];
        // Some of the gates, some of the numbers.
        let matrix = |gates: std::ops::Range<usize>, numbers: std::ops::Range<usize>| {
            let columns = gates.len() * hidden;
            let parts = all.get(numbers).unwrap_or_default().iter().map(|(part, rows)| {
                let part = part.get(gates.start * hidden * rows..gates.end * hidden * rows);
                part.unwrap_or_default()
            });
            Matrix::of(columns, &parts.collect::<Vec<_>>())
        };
        let (gates, candidate) = match kind {
            Kind::Rnn => (matrix(0..1, 0..4), Vec::new()),
            Kind::Lstm => (matrix(0..4, 0..4), Vec::new()),
            Kind::Gru { is_late: false } => (matrix(0..2, 0..4), vec![matrix(2..3, 0..4)]),
            Kind::Gru { is_late: true } => (matrix(0..2, 0..4), vec![matrix(2..3, 0..2), matrix(2..3, 2..4)]),
        };
        Self {
            width,
            hidden,
            gates,
            candidate,
            peepholes: given.peepholes.map(<[f32]>::to_vec),
        }
    }
}

/// What goes from step to step, and room for what doesn't.
pub(super) struct State {
    /// What is multiplied with the weights: the input, a one, the output before, a one.
    factors: Vec<f32>,
    /// The same for a GRU's candidate, with what the gate lets through of the output.
    reset: Vec<f32>,
    gates: Vec<f32>,
    candidate: Vec<f32>,
    of_output: Vec<f32>,
    pub(super) cell: Vec<f32>,
}

impl State {
    pub(super) fn of(layer: &Layer, output: Option<Vec<f32>>, cell: Option<Vec<f32>>) -> Self {
        let zeros = || vec![0.0; layer.hidden];
        let mut factors = vec![0.0; layer.width];
        factors.push(1.0);
        factors.extend(output.unwrap_or_else(zeros));
        factors.push(1.0);
        Self {
            reset: factors.clone(),
            factors,
            gates: vec![0.0; layer.gates.columns],
            candidate: zeros(),
            of_output: zeros(),
            cell: cell.unwrap_or_else(zeros),
        }
    }

    pub(super) fn output(&self, layer: &Layer) -> &[f32] {
        let output = self.factors.get(layer.width + 1..=layer.width + layer.hidden);
        output.unwrap_or_default()
    }

    /// Takes the next input, by the activations of one direction.
    pub(super) fn step(
        &mut self,
        kind: Kind,
        layer: &Layer,
        input: &[f32],
        curves: &[Curve],
        kernels: &Kernels,
    ) -> TractResult<()> {
        let (of_input, _) = self.factors.split_at_mut(layer.width);
        of_input.copy_from_slice(input);
        layer.gates.product(&self.factors, &mut self.gates);
        match (kind, curves) {
            (Kind::Rnn, &[curve]) => {
                kernels.apply(curve, &mut self.gates)?;
                split(&mut self.factors, layer).1.copy_from_slice(&self.gates);
                Ok(())
            }
            (Kind::Gru { .. }, &[gate, curve]) => self.gru(layer, gate, curve, kernels),
            (Kind::Lstm, &[gate, candidate, cell]) => self.lstm(layer, [gate, candidate, cell], kernels),
            _ => Ok(()),
        }
    }

    fn gru(&mut self, layer: &Layer, gate: Curve, curve: Curve, kernels: &Kernels) -> TractResult<()> {
        kernels.apply(gate, &mut self.gates)?;
        let (update, reset) = self.gates.split_at(layer.hidden);
        let candidate = &mut self.candidate;
        match layer.candidate.as_slice() {
            [of_input, of_output] => {
                let (input, output) = self.factors.split_at(layer.width + 1);
                of_input.product(input, candidate);
                of_output.product(output, &mut self.of_output);
                add_products(candidate, reset, &self.of_output);
            }
            [of_all] => {
                let (input, output) = split(&mut self.factors, layer);
                let (again, let_through) = split(&mut self.reset, layer);
                again.copy_from_slice(input);
                for (to, (reset, output)) in let_through.iter_mut().zip(reset.iter().zip(&*output)) {
                    *to = reset * output;
                }
                of_all.product(&self.reset, candidate);
            }
            _ => {}
        }
        kernels.apply(curve, candidate)?;
        let (_, output) = split(&mut self.factors, layer);
        wide(|| {
            for (output, (update, candidate)) in output.iter_mut().zip(update.iter().zip(&*candidate)) {
                *output = (1.0 - update) * candidate + update * *output;
            }
        });
        Ok(())
    }

    fn lstm(&mut self, layer: &Layer, curves: [Curve; 3], kernels: &Kernels) -> TractResult<()> {
        let hidden = layer.hidden;
        let [gate, of_candidate, of_cell] = curves;
        let (_, output) = split(&mut self.factors, layer);
        let (opened, candidate) = self.gates.split_at_mut(3 * hidden);
        let (let_in, rest) = opened.split_at_mut(hidden);
        let (let_out, forget) = rest.split_at_mut(hidden);
        if let Some(peepholes) = &layer.peepholes {
            let (of_in, rest) = peepholes.split_at(hidden);
            let (_, of_forget) = rest.split_at(hidden);
            add_products(let_in, of_in, &self.cell);
            add_products(forget, of_forget, &self.cell);
        }
        kernels.apply(gate, let_in)?;
        kernels.apply(gate, forget)?;
        kernels.apply(of_candidate, candidate)?;
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
        kernels.apply(gate, let_out)?;
        output.copy_from_slice(cell);
        kernels.apply(of_cell, output)?;
        wide(|| {
            output
                .iter_mut()
                .zip(&*let_out)
                .for_each(|(output, let_out)| *output *= let_out)
        });
        Ok(())
    }
}

/// The input and the output before among the factors.
fn split<'f>(factors: &'f mut [f32], layer: &Layer) -> (&'f mut [f32], &'f mut [f32]) {
    let (input, rest) = factors.split_at_mut(layer.width);
    let output = rest.get_mut(1..=layer.hidden).unwrap_or_default();
    (input, output)
}

fn add_products(sums: &mut [f32], one: &[f32], other: &[f32]) {
    wide(|| {
        for (sum, (one, other)) in sums.iter_mut().zip(one.iter().zip(other)) {
            *sum += one * other;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_alike_with_and_without_vectors() {
        for columns in [1, 3, 4, 17, 64, 256] {
            let numbers = |count: usize| (0..count).map(|number| (number as f32 * 0.7).sin()).collect::<Vec<_>>();
            let (w, bias) = (numbers(columns * 5), numbers(columns));
            let matrix = Matrix::of(columns, &[&w, &bias]);
            let factors = numbers(6);
            let mut with = vec![f32::NAN; columns];
            let mut without = with.clone();
            matrix.product(&factors, &mut with);
            matrix.product_without_vectors(&factors, &mut without);
            for (one, other) in with.iter().zip(&without) {
                assert!((one - other).abs() < 1e-5, "{columns}: {one} {other}");
            }
        }
    }
}
