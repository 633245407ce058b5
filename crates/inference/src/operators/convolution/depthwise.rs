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
        let column_of = |across: usize| {
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
            length: columns.len() * column,
            lines: (top..top + height)
                .map(|row| (row % strides[0]) * plane + row / strides[0] * output[1])
                .collect(),
            columns,
            taps: taps.collect(),
        })
    }

    /// Zeros for a channel, and behind it as many as the last lanes read.
    fn buffer(&self) -> Vec<f32> {
        vec![0.0; self.length + 2 * LANES]
    }

    /// Lays a channel out.
    #[inline(always)]
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
    #[inline(always)]
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
        let geometry = &self.geometry;
        self.by_channel(numbers, answers, |laid_out, weights, bias, sums| {
            geometry.sums(laid_out, weights, *bias, sums);
        });
    }

    #[inline(always)]
    fn by_channel(&self, numbers: &[f32], answers: &mut [f32], mut sums: impl FnMut(&[f32], &[f32], &f32, &mut [f32])) {
        let geometry = &self.geometry;
        let [rows, columns] = geometry.output;
        let mut buffer = geometry.buffer();
        let kernels = self.weights.chunks_exact(geometry.taps.len()).zip(&self.bias);
        let channels = numbers.chunks_exact(geometry.height * geometry.width);
        let planes = answers.chunks_exact_mut(rows * columns);
        for ((channel, (weights, bias)), plane) in channels.zip(kernels).zip(planes) {
            geometry.spread(channel, &mut buffer);
            sums(&buffer, weights, bias, plane);
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
        self.of
            .by_channel(self.numbers, self.answers, |laid_out, weights, bias, sums| {
                let row = sums.len();
                let block = Block {
                    taps,
                    weights,
                    bias: std::slice::from_ref(bias),
                    numbers: laid_out,
                    sums,
                    row,
                };
                block.compute(simd);
            });
    }
}
