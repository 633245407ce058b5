//! Random numbers for coalitions: the same in every build, on every machine, for a seed.
//!
//! Owns SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", OOPSLA), which is a dozen
//! lines; a crate's generator may change its stream with a version, and then an explanation would change with it. Spread,
//! not secrecy.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    /// Any seed is as good as another.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, 0 for a bound of 0. The high half of a product: off from uniform by `bound` / 2^64 at most.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.next()) * bound as u128;
        (product >> 64) as usize
    }

    /// Puts all elements in a random order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        self.shuffle_first(items, items.len());
    }

    /// Puts a random choice of the elements, in random order, in the first `count` places.
    pub(crate) fn shuffle_first<T>(&mut self, items: &mut [T], count: usize) {
        for place in 0..count.min(items.len()) {
            let other = place + self.below(items.len() - place);
            items.swap(place, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_that_of_the_paper() {
        // The first numbers of Vigna's reference implementation (prng.di.unimi.it/splitmix64.c) for the seed 1234567.
        let mut random = SplitMix64::new(1_234_567);
        let first = [random.next(), random.next(), random.next()];
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn a_shuffle_keeps_every_element_and_reaches_every_place() {
        let mut random = SplitMix64::new(1);
        let mut seen = [[0; 5]; 5];
        for _ in 0..5000 {
            let mut items = [0, 1, 2, 3, 4];
            random.shuffle(&mut items);
            for (place, &item) in items.iter().enumerate() {
                seen[place][item] += 1;
            }
        }
        // 1000 expected, with a standard deviation of 28.
        assert!(
            seen.iter().flatten().all(|&count: &i32| (count - 1000).abs() < 140),
            "{seen:?}"
        );
    }

    #[test]
    fn nothing_is_below_nothing() {
        assert_eq!(SplitMix64::new(7).below(0), 0);
        SplitMix64::new(7).shuffle::<u8>(&mut []);
    }
}
