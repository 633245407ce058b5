//! What NaN in a sequence does to a recurrent layer, told apart from the layer: 0 for an output that is a number, NaN for one
//! that isn't, to be added to it.
//!
//! tract 0.23.9 computes GRUs as PyTorch exports them in a kernel for all steps, which is quick and takes NaN for a large
//! number. It can go when that kernel lets NaN through. What becomes NaN between two numbers of the layer itself, such as
//! the difference of infinities, isn't seen.

use super::kernel::{Built, Fact, Kernel, wrap};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;

/// Under a name that no exporter has. Inputs: X and, where there is one, the output to begin with. Outputs: what is added to Y
/// and to Y_h, which has one number in place of all of a row's.
pub(crate) const NAME: &str = "FloorhandNanRows";

pub(super) fn build(_context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    let integer = |name: &str| {
        node.attribute
            .iter()
            .find(|attribute| attribute.name == name)
            .map(|a| a.i)
    };
    let rows = NanRows {
        directions: if integer("directions") == Some(2) { 2 } else { 1 },
        batch_first: integer("layout") == Some(1),
    };
    Ok(wrap(node, rows))
}

#[derive(Debug)]
struct NanRows {
    directions: usize,
    batch_first: bool,
}

impl NanRows {
    /// The sizes of X: steps and rows.
    fn sizes<T: Clone>(&self, shape: &[T]) -> TractResult<[T; 2]> {
        match (shape, self.batch_first) {
            ([rows, steps, _], true) | ([steps, rows, _], false) => Ok([steps.clone(), rows.clone()]),
            _ => bail!("its input has {} axes, and takes three", shape.len()),
        }
    }

    fn shapes<T: Clone>(&self, [steps, rows]: [T; 2], directions: T, one: T) -> [TVec<T>; 2] {
        if self.batch_first {
            [
                tvec![rows.clone(), steps, directions.clone(), one.clone()],
                tvec![rows, directions, one],
            ]
        } else {
            [
                tvec![steps, directions.clone(), rows.clone(), one.clone()],
                tvec![directions, rows, one],
            ]
        }
    }
}

/// For each of parts of a tensor whether NaN is in it.
fn has_nan(tensor: &Tensor, parts: usize) -> TractResult<Vec<bool>> {
    let floats = tensor.cast_to::<f32>()?;
    let plain = floats.try_as_plain_ram()?;
    let numbers = plain.as_slice::<f32>()?;
    let length = numbers.len().checked_div(parts).unwrap_or_default().max(1);
    Ok(numbers
        .chunks(length)
        .map(|part| part.iter().any(|x| x.is_nan()))
        .collect())
}

impl Kernel for NanRows {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let x = inputs.first().context("it has no input")?;
        let sizes = self.sizes(&x.shape)?;
        let shapes = self.shapes(sizes, self.directions.to_dim(), 1.to_dim());
        Ok(shapes.into_iter().map(|shape| Fact::new(x.datum_type, shape)).collect())
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let x = inputs.first().context("no input")?;
        let [steps, rows] = self.sizes(x.shape())?;
        let given = has_nan(x, steps * rows)?;
        let begun = match inputs.get(1) {
            Some(begun) => has_nan(begun, self.directions * rows)?,
            None => Vec::new(),
        };
        let [y_shape, last_shape] = self.shapes([steps, rows], self.directions, 1);
        let mut y = vec![0.0_f32; steps * self.directions * rows];
        let mut last = vec![0.0_f32; self.directions * rows];
        for (direction, row) in (0..self.directions).flat_map(|direction| (0..rows).map(move |row| (direction, row))) {
            let place = if self.batch_first {
                row * self.directions + direction
            } else {
                direction * rows + row
            };
            let mut is_nan = begun.get(place).copied().unwrap_or_default();
            for step in 0..steps {
                let step = if direction == 0 { step } else { steps - 1 - step };
                let (from, to) = if self.batch_first {
                    (row * steps + step, (row * steps + step) * self.directions + direction)
                } else {
                    (step * rows + row, (step * self.directions + direction) * rows + row)
                };
                is_nan |= given.get(from).copied().unwrap_or_default();
                if let Some(y) = y.get_mut(to).filter(|_| is_nan) {
                    *y = f32::NAN;
                }
            }
            if let Some(last) = last.get_mut(place).filter(|_| is_nan) {
                *last = f32::NAN;
            }
        }
        let tensor = |shape: &[usize], numbers: &[f32]| -> TractResult<Tensor> {
            Ok(Tensor::from_shape(shape, numbers)?
                .cast_to_dt(x.datum_type())?
                .into_owned())
        };
        Ok(tvec![tensor(&y_shape, &y)?, tensor(&last_shape, &last)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: usize = 3;
    const ROWS: usize = 2;
    const WIDTH: usize = 2;

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
    }

    #[test]
    fn nan_goes_on_in_the_direction_of_the_layer() {
        for (directions, batch_first) in [(1, false), (2, false), (1, true), (2, true)] {
            let rows = NanRows {
                directions,
                batch_first,
            };
            let (step, row) = (1, 1);
            let mut x = vec![0.5_f32; STEPS * ROWS * WIDTH];
            let (place, shape) = if batch_first {
                (row * STEPS + step, [ROWS, STEPS, WIDTH])
            } else {
                (step * ROWS + row, [STEPS, ROWS, WIDTH])
            };
            x[place * WIDTH + 1] = f32::NAN;
            let x = Tensor::from_shape(&shape, &x).unwrap();
            let answers = rows.eval(&[&x]).unwrap();
            let known = [Fact::new(DatumType::F32, shape.map(|size| size.to_dim()))];
            for (answer, fact) in answers.iter().zip(rows.output_facts(&known).unwrap()) {
                assert!(
                    fact.shape
                        .iter()
                        .cloned()
                        .eq(answer.shape().iter().map(|size| size.to_dim()))
                );
            }
            let (y, last) = (numbers(&answers[0]), numbers(&answers[1]));
            for (direction, step, row) in (0..directions)
                .flat_map(|direction| (0..STEPS).flat_map(move |step| (0..ROWS).map(move |row| (direction, step, row))))
            {
                let (of_y, of_last) = if batch_first {
                    (
                        (row * STEPS + step) * directions + direction,
                        row * directions + direction,
                    )
                } else {
                    ((step * directions + direction) * ROWS + row, direction * ROWS + row)
                };
                let reached = if direction == 0 { step >= 1 } else { step <= 1 };
                assert_eq!(
                    y[of_y].is_nan(),
                    row == 1 && reached,
                    "{directions} {batch_first} {direction} {step} {row}"
                );
                assert_eq!(last[of_last].is_nan(), row == 1);
            }
            assert!(y.iter().chain(&last).all(|&x| x == 0.0 || x.is_nan()));
            // The output to begin with: all of its row and direction.
            let mut begun = vec![0.0_f32; directions * ROWS * 4];
            *begun.last_mut().unwrap() = f32::NAN;
            let begun = Tensor::from_shape(&[directions, ROWS, 4], &begun).unwrap();
            let clean = Tensor::from_shape(&shape, &[1.0_f32; STEPS * ROWS * WIDTH]).unwrap();
            let answers = rows.eval(&[&clean, &begun]).unwrap();
            assert_eq!(numbers(&answers[0]).iter().filter(|x| x.is_nan()).count(), STEPS);
            assert_eq!(numbers(&answers[1]).iter().filter(|x| x.is_nan()).count(), 1);
        }
    }
}
