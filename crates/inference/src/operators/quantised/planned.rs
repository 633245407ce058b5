//! The operator once shapes and constants are known: who computes the sums, and how they become integers.

use super::super::convolution::{Plain, Way};
use super::super::kernel::{Fact, Kernel};
use super::super::quantize::ROUNDER;
use super::super::wide::wide;
#[cfg(target_arch = "x86_64")]
use super::{bytes, dots, product};
use tract_onnx::tract_core::internal::*;

/// Integers up to here are floats of 32 bits, too.
const EXACT: f64 = 16_777_216.0;

/// What computes the sums.
#[derive(Debug)]
pub(super) enum Engine {
    #[cfg(target_arch = "x86_64")]
    Bytes(bytes::Bytes),
    #[cfg(target_arch = "x86_64")]
    Product(product::Product),
    /// In floats, which are the integers from the zero point on.
    Floats { way: Way, zero_point: i32 },
}

/// The most that a sum may come to, from the greatest distance of a number from its zero point.
pub(super) fn largest(weights: &[f32], bias: &[i32], farthest: i32) -> Option<f64> {
    let length = weights.len().checked_div(bias.len()).filter(|length| *length > 0)?;
    let largest = |(kernel, bias): (&[f32], &i32)| {
        let weights: f64 = kernel.iter().map(|weight| f64::from(weight.abs())).sum();
        weights * f64::from(farthest) + f64::from(*bias).abs()
    };
    Some(weights.chunks_exact(length).zip(bias).map(largest).fold(0.0, f64::max))
}

/// What engines are chosen by, beside the weights.
pub(super) struct Sums {
    pub(super) largest: f64,
    /// Of the input.
    pub(super) is_signed: bool,
    pub(super) zero_point: i32,
    pub(super) bias: Vec<i32>,
}

impl Engine {
    pub(super) fn of(plain: &Plain, sums: &Sums) -> Option<Self> {
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
    pub(super) fn of_product(weights: &[f32], sums: &Sums) -> Option<Self> {
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
pub(super) struct Requantise {
    /// Of each output: both scales through the output's.
    pub(super) scales: Vec<f32>,
    /// Counted from the zero point.
    pub(super) least: i32,
    pub(super) most: i32,
    pub(super) zero_point: i32,
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
pub(super) struct Quantised {
    /// Of one sample.
    pub(super) input: TVec<usize>,
    pub(super) output: TVec<usize>,
    pub(super) stored: DatumType,
    /// Rows and columns of an output.
    pub(super) picture: [usize; 2],
    pub(super) engine: Engine,
    pub(super) requantise: Requantise,
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
