//! What a layer answers is held against the definition.

use super::*;

const STEPS: usize = 4;
const ROWS: usize = 2;
const KINDS: [Kind; 4] = [
    Kind::Rnn,
    Kind::Gru { is_late: false },
    Kind::Gru { is_late: true },
    Kind::Lstm,
];

/// Always the same numbers, between -1 and 1.
fn tensor(seed: u32, shape: &[usize]) -> Tensor {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    let numbers: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::from_shape(shape, &numbers).unwrap()
}

fn doubles(tensor: &Tensor) -> Vec<f64> {
    let doubles = tensor.cast_to::<f64>().unwrap();
    doubles.try_as_plain_ram().unwrap().as_slice::<f64>().unwrap().to_vec()
}

/// A layer with all inputs, and these.
fn all(kind: Kind, directions: &[bool], batch_first: bool, width: usize, hidden: usize) -> (Recurrent, Vec<Tensor>) {
    let is_lstm = kind == Kind::Lstm;
    let recurrent = Recurrent {
        kind,
        is_backwards: directions.to_vec(),
        curves: kind.curves().repeat(directions.len()),
        batch_first,
        bias: Some(3),
        lengths: Some(4),
        output: Some(5),
        cell: is_lstm.then_some(6),
        peepholes: is_lstm.then_some(7),
        layers: Vec::new(),
    };
    let turned = |mut shape: Vec<usize>| {
        if batch_first {
            shape.swap(0, 1);
        }
        shape
    };
    let (directions, gates) = (directions.len(), kind.gates() * hidden);
    let mut shapes = vec![
        turned(vec![STEPS, ROWS, width]),
        vec![directions, gates, width],
        vec![directions, gates, hidden],
        vec![directions, 2 * gates],
        vec![ROWS],
        turned(vec![directions, ROWS, hidden]),
    ];
    if is_lstm {
        shapes.push(turned(vec![directions, ROWS, hidden]));
        shapes.push(vec![directions, 3 * hidden]);
    }
    let mut inputs: Vec<Tensor> = (1..).zip(&shapes).map(|(seed, shape)| tensor(seed, shape)).collect();
    inputs[4] = Tensor::from_shape(&[ROWS], &[3_i32, 4]).unwrap();
    (recurrent, inputs)
}

fn value(curve: Curve, x: f64) -> f64 {
    match curve {
        Curve::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Curve::Tanh => x.tanh(),
        Curve::Relu => x.max(0.0),
        Curve::Softsign => x / (1.0 + x.abs()),
        Curve::HardSigmoid { alpha, beta } => (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0),
    }
}

/// The output and the cell behind a step, of those before and of the sums of gates that the input and the output have.
struct Step<'s> {
    kind: Kind,
    curves: &'s [Curve],
    /// What the input, and what some output before, add to each gate of each cell.
    of_input: &'s dyn Fn(usize, usize) -> f64,
    of_output: &'s dyn Fn(usize, usize, &[f64]) -> f64,
    peephole: &'s dyn Fn(usize, usize) -> f64,
}

impl Step<'_> {
    fn next(&self, output: &[f64], cells: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let sum = |gate: usize, cell: usize| (self.of_input)(gate, cell) + (self.of_output)(gate, cell, output);
        let curve = |index: usize, x: f64| value(self.curves[index], x);
        let reset: Vec<f64> = match self.kind {
            Kind::Gru { .. } => (0..output.len()).map(|cell| curve(0, sum(1, cell))).collect(),
            _ => Vec::new(),
        };
        let let_through: Vec<f64> = reset.iter().zip(output).map(|(reset, output)| reset * output).collect();
        let next = (0..output.len()).map(|cell| match self.kind {
            Kind::Rnn => (curve(0, sum(0, cell)), 0.0),
            Kind::Gru { is_late } => {
                let of_output = if is_late {
                    reset[cell] * (self.of_output)(2, cell, output)
                } else {
                    (self.of_output)(2, cell, &let_through)
                };
                let update = curve(0, sum(0, cell));
                let candidate = curve(1, (self.of_input)(2, cell) + of_output);
                ((1.0 - update) * candidate + update * output[cell], 0.0)
            }
            Kind::Lstm => {
                let let_in = curve(0, sum(0, cell) + (self.peephole)(0, cell) * cells[cell]);
                let forget = curve(0, sum(2, cell) + (self.peephole)(2, cell) * cells[cell]);
                let next = forget * cells[cell] + let_in * curve(1, sum(3, cell));
                let let_out = curve(0, sum(1, cell) + (self.peephole)(1, cell) * next);
                (let_out * curve(2, next), next)
            }
        });
        next.unzip()
    }
}

/// Y, Y_h and Y_c as ONNX defines them, one number at a time.
fn by_definition(recurrent: &Recurrent, inputs: &[Tensor], width: usize, hidden: usize) -> Vec<Vec<f64>> {
    let numbers: Vec<Vec<f64>> = inputs.iter().map(doubles).collect();
    let (directions, gates) = (recurrent.directions(), recurrent.kind.gates());
    let given = |index: Option<usize>, place: usize| index.map_or(0.0, |index| numbers[index][place]);
    let mut answers = vec![
        vec![0.0; STEPS * directions * ROWS * hidden],
        vec![0.0; directions * ROWS * hidden],
        vec![0.0; directions * ROWS * hidden],
    ];
    for (direction, row) in (0..directions).flat_map(|direction| (0..ROWS).map(move |row| (direction, row))) {
        let place = if recurrent.batch_first {
            row * directions + direction
        } else {
            direction * ROWS + row
        };
        let state = |index: Option<usize>| (0..hidden).map(|cell| given(index, place * hidden + cell)).collect();
        let (mut output, mut cells): (Vec<f64>, Vec<f64>) = (state(recurrent.output), state(recurrent.cell));
        let length = recurrent
            .lengths
            .map_or(STEPS, |lengths| numbers[lengths][row] as usize);
        let curves = recurrent.curves.len() / directions;
        for step in 0..length {
            let step = if recurrent.is_backwards[direction] {
                length - 1 - step
            } else {
                step
            };
            let (x, to) = if recurrent.batch_first {
                (row * STEPS + step, (row * STEPS + step) * directions + direction)
            } else {
                (step * ROWS + row, (step * directions + direction) * ROWS + row)
            };
            let weight = |gate: usize, cell: usize| (direction * gates + gate) * hidden + cell;
            let bias = |of: usize, gate: usize, cell: usize| {
                given(recurrent.bias, ((2 * direction + of) * gates + gate) * hidden + cell)
            };
            let step = Step {
                kind: recurrent.kind,
                curves: &recurrent.curves[direction * curves..][..curves],
                of_input: &|gate, cell| {
                    let products =
                        (0..width).map(|i| numbers[0][x * width + i] * numbers[1][weight(gate, cell) * width + i]);
                    products.sum::<f64>() + bias(0, gate, cell)
                },
                of_output: &|gate, cell, output| {
                    let products = (0..hidden).map(|i| output[i] * numbers[2][weight(gate, cell) * hidden + i]);
                    products.sum::<f64>() + bias(1, gate, cell)
                },
                peephole: &|gate, cell| given(recurrent.peepholes, direction * 3 * hidden + gate * hidden + cell),
            };
            (output, cells) = step.next(&output, &cells);
            answers[0][to * hidden..][..hidden].copy_from_slice(&output);
        }
        if length > 0 {
            answers[1][place * hidden..][..hidden].copy_from_slice(&output);
            answers[2][place * hidden..][..hidden].copy_from_slice(&cells);
        }
    }
    answers.truncate(if recurrent.kind == Kind::Lstm { 3 } else { 2 });
    answers
}

fn check(recurrent: &Recurrent, inputs: &[Tensor], width: usize, hidden: usize) {
    let given: Vec<&Tensor> = inputs.iter().collect();
    let answers = recurrent.eval(&given).unwrap();
    let fed = [Some(0), recurrent.lengths, recurrent.output, recurrent.cell];
    let constants = (0..)
        .zip(&given)
        .map(|(index, input)| (!fed.contains(&Some(index))).then_some(*input));
    let settled = recurrent.settled(&constants.collect::<Vec<_>>()).unwrap().unwrap();
    assert_eq!(
        settled.eval(&given).unwrap(),
        answers,
        "with weights that are constants"
    );
    let known = given.iter().map(|input| {
        let shape = input.shape().iter().map(|size| size.to_dim());
        Fact::new(DatumType::F32, shape)
    });
    let facts = recurrent.output_facts(&known.collect::<Vec<_>>()).unwrap();
    let expected = by_definition(recurrent, inputs, width, hidden);
    assert_eq!((answers.len(), facts.len()), (expected.len(), expected.len()));
    for ((answer, expected), fact) in answers.iter().zip(&expected).zip(facts) {
        let shape = answer.shape().iter().map(|size| size.to_dim());
        assert!(fact.shape.iter().cloned().eq(shape));
        let answer = doubles(answer);
        assert_eq!(answer.len(), expected.len());
        for (answer, expected) in answer.iter().zip(expected) {
            // Each step takes over the roundings of the one before.
            assert!((answer - expected).abs() < 1e-5, "{recurrent:?}: {answer} {expected}");
        }
    }
}

#[test]
fn answers_are_those_of_the_definition() {
    let shapes: [(&[bool], _, _, _); 6] = [
        (&[false], false, 3, 5),
        (&[true], false, 3, 5),
        (&[false, true], false, 1, 16),
        (&[false], true, 7, 1),
        (&[false, true], true, 4, 33),
        (&[true], true, 8, 64),
    ];
    for (kind, (directions, batch_first, width, hidden)) in
        KINDS.into_iter().flat_map(|kind| shapes.map(|shape| (kind, shape)))
    {
        let (mut recurrent, mut inputs) = all(kind, directions, batch_first, width, hidden);
        check(&recurrent, &inputs, width, hidden);
        while inputs.len() > 3 {
            inputs.pop();
            let Recurrent {
                bias,
                lengths,
                output,
                cell,
                peepholes,
                ..
            } = &mut recurrent;
            for optional in [bias, lengths, output, cell, peepholes] {
                *optional = optional.filter(|&index| index < inputs.len());
            }
            check(&recurrent, &inputs, width, hidden);
        }
    }
}

#[test]
fn each_direction_has_activations_of_its_own() {
    let curves = [
        Curve::HardSigmoid { alpha: 0.3, beta: 0.4 },
        Curve::Relu,
        Curve::Softsign,
        Curve::Sigmoid,
        Curve::Softsign,
        Curve::Tanh,
    ];
    for kind in KINDS {
        let (mut recurrent, inputs) = all(kind, &[false, true], false, 3, 5);
        recurrent.curves = curves[..2 * kind.curves().len()].to_vec();
        check(&recurrent, &inputs, 3, 5);
    }
}

#[test]
fn a_row_without_steps_has_zeros() {
    for kind in KINDS {
        let (recurrent, mut inputs) = all(kind, &[false, true], false, 3, 5);
        inputs[4] = Tensor::from_shape(&[ROWS], &[0_i32, 2]).unwrap();
        check(&recurrent, &inputs, 3, 5);
    }
}

#[test]
fn doubles_and_halves_are_computed_as_floats() {
    for kind in KINDS {
        let (recurrent, inputs) = all(kind, &[false], false, 3, 5);
        let expected = by_definition(&recurrent, &inputs, 3, 5);
        for (datum_type, allowed) in [(DatumType::F64, 2e-6), (DatumType::F16, 5e-3)] {
            let typed = inputs.iter().map(|input| match input.datum_type() {
                DatumType::F32 => input.cast_to_dt(datum_type).unwrap().into_owned(),
                _ => input.clone(),
            });
            let inputs: Vec<Tensor> = typed.collect();
            let answers = recurrent.eval(&inputs.iter().collect::<Vec<_>>()).unwrap();
            assert_eq!(answers[0].datum_type(), datum_type);
            for (answer, expected) in doubles(&answers[0]).iter().zip(&expected[0]) {
                assert!((answer - expected).abs() < allowed, "{answer} {expected}");
            }
        }
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let (recurrent, inputs) = all(Kind::Lstm, &[false], false, 3, 5);
    let refused = |at: usize, given: Tensor| {
        let mut inputs = inputs.clone();
        inputs[at] = given;
        let answer = recurrent.eval(&inputs.iter().collect::<Vec<_>>());
        answer.unwrap_err().to_string()
    };
    let shaped = |at: usize, shape: &[usize]| refused(at, tensor(1, shape));
    assert_eq!(shaped(0, &[4, 2]), "its input has 2 axes, and takes three");
    assert!(shaped(0, &[4, 2, 4]).contains("4 numbers for each step"));
    assert!(shaped(1, &[1, 16, 3]).contains("16 gates of 5 cells"));
    assert!(shaped(1, &[2, 20, 3]).contains("input W has shape [2, 20, 3], and takes [1, 20, 3]"));
    assert!(shaped(2, &[1, 0, 0]).contains("20 gates of 0 cells"));
    assert!(shaped(3, &[1, 20]).contains("input B has shape [1, 20], and takes [1, 40]"));
    assert!(shaped(5, &[1, 1, 5]).contains("initial_h has shape [1, 1, 5], and takes [1, 2, 5]"));
    assert!(shaped(6, &[1, 2, 6]).contains("initial_c"));
    assert!(shaped(7, &[1, 10]).contains("input P"));
    assert!(shaped(4, &[3]).contains("takes one number for each of 2 rows"));
    for length in [-1_i32, 5] {
        let lengths = Tensor::from_shape(&[ROWS], &[2, length]).unwrap();
        assert!(refused(4, lengths).contains("not between 0 and the 4 steps"));
    }
}
