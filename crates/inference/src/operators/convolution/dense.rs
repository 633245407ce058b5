//! Convolutions of all channels together.
//!
//! tract 0.23.9 gathers for each place of the output what the kernel sees there, then multiplies matrices: 41 per cent of
//! ResNet8's time went into gathering. Here nothing is gathered. Each channel is laid out once with its padding, and in
//! planes by stride: those of the numbers of even rows and columns, for a stride of 2, and so on. Then the number that a tap
//! is multiplied with lies equally far behind each place of the output, and places are computed a register at a time,
//! whatever row they are in. The places between the rows of the output, as many as the padding, are computed in vain.

use super::Plain;
use crate::operators::downsample::thin_out;
use crate::operators::tiles::{self, Block, Vectors};
use std::ops::Range;

/// A convolution that is ready to run.
#[derive(Debug)]
pub(in crate::operators) struct Dense {
    vectors: Vectors,
    layout: Layout,
    channels: usize,
    groups: usize,
    /// For each tap of each channel of a group.
    taps: Vec<usize>,
    /// Blocks of outputs; in each for each tap the weights of its outputs. A group's last block may have outputs of zeros.
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// How many outputs are computed at once.
    each: usize,
    outputs: usize,
}

/// Where a channel's numbers lie. Sizes are in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::operators) struct Layout {
    pub(in crate::operators) picture: [usize; 2],
    strides: [usize; 2],
    /// Above and to the left.
    padding: [usize; 2],
    pub(in crate::operators) output: [usize; 2],
    /// The first row and column of each plane, in the padded picture.
    phases: Vec<[usize; 2]>,
    rows: usize,
    pub(in crate::operators) width: usize,
}

impl Layout {
    pub(in crate::operators) fn of(plain: &Plain) -> Option<Self> {
        let [top, left, bottom, right] = plain.padding;
        let [height, width] = plain.picture;
        let padded = [
            height.checked_add(top)?.checked_add(bottom)?,
            width.checked_add(left)?.checked_add(right)?,
        ];
        let mut phases: Vec<[usize; 2]> = plain.taps().map(|tap| Self::phase(tap, plain.strides)).collect();
        phases.sort_unstable();
        phases.dedup();
        Some(Self {
            picture: plain.picture,
            strides: plain.strides,
            padding: [top, left],
            output: plain.output,
            phases,
            rows: padded[0].div_ceil(plain.strides[0]),
            width: padded[1].div_ceil(plain.strides[1]),
        })
    }

    fn phase([down, across]: [usize; 2], strides: [usize; 2]) -> [usize; 2] {
        [down % strides[0], across % strides[1]]
    }

    /// What a channel takes.
    pub(in crate::operators) fn channel(&self) -> Option<usize> {
        self.rows.checked_mul(self.width)?.checked_mul(self.phases.len())
    }

    /// How far behind a place the number is that a tap is multiplied with.
    pub(in crate::operators) fn tap(&self, tap: [usize; 2]) -> Option<usize> {
        let phase = Self::phase(tap, self.strides);
        let plane = self.phases.binary_search(&phase).ok()?;
        let [down, across] = [tap[0] / self.strides[0], tap[1] / self.strides[1]];
        Some((plane * self.rows + down) * self.width + across)
    }

    /// From the first place of some rows of the output to their last.
    const fn places(&self, rows: usize) -> usize {
        rows.saturating_sub(1) * self.width + self.output[1]
    }

    /// Whether a channel is laid out as it is.
    pub(in crate::operators) fn is_the_picture(&self) -> bool {
        self.phases.len() == 1
            && [self.rows, self.width] == self.picture
            && self.padding == [0, 0]
            && self.strides == [1, 1]
    }

    /// Lays a channel out among its padding, which is there already.
    pub(in crate::operators) fn spread<T: Copy>(&self, channel: &[T], to: &mut [T]) {
        let planes = to.chunks_exact_mut(self.rows * self.width);
        for (&[first_row, first_column], plane) in self.phases.iter().zip(planes) {
            let begin = self.padding[1].saturating_sub(first_column).div_ceil(self.strides[1]);
            let first = (begin * self.strides[1] + first_column).saturating_sub(self.padding[1]);
            let lines = plane
                .chunks_exact_mut(self.width)
                .zip((first_row..).step_by(self.strides[0]));
            for (line, row) in lines {
                let row = row.checked_sub(self.padding[0]).filter(|row| *row < self.picture[0]);
                let Some(row) = row.and_then(|row| channel.get(row * self.picture[1]..)) else {
                    continue;
                };
                let row = row.get(first..self.picture[1]).unwrap_or_default();
                let line = line.get_mut(begin..).unwrap_or_default();
                thin_out(row, self.strides[1], line);
            }
        }
    }
}

/// The most that all channels may take as they are laid out, in bytes: as much as was measured.
const MOST_BYTES: usize = 16 << 20;

/// The most that weights may take, in bytes. More are fetched from memory again for each band, for which tract is made: of 512 x 512
/// channels of 7 x 7, with 9 MiB of weights, it takes 0.97 of the time.
const MOST_WEIGHTS: usize = 4 << 20;

/// What of the laid-out numbers is worked on for all outputs before the next, in bytes: it stays near the core.
const BAND_BYTES: usize = 256 << 10;

impl Dense {
    /// None for one that is too large.
    pub(super) fn of(plain: &Plain, vectors: Vectors) -> Option<Self> {
        let layout = Layout::of(plain)?;
        let channel = layout.channel()?;
        let bytes = channel.checked_mul(plain.channels)?.checked_mul(size_of::<f32>())?;
        if bytes > MOST_BYTES || size_of_val(plain.weights.as_slice()) > MOST_WEIGHTS {
            return None;
        }
        let within: Vec<usize> = plain.taps().map(|tap| layout.tap(tap)).collect::<Option<_>>()?;
        let channels = 0..plain.channels / plain.groups;
        let taps: Vec<usize> = channels
            .flat_map(|number| within.iter().map(move |tap| number * channel + tap))
            .collect();
        let per_group = plain.outputs / plain.groups;
        let each = if per_group == 1 { 1 } else { vectors.outputs() };
        let (mut weights, mut bias) = (Vec::new(), Vec::new());
        let groups = plain.weights.chunks_exact(per_group * taps.len());
        for (group, biases) in groups.zip(plain.bias.chunks_exact(per_group)) {
            for (kernels, biases) in group.chunks(each * taps.len()).zip(biases.chunks(each)) {
                for tap in 0..taps.len() {
                    filled(kernels.iter().skip(tap).step_by(taps.len()), each, &mut weights);
                }
                filled(biases.iter(), each, &mut bias);
            }
        }
        Some(Self {
            vectors,
            layout,
            channels: plain.channels,
            groups: plain.groups,
            taps,
            weights,
            bias,
            each,
            outputs: plain.outputs,
        })
    }

    /// One sample's outputs.
    pub(super) fn eval(&self, numbers: &[f32], answers: &mut [f32]) {
        let layout = &self.layout;
        let channel = layout.channel().unwrap_or_default();
        let mut laid_out = vec![0.0; self.channels * channel + tiles::BEHIND];
        let pictures = numbers.chunks_exact(layout.picture[0] * layout.picture[1]);
        for (picture, to) in pictures.zip(laid_out.chunks_exact_mut(channel)) {
            layout.spread(picture, to);
        }
        let [rows, columns] = layout.output;
        let per_group = self.outputs / self.groups;
        let inner = self.channels / self.groups;
        let band = BAND_BYTES / (inner * layout.phases.len() * layout.width * size_of::<f32>());
        let band = band.clamp(1, rows);
        let mut sums = vec![0.0; self.each * layout.places(band)];
        let groups = answers.chunks_exact_mut(per_group * rows * columns);
        let blocks = per_group.div_ceil(self.each);
        let weights = self.weights.chunks_exact(blocks * self.each * self.taps.len());
        let biases = self.bias.chunks_exact(blocks * self.each);
        for (group, ((answers, weights), bias)) in groups.zip(weights).zip(biases).enumerate() {
            let numbers = laid_out.get(group * inner * channel..).unwrap_or_default();
            for first in (0..rows).step_by(band) {
                let numbers = numbers.get(first * layout.width..).unwrap_or_default();
                self.band(
                    numbers,
                    weights,
                    bias,
                    first..rows.min(first + band),
                    answers,
                    &mut sums,
                );
            }
        }
    }

    /// Some rows of a group's outputs.
    fn band(
        &self,
        numbers: &[f32],
        weights: &[f32],
        bias: &[f32],
        band: Range<usize>,
        answers: &mut [f32],
        sums: &mut [f32],
    ) {
        let layout = &self.layout;
        let [rows, columns] = layout.output;
        let row = layout.places(band.len());
        let weights = weights.chunks_exact(self.each * self.taps.len());
        let blocks = weights.zip(bias.chunks_exact(self.each));
        for (planes, (weights, bias)) in answers.chunks_mut(self.each * rows * columns).zip(blocks) {
            let sums = sums.get_mut(..self.each * row).unwrap_or_default();
            self.vectors.run(Block {
                taps: &self.taps,
                weights,
                bias,
                numbers,
                sums,
                row,
            });
            for (plane, sums) in planes.chunks_exact_mut(rows * columns).zip(sums.chunks_exact(row)) {
                let plane = plane
                    .get_mut(band.start * columns..band.end * columns)
                    .unwrap_or_default();
                for (to, line) in plane.chunks_exact_mut(columns).zip(sums.chunks(layout.width)) {
                    if let Some(line) = line.get(..columns) {
                        to.copy_from_slice(line);
                    }
                }
            }
        }
    }
}

/// Adds numbers, and zeros until there are as many as computed at once.
fn filled<'n>(numbers: impl Iterator<Item = &'n f32>, each: usize, to: &mut Vec<f32>) {
    to.extend(numbers.copied().chain(std::iter::repeat(0.0)).take(each));
}
