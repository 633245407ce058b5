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
mod planned;
#[cfg(target_arch = "x86_64")]
mod product;
#[cfg(test)]
mod tests;

use super::convolution::{Plain, both};
use super::kernel::{Built, Fact, Kernel, Planned, wrap};
use super::quantize::range;
use planned::{Engine, Quantised, Requantise, Sums, largest};
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
