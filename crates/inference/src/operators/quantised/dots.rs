//! Sums of products of bytes, four at a time, in tiles that fill a processor's vector registers.
//!
//! As `tiles` for floats, by an instruction that pulp doesn't offer: of processors with VNNI (Intel since 2019, AMD since 2022,
//! small ones for gateways since 2023). Each lane is a place, and holds four numbers of it.

use std::arch::is_x86_feature_detected;

/// That a processor has these vectors of bytes. There is no other way to one than to ask it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dots(Vectors);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vectors {
    Avx512,
    Avx2,
}

/// How many fours are read behind the last that is needed, at most.
pub(super) const BEHIND: usize = 16;

/// What is computed at once, at all places: one output, or as many as [`Dots::outputs`] says.
pub(super) struct Block<'n> {
    /// Where the four numbers lie that each tap is multiplied with, for the first place.
    pub(super) taps: &'n [usize],
    /// For each tap the weights of all outputs: four signed bytes each.
    pub(super) weights: &'n [u32],
    /// Of each output.
    pub(super) bias: &'n [i32],
    /// Four bytes without sign each.
    pub(super) numbers: &'n [u32],
    /// A row for each output.
    pub(super) sums: &'n mut [i32],
    /// How many places there are.
    pub(super) row: usize,
    /// Whether it is the numbers that have signs, not the weights. Then there is one output.
    pub(super) is_turned: bool,
}

impl Dots {
    pub(super) fn of_this_processor() -> Option<Self> {
        Self::all().next()
    }

    /// All that this processor has, the longest first.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let has_long = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni");
        let has_short = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni");
        let long = has_long.then_some(Self(Vectors::Avx512));
        long.into_iter().chain(has_short.then_some(Self(Vectors::Avx2)))
    }

    /// How many outputs of the same numbers are computed at once.
    pub(super) const fn outputs(self) -> usize {
        match self.0 {
            Vectors::Avx512 => avx512::OUTPUTS,
            Vectors::Avx2 => avx2::OUTPUTS,
        }
    }

    pub(super) fn run(self, block: Block<'_>) {
        #[expect(
            unsafe_code,
            reason = "the one way to these instructions; the functions are safe but for what they are compiled for"
        )]
        // SAFETY: who made this has asked the processor for the features.
        unsafe {
            match self.0 {
                Vectors::Avx512 => avx512::run(block),
                Vectors::Avx2 => avx2::run(block),
            }
        }
    }
}

/// A module for the vectors of one kind of processor.
macro_rules! tiles {
    ($module:ident, $features:literal, $vector:ident, $lanes:literal, $outputs:literal, $splat:ident, $dot:ident) => {
        mod $module {
            use super::Block;
            use std::arch::x86_64::{$dot, $splat, $vector};

            pub(super) const OUTPUTS: usize = $outputs;
            const LANES: usize = $lanes;

            #[target_feature(enable = $features)]
            pub(super) fn run(mut block: Block<'_>) {
                if block.is_turned {
                    alone::<true>(&mut block);
                } else if block.bias.len() == 1 {
                    alone::<false>(&mut block);
                } else {
                    let mut place = tiles::<OUTPUTS, 3, false>(&mut block, 0);
                    place = tiles::<OUTPUTS, 2, false>(&mut block, place);
                    place = tiles::<OUTPUTS, 1, false>(&mut block, place);
                    last::<OUTPUTS, false>(&mut block, place);
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn alone<const TURNED: bool>(block: &mut Block<'_>) {
                let mut place = tiles::<1, 8, TURNED>(block, 0);
                place = tiles::<1, 4, TURNED>(block, place);
                place = tiles::<1, 2, TURNED>(block, place);
                place = tiles::<1, 1, TURNED>(block, place);
                last::<1, TURNED>(block, place);
            }

            /// Computes whole tiles from a place on; returns the place behind the last.
            #[inline]
            #[target_feature(enable = $features)]
            fn tiles<const MANY: usize, const WIDE: usize, const TURNED: bool>(
                block: &mut Block<'_>,
                mut place: usize,
            ) -> usize {
                let wide = WIDE * LANES;
                while place + wide <= block.row {
                    let tile = tile::<MANY, WIDE, TURNED>(block, place);
                    for (sums, vectors) in block.sums.chunks_exact_mut(block.row).zip(tile) {
                        let (to, _) = sums.get_mut(place..).unwrap_or_default().as_chunks_mut::<LANES>();
                        for (to, vector) in to.iter_mut().zip(vectors) {
                            *to = pulp::cast(vector);
                        }
                    }
                    place += wide;
                }
                place
            }

            /// Computes the places that are no whole vector.
            #[inline]
            #[target_feature(enable = $features)]
            fn last<const MANY: usize, const TURNED: bool>(block: &mut Block<'_>, place: usize) {
                if place >= block.row {
                    return;
                }
                let tile = tile::<MANY, 1, TURNED>(block, place);
                for (sums, [vector]) in block.sums.chunks_exact_mut(block.row).zip(tile) {
                    let lanes: [i32; LANES] = pulp::cast(vector);
                    let to = sums.get_mut(place..).unwrap_or_default();
                    to.iter_mut().zip(lanes).for_each(|(to, lane)| *to = lane);
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn tile<const MANY: usize, const WIDE: usize, const TURNED: bool>(
                block: &Block<'_>,
                place: usize,
            ) -> [[$vector; WIDE]; MANY] {
                let mut sums = [[$splat(0); WIDE]; MANY];
                for (sums, &bias) in sums.iter_mut().zip(block.bias) {
                    *sums = [$splat(bias); WIDE];
                }
                let numbers = block.numbers.get(place..).unwrap_or_default();
                let (weights, _) = block.weights.as_chunks::<MANY>();
                for (&tap, weights) in block.taps.iter().zip(weights) {
                    let (lanes, _) = numbers.get(tap..).unwrap_or_default().as_chunks::<LANES>();
                    let Some(lanes) = lanes.first_chunk::<WIDE>() else {
                        break;
                    };
                    let mut vectors = [$splat(0); WIDE];
                    for (vector, lanes) in vectors.iter_mut().zip(lanes) {
                        *vector = pulp::cast(*lanes);
                    }
                    for (sums, &weight) in sums.iter_mut().zip(weights) {
                        let weight = $splat(weight.cast_signed());
                        for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                            *sum = if TURNED {
                                $dot(*sum, weight, vector)
                            } else {
                                $dot(*sum, vector, weight)
                            };
                        }
                    }
                }
                sums
            }
        }
    };
}

// With AVX-512 there are 32 registers: 24 sums, three vectors of numbers, a weight. With AVX2 there are 16, and 12 of them sums.
tiles!(
    avx512,
    "avx512f,avx512bw,avx512vnni",
    __m512i,
    16,
    8,
    _mm512_set1_epi32,
    _mm512_dpbusd_epi32
);
tiles!(
    avx2,
    "avx2,avxvnni",
    __m256i,
    8,
    4,
    _mm256_set1_epi32,
    _mm256_dpbusd_avx_epi32
);
