//! Convolutions of bytes, four of which are multiplied and added in a lane.
//!
//! As `convolution/dense`, whose layout it takes: a channel is laid out once, with the zero point for padding, and the numbers
//! of a tap lie equally far behind each place of the output. A lane has four of what is added up at a place: of four
//! channels, or, where a group has few, of four places of the kernel.

use super::dots::{self, Block, Dots};
use crate::operators::convolution::{Layout, Plain};
use crate::operators::downsample::thin_out;
use crate::operators::wide::wide;
use std::ops::Range;

/// Bytes in a lane.
pub(super) const FOUR: usize = 4;
/// The first bit of a byte, and of each of four.
const SIGN: u8 = 0x80;
pub(super) const SIGNS: u32 = 0x8080_8080;
/// The most that all channels of a group may take as they are laid out, in bytes.
const MOST_BYTES: usize = 16 << 20;
/// With fewer channels in a group a lane has places of the kernel.
const FEWEST: usize = 3;
/// The most that the masks of a picture may take, in bytes.
const MOST_MASKS: usize = 1 << 20;
/// The most ways that a kernel's places may lie.
const MOST_PATTERNS: usize = 64;
/// How many lanes there are in the longest vector.
pub(super) const LANES: usize = 16;
/// How many sums are computed before the next, at most: they stay near the core.
const BAND: usize = 16 << 10;

/// The most places of a picture of which each has masks of its own.
const MASKED: usize = 16 << 10;

/// What a lane has.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Lanes {
    /// Each four channels of a group.
    Channels(Layout),
    /// Places of a channel, at these distances: once for each way that the kernel's places lie.
    Places(Layout, Vec<[usize; FOUR]>),
    /// Places of a channel that lies as in the picture, or every second of its columns, with padding above: once for each four
    /// columns of the kernel.
    Shifted(Picture, Vec<Shifted>),
}

/// How a channel lies before its lanes are made: its columns by the stride, those of each behind the others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Picture {
    /// How many lanes of padding there are above.
    above: usize,
    /// The stride across: 1 or 2.
    stride: usize,
    /// How many places of padding there are to the left.
    left: usize,
    /// How many places the columns of one phase take, and how much with padding.
    places: usize,
    length: usize,
}

/// Four columns of a kernel, which see the picture shifted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shifted {
    /// Where each begins.
    distances: [usize; FOUR],
    /// At each place the bytes that are in the same row, and the padding of the others.
    masks: Vec<[u32; 2]>,
}

/// How a channel lies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    picture: [usize; 2],
    output: [usize; 2],
    width: usize,
    /// How many lanes it takes.
    length: usize,
}

impl Frame {
    fn of(layout: &Layout) -> Option<Self> {
        Some(Self {
            picture: layout.picture,
            output: layout.output,
            width: layout.width,
            length: layout.channel()?,
        })
    }

    /// From the first place of some rows of the output to their last.
    const fn places(&self, rows: usize) -> usize {
        rows.saturating_sub(1) * self.width + self.output[1]
    }
}

/// A convolution that is ready to run.
#[derive(Debug)]
pub(super) struct Bytes {
    dots: Dots,
    frame: Frame,
    lanes: Lanes,
    is_signed: bool,
    /// The input's, without sign.
    zero_point: u8,
    channels: usize,
    groups: usize,
    outputs: usize,
    /// How many outputs are computed at once.
    each: usize,
    /// For each four of a group.
    taps: Vec<usize>,
    /// Blocks of outputs; in each for each four the weights of its outputs.
    weights: Vec<u32>,
    /// The sum of an output's weights times the zero point is taken off already.
    bias: Vec<i32>,
}

/// Where four numbers lie, and for each the place of its weight in a kernel.
struct Four {
    tap: usize,
    weights: [Option<usize>; FOUR],
}

/// Fours of channels.
fn of_channels(within: &[usize], inner: usize, channel: usize) -> Vec<Four> {
    let fours = 0..inner.div_ceil(FOUR);
    let four = |(four, (at, tap)): (usize, (usize, &usize))| Four {
        tap: four * channel + tap,
        weights: [0, 1, 2, 3].map(|number| {
            let of = four * FOUR + number;
            (of < inner).then_some(of * within.len() + at)
        }),
    };
    fours
        .flat_map(|four| within.iter().enumerate().map(move |tap| (four, tap)))
        .map(four)
        .collect()
}

/// Fours of the kernel's places, row by row, and at which distances they lie.
fn of_places(
    within: &[usize],
    columns: usize,
    inner: usize,
    channel: usize,
) -> Option<(Vec<Four>, Vec<[usize; FOUR]>)> {
    let mut patterns: Vec<[usize; FOUR]> = Vec::new();
    let numbered: Vec<(usize, usize)> = within.iter().copied().enumerate().collect();
    // A narrow kernel's rows go together.
    let run = if columns < FEWEST { within.len() } else { columns };
    let chunks: Vec<&[(usize, usize)]> = numbered.chunks(run).flat_map(|row| row.chunks(FOUR)).collect();
    let placed = chunks.iter().map(|four| {
        let first = four.iter().map(|(_, tap)| *tap).min().unwrap_or_default();
        let pattern = [0, 1, 2, 3].map(|number| four.get(number).map_or(0, |(_, tap)| tap - first));
        let known = patterns.iter().position(|other| *other == pattern);
        let pattern = known.unwrap_or_else(|| {
            patterns.push(pattern);
            patterns.len() - 1
        });
        let weights = [0, 1, 2, 3].map(|number| four.get(number).map(|(at, _)| *at));
        (patterns.len() <= MOST_PATTERNS).then_some((pattern, first, weights))
    });
    let placed: Vec<_> = placed.collect::<Option<_>>()?;
    let fours = (0..inner).flat_map(|of| {
        let patterns = patterns.len();
        placed.iter().map(move |(pattern, first, weights)| Four {
            tap: (of * patterns + pattern) * channel + first,
            weights: weights.map(|at| at.map(|at| of * within.len() + at)),
        })
    });
    Some((fours.collect(), patterns))
}

/// Fours of the columns of a kernel that sees as many places in each row as there are, or half as many.
fn of_columns(plain: &Plain, zero_point: u8) -> Option<(Vec<Four>, Frame, Lanes)> {
    let [height, width] = plain.picture;
    let [above, left, below, _] = plain.padding;
    let [stride_down, stride] = plain.strides;
    let row = width / stride;
    let places = height.checked_mul(row)?;
    if stride > 2 || row * stride != width || plain.output[1] != row || places > MASKED {
        return None;
    }
    let slack = left.div_ceil(stride);
    let across: Vec<usize> = (0..plain.kernel[1])
        .map(|column| column * plain.dilations[1] + slack * stride - left)
        .collect();
    let farthest = across.last().map_or(0, |last| last / stride);
    let phase = places
        .next_multiple_of(LANES)
        .checked_add(slack)?
        .checked_add(farthest)?;
    let masks = across.len().div_ceil(FOUR).checked_mul(places)?;
    if masks.checked_mul(size_of::<[u32; 2]>())? > MOST_MASKS || phase > MOST_BYTES {
        return None;
    }
    let columns = across.chunks(FOUR).map(|four| {
        let columns = [0, 1, 2, 3].map(|number| four.get(number).copied());
        let masks = |place: usize| {
            let seen = columns.map(|column| column.map(|column| place % row + column / stride));
            let is_inside = seen.map(|seen| seen.is_none_or(|seen| (slack..slack + row).contains(&seen)));
            let mask = is_inside.map(|is_inside| if is_inside { u8::MAX } else { 0 });
            [mask, mask.map(|mask| zero_point & !mask)].map(u32::from_le_bytes)
        };
        // Behind the last place is padding.
        let behind = std::iter::repeat([0, u32::from_le_bytes([zero_point; FOUR])]);
        Shifted {
            distances: columns.map(|column| column.map_or(0, |column| column % stride * phase + column / stride)),
            masks: (0..places)
                .map(masks)
                .chain(behind)
                .take(places.next_multiple_of(LANES))
                .collect(),
        }
    });
    let columns: Vec<Shifted> = columns.collect();
    let length = height.checked_add(above)?.checked_add(below)?.checked_mul(row)?;
    let inner = plain.channels / plain.groups;
    let [down, across] = plain.kernel;
    let fours = (0..inner).flat_map(|of| (0..down).map(move |row| (of, row)));
    let fours = fours.flat_map(|(of, row)| (0..columns.len()).map(move |column| (of, row, column)));
    let fours = fours.map(|(of, down_to, column)| Four {
        tap: (of * columns.len() + column) * length + down_to * plain.dilations[0] * row,
        weights: [0, 1, 2, 3].map(|number| {
            let at = column * FOUR + number;
            (at < across).then_some((of * down + down_to) * across + at)
        }),
    });
    let fours = fours.collect();
    let frame = Frame {
        picture: plain.picture,
        output: plain.output,
        width: stride_down.checked_mul(row)?,
        length,
    };
    let picture = Picture {
        above: above * row,
        stride,
        left: slack,
        places,
        length: phase,
    };
    Some((fours, frame, Lanes::Shifted(picture, columns)))
}

/// What of a convolution lies where.
fn lie(plain: &Plain, zero_point: u8) -> Option<(Vec<Four>, Frame, Lanes)> {
    let inner = plain.channels / plain.groups;
    if inner < FEWEST
        && let Some(columns) = of_columns(plain, zero_point)
    {
        return Some(columns);
    }
    let layout = Layout::of(plain)?;
    let frame = Frame::of(&layout)?;
    let within: Vec<usize> = plain.taps().map(|tap| layout.tap(tap)).collect::<Option<_>>()?;
    if inner < FEWEST {
        let (fours, patterns) = of_places(&within, plain.kernel[1], inner, frame.length)?;
        return Some((fours, frame, Lanes::Places(layout, patterns)));
    }
    Some((
        of_channels(&within, inner, frame.length),
        frame,
        Lanes::Channels(layout),
    ))
}

impl Bytes {
    /// None for one that is too large or has weights of more than a byte. `plain` has the weights' distances from their zero
    /// points; `zero_point` is the input's.
    pub(super) fn of(plain: &Plain, bias: &[i32], zero_point: i32, is_signed: bool, dots: Dots) -> Option<Self> {
        let inner = plain.channels / plain.groups;
        let range = f32::from(i8::MIN)..=f32::from(i8::MAX);
        if !plain.weights.iter().all(|weight| range.contains(weight)) {
            return None;
        }
        let zero_point = u8::try_from(if is_signed { zero_point + 128 } else { zero_point }).ok()?;
        let (fours, frame, lanes) = lie(plain, zero_point)?;
        let laid_out = match &lanes {
            Lanes::Channels(_) => inner.div_ceil(FOUR),
            Lanes::Places(_, patterns) => inner.checked_mul(patterns.len())?,
            Lanes::Shifted(_, columns) => inner.checked_mul(columns.len())?,
        };
        if frame.length.checked_mul(laid_out)?.checked_mul(FOUR)? > MOST_BYTES {
            return None;
        }
        let per_group = plain.outputs / plain.groups;
        let each = if per_group == 1 { 1 } else { dots.outputs() };
        let (mut weights, mut without) = (Vec::new(), Vec::new());
        let kernels: Vec<&[f32]> = plain
            .weights
            .chunks_exact(inner * plain.kernel[0] * plain.kernel[1])
            .collect();
        for (kernels, biases) in kernels.chunks(per_group).zip(bias.chunks_exact(per_group)) {
            for (kernels, biases) in kernels.chunks(each).zip(biases.chunks(each)) {
                for four in &fours {
                    let weight = |kernel: &[f32], at: Option<usize>| {
                        let weight = at.and_then(|at| kernel.get(at)).map_or(0, |weight| *weight as i8);
                        weight.cast_unsigned()
                    };
                    let of = |output: usize| {
                        let kernel = kernels.get(output).copied().unwrap_or_default();
                        u32::from_le_bytes(four.weights.map(|at| weight(kernel, at)))
                    };
                    weights.extend((0..each).map(of));
                }
                without.extend((0..each).map(|output| {
                    let kernel = kernels.get(output).copied().unwrap_or_default();
                    let sum: i32 = kernel.iter().map(|weight| *weight as i32).sum();
                    let bias = biases.get(output).copied().unwrap_or_default();
                    bias.wrapping_sub(sum.wrapping_mul(i32::from(zero_point)))
                }));
            }
        }
        Some(Self {
            dots,
            frame,
            lanes,
            is_signed,
            zero_point,
            channels: plain.channels,
            groups: plain.groups,
            outputs: plain.outputs,
            each,
            taps: fours.iter().map(|four| four.tap).collect(),
            weights,
            bias: without,
        })
    }

    /// One sample's outputs: `answer` is given each output's number, some of its rows, and their sums in lines of a width.
    pub(super) fn eval(&self, bytes: &[u8], mut answer: impl FnMut(usize, Range<usize>, &[i32], usize)) {
        let frame = &self.frame;
        let inner = self.channels / self.groups;
        let picture = frame.picture[0] * frame.picture[1];
        let mut room = Room::of(self);
        let rows = frame.output[0];
        let band = (BAND / (self.each * frame.width)).clamp(1, rows);
        // In whole vectors: what is behind the last place is computed in vain.
        let whole = |rows: usize| frame.places(rows).next_multiple_of(LANES);
        let mut sums = vec![0; self.each * whole(band)];
        let per_group = self.outputs / self.groups;
        let blocks = per_group.div_ceil(self.each);
        let weights = self.weights.chunks_exact(blocks * self.each * self.taps.len());
        let groups = weights.zip(self.bias.chunks_exact(blocks * self.each));
        for (group, (bytes, (weights, bias))) in bytes.chunks_exact(inner * picture).zip(groups).enumerate() {
            room.lay_out(self, bytes);
            for first in (0..rows).step_by(band) {
                let band = first..rows.min(first + band);
                let row = whole(band.len());
                let numbers = room.numbers.get(first * frame.width..).unwrap_or_default();
                let weights = weights.chunks_exact(self.each * self.taps.len());
                for (block, (weights, bias)) in weights.zip(bias.chunks_exact(self.each)).enumerate() {
                    let sums = sums.get_mut(..self.each * row).unwrap_or_default();
                    self.dots.run(Block {
                        taps: &self.taps,
                        weights,
                        bias,
                        numbers,
                        sums,
                        row,
                        is_turned: false,
                    });
                    let outputs = block * self.each..per_group;
                    for (output, sums) in outputs.zip(sums.chunks_exact(row)) {
                        answer(group * per_group + output, band.clone(), sums, frame.width);
                    }
                }
            }
        }
    }
}

/// Room for a group's channels as they are laid out.
struct Room {
    /// Their lanes.
    numbers: Vec<u32>,
    /// Four channels, before they are laid out.
    together: Vec<u32>,
    /// A channel with padding, before its lanes are made.
    padded: Vec<u8>,
}

impl Room {
    fn of(of: &Bytes) -> Self {
        let inner = of.channels / of.groups;
        let picture = of.frame.picture[0] * of.frame.picture[1];
        let lanes = |count: usize| {
            let padding = u32::from_le_bytes([of.zero_point; FOUR]);
            vec![padding; count * of.frame.length + dots::BEHIND]
        };
        let padding = if of.is_signed {
            of.zero_point ^ SIGN
        } else {
            of.zero_point
        };
        match &of.lanes {
            Lanes::Channels(layout) => Self {
                numbers: lanes(inner.div_ceil(FOUR)),
                together: vec![
                    0;
                    if layout.is_the_picture() {
                        0
                    } else {
                        picture.next_multiple_of(LANES)
                    }
                ],
                padded: Vec::new(),
            },
            Lanes::Places(_, patterns) => Self {
                numbers: lanes(inner * patterns.len()),
                together: Vec::new(),
                padded: vec![padding; of.frame.length],
            },
            Lanes::Shifted(picture, columns) => Self {
                numbers: lanes(inner * columns.len()),
                together: Vec::new(),
                padded: vec![padding; picture.length * picture.stride],
            },
        }
    }

    fn lay_out(&mut self, of: &Bytes, bytes: &[u8]) {
        let flip = if of.is_signed { SIGNS } else { 0 };
        let picture = of.frame.picture[0] * of.frame.picture[1];
        let channels = || {
            (0..bytes.len())
                .step_by(picture.max(1))
                .map(|channel| bytes.get(channel..).unwrap_or_default())
        };
        let mut at = (0..self.numbers.len()).step_by(of.frame.length);
        match &of.lanes {
            Lanes::Channels(layout) => {
                let each: Vec<&[u8]> = channels().collect();
                for (channels, at) in each.chunks(FOUR).zip(at) {
                    // One that there isn't has no weights either.
                    let any = channels.first().copied().unwrap_or_default();
                    let four = [0, 1, 2, 3].map(|number| channels.get(number).copied().unwrap_or(any));
                    let to = self.numbers.get_mut(at..).unwrap_or_default();
                    if self.together.is_empty() {
                        interleave(four, picture, flip, to);
                    } else {
                        interleave(four, picture, flip, &mut self.together);
                        layout.spread(&self.together, to);
                    }
                }
            }
            Lanes::Places(layout, patterns) => {
                for channel in channels() {
                    layout.spread(channel, &mut self.padded);
                    for (pattern, at) in patterns.iter().zip(&mut at) {
                        let four = pattern.map(|distance| self.padded.get(distance..).unwrap_or_default());
                        let places = four.iter().map(|bytes| bytes.len()).min().unwrap_or_default();
                        interleave(four, places, flip, self.numbers.get_mut(at..).unwrap_or_default());
                    }
                }
            }
            Lanes::Shifted(picture, columns) => {
                for channel in channels() {
                    for (phase, to) in self.padded.chunks_exact_mut(picture.length).enumerate() {
                        let to = to.get_mut(picture.left..picture.left + picture.places);
                        let channel = channel.get(phase..).unwrap_or_default();
                        wide(|| thin_out(channel, picture.stride, to.unwrap_or_default()));
                    }
                    for (shifted, at) in columns.iter().zip(&mut at) {
                        let four = shifted
                            .distances
                            .map(|distance| self.padded.get(distance..).unwrap_or_default());
                        let to = self.numbers.get_mut(at + picture.above..).unwrap_or_default();
                        interleave_inside(four, flip, &shifted.masks, to);
                    }
                }
            }
        }
    }
}

/// One byte of each of four in each number, of those places that a mask lets through. There are as many as masks.
fn interleave_inside(four: [&[u8]; FOUR], flip: u32, masks: &[[u32; 2]], to: &mut [u32]) {
    let [one, two, three, four] = four;
    wide(|| {
        let bytes = one.iter().zip(two).zip(three.iter().zip(four));
        for ((to, [mask, padding]), ((one, two), (three, four))) in to.iter_mut().zip(masks).zip(bytes) {
            *to = ((u32::from_le_bytes([*one, *two, *three, *four]) ^ flip) & mask) | padding;
        }
    });
}

/// One byte of each of four in each number, of as many places; behind the last there may be more.
fn interleave(four: [&[u8]; FOUR], places: usize, flip: u32, to: &mut [u32]) {
    // Whole vectors, where there is something to read behind the last place.
    let most = four.iter().map(|bytes| bytes.len()).min().unwrap_or_default();
    let count = if places.next_multiple_of(LANES) <= most {
        places.next_multiple_of(LANES)
    } else {
        places
    };
    let [one, two, three, four] = four;
    let to = to.get_mut(..count).unwrap_or_default();
    wide(|| {
        let bytes = one.iter().zip(two).zip(three.iter().zip(four));
        for (to, ((one, two), (three, four))) in to.iter_mut().zip(bytes) {
            *to = u32::from_le_bytes([*one, *two, *three, *four]) ^ flip;
        }
    });
}
