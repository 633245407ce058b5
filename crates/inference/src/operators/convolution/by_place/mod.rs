//! Convolutions of pictures of which the channels of a place lie together, as a processor's registers want them.
//!
//! Channel by channel, as ONNX has it, small pictures fill no register: of rows of five numbers, or of nine places in all, most lanes are empty, and
//! each channel has to be laid out anew among its padding, row by row. Place by place a register holds outputs, and however small a picture
//! is, each number of it is multiplied with full registers of weights. So numbers lie in this way between convolutions (see `orders`), and
//! the first and the last of them turn them round. tract 0.23.9 has this order for depthwise convolutions on ARM alone; it can go when tract
//! keeps it between all, and multiplies at this speed.
//!
//! Sums are added up tap by tap, in one order and with one rounding each: they are the same on all processors that have this.

mod dense;
mod depthwise;

use super::{Order, Plain};
use crate::operators::tiles::Vectors;
use dense::Dense;
use depthwise::Depthwise;
use pulp::{Simd, WithSimd};
use std::borrow::Cow;

/// The most that a padded picture may take, and weights, in bytes: as much as was measured.
const MOST_BYTES: usize = 16 << 20;
const MOST_WEIGHTS: usize = 4 << 20;

/// Of answers that are what they are.
pub(super) const UNBOUNDED: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

/// A convolution that is ready to run.
#[derive(Debug)]
pub(in crate::operators) struct ByPlace {
    vectors: Vectors,
    from: Order,
    to: Order,
    channels: usize,
    /// Places of the output.
    places: usize,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Dense(Dense),
    Depthwise(Depthwise),
}

/// Whether a convolution is of a kind and a size that this is made for, whatever the orders are.
pub(super) fn takes(plain: &Plain) -> bool {
    let Some(vectors) = Vectors::of_this_processor() else {
        return false;
    };
    // With places in the lanes fewer outputs are twice as fast; of few channels that makes no difference.
    let half = vectors.lanes() / 2;
    let is_wide = plain.groups > 1 || plain.outputs > half || (plain.outputs == half && plain.channels <= dense::FEW);
    is_wide && Kind::of(plain).is_some()
}

/// What channels are multiplied with.
enum Kind {
    Dense,
    Depthwise,
}

impl Kind {
    /// None for one that is too large, and for groups of channels.
    fn of(plain: &Plain) -> Option<Self> {
        let [height, width] = padded(plain)?;
        let numbers = height.checked_mul(width)?.checked_mul(plain.channels)?;
        if numbers > MOST_BYTES / size_of::<f32>() || size_of_val(plain.weights.as_slice()) > MOST_WEIGHTS {
            return None;
        }
        if plain.groups == 1 {
            return Some(Self::Dense);
        }
        let is_own = plain.groups == plain.channels && plain.outputs == plain.channels;
        is_own.then_some(Self::Depthwise)
    }
}

/// Rows and columns with their padding.
fn padded(plain: &Plain) -> Option<[usize; 2]> {
    let [top, left, bottom, right] = plain.padding;
    Some([
        plain.picture[0].checked_add(top)?.checked_add(bottom)?,
        plain.picture[1].checked_add(left)?.checked_add(right)?,
    ])
}

impl ByPlace {
    /// None for one that is too large, and for groups of channels. `orders` are those of what is read and of what is answered, `bounds`
    /// what answers are kept between.
    pub(super) fn of(plain: &Plain, orders: [Order; 2], bounds: [f32; 2]) -> Option<Self> {
        Self::with(plain, orders, bounds, Vectors::of_this_processor()?)
    }

    pub(super) fn with(plain: &Plain, [from, to]: [Order; 2], bounds: [f32; 2], vectors: Vectors) -> Option<Self> {
        let way = match Kind::of(plain)? {
            Kind::Depthwise => Way::Depthwise(Depthwise::of(plain, bounds, vectors.lanes())),
            Kind::Dense => Way::Dense(Dense::of(plain, bounds, from, padded(plain)?, vectors)),
        };
        Some(Self {
            vectors,
            from,
            to,
            channels: plain.channels,
            places: plain.output[0] * plain.output[1],
            way,
        })
    }

    /// One sample's outputs.
    pub(super) fn eval(&self, numbers: &[f32], answers: &mut [f32]) {
        let numbers = match (&self.way, self.from) {
            (Way::Depthwise(_), Order::ByChannel) => {
                let mut turned = vec![0.0; numbers.len()];
                let planes = numbers.chunks_exact(numbers.len() / self.channels);
                turn(planes, &mut turned, self.channels);
                Cow::Owned(turned)
            }
            _ => Cow::Borrowed(numbers),
        };
        if self.to == Order::ByPlace {
            return self.compute(&numbers, answers);
        }
        let mut by_place = vec![0.0; answers.len()];
        self.compute(&numbers, &mut by_place);
        // The other way round.
        turn(by_place.chunks_exact(answers.len() / self.places), answers, self.places);
    }

    fn compute(&self, numbers: &[f32], answers: &mut [f32]) {
        let way = &self.way;
        let mut room = match way {
            Way::Dense(dense) => dense.room(),
            Way::Depthwise(_) => Vec::new(),
        };
        self.vectors.run(Work {
            way,
            numbers,
            room: &mut room,
            answers,
        });
    }
}

/// Rows that are turned together: what they make of a column is written in one piece.
const TURNED: usize = 16;

/// Rows of numbers as columns, of so many numbers each.
fn turn<'n>(rows: impl Iterator<Item = &'n [f32]>, to: &mut [f32], height: usize) {
    let (mut rows, mut first) = (rows, 0);
    loop {
        let mut block: [&[f32]; TURNED] = [&[]; TURNED];
        let mut count = 0;
        for (to, row) in block.iter_mut().zip(&mut rows) {
            *to = row;
            count += 1;
        }
        let [row, ..] = block;
        if count == 0 {
            return;
        }
        for (place, column) in (0..row.len()).zip(to.chunks_exact_mut(height)) {
            let column = column.iter_mut().skip(first).take(count);
            for (to, row) in column.zip(&block) {
                if let Some(&number) = row.get(place) {
                    *to = number;
                }
            }
        }
        first += count;
    }
}

struct Work<'n> {
    way: &'n Way,
    numbers: &'n [f32],
    room: &'n mut [f32],
    answers: &'n mut [f32],
}

impl WithSimd for Work<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.way {
            Way::Dense(dense) => dense.compute(simd, self.numbers, self.room, self.answers),
            Way::Depthwise(depthwise) => depthwise.compute(simd, self.numbers, self.answers),
        }
    }
}

/// Adds numbers, and zeros until there are as many as are computed at once.
fn filled<'n>(numbers: impl Iterator<Item = &'n f32>, each: usize, to: &mut Vec<f32>) {
    to.extend(numbers.copied().chain(std::iter::repeat(0.0)).take(each));
}

/// Stores as much of a register as there is room for.
#[inline(always)]
fn store<S: Simd>(simd: S, to: &mut [f32], sum: S::f32s) {
    let (whole, _) = S::as_mut_simd_f32s(to);
    match whole.first_mut() {
        Some(whole) => *whole = sum,
        None => simd.partial_store_f32s(to, sum),
    }
}

/// A sum, and what is below or above its bounds the bound; what is none stays none.
#[inline(always)]
fn bounded<S: Simd>(simd: S, sum: S::f32s, [low, high]: [f32; 2]) -> S::f32s {
    // Of two numbers the instruction takes the second where one is none.
    let sum = simd.max_f32s(simd.splat_f32s(low), sum);
    simd.min_f32s(simd.splat_f32s(high), sum)
}
