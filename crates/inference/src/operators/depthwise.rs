//! Depthwise convolutions: each channel of a picture by a small kernel of its own.
//!
//! tract 0.23.9 has them, with the same answers up to the sign of a zero, in a loop over every place of a channel wherever
//! the kernel reaches over the edge or its stride isn't 1: 70 per cent of the time of MLPerf Tiny's key words and person
//! detector. Here a channel is laid out once for each column of the kernel, padding and all, in rows as wide as the
//! output's. So all places of the output are computed alike, lane by lane, whatever row they are in: key words take 114 us
//! in place of 172. It can go when tract's takes no longer.

use super::kernel::{self, Fact, Kernel};
use std::sync::Arc;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_core::ops::nn::DataFormat;

/// Places of the output that are computed at once: a compiler makes vectors of them.
const LANES: usize = 16;

/// The most that a channel may take as it is laid out, in bytes: what stays near a core. Under a kernel of 3 x 3 those are
/// 295 x 295 places; larger pictures are left to tract.
const MAX_LAID_OUT_BYTES: usize = 1 << 20;

/// The widest rows that are laid out all at once, through masks that are kept. Wider ones are copied row by row.
const NARROW: usize = 64;

/// Where everything lies. Sizes are in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Geometry {
    height: usize,
    width: usize,
    strides: [usize; 2],
    /// Rows of zeros above.
    top: usize,
    output: [usize; 2],
    /// Rows of one stride's places, padding and all, of the output's width.
    plane: usize,
    /// For each column of the kernel what it is multiplied with at each place of the output.
    columns: Vec<Column>,
    /// How far behind a place of the output the number is that each weight is for.
    taps: Vec<usize>,
}

/// A picture as one column of the kernel sees it: shifted, with zeros where that is beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    /// Where the first row of the first stride's places begins.
    begin: usize,
    /// The first place of an output's row that isn't padding, and behind the last.
    inside: [usize; 2],
    /// What of the picture's row is at that first place.
    first: usize,
    /// Where output and picture have the same width, and a narrow one: all bits of a number that is inside, none of padding.
    masks: Vec<u32>,
}

impl Geometry {
    /// None if nothing comes of it, or if it takes more than [`MAX_LAID_OUT_BYTES`]. `padding` is above, to the left, below, to the
    /// right.
    fn new(picture: [usize; 2], kernel: [usize; 2], strides: [usize; 2], padding: [usize; 4]) -> Option<Self> {
        if [picture, kernel, strides].as_flattened().contains(&0) {
            return None;
        }
        let [height, width] = picture;
        let [top, left, bottom, right] = padding;
        let padded = [
            height.checked_add(top)?.checked_add(bottom)?,
            width.checked_add(left)?.checked_add(right)?,
        ];
        let output = [
            padded[0].checked_sub(kernel[0])? / strides[0] + 1,
            padded[1].checked_sub(kernel[1])? / strides[1] + 1,
        ];
        let plane = padded[0].div_ceil(strides[0]).checked_mul(output[1])?;
        let column = plane.checked_mul(strides[0])?;
        let bytes = column.checked_mul(kernel[1])?.checked_mul(size_of::<f32>())?;
        if bytes > MAX_LAID_OUT_BYTES {
            return None;
        }
        let at_once = strides == [1, 1] && output[1] == width && width <= NARROW;
        let columns = (0..kernel[1]).map(|across| {
            let begin = left.saturating_sub(across).div_ceil(strides[1]);
            let end = (width + left).saturating_sub(across).div_ceil(strides[1]);
            let inside = [begin.min(output[1]), end.min(output[1])];
            let mask = |at: usize| {
                if (inside[0]..inside[1]).contains(&(at % width)) {
                    u32::MAX
                } else {
                    0
                }
            };
            Column {
                begin: across * column,
                inside,
                first: (begin * strides[1] + across).saturating_sub(left),
                masks: (0..if at_once { height * width } else { 0 }).map(mask).collect(),
            }
        });
        let places = (0..kernel[0]).flat_map(|down| (0..kernel[1]).map(move |across| (down, across)));
        let taps =
            places.map(|(down, across)| across * column + (down % strides[0]) * plane + down / strides[0] * output[1]);
        Some(Self {
            height,
            width,
            strides,
            top,
            output,
            plane,
            columns: columns.collect(),
            taps: taps.collect(),
        })
    }

    /// Zeros for a channel, and behind it as many as the last lanes read.
    fn buffer(&self) -> Vec<f32> {
        vec![0.0; self.columns.len() * self.strides[0] * self.plane + 2 * LANES]
    }

    /// Lays a channel out.
    fn spread(&self, channel: &[f32], buffer: &mut [f32]) {
        for column in &self.columns {
            if column.masks.is_empty() {
                self.spread_rows(channel, column, buffer);
            } else {
                self.spread_at_once(channel, column, buffer);
            }
        }
    }

    /// The rows lie behind each other here as they do in the picture.
    fn spread_at_once(&self, channel: &[f32], column: &Column, buffer: &mut [f32]) {
        let [before, _] = column.inside;
        let numbers = channel.get(column.first..).unwrap_or_default();
        let masks = column.masks.get(before..).unwrap_or_default();
        let to = buffer
            .get_mut(column.begin + self.top * self.width + before..)
            .unwrap_or_default();
        for ((to, number), mask) in to.iter_mut().zip(numbers).zip(masks) {
            *to = f32::from_bits(number.to_bits() & mask);
        }
    }

    fn spread_rows(&self, channel: &[f32], column: &Column, buffer: &mut [f32]) {
        let ([down, across], [begin, end]) = (self.strides, column.inside);
        for (y, row) in channel.chunks_exact(self.width).enumerate() {
            let (phase, y) = ((y + self.top) % down, (y + self.top) / down);
            let line = column.begin + phase * self.plane + y * self.output[1];
            let to = buffer.get_mut(line + begin..line + end).unwrap_or_default();
            let numbers = row.get(column.first..).unwrap_or_default();
            match across {
                1 => to.iter_mut().zip(numbers).for_each(|(to, &number)| *to = number),
                2 => every_second(numbers, to),
                _ => to
                    .iter_mut()
                    .zip(numbers.iter().step_by(across))
                    .for_each(|(to, &number)| *to = number),
            }
        }
    }

    /// The sums of a channel that is laid out.
    fn sums(&self, buffer: &[f32], weights: &[f32], bias: f32, sums: &mut [f32]) {
        let (whole, rest) = sums.as_chunks_mut::<LANES>();
        for (at, sums) in whole.iter_mut().enumerate() {
            *sums = self.lanes(buffer.get(at * LANES..).unwrap_or_default(), weights, bias);
        }
        if !rest.is_empty() {
            let behind = buffer.get(whole.len() * LANES..).unwrap_or_default();
            let lanes = self.lanes(behind, weights, bias);
            rest.iter_mut().zip(lanes).for_each(|(sum, lane)| *sum = lane);
        }
    }

    #[inline(always)]
    fn lanes(&self, buffer: &[f32], weights: &[f32], bias: f32) -> [f32; LANES] {
        let mut lanes = [bias; LANES];
        for (&tap, &weight) in self.taps.iter().zip(weights) {
            let read = buffer.get(tap..).and_then(|rest| rest.first_chunk::<LANES>());
            let read = read.unwrap_or(&[0.0; LANES]);
            lanes
                .iter_mut()
                .zip(read)
                .for_each(|(lane, number)| *lane += weight * number);
        }
        lanes
    }
}

/// Every second number from the first on; as pairs, which a compiler makes vectors of.
fn every_second(numbers: &[f32], to: &mut [f32]) {
    let (pairs, last) = numbers.as_chunks::<2>();
    let numbers = pairs.iter().map(|[number, _]| number).chain(last);
    to.iter_mut().zip(numbers).for_each(|(to, &number)| *to = number);
}

/// The operator.
#[derive(Debug)]
struct Depthwise {
    geometry: Geometry,
    channels: usize,
    /// Each channel's behind the one before.
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Kernel for Depthwise {
    fn name(&self) -> &'static str {
        "DepthwiseConv"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let [input] = inputs else {
            bail!("it has {} inputs, and takes one", inputs.len());
        };
        let Geometry {
            height, width, output, ..
        } = &self.geometry;
        let expected = [self.channels, *height, *width].map(|size| size.to_dim());
        // tract leaves out a first dimension of 1.
        let samples = input.shape.len().saturating_sub(expected.len());
        ensure!(
            samples <= 1 && input.shape.iter().skip(samples).eq(&expected),
            "its input has shape {:?}, and is planned for {expected:?} of each sample",
            input.shape
        );
        let sizes = [self.channels, output[0], output[1]].map(|size| size.to_dim());
        Ok(tvec![Fact::new(
            input.datum_type,
            input.shape.iter().take(samples).cloned().chain(sizes)
        )])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = inputs.first().context("no input")?;
        let geometry = &self.geometry;
        let [rows, columns] = geometry.output;
        let samples = input.shape().len().saturating_sub(3);
        let plain = input.try_as_plain_ram()?;
        let numbers = plain.as_slice::<f32>()?;
        let mut buffer = geometry.buffer();
        let each = [self.channels, rows, columns];
        let shape: TVec<usize> = input.shape().iter().take(samples).copied().chain(each).collect();
        let mut answer = Tensor::zero::<f32>(&shape)?;
        let mut answers = answer.try_as_plain_ram_mut()?;
        let planes = answers.as_slice_mut::<f32>()?.chunks_exact_mut(rows * columns);
        let kernels = self.weights.chunks_exact(geometry.taps.len()).zip(&self.bias).cycle();
        let channels = numbers.chunks_exact(geometry.height * geometry.width);
        for ((channel, (weights, &bias)), sums) in channels.zip(kernels).zip(planes) {
            geometry.spread(channel, &mut buffer);
            geometry.sums(&buffer, weights, bias, sums);
        }
        Ok(tvec![answer])
    }
}

/// Puts the operator in the place of every convolution that it can compute. The model's constants have been folded.
pub(crate) fn replace(model: &mut TypedModel) -> TractResult<()> {
    let nodes: Vec<usize> = model.nodes().iter().map(|node| node.id).collect();
    for id in nodes {
        let node = model.node(id);
        let Some(kernel) = node.op_as::<Conv>().and_then(|conv| depthwise(model, node, conv)) else {
            continue;
        };
        let site: Arc<str> = format!("node {:?}, operator Conv", node.name).into();
        let mut patch = TypedModelPatch::new("depthwise");
        let input = node.inputs.first().context("no input")?;
        let input = patch.tap_model(model, *input)?;
        let wire = kernel::wire(&mut patch, &node.name, &site, kernel, &[input])?;
        let output = wire.first().context("no output")?;
        patch.shunt_outside(model, OutletId::new(id, 0), *output)?;
        patch.apply(model)?;
    }
    Ok(())
}

/// The operator that computes what a convolution does. None where it can't.
fn depthwise(model: &TypedModel, node: &TypedNode, conv: &Conv) -> Option<Depthwise> {
    let (pool, channels) = (&conv.pool_spec, conv.group);
    let alone = channels > 1 && pool.input_channels == channels && pool.output_channels == channels;
    let by_channel = matches!(pool.data_format, DataFormat::NCHW | DataFormat::CHW);
    let plain = conv.q_params.is_none() && conv.kernel_fmt == KernelFormat::OIHW && by_channel;
    if !alone || !plain || pool.dilations().iter().any(|&dilation| dilation != 1) {
        return None;
    }
    let fact = |slot: usize| model.outlet_fact(*node.inputs.get(slot)?).ok();
    let input = fact(0)?;
    let [.., height, width] = input.shape.as_concrete()? else {
        return None;
    };
    let [kernel_height, kernel_width] = *pool.kernel_shape else {
        return None;
    };
    let [down, across] = *pool.strides() else {
        return None;
    };
    let numbers = |slot: usize| {
        let constant = fact(slot)?.konst.as_ref()?;
        let plain = constant.try_as_plain_ram().ok()?;
        Some(plain.as_slice::<f32>().ok()?.to_vec())
    };
    let (weights, bias) = (numbers(1)?, numbers(2)?);
    let bias = if let [one] = *bias { vec![one; channels] } else { bias };
    let padding = pool.computed_padding(&[*height, *width]);
    let [vertical, horizontal] = &*padding else {
        return None;
    };
    let geometry = Geometry::new(
        [*height, *width],
        [kernel_height, kernel_width],
        [down, across],
        [
            vertical.pad_before,
            horizontal.pad_before,
            vertical.pad_after,
            horizontal.pad_after,
        ],
    )?;
    let fits = geometry.output == [vertical.convoluted, horizontal.convoluted]
        && weights.len() == channels * geometry.taps.len()
        && bias.len() == channels
        // Padding is multiplied like any number here, and that of an infinite weight would be NaN.
        && weights.iter().all(|weight| weight.is_finite())
        && input.datum_type == DatumType::F32;
    fits.then_some(Depthwise {
        geometry,
        channels,
        weights,
        bias,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_core::ops::cnn::{PaddingSpec, PoolSpec};

    /// Always the same numbers, between -1 and 1.
    fn numbers(count: usize) -> Vec<f32> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// Number by number, as ONNX writes it.
    fn by_definition(of: &Depthwise, kernel: [usize; 2], padding: [usize; 4], picture: &[f32]) -> Vec<f32> {
        let Geometry {
            height,
            width,
            strides,
            output,
            ..
        } = of.geometry;
        let inside = |place: usize, stride: usize, tap: usize, padding: usize, size: usize| {
            (place * stride + tap).checked_sub(padding).filter(|&at| at < size)
        };
        let mut answer = Vec::new();
        for (plane, channel) in picture.chunks(height * width).enumerate() {
            let channel_number = plane % of.channels;
            let weights = &of.weights[channel_number * kernel[0] * kernel[1]..];
            for (y, x) in (0..output[0]).flat_map(|y| (0..output[1]).map(move |x| (y, x))) {
                let mut sum = of.bias[channel_number];
                for (down, across) in (0..kernel[0]).flat_map(|down| (0..kernel[1]).map(move |across| (down, across))) {
                    let at = inside(y, strides[0], down, padding[0], height)
                        .zip(inside(x, strides[1], across, padding[1], width));
                    if let Some((row, column)) = at {
                        sum += weights[down * kernel[1] + across] * channel[row * width + column];
                    }
                }
                answer.push(sum);
            }
        }
        answer
    }

    #[test]
    fn answers_are_those_of_the_definition() {
        for (samples, channels, picture, kernel, strides, padding) in [
            (1, 64, [25, 5], [3, 3], [1, 1], [1, 1, 1, 1]),
            (2, 3, [48, 48], [3, 3], [2, 2], [0, 0, 1, 1]),
            (1, 2, [49, 10], [10, 4], [2, 2], [4, 1, 5, 1]),
            (3, 2, [6, 6], [3, 3], [1, 1], [0, 0, 0, 0]),
            (1, 5, [9, 11], [1, 5], [2, 3], [0, 2, 0, 1]),
            (1, 2, [3, 3], [3, 3], [3, 5], [1, 1, 1, 1]),
            (1, 2, [1, 40], [1, 7], [1, 4], [0, 6, 0, 6]),
            (2, 2, [2, 2], [5, 5], [1, 1], [2, 2, 2, 2]),
            (1, 3, [7, 6], [3, 4], [2, 1], [1, 2, 1, 1]),
            (1, 2, [3, 70], [3, 3], [1, 1], [1, 1, 1, 1]),
            (1, 2, [5, 4], [2, 6], [1, 1], [0, 5, 1, 5]),
            (1, 2, [4, 3], [1, 9], [1, 2], [0, 8, 0, 8]),
            (1, 2, [9, 1], [3, 1], [2, 1], [1, 0, 1, 0]),
        ] {
            let geometry = Geometry::new(picture, kernel, strides, padding).unwrap();
            let of = Depthwise {
                weights: numbers(channels * kernel[0] * kernel[1]),
                bias: numbers(channels),
                geometry,
                channels,
            };
            let input = numbers(samples * channels * picture[0] * picture[1]);
            let tensor = Tensor::from_shape(&[samples, channels, picture[0], picture[1]], &input).unwrap();
            let answer = of.eval(&[&tensor]).unwrap();
            let expected = by_definition(&of, kernel, padding, &input);
            let shape = [samples, channels, of.geometry.output[0], of.geometry.output[1]];
            assert_eq!(
                answer[0],
                Tensor::from_shape(&shape, &expected).unwrap(),
                "{:?}",
                of.geometry
            );
            // One sample without a dimension for samples.
            let (one, first) = (input.len() / samples, expected.len() / samples);
            let alone = Tensor::from_shape(&[channels, picture[0], picture[1]], &input[..one]).unwrap();
            let answer = of.eval(&[&alone]).unwrap();
            assert_eq!(answer[0], Tensor::from_shape(&shape[1..], &expected[..first]).unwrap());
        }
    }

    /// A model of one convolution of 3 x 3 over four channels, and its answer to numbers; with one weight in the place of the last.
    fn convolution(
        change: impl FnOnce(&mut Conv),
        shape: &[usize],
        last: f32,
        ours: bool,
    ) -> (TypedModel, Option<Tensor>) {
        let pool_spec = PoolSpec {
            data_format: DataFormat::NCHW,
            kernel_shape: tvec![3, 3],
            padding: PaddingSpec::SameUpper,
            dilations: None,
            strides: Some(tvec![1, 2]),
            input_channels: 4,
            output_channels: 4,
        };
        let mut conv = Conv {
            pool_spec,
            kernel_fmt: KernelFormat::OIHW,
            group: 4,
            q_params: None,
        };
        change(&mut conv);
        let per_group = 4 / conv.group;
        let mut weights = numbers(4 * per_group * 9);
        *weights.last_mut().unwrap() = last;
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact(shape)).unwrap();
        let weights = Tensor::from_shape(&[4, per_group, 3, 3], &weights).unwrap();
        let weights = model.add_const("weights", weights).unwrap();
        let bias = model.add_const("bias", tensor1(&[0.5_f32, -1.0, 0.0, 2.0])).unwrap();
        let y = model.wire_node("y", conv, &[x, weights, bias]).unwrap();
        model.select_output_outlets(&y).unwrap();
        if ours {
            replace(&mut model).unwrap();
        }
        let input = Tensor::from_shape(shape, &numbers(shape.iter().product())).unwrap();
        let plan = model.clone().into_optimized().unwrap().into_runnable().unwrap();
        let answers = plan.run(tvec![input.into()]).ok();
        (model, answers.map(|answers| answers[0].clone().into_tensor()))
    }

    fn is_ours(model: &TypedModel) -> bool {
        model
            .nodes()
            .iter()
            .any(|node| node.op.name().contains("DepthwiseConv"))
    }

    #[test]
    fn a_model_gets_the_operator_where_it_can() {
        type Change = fn(&mut Conv);
        let as_it_is: Change = |_| ();
        let one_sample: Change = |conv| conv.pool_spec.data_format = DataFormat::CHW;
        let explicit: Change = |conv| conv.pool_spec.padding = PaddingSpec::Explicit(tvec![2, 0], tvec![1, 2]);
        let dilated: Change = |conv| conv.pool_spec.dilations = Some(tvec![2, 1]);
        let grouped: Change = |conv| conv.group = 2;
        for (change, shape, last, ours) in [
            (as_it_is, &[2, 4, 6, 7][..], 0.5, true),
            (one_sample, &[4, 6, 7], 0.5, true),
            (explicit, &[1, 4, 6, 7], 0.5, true),
            (dilated, &[1, 4, 6, 7], 0.5, false),
            (grouped, &[1, 4, 6, 7], 0.5, false),
            (as_it_is, &[1, 4, 6, 7], f32::INFINITY, false),
        ] {
            let (model, answer) = convolution(change, shape, last, true);
            assert_eq!(is_ours(&model), ours, "{shape:?} {last}");
            let (_, expected) = convolution(change, shape, last, false);
            let (answer, expected) = (answer.unwrap(), expected.unwrap());
            if last.is_finite() {
                answer.close_enough(&expected, Approximation::Close).unwrap();
            }
        }
    }

    #[test]
    fn what_is_padded_beyond_measure_is_left_to_tract() {
        let padded = |padding| Geometry::new([4, 4], [3, 3], [1, 1], [padding, 0, 0, 0]);
        assert!(padded(1).is_some() && padded(1 << 40).is_none() && padded(usize::MAX).is_none());
        assert_eq!(
            Geometry::new([2, 2], [3, 3], [1, 1], [0, 0, 0, 0]),
            None,
            "a kernel larger than the picture"
        );
        for (picture, kernel, strides) in [
            ([0, 2], [1, 1], [1, 1]),
            ([2, 2], [0, 1], [1, 1]),
            ([2, 2], [1, 1], [1, 0]),
        ] {
            assert_eq!(Geometry::new(picture, kernel, strides, [1; 4]), None);
        }
    }
}
