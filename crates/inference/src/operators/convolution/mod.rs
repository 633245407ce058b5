//! Convolutions over pictures and rows of numbers, where tract's take longer than they need to.
//!
//! Owns what such a convolution is once shapes are known, and the operator that stands in its place. In which order numbers lie between
//! convolutions is the business of `orders`; how one is computed that of `by_place`, of `depthwise`, and of `dense`, on processors whose
//! vectors they were measured with. Each says when it can go.

#[cfg(target_arch = "x86_64")]
mod by_place;
#[cfg(target_arch = "x86_64")]
mod dense;
mod depthwise;
#[cfg(target_arch = "x86_64")]
mod orders;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
pub(super) use dense::Layout;

use super::kernel::{self, Fact, Kernel};
#[cfg(target_arch = "x86_64")]
use super::tiles;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_core::ops::nn::DataFormat;

/// How a picture's numbers lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// A picture for each channel, as in ONNX.
    ByChannel,
    /// For each place its channels.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "there are no registers for it")
    )]
    ByPlace,
}

/// A convolution in numbers. A row of numbers is a picture of height 1.
#[derive(Debug, Clone)]
pub(super) struct Plain {
    /// Whether it is over pictures, not over rows.
    pub(super) is_picture: bool,
    pub(super) channels: usize,
    pub(super) outputs: usize,
    pub(super) groups: usize,
    pub(super) picture: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) strides: [usize; 2],
    pub(super) dilations: [usize; 2],
    /// Above, to the left, below, to the right.
    pub(super) padding: [usize; 4],
    /// Rows and columns of an output.
    pub(super) output: [usize; 2],
    /// Each output's behind the one before; in it each channel's of the group.
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

impl Plain {
    /// How far from its first place the kernel reads, down and across: row by row, as the weights lie.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn taps(&self) -> impl Iterator<Item = [usize; 2]> {
        let ([rows, columns], [down, across]) = (self.kernel, self.dilations);
        (0..rows).flat_map(move |y| (0..columns).map(move |x| [y * down, x * across]))
    }

    /// What a node computes; None if it isn't of this kind.
    fn read(model: &TypedModel, node: &TypedNode, conv: &Conv) -> Option<Self> {
        let pool = &conv.pool_spec;
        let by_channel = matches!(pool.data_format, DataFormat::NCHW | DataFormat::CHW);
        if conv.q_params.is_some() || conv.kernel_fmt != KernelFormat::OIHW || !by_channel {
            return None;
        }
        let fact = |slot: usize| model.outlet_fact(*node.inputs.get(slot)?).ok();
        let input = fact(0)?;
        if input.datum_type != DatumType::F32 {
            return None;
        }
        let shape = input.shape.as_concrete()?;
        let sizes = match pool.data_format {
            DataFormat::NCHW => shape.get(2..)?,
            _ => shape.get(1..)?,
        };
        let numbers = |slot: usize| {
            let constant = fact(slot)?.konst.as_ref()?;
            let plain = constant.try_as_plain_ram().ok()?;
            Some(plain.as_slice::<f32>().ok()?.to_vec())
        };
        let (weights, bias) = (numbers(1)?, numbers(2)?);
        let padding = pool.computed_padding(sizes);
        let pads =
            |side: &dyn Fn(usize) -> Option<usize>| both(&(0..sizes.len()).filter_map(side).collect::<Vec<_>>(), 0);
        let before = pads(&|axis| Some(padding.get(axis)?.pad_before))?;
        let after = pads(&|axis| Some(padding.get(axis)?.pad_after))?;
        let output: Vec<usize> = padding.iter().map(|axis| axis.convoluted).collect();
        let outputs = pool.output_channels;
        let plain = Self {
            is_picture: sizes.len() == 2,
            channels: pool.input_channels,
            outputs,
            groups: conv.group,
            picture: both(sizes, 1)?,
            kernel: both(&pool.kernel_shape, 1)?,
            strides: both(&pool.strides(), 1)?,
            dilations: both(&pool.dilations(), 1)?,
            padding: [before[0], before[1], after[0], after[1]],
            output: both(&output, 1)?,
            weights,
            bias: if let [one] = *bias { vec![one; outputs] } else { bias },
        };
        plain.fits().then_some(plain)
    }

    /// Whether its sizes are of one picture, and everything in it is finite.
    pub(super) fn fits(&self) -> bool {
        let sizes = [self.picture, self.kernel, self.strides, self.dilations, self.output];
        let counts = [self.groups, self.channels, self.outputs];
        let expected = |axis: usize| {
            let kernel = (self.kernel.get(axis)? - 1).checked_mul(*self.dilations.get(axis)?)? + 1;
            let padded = self
                .picture
                .get(axis)?
                .checked_add(*self.padding.get(axis)?)?
                .checked_add(*self.padding.get(axis + 2)?)?;
            Some(padded.checked_sub(kernel)? / self.strides.get(axis)? + 1)
        };
        !sizes.as_flattened().contains(&0)
            && !counts.contains(&0)
            && self.channels.is_multiple_of(self.groups)
            && self.outputs.is_multiple_of(self.groups)
            && self.bias.len() == self.outputs
            && self.weights.len() == self.outputs * (self.channels / self.groups) * self.kernel[0] * self.kernel[1]
            && [expected(0), expected(1)] == self.output.map(Some)
            // Padding is multiplied like any number here, and that of an infinite weight would be NaN.
            && self.weights.iter().all(|weight| weight.is_finite())
    }
}

/// What there is for two axes, or for one, which is the second.
pub(super) fn both(sizes: &[usize], first: usize) -> Option<[usize; 2]> {
    match *sizes {
        [one] => Some([first, one]),
        [one, other] => Some([one, other]),
        _ => None,
    }
}

/// Who computes it.
#[derive(Debug)]
pub(super) enum Way {
    Depthwise(depthwise::Depthwise),
    #[cfg(target_arch = "x86_64")]
    Dense(dense::Dense),
    #[cfg(target_arch = "x86_64")]
    ByPlace(by_place::ByPlace),
}

impl Way {
    /// One sample's outputs, channel by channel.
    pub(super) fn eval(&self, numbers: &[f32], answers: &mut [f32]) {
        match self {
            Self::Depthwise(depthwise) => depthwise.eval(numbers, answers),
            #[cfg(target_arch = "x86_64")]
            Self::Dense(dense) => dense.eval(numbers, answers),
            #[cfg(target_arch = "x86_64")]
            Self::ByPlace(by_place) => by_place.eval(numbers, answers),
        }
    }

    pub(super) fn to(plain: &Plain) -> Option<Self> {
        if plain.groups == plain.channels && plain.outputs == plain.channels && plain.groups > 1 {
            return depthwise::Depthwise::of(plain).map(Self::Depthwise);
        }
        Self::dense(plain)
    }

    #[cfg(target_arch = "x86_64")]
    fn dense(plain: &Plain) -> Option<Self> {
        let vectors = tiles::Vectors::of_this_processor()?;
        dense::Dense::of(plain, vectors).map(Self::Dense)
    }

    #[cfg(not(target_arch = "x86_64"))]
    const fn dense(_: &Plain) -> Option<Self> {
        None
    }
}

/// The operator.
#[derive(Debug)]
struct Convolution {
    input: TVec<usize>,
    output: TVec<usize>,
    /// In front of a sample's sizes an answer has as many dimensions as this says, all of them 1; None: those of the input.
    samples: Option<usize>,
    way: Way,
}

impl Convolution {
    fn of(plain: &Plain) -> Option<Self> {
        Some(Self::by(plain, Way::to(plain)?, [Order::ByChannel; 2]))
    }

    /// `orders` are those of what is read and of what is answered.
    fn by(plain: &Plain, way: Way, [from, to]: [Order; 2]) -> Self {
        let shape = |order: Order, channels: usize, [rows, columns]: [usize; 2]| {
            let mut shape = if plain.is_picture {
                tvec![channels, rows, columns]
            } else {
                tvec![channels, columns]
            };
            if order == Order::ByPlace {
                shape.rotate_left(1);
            }
            shape
        };
        Self {
            input: shape(from, plain.channels, plain.picture),
            output: shape(to, plain.outputs, plain.output),
            samples: None,
            way,
        }
    }
}

impl Kernel for Convolution {
    fn name(&self) -> &'static str {
        match self.way {
            Way::Depthwise(_) => "DepthwiseConv",
            #[cfg(target_arch = "x86_64")]
            Way::Dense(_) => "DenseConv",
            #[cfg(target_arch = "x86_64")]
            Way::ByPlace(_) => "ConvByPlace",
        }
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let [input] = inputs else {
            bail!("it has {} inputs, and takes one", inputs.len());
        };
        let expected = self.input.iter().map(|size| size.to_dim());
        // tract leaves out a first dimension of 1.
        let samples = input.shape.len().saturating_sub(expected.len());
        ensure!(
            samples <= 1 && input.shape.iter().skip(samples).cloned().eq(expected),
            "its input has shape {:?}, and is planned for {:?} of each sample",
            input.shape,
            self.input
        );
        let sizes = self.output.iter().map(|size| size.to_dim());
        let shape: TVec<TDim> = match self.samples {
            None => input.shape.iter().take(samples).cloned().chain(sizes).collect(),
            Some(answered) => {
                ensure!(
                    input.shape.iter().take(samples).all(|samples| samples.is_one()),
                    "its input has shape {:?}, and is planned for one sample",
                    input.shape
                );
                std::iter::repeat_n(1.to_dim(), answered).chain(sizes).collect()
            }
        };
        Ok(tvec![Fact::new(input.datum_type, shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = inputs.first().context("no input")?;
        let samples = input.shape().len().saturating_sub(self.input.len());
        let front: TVec<usize> = match self.samples {
            None => input.shape().iter().take(samples).copied().collect(),
            Some(answered) => tvec![1; answered],
        };
        let shape: TVec<usize> = front.iter().chain(&self.output).copied().collect();
        let plain = input.try_as_plain_ram()?;
        let numbers = plain.as_slice::<f32>()?.chunks_exact(self.input.iter().product());
        let mut answer = Tensor::zero::<f32>(&shape)?;
        let mut answers = answer.try_as_plain_ram_mut()?;
        let answers = answers
            .as_slice_mut::<f32>()?
            .chunks_exact_mut(self.output.iter().product());
        numbers
            .zip(answers)
            .for_each(|(numbers, answers)| self.way.eval(numbers, answers));
        Ok(tvec![answer])
    }
}

/// Puts the operator in the place of every convolution that it can compute. The model's constants have been folded.
pub(crate) fn replace(model: &mut TypedModel) -> TractResult<()> {
    #[cfg(target_arch = "x86_64")]
    orders::choose(model)?;
    kernel::replace(model, "Conv", 1, |model, node| {
        let plain = Plain::read(model, node, node.op_as::<Conv>()?)?;
        Convolution::of(&plain)
    })
}
