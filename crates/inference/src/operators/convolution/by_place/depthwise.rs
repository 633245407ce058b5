//! Each channel with weights of its own, place by place.
//!
//! Nothing is laid out: a place at a border has fewer taps, and rows and columns know which. Where places follow each other without a step
//! between them, several that have all taps are one longer place.

use super::{bounded, filled, store};
use crate::operators::convolution::Plain;
use pulp::Simd;
use std::ops::Range;

/// Registers of sums that are computed at once: enough that none waits for the one before.
const VECTORS: usize = 4;

/// A depthwise convolution that is ready to run.
#[derive(Debug)]
pub(super) struct Depthwise {
    channels: usize,
    picture: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    padding: [usize; 2],
    output: [usize; 2],
    across: usize,
    /// The taps of each row of the output that lie in the picture, and those of each column.
    rows: Vec<Range<usize>>,
    columns: Vec<Range<usize>>,
    /// For each tap, all channels'.
    weights: Vec<f32>,
    bias: Vec<f32>,
    bounds: [f32; 2],
    /// The columns of the output that have all taps.
    whole: Range<usize>,
    /// The weights for several of them at once.
    several: Option<Several>,
}

/// Places that follow each other and have all taps.
#[derive(Debug)]
struct Several {
    places: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Depthwise {
    pub(super) fn of(plain: &Plain, bounds: [f32; 2], lanes: usize) -> Self {
        let [top, left, ..] = plain.padding;
        let padding = [top, left];
        let [of_rows, of_columns] = [0, 1].map(|axis| taps_inside(plain, axis));
        let taps = plain.kernel[0] * plain.kernel[1];
        let mut weights = Vec::with_capacity(plain.weights.len());
        for tap in 0..taps {
            weights.extend(plain.weights.iter().skip(tap).step_by(taps));
        }
        let columns = of_columns.unwrap_or_default();
        let is_whole = |taps: &Range<usize>| taps.len() == plain.kernel[1];
        let begin = columns.iter().position(is_whole).unwrap_or(0);
        let whole = begin..begin + columns.iter().skip(begin).take_while(|taps| is_whole(taps)).count();
        let several = Several::of(plain, &whole, &weights, lanes);
        Self {
            channels: plain.channels,
            picture: plain.picture,
            strides: plain.strides,
            dilations: plain.dilations,
            padding,
            output: plain.output,
            across: plain.kernel[1],
            rows: of_rows.unwrap_or_default(),
            columns,
            weights,
            bias: plain.bias.clone(),
            bounds,
            whole,
            several,
        }
    }

    /// All places.
    #[inline(always)]
    pub(super) fn compute<S: Simd>(&self, simd: S, numbers: &[f32], answers: &mut [f32]) {
        let line = self.picture[1] * self.channels;
        let rows = answers.chunks_exact_mut(self.output[1] * self.channels);
        for ((row, answers), taps) in rows.enumerate().zip(&self.rows) {
            let first = (row * self.strides[0] + taps.start * self.dilations[0]).saturating_sub(self.padding[0]);
            let lines = numbers.get(first * line..).unwrap_or_default();
            let row = Row {
                of: self,
                lines,
                line: line * self.dilations[0],
                taps: taps.clone(),
            };
            row.compute(simd, answers);
        }
    }
}

impl Several {
    fn of(plain: &Plain, whole: &Range<usize>, weights: &[f32], lanes: usize) -> Option<Self> {
        let numbers = VECTORS * lanes;
        if plain.strides[1] != 1 || plain.channels >= numbers || !numbers.is_multiple_of(plain.channels) {
            return None;
        }
        let repeated = |own: &[f32]| {
            let mut all = Vec::new();
            for own in own.chunks_exact(plain.channels) {
                filled(own.iter().cycle().take(numbers), numbers, &mut all);
            }
            all
        };
        let places = numbers / plain.channels;
        (places <= whole.len()).then(|| Self {
            places,
            weights: repeated(weights),
            bias: repeated(&plain.bias),
        })
    }
}

/// For each place along an axis the taps that lie in the picture.
fn taps_inside(plain: &Plain, axis: usize) -> Option<Vec<Range<usize>>> {
    let (picture, kernel) = (*plain.picture.get(axis)?, *plain.kernel.get(axis)?);
    let (stride, dilation) = (*plain.strides.get(axis)?, *plain.dilations.get(axis)?);
    let padding = *plain.padding.get(axis)?;
    let taps = |place: usize| {
        let is_inside = |tap: &usize| {
            let at = (place * stride + tap * dilation).checked_sub(padding);
            at.is_some_and(|at| at < picture)
        };
        let begin = (0..kernel).find(is_inside).unwrap_or(0);
        begin..begin + (begin..kernel).take_while(is_inside).count()
    };
    Some((0..*plain.output.get(axis)?).map(taps).collect())
}

/// A row of the output.
struct Row<'n> {
    of: &'n Depthwise,
    /// The picture from the line of the first tap on.
    lines: &'n [f32],
    /// From the line of a tap to that of the next.
    line: usize,
    taps: Range<usize>,
}

impl Row<'_> {
    #[inline(always)]
    fn compute<S: Simd>(&self, simd: S, answers: &mut [f32]) {
        let of = self.of;
        let whole = of.whole.clone();
        for place in (0..whole.start).chain(whole.end..of.columns.len()) {
            self.channels::<S>(simd, place..place + 1, answers);
        }
        match &of.several {
            Some(several) => self.several(simd, several, answers),
            None => self.channels::<S>(simd, whole, answers),
        }
    }

    /// Where the first tap of a place is, and which it has across.
    #[inline(always)]
    fn at(&self, place: usize) -> At {
        let of = self.of;
        let across = of.columns.get(place).cloned().unwrap_or_default();
        let first = (place * of.strides[1] + across.start * of.dilations[1]).saturating_sub(of.padding[1]);
        let begin = first * of.channels;
        At { begin, across }
    }

    /// Several places in registers of their own. The last register, or two, end with them, and compute some once more.
    #[inline(always)]
    fn several<S: Simd>(&self, simd: S, several: &Several, answers: &mut [f32]) {
        let of = self.of;
        let weights = (&*several.weights, &*several.bias);
        let gap = several.places * of.channels;
        let mut place = of.whole.start;
        while place < of.whole.end {
            let are_two = of.whole.end - place >= 2 * several.places;
            place = place.min(of.whole.end - several.places);
            let at = self.at(place);
            let to = answers.get_mut(place * of.channels..).unwrap_or_default();
            if are_two {
                self.sums::<S, VECTORS, 2>(simd, &at, weights, 0, gap, gap, to);
                place += several.places;
            } else {
                self.sums::<S, VECTORS, 1>(simd, &at, weights, 0, gap, gap, to);
            }
            place += several.places;
        }
    }

    /// All channels of places that have the same taps.
    #[inline(always)]
    fn channels<S: Simd>(&self, simd: S, places: Range<usize>, answers: &mut [f32]) {
        let of = self.of;
        let mut channel = 0;
        while channel < of.channels {
            let left = (of.channels - channel) / S::F32_LANES;
            channel += if left >= VECTORS {
                self.places::<S, VECTORS, 2>(simd, &places, channel, answers);
                VECTORS * S::F32_LANES
            } else if left >= 2 {
                self.places::<S, 2, 4>(simd, &places, channel, answers);
                2 * S::F32_LANES
            } else if left == 1 {
                self.places::<S, 1, 6>(simd, &places, channel, answers);
                S::F32_LANES
            } else if channel > 0 {
                // The last register ends with the last channel, and computes some once more.
                self.places::<S, 1, 6>(simd, &places, of.channels - S::F32_LANES, answers);
                S::F32_LANES
            } else {
                for place in places.clone() {
                    let to = answers.get_mut(place * of.channels..).unwrap_or_default();
                    self.last(simd, &self.at(place), to);
                }
                S::F32_LANES
            };
        }
    }

    /// Some channels of places that have the same taps, as many at once as `PLACES`. The last ones end with them, and some are computed once
    /// more.
    #[inline(always)]
    fn places<S: Simd, const WIDE: usize, const PLACES: usize>(
        &self,
        simd: S,
        places: &Range<usize>,
        channel: usize,
        answers: &mut [f32],
    ) {
        let of = self.of;
        let weights = (&*of.weights, &*of.bias);
        let gap = of.strides[1] * of.channels;
        let are_enough = places.len() >= PLACES;
        let step = if are_enough { PLACES } else { 1 };
        for place in places.clone().step_by(step) {
            let place = place.min(places.end - step);
            let at = self.at(place);
            let to = answers.get_mut(place * of.channels..).unwrap_or_default();
            if are_enough {
                self.sums::<S, WIDE, PLACES>(simd, &at, weights, channel, gap, of.channels, to);
            } else {
                self.sums::<S, WIDE, 1>(simd, &at, weights, channel, gap, of.channels, to);
            }
        }
    }

    /// Some registers of sums, from a channel on, of places: each `gap` numbers further in what is read, and `next` in the answers.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "the inner loop, which has to be one function")]
    fn sums<S: Simd, const WIDE: usize, const PLACES: usize>(
        &self,
        simd: S,
        at: &At,
        (weights, bias): (&[f32], &[f32]),
        channel: usize,
        gap: usize,
        next: usize,
        to: &mut [f32],
    ) {
        let each = bias.len();
        let (bias, _) = S::as_simd_f32s(bias.get(channel..).unwrap_or_default());
        let Some(bias) = bias.first_chunk::<WIDE>() else {
            return;
        };
        let weights = weights.get(channel..).unwrap_or_default();
        let sums = self.of_taps::<S, WIDE, PLACES>(simd, at, (weights, each), bias, channel, gap);
        for (place, sums) in sums.iter().enumerate() {
            let (to, _) = S::as_mut_simd_f32s(to.get_mut(place * next + channel..).unwrap_or_default());
            if let Some(to) = to.first_chunk_mut::<WIDE>() {
                *to = *sums;
                to.iter_mut().for_each(|sum| *sum = bounded(simd, *sum, self.of.bounds));
            }
        }
    }

    #[inline(always)]
    fn of_taps<S: Simd, const WIDE: usize, const PLACES: usize>(
        &self,
        simd: S,
        at: &At,
        (weights, each): (&[f32], usize),
        bias: &[S::f32s; WIDE],
        channel: usize,
        gap: usize,
    ) -> [[S::f32s; WIDE]; PLACES] {
        let mut sums = [*bias; PLACES];
        let step = self.of.dilations[1] * self.of.channels;
        let mut line = at.begin + channel;
        for down in self.taps.clone() {
            let mut begin = line;
            for tap in at.across.clone() {
                let weights = weights.get((down * self.of.across + tap) * each..).unwrap_or_default();
                let (weights, _) = S::as_simd_f32s(weights);
                let Some(weights) = weights.first_chunk::<WIDE>() else {
                    return sums;
                };
                for (place, sums) in sums.iter_mut().enumerate() {
                    let numbers = self.lines.get(begin + place * gap..).unwrap_or_default();
                    let (numbers, _) = S::as_simd_f32s(numbers);
                    let Some(numbers) = numbers.first_chunk::<WIDE>() else {
                        break;
                    };
                    for ((sum, &number), &weight) in sums.iter_mut().zip(numbers).zip(weights) {
                        *sum = simd.mul_add_f32s(weight, number, *sum);
                    }
                }
                begin += step;
            }
            line += self.line;
        }
        sums
    }

    /// Channels that fill no register.
    #[inline(always)]
    fn last<S: Simd>(&self, simd: S, at: &At, to: &mut [f32]) {
        let of = self.of;
        let step = of.dilations[1] * of.channels;
        let mut sum = simd.partial_load_f32s(&of.bias);
        let mut line = at.begin;
        for down in self.taps.clone() {
            let mut begin = line;
            for tap in at.across.clone() {
                let weights = of
                    .weights
                    .get((down * of.across + tap) * of.channels..)
                    .unwrap_or_default();
                let numbers = self.lines.get(begin..).unwrap_or_default();
                let (weights, numbers) = (weights.get(..of.channels), numbers.get(..of.channels));
                let weights = simd.partial_load_f32s(weights.unwrap_or_default());
                sum = simd.mul_add_f32s(weights, simd.partial_load_f32s(numbers.unwrap_or_default()), sum);
                begin += step;
            }
            line += self.line;
        }
        let to = to.get_mut(..of.channels).unwrap_or_default();
        store(simd, to, bounded(simd, sum, of.bounds));
    }
}

/// Where a place's first tap is, and which taps it has across.
struct At {
    begin: usize,
    across: Range<usize>,
}
