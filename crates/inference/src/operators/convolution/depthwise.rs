//! Depthwise convolutions: each channel of a picture by a small kernel of its own.
//!
//! tract 0.23.9 has them, with the same answers up to the sign of a zero, in a loop over every place of a channel wherever
//! the kernel reaches over the edge or its stride isn't 1: 70 per cent of the time of MLPerf Tiny's key words and person
//! detector. Here a channel is laid out once for each column of the kernel, padding and all, in rows as wide as the
//! output's. So all places of the output are computed alike, lane by lane, whatever row they are in: key words take 114 us
//! in place of 172. It can go when tract's takes no longer.

use super::Plain;
use crate::operators::downsample::thin_out;
#[cfg(target_arch = "x86_64")]
use crate::operators::tiles::{Block, Vectors};

/// Places of the output that are computed at once: a compiler makes vectors of them.
const LANES: usize = 16;

/// The most that a channel may take as it is laid out, in bytes: what stays near a core. Under a kernel of 3 x 3 those are
/// 295 x 295 places; larger pictures are left to tract.
const MAX_LAID_OUT_BYTES: usize = 1 << 20;

/// The widest rows of an output that are laid out all at once, through masks that are kept. Wider ones are copied row by row.
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
    /// How far a row of the output is behind the one before. What lies between is computed in vain.
    pitch: usize,
    /// What a channel takes, laid out for all columns of the kernel.
    length: usize,
    /// Where each row of the picture lies.
    lines: Vec<usize>,
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
    /// Where an output is as wide as the picture or half as wide, and narrow: all bits of a number that is inside, none of
    /// padding. Then `begin` and `inside` are of the whole picture, and `first` is of the columns of one phase.
    masks: Vec<u32>,
    /// Which columns these are of a picture with every second one: the even or the odd.
    phase: usize,
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
        if strides[1] <= 2 && output[1].checked_mul(strides[1]) == Some(width) && output[1] <= NARROW {
            return Self::at_once(picture, kernel, strides, padding, output);
        }
        let plane = padded[0].div_ceil(strides[0]).checked_mul(output[1])?;
        let column = plane.checked_mul(strides[0])?;
        let bytes = column.checked_mul(kernel[1])?.checked_mul(size_of::<f32>())?;
        if bytes > MAX_LAID_OUT_BYTES {
            return None;
        }
        let column_of = |across: usize| {
            let begin = left.saturating_sub(across).div_ceil(strides[1]);
            let end = (width + left).saturating_sub(across).div_ceil(strides[1]);
            let inside = [begin.min(output[1]), end.min(output[1])];
            Column {
                begin: across * column,
                inside,
                first: (begin * strides[1] + across).saturating_sub(left),
                masks: Vec::new(),
                phase: 0,
            }
        };
        let columns: Vec<Column> = (0..kernel[1]).map(column_of).collect();
        let places = (0..kernel[0]).flat_map(|down| (0..kernel[1]).map(move |across| (down, across)));
        let taps =
            places.map(|(down, across)| across * column + (down % strides[0]) * plane + down / strides[0] * output[1]);
        Some(Self {
            height,
            width,
            strides,
            top,
            output,
            pitch: output[1],
            length: columns.len() * column,
            lines: (top..top + height)
                .map(|row| (row % strides[0]) * plane + row / strides[0] * output[1])
                .collect(),
            columns,
            taps: taps.collect(),
        })
    }

    /// One whose rows lie behind each other as they do in the picture, all of them, whatever the stride down.
    fn at_once(
        [height, width]: [usize; 2],
        kernel: [usize; 2],
        strides: [usize; 2],
        [top, left, bottom, _]: [usize; 4],
        output: [usize; 2],
    ) -> Option<Self> {
        let row = output[1];
        let column = height.checked_add(top)?.checked_add(bottom)?.checked_mul(row)?;
        let bytes = column.checked_mul(kernel[1])?.checked_mul(size_of::<f32>())?;
        if bytes > MAX_LAID_OUT_BYTES {
            return None;
        }
        let padding = left.div_ceil(strides[1]);
        let column_of = |across: usize| {
            let seen = across + padding * strides[1] - left;
            let (phase, shift) = (seen % strides[1], seen / strides[1]);
            let before = padding.saturating_sub(shift);
            let mask = |at: usize| {
                if (padding..padding + row).contains(&(at % row + shift)) {
                    u32::MAX
                } else {
                    0
                }
            };
            Column {
                begin: across * column + top * row,
                inside: [before, height * row],
                first: shift.saturating_sub(padding),
                masks: (0..height * row).map(mask).collect(),
                phase,
            }
        };
        let places = (0..kernel[0]).flat_map(|down| (0..kernel[1]).map(move |across| (down, across)));
        Some(Self {
            height,
            width,
            strides,
            top,
            output,
            pitch: strides[0].checked_mul(row)?,
            length: kernel[1] * column,
            lines: Vec::new(),
            columns: (0..kernel[1]).map(column_of).collect(),
            taps: places.map(|(down, across)| across * column + down * row).collect(),
        })
    }

    /// From the first place of the output to the last.
    const fn places(&self) -> usize {
        self.output[0].saturating_sub(1) * self.pitch + self.output[1]
    }

    /// Room for the columns of a picture by phase, where they are taken apart.
    fn phases(&self) -> Vec<f32> {
        let is_apart = self.lines.is_empty() && self.strides[1] == 2;
        vec![0.0; if is_apart { self.height * self.width } else { 0 }]
    }

    /// Zeros for a channel, and behind it as many as the last lanes read.
    fn buffer(&self) -> Vec<f32> {
        vec![0.0; self.length + 2 * LANES]
    }

    /// Lays a channel out.
    #[inline(always)]
    fn spread(&self, channel: &[f32], phases: &mut [f32], buffer: &mut [f32]) {
        let phase = phases.len() / 2;
        if phase > 0 {
            for (first, to) in phases.chunks_exact_mut(phase).enumerate() {
                thin_out(channel.get(first..).unwrap_or_default(), 2, to);
            }
        }
        for column in &self.columns {
            if !self.lines.is_empty() {
                self.spread_rows(channel, column, buffer);
            } else if phase > 0 {
                let columns = phases.get(column.phase * phase..(column.phase + 1) * phase);
                Self::spread_at_once(columns.unwrap_or_default(), column, buffer);
            } else {
                Self::spread_at_once(channel, column, buffer);
            }
        }
    }

    #[inline(always)]
    fn spread_at_once(channel: &[f32], column: &Column, buffer: &mut [f32]) {
        let [before, _] = column.inside;
        let numbers = channel.get(column.first..).unwrap_or_default();
        let masks = column.masks.get(before..).unwrap_or_default();
        let to = buffer.get_mut(column.begin + before..).unwrap_or_default();
        for ((to, number), mask) in to.iter_mut().zip(numbers).zip(masks) {
            *to = f32::from_bits(number.to_bits() & mask);
        }
    }

    #[inline(always)]
    fn spread_rows(&self, channel: &[f32], column: &Column, buffer: &mut [f32]) {
        let [begin, end] = column.inside;
        let buffer = buffer.get_mut(column.begin + begin..).unwrap_or_default();
        for (&line, row) in self.lines.iter().zip(channel.chunks_exact(self.width)) {
            let to = buffer.get_mut(line..line + end - begin).unwrap_or_default();
            let numbers = row.get(column.first..).unwrap_or_default();
            thin_out(numbers, self.strides[1], to);
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

/// What computes the sums of a channel. A function of its own, no closure, so that it is compiled for the vectors of who asks.
trait Sums {
    fn of(&self, laid_out: &[f32], weights: &[f32], bias: f32, sums: &mut [f32]);
}

impl Sums for &Geometry {
    fn of(&self, laid_out: &[f32], weights: &[f32], bias: f32, sums: &mut [f32]) {
        self.sums(laid_out, weights, bias, sums);
    }
}

/// A convolution that is ready to run.
#[derive(Debug)]
pub(in crate::operators) struct Depthwise {
    geometry: Geometry,
    #[cfg(target_arch = "x86_64")]
    vectors: Option<Vectors>,
    /// Each channel's behind the one before.
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Depthwise {
    /// None for one that reaches over places that it doesn't read, or is too large.
    pub(super) fn of(plain: &Plain) -> Option<Self> {
        if plain.dilations != [1, 1] {
            return None;
        }
        let geometry = Geometry::new(plain.picture, plain.kernel, plain.strides, plain.padding)?;
        Some(Self {
            geometry,
            #[cfg(target_arch = "x86_64")]
            vectors: Vectors::of_this_processor(),
            weights: plain.weights.clone(),
            bias: plain.bias.clone(),
        })
    }

    /// As on a processor that has none.
    #[cfg(test)]
    pub(super) fn without_vectors(&mut self) {
        #[cfg(target_arch = "x86_64")]
        {
            self.vectors = None;
        }
    }

    /// One sample's outputs.
    pub(super) fn eval(&self, numbers: &[f32], answers: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(vectors) = self.vectors {
            return vectors.run(InVectors {
                of: self,
                numbers,
                answers,
            });
        }
        self.by_channel(numbers, answers, &self.geometry);
    }

    #[inline(always)]
    fn by_channel(&self, numbers: &[f32], answers: &mut [f32], sums: impl Sums) {
        let geometry = &self.geometry;
        let [rows, columns] = geometry.output;
        let (mut buffer, mut phases) = (geometry.buffer(), geometry.phases());
        let mut apart = vec![
            0.0;
            if geometry.pitch == columns {
                0
            } else {
                geometry.places()
            }
        ];
        let kernels = self.weights.chunks_exact(geometry.taps.len()).zip(&self.bias);
        let channels = numbers.chunks_exact(geometry.height * geometry.width);
        let planes = answers.chunks_exact_mut(rows * columns);
        for ((channel, (weights, bias)), plane) in channels.zip(kernels).zip(planes) {
            geometry.spread(channel, &mut phases, &mut buffer);
            let is_apart = !apart.is_empty();
            let to = if is_apart { apart.as_mut_slice() } else { &mut *plane };
            sums.of(&buffer, weights, *bias, to);
            if !is_apart {
                continue;
            }
            for (to, line) in plane.chunks_exact_mut(columns).zip(apart.chunks(geometry.pitch)) {
                to.iter_mut().zip(line).for_each(|(to, sum)| *to = *sum);
            }
        }
    }
}

/// All channels, with the vectors of the processor.
#[cfg(target_arch = "x86_64")]
struct InVectors<'n> {
    of: &'n Depthwise,
    numbers: &'n [f32],
    answers: &'n mut [f32],
}

#[cfg(target_arch = "x86_64")]
impl pulp::WithSimd for InVectors<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        let taps = &self.of.geometry.taps;
        self.of.by_channel(self.numbers, self.answers, InTiles { simd, taps });
    }
}

#[cfg(target_arch = "x86_64")]
struct InTiles<'n, S> {
    simd: S,
    taps: &'n [usize],
}

#[cfg(target_arch = "x86_64")]
impl<S: pulp::Simd> Sums for InTiles<'_, S> {
    #[inline(always)]
    fn of(&self, laid_out: &[f32], weights: &[f32], bias: f32, sums: &mut [f32]) {
        let row = sums.len();
        let block = Block {
            taps: self.taps,
            weights,
            bias: &[bias],
            numbers: laid_out,
            sums,
            row,
        };
        block.compute(self.simd);
    }
}
