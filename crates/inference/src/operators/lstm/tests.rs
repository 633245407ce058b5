//! What a layer answers is held against the definition.

use super::*;

const STEPS: usize = 4;
const ROWS: usize = 2;

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
fn all(directions: usize, batch_first: bool, width: usize, hidden: usize) -> (Lstm, Vec<Tensor>) {
    let lstm = Lstm {
        directions,
        batch_first,
        bias: Some(3),
        output: Some(4),
        cell: Some(5),
        peepholes: Some(6),
        layers: Vec::new(),
    };
    let turned = |mut shape: Vec<usize>| {
        if batch_first {
            shape.swap(0, 1);
        }
        shape
    };
    let shapes = [
        turned(vec![STEPS, ROWS, width]),
        vec![directions, GATES * hidden, width],
        vec![directions, GATES * hidden, hidden],
        vec![directions, 2 * GATES * hidden],
        turned(vec![directions, ROWS, hidden]),
        turned(vec![directions, ROWS, hidden]),
        vec![directions, 3 * hidden],
    ];
    let inputs = (1..).zip(&shapes).map(|(seed, shape)| tensor(seed, shape)).collect();
    (lstm, inputs)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Y, Y_h and Y_c as ONNX defines them, one number at a time.
fn by_definition(lstm: &Lstm, inputs: &[Tensor], width: usize, hidden: usize) -> [Vec<f64>; 3] {
    let numbers: Vec<Vec<f64>> = inputs.iter().map(doubles).collect();
    let directions = lstm.directions;
    let given = |index: Option<usize>, place: usize| index.map_or(0.0, |index| numbers[index][place]);
    let mut answers = [
        vec![0.0; STEPS * directions * ROWS * hidden],
        vec![0.0; directions * ROWS * hidden],
        vec![0.0; directions * ROWS * hidden],
    ];
    for (direction, row) in (0..directions).flat_map(|direction| (0..ROWS).map(move |row| (direction, row))) {
        let place = if lstm.batch_first {
            row * directions + direction
        } else {
            direction * ROWS + row
        };
        let state = |index: Option<usize>| (0..hidden).map(|cell| given(index, place * hidden + cell)).collect();
        let (mut output, mut cells): (Vec<f64>, Vec<f64>) = (state(lstm.output), state(lstm.cell));
        for step in 0..STEPS {
            let step = if direction == 0 { step } else { STEPS - 1 - step };
            let (x, to) = if lstm.batch_first {
                (row * STEPS + step, (row * STEPS + step) * directions + direction)
            } else {
                (step * ROWS + row, (step * directions + direction) * ROWS + row)
            };
            let gate = |gate: usize, cell: usize| {
                let row = direction * GATES * hidden + gate * hidden + cell;
                let of_x = (0..width).map(|i| numbers[0][x * width + i] * numbers[1][row * width + i]);
                let of_output = (0..hidden).map(|i| output[i] * numbers[2][row * hidden + i]);
                let bias = 2 * direction * GATES * hidden + gate * hidden + cell;
                let biases = given(lstm.bias, bias) + given(lstm.bias, bias + GATES * hidden);
                of_x.sum::<f64>() + of_output.sum::<f64>() + biases
            };
            let peephole =
                |gate: usize, cell: usize| given(lstm.peepholes, direction * 3 * hidden + gate * hidden + cell);
            let next = (0..hidden).map(|cell| {
                let let_in = sigmoid(gate(0, cell) + peephole(0, cell) * cells[cell]);
                let forget = sigmoid(gate(2, cell) + peephole(2, cell) * cells[cell]);
                let value = forget * cells[cell] + let_in * gate(3, cell).tanh();
                let let_out = sigmoid(gate(1, cell) + peephole(1, cell) * value);
                (let_out * value.tanh(), value)
            });
            (output, cells) = next.collect::<Vec<_>>().into_iter().unzip();
            answers[0][to * hidden..][..hidden].copy_from_slice(&output);
        }
        answers[1][place * hidden..][..hidden].copy_from_slice(&output);
        answers[2][place * hidden..][..hidden].copy_from_slice(&cells);
    }
    answers
}

fn check(lstm: &Lstm, inputs: &[Tensor], width: usize, hidden: usize) {
    let given: Vec<&Tensor> = inputs.iter().collect();
    let answers = lstm.eval(&given).unwrap();
    let constants = (0..).zip(&given).map(|(index, input)| {
        let is_fed = index == 0 || lstm.output == Some(index) || lstm.cell == Some(index);
        (!is_fed).then_some(*input)
    });
    let settled = lstm.settled(&constants.collect::<Vec<_>>()).unwrap().unwrap();
    assert_eq!(
        settled.eval(&given).unwrap(),
        answers,
        "with weights that are constants"
    );
    let known = given.iter().map(|input| {
        let shape = input.shape().iter().map(|size| size.to_dim());
        Fact::new(DatumType::F32, shape)
    });
    let facts = lstm.output_facts(&known.collect::<Vec<_>>()).unwrap();
    let expected = by_definition(lstm, inputs, width, hidden);
    for ((answer, expected), fact) in answers.iter().zip(&expected).zip(facts) {
        let shape = answer.shape().iter().map(|size| size.to_dim());
        assert!(fact.shape.iter().cloned().eq(shape));
        let answer = doubles(answer);
        assert_eq!(answer.len(), expected.len());
        for (answer, expected) in answer.iter().zip(expected) {
            assert!((answer - expected).abs() < 2e-6, "{answer} {expected}");
        }
    }
}

#[test]
fn answers_are_those_of_the_definition() {
    for (directions, batch_first, width, hidden) in [
        (1, false, 3, 5),
        (2, false, 1, 16),
        (1, true, 7, 1),
        (2, true, 4, 33),
        (1, false, 8, 64),
    ] {
        let (mut lstm, mut inputs) = all(directions, batch_first, width, hidden);
        check(&lstm, &inputs, width, hidden);
        for without in 0..4 {
            let optional = [&mut lstm.peepholes, &mut lstm.cell, &mut lstm.output, &mut lstm.bias];
            *optional[without] = None;
            inputs.pop();
            check(&lstm, &inputs, width, hidden);
        }
    }
}

#[test]
fn doubles_and_halves_are_computed_as_floats() {
    let (lstm, inputs) = all(1, false, 3, 5);
    let expected = by_definition(&lstm, &inputs, 3, 5);
    for (datum_type, allowed) in [(DatumType::F64, 2e-6), (DatumType::F16, 5e-3)] {
        let typed = inputs
            .iter()
            .map(|input| input.cast_to_dt(datum_type).unwrap().into_owned());
        let inputs: Vec<Tensor> = typed.collect();
        let answers = lstm.eval(&inputs.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(answers[0].datum_type(), datum_type);
        for (answer, expected) in doubles(&answers[0]).iter().zip(&expected[0]) {
            assert!((answer - expected).abs() < allowed, "{answer} {expected}");
        }
    }
}

#[test]
fn products_are_alike_with_and_without_vectors() {
    for hidden in [1, 3, 4, 17, 64] {
        let numbers = |seed: u32, count: usize| -> Vec<f32> {
            let tensor = tensor(seed, &[count]);
            tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
        };
        let (w, r) = (numbers(1, GATES * hidden * 3), numbers(2, GATES * hidden * hidden));
        let layer = Layer::of(&w, &r, &numbers(3, 2 * GATES * hidden), None, hidden);
        let factors = numbers(4, 3 + hidden + 1);
        let mut with = vec![f32::NAN; GATES * hidden];
        let mut without = with.clone();
        layer.product(&factors, &mut with);
        layer.product_without_vectors(&factors, &mut without);
        for (one, other) in with.iter().zip(&without) {
            assert!((one - other).abs() < 1e-5, "{hidden}: {one} {other}");
        }
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let (lstm, inputs) = all(1, false, 3, 5);
    let refused = |at: usize, shape: &[usize]| {
        let mut inputs = inputs.clone();
        inputs[at] = tensor(1, shape);
        lstm.eval(&inputs.iter().collect::<Vec<_>>()).unwrap_err().to_string()
    };
    assert_eq!(refused(0, &[4, 2]), "its input has 2 axes, and takes three");
    assert!(refused(0, &[4, 2, 4]).contains("4 numbers for each step"));
    assert!(refused(1, &[1, 16, 3]).contains("16 gates of 5 cells"));
    assert!(refused(2, &[1, 0, 0]).contains("20 gates of 0 cells"));
    assert!(refused(3, &[1, 20]).contains("20 numbers, and needs more"));
    assert!(refused(5, &[1, 1, 5]).contains("5 numbers, and needs more"));
}
