//! Shapley values by their definition, from the values of all coalitions.
//!
//! With M players and v(S) the value of the coalition S, player i's is the sum over the coalitions S without i of
//! |S|! (M - |S| - 1)! / M! (v(S with i) - v(S)) (Shapley 1953, "A value for n-person games"; Lundberg and Lee 2017, equation
//! 4). A player who never changes a value gets exactly 0.

use crate::coalition::Coalition;

/// A game of few players: the value of every coalition, by [`Coalition::index`].
#[derive(Debug, Clone)]
pub(crate) struct Table {
    players: usize,
    values: Vec<f64>,
}

impl Table {
    /// Of these coalitions' values; what isn't among them is 0.
    pub(crate) fn new(players: usize, known: impl Iterator<Item = (Coalition, f64)>) -> Self {
        let mut values = vec![0.0; 1 << players];
        for (coalition, value) in known {
            if let Some(place) = values.get_mut(coalition.index()) {
                *place = value;
            }
        }
        Self { players, values }
    }

    /// Each player's Shapley value.
    pub(crate) fn shapley(&self) -> Vec<f64> {
        let weights = weights(self.players);
        (0..self.players)
            .map(|player| self.value_of(player, &weights))
            .collect()
    }

    fn value_of(&self, player: usize, weights: &[f64]) -> f64 {
        let bit = 1 << player;
        let mut sum = 0.0;
        for (index, without) in self.values.iter().enumerate().filter(|(index, _)| index & bit == 0) {
            let with = self.values.get(index | bit).unwrap_or(without);
            let weight = weights.get(index.count_ones() as usize).unwrap_or(&0.0);
            sum += weight * (with - without);
        }
        sum
    }
}

/// s! (M - s - 1)! / M! for s from 0 to M - 1. From one to the next it is a factor of (s + 1) / (M - s - 1).
fn weights(players: usize) -> Vec<f64> {
    let mut weight = 1.0 / players as f64;
    let factors = (0..players).map(|size| (size + 1) as f64 / (players - size - 1) as f64);
    factors
        .map(|factor| {
            let current = weight;
            weight *= factor;
            current
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapley(players: usize, value: impl Fn(Coalition) -> f64) -> Vec<f64> {
        let all =
            (0..1_usize << players).map(|index| Coalition::of((0..players).filter(|player| index >> player & 1 == 1)));
        Table::new(players, all.map(|coalition| (coalition, value(coalition)))).shapley()
    }

    #[test]
    fn the_glove_game_has_its_known_values() {
        // One left glove and two right ones; a pair is worth 1 (Shapley and Shubik 1969).
        let pair = |set: Coalition| f64::from(set.contains(0) && (set.contains(1) || set.contains(2)));
        let values = shapley(3, pair);
        for (actual, expected) in values.iter().zip([4.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0]) {
            assert!((actual - expected).abs() < 1e-15, "{values:?}");
        }
    }

    #[test]
    fn a_single_player_gets_all_and_nobody_gets_nothing() {
        assert_eq!(shapley(1, |set| 3.0 + 4.0 * set.size() as f64), [4.0]);
        assert_eq!(shapley(0, |_| 3.0), Vec::<f64>::new());
    }

    #[test]
    fn weights_of_all_coalitions_without_a_player_add_up_to_one() {
        for players in 1..=12_u32 {
            let mut subsets = 1.0;
            let mut sum = 0.0;
            for (size, weight) in (0..).zip(weights(players as usize)) {
                sum += subsets * weight;
                subsets *= f64::from(players - 1 - size) / f64::from(size + 1);
            }
            assert!((sum - 1.0).abs() < 1e-14, "{players}: {sum}");
        }
    }
}
