//! Sums of products, in tiles that fill a processor's vector registers.
//!
//! Every place of a tile is multiplied with the weights of some outputs, tap by tap, in their order and with one rounding
//! each: so the sums are the same on all processors that have this.

use pulp::x86::{V3, V4};
use pulp::{Simd, WithSimd};

/// Outputs of a tile, and its vectors of places. With AVX-512 there are 32 registers: 24 sums, three vectors of numbers, a
/// weight. With AVX2 there are 16, and 12 of them sums.
const OUTPUTS_512: usize = 8;
const OUTPUTS_256: usize = 4;
const VECTORS: usize = 3;
/// Vectors of places of a tile of one output: enough sums that none has to wait for the one before.
const VECTORS_ALONE: usize = 8;
/// Numbers in the longest vector.
const LANES: usize = 16;

/// The vectors that a processor has. Others leave convolutions to tract.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Vectors {
    Avx512(V4),
    Avx2(V3),
}

impl Vectors {
    pub(crate) fn of_this_processor() -> Option<Self> {
        V4::try_new()
            .map(Self::Avx512)
            .or_else(|| V3::try_new().map(Self::Avx2))
    }

    /// All that this processor has.
    #[cfg(test)]
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let avx512 = V4::try_new().map(Self::Avx512);
        avx512.into_iter().chain(V3::try_new().map(Self::Avx2))
    }

    /// How many outputs of the same numbers are computed at once.
    pub(crate) const fn outputs(self) -> usize {
        match self {
            Self::Avx512(_) => OUTPUTS_512,
            Self::Avx2(_) => OUTPUTS_256,
        }
    }

    /// Numbers in one of them.
    pub(crate) const fn lanes(self) -> usize {
        match self {
            Self::Avx512(_) => 16,
            Self::Avx2(_) => 8,
        }
    }

    /// How many registers of outputs are worth computing at once, of so many outputs.
    pub(crate) const fn at_once(self, outputs: usize) -> usize {
        match self {
            Self::Avx512(_) if outputs > 16 => 2,
            Self::Avx512(_) | Self::Avx2(_) => 1,
        }
    }

    pub(crate) fn run(self, work: impl WithSimd<Output = ()>) {
        match self {
            Self::Avx512(vectors) => Simd::vectorize(vectors, work),
            Self::Avx2(vectors) => Simd::vectorize(vectors, work),
        }
    }
}

/// How many numbers are read behind the last that is needed, at most.
pub(crate) const BEHIND: usize = LANES;

/// What is computed at once, at all places: one output, or as many as [`Vectors::outputs`] says.
pub(crate) struct Block<'n> {
    /// Where the number lies that each tap is multiplied with, for the first place.
    pub(crate) taps: &'n [usize],
    /// For each tap the weights of all outputs.
    pub(crate) weights: &'n [f32],
    /// Of each output.
    pub(crate) bias: &'n [f32],
    pub(crate) numbers: &'n [f32],
    /// A row for each output.
    pub(crate) sums: &'n mut [f32],
    /// How many places there are.
    pub(crate) row: usize,
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.compute(simd);
    }
}

impl Block<'_> {
    /// For who has asked for vectors already.
    #[inline(always)]
    pub(crate) fn compute<S: Simd>(mut self, simd: S) {
        if self.bias.len() == 1 {
            self.alone(simd);
        } else if S::F32_LANES == LANES {
            self.together::<S, OUTPUTS_512>(simd);
        } else {
            self.together::<S, OUTPUTS_256>(simd);
        }
    }

    #[inline(always)]
    fn together<S: Simd, const OUTPUTS: usize>(&mut self, simd: S) {
        let mut place = self.tiles::<S, OUTPUTS, VECTORS>(simd, 0);
        place = self.tiles::<S, OUTPUTS, 2>(simd, place);
        place = self.tiles::<S, OUTPUTS, 1>(simd, place);
        self.last::<S, OUTPUTS>(simd, place);
    }

    #[inline(always)]
    fn alone<S: Simd>(&mut self, simd: S) {
        let mut place = self.tiles::<S, 1, VECTORS_ALONE>(simd, 0);
        place = self.tiles::<S, 1, 4>(simd, place);
        place = self.tiles::<S, 1, 2>(simd, place);
        place = self.tiles::<S, 1, 1>(simd, place);
        self.last::<S, 1>(simd, place);
    }

    /// Computes whole tiles from a place on; returns the place behind the last.
    #[inline(always)]
    fn tiles<S: Simd, const OUTPUTS: usize, const WIDE: usize>(&mut self, simd: S, mut place: usize) -> usize {
        let (weights, _) = self.weights.as_chunks::<OUTPUTS>();
        let Some(bias) = self.bias.first_chunk::<OUTPUTS>() else {
            return self.row;
        };
        let wide = WIDE * S::F32_LANES;
        while place + wide <= self.row {
            let numbers = self.numbers.get(place..).unwrap_or_default();
            let tile = tile::<S, OUTPUTS, WIDE>(simd, numbers, self.taps, weights, bias);
            for (sums, vectors) in self.sums.chunks_exact_mut(self.row).zip(&tile) {
                let (to, _) = S::as_mut_simd_f32s(sums.get_mut(place..).unwrap_or_default());
                if let Some(to) = to.first_chunk_mut::<WIDE>() {
                    *to = *vectors;
                }
            }
            place += wide;
        }
        place
    }

    /// Computes the places that are no whole vector.
    #[inline(always)]
    fn last<S: Simd, const OUTPUTS: usize>(&mut self, simd: S, place: usize) {
        let (weights, _) = self.weights.as_chunks::<OUTPUTS>();
        let numbers = self.numbers.get(place..).unwrap_or_default();
        let Some(bias) = self.bias.first_chunk::<OUTPUTS>().filter(|_| place < self.row) else {
            return;
        };
        let tile = tile::<S, OUTPUTS, 1>(simd, numbers, self.taps, weights, bias);
        for (sums, [vector]) in self.sums.chunks_exact_mut(self.row).zip(tile) {
            simd.partial_store_f32s(sums.get_mut(place..).unwrap_or_default(), vector);
        }
    }
}

#[inline(always)]
fn tile<S: Simd, const OUTPUTS: usize, const WIDE: usize>(
    simd: S,
    numbers: &[f32],
    taps: &[usize],
    weights: &[[f32; OUTPUTS]],
    bias: &[f32; OUTPUTS],
) -> [[S::f32s; WIDE]; OUTPUTS] {
    let mut sums = bias.map(|bias| [simd.splat_f32s(bias); WIDE]);
    for (&tap, weights) in taps.iter().zip(weights) {
        let (vectors, _) = S::as_simd_f32s(numbers.get(tap..).unwrap_or_default());
        let Some(vectors) = vectors.first_chunk::<WIDE>() else {
            break;
        };
        let vectors = *vectors;
        for (sums, &weight) in sums.iter_mut().zip(weights) {
            let weight = simd.splat_f32s(weight);
            for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                *sum = simd.mul_add_f32s(weight, vector, *sum);
            }
        }
    }
    sums
}
