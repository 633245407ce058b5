//! All channels with the weights of all outputs, place by place.
//!
//! The picture is laid out among its padding, some rows at a time. What a place is multiplied with then lies in a few runs of numbers, each
//! as far behind every place; of a picture of a few channels that lie apart the numbers are taken one by one.

use super::{bounded, filled, store, turn};
use crate::operators::convolution::{Order, Plain};
use crate::operators::tiles::Vectors;
use pulp::Simd;

/// Places of a tile of a row: with as many sums, of one register each or of two, none has to wait for the one before.
const PLACES: usize = 12;

/// Places of a tile of any: those of which a picture needs the fewest, tiles being whole.
const TILES: [usize; 3] = [12, 9, 8];

/// Up to so many channels are read where they are.
pub(super) const FEW: usize = 4;

/// What is read for some rows of the output, in bytes: it stays near the core while all outputs are computed from it.
const BAND_BYTES: usize = 256 << 10;

/// Numbers that a place is multiplied with and that lie one behind the other: how far behind the place they begin, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    begin: usize,
    length: usize,
}

#[derive(Debug)]
enum Taps {
    Runs(Vec<Run>),
    /// One by one; places follow each other at this step.
    One {
        begins: Vec<usize>,
        step: usize,
    },
}

/// A convolution that is ready to run.
#[derive(Debug)]
pub(super) struct Dense {
    vectors: Vectors,
    from: Order,
    /// How the numbers lie that are read.
    lies: Order,
    /// Whether they are read where they are.
    is_direct: bool,
    channels: usize,
    outputs: usize,
    picture: [usize; 2],
    strides: [usize; 2],
    /// Above and to the left.
    padding: [usize; 2],
    /// Of a padded row.
    width: usize,
    output: [usize; 2],
    /// Rows of the output that are computed from what is laid out at once, and how many rows that is.
    band: usize,
    height: usize,
    /// From a row of the output to the next, and from a column, in what is read.
    steps: [usize; 2],
    taps: Taps,
    /// How many taps there are.
    count: usize,
    /// How many places are computed at once, anywhere.
    tile: usize,
    /// For each register of outputs, or two, each tap's.
    weights: Vec<f32>,
    bias: Vec<f32>,
    bounds: [f32; 2],
}

impl Dense {
    pub(super) fn of(plain: &Plain, bounds: [f32; 2], from: Order, padded: [usize; 2], vectors: Vectors) -> Self {
        let lies = match from {
            Order::ByChannel if plain.channels <= FEW => Order::ByChannel,
            _ => Order::ByPlace,
        };
        let [rows, width] = padded;
        let is_direct = from == lies && padded == plain.picture;
        let reach = (plain.kernel[0] - 1) * plain.dilations[0] + 1;
        let line = width * plain.channels * size_of::<f32>();
        let lines = (BAND_BYTES / line.max(1)).saturating_sub(reach);
        let band = (lines / plain.strides[0] + 1).min(plain.output[0]);
        let height = if is_direct {
            rows
        } else {
            (band - 1) * plain.strides[0] + reach
        };
        // From a channel to the next, a row, a column.
        let [channel, row, column] = match lies {
            Order::ByChannel => [height * width, width, 1],
            Order::ByPlace => [1, width * plain.channels, plain.channels],
        };
        let within: Vec<usize> = plain
            .taps()
            .map(|[down, across]| down * row + across * column)
            .collect();
        let inner = within.len();
        // What lies together is multiplied one behind the other: of a place its channels, of a channel its columns.
        let numbered = (0..plain.channels).flat_map(|number| within.iter().enumerate().map(move |tap| (number, tap)));
        let mut taps: Vec<(usize, usize)> = numbered
            .map(|(number, (tap, begin))| (number * channel + begin, number * inner + tap))
            .collect();
        if lies == Order::ByPlace {
            taps.sort_by_key(|&(_, weight)| (weight % inner, weight / inner));
        }
        let (weights, bias) = packed(plain, taps.iter().map(|&(_, weight)| weight), vectors);
        let begins: Vec<usize> = taps.iter().map(|&(begin, _)| begin).collect();
        let is_one_by_one = lies == Order::ByChannel && plain.output[1] >= PLACES && plain.strides[1] <= 2;
        Self {
            vectors,
            from,
            lies,
            is_direct,
            channels: plain.channels,
            outputs: plain.outputs,
            picture: plain.picture,
            strides: plain.strides,
            padding: [plain.padding[0], plain.padding[1]],
            width,
            output: plain.output,
            band,
            height,
            steps: [plain.strides[0] * row, plain.strides[1] * column],
            count: begins.len(),
            tile: best_tile(plain.output[0] * plain.output[1]),
            taps: if is_one_by_one {
                let step = plain.strides[1];
                Taps::One { begins, step }
            } else {
                Taps::Runs(runs(&begins))
            },
            weights,
            bias,
            bounds,
        }
    }

    /// What is laid out at once, if anything.
    pub(super) fn room(&self) -> Vec<f32> {
        let size = if self.is_direct {
            0
        } else {
            self.height * self.width * self.channels
        };
        vec![0.0; size]
    }

    /// Lays out what a band of the output is computed from, whose first row this is.
    fn lay_out(&self, numbers: &[f32], row: usize, to: &mut [f32]) {
        let [rows, columns] = self.picture;
        let (width, left) = (self.width, self.padding[1]);
        let first = row * self.strides[0];
        let lines = |line: usize| (first + line).checked_sub(self.padding[0]).filter(|row| *row < rows);
        if self.from == Order::ByPlace {
            let (unit, lying) = (self.channels, columns * self.channels);
            for (number, line) in to.chunks_exact_mut(width * unit).enumerate() {
                let Some(row) = lines(number) else {
                    line.fill(0.0);
                    continue;
                };
                copy(numbers.get(row * lying..), lying, left * unit, line);
            }
            return;
        }
        if self.lies == Order::ByPlace {
            let unit = self.channels;
            for (number, line) in to.chunks_exact_mut(width * unit).enumerate() {
                line.fill(0.0);
                let Some(row) = lines(number) else {
                    continue;
                };
                let line = line.get_mut(left * unit..).unwrap_or_default();
                let planes = numbers.chunks_exact(rows * columns);
                let own = planes.filter_map(|plane| plane.get(row * columns..(row + 1) * columns));
                turn(own, line, unit);
            }
            return;
        }
        for (plane, own) in numbers
            .chunks_exact(rows * columns)
            .zip(to.chunks_exact_mut(self.height * width))
        {
            for (number, line) in own.chunks_exact_mut(width).enumerate() {
                match lines(number) {
                    Some(row) => copy(plane.get(row * columns..), columns, left, line),
                    None => line.fill(0.0),
                }
            }
        }
    }

    /// All places. `room` is what [`room`](Self::room) gave.
    #[inline(always)]
    pub(super) fn compute<S: Simd>(&self, simd: S, numbers: &[f32], room: &mut [f32], answers: &mut [f32]) {
        let bands = answers.chunks_mut(self.band * self.output[1] * self.outputs);
        for (answers, row) in bands.zip((0..).step_by(self.band)) {
            let numbers = if self.is_direct {
                numbers.get(row * self.steps[0]..).unwrap_or_default()
            } else {
                self.lay_out(numbers, row, room);
                &*room
            };
            self.band(simd, numbers, answers);
        }
    }

    #[inline(always)]
    fn band<S: Simd>(&self, simd: S, numbers: &[f32], answers: &mut [f32]) {
        let (mut first, mut weights, mut bias) = (0, self.weights.as_slice(), self.bias.as_slice());
        while first < self.outputs {
            let vectors = self.vectors.at_once(self.outputs - first);
            let each = vectors * S::F32_LANES;
            let (own, others) = weights.split_at_checked(each * self.count).unwrap_or_default();
            let (own_bias, other_biases) = bias.split_at_checked(each).unwrap_or_default();
            let part = Part {
                of: self,
                numbers,
                weights: own,
                bias: own_bias,
                first,
            };
            if vectors == 2 {
                part.compute::<S, 2>(simd, answers);
            } else {
                part.compute::<S, 1>(simd, answers);
            }
            (weights, bias) = (others, other_biases);
            first += each;
        }
    }
}

/// For each register of outputs, or two, the weights of each tap, which these are among an output's, and their biases.
fn packed(plain: &Plain, taps: impl Iterator<Item = usize> + Clone, vectors: Vectors) -> (Vec<f32>, Vec<f32>) {
    let (mut weights, mut bias) = (Vec::new(), Vec::new());
    let count = plain.weights.len() / plain.outputs;
    let mut first = 0;
    while first < plain.outputs {
        let each = vectors.lanes() * vectors.at_once(plain.outputs - first);
        for tap in taps.clone() {
            let own = plain.weights.chunks_exact(count).skip(first).take(each);
            filled(own.filter_map(|kernel| kernel.get(tap)), each, &mut weights);
        }
        filled(plain.bias.iter().skip(first).take(each), each, &mut bias);
        first += each;
    }
    (weights, bias)
}

/// Copies so many numbers, behind so many that are padding.
fn copy(from: Option<&[f32]>, count: usize, behind: usize, to: &mut [f32]) {
    let from = from.and_then(|from| from.get(..count));
    let to = to.get_mut(behind..behind + count);
    if let (Some(from), Some(to)) = (from, to) {
        to.copy_from_slice(from);
    }
}

/// Of the tiles of which so many places need the fewest computed in vain the largest.
fn best_tile(places: usize) -> usize {
    let computed = |tile: &usize| places.div_ceil(*tile) * tile;
    TILES.into_iter().min_by_key(computed).unwrap_or(PLACES)
}

/// Runs of numbers that lie one behind the other.
fn runs(begins: &[usize]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for &begin in begins {
        match runs.last_mut().filter(|run| run.begin + run.length == begin) {
            Some(run) => run.length += 1,
            None => runs.push(Run { begin, length: 1 }),
        }
    }
    runs
}

/// Where the places of an output begin in what is read, tile by tile.
struct Tiles<const TILE: usize> {
    places: usize,
    columns: usize,
    steps: [usize; 2],
    place: usize,
    row: usize,
    column: usize,
}

impl<const TILE: usize> Tiles<TILE> {
    const fn of(dense: &Dense, rows: usize) -> Self {
        let places = rows * dense.output[1];
        // Where rows follow each other like columns there is but one.
        let is_one_row = dense.steps[0] == dense.output[1] * dense.steps[1];
        Self {
            places,
            columns: if is_one_row { places } else { dense.output[1] },
            steps: dense.steps,
            place: 0,
            row: 0,
            column: 0,
        }
    }

    /// The first place of the next tile, how many there are in it, and where each begins; behind the last the last again.
    #[inline(always)]
    fn next(&mut self) -> Option<(usize, usize, [usize; TILE])> {
        let first = self.place;
        let count = TILE.min(self.places.saturating_sub(first));
        if count == 0 {
            return None;
        }
        let mut begins = [0; TILE];
        if count == TILE && self.column + TILE < self.columns {
            let mut begin = self.row * self.steps[0] + self.column * self.steps[1];
            for to in &mut begins {
                *to = begin;
                begin += self.steps[1];
            }
            self.column += TILE;
            self.place += TILE;
            return Some((first, count, begins));
        }
        let mut begin = 0;
        for (number, to) in begins.iter_mut().enumerate() {
            if number < count {
                begin = self.row * self.steps[0] + self.column * self.steps[1];
                self.column += 1;
                if self.column == self.columns {
                    (self.row, self.column) = (self.row + 1, 0);
                }
            }
            *to = begin;
        }
        self.place += count;
        Some((first, count, begins))
    }
}

/// The sums of a tile.
type Sums<S, const VECTORS: usize, const TILE: usize> = [[<S as Simd>::f32s; VECTORS]; TILE];

/// Some registers of outputs, of all places.
struct Part<'n> {
    of: &'n Dense,
    numbers: &'n [f32],
    weights: &'n [f32],
    bias: &'n [f32],
    /// The first output.
    first: usize,
}

impl Part<'_> {
    #[inline(always)]
    fn compute<S: Simd, const VECTORS: usize>(&self, simd: S, answers: &mut [f32]) {
        let (weights, _) = S::as_simd_f32s(self.weights);
        let (weights, _) = weights.as_chunks::<VECTORS>();
        let (bias, _) = S::as_simd_f32s(self.bias);
        let Some(bias) = bias.first_chunk::<VECTORS>() else {
            return;
        };
        match &self.of.taps {
            Taps::Runs(runs) => match self.of.tile {
                9 => self.by_runs::<S, VECTORS, 9>(simd, runs, weights, bias, answers),
                8 => self.by_runs::<S, VECTORS, 8>(simd, runs, weights, bias, answers),
                _ => self.by_runs::<S, VECTORS, PLACES>(simd, runs, weights, bias, answers),
            },
            Taps::One { begins, step: 1 } => {
                self.by_rows::<S, VECTORS, 1, PLACES>(simd, begins, weights, bias, answers);
            }
            Taps::One { begins, .. } => {
                self.by_rows::<S, VECTORS, 2, { 2 * PLACES - 1 }>(simd, begins, weights, bias, answers);
            }
        }
    }

    /// How many rows of the output there are to be computed.
    const fn rows(&self, answers: &[f32]) -> usize {
        answers.len() / (self.of.output[1] * self.of.outputs)
    }

    #[inline(always)]
    fn store<S: Simd, const VECTORS: usize, const TILE: usize>(
        &self,
        simd: S,
        sums: &Sums<S, VECTORS, TILE>,
        place: usize,
        count: usize,
        answers: &mut [f32],
    ) {
        let places = answers.chunks_exact_mut(self.of.outputs).skip(place).take(count);
        for (to, sums) in places.zip(sums) {
            let to = to.get_mut(self.first..).unwrap_or_default();
            for (to, &sum) in to.chunks_mut(S::F32_LANES).zip(sums) {
                store(simd, to, bounded(simd, sum, self.of.bounds));
            }
        }
    }

    /// Places anywhere.
    #[inline(always)]
    fn by_runs<S: Simd, const VECTORS: usize, const TILE: usize>(
        &self,
        simd: S,
        runs: &[Run],
        weights: &[[S::f32s; VECTORS]],
        bias: &[S::f32s; VECTORS],
        answers: &mut [f32],
    ) {
        let mut tiles = Tiles::<TILE>::of(self.of, self.rows(answers));
        while let Some((place, count, begins)) = tiles.next() {
            let sums = self.anywhere::<S, VECTORS, TILE>(simd, &begins, runs, weights, bias);
            self.store::<S, VECTORS, TILE>(simd, &sums, place, count, answers);
        }
    }

    /// A tile of places anywhere.
    #[inline(always)]
    fn anywhere<S: Simd, const VECTORS: usize, const TILE: usize>(
        &self,
        simd: S,
        begins: &[usize; TILE],
        runs: &[Run],
        weights: &[[S::f32s; VECTORS]],
        bias: &[S::f32s; VECTORS],
    ) -> Sums<S, VECTORS, TILE> {
        let (mut sums, mut weights) = ([*bias; TILE], weights);
        for &Run { begin, length } in runs {
            let Some((own, others)) = weights.split_at_checked(length) else {
                break;
            };
            weights = others;
            let mut rows: [&[f32]; TILE] = [&[]; TILE];
            for (row, place) in rows.iter_mut().zip(begins) {
                let numbers = self.numbers.get(place + begin..).unwrap_or_default();
                let Some(numbers) = numbers.get(..own.len()) else {
                    return sums;
                };
                *row = numbers;
            }
            for (at, weights) in own.iter().enumerate() {
                for (sums, row) in sums.iter_mut().zip(&rows) {
                    let Some(&number) = row.get(at) else {
                        break;
                    };
                    let number = simd.splat_f32s(number);
                    for (sum, &weight) in sums.iter_mut().zip(weights) {
                        *sum = simd.mul_add_f32s(weight, number, *sum);
                    }
                }
            }
        }
        sums
    }

    /// Places of a row, one step apart. The last tile of a row ends with it, and computes some places once more.
    #[inline(always)]
    fn by_rows<S: Simd, const VECTORS: usize, const STEP: usize, const WINDOW: usize>(
        &self,
        simd: S,
        begins: &[usize],
        weights: &[[S::f32s; VECTORS]],
        bias: &[S::f32s; VECTORS],
        answers: &mut [f32],
    ) {
        let columns = self.of.output[1];
        for row in 0..self.rows(answers) {
            for column in (0..columns).step_by(PLACES) {
                let column = column.min(columns - PLACES);
                let numbers = self.numbers.get(row * self.of.steps[0] + column * STEP..);
                let numbers = numbers.unwrap_or_default();
                let sums = of_row::<S, VECTORS, STEP, WINDOW>(simd, numbers, begins, weights, bias);
                self.store::<S, VECTORS, PLACES>(simd, &sums, row * columns + column, PLACES, answers);
            }
        }
    }
}

/// A tile of places of a row, the numbers of the first of which these are.
#[inline(always)]
fn of_row<S: Simd, const VECTORS: usize, const STEP: usize, const WINDOW: usize>(
    simd: S,
    numbers: &[f32],
    begins: &[usize],
    weights: &[[S::f32s; VECTORS]],
    bias: &[S::f32s; VECTORS],
) -> Sums<S, VECTORS, PLACES> {
    let mut sums = [*bias; PLACES];
    for (&begin, weights) in begins.iter().zip(weights) {
        let Some(window) = numbers.get(begin..).unwrap_or_default().first_chunk::<WINDOW>() else {
            break;
        };
        for (sums, &number) in sums.iter_mut().zip(window.iter().step_by(STEP)) {
            let number = simd.splat_f32s(number);
            for (sum, &weight) in sums.iter_mut().zip(weights) {
                *sum = simd.mul_add_f32s(weight, number, *sum);
            }
        }
    }
    sums
}
