//! Convolutions and products between integers, computed exactly.
//!
//! tract 0.23.9 computes in floats what stands between `DequantizeLinear` and `QuantizeLinear`, whose roundings may end a step
//! off, and is slower for it: MLPerf Tiny's key words took 2.2 times what ONNX Runtime takes. Here the sums are those of
//! the integers: by bytes on processors that have instructions for them, and in floats, where they stay small enough to be
//! exact, on all others and for channels on their own. An answer is the sum times both scales through that of the output,
//! rounded: bit by bit what ONNX Runtime's kernels for integers give.

#[cfg(target_arch = "x86_64")]
mod bytes;
#[cfg(target_arch = "x86_64")]
mod dots;
#[cfg(target_arch = "x86_64")]
mod product;
#[cfg(test)]
mod tests;

use super::convolution::{Plain, Way, both};
use super::kernel::{Built, Fact, Kernel, Planned, wrap};
use super::quantize::{ROUNDER, range};
use super::wide::wide;
use std::sync::Arc;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;

/// Its name in tract's register. A file that asks for it is refused (`check.rs`).
pub(crate) const NAME: &str = "floorhand.QuantizedConv";

/// An attribute: what is below 0 becomes 0, as by a `Relu`.
pub(crate) const CUT_OFF: &str = "cut_off";

/// An attribute: whether several scales of weights are those of the outputs.
pub(crate) const BY_OUTPUT: &str = "by_output";

/// An attribute: of `QLinearConv` and `QLinearMatMul`.
pub(crate) const LINEAR: &str = "linear";

/// An attribute of products: the axis of the weights that is the outputs'.
pub(crate) const OUTPUT_AXIS: &str = "output_axis";

/// Integers up to here are floats of 32 bits, too.
const EXACT: f64 = 16_777_216.0;

/// How far a bias's scale may be from the product of the input's and the weights', of it: some roundings.
const SAME_SCALE: f32 = 1e-5;

pub(super) fn build(_context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    Ok(wrap(node, Wanted::parse(node)?))
}

/// The operator until shapes are known. Its inputs are the answer in floats made integers, and what `integers.rs` found.
#[derive(Debug)]
struct Wanted {
    strides: Option<Vec<usize>>,
    dilations: Option<Vec<usize>>,
    pads: Option<Vec<usize>>,
    groups: usize,
    same: Option<Same>,
    is_cut_off: bool,
    is_by_output: bool,
    /// Whether it is of integers in the file, too, where tract answers anything to scales that can't be.
    is_linear: bool,
    /// Of a product.
    output_axis: Option<usize>,
}

/// As much padding as it takes for an output as large as the input, and where an odd one goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Same {
    Upper,
    Lower,
}

/// Scales and zero points: one, or one for each output.
struct Steps {
    scales: Vec<f32>,
    zero_points: Vec<i32>,
}

impl Steps {
    fn of(facts: &[&TypedFact], slot: usize) -> Option<Self> {
        Some(Self {
            scales: constant::<f32>(facts, slot)?,
            zero_points: constant::<i32>(facts, slot + 1)?,
        })
    }

    fn one(&self) -> Option<(f32, i32)> {
        match (self.scales.as_slice(), self.zero_points.as_slice()) {
            (&[scale], &[zero_point]) => Some((scale, zero_point)),
            _ => None,
        }
    }

    /// For each of as many outputs.
    fn each(&self, outputs: usize) -> Option<Self> {
        Some(Self {
            scales: each(&self.scales, outputs)?,
            zero_points: each(&self.zero_points, outputs)?,
        })
    }
}

fn each<T: Copy>(values: &[T], outputs: usize) -> Option<Vec<T>> {
    match *values {
        [one] => Some(vec![one; outputs]),
        _ => (values.len() == outputs).then(|| values.to_vec()),
    }
}

/// Both scales through that of the output, where all are such that there are answers.
fn scales(of_x: f32, of_w: &Steps, of_y: f32) -> Option<Vec<f32>> {
    let scales = of_w.scales.iter().map(|of_w| of_x * of_w / of_y);
    let is_sound = |scale: &f32| scale.is_finite() && *scale > 0.0;
    scales.map(|scale| Some(scale).filter(is_sound)).collect()
}

/// What a constant has, as this type.
fn constant<T: Datum + Copy>(facts: &[&TypedFact], slot: usize) -> Option<Vec<T>> {
    let constant = facts.get(slot)?.konst.as_ref()?;
    let values = constant.cast_to::<T>().ok()?;
    let plain = values.try_as_plain_ram().ok()?;
    Some(plain.as_slice::<T>().ok()?.to_vec())
}

/// Where an input stands, the answer in floats before it.
const X: usize = 1;
const OF_X: usize = 2;
const W: usize = 4;
const OF_W: usize = 5;
const OF_Y: usize = 7;
const BIAS: usize = 9;
const OF_BIAS: usize = 10;

impl Wanted {
    fn parse(node: &NodeProto) -> TractResult<Self> {
        let attribute = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
        let sizes = |name: &str| -> TractResult<Option<Vec<usize>>> {
            let sizes = attribute(name).filter(|sizes| !sizes.ints.is_empty());
            let sizes = sizes.map(|sizes| sizes.ints.iter().map(|&size| usize::try_from(size)).collect());
            Ok(sizes.transpose()?)
        };
        Ok(Self {
            strides: sizes("strides")?,
            dilations: sizes("dilations")?,
            pads: sizes("pads")?,
            groups: attribute("group").map_or(Ok(1), |group| usize::try_from(group.i))?,
            same: match attribute("auto_pad").map_or(&b"NOTSET"[..], |auto| &auto.s) {
                b"SAME_UPPER" => Some(Same::Upper),
                b"SAME_LOWER" => Some(Same::Lower),
                _ => None,
            },
            is_cut_off: attribute(CUT_OFF).is_some_and(|cut_off| cut_off.i != 0),
            is_linear: attribute(LINEAR).is_some_and(|linear| linear.i != 0),
            is_by_output: attribute(BY_OUTPUT).is_some_and(|by_output| by_output.i != 0),
            output_axis: attribute(OUTPUT_AXIS).map(|axis| usize::try_from(axis.i)).transpose()?,
        })
    }

    /// None where it can't be computed here.
    fn plan(&self, facts: &[&TypedFact]) -> Option<Quantised> {
        let (x, w, y) = (facts.get(X)?, facts.get(W)?, facts.first()?);
        let is_byte = |fact: &TypedFact| matches!(fact.datum_type, DatumType::I8 | DatumType::U8);
        if !is_byte(x) || !is_byte(w) || !is_byte(y) {
            return None;
        }
        let (of_scale, of_zero_point) = Steps::of(facts, OF_X)?.one()?;
        let (to_scale, to_zero_point) = Steps::of(facts, OF_Y)?.one()?;
        let kernel = w.shape.as_concrete()?;
        let outputs = *kernel.get(self.output_axis.unwrap_or(0))?;
        let of_w = Steps::of(facts, OF_W)?;
        if of_w.one().is_none() && !self.is_by_output {
            return None;
        }
        let of_w = of_w.each(outputs)?;
        let bias = self.bias(facts, of_scale, &of_w)?;
        let (lowest, highest) = range(x.datum_type)?;
        let weights = self.weights(constant::<i32>(facts, W)?, outputs, &of_w.zero_points)?;
        let sums = Sums {
            largest: largest(&weights, &bias, (highest - of_zero_point).max(of_zero_point - lowest))?,
            is_signed: x.datum_type == DatumType::I8,
            zero_point: of_zero_point,
            bias,
        };
        let shape = x.shape.iter().skip(if self.output_axis.is_some() {
            x.rank().checked_sub(1)?
        } else {
            1
        });
        let input: TVec<usize> = shape.map(|size| size.to_usize().ok()).collect::<Option<_>>()?;
        let (output, picture, engine) = if self.output_axis.is_some() {
            if kernel.len() != 2 || input.iter().product::<usize>().checked_mul(outputs)? != weights.len() {
                return None;
            }
            (tvec![outputs], [1, 1], Engine::of_product(&weights, &sums)?)
        } else {
            let (&channels, sizes) = input.split_first()?;
            let plain = self.geometry(channels, sizes, kernel, weights, &sums.bias)?;
            let sizes = plain.output.into_iter().skip(2 - sizes.len());
            let output = std::iter::once(outputs).chain(sizes).collect();
            (output, plain.output, Engine::of(&plain, &sums)?)
        };
        let scales = scales(of_scale, &of_w, to_scale)?;
        let (least, most) = range(y.datum_type)?;
        let requantise = Requantise {
            scales,
            least: if self.is_cut_off {
                least.max(to_zero_point)
            } else {
                least
            } - to_zero_point,
            most: most - to_zero_point,
            zero_point: to_zero_point,
        };
        Some(Quantised {
            input,
            output,
            stored: y.datum_type,
            picture,
            engine,
            requantise,
        })
    }

    /// Whether scales that are known are such that there are answers.
    fn has_sound_scales(&self, facts: &[&TypedFact]) -> bool {
        let [of_x, of_w, of_y] = [OF_X, OF_W, OF_Y].map(|slot| Steps::of(facts, slot));
        let (Some(of_x), Some(of_w), Some(of_y)) = (of_x, of_w, of_y) else {
            return true;
        };
        match (of_x.one(), of_y.one()) {
            (Some((of_x, _)), Some((of_y, _))) => scales(of_x, &of_w, of_y).is_some(),
            _ => true,
        }
    }

    /// Each output's weights behind those of the one before, as distances from their zero points.
    fn weights(&self, weights: Vec<i32>, outputs: usize, zero_points: &[i32]) -> Option<Vec<f32>> {
        let length = weights.len().checked_div(outputs).filter(|length| *length > 0)?;
        let weights = if self.output_axis == Some(1) {
            let columns = (0..outputs).map(|output| weights.iter().skip(output).step_by(outputs));
            columns.flatten().copied().collect()
        } else {
            weights
        };
        let zero_points = zero_points
            .iter()
            .flat_map(|zero_point| std::iter::repeat_n(zero_point, length));
        let pairs = weights.iter().zip(zero_points);
        Some(pairs.map(|(weight, zero_point)| (weight - zero_point) as f32).collect())
    }

    /// The bias of each output, in steps of both scales; zeros where none is given.
    fn bias(&self, facts: &[&TypedFact], of_scale: f32, of_w: &Steps) -> Option<Vec<i32>> {
        let outputs = of_w.scales.len();
        if facts.len() <= BIAS {
            return Some(vec![0; outputs]);
        }
        if facts.len() > OF_BIAS {
            let steps = Steps::of(facts, OF_BIAS)?.each(outputs)?;
            let is_alike = |(scale, of_w): (&f32, &f32)| (scale - of_scale * of_w).abs() <= SAME_SCALE * scale;
            let are_alike = steps.scales.iter().zip(&of_w.scales).all(is_alike);
            if !are_alike || steps.zero_points.iter().any(|zero_point| *zero_point != 0) {
                return None;
            }
        }
        let bias = facts.get(BIAS).filter(|bias| bias.datum_type == DatumType::I32)?;
        // One for each output, not one for each row.
        let shape = bias.shape.as_concrete()?;
        let is_by_output = shape
            .split_last()
            .is_some_and(|(last, rest)| *last == outputs && rest.iter().all(|size| *size == 1));
        is_by_output.then(|| constant::<i32>(facts, BIAS)).flatten()
    }

    fn geometry(
        &self,
        channels: usize,
        sizes: &[usize],
        kernel: &[usize],
        weights: Vec<f32>,
        bias: &[i32],
    ) -> Option<Plain> {
        let axes = sizes.len();
        let ones = vec![1; axes];
        let strides = self.strides.as_deref().unwrap_or(&ones);
        let dilations = self.dilations.as_deref().unwrap_or(&ones);
        let window = kernel.get(2..)?;
        let reaches = window
            .iter()
            .zip(dilations)
            .map(|(size, dilation)| size.saturating_sub(1).checked_mul(*dilation));
        let reaches: Vec<usize> = reaches.collect::<Option<_>>()?;
        let zeros = vec![0; 2 * axes];
        let mut pads = self.pads.clone().unwrap_or(zeros);
        if let Some(same) = self.same {
            for (axis, (&size, (&stride, reach))) in sizes.iter().zip(strides.iter().zip(&reaches)).enumerate() {
                let rest = size
                    .div_ceil(stride)
                    .saturating_sub(1)
                    .checked_mul(stride)?
                    .checked_add(reach + 1)?;
                let padding = rest.saturating_sub(size);
                let (small, large) = (padding / 2, padding - padding / 2);
                *pads.get_mut(axis)? = if same == Same::Upper { small } else { large };
                *pads.get_mut(axes + axis)? = if same == Same::Upper { large } else { small };
            }
        }
        let (before, after) = pads.split_at_checked(axes)?;
        let (before, after) = (both(before, 0)?, both(after, 0)?);
        let (picture, reaches, strides) = (both(sizes, 1)?, both(&reaches, 0)?, both(strides, 1)?);
        let along = |axis: usize| {
            let padded = picture
                .get(axis)?
                .checked_add(*before.get(axis)?)?
                .checked_add(*after.get(axis)?)?;
            padded
                .checked_sub(reaches.get(axis)? + 1)?
                .checked_div(*strides.get(axis)?)?
                .checked_add(1)
        };
        let plain = Plain {
            is_picture: axes == 2,
            channels,
            outputs: *kernel.first()?,
            groups: self.groups,
            picture,
            kernel: both(window, 1)?,
            strides,
            dilations: both(dilations, 1)?,
            padding: [before[0], before[1], after[0], after[1]],
            output: [along(0)?, along(1)?],
            weights,
            bias: bias.iter().map(|&bias| bias as f32).collect(),
        };
        plain.fits().then_some(plain)
    }
}

impl Kernel for Wanted {
    fn name(&self) -> &'static str {
        "QuantizedConv"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        Ok(inputs.iter().take(1).cloned().collect())
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        Ok(inputs.iter().take(1).map(|&input| input.clone()).collect())
    }

    fn planned(&self, facts: &[&TypedFact]) -> TractResult<Option<Planned>> {
        let [y, x, ..] = facts else {
            return Ok(None);
        };
        // A bias with more axes gives the answer more, too.
        let fact = |fact: &TypedFact| Fact::new(fact.datum_type, fact.shape.iter().cloned());
        let gives_the_same = |kernel: &Quantised| {
            let given = kernel.output_facts(&[fact(x)]);
            given.is_ok_and(|given| given.first() == Some(&fact(y)))
        };
        if let Some(kernel) = self.plan(facts).filter(gives_the_same) {
            return Ok(Some(Planned::Kernel(Arc::new(kernel), X)));
        }
        ensure!(
            !self.is_linear || self.has_sound_scales(facts),
            "its scales are no numbers above 0, or too small or large for a product of them; quantise in larger steps"
        );
        Ok(Some(Planned::Input(0)))
    }
}

/// What computes the sums.
#[derive(Debug)]
enum Engine {
    #[cfg(target_arch = "x86_64")]
    Bytes(bytes::Bytes),
    #[cfg(target_arch = "x86_64")]
    Product(product::Product),
    /// In floats, which are the integers from the zero point on.
    Floats { way: Way, zero_point: i32 },
}

/// The most that a sum may come to, from the greatest distance of a number from its zero point.
fn largest(weights: &[f32], bias: &[i32], farthest: i32) -> Option<f64> {
    let length = weights.len().checked_div(bias.len()).filter(|length| *length > 0)?;
    let largest = |(kernel, bias): (&[f32], &i32)| {
        let weights: f64 = kernel.iter().map(|weight| f64::from(weight.abs())).sum();
        weights * f64::from(farthest) + f64::from(*bias).abs()
    };
    Some(weights.chunks_exact(length).zip(bias).map(largest).fold(0.0, f64::max))
}

/// What engines are chosen by, beside the weights.
struct Sums {
    largest: f64,
    /// Of the input.
    is_signed: bool,
    zero_point: i32,
    bias: Vec<i32>,
}

impl Engine {
    fn of(plain: &Plain, sums: &Sums) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if sums.largest <= f64::from(i32::MAX)
            && let Some(dots) = dots::Dots::of_this_processor()
            && let Some(bytes) = bytes::Bytes::of(plain, &sums.bias, sums.zero_point, sums.is_signed, dots)
        {
            return Some(Self::Bytes(bytes));
        }
        if sums.largest > EXACT {
            return None;
        }
        let way = Way::to(plain)?;
        Some(Self::Floats {
            way,
            zero_point: sums.zero_point,
        })
    }

    #[cfg(target_arch = "x86_64")]
    fn of_product(weights: &[f32], sums: &Sums) -> Option<Self> {
        let dots = dots::Dots::of_this_processor().filter(|_| sums.largest <= f64::from(i32::MAX))?;
        let product = product::Product::of(weights, &sums.bias, sums.zero_point, sums.is_signed, dots);
        product.map(Self::Product)
    }

    /// Other processors multiply floats.
    #[cfg(not(target_arch = "x86_64"))]
    const fn of_product(_: &[f32], _: &Sums) -> Option<Self> {
        None
    }
}

/// Sums of integers to integers in steps of the output's scale.
#[derive(Debug)]
struct Requantise {
    /// Of each output: both scales through the output's.
    scales: Vec<f32>,
    /// Counted from the zero point.
    least: i32,
    most: i32,
    zero_point: i32,
}

impl Requantise {
    /// The low byte is the answer, whether it has a sign or not.
    #[inline(always)]
    fn apply(&self, output: usize, sums: impl Iterator<Item = f32>, to: &mut [u8]) {
        let scale = self.scales.get(output).copied().unwrap_or_default();
        self.round(sums.map(|sum| sum * scale), to);
    }

    /// The same of numbers in steps of the output's scale.
    #[inline(always)]
    fn round(&self, numbers: impl Iterator<Item = f32>, to: &mut [u8]) {
        let (least, most) = (self.least as f32, self.most as f32);
        // What is added to a rounder stands in its last bits.
        let shift = self.zero_point.wrapping_sub(ROUNDER.to_bits().cast_signed());
        for (to, steps) in to.iter_mut().zip(numbers) {
            let above = if steps > least { steps } else { least };
            let within = if above < most { above } else { most };
            *to = (within + ROUNDER).to_bits().cast_signed().wrapping_add(shift) as u8;
        }
    }
}

/// The operator.
#[derive(Debug)]
struct Quantised {
    /// Of one sample.
    input: TVec<usize>,
    output: TVec<usize>,
    stored: DatumType,
    /// Rows and columns of an output.
    picture: [usize; 2],
    engine: Engine,
    requantise: Requantise,
}

impl Quantised {
    /// One sample's outputs.
    fn sample(&self, bytes: &[u8], is_signed: bool, answers: &mut [u8]) {
        let [rows, columns] = self.picture;
        let places = rows * columns;
        match &self.engine {
            #[cfg(target_arch = "x86_64")]
            Engine::Bytes(engine) => {
                let mut line = Vec::new();
                engine.eval(bytes, |output, band, sums, width| {
                    let first = output * places;
                    let places = first + band.start * columns..first + band.end * columns;
                    let plane = answers.get_mut(places).unwrap_or_default();
                    line.resize(sums.len(), 0);
                    wide(|| {
                        self.requantise
                            .apply(output, sums.iter().map(|&sum| sum as f32), &mut line)
                    });
                    if let Some(line) = line.get(..plane.len()).filter(|_| width == columns) {
                        return plane.copy_from_slice(line);
                    }
                    copy_lines(&line, width, columns, plane);
                });
            }
            #[cfg(target_arch = "x86_64")]
            Engine::Product(product) => product.eval(bytes, |sums, bias| {
                let sums = sums.iter().zip(bias).zip(&self.requantise.scales);
                let steps = sums.map(|((sum, bias), scale)| sum.wrapping_add(*bias) as f32 * scale);
                wide(|| self.requantise.round(steps, answers));
            }),
            Engine::Floats { way, zero_point } => {
                // Of a byte with a sign the first bit turned over is 128 more.
                let (flip, zero_point) = if is_signed {
                    (0x80, zero_point + 128)
                } else {
                    (0, *zero_point)
                };
                let mut numbers = vec![0.0; bytes.len()];
                wide(|| {
                    for (number, &byte) in numbers.iter_mut().zip(bytes) {
                        *number = (i32::from(byte ^ flip) - zero_point) as f32;
                    }
                });
                let mut sums = vec![0.0; answers.len()];
                way.eval(&numbers, &mut sums);
                let planes = sums.chunks_exact(places).zip(answers.chunks_exact_mut(places));
                for (output, (sums, plane)) in planes.enumerate() {
                    wide(|| self.requantise.apply(output, sums.iter().copied(), plane));
                }
            }
        }
    }
}

/// Copies the beginnings of lines, one behind the other.
#[cfg(target_arch = "x86_64")]
fn copy_lines(lines: &[u8], width: usize, columns: usize, to: &mut [u8]) {
    const SHORT: usize = 16;
    for at in 0..to.len() / columns {
        let line = lines.get(at * width..).unwrap_or_default();
        let to = to.get_mut(at * columns..).unwrap_or_default();
        // A short one all at once: what it has too many is overwritten by the next.
        if columns <= SHORT
            && let (Some(line), Some(to)) = (line.first_chunk::<SHORT>(), to.first_chunk_mut::<SHORT>())
        {
            *to = *line;
            continue;
        }
        if let (Some(line), Some(to)) = (line.get(..columns), to.get_mut(..columns)) {
            to.copy_from_slice(line);
        }
    }
}

impl Kernel for Quantised {
    fn name(&self) -> &'static str {
        match self.engine {
            #[cfg(target_arch = "x86_64")]
            Engine::Product(_) => "QuantizedMatMul",
            _ => "QuantizedConv",
        }
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let [input] = inputs else {
            bail!("it has {} inputs, and takes one", inputs.len());
        };
        let samples = input.shape.len().saturating_sub(self.input.len());
        let expected = self.input.iter().map(|size| size.to_dim());
        ensure!(
            input.shape.iter().skip(samples).cloned().eq(expected),
            "its input has shape {:?}, and is planned for {:?} of each sample",
            input.shape,
            self.input
        );
        let sizes = self.output.iter().map(|size| size.to_dim());
        let shape = input.shape.iter().take(samples).cloned().chain(sizes);
        Ok(tvec![Fact::new(self.stored, shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = *inputs.first().context("no input")?;
        let is_signed = input.datum_type() == DatumType::I8;
        let samples = input.shape().len().saturating_sub(self.input.len());
        let samples = input.shape().iter().take(samples);
        let shape: TVec<usize> = samples.chain(&self.output).copied().collect();
        let mut answer = Tensor::zero_dt(self.stored, &shape)?;
        let mut answers = answer.try_as_plain_ram_mut()?;
        let numbers = input.try_as_plain_ram()?;
        let numbers = numbers.as_bytes().chunks_exact(self.input.iter().product());
        let answers = answers.as_bytes_mut().chunks_exact_mut(self.output.iter().product());
        for (numbers, answers) in numbers.zip(answers) {
            self.sample(numbers, is_signed, answers);
        }
        Ok(tvec![answer])
    }
}
