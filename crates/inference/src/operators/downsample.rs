//! Every second number, or third: what a convolution of 1 x 1 with a stride leaves of a picture before it is multiplied.
//!
//! tract 0.23.9 walks through it by ndarray's general iterator: 11 per cent of ResNet8's time. It can go when tract's takes no
//! longer.

use super::kernel::{self, Fact, Kernel};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::Downsample;

/// Copies the first number and every `stride`th behind it, as far as there is room.
#[inline(always)]
pub(super) fn thin_out<T: Copy>(numbers: &[T], stride: usize, to: &mut [T]) {
    match stride {
        1 => to.iter_mut().zip(numbers).for_each(|(to, &number)| *to = number),
        // As pairs, which a compiler makes vectors of.
        2 => {
            let (pairs, last) = numbers.as_chunks::<2>();
            to.iter_mut().zip(pairs).for_each(|(to, &[number, _])| *to = number);
            if let (Some(to), [last]) = (to.get_mut(pairs.len()), last) {
                *to = *last;
            }
        }
        _ => {
            let numbers = numbers.iter().step_by(stride);
            to.iter_mut().zip(numbers).for_each(|(to, &number)| *to = number);
        }
    }
}

/// The operator, along one axis.
#[derive(Debug)]
struct Thin {
    /// The axis's, and the product of those behind it.
    size: usize,
    behind: usize,
    axis: usize,
    stride: usize,
    first: usize,
}

impl Thin {
    fn of(downsample: &Downsample, shape: &[usize]) -> Option<Self> {
        let axis = downsample.axis;
        Some(Self {
            size: *shape.get(axis)?,
            behind: shape.get(axis + 1..)?.iter().product(),
            axis,
            stride: usize::try_from(downsample.stride).ok().filter(|stride| *stride > 0)?,
            first: downsample.modulo,
        })
    }

    fn of_type<T: Datum + Copy>(&self, input: &Tensor) -> TractResult<Tensor> {
        let plain = input.try_as_plain_ram()?;
        let numbers = plain.as_slice::<T>()?;
        let mut shape: TVec<usize> = input.shape().into();
        *shape.get_mut(self.axis).context("no axis")? = self.left();
        let mut answer = Tensor::zero_dt(input.datum_type(), &shape)?;
        let mut answers = answer.try_as_plain_ram_mut()?;
        let answers = answers.as_slice_mut::<T>()?;
        if !answers.is_empty() {
            let slices = numbers.chunks_exact(self.size * self.behind);
            for (slice, to) in slices.zip(answers.chunks_exact_mut(self.left() * self.behind)) {
                let slice = slice.get(self.first * self.behind..).unwrap_or_default();
                if self.behind == 1 {
                    thin_out(slice, self.stride, to);
                } else {
                    let rows = slice.chunks_exact(self.behind).step_by(self.stride);
                    to.chunks_exact_mut(self.behind)
                        .zip(rows)
                        .for_each(|(to, row)| to.copy_from_slice(row));
                }
            }
        }
        Ok(answer)
    }

    /// How many of its axis are left.
    const fn left(&self) -> usize {
        self.size.saturating_sub(self.first).div_ceil(self.stride)
    }
}

impl Kernel for Thin {
    fn name(&self) -> &'static str {
        "Downsample"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let [input] = inputs else {
            bail!("it has {} inputs, and takes one", inputs.len());
        };
        let mut shape = input.shape.clone();
        let size = shape.get_mut(self.axis).context("it has no such axis")?;
        ensure!(
            *size == self.size.to_dim(),
            "axis {} has size {size}, and is planned for {}",
            self.axis,
            self.size
        );
        *size = self.left().to_dim();
        Ok(tvec![Fact::new(input.datum_type, shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = inputs.first().context("no input")?;
        Ok(tvec![dispatch_copy!(Self::of_type(input.datum_type())(self, input))?])
    }
}

/// Whether the operator takes the place of a node.
pub(super) fn takes(model: &TypedModel, node: &TypedNode) -> bool {
    thin(model, node).is_some()
}

fn thin(model: &TypedModel, node: &TypedNode) -> Option<Thin> {
    let downsample = node.op_as::<Downsample>()?;
    let input = model.outlet_fact(*node.inputs.first()?).ok()?;
    let is_plain = input.datum_type.is_copy() && !input.datum_type.is_quantized();
    is_plain.then_some(())?;
    Thin::of(downsample, input.shape.as_concrete()?)
}

/// Puts the operator in the place of tract's.
pub(crate) fn replace(model: &mut TypedModel) -> TractResult<()> {
    kernel::replace(model, "Downsample", 1, thin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_of_tract() {
        for (shape, axis, stride, modulo, ours) in [
            (&[1, 2, 6, 7][..], 2, 2, 0, true),
            (&[1, 2, 6, 7], 3, 2, 0, true),
            (&[2, 3, 5, 8], 3, 2, 1, true),
            (&[5, 9], 1, 3, 2, true),
            (&[7], 0, 4, 3, true),
            (&[4, 3], 0, 5, 0, true),
            (&[2, 3], 1, 1, 0, true),
            (&[2, 6], 1, -1, 0, false),
        ] {
            let count = shape.iter().product();
            let numbers: Vec<f32> = (0..count).map(|number: usize| number as f32).collect();
            let downsample = Downsample { axis, stride, modulo };
            let answer = |replaced: bool| {
                let mut model = TypedModel::default();
                let x = model.add_source("x", f32::fact(shape)).unwrap();
                let y = model.wire_node("y", downsample.clone(), &[x]).unwrap();
                model.select_output_outlets(&y).unwrap();
                if replaced {
                    replace(&mut model).unwrap();
                }
                let is_ours = !model.nodes().iter().any(|node| node.op_is::<Downsample>());
                let input = Tensor::from_shape(shape, &numbers).unwrap();
                let answers = model.into_runnable().unwrap().run(tvec![input.into()]).unwrap();
                (is_ours, answers[0].clone().into_tensor())
            };
            let ((is_ours, replaced), (_, expected)) = (answer(true), answer(false));
            assert_eq!((is_ours, replaced), (ours, expected), "{shape:?} {downsample:?}");
        }
    }
}
