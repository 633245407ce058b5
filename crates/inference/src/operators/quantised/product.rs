//! Products of a row of bytes with weights: each lane is an output, and has four of its weights.

use super::bytes::{FOUR, LANES, SIGNS};
use super::dots::{Block, Dots};

/// A product that is ready to run.
#[derive(Debug)]
pub(super) struct Product {
    dots: Dots,
    /// Turns the input's bytes into bytes without sign.
    flip: u32,
    /// For each four numbers the weights of all outputs, whole vectors of them.
    weights: Vec<u32>,
    /// Where each of them begins.
    taps: Vec<usize>,
    /// Of each output. The sum of its weights times the input's zero point is taken off already.
    bias: Vec<i32>,
}

impl Product {
    /// None for weights of more than a byte. `weights` are each output's, as distances from their zero points.
    pub(super) fn of(weights: &[f32], bias: &[i32], zero_point: i32, is_signed: bool, dots: Dots) -> Option<Self> {
        let length = weights.len().checked_div(bias.len()).filter(|length| *length > 0)?;
        let range = f32::from(i8::MIN)..=f32::from(i8::MAX);
        if !weights.iter().all(|weight| range.contains(weight)) {
            return None;
        }
        let zero_point = if is_signed { zero_point + 128 } else { zero_point };
        let outputs = bias.len().next_multiple_of(LANES);
        let kernels: Vec<&[f32]> = weights.chunks_exact(length).collect();
        let kernel = |output: usize| kernels.get(output).copied().unwrap_or_default();
        let fours = (0..length.div_ceil(FOUR)).flat_map(|four| (0..outputs).map(move |output| (four, output)));
        let fours = fours.map(|(four, output)| {
            let weight = |number: usize| {
                kernel(output)
                    .get(four * FOUR + number)
                    .map_or(0, |weight| *weight as i8)
            };
            u32::from_le_bytes([0, 1, 2, 3].map(|number| weight(number).cast_unsigned()))
        });
        let without = |(output, bias): (usize, &i32)| {
            let sum: i32 = kernel(output).iter().map(|weight| *weight as i32).sum();
            bias.wrapping_sub(sum.wrapping_mul(zero_point))
        };
        Some(Self {
            dots,
            flip: if is_signed { SIGNS } else { 0 },
            weights: fours.collect(),
            taps: (0..length.div_ceil(FOUR)).map(|four| four * outputs).collect(),
            bias: bias.iter().enumerate().map(without).collect(),
        })
    }

    /// One row's sums, and what is to be added to each.
    pub(super) fn eval(&self, bytes: &[u8], answer: impl FnOnce(&[i32], &[i32])) {
        let four = |four: &[u8]| {
            let byte = |number: usize| four.get(number).copied().unwrap_or_default();
            u32::from_le_bytes([0, 1, 2, 3].map(byte)) ^ self.flip
        };
        let numbers: Vec<u32> = bytes.chunks(FOUR).map(four).collect();
        let row = self.bias.len().next_multiple_of(LANES);
        let mut sums = vec![0; row];
        self.dots.run(Block {
            taps: &self.taps,
            weights: &numbers,
            bias: &[0],
            numbers: &self.weights,
            sums: &mut sums,
            row,
            is_turned: true,
        });
        answer(&sums, &self.bias);
    }
}
